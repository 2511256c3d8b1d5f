"""What makes steps fast, as far as a machine without a GPU can tell: no host reads, optimisers, loading ahead; and the
corrections of colour that are trained beside the gaussians."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.base import SplatDataItem
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.poses import inverse_pose
from splatdsl.runtime.renderers.base import SplatRenderer
from splatdsl.runtime.splat import optimizers as optimizing
from splatdsl.runtime.splat.model import SplatModel
from splatdsl.runtime.splat.state import SplatTrainingState
from splatdsl.runtime.training import appearance as appearing
from splatdsl.runtime.training.batching import ItemLoader, stack_items
from splatdsl.runtime.training.checkpoint import read
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.strategies import changes_gaussians, default_strategy
from splatdsl.runtime.training.trainer import SplatTrainer

CPU = torch.device("cpu")
N = 40


class Flat(SplatRenderer):
    """Paints every image in the mean colour of the gaussians: differentiable, quick, and asks no tensor anything."""

    name = "reference"
    buffers = frozenset({"rendered", "alpha", "visible", "radii"})

    def render(self, splat_state, cam_to_worlds, Ks, width, height, backgrounds=None, **options):
        params, b = splat_state.params, len(Ks)
        means2d = params["means"][:, :2].expand(b, -1, -1) * 1.0
        if means2d.requires_grad:
            means2d.retain_grad()
        alpha = torch.sigmoid(params["opacities"]).mean() * torch.sigmoid(means2d.mean() + params["scales"].mean())
        colour = (params["sh0"].mean(dim=(0, 1)) + 0.1 * params["quats"].mean()).expand(b, height, width, 3)
        images = alpha * colour + (1 - alpha) * backgrounds[:, None, None]
        radii = torch.ones(b, len(params["means"]), 2, dtype=torch.int32)
        return images, SplatRenderPayload(
            images, alpha.expand(b, height, width, 1), radii, None, b, 1, width, height, means2d
        )


def scene(**options: Any) -> SyntheticDataProvider:
    return SyntheticDataProvider(**{"width": 32, "height": 24, "views": 4, "test_every": 4, "points": N, **options})


def trainer(loss: Any, output: Path | None = None, modules: tuple = (), data: Any = None, **settings: Any) -> Any:
    settings = {"max_steps": 6, "sh_degree": 0, "strategy": "none", **settings}
    resume = settings.pop("resume", False)
    config = SplatTrainerConfig(images=False, tensorboard=False, **settings)
    return SplatTrainer(
        config=config, loss_fn=loss, data_provider=data or scene(), renderer=Flat(), output=output, modules=modules,
        resume=resume,
    )  # fmt: skip


# Host reads


class HostReads(TorchDispatchMode):
    """Notes the operators whose result the host needs before it can go on, as it would have to wait for a GPU."""

    READ = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal", "_unique2", "unique_dim")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.all = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.all += 1
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if name in self.READ or by_mask:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


class Watcher(SplatBaseModule):
    """Counts host reads from the first hook of a step to its last."""

    def __init__(self) -> None:
        self.by_step: dict[int, list[str]] = {}

    def pre_step(self, step: int = 0, **others: Any) -> None:
        self.mode = HostReads()
        self.mode.__enter__()

    def post_step(self, step: int = 0, **others: Any) -> None:
        self.mode.__exit__(None, None, None)
        assert self.mode.all > 50  # it saw the step
        self.by_step[step] = self.mode.seen


PROGRAM = "term colour = mix(l1(masked), ssim_loss(masked), 0.2)\nterm small = ramp(step, 4) * 0.1 * reg(state)\n"
FOLLOWING = "memory before = 0 then state.opacities\nterm calm = 0.01 * mean(abs(state.opacities - before))\n"


@pytest.mark.parametrize("corrected", [False, True])
def test_a_step_reads_nothing_from_the_device(corrected: bool) -> None:
    watcher = Watcher()
    loss = compile(FOLLOWING + PROGRAM, backend="eager", kernels="torch")
    assert callable(loss.on_densification)  # so that rows are followed
    trainer(
        loss,
        modules=(watcher,),
        optimizer="fused",
        strategy="default",
        background="random",
        batch_size=2,
        refine_start_iter=0,
        refine_every=3,
        refine_stop_iter=6,
        exposure=corrected,
        bilateral_grid=corrected,
    ).run()
    refining = watcher.by_step.pop(3)
    assert len(refining) > 2, "gsplat asks how many gaussians it splits"
    del watcher.by_step[0]  # what is made once
    # The one number is the guard's, of the step before: that of step 0 was read for the metrics, and that of step 3
    # before its densification.
    read = ["_local_scalar_dense"]
    assert watcher.by_step == {1: [], 2: read, 4: [], 5: read}


def test_host_reads_are_noticed() -> None:
    with HostReads() as mode:
        x = torch.ones(3)
        bool(x.sum() > 0)
        x[x > 0]
        x.nonzero()
    assert mode.seen == ["_local_scalar_dense", "index", "nonzero"]


class Breaks:
    """A loss that is not finite, or whose gradient is not, at step 3."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.terms: dict[str, torch.Tensor] = {}

    def compute_loss(self, rendered_frames, target_frames, training_state, step, **others):
        photometric = (rendered_frames - target_frames).abs().mean()
        size = training_state.scales.mean()
        if step == 3 and self.how == "value":
            size = size / 0
        if step == 3 and self.how == "gradient":
            size = size + (training_state.params["scales"] * 0).square().sum(dim=1).sqrt().mean()
        self.terms = {"photometric": photometric.detach(), "size": size.detach()}
        return photometric + size


