"""What could stand at a cursor: the grammar says which words may come next, the program says which names exist."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from ..dsl.check.functions import library_names
from ..dsl.facts import WORDS, words_for
from ..dsl.inputs import BY_NAME, COMPONENTS, FIELDS, HOST_SIZES, REGIONS, VIEW_FIELDS
from ..dsl.lalr import tables
from ..dsl.layout import Layout
from ..dsl.lexer import scan
from ..dsl.source import Span
from ..dsl.types import STATE, Type
from ..dsl.words import KEYWORDS, KIND_WORDS, STATEMENTS, UNITS
from . import describe
from .calls import OpenCall, call_at, function_info
from .document import Document
from .hover import about_symbol
from .symbols import Symbol

_DECLARE = frozenset({"_PARAM", "_LET", "_DEF", "_MEMORY", "_TERM", "_INPUT", "_EXTERN"})
_LOCAL, _OWN, _ARGUMENT, _FIXED, _FUNCTION, _KEYWORD = "1", "2", "0", "3", "4", "5"


class Item(NamedTuple):
    """One suggestion.

    Attributes:
        label: what the list shows, and what is inserted unless ``snippet`` or ``insert`` says otherwise.
        kind: ``variable``, ``constant``, ``field``, ``function``, ``keyword``, ``value`` or ``argument``.
        detail: a few words beside the label.
        doc: markdown.
        rank: what the list is sorted by before the label.
        snippet: with ``${1:places}`` to fill in; "" for none.
        insert: plain text to insert.
    """

    label: str
    kind: str
    detail: str = ""
    doc: str = ""
    rank: str = _KEYWORD
    snippet: str = ""
    insert: str = ""


class Completion(NamedTuple):
    """Suggestions, and the part of the text that they replace."""

    items: list[Item]
    span: Span


def complete(document: Document, offset: int) -> Completion:
    """Suggestions at a cursor; none in comments and docstrings."""
    text = document.source.text
    start = offset
    while start > 0 and (text[start - 1].isascii() and (text[start - 1].isalnum() or text[start - 1] == "_")):
        start -= 1
    nothing = Completion([], Span(offset, offset))
    tokens = document.tokens
    if document.is_config or tokens.in_comment(offset) or tokens.in_docstring(offset):
        return nothing
    if text[start:offset][:1].isdigit():
        return nothing
    end = offset
    while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
        end += 1
    call = call_at(document, offset)
    string = next((t for t in tokens.items if t[0] in ("STRING", "BROKEN_STRING") and t[2] < offset <= t[3]), None)
    if string is not None and not (string[0] == "STRING" and offset == string[3]):
        return _in_string(document, call, string, offset)
    before = text[:start].rstrip(" \t")
    if before.endswith(".") and not before[-2:-1].isdigit():
        return Completion(_fields(document, len(before) - 1), Span(start, end))
    items = _words(document, start, call)
    return Completion(items, Span(start, end))


# Strings


def _in_string(document: Document, call: OpenCall | None, token: tuple[str, str, int, int], offset: int) -> Completion:
    """The modes that an argument takes, inside its quotes."""
    terminal, word, start, end = token
    choices = _choices(document, call)
    closed = terminal == "STRING" or (len(word) > 1 and word.endswith('"'))
    span = Span(start + 1, end - 1 if closed else offset)
    tail = "" if closed else '"'
    return Completion([Item(c, "value", "mode", rank=_ARGUMENT, insert=c + tail) for c in choices], span)


def _choices(document: Document, call: OpenCall | None) -> tuple[str, ...]:
    about = function_info(document, call.name) if call else None
    if call is None or about is None:
        return ()
    if call.keyword:
        return next((p.choices for p in about.parameters if p.name == call.keyword), ())
    positional = [p for p in about.parameters if not p.keyword_only]
    return positional[call.position].choices if call.position < len(positional) else ()


# Fields


def _fields(document: Document, dot: int) -> list[Item]:
    """What may follow a dot."""
    before = [t for t in document.tokens.items if t[3] <= dot]
    if not before or before[-1][0] != "NAME" or before[-1][3] != dot:
        return _components() if before and before[-1][0] == "RPAR" else []
    record = before[-1][1]
    names, items = document.names, []
    local = record in names.locals_at(dot)
    for field in () if local else FIELDS.get(record, ()):
        spec = BY_NAME[f"{record}.{field}"]
        items.append(Item(field, "field", spec.kind.describe(), spec.doc, _FIXED))
    for name, declared in names.values.items():
        if not local and name.startswith(f"{record}."):
            items.append(Item(name.split(".", 1)[1], "field", "input", about_symbol(document, declared), _OWN))
    symbol = names.value(record, names.locals_at(dot))
    if symbol is not None and symbol.kind == "input" and names.is_view(record):
        items += [_view_field(field) for field in VIEW_FIELDS]
        items += [
            Item(name, "field", "input", about_symbol(document, declared), _OWN)
            for name, declared in names.values.items()
            if declared.kind == "input" and name != record
        ]
    if items:
        return items
    t = _type_of(document, symbol) if symbol is not None else None
    if t is not None and t.kind == STATE:
        return [Item(f, "field", BY_NAME[f"state.{f}"].kind.describe(), rank=_FIXED) for f in FIELDS["state"]]
    if t is None or (t.kind.is_tensor and t.kind.components == 3):
        return _components()
    return []


def _view_field(name: str) -> Item:
    spec = BY_NAME.get(name)
    return Item(
        name, "field", spec.kind.describe() if spec else "a region", spec.doc if spec else REGIONS[name], _FIXED
    )


def _components() -> list[Item]:
    return [Item(name, "field", f"component {index}", rank=_FIXED) for name, index in COMPONENTS.items()]


def _type_of(document: Document, symbol: Symbol) -> Type | None:
    if symbol.kind == "fixed":
        spec = BY_NAME[symbol.name]
        return Type(spec.stage, spec.kind, spec.range)
    program = document.program or document.before
    if program is None:
        return None
    if symbol.kind == "let" and symbol.name in program.lets:
        return program.lets[symbol.name].type
    if symbol.kind == "memory" and symbol.name in program.memories:
        return program.memories[symbol.name].type
    if symbol.kind == "input" and symbol.name in program.inputs:
        info = program.inputs[symbol.name]
        return Type(info.stage, info.kind, info.range, facts=info.facts)
    return None


# Words


def _words(document: Document, start: int, call: OpenCall | None) -> list[Item]:
    """Names and keywords at a place, as the grammar allows them there."""
    table = tables()
    text = document.source.text[:start]
    # What is being typed counts as a name: whether it begins a statement is up to the layout.
    statements = Layout(text + "x", scan(text + "x")).statements
    tokens = statements[-1].tokens[:-2] if statements else []
    previous = table.terminals[tokens[-1][0]] if tokens else ""
    line_start = not text[text.rfind("\n") + 1 :].strip()
    items = [_keyword(word, f"{word} ") for word in STATEMENTS] if line_start else []
    if previous in _DECLARE or (len(tokens) >= 2 and _declares_deeper(document, tokens)):
        return items
    if previous == "COLON" and table.terminals[tokens[0][0]] == "_PARAM":
        return [Item(unit, "keyword", "unit", doc) for unit, doc in UNITS.items()]
    if _kind_expected([table.terminals[t[0]] for t in tokens]):
        return [Item(word, "keyword", "kind", doc) for word, doc in KIND_WORDS.items()]
    facts = _facts_expected([(table.terminals[t[0]], t[1]) for t in tokens])
    if facts is not None:
        return [Item(word, "value", "fact", WORDS[word].doc) for word in facts]
    try:
        states = table.states_after(tokens)
    except ValueError:
        states = None
    if states is None or table.accepts(states, table.id["NAME"]):
        locals_ = _parameters([(table.terminals[t[0]], t[1]) for t in tokens])
        items += _arguments(document, call) + _values(document, locals_) + _functions(document, start)
    for word, terminal in table.keywords.items():
        if word not in STATEMENTS and states is not None and table.accepts(states, terminal):
            items.append(_keyword(word, word))
    return items


def _declares_deeper(document: Document, tokens: list[tuple[int, str, int, int]]) -> bool:
    """Whether a name is being declared further on in a statement: a parameter, or a part of a dotted name."""
    names = [tables().terminals[t[0]] for t in tokens]
    if names[0] == "_DEF" and "RPAR" not in names:
        return names[-1] in ("LPAR", "COMMA")
    return names[-1] == "_FOR"


def _kind_expected(names: list[str]) -> bool:
    if not names:
        return False
    if names[0] == "_INPUT":
        return names[-1] in ("COLON", "_OF")
    return names[0] == "_EXTERN" and names[-1] in ("LPAR", "COMMA", "COLON", "_ARROW", "_OF")


def _facts_expected(tokens: list[tuple[str, str]]) -> list[str] | None:
    """The words that may stand in the brackets of a kind: ``depth[``; None outside them."""
    if not tokens or tokens[0][0] not in ("_INPUT", "_EXTERN"):
        return None
    opening = next((i for i in range(len(tokens) - 1, -1, -1) if tokens[i][0] in ("LSQB", "RSQB", "_IN")), 0)
    if tokens[opening][0] != "LSQB" or tokens[opening - 1][0] != "NAME":
        return None
    given = {word for _, word in tokens[opening:]}
    if tokens[opening - 1][1] == "view":
        return []
    return [word for word in words_for(tokens[opening - 1][1]) if not given.intersection(WORDS[word].words)]


def _keyword(word: str, insert: str) -> Item:
    return Item(word, "keyword", "", KEYWORDS[word], _KEYWORD, insert=insert)


def _arguments(document: Document, call: OpenCall | None) -> list[Item]:
    """Keyword arguments that the call around the cursor still takes, and the modes of the one that it is at."""
    about = function_info(document, call.name) if call else None
    if call is None or about is None:
        return []
    modes = [Item(f'"{c}"', "value", "mode", rank=_ARGUMENT) for c in _choices(document, call)]
    if call.keyword:
        return modes
    positional = [p.name for p in about.parameters if not p.keyword_only][: call.before]
    if about.comparing and call.before == 1:
        positional = ["r"]  # `f(r)`
    free = [
        p
        for p in about.parameters
        if p.name not in call.given and p.name not in positional and not p.label.startswith("*")
    ]
    return modes + [Item(f"{p.name}=", "argument", f"argument of {about.name}", p.doc, _ARGUMENT) for p in free]


def _parameters(tokens: list[tuple[str, str]]) -> list[str]:
    """The parameters of a ``def`` that a statement begins with, by its tokens: its body is still being written."""
    if not tokens or tokens[0][0] != "_DEF":
        return []
    found, depth = [], 0
    for (before, _), (terminal, word) in pairwise(tokens):
        depth += (terminal == "LPAR") - (terminal == "RPAR")
        if terminal == "NAME" and depth == 1 and before in ("LPAR", "COMMA"):
            found.append(word)
        if terminal == "RPAR" and depth == 0:
            break
    return found


def _values(document: Document, locals_: list[str]) -> list[Item]:
    names = document.names
    items = [Item(name, "variable", "parameter of this definition", rank=_LOCAL) for name in locals_]
    lost = sorted(document.parsed[2] - set(names.values) - set(names.functions) - set(names.terms))
    items += [Item(name, "variable", "declared in a statement that does not parse", rank=_OWN) for name in lost]
    for name, symbol in names.values.items():
        if "." in name:
            continue
        kind = "constant" if symbol.kind == "param" else "variable"
        t = _type_of(document, symbol)
        detail = f"{symbol.kind}: {t.kind.describe()}" if t is not None else symbol.kind
        items.append(Item(name, kind, detail, about_symbol(document, symbol), _OWN))
    items += [
        Item(name, "variable", spec.kind.describe(), spec.doc, _FIXED)
        for name, spec in BY_NAME.items()
        if "." not in name
    ]
    items += [Item(name, "variable", "a region", doc, _FIXED) for name, doc in REGIONS.items()]
    sizes = {**dict.fromkeys(names.sizes, "a dimension of an input"), **HOST_SIZES}
    return items + [Item(name, "constant", "a number", doc, _FIXED) for name, doc in sizes.items()]


def _functions(document: Document, start: int) -> list[Item]:
    names = document.names
    own = [*names.functions, *(name for name in names.uses if name not in names.functions)]
    library = [name for name in ("has", *library_names()) if describe.is_builtin(name) and name not in own]
    text = document.source.text
    end = start
    while end < len(text) and (text[end].isalnum() or text[end] == "_"):
        end += 1
    followed = text[end : end + 1] == "("
    items = []
    for name in (*own, *library):
        about = function_info(document, name)
        if about is None:
            continue
        rank = _OWN if name in own else _FUNCTION
        snippet = "" if followed else _snippet(about)
        items.append(Item(name, "function", about.label, about.markdown, rank, snippet))
    return items


def _snippet(about: describe.FunctionInfo) -> str:
    if about.comparing:
        return f"{about.name}(${{1:masked}})$0"
    needed = [p for p in about.parameters if p.required]
    places = [
        f"{p.name}=${{{i}:{p.name}}}" if p.keyword_only else f"${{{i}:{p.name}}}" for i, p in enumerate(needed, 1)
    ]
    return f"{about.name}({', '.join(places)})$0"
