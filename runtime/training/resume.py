"""Whether a checkpoint belongs to the run that wants to continue it."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source
from .checkpoint import differences
from .config import FREE_FIELDS, SplatTrainerConfig


def identity(
    config: SplatTrainerConfig, loss: dict[str, Any], strategy: Any, renderer: str, data: Any, ranks: int = 1
) -> dict[str, Any]:
    """What the numbers of a run depend on, as plain values.

    The number of ranks is not among them, but the views of a step are: ``batch_size`` here is that of all ranks.
    """
    settings = {name: value for name, value in config.describe().items() if name not in FREE_FIELDS}
    settings["batch_size"] = config.batch_size * ranks
    for name in ("exposure", "bilateral_grid"):  # checkpoints from before there were such settings have none either
        if not settings[name]:
            del settings[name]
    if settings.pop("optimizer") == "selective":  # the others differ in speed and rounding, as devices do
        settings["optimizer"] = "selective"
    return {"config": settings, "loss": loss, "densification": strategy, "renderer": renderer, "data": data}


def check(saved: dict[str, Any], current: dict[str, Any], where: str, ranks: tuple[int, int] = (1, 1)) -> None:
    """Refuse to continue a run with something else.

    Args:
        saved: the identity in the checkpoint.
        current: that of the run that wants to continue.
        where: the checkpoint or folder, for the message.
        ranks: how many processes wrote the checkpoint, and how many want to continue.

    Raises:
        LossError: RUN005, with every difference.
    """
    changed = [line for part in ("config", "densification", "renderer", "data") for line in _part(saved, current, part)]
    changed += _loss(saved["loss"], current["loss"])
    if not changed:
        return
    what = ", ".join(dict.fromkeys(line.partition(":")[0] for line in changed))
    before, after = saved["config"].get("batch_size"), current["config"].get("batch_size")
    if before != after and max(ranks) > 1:
        changed.append(
            f"these are the images of a step over all ranks: {ranks[0]} x {before // ranks[0]} before, "
            f"{ranks[1]} x {after // ranks[1]} now"
        )
        if before % ranks[1] == 0:
            changed.append(f"with {ranks[1]} ranks, `batch_size: {before // ranks[1]}` makes it what it was")
    raise LossError(
        [
            Diagnostic(
                "RUN005",
                f"the run in {where} cannot be continued: {what} changed",
                Source("", "<training>"),
                None,
                notes=changed,
                help=(
                    *_kept(saved["loss"], current["loss"], where),
                    "put that back as it was to continue the run",
                    "or keep the change and start a new run, with another `output` folder (or `--overwrite`)",
                ),
            )
        ]
    )


def _kept(saved: dict[str, Any], current: dict[str, Any], where: str) -> list[str]:
    """Where a program that was changed while it trained can be found as it was."""
    text = saved.get("program")
    if not isinstance(text, str) or text == current.get("program"):
        return []
    copy = os.path.join(where, "losses", hashlib.sha256(text.encode()).hexdigest()[:16] + ".loss")
    return [f"the program that was in force is kept in {copy}"] if os.path.isfile(copy) else []


def _part(saved: dict[str, Any], current: dict[str, Any], part: str) -> list[str]:
    return differences(saved.get(part), current.get(part), part)


def _loss(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    if saved.get("fingerprint") == current.get("fingerprint"):
        # Equal programs and parameters: text that differs only in comments or layout changes no number.
        return differences(saved.get("attributes"), current.get("attributes"), "loss")
    lines = differences(saved.get("type"), current.get("type"), "loss.type")
    lines += differences(saved.get("params", {}), current.get("params", {}), "loss.params")
    old, new = (str(entry.get("program", "")).splitlines() for entry in (saved, current))
    for number in range(max(len(old), len(new))):
        before, after = (text[number].strip() if number < len(text) else "(no line)" for text in (old, new))
        if before != after:
            lines.append(f"loss, line {number + 1}: {before!r} -> {after!r}")
            break
    return lines or ["loss: its source code is not the same"]
