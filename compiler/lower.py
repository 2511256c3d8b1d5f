"""Checked program to graph. Knows operations and kernels by reference, and no builtin by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..dsl.builtins.spec import Builtin
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.host import evaluate
from ..dsl.typed import Expr, TypedProgram
from ..dsl.types import CONSTANT, MODE, STRING
from .call import AXES, REGION_ARGUMENT, Call, Ref, axes_of, needs_shape, shape_of
from .ir import POINTWISE, SCALAR, Builder, Graph, Origin, Shape, TermOutput
from .lower_inputs import Inputs
from .resolve import Resolved, ResolvedTerm
from .specialise import Facts

MAX_NODES = 100_000
SINGULAR = {"div": 1, "pow": 0}
"""Operations that can be infinite, and the operand to guard in a branch that `where` does not take."""


Path = tuple[tuple[Expr, bool], ...]
"""Host conditions, and how each must turn out for a value to be chosen by the `if` or `where` around it."""


class HostSlot(NamedTuple):
    """A number that the host computes each step: a value, or the weight of a term as a product of factors.

    Where ``path`` does not hold nobody reads it, and it is 1.
    """

    value: Expr | None
    factors: tuple[tuple[bool, Expr], ...]
    name: str
    path: Path = ()


class Lowered(NamedTuple):
    """A graph with the numbers that the host must supply, in the order of their indices."""

    graph: Graph
    slots: tuple[HostSlot, ...]


def lower(resolved: Resolved, facts: Facts) -> Lowered:
    """The graph of one variant: its terms, and the new values of memories as outputs."""
    lowering = _Lowering(resolved.program, facts)
    for resolved_term in resolved.terms:
        try:
            lowering.term(resolved_term)
        except RecursionError:
            term = resolved_term.term
            message = f"the choices in term `{term.name}` are nested too deeply to be compiled"
            raise LossError([Diagnostic("TYP008", message, term.source, term.span)]) from None
    for memory in resolved.memories:
        if memory.update is not None:
            lowering.output(f"memory:{memory.info.name}", memory.update)
    return lowering.done()


def lower_values(resolved: Resolved, facts: Facts, values: Mapping[str, Expr]) -> Lowered:
    """A graph without terms, whose outputs are these values."""
    lowering = _Lowering(resolved.program, facts)
    for name, value in values.items():
        lowering.output(name, value)
    return lowering.done()


class _Lowering(Inputs):
    def __init__(self, program: TypedProgram, facts: Facts) -> None:
        self.facts = facts
        self.zeros = facts.zeros()
        self.builder = Builder()
        self.slots: list[HostSlot] = []
        self._slot_of: dict[Any, int] = {}
        self._memo: dict[tuple[int, int | None, Path], int] = {}
        self._keys: dict[int, int] = {}
        self._interned: dict[Any, int] = {}
        self._risky: dict[int, bool] = {}
        self._path: Path = ()
        self._term = ""
        self._program = program
        self._site: Expr | None = None

    def term(self, resolved: ResolvedTerm) -> None:
        """Add a term."""
        self._term, factors = resolved.term.name, resolved.factors
        weight = None
        if factors:
            slot = HostSlot(None, factors, f"weight of {self._term}")
            weight = self._slot(("weight", tuple((d, self._key(f)) for d, f in factors)), slot)
        value = self.value(resolved.core, None)
        self.builder.graph.terms.append(TermOutput(self._term, value, weight))

    def output(self, name: str, value: Expr) -> None:
        """A value that comes out by name."""
        self._term = name
        self.builder.graph.outputs.append((name, self.value(value, None)))

    def done(self) -> Lowered:
        """The finished graph."""
        self.builder.graph.verify()
        return Lowered(self.builder.graph, tuple(self.slots))

    # Host numbers

    def _slot(self, key: Any, slot: HostSlot) -> int:
        found = self._slot_of.get(key)
        if found is None:
            found = self._slot_of[key] = len(self.slots)
            self.slots.append(slot)
        return found

    def _key(self, e: Expr) -> int:
        """A number that equal host expressions share, so that each is computed and passed once."""
        if id(e) not in self._keys:
            for node in e.operands_first():
                if id(node) not in self._keys:
                    value = (node.value.name, node.value.seed) if isinstance(node.value, Builtin) else node.value
                    made = (node.op, value, node.names, tuple(self._keys[id(a)] for a in node.args))
                    self._keys[id(node)] = self._interned.setdefault(made, len(self._interned))
        return self._keys[id(e)]

    def _host(self, e: Expr, divides: bool = False) -> int:
        if e.type.stage == CONSTANT:
            return self._const(float(evaluate(e, {})), e)
        path = self._path if divides or self._is_risky(e) else ()
        key = (self._key(e), tuple((self._key(c), truth) for c, truth in path))
        return self._add("host", (), self._slot(key, HostSlot(e, (), e.source.slice(e.span), path)), SCALAR, e)

    def _is_risky(self, e: Expr) -> bool:
        """Whether the value can be infinite or NaN, or have such a gradient, where it is not chosen."""
        if id(e) not in self._risky:
            for node in e.operands_first():
                own = node.op in SINGULAR or (node.op == "call" and node.builtin.domain is not None)
                self._risky[id(node)] = own or any(self._risky[id(a)] for a in node.args)
        return self._risky[id(e)]

    # Nodes

    def _add(self, op: str, args: tuple[int, ...], attr: Any, shape: Shape, e: Expr) -> int:
        # What a prelude definition makes is shown at the call that the user wrote.
        at = e if e.source is self._program.source or self._site is None else self._site
        if len(self.builder.graph.nodes) > MAX_NODES:
            message = f"term `{self._term}` needs more than {MAX_NODES} operations"
            help_ = ["choices inside choices are made once for each way to get there: let fewer of them share values"]
            raise LossError([Diagnostic("TYP008", message, at.source, at.span, help=help_)])
        line = at.source.position(at.span.start)[0]
        text = " ".join(at.source.slice(at.span).split())
        return self.builder.add(op, args, attr, shape, Origin(at.source.name, line, text[:80], self._term))

    def _const(self, value: float, e: Expr) -> int:
        return self._add("const", (), value, SCALAR, e)

    def value(self, e: Expr, guard: int | None) -> int:
        """The node of a value. Under a guard, operands that could be singular are 1 where it does not hold."""
        if self.zeros.is_zero(e):
            return self._const(0.0, e)
        if e.type.is_host:
            return self._host(e)
        before = self._path
        if not self._is_risky(e):
            guard, self._path = None, ()  # nothing to guard: share the node with other uses
        if (id(e), guard, self._path) not in self._memo:
            # Sums and chains of `let` are as deep as they are long: operands first, so that nothing recurses that far.
            site = self._site
            for node, place in self._alike(e, guard):
                self._site = place
                self._make(node, guard)
            self._site = site
        found = self._make(e, guard)
        self._path = before
        return found

    def _alike(self, e: Expr, guard: int | None) -> list[tuple[Expr, Expr | None]]:
        """What a value is made of under the same guard and path, operands first, as far as it is not made yet.

        Each with the place in the program around it.
        """
        order: list[tuple[Expr, Expr | None]] = []
        seen: set[int] = set()
        stack: list[tuple[Expr, Expr | None, bool]] = [(e, self._site, False)]
        plain = guard is None and not self._path
        while stack:
            node, site, ready = stack.pop()
            if ready:
                order.append((node, site))
                continue
            known = id(node) in seen or (id(node), guard, self._path) in self._memo
            if known or node.type.is_host or self.zeros.is_zero(node) or (not plain and not self._is_risky(node)):
                continue
            seen.add(id(node))
            stack.append((node, site, True))
            args = node.args
            if node.source is self._program.source:
                site = node
            if node.op == "call" and guard is not None and not node.builtin.kernel.startswith(POINTWISE):
                args = ()
            elif self.zeros.chosen(node):
                args = self.zeros.chosen(node)
            elif node.op == "if":
                args = tuple(a for a in (args[0], args[2]) if plain and not self._is_risky(a))
            elif node.op == "call" and node.builtin.parsed.params[0].kind == "condition":
                args = (args[0], *(a for a in args[1:] if plain and not self._is_risky(a)))
            elif node.op == "component" and guard is not None:
                args = ()
            stack.extend((a, site, False) for a in reversed(args) if a.op not in ("tuple", "const") and not _is_text(a))
        return order

    def _make(self, e: Expr, guard: int | None) -> int:
        key = (id(e), guard, self._path)
        found = self._memo.get(key)
        if found is None:
            site = self._site
            if e.source is self._program.source:
                self._site = e
            found = self._memo[key] = self._value(e, guard)
            self._site = site
        return found

    def _under(self, condition: Expr, truth: bool, e: Expr, guard: int | None) -> int:
        """The node of a value that is only chosen where a host condition is true, or false."""
        before = self._path
        self._path = (*before, (condition, truth))
        node = self.value(e, guard)
        self._path = before
        return node

    def _value(self, e: Expr, guard: int | None) -> int:
        shape = shape_of(e.type.kind)
        if e.op == "input":
            return self._input(e)
        if e.op == "region":
            return self._region(e)
        if e.op == "field":
            return self._add("item", (self.value(e.args[0], guard),), e.value, shape, e)
        decided = self.zeros.chosen(e)
        if decided:
            return self.value(decided[0], guard)
        if e.op == "call":
            return self._call(e, guard)
        if e.op == "if":
            then, condition, otherwise = e.args
            yes, no = self._under(condition, True, then, guard), self._under(condition, False, otherwise, guard)
            return self._add("select", (self._host(condition), yes, no), None, shape, e)
        if e.op in ("add", "sub") and any(self.zeros.is_zero(a) for a in e.args):
            left, right = e.args
            if self.zeros.is_zero(right):
                return self.value(left, guard)
            kept = self.value(right, guard)
            return kept if e.op == "add" else self._add("neg", (kept,), None, shape, e)
        if e.op == "component":
            guard = self._narrow(guard)
        args = [self.value(a, guard) for a in e.args]
        singular = SINGULAR.get(e.op)
        if singular is not None and e.args[singular].type.is_host and not self.zeros.is_zero(e.args[singular]):
            args[singular] = self._host(e.args[singular], divides=True)
        if singular is not None:
            args[singular] = self._guarded(args[singular], guard, e)
        return self._add(e.op, tuple(args), e.value if e.op == "component" else None, shape, e)

    def _guarded(self, x: int, guard: int | None, e: Expr) -> int:
        nodes = self.builder.graph.nodes
        if nodes[x].op in ("const", "host"):
            return x  # numbers of the host are 1 where their path does not hold
        guards = [self._outcome(i, e) for i in range(len(self._path))]
        if guard is not None and nodes[guard].shape.space in ("", nodes[x].shape.space):
            guards.append(guard)  # a reduced value under a guard of pixels was made from everything, so it is not
        for g in guards:
            x = self._add("guard", (x, g), None, nodes[x].shape, e)
        return x

    def _outcome(self, position: int, e: Expr) -> int:
        """Whether one condition of the path holds; it is itself only read where those before it do."""
        path = self._path
        (condition, truth), self._path = path[position], path[:position]
        node = self._host(condition)
        self._path = path
        return node if truth else self._add("not", (node,), None, SCALAR, e)

    def _narrow(self, guard: int | None) -> int | None:
        """The guard, if it says the same of all components of a pixel or gaussian."""
        return guard if guard is None or self.builder.graph.nodes[guard].shape.components == 1 else None

    # Kernels

    def _call(self, e: Expr, guard: int | None) -> int:
        record = e.builtin
        nodes: list[int] = []
        template: dict[str, Any] = {}
        many: list[Any] = []
        variadic = next((p.name for p in record.parsed.params if p.variadic), None)
        # A guard changes what is not chosen, so it ends where other pixels, gaussians or components are looked at.
        inner = guard if record.kernel.startswith(POINTWISE) else None
        if e.type.kind.components == 1 and record.parsed.result.startswith("component "):
            inner = self._narrow(guard)
        operand = next((a for n, a in zip(e.names, e.args) if n in ("x", "a")), e)
        for name, a in zip(e.names, e.args):
            kind = next(p.kind for p in record.parsed.params if p.name == name)
            fixed = self._fixed(record, name, kind, a, operand)
            if fixed is not None:
                template[name] = fixed
                continue
            if kind == "state":
                continue
            if kind == "camera":
                template[name] = self._camera(a, nodes)
                continue
            before = self._path
            branch = self._branch_guard(record, e, name, inner)
            item = self._argument(a, nodes, branch, needs_shape(record, name), "holes" in record.needs)
            self._path = before
            if record.domain and record.domain[0] == name:
                nodes[item.position] = self._guarded(nodes[item.position], inner, a)
            if name == REGION_ARGUMENT and isinstance(item, Ref):
                item = item._replace(shape=Shape(operand.type.kind.space, max(shape_of(a.type.kind).components, 1)))
                nodes[item.position] = self._spread(nodes[item.position], operand, inner, e)
            elif name in ("a", "b"):
                self._lift_operand(item, nodes, e)
            if name == variadic:
                many.append(item)
            else:
                template[name] = item
        if variadic is not None and template:
            template[variadic] = tuple(many)
            many = []
        self._context(record, e, nodes, template)
        region = template.get(REGION_ARGUMENT)
        if isinstance(region, Ref) and not record.of_region:
            node = nodes[region.position]
            known = self.builder.graph.nodes[node]
            made = known.op == "kernel" and known.attr.kernel == "regions:exists"
            if known.op != "const" and not made and node not in self.builder.graph.regions:
                self.builder.graph.regions.append(node)
        if record.of_region:  # its operand is a region, not what it is reduced over
            operand_node: int = nodes[template[REGION_ARGUMENT].position]
            if self.builder.graph.nodes[operand_node].op == "const":
                return operand_node  # everything and nothing stay what they are
            many = [template.pop(REGION_ARGUMENT)]
        call = Call(record.kernel, tuple(many), tuple(template.items()), record.empty)
        return self._add("kernel", tuple(nodes), call, shape_of(e.type.kind), e)

    def _fixed(self, record: Builtin, name: str, kind: str, a: Expr, operand: Expr) -> Any:
        """An argument that decides what the kernel does, so that it is no node of the graph; None for others."""
        if kind == "flag":
            return self.zeros.decide(a)
        if kind == "whole" and a.type.stage == CONSTANT:
            return int(evaluate(a, {}))
        if name in AXES and _is_text(a):
            return axes_of(operand.type.kind, str(self.zeros.text(a)), name == "axes")
        return None

    def _argument(self, a: Expr, nodes: list[int], guard: int | None, shaped: bool, holes: bool = False) -> Any:
        if a.op == "tuple":
            return tuple(self._argument(item, nodes, guard, False) for item in a.args)
        if _is_text(a):
            return self.zeros.text(a)
        nodes.append(self._input(a, True) if holes and a.op == "input" else self.value(a, guard))
        shape = shape_of(a.type.kind)
        return Ref(len(nodes) - 1, shape if shaped and shape.space else None)

    def _branch_guard(self, record: Builtin, e: Expr, name: str, guard: int | None) -> int | None:
        """The guard of a branch: the values of a choice are only guarded where they are chosen."""
        if record.parsed.params[0].kind != "condition" or name == record.parsed.params[0].name:
            return guard
        first = name == record.parsed.params[1].name
        if e.args[0].type.is_host:
            self._path = (*self._path, (e.args[0], first))
            return guard
        argument = next(a for n, a in zip(e.names, e.args) if n == name)
        if not self._is_risky(argument):
            return guard
        condition = self.value(e.args[0], guard)
        # `where` takes what is more than half inside, so the other branch is the rest, not 1 - c.
        half = self._const(0.5, e.args[0])
        chosen = self._add("gt" if first else "le", (condition, half), None, SCALAR, e.args[0])
        return chosen if guard is None else self._add("and", (guard, chosen), None, SCALAR, e.args[0])


def _is_text(e: Expr) -> bool:
    return e.type.kind in (STRING, MODE)


__all__ = ["Call", "HostSlot", "Lowered", "Ref", "lower", "lower_values", "shape_of"]
