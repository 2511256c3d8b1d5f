"""What puts a loss into splatfacto, without nerfstudio: in a model of the recorded shapes of nerfstudio 1.1.5.

`tests/compat/nerfstudio` has the same in nerfstudio's own classes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from splatdsl import LossError
from splatdsl.runtime.adapters import splatfacto as of
from splatdsl.runtime.adapters.splatfacto_model import LossInSplatfacto

H, W, N = 24, 30, 7


class Recorded:
    """Shapes and conventions of `SplatfactoModel`, with fixed outputs in the place of a render."""

    def __init__(self, loss: str, params: dict[str, str] | None = None, downscale: int = 1, **settings: Any) -> None:
        given = {"loss": loss, "loss_params": params or {}, "backend": "eager", "kernels": "torch", "max_steps": None}
        self.config = SimpleNamespace(**{**given, "output_depth_during_training": False, **settings})
        self.training, self.step, self.device, self.downscale = True, 0, torch.device("cpu"), downscale
        g = torch.Generator().manual_seed(0)
        shapes = {"means": (N, 3), "scales": (N, 3), "quats": (N, 4), "opacities": (N, 1)}
        shapes |= {"features_dc": (N, 3), "features_rest": (N, 15, 3)}
        self.gauss_params = {n: torch.randn(s, generator=g).requires_grad_() for n, s in shapes.items()}
        h, w = H // downscale, W // downscale
        self.outputs = {
            "rgb": torch.rand(h, w, 3, generator=g).requires_grad_(),
            "depth": 5 * torch.rand(h, w, 1, generator=g),
            "accumulation": torch.rand(h, w, 1, generator=g),
            "background": torch.rand(3, generator=g),
        }
        self.outputs["accumulation"][0, :4] = 0
        self.info = {"radii": torch.tensor([[[3, 4], [0, 0], [5, 1], [1, 1], [2, 2], [0, 0], [9, 9]]])}
        self.strategy_state = {"grad2d": torch.zeros(N)}
        self.camera_optimizer = SimpleNamespace(apply_to_camera=lambda camera: camera.camera_to_worlds)

    @property
    def shs_0(self) -> Tensor:
        return self.gauss_params["features_dc"]

    def _get_downscale_factor(self) -> int:
        return self.downscale if self.training else 1

    def _downscale_if_required(self, image: Tensor) -> Tensor:
        return of.averaged(image, self.downscale) if self._get_downscale_factor() > 1 else image

    def get_gt_img(self, image: Tensor) -> Tensor:
        return self._downscale_if_required(image.float() / 255 if image.dtype == torch.uint8 else image)

    def composite_with_background(self, image: Tensor, background: Tensor) -> Tensor:
        if image.shape[2] == 3:
            return image
        return image[..., 3:] * image[..., :3] + (1 - image[..., 3:]) * background

    def get_outputs(self, camera: Any) -> dict[str, Any]:
        return self.outputs

    def get_image_metrics_and_images(self, outputs: Any, batch: Any) -> Any:
        return {"psnr": 20.0}, {"img": outputs["rgb"]}

    def step_post_backward(self, step: int) -> None:
        for owner in (self.gauss_params, self.strategy_state):  # as gsplat's strategies do
            owner.update({name: value[[0, 2, 2, 5]] for name, value in owner.items()})

    def state_dict(self) -> dict[str, Any]:
        return {"gauss_params.means": self.gauss_params["means"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert set(state) == {"gauss_params.means"}


class Model(LossInSplatfacto, Recorded):
    pass


def batch_of(channels: int = 3, mask: bool = False, **more: Any) -> dict[str, Any]:
    g = torch.Generator().manual_seed(5)
    batch = {"image": torch.randint(0, 256, (H, W, channels), dtype=torch.uint8, generator=g), "image_idx": 0, **more}
    return {**batch, "mask": torch.rand(H, W, 1, generator=g) > 0.3} if mask else batch


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM of `[h, w, 3]` with a Gaussian window of 11 pixels, without the border."""
    at = torch.arange(11.0, dtype=x.dtype) - 5
    line = torch.exp(-(at**2) / (2 * 1.5**2))
    line = line / line.sum()
    window = (line[:, None] * line).expand(3, 1, 11, 11)

    def blur(v: Tensor) -> Tensor:
        return F.conv2d(v.permute(2, 0, 1)[None], window, groups=3)

    mx, my = blur(x), blur(y)
    xx, yy, xy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))).mean()


