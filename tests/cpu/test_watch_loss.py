"""A `.loss` file that changes while it trains: taken if it is right, refused if not, and recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from splatdsl.cli.main import main
from splatdsl.dsl.config import load_config
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import load
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training import watch
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.display import Display
from splatdsl.runtime.training.result import TrainingResult
from splatdsl.runtime.training.setup import build_trainer
from splatdsl.runtime.training.trainer import SplatTrainer

CONFIG = """\
loss: a.loss
loss_params: {w: 0.5}
data: {kind: synthetic, width: 24, height: 18, views: 4, test_every: 4}
renderer: {kind: reference}
train:
  max_steps: 8
  eval_every: 0
  log_every: 1
  checkpoint_every: 0
  sh_degree: 0
  backend: eager
  device: cpu
  images: false
  tensorboard: false
  watch_loss: true
"""
FIRST = """\
use "common.loss"
param w = 0.1 in [0, 1]
memory seen = 0 then seen + 1
term a = w * l1()
term m = 1e-9 * seen * mean(rendered)
"""
SECOND = FIRST.replace("term a = w * l1()", "term b = 2 * w * l1()")
COMMON = "term edge = 0.01 * mean(alpha)\n"


class Edits(SplatBaseModule[SplatRenderPayload]):
    """Does something before a step, as an editor beside the run would."""

    def __init__(self, edits: Mapping[int, Callable[[], Any]]) -> None:
        self.edits = dict(edits)

    def pre_step(self, step):
        self.edits.get(step, lambda: None)()


class Notes(Display):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class Scene:
    """A run in a folder, whose files can be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loss = folder / "a.loss"
        self.config = folder / "run.yaml"
        self.config.write_text(CONFIG)
        self.loss.write_text(FIRST)
        (folder / "common.loss").write_text(COMMON)
        (folder / "splatdsl.toml").write_text("")
        self.notes = Notes()
        self.trainer: Any = None

    def run(
        self, edits: Mapping[int, Callable[[], Any]] | None = None, *overrides: str, resume: bool = False
    ) -> TrainingResult:
        config, found = load_config(self.config, overrides)
        assert config is not None, found
        self.trainer = build_trainer(config, self.folder / "out", resume=resume, display=self.notes)
        self.trainer.modules = (Edits(edits or {}),)
        return self.trainer.run()

    def write(self, text: str, name: str = "a.loss") -> Callable[[], None]:
        return lambda: (self.folder / name).write_text(text) and None

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "out" / "run.json").read_text())

    def rows(self) -> dict[int, dict[str, float]]:
        lines = (self.folder / "out" / "metrics.jsonl").read_text().splitlines()
        return {row["step"]: row for row in map(json.loads, lines) if "loss" in row}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(watch, "INTERVAL", 0.0)  # a look at every step: one to notice, one to find it left alone
    return Scene(tmp_path)


def sha(*texts: str) -> str:
    return hashlib.sha256((texts[0] if len(texts) == 1 else json.dumps(texts)).encode()).hexdigest()


def test_a_change_is_taken_from_the_next_step_on_and_recorded(scene: Scene) -> None:
    seen: dict[int, float] = {}

    def note_memory(step: int) -> Callable[[], None]:
        return lambda: seen.__setitem__(step, float(scene.trainer.loss_fn.memories["seen"]))

    scene.run({2: scene.write(SECOND), 3: note_memory(3), 4: note_memory(4)})
    rows = scene.rows()
    # Written at the end of what precedes step 2, noticed before step 3, found left alone and taken before step 4.
    assert [next(n for n in ("a", "b") if f"terms/{n}" in rows[step]) for step in range(8)] == list("aaaabbbb")
    assert (rows[3]["weights/a"], rows[4]["weights/b"]) == (0.5, 1.0)
    assert {"terms/edge"} <= rows[7].keys()
    assert seen == {3: 3.0, 4: 4.0}, "the memory goes on counting over the change"
    assert scene.trainer.loss_fn.params["w"] == 0.5, "what the config sets is kept"
    (change,) = scene.record["loss_changes"]
    assert (change["step"], change["file"]) == (4, str(scene.loss))
    assert (change["from"], change["to"]) == (sha(FIRST, COMMON), sha(SECOND, COMMON))
    copies = scene.folder / "out" / "losses"
    assert {p.read_text() for p in copies.iterdir()} == {FIRST, SECOND, COMMON}
    assert (copies / f"{sha(SECOND)[:16]}.loss").read_text() == SECOND
    assert (scene.folder / "out" / change["copies"][str(scene.loss)]).read_text() == SECOND
    assert "term b" in scene.record["loss"]["program"]
    assert any("counts from step 4 on" in text for text in scene.notes.texts)