@pytest.mark.parametrize("how", ["value", "gradient"])
def test_a_deferred_guard_says_what_an_immediate_one_says(how: str, tmp_path: Path) -> None:
    said, kept = [], []
    for kind in ("adam", "fused"):
        folder = tmp_path / kind
        run = trainer(Breaks(how), folder, optimizer=kind, checkpoint_every=1, keep_checkpoints=0, log_every=100)
        with pytest.raises(LossError) as caught:
            run.run()
        (found,) = caught.value.diagnostics
        said.append((found.code, found.message, [note.replace(kind, "KIND") for note in found.notes]))
        kept.append(sorted(path.name for path in (folder / "checkpoints").glob("*.pt")))
        newest = read(folder / "checkpoints" / kept[-1][-1])
        assert all(torch.isfinite(value).all() for value in newest["state"]["params"].values())
    assert said[0] == said[1]
    assert "at step 3" in said[0][1]
    assert kept[0] == kept[1] == [f"step_{i:06d}.pt" for i in range(4)]


def test_a_deferred_guard_speaks_up_one_step_later() -> None:
    steps: list[int] = []

    class Follows(SplatBaseModule):
        def post_step(self, step: int = 0, **others: Any) -> None:
            steps.append(step)

    with pytest.raises(LossError, match="at step 3"):
        trainer(Breaks("gradient"), modules=(Follows(),), optimizer="fused", log_every=100).run()
    assert steps == [0, 1, 2, 3]


def test_the_default_strategy_keeps_the_sums_of_gsplat() -> None:
    from gsplat.strategy import DefaultStrategy

    generator = torch.Generator().manual_seed(0)
    sums = []
    means2d = torch.zeros(3, N, 2)
    means2d.grad = torch.randn(3, N, 2, generator=generator)
    means2d.grad[0, 5] = torch.nan  # of a gaussian that is not shown
    radii = torch.randint(0, 3, (3, N, 2), generator=generator)
    radii[0, 5] = 0
    info = {"means2d": means2d, "radii": radii, "width": 30, "height": 20, "n_cameras": 3, "gaussian_ids": None}
    for kind in (DefaultStrategy, default_strategy()):
        strategy = kind(refine_scale2d_stop_iter=0)
        memory = strategy.initialize_state()
        for _ in range(2):
            strategy._update_state({"means": torch.zeros(N, 3)}, memory, info)
        sums.append(memory)
    assert torch.equal(sums[0]["grad2d"], sums[1]["grad2d"])
    assert torch.equal(sums[0]["count"], sums[1]["count"])
    assert isinstance(strategy, DefaultStrategy)
    assert changes_gaussians(kind(refine_every=100), 200)
    assert not changes_gaussians(kind(refine_every=100), 201)

    class Own(DefaultStrategy):
        def step_post_backward(self, *args: Any, **options: Any) -> None:
            """Acts whenever it likes."""

    assert changes_gaussians(Own(refine_every=100), 201)
    assert not changes_gaussians(None, 0)


# Optimisers