def splatfacto_loss(model: Recorded, batch: dict[str, Any], ratio: float) -> tuple[Tensor, Tensor]:
    """0.8 L1 + 0.2 (1 - S), and 0.1 mean(max(max s / min s, ratio) - ratio) at every tenth step.

    nerfstudio at 50e0e3c, models/splatfacto.py lines 652-710: both images times the mask, means over all pixels.
    """
    image = batch["image"].float() / 255
    if model.downscale > 1:
        d = model.downscale
        image = image.unfold(0, d, d).unfold(1, d, d).mean((-1, -2))
    truth = model.composite_with_background(image, model.outputs["background"])
    drawn = model.outputs["rgb"]
    if "mask" in batch:
        kept = of.averaged(batch["mask"], model.downscale) if model.downscale > 1 else batch["mask"]
        truth, drawn = truth * kept, drawn * kept
    main = 0.8 * (truth - drawn).abs().mean() + 0.2 * (1 - ssim(drawn, truth))
    s = model.gauss_params["scales"].exp()
    scale = 0.1 * ((s.amax(-1) / s.amin(-1)).clamp(min=ratio) - ratio).mean()
    return main, scale * (model.step % 10 == 0)


@pytest.mark.parametrize(("channels", "mask", "downscale"), [(3, False, 1), (4, True, 1), (4, False, 2), (3, True, 2)])
def test_the_released_loss(channels: int, mask: bool, downscale: int) -> None:
    model = Model("zoo:splatfacto", {"use_scale_reg": "true", "max_gauss_ratio": "2"}, downscale)
    batch = batch_of(channels, mask)
    for step in (0, 10, 13):
        model.step = step
        losses = model.get_loss_dict(model.get_outputs(None), batch)
        main, scale = splatfacto_loss(model, batch, 2.0)
        assert list(losses) == ["photometric", "scale"]
        torch.testing.assert_close(losses["photometric"].float(), main, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(losses["scale"].float(), scale, rtol=1e-5, atol=1e-7)
        leaves = [model.outputs["rgb"], model.gauss_params["scales"]]
        got = torch.autograd.grad(sum(losses.values()), leaves, allow_unused=True)
        wanted = torch.autograd.grad(main + scale, leaves, allow_unused=True)
        torch.testing.assert_close(got[0], wanted[0], rtol=1e-3, atol=1e-7)
        if step == 13:
            assert got[1] is None
        else:
            torch.testing.assert_close(got[1], wanted[1], rtol=1e-4, atol=1e-7)


TERMS = """
param w = 0.25
term photo = l1(masked)
term late  = ramp(step, 10) * mean(alpha) when step >= 5
term depth = w * mean(depth)
term size  = 1e-9 * mean(state.scales)
"""


def test_the_entries_are_the_weighted_terms_and_sum_to_the_loss() -> None:
    model = Model(TERMS, {"w": "0.5"})
    batch = batch_of(mask=True)
    first = model.get_loss_dict(model.get_outputs(None), batch)
    assert list(first) == ["photo", "depth", "size"]
    assert model.config.output_depth_during_training
    model.step = 6
    losses = model.get_loss_dict(model.outputs, batch)
    assert list(losses) == ["photo", "late", "depth", "size"]  # the program's order
    model.step = 2
    assert float(model.get_loss_dict(model.outputs, batch)["late"]) == 0.0  # it is off, and stays in sight
    kept = batch["mask"].expand(-1, -1, 3)
    error = (model.outputs["rgb"] - batch["image"] / 255).abs()[kept].mean()
    alpha = model.outputs["accumulation"]
    depth = torch.where(alpha > 0, model.outputs["depth"], torch.zeros(()))
    wanted = {
        "photo": error,
        "late": 0.6 * alpha.mean(),
        "depth": 0.5 * depth.mean(),
        "size": 1e-9 * model.gauss_params["scales"].exp().mean(),
    }
    for name, value in wanted.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5), name
    model.step = 6
    total = model.loss_fn(**model.arguments(model.outputs, batch), step=6)
    assert sum(losses.values()).float() == total
    assert [v.requires_grad for v in losses.values()] == [True, False, False, False]
    leaves = [model.outputs["rgb"], model.gauss_params["scales"]]
    for got, other in zip(torch.autograd.grad(sum(losses.values()), leaves), torch.autograd.grad(total, leaves)):
        assert torch.equal(got, other)


@pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
def test_a_term_that_is_not_finite_does_not_spread() -> None:
    model = Model("term a = l1()\nterm b = mean(log(alpha))  # splat: ignore")
    losses = model.get_loss_dict(model.outputs, batch_of())
    assert torch.isfinite(losses["a"])
    assert not torch.isfinite(losses["b"])


def test_other_losses_stay_and_keep_their_names() -> None:
    class Host(Model):
        def host_losses(self) -> dict[str, Tensor]:
            return {"tv_loss": torch.tensor(3.0, requires_grad=True)}

    model = Host("term tv_loss = l1()")
    losses = model.get_loss_dict(model.outputs, batch_of())
    assert list(losses) == ["tv_loss_term", "tv_loss"]
    model.training = False
    held_out = model.get_loss_dict(model.outputs, batch_of())
    assert list(held_out) == ["tv_loss_term"]
    metrics, _ = model.get_image_metrics_and_images(model.outputs, batch_of())
    assert metrics["loss/tv_loss_term"] == float(held_out["tv_loss_term"]) > 0


def test_held_out_images() -> None:
    model = Model(TERMS)
    model.get_loss_dict(model.get_outputs(None), batch_of())
    model.training = False
    model.outputs["background"] = model.outputs["background"].expand(H, W, 3)  # so it is outside of training
    losses = model.get_loss_dict(model.get_outputs(None), batch_of(4))
    assert not any(v.requires_grad for v in losses.values())
    metrics, _ = model.get_image_metrics_and_images(model.outputs, batch_of(4))
    assert metrics == {"psnr": 20.0, **{f"loss/{name}": float(value) for name, value in losses.items()}}
    assert set(Model("gone.loss").get_image_metrics_and_images(model.outputs, batch_of())[0]) == {"psnr"}


@pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
def test_what_a_call_is_given() -> None:
    model = Model(
        "input target_alpha: map[coverage] in [0, 1]?\ninput prior: depth[metric]\nterm a = l1() + mean(depth - prior)",
        downscale=2,
    )
    prior = torch.arange(H * W, dtype=torch.float32).reshape(H, W, 1)
    batch = batch_of(4, mask=True, prior=prior)
    given = model.arguments(model.outputs, batch)
    small = batch["image"].float().unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2)) / 255
    torch.testing.assert_close(given["target"], small[None, ..., :3])  # the program declares the alpha, and composes
    torch.testing.assert_close(given["item"]["target_alpha"], small[None, ..., 3:])
    assert torch.equal(given["item"]["prior"], prior[1::2, 1::2])  # depth of one place, not a mean of several
    assert given["mask"].shape == (1, H // 2, W // 2)
    assert given["background"].shape == (1, 3)
    state = given["state"]
    assert state["sh0"].shape == (N, 1, 3)
    assert state["shN"].shape == (N, 15, 3)
    assert state["opacities"].shape == (N,)
    assert given["render"]["radii"].shape == (1, N, 2)
    state["sh0"].sum().backward()
    assert model.gauss_params["features_dc"].grad is not None
    composed = Model("l1()", downscale=2).arguments(model.outputs, batch)
    truth = model.composite_with_background(small, model.outputs["background"])
    torch.testing.assert_close(composed["target"], truth[None])


def test_the_camera_of_a_reduced_image() -> None:
    turned = torch.tensor([[[0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 0.0, 3.0], [-1.0, 0.0, 0.0, 4.0]]])  # OpenGL
    k = torch.tensor([[[100.0, 0.0, 32.0], [0.0, 120.0, 24.0], [0.0, 0.0, 1.0]]])
    found = of.camera_of(turned, k, 4, index=3)
    assert found["intrinsics"].tolist() == [[[25.0, 0.0, 8.0], [0.0, 30.0, 6.0], [0.0, 0.0, 1.0]]]
    assert found["index"].tolist() == [3.0]
    ahead = turned[0, :, 3] - 2 * turned[0, :, 2]  # two units along -z of the camera, which looks that way
    seen = found["extrinsics"][0] @ torch.cat([ahead, torch.ones(1)])
    torch.testing.assert_close(seen, torch.tensor([0.0, 0.0, 2.0, 1.0]))
    model = Model("term a = l1() + mean(camera.position)", downscale=2)
    camera = SimpleNamespace(camera_to_worlds=turned, metadata=None, get_intrinsics_matrices=lambda: k)
    outputs = model.get_outputs(camera)
    total = sum(model.get_loss_dict(outputs, batch_of()).values())
    plain = sum(Model("l1()", downscale=2).get_loss_dict(outputs, batch_of()).values())
    assert (total - plain).item() == pytest.approx(3.0, rel=1e-5)


def test_memories_follow_gaussians_and_are_saved() -> None:
    model = Model("memory seen = state.means.x then seen\nterm a = l1()\nterm b = mean(abs(state.means.x - seen))")
    model.info["means2d"] = torch.zeros(1, N, 2, requires_grad=True)
    before = model.gauss_params["means"][:, 0].detach().clone()
    model.get_loss_dict(model.get_outputs(None), batch_of())
    model.step_post_backward(0)
    assert model.info["means2d"].grad is not None  # what densification reads, even if the loss saw no image
    assert set(model.strategy_state) == {"grad2d"}
    seen = model.loss_fn.memories["seen"].reshape(-1)
    assert torch.equal(seen, before[[0, 2, 2, 5]])
    fresh = Model(model.config.loss)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.loss_fn.memories["seen"], model.loss_fn.memories["seen"])
    assert Model("l1()").state_dict().keys() == {"gauss_params.means"}


