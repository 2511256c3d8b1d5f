"""What a run leaves in its output folder: metrics, run.json, TensorBoard scalars, pictures, the gaussians."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from ..extras import require
from ..splat.model import SplatModel
from .checkpoint import CheckpointStore, remove_tree, write_atomically, writing

METRICS = "metrics.jsonl"
RUN = "run.json"
MODEL = "point_cloud.ply"


def plain(value: Any) -> Any:
    """A value that strict JSON can hold: numbers that are not finite become None, unknown objects their text."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    return str(value)


def now() -> str:
    """The present time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of what the numbers of a run depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("splatdsl", "torch", "gsplat", "torchmetrics"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


class RunFolder:
    """The output folder of one run.

    Args:
        folder: made if it does not exist.
        keep_checkpoints: how many are kept, newest first; 0: all.

    Attributes:
        checkpoints: the run's checkpoints.
    """

    def __init__(self, folder: Path, keep_checkpoints: int = 2) -> None:
        self.folder = folder
        self.checkpoints = CheckpointStore(folder / "checkpoints", keep_checkpoints)
        self._metrics: BinaryIO | None = None
        self._writer: Any = None
        self.run: dict[str, Any] = {}

    @property
    def holds_run(self) -> bool:
        """Whether a run has written here."""
        return any((self.folder / name).exists() for name in (RUN, METRICS)) or bool(self.checkpoints.paths())

    def clear(self) -> None:
        """Remove what a run writes, and nothing else."""
        for name in (METRICS, RUN, MODEL):
            (self.folder / name).unlink(missing_ok=True)
        for path in self.folder.glob("images/step_*"):
            remove_tree(path)
        remove_tree(self.folder / "tensorboard")
        remove_tree(self.folder / "losses")
        self.checkpoints.clear()

    def open(self, *, keep_bytes: int = 0, first_step: int = 0, tensorboard: bool = False) -> None:
        """Start to record.

        Args:
            keep_bytes: how much of the metrics stays: what was there when the checkpoint was written.
            first_step: rows of steps before this one stay.
            tensorboard: whether TensorBoard scalars are wanted too.

        Raises:
            LossError: RUN014, the folder cannot be written to; DAT001, tensorboard is not installed.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / METRICS
            kept = list(_rows(path, keep_bytes, first_step))
            if not path.exists() or path.stat().st_size != sum(map(len, kept)):
                write_atomically(path, lambda stream: stream.writelines(kept))
            self._metrics = open(path, "ab")  # noqa: SIM115 - closed by `close`
        if tensorboard:
            require("tensorboard")
            writer = require("torch.utils.tensorboard").SummaryWriter
            # Made anew from the rows that stay: what an earlier part of the run had buffered or had gone on to
            # write after the checkpoint would otherwise be missing or there twice.
            remove_tree(self.folder / "tensorboard")
            self._writer = writer(log_dir=str(self.folder / "tensorboard"))
            for line in kept:
                self._scalars(json.loads(line))

    @property
    def metrics_bytes(self) -> int:
        """Length of the metrics, all of it on the disk."""
        if self._metrics is None:
            return 0
        os.fsync(self._metrics.fileno())
        return self._metrics.tell()

    def row(self, row: Mapping[str, Any]) -> None:
        """Append a row to the metrics; its numbers go to TensorBoard too.

        Raises:
            LossError: RUN014.
        """
        if self._metrics is None:
            return
        with writing(self.folder / METRICS):
            self._metrics.write(json.dumps(plain(row), allow_nan=False).encode() + b"\n")
            self._metrics.flush()
        if self._writer is not None:
            self._scalars(row)

    def _scalars(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in ("step", "seconds") and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, global_step=row["step"])

    def write_run(self, **entries: Any) -> None:
        """Add entries to ``run.json`` and write it.

        Raises:
            LossError: RUN014.
        """
        self.run.update(entries)
        text = json.dumps(plain(self.run), indent=2, allow_nan=False) + "\n"
        write_atomically(self.folder / RUN, lambda stream: stream.write(text.encode()))

    def read_run(self) -> dict[str, Any]:
        """What ``run.json`` holds; empty if it is missing or damaged."""
        try:
            content = json.loads((self.folder / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def images_at(self, step: int) -> Path:
        """The folder for the pictures of an evaluation."""
        return self.folder / "images" / f"step_{step:06d}"

    def export(self, model: SplatModel) -> Path:
        """Write the gaussians as a PLY file, in one go; returns its path.

        Raises:
            LossError: RUN014, it cannot be written; DAT001, gsplat is not installed.
        """
        path, temporary = self.folder / MODEL, self.folder / f".{MODEL}.tmp"
        with writing(path):
            model.save_ply(temporary)
            os.replace(temporary, path)
        return path

    def close(self) -> None:
        """Stop recording."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _rows(path: Path, keep_bytes: int, first_step: int) -> Iterator[bytes]:
    """The whole rows within the first ``keep_bytes``; of steps up to ``first_step`` if the file was shortened."""
    if not keep_bytes or not path.exists():
        return
    content = path.read_bytes()
    for line in content[:keep_bytes].splitlines(keepends=True):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if line.endswith(b"\n") and json.loads(line)["step"] <= first_step:
                yield line


class Clock:
    """Seconds of training, over all parts of a run."""

    def __init__(self, before: float = 0.0) -> None:
        self._before = before
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds up to now."""
        return self._before + time.perf_counter() - self._start
