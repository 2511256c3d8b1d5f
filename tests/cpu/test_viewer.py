"""The viewer: pictures of every kind, what browsers ask for, and a training beside it that it does not change."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from splatdsl.cli.main import main
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.renderers.base import make_renderer
from splatdsl.runtime.splat.state import SplatTrainingState
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.trainer import SplatTrainer
from splatdsl.runtime.training.viewing import TrainingViewer, open_run
from splatdsl.runtime.viewer_frames import Frames
from splatdsl.runtime.viewer_pictures import Camera, fitted, heat, top_of

PROGRAM = """
term colour = l1(masked)
term flat = 0.1 * mean(depth * depth)
term small = 0.01 * reg(state)
term late = l2(masked) when step >= 5
"""
SIZE = (40, 24)


def scene() -> SyntheticDataProvider:
    return SyntheticDataProvider(width=32, height=24, views=4, test_every=4, points=60)


@pytest.fixture(scope="module")
def frames() -> Frames:
    data = scene()
    data.load_data()
    loss = compile(PROGRAM, backend="eager", kernels="torch")
    made = Frames(make_renderer("reference", "cpu"), data, loss, 10)
    made.state = SplatTrainingState(data.init_splat_model(sh_degree=1, init_opacity=0.5))
    return made


def test_names_what_can_be_shown(frames: Frames) -> None:
    assert frames.modes() == [
        *("render", "target", "error", "alpha", "depth"),
        *("term colour", "term flat", "term small", "term late"),
    ]
    assert frames.views() == ["view 0 (held out)", "view 1", "view 2", "view 3"]


@pytest.mark.parametrize("view", [None, 2])
def test_every_picture_has_the_size_that_was_asked_for(frames: Frames, view: int | None) -> None:
    camera = frames.camera(2)
    seen = {}
    for mode in frames.modes():
        found = frames.frame(camera, mode, SIZE, view)
        assert found.image.shape == (SIZE[1], SIZE[0], 3)
        assert found.image.dtype == np.uint8
        seen[mode] = found
    dark = {mode for mode, found in seen.items() if not found.image.any()}
    if view is None:
        assert dark == {"target", "error", "term colour", "term late"}
        for mode in dark - {"term late"}:
            assert "only at a view of the data" in seen[mode].note
    else:
        assert dark == {"term late"}  # of 40 columns the picture has 32
        assert not seen["render"].image[:, :4].any()
    assert "does not exist at step 0" in seen["term late"].note
    assert "at the gaussians themselves" in seen["term small"].note
    assert "pull at depth" in seen["term flat"].note


def test_a_picture_at_a_view_is_that_view(frames: Frames) -> None:
    item = frames.item(2)
    target = frames.frame(frames.camera(2), "target", (32, 24), 2).image
    assert np.abs(target / 255 - item.image[0].numpy()).max() < 0.01
    anywhere = frames.frame(frames.camera(2), "render", (32, 24)).image.astype(int)
    there = frames.frame(frames.camera(2), "render", (32, 24), 2).image.astype(int)
    assert np.abs(anywhere - there).mean() < 1  # the same camera, found from its angle of view
    assert np.abs(there - target).mean() > 3


def test_a_pull_is_the_slope_of_the_term(frames: Frames) -> None:
    """l1 over the mask: the same slope at every pixel that counts, none elsewhere."""
    item = frames.item(1)
    found = frames.frame(frames.camera(1), "term colour", (32, 24), 1)
    kept = item.mask[0].numpy()
    assert 0 < kept.sum() < kept.size
    assert (found.image[kept] == [252, 253, 191]).mean() > 0.9
    assert not found.image[~kept].any()
    slope = 3**0.5 / (3 * kept.sum())  # the norm over three colours of 1 / (3 n)
    assert f"white is {slope:.3g} per pixel" in found.note


def test_nothing_is_changed(frames: Frames) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    before = {name: value.detach().clone() for name, value in frames.state.params.items()}
    for mode in frames.modes():
        frames.frame(frames.camera(1), mode, SIZE, 1)
    frames.table(frames.camera(1), SIZE, 1)
    assert torch.equal(torch.rand(3), expected)
    for name, value in frames.state.params.items():
        assert value.grad is None
        assert torch.equal(value, before[name])


def test_the_table_of_terms(frames: Frames) -> None:
    rows = {row.name: row for row in frames.table(frames.camera(1), SIZE, 1)}
    assert list(rows) == ["colour", "flat", "small", "late"]
    assert rows["late"].value is None
    assert sum(row.share for row in rows.values() if row.share is not None) == pytest.approx(1)
    assert rows["colour"].weight == 1
    away = {row.name: row for row in frames.table(frames.camera(1), SIZE)}
    assert away["colour"].value is None
    assert away["small"].value == pytest.approx(rows["small"].value)


def test_a_term_that_reads_two_buffers_is_shown_at_both(frames: Frames) -> None:
    loss = compile("term both = mean(depth * depth) + l1() + mean(alpha)", backend="eager", kernels="torch")
    two = Frames(make_renderer("reference", "cpu"), scene(), loss, 10)
    two.state = frames.state
    assert two.modes()[5:] == ["term both", "term both at depth", "term both at alpha"]
    pictures = [two.frame(two.camera(1), mode, (32, 24), 1) for mode in two.modes()[5:]]
    assert [re.search(r"pull at (\w+)", p.note).group(1) for p in pictures] == ["rendered", "depth", "alpha"]
    assert not np.array_equal(pictures[0].image, pictures[1].image)


def test_a_loss_in_python_has_no_terms_to_show(frames: Frames) -> None:
    plain = Frames(make_renderer("reference", "cpu"), scene(), SimpleNamespace(), 10)
    assert plain.modes() == ["render", "target", "error", "alpha", "depth"]
    assert plain.frame(frames.camera(0), "render", SIZE).note == "there are no gaussians yet"
    plain.state = frames.state
    assert plain.table(frames.camera(0), SIZE) == []
    assert "no term `x`" in plain.frame(frames.camera(0), "term x", SIZE).note


def test_colours() -> None:
    values = torch.tensor([[0.0, 1.0], [2.0, torch.nan]])
    found = heat(values, 1.0)
    assert found[0, 0].tolist() == [0, 0, 0]
    assert torch.equal(found[0, 1], found[1, 0])
    assert found[1, 1].tolist() == [0, 1, 0]
    grey = heat(torch.linspace(0, 1, 50)[None], 1.0)[0] @ torch.tensor([0.299, 0.587, 0.114])
    assert (grey.diff() > 0).all()
    assert top_of(torch.zeros(0)) == 0
    assert top_of(torch.tensor([0.0] * 999 + [5.0])) == 5
    assert fitted(torch.ones(10, 20, 3), 10, 10).any(axis=2).sum(axis=0).tolist() == [5] * 10


# Browsers


def handle(camera: Camera, aspect: float = 5 / 3) -> SimpleNamespace:
    """What viser tells of a browser's camera."""
    from viser.transforms import SO3

    pose = camera.cam_to_world.double().numpy()
    wxyz = SO3.from_matrix(pose[:3, :3]).wxyz
    return SimpleNamespace(wxyz=wxyz, position=pose[:3, 3], fov=camera.fov, aspect=aspect, on_update=lambda call: None)