def test_a_file_that_the_program_uses_counts_too(scene: Scene) -> None:
    scene.run({1: scene.write(COMMON.replace("edge", "rim"), "common.loss")})
    rows = scene.rows()
    assert "terms/edge" in rows[2]
    assert "terms/rim" in rows[3]
    assert scene.record["loss_changes"][0]["from"] == sha(FIRST, COMMON)


def test_a_used_file_that_is_missing_may_come_later(scene: Scene) -> None:
    text = SECOND.replace("common.loss", "later.loss")
    scene.run({1: scene.write(text), 3: scene.write(COMMON, "later.loss")})
    assert [entry["step"] for entry in scene.record["loss_changes"]] == [5]
    assert any("later.loss" in note and "refused" in note for note in scene.notes.texts)


def test_a_change_before_the_first_step_counts_too(scene: Scene) -> None:
    config, _ = load_config(scene.config)
    assert config is not None
    trainer = build_trainer(config, scene.folder / "out", display=scene.notes)
    scene.loss.write_text(SECOND)  # the loss is loaded, the run has not begun
    trainer.run()
    assert [entry["step"] for entry in scene.record["loss_changes"]] == [1]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (FIRST.replace("l1()", "l1(maskd)"), "NAM001"),
        (FIRST[:70], "SYN"),
        ("", "is empty"),
        (FIRST.replace("in [0, 1]", "in [0, 0.2]"), "must be in [0, 0.2], but is set to 0.5"),
        (FIRST + "term n = mean(normals.x)\n", "normals"),
        (FIRST + "input prior: depth[metric]\nterm p = l1(depth, prior)\n", "prior"),
        (FIRST + "extern score(image) -> [B]\nterm s = mean(score(rendered))\n", "score"),
    ],
    ids=["wrong", "half", "empty", "parameter", "renderer", "data", "extern"],
)
def test_a_wrong_program_is_refused_and_training_goes_on(scene: Scene, text: str, part: str) -> None:
    result = scene.run({1: scene.write(text)}, "train.max_steps=5")
    assert result.finished
    assert all("terms/a" in row for row in scene.rows().values())
    assert "loss_changes" not in scene.record
    found = [note for note in scene.notes.texts if part in note]
    assert len(found) == 1, scene.notes.texts
    assert "a.loss" in found[0]


def test_a_file_that_is_gone_or_half_written_for_a_moment_is_not_looked_at(scene: Scene) -> None:
    edits = {
        1: scene.loss.unlink,
        2: scene.write(SECOND[:20]),
        3: scene.write(SECOND + "# more"),
        4: scene.write(SECOND),
    }
    scene.run(edits)
    assert [entry["step"] for entry in scene.record["loss_changes"]] == [6]
    assert not any("refused" in note for note in scene.notes.texts)


def test_what_cannot_be_kept_is_said(scene: Scene) -> None:
    text = FIRST.replace("param w = 0.1 in [0, 1]", "param v = 0.1 in [0, 1]").replace("w *", "v *")
    text = text.replace("memory seen = 0 then seen + 1", "memory seen = rendered then 0.5 * rendered")
    scene.run({1: scene.write(text.replace("seen * mean(rendered)", "mean(seen)"))}, "train.max_steps=5")
    assert len(scene.record["loss_changes"]) == 1
    assert any("no parameter `w` any more" in note for note in scene.notes.texts)
    assert any("memory `seen` is of another kind" in note for note in scene.notes.texts)


