"""gsplat on CUDA against the reference renderer on the CPU."""

from __future__ import annotations

import pytest
import torch

from splatdsl.runtime.renderers import make_renderer

WIDTH, HEIGHT = 96, 72
NAMES = ("means", "quats", "scales", "opacities", "sh0", "shN")
BUFFERS = frozenset({"rendered", "alpha", "depth", "depth.accumulated", "visible", "radii"})


def make_scene(device, n=2000):
    g = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(*shape, generator=g)

    scene = {
        "means": torch.stack([3.0 * uniform(n) - 1.5, 2.4 * uniform(n) - 1.2, 1.0 + 2.5 * uniform(n)], dim=-1),
        "quats": 2.0 * uniform(n, 4) - 1.0,
        "scales": -3.0 + uniform(n, 3),
        "opacities": 6.0 * uniform(n) - 3.0,
        "sh0": 2.0 * uniform(n, 1, 3) - 1.0,
        "shN": 0.4 * uniform(n, 8, 3) - 0.2,
    }
    scene["means"][:20, 2] -= 3.0  # a few behind the camera
    return {name: tensor.to(device).requires_grad_() for name, tensor in scene.items()}


def draw(device, **request):
    scene = make_scene(device)
    poses = torch.eye(4, device=device).repeat(2, 1, 1)
    poses[1, :3, 3] = torch.tensor([0.2, -0.1, 0.15])
    K = torch.tensor([[85.0, 0, 50], [0, 88, 34], [0, 0, 1]], device=device)
    backgrounds = torch.tensor([[0.3, 0.6, 0.1], [0.0, 1.0, 0.5]], device=device)
    request = {"buffers": BUFFERS, "sh_degree": 1, "backgrounds": backgrounds, **request}
    renderer = make_renderer("auto", device)
    image, payload = renderer.render(scene, poses, K.repeat(2, 1, 1), WIDTH, HEIGHT, **request)
    return renderer, scene, image, payload


@pytest.mark.parametrize("mode", [None, "RGB+D", "RGB+ED"])
def test_gsplat_and_reference_draw_the_same(mode):
    fast, fast_scene, fast_image, fast_payload = draw("cuda", render_mode=mode)
    slow, slow_scene, slow_image, slow_payload = draw("cpu", render_mode=mode)
    assert (fast.name, slow.name) == ("gsplat", "reference")
    # gsplat's kernel uses a fast exponential, so single pixels next to the 1/255 limit may differ by that much
    for name in ("renders", "alphas", "depths_accumulated", "depths_expected"):
        error = (fast_payload[name].cpu() - slow_payload[name]).abs()
        scale = max(slow_payload[name].abs().max().item(), 1.0)
        assert error.mean() < 2e-5 * scale, name
        assert error.max() < 2e-2 * scale, name
    fast_radii, slow_radii = fast_payload.radii.cpu(), slow_payload.radii
    assert fast_radii.shape == slow_radii.shape == (2, 2000, 2)
    assert (fast_radii != slow_radii).float().mean() < 1e-3, "ceil() may round a few the other way"

    for image, payload in ((fast_image, fast_payload), (slow_image, slow_payload)):
        (image.square().mean() + payload.alphas.mean() + 0.1 * payload.depths_accumulated.mean()).backward()
    for name in NAMES:
        a, b = fast_scene[name].grad.cpu(), slow_scene[name].grad
        assert (a - b).norm() < 1e-3 * b.norm(), name
    a, b = fast_payload.means2d.grad.cpu(), slow_payload.means2d.grad
    drawn = (slow_radii > 0).all(-1) & (fast_radii > 0).all(-1)
    assert (a - b)[drawn].norm() < 1e-3 * b[drawn].norm()


def test_no_depth_is_computed_when_none_is_read():
    _, _, image, payload = draw("cuda", buffers=frozenset({"rendered"}))
    assert image.shape == (2, HEIGHT, WIDTH, 3)
    assert payload.depths is None
    assert payload.depths_accumulated is None


def test_absolute_gradients():
    from splatdsl.runtime.renderers.gsplat_renderer import GsplatRenderer

    scene = make_scene("cuda")
    K = torch.tensor([[[85.0, 0, 50], [0, 88, 34], [0, 0, 1]]], device="cuda")
    image, payload = GsplatRenderer(absgrad=True).render(scene, torch.eye(4, device="cuda")[None], K, WIDTH, HEIGHT)
    image.square().mean().backward()
    absolute, plain = payload.means2d.absgrad, payload.means2d.grad
    assert absolute.shape == plain.shape == (1, 2000, 2)
    assert (absolute >= plain.abs() - 1e-7).all(), "a sum of absolute values is at least the absolute sum"
    assert absolute.sum() > plain.abs().sum()
