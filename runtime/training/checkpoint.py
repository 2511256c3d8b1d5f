"""Checkpoints: written so that a crash at any moment leaves a readable one, read without running code from them."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...dsl.diagnostics import LossError
from .config import training_error

FORMAT = 1
_NAME = re.compile(r"step_(\d+)\.pt")
_UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)


def write_atomically(path: Path, write: Any) -> None:
    """Replace a file in one go.

    ``write`` gets a binary stream of a temporary file in the same folder, which takes the file's place only when all
    of it is on the disk: after a crash the file is the old one or the new one, never a part.

    Raises:
        LossError: RUN014, the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _cannot_write(path, error) from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the failure to write a file into a finding.

    Raises:
        LossError: RUN014.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: Exception) -> LossError:
    return training_error(
        "RUN014", f"{path} cannot be written: {error}", help=("free space, or choose another `output` folder",)
    )


def _sync_folder(folder: Path) -> None:
    # Without this the new name may be lost in a power failure, although the file's contents are safe.
    with contextlib.suppress(OSError):  # not every platform and file system allows it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_savable(owner: str, value: Any, path: str = "") -> None:
    """Refuse what `read` could not read back.

    Raises:
        LossError: RUN015, with the path of the entry.
    """
    if value is None or isinstance(value, (Tensor, bool, int, float, str, bytes)):
        return
    if isinstance(value, Mapping) and isinstance(value, dict):
        for key, item in value.items():
            check_savable(owner, item, f"{path}[{key!r}]")
        return
    if type(value) in (list, tuple, set):
        for i, item in enumerate(value):
            check_savable(owner, item, f"{path}[{i}]")
        return
    raise training_error(
        "RUN015",
        f"`{owner}.state_dict(){path}` is a {type(value).__name__}, which a checkpoint cannot hold",
        help=("return tensors, numbers, texts, None, and dicts, lists or tuples of these",),
    )


class CheckpointStore:
    """The checkpoints of one run, in one folder.

    Args:
        folder: made when the first one is written.
        keep: how many are kept, newest first; 0: all.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def paths(self) -> list[Path]:
        """All checkpoints, newest first."""
        if not self.folder.is_dir():
            return []
        found = [(int(m.group(1)), p) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def save(self, content: dict[str, Any]) -> Path:
        """Write a checkpoint of ``content["step"]`` completed steps, then drop those that are not kept.

        Raises:
            LossError: RUN014.
        """
        path = self.folder / f"step_{content['step']:06d}.pt"
        write_atomically(path, lambda stream: torch.save({"format": FORMAT, **content}, stream))
        for old in self.paths()[self.keep :] if self.keep else []:
            old.unlink(missing_ok=True)
        return path

    def load_newest(self) -> tuple[dict[str, Any] | None, list[Path]]:
        """The newest checkpoint that can be read, and the newer ones that cannot.

        Returns:
            None in place of the content if the run has no checkpoint at all.

        Raises:
            LossError: RUN006, there are checkpoints, but none can be read.
        """
        unreadable: list[Path] = []
        for path in self.paths():
            try:
                return read(path), unreadable
            except _UNREADABLE:
                unreadable.append(path)
        if unreadable:
            raise training_error(
                "RUN006",
                f"none of the checkpoints in {self.folder} can be read",
                notes=tuple(str(path) for path in unreadable),
                help=("start again with another `output` folder",),
            )
        return None, []

    def drop_after(self, step: int) -> None:
        """Remove those of later steps, which a run that goes on from an earlier one will write anew."""
        for path in self.paths():
            match = _NAME.fullmatch(path.name)
            if match and int(match.group(1)) > step:
                path.unlink()

    def clear(self) -> None:
        """Remove all checkpoints, and what an interrupted write may have left."""
        for path in self.paths():
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            for path in self.folder.glob(".step_*.tmp"):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # holds files that are not ours
                self.folder.rmdir()


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, with its tensors on the CPU.

    Raises:
        OSError, RuntimeError, ValueError and others of `_UNREADABLE`: the file is missing, cut short or damaged.
    """
    with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums that it writes
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("not a checkpoint of this version")
    return content


def read_or_explain(path: Path) -> dict[str, Any]:
    """As `read`.

    Raises:
        LossError: RUN006.
    """
    try:
        return read(path)
    except _UNREADABLE as error:
        raise training_error("RUN006", f"the checkpoint {path} cannot be read: {error}") from error


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What differs between two nested plain values, one line each: ``max_steps: 100 -> 200``."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            name = f"{path}.{key}" if path else str(key)
            lines += differences(old.get(key), new.get(key), name)
        return lines
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def remove_tree(path: Path) -> None:
    """Remove a folder of the run's own making, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
