"""Keeps what a loss makes of a view's own data, until the view comes up again.

A view is told by the very tensors that were given, as long as they live and torch counts no change of them, or by the
name that the caller gives it.
"""

from __future__ import annotations

import math
import re
import weakref
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..compiler.compiled import CompiledProgram
from ..compiler.ir import Graph
from ..compiler.specialise import Facts
from ..compiler.views import DividedProgram, view_inputs
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source, Span
from .binding import Binder

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(|k|m|g|ki|mi|gi)b?\s*", re.IGNORECASE)

Values = tuple[Tensor, ...]


def budget_of(given: object) -> int | None:
    """A budget in bytes: 0 for None, a number of bytes, or text such as ``"256 MB"``; None if it is none of these.

    kB, MB and GB are powers of 1000, KiB, MiB and GiB of 1024.
    """
    if given is None:
        return 0
    if isinstance(given, str):
        match = _SIZE.fullmatch(given)
        return None if match is None else int(float(match[1]) * UNITS[match[2].lower()])
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < math.inf:
        return None
    return int(given)


class Stamp(NamedTuple):
    """What a tensor is while nobody changes it: where it lies, what it looks like, and how often it was changed."""

    pointer: int
    version: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, t: Tensor) -> Stamp:
        """That of a tensor."""
        return cls(t.data_ptr(), t._version, tuple(t.shape), t.stride(), t.dtype, t.device)


class Entry(NamedTuple):
    """Values of a view with their size, and the tensors that they were made of; () if the caller named it."""

    values: Values
    size: int
    sources: tuple[tuple[weakref.ref[Tensor], Stamp], ...]

    def holds(self, sources: Sequence[Tensor]) -> bool:
        """Whether these are the tensors that it was made of, unchanged."""
        return all(ref() is t and stamp == Stamp.of(t) for (ref, stamp), t in zip(self.sources, sources))


