"""Programs of the zoo train the scene that the project makes itself, from the configs in `examples/train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.cli.main import main
from splatdsl.cli.train import load_run
from splatdsl.dsl.config import load_config
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.result import TrainingResult
from splatdsl.runtime.training.setup import build_trainer
from splatdsl.runtime.training.trainer import SplatTrainer

CONFIGS = sorted((Path(__file__).parents[2] / "examples" / "train").glob("*.yaml"))

STEPS = 24
TINY = (
    f"train.max_steps={STEPS}", "train.log_every=1", "train.eval_every=0", "train.checkpoint_every=0",
    "train.backend=eager", "train.device=cpu", "train.tensorboard=false", "train.images=false",
    "data.width=40", "data.height=30", "data.views=6", "data.test_every=3",
)  # fmt: skip

# What a config sets in steps, or for gaussians that have grown long, brought into so short a run.
SHORTER = {
    "lichtfeld": ("loss_params.sparsify_start=8", "loss_params.sparsify_steps=12", "loss_params.update_every=2"),
    "erank-gs": ("loss_params.first=4", "loss_params.last=20"),
    "physgaussian": ("loss_params.ratio=1",),
    "splatfacto": ("loss_params.max_gauss_ratio=1",),
}

BARRIERS = {"erank"}
"""Terms that are 0 until gaussians have grown long, which takes more steps."""

TERMS = {
    "3dgat": {"data", "fourier", "ssim", "rank"},
    "3dgs": {"photometric"},
    "3dgs-mcmc": {"photometric", "opacity", "scale"},
    "4dgaussians": {"photometric"},
    "brush": {"photometric"},
    "deformable-3dgs": {"loss"},
    "erank-gs": {"photometric", "erank", "thinness"},
    "ges": {"l1", "ssim", "band"},
    "gsplat": {"photometric", "depth", "opacity", "scale"},
    "lgdwt-gs": {"photometric", "wavelet", "patches"},
    "lichtfeld": {"photometric", "scale", "opacity", "sparsity"},
    "mini-splatting": {"loss"},
    "mip-splatting": {"photometric"},
    "mvsplat": {"mse", "smooth"},
    "physgaussian": {"photometric", "needles"},
    "splatfacto": {"photometric", "scale"},
    "splatkit-3dgs": {"photometric", "outside", "opacity", "scale"},
    "taming-3dgs": {"photometric"},
}
"""What each run trains with: the terms that exist at some step of it."""


def by_name(name: str) -> Path:
    return next(path for path in CONFIGS if path.stem == name)


class StopAt(SplatBaseModule[SplatRenderPayload]):
    """Asks for a stop during one step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.at = step
        self.trainer: Any = None

    def pre_step(self, step: int) -> None:
        if step == self.at:
            self.trainer.request_stop()


def trained(
    path: Path, output: Path, sets: Sequence[str] = (), stop: int | None = None, resume: bool = False
) -> TrainingResult:
    config, found = load_config(str(path), sets)
    assert config is not None, found
    trainer = build_trainer(config, output, resume=resume, display="none")
    if stop is not None:
        module = StopAt(stop)
        module.trainer = trainer
        trainer.modules = (module,)
    return trainer.run()


def rows(result: TrainingResult) -> list[dict[str, Any]]:
    assert result.metrics is not None
    found = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def steps_of(result: TrainingResult) -> list[dict[str, Any]]:
    return [row for row in rows(result) if "loss" in row]


