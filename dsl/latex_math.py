"""Formulas in LaTeX, for amsmath."""

from __future__ import annotations

from collections.abc import Callable

from . import ast
from .check.functions import Function
from .formula import ATOM, CONDITIONAL, FACTOR, LEVELS, OR, POWER, PRODUCT, SUM, View, named, text
from .host import evaluate
from .inputs import COMPONENTS
from .latex_symbols import GAUSSIAN, PIXEL, Symbols, cases, dotted, escaped, number_tex, upright
from .typed import Expr
from .types import CONSTANT
from .written import Written, defaults

MAX_NODES = 4_000
"""Pieces of one document that are printed; beyond that an ellipsis."""

MAX_DEPTH = 80
"""Levels of one formula that are printed."""

SHORT = 60
"""Syntax nodes of a definition of the language that is written out in place of its name."""

_COMPARED = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}
_WRAPPED = {
    "abs": (r"\lvert ", r" \rvert"),
    "norm": (r"\lVert ", r" \rVert_2"),
    "sqrt": (r"\sqrt{", "}"),
    "relu": (r"\left[ ", r" \right]_{+}"),
    "sigmoid": (r"\sigma\left( ", r" \right)"),
    "floor": (r"\lfloor ", r" \rfloor"),
    "detach": (r"\operatorname{sg}\left( ", r" \right)"),
    "region": ("", ""),
    "raw": ("", ""),
}
_NAMED = {
    "min": r"\min",
    "max": r"\max",
    "exp": r"\exp",
    "log": r"\log",
    "cos": r"\cos",
    "sin": r"\sin",
    "tanh": r"\tanh",
    "ssim": r"\operatorname{SSIM}",
    "ms_ssim": r"\operatorname{MS-SSIM}",
    "psnr": r"\operatorname{PSNR}",
    "lpips": r"\operatorname{LPIPS}",
    "clamp": r"\operatorname{clip}",
}

LOCAL = "local "
"""Before the name of a definition's parameter where its own equation is written: it hides other names."""


