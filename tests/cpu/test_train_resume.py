"""A resumed run ends with the numbers of an unbroken one, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.result import TrainingResult
from splatdsl.runtime.training.trainer import SplatTrainer


class Noisy(SplatLossFn[SplatRenderPayload]):
    """Draws from a global generator and remembers something: both must survive."""

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = weight
        self._average = torch.zeros(())

    def compute_loss(self, rendered_frames, target_frames, training_state, masks, step, max_steps, **others):
        error = (rendered_frames - target_frames).abs().mean()
        self._average = 0.9 * self._average + 0.1 * error.detach()
        jitter = torch.rand_like(rendered_frames)
        return error * (1 + self._average) + self.weight * (rendered_frames * jitter).square().mean()

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average = state["average"]


class StopAt(SplatBaseModule[SplatRenderPayload]):
    """Asks for a stop during one step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.at = step
        self.trainer: Any = None

    def pre_step(self, step):
        if step == self.at:
            self.trainer.request_stop()


def trainer(output: Path, stop: int | None = None, loss: Any = None, **settings: Any) -> SplatTrainer[Any, Any]:
    options = {name: settings.pop(name) for name in ("resume", "ckpt_path") if name in settings}
    settings = {
        "max_steps": 20, "sh_degree": 1, "sh_degree_interval": 6, "log_every": 3, "checkpoint_every": 4,
        "eval_every": 5, "refine_every": 3, "refine_start_iter": 2, "refine_stop_iter": 16, "tensorboard": False,
        "images": False, "background": "random", **settings,
    }  # fmt: skip
    module = None if stop is None else StopAt(stop)
    made = SplatTrainer(
        config=SplatTrainerConfig(**settings),
        loss_fn=loss or Noisy(),
        data_provider=SyntheticDataProvider(width=32, height=24, views=5, test_every=4, points=80),
        modules=[] if module is None else [module],
        output=output,
        **options,
    )
    if module is not None:
        module.trainer = made
    return made


def rows(output: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def assert_same(result: TrainingResult, expected: TrainingResult) -> None:
    assert result.output is not None
    assert expected.output is not None
    assert rows(result.output) == rows(expected.output)
    for name, value in expected.state.params.items():
        assert torch.equal(result.state.params[name], value), name
    for name, optimizer in expected.state.optimizers.items():
        other = result.state.optimizers[name].state_dict()["state"][0]
        for key, value in optimizer.state_dict()["state"][0].items():
            assert torch.equal(other[key], value), (name, key)
    assert result.before == expected.before
    assert result.after == expected.after
    assert (result.output / "point_cloud.ply").read_bytes() == (expected.output / "point_cloud.ply").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    result = trainer(tmp_path_factory.mktemp("unbroken")).run()
    assert result.state.num_gaussians > 80, "densification must happen for these tests to mean something"
    return result


def test_two_unbroken_runs_are_the_same(unbroken: TrainingResult, tmp_path: Path) -> None:
    assert_same(trainer(tmp_path).run(), unbroken)


@pytest.mark.parametrize("stop", [0, 5, 9, 14, 19])
def test_stopped_and_resumed(unbroken: TrainingResult, tmp_path: Path, stop: int) -> None:
    first = trainer(tmp_path, stop=stop).run()
    assert first.steps == stop + 1
    assert first.finished == (stop == 19)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == ("finished" if stop == 19 else "interrupted")
    result = trainer(tmp_path, resume=True).run()
    assert result.finished
    assert_same(result, unbroken)
    run = json.loads((tmp_path / "run.json").read_text())
    assert [(part["from_step"], part["to_step"]) for part in run["parts"]] == [(0, stop + 1), (stop + 1, 20)]


def test_stopped_twice(unbroken: TrainingResult, tmp_path: Path) -> None:
    trainer(tmp_path, stop=3).run()
    trainer(tmp_path, stop=10, resume=True).run()
    assert_same(trainer(tmp_path, resume=True).run(), unbroken)


def test_rows_after_the_checkpoint_are_trimmed(unbroken: TrainingResult, tmp_path: Path) -> None:
    class Crash(SplatBaseModule[SplatRenderPayload]):
        def post_step(self, step):
            if step == 10:
                raise RuntimeError("power cut")

    broken = trainer(tmp_path)
    broken.modules = (Crash(),)
    with pytest.raises(RuntimeError, match="power cut"):
        broken.run()
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 12, "lo')  # a row that was being written
    assert max(row["step"] for row in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()[:-1])) > 8
    assert_same(trainer(tmp_path, resume=True).run(), unbroken)


def test_a_truncated_newest_checkpoint_is_passed_over(
    unbroken: TrainingResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="splatdsl.train")
    first = trainer(tmp_path, stop=13).run()
    assert first.checkpoint is not None
    assert first.checkpoint.name == "step_000014.pt"
    first.checkpoint.write_bytes(first.checkpoint.read_bytes()[:-500])
    assert_same(trainer(tmp_path, resume=True).run(), unbroken)
    assert any("step_000014.pt cannot be read" in record.message for record in caplog.records)
    assert any("continuing at step 12" in record.message for record in caplog.records)


def test_a_finished_run_resumes_to_itself(unbroken: TrainingResult, tmp_path: Path) -> None:
    trainer(tmp_path).run()
    (tmp_path / "point_cloud.ply").unlink()
    assert_same(trainer(tmp_path, resume=True).run(), unbroken)


def test_resume_without_a_run_starts_one(unbroken: TrainingResult, tmp_path: Path) -> None:
    assert_same(trainer(tmp_path / "new", resume=True).run(), unbroken)