def test_the_run_gives_its_length_and_the_scale_of_the_scene() -> None:
    model = Model("input scene_scale: number\nterm a = progress * scene_scale * l1()")
    model.begin(50, torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))
    assert (model.max_steps, model.scale) == (50, pytest.approx(2.2))
    model.step = 25
    value = sum(model.get_loss_dict(model.outputs, batch_of()).values())
    error = (model.outputs["rgb"] - batch_of()["image"] / 255).abs().mean()
    assert value.item() == pytest.approx(0.5 * 2.2 * error.item(), rel=1e-5)
    other = Model("l1()", max_steps=80)
    other.begin(50, None)
    assert (other.max_steps, other.scale) == (80, 1.0)


def test_depth_from_a_late_step_is_rendered_in_a_run_that_gets_there() -> None:
    text = "term a = l1()\nterm d = mean(depth) when step >= 100"
    for end, wanted in ((50, False), (200, True)):
        model = Model(text)
        model.begin(end, None)
        assert model.config.output_depth_during_training is wanted


def test_what_cannot_be_is_said_before_training() -> None:
    with pytest.raises(LossError, match=r"RUN008.*`distortion`"):
        Model("l1() + mean(distortion)").begin(10, None)
    with pytest.raises(LossError, match="ssim_lambda"):
        Model("zoo:splatfacto", {"ssim_lambda": "1.5"}).begin(10, None)
    settings = SimpleNamespace(ssim_lambda=0.3, use_scale_regularization=True, max_gauss_ratio=10.0)
    own = SimpleNamespace(ssim_lambda=0.2, use_scale_regularization=False, max_gauss_ratio=10.0)
    of.check_replaced(own, own)
    with pytest.raises(LossError) as caught:
        of.check_replaced(settings, own)
    assert [d.code for d in caught.value.diagnostics] == ["RUN003", "RUN003"]
    assert "--pipeline.model.loss-params use_scale_reg true" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.3", 0.3), ("1e-3", 1e-3), ("10_000", 1e4), ("True", True), ("false", False), ("fast", "fast")],
)
def test_parameters_as_a_command_line_has_them(text: str, value: object) -> None:
    assert of.parsed(text) == value
    assert type(of.parsed(text)) is type(value)
    assert of.parsed(2.5) == 2.5


def test_without_nerfstudio_the_example_names_the_extra(
    run_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    hidden = tmp_path / "nerfstudio.py"  # also where it is installed
    hidden.write_text("raise ModuleNotFoundError('No module named nerfstudio', name='nerfstudio')\n")
    done = run_python("examples/embedding/nerfstudio_splatfacto.py", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3
    assert "pip install 'splatdsl[nerfstudio]'" in done.stderr
    assert "Traceback" not in done.stderr
