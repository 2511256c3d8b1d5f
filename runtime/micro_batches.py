"""Gradient accumulation: one batch in several calls, whose mean is the loss of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, fx

from ..compiler.call import base_name
from ..compiler.emit import argument_names, emit
from ..compiler.ir import VALUES
from ..compiler.micro import IMAGES, INNER, ONE, PAIRS, SOME, Count, MicroProgram, region_graph
from ..compiler.specialise import Facts
from ..compiler.variants import Result
from ..dsl.diagnostics import Diagnostic, LossError
from .evaluation import Evaluation
from .knowing import argument, check_step
from .view_cache import Named

if TYPE_CHECKING:
    from .compiled import CompiledLossFn

BORDER = 5
"""Pixels by which a window of 11 reaches over an edge."""


class MicroBatch:
    """One part of a batch: called like the loss, without what is known of it already.

    The mean of the calls of all parts is the loss of the whole batch, and so are the means of gradients and terms.
    """

    def __init__(self, batch: MicroBatches, index: int) -> None:
        self._batch, self._index = batch, index

    def __call__(self, rendered: Tensor | None = None, state: Any = None, render: Any = None, **buffers: Any) -> Tensor:
        """The loss of this part; the arguments are those of a call of the loss.

        Raises:
            LossError: an argument is missing, does not fit or was given before; BND014, the program is not linear in
                means over the batch, or reads of it what is not known.
        """
        given = {"rendered": rendered, "state": state, "render": render, **buffers}
        return self._batch.evaluate(self._index, {n: v for n, v in given.items() if v is not None})


class MicroBatches(Sequence[MicroBatch]):
    """The parts of one batch; see `CompiledLossFn.micro_batches`."""

    def __init__(
        self, loss_fn: CompiledLossFn, step: int, max_steps: int, group: str | None, lists: Mapping[str, Any]
    ) -> None:
        check_step(step, max_steps)
        _refuse_sizes(loss_fn)
        self._fn, self._step, self._max_steps, self._group = loss_fn, step, max_steps, group
        self._arguments = _parts(lists)
        self.known = [self._complete(arguments) for arguments in self._arguments]
        self._add_masks()
        self.numbers: dict[Facts, dict[tuple[Count, int], float]] = {}
        self.facts: Facts | None = None

    def __len__(self) -> int:
        return len(self._arguments)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [MicroBatch(self, i) for i in range(len(self))[index]]
        return MicroBatch(self, range(len(self))[index])

    def evaluate(self, index: int, more: Mapping[str, Any]) -> Tensor:
        """The loss of one part; see `MicroBatch`."""
        twice = sorted(set(self._arguments[index]) & set(more))
        if twice:
            message = f"`{twice[0]}` was given to `micro_batches` already"
            raise LossError([argument(twice[0], "...", message, "leave it out here")])
        if self._fn.ranks is not None and self._fn.ranks.active:
            message = "the parts of a batch are divided among ranks or over calls, not both"
            help_ = "let each micro-batch be a batch of its own: loss_fn(...) / k"
            raise LossError([argument("ranks", self._fn.ranks, message, help_, "BND014")])
        given = self._complete({**self._arguments[index], **more})
        if given["mask"] is None:
            given["mask"] = self.known[index]["mask"]
        steps = self._fn._accumulating
        steps.batch, steps.index = self, index
        try:
            return self._fn._step(steps, given, self._step, self._max_steps, self._group)
        finally:
            steps.batch = None

    def _complete(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by our names."""
        given = {name: arguments.get(name) for name in ("rendered", "target", "mask", "state", "render")}
        others = {name: v for name, v in arguments.items() if name not in given and name != "item"}
        return self._fn._complete(given, others, arguments.get("item"))

    def _add_masks(self) -> None:
        """Masks of ones where other parts have one: in a batch every image has a mask, or none has."""
        if all(given["mask"] is None for given in self.known):
            return
        for i, given in enumerate(self.known):
            if given["mask"] is None:
                like = next(x for x in (g["mask"] for g in self.known) if x is not None)
                given["mask"] = torch.ones(self.size(i, ""), device=like.device)

    def size(self, index: int, view: str) -> tuple[int, int, int]:
        """Images, height and width of a part, from what is known of it.

        Raises:
            LossError: BND014, nothing that has pixels is.
        """
        binder, given = self._fn.parts.binder, self.known[index]
        prefix = f"{view}." if view else ""
        for name in ("target", "mask", "rendered", *self._fn.program.inputs):
            kind = None if binder.lookup.is_record(name) else binder.lookup.kind(name)
            if kind is None or kind.layout != "pixels":
                continue
            value = binder.lookup.find(prefix + name, given)
            if isinstance(value, Tensor):
                images, height, width = binder._shape(prefix + name, value).shape[:3]
                return images, height, width
        what = f"target=[...] in each `{view}`" if view else "target=[...], mask=[...] or item=[...]"
        message = "how many images and pixels each micro-batch has is not known"
        raise LossError([argument("micro_batches", "...", message, f"give {what}", "BND014")])


