"""Lines of generated code within 88 columns, broken as formatters break them."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from itertools import pairwise

WIDTH = 88
_OPEN, _CLOSE = "([{", ")]}"


def fitted(lines: Sequence[str]) -> list[str]:
    """The lines, each that is too long broken at its last brackets, or at its operators."""
    found: list[str] = []
    for line in lines:
        if len(line) <= WIDTH or line.lstrip().startswith("#") or '"""' in line:
            found.append(line)
        else:
            found += _broken(line)
    return found


def _broken(line: str) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    text = line.strip()
    if text.startswith("def "):
        return _head(indent, text)
    if re.match(r"(if|while|elif) ", text) and text.endswith(":"):
        word, _, condition = text[:-1].partition(" ")
        if len(_operands(condition)) == 2 and condition.endswith(")") and "not (" in _operands(condition)[1]:
            start = _matching(condition, len(condition) - 1)
            return [
                f"{indent}{word} {condition[: start + 1]}",
                f"{indent}    {condition[start + 1 : -1]}",
                f"{indent}):",
            ]
        return _parenthesised(indent, f"{word} ", condition, ":")
    if _operators(text) and not (len(_operands(text)) == 2 and _ends_with_call(text)):
        pieces = _operands(text)
        if len(pieces) > 1:
            return fitted([f"{indent}{p}" for p in pieces])
    leading = re.match(r"(and|or|if|else|[-+*/]) ", text)
    rest = text[leading.end() :] if leading else ""
    if leading and _operators(rest) and not (len(_operands(rest)) == 2 and _ends_with_call(rest)):
        first, *others = _operands(rest)
        if others:
            return fitted([f"{indent}{leading[0]}{first}", *(f"{indent}{p}" for p in others)])
    head, separator, value = _assigned(text)
    if value and _operators(value) and value.startswith("(") and len(_operands(value)) == 2:
        inner = _operands(value)[0]
        if inner.endswith(")") and _matching(inner, len(inner) - 1) == 0:
            tail = value[len(inner) :]
            return fitted([f"{indent}{head}{separator}(", f"{indent}    {inner[1:-1]}", f"{indent}){tail}"])
    end = _last_bracket(text)
    if text.endswith(",") and _operators(text[:-1]):
        *pieces, last = _operands(text[:-1])
        if len(pieces):
            return fitted([f"{indent}{p}" for p in (*pieces, f"{last},")])
    if value and _operators(value) and not (len(_operands(value)) == 2 and _ends_with_call(value)):
        return _parenthesised(indent, f"{head}{separator}", value, "")
    if end is None:
        return [line]
    start = _matching(text, end)
    inner, deeper = text[start + 1 : end], f"{indent}    "
    if not inner:
        return [line]
    first, last = f"{indent}{text[: start + 1]}", f"{indent}{text[end:]}"
    literal = start == 0 or not (text[start - 1].isalnum() or text[start - 1] in "_)]")
    tuple_ = literal and len(split(inner, ",")) > 1 and " for " not in inner
    if len(deeper) + len(inner) <= WIDTH and not _trailing_comma(inner) and not tuple_:
        return [first, f"{deeper}{inner}", last]
    parts = split(inner, ",")
    if len(parts) == 1 and not _trailing_comma(inner):
        pieces = _operands(inner)
        return [first, *fitted([f"{deeper}{piece}" for piece in pieces]), last] if len(pieces) > 1 else [line]
    return [first, *fitted([f"{deeper}{part.strip()}," for part in parts if part.strip()]), last]


def _head(indent: str, text: str) -> list[str]:
    """The head of a function: its parameters on a line of their own, or on one each."""
    start, end = text.index("("), text.rindex(") ->")
    inner, deeper = text[start + 1 : end], f"{indent}    "
    if len(deeper) + len(inner) <= WIDTH:
        parts = [inner]
    else:
        parts = [f"{part.strip()}," for part in split(inner, ",")]
    return [f"{indent}{text[: start + 1]}", *(f"{deeper}{part}" for part in parts), f"{indent}{text[end:]}"]


def _parenthesised(indent: str, head: str, value: str, tail: str) -> list[str]:
    deeper = f"{indent}    "
    if len(deeper) + len(value) <= WIDTH:
        pieces = [value]
    else:
        pieces = _operands(value)
    return [f"{indent}{head}(", *fitted([f"{deeper}{p}" for p in pieces]), f"{indent}){tail}"]


