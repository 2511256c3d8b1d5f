"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..splat.state import SplatTrainingState


@dataclass(frozen=True)
class TrainingResult:
    """The end of a run, or the point at which it was stopped.

    Attributes:
        state: the gaussians; where several processes divide them, those of this one.
        steps: completed steps, over all parts of a resumed run.
        finished: whether that is all of them; False after `SplatTrainer.request_stop`.
        seconds: time spent, over all parts.
        before: held-out numbers before the first update, by names such as ``eval/psnr``; empty without such views.
        after: held-out numbers of the last evaluation.
        output: the folder of the run; None, here and below: nothing was written.
        metrics: ``metrics.jsonl``.
        run: ``run.json``.
        checkpoint: the newest checkpoint.
        model: ``point_cloud.ply``.
        images: folder of the last pictures.
    """

    state: SplatTrainingState
    steps: int
    finished: bool
    seconds: float
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    output: Path | None = None
    metrics: Path | None = None
    run: Path | None = None
    checkpoint: Path | None = None
    model: Path | None = None
    images: Path | None = None
