"""A loss with some of its terms: chosen in the checked program, so that everything else about it stays as it is."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Sequence

from ...dsl.objective import TermRecord
from ...dsl.term_names import check_names
from ...dsl.typed import Expr, TypedProgram, TypedTerm
from ..compiled import CompiledLossFn


def select_terms(program: TypedProgram, names: Collection[str]) -> TypedProgram:
    """A copy of a program with the terms of these names, and with the memories that they read.

    The parameters are those of the program itself, not copies: a value that is set for one holds for both.
    """
    chosen = copy.copy(program)
    chosen.terms = tuple(term for term in program.terms if term.name in names)
    read = _memories(program, chosen.terms)
    chosen.memories = {name: info for name, info in program.memories.items() if name in read}
    return chosen


def _memories(program: TypedProgram, terms: Iterable[TypedTerm]) -> set[str]:
    """The memories that terms read, and those that the updates of these read in turn."""
    found: set[str] = set()
    roots: list[Expr] = [root for term in terms for root in (term.value, term.when) if root is not None]
    while roots:
        for node in roots.pop().walk():
            if node.op == "memory" and node.value not in found and node.value in program.memories:
                found.add(node.value)
                info = program.memories[node.value]
                roots += [root for root in (info.init, info.update, info.when) if root is not None]
    return found


def whole_name(record: TermRecord) -> str:
    """The name that a program knows a term by: with its group, which the record holds apart."""
    return f"{record.group}.{record.name}" if record.group else record.name


class SelectedLossFn(CompiledLossFn):
    """A compiled loss with some of its terms.

    Its fingerprint is not that of the whole loss, so that a run with one is never continued with the other.

    Args:
        whole: the loss.
        names: the terms that stay.
        backend: what compiles it; what compiles the whole loss if None.

    Attributes:
        left_out: the terms that were removed, in the program's order.
    """

    def __init__(self, whole: CompiledLossFn, names: Collection[str], backend: str | None = None) -> None:
        functions = {name: whole.parts.externs[name] for name in whole.program.externs}
        register = {name: function for name, function in functions.items() if function is not None}
        chosen = select_terms(whole.program, names)
        compiled = whole._compiled
        super().__init__(
            chosen, backend or compiled.backend, whole.device, register, compiled.kernels, whole.view_cache.budget
        )
        self.left_out = tuple(term.name for term in whole.program.terms if term.name not in names)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the program, its parameters, and the terms that are left out."""
        if not self.left_out:
            return super().fingerprint
        payload = json.dumps([super().fingerprint, "without", self.left_out])
        return hashlib.sha256(payload.encode()).hexdigest()

    def describe(self) -> str:
        """The resolved objective, with the terms that are left out named."""
        gone = f"\n  left out: {', '.join(self.left_out)}" if self.left_out else ""
        return super().describe() + gone


def without(loss: CompiledLossFn, names: Sequence[str]) -> SelectedLossFn:
    """A loss without the terms of these names.

    Raises:
        LossError: BND009, there is no such term.
    """
    removed = check_names(loss.program, names)
    return SelectedLossFn(loss, [term.name for term in loss.program.terms if term.name not in removed])
