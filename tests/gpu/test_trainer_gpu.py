"""The trainer on CUDA: nothing in a step waits for the device, optimisers, loading ahead, corrections of colour."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.poses import inverse_pose
from splatdsl.runtime.renderers import make_renderer
from splatdsl.runtime.splat.model import SplatModel
from splatdsl.runtime.splat.state import SplatTrainingState
from splatdsl.runtime.training import appearance as appearing
from splatdsl.runtime.training.batching import ItemLoader
from splatdsl.runtime.training.checkpoint import read
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.prefetch import tensors_of
from splatdsl.runtime.training.trainer import SplatTrainer
from splatdsl.runtime.viewer_frames import Frames

DEVICE = torch.device("cuda")
PROGRAM = "term colour = mix(l1(masked), ssim_loss(masked), 0.2)\nterm small = ramp(step, 4) * 0.1 * reg(state)\n"


@contextmanager
def waiting(mode: str):
    """While this lasts, an operation that makes the host wait for the device is an error, or is let through."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def scene(device: torch.device = DEVICE, **options: Any) -> SyntheticDataProvider:
    return SyntheticDataProvider(**{"width": 96, "height": 72, "views": 8, "points": 800, **options}, device=device)


def gsplat_that_may_wait() -> Any:
    """gsplat's renderer; its own question for the number of tiles, and its inverses of poses, are let through."""
    renderer = make_renderer("gsplat", DEVICE)
    draw = renderer._rasterization

    def drawn(**arguments: Any) -> Any:
        with waiting("default"):
            return draw(**arguments)

    renderer._rasterization = drawn
    return renderer


def trainer(loss: Any, output: Path | None = None, modules: tuple = (), renderer: Any = None, **settings: Any) -> Any:
    settings = {"max_steps": 12, "sh_degree": 1, "strategy": "none", "device": "cuda", "log_every": 100, **settings}
    resume, data = settings.pop("resume", False), settings.pop("data", None)
    config = SplatTrainerConfig(images=False, tensorboard=False, **settings)
    place = torch.device(config.device)
    return SplatTrainer(
        config=config, loss_fn=loss, data_provider=data or scene(place), modules=modules, output=output, resume=resume,
        renderer=renderer or make_renderer("auto", place),
    )  # fmt: skip


class Strict(SplatBaseModule):
    """Makes waiting for the device an error from the first hook of a step to its last."""

    def __init__(self, but: range) -> None:
        self.but, self.steps = but, 0

    def pre_step(self, step: int = 0, **others: Any) -> None:
        if step > 2 and step not in self.but:  # at first kernels are built
            torch.cuda.set_sync_debug_mode("error")
            self.steps += 1

    def post_step(self, **others: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "selective"},
        {"strategy": "default"},
        {"strategy": "mcmc"},
        {"exposure": True, "bilateral_grid": True, "background": "random", "batch_size": 2},
    ],
    ids=["fused", "selective", "default", "mcmc", "corrected"],
)
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_step_waits_for_nothing_but_gsplat(options: dict[str, Any], backend: str) -> None:
    refining = {"refine_start_iter": 0, "refine_every": 5, "refine_stop_iter": 12} if "strategy" in options else {}
    strict = Strict(range(0, 12, 5) if refining else range(0))
    loss = compile(PROGRAM, backend=backend, device=DEVICE)
    try:
        trainer(loss, modules=(strict,), renderer=gsplat_that_may_wait(), **options, **refining).run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert strict.steps >= 7


def test_an_inverse_pose_does_not_wait() -> None:
    poses = torch.stack([item.cam_to_world[0] for item in map(scene().view, range(3))])
    expected = torch.linalg.inv(poses)
    with waiting("error"):
        found = inverse_pose(poses)
    torch.testing.assert_close(found, expected)


class Breaks:
    """A loss whose gradient is not finite at step 3."""

    def __init__(self) -> None:
        self.terms: dict[str, torch.Tensor] = {}

    def compute_loss(self, rendered_frames, target_frames, training_state, step, **others):
        size = training_state.scales.mean()
        if step == 3:
            size = size + (training_state.params["scales"] * 0).square().sum(dim=1).sqrt().mean()
        self.terms = {"size": size.detach()}
        return (rendered_frames - target_frames).abs().mean() + size


@pytest.mark.parametrize("kind", ["adam", "fused", "selective"])
def test_what_is_not_finite_reaches_no_checkpoint(kind: str, tmp_path: Path) -> None:
    with pytest.raises(LossError, match="not finite at step 3"):
        trainer(Breaks(), tmp_path, optimizer=kind, checkpoint_every=1, keep_checkpoints=0).run()
    written = sorted((tmp_path / "checkpoints").glob("*.pt"))
    assert [path.name for path in written] == [f"step_{i:06d}.pt" for i in range(4)]
    assert all(torch.isfinite(value).all() for value in read(written[-1])["state"]["params"].values())


