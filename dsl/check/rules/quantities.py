"""Values of different sorts that are compared, directions that are made to differ, and losses with sides swapped."""

from __future__ import annotations

from collections.abc import Iterator

from ...diagnostics import Applicability, Edit, Fix, Label
from ...inputs import BY_NAME
from ...interval import REALS, UNIT
from ...typed import Expr
from .composite import factors
from .context import Context
from .flow import carried
from .parts import parts, reduced

PASSES = frozenset({"detach", "clamp", "max", "min", "finite_or", "blur", "box", "resize", "pool", "block_mean"})
"""Builtins of which the result is the same sort of value as the first operand."""

COLOURS = frozenset({"rendered", "target"})
NOUNS = {"depth": "a depth", "normals": "directions", "colour": "colour", "coverage": "coverage", "distortion": ""}
COMPARED = frozenset({"pearson_loss", "gradient_l1", "psnr", "ssim", "ms_ssim"})

# Different quantities


def check(context: Context) -> None:
    """DEP021 for a depth or directions against something else, NRM020 for normals that are stored as an image."""
    places = context.places
    said: set[tuple[int, int, int]] = set()
    for _, e in context.values():
        for a, b in _pairs(e):
            place = places.of(e)
            key = (id(place.source), place.span.start, place.span.end)
            if key in said or place.source is context.report.hidden:
                continue
            if _encoded(context, place, a, b) or _encoded(context, place, b, a) or _different(context, place, a, b):
                said.add(key)