def test_a_resumed_run_is_that_of_an_unbroken_one_and_wants_the_last_program(scene: Scene, tmp_path: Path) -> None:
    whole = scene.run({2: scene.write(SECOND)})
    other = tmp_path / "other"
    other.mkdir()
    broken = Scene(other)
    first = broken.run({2: broken.write(SECOND), 5: lambda: broken.trainer.request_stop()})
    assert not first.finished
    broken.loss.write_text(FIRST)
    with pytest.raises(LossError) as caught:
        broken.run(resume=True)
    assert {d.code for d in caught.value.diagnostics} == {"RUN005"}
    kept = next(n for d in caught.value.diagnostics for n in d.help if "losses" in n)
    assert f"{sha(SECOND)[:16]}.loss" in kept
    broken.loss.write_text(SECOND)
    last = broken.run(resume=True)
    assert torch.equal(last.state.params["means"], whole.state.params["means"])
    assert [entry["step"] for entry in broken.record["loss_changes"]] == [4]
    assert broken.record["status"] == "finished"


def test_what_has_no_file_cannot_be_watched(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = load_config(scene.config, ["loss=l1()"])
    assert [d.code for d in found] == ["CFG010"]
    given = ["--watch-loss", "--set", "loss=zoo:3dgs", "--set", "loss_params=null"]
    assert main(["train", str(scene.config), *given]) == 1
    assert "belongs to the package" in capsys.readouterr().err

    class Python(SplatLossFn[SplatRenderPayload]):
        def compute_loss(self, rendered_frames, target_frames, **others):
            return (rendered_frames - target_frames).abs().mean()

    with pytest.raises(LossError) as caught:
        watch.watched(Python(), True)
    assert [d.code for d in caught.value.diagnostics] == ["RUN003"]


def test_in_python_the_loss_stays_the_same_object_and_keeps_what_was_assigned(scene: Scene) -> None:
    loss_fn = load(scene.loss, params={"w": 0.3}, backend="eager")
    config = SplatTrainerConfig(
        max_steps=6, sh_degree=0, log_every=1, checkpoint_every=0, images=False, tensorboard=False, device="cpu"
    )
    provider = SyntheticDataProvider(width=24, height=18, views=4, test_every=4, points=50)
    edits = Edits({0: lambda: loss_fn.params.__setitem__("w", 0.7), 1: scene.write(SECOND)})
    trainer = SplatTrainer(config, loss_fn, provider, modules=[edits], output=scene.folder / "out", watch_loss=True)
    trainer.run()
    assert set(loss_fn.terms) == {"edge", "b", "m"}
    assert loss_fn.params["w"] == 0.7
    assert scene.rows()[5]["weights/b"] == 1.4
    assert scene.record["loss"]["params"]["w"] == 0.7
    saved = torch.load(scene.folder / "out" / "checkpoints" / "step_000006.pt", weights_only=True)
    assert saved["identity"]["loss"]["params"]["w"] == 0.3, "a run to resume begins with what `load` is given"
    assert saved["loss"]["params"]["w"] == 0.7


def test_looks_are_half_a_second_apart(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL", 0.5)
    now = [0.0]
    looks: list[float] = []
    made = watch.LossWatch.__init__
    stamps = watch.LossWatch._stamps

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **{**kwargs, "clock": lambda: now[0]})

    def noted(self: Any) -> Any:
        looks.append(now[0])
        return stamps(self)

    monkeypatch.setattr(watch.LossWatch, "__init__", init)
    monkeypatch.setattr(watch.LossWatch, "_stamps", noted)
    scene.run({step: lambda: now.__setitem__(0, now[0] + 0.2) for step in range(8)})
    assert looks == pytest.approx([0.6, 1.2, 1.2])  # at the second one the files are read, and looked up again
