"""Sets of training steps: spans, gates within them, and how both are put into words. Steps count from 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Steps(NamedTuple):
    """Steps ``start``, ``start + 1``, .. before ``stop``; ``stop`` is None where there is no end."""

    start: int
    stop: int | None

    def describe(self, max_steps: int | None = None) -> str:
        """In words, both ends included: ``steps 500 to 9,499``."""
        last = None if self.stop is None or self.stop == max_steps else self.stop - 1
        if last is None:
            return "always" if self.start == 0 else f"from step {self.start:,}"
        if last == self.start:
            return f"step {last:,} only"
        return f"up to step {last:,}" if self.start == 0 else f"steps {self.start:,} to {last:,}"


class Gate(NamedTuple):
    """A condition that is not a span: ``every 10 steps``, ``with mono``.

    ``kind`` is ``every``, ``chance``, ``has`` or ``condition``; ``period`` and ``offset`` are those of ``every``.
    """

    kind: str
    text: str
    period: int | None = None
    offset: int | None = None


class Existence(NamedTuple):
    """When something is so: in every one of ``spans``, wherever all the ``gates`` are open.

    ``exact`` is False where the spans are too many or too irregular to be found; they then hold too much.
    """

    spans: tuple[Steps, ...]
    gates: tuple[Gate, ...] = ()
    exact: bool = True

    @property
    def never(self) -> bool:
        """Whether it is so at no step."""
        return not self.spans

    def holds(self, step: int) -> bool:
        """Whether a step is in one of the spans; ``every`` gates count."""
        inside = any(s.start <= step and (s.stop is None or step < s.stop) for s in self.spans)
        return inside and all(g.period is None or step % g.period == g.offset for g in self.gates)

    def also(self, other: Existence) -> Existence:
        """When both are so."""
        gates = tuple(dict.fromkeys((*self.gates, *other.gates)))
        return Existence(tuple(both(self.spans, other.spans)), gates, self.exact and other.exact)

    def total(self) -> int | None:
        """The number of steps; None where it is unbounded, or known only when the program runs."""
        if not self.exact or any(g.kind != "every" for g in self.gates) or len(self.gates) > 1:
            return None
        total = 0
        for start, stop in self.spans:
            if stop is None:
                return None
            total += _multiples(start, stop, self.gates[0]) if self.gates else stop - start
        return total

    def describe(self, max_steps: int | None = None, most: int = 6) -> str:
        """In words: ``from step 7,000, every 10 steps``."""
        if self.never:
            return "never"
        shown = [s.describe(max_steps) for s in self.spans]
        if len(shown) > most:
            first, last = self.spans[0].start, self.spans[-1].stop
            count = self.total()
            within = f"{count:,} steps in " if count is not None else ""
            shown = [f"{within}{len(shown):,} spans between step {first:,} and {'the end' if last is None else last:,}"]
        words = [w if i == 0 or not w.startswith("steps ") else w[len("steps ") :] for i, w in enumerate(shown)]
        text = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
        gates = [g.text for g in self.gates]
        if gates and text == "always":
            text = gates.pop(0)
        return ", ".join([text if self.exact else f"about {text}", *gates])


ALWAYS = Steps(0, None)


def _multiples(start: int, stop: int, gate: Gate) -> int:
    """How many steps of a span an `every` gate lets through."""
    assert gate.period is not None
    assert gate.offset is not None
    return (stop - gate.offset - 1) // gate.period - (start - gate.offset - 1) // gate.period


def both(left: Sequence[Steps], right: Sequence[Steps]) -> list[Steps]:
    """The steps that are in both lists."""
    out: list[Steps] = []
    i = j = 0
    while i < len(left) and j < len(right):
        (a, b), (c, d) = left[i], right[j]
        stop = d if b is None else b if d is None else min(b, d)
        if stop is None or max(a, c) < stop:
            out.append(Steps(max(a, c), stop))
        i, j = i + (b is not None and b == stop), j + (d is not None and d == stop)
        if stop is None:
            break
    return out
