"""What a probe found, in words, tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from ...dsl.objective import objective
from ...dsl.typed import TypedProgram
from ..splat.model import PARAMETERS
from .probe import StepProbe, TermProbe
from .records import plain
from .selection import whole_name

MOST, LEAST, AGAINST = 0.95, 0.001, -0.5
"""Shares above and below which a term is worth a warning, and the cosine below which two terms work against each
other."""

RULES = {
    "dominates": "makes over 95 %",
    "vanishes": "makes under 0.1 %",
    "not-finite": "is not finite",
    "no-gradient": "has no gradient",
    "opposes": "pull against each other",
}


class Warning(NamedTuple):
    """Something about the balance of a loss, over all probed steps.

    Attributes:
        rule: a key of `RULES`.
        terms: the term, or the two.
        steps: where it was found.
        of: what it was found in, a parameter group or "loss", with the most extreme number.
    """

    rule: str
    terms: tuple[str, ...]
    steps: tuple[int, ...]
    of: dict[str, float]

    def describe(self) -> str:
        """In one sentence."""
        names = " and ".join(f"`{name}`" for name in self.terms)
        steps = f"step{'s' if len(self.steps) > 1 else ''} {', '.join(f'{step:,}' for step in self.steps)}"
        if self.rule == "opposes":
            places = ", ".join(f"{group} (cosine {value:.2f})" for group, value in self.of.items())
            return f"{names} pull against each other on {places}, at {steps}"
        if self.rule == "no-gradient":
            return f"{names} has no gradient at {steps}: it changes nothing"
        if self.rule == "not-finite":
            return f"{names} is not finite at {steps}: {', '.join(self.of)}"
        value = self.of.get("loss")
        parts = [f"of the loss ({percent(value)})"] if value is not None else []
        groups = [f"{group} ({percent(share)})" for group, share in self.of.items() if group != "loss"]
        parts += [f"of the gradient on {', '.join(groups)}"] if groups else []
        return f"{names} {RULES[self.rule]} {' and '.join(parts)}, at {steps}"


def percent(share: float | None) -> str:
    """A share in percent, with digits where they tell something: ``97.2 %``, ``0.03 %``, ``-`` for none."""
    if share is None:
        return "-"
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.01 or 99.99 < value < 100:
        return "<0.01 %" if value < 1 else ">99.99 %"
    return f"{value:.2f} %" if value < 1 or 99 < value < 100 else f"{value:.1f} %"


def warnings(probes: Sequence[StepProbe]) -> list[Warning]:
    """What is worth a warning, each kind once for all steps, in the order of `RULES`.

    A share counts only where another term has one too: a term that is alone in a group has all of it by design.
    """
    found: dict[tuple[str, tuple[str, ...]], tuple[list[int], dict[str, float]]] = {}

    def add(rule: str, terms: tuple[str, ...], step: int, of: str, value: float) -> None:
        steps, numbers = found.setdefault((rule, terms), ([], {}))
        if step not in steps:
            steps.append(step)
        before = numbers.get(of, value)
        numbers[of] = max(before, value) if rule == "dominates" else min(before, value)

    for at in probes:
        for term in at.terms:
            one = (term.name,)
            bad = _not_finite(term)
            for name in bad:
                add("not-finite", one, at.step, name, 0.0)
            if not bad and not any(term.norms.values()):
                add("no-gradient", one, at.step, "", 0.0)
                continue
            for of, share in _contested(at, term):
                if share > MOST:
                    add("dominates", one, at.step, of, share)
                elif share < LEAST:
                    add("vanishes", one, at.step, of, share)
        for group, pairs in at.cosines.items():
            for pair, cosine in pairs.items():
                if cosine < AGAINST:
                    add("opposes", pair, at.step, group, cosine)
    order = list(RULES)
    made = [
        Warning(rule, terms, tuple(steps), {name: of[name] for name in sorted(of, key=_rank)})
        for (rule, terms), (steps, of) in found.items()
    ]
    return sorted(made, key=lambda warning: order.index(warning.rule))


def _rank(name: str) -> int:
    return PARAMETERS.index(name) if name in PARAMETERS else -1


def _not_finite(term: TermProbe) -> list[str]:
    numbers = {"its value": term.value, **{f"its gradient on {g}": n for g, n in term.norms.items()}}
    return [name for name, value in numbers.items() if value is not None and not math.isfinite(value)]


def _contested(at: StepProbe, term: TermProbe) -> Iterable[tuple[str, float]]:
    """The term's shares of whatever it has in common with other terms."""
    if len(at.terms) > 1:
        yield "loss", term.share
    for group in PARAMETERS:
        share = term.shares[group]
        others = any(other.norms[group] for other in at.terms if other is not term)
        if share is not None and term.norms[group] and others:
            yield group, share


