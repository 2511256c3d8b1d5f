"""Backgrounds: a render that is laid over its background twice, and a photograph that is not laid over it at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...diagnostics import Label
from ...typed import Expr
from .context import Context
from .regions import RENDERED, TARGET, Regions
from .schedules import MOST_FACTORS

RANDOM = frozenset({"noise", "rand", "random"})
"""Words in the name of a colour that changes from step to step."""

LEARNED = frozenset({"env", "environment", "learned", "learnt", "model", "sky"})
"""Words in the name of a colour that is part of the scene, and so of the photograph."""

PASSES = frozenset({"clamp", "detach", "raw", "min", "max"})


class Over(NamedTuple):
    """`front + (1 - cover) * behind`, or `cover * front + (1 - cover) * behind`.

    Attributes:
        e: the sum.
        front: what is laid over, with its factors.
        cover: how opaque it is.
        behind: the factors of what it is laid over; none for white.
    """

    e: Expr
    front: Expr
    cover: Expr
    behind: tuple[Expr, ...]


def factors(e: Expr) -> list[Expr]:
    """The factors of a product, signs apart."""
    found, stack = list[Expr](), [e]
    while stack and len(found) < MOST_FACTORS:
        at = stack.pop()
        if at.op == "mul":
            stack.extend(reversed(at.args))
        else:
            found.append(at)
    return found


def _plain(e: Expr) -> Expr:
    while e.op == "call" and e.builtin.name in PASSES and e.args:
        e = e.args[0]
    return e


def _is_render(e: Expr) -> bool:
    at = _plain(e)
    return at.op == "input" and str(at.value).rpartition(".")[2] == RENDERED


def _is_cover(e: Expr) -> bool:
    """Whether a value is the render's own opacity."""
    at = _plain(e)
    return at.op == "input" and str(at.value).rpartition(".")[2] == "alpha"


def over_of(e: Expr) -> Over | None:
    """What a sum lays over what, if it does."""
    if e.op != "add":
        return None
    for front, rest in (e.args, e.args[::-1]):
        parts = factors(rest)
        at = next((p for p in parts if p.op == "sub" and p.args[0].op == "const" and p.args[0].value == 1), None)
        if at is not None and at.args[1].type.kind.components == 1 and at.args[1].type.kind.is_tensor:
            return Over(e, front, at.args[1], tuple(p for p in parts if p is not at))
    return None


def overs(root: Expr) -> Iterator[Over]:
    """Every place in a value where something is laid over something else."""
    return (over for e in root.walk() if (over := over_of(e)) is not None)


def check(context: Context) -> None:
    """MSK014 for renders that are laid over a background twice, MSK008 for photographs on another one."""
    regions = context.regions
    twice = _twice(regions)
    seen: set[int] = set()
    for c in regions.comparisons():
        for render, photo in c.pairs:
            if id(render) in seen:
                continue
            seen.add(id(render))
            _pair(regions, c.term.name, render, photo, twice)


def _twice(regions: Regions) -> set[int]:
    """Report renders that are multiplied by their own opacity; the sums that are reported."""
    context = regions.context
    found: set[int] = set()
    for term, e in context.values():
        over = over_of(e)
        if over is None or not _is_cover(over.cover):
            continue
        parts = factors(over.front)
        again = next((p for p in parts if _is_cover(p)), None)
        behind = next((p for p in over.behind if "background" in regions.reads(p)), None)
        colour = next((p for p in parts if _is_render(p)), None)
        label = again if again is not None else behind
        if colour is None or label is None:
            continue
        found.add(id(e))
        source, span = regions.places.at(e)
        text = context.text(_plain(colour))
        if again is not None:
            message = f"term `{term.name}` weights `{text}` by `alpha` again: its colours are weighted already"
            caption = "where half is covered, this is a quarter of the colour"
            help_ = f"to lay a render on black over a colour write `{text} + (1 - alpha) * colour`"
        else:
            message = f"term `{term.name}` lays `{text}` over `background`, which it is on already"
            caption = "where nothing is drawn, this is twice the background"
            help_ = f"write `{text}`"
        known = label.source is not context.report.hidden
        labels = [Label(label.span, "a second time", label.source)] if known else []
        context.report.emit("MSK014", message, source, span, caption=caption, labels=labels, help=[help_])
    return found


def _pair(regions: Regions, term: str, render: Expr, photo: Expr, twice: set[int]) -> None:
    """Report a photograph that is not on what the render is on."""
    context = regions.context
    mine = next((o for o in overs(render) if _is_cover(o.cover) and RENDERED in regions.reads(o.front)), None)
    its = next((o for o in overs(photo) if TARGET in regions.reads(o.front)), None)
    if mine is not None and id(mine.e) in twice:
        return
    behind = None if mine is None else _colour(mine)
    other = None if its is None else _colour(its)
    if mine is not None and its is not None:
        wrong = not _alike(regions, mine, its)
    elif mine is not None:
        wrong = _changes(behind) and not _shared(regions, mine, photo)
    else:
        wrong = its is not None and _changes(other) and not _shared(regions, its, render)
    over = mine if mine is not None else its
    if not wrong or over is None:
        return
    source, span = regions.places.at(over.e)
    colours = [context.text(p) for p in over.behind]
    on = f"`{' * '.join(colours)}`" if colours else "white"
    where = its if mine is not None and its is not None else None
    if mine is None:
        message = f"term `{term}` lays the photograph over {on}, but the render is on `background`"
        help_ = "lay it over `background`, as in `mix(background, target, target_alpha)`"
    elif where is not None:
        message = f"term `{term}` lays the render and the photograph over different colours"
        help_ = "lay both over the same colour"
    else:
        message = f"term `{term}` lays the render over {on}, but not the photograph: that penalises transparency"
        help_ = (
            f"lay the photograph over it too, as in `mix({colours[0] if colours else '1'}, target, target_alpha)` with "
            "`input target_alpha: map[coverage] in [0, 1]`"
        )
    at = photo if where is None else where.e
    label = (
        [Label(at.span, "the photograph", at.source)]
        if mine is not None and at.source is not context.report.hidden
        else ()
    )
    context.report.emit("MSK008", message, source, span, labels=label, help=[help_])


def _colour(over: Over) -> Expr | None:
    """What is behind, where that is one value; None for white and for products."""
    return over.behind[0] if len(over.behind) == 1 else None


def _changes(colour: Expr | None) -> bool:
    """Whether a background is a colour that the host draws, rather than a constant or a picture of the sky."""
    if colour is None or colour.op not in ("input", "extern"):
        return False
    name = str(colour.value) if colour.op == "input" else str(colour.value.name)
    words = set(name.lower().replace(".", "_").split("_"))
    if name == "background":
        return False
    return bool(words & RANDOM) or (colour.type.kind.name == "images" and not words & LEARNED)


def _shared(regions: Regions, over: Over, other: Expr) -> bool:
    """Whether the other side has to do with the same background."""
    mine = frozenset[str]().union(*(regions.reads(p) for p in over.behind))
    return bool(mine & regions.reads(other))


def _alike(regions: Regions, mine: Over, its: Over) -> bool:
    """Whether two backgrounds may be the same; white is a background of no factors."""
    colours = [over.behind[0] for over in (mine, its) if len(over.behind) == 1]
    if len(colours) == 2:
        return not {c.op for c in colours} <= {"const", "input"} or regions.same(*colours)
    if len(mine.behind) + len(its.behind) != 1:
        return True
    return colours[0].value == 1 if colours[0].op == "const" else colours[0].op != "input"
