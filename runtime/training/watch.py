"""A loss whose file is edited while it trains: noticed between two steps, checked, and then taken or refused.

Only the program changes. Gaussians, optimisers, views and random numbers stay as they are; parameters that the run sets
keep their values, and memories that are still declared alike keep theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...dsl.api import analyse
from ...dsl.diagnostics import Diagnostic, LossError, Severity
from ...dsl.files import LOSS_LIMIT, Unreadable, is_program, kept, located, read_text
from ...dsl.result_cache import USE, reads
from ...dsl.source import Source
from ...dsl.suppress import apply
from ...dsl.typed import TypedProgram
from ..compiled import CompiledLossFn
from ..lookup import item_field
from .checkpoint import write_atomically
from .config import training_error
from .loss_access import LossAccess

if TYPE_CHECKING:
    from .run import Run

INTERVAL = 0.5
"""Seconds between two looks at the files."""

RANKS_EVERY = 10
"""With several ranks: steps between two looks, at which all of them learn what the first one saw."""

LOST = "RUN019"
"""The finding that another rank is gone: it says nothing of the program."""

CHANGES = "loss_changes"
FOLDER = "losses"


class Watched(NamedTuple):
    """A program's file, and the values that the run sets for its parameters."""

    path: str
    params: Mapping[str, Any] | None = None


class Texts(NamedTuple):
    """A program with the files that it uses, as they were at one moment; real paths and texts."""

    text: str
    others: Mapping[str, str]


def program_hash(texts: Sequence[str]) -> str:
    """SHA-256 of a program: of its file, as `sha256sum` prints it, or of the list of all texts if it uses others."""
    payload = texts[0] if len(texts) == 1 else json.dumps(list(texts))
    return hashlib.sha256(payload.encode()).hexdigest()


def file_name(text: str) -> str:
    """What the copy of a text is called in the run's folder ``losses``."""
    return f"{program_hash([text])[:16]}.loss"


def watched(loss_fn: Any, asked: bool | str | Path | Watched) -> Watched:
    """The file to watch.

    Args:
        loss_fn: the loss of the run.
        asked: True for the file that it was loaded from, or that file.

    Raises:
        LossError: RUN003, the loss is none of the language, or was not loaded from a file.
    """
    if not isinstance(loss_fn, CompiledLossFn):
        message = f"`watch_loss` needs a loss of the language, and `{type(loss_fn).__name__}` is written in Python"
        raise training_error("RUN003", message)
    path = loss_fn.program.source.name if asked is True else str(asked)
    given = asked if isinstance(asked, Watched) else Watched(path)
    if not (is_program(given.path) and os.path.isfile(given.path)):
        message = "`watch_loss` needs a loss that was loaded from a file"
        raise training_error("RUN003", message, help=("write the program into a `.loss` file",))
    return given


