"""Functions and values in words: signatures, documentation, types."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..dsl import ast
from ..dsl.builtins.spec import Builtin, ParamSpec
from ..dsl.check.functions import library
from ..dsl.interval import REALS
from ..dsl.source import Source, Span
from ..dsl.typed import Expr
from ..dsl.types import STAGE_NAMES, Type
from ..dsl.words import HAS, STAGES


def is_builtin(name: str) -> bool:
    """Whether the language declares a function of that name."""
    return name == "has" or (library(name) is not None and not name.startswith("_"))


_TAG = re.compile(r"^(source|good|bad(?: [A-Z]+\d+)?|example):\s*")


class Parameter(NamedTuple):
    """One parameter: how a signature shows it, whether it must be given, and what it accepts."""

    name: str
    label: str
    required: bool
    keyword_only: bool
    doc: str
    choices: tuple[str, ...]


class FunctionInfo(NamedTuple):
    """Something that can be called, as an editor shows it.

    Attributes:
        doc: what it computes, "" if nobody wrote it down.
        source: where the formula is from.
        example: a program that uses it rightly.
        result: what stands after the parameters, such as `` -> number in [0, 1]``.
        comparing: whether the first two operands may be left out.
    """

    name: str
    parameters: tuple[Parameter, ...]
    result: str
    doc: str
    source: str
    example: str
    comparing: bool

    @property
    def label(self) -> str:
        """The signature on one line."""
        return f"{self.name}({', '.join(p.label for p in self.parameters)}){self.result}"

    @property
    def markdown(self) -> str:
        """The documentation, without the signature."""
        parts = [self.doc] if self.doc else []
        listed = [f"- `{p.name}`: {p.doc}" for p in self.parameters if p.doc]
        if listed:
            parts.append("\n".join(listed))
        if self.source:
            parts.append(f"Source: {self.source}")
        if self.example:
            parts.append(code(self.example))
        return "\n\n".join(parts)


def builtin(name: str) -> FunctionInfo | None:
    """A primitive or a definition of the prelude, or ``has``."""
    if name == "has":
        names = Parameter("names", "*names", True, False, "optional inputs, by name", ())
        return FunctionInfo(name, (names,), " -> flag", HAS, "", "", False)
    function = library(name)
    if function is None:
        return None
    if function.builtin is not None:
        return _primitive(function.builtin)
    assert function.definition is not None
    assert function.source is not None
    return definition(function.definition, function.source)


def _primitive(record: Builtin) -> FunctionInfo:
    signature = record.parsed
    result = f" -> {signature.result}"
    if signature.range != REALS:
        result += f" in {signature.range}"
    parameters = tuple(_parameter(p) for p in signature.params)
    return FunctionInfo(record.name, parameters, result, record.doc, record.source, record.good, signature.comparing)


def _parameter(p: ParamSpec) -> Parameter:
    if p.variadic:
        return Parameter(p.name, f"*{p.name}", True, False, p.describe(), ())
    default = "" if p.default is None else "=" if p.default == "none" else f"={p.default}"
    label = f"[{p.name}]" if default == "=" and not p.keyword_only else p.name + default
    return Parameter(p.name, label, p.default is None, p.keyword_only, p.describe(), p.choices)


def definition(node: ast.Def, source: Source) -> FunctionInfo:
    """A ``def``, documented by the comment above it."""
    parameters = tuple(
        Parameter(p.name.text, source.slice(p.span), p.default is None, False, "", ()) for p in node.parameters
    )
    names = [p.name for p in parameters[:3]]
    comparing = names == ["a", "b", "r"] and not any(p.required for p in parameters[:3])
    doc: list[str] = []
    tags: dict[str, str] = {}
    for line in comment_above(source, node.span):
        tag = _TAG.match(line)
        if tag:
            tags.setdefault(tag.group(1).split()[0], line[tag.end() :])
        else:
            doc.append(line)
    text = " ".join(doc) or trailing_comment(source, node.span)
    return FunctionInfo(node.name.text, parameters, "", text, tags.get("source", ""), tags.get("good", ""), comparing)


def extern(node: ast.Extern, source: Source) -> FunctionInfo:
    """An ``extern``, documented by the comment above it."""
    parameters = []
    for i, (name, value) in enumerate(node.arguments):
        end = value.span
        shown = source.slice(name.span.to(end) if name else end)
        required = isinstance(value, ast.KindExpr)
        parameters.append(Parameter(name.text if name else f"argument {i + 1}", shown, required, False, "", ()))
    results = node.results
    shown = source.slice(results[0][1].span) if len(results) == 1 and results[0][0] is None else ""
    if not shown and results:
        shown = "(" + ", ".join(source.slice(n.span.to(k.span) if n else k.span) for n, k in results) + ")"
    text = comment(source, node.span)
    return FunctionInfo(node.name.text, tuple(parameters), f" -> {shown}", text, "", "", False)


# Text


def code(text: str) -> str:
    """A piece of a program as a block of markdown, which nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}loss\n{text}\n{fence}"


def tame(text: str) -> str:
    """A comment of a program as markdown that shows no picture, no link under another name and no HTML.

    Looking at a program must not fetch anything.
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "< ", text.replace("![", "! [").replace("](", "] (").replace("][", "] ["))


def comment(source: Source, span: Span) -> str:
    """What a program says about a statement: the comment lines above it, or else the comment after it."""
    return " ".join(comment_above(source, span)) or trailing_comment(source, span)


def comment_above(source: Source, span: Span) -> list[str]:
    """The lines of the comment that ends on the line before a statement, without their signs."""
    number = source.position(span.start)[0] - 1
    lines: list[str] = []
    while number >= 1:
        line = source.line(number).strip()
        if not line.startswith("#"):
            break
        lines.append(tame(line.lstrip("#").strip()))
        number -= 1
    return [line for line in reversed(lines) if line and not line.startswith("splat:")]


def trailing_comment(source: Source, span: Span) -> str:
    """The comment after a statement, on its last line."""
    line, column = source.position(span.end)
    rest = source.line(line)[column - 1 :].strip()
    if not rest.startswith("#"):
        return ""
    text = rest.lstrip("#").strip()
    return "" if text.startswith("splat:") else tame(text)


# Values


def type_line(t: Type) -> str:
    """Stage, kind, range and facts on one line."""
    kind = f"{t.kind.name} `{t.kind.dims}`" if t.kind.dims else t.kind.name
    parts = [kind]
    parts += [fact.value for fact in t.facts.values()]
    if t.range != REALS and t.kind.name != "flag":
        parts.append(f"= {t.range.lo:g}" if t.range.is_point else f"in `{t.range}`")
    stage = STAGE_NAMES[t.stage]
    return f"{', '.join(parts)} - {stage}: {STAGES[stage]}"


def value_line(e: Expr) -> str:
    """The type of a typed value."""
    return type_line(e.type)
