"""Functions with a notation of their own in LaTeX: gates as comparisons of the step, ramps and curves by cases."""

from __future__ import annotations

from itertools import pairwise

from .formula import ATOM, COMPARISON, POWER, PRODUCT, SUM, View
from .latex_math import Math, special
from .latex_symbols import cases, number_tex
from .typed import Expr

Args = dict[str, list[View]]


def _zero(view: View | None) -> bool:
    return view is None or (view.expr is not None and view.expr.op == "const" and view.expr.value == 0)


def _one(args: Args, name: str) -> View | None:
    return args[name][0] if args.get(name) else None


def _shown(m: Math, args: Args, name: str, level: int = 0) -> str:
    return m.tex(args[name][0], level)


def _gate(name: str, m: Math, args: Args) -> str:
    x = _shown(m, args, "x", SUM)
    if name == "after":
        return rf"{x} \ge {_shown(m, args, 'a', SUM)}"
    if name == "before":
        return f"{x} < {_shown(m, args, 'b', SUM)}"
    if name == "between":
        return rf"{_shown(m, args, 'a', SUM)} \le {x} < {_shown(m, args, 'b', SUM)}"
    offset = "0" if _one(args, "offset") is None else _shown(m, args, "offset")
    return rf"{x} \equiv {offset} \;(\mathrm{{mod}}\; {_shown(m, args, 'k')})"


@special("after", "before", "between", "every")
def _flag(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int] | None:
    """A gate among factors is 0 or 1; `Conditions` writes those after "if" without the brackets."""
    name = e.builtin.name if e is not None and e.op == "call" else ""
    if not name:
        return None
    text = _gate(name, m, args)
    return (text, COMPARISON) if isinstance(m, Conditions) and m.inside else (rf"\mathbf{{1}}_{{{text}}}", ATOM)


class Conditions(Math):
    """Writes formulas whose conditions stand after "if"."""

    inside = False

    def condition(self, view: View) -> str:
        """A condition without the brackets that make a number of it."""
        before, self.inside = self.inside, True
        text = self.tex(view)
        self.inside = before
        return text