def test_what_only_records_may_differ(unbroken: TrainingResult, tmp_path: Path) -> None:
    trainer(tmp_path, stop=7).run()
    result = trainer(tmp_path, resume=True, checkpoint_every=3, num_workers=2, keep_checkpoints=5).run()
    assert_same(result, unbroken)


def test_from_a_named_checkpoint_into_another_folder(unbroken: TrainingResult, tmp_path: Path) -> None:
    first = trainer(tmp_path / "a", stop=9).run()
    result = trainer(tmp_path / "b", ckpt_path=first.checkpoint).run()
    for name, value in unbroken.state.params.items():
        assert torch.equal(result.state.params[name], value), name
    assert rows(tmp_path / "b") == [row for row in rows(unbroken.output) if (row["step"] >= 10 and "loss" in row) or row["step"] > 10]  # fmt: skip  # noqa: E501


def test_a_missing_checkpoint_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LossError) as caught:
        trainer(tmp_path, ckpt_path=tmp_path / "no.pt").run()
    assert [d.code for d in caught.value.diagnostics] == ["RUN006"]


def test_with_a_compiled_loss(tmp_path: Path) -> None:
    text = """
        param w = 0.2 in [0, 1]
        term photometric = mix(l1(masked), ssim_loss(masked), w)
        term opacity = ramp(step, 15) * mean(state.opacities) when after(step, 3)
    """

    def loss() -> Any:
        return compile(text, backend="eager")

    whole = trainer(tmp_path / "whole", loss=loss()).run()
    trainer(tmp_path / "parts", stop=8, loss=loss()).run()
    assert_same(trainer(tmp_path / "parts", loss=loss(), resume=True).run(), whole)
    last = rows(tmp_path / "parts")[-2]
    assert last["weights/opacity"] == 1.0
    total = last["terms/photometric"] + last["terms/opacity"]
    assert last["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"max_steps": 30}, ["config.max_steps: 20 -> 30"]),
        ({"seed": 1, "background": "white"}, ["config.seed: 0 -> 1", "config.background: 'random' -> 'white'"]),
        ({"strategy": "none"}, ["config.strategy: 'default' -> 'none'"]),
        ({"loss": Noisy(0.5)}, ["loss.weight: 0.1 -> 0.5"]),
    ],
)
def test_another_run_is_not_continued(tmp_path: Path, change: dict[str, Any], names: list[str]) -> None:
    trainer(tmp_path, stop=2).run()
    before = (tmp_path / "metrics.jsonl").read_bytes(), (tmp_path / "run.json").read_bytes()
    with pytest.raises(LossError) as caught:
        trainer(tmp_path, resume=True, **change).run()
    (found,) = caught.value.diagnostics
    assert found.code == "RUN005"
    for name in names:
        assert name in found.notes
        assert name.partition(":")[0] in found.message
    assert any("output" in line for line in found.help)
    after = (tmp_path / "metrics.jsonl").read_bytes(), (tmp_path / "run.json").read_bytes()
    assert before == after, "a refused resume must leave the run as it is"


def test_another_loss_is_not_continued(tmp_path: Path) -> None:
    class Other(Noisy):
        pass

    trainer(tmp_path, stop=2).run()
    with pytest.raises(LossError) as caught:
        trainer(tmp_path, resume=True, loss=Other()).run()
    (found,) = caught.value.diagnostics
    assert found.code == "RUN005"
    assert any("Noisy" in note and "Other" in note for note in found.notes)


def test_another_program_is_shown_by_its_first_line_that_differs(tmp_path: Path) -> None:
    class Compiled(Noisy):
        def __init__(self, text: str, params: dict[str, float]) -> None:
            super().__init__()
            self.source_text, self.params = text, params
            self.fingerprint = f"{text.split('#')[0]}{params}"

    old = "param w = 0.2\nterm a = l1()"
    trainer(tmp_path, stop=2, loss=Compiled(old, {"w": 0.2})).run()
    new = Compiled("param w = 0.2\nterm a = l2()", {"w": 0.3})
    with pytest.raises(LossError) as caught:
        trainer(tmp_path, resume=True, loss=new).run()
    (found,) = caught.value.diagnostics
    assert "loss.params.w: 0.2 -> 0.3" in found.notes
    assert "loss, line 2: 'term a = l1()' -> 'term a = l2()'" in found.notes
    same = Compiled(old + "# a comment", {"w": 0.2})
    same.fingerprint = f"{old}{ {'w': 0.2} }"
    assert trainer(tmp_path, resume=True, loss=same).run().finished


def test_a_state_that_cannot_be_saved_is_refused_at_the_start(tmp_path: Path) -> None:
    class Odd(Noisy):
        def state_dict(self):
            return {"callback": print}

    with pytest.raises(LossError) as caught:
        trainer(tmp_path, loss=Odd()).run()
    assert [d.code for d in caught.value.diagnostics] == ["RUN015"]
    assert not [row for row in rows(tmp_path) if "loss" in row]


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed(unbroken: TrainingResult, tmp_path: Path) -> None:
    """SIGKILL, at moments that differ from run to run; whatever is left must continue to the same end."""
    script = tmp_path / "go.py"
    output = tmp_path / "run"
    script.write_text(
        f"import sys, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('resume_tests', {str(Path(__file__))!r})\n"
        f"tests = importlib.util.module_from_spec(spec)\n"
        f"sys.modules['resume_tests'] = tests\n"
        f"spec.loader.exec_module(tests)\n"
        f"from pathlib import Path\n"
        f"print('ready', flush=True)\n"
        f"tests.trainer(Path({str(output)!r}), resume=True, checkpoint_every=1).run()\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed, delays = 0, random.Random()
    for _ in range(12):
        process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delays.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert killed > 0
    assert_same(trainer(output, resume=True, checkpoint_every=1).run(), unbroken)
