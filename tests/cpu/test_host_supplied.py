"""What the host supplies beyond the render: functions, memories, lists, second renders, random choices."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl import LossError
from splatdsl.dsl.builtins.chances import uniform

pytestmark = pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
B, H, W, N = 2, 14, 12, 5
SHAPE = (B, H, W, 3)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


RENDERED, TARGET = rand(*SHAPE), rand(*SHAPE, seed=1)
MASK = (rand(B, H, W, seed=2) > 0.4).double()


def state(count: int = N, seed: int = 3) -> dict[str, Tensor]:
    return {
        "means": rand(count, 3, seed=seed),
        "scales": rand(count, 3, seed=seed + 1) - 2,
        "opacities": rand(count, seed=seed + 2),
        "quats": rand(count, 4, seed=seed + 3),
    }


def made(text: str, **options: Any) -> splatdsl.CompiledLossFn:
    return splatdsl.compile(text, backend=options.pop("backend", "eager"), **options)


def value(text: str, register: Any = None, **given: Any) -> float:
    return float(made(text, register=register)(RENDERED, TARGET, **given))


# Functions


def test_a_function_is_called_with_values_of_the_program_and_gradients_flow_through_it() -> None:
    loss = made(
        "extern tone(image, number) -> image\nterm colour = l1(tone(2 * rendered, step), target)",
        register={"tone": lambda x, n: x.sin() + n},
    )
    rendered = RENDERED.clone().requires_grad_()
    total = loss(rendered, TARGET, step=3)
    expected = ((2 * rendered).sin() + 3 - TARGET).abs().mean()
    assert float(total) == pytest.approx(float(expected), rel=1e-12)
    ours, theirs = torch.autograd.grad(total, rendered)[0], torch.autograd.grad(expected, rendered)[0]
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_functions_can_take_what_functions_give() -> None:
    text = (
        "extern f(image) -> image\nextern g(image) -> (a: map, b: region)\n"
        "let o = g(f(rendered))\nterm x = mean(o.a, o.b)"
    )
    register = {"f": lambda x: x * 2, "g": lambda x: (x.sum(-1, keepdim=True), x[..., 0] > 1)}
    twice = RENDERED * 2
    chosen = twice[..., 0] > 1
    assert value(text, register) == pytest.approx(float(twice.sum(-1)[chosen].mean()))


def test_equal_calls_are_made_once_a_step() -> None:
    calls: list[Tensor] = []

    def count(x: Tensor) -> Tensor:
        calls.append(x)
        return x.mean(-1, keepdim=True)

    text = (
        "extern f(image) -> map\nterm a = mean(f(rendered))\nterm b = mean(sq(f(rendered)))\nterm c = mean(f(target))"
    )
    loss = made(text, register={"f": count})
    loss(RENDERED, TARGET)
    assert len(calls) == 2
    assert calls[0].shape == SHAPE


def test_the_parameters_of_modules_are_those_of_the_loss_unless_frozen() -> None:
    torch.manual_seed(0)
    net, fixed = torch.nn.Linear(3, 3).double(), torch.nn.Linear(3, 3).double()
    text = "extern net(image) -> image\nextern fixed(image) -> image frozen\nterm a = l2(net(rendered), fixed(target))"
    loss = made(text, register={"net": net, "fixed": fixed})
    assert [name for name, _ in loss.named_parameters()] == ["net.weight", "net.bias"]
    loss(RENDERED, TARGET).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())


def test_a_view_a_state_and_a_camera_are_passed_as_they_are() -> None:
    seen: dict[str, Any] = {}

    def look(other: Any, params: Any, camera: Any) -> Tensor:
        seen.update(other=other, params=params, camera=camera)
        return torch.ones(B, H, W, 1, dtype=torch.float64)

    text = "input near: view\nextern f(view, state, camera) -> map\nterm a = l1() + mean(f(near, state, camera))"
    near, params, camera = {"rendered": RENDERED}, state(), {"intrinsics": torch.eye(3)}
    made(text, register={"f": look})(RENDERED, TARGET, state=params, near=near, camera=camera)
    assert (seen["other"], seen["params"], seen["camera"]) == (near, params, camera)


@pytest.mark.parametrize(
    ("register", "code"),
    [
        ({}, "BND010"),
        ({"f": lambda x: 3}, "BND011"),
        ({"f": lambda x: x[..., :2]}, "BND011"),
        ({"g": lambda x: x}, "BND009"),
        ({"f": 3}, "BND009"),
    ],
)
def test_what_is_wrong_with_a_function(register: Any, code: str) -> None:
    with pytest.raises(LossError) as caught:
        value("extern f(image) -> image\nterm a = l1(f(rendered), target)", register)
    assert caught.value.diagnostics[0].code == code


def test_a_function_registered_for_all_losses() -> None:
    splatdsl.register("twice_for_this_test", lambda x: 2 * x)
    text = "extern twice_for_this_test(image) -> image\nterm a = mean(twice_for_this_test(rendered))"
    assert value(text) == pytest.approx(2 * float(RENDERED.mean()))
    with pytest.raises(TypeError, match="must be a function"):
        splatdsl.register("nothing", 3)  # type: ignore[arg-type]


# Memories

EMA = "memory level = 1 then 0.9 * level + 0.1 * l1()\nterm a = level * l2()"


def test_a_memory_is_renewed_once_a_step_and_terms_read_the_new_value() -> None:
    loss = made(EMA)
    level = 1.0
    for step in range(3):
        total = float(loss(RENDERED, TARGET, step=step))
        level = 0.9 * level + 0.1 * float((RENDERED - TARGET).abs().mean())
        assert total == pytest.approx(level * float((RENDERED - TARGET).square().mean()), rel=1e-12)
        assert float(loss.memories["level"]) == pytest.approx(level, rel=1e-12)
    for _ in range(2):  # a second call at the same step
        assert float(loss(RENDERED, TARGET, step=2)) == pytest.approx(total, rel=1e-12)
    with torch.no_grad():
        loss(RENDERED, TARGET, step=3)
    assert float(loss.memories["level"]) == pytest.approx(level, rel=1e-12), "evaluation renews nothing"


def test_a_memory_passes_no_gradient() -> None:
    loss = made("memory m = 0 then l1()\nterm a = m")
    rendered = RENDERED.clone().requires_grad_()
    total = loss(rendered, TARGET)
    assert float(total) == pytest.approx(float((RENDERED - TARGET).abs().mean()))
    total.backward()
    assert rendered.grad is None


def test_two_memories_read_each_other_as_they_were() -> None:
    loss = made("memory a = 1 then b + 1\nmemory b = 10 then a * 2\nterm t = a + 100 * b + 0 * l1()")
    a, b = 1.0, 10.0
    for step in range(4):
        a, b = b + 1, a * 2
        assert float(loss(RENDERED, TARGET, step=step)) == pytest.approx(a + 100 * b)


def test_a_memory_with_a_condition_stays_where_it_does_not_hold() -> None:
    loss = made("memory m = 0 then m + 1 when every(step, 3)\nterm a = m + 0 * l1()")
    seen = [float(loss(RENDERED, TARGET, step=s)) for s in range(7)]
    assert seen == [1, 1, 1, 2, 2, 2, 3]


def test_memories_are_part_of_the_state() -> None:
    one, other = made(EMA), made(EMA)
    for step in range(2):
        one(RENDERED, TARGET, step=step)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert float(one(RENDERED, TARGET, step=2)) == float(other(RENDERED, TARGET, step=2))
    assert float(one(RENDERED, TARGET, step=2)) == float(other(RENDERED, TARGET, step=2)), "the step is known too"


PULL = "memory first = state.means then first\nterm a = mean(sq(state.means - first)) + l1()"


def test_a_memory_of_the_gaussians_follows_densification() -> None:
    loss = made(PULL)
    before = state()
    loss(RENDERED, TARGET, state=before)
    rows = torch.tensor([4, 0, 0, 2])
    after = {name: x[rows] for name, x in state().items()}
    with pytest.raises(LossError) as caught:
        loss(RENDERED, TARGET, state=after, step=1)
    assert caught.value.diagnostics[0].code == "BND012"
    loss.on_densification(rows)
    assert torch.equal(loss.memories["first"], before["means"][rows])
    assert float(loss(RENDERED, TARGET, state=after, step=1)) == pytest.approx(float((RENDERED - TARGET).abs().mean()))
    assert not hasattr(made(EMA), "on_densification"), "trainers track rows only where it is needed"


def test_a_number_fills_the_shape_of_the_new_value() -> None:
    loss = made("memory m = 0.5 then 0.5 * m + 0.5 * state.opacities\nterm a = mean(m) + 0 * l1()")
    loss(RENDERED, TARGET, state=state())
    expected = 0.25 + 0.5 * torch.sigmoid(state()["opacities"])[:, None]
    assert torch.allclose(loss.memories["m"], expected)


# Lists


def test_lists_are_added_up_whatever_the_sizes_of_their_items() -> None:
    planes = [rand(2, 3, 4), rand(3, 5, 4, seed=1)]
    total = value("input planes: list of [C Y X]\nterm a = sum(mean(sq(p)) for p in planes)", planes=planes)
    assert total == pytest.approx(float(sum(p.square().mean() for p in planes)))
    average = value("input planes: list of [C Y X]\nterm a = mean(mean(sq(p)) for p in planes)", planes=planes)
    assert average == pytest.approx(total / 2)
    assert value("input planes: list of [C Y X]\nterm a = mean(mean(p) for p in planes) + l1()", planes=[]) > 0


def test_a_list_of_another_length_is_one_more_graph() -> None:
    loss = made("input p: list of [C X]\nterm a = sum(mean(q) for q in p) + l1()", backend="aot_eager")
    for count in (2, 3, 2, 3):
        total = loss(RENDERED, TARGET, p=[rand(2, 4, seed=i) for i in range(count)])
        expected = sum(float(rand(2, 4, seed=i).mean()) for i in range(count))
        assert float(total) == pytest.approx(expected + float((RENDERED - TARGET).abs().mean()))
    assert (loss.stats.graphs, loss.stats.predicted, loss.stats.graph_breaks) == (2, 2, 0)


# Second renders


def test_a_second_render_has_its_own_pixels_and_mask() -> None:
    text = (
        "input near: view?\nterm a = l1()\n"
        "term b = l1(near.rendered, near.target, near.masked) + mean(near.state.opacities) when has(near)"
    )
    first = float((RENDERED - TARGET).abs().mean())
    assert value(text) == pytest.approx(first)
    near = {"rendered": rand(1, 9, 7, 3), "target": rand(1, 9, 7, 3, seed=9), "state": state(3)}
    difference = (near["rendered"] - near["target"]).abs()
    opacity = float(torch.sigmoid(near["state"]["opacities"]).mean())
    assert value(text, near=near) == pytest.approx(first + float(difference.mean()) + opacity)
    mask = (rand(1, 9, 7, seed=4) > 0.5).double()
    inside = float(difference[mask > 0].mean())
    assert value(text, near={**near, "mask": mask}) == pytest.approx(first + inside + opacity)


def test_has_knows_the_fields_of_a_second_render() -> None:
    text = "input near: view?\nterm a = l1()\nterm b = l1(near.rendered, near.target) when has(near, near.target)"
    loss = made(text)
    loss(RENDERED, TARGET, near={"rendered": RENDERED})
    assert set(loss.terms) == {"a"}
    loss(RENDERED, TARGET, near={"rendered": RENDERED, "target": TARGET})
    assert set(loss.terms) == {"a", "b"}
    assert loss.weights(0)["b"] == 1
    assert loss.weights(0, missing=["near"])["b"] == 0


def test_a_list_of_second_renders() -> None:
    views = [{"rendered": rand(1, 8, 6, 3, seed=i), "target": rand(1, 8, 6, 3, seed=i + 5)} for i in range(3)]
    total = value("input v: list of view\nterm a = sum(l1(w.rendered, w.target) for w in v)", v=views)
    assert total == pytest.approx(sum(float((w["rendered"] - w["target"]).abs().mean()) for w in views))


def test_a_missing_field_is_named() -> None:
    with pytest.raises(LossError, match=r"`near` has no `depth`"):
        value("input near: view\nterm a = l1() + mean(near.depth)", near={"rendered": RENDERED})


# Values per image, neighbours, places


def test_a_value_per_image_goes_with_its_pixels() -> None:
    gain, offset = rand(B), rand(B, 3, seed=5)
    text = "input gain: [B]\ninput offset: [B 3]\nterm a = l1(exp(gain) * rendered + offset, target)"
    expected = (gain.exp()[:, None, None, None] * RENDERED + offset[:, None, None] - TARGET).abs().mean()
    assert value(text, gain=gain, offset=offset) == pytest.approx(float(expected))
    with pytest.raises(LossError, match=r"differ in B: \d and \d"):
        value(text, gain=rand(3), offset=offset)


def test_neighbours_of_gaussians() -> None:
    index = torch.tensor([[1, 2], [0, 3], [0, 1], [4, 0], [1, 3]])
    text = "input index_of: index [N K]\nterm a = mean(norm(gather(state.means, index_of) - state.means), visible)"
    visible = torch.tensor([1.0, 0, 1, 1, 0], dtype=torch.float64)
    means = state()["means"]
    lengths = (means[index] - means[:, None]).norm(dim=-1)
    expected = lengths[visible > 0].mean()
    assert value(text, index_of=index, state=state(), visible=visible) == pytest.approx(float(expected))
    with pytest.raises(LossError, match="whole numbers"):
        value(text, index_of=index.double(), state=state(), visible=visible)


def test_the_background_is_a_colour_or_an_image() -> None:
    text = "term a = mean(abs(rendered - background))"
    colour, image = rand(B, 3), rand(*SHAPE, seed=8)
    expected = (RENDERED - colour[:, None, None]).abs().mean()
    assert value(text, background=colour) == pytest.approx(float(expected))
    assert value(text, background=image) == pytest.approx(float((RENDERED - image).abs().mean()))


def test_places_of_pixels() -> None:
    across = torch.linspace(0, 1, W, dtype=torch.float64)
    total = value("term a = mean(pixel.x * rendered.r)")
    assert total == pytest.approx(float((RENDERED[..., 0] * across).mean()))


# Where values exist


@pytest.mark.parametrize("masked", [False, True])
def test_a_mean_of_differences_leaves_out_where_there_is_none(masked: bool) -> None:
    r = "masked" if masked else "everywhere"
    given = {"mask": MASK} if masked else {}
    dx = (RENDERED[:, :, 1:] - RENDERED[:, :, :-1]).abs()
    weight = MASK[:, :, :-1, None] if masked else torch.ones_like(dx[..., :1])
    assert value(f"term a = mean(abs(dx(rendered)), {r})", **given) == pytest.approx(
        float((dx * weight).sum() / weight.sum() / 3)
    )


def test_what_is_0_at_the_border_on_purpose_counts() -> None:
    central = (RENDERED[:, 1:-1, 2:] - RENDERED[:, 1:-1, :-2]).abs() / 2
    inner = 'abs(dx(rendered, scheme="central"))'
    whole = float(central.sum() / RENDERED.numel())
    assert value(f"term a = mean({inner} * inside(border=1), everywhere)") == pytest.approx(whole)
    chosen = value(f"term a = mean(where(inside(border=1), {inner}, 1), everywhere)")
    assert chosen == pytest.approx(whole + 1 - central.numel() / RENDERED.numel())


def test_differences_of_differences_lose_more() -> None:
    twice = RENDERED.diff(dim=2).diff(dim=2).abs()
    assert value("term a = mean(abs(dx(dx(rendered))))") == pytest.approx(float(twice.mean()))


def test_points_outside_the_image_are_left_out() -> None:
    points = torch.tensor([[0.5, 0.5], [-4.0, 3.0], [W - 0.5, H - 0.5], [3.0, H + 9.0]], dtype=torch.float64)
    text = "input points: [M 2]\nterm a = mean(sample_at(rendered.r, points))"
    image, target = RENDERED[:1], TARGET[:1]
    expected = (image[0, 0, 0, 0] + image[0, -1, -1, 0]) / 2
    assert float(made(text)(image, target, points=points)) == pytest.approx(float(expected))


# Randomness


def mixed(x: int) -> int:
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return x ^ (x >> 15)


def drawn(step: int, seed: int, count: int) -> list[float]:
    key = int(uniform(float(step), seed) * 2**24)
    return [(mixed((mixed(i) + 256 * key) % 2**32) >> 8) / 2**24 for i in range(count)]


@pytest.mark.parametrize("step", [0, 7])
def test_random_regions_can_be_drawn_by_anyone(step: int) -> None:
    text = "term a = mean(rendered, bernoulli(0.3, like=rendered))\nterm b = mean(target, bernoulli(0.3, like=target))"
    loss = made(text)
    loss(RENDERED, TARGET, step=step)
    for seed, (name, image) in enumerate((("a", RENDERED), ("b", TARGET))):
        chosen = torch.tensor(drawn(step, seed, B * H * W)).reshape(B, H, W) < 0.3
        assert float(loss.terms[name]) == pytest.approx(float(image[chosen].mean()))


def test_random_boxes_can_be_drawn_by_anyone() -> None:
    loss = made("term a = mean(l1(box) for box in random_boxes(size=5, count=3))")
    numbers = drawn(4, 0, 6)
    parts = []
    for i in range(3):
        top, left = int(numbers[2 * i] * (H - 4)), int(numbers[2 * i + 1] * (W - 4))
        parts.append((RENDERED - TARGET).abs()[:, top : top + 5, left : left + 5].mean())
    assert float(loss(RENDERED, TARGET, step=4)) == pytest.approx(float(sum(parts) / 3))


def test_chances_at_two_places_are_independent() -> None:
    loss = made("term a = l1() when chance(step, 0.5)\nterm b = l2() when chance(step, 0.5)")
    weights = [loss.weights(step) for step in range(200)]
    both = sum(w["a"] != w["b"] for w in weights)
    assert 60 < both < 140
    assert [w["a"] for w in weights] == [float(uniform(step, 0) < 0.5) for step in range(200)]


# Compiled


def test_nothing_recompiles_when_gaussians_points_and_steps_change() -> None:
    text = (
        "input points: [M 2]\ninput near: view?\n"
        "memory slow = state.opacities then 0.5 * slow + 0.5 * state.opacities\n"
        "term a = l1() + mean(sample_at(rendered.r, points))\nterm b = mean(sq(state.opacities - slow))\n"
        "term c = l1(near.rendered, near.target) when has(near)"
    )
    loss = made(text, backend="aot_eager")
    plain = made(text)
    image, target = RENDERED[:1], TARGET[:1]
    rows = torch.arange(N)
    for step, (count, points) in enumerate(((5, 4), (7, 9), (3, 2), (6, 5))):
        if step:
            rows = torch.arange(count) % len(rows)
            for each in (loss, plain):
                each.on_densification(rows)
        near = {"rendered": rand(1, 9, 7, 3, seed=step), "target": rand(1, 9, 7, 3)}
        given = {"state": state(count), "points": 5 + rand(points, 2, seed=step), "near": near, "step": step}
        assert float(loss(image, target, **given)) == pytest.approx(float(plain(image, target, **given)), rel=1e-12)
    assert (loss.stats.recompiles, loss.stats.graph_breaks) == (0, 0)
    assert loss.stats.graphs == loss.stats.predicted


# Networks


def test_a_registered_function_stands_in_for_the_network_of_lpips() -> None:
    side = rand(1, 34, 36, 3)
    other = rand(1, 34, 36, 3, seed=1)
    mask = (rand(1, 34, 36, seed=2) > 0.5).double()
    seen: list[str] = []

    def distance(a: Tensor, b: Tensor, net: str) -> Tensor:
        seen.append(net)
        return (a - b).square().mean(-1, keepdim=True)

    loss = made('term a = 0.1 * lpips(masked, net="vgg")', register={"lpips": distance})
    expected = (side - other).square().mean(-1)[mask > 0].mean()
    assert float(loss(side, other, mask=mask)) == pytest.approx(0.1 * float(expected))
    assert seen == ["vgg"]


def test_points_of_one_image_are_refused_in_a_batch() -> None:
    with pytest.raises(LossError, match="the points of one image, but there are 2"):
        value("input points: [M 2]\nterm a = mean(sample_at(rendered.r, points))", points=rand(3, 2))


def test_a_memory_can_start_from_what_a_function_gives() -> None:
    text = (
        "extern f(image) -> scalar\nextern g(image, scalar) -> scalar\nmemory m = f(rendered) then 0.5 * m\n"
        "term a = g(rendered, m) + 0 * l1()"
    )
    loss = made(text, register={"f": lambda x: x.sum(), "g": lambda x, m: m + 1})
    assert float(loss(RENDERED, TARGET).detach()) == pytest.approx(0.5 * float(RENDERED.sum()) + 1)
    assert float(loss(RENDERED, TARGET, step=1).detach()) == pytest.approx(0.25 * float(RENDERED.sum()) + 1)


def test_a_memory_starts_at_its_first_use() -> None:
    text = (
        "memory z = 2 * state.opacities then z when after(step, 5) and every(step, 50)\nterm a = l1()\n"
        "term b = mean(sq(state.opacities - z)) when after(step, 5)"
    )
    loss = made(text)
    loss(RENDERED, TARGET, step=0)
    assert dict(loss.memories) == {}
    assert loss.requires(0) == {"rendered", "target"}
    loss(RENDERED, TARGET, state=state(), step=5)
    opacities = torch.sigmoid(state()["opacities"])
    assert float(loss.terms["b"]) == pytest.approx(float(opacities.square().mean()))


@pytest.mark.parametrize("operation", ["erode", "dilate"])
def test_regions_that_are_everything_stay_so(operation: str) -> None:
    text = f"term a = l1({operation}(masked, 2))"
    assert value(text) == pytest.approx(float((RENDERED - TARGET).abs().mean()))
    assert value(text, mask=torch.ones(B, H, W)) == pytest.approx(float((RENDERED - TARGET).abs().mean()))


def test_a_region_made_of_differences_ends_where_they_do() -> None:
    text = "term a = l1(dilate(dx(rendered.r) > 2, 1))"  # nowhere, whatever the last column holds
    assert value(text) == 0
    kept = value("term a = l1(erode(dx(rendered.r) > -2, 1))")
    inner = (RENDERED - TARGET).abs()[:, :, :-2]
    assert kept == pytest.approx(float(inner.mean())), "the last column has no difference, and one more is eroded"


def test_a_parameter_can_be_a_limit_that_nothing_reaches() -> None:
    text = "param most = inf > 0\nmemory m = 0 then 0.5 * m + l1()\nterm a = where(m < most, l1(), 0)"
    assert value(text) == pytest.approx(float((RENDERED - TARGET).abs().mean()))


def test_a_number_of_the_host_is_asked_for_only_where_it_is_read() -> None:
    text = (
        "input mono: depth[relative]?\ninput reliable: flag\ninput scale: number\nparam w = 0 >= 0\nterm a = l1()\n"
        "term b = pearson_loss(depth, mono) when has(mono) and reliable\nterm c = w * scale * l2()"
    )
    loss = made(text)
    loss(RENDERED, TARGET)
    assert set(loss.terms) == {"a"}
    with pytest.raises(LossError, match="reads `reliable`, but the call gave none"):
        loss(RENDERED, TARGET, mono=rand(B, H, W, 1), depth=rand(B, H, W, 1))
    loss.params["w"] = 1
    with pytest.raises(LossError, match="reads `scale`, but the call gave none"):
        loss(RENDERED, TARGET)


@pytest.mark.parametrize("given", [rand(2, 3), 3, {"a": 1}])
def test_what_is_no_list_is_refused(given: Any) -> None:
    with pytest.raises(LossError, match="declared as a list"):
        value("input planes: list of [C X]\nterm a = sum(mean(p) for p in planes) + l1()", planes=given)
    with pytest.raises(LossError, match="declared as a list"):
        value("input views: list of view\nterm a = sum(l1(v.rendered, v.target) for v in views)", views=given)


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("term a = l1() + mean(camera.fx)", {"camera": {"intrinsics": torch.eye(2)}}, r"`camera.intrinsics` must have"),
        ("term a = l1() + mean(camera.fx)", {"camera": {"intrinsics": 3}}, "must be a torch tensor, not int"),
        ("term a = l1() + mean(camera.position)", {"camera": {"extrinsics": torch.eye(3)}}, r"shape \[B, 4, 4\]"),
        ("term a = l1() + mean(camera.fx)", {}, "the call gave none"),
        ("input v: list of [C X]\nterm a = l1() + sum(mean(n) for n in v)", {"v": [None]}, "that is None"),
        ("input g: [B 3]\nterm a = l1(g * rendered, target)", {"g": rand(4, 4)}, r"must have shape \[B, 3\]"),
    ],
)
def test_what_does_not_fit_is_named(text: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(LossError, match=says):
        value(text, **given)


def test_a_mistake_inside_a_function_says_which_one() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        value("extern f(image) -> image\nterm a = l1(f(rendered), target)", {"f": lambda x: 1 / 0})
    assert "registered for the extern `f`, called at <loss>:2" in caught.value.__notes__[0]


def test_a_network_of_a_memory_can_be_registered() -> None:
    side, other = rand(1, 34, 36, 3), rand(1, 34, 36, 3, seed=1)
    register = {"lpips": lambda a, b, net: (a - b).square().mean(-1, keepdim=True)}
    loss = made("memory m = 0 then lpips()\nterm a = l1() + m", register=register)
    expected = (side - other).abs().mean() + (side - other).square().mean()
    assert float(loss(side, other).detach()) == pytest.approx(float(expected))