@special("ramp")
def _ramp(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    x, a, b = _shown(m, args, "x"), _one(args, "a"), _one(args, "b")
    assert a is not None
    if b is None or _zero(a):
        end = m.tex(a if b is None else b)
        return cases([(rf"{x} / {_atom(m, a if b is None else b)}", f"{x} < {end}"), ("1", "")]), ATOM
    start, end = m.tex(a), m.tex(b)
    slope = rf"\frac{{{x} - {m.tex(a, PRODUCT)}}}{{{end} - {m.tex(a, PRODUCT)}}}"
    return cases([("0", f"{x} < {start}"), (slope, rf"{start} \le {x} < {end}"), ("1", "")]), ATOM


def _atom(m: Math, view: View) -> str:
    return m.tex(view, ATOM)


def _moving(m: Math, args: Args, between: str) -> tuple[str, int]:
    """A curve from v0 to v1: ``between`` is its middle, with FRACTION where the fraction of the way stands."""
    x, over, start = _shown(m, args, "x"), args["over"][0], _one(args, "start")
    if _zero(start) and (x, m.tex(over)) == ("t", "T"):  # the last step is before the end of the curve
        return between.replace("FRACTION", "t / T"), SUM
    if _zero(start):
        fraction = rf"\frac{{{x}}}{{{m.tex(over)}}}"
        rows = [(between.replace("FRACTION", fraction), f"{x} < {m.tex(over)}")]
    else:
        assert start is not None
        begin = m.tex(start)
        end = _sum_of(m, start, over)
        fraction = rf"\frac{{{x} - {m.tex(start, PRODUCT)}}}{{{m.tex(over)}}}"
        rows = [(_shown(m, args, "v0"), f"{x} < {begin}")]
        rows.append((between.replace("FRACTION", fraction), rf"{begin} \le {x} < {end}"))
    return cases([*rows, (_shown(m, args, "v1"), "")]), ATOM


def _sum_of(m: Math, a: View, b: View) -> str:
    """The sum of two steps, as one number where both are."""
    if all(v.expr is not None and v.expr.op == "const" for v in (a, b)):
        assert a.expr is not None
        assert b.expr is not None
        return number_tex(float(a.expr.value) + float(b.expr.value))
    return f"{m.tex(a, SUM)} + {m.tex(b, SUM)}"


@special("linear")
def _linear(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    v0, v1 = _shown(m, args, "v0", SUM), _shown(m, args, "v1", PRODUCT)
    if _zero(args["v0"][0]):
        return _moving(m, args, rf"{v1} \, FRACTION")
    if _zero(args["v1"][0]):
        return _moving(m, args, "1 - FRACTION" if v0 == "1" else rf"{v0} \left( 1 - FRACTION \right)")
    return _moving(m, args, rf"{v0} + ({v1} - {_shown(m, args, 'v0', PRODUCT)}) \, FRACTION")


@special("loglinear")
def _loglinear(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    v0, v1 = _shown(m, args, "v0", PRODUCT), _shown(m, args, "v1", PRODUCT)
    if v0 == "1":
        return _moving(m, args, rf"{{{_shown(m, args, 'v1', ATOM)}}}^{{FRACTION}}")
    return _moving(m, args, rf"{v0} \left( \frac{{{v1}}}{{{v0}}} \right)^{{FRACTION}}")


@special("cosine")
def _cosine(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    v0, v1 = _shown(m, args, "v0", PRODUCT), _shown(m, args, "v1", SUM)
    wave = r"\left( 1 + \cos\left( \pi \, FRACTION \right) \right)"
    if _zero(args["v1"][0]):
        return _moving(m, args, rf"\frac{{{_shown(m, args, 'v0')}}}{{2}} {wave}")
    return _moving(m, args, rf"{v1} + \frac{{{v0} - {_shown(m, args, 'v1', PRODUCT)}}}{{2}} {wave}")


@special("expdecay")
def _expdecay(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    return rf"e^{{-{_shown(m, args, 'rate', PRODUCT)} \, {_shown(m, args, 'x', PRODUCT)}}}", ATOM


@special("piecewise")
def _piecewise(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int] | None:
    points = [_pair(m, v) for v in args.get("points", [])]
    if len(points) < 2 or any(p is None for p in points):
        return None
    known = [p for p in points if p is not None]
    x = m.tex(args["x"][0], SUM, index)
    mode = args["interp"][0].expr.value if args.get("interp") and args["interp"][0].expr is not None else "linear"
    rows = [(known[0][1], f"{x} < {known[0][0]}")]
    for (a, u), (b, v) in pairwise(known):
        way = rf"\frac{{{x} - {a}}}{{{b} - {a}}}"
        if a == "0":
            way = rf"\frac{{{x}}}{{{b}}}"
        middle = {"step": u, "log": rf"{u} \left( {v} / {u} \right)^{{{way}}}"}.get(mode)
        if middle is None:
            middle = u if u == v else rf"{v} \, {way}" if u == "0" else rf"{u} + ({v} - {u}) \, {way}"
        rows.append((middle, rf"{a} \le {x} < {b}"))
    if known[0][0] == "0":
        rows.pop(0)  # there is no step before the first point
    elif rows[0][0] == rows[1][0]:
        rows[:2] = [(rows[0][0], f"{x} < {known[1][0]}")]
    return cases([*rows, (known[-1][1], "")]), ATOM


def _pair(m: Math, view: View) -> tuple[str, str] | None:
    """The two numbers of a point."""
    from . import ast

    node = view.node
    if not isinstance(node, ast.Tuple) or len(node.items) != 2:
        return None
    return m.tex(view.at(node.items[0]), PRODUCT), m.tex(view.at(node.items[1]), PRODUCT)


@special("sq")
def _sq(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    return rf"{{{m.tex(args['x'][0], ATOM, index)}}}^{{2}}", POWER


@special("where")
def _where(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    c, a, b = (args[n][0] for n in ("c", "a", "b"))
    return cases([(m.tex(a, 0, index), m.tex(c, 0, index)), (m.tex(b, 0, index), "")]), ATOM


@special("dot")
def _dot(m: Math, args: Args, e: Expr | None, index: str) -> tuple[str, int]:
    return rf"\langle {', '.join(m.tex(v, 0, index) for views in args.values() for v in views)} \rangle", ATOM
