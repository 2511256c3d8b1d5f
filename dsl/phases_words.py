"""Sets of steps in words."""

from __future__ import annotations

from collections.abc import Mapping

from .formula import expression_text
from .phases_reader import MOST, Cases, Reader
from .phases_sets import SHOWN, in_all, spans_of
from .steps import Existence, Gate


class Words:
    """Says when the sets of terms exist that a reader has found."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.all, self.max_steps = reader, reader.all, reader.max_steps
        self._cells = [self.all]
        for steps in reader.smooth if len(reader.smooth) <= MOST else ():
            self._cells = [c for cell in self._cells for c in (cell & steps, cell & ~steps) if c]

    def describe(self, at: int, cases: Cases) -> str:
        """Steps in words, and on what they depend: ``at`` is all of them, ``cases`` which they are in each case."""
        when, depends = self._when(at), self._depends(cases)
        if depends:
            return depends if when == "always" else f"{when}, {depends}"
        return when

    def _when(self, at: int) -> str:
        spans = spans_of(at)
        if len(spans) > SHOWN:
            text = self._pattern(at)
            if text:
                return text
        return Existence(tuple(spans)).describe(self.max_steps, SHOWN)

    def _pattern(self, at: int) -> str:
        """Steps that come again and again, in words; "" where the gates of the program do not say them."""
        whole = around = 0
        for cell in self._cells:
            whole |= cell if cell & at == cell else 0
            around |= cell if cell & at not in (0, cell) else 0
        now_and_then = at & ~whole
        open_ = {gate: steps for gate, steps in self.reader.every.items() if not now_and_then & ~steps}
        closed = {gate: self.all & ~steps for gate, steps in self.reader.every.items() if not now_and_then & steps}
        for some in (closed, open_):
            for gate in list(some):
                if (
                    around & in_all(steps for g, steps in (*open_.items(), *closed.items()) if g != gate)
                    == now_and_then
                ):
                    del some[gate]
        if around & in_all((*open_.values(), *closed.values())) != now_and_then:
            return ""
        texts = [Existence(tuple(spans_of(whole))).describe(self.max_steps, SHOWN)] if whole else []
        text = Existence(tuple(spans_of(around)), tuple(open_)).describe(self.max_steps, SHOWN)
        return "; ".join([*texts, f"{text}, other than {_listed(list(closed))}" if closed else text])

    def _depends(self, cases: Cases) -> str:
        """On what a set of terms depends beside the step; "" where on nothing."""
        same = len(set(cases.values())) == 1
        if same and len(cases) == len(self.reader.outcomes):
            return ""
        fixed = {key: v for key in self.reader.free if len({v := self.reader.outcomes[i][key] for i in cases}) == 1}
        kept = dict(fixed)
        for key in fixed:
            less = {k: v for k, v in kept.items() if k != key}
            if self._agreeing(less) == set(cases):
                kept = less
        if same and kept and self._agreeing(kept) == set(cases):
            texts = (self._text(key) for key in kept)
            return "while " + " and ".join(t if v else f"not {t}" for t, v in zip(texts, kept.values()))
        return f"depending on {', '.join(self._text(key) for key in self.reader.free)}"

    def _agreeing(self, outcome: Mapping[int, bool]) -> set[int]:
        return {i for i, c in enumerate(self.reader.outcomes) if all(c[key] == v for key, v in outcome.items())}

    def _text(self, key: int) -> str:
        return expression_text(self.reader.free[key])


def _listed(gates: list[Gate]) -> str:
    """``every 2, 3, 5 steps``."""
    plain = all(gate.text == f"every {gate.period:,} steps" for gate in gates)
    if plain and len(gates) > 1:
        return f"every {', '.join(f'{gate.period:,}' for gate in gates)} steps"
    return " and ".join(gate.text for gate in gates)