def test_the_configs_are_those_that_this_file_knows() -> None:
    assert {path.stem for path in CONFIGS} == set(TERMS)
    assert len(CONFIGS) >= 12


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_has_no_findings_and_names_its_program(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err == "no findings in 1 file\n"
    config, _ = load_config(str(path))
    assert config is not None
    assert config.loss == f"zoo:{path.stem}"


def test_training_does_not_print_what_a_program_suppresses(capfd: pytest.CaptureFixture[str]) -> None:
    assert load_run(by_name("splatfacto"), ()) is not None
    assert capfd.readouterr().err == ""
    assert load_run(by_name("splatfacto"), ("loss_params.grid_weight=1",)) is not None
    assert "BUF003" in capfd.readouterr().err


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_it_trains(path: Path, tmp_path: Path) -> None:
    result = trained(path, tmp_path / "run", (*TINY, *SHORTER.get(path.stem, ())))
    assert result.finished
    logged = steps_of(result)
    assert len(logged) == STEPS
    assert all(abs(row["loss"]) < 1e6 for row in logged)  # false for nan, too
    assert {name[6:] for row in logged for name in row if name.startswith("terms/")} == TERMS[path.stem]
    for row in logged:
        named = {name[6:]: value for name, value in row.items() if name.startswith("terms/")}
        total = sum(value * row[f"weights/{name}"] for name, value in named.items())
        assert row["loss"] == pytest.approx(total, rel=1e-4, abs=1e-6)
    for name in TERMS[path.stem] - BARRIERS:
        values = [abs(row.get(f"terms/{name}", 0) * row[f"weights/{name}"]) for row in logged]
        assert max(values) > 0, f"`{name}` is always 0"
    assert result.after["eval/psnr"] > result.before["eval/psnr"] + 0.1


# Memories


@pytest.mark.parametrize("name", ["lichtfeld", "lgdwt-gs"])
def test_a_resumed_run_goes_on_with_its_memories(name: str, tmp_path: Path) -> None:
    sets = (*TINY, *SHORTER.get(name, ()), "train.checkpoint_every=5", "train.refine_every=3", "train.refine_start=2")
    unbroken = trained(by_name(name), tmp_path / "unbroken", sets)
    stopped = trained(by_name(name), tmp_path / "run", sets, stop=13)
    assert stopped.steps == 14
    assert stopped.checkpoint is not None
    saved = torch.load(stopped.checkpoint, weights_only=True)["loss"]["memories"]
    assert set(saved) == {"lichtfeld": {"z", "u"}, "lgdwt-gs": {"ratio"}}[name]
    for entry in saved.values():
        assert entry["value"].isfinite().all()
        assert entry["value"].ne(entry["value"].new_tensor({"lichtfeld": 0.0, "lgdwt-gs": 1.0}[name])).any()
    result = trained(by_name(name), tmp_path / "run", sets, resume=True)
    assert rows(result) == rows(unbroken)
    for parameter, value in unbroken.state.params.items():
        assert torch.equal(result.state.params[parameter], value), parameter
    assert result.after == unbroken.after


def test_memories_of_gaussians_follow_densification(tmp_path: Path) -> None:
    # Each gaussian remembers where it was at the first step; one that is split off has the place of its origin.
    text = (
        "memory birth = state.means then birth\nterm colour = l1()\nterm still = 0.1 * mean(abs(state.means - birth))"
    )
    loss = splatdsl.compile(text, backend="eager")
    provider = SyntheticDataProvider(width=32, height=24, views=5, test_every=4, points=80)
    first = provider.init_splat_model().means.detach().clone()
    origin, calls, take = torch.arange(len(first)), [], loss.on_densification

    def follow(moved: Tensor) -> None:
        nonlocal origin
        origin = origin[moved]
        calls.append(len(moved))
        take(moved)

    loss.on_densification = follow
    settings: dict[str, Any] = {"refine_every": 3, "refine_start_iter": 2, "refine_stop_iter": 16}
    config = SplatTrainerConfig(max_steps=20, sh_degree=0, log_every=1, tensorboard=False, images=False, **settings)
    result = SplatTrainer(config, loss, provider, output=tmp_path / "run", display="none").run()
    assert len(calls) > 1
    assert result.state.num_gaussians == len(origin) == calls[-1] > len(first)
    assert not torch.equal(origin, torch.arange(len(origin)))
    assert torch.equal(loss.memories["birth"], first[origin])
    assert loss.terms["still"] > 0


def test_a_memory_of_parameters_is_what_they_were(tmp_path: Path) -> None:
    # The trainer changes parameters in place: a memory of one must not change with it.
    text = (
        "memory last = state.means then state.means\nmemory stride = 0 then mean(abs(state.means - last))\n"
        "term colour = l1()\nterm stride = 0.1 * stride"
    )
    loss = splatdsl.compile(text, backend="eager")
    provider = SyntheticDataProvider(width=32, height=24, views=5, test_every=4, points=80)
    config = SplatTrainerConfig(max_steps=6, sh_degree=0, strategy="none", log_every=1, tensorboard=False, images=False)
    result = SplatTrainer(config, loss, provider, output=tmp_path / "run", display="none").run()
    strides = [row["terms/stride"] for row in steps_of(result)]
    assert strides[0] == 0
    assert min(strides[1:]) > 1e-5
    assert not torch.equal(loss.memories["last"], result.state.params["means"])


def test_a_program_reads_the_sparse_points_and_the_scale_of_the_scene(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def look(points: Tensor, depths: Tensor, scale: float) -> Tensor:
        seen.update(points=points, depths=depths, scale=scale)
        return depths.mean()

    text = (
        "input scene_scale: number in (0, inf)\ninput points: [B M 2]\ninput depths: [B M 1]\n"
        "extern look([B M 2], [B M 1], number) -> scalar frozen\n"
        "term colour = l1()\nterm seen = look(points, depths, scene_scale) when scene_scale > 1"
    )
    loss = splatdsl.compile(text, backend="eager", register={"look": look})
    provider = SyntheticDataProvider(width=32, height=24, views=5, test_every=4, points=80)
    config = SplatTrainerConfig(max_steps=1, sh_degree=0, tensorboard=False, images=False)
    SplatTrainer(config, loss, provider, output=tmp_path / "run", display="none").run()
    item = provider.next_train_data(0)
    assert torch.equal(seen["points"], item.points)
    assert torch.equal(seen["depths"].reshape(-1), item.depths.reshape(-1))
    assert seen["scale"] == pytest.approx(provider.scene_scale)
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][1:2]
    assert row["weights/seen"] == 1


@pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
def test_a_bad_gradient_is_blamed_on_its_term_where_terms_read_the_item_and_the_run() -> None:
    text = (
        "input scene_scale: number in (0, inf)\ninput points: [B M 2]\nterm colour = l1()\n"
        "term bad = scene_scale * mean(sqrt(state.scales - state.scales))\n"
        "term good = 0.1 * scene_scale * mean(alpha) * mean(1 + background) / mean(points) * mean(camera.fx)\n"
    )
    loss = splatdsl.compile(text, backend="eager")
    provider = SyntheticDataProvider(width=32, height=24, views=5, test_every=4, points=80)
    config = SplatTrainerConfig(max_steps=1, sh_degree=0, tensorboard=False, images=False)
    with pytest.raises(LossError) as caught:
        SplatTrainer(config, loss, provider, display="none").run()
    (found,) = caught.value.diagnostics
    assert found.code == "RUN002"
    assert found.message == "the gradient of term `bad` is not finite at step 0, although the loss is"


# One config as it is


@pytest.mark.slow
def test_a_whole_run(tmp_path: Path) -> None:
    result = trained(by_name("3dgs"), tmp_path / "run", ("train.device=cpu", "train.tensorboard=false"))
    assert result.finished
    assert result.steps == 400
    assert result.after["eval/psnr"] > result.before["eval/psnr"] + 5
    assert result.after["eval/ssim"] > result.before["eval/ssim"] + 0.25
