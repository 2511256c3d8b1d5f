"""One step of a compiled loss: memories, functions of the host and the terms, in the order in which they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..compiler.compiled import CompiledProgram, given_input, is_computed
from ..compiler.resolve import ExternCall
from ..compiler.specialise import BACKGROUND_IMAGE, Facts
from ..compiler.variants import Result
from ..dsl.builtins.shapes import letters
from ..dsl.diagnostics import LossError
from ..dsl.host import evaluate
from ..dsl.inputs import HOST_SIZES, VIEW_FIELDS
from ..dsl.typed import Expr, TypedProgram
from ..dsl.types import VIEW
from .binding import Binder
from .blocks import CallNames, joined
from .externs import Externs, passed
from .lookup import EXTRA, ViewFields, item_field
from .memories import Memories, filled, is_per_gaussian
from .names import as_given
from .ranks import Ranks
from .shaping import dimensions
from .view_cache import Named, ViewCache, Views

FIELDS_OF_VIEWS = (*VIEW_FIELDS, "normals_from_depth", "distortion", "visible", "radii")


class Parts:
    """What the calls of a loss are made of beside its graphs."""

    def __init__(self, program: TypedProgram, binder: Binder, memories: Memories, externs: Externs) -> None:
        self.program, self.binder, self.memories, self.externs = program, binder, memories, externs
        self._views = [n for n, i in program.inputs.items() if VIEW in (i.kind, i.kind.element)]
        self._lists = [n for n, i in program.inputs.items() if i.kind.element is not None]
        read = {str(e.value).partition(".")[0] for root in program.values() for e in root.walk() if e.op == "input"}
        self.extra = tuple(name for name in EXTRA if name in read)

    def present(self, given: Mapping[str, Any]) -> frozenset[str]:
        """The inputs that are there, and the fields of second renders such as ``near.mask``."""
        names = (*self.program.inputs, "mask", "target")
        found = {name for name in names if given.get(name) is not None}
        background = given.get("background")
        if "background" in self.extra and isinstance(background, Tensor) and background.dim() > 2:
            found.add(BACKGROUND_IMAGE)
        for name in self._views:
            value = given.get(name)
            several = value if name in self._lists else None if value is None else [value]
            if isinstance(several, (list, tuple)) and several:
                names = (*FIELDS_OF_VIEWS, *self.program.inputs)
                have = [{f for f in names if _readable(self.binder, f, v)} for v in several]
                places = [name, *(f"{name}[{i}]" for i in range(len(several)) if name in self._lists)]
                found |= {f"{place}.{field}" for place in places for field in set.intersection(*have)}
        return frozenset(found)

    def complete(self, given: Mapping[str, Any], item: Any) -> dict[str, Any]:
        """The arguments of a call, with those that are None from a training item or a mapping."""
        wanted = {"target": ("target", "image"), "mask": ("mask",)}
        wanted.update((name, (name,)) for name in (*self.program.inputs, *self.extra))
        found = dict(given)
        for name, fields in wanted.items() if item is not None else ():
            if found.get(name) is None:
                found[name] = item_field(item, fields)
        return found

    def lengths(self, given: Mapping[str, Any]) -> dict[str, int]:
        """How many items each list has.

        Raises:
            LossError: what was given for one is no list.
        """
        found = {}
        for name in self._lists:
            value = given.get(name)
            if value is not None and not isinstance(value, (list, tuple)):
                raise LossError([self.binder.no_list(name, value)])
            found[name] = len(value or ())
        return found


def _ready(names: tuple[str, ...], known: Mapping[str, Tensor]) -> bool:
    return all(name in known for name in names if name.startswith("extern:"))


def _readable(binder: Binder, field: str, view: Any) -> bool:
    if field in ("state", "camera"):
        return ViewFields(view)[field] is not None
    if field in ("masked", "unmasked") or binder.lookup.is_record(field):
        return False
    return binder.lookup.find(field, ViewFields(view)) is not None


class Prepared(NamedTuple):
    """A variant with the tensors that its graph reads; ``known`` are those that no caller gives.

    ``program`` evaluates it: the loss itself, or one that has a part of its own for what is kept of a view.
    """

    program: CompiledProgram
    facts: Facts
    tensors: dict[str, Tensor]
    known: dict[str, Tensor]

    @property
    def device(self) -> torch.device | None:
        """Where the tensors are; None if there are none."""
        return next((t.device for t in self.tensors.values()), None)


class Evaluation:
    """Runs the parts of a variant, with what is kept of a view in ``cache``, if there is one."""

    def __init__(
        self,
        compiled: CompiledProgram,
        binder: Binder,
        memories: Memories,
        externs: Externs,
        cache: ViewCache | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.compiled, self.binder, self.memories, self.externs = compiled, binder, memories, externs
        self.views = Views(compiled, binder, cache) if cache else None
        self._call_names = CallNames()
        self._plain: dict[Facts, bool] = {}
        self.ranks = ranks

    def _bind(
        self, names: tuple[str, ...], given: Mapping[str, Any], known: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The tensors that a graph reads, as all ranks see them."""
        tensors = self.binder.bind(names, given, known)
        return tensors if self.ranks is None else self.ranks.over_all(tensors)

    def __call__(
        self,
        facts: Facts,
        given: Mapping[str, Any],
        env: Mapping[str, Any],
        step: int,
        blocks: Sequence[Facts] = (),
        view: Named | None = None,
    ) -> tuple[Result, torch.device | None]:
        """Evaluate a step, and the device of its inputs; None where it reads no tensor.

        Args:
            facts: the variant of the step.
            given: the arguments of the call.
            env: its host values.
            step: counted from 0.
            blocks: the variants that make it up, see `Blocks`; (): it is evaluated as a whole.
            view: the name of the view, for what is kept of it; None: its tensors tell it.
        """
        if len(blocks) < 2 and self.views is None and self._is_plain(facts):
            tensors = self._bind(self.compiled.part(facts).names, given)
            self.binder.forget()
            return self.compiled(facts, tensors, env), next((t.device for t in tensors.values()), None)
        prepared = self.prepare(facts, given, env, step, blocks, view, keep=True)
        results = [(part.program(part.facts, part.tensors, env), part.device) for part in prepared]
        if torch.is_grad_enabled():
            for part, (result, _) in zip(prepared, results):
                for name, value in result.outputs.items():  # of blocks that renew the same memory the first one counts
                    like = part.known[name]
                    self.memories.renew(name.partition(":")[2], step, filled(value, tuple(like.shape), like))
        if len(results) == 1:
            return results[0]
        return joined(results, facts.terms), next((device for _, device in results if device is not None), None)

    def _is_plain(self, facts: Facts) -> bool:
        """Whether a variant has no memories and calls no functions of the host."""
        found = self._plain.get(facts)
        if found is None:
            resolved = self.compiled.resolved(facts)
            found = self._plain[facts] = not (resolved.externs or resolved.memories)
        return found

    def prepare(
        self,
        facts: Facts,
        given: Mapping[str, Any],
        env: Mapping[str, Any],
        step: int,
        blocks: Sequence[Facts] = (),
        view: Named | None = None,
        keep: bool = False,
    ) -> list[Prepared]:
        """What each block of a step needs, see `__call__`. A function of the host is called once for all of them.

        Without ``keep`` nothing of a view is kept, nor is used what is.
        """
        self.binder.forget()
        made: dict[int, dict[str, Tensor]] = {}
        prepared = []
        for block in blocks or (facts,):
            known = self.known(block, given, env, step, facts, made)
            if self.views is None:
                program, tensors = self.compiled, self._bind(self.compiled.part(block).names, given, known)
            else:
                program, tensors = self.views.bind(block, given, known, view, keep)
            prepared.append(Prepared(program, block, tensors, known))
        self.binder.forget()
        return prepared

    def rehearse(self, part: Prepared, env: Mapping[str, Any]) -> None:
        """Evaluate a block on copies that share no autograd graph with what was given, and, where gradients are on,
        its gradient: whatever has to be compiled for it is compiled, and nothing changes."""
        leaves = {name: t.detach().requires_grad_(t.requires_grad) for name, t in part.tensors.items()}
        total = part.program(part.facts, leaves, env).total
        wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]
        if wanted and total.requires_grad:
            torch.autograd.grad(total, wanted, allow_unused=True)

    def known(
        self,
        facts: Facts,
        given: Mapping[str, Any],
        env: Mapping[str, Any],
        step: int,
        whole: Facts | None = None,
        made: dict[int, dict[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """The inputs of the terms that no caller gives: memories, and what extern functions return.

        Args:
            facts, given, env, step: see `__call__`.
            whole: the variant of the step, if ``facts`` is a block of it; its inputs give memories their sizes.
            made: what extern functions returned for other blocks; what they return for this one is added.
        """
        known: dict[str, Tensor] = {}
        made = {} if made is None else made
        names = self._call_names.of(facts, self.compiled.resolved(facts))
        waiting = list(self.compiled.resolved(facts).memories)
        for level, calls in enumerate((*self.compiled.levels(facts), ())):
            for memory in list(waiting):  # what one starts as may come from a function of an earlier level
                if _ready(self.compiled.part(facts, f"init {memory.info.name}").names, known):
                    name = memory.info.name
                    known[f"memory:{name}"] = self._memory(name, facts, given, env, step, known, whole or facts)
                    waiting.remove(memory)
            new = [call for call in calls if names[call.name] not in made]
            computed = any(is_computed(a) for call in new for a in call.args)
            values = self._part(facts, f"externs {level}", given, env, known).outputs if computed else {}
            for call in calls:
                if names[call.name] not in made:
                    arguments = [self._argument(call, i, values, given, env, known) for i in range(len(call.args))]
                    results = self.externs.call(call, arguments)
                    made[names[call.name]] = {name.removeprefix(call.name): t for name, t in results.items()}
                known.update({call.name + field: t for field, t in made[names[call.name]].items()})
        return known

    def _part(
        self, facts: Facts, part: str, given: Mapping[str, Any], env: Mapping[str, Any], known: Mapping[str, Tensor]
    ) -> Result:
        tensors = self._bind(self.compiled.part(facts, part).names, given, known)
        return self.compiled(facts, tensors, env, part)

    # Memories

    def _memory(
        self,
        name: str,
        facts: Facts,
        given: Mapping[str, Any],
        env: Mapping[str, Any],
        step: int,
        known: Mapping[str, Tensor],
        whole: Facts,
    ) -> Tensor:
        """What a memory was after the last step; at its first use, what it starts as."""
        info = self.memories.program.memories[name]
        value = self.memories.last(name, step)
        if value is None:
            with torch.no_grad():
                made = self._part(facts, f"init {name}", given, env, known).outputs["init"]
            tensors = self._tensors(whole, given)
            like = next((t for t in tensors.values() if t.is_floating_point()), made)
            value = filled(made, self._shape(info.type.kind, tensors), like)
            self.memories.start(name, value)
        if is_per_gaussian(info):
            means = self.binder.lookup.find("state.means", given)
            if isinstance(means, Tensor):
                self.memories.check(name, value, len(means))
        return value

    def _tensors(self, facts: Facts, given: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.binder.bind(self.compiled.read(facts), given)

    def _sizes(self, tensors: Mapping[str, Tensor]) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, tensor in tensors.items():
            found.update(dimensions(name, self.binder.lookup.kind(name), tensor))
        return found

    def _shape(self, kind: Any, tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
        if not kind.is_tensor:
            return ()
        sizes = self._sizes(tensors)
        view = f"{kind.view}:" if kind.view else ""
        names = [*letters(kind), *([kind.components] if isinstance(kind.components, str) else [])]
        shape = [int(n) if n.isdigit() else sizes[f"{view}{n}" if n in HOST_SIZES else n] for n in names]
        return (*shape, kind.components) if isinstance(kind.components, int) else tuple(shape)

    # Functions of the host

    def _argument(
        self,
        call: ExternCall,
        index: int,
        made: Mapping[str, Tensor],
        given: Mapping[str, Any],
        env: Mapping[str, Any],
        known: Mapping[str, Tensor],
    ) -> Any:
        argument: Expr = call.args[index]
        kind = argument.type.kind
        if name := given_input(argument):
            return passed(kind, self.binder.bind((name,), given, known)[name])
        if is_computed(argument):
            return passed(kind, made[f"{call.name} {index}"])
        if argument.type.is_host:
            return evaluate(argument, env)
        if kind.name in ("mode", "string"):
            return argument.value if argument.op == "const" else env[argument.value]
        name = str(argument.value)
        if kind.name in ("view", "list") or "." not in name:
            return as_given(given[name] if "[" not in name else given[name.partition("[")[0]][_index(name)])
        view, _, field = name.partition(".")
        return ViewFields(given[view])[field]


def _index(name: str) -> int:
    return int(name.partition("[")[2].rstrip("]"))
