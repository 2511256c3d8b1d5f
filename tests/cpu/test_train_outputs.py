"""What a run leaves in its output folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.splat.model import SplatModel
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.trainer import SplatTrainer


class L1(SplatLossFn[SplatRenderPayload]):
    """Written as a user would write it: the protocol and nothing else."""

    def compute_loss(
        self, rendered_frames, target_frames, training_state, rend_out, masks=None, step=0, max_steps=30000
    ):
        return (rendered_frames - target_frames).abs().mean()


class TwoTerms(SplatLossFn[SplatRenderPayload]):
    """Tells its terms, weights and requirements, as compiled losses do."""

    def __init__(self) -> None:
        self.terms: dict[str, torch.Tensor] = {}

    def compute_loss(self, rendered_frames, target_frames, training_state, rend_out, step=0, max_steps=1, **others):
        l1 = (rendered_frames - target_frames).abs().mean()
        opacity = training_state.opacities.mean()
        self.terms = {"l1": l1.detach(), "opacity": opacity.detach()}
        weights = self.weights(step, max_steps)
        return weights["l1"] * l1 + weights["opacity"] * opacity

    def weights(self, step: int, max_steps: int) -> dict[str, float]:
        return {"l1": 1.0, "opacity": 0.01 * step}

    def requires(self, step: int, max_steps: int) -> frozenset[str]:
        return frozenset({"rendered", "target", "state"})

    def describe(self) -> str:
        return "loss = l1 + 0.01 * step * opacity"


def provider(**options: Any) -> SyntheticDataProvider:
    settings: dict[str, Any] = {"width": 32, "height": 24, "views": 5, "test_every": 4, "points": 100}
    return SyntheticDataProvider(**{**settings, **options})


def train(loss_fn: Any = None, output: Path | None = None, data: Any = None, **settings: Any) -> Any:
    settings = {"max_steps": 6, "log_every": 2, "sh_degree": 1, "tensorboard": False, "images": False, **settings}
    options = {name: settings.pop(name) for name in ("overwrite",) if name in settings}
    return SplatTrainer(
        config=SplatTrainerConfig(**settings),
        loss_fn=loss_fn or L1(),
        data_provider=data or provider(),
        output=output,
        **options,
    ).run()


def rows(output: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not strict JSON")

    text = (output / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def codes(caught: pytest.ExceptionInfo[LossError]) -> list[str]:
    return [d.code for d in caught.value.diagnostics]


def test_metrics_have_their_rows(tmp_path: Path) -> None:
    train(TwoTerms(), tmp_path, eval_every=4)
    found = rows(tmp_path)
    evaluations = [row for row in found if "eval/psnr" in row]
    steps = [row for row in found if "loss" in row]
    assert [row["step"] for row in evaluations] == [0, 4, 6]
    assert [row["step"] for row in steps] == [0, 2, 4, 5]
    assert len(found) == 7
    for row in steps:
        assert {"terms/l1", "terms/opacity", "weights/l1", "weights/opacity"} <= set(row)
        assert {"gaussians", "lr/means", "seconds"} <= set(row)
        total = row["weights/l1"] * row["terms/l1"] + row["weights/opacity"] * row["terms/opacity"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
        assert row["weights/opacity"] == pytest.approx(0.01 * row["step"])
    assert steps[0]["lr/means"] * 0.01 ** (4 / 6) == pytest.approx(steps[2]["lr/means"])
    for row in evaluations:
        assert {"eval/psnr", "eval/ssim", "eval/psnr_masked", "eval/ssim_masked", "eval/views"} <= set(row)
    seconds = [row["seconds"] for row in found]
    assert seconds == sorted(seconds)


def test_run_json_says_what_was_optimised(tmp_path: Path) -> None:
    result = train(TwoTerms(), tmp_path, seed=7)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["loss"]["objective"] == "loss = l1 + 0.01 * step * opacity"
    assert "class TwoTerms" in run["loss"]["source"]
    assert len(run["loss"]["fingerprint"]) == 64
    assert run["seed"] == run["config"]["seed"] == 7
    assert run["config"]["init_opacity"] == 0.1
    assert run["config"]["output"] == str(tmp_path)
    assert run["config"]["device"] == run["device"] == str(result.state.device)
    assert run["config"]["lr"] == dict.fromkeys(("means", "scales", "quats", "opacities", "sh0", "shN"), 1.0)
    assert run["config"]["refine_every"] == run["densification"]["refine_every"]
    assert run["config"]["refine_stop_iter"] == run["densification"]["refine_stop_iter"]
    assert run["densification"]["type"] == "DefaultStrategy"
    assert torch.__version__.startswith(run["versions"]["torch"])
    assert run["before"] == result.before
    assert run["after"] == result.after
    assert [(part["from_step"], part["to_step"]) for part in run["parts"]] == [(0, 6)]


def test_leaves_pictures_and_gaussians(tmp_path: Path) -> None:
    result = train(output=tmp_path, eval_every=3, images=1)
    folders = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert folders == ["step_000000", "step_000003", "step_000006"]
    (picture,) = (tmp_path / "images" / "step_000006").iterdir()
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape == (24, 4 * 32, 3)  # target, render, error, mask
    target = provider().test_item(0).image[0].numpy()
    np.testing.assert_allclose(pixels[:, :32] / 255, target, atol=0.5 / 255 + 1e-6)
    model = SplatModel.load_ply(tmp_path / "point_cloud.ply")
    assert model.num_gaussians == result.state.num_gaussians
    torch.testing.assert_close(model.means, result.state.params["means"].detach())


def test_tensorboard_mirrors_the_metrics(tmp_path: Path) -> None:
    train(output=tmp_path, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    expected = [(row["step"], row["loss"]) for row in rows(tmp_path) if "loss" in row]
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert [step for step, _ in found] == [step for step, _ in expected]
    np.testing.assert_allclose([v for _, v in found], [v for _, v in expected], rtol=1e-6)
    assert [event.step for event in events.Scalars("eval/psnr")] == [0, 6]


def test_an_existing_run_is_not_touched(tmp_path: Path) -> None:
    train(output=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(LossError) as caught:
        train(output=tmp_path)
    assert codes(caught) == ["RUN004"]
    help_text = " ".join(caught.value.diagnostics[0].help)
    assert "`--resume`" in help_text
    assert "`resume=True`" in help_text
    assert "`--overwrite`" in help_text
    assert "`overwrite=True`" in help_text
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    train(output=tmp_path, checkpoint_every=2, images=True)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "images" / "mine.png").write_text("mine")
    train(output=tmp_path, overwrite=True, max_steps=2, checkpoint_every=0, images=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "images" / "mine.png").exists()
    assert [row["step"] for row in rows(tmp_path) if "loss" in row] == [0, 1]
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step_000000.pt", "step_000002.pt"]
    assert sorted(p.name for p in (tmp_path / "images").glob("step_*")) == ["step_000000", "step_000002"]


def test_without_held_out_views_there_is_no_evaluation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="splatdsl.train")
    result = train(output=tmp_path, data=provider(test_every=0), eval_every=2)
    assert result.before == result.after == {}
    assert not any("eval/psnr" in row for row in rows(tmp_path))
    assert sum("no views are held out" in record.message for record in caplog.records) == 1