def _pairs(e: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Two values per pixel that are compared."""
    if e.op == "sub":
        a, b = e.args
    elif e.op == "call" and (e.builtin.name in COMPARED or e.builtin.name == "dot"):
        a, b = e.args[:2]
    elif products := _dot(e):
        a, b = products
    else:
        return
    if a.type.kind.layout == b.type.kind.layout == "pixels":
        yield a, b


def _dot(e: Expr) -> tuple[Expr, Expr] | None:
    """The operands of a dot product, also of one that is written out."""
    if e.op != "call":
        return None
    if e.builtin.name == "dot":
        return e.args[0], e.args[1]
    product = e.args[0] if e.builtin.name in ("component_sum", "component_mean") else None
    if product is None or product.op != "mul" or not all(a.type.kind.components == 3 for a in product.args):
        return None
    return product.args[0], product.args[1]


def _origin(e: Expr) -> Expr | None:
    """The input that a value is, filtered or limited or a part of it; None for what is computed."""
    for _ in range(100):
        if e.op == "input":
            return e
        if e.op == "component" or (e.op == "call" and e.builtin.name in PASSES):
            if any(a.type.kind.is_tensor and a.type.kind.name != "region" for a in e.args[1:] if a.op != "const"):
                return None
            e = e.args[0]
        elif e.via is not None and e.via.prelude and e.via.name == "gray":
            e = e.via.args["x"]
        elif e.op == "call" and e.builtin.name in ("component_mean", "component_max", "normalize"):
            e = e.args[0]
        elif e.op == "div" and e.args[0].type.is_host and e.type.kind.name == "depth":
            e = e.args[1]
        else:
            return None
    return None


def _sort(e: Expr) -> str:
    """What sort of value a value is; "" where that is not certain."""
    if e.op == "region":
        return "coverage"
    at = _origin(e)
    if at is None:
        return "coverage" if e.type.kind.name == "region" else ""
    name = str(at.value).rpartition(".")[2] if at.type.kind.name != "depth" else ""
    if at.type.kind.name in ("depth", "normals"):
        return at.type.kind.name
    if name in COLOURS:
        return "colour"
    if name == "distortion":
        return "distortion"
    role = at.type.facts.get("role")
    if name == "alpha" or at.type.kind.name == "region" or (role is not None and role.value == "coverage"):
        return "coverage"
    return ""


def _different(context: Context, place: Expr, a: Expr, b: Expr) -> bool:
    sorts = (_sort(a), _sort(b))
    if "" in sorts or sorts[0] == sorts[1] or not {"depth", "normals", "distortion"} & {*sorts}:
        return False
    if not all(_keeps(x, sort) for x, sort in zip((a, b), sorts)):
        return False
    words = [NOUNS[s] or "distortion" for s in sorts]
    labels = [Label(x.span, word, x.source) for x, word in zip((a, b), words) if x.source is not context.report.hidden]
    name = place.source.slice(place.span).partition("(")[0].strip()
    region = b.type.kind.name == "region" and place.via is not None and place.via.args.get("b") is b
    help_ = ["compare values of one sort; if both are meant to be plain numbers here, say so: `raw(x)`"]
    if region:
        help_.insert(0, f"a region is the third operand: `{name}({context.text(a)}, other, {context.text(b)})`")
    context.report.emit(
        "DEP021",
        f"this compares {words[0]} with {words[1]}",
        place.source,
        place.span,
        labels=labels,
        help=help_,
    )
    return True


def _keeps(e: Expr, sort: str) -> bool:
    """Whether a value still means what its input does: a depth that has lost its facts is another quantity."""
    return sort not in ("depth", "normals") or e.type.kind.name == sort


def _encoded(context: Context, place: Expr, given: Expr, other: Expr) -> bool:
    """Normals that are stored in 0..1, as in a picture of them, where directions are wanted."""
    at = given
    while at.op == "call" and at.builtin.name in ("detach", "blur", "box", "resize"):
        at = at.args[0]
    if at.op != "input" or other.type.kind.name != "normals" or other.type.range.lo >= 0:
        return False
    info = context.program.inputs.get(str(at.value))
    if info is None or info.kind.name not in ("image", "normals"):
        return False
    picture = info.kind.name == "image" and info.range == REALS  # an image without a range is one of colours
    if not (picture or info.range.within(UNIT)):
        return False
    text = context.text(at)
    own = at.source is context.program.source and at.source.slice(at.span) == text
    made = f"{text} * 2 - 1" if _alone(at) else f"({text} * 2 - 1)"
    context.report.emit(
        "NRM020",
        f"`{text}` is {'an image, with colours ' if picture else ''}in 0..1, but directions are in -1..1",
        place.source,
        place.span,
        labels=[Label(info.span, "an image" if picture else f"declared in {info.range}", info.source)],
        help=[f"bring it to -1..1: `{text} * 2 - 1`; if it is so already, declare it as `normals`, without a range"],
        fixes=[Fix("decode it", [Edit(at.span, made)], Applicability.UNSAFE)] if own else (),
    )
    return True


def _alone(e: Expr) -> bool:
    """Whether a value is written as an argument, or in brackets, by itself."""
    before, after = e.source.text[: e.span.start].rstrip(), e.source.text[e.span.end :].lstrip()
    return before.endswith(("(", ",")) and after.startswith((")", ","))


# Directions


def check_agreement(context: Context) -> None:
    """NRM021: the cosine between two normals is made small, which turns them away from each other."""
    places = context.places
    said: set[int] = set()
    for term in context.live:
        for part in parts(context, term.value):
            x = reduced(part.e)
            if x is None or part.negative or any(f.type.range.lo < 0 for f, _ in part.factors):
                continue
            found = [(f, pair) for f in factors(x) if (pair := _dot(f)) is not None]
            others = [f for f in factors(x) if all(f is not d for d, _ in found)]
            if len(found) != 1 or any(f.type.range.lo < 0 for f in others):
                continue
            (dot, (a, b)) = found[0]
            frames = [v.type.facts.get("frame") for v in (a, b)]
            if (
                a is b
                or None in frames
                or dot.type.range.lo >= 0
                or id(dot) in said
                or context.structure.key(a) == context.structure.key(b)
            ):
                continue
            said.add(id(dot))
            context.explained.update((id(dot), id(x)))
            source, span = places.at(part.e)
            text, made = context.text(dot), f"1 - {dot.source.slice(dot.span)}"
            context.report.emit(
                "NRM021",
                f"term `{term.name}` is smallest where the directions are opposite, not where they agree",
                source,
                span,
                labels=[Label(dot.span, "1 where they agree", dot.source)]
                if dot.source is not context.report.hidden and dot.span != span
                else (),
                help=[f"to make them agree write `1 - {text}`; to make them orthogonal, `abs({text})`"],
                fixes=[Fix("measure how far they differ", [Edit(dot.span, made)], Applicability.UNSAFE)]
                if x is dot and dot.source is context.program.source and _inside(dot, part.e)
                else (),
            )


def _inside(e: Expr, around: Expr) -> bool:
    """Whether a value is written in the text of another, rather than named there."""
    return e.source is around.source and around.span.start <= e.span.start and e.span.end <= around.span.end


# Predictions


def check_swapped(context: Context) -> None:
    """GRD021: an entropy between what is trained and what is given, the wrong way round."""
    memo = context.carried
    seen: set[tuple[int, int]] = set()
    # Declared inputs may be trained by the host; regions, and coverage that comes with the item, are data.
    data = {n for n, i in context.program.inputs.items() if i.kind.name == "region" or "role" in i.facts}
    for term, e in context.values():
        if e.via is not None and e.via.prelude and e.via.name == "bce":
            a, b, name, source, span = e.via.args["a"], e.via.args["b"], "bce", e.via.source, e.via.span
        elif e.op == "call" and e.builtin.name == "cross_entropy":
            a, b, name, source, span = e.args[0], e.args[1], "cross_entropy", e.source, e.span
        else:
            continue
        trained = any(n in BY_NAME or n.endswith("()") for n in carried(b, memo))
        if (
            not carried(a, memo) <= data
            or not trained
            or source is context.report.hidden
            or (id(source), span.start) in seen
        ):
            continue
        seen.add((id(source), span.start))
        of, given = context.text(b), context.text(a)
        context.report.emit(
            "GRD021",
            f"term `{term.name}` takes `{given}` for the prediction and trains `{of}` as its target",
            source,
            span,
            help=[f"the prediction comes first: `{name}({of}, {given})`"],
        )
