"""What a run shows."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from splatdsl.compiler import events
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.display import TrainingDisplay, describe_evaluation, describe_row
from splatdsl.runtime.training.trainer import SplatTrainer


class OneTerm(SplatLossFn[SplatRenderPayload]):
    def compute_loss(self, rendered_frames, target_frames, **others):
        loss = (rendered_frames - target_frames).abs().mean()
        self.terms = {"photometric": loss.detach()}
        return 0.5 * loss

    def weights(self, step: int, max_steps: int) -> dict[str, float]:
        return {"photometric": 0.5}


def train(console: Console, output: Path | None = None, steps: int = 40, every: int | None = None) -> str:
    SplatTrainer(
        config=SplatTrainerConfig(max_steps=steps, sh_degree=0, eval_every=20, log_every=1, tensorboard=False),
        loss_fn=OneTerm(),
        data_provider=SyntheticDataProvider(width=32, height=24, views=4, test_every=4, points=40),
        display=TrainingDisplay(console, every),
        output=output,
    ).run()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=60, force_terminal=False)


def test_plain_lines_without_control_codes(tmp_path: Path) -> None:
    text = train(plain_console(), tmp_path)
    assert text.isprintable() or all(c.isprintable() or c == "\n" for c in text)
    lines = text.splitlines()
    steps = [line for line in lines if " gaussians" in line]
    assert len(steps) == 20
    assert steps[1].startswith("step 2/40  loss 0.")
    assert "photometric 0." in steps[1]
    assert "x 0.5" in steps[1]
    assert steps[1].endswith(" left")
    assert not steps[0].endswith(" left"), "one step that compiles says nothing about the others"
    held_out = [line for line in lines if "held out: PSNR" in line]
    assert [line.split()[1] for line in held_out] == ["0/40", "20/40", "40/40"]
    heading = next(line for line in lines if "held-out view" in line)
    assert heading.split()[-2:] == ["before", "after"]
    psnr = next(line for line in lines if line.startswith("PSNR "))
    assert float(psnr.split()[-1]) != float(psnr.split()[-2]), "two measurements"
    assert f"pictures: {tmp_path / 'images' / 'step_000040'}" in lines


def test_plain_lines_come_as_often_as_asked() -> None:
    lines = [line for line in train(plain_console(), steps=12, every=5).splitlines() if " gaussians" in line]
    assert [line.split()[1] for line in lines] == ["0/12", "5/12", "10/12"]


def test_a_terminal_gets_a_bar_and_a_table(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None, legacy_windows=False)
    text = train(console, tmp_path)
    assert "40/40" in text
    assert "photometric 0." in text
    assert "PSNR" in text
    assert "before" in text
    assert "after" in text
    assert str(tmp_path / "images" / "step_000040") in text.replace("\n", "")


def test_compiling_is_announced_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    listeners: list[Callable[[Any], None]] = []

    def subscribe(listener: Callable[[Any], None]) -> Callable[[], None]:
        listeners.append(listener)
        return lambda: listeners.remove(listener)

    monkeypatch.setattr(events, "subscribe", subscribe)
    console = plain_console()
    display = TrainingDisplay(console)
    display.start(0, 10)
    (listener,) = listeners
    listener(events.CompileEvent("start", "compiling the loss graph: term `normals` begins"))
    listener(events.CompileEvent("end", "compiled the loss graph in 12.3 s", 12.34))
    display.close()
    assert listeners == []
    display.close()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "compiling the loss graph: term `normals` begins",
        "compiled the loss graph in 12.3 s",
    ]


def test_rows_and_evaluations_in_words() -> None:
    row = {"loss": 0.5, "terms/a": 0.25, "weights/a": 2.0, "terms/b": 1e-7, "gaussians": 12345}
    assert describe_row(row) == "loss 0.5 = a 0.25 x 2 + b 1e-07  12,345 gaussians"
    assert describe_row({"loss": 1.0, "gaussians": 1}) == "loss 1  1 gaussians"
    values = {"eval/psnr": 21.304, "eval/ssim": 0.77125, "eval/views": 3}
    assert describe_evaluation(values) == "PSNR 21.30  SSIM 0.7712"
