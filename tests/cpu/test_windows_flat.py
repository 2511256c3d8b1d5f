"""Sums and means without a window: kernels that need no graph, with the numbers and gradients of the graph."""

from __future__ import annotations

import warnings

import pytest
import torch

import splatdsl
from splatdsl.compiler.windows import cpp
from splatdsl.compiler.windows.build import Wanted, build, inside
from splatdsl.compiler.windows.direct import Direct
from splatdsl.compiler.windows.flat_source import flat_source
from splatdsl.compiler.windows.lanes import BINARY, TRANSCENDENTAL, UNARY, Lanes
from splatdsl.compiler.windows.plan import WindowPlan
from splatdsl.compiler.windows.portable import run_portable

pytestmark = pytest.mark.skipif(cpp.missing() != "", reason=cpp.missing())

MCMC = "term opacity = 0.01 * mean(state.opacities)\nterm scale = 0.01 * mean(state.scales)\n"
PHOTOMETRIC = "term photo = 0.8 * mean(abs(rendered - target)) + 0.2 * (1 - ssim(rendered, target))\n"
CURVE = "where(state.opacities > 0.5, state.opacities, exp(-20 * sq(state.opacities - 0.5)))"
PROGRAMS = {
    "means": MCMC,
    "regions": "term a = mean(state.scales, visible) + 3 * mean(exp(-state.opacities), visible)\n",
    "sums": "term a = sum(sq(state.scales - 0.1)) when step > 1\nterm b = 2 * sum(state.opacities, visible)\n",
    "where": f"term a = mean({CURVE})\nterm b = mean(detach(state.opacities) * state.opacities^3)\n",
    "mixed": "term a = mean(log(state.scales) * state.opacities, visible)\nterm b = mean(relu(state.means))\n",
    "limits": "term a = mean(max(abs(state.means), 0.5))\n"
    "term b = mean(clamp(state.scales, 0.05, 0.2), state.opacities > 0.4)\n",
}


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory):
    """Kernels of this module are kept for its tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLATDSL_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture
def threads():
    """Puts the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def compiled(text: str, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of plain sums
        return splatdsl.compile(text, **options)


def gaussians(count: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(count)
    shapes = {"opacities": (count,), "scales": (count, 3), "means": (count, 3), "quats": (count, 4)}
    made = {n: torch.randn(s, generator=g) for n, s in shapes.items()}
    made["scales"] -= 2
    return {n: x.to(dtype).requires_grad_() for n, x in made.items()}


def evaluated(loss, state: dict[str, torch.Tensor], **given) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The total, and the gradients of what has one."""
    leaves = [x for x in (*state.values(), *given.values()) if isinstance(x, torch.Tensor) and x.requires_grad]
    for x in leaves:
        x.grad = None
    total = loss(state=state, step=5, **given)
    if total.requires_grad:
        total.backward()
    return total.detach(), {n: x.grad for n, x in {**state, **given}.items() if getattr(x, "grad", None) is not None}


def runs(loss) -> list[type]:
    return [type(v.run) for v in loss._compiled._variants.values()]


def given_for(text: str, count: int) -> dict[str, torch.Tensor]:
    return {"visible": torch.arange(count) % 3 == 0} if "visible" in text else {}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients_are_those_of_the_graph(name):
    text = PROGRAMS[name]
    fast, plain = compiled(text), compiled(text, backend="eager", kernels="torch")
    for count in (1000, 0, 1, 3, 100_000):
        given = given_for(text, count)
        state, exact = gaussians(count), gaussians(count, torch.float64)
        value, gradients = evaluated(fast, state, **given)
        expected, wanted = evaluated(plain, exact, **given)
        assert torch.isclose(value.double(), expected, rtol=3e-6, atol=1e-7), count
        assert gradients.keys() >= wanted.keys()
        for n, g in gradients.items():
            assert g.shape == state[n].shape
            assert g.dtype == torch.float32
            reference = wanted.get(n, torch.zeros_like(exact[n]))
            scale = reference.abs().max() if count else 0
            torch.testing.assert_close(g.double(), reference, rtol=2e-5, atol=float(scale) * 2e-6)
    assert runs(fast) == [Direct]
    assert fast.stats.predicted == fast.stats.graphs == 1


def test_double_precision_is_exact():
    text = PROGRAMS["where"] + "term c = mean(binary_entropy(state.opacities), visible)\n"
    fast, plain = compiled(text), compiled(text, backend="eager", kernels="torch")
    given = given_for(text, 500)
    value, gradients = evaluated(fast, gaussians(500, torch.float64), **given)
    expected, wanted = evaluated(plain, gaussians(500, torch.float64), **given)
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(gradients, wanted, rtol=1e-12, atol=1e-16)


def test_photometric_with_regularisers_needs_no_graph():
    text = PHOTOMETRIC + MCMC
    fast, plain = compiled(text), compiled(text, backend="eager", kernels="torch")
    g = torch.Generator().manual_seed(0)
    for count, side in ((40, 24), (70, 31)):
        image, target = (torch.rand(1, side, side, 3, generator=g) for _ in range(2))
        image.requires_grad_()
        value, gradients = evaluated(fast, gaussians(count), rendered=image, target=target)
        expected, wanted = evaluated(plain, gaussians(count), rendered=image, target=target)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-8)
        assert gradients.keys() == {"opacities", "scales", "rendered"}
    assert runs(fast) == [Direct]
    assert fast.stats.predicted == fast.stats.graphs == 1


def test_images_without_a_window_need_no_graph():
    text = "term a = mean(abs(rendered - target), masked)\nterm b = 0.1 * mean(sq(depth - 1), masked)\n"
    fast, plain = compiled(text), compiled(text, backend="eager", kernels="torch")
    g = torch.Generator().manual_seed(0)
    for batch, side in ((1, 9), (2, 40)):
        image, target = (torch.rand(batch, side, side, 3, generator=g) for _ in range(2))
        depth = torch.rand(batch, side, side, 1, generator=g).requires_grad_()
        image[:, 0] = torch.nan
        given = {"rendered": image.requires_grad_(), "target": target, "depth": depth}
        mask = torch.rand(batch, side, side, generator=g) > 0.5
        mask[:, 0] = False
        value, gradients = evaluated(fast, {}, mask=mask, **given)
        expected, wanted = evaluated(plain, {}, mask=mask, **given)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradients, wanted, rtol=1e-5, atol=1e-9)
    assert runs(fast) == [Direct]
    assert fast.stats.predicted == fast.stats.graphs == 1


def test_what_crosses_components_stays_a_graph():
    text = "term a = mean(component_max(state.scales))\nterm b = mean(state.opacities)\n"
    fast, plain = (compiled(text, backend="eager", kernels=k) for k in ("cpp", "torch"))
    value, gradients = evaluated(fast, gaussians(100))
    expected, wanted = evaluated(plain, gaussians(100))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, wanted)
    assert Direct not in runs(fast)
    graph = next(iter(fast._compiled._variants.values())).part.graph
    assert not any(n.op == "kernel" and n.attr.kernel.startswith("windows:") for n in graph.nodes)


def test_an_empty_region_counts_and_has_no_gradient():
    fast = compiled("term a = mean(state.scales, visible)\n")
    state = gaussians(10)
    value, gradients = evaluated(fast, state, visible=torch.zeros(10, dtype=torch.bool))
    assert value == 0
    assert not gradients["scales"].any()


def test_what_is_outside_a_region_does_not_matter():
    text = "term a = mean(1 / state.means, visible) + mean(sqrt(state.means), visible)\n"
    fast, plain = compiled(text), compiled(text, backend="eager", kernels="torch")
    rows = [[4.0] * 3, [-1.0] * 3, [torch.nan] * 3, [0.0] * 3, [torch.inf] * 3]
    results = []
    for loss in (fast, plain):
        state = gaussians(5)
        state["means"] = torch.tensor(rows, requires_grad=True)
        results.append(evaluated(loss, state, visible=torch.arange(5) == 0))
    (value, gradients), (expected, wanted) = results
    assert value == expected == 2.25
    torch.testing.assert_close(gradients, wanted, equal_nan=True)
    assert runs(fast) == [Direct]


@pytest.mark.parametrize(
    ("raw", "opacity", "scale"),
    [
        (200.0, 1.0, torch.inf),
        (-200.0, 0.0, 0.0),
        (torch.inf, 1.0, torch.inf),
        (-torch.inf, 0.0, 0.0),
        (torch.nan, torch.nan, torch.nan),
        (80.0, 1.0, 5.5406e34),
        (-87.0, 1.6458e-38, 1.6458e-38),
    ],
)
def test_raw_values_at_the_ends_of_the_range(raw, opacity, scale):
    rows = torch.full((37, 3), raw)
    for op, value in (("sigmoid", opacity), ("exp", scale)):
        numbers, gradient = cpp.kernel(map_of(op), torch.float32)([rows], [1.0], [], True)
        torch.testing.assert_close(numbers[1], torch.tensor(value), rtol=1e-4, atol=0, equal_nan=True)
        slope = torch.tensor(value * (1 - value) if op == "sigmoid" else value) / rows.numel()
        torch.testing.assert_close(gradient, slope.expand(37, 3), rtol=1e-4, atol=1.2e-38, equal_nan=True)


def map_of(op: str, channels: int = 3) -> WindowPlan:
    """The mean of a function, whose gradient is that of each lane."""
    lanes = Lanes()
    return build(lanes, channels, [channels], [0], 0, [], [Wanted(lanes.add(op, lanes.add("input", attr=0)), None)])[0]


SWEEPS = {"exp": (-87.3, 88.7), "log": (1e-37, 1e38), "log1p": (-0.99, 1e6), "sigmoid": (-87, 40), "tanh": (-12, 12)}


@pytest.mark.parametrize("op", sorted(TRANSCENDENTAL))
def test_functions_of_single_precision_are_accurate(op):
    """Each value is read off as a sum over one row: the whole way through the kernel, without other rounding."""
    lo, hi = SWEEPS[op]
    near = torch.linspace(-2, 2, 1501)
    wide = torch.logspace(-37, 38, 1500) if op == "log" else torch.linspace(lo, hi, 1500)
    x = torch.cat([near, near * 1e-3, wide])
    x = x[(x > lo) & (x < hi)]
    lanes = Lanes()
    value = lanes.add(op, lanes.add("input", attr=0))
    # The derivative of value * detached marker by the marker is the value at each lane.
    marked = lanes.add("mul", value, lanes.add("input", attr=1))
    plan, _ = build(lanes, 1, [1, 1], [1], 0, [], [Wanted(marked, None, mean=False)])
    _, found = cpp.kernel(plan, torch.float32)([x[:, None], torch.ones(len(x), 1)], [1.0], [], True)
    expected = getattr(torch, op)(x.double())
    kept = (expected.abs() > 1.2e-38) | (expected == 0)
    error = ((found[:, 0].double() - expected).abs() / expected.abs().clamp(min=1e-300))[kept]
    assert error.max() < 2**-22, (op, float(error.max() * 2**24), float(x[kept][error.argmax()]))


def everything() -> WindowPlan:
    """All operations, two regions with 1 and k components, gradients of both sorts of inputs, a number of the host."""
    lanes = Lanes()
    x, y, mask, weight = (lanes.add("input", attr=k) for k in range(4))
    host = lanes.add("host", attr=0)
    made = [lanes.add(op, x, y) for op in sorted(BINARY)]
    made += [lanes.add(op, lanes.add("add", x, host)) for op in sorted(UNARY | TRANSCENDENTAL | {"detach"})]
    total = made[0]
    for value in made[1:]:
        total = lanes.add("add", total, value)
    total = lanes.add("where", lanes.add("gt", y, lanes.const(0.7)), total, lanes.add("mul", total, y))
    wanted = [
        Wanted(inside(lanes, total, mask), mask),
        Wanted(lanes.add("mul", x, x), weight, mean=False),
        Wanted(total, weight),
        Wanted(x, None),
    ]
    return build(lanes, 3, [3, 1, 1, 3], [0, 1], 1, [], wanted)[0]


@pytest.mark.parametrize("shape", [(700,), (0,), (1,), (2, 9, 5)])
def test_every_operation_is_that_of_torch(shape):
    plan = everything()
    assert plan.flat
    assert flat_source(plan, "float32") == flat_source(everything(), "float32")
    g = torch.Generator().manual_seed(1)
    inputs = [torch.rand(*shape, k, generator=g, dtype=torch.float64) + 0.3 for k in plan.inputs]
    inputs[2] = (inputs[2] > 0.8).double()
    factors = [0.5, -2.0, 0.1, 1.0]
    for gradient in (True, False):
        found = cpp.kernel(plan, torch.float64)(inputs, factors, [0.25], gradient)
        wanted = run_portable(plan, inputs, factors, [0.25], gradient)
        assert len(found) == (3 if gradient else 1)
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-14)


def test_sums_do_not_depend_on_the_number_of_threads(threads):
    loss = compiled(PROGRAMS["regions"])
    count = 200_000
    results = []
    for number in (1, 2, 3, 2):
        torch.set_num_threads(number)
        results.append(evaluated(loss, gaussians(count), **given_for(PROGRAMS["regions"], count)))
    first, *others = results
    for value, gradients in others:
        assert torch.equal(value, first[0])
        assert all(torch.equal(gradients[n], g) for n, g in first[1].items())


def test_a_sensor_with_holes_needs_no_graph():
    """What is not finite is a hole: it has no value, no weight and no gradient."""
    text = "input sensor: depth[metric, sparse]\nterm depth = 0.1 * disparity_l1(depth, sensor, masked)"
    g = torch.Generator().manual_seed(0)
    depth, sensor = (torch.rand(2, 6, 8, 1, generator=g, dtype=torch.float64) for _ in range(2))
    sensor[0, 3], sensor[1, 4], sensor[0, 5] = torch.nan, torch.inf, 0.0
    found = {}
    for kernels in ("torch", "cpp", "portable"):
        loss = splatdsl.compile(text, backend="eager", kernels=kernels)
        leaf = depth.clone().requires_grad_()
        total = loss(depth=leaf, sensor=sensor, mask=torch.ones(2, 6, 8))
        found[kernels] = total.detach(), *torch.autograd.grad(total, leaf)
        assert (Direct in runs(loss)) == (kernels != "torch")
    assert found["torch"][1].count_nonzero() > 0
    for kernels in ("cpp", "portable"):
        torch.testing.assert_close(found[kernels], found["torch"], rtol=1e-12, atol=1e-15)
