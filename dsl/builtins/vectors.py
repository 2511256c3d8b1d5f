"""Vectors and quaternions: functions of the components of each pixel or gaussian together."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..facts import facts, without
from ..interval import REALS, Interval, point
from ..types import Facts
from . import bounds
from .shapes import Args, Check, all_of, check_components, letters, whole, written_out, wrong
from .spec import Builtin, Problem, Ranges


def _norm(r: Ranges) -> Interval:
    eps = r.get("eps") or point(0.0)
    squares = bounds.length(r, "x").power(point(2)) + eps.power(point(2))
    return squares.increasing(lambda v: math.sqrt(max(v, 0.0)))


def _dot(r: Ranges) -> Interval:
    product = (r.get("a") or REALS) * (r.get("b") or REALS)
    a, b = bounds.count(r, "a"), bounds.count(r, "b")
    if not (a.is_point and b.is_point):
        many = Interval(1, math.inf)
    else:
        many = point(max(a.lo, b.lo))
    found = bounds.summed(product, many)
    if "a length" in r and "b length" in r:
        return found.clip(-1.0, 1.0)
    return found


def _cross(r: Ranges) -> Interval:
    product = (r.get("a") or REALS) * (r.get("b") or REALS)
    found = product - product
    return found.clip(-1.0, 1.0) if "a length" in r and "b length" in r else found


def _products(r: Ranges) -> Interval:
    product = (r.get("a") or REALS) * (r.get("b") or REALS)
    signed = product.hull(-product)
    return bounds.summed(signed, point(4))


def _unit(given: Mapping[str, Facts]) -> Facts:
    return {**without(given.get("x", {}), "length", "parameter"), **facts(length="unit")}


def _rotated(r: Ranges) -> Interval:
    v = r.get("v") or REALS
    largest = math.sqrt(3) * v.abs().hi
    return bounds.SIGNED_UNIT if "v length" in r else Interval(-largest, largest)


def _together(first: str, second: str) -> Check:
    """The second has a value for each of the first, or for each of its neighbours."""

    def check(args: Args) -> Problem | None:
        a, b = args[first][0].type.kind, args[second][0].type.kind
        inner, outer = letters(a), letters(b)
        if a.view == b.view and (outer[: len(inner)] == inner or inner[: len(outer)] == outer):
            return None
        message = f"`{second}` is {b.describe()}, but `{first}` is {a.describe()}"
        return wrong(args[second][0], message, "give both for the same gaussians or pixels", "TYP003")

    return check


def _check_rows(args: Args) -> Problem | None:
    """The components are whole rows of a matrix."""
    x, rows = args["x"][0], args.get("rows", (None,))[0]
    count, per_column = x.type.kind.components, whole(rows, 3)
    if not isinstance(count, int) or count % per_column == 0:
        return None
    parts = "1 component is" if count == 1 else f"{count} components are"
    return wrong(x, f"{parts} no matrix of {per_column} rows", "give the entries row after row", "TYP004")


NORM = Builtin(
    "norm",
    "(x: tensor, eps: host >= 0 = 0) -> component x",
    "Length of the vector of components, sqrt(sum(x^2) + eps^2); keeps a trailing 1. Its gradient at 0 is 0.",
    good="term far = 0.01 * mean(relu(norm(state.means) - 10))",
    bad="term far = 0.01 * norm(state.means)",
    bad_code="TYP002",
    kernel="vectors:norm",
    range=_norm,
)

NORMALIZE = Builtin(
    "normalize",
    "(x: tensor) -> same x",
    "The vector of components divided by its length; 0 stays 0, with zero gradient.",
    good="term bend = normal_cosine(normalize(normals), normals_from_depth, masked)",
    bad="term bend = normal_cosine(normalize(0.5), normals_from_depth, masked)",
    bad_code="TYP001",
    kernel="vectors:normalize",
    range=bounds.direction,
    refact=_unit,
)

DOT = Builtin(
    "dot",
    "(a: tensor, b: tensor) -> component a b",
    "Sum of the products of the components; keeps a trailing 1.",
    good="term bend = mean(1 - dot(normals, normals_from_depth), masked)",
    bad="term bend = mean(1 - dot(normals, state.means), masked)",
    bad_code="TYP003",
    kernel="vectors:dot",
    range=_dot,
)

CROSS = Builtin(
    "cross",
    "(a: tensor, b: tensor) -> like a b",
    "Cross product of vectors with three components.",
    good="term bend = mean(norm(cross(normals, normals_from_depth)), masked)",
    bad="term bend = mean(norm(cross(alpha, depth)), masked)",
    bad_code="TYP004",
    kernel="vectors:cross",
    range=_cross,
    check=check_components(a=3, b=3),
)

_HAMILTON = "Hamilton product of quaternions with the real part first, wxyz"

QUAT_MUL = Builtin(
    "quat_mul",
    "(a: tensor, b: tensor) -> like a b",
    "Product of quaternions wxyz: the rotation `b`, then `a`.",
    good="input before: [N 4]\nterm turn = mean(abs(quat_mul(state.quats, quat_inverse(before)) - before))",
    bad="term turn = mean(quat_mul(state.quats, state.means))",
    bad_code="TYP004",
    kernel="vectors:quat_mul",
    range=_products,
    check=check_components(a=4, b=4),
    source=_HAMILTON,
)

QUAT_INVERSE = Builtin(
    "quat_inverse",
    "(q: tensor) -> same q",
    "The quaternion wxyz of the opposite rotation: its conjugate over its squared length; 0 for 0.",
    good="input before: [N 4]\nterm turn = mean(abs(quat_mul(state.quats, quat_inverse(before)) - before))",
    bad="term turn = mean(quat_inverse(state.scales))",
    bad_code="TYP004",
    kernel="vectors:quat_inverse",
    check=check_components(q=4),
    source=_HAMILTON,
)

QUAT_ROTATE = Builtin(
    "quat_rotate",
    "(q: tensor, v: tensor) -> like v",
    "The vectors rotated by the quaternions wxyz, which are normalised first.",
    good="input before: [N 3]\nterm move = mean(norm(quat_rotate(state.quats, before) - state.means))",
    bad="term move = mean(quat_rotate(state.means, state.quats))",
    bad_code="TYP004",
    kernel="vectors:quat_rotate",
    range=_rotated,
    check=all_of(check_components(q=4, v=3), _together("q", "v")),
    source=_HAMILTON,
)

IDENTITY_LIKE = Builtin(
    "identity_like",
    "(x: tensor; rows: whole >= 1 = 3) -> like x in [0, 1]",
    "The identity matrix for each value of x, whose components are the entries of a matrix of so many rows, row after "
    "row: 1 where row and column have the same number, else 0. Of 12 components and 3 rows it is the affine transform "
    "that changes nothing.",
    good="input grids: list of [Z Y X 12]\nterm drift = 0.01 * mean(mean(norm(g - identity_like(g))) for g in grids)",
    bad="term drift = mean(norm(state.quats - identity_like(state.quats)))",
    bad_code="TYP004",
    kernel="vectors:identity_like",
    check=all_of(written_out("rows", decides="the shape of the matrix"), _check_rows),
)

BUILTINS: tuple[Builtin, ...] = (NORM, NORMALIZE, DOT, CROSS, QUAT_MUL, QUAT_INVERSE, QUAT_ROTATE, IDENTITY_LIKE)
