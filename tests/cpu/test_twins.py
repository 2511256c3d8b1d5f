"""Losses written in Python and their twins in the loss language: same numbers, same gradients, one graph."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import splatdsl
from splatdsl.compiler.compiled import missing_compiler
from splatdsl.runtime import SplatRenderPayload

EXAMPLES = Path(__file__).parents[2] / "examples"
BACKENDS = [
    "eager",
    pytest.param(
        "inductor",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                bool(missing_compiler("cpu")), reason=f"needs a C++ compiler: {missing_compiler('cpu')}"
            ),
        ],
    ),
]
SIZE = (1, 34, 46)


def example(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Scene:
    """Random tensors of one step, with fresh leaves to collect gradients in."""

    def __init__(self, seed=0, gaussians=57, mask="some"):
        g = torch.Generator().manual_seed(seed)

        def rand(*shape):
            return torch.rand(*shape, generator=g)

        self.rendered = rand(*SIZE, 3).requires_grad_()
        self.target = rand(*SIZE, 3)
        self.mask = {"none": None, "some": rand(*SIZE) > 0.4, "empty": torch.zeros(SIZE, dtype=torch.bool)}[mask]
        self.alphas = rand(*SIZE, 1).requires_grad_()
        self.depths = (2 * rand(*SIZE, 1)).requires_grad_()
        self.params = torch.nn.ParameterDict(
            {
                "means": torch.nn.Parameter(rand(gaussians, 3)),
                "scales": torch.nn.Parameter(rand(gaussians, 3) - 3),
                "quats": torch.nn.Parameter(rand(gaussians, 4)),
                "opacities": torch.nn.Parameter(rand(gaussians) - 0.5),
                "sh0": torch.nn.Parameter(rand(gaussians, 1, 3)),
                "shN": torch.nn.Parameter(rand(gaussians, 15, 3)),
            }
        )

    @property
    def payload(self):
        b, h, w = SIZE
        n = self.params["means"].shape[0]
        return SplatRenderPayload(
            renders=self.rendered,
            alphas=self.alphas,
            radii=torch.ones(b, n, 2, dtype=torch.int32),
            depths=self.depths,
            n_cameras=b,
            n_batches=1,
            width=w,
            height=h,
            means2d=torch.zeros(b, n, 2),
            depths_expected=self.depths,
        )

    def leaves(self):
        return {"rendered": self.rendered, "alphas": self.alphas, "depths": self.depths, **self.params}

    def run(self, loss_fn, step=0, max_steps=30_000):
        """Loss, and gradients of all leaves (zero where there is none), in the protocol's own argument order."""
        for leaf in self.leaves().values():
            leaf.grad = None
        loss = loss_fn.compute_loss(
            self.rendered, self.target, self, self.payload, masks=self.mask, step=step, max_steps=max_steps
        )
        loss.backward()
        return loss.detach(), {k: torch.zeros_like(v) if v.grad is None else v.grad for k, v in self.leaves().items()}


def assert_same(one, other, what):
    (loss_a, grads_a), (loss_b, grads_b) = one, other
    torch.testing.assert_close(loss_a, loss_b, rtol=1e-5, atol=1e-7, msg=lambda m: f"{what}: loss\n{m}")
    for name in grads_a:
        scale = grads_b[name].abs().max().item()
        worst = (grads_a[name] - grads_b[name]).abs().max().item()
        assert worst <= 1e-5 * scale + 1e-12, f"{what}: gradient of {name} differs by {worst}, largest is {scale}"


def plain_ssim(a, b):
    """1 - SSIM by the formula, a full two-dimensional window, only pixels whose window lies inside the image."""
    x = torch.arange(11, dtype=a.dtype) - 5
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    window = (line[:, None] * line[None, :]) / line.sum() ** 2
    window = window.expand(3, 1, 11, 11)

    def blur(v):
        return F.conv2d(v.permute(0, 3, 1, 2), window, groups=3)

    ma, mb = blur(a), blur(b)
    va, vb, cab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    ssim = ((2 * ma * mb + 0.01**2) * (2 * cab + 0.03**2)) / ((ma**2 + mb**2 + 0.01**2) * (va + vb + 0.03**2))
    return 1 - ssim.mean()


def plain_l1(scene, rendered):
    error = (rendered - scene.target.to(rendered.dtype)).abs()
    if scene.mask is None:
        return error.mean()
    kept = scene.mask.unsqueeze(-1).to(rendered.dtype)
    return (error * kept).sum() / (3 * kept.sum() + 1e-8)


class Plain:
    """A float64 reference: computes the loss of a scene in double precision from the same float32 leaves."""

    def __init__(self, formula):
        self.formula = formula

    def compute_loss(self, rendered, target, state, payload, masks=None, step=0, max_steps=0):
        params = {k: v.double() for k, v in state.params.items()}
        return self.formula(
            state, rendered.double(), params, payload.alphas.double(), payload.depths.double(), step
        ).float()


def card(scene, r, params, alphas, depths, step):
    reg = params["opacities"].sigmoid().mean() + params["scales"].exp().mean()
    return 0.8 * plain_l1(scene, r) + min(step / 10000, 1.0) * reg


def combined(scene, r, params, alphas, depths, step):
    solid = (alphas > 0.5).double()
    near = ((0.5 - depths).relu() * solid).sum() / solid.sum()
    return 0.8 * plain_l1(scene, r) + 0.2 * plain_ssim(r, scene.target.double()) + 0.3 * near