class Math:
    """Writes formulas of one program; remembers the symbols and definitions that they use.

    Attributes:
        losses: the losses of the language that were named instead of written out: what stands for one, and the call.
        earlier: whether memories are those of the step before, as in what updates them.
    """

    def __init__(self, written: Written) -> None:
        self.written = written
        self.symbols = Symbols()
        self.losses: dict[str, View] = {}
        self.earlier = False
        self.left, self.depth = MAX_NODES, 0

    def tex(self, view: View, level: int = CONDITIONAL, index: str = "") -> str:
        """A formula, in brackets where it binds less than ``level``; ``index`` names what a sum around it runs over."""
        if self.left <= 0 or self.depth >= MAX_DEPTH:
            return r"\ldots"
        self.left -= 1
        self.depth += 1
        try:
            return self._tex(view, level, index)
        finally:
            self.depth -= 1

    def _tex(self, view: View, level: int, index: str) -> str:
        node = view.node
        if isinstance(node, ast.Paren):
            return self.tex(view.at(node.value, view.expr), level, index)
        name = dotted(view)
        if name is not None:
            return self._name(view, name, index)
        if isinstance(node, ast.Name):
            found = view.env[node.id]
            return self.tex(View(found.node, found.env, view.expr or found.expr), level, index)
        if isinstance(node, ast.Binary):
            folded = self._folded(view, node)
            return self._binary(view, node, level, index) if folded is None else number_tex(folded)
        if isinstance(node, ast.Compare):
            left, right = (self.tex(v, SUM, index) for v in self.written.operands(view))
            return _wrap(f"{left} {_COMPARED[node.op]} {right}", LEVELS["and"] + 2, level)
        if isinstance(node, ast.Unary):
            operand = self.written.operands(view)[0]
            if node.op == "not":
                return rf"\neg {self.tex(operand, ATOM, index)}"
            return _wrap(f"-{self.tex(operand, FACTOR, index)}", FACTOR, level)
        if isinstance(node, ast.Conditional):
            return self._conditional(view, index)
        if isinstance(node, ast.Call):
            return self._call(view, node, level, index)
        return self._atom(view, node, index)

    def _folded(self, view: View, node: ast.Binary) -> float | None:
        """The value of an operation on two numbers: what a default leaves of `1 - w`."""
        sides = [self.written.resolve(View(v.node, v.env)).node for v in (view.at(node.left), view.at(node.right))]
        e = view.expr
        if e is None or e.type.stage != CONSTANT or not all(isinstance(side, ast.Number) for side in sides):
            return None
        value = float(evaluate(e, {}))
        return value if value >= 0 else None

    def _atom(self, view: View, node: ast.Node, index: str) -> str:
        if isinstance(node, ast.Number):
            return number_tex(node.value)
        if isinstance(node, ast.Constant):
            return {"inf": r"\infty", "pi": r"\pi"}.get(node.name, upright(node.name))
        if isinstance(node, ast.Field):
            word = node.name.text if node.name.text in COMPONENTS else upright(node.name.text)
            return f"{{{self.tex(view.at(node.value), ATOM, index)}}}^{{({word})}}"
        if isinstance(node, ast.Tuple):
            return f"({', '.join(self.tex(view.at(item), 0, index) for item in node.items)})"
        if isinstance(node, ast.Comprehension):
            inner = View(node.value, {k: v for k, v in view.env.items() if k != node.variable.text})
            items = self.tex(view.at(node.items), OR)
            return rf"{self.tex(inner, 0, index)} : {self.symbols.plain(node.variable.text)} \in {items}"
        return upright(node.value) if isinstance(node, ast.String) else r"\ldots"

    def _name(self, view: View, name: str, index: str) -> str:
        known = self.symbols.fixed(name, index)
        if known is not None:
            return known
        if name in self.written.program.params:
            return self.symbols.param(name)
        base, _, field = name.rpartition(".")
        if base and field in COMPONENTS:
            return rf"{{{self._name(View(view.node), base, index)}}}^{{({field})}}"
        first, _, rest = name.partition(".")
        inner = self.symbols.fixed(rest, index) if rest else None
        symbol = self.symbols.plain(name.removeprefix(LOCAL))
        if rest:
            symbol = f"{{{inner or upright(rest)}}}^{{{upright(first.removeprefix(LOCAL))}}}"
            index = "" if inner is not None and inner != self.symbols.fixed(rest, "") else index
        e = view.expr
        below = [index] if index and e is not None and e.type.kind.is_tensor else []
        if name in self.written.memories:
            below.append("t - 1" if self.earlier else "t")
            self.symbols.used["t"] = "training step, from 0"
        return f"{symbol}_{{{', '.join(below)}}}" if below else symbol

    def _binary(self, view: View, node: ast.Binary, level: int, index: str) -> str:
        at = LEVELS[node.op]
        if node.op == "^":
            base, exponent = self.written.operands(view)
            return _wrap(f"{{{self.tex(base, ATOM, index)}}}^{{{self.tex(exponent, 0, index)}}}", POWER, level)
        if node.op == "/":
            above, below = (self.tex(v, 0, index) for v in self.written.operands(view))
            return rf"\frac{{{above}}}{{{below}}}"
        parts: list[str] = []
        link: View = view
        while isinstance(link.node, ast.Binary) and LEVELS[link.node.op] == at and link.node.op != "/":
            left, right = self.written.operands(link)
            text = self.tex(right, at + 1, index)
            parts += [text, self._operator(link.node.op, text)]
            link = left
            while isinstance(link.node, ast.Paren):
                link = link.at(link.node.value, link.expr)
        parts.append(self.tex(link, at, index))
        return _wrap("".join(reversed(parts)), at, level)

    def _operator(self, op: str, right: str) -> str:
        if op == "*":
            return r" \cdot " if right[:1].isdigit() else r" \, "
        return {"and": r" \wedge ", "or": r" \vee "}.get(op, f" {op} ")

    def _conditional(self, view: View, index: str) -> str:
        then, condition, otherwise = self.written.operands(view)
        return cases([(self.tex(then, 0, index), self.condition(condition)), (self.tex(otherwise, 0, index), "")])

    def condition(self, view: View) -> str:
        """What follows "if": gates as comparisons of the step."""
        return self.tex(view)

    # Calls

    def bound(self, view: View, node: ast.Call, function: Function) -> dict[str, list[View]]:
        """The arguments of a call by the names of its parameters, with their values where they are known."""
        positional = [p for p in function.params if not p.keyword_only]
        given: dict[str, list[View]] = {}
        if function.comparing and len(node.args) == 1:
            given["r"] = [view.at(node.args[0])]
        else:
            for i, arg in enumerate(node.args):
                p = positional[min(i, len(positional) - 1)] if positional else None
                given.setdefault(p.name if p else str(i), []).append(view.at(arg))
        for k in node.keywords:
            given[k.name.text] = [view.at(k.value)]
        e = view.expr
        if e is not None and e.op == "call" and e.builtin.name == function.name:
            for name, views in given.items():
                values = [a for n, a in zip(e.names, e.args) if n == name]
                if len(values) == len(views):
                    given[name] = [View(v.node, v.env, a) for v, a in zip(views, values)]
        if function.comparing:
            for name, operand in defaults(function):
                given.setdefault(name, [View(operand)])
        return given

    def _call(self, view: View, node: ast.Call, level: int, index: str) -> str:
        name = node.function.text
        if name == "_field" and len(node.args) == 2 and isinstance(node.args[1], ast.String):
            record = dotted(view.at(node.args[0]))
            inner = View(named(f"state.{node.args[1].value}")) if record == "state" else view.at(node.args[0])
            return self.tex(View(inner.node, inner.env, view.expr), level, index)
        if name == "has":
            return rf"{', '.join(self.tex(view.at(a)) for a in node.args)} \text{{ given}}"
        function = self.written.function(name)
        if function is None or name in self.written.defs:
            return self._applied(self.symbols.plain(name), [self.tex(view.at(a), 0, index) for a in node.args])
        if function.builtin is None:
            return self._definition(view, function, node, level, index)
        args = self.bound(view, node, function)
        for p in function.params:
            if p.keyword_only and p.default is not None and [text(v) for v in args.get(p.name, [])] == [p.default]:
                del args[p.name]
        special = SPECIAL.get(name)
        if special is not None:
            made = special(self, args, view.expr, index)
            if made is not None:
                return _wrap(made[0], made[1], level)
        x = args.get("x", [])
        if name in _WRAPPED and len(x) == 1:
            before, after = _WRAPPED[name]
            return f"{before}{self.tex(x[0], 0, index)}{after}"
        return self.general(_NAMED.get(name) or rf"\operatorname{{{escaped(name)}}}", args, index)

    def general(self, symbol: str, args: dict[str, list[View]], index: str = "") -> str:
        """A function by name: its arguments, then the region after a semicolon."""
        region = args.get("r", [])
        modes = [self.mode(v, n) for n, views in args.items() for v in views]
        words = ",".join(upright(m) for m in modes if m)
        symbol += f"_{{{words}}}" if words else ""
        others = [v for n, views in args.items() if n not in ("a", "b", "r") for v in views if self.mode(v, n) is None]
        shown = [self.tex(v, 0, index) for v in others]
        compared = [self.tex(v, 0, index) for n in ("a", "b") for v in args.get(n, [])]
        within = ""
        if region and dotted(region[0]) != "everywhere":
            within = rf";\, {self.tex(region[0], 0, index)}"
        return self._applied(symbol, [*compared, *shown], within)

    def mode(self, view: View, name: str) -> str | None:
        """The word for an argument that is a text or a flag, "" where it says nothing; None for any other value."""
        node = self.written.resolve(view).node
        if isinstance(node, ast.Constant) and node.name in ("true", "false"):
            return name if node.name == "true" else ""
        return ("" if node.value in ("same", "linear") else node.value) if isinstance(node, ast.String) else None

    def _applied(self, symbol: str, args: list[str], after: str = "") -> str:
        return rf"{symbol}\left( {', '.join(args)}{after} \right)" if args or after else symbol

    def _definition(self, view: View, function: Function, node: ast.Call, level: int, index: str) -> str:
        """A definition of the language: written out if it is short, a loss that is a single mean by a symbol."""
        args = self.bound(view, node, function)
        body = self.written.body(view)
        assert body is not None
        if function.comparing and isinstance(body.node, ast.Call) and body.node.function.text in ("mean", "sum"):
            short = {"l1": "1", "l2": "2"}.get(function.name) or upright(function.name)
            symbol = self.general(rf"\mathcal{{L}}_{{{short}}}", {k: args[k] for k in ("a", "b", "r") if k in args})
            self.losses.setdefault(symbol, body)
            return symbol
        if _size(body.node) <= SHORT:
            return self.tex(body, level, index)
        return self.general(rf"\operatorname{{{escaped(function.name)}}}", args, index)

    # Sums over pixels and gaussians

    def reduction(self, args: dict[str, list[View]], expr: Expr | None, index: str, mean: bool) -> str | None:
        """A mean or a sum over the pixels or gaussians of a region; None where the text does not say of which."""
        x = args["x"][0]
        if x.expr is None or index or len(args["x"]) > 1:
            return None
        kind = x.expr.type.kind
        layout = kind.space.rpartition(":")[2]
        if layout not in ("pixels", "gaussians"):
            return None
        over = PIXEL if layout == "pixels" else GAUSSIAN
        components = kind.components
        body = self.components(x, over) if components != 1 else self.tex(x, PRODUCT, over)
        scale = "" if components == 1 else f"{components} " if isinstance(components, int) and components > 0 else "K "
        everything = r"\Omega" if over == PIXEL else "N"
        self.symbols.used[everything] = "all pixels of the batch" if over == PIXEL else "number of gaussians"
        r = args.get("r")
        crisp, region = self.region(r[0], over) if r else (True, "")
        domain = r"p \in \Omega" if over == PIXEL else "i = 1"
        summed = rf"\sum_{{{domain}}}" + ("" if over == PIXEL else "^{N}")
        if region and not crisp:
            above = rf"{summed} {region} \, {body}"
            return rf"\frac{{{above}}}{{{scale}{summed} {region}}}" if mean else above
        count = r"\lvert \Omega \rvert" if over == PIXEL else "N"
        if region:
            count = rf"\lvert \{{ {over} : {region} \}} \rvert"
            summed = rf"\sum_{{{over} \,:\, {region}}}"
        return rf"\frac{{1}}{{{scale}{count}}} {summed} {body}" if mean else f"{summed} {body}"

    def components(self, x: View, index: str) -> str:
        """The sum over components of a value: a norm where it is one."""
        inner = x
        while isinstance(inner.node, ast.Paren) or (isinstance(inner.node, ast.Name) and inner.node.id in inner.env):
            found = inner.at(inner.node.value) if isinstance(inner.node, ast.Paren) else inner.env[inner.node.id]
            inner = View(found.node, found.env, inner.expr)
        node = inner.node
        if isinstance(node, ast.Call) and node.function.text in ("abs", "sq") and len(node.args) == 1:
            text = self.tex(inner.at(node.args[0]), 0, index)
            return rf"\lVert {text} \rVert_1" if node.function.text == "abs" else rf"\lVert {text} \rVert_2^2"
        text = self.tex(inner, PRODUCT, index)
        e = x.expr
        if e is not None and e.op == "input" and e.type.range.lo >= 0:
            return rf"\lVert {text} \rVert_1"
        return rf"\sum_{{c}} {text}"

    def region(self, view: View, index: str) -> tuple[bool, str]:
        """A region as a condition (True) or as a weight between 0 and 1 (False); "" for everywhere."""
        while isinstance(view.node, ast.Paren) or (isinstance(view.node, ast.Name) and view.node.id in view.env):
            view = view.at(view.node.value) if isinstance(view.node, ast.Paren) else view.env[view.node.id]
        if self.depth >= MAX_DEPTH:
            return True, r"\ldots"
        self.depth += 1
        try:
            return self._region(view, index)
        finally:
            self.depth -= 1

    def _region(self, view: View, index: str) -> tuple[bool, str]:
        node = view.node
        if dotted(view) == "everywhere":
            return True, ""
        if isinstance(node, ast.Compare):
            return True, self.tex(view, 0, index)
        if isinstance(node, ast.Unary) and node.op == "not":
            crisp, inner = self.region(view.at(node.operand), index)
            return (True, rf"\neg ({inner})") if crisp else (False, rf"(1 - {inner})")
        if isinstance(node, ast.Binary) and node.op in ("and", "or"):
            (left_crisp, left), (right_crisp, right) = (
                self.region(view.at(side), index) for side in (node.left, node.right)
            )
            if left_crisp and right_crisp and left and right:
                return True, left + (r" \wedge " if node.op == "and" else r" \vee ") + right
            a, b = (text if not crisp else rf"[{text}]" for crisp, text in ((left_crisp, left), (right_crisp, right)))
            return False, rf"{a} \, {b}" if node.op == "and" else rf"\left( 1 - (1 - {a})(1 - {b}) \right)"
        return False, self.tex(view, PRODUCT, index)


