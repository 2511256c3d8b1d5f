"""What hovering over a place shows: what the name means, and the type of the value."""

from __future__ import annotations

from typing import NamedTuple

from ..dsl import ast
from ..dsl.inputs import BY_NAME, HOST_SIZES, REGIONS
from ..dsl.source import Span
from ..dsl.types import Type
from ..dsl.words import KEYWORDS, KIND_WORDS, UNITS
from . import describe
from .describe import code
from .document import Document
from .symbols import Symbol


class Shown(NamedTuple):
    """Markdown, and the part of the text that it is about."""

    markdown: str
    span: Span


def hover(document: Document, offset: int) -> Shown | None:
    """What is at a place; None where there is nothing to say."""
    if document.is_config or document.tokens.in_comment(offset):
        return None
    token = document.tokens.at(offset)
    if token is None:
        return None
    terminal, word, start, end = token
    place = document.names.at(offset)
    if place is not None and place.span.start < end and start < place.span.end:
        value = None if place.declares else document.types.get(place.whole)
        typed = describe.value_line(value) if value is not None else ""
        return Shown(about_symbol(document, place.symbol, typed), place.span)
    if word in KEYWORDS and terminal != "NAME":
        return Shown(f"`{word}`: {KEYWORDS[word]}", Span(start, end))
    if terminal == "NAME":
        return _word(document, word, Span(start, end))
    return _value_around(document, offset)


def _word(document: Document, word: str, span: Span) -> Shown | None:
    """A name in a statement that does not parse, or a word that is no name: a unit, a kind, a keyword argument."""
    names = document.names
    called = document.source.text[span.end :].lstrip(" \t").startswith("(")
    before = document.source.text[: span.start].rstrip()
    symbol: Symbol | None
    if before.endswith("."):
        symbol = field_symbol(document, span)
    else:
        symbol = names.function(word) if called else names.value(word, names.locals_at(span.start))
    if symbol is not None:
        return Shown(about_symbol(document, symbol, ""), span)
    argument = _keyword_argument(document, span)
    if argument:
        return Shown(argument, span)
    if before.endswith(":") and word in UNITS:
        return Shown(f"`{word}`: {UNITS[word]}", span)
    if before.endswith((":", "of", "->", "(", ",")) and word in KIND_WORDS:
        return Shown(f"`{word}`: {KIND_WORDS[word]}", span)
    return _value_around(document, span.start)


def field_symbol(document: Document, span: Span) -> Symbol | None:
    """The symbol of a field, by the text alone: ``state.means``."""
    tokens = [t for t in document.tokens.items if t[3] <= span.start][-2:]
    if len(tokens) < 2 or tokens[0][0] != "NAME" or tokens[1][0] != "DOT":
        return None
    return document.names.value(f"{tokens[0][1]}.{document.source.slice(span)}")


def _keyword_argument(document: Document, span: Span) -> str:
    """The documentation of ``name=`` in a call of a builtin."""
    for statement in document.parsed[0].statements:
        if statement.span.start <= span.start < statement.span.end:
            call = _call_with(statement, span)
            about = call and describe.builtin(call.function.text)
            parameter = about and next((p for p in about.parameters if p.name == document.source.slice(span)), None)
            if about and parameter and parameter.doc:
                return f"{code(about.label)}\n`{parameter.name}`: {parameter.doc}"
    return ""


def _call_with(root: ast.Node, keyword: Span) -> ast.Call | None:
    pending: list[ast.Node] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Call) and any(k.name.span == keyword for k in node.keywords):
            return node
        pending.extend(node.children())
    return None


def _value_around(document: Document, offset: int) -> Shown | None:
    """The type of the smallest typed value around a place."""
    around = [span for span in document.types if span.start <= offset < span.end]
    if not around:
        return None
    span = min(around, key=lambda s: (s.end - s.start, s.start))
    text = " ".join(document.source.slice(span).split())
    shown = text if len(text) <= 80 else text[:77] + "..."
    return Shown(f"{code(shown)}\n{describe.value_line(document.types[span])}", span)