class LossWatch:
    """Looks at the files of a run's program, and changes the program when they have changed.

    Args:
        run: the run; its loss is changed in place, so that everybody who holds it has the new one.
        what: the file, and what the run sets.
        scale: the scene's scale.
        save: writes a checkpoint of this moment.
        clock: seconds, for the time between two looks.
    """

    def __init__(
        self,
        run: Run,
        what: Watched,
        scale: float,
        save: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._path, self._scale, self._save, self._clock = run, what.path, scale, save, clock
        loss_fn = run.trainer.loss_fn
        assert isinstance(loss_fn, CompiledLossFn)  # `watched` has refused anything else
        self._loss = loss_fn
        program = self._loss.program
        given = what.params
        self._set = {n: p.value for n, p in program.params.items() if p.value != p.default} if given is None else given
        self._began = dict(self._loss.params)
        self._hash = _hash_of(program)
        self._files = _files(program, what.path)
        # Nothing is known of the files yet: they may have changed since the loss was loaded.
        self._state: dict[str, tuple[int, int] | None] = {}
        self._seen: dict[str, tuple[int, int] | None] | None = None
        self._next = clock() + INTERVAL
        self._refused = ""

    def start(self, step: int) -> None:
        """Keep the first program in the run's folder; note a change that a crash has left without a note.

        Args:
            step: at which the run begins, or goes on.
        """
        folder = self._run.folder
        if folder is None:
            return
        self._keep([s.text for s in self._loss.program.sources])
        changes = folder.run.get(CHANGES, [])
        if changes and changes[-1]["to"] != self._hash:
            self._note(step, changes[-1]["to"])

    def look(self, step: int, item: Any) -> None:
        """Called before each step: take the program that the files hold now, if it is another and right.

        Args:
            step: the step that comes next.
            item: its views, which show what the data has.

        Raises:
            LossError: RUN014, the run's folder cannot be written to.
        """
        ranks = self._run.ranks
        if ranks.world > 1 and step % RANKS_EVERY:
            return
        texts = ranks.from_first(lambda: self._changed() if self._due() else None)
        if texts is not None:
            self._take(step, item, texts)

    # Noticing

    def _due(self) -> bool:
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + INTERVAL
        return True

    def _stamps(self) -> dict[str, tuple[int, int] | None]:
        found: dict[str, tuple[int, int] | None] = {}
        for path in self._files:
            try:
                about = os.stat(path)
                found[path] = about.st_mtime_ns, about.st_size
            except OSError:
                found[path] = None
        return found

    def _changed(self) -> Texts | None:
        """What the files hold, once they have changed and been left alone for one interval.

        Editors write files in parts, or remove them first: what is there in between is never looked at.
        """
        now = self._stamps()
        if now == self._state:
            self._seen = None
            return None
        if now != self._seen:
            self._seen = now
            return None
        self._seen, self._state = None, now
        try:
            text = read_text(self._path, LOSS_LIMIT)
        except Unreadable as reason:
            self._say(f"{self._path} {reason}; training goes on with the program in force")
            return None
        if not text.strip():
            self._say(f"{self._path} is empty; training goes on with the program in force")
            return None
        others = reads(self._path, text)
        if others is None:  # a `use` names no file: the checker says so, and it may be written later
            others = {}
        self._follow([*_files(self._loss.program, self._path), *named(self._path, text), *sorted(others)])
        texts = Texts(Source(text).text, dict(others))
        digest = program_hash([text, *others.values()])
        if digest in (self._hash, self._refused):
            self._refused = digest if digest == self._refused else ""
            return None
        self._refused = digest
        return texts

    def _follow(self, files: Sequence[str]) -> None:
        """Look at these files from now on; what is known of one stays, so that no change since then is missed."""
        known, self._files = self._state, [*dict.fromkeys(files)]
        self._state = {path: known.get(path, stamp) for path, stamp in self._stamps().items()}

    def _say(self, text: str) -> None:
        self._run.trainer.note(text)

    # Changing

    def _take(self, step: int, item: Any, texts: Texts) -> None:
        self._run.loop.settle()  # a finding about the last step is one of the program before
        try:
            new, access, warned = self._run.ranks.agree(lambda: self._checked(texts, item))
        except LossError as error:
            if any(d.code == LOST for d in error.diagnostics):
                raise
            declare = getattr(self._run.trainer.data_provider, "declare", None)
            if callable(declare):  # `check_data` may have told it of the inputs of the refused program
                declare(self._loss.program.inputs)
            shown = "\n\n".join(map(str, error.diagnostics))
            self._say(f"{self._path} has changed and is refused; step {step} goes on with the program before\n{shown}")
            return
        if _hash_of(new.program) == self._hash:
            return
        for diagnostic in warned:
            self._say(f"{self._path}: {diagnostic}")
        identity = access.identity()  # with what the config sets, as a resumed run will have it
        notes = [*self._carry_params(new), *self._carry_memories(new)]
        before, self._hash = self._hash, _hash_of(new.program)
        replace_program(self._loss, new)
        access.fn = self._loss
        self._began = {**dict(self._loss.params), **{n: v for n, v in self._set.items() if n in self._loss.params}}
        run = self._run
        run.loss = access
        run.loop.use_loss(access)
        run.identity["loss"] = identity
        self._follow(_files(self._loss.program, self._path))
        self._refused = ""
        self._keep([s.text for s in self._loss.program.sources])
        self._save()  # whoever resumes this run continues with the new program and never needs the old one
        self._note(step, before)
        self._say(f"{self._path} has changed: the new program counts from step {step} on ({self._hash[:16]})")
        for text in notes:
            self._say(text)

    def _checked(self, texts: Texts, item: Any) -> tuple[CompiledLossFn, LossAccess, list[Diagnostic]]:
        """The new loss, checked against the renderer, the data and the length of the run.

        Raises:
            LossError: the program has an error.
        """
        run = self._run
        source = Source(texts.text, self._path)
        with kept(texts.others):
            program, found = analyse(source, {}, run.config.max_steps)
            if program is None:
                raise LossError(_shown(found))
            declared = program.inputs
            params = {name: value for name, value in self._set.items() if name in program.params}
            names = ("target", "mask", *declared)
            fields = {n for n in names if item_field(item, (n, "image") if n == "target" else (n,)) is not None}
            supplied = frozenset(run.trainer.renderer.buffers)
            program, found = analyse(source, params, run.config.max_steps, supplied, frozenset(fields))
        found = _shown(found)
        if program is None or any(d.severity is Severity.ERROR for d in found):
            raise LossError([d for d in found if d.severity is Severity.ERROR] or found)
        new = rebuilt(self._loss, program)
        access = LossAccess(new, run.config.max_steps, {"scene_scale": self._scale})
        access.check_buffers(run.trainer.renderer.buffers, run.trainer.renderer.name)
        access.check_data(run.trainer.data_provider)
        return new, access, found

    def _carry_params(self, new: CompiledLossFn) -> list[str]:
        """Give parameters the values that were assigned while the run went on; what cannot be kept."""
        notes = [f"the program has no parameter `{n}` any more, which the run sets" for n in self._set]
        notes = [note for note, name in zip(notes, self._set) if name not in new.params and name in self._loss.params]
        for name, value in self._loss.params.items():
            if value == self._began.get(name):
                continue
            try:
                new.params[name] = value
            except (LossError, KeyError):
                notes.append(f"`{name}` was assigned {value!r}, which the new program does not take")
        return notes

    def _carry_memories(self, new: CompiledLossFn) -> list[str]:
        """Give memories of the same name and kind the values that they have; which begin anew."""
        old = self._loss
        saved = old.memories.state_dict()
        same = {
            name: entry
            for name, entry in saved.items()
            if name in new.program.memories
            and new.program.memories[name].type.kind == old.program.memories[name].type.kind
        }
        new.memories.load_state_dict(same)
        lost = [name for name in saved if name in new.program.memories and name not in same]
        return [f"the memory `{name}` is of another kind and begins anew" for name in lost]

    # Records

    def _keep(self, texts: Sequence[str]) -> None:
        folder = self._run.folder
        if folder is None:
            return
        for text in texts:
            path = folder.folder / FOLDER / file_name(text)
            if not path.exists():
                write_atomically(path, lambda stream, text=text: stream.write(text.encode()))

    def _note(self, step: int, before: str) -> None:
        folder = self._run.folder
        if folder is None:
            return
        program = self._loss.program
        entry: dict[str, Any] = {"step": step, "from": before, "to": self._hash, "file": self._path}
        entry["copies"] = {source.name: f"{FOLDER}/{file_name(source.text)}" for source in program.sources}
        folder.write_run(**{"loss": self._run.loss.describe(), CHANGES: [*folder.run.get(CHANGES, []), entry]})


def _shown(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    return apply(list(found)) if any("splat:" in d.source.text for d in found) else list(found)


def _hash_of(program: TypedProgram) -> str:
    return program_hash([source.text for source in program.sources])


def _files(program: TypedProgram, path: str) -> list[str]:
    """The files that a program is made of, its own first."""
    return [path, *(os.path.realpath(located(source.name)) for source in program.sources[1:])]


def named(path: str, text: str) -> list[str]:
    """The files that a program's text says it uses, whether they are there or not; real paths."""
    folder = os.path.dirname(os.path.abspath(path))
    return [os.path.realpath(os.path.join(folder, match[1])) for match in USE.finditer(text) if match[1]]


def rebuilt(loss: CompiledLossFn, program: TypedProgram) -> CompiledLossFn:
    """A loss of another program that is compiled, bound and given functions as this one is.

    Raises:
        LossError: it needs a function that is not registered, or an input of another name.
    """
    made = loss._made_of()
    settings = {name: made[name] for name in ("backend", "device", "kernels", "view_cache", "bind", "layout")}
    register = {name: function for name, function in made["register"].items() if name in program.externs}
    return CompiledLossFn(program, register=register, ranks=loss.ranks, **settings)


def replace_program(loss: CompiledLossFn, new: CompiledLossFn) -> None:
    """Make a loss what another one is, for all who hold it; ``new`` is not to be used any more."""
    told = vars(loss).get("_told")
    vars(loss).clear()
    vars(loss).update(vars(new))
    loss._told = told