def absent(program: TypedProgram, probes: Sequence[StepProbe], max_steps: int) -> dict[str, str]:
    """The terms that exist at no probed step, and when they do: ``from step 7,000``."""
    seen = {term.name for at in probes for term in at.terms}
    records = objective(program, max_steps).terms
    missing = [(whole_name(record), record) for record in records if whole_name(record) not in seen]
    return {
        name: f"not computed, as {' and '.join(record.off)} is 0" if record.off else record.exists.describe(max_steps)
        for name, record in missing
    }


GRADIENTS = "Gradient of the weighted term: norm, and share within the group"


def heading(at: StepProbe) -> str:
    """Which step the tables are of."""
    view = f", view {at.view}" if at.view else ""
    return f"Step {at.step:,} of {at.max_steps:,}{view}: loss {at.loss:.4g}, {at.gaussians:,} gaussians"


def values_table(at: StepProbe) -> Table:
    """Raw magnitude, weight, weighted value and share of every term at a step."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("term", overflow="fold")
    for heading in ("raw value", "weight", "weighted", "share of loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    for term in at.terms:
        table.add_row(term.name, f"{term.raw:.4g}", f"{term.weight:.4g}", f"{term.value:.4g}", percent(term.share))
    return table


def gradients_table(at: StepProbe) -> Table:
    """Norm of the gradient and its share, by term and parameter group, at a step."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("term", overflow="fold")
    for group in PARAMETERS:
        table.add_column(group, justify="right", no_wrap=True)
    for term in at.terms:
        cells = []
        for group in PARAMETERS:
            norm = term.norms[group]
            cells.append("-" if norm is None else f"{norm:.3g}\n{percent(term.shares[group])}" if norm else "0")
        table.add_row(term.name, *cells)
    return table


def step_json(at: StepProbe) -> dict[str, Any]:
    """A step as plain values."""
    return {
        "step": at.step,
        "view": at.view,
        "loss": at.loss,
        "gaussians": at.gaussians,
        "terms": {
            term.name: {
                "raw": term.raw,
                "weight": term.weight,
                "weighted": term.value,
                "share": term.share,
                "gradient_norm": term.norms,
                "gradient_share": term.shares,
                "image_share": term.pull_shares,
            }
            for term in at.terms
        },
        "cosines": {
            group: [{"terms": list(pair), "cosine": cosine} for pair, cosine in pairs.items()]
            for group, pairs in at.cosines.items()
        },
    }


def report_json(probes: Sequence[StepProbe], missing: Mapping[str, str], **entries: Any) -> dict[str, Any]:
    """Everything that a probe found, as values that strict JSON can hold; numbers that are not finite are null."""
    report: dict[str, Any] = plain(
        {
            **entries,
            "steps": [step_json(at) for at in probes],
            "absent": dict(missing),
            "warnings": [
                {"rule": w.rule, "terms": list(w.terms), "steps": list(w.steps), "of": w.of, "text": w.describe()}
                for w in warnings(probes)
            ],
        }
    )
    return report