def about_symbol(document: Document, symbol: Symbol, typed: str = "") -> str:
    """All there is to say about a symbol; ``typed`` is the type of the place that is asked about."""
    parts = _parts(document, symbol)
    if typed and not any(typed in part for part in parts):
        parts.insert(1, f"Here: {typed}")
    return "\n\n".join(part for part in parts if part)


def _parts(document: Document, symbol: Symbol) -> list[str]:
    source, kind, name = document.source, symbol.kind, symbol.name
    statement = symbol.statement
    if kind == "builtin":
        about = describe.builtin(name)
        return [code(about.label), about.markdown] if about else []
    if kind == "fixed":
        spec = BY_NAME[name]
        return [
            code(name),
            spec.doc,
            describe.type_line(Type(spec.stage, spec.kind, spec.range, facts=spec.facts)),
        ]
    if kind == "size":
        doc = HOST_SIZES.get(name, "a dimension of an input, the same wherever the letter stands")
        return [code(name), f"{doc[0].upper()}{doc[1:]}; a number where it is read."]
    if kind == "region":
        return [code(name), REGIONS[name], "region"]
    if isinstance(statement, ast.Def) and kind == "def":
        about = describe.definition(statement, source)
        return [code(f"def {about.label} = {_short(source.slice(statement.body.span))}"), about.markdown]
    if isinstance(statement, ast.Extern):
        about = describe.extern(statement, source)
        return [code(f"extern {about.label}"), about.markdown]
    if kind == "local":
        owner = symbol.owner
        if isinstance(owner, ast.Def):
            return [
                code(name),
                f"A parameter of `{owner.name.text}`, whose kind is that of what each call gives it.",
            ]
        return [code(name), "One element of the list after `in`."]
    if kind in ("used", "file"):
        return _brought(document, symbol)
    if statement is None:
        return [code(name)]
    parts = [code(_short(source.slice(statement.span), 400)), describe.comment(source, statement.span)]
    if kind == "param":
        info = document.program.params.get(name) if document.program else None
        if info is not None:
            allowed = " or ".join(f'"{c}"' for c in info.choices) if info.choices else f"in `{info.range}`"
            parts.append(f"parameter, {info.unit} {allowed}, now {_plain(info.value)}")
    elif kind == "let":
        value = document.program.lets.get(name) if document.program else None
        parts.append(describe.value_line(value) if value is not None else "")
    elif kind == "term":
        typed = next((t for t in document.program.terms if t.name == name), None) if document.program else None
        parts.append(describe.value_line(typed.value) if typed else "")
    else:
        parts.append(_declared(document, name))
    return parts


def _declared(document: Document, name: str) -> str:
    """The type of an input or a memory."""
    program = document.program
    if program is not None and name in program.inputs:
        info = program.inputs[name]
        missing = "; may be missing" if info.optional else ""
        return describe.type_line(Type(info.stage, info.kind, info.range, facts=info.facts)) + missing
    if program is not None and name in program.memories:
        return describe.type_line(program.memories[name].type)
    return ""


def _brought(document: Document, symbol: Symbol) -> list[str]:
    assert isinstance(symbol.statement, ast.Use)
    path = symbol.statement.path.value
    other = document.other(path)
    if other is None:
        return [code(f'use "{path}"'), "The file cannot be read."]
    if symbol.kind == "file":
        first = next((s for s in other.parsed[0].statements if isinstance(s, ast.Docstring)), None)
        return [code(f'use "{path}"'), describe.tame(first.text.strip()) if first else "", f"`{other.path}`"]
    target = other_symbol(other, symbol.name)
    if target is None:
        return [code(symbol.name), f"`{path}` declares no term or definition of that name."]
    return [*_parts(other, target), f"From `{path}`."]


def other_symbol(other: Document, name: str) -> Symbol | None:
    """What a name that a ``use`` lists means in the file that it names."""
    names = other.names
    return names.functions.get(name) or names.terms.get(name) or names.values.get(name)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _short(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."
