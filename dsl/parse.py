"""Text to syntax tree, statement by statement: one mistake costs one statement, and all are found in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ast
from .build import Builder, Fault, below
from .lalr import tables
from .layout import CLOSERS, OPENERS, Layout
from .lexer import scan
from .source import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .diagnostics import Sink
    from .lalr import Token
    from .layout import Lines
    from .source import Source

MAX_BYTES = 256 * 1024
MAX_NESTING = 100
MAX_OPERATORS = 4_000
MAX_ERRORS = 100
"""Statements with a syntax error that are described; the rest are counted."""

_OPERATORS = ("PLUS", "MINUS", "STAR", "SLASH", "POWER", "COMPARE", "AND", "OR", "NOT", "_IF", "DOT", "_OF")
_DECLARES = ("_PARAM", "_INPUT", "_LET", "_DEF", "_EXTERN", "_MEMORY", "_TERM")


def parse(source: Source, sink: Sink) -> ast.Program:
    """The statements of a text that are well formed; what is wrong with the others goes to ``sink``.

    Never raises, whatever the text. At most one syntax error is reported for a statement.
    """
    return parse_partial(source, sink)[0]


def parse_partial(source: Source, sink: Sink) -> tuple[ast.Program, frozenset[str]]:
    """Like ``parse``, with the names that the malformed statements would have declared.

    A later stage that knows them can leave out the "unknown name" errors that are only consequences.
    """
    program = Span(0, len(source.text))
    fault = _unreadable(source.text)
    if fault is not None:
        from .syntax_errors import report

        report(source, sink, fault)
        return ast.Program((), program), frozenset()

    layout = Layout(source.text, scan(source.text))
    reader = _Reader()
    statements: list[ast.Statement] = []
    broken: list[tuple[int, Fault | int]] = []
    for number, lines in enumerate(layout.statements):
        found = reader.read(lines, first=number == 0)
        if isinstance(found, (Fault, int)):
            broken.append((number, found))
        else:
            statements.append(found)
    if broken:
        from .syntax_errors import report_all

        report_all(source, sink, layout, broken, MAX_ERRORS)
    names = frozenset(name for number, _ in broken for name in _declared(layout.statements[number]))
    return ast.Program(tuple(statements), program), names


def parse_expression(source: Source, sink: Sink) -> ast.Expr | None:
    """The one expression that a text consists of; None, with the reason in ``sink``, if it is anything else."""
    known = len(sink.items)
    statements = parse(source, sink).statements
    if len(statements) == 1 and type(statements[0]) is ast.Bare and statements[0].when is None:
        return statements[0].value if len(sink.items) == known else None
    if len(sink.items) == known:
        from .syntax_errors import report

        place = next((s.span for s in statements if type(s) is not ast.Bare), Span(0, len(source.text)))
        report(source, sink, Fault("not one expression", place))
    return None


def _unreadable(text: str) -> Fault | None:
    """What keeps the whole text from being parsed."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        return Fault("surrogate", Span(error.start, error.start + 1))
    if size > MAX_BYTES:
        return Fault("large file", Span(0, 0), (), {"size": f"{size / 1024:,.0f}", "limit": str(MAX_BYTES // 1024)})
    return None


class _Reader:
    """Reads one statement after another."""

    def __init__(self) -> None:
        self._tables = tables()
        self._builder = Builder()
        self._actions = self._builder.actions(self._tables.names)
        terminal = self._tables.id
        self._change = {terminal[name]: 1 for name in OPENERS} | {terminal[name]: -1 for name in CLOSERS}
        self._operators = frozenset(terminal[name] for name in _OPERATORS)

    def read(self, lines: Lines, first: bool) -> ast.Statement | Fault | int:
        """The statement, or a fault of it, or the index of the token that cannot stand where it does."""
        long = len(lines.tokens) > MAX_NESTING
        fault = self._too_much(lines.tokens) if long else None
        if lines.mixed is not None:
            fault = Fault("mixed indentation", Span(lines.mixed[2], lines.mixed[3]))
        if fault is not None:
            return fault
        statement, failed = self._tables.run(lines.tokens, self._actions)
        faults = self._builder.finish(None if failed >= 0 else statement)
        if failed >= 0:
            return failed
        if long:
            faults += _too_deep(statement)
        if type(statement) is ast.Docstring and not first:
            faults.append(Fault("misplaced docstring", statement.span))
        read: ast.Statement = statement
        return min(faults, key=lambda fault: fault.span.start) if faults else read

    def _too_much(self, tokens: Sequence[Token]) -> Fault | None:
        """More operators or open brackets than a statement may have, seen before there is a tree."""
        operators = depth = 0
        for kind, _, start, end in tokens:
            if kind in self._operators:
                operators += 1
                if operators > MAX_OPERATORS:
                    return Fault("many operators", Span(start, end), (), {"limit": f"{MAX_OPERATORS:,}"})
            elif kind in self._change:
                depth += self._change[kind]
                if depth > MAX_NESTING:
                    return Fault("deep nesting", Span(start, end), (), {"limit": str(MAX_NESTING)})
        return None


def _too_deep(statement: ast.Node) -> list[Fault]:
    """A fault if the tree is so deep as to overflow the stack of a later stage.

    Operators that group to the left, as in a long sum, do not count: stages walk them in a loop.
    """
    pending = [(statement, -1)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_NESTING:
            return [Fault("deep nesting", node.span, (), {"limit": str(MAX_NESTING)})]
        left = getattr(node, "left", None) or (node.value if type(node) is ast.Field else None)
        for child in below(node):
            if type(child) is not ast.Ident:
                pending.append((child, depth if child is left else depth + 1))
    return []


def _declared(lines: Lines) -> list[str]:
    """The name that a malformed statement begins to declare, also where its first word is wrong or missing."""
    names = tables().terminals
    first, second, third = (names[kind] for kind, _, _, _ in [*lines.tokens, *lines.tokens[-1:] * 2][:3])
    if first == "NAME" and second == "EQUAL":
        return [lines.tokens[0][1]]
    if second == "NAME" and (first in _DECLARES or (first == "NAME" and third in ("EQUAL", "COLON", "LPAR"))):
        return [lines.tokens[1][1]]
    return []
