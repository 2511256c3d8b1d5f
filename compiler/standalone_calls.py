"""Functions of the host in a file: a method for each call, which makes it once a step."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..dsl.builtins.shapes import letters
from ..dsl.typed import Expr, TypedProgram
from ..dsl.types import FLAG, NUMBER, Kind, Type
from .compiled import given_input, is_computed
from .lower import lower_values
from .passes import optimise
from .resolve import ExternCall, Resolved
from .specialise import Facts
from .standalone_graph import Context, body, identifier
from .standalone_host import CLOCK, HostText, literal
from .standalone_terms import Cases

_KIT = f"{__package__}.standalone_kit"


class Calls:
    """The calls of a program's functions; equal ones are one method."""

    def __init__(self, program: TypedProgram, host: HostText, cases: Cases, taken: frozenset[str]) -> None:
        self.program, self.host, self.cases, self.taken = program, host, cases, taken
        self.functions: list[str] = []
        self.bound: set[str] = set()
        self._methods: dict[tuple[str, ...], str] = {}
        self._texts: dict[tuple[str, ...], list[str]] = {}

    def reads(self, resolved: Resolved, facts: Facts, memories: Mapping[str, str]) -> dict[str, str]:
        """What reads the results of the calls of a variant, by the names of the inputs that they are."""
        found: dict[str, str] = {}
        for call in resolved.externs:
            name = self._method(call, resolved, facts, {**memories, **found})
            for i, (field, _) in enumerate(call.results):
                found[f"{call.name}.{field}" if field else call.name] = f"self.{name}(x)[{i}]"
        return found

    def _method(self, call: ExternCall, resolved: Resolved, facts: Facts, known: dict[str, str]) -> str:
        info = call.info
        if info.name not in self.functions:
            self.functions.append(info.name)
        computed = {str(i): a for i, a in enumerate(call.args) if is_computed(a)}
        lines: list[str] = []
        texts: dict[str, str] = {}
        if computed:
            lowered = lower_values(resolved, facts, computed)
            graph = optimise(lowered.graph)
            context = Context(self.program, self.host, self.taken, known)
            made = body(graph, [v for _, v in graph.outputs], lowered.slots, context)
            lines += made.lines
            self.bound |= {n for n in made.inputs if ":" not in n}
            texts = {n: text for (n, _), text in zip(graph.outputs, made.results)}
        arguments = [self._argument(a, texts.get(str(i)), known) for i, a in enumerate(call.args)]
        lines += [line for line in self.host.said() if line not in lines]
        fields = tuple(field for field, _ in call.results)
        name = identifier(f"call_{info.name}", frozenset())
        key = (info.name, *lines, *arguments)
        if key not in self._methods:
            count = sum(1 for k in self._methods if k[0] == info.name)
            self._methods[key] = f"_{name}{f'_{count + 1}' if count else ''}"
            self._texts[key] = self._lines(call, self._methods[key], lines, arguments, fields)
        return self._methods[key]

    def _lines(
        self, call: ExternCall, name: str, lines: list[str], arguments: list[str], fields: tuple[str, ...]
    ) -> list[str]:
        info = call.info
        use = self.host.sources.use
        shown = ", ".join(f'"{f}"' for f in fields)
        shown = f"({shown}{',' if len(fields) == 1 else ''})"
        text = " ".join(call.at.source.slice(call.at.span).split())
        written = [f"# {text}" if len(text) <= 100 else f"# {info.name}(...)"]
        inner = [*lines, f'made = self.functions["{info.name}"]({", ".join(arguments)})']
        names = [identifier(f or "result", self.taken | {"made"}) for f in fields]
        left = ", ".join(names) if len(names) > 1 else f"({names[0]},)"
        inner.append(f'{left} = {use(_KIT, "results_of")}("{info.name}", made, {shown})')
        for field, variable, (_, t) in zip(fields, names, call.results):
            label = f"{info.name}(...)" if not field else f"{info.name}(...).{field}"
            inner.append(f"{variable} = {use(_KIT, 'beside')}({self._shaped(label, variable, t)}, x.like)")
        values = ", ".join(names)
        inner.append(f'x["{name}"] = ({values}{"," if len(names) == 1 else ""})')
        head = f"def {name}(self, x: {use(_KIT, 'Inputs')}) -> tuple[Tensor, ...]:"
        clock = [line for line in (f"{n} = x.{n}" for n in CLOCK) if _reads(inner, line.partition(" ")[0])]
        out = [head, *(f"    {line}" for line in (*written, *clock)), f'    if "{name}" not in x:']
        out += [f"        {line}" for line in inner]
        return [*out, f'    return x["{name}"]']

    def _shaped(self, label: str, variable: str, t: Type) -> str:
        kind, use = t.kind, self.host.sources.use
        components = int(kind.components) if isinstance(kind.components, int) else -1
        if kind == NUMBER:
            return f'{use(_KIT, "as_scalar")}("{label}", {variable})'
        if kind.layout == "gaussians":
            return f'{use(_KIT, "as_rows")}("{label}", {variable}, {components})'
        if kind.layout == "pixels":
            plain = ", plain=True" if components == 1 else ""
            return f'{use(_KIT, "as_pixels")}("{label}", {variable}, {components}{plain})'
        image = ", per_image=True" if kind.layout == "images" else ""
        return f'{use(_KIT, "as_array")}("{label}", {variable}, {len(letters(kind))}, {components}{image})'

    def _argument(self, a: Expr, computed: str | None, known: dict[str, str]) -> str:
        kind = a.type.kind
        name = given_input(a)
        if name:
            if name not in known:
                self.bound.add(name)
            return _passed(kind, known.get(name, f'x["{name}"]'))
        if computed is not None:
            return _passed(kind, computed)
        if a.type.is_host:
            return self.host.text(a)
        if kind.name in ("mode", "string"):
            return literal(a.value if a.op == "const" else self.program.params[a.value].value)
        self.bound.add(str(a.value))
        return f'x["{a.value}"]'

    def methods(self) -> list[list[str]]:
        """The methods, in the order in which they were first needed."""
        return list(self._texts.values())


def _reads(lines: list[str], name: str) -> bool:
    return re.search(rf'(?<![.\w"]){name}\b(?!=)', "\n".join(lines)) is not None


def _passed(kind: Kind, text: str) -> str:
    """An argument as the function sees it: without the dimension of a single component, where none is declared."""
    if kind.layout in ("pixels", "gaussians") or kind in (NUMBER, FLAG) or kind.components != 1 or not kind.is_tensor:
        return text
    return f"{text}.squeeze(-1)" if re.fullmatch(r"[\w.]+|x\[.*?\]", text) else f"({text}).squeeze(-1)"
