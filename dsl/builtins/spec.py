"""The record that a builtin is declared with, and the notation of its signature.

A signature reads ``(a: visual = rendered, r: region = everywhere; delta: number > 0 = 1.0) -> number in [0, inf)``:
parameters after the semicolon are taken by keyword only, ``*p: point`` takes any number of arguments. `KINDS` lists
what a parameter can take; ``gaussians 3`` is one with that many components. A default is a number, a text, ``true``,
``false``, the name of a fixed input or region, or ``none`` for an argument that may be left out.

Results are:

- ``number``, ``flag``, ``host`` (a number that the host computes from host arguments);
- ``like x y``: what arithmetic on these arguments gives;
- ``same x``: the kind of the argument, its name included (a depth stays a depth);
- ``component x``, ``components 2 x``: one, or two, components for each pixel or gaussian of x;
- ``region x``: a region over the pixels or gaussians of x;
- ``statistic x``: one value per image, `[B]`, of pixels, and a number of anything else;
- ``per image 3``: `[B 3]`; ``gaussians 3``: `[N 3]`; ``map``, ``image``, ``depth``, ``normals``, ``region``: pixels of
  the view that the first argument with pixels is of, or of the render;
- ``list of region``;
- ``(ll: like x, lh: like x)``: a record with these fields.

Each may be followed by a range, ``in [0, 1]``, ``> 0`` or ``>= 0``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ..interval import REALS, Interval, inf

if TYPE_CHECKING:
    from ..typed import Expr
    from ..types import Facts, Kind

Ranges = Mapping[str, "Interval | None"]

Support = tuple[int, int, int, int]


def facets(key: str, e: Expr) -> dict[str, Interval]:
    """What is known of an argument beyond the range of its values, for the `Ranges` that have it under ``key``.

    ``x components`` is their number, ``x length`` holds the length of each vector of directions, and ``points value``
    is the range of the second number of a pair.
    """
    found = {}
    kind, range_ = e.type.kind, e.type.range
    if isinstance(kind.components, int) and kind.components > 0 and kind.is_tensor:
        found[f"{key} components"] = Interval(kind.components, kind.components)
    if "length" in e.type.facts and range_.within(Interval(-1, 1)):
        found[f"{key} length"] = Interval(0, 1)
    if kind.name == "tuple" and len(e.args) == 2:
        found[f"{key} value"] = e.args[1].type.range
    return found


RESULT = re.compile(
    r"(number|flag|host|map|image|depth|normals|region|list of region|per image \d|gaussians \d"
    r"|(like|same|component|region|statistic)( \w+)+|components \d \w+|\(\w+: .+\))( (in|>|>=) .+)?$"
)


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
    "map": "a map",
    "depth": "a depth",
    "normals": "normals, or three components for each pixel",
    "value": "a number, or a value per pixel or per gaussian",
    "tensor": "a value per pixel or per gaussian",
    "gaussians": "a value per gaussian",
    "region": "a region",
    "condition": "a region or a condition",
    "host": "a number that is known before the step is computed",
    "whole": "a whole number that is known before the step is computed",
    "number": "a number",
    "flag": "true or false",
    "state": "the state record",
    "camera": "the camera record",
    "index": "an index of gaussians",
    "list": "a list",
    "string": 'the letter of a dimension, such as "K"',
    "point": "a pair of numbers, (step, value)",
    "mode": "a mode",
}


class ParamSpec(NamedTuple):
    """One parameter of a signature.

    ``default`` is the text of an expression, None when it must be given. ``components`` is what ``gaussians 3`` asks
    for, 0 for any number.
    """

    name: str
    kind: str
    range: Interval | None = None
    default: str | None = None
    keyword_only: bool = False
    variadic: bool = False
    choices: tuple[str, ...] = ()
    components: int = 0

    def describe(self) -> str:
        """What it accepts, for messages."""
        if self.kind == "mode":
            return "one of " + ", ".join(f'"{c}"' for c in self.choices)
        count = f" with {self.components} components" if self.components else ""
        return KINDS[self.kind] + count + (f" in {self.range}" if self.range else "")


class Signature(NamedTuple):
    """A parsed signature. ``result`` is in the notation of this module; see `check/arguments.py`."""

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
        range: the result's range from the ranges of the arguments; None takes it from the signature. Further keys, in
            `facets`, say what else is known of an argument.
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
        stops: whether no gradient passes through it.
        smooth: the argument and the values at which the derivative is finite; outside them the gradient is infinite
            or NaN although the value may be fine.
        safe: what to write where the argument can leave ``domain`` or ``smooth``, with ``{x}`` for its text.
        facts: arguments whose facts the result keeps, where they agree, less those that ``drops`` names.
        drops: facts that the result does not keep.
        refact: makes the facts of the result from those of the arguments, instead of ``facts``. A mode argument has
            the fact ``mode``.
        ignores: facts in which the operands of a comparing function need not agree.
        kind: the kind of the result from the arguments by name, where the signature cannot say it.
        support: of a stencil, how many pixels at each border of the image have no value: left, right, top, bottom.
            A reduction leaves them out. A function of the arguments by name where they decide it.
        needs: what the kernel gets by keyword beyond the arguments: ``per_image`` (whether ``x``, or the first
            argument, has pixels, so that statistics are one per image), ``key`` (the random key of this place and
            step), ``pixels`` (an input with the pixels of the program, for its shape), and fields of the state such
            as ``state.quats``, which come as ``quats`` in place of the state. Not for the kernel: ``network``, a
            function of the host that gives a map; ``one_image``, that without a dimension for the images in its
            arguments there must be one; ``holes``, that it sees the NaN and infinities of sparse inputs.
        exists: of a function that has no value at some points, the kernel that makes the region where it has one, from
            the same arguments. A reduction leaves the others out.
        seed: of a random choice, the number of the place in the program where it stands.
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
    stops: bool = False
    smooth: tuple[str, Interval] | None = None
    safe: str = ""
    facts: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    refact: Callable[[Mapping[str, Facts]], Facts] | None = None
    ignores: tuple[str, ...] = ()
    kind: Callable[[Mapping[str, Expr]], Kind] | None = None
    support: Support | Callable[[Mapping[str, Expr]], Support] = (0, 0, 0, 0)
    needs: tuple[str, ...] = ()
    exists: str = ""
    seed: int = 0

    def support_of(self, args: Mapping[str, Expr]) -> Support:
        """The support of a call with these arguments."""
        return self.support(args) if callable(self.support) else self.support

    @property
    def of_region(self) -> bool:
        """Whether it makes a region of a region ``r``, which for other functions is what they are reduced over."""
        return self.parsed.result.startswith("region r")

    @property
    def parsed(self) -> Signature:
        """The signature, parsed once."""
        return parse_signature(self.signature)


def record_fields(result: str) -> list[tuple[str, str, Interval]]:
    """The fields of a record result, ``(ll: like x, lh: like x >= 0)``: name, rule and range."""
    fields = []
    for part in _split(result[1:-1]):
        name, _, rule = part.partition(": ")
        rule, range_ = _kind_and_range(rule)
        fields.append((name, rule, range_ or REALS))
    return fields


@cache
def parse_signature(text: str) -> Signature:
    """Parse the notation of this module's docstring.

    Raises:
        ValueError: the text is not in the notation; a mistake in a record, which its test finds.
    """
    inside, _, result = text.partition(") -> ")
    if not inside.startswith("(") or not result or not RESULT.match(result):
        raise ValueError(f"not a signature: {text!r}")
    params: list[ParamSpec] = []
    keyword_only = False
    for part in _split(inside[1:]):
        if part.startswith(";"):
            keyword_only = True
            part = part[1:].strip()
        params.append(_parameter(part, keyword_only))
    result, range_ = (result, None) if result.startswith("(") else _kind_and_range(result)
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
    kind, _, components = kind.partition(" ")
    if kind not in KINDS:
        raise ValueError(f"unknown kind in a signature: {kind!r}")
    count = int(components) if components else 0
    return ParamSpec(name.strip("* "), kind, range_, default or None, keyword_only, variadic, choices, count)


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