class ViewCache:
    """Values by view, up to a budget; the least recently used go first.

    A copy of it, or one that was pickled, is empty.

    Attributes:
        budget: bytes that the values may take; 0: nothing is kept.
        hits: how often values were found.
        misses: how often they had to be made.
    """

    def __init__(self, budget: int = 0) -> None:
        self.budget = budget
        self.hits = self.misses = 0
        self._bytes = 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        # Tensors die at any time, also in other threads and while this is being changed: whoever comes next clears up.
        self._dead: deque[tuple[Hashable, weakref.ref[Tensor]]] = deque()

    @property
    def bytes(self) -> int:
        """What the values take now."""
        self._sweep()
        return self._bytes

    def __len__(self) -> int:
        self._sweep()
        return len(self._entries)

    def __bool__(self) -> bool:
        return self.budget > 0

    def __repr__(self) -> str:
        if not self.budget:
            return "ViewCache(off)"
        return (
            f"ViewCache(hits={self.hits}, misses={self.misses}, views={len(self)}, "
            f"bytes={self.bytes}, budget={self.budget})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return ViewCache, (self.budget,)

    def clear(self) -> None:
        """Forget all values."""
        self._entries.clear()
        self._dead.clear()
        self._bytes = 0

    def find(self, key: Hashable, sources: Sequence[Tensor]) -> Values | None:
        """The values under a key, made of these tensors; () where the key says enough."""
        self._sweep()
        entry = self._entries.get(key)
        if entry is None or not entry.holds(sources):
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry.values

    def keep(self, key: Hashable, sources: Sequence[Tensor], values: Values) -> bool:
        """Keep values, and let go of others for them; False if they are larger than the budget."""
        size = sum(t.nbytes for t in values)
        self._drop(key)
        if size > self.budget:
            return False
        told = tuple((weakref.ref(t, self._forgetting(key)), Stamp.of(t)) for t in sources)
        self._entries[key] = Entry(values, size, told)
        self._bytes += size
        while self._bytes > self.budget:
            self._drop(next(iter(self._entries)))
        return True

    def _forgetting(self, key: Hashable) -> Any:
        dead = self._dead
        return lambda ref: dead.append((key, ref))

    def _sweep(self) -> None:
        while self._dead:
            key, ref = self._dead.popleft()
            entry = self._entries.get(key)
            if entry is not None and any(ref is r for r, _ in entry.sources):  # not what came after it
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size


class _Key(NamedTuple):
    """What values are found by, what of it says how large they are, and the tensors that they are made of."""

    key: Hashable
    alike: Hashable
    sources: tuple[Tensor, ...]


class Bound(NamedTuple):
    """What evaluates a variant, and the tensors that its graph reads."""

    program: CompiledProgram
    tensors: dict[str, Tensor]


class Named(NamedTuple):
    """The name of a view, and the arguments that it does not speak for: their tensors tell what they are."""

    name: Hashable
    besides: frozenset[str]


class _Group(NamedTuple):
    """A part of a view's data alone: how it is evaluated, what it reads, and a number that equal graphs share."""

    number: int
    program: DividedProgram
    facts: Facts
    part: str
    names: tuple[str, ...]


class Views:
    """Evaluates what depends on a view's data alone, unless it is kept from an earlier step.

    An input that ever carried a gradient is none of a view's data: what is rendered can be declared like a prior.
    """

    def __init__(self, compiled: CompiledProgram, binder: Binder, cache: ViewCache) -> None:
        self.compiled, self.binder, self.cache = compiled, binder, cache
        self._names = view_inputs(compiled.program)
        self._divided: dict[frozenset[str], DividedProgram] = {}
        self._numbers: dict[Hashable, _Group] = {}
        self._groups: dict[tuple[frozenset[str], Facts], list[tuple[_Group, tuple[str, ...]]]] = {}
        self._large: set[Hashable] = set()

    def bind(
        self, facts: Facts, given: Mapping[str, Any], known: Mapping[str, Tensor], view: Named | None, keep: bool
    ) -> Bound:
        """Bind the tensors of a variant, those among them that are kept from an earlier step.

        Args:
            facts: the variant.
            given: the arguments of the call.
            known: memories and results of extern functions.
            view: the name of the view; None: its tensors tell it.
            keep: whether what is made may be kept, and what is kept may be used.
        """
        tensors = self.binder.bind(self.compiled.part(facts).names, given, known)
        sources = {n: self.binder.lookup.find(n, given) for n in self._names & tensors.keys()}
        self._names -= {n for n, t in sources.items() if t.requires_grad}
        divided = self._divided.get(self._names)
        if divided is None:
            divided = self._divided[self._names] = DividedProgram(self.compiled, self._names)
        groups = self._groups_of(divided, facts)
        keys = [self._key(group, tensors, sources, view) for group, _ in groups]
        if not any(keys):
            return Bound(self.compiled, tensors)
        for (group, made), key in zip(groups, keys):
            tensors.update(zip(made, self._values(group, key if keep else None, tensors)))
        return Bound(divided, tensors)

    def _groups_of(self, divided: DividedProgram, facts: Facts) -> list[tuple[_Group, tuple[str, ...]]]:
        """The parts of a view in a variant, each with the names of its values; equal ones share a compiled graph."""
        found = self._groups.get((divided.names, facts))
        if found is None:
            found = self._groups[divided.names, facts] = []
            for name in divided.views(facts):
                part = divided.part(facts, name)
                new = _Group(len(self._numbers), divided, facts, name, part.names)
                group = self._numbers.setdefault(_meaning(part.graph), new)
                found.append((group, tuple(n for n, _ in part.graph.outputs)))
        return found

    def _key(
        self, group: _Group, tensors: Mapping[str, Tensor], sources: Mapping[str, Tensor], view: Named | None
    ) -> _Key | None:
        """What values are found by; None if they cannot be kept, and so are not worth a graph of their own."""
        looks = tuple((tuple(sources[n].shape), sources[n].dtype, sources[n].device) for n in group.names)
        alike = (group.number, *(tensors[n].dtype for n in group.names), *looks)
        if alike in self._large:
            return None
        told = [n for n in group.names if view is None or n in view.besides]
        if any(sources[n].is_inference() for n in told):
            return None  # torch does not count how often they change
        name = None if view is None or len(told) == len(group.names) else view.name
        ids = tuple(id(sources[n]) for n in told)
        return _Key((name, ids, alike), alike, tuple(sources[n] for n in told))

    def _values(self, group: _Group, key: _Key | None, tensors: Mapping[str, Tensor]) -> Values:
        values = None if key is None else self.cache.find(key.key, key.sources)
        if values is None:
            bound = {n: tensors[n] for n in group.names}
            with torch.inference_mode(False), torch.no_grad():
                made = group.program(group.facts, bound, {}, group.part).outputs.values()
                values = tuple(_own(t, bound.values()) for t in made)
            if key is not None and not self.cache.keep(key.key, key.sources, values):
                self._large.add(key.alike)  # from now on it is evaluated with the rest
        return values


def _meaning(graph: Graph) -> Hashable:
    """What a graph computes, wherever in a program it comes from."""
    return tuple(node[:4] for node in graph.nodes), tuple(value for _, value in graph.outputs)


def named(view: Hashable, besides: Iterable[str]) -> Named | None:
    """The name of a view; None if there is none.

    Args:
        view: the name.
        besides: names of the arguments that it does not speak for.

    Raises:
        LossError: BND009, it cannot be one.
    """
    if view is None:
        return None
    try:
        hash(view)
        if not isinstance(view, Tensor):  # tensors that are equal are different keys
            return Named(view, frozenset(besides))
    except TypeError:
        pass
    kind = type(view).__name__
    source = Source(f"view={kind}", "<call>")
    help_ = ["pass a text, a number, or a tuple of them"]
    message = f"`view` is the name of a view, but is a {kind}"
    raise LossError([Diagnostic("BND009", message, source, Span(0, len(source.text)), help=help_)])


def _own(t: Tensor, bound: Iterable[Tensor]) -> Tensor:
    """A value as it is kept: contiguous, in memory that nothing else has a part in or will write to."""
    place = t.untyped_storage()
    shared = place.nbytes() != t.nbytes or any(place.data_ptr() == b.untyped_storage().data_ptr() for b in bound)
    if t.is_cuda or t.is_inference() or shared or not t.is_contiguous():
        return t.detach().clone(memory_format=torch.contiguous_format)
    return t.detach()


__all__ = ["Bound", "Named", "ViewCache", "Views", "budget_of", "named"]