def scheduled(scene, r, params, alphas, depths, step):
    reg = params["opacities"].sigmoid().mean() + params["scales"].exp().mean()
    return (r - scene.target).abs().mean() + min(step / 10000, 1.0) * reg


CASES = {
    "card": (lambda **how: splatdsl.load(EXAMPLES / "losses/card.loss", **how), None, card),
    "combined": (
        lambda **how: splatdsl.load(EXAMPLES / "losses/combined.loss", {"lambda_depth": 0.3}, **how),
        lambda: example("combined_loss").CombinedLoss(lambda_depth=0.3),
        combined,
    ),
    "scheduled": (
        lambda **how: splatdsl.load(EXAMPLES / "losses/scheduled.loss", **how),
        lambda: example("scheduled_loss").ScheduledLoss(),
        scheduled,
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_same_numbers_and_gradients(name, backend):
    make, python, formula = CASES[name]
    loss_fn = make(backend=backend)
    for mask in ("some", "none", "empty"):
        for step in (0, 2500, 20_000):
            scene = Scene(seed=step, mask=mask)
            result = scene.run(loss_fn, step)
            assert_same(
                result, scene.run(Plain(formula), step), f"{name} against the formula, mask {mask}, step {step}"
            )
            if python is not None:
                assert_same(result, scene.run(python(), step), f"{name} against Python, mask {mask}, step {step}")


def test_the_optional_term_asks_for_nothing_at_weight_zero():
    loss_fn = splatdsl.load(EXAMPLES / "losses/combined.loss", backend="eager")
    assert loss_fn.requires(0) == {"rendered", "target", "mask"}
    loss_fn.params["lambda_depth"] = 0.1
    assert loss_fn.requires(0) == {"rendered", "target", "mask", "alpha", "depth"}


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_compiler("cpu")), reason=f"needs a C++ compiler: {missing_compiler('cpu')}")
@pytest.mark.parametrize(
    ("name", "kernels", "graphs", "compiled"),
    # Where kernels are all there is, torch compiles nothing. Graphs are made for many gaussians, and for any number.
    [("card", "cpp", 1, 0), ("combined", "cpp", 1, 0), ("scheduled", "cpp", 1, 0), ("scheduled", "torch", 2, 2)],
)
def test_one_graph_whatever_changes(name, kernels, graphs, compiled):
    """50 steps in which step, a parameter, the number of gaussians and the mask's values all change."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    loss_fn = CASES[name][0](kernels=kernels)
    parameter = next(iter(loss_fn.params), None)
    losses = []
    for i in range(50):
        scene = Scene(seed=i, gaussians=1 + (i * 997) % 6000, mask="empty" if i % 10 == 9 else "some")
        if parameter is not None:
            loss_fn.params[parameter] = 0.5 + 0.01 * i
        losses.append(scene.run(loss_fn, step=211 * i)[0].item())
    assert len(set(losses)) > 40, "the loss should follow what changes"
    stats = loss_fn.stats
    assert (stats.graphs, stats.predicted, stats.recompiles, stats.graph_breaks) == (graphs, graphs, 0, 0)
    assert counters["stats"]["unique_graphs"] == compiled
    assert sum(counters["graph_break"].values()) == 0


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_compiler("cpu")), reason=f"needs a C++ compiler: {missing_compiler('cpu')}")
@pytest.mark.parametrize(
    ("kernels", "graphs"),
    # A graph has the first size, all others, and the square ones, whose sides torch ties together.
    [("torch", 3), ("cpp", 1)],
)
def test_further_image_sizes_share_one_graph(kernels: str, graphs: int):
    loss_fn = splatdsl.compile("photometric(masked)", kernels=kernels)
    reference = splatdsl.compile("photometric(masked)", backend="eager")
    g = torch.Generator().manual_seed(0)
    for height, width in ((40, 50), (73, 70), (61, 85), (40, 50), (96, 64), (72, 72), (96, 96)):
        rendered = torch.rand(1, height, width, 3, generator=g).requires_grad_()
        given = {"target": torch.rand(1, height, width, 3, generator=g), "mask": torch.rand(1, height, width) > 0.5}
        ours = loss_fn(rendered=rendered, **given)
        (grad,) = torch.autograd.grad(ours, rendered)
        other = reference(rendered=rendered, **given)
        (expected,) = torch.autograd.grad(other, rendered)
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    stats = loss_fn.stats
    assert (stats.graphs, stats.predicted, stats.recompiles) == (graphs, graphs, 0)


def test_precision_of_inputs_does_not_change_the_loss():
    loss_fn = splatdsl.compile("photometric(masked) + 0.1 * reg(state)", backend="eager")
    scene = Scene()
    given = {"target": scene.target, "mask": scene.mask, "state": scene}
    plain = loss_fn(rendered=scene.rendered, **given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(plain, loss_fn(rendered=scene.rendered, **given)), "autocast must not reach the loss"
    half = loss_fn(rendered=scene.rendered.half(), **{**given, "target": scene.target.half()})
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, plain, rtol=2e-3, atol=0)
    double = loss_fn(rendered=scene.rendered.double(), **{**given, "target": scene.target.double()})
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), plain, rtol=1e-5, atol=0)