def _size(node: ast.Node) -> int:
    """Nodes of a piece of syntax, up to a little more than `SHORT`."""
    count, stack = 0, [node]
    while stack and count <= SHORT:
        count += 1
        stack.extend(stack.pop().children())
    return count


def _wrap(text: str, binds: int, level: int) -> str:
    return rf"\left( {text} \right)" if binds < level else text


Special = Callable[["Math", dict[str, list[View]], "Expr | None", str], "tuple[str, int] | None"]
SPECIAL: dict[str, Special] = {}
"""Functions with a notation of their own: what they print, and how tightly it binds. `latex_schedules` adds its own."""


def special(*names: str) -> Callable[[Special], Special]:
    """Register the notation of functions."""

    def register(function: Special) -> Special:
        SPECIAL.update(dict.fromkeys(names, function))
        return function

    return register


@special("mean")
def _mean(m: Math, args: dict[str, list[View]], e: Expr | None, index: str) -> tuple[str, int] | None:
    text = m.reduction(args, e, index, mean=True)
    return None if text is None else (text, PRODUCT)


@special("sum")
def _sum(m: Math, args: dict[str, list[View]], e: Expr | None, index: str) -> tuple[str, int] | None:
    text = m.reduction(args, e, index, mean=False)
    return None if text is None else (text, PRODUCT)