def descended(kind: str, **options: Any) -> SplatTrainingState:
    generator = torch.Generator().manual_seed(0)
    points, colours = torch.randn(500, 3, generator=generator), torch.rand(500, 3, generator=generator)
    state = SplatTrainingState(SplatModel.from_points(points, colours, sh_degree=1), device=DEVICE, optimizer=kind)
    for _ in range(3):
        state.zero_grad()
        sum((p * 2).sin().sum() for p in state.params.values()).backward()
        state.step(**options)
    return state


def test_fused_is_adam() -> None:
    a, b = descended("adam"), descended("fused", finite=torch.tensor(True, device=DEVICE))
    for name, value in a.params.items():
        torch.testing.assert_close(b.params[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["fused", "selective"])
def test_a_step_is_left_out_where_it_is_not_finite(kind: str) -> None:
    start, end = descended("adam"), descended(kind, finite=torch.tensor(False, device=DEVICE))
    fresh = SplatTrainingState(SplatModel.from_parameters({n: p.cpu() for n, p in end.params.items()}))
    assert fresh.num_gaussians == 500
    assert not torch.equal(start.params["means"], end.params["means"])
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(end.params["means"].cpu(), torch.randn(500, 3, generator=generator))


def test_selective_moves_what_is_visible() -> None:
    visible = torch.zeros(500, dtype=torch.bool, device=DEVICE)
    visible[::3] = True
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(500, 3, generator=generator).to(DEVICE)
    state = descended("selective", visible=visible)
    moved = (state.params["means"] != before).any(dim=1)
    assert torch.equal(moved, visible)
    step = state.optimizers["means"].state[state.params["means"]]["step"]
    assert float(step) == 3


@pytest.mark.parametrize("kinds", [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_on_another_device(kinds: tuple[str, str], tmp_path: Path) -> None:
    loss = "term colour = l1()"

    class Stops(SplatBaseModule):
        def post_step(self, step: int = 0, **others: Any) -> None:
            if step == 3:
                first.request_stop()

    first = trainer(compile(loss, backend="eager"), tmp_path, (Stops(),), device=kinds[0], exposure=True)
    first.run()
    second = trainer(compile(loss, backend="eager"), tmp_path, device=kinds[1], resume=True, exposure=True)
    result = second.run()
    assert result.steps == 12
    assert result.state.device.type == kinds[1]


def test_items_come_complete() -> None:
    """While a step keeps the device busy, the next items are brought; none is overwritten while it is in use."""
    here = scene(torch.device("cpu"))
    for data in (here, scene()):
        loader = ItemLoader(data, 2, 24, 2)
        sums = []
        with loader.running():
            for step in range(24):
                item = loader.get(step, DEVICE)
                assert all(tensor.is_cuda for tensor in tensors_of(item))
                busy = torch.randn(2048, 2048, device=DEVICE)
                for _ in range(10):
                    busy = busy @ busy / 2048
                sums.append(item.image.double().sum() + 0 * busy.double().sum().nan_to_num(0, 0, 0))
        expected = [sum(here.next_train_data(2 * s + i).image.double().sum() for i in range(2)) for s in range(24)]
        torch.testing.assert_close(torch.stack(sums).cpu(), torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_the_fused_grid_is_ours() -> None:
    pytest.importorskip("fused_bilagrid")
    config = SplatTrainerConfig(max_steps=10)
    part = appearing.BilateralGrid(4, DEVICE, config)
    with torch.no_grad():
        part.values += 0.1 * torch.randn(part.values.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    found = []
    for fused in (part._fused, None):
        part._fused, part.values.grad = fused, None
        image = torch.rand(2, 40, 50, 3, generator=torch.Generator().manual_seed(1)).to(DEVICE).requires_grad_()
        made = part.apply(image, [3, 1])
        (made * torch.linspace(0, 1, 50, device=DEVICE)[:, None]).sum().backward()
        found.append((made.detach(), image.grad, part.values.grad.clone()))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_the_viewer_draws() -> None:
    data = scene()
    data.load_data()
    frames = Frames(make_renderer("gsplat", DEVICE), data, compile(PROGRAM, backend="eager", device=DEVICE), 10)
    frames.state = SplatTrainingState(data.init_splat_model(sh_degree=1, init_opacity=0.5), device=DEVICE)
    frames.step = 5
    for mode in frames.modes():
        found = frames.frame(frames.camera(1), mode, (64, 48), 1)
        assert found.image.shape == (48, 64, 3)
        assert found.image.any(), (mode, found.note)
