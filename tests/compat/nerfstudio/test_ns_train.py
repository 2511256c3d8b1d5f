"""``ns-train splatdsl-splatfacto``: the command line, and whole runs of nerfstudio's own trainer on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = """
memory level = 0 then level + 1
param depth_weight = 0.01 >= 0

term photo = l1(masked)
term depth = depth_weight * mean(depth) when step >= 2
term level = 1e-3 * level * mean(alpha)
"""


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_the_method_is_found_and_has_the_settings_of_splatfacto() -> None:
    from nerfstudio.configs.method_configs import all_descriptions, all_methods, method_configs
    from nerfstudio.plugins.registry import discover_methods

    from splatdsl.runtime.adapters.nerfstudio import SplatDslSplatfactoModelConfig, SplatDslTrainer, splatdsl_splatfacto

    assert "splatdsl-splatfacto" in discover_methods()[0]
    config = all_methods["splatdsl-splatfacto"]
    assert config is splatdsl_splatfacto.config
    assert all_descriptions["splatdsl-splatfacto"] == splatdsl_splatfacto.description
    assert config._target is SplatDslTrainer
    assert isinstance(config.pipeline.model, SplatDslSplatfactoModelConfig)
    own = method_configs["splatfacto"]
    assert (config.optimizers, config.max_num_iterations) == (own.optimizers, own.max_num_iterations)
    assert config.pipeline.datamanager == own.pipeline.datamanager
    assert type(own.pipeline.model).__name__ == "SplatfactoModelConfig"
    assert own.method_name == "splatfacto"


def test_the_command_line_takes_a_loss_and_its_parameters() -> None:
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    options = ["--pipeline.model.loss", "a.loss", "--pipeline.model.loss-params", "w", "0.3", "flag", "true"]
    options += ["--pipeline.model.max-steps", "500", "--pipeline.model.kernels", "torch"]
    model = tyro.cli(AnnotatedBaseConfigUnion, args=["splatdsl-splatfacto", *options]).pipeline.model
    assert (model.loss, model.loss_params) == ("a.loss", {"w": "0.3", "flag": "true"})
    assert (model.max_steps, model.kernels, model.backend) == (500, "torch", "inductor")
    assert tyro.cli(AnnotatedBaseConfigUnion, args=["splatdsl-splatfacto"]).pipeline.model.loss == "zoo:splatfacto"


def test_a_wrong_program_ends_the_run_with_its_finding(ns_train: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "wrong.loss").write_text("term structure = 0.2 * ssim(masked)\n")
    with pytest.raises(SystemExit) as caught:
        ns_train(tmp_path / "out", "--pipeline.model.loss", str(tmp_path / "wrong.loss"), "--data", "/nowhere")
    assert "error[SSM001 similarity-minimised]" in str(caught.value.code)
    assert "^^^^" in str(caught.value.code)
    # One that only a batch can show ends the run in the same way.
    loss = "term a = l1(masked)\ninput prior: depth[metric]\nterm b = mean(abs(prior - depth))"
    with pytest.raises(SystemExit) as caught:
        ns_train(tmp_path / "out", "--pipeline.model.loss", loss, "--max-num-iterations", "2")
    assert "BND001" in str(caught.value.code)
    assert "prior" in str(caught.value.code)


@pytest.fixture(scope="module")
def run(ns_train: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps, with held-out images, and then two more from the checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "my.loss").write_text(PROGRAM)
    common = ["--pipeline.model.loss", str(folder / "my.loss"), "--logging.steps-per-log", "1"]
    common += ["--pipeline.model.num-downscales", "1", "--steps-per-eval-batch", "2", "--steps-per-eval-image", "3"]
    common += ["--pipeline.model.loss-params", "depth_weight", "0.02"]
    ns_train(folder / "first", *common, "--max-num-iterations", "4", "--steps-per-eval-all-images", "3")
    saved = folder / "first/e/splatdsl-splatfacto/run/nerfstudio_models"
    with pytest.MonkeyPatch.context() as patched:
        # nerfstudio 1.1.5 keeps numbers of numpy in its checkpoints, which torch 2.6 and later refuse to load.
        patched.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        ns_train(folder / "second", *common, "--max-num-iterations", "2", "--load-dir", str(saved))
    return folder


def test_terms_are_in_the_logs_under_their_names(run: Path) -> None:
    rows = scalars(run / "first/e/splatdsl-splatfacto/run")
    train = {tag: rows[f"Train Loss Dict/{tag}"] for tag in ("photo", "depth", "level")}
    assert set(train["photo"]) == {0, 1, 2, 3}
    assert set(train["depth"]) == {2, 3}  # from the step on at which it first exists
    assert all(value > 0 for value in train["depth"].values())
    for step, loss in rows["Train Loss"].items():
        assert sum(term.get(step, 0.0) for term in train.values()) == pytest.approx(loss, rel=1e-5)
    assert set(rows["Eval Loss Dict/photo"]) == {2}
    assert set(rows["Eval Images Metrics/loss/photo"]) == {3}
    assert set(rows["Eval Images Metrics Dict (all images)/loss/depth"]) == {3}


def test_a_resumed_run_continues_its_memories(run: Path) -> None:
    def level(folder: str) -> Any:
        last = max((run / folder).rglob("*.ckpt"))
        return torch.load(last, weights_only=False)["pipeline"]["_model.splatdsl_loss"]["level"]

    assert (float(level("first")["value"]), level("first")["step"]) == (4.0, 3)
    assert (float(level("second")["value"]), level("second")["step"]) == (6.0, 5)
    assert set(scalars(run / "second/e/splatdsl-splatfacto/run")["Train Loss"]) == {4, 5}


def test_a_finished_run_is_evaluated_without_its_program(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (run / "my.loss").rename(run / "elsewhere.loss")
    try:
        config, pipeline, _, step = eval_setup(run / "first/e/splatdsl-splatfacto/run/config.yml", test_mode="test")
        metrics = pipeline.get_average_eval_image_metrics()
    finally:
        (run / "elsewhere.loss").rename(run / "my.loss")
    assert (config.pipeline.model.loss_params, step) == ({"depth_weight": "0.02"}, 3)
    assert metrics["psnr"] > 5
    assert not any(name.startswith("loss/") for name in metrics)
