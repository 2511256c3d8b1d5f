"""The record that a builtin is declared with, and the notation of its signature.

A signature reads ``(a: visual = rendered, r: region = everywhere; delta: number > 0 = 1.0) -> number in [0, inf)``:
parameters after the semicolon are taken by keyword only, ``*p: point`` takes any number of arguments, and the
result is a kind or ``like x``, the kind of that argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ..interval import REALS, Interval, inf

if TYPE_CHECKING:
    from ..typed import Expr

Ranges = Mapping[str, "Interval | None"]


class Problem(NamedTuple):
    """What a record's own check of its arguments found. ``fatal`` leaves the call without a value."""

    code: str
    message: str
    at: Expr
    help: str
    fatal: bool = True


KINDS: dict[str, str] = {
    "visual": "an image, a map or a depth",
    "image": "an image",
    "value": "a number, or a value per pixel or per gaussian",
    "tensor": "a value per pixel or per gaussian",
    "region": "a region",
    "condition": "a region or a condition",
    "host": "a number that is known before the step is computed",
    "number": "a number",
    "state": "the state record",
    "point": "a pair of numbers, (step, value)",
    "mode": "a mode",
}


class ParamSpec(NamedTuple):
    """One parameter of a signature. ``default`` is the text of an expression; None when it must be given."""

    name: str
    kind: str
    range: Interval | None = None
    default: str | None = None
    keyword_only: bool = False
    variadic: bool = False
    choices: tuple[str, ...] = ()

    def describe(self) -> str:
        """What it accepts, for messages."""
        if self.kind == "mode":
            return "one of " + ", ".join(f'"{c}"' for c in self.choices)
        return KINDS[self.kind] + (f" in {self.range}" if self.range else "")


class Signature(NamedTuple):
    """A parsed signature. ``result`` is a kind name, ``like x`` or ``component x``."""

    params: tuple[ParamSpec, ...]
    result: str
    range: Interval

    @property
    def comparing(self) -> bool:
        """Whether calls may leave out the first two operands: `f()`, `f(r)`, `f(a, b)`, `f(a, b, r)`."""
        return is_comparing(tuple((p.name, p.default) for p in self.params))


def is_comparing(params: tuple[tuple[str, str | None], ...]) -> bool:
    """Whether parameters begin with a, b and r, all with defaults: the four operand forms."""
    return [name for name, _ in params[:3]] == ["a", "b", "r"] and all(d is not None for _, d in params[:3])


class Builtin(NamedTuple):
    """A primitive of the language; what can be written in the language is in the prelude instead.

    Attributes:
        name: as called.
        signature: in the notation above.
        doc: what it computes, one or two sentences.
        good: a program that uses it rightly; the checker finds nothing.
        bad: a program that uses it wrongly.
        bad_code: the code that ``bad`` gives.
        kernel: ``module:function`` under ``compiler/kernels`` for tensors; "" when it only exists on the host.
        host: computes it from plain numbers; None when it needs tensors.
        range: the result's range from the ranges of the arguments; None takes it from the signature.
        source: where the formula is from.
        keeps: the arguments through which "better when larger" passes unchanged.
        similarity: whether the result is better when larger.
        reduces: whether it makes a number of a value per pixel or per gaussian.
        domain: the argument and the values for which the function is real; outside it the result is NaN. Inside a
            branch of `where`, the argument is replaced by 1 wherever the branch is not taken.
        instead: what to write where a similarity is minimised, with ``{call}`` and ``{arguments}`` of the call.
        increasing: arguments with which the result rises, so that "better when larger" passes.
        window: least side in pixels of the images that it works on.
        empty: for reductions over a region, the result when nothing is inside it.
        check: finds mistakes that relate arguments to each other; takes the arguments by name.
    """

    name: str
    signature: str
    doc: str
    good: str
    bad: str
    bad_code: str
    kernel: str = ""
    host: Callable[..., float | bool] | None = None
    range: Callable[[Ranges], Interval] | None = None
    source: str = ""
    keeps: tuple[str, ...] = ()
    similarity: bool = False
    reduces: bool = False
    domain: tuple[str, Interval] | None = None
    instead: str = ""
    increasing: tuple[str, ...] = ()
    window: int = 1
    empty: float = 0.0
    check: Callable[[Mapping[str, Sequence[Expr]]], Problem | None] | None = None

    @property
    def parsed(self) -> Signature:
        """The signature, parsed once."""
        return parse_signature(self.signature)


@cache
def parse_signature(text: str) -> Signature:
    """Parse the notation of this module's docstring.

    Raises:
        ValueError: the text is not in the notation; a mistake in a record, which its test finds.
    """
    inside, _, result = text.partition(") -> ")
    if not inside.startswith("(") or not result:
        raise ValueError(f"not a signature: {text!r}")
    params: list[ParamSpec] = []
    keyword_only = False
    for part in _split(inside[1:]):
        if part.startswith(";"):
            keyword_only = True
            part = part[1:].strip()
        params.append(_parameter(part, keyword_only))
    result, range_ = _kind_and_range(result)
    return Signature(tuple(params), result, range_ or REALS)


def _split(text: str) -> list[str]:
    """Split at commas and before semicolons, outside brackets and braces."""
    parts, depth, current = [], 0, ""
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and c in ",;":
            parts.append(current.strip())
            current = ";" if c == ";" else ""
        else:
            current += c
    parts.append(current.strip())
    return [p for p in parts if p and p != ";"]


def _parameter(text: str, keyword_only: bool) -> ParamSpec:
    head, _, default = text.partition(" = ")
    name, _, kind = head.partition(":")
    variadic = name.startswith("*")
    choices: tuple[str, ...] = ()
    kind = kind.strip()
    if kind.startswith("{"):
        choices = tuple(c.strip().strip('"') for c in kind.strip("{}").split(","))
        kind = "mode"
    kind, range_ = _kind_and_range(kind)
    if kind not in KINDS:
        raise ValueError(f"unknown kind in a signature: {kind!r}")
    return ParamSpec(name.strip("* "), kind, range_, default or None, keyword_only, variadic, choices)


def _kind_and_range(text: str) -> tuple[str, Interval | None]:
    for op, is_open in ((" >= ", False), (" > ", True)):
        if op in text:
            kind, _, bound = text.partition(op)
            return kind.strip(), Interval(float(bound), inf, lo_open=is_open)
    kind, _, interval = text.partition(" in ")
    if not interval:
        return kind.strip(), None
    lo, _, hi = interval.strip()[1:-1].partition(",")
    return kind.strip(), Interval(float(lo), float(hi), interval.strip()[0] == "(", interval.strip()[-1] == ")")