def _parts(lists: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arguments of each part.

    Raises:
        LossError: BND009, they are no lists of one length.
    """
    if not lists:
        help_ = "give lists, one item for each micro-batch: target=[...], mask=[...], or item=[...]"
        raise LossError([argument("micro_batches", "", "nothing says how many micro-batches there are", help_)])
    for name, values in lists.items():
        if not isinstance(values, (list, tuple)):
            message = f"`{name}` must be a list with an item for each micro-batch, not {type(values).__name__}"
            raise LossError([argument(name, "...", message, f"write {name}=[first, second, ...]")])
    counts = {name: len(values) for name, values in lists.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        shown = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
        message = f"there must be as many of each as there are micro-batches: {shown}"
        raise LossError([argument("micro_batches", "...", message, "give None where a micro-batch has none")])
    (count, *_) = counts.values()
    return [{n: v[i] for n, v in lists.items() if v[i] is not None} for i in range(count)]


class _Regions(NamedTuple):
    """What makes the regions of a variant from the inputs that are known: their nodes in the order of its results."""

    module: fx.GraphModule
    inputs: tuple[str, ...]
    values: frozenset[str]
    nodes: tuple[int, ...]


class Accumulating(Evaluation):
    """Evaluates micro-batches: what a call adds to the host's numbers are the shares of its part.

    Attributes:
        batch: the batch that is being evaluated.
        index: which of its parts.
    """

    def __init__(self, loss_fn: CompiledLossFn) -> None:
        parts, self.program = loss_fn.parts, MicroProgram(loss_fn._compiled)
        super().__init__(self.program, parts.binder, parts.memories, parts.externs)
        self.fn = loss_fn
        self.batch: MicroBatches | None = None
        self.index = 0
        self._regions: dict[Facts, _Regions] = {}

    def __call__(
        self,
        facts: Facts,
        given: Mapping[str, Any],
        env: Any,
        step: int,
        blocks: Sequence[Facts] = (),
        view: Named | None = None,
    ) -> tuple[Result, torch.device | None]:
        """Evaluate a part, see `Evaluation`.

        Raises:
            LossError: BND014, see `MicroBatch`.
        """
        assert self.batch is not None
        first = self.batch.facts = self.batch.facts or facts
        if facts != first:
            message = f"the micro-batches are no parts of one batch: {first.describe()}, and {facts.describe()}"
            help_ = "give each of them the same inputs"
            raise LossError([argument("micro_batches", "...", message, help_, "BND014")])
        plain = True
        for block in blocks or (facts,):
            shares = self.program.shares(block)
            made = self.batch.numbers.get(block)
            if made is None:
                made = self.batch.numbers[block] = {}
                self._count(block, tuple(shares), env, made)
            for count, name in shares.items():
                env[name] = made[count, self.index]
                plain = plain and count.what == IMAGES and env[name] == 1
        if plain:  # each part counts the same in all means: the graphs of single calls will do
            return self.fn._steps(facts, given, env, step, blocks, view)
        return super().__call__(facts, given, env, step, blocks, view)

    def _count(self, facts: Facts, counts: tuple[Count, ...], env: Any, made: dict[tuple[Count, int], float]) -> None:
        """The share of each part in each count, all with one wait for the device."""
        batch = self.batch
        assert batch is not None
        parts = len(batch)
        rows = []
        for i in range(parts):
            regions = self._of_part(facts, counts, env, i) if any(c.region >= 0 for c in counts) else {}
            rows.append([_counted(count, regions, batch, i) for count in counts])
        sizes = {batch.size(i, count.view)[1:] for i in range(parts) for count in counts if count.what != ONE}
        if len({(c.view) for c in counts}) == 1 and len(sizes) > 1:
            shown = " and ".join(f"{w}x{h}" for h, w in sorted(sizes))
            message = f"the micro-batches are no parts of one batch: their images are {shown} pixels"
            help_ = "let each be a batch of its own: loss_fn(...) / k"
            raise LossError([argument("micro_batches", "...", message, help_, "BND014")])
        tensors = [value for row in rows for value in row if isinstance(value, Tensor)]
        known = iter(torch.stack(tensors).tolist() if tensors else [])
        numbers = [[next(known) if isinstance(v, Tensor) else float(v) for v in row] for row in rows]
        for k, count in enumerate(counts):
            total = sum(row[k] for row in numbers)
            for i in range(parts):
                # Where no part has anything inside, all means are 0 whatever their share.
                share = parts * numbers[i][k] / total if total > 0 else 1.0
                made[count, i] = float(parts) if count.what == ONE else share

    def _of_part(self, facts: Facts, counts: tuple[Count, ...], env: Any, index: int) -> dict[int, Tensor]:
        """The regions of a part `[B, ..., k]` by their nodes."""
        regions, batch = self._of(facts, counts), self.batch
        assert batch is not None
        given, find = batch.known[index], self.binder.lookup.find
        known: dict[str, Tensor] = {}
        for name in regions.inputs:
            if ":" not in name and find(name, given) is not None:
                continue
            if name in regions.values:
                raise LossError([self._unknown(name, facts)])
            kind = self.binder.lookup.kind(name)  # its size alone counts
            like = next((x for x in (given["target"], given["mask"]) if isinstance(x, Tensor)), None)
            shape = (*batch.size(index, kind.view), kind.components if isinstance(kind.components, int) else 1)
            known[name] = torch.zeros(shape, device=None if like is None else like.device)
        bound = self.binder.bind(regions.inputs, given, known)
        self.binder.forget()
        numbers = self.program.whole.part(facts).numbers(env)
        like = next(t for t in bound.values() if t.is_floating_point())
        with torch.no_grad():
            host = torch.tensor(numbers or [0.0], dtype=like.dtype, device=like.device)
            made = regions.module(*(bound[name] for name in regions.inputs), host)[3]
        return dict(zip(regions.nodes, made))

    def _of(self, facts: Facts, counts: tuple[Count, ...]) -> _Regions:
        found = self._regions.get(facts)
        if found is None:
            nodes = tuple(sorted({c.region for c in counts if c.region >= 0}))
            graph, values = region_graph(self.program.whole.part(facts).graph, nodes)
            names = tuple(argument_names(graph)[:-1])
            found = self._regions[facts] = _Regions(emit(graph, names, VALUES), names, values, nodes)
        return found

    def _unknown(self, name: str, facts: Facts) -> Diagnostic:
        program = self.fn.program
        term = next((t for t in program.terms if t.name in facts.terms), program.terms[0])
        for t in program.terms:
            if t.name in facts.terms and any(e.op == "input" and e.value == name for e in t.value.walk()):
                term = t
                break
        made = name.partition(":")[0] in ("extern", "memory")
        shown = f"what `{term.name}` gets from a function or memory" if made else f"`{name}`"
        message = f"a region of term `{term.name}` is made of {shown}: how much of the batch is in it is not known"
        field = base_name(name)[1]
        data = not made and field not in ("rendered", "alpha", "normals") and not field.startswith(("depth", "state."))
        help_ = f"give {field}=[...] to `micro_batches`" if data else "use a region of data, such as the mask"
        return Diagnostic("BND014", message, term.source, term.value.span, help=[help_])


def _counted(count: Count, regions: Mapping[int, Tensor], batch: MicroBatches, index: int) -> Tensor | float:
    """How much one part has of what a mean is divided by."""
    if count.what == ONE:
        return 1.0
    if count.what == IMAGES:
        return float(batch.size(index, count.view)[0])
    r = regions[count.region].to(torch.float64)
    if count.what == INNER:
        r = r[:, BORDER:-BORDER, BORDER:-BORDER]
    if count.what == PAIRS:
        size = r.shape[count.axis]
        r = r.narrow(count.axis, 0, size - 1) * r.narrow(count.axis, 1, size - 1)
    if count.what == SOME:
        r = ((r > 0).any(-1).flatten(1).sum(1) >= 2).to(torch.float64)
    return r.sum()


def _refuse_sizes(loss_fn: CompiledLossFn) -> None:
    """Refuse a program that reads how many images there are.

    Raises:
        LossError: BND014.
    """
    program = loss_fn.program
    for e in (e for root in (*program.values(), *program.conditions()) for e in root.walk()):
        if e.op == "size" and e.value == "B":
            message = "this loss reads `B`, the number of images, which is another one in a micro-batch"
            raise LossError([Diagnostic("BND014", message, e.source, e.span)])


__all__ = ["Accumulating", "MicroBatch", "MicroBatches"]