def model(n: int = N, degree: int = 1) -> SplatModel:
    generator = torch.Generator().manual_seed(1)
    points, colours = torch.randn(n, 3, generator=generator), torch.rand(n, 3, generator=generator)
    return SplatModel.from_points(points, colours, sh_degree=degree)


def descend(state: SplatTrainingState, steps: int, **options: Any) -> None:
    for _ in range(steps):
        state.zero_grad()
        sum((p * 2).sin().sum() for p in state.params.values()).backward()
        state.step(**options)
    state.zero_grad()


def test_auto_is_adam_here() -> None:
    assert optimizing.resolve_optimizer("auto", CPU) == "adam"
    assert optimizing.resolve_optimizer("auto", torch.device("cuda")) == "fused"
    state = SplatTrainingState(model())
    assert not state.can_skip
    assert not state.optimizers["means"].param_groups[0]["fused"]


def test_selective_needs_cuda() -> None:
    with pytest.raises(LossError) as caught:
        SplatTrainingState(model(), optimizer="selective")
    assert [d.code for d in caught.value.diagnostics] == ["RUN007"]
    with pytest.raises(LossError, match="optimizer"):
        SplatTrainerConfig(max_steps=1, optimizer="sgd")


def test_a_fused_step_is_left_out_where_it_is_not_finite() -> None:
    state = SplatTrainingState(model(), optimizer="fused")
    descend(state, 2)
    before = state.state_dict()
    descend(state, 1, finite=torch.tensor(False))
    for name, value in before["params"].items():
        assert torch.equal(value, state.params[name])
        saved, now = before["optimizers"][name]["state"][0], state.optimizers[name].state_dict()["state"][0]
        assert all(torch.equal(saved[key], now[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    descend(state, 1, finite=torch.tensor(True))
    assert not torch.equal(before["params"]["means"], state.params["means"])


def test_one_optimiser_continues_what_another_has_begun() -> None:
    whole, half = SplatTrainingState(model()), SplatTrainingState(model())
    descend(whole, 3)
    descend(half, 2)
    other = SplatTrainingState(model(n=7), optimizer="fused")
    other.load_state_dict(half.state_dict())
    assert other.optimizers["means"].param_groups[0]["fused"]
    descend(other, 1)
    back = SplatTrainingState(model(n=7))
    back.load_state_dict(other.state_dict())
    descend(whole, 1)
    descend(back, 1)
    for name, value in whole.params.items():
        torch.testing.assert_close(back.params[name], value, rtol=1e-5, atol=1e-6)


def test_selective_moves_what_is_visible_and_counts_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(param, grad, average, square, valid, lr, b1, b2, eps):  # gsplat's, by its formula
        rows = valid.nonzero().squeeze(-1)
        average[rows] = b1 * average[rows] + (1 - b1) * grad[rows]
        square[rows] = b2 * square[rows] + (1 - b2) * grad[rows] ** 2
        param[rows] -= lr * average[rows] / (square[rows].sqrt() + eps)

    monkeypatch.setattr("gsplat.optimizers.selective_adam.adam", kernel)
    monkeypatch.setattr(optimizing, "resolve_optimizer", lambda kind, device: kind)
    state = SplatTrainingState(model(degree=0), optimizer="selective")
    assert state.is_selective
    assert state.can_skip
    before = state.state_dict()["params"]
    radii = torch.zeros(2, N, 2, dtype=torch.int32)
    radii[0, 3], radii[1, 8] = 2, 1
    radii[1, 9, 0] = 5  # wide, but of no height
    visible = optimizing.visible_gaussians(radii)
    assert visible.nonzero().flatten().tolist() == [3, 8]
    descend(state, 2, visible=visible)
    for name in ("means", "opacities", "sh0"):
        moved = (state.params[name] != before[name]).reshape(N, -1).any(dim=1)
        assert moved.nonzero().flatten().tolist() == [3, 8], name
    after = state.state_dict()["params"]
    descend(state, 1, visible=visible, finite=torch.tensor(False))
    assert all(torch.equal(after[name], state.params[name]) for name in after)
    saved = state.state_dict()
    assert float(saved["optimizers"]["means"]["state"][0]["step"]) == 3
    other = SplatTrainingState(model(5, degree=0), optimizer="adam")
    other.load_state_dict(saved)
    descend(other, 1)
    assert torch.isfinite(other.params["means"]).all()


def test_gsplat_edits_a_fused_optimiser() -> None:
    from gsplat.strategy.ops import duplicate, remove

    state = SplatTrainingState(model(), optimizer="fused")
    descend(state, 1)
    mask = torch.zeros(N, dtype=torch.bool)
    mask[:3] = True
    duplicate(state.params, state.optimizers, {}, mask)
    remove(state.params, state.optimizers, {}, torch.cat([mask, torch.zeros(3, dtype=torch.bool)]))
    assert state.num_gaussians == N
    descend(state, 1)
    assert len(state.optimizers["quats"].state[state.params["quats"]]["exp_avg"]) == N


# Loading ahead


class Slow(SyntheticDataProvider):
    """Notes in which thread an item is made, and fails at one step."""

    def next_train_data(self, step: int) -> SplatDataItem:
        self.threads.append(threading.current_thread().name)
        if step == self.fails_at:
            raise LossError([])
        return super().next_train_data(step)


def test_items_are_loaded_ahead_in_the_same_order() -> None:
    data = Slow(width=32, height=24, views=4, points=N)
    data.threads, data.fails_at = [], 7
    plain = ItemLoader(data, 2, 3, 0)
    expected = [plain.get(step, CPU) for step in range(3)]
    assert set(data.threads) == {"MainThread"}
    data.threads = []
    loader = ItemLoader(data, 2, 5, 2)
    with loader.running():
        for step, wanted in enumerate(expected):
            item = loader.get(step, CPU)
            assert item.image_name == wanted.image_name
            assert item.ids == wanted.ids
            assert torch.equal(item.image, wanted.image)
        with pytest.raises(LossError):  # what went wrong in the thread
            loader.get(3, CPU)
    assert all(name.startswith("splatdsl-items") for name in data.threads)
    assert SplatTrainerConfig(max_steps=1).ahead(torch.device("cuda")) == 2
    assert SplatTrainerConfig(max_steps=1).ahead(CPU) == 0
    assert SplatTrainerConfig(max_steps=1, num_workers=5).ahead(CPU) == 5


def test_a_batch_knows_its_views() -> None:
    data = scene()
    data.load_data()
    items = [data.next_train_data(i) for i in range(3)]
    assert stack_items(items).ids == tuple(item.id for item in items)
    assert stack_items(items[:1]).ids == ()


def test_an_inverse_pose() -> None:
    pose = torch.linalg.qr(torch.randn(2, 4, 4, dtype=torch.float64))[0]
    torch.testing.assert_close(inverse_pose(pose) @ pose, torch.eye(4, dtype=torch.float64).expand(2, 4, 4))


# Corrections of colour


def test_corrections_begin_with_none() -> None:
    image = torch.rand(2, 6, 5, 3)
    config = SplatTrainerConfig(max_steps=10)
    for kind in (appearing.Exposure, appearing.BilateralGrid):
        part = kind(3, CPU, config)
        torch.testing.assert_close(part.apply(image, [2, 0]), image)
    assert float(appearing.BilateralGrid(3, CPU, config).penalty().detach()) == 0
    assert appearing.Exposure(3, CPU, config).rate(0) == pytest.approx(0.01)
    assert appearing.Exposure(3, CPU, config).rate(10) == pytest.approx(0.001)


def test_an_exposure_is_that_of_3dgs() -> None:
    image, maps = torch.rand(1, 4, 5, 3), torch.randn(1, 3, 4)
    expected = image[0] @ maps[0, :3, :3] + maps[0, :3, 3]
    torch.testing.assert_close(appearing.exposed(image, maps)[0], expected)


def test_a_grid_is_read_between_its_cells() -> None:
    """A grid that is linear along each axis gives back that line at every pixel."""
    grid = torch.zeros(1, 12, *appearing.GRID, dtype=torch.float64)
    grey, rows, columns = (torch.linspace(0, 1, n, dtype=torch.float64) for n in appearing.GRID)
    grid[0, 3] = columns.view(1, 1, -1)  # what is added to red
    grid[0, 7] = rows.view(1, -1, 1)
    grid[0, 11] = grey.view(-1, 1, 1)
    image = torch.rand(1, 7, 9, 3, dtype=torch.float64)
    found = appearing.sliced(grid, image)[0]
    torch.testing.assert_close(found[:, :, 0], ((torch.arange(9) + 0.5) / 9).double().expand(7, 9))
    torch.testing.assert_close(found[:, :, 1], ((torch.arange(7) + 0.5) / 7).double()[:, None].expand(7, 9))
    torch.testing.assert_close(found[:, :, 2], image[0] @ torch.tensor(appearing.LUMINANCE, dtype=torch.float64))
    variation = sum(1 / (n - 1) ** 2 for n in appearing.GRID) / 12
    assert float(appearing.total_variation(grid)) == pytest.approx(variation)


class Tinted(SyntheticDataProvider):
    """Each view under an exposure of its own."""

    def _item(self, index: int) -> SplatDataItem:
        from dataclasses import replace

        item = super()._item(index)
        return replace(item, image=(item.image * (0.6 + 0.1 * index)).clamp(0, 1))


@pytest.mark.parametrize("kind", ["exposure", "bilateral_grid"])
def test_corrections_are_trained_saved_and_resumed(kind: str, tmp_path: Path) -> None:
    def run(folder: str, steps: int, **options: Any) -> Any:
        data = Tinted(width=32, height=24, views=4, test_every=4, points=N)
        loss = compile("term colour = l1()", backend="eager", kernels="torch")
        made = trainer(loss, tmp_path / folder, data=data, max_steps=8, batch_size=2, log_every=1, checkpoint_every=4,
                       keep_checkpoints=0, **{kind: True}, **options)  # fmt: skip
        if steps < 8:

            class Stops(SplatBaseModule):
                def post_step(self, step: int = 0, **others: Any) -> None:
                    if step + 1 == steps:
                        made.request_stop()

            made.modules = (Stops(),)
        return made.run()

    run("whole", 8)
    run("parts", 4)
    run("parts", 8, resume=True)
    saved = [read(tmp_path / folder / "checkpoints" / "step_000008.pt") for folder in ("whole", "parts")]
    values = [part["appearance"][kind]["values"] for part in saved]
    assert torch.equal(*values)
    assert torch.equal(*(part["state"]["params"]["sh0"] for part in saved))
    start = getattr(appearing, {"exposure": "Exposure", "bilateral_grid": "BilateralGrid"}[kind])
    first = start(4, CPU, SplatTrainerConfig(max_steps=8)).values
    changed = (values[0] != first).flatten(1).any(dim=1).tolist()
    assert changed == [False, True, True, True]  # view 0 is held out
    assert json.loads((tmp_path / "whole" / "run.json").read_text())["config"][kind] is True
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert any("appearance/bilateral_grid_tv" in row for row in rows) == (kind == "bilateral_grid")
    with pytest.raises(LossError) as caught:  # another run
        trainer(compile("term colour = l1()", backend="eager"), tmp_path / "whole", max_steps=8, batch_size=2,
                resume=True, data=Tinted(width=32, height=24, views=4, test_every=4, points=N)).run()  # fmt: skip
    assert [d.code for d in caught.value.diagnostics] == ["RUN005"]


def test_corrections_make_up_for_exposures() -> None:
    """Of views that differ in brightness alone the loss falls further with corrections than without."""
    reached = []
    for corrected in (False, True):
        data = Tinted(width=32, height=24, views=4, test_every=0, points=N)
        losses: list[float] = []

        class Notes(SplatBaseModule):
            def post_compute_loss(self, loss: torch.Tensor | None = None, losses=losses, **others: Any) -> None:
                losses.append(float(loss.detach()))

        loss = compile("term colour = l2()", backend="eager", kernels="torch")
        trainer(loss, data=data, modules=(Notes(),), max_steps=120, exposure=corrected, optimizer="fused").run()
        reached.append(sum(losses[-12:]))
    assert reached[1] < reached[0]


def test_a_view_without_a_number_is_refused() -> None:
    class Numbered(SyntheticDataProvider):
        def _item(self, index: int) -> SplatDataItem:
            from dataclasses import replace

            return replace(super()._item(index), id=1000 + index)

    loss = compile("term colour = l1()", backend="eager", kernels="torch")
    with pytest.raises(LossError) as caught:
        trainer(loss, data=Numbered(width=32, height=24, views=4, points=N), exposure=True).run()
    assert [d.code for d in caught.value.diagnostics] == ["RUN003"]
