"""Declarations that nothing reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ... import ast
from ...diagnostics import Applicability, Edit, Fix
from ...source import Source, Span
from .context import Context

WORDS = {ast.Param: "parameter", ast.Input: "input", ast.Let: "value", ast.Memory: "memory"}
CODES = {ast.Param: "USE001", ast.Input: "USE002", ast.Let: "USE003", ast.Memory: "USE004"}


def check(context: Context) -> None:
    """USE001 to USE004: parameters, inputs, lets and memories that no other statement names."""
    if context.broken:
        return  # what a broken statement would have read is not known
    tree, source = context.checker.program, context.program.source
    read = _reads(tree)
    for s in tree.statements:
        if not isinstance(s, (ast.Param, ast.Input, ast.Let, ast.Memory)):
            continue
        ident = s.name[0] if isinstance(s, ast.Input) else s.name
        # A memory reads itself; that alone is of no use.
        own = Counter(_names(s)) if isinstance(s, ast.Memory) else Counter()
        letters = [w.text for w in s.kind.attributes] if isinstance(s, ast.Input) else []
        if read[ident.text] > own[ident.text] or any(read[letter] for letter in letters if letter.isupper()):
            continue
        what = WORDS[type(s)]
        safe = Applicability.SAFE if isinstance(s, ast.Let) else Applicability.UNSAFE
        context.report.emit(
            CODES[type(s)],
            f"the {what} `{ident.text}` is never read",
            source,
            ident.span,
            help=["remove it, or use it in a term"],
            fixes=[Fix(f"remove `{ident.text}`", [Edit(_line(source, s.span), "")], safe)],
        )


def _reads(tree: ast.Program) -> Counter[str]:
    names: Counter[str] = Counter()
    for statement in tree.statements:
        names.update(_names(statement))
    return names


def _names(node: ast.Node) -> Iterator[str]:
    """Names that are read below a node: values, and fields, which may be those of a view's item."""
    stack: list[ast.Node] = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, ast.Name):
            yield top.id
        elif isinstance(top, ast.Field):
            yield top.name.text
        stack.extend(top.children())
        if isinstance(top, ast.Extern):
            stack.extend(slot for _, slot in top.arguments if not isinstance(slot, ast.KindExpr))


def _line(source: Source, span: Span) -> Span:
    """The statement with the end of its line, where nothing else stands on that line."""
    text, end = source.text, span.end
    while end < len(text) and text[end] in " \t":
        end += 1
    begins_line = span.start == 0 or text[span.start - 1] == "\n"
    if begins_line and text[end : end + 1] == "\n":
        return Span(span.start, end + 1)
    return span
