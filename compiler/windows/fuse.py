"""The pass that finds reductions around an SSIM window, and makes one kernel of all that read the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ...dsl.builtins.photometric import WINDOW
from ..call import REGION_ARGUMENT, Call, Ref
from ..ir import ARITHMETIC, FUSED, LOGIC, MEASURED, POINTWISE, SCALAR, Builder, Graph, Origin, Summand, TermOutput
from .build import Pair, Wanted, build, inside, ssim_of
from .lanes import Lane, Lanes
from .linear import Part, parts_of
from .plan import WindowPlan
from .read import STOPS, NotLanes, Reader

MEAN, SUM, SSIM, SSIM_MAP = "reductions:mean", "reductions:sum", "photometric:ssim", "photometric:ssim_map"
MAX_INPUTS, MAX_WINDOWS, MAX_CHANNELS = 8, 3, 16

WINDOWED, ALL = frozenset({"pixels"}), frozenset({"pixels", "gaussians"})
"""Layouts that kernels around windows go over, and those that kernels without one do."""

PLANS: dict[str, WindowPlan] = {}
"""Plans by their key: graphs name them."""


class _Found(NamedTuple):
    """A reduction of a group: its node, how it is wanted, and 1 - the mean instead of the mean."""

    node: int
    wanted: Wanted
    complement: bool


class _Group:
    """The reductions over one space with one number of channels; slow values are lanes in those without a window."""

    def __init__(self, graph: Graph, space: str, channels: int, carriers: frozenset[int], rich: bool = False) -> None:
        self.graph, self.space, self.channels, self.carriers = graph, space, channels, carriers
        self.lanes = Lanes()
        self.reader = _WithSsim(self._ssim, graph, space, channels, self.lanes, rich)
        self.pairs: list[Pair] = []
        self.found: list[_Found] = []

    def add(self, node: int, windowed: bool) -> bool:
        """Take a reduction in, if it can be: one around a window, or one that reads images which others read."""
        reader, pairs = self.reader, len(self.pairs)
        before = len(reader.inputs), len(reader.hosts)
        try:
            found = self._wanted(node)
            if not windowed and not self._reads(found.wanted, before[0]):
                raise NotLanes
            if len(reader.inputs) > MAX_INPUTS or len(self.pairs) > MAX_WINDOWS:
                raise NotLanes
            self._check_gradients(found.wanted)
        except NotLanes:
            reader.forget(*before)
            del self.pairs[pairs:]
            return False
        self.found.append(found)
        return True

    def complete(self, windowed: bool) -> bool:
        """Whether there is something to compute, of inputs that say how many pixels there are."""
        return bool((self.pairs if windowed else self.found) and self.reader.inputs)

    def _reads(self, wanted: Wanted, first: int) -> bool:
        """Whether a reduction reads one of the first inputs."""
        return self.lanes.depends(wanted.value, [Lane("input", (), i) for i in range(first)])

    def _wanted(self, node: int) -> _Found:
        call: Call = self.graph.nodes[node].attr
        args = self.graph.nodes[node].args
        named = {k: args[v.position] for k, v in call.kwargs if isinstance(v, Ref)}
        plain = {k: v for k, v in call.kwargs if not isinstance(v, Ref)}
        region = named.get(REGION_ARGUMENT)
        weight = None if region is None else self.reader.read(region)
        if call.kernel == SSIM:
            a, b = self.reader.read(named["a"]), self.reader.read(named["b"])
            if weight is not None:
                a, b = inside(self.lanes, a, weight), inside(self.lanes, b, weight)
            border = WINDOW // 2 if plain["padding"] == "valid" else 0
            value = self.lanes.add("sub", self.lanes.const(1.0), self._ssim(a, b))
            return _Found(node, Wanted(value, weight, border), True)
        x = named["x"]
        if self.graph.nodes[x].shape.components != self.channels:
            raise NotLanes  # a sum over lanes would count a pixel more than once
        return _Found(node, Wanted(self.reader.read(x), weight, 0, call.kernel == MEAN), False)

    def _ssim(self, a: int, b: int) -> int:
        known = next((p for p in self.pairs if {p.a, p.b} == {a, b}), None)
        if known is None:
            known = Pair(a, b, ssim_of(self.lanes, len(self.pairs)))
            self.pairs.append(known)
        return known.ssim

    def _check_gradients(self, wanted: Wanted) -> None:
        """Refuse what the plan has no derivative for: regions, and window values times what carries a gradient."""
        leaves = [self.lanes.add("input", attr=i) for i in self.differentiable()]
        one = self.lanes.const(1.0)
        roots = [] if wanted.region is None else [wanted.region]
        if self.lanes.depends(wanted.value, [self.lanes.lanes[p.ssim] for p in self.pairs]):
            # Pixels beside the window's own values must not carry a gradient: the images do, through the window.
            roots.append(wanted.value)
        for root in roots:
            if any(self.lanes.number(g) != 0 for g in self.lanes.gradients({root: one}, leaves)):
                raise NotLanes

    def differentiable(self) -> list[int]:
        """The inputs that carry gradients."""
        return [i for i, node in enumerate(self.reader.inputs) if node in self.carriers]

    def plan(self) -> tuple[WindowPlan, tuple[int, ...]]:
        """The plan, and where each reduction is in it."""
        components = [self.graph.nodes[i].shape.components for i in self.reader.inputs]
        wanted = [f.wanted for f in self.found]
        hosts = len(self.reader.hosts)
        return build(self.lanes, self.channels, components, self.differentiable(), hosts, self.pairs, wanted)


class _WithSsim(Reader):
    """Reads maps of SSIM as well: they are known where a window is."""

    def __init__(self, ssim: Callable[[int, int], int], *of: Any) -> None:
        super().__init__(*of)
        self._ssim = ssim

    def _kernel(self, call: Call, args: tuple[int, ...]) -> int:
        if call.kernel != SSIM_MAP:
            return super()._kernel(call, args)
        named = {k: args[v.position] for k, v in call.kwargs if isinstance(v, Ref)}
        return self._ssim(self.read(named["a"]), self.read(named["b"]))


def fuse(graph: Graph, gradients: frozenset[str], route: str, flat: bool = False) -> Graph:
    """The graph with window kernels in place of the reductions that they compute; the same graph if there are none.

    Args:
        graph: the optimised graph of a variant's terms.
        gradients: the inputs that carry gradients.
        route: which implementation runs the plans.
        flat: whether sums and means that read no window become kernels as well.
    """
    carriers = _carriers(graph, gradients)
    terms = [parts_of(graph, t.value) for t in graph.terms]
    groups = _groups(graph, terms, carriers, flat)
    taken = {f.node for g in groups for f in g.found}
    alone = {i: g for i in range(len(graph.nodes)) if i not in taken and (g := _alone(graph, i, carriers))}
    if not groups and not alone:
        return graph
    return _Rewriting(graph, groups, alone, route).done(terms)


class Kernel(NamedTuple):
    """A kernel that a graph would have: its plan, and the nodes of its reductions and of its inputs."""

    plan: WindowPlan
    reductions: tuple[int, ...]
    inputs: tuple[int, ...]


def kernels_of(graph: Graph, gradients: frozenset[str], flat: bool = False) -> tuple[Kernel, ...]:
    """The kernels that `fuse` makes of a graph."""
    carriers = _carriers(graph, gradients)
    groups = _groups(graph, [parts_of(graph, t.value) for t in graph.terms], carriers, flat)
    taken = {f.node for g in groups for f in g.found}
    groups += [g for i in range(len(graph.nodes)) if i not in taken and (g := _alone(graph, i, carriers))]
    return tuple(Kernel(g.plan()[0], tuple(f.node for f in g.found), tuple(g.reader.inputs)) for g in groups)


def _alone(graph: Graph, index: int, carriers: frozenset[int]) -> _Group | None:
    """A reduction around a window in which the total is not linear, as a kernel of its own."""
    kind = _kind(graph, index)
    if kind is None or not kind[2]:
        return None
    group = _Group(graph, *kind[:2], carriers)
    return group if group.add(index, True) and group.complete(True) else None


def _carriers(graph: Graph, gradients: frozenset[str]) -> frozenset[int]:
    """Nodes that a gradient goes through."""
    found: set[int] = set()
    for i, node in enumerate(graph.nodes):
        stops = node.op == "kernel" and node.attr.kernel in STOPS
        if (node.op == "input" and node.attr in gradients) or (not stops and any(a in found for a in node.args)):
            found.add(i)
    return frozenset(found)


def _groups(graph: Graph, terms: list[tuple[Part, ...]], carriers: frozenset[int], flat: bool) -> list[_Group]:
    leaves = list(dict.fromkeys(p.node for parts in terms for p in parts))
    kinds = {i: _kind(graph, i) for i in leaves}
    groups: dict[tuple[str, int], _Group] = {}
    for windowed in (True, False):
        for i in leaves:
            kind = kinds[i]
            if kind is None or kind[2] != windowed:
                continue
            group = groups.get(kind[:2])
            if group is None and windowed:
                group = groups[kind[:2]] = _Group(graph, *kind[:2], carriers)
            if group is not None and (windowed or group.found):
                group.add(i, windowed)
    made = [g for g in groups.values() if g.complete(True)]
    return made + _flat_groups(graph, leaves, carriers, {f.node for g in made for f in g.found}) if flat else made


def _flat_groups(graph: Graph, leaves: list[int], carriers: frozenset[int], taken: set[int]) -> list[_Group]:
    """The reductions that are left and read no window."""
    groups: dict[tuple[str, int], _Group] = {}
    for i in leaves:
        kind = _kind(graph, i, ALL)
        if i in taken or kind is None or kind[2]:
            continue
        group = groups.setdefault(kind[:2], _Group(graph, *kind[:2], carriers, rich=True))
        group.add(i, True)
    return [g for g in groups.values() if g.complete(False)]


def _kind(graph: Graph, index: int, layouts: frozenset[str] = WINDOWED) -> tuple[str, int, bool] | None:
    """The space and channels that a reduction goes over, and whether it reads a window; None for anything else."""
    node = graph.nodes[index]
    if node.op != "kernel" or node.attr.kernel not in (MEAN, SUM, SSIM):
        return None
    call: Call = node.attr
    named = {k: node.args[v.position] for k, v in call.kwargs if isinstance(v, Ref)}
    plain = {k: v for k, v in call.kwargs if not isinstance(v, Ref)}
    if call.args or plain.get("window_mask") or plain.get("over") is not None:
        return None
    shape = graph.nodes[named["a" if call.kernel == SSIM else "x"]].shape
    if shape.space.rpartition(":")[2] not in layouts or not 1 <= shape.components <= MAX_CHANNELS:
        return None
    return shape.space, shape.components, call.kernel == SSIM or _reads_map(graph, named["x"])


def _reads_map(graph: Graph, index: int) -> bool:
    """Whether a value of pixels is made of a map of SSIM, pixel by pixel."""
    pending, seen = [index], set[int]()
    while pending:
        i = pending.pop()
        if i in seen:
            continue
        seen.add(i)
        node = graph.nodes[i]
        if node.op == "kernel" and node.attr.kernel == SSIM_MAP:
            return True
        if node.op in ARITHMETIC | LOGIC | {"guard", "select"} or (
            node.op == "kernel" and node.attr.kernel.startswith(POINTWISE)
        ):
            pending += node.args
    return False


class _Rewriting:
    """The new graph: fused nodes, the terms made of their items, and what is left of the total."""

    def __init__(self, graph: Graph, groups: list[_Group], alone: dict[int, _Group], route: str) -> None:
        self.old, self.groups, self.route = graph, groups, route
        self.builder = Builder()
        self.moved: list[int] = []
        for i, node in enumerate(graph.nodes):
            args = tuple(self.moved[a] for a in node.args)
            self.moved.append(self._measured(alone[i]) if i in alone else self.builder.add(*node._replace(args=args)))
        self.found = {f.node: f for g in groups for f in g.found}
        self.means: dict[int, int] = {}
        self.totals: list[int] = []
        self.empty: dict[int, int] = {}

    def done(self, terms: list[tuple[Part, ...]]) -> Graph:
        """The graph."""
        fused = set(self.found)
        factors = self._factors(terms, fused)
        for group in self.groups:
            self._kernel(group, factors)
        graph = self.builder.graph
        summands = [Summand(total, None) for total in self.totals]
        for t, parts in zip(self.old.terms, terms):
            if not any(p.node in fused for p in parts):
                graph.terms.append(t._replace(value=self.moved[t.value]))
                summands.append(Summand(self.moved[t.value], t.weight))
                continue
            rest = self._sum(self._rest(p) for p in parts)
            values = (self._mean(p) for p in parts if p.node in fused)
            graph.terms.append(TermOutput(t.name, self._sum((rest, *values)), t.weight))
            if self.builder.graph.nodes[rest] != self.builder.graph.nodes[self._number(0.0)]:
                summands.append(Summand(rest, t.weight))
        graph.summands = summands if fused else []
        graph.outputs = [(name, self.moved[v]) for name, v in self.old.outputs]
        graph.regions = [self.empty.get(r, self.moved[r]) for r in self.old.regions]
        return graph

    # Numbers

    def _add(self, op: str, *args: int) -> int:
        return self.builder.add(op, args, None, SCALAR, self._origin)

    def _number(self, value: float) -> int:
        return self.builder.add("const", (), value, SCALAR, self._origin)

    @property
    def _origin(self) -> Origin:
        return self.old.nodes[self.old.terms[0].value].origin

    def _sum(self, values: Iterable[int | None]) -> int:
        total = None
        for value in values:
            if value is not None:
                total = value if total is None else self._add("add", total, value)
        return self._number(0.0) if total is None else total

    def _rest(self, part: Part) -> int | None:
        """What a part leaves in the total beside a fused mean: all of it, the factor of 1 - mean, or nothing."""
        found = self.found.get(part.node)
        if found is not None:
            return self._one_or(self._factor(part)) if found.complement else None
        factor = self._factor(part)
        return self.moved[part.node] if factor is None else self._add("mul", factor, self.moved[part.node])

    def _mean(self, part: Part) -> int:
        """A fused mean times its factor."""
        factor = self._one_or(self._factor(part))
        factor = self._add("neg", factor) if self.found[part.node].complement else factor
        return self._add("mul", factor, self.means[part.node])

    def _one_or(self, factor: int | None) -> int:
        return self._number(1.0) if factor is None else factor

    def _factor(self, part: Part) -> int | None:
        """The product of a part's factors; None for 1."""
        factor = None
        for divides, node in part.factors:
            number = self._number(-1.0) if node is None else self.moved[node]
            if divides:
                factor = self._add("div", self._one_or(factor), number)
            else:
                factor = number if factor is None else self._add("mul", factor, number)
        return factor

    def _factors(self, terms: list[tuple[Part, ...]], fused: set[int]) -> dict[int, int]:
        """For each fused reduction its factor in the total: the sum over terms of weight times factor."""
        found: dict[int, int] = {}
        for t, parts in zip(self.old.terms, terms):
            for p in parts:
                if p.node not in fused:
                    continue
                factor = self._one_or(self._factor(p))
                if t.weight is not None:
                    weight = self.builder.add("host", (), t.weight, SCALAR, self._origin)
                    factor = self._add("mul", weight, factor)
                found[p.node] = self._add("add", found[p.node], factor) if p.node in found else factor
        return found

    # Kernels

    def _kernel(self, group: _Group, factors: dict[int, int]) -> None:
        plan, places = group.plan()
        PLANS[plan.key] = plan
        count = len(group.found)
        scalars = [self._number(0.0)] * count
        for f, place in zip(group.found, places):
            factor = factors[f.node]
            scalars[place] = self._add("neg", factor) if f.complement else factor
        nodes = [*(self.moved[i] for i in group.reader.inputs), *scalars, *(self.moved[i] for i in group.reader.hosts)]
        inputs = tuple(Ref(i) for i in range(len(group.reader.inputs)))
        numbers = tuple(Ref(i) for i in range(len(inputs), len(nodes)))
        call = Call(FUSED, (plan.key, self.route, inputs, numbers), (), 0.0)
        out = self.builder.add("kernel", tuple(nodes), call, SCALAR, self._origin)

        def item(index: int) -> int:
            return self.builder.add("item", (out,), index, SCALAR, self._origin)

        self.totals.append(item(0))
        for f, place in zip(group.found, places):
            self.means[f.node] = item(1 + place)
        self._regions(group, plan, item)

    def _measured(self, group: _Group) -> int:
        """A single reduction, whose gradient is made when it is asked for."""
        plan, (place,) = group.plan()
        PLANS[plan.key] = plan
        nodes = [*(self.moved[i] for i in group.reader.inputs), *(self.moved[i] for i in group.reader.hosts)]
        inputs = tuple(Ref(i) for i in range(len(group.reader.inputs)))
        numbers = tuple(Ref(i) for i in range(len(inputs), len(nodes)))
        call = Call(MEASURED, (plan.key, self.route, inputs, numbers), (), 0.0)
        out = self.builder.add("kernel", tuple(nodes), call, SCALAR, self._origin)
        value = self.builder.add("item", (out,), 1 + place, SCALAR, self._origin)
        return self._add("sub", self._number(1.0), value) if group.found[0].complement else value

    def _regions(self, group: _Group, plan: WindowPlan, item: Callable[[int], int]) -> None:
        """Regions that are counted when they are empty: the kernel knows their sums."""
        sums = {n.region: i for i, n in enumerate(plan.normalisers) if n.border == 0 and n.region >= 0}
        order = [f.wanted.region for f in group.found if f.wanted.region is not None]
        distinct = list(dict.fromkeys(order))
        for r in self.old.regions:
            known = group.reader.known(r)
            if known in distinct and distinct.index(known) in sums:
                self.empty[r] = item(1 + len(plan.reductions) + sums[distinct.index(known)])


__all__ = ["PLANS", "Kernel", "fuse", "kernels_of"]
