"""What the tests with the real splatkit share: its payloads filled with numbers, and the SSIM that it means."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter, ParameterDict

ROOT = Path(__file__).resolve().parents[3]
HEIGHT, WIDTH, GAUSSIANS = 18, 22, 9


@pytest.fixture
def logger() -> Any:
    from splatkit.logger import SplatLogger

    return SplatLogger(level="ERROR")


@pytest.fixture(scope="session")
def example() -> ModuleType:
    """The example, whose scene and renderer the tests of the trainer use too."""
    spec = importlib.util.spec_from_file_location("splatkit_trainer", ROOT / "examples/embedding/splatkit_trainer.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Call:
    """The arguments of splatkit's ``compute_loss`` with the leaves that gradients are taken by."""

    def __init__(self, kind: str, views: int, masked: bool, dtype: torch.dtype, seed: int) -> None:
        from splatkit.renderer import Splat3dgsRenderPayload
        from splatkit.renderer._2dgs import Splat2dgsRenderPayload

        g = torch.Generator().manual_seed(seed)

        def rand(*shape: int, leaf: str = "") -> Tensor:
            x = torch.rand(*shape, generator=g, dtype=torch.float64).to(dtype)
            if leaf:
                self.leaves[leaf] = x.requires_grad_()
            return x

        self.leaves: dict[str, Tensor] = {}
        pixels = (views, HEIGHT, WIDTH)
        self.renders, self.targets = rand(*pixels, 3, leaf="renders"), rand(*pixels, 3)
        self.masks = rand(*pixels) > 0.4 if masked else None
        raw = {"means": (3,), "scales": (3,), "quats": (4,), "opacities": (), "sh0": (1, 3), "shN": (15, 3)}
        self.params = ParameterDict({n: Parameter(rand(GAUSSIANS, *shape) - 0.5) for n, shape in raw.items()})
        self.leaves |= {f"state.{name}": self.params[name] for name in ("opacities", "scales")}
        common = {
            "renders": self.renders,
            "alphas": rand(*pixels, 1, leaf="alphas"),
            "radii": torch.randint(0, 3, (views, GAUSSIANS, 2), generator=g, dtype=torch.int32),
            "depths": rand(views, GAUSSIANS),  # gsplat's: one for each gaussian, not for each pixel
            "n_cameras": views,
            "n_batches": 1,
            "width": WIDTH,
            "height": HEIGHT,
            "means2d": rand(views, GAUSSIANS, 2),
            "gaussian_ids": None,
            "depths_expected": None,
            "depths_accumulated": None,
        }
        if kind == "3dgs":
            self.payload: Any = Splat3dgsRenderPayload(**common, conics=rand(views, GAUSSIANS, 3))
        else:
            common["depths_expected"] = rand(*pixels, 1, leaf="depth")
            surface = rand(*pixels, 3, leaf="normals_from_depth")
            self.payload = Splat2dgsRenderPayload(
                **common,
                normals=rand(*pixels, 3, leaf="normals"),
                normals_from_depth=surface.squeeze(0),  # gsplat leaves out the dimension of a single camera
                render_distort=rand(*pixels, 1, leaf="distortion"),
                depths_median=rand(*pixels, 1),
                gradient_2dgs=rand(views, GAUSSIANS, 2),
            )

    @property
    def state(self) -> Any:
        """splatkit's own training state."""
        from splatkit.splat import SplatTrainingState

        optimizers = {n: torch.optim.Adam([p]) for n, p in self.params.items()}
        return SplatTrainingState(params=self.params, optimizers=optimizers, sh_degree=3, device="cpu")

    def tell(self, loss_fn: Any, logger: Any, step: int, max_steps: int = 30_000) -> None:
        """The hooks of one step, as splatkit's trainer calls them: step from 1, by keyword."""
        at = {"logger": logger, "step": step, "max_steps": max_steps, "training_state": self.state}
        frames = {"target_frames": self.targets, "masks": self.masks, "world_rank": 0, "world_size": 1}
        loss_fn.pre_step(**at, **frames)
        loss_fn.pre_compute_loss(**at, **frames, rendered_frames=self.renders, rend_out=self.payload)

    def loss(self, loss_fn: Any, logger: Any) -> Tensor:
        """The loss, as splatkit's trainer asks for it."""
        return loss_fn.compute_loss(
            logger=logger,
            renders=self.renders,
            targets=self.targets,
            training_state=self.state,
            rend_out=self.payload,
            masks=self.masks,
        )

    def value_and_gradients(self, loss_fn: Any, logger: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its gradients by every leaf, 0 where it does not depend on one."""
        loss = self.loss(loss_fn, logger)
        found = torch.autograd.grad(loss, list(self.leaves.values()), allow_unused=True)
        zero = {name: torch.zeros_like(x) for name, x in self.leaves.items()}
        return loss.detach(), {n: zero[n] if g is None else g for n, g in zip(self.leaves, found)}


@pytest.fixture
def call() -> Callable[..., Call]:
    """``call("3dgs", masked=True)``: arguments of a call with splatkit's payload, in float64."""

    def make(
        kind: str, views: int = 2, masked: bool = False, dtype: torch.dtype = torch.float64, seed: int = 0
    ) -> Call:
        return Call(kind, views, masked, dtype, seed)

    return make


def ssim(a: Tensor, b: Tensor, padding: str) -> Tensor:
    """Mean SSIM of `[B, C, H, W]` from its definition: gaussian window of 11 by 11 pixels, standard deviation 1.5."""
    x = torch.arange(11, dtype=a.dtype) - 5
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    line = line / line.sum()
    channels = a.shape[1]
    window = (line[:, None] * line)[None, None].expand(channels, 1, 11, 11)

    def blur(z: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(z, window, padding=0 if padding == "valid" else 5, groups=channels)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


@pytest.fixture(scope="session")
def ssim_of() -> Callable[[Tensor, Tensor, str], Tensor]:
    return ssim


@pytest.fixture
def with_fused_ssim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `fused_ssim`, as splatkit wants it, which computes with torch."""
    package = ModuleType("fused_ssim")
    package.fused_ssim = lambda img1, img2, padding="same": ssim(img1, img2, padding)
    monkeypatch.setitem(sys.modules, "fused_ssim", package)


@pytest.fixture
def without_fused_ssim(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package `fused_ssim`: splatkit falls back to its own."""
    monkeypatch.setitem(sys.modules, "fused_ssim", None)