class Browser:
    """Stands in for viser's handle of a client."""

    def __init__(self, number: int, camera: Camera) -> None:
        self.client_id, self.camera = number, handle(camera)
        self.pictures: list[np.ndarray] = []
        self.scene = SimpleNamespace(set_background_image=lambda image, **how: self.pictures.append(image))

    def atomic(self) -> Any:
        import contextlib

        return contextlib.nullcontext()


class Clock:
    """Time that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_serves_browsers(frames: Frames) -> None:
    pytest.importorskip("viser")
    from splatdsl.runtime.viewer import Viewer, camera_of

    clock = Clock()
    viewer = Viewer(frames, port=8790, size=64, clock=clock)
    try:
        assert viewer.address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(viewer.address, timeout=10) as answer:
            assert answer.status == 200
        assert viewer.serve() == 0
        browser = Browser(1, frames.camera(1))
        viewer._enter(browser)
        assert viewer.pending()
        assert viewer.serve() == 1
        assert browser.pictures[-1].shape == (38, 64, 3)
        assert not viewer.pending()
        assert viewer.serve() == 0
        viewer.moved(1)  # small pictures while the camera moves, then one of full size
        assert viewer.serve() == 1
        assert browser.pictures[-1].shape[1] == 21
        assert viewer.serve() == 0
        clock.now += 1
        assert viewer.serve() == 1
        assert browser.pictures[-1].shape[1] == 64
        viewer.stand(2)
        assert (camera_of(browser.camera).cam_to_world - frames.camera(2).cam_to_world).abs().max() < 1e-5
        viewer._mode.value = "target"
        viewer.serve()
        assert browser.pictures[-1].any()
        viewer.moved(1)  # the browser says where it has been put
        assert viewer.view == 2
        browser.camera.position = browser.camera.position + 0.5
        viewer.moved(1)
        assert viewer.view is None
        clock.now += 1
        viewer.serve()
        assert not browser.pictures[-1].any()
        assert "only at a view" in viewer._text.content
        viewer._ask_table()
        viewer.serve()
        assert "| small | 0.01 | 0.9" in viewer._table.content
        viewer.pause(True)
        assert viewer.paused
        viewer._leave(browser)
        assert not viewer.pending()
    finally:
        viewer.close()


@pytest.mark.parametrize("address", [("203.0.113.5", 8080), ("127.0.0.1", 70_000)])
def test_an_address_that_is_none(frames: Frames, address: tuple[str, int]) -> None:
    pytest.importorskip("viser")
    from splatdsl.runtime.viewer import Viewer

    with pytest.raises(LossError) as caught:
        Viewer(frames, *address)
    assert [d.code for d in caught.value.diagnostics] == ["RUN003"]


def trainer(modules: tuple = (), output: Path | None = None) -> SplatTrainer:
    config = SplatTrainerConfig(
        max_steps=4, sh_degree=0, strategy="none", images=False, tensorboard=False, log_every=1, eval_every=0
    )
    loss = compile(PROGRAM, backend="eager", kernels="torch")
    return SplatTrainer(config=config, loss_fn=loss, data_provider=scene(), modules=modules, output=output)


def test_a_training_goes_on_as_without_it() -> None:
    pytest.importorskip("viser")
    alone = trainer().run().state

    clock = Clock()
    looked: list[int] = []

    class Looked(TrainingViewer):
        def post_step(self, step: int = 0, training_state: Any = None, **others: Any) -> None:
            if step == 0:
                self.viewer._enter(Browser(1, self.viewer.frames.camera(1)))
                self.viewer._size.value = 64
            if step == 2:  # time that drawing may take has not passed: it takes a fifth at most
                self._next = clock.now + 1
            if step == 3:
                clock.now += 2
                self.viewer.pause(True)
                waits = iter([False, False, True])
                self.stopped = lambda: next(waits)
            mode = self.viewer.frames.modes()[5 + step % 3]
            self.viewer._mode.value = mode
            super().post_step(step=step, training_state=training_state, **others)
            looked.append(len(next(iter(self.viewer._seats.values())).client.pictures))

    module = Looked(trainer().config, port=8795, clock=clock)
    said: list[str] = []
    module._say = said.append
    seen = trainer((module,)).run().state
    assert said[0].startswith("viewer: http://127.0.0.1:")
    assert looked[:3] == [1, 2, 2]
    assert looked[3] > 2
    assert module.viewer is None
    for name, value in alone.params.items():
        assert torch.equal(value, seen.params[name]), name


def test_a_viewer_that_fails_does_not_end_the_run() -> None:
    pytest.importorskip("viser")

    class Fails(TrainingViewer):
        def post_step(self, step: int = 0, **others: Any) -> None:
            if self.viewer is not None:
                self.viewer.advance = lambda: 1 / 0
            super().post_step(step=step, **others)

    said: list[str] = []
    module = Fails(trainer().config, port=8797, say=said.append)
    assert trainer((module,)).run().finished
    assert said[1] == "the viewer is closed, training goes on: ZeroDivisionError: division by zero"
    assert len(said) == 2


CONFIG = """
loss: |
  term colour = 0.8 * l1(masked)
  term small = 0.01 * reg(state)
