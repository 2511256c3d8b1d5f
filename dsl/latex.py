"""An objective as equations for a paper: one ``align`` environment of amsmath, one line a term."""

from __future__ import annotations

import re

from . import ast
from .curves import number
from .formula import PRODUCT, SUM, View
from .host import evaluate
from .latex_math import LOCAL
from .latex_schedules import Conditions
from .latex_symbols import cases, escaped, number_tex, upright
from .objective import Objective, Part, TermRecord, objective
from .render import printable
from .source import Span
from .typed import Expr, TypedProgram
from .types import CONSTANT, STEP

WIDE = 70
"""Visible characters of one sum after which its summands stand on lines of their own."""


def latex(program: TypedProgram, max_steps: int | None = None) -> str:
    """The equations of a checked program, with the symbols explained in comments above them.

    Compiles inside a document that loads ``amsmath``. Ends without a newline.
    """
    return _Document(program, objective(program, max_steps)).text()


class _Document:
    def __init__(self, program: TypedProgram, record: Objective) -> None:
        self.program, self.record = program, record
        from .written import Written

        self.written = Written(program)
        self.math = Conditions(self.written)
        self.rows: list[tuple[str, str]] = []

    def text(self) -> str:
        """The whole document: comments, then the equations."""
        live = [t for t in self.record.terms if not t.off]
        for group in self.record.groups:
            self.group(group, [t for t in live if t.group == group])
        self.definitions()
        lines = [f"{left} &= {right}" for left, right in self.rows]
        body = " \\\\\n".join(lines)
        return "\n".join([*self.comments(), r"\begin{align}", body, r"\end{align}"])

    # Terms

    def group(self, group: str, terms: list[TermRecord]) -> None:
        """The total of a group, then its terms, then their weights."""
        total = r"\mathcal{L}" + (f"^{{{upright(group)}}}" if group else "")
        lines: list[tuple[str, str]] = []
        weights: list[tuple[str, str]] = []
        if len(terms) == 1 and not terms[0].when:
            self.rows.append((total, self.parts(terms[0], weights)))
            self.rows += weights
            return
        summands = []
        for term in terms:
            symbol = rf"\mathcal{{L}}_{{{upright(term.name)}}}"
            if len(term.parts) == 1:
                factor = self.weight(term.parts[0], term, self.weight_symbol(term.name), weights)
                value = self.core(term.parts[0])
            else:
                factor = self.existence(term, weights)
                value = self.parts(term, weights)
            summands.append(_times(factor, symbol))
            lines.append((symbol, value))
        self.rows.append((total, _joined(summands) or "0"))
        self.rows += lines + weights

    def parts(self, term: TermRecord, weights: list[tuple[str, str]]) -> str:
        """The sum of a term's parts, each with its weight."""
        shown = []
        for i, part in enumerate(term.parts, 1):
            name = f"{term.name},{i}" if len(self.record.terms) > 1 else str(i)
            factor = self.weight(part, None, self.weight_symbol(name), weights)
            core = self.core(part, PRODUCT if factor else SUM)
            shown.append(_times(factor, core))
        return _joined(shown)

    def core(self, part: Part, level: int = 0) -> str:
        """The value of a part."""
        return self.math.tex(part.view, level)

    # Weights

    def weight_symbol(self, name: str) -> str:
        """The name of a weight that changes during the run."""
        word = name if name.isdigit() else upright(name)
        return rf"w_{{{word}}}(t)"

    def weight(self, part: Part, term: TermRecord | None, symbol: str, rows: list[tuple[str, str]]) -> str:
        """The factor before a part: a product of constants, or a symbol that gets an equation of its own."""
        product, moves = self.product(part, PRODUCT)
        when = self.when(term) if term is not None else ""
        if not moves and not when:
            return product
        product, _ = self.product(part, 0)
        value = product if product not in ("", "-") else f"{product}1"
        rows.append((symbol, cases([(value, when), ("0", "")]) if when else value))
        return symbol

    def existence(self, term: TermRecord, rows: list[tuple[str, str]]) -> str:
        """The factor before a term of several parts: whether it exists."""
        when = self.when(term)
        if not when:
            return ""
        symbol = self.weight_symbol(term.name)
        rows.append((symbol, cases([("1", when), ("0", "")])))
        return symbol

    def when(self, term: TermRecord) -> str:
        """The condition of a term, "" if it has none."""
        if not term.when:
            return ""
        name = f"{term.group}.{term.name}" if term.group else term.name
        typed = next(t for t in self.program.terms if t.name in (name, term.name))
        view = self.written.when(typed)
        return "" if view is None else self.math.condition(view)

    def product(self, part: Part, level: int) -> tuple[str, bool]:
        """The host factors as one product, and whether they change from step to step."""
        sign = 1
        above: list[str] = []
        below: list[str] = []
        schedules: list[str] = []
        moves = False
        factors = [(d, v) for d, whole in part.factors for v in ([whole] if d else self.written.factors(whole))]
        for divides, view in factors:
            e = view.expr
            if e is not None and e.op == "neg":
                sign, view = -sign, self.written.operands(self.written.open(view))[0]
                e = view.expr
            if e is not None and e.op == "const" and abs(e.value) == 1:
                sign = -sign if e.value < 0 else sign
                continue
            text = self.math.tex(view, 0 if divides or (len(factors) == 1 and level == 0) else PRODUCT)
            if e is not None and e.op != "const" and e.type.stage == CONSTANT:
                folded = float(evaluate(e, {}))
                text = number_tex(folded)
                if folded == 1:
                    continue
            moving = e is not None and e.type.stage >= STEP
            moves = moves or moving
            (below if divides else schedules if moving else above).append(text)
        above += schedules
        text = ""
        for factor in above:  # what moves comes last
            link = "" if not text else r" \cdot " if factor[:1].isdigit() else r" \, "
            text += link + factor
        if below:
            under = r" \cdot ".join(below)
            text = rf"\frac{{{text or '1'}}}{{{under}}}"
        return ("-" if sign < 0 else "") + text, moves

    # What the terms are made of

    def definitions(self) -> None:
        """Equations of the names and losses that the terms read, each after those that read it."""
        shown = [p.view for t in self.record.terms for p in t.parts]
        shown += [v for t in self.record.terms for p in t.parts for _, v in p.factors]
        values = self.values()
        for name in self.written.names(*shown):
            if name in self.written.lets:
                node = self.written.lets[name].value
                self.rows.append((self.math.symbols.plain(name), self.math.tex(View(node, {}, values.get(_key(node))))))
            elif name in self.written.defs:
                self.definition(name, values)
            elif name in self.written.memories:
                self.memory(self.written.memories[name], values)
        done: set[str] = set()
        while len(done) < len(self.math.losses):
            for symbol, body in list(self.math.losses.items()):
                if symbol not in done:
                    done.add(symbol)
                    self.rows.append((symbol, self.math.tex(body)))

    def memory(self, node: ast.Memory, values: dict[tuple[int, int], Expr]) -> None:
        """The equations of a memory: its value at a step from that of the step before, and where it begins."""
        symbol = self.math.symbols.plain(node.name.text)
        self.math.earlier = True
        value = self.math.tex(View(node.update, {}, values.get(_key(node.update))))
        when = "" if node.when is None else self.math.condition(View(node.when, {}, values.get(_key(node.when))))
        self.math.earlier = False
        rows = [(value, when), (f"{symbol}_{{t - 1}}", "")]
        self.rows.append((f"{symbol}_{{t}}", cases(rows) if when else value))
        self.rows.append((f"{symbol}_{{-1}}", self.math.tex(View(node.init, {}, values.get(_key(node.init))))))

    def definition(self, name: str, values: dict[tuple[int, int], Expr]) -> None:
        """The equation of a definition of the program."""
        node = self.written.defs[name].definition
        assert node is not None
        shown = ", ".join(self.math.symbols.plain(p.name.text) for p in node.parameters)
        hidden = {p.name.text: View(ast.Name(LOCAL + p.name.text, p.span)) for p in node.parameters}
        left = self.math.symbols.plain(name) + (rf"\left( {shown} \right)" if shown else "")
        self.rows.append((left, self.math.tex(View(node.body, hidden, values.get(_key(node.body))))))

    def values(self) -> dict[tuple[int, int], Expr]:
        """Typed values by their place in the program's own text."""
        found: dict[tuple[int, int], Expr] = {}
        memories = self.program.memories.values()
        roots = [t.value for t in self.program.terms] + [e for m in memories for e in (m.update, m.when, m.init) if e]
        for e in (e for root in roots for e in root.walk() if e.source is self.program.source):
            found.setdefault((e.span.start, e.span.end), e)
        return found

    def comments(self) -> list[str]:
        """What stands above the equations: the program, its symbols, its parameters and what is left out."""
        lines = [printable(self.record.name), "needs \\usepackage{amsmath}"]
        lines += [f"${s}$: {meaning}" for s, meaning in sorted(self.math.symbols.used.items()) if meaning]
        read = self.math.symbols.given
        lines += [f"${read[p.name]} = {_value(p.value)}$" for p in self.record.params if p.name in read]
        for term in self.record.terms:
            if term.off:
                lines.append(f"term {term.name} is 0, as {', '.join(term.off)} is")
        return [f"% {' '.join(line.split())}" for line in lines]


def _key(node: ast.Node) -> tuple[int, int]:
    while isinstance(node, ast.Paren):
        node = node.value
    span: Span = node.span
    return span.start, span.end


def _value(value: float | bool | str) -> str:
    if isinstance(value, bool):
        return rf"\text{{{str(value).lower()}}}"
    return rf"\text{{{escaped(value)}}}" if isinstance(value, str) else number(value)


def _times(factor: str, value: str) -> str:
    """A product; the factor may be nothing, or a sign alone."""
    return rf"{factor} \, {value}" if factor not in ("", "-") else factor + value


def _width(tex: str) -> int:
    """About how many characters a formula shows."""
    return len(re.sub(r"\\[A-Za-z]+|[{}\\ ]", "", tex))


def _joined(summands: list[str]) -> str:
    """A sum; a summand with a minus in front is subtracted. A long one breaks before each summand."""
    text = ""
    breaks = sum(map(_width, summands)) > WIDE and len(summands) > 1
    for summand in summands:
        minus = summand.startswith("-")
        if not text:
            text = summand
            continue
        text += " \\\\\n&\\quad " if breaks else " "
        text += f"{'-' if minus else '+'} {summand.removeprefix('-').lstrip()}"
    return text