def _assigned(text: str) -> tuple[str, str, str]:
    """The part of a statement in front of its value, and the value."""
    if text.startswith("return "):
        return "return", " ", text.removeprefix("return ")
    match = re.match(r"[\w.\[\]\"]+(: [\w\[\], ]+)?( \|?= )", text)
    return (text[: match.start(2)], match[2], text[match.end() :]) if match else (text, "", "")


def _operators(value: str) -> bool:
    """Whether the outermost of a value is an operation, which is not in parentheses."""
    try:
        tree = ast.parse(value, mode="eval").body
    except SyntaxError:
        return False
    return isinstance(tree, (ast.BinOp, ast.BoolOp, ast.IfExp, ast.Compare))


def _ends_with_call(value: str) -> bool:
    """Whether the last operand of an operation ends with brackets of its own."""
    tree = ast.parse(value, mode="eval").body
    last = tree.right if isinstance(tree, ast.BinOp) else None
    return value.endswith(")") and (
        isinstance(last, ast.Call) or (last is not None and last.end_col_offset != len(value))
    )


def _operands(value: str) -> list[str]:
    """A value at its operators that bind least, one on each line, each operator in front of its operand."""
    tree = ast.parse(value, mode="eval").body
    cuts: list[int] = []
    if isinstance(tree, ast.BoolOp):
        cuts = [_before(value, v.col_offset, "and" if isinstance(tree.op, ast.And) else "or") for v in tree.values[1:]]
    elif isinstance(tree, ast.IfExp):
        cuts = [_before(value, tree.test.col_offset, "if"), _before(value, tree.orelse.col_offset, "else")]
    elif isinstance(tree, ast.BinOp):
        kinds = (ast.Add, ast.Sub) if isinstance(tree.op, (ast.Add, ast.Sub)) else (ast.Mult, ast.Div)
        at: ast.expr = tree
        while isinstance(at, ast.BinOp) and isinstance(at.op, kinds) and not _wrapped(value, at, tree):
            cuts.append(_sign(value, at))
            at = at.left
    cuts = sorted(c for c in cuts if c > 0)
    edges = [0, *cuts, len(value)]
    return [value[a:b].strip() for a, b in pairwise(edges)]


def _wrapped(value: str, node: ast.expr, whole: ast.expr) -> bool:
    """Whether an operand stands in parentheses."""
    return node is not whole and value[: node.col_offset].rstrip().endswith("(") and not _balanced(value, node)


def _balanced(value: str, node: ast.expr) -> bool:
    depth = 0
    for c in value[: node.col_offset]:
        depth += (c in _OPEN) - (c in _CLOSE)
    return depth == 0


def _sign(value: str, node: ast.BinOp) -> int:
    """Where the operator of an operation is."""
    assert node.left.end_col_offset is not None
    found = re.search(r"(?<=[\s)])(\*\*|[-+*/])\s", value[node.left.end_col_offset :])
    return node.left.end_col_offset + found.start() if found else -1


def _before(value: str, at: int, word: str) -> int:
    return value.rfind(f"{word} ", 0, at)


def _last_bracket(text: str) -> int | None:
    """Where the brackets end that a statement is broken at: the last that hold something."""
    for i in range(len(text) - 1, -1, -1):
        if text[i] in _CLOSE and i - _matching(text, i) > 1:
            return i
        if text[i] == '"':
            return None
    return None


def _matching(text: str, end: int) -> int:
    depth, quoted = 0, False
    for i in range(end, -1, -1):
        if text[i] == '"':
            quoted = not quoted
        if quoted:
            continue
        depth += (text[i] in _CLOSE) - (text[i] in _OPEN)
        if depth == 0:
            return i
    return 0


def _trailing_comma(inner: str) -> bool:
    return inner.rstrip().endswith(",")


def split(text: str, separator: str) -> list[str]:
    """A text at a separator outside of brackets and strings."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(text):
        if c == '"':
            quoted = not quoted
        elif not quoted:
            depth += (c in _OPEN) - (c in _CLOSE)
            if c == separator and depth == 0:
                parts.append(text[start:i])
                start = i + 1
    return [*parts, text[start:]]
