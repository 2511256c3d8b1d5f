"""What a program declares beyond the fixed inputs, as it runs: inputs, modes, groups, `has`, `use`, sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import splatdsl
from splatdsl.dsl.diagnostics import LossError

B, H, W = 2, 12, 16


@pytest.fixture
def images() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(5)
    rendered = torch.rand(B, H, W, 3, generator=made).requires_grad_()
    return {"rendered": rendered, "target": torch.rand(B, H, W, 3, generator=made)}


BACKENDS = ["eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_input_of_the_item_by_keyword_and_by_item(backend: str, images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile(
        "input conf: map in [0, 1]\nterm a = mean(abs(rendered - target) * conf, masked)", backend=backend
    )
    conf = torch.rand(B, H, W, 1)
    expected = ((images["rendered"] - images["target"]).abs() * conf).mean()
    assert torch.allclose(loss_fn(**images, conf=conf), expected)
    assert torch.allclose(loss_fn(**images, item={"conf": conf}), expected)
    assert torch.allclose(loss_fn(**images, conf=conf[..., 0]), expected), "a map may leave out its last dimension"
    assert loss_fn.requires(0) == {"rendered", "target", "mask", "conf"}
    assert (loss_fn.stats.recompiles, loss_fn.stats.graph_breaks) == (0, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_optional_input_decides_which_graph_there_is(backend: str, images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile(
        "input conf: map?\nterm a = mean(abs(rendered - target) * (conf if has(conf) else 1))\n"
        "term b = mean(conf * rendered) when has(conf)",
        backend=backend,
    )
    error = (images["rendered"] - images["target"]).abs()
    assert torch.allclose(loss_fn(**images), error.mean())
    assert list(loss_fn.terms) == ["a"]
    conf = torch.rand(B, H, W, 1)
    total = loss_fn(**images, conf=conf)
    assert torch.allclose(total, (error * conf).mean() + (conf * images["rendered"]).mean())
    assert list(loss_fn.terms) == ["a", "b"]
    (given,) = torch.autograd.grad(total, images["rendered"])
    assert given.isfinite().all()
    assert (loss_fn.stats.predicted, loss_fn.stats.recompiles) == (2, 0)


def test_numbers_and_flags_of_the_host(images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile(
        "input w: number in [0, 4]\ninput late: flag\nterm a = w * l1()\nterm b = l2() when late", backend="eager"
    )
    l1 = (images["rendered"] - images["target"]).abs().mean()
    assert torch.allclose(loss_fn(**images, w=2.0, late=False), 2 * l1)
    assert torch.allclose(loss_fn(**images, w=3, late=False), 3 * l1)
    assert loss_fn.stats.predicted == 1, "another number is no other graph"
    loss_fn(**images, w=1.0, late=True)
    assert list(loss_fn.terms) == ["a", "b"]
    assert loss_fn.weights(0, w=0.5, late=False) == {"a": 0.5, "b": 0.0}
    for wrong, code in (({}, "BND001"), ({"w": 5.0, "late": True}, "BND005"), ({"w": "x", "late": True}, "BND003")):
        with pytest.raises(LossError) as problem:
            loss_fn(**images, **wrong)
        assert problem.value.diagnostics[0].code == code


def test_a_scalar_that_carries_gradient(images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile("input penalty: scalar\nterm a = l1() + 3 * penalty", backend="eager")
    penalty = torch.tensor(0.25, requires_grad=True)
    loss_fn(**images, penalty=penalty).backward()
    assert penalty.grad == 3


def test_values_per_gaussian() -> None:
    loss_fn = splatdsl.compile("input age: [N] in [0, inf)\nterm a = mean(state.means * age) / N", backend="eager")
    means, age = torch.rand(7, 3, requires_grad=True), torch.rand(7)
    assert torch.allclose(loss_fn(state={"means": means}, age=age), (means * age[:, None]).mean() / 7)
    with pytest.raises(LossError, match="age"):
        loss_fn(state={"means": means}, age=torch.rand(6))


def test_shapes_and_ranges_of_inputs_are_checked(images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile("input conf: map in [0, 1]\nterm a = mean(conf * rendered)", backend="eager")
    for conf, code in (
        (torch.rand(B, H, W, 3), "BND002"),
        (torch.rand(B, H + 1, W, 1), "BND002"),
        (torch.rand(B, H, W, 1) + 1, "BND005"),
        (None, "BND001"),
    ):
        with pytest.raises(LossError) as problem:
            loss_fn(**images, conf=conf)
        assert problem.value.diagnostics[0].code == code


def test_a_mode_and_a_flag_are_constants_of_the_graph(images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile(
        'param kind = "l1" in {"l1", "l2"}\nparam twice: flag = false\nparam pad = "same" in {"same", "valid"}\n'
        'term a = (l1() if kind == "l1" else l2()) * (2 if twice else 1)\nterm s = ssim_loss(padding=pad)',
        backend="eager",
    )
    difference = images["rendered"] - images["target"]
    loss_fn(**images)
    assert torch.allclose(loss_fn.terms["a"], difference.abs().mean())
    same = loss_fn.terms["s"]
    loss_fn.params["kind"] = "l2"
    loss_fn.params["twice"] = True
    loss_fn.params["pad"] = "valid"
    loss_fn(**images)
    assert torch.allclose(loss_fn.weights(0)["a"] * loss_fn.terms["a"], 2 * difference.square().mean())
    assert not torch.allclose(loss_fn.terms["s"], same)
    with pytest.raises(LossError, match="l3"):
        loss_fn.params["kind"] = "l3"


def test_groups(images: dict[str, torch.Tensor]) -> None:
    loss_fn = splatdsl.compile("term track.a = l1()\nterm map.b = l2()\nterm map.c = ssim_loss()", backend="eager")
    assert loss_fn.groups == ("track", "map")
    whole = loss_fn(**images)
    assert list(loss_fn.terms) == ["track.a", "map.b", "map.c"]
    track = loss_fn(**images, group="track")
    assert list(loss_fn.terms) == ["track.a"]
    assert torch.allclose(whole, track + loss_fn(**images, group="map"))
    with pytest.raises(LossError, match="did you mean `track`"):
        loss_fn(**images, group="trak")


def test_a_used_file(tmp_path: Path, images: dict[str, torch.Tensor]) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "colour.loss").write_text(
        "param w = 0.25 in [0, 1]\nlet error = abs(rendered - target)\ndef over(x) = mean(x * error)\n"
        "term colour = w * mean(error)\nterm other = l2()\n"
    )
    (tmp_path / "run.loss").write_text('use "common/colour.loss" (colour, over)\nterm more = over(2)\n')
    loss_fn = splatdsl.load(tmp_path / "run.loss", backend="eager", params={"w": 0.5})
    error = (images["rendered"] - images["target"]).abs().mean()
    assert torch.allclose(loss_fn(**images), 0.5 * error + 2 * error)
    assert dict(loss_fn.params) == {"w": 0.5}
    before = loss_fn.fingerprint
    (tmp_path / "common" / "colour.loss").write_text("term colour = l2()\ndef over(x) = x * l1()\n")
    assert splatdsl.load(tmp_path / "run.loss").fingerprint != before, "the text of used files counts"


def test_warnings_reach_whoever_never_runs_the_linter() -> None:
    with pytest.warns(splatdsl.LossWarning, match="USE001"):
        splatdsl.compile("param w = 1\nterm a = l1()", backend="eager")


def test_the_number_of_points_of_a_view_is_open() -> None:
    text = (
        "input points: [B P 2]\ninput depths: [B P 1] in (0, inf)\nlet drawn = sample_at(depth, points)\n"
        "mean(abs(where(drawn > 0, 1 / drawn, 0) - 1 / depths), drawn > 0)"
    )
    compiled, eager = (splatdsl.compile(text, backend=backend) for backend in ("aot_eager", "eager"))
    g = torch.Generator().manual_seed(0)
    for views, count in ((1, 50), (1, 60), (1, 24), (1, 1), (1, 0), (2, 40)):
        depth = torch.rand(views, 20, 24, 1, generator=g) + 1
        points, depths = 24 * torch.rand(views, count, 2, generator=g), torch.rand(views, count, 1, generator=g) + 1
        given = {"points": points, "depths": depths}
        found = []
        for loss_fn in (compiled, eager):
            leaf = depth.clone().requires_grad_()
            total = loss_fn(depth=leaf, **given)
            total.backward()
            found.append((total.detach(), leaf.grad))
        torch.testing.assert_close(*found)
    # One for views with points, one for those without any, and one for two views.
    assert (compiled.stats.graphs, compiled.stats.predicted) == (3, 3)