data: {kind: synthetic, width: 32, height: 24, views: 4, test_every: 4}
renderer: {kind: reference}
train: {max_steps: 2, strategy: none, sh_degree: 0, backend: eager, kernels: torch, images: false, tensorboard: false,
  exposure: true, device: cpu}
"""


def test_opens_a_run_that_is_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    folder = tmp_path / "out"
    pytest.importorskip("viser")
    assert main(["train", str(tmp_path / "run.yaml"), "--output", str(folder), "--viewer", "8850"]) == 0
    assert "viewer: http://127.0.0.1:" in capsys.readouterr().err
    found, notes = open_run(folder)
    assert notes == []
    assert found.step == 1
    assert len(found.terms) == 2
    assert found.frame(found.camera(1), f"term {found.terms[0]}", SIZE, 1).image.any()
    checkpoint = next((folder / "checkpoints").glob("*_000000.pt"))
    before, _ = open_run(checkpoint, "cpu")
    assert not torch.equal(before.state.params["means"], found.state.params["means"])
    with pytest.raises(LossError) as caught:
        open_run(tmp_path / "nothing")
    assert [d.code for d in caught.value.diagnostics] == ["RUN006"]
    assert main(["view", str(tmp_path / "nothing")]) == 1
    assert "RUN006" in capsys.readouterr().err
