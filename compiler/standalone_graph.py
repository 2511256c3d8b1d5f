"""The graph of a value as lines of Python: names for what is used more than once, expressions for the rest."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..dsl.typed import TypedProgram
from .call import Call, Ref
from .emit import kernel
from .ir import Graph, Node
from .lower import HostSlot
from .standalone_host import ADD, ATOM, BINARY, COMPARE, HOST, MUL, NEG, POW, HostText, literal, wrapped
from .standalone_sources import shown

_KIT = f"{__package__}.standalone_kit"
WIDE = 64
"""How long an expression may get before a part of it gets a name."""
METHODS = frozenset({"abs", "sqrt", "exp", "log", "log1p", "tanh", "sin", "cos", "acos", "sigmoid", "relu", "detach"})
"""Kernels of `pointwise` that are methods of a tensor."""
INPUT_NAMES = {
    "state.scales": "log_scales",
    "state.opacities": "opacity_logits",
    "mask": "mask",
}
_WORDS = {
    "add": "combined",
    "sub": "difference",
    "mul": "product",
    "div": "ratio",
    "pow": "powered",
    "neg": "negative",
    "component": "part",
    "item": "part",
    "lift": "lifted",
    "guard": "safe",
    "select": "chosen",
    "host": "value",
    "const": "value",
    "and": "region",
    "or": "region",
    "not": "region",
    "mean": "average",
    "ssim": "similarity",
    "ssim_map": "similarity",
    "where": "chosen",
    "sq": "square",
    "abs": "size",
    "norm": "length",
    "dot": "alignment",
    "detach": "fixed",
    "exists": "inner",
}


class Body(NamedTuple):
    """Lines that make values, the expressions that they are then, and the inputs that are read."""

    lines: tuple[str, ...]
    results: tuple[str, ...]
    inputs: tuple[str, ...]


class Context(NamedTuple):
    """What all bodies of a program share.

    Attributes:
        program: the checked program.
        host: prints the numbers of the host.
        taken: names that no local variable may have.
        reads: what reads an input that is not in ``x``, by the input's name: results of functions, memories.
    """

    program: TypedProgram
    host: HostText
    taken: frozenset[str]
    reads: Mapping[str, str]


def identifier(name: str, taken: frozenset[str]) -> str:
    """A name of a program as one of Python that is not taken."""
    made = "".join(c if c.isalnum() or c == "_" else "_" for c in name).strip("_") or "value"
    while made in taken or keyword.iskeyword(made) or made[0].isdigit():
        made = f"_{made}" if made[0].isdigit() else f"{made}_"
    return made


def body(
    graph: Graph, values: Sequence[int], slots: Sequence[HostSlot], context: Context, late: frozenset[str] = frozenset()
) -> Body:
    """What makes some values of a graph.

    Args:
        graph: the optimised graph.
        values: the indices of the values.
        slots: the numbers of its host.
        context: what all bodies share.
        late: inputs that are only there in some variants; they are read last.
    """
    return _Printer(graph, slots, context).made(values, late)


class _Printer:
    def __init__(self, graph: Graph, slots: Sequence[HostSlot], context: Context) -> None:
        self.graph, self.slots, self.context = graph, slots, context
        self.lines: list[str] = []
        self._text: dict[int, tuple[str, int]] = {}
        self._names = set(context.host.lets.values()) | set(context.program.lets)
        self._like = ""
        self._lets = self._named()

    def _named(self) -> dict[int, str]:
        """The last node that a `let` of the program became, with the let's name."""
        texts = {}
        for name, e in self.context.program.lets.items():
            if not e.type.is_host and e.args and e.source is self.context.program.source:
                texts[" ".join(e.source.slice(e.span).split())[:80]] = name
        found: dict[str, int] = {}
        for i, node in enumerate(self.graph.nodes):
            if node.origin.text in texts and node.op not in ("const", "input", "host"):
                found[node.origin.text] = i
        return {i: texts[text] for text, i in found.items()}

    def made(self, values: Sequence[int], late: frozenset[str]) -> Body:
        """See `body`."""
        nodes, needed = self.graph.nodes, set(values)
        for i in range(len(nodes) - 1, -1, -1):
            if i in needed:
                needed.update(nodes[i].args)
        uses = [0] * len(nodes)
        for i in (*values, *(a for n in needed for a in nodes[n].args)):
            uses[i] += 1
        inputs = sorted((nodes[i].attr, i) for i in needed if nodes[i].op == "input")
        inputs.sort(key=lambda item: item[0] in late)
        self._read_inputs(inputs)
        for i in sorted(needed):
            if nodes[i].op == "input":
                continue
            self._text[i] = self._expression(nodes[i])
            if nodes[i].op != "const" and (uses[i] > 1 or (i in self._lets and i not in values)):
                self._bind(i)
        results = []
        for i in values:
            text = self._text[i][0]
            if nodes[i].op == "const":
                text = self._tensor(text)
            results.append(text)
        return Body(tuple(self.lines), tuple(results), tuple(name for name, _ in inputs))

    def _read_inputs(self, inputs: list[tuple[str, int]]) -> None:
        for name, i in inputs:
            view, _, field = name.rpartition("state.")
            plain = INPUT_NAMES.get(f"state.{field}" if "state." in name else name)
            local = f"{view}{plain}" if plain else f"{view}{field}" if "state." in name else name
            if ":" in name:  # a result of a function, or a memory
                called = re.search(r"_call_(\w+?)(_\d+)?\(", self.context.reads[name])
                local = name.partition(":")[2].partition(".")[2] or (called[1] if called else name.partition(":")[2])
            local = self._fresh(local.replace(".", "_"))
            self.lines.append(f"{local} = " + self.context.reads.get(name, f'x["{name}"]'))
            self._text[i] = local, ATOM
            if not self._like and not self._is_index(name):
                self._like = local

    def _is_index(self, name: str) -> bool:
        info = self.context.program.inputs.get(name.partition("[")[0])
        return info is not None and (info.kind.name == "index" or (info.kind.element or info.kind).name == "index")

    def _fresh(self, name: str) -> str:
        base = identifier(name, self.context.taken)
        made, count = base, 1
        while made in self._names:
            count += 1
            made = f"{base}_{count}"
        self._names.add(made)
        return made

    def _bind(self, index: int) -> str:
        """Give a value a name; the name."""
        text, binds = self._text[index]
        if binds == ATOM and text.isidentifier():
            return text
        node = self.graph.nodes[index]
        word = self._lets.get(index)
        if word is None and node.op == "host" and shown(text).startswith("number(self."):
            word = re.match(r"\w+", shown(text).removeprefix("number(self."))[0]  # type: ignore[index]
        if word is None and node.op == "kernel":
            word = node.attr.kernel.partition(":")[2].strip("_")
            word = _WORDS.get(word, word)
        if index in self._lets:
            self._names.discard(self._lets.pop(index))
        name = self._fresh(word if word is not None else _WORDS.get(node.op, "region"))
        self.lines.append(f"{name} = {text}")
        self._text[index] = name, ATOM
        return name

    def _expression(self, node: Node) -> tuple[str, int]:
        """The text of a node; parts of one that is too long get names."""
        made = self._printed(node)
        while len(shown(made[0])) > WIDE:
            inner = [a for a in node.args if not self._is_plain(a)]
            if not inner:
                break
            self._bind(max(inner, key=lambda a: len(shown(self._text[a][0]))))
            made = self._printed(node)
        return made

    def _is_plain(self, index: int) -> bool:
        text, _ = self._text[index]
        return text.isidentifier() or self.graph.nodes[index].op == "const"

    def _operand(self, index: int, around: int) -> str:
        return wrapped(*self._text[index], around)

    def _printed(self, node: Node) -> tuple[str, int]:
        a = node.args
        if node.op == "const":
            text = literal(node.attr)
            return text, NEG if text.startswith("-") else ATOM
        if node.op == "host":
            return self._number(self.slots[node.attr]), ATOM
        if node.op in ("add", "sub", "mul", "div"):
            sign, binds = BINARY[node.op]
            return f"{self._operand(a[0], binds)} {sign} {self._operand(a[1], binds + 1)}", binds
        if node.op == "pow":
            return f"{self._operand(a[0], ATOM)} ** {self._operand(a[1], ATOM)}", POW
        if node.op == "neg":
            return f"-{self._operand(a[0], NEG)}", NEG
        if node.op == "and":
            return f"{self._operand(a[0], MUL)} * {self._operand(a[1], MUL + 1)}", MUL
        if node.op == "not":
            return f"1 - {self._operand(a[0], ADD + 1)}", ADD
        if node.op in BINARY:
            return self._comparison(node)
        if node.op == "component":
            return f"{self._operand(a[0], ATOM)}[..., {node.attr}:{node.attr + 1}]", ATOM
        if node.op == "item":
            return f"{self._operand(a[0], ATOM)}[{node.attr}]", ATOM
        if node.op == "lift":
            return f"{self._kernel('regions:lift')}({self._operand(a[0], 0)}, {node.attr})", ATOM
        if node.op in ("guard", "select", "or"):
            name = {"or": "union"}.get(node.op, node.op)
            return f"{self._kernel(f'regions:{name}')}({', '.join(self._operand(i, 0) for i in a)})", ATOM
        return self._call(node)

    def _kernel(self, reference: str) -> str:
        return self.context.host.sources.kernel(reference)

    def _tensor(self, text: str) -> str:
        return f"{self.context.host.sources.use(_KIT, 'number')}({text}, {self._like or 'x.like'})"

    def _comparison(self, node: Node) -> tuple[str, int]:
        left, right = node.args
        tensor = right if self.graph.nodes[left].op == "const" else left
        name = self._bind(tensor)
        sign, binds = BINARY[node.op]
        compared = f"{self._operand(left, binds + 1)} {sign} {self._operand(right, binds + 1)}"
        return f"({compared}).to({name}.dtype)", ATOM

    def _number(self, slot: HostSlot) -> str:
        if slot.value is not None:
            text = self.context.host.text(slot.value, COMPARE if slot.path else 0)
        else:
            text = product(slot.factors, self.context.host)
        if slot.path:
            tests = []
            for condition, truth in slot.path:
                test = self.context.host.text(condition, COMPARE)
                tests.append(test if truth else f"not {test}")
            text = f"{text} if {' and '.join(tests)} else 1.0"
        self._say()
        return self._tensor(text)

    def _say(self) -> None:
        """Lines for named values of the host, each once."""
        for line in self.context.host.said():
            if line not in self.lines:
                self.lines.append(line)

    def _call(self, node: Node) -> tuple[str, int]:
        call: Call = node.attr
        module, _, name = call.kernel.partition(":")
        if module == "pointwise" and len(node.args) == 1 and not call.kwargs[1:]:
            operand = node.args[0]
            if name in METHODS:
                return f"{self._operand(operand, ATOM)}.{name}()", ATOM
            if name == "raw":
                return self._text[operand]
            if name == "sq" and self._is_plain(operand):
                return f"{self._text[operand][0]} * {self._text[operand][0]}", MUL
        positional = [self._filled(a, node) for a in call.args]
        keywords = dict(call.kwargs)
        if not positional:
            for p in inspect.signature(kernel(call.kernel)).parameters.values():
                if p.name not in keywords or p.kind is p.KEYWORD_ONLY or _is_default(keywords[p.name], p.default):
                    break
                positional.append(self._filled(keywords.pop(p.name), node))
        parameters = inspect.signature(kernel(call.kernel)).parameters
        others = [
            f"{k}={self._filled(v, node)}" for k, v in keywords.items() if not _is_default(v, parameters[k].default)
        ]
        return f"{self._kernel(call.kernel)}({', '.join([*positional, *others])})", ATOM

    def _filled(self, item: Any, node: Node) -> str:
        if isinstance(item, Ref):
            return self._operand(node.args[item.position], 0)
        if isinstance(item, tuple):
            return f"({', '.join(self._filled(i, node) for i in item)}{',' if len(item) == 1 else ''})"
        if isinstance(item, float):
            return repr(item) if item == item and abs(item) != float("inf") else literal(item)
        return literal(item)


def _is_default(value: Any, default: Any) -> bool:
    return not isinstance(value, Ref) and type(value) is type(default) and value == default


def product(factors: Sequence[tuple[bool, Any]], host: HostText) -> str:
    """The product of host factors, in their order."""
    text = ""
    for divides, factor in factors:
        if divides and 0.0 in factor.type.range:
            text = f"{host.sources.use(HOST, '_divide')}({text or '1.0'}, {host.text(factor)})"
        elif divides:
            text = f"{text or '1.0'} / {host.text(factor, MUL + 1)}"
        else:
            text = (
                f"{text} * {host.text(factor, MUL + 1)}" if text else host.text(factor, MUL if len(factors) > 1 else 0)
            )
    return text
