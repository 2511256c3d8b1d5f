"""What becomes a window kernel and what does not, and that the numbers around it are booked right."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from splatdsl.compiler.compiled import CompiledProgram
from splatdsl.compiler.emit import emit
from splatdsl.compiler.gradients import Made
from splatdsl.compiler.ir import FUSED, MEASURED, Graph
from splatdsl.compiler.variants import Part
from splatdsl.compiler.windows.direct import Direct, is_direct
from splatdsl.compiler.windows.fuse import kernels_of
from splatdsl.compiler.windows.plan import WindowPlan
from splatdsl.compiler.windows.routes import PORTABLE, Choice, plans_of, runner, with_kernels
from splatdsl.dsl.api import analyse
from splatdsl.dsl.source import Source

H, W, N = 12, 14, 5
IMAGES = frozenset({"rendered"})
HIGH = torch.float64


class Fused(NamedTuple):
    """A program's graph with window kernels, the one without, and the numbers of the host."""

    graph: Graph
    plain: Part
    host: list[float]

    @property
    def kernels(self) -> list[str]:
        return [n.attr.kernel for n in self.graph.nodes if n.op == "kernel"]

    @property
    def plans(self) -> list[WindowPlan]:
        return plans_of(self.graph)

    def run(self, tensors: dict[str, Tensor], graph: Graph | None = None) -> Made:
        """Either graph, eager."""
        module = emit(graph or self.graph, self.plain.names)
        return Made(*module(*(tensors[n] for n in self.plain.names), torch.tensor(self.host or [0.0], dtype=HIGH)))


def fused(text: str, gradients: frozenset[str] = IMAGES, mask: bool = True, step: int = 0, **params: Any) -> Fused:
    program, found = analyse(Source(text), params)
    assert program is not None, [d.message for d in found]
    compiled = CompiledProgram(program, "eager")
    env = compiled.schedule.environment(step, 100)
    part = compiled.part(compiled.schedule.facts(env, mask))
    graph = with_kernels(part.graph, gradients, Choice(PORTABLE, "", True), HIGH)
    graph.verify()
    return Fused(graph, part, part.numbers(env))


def tensors(gradients: frozenset[str] = IMAGES, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    made = {n: torch.rand(1, H, W, k, generator=g, dtype=HIGH) for n, k in (("rendered", 3), ("target", 3))}
    made |= {n: torch.rand(1, H, W, 1, generator=g, dtype=HIGH) for n in ("alpha", "depth")}
    made["mask"] = (torch.rand(1, H, W, 1, generator=g, dtype=HIGH) > 0.4).to(HIGH)
    made |= {n: torch.rand(N, k, generator=g, dtype=HIGH) for n, k in (("state.scales", 3), ("state.opacities", 1))}
    return {n: t.requires_grad_() if n in gradients else t for n, t in made.items()}


def agree(found: Fused, given: dict[str, Tensor]) -> None:
    """Values, terms, empty regions and gradients are those of the graph without kernels."""
    leaves = [t for n, t in given.items() if t.requires_grad and n in found.plain.names]
    got, expected = found.run(given), found.run(given, found.plain.graph)
    for a, b in zip(got[:3], expected[:3]):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    if expected.total.requires_grad:
        wanted = torch.autograd.grad(expected.total, leaves, allow_unused=True, materialize_grads=True)
        made = torch.autograd.grad(got.total, leaves, allow_unused=True, materialize_grads=True)
        for a, b in zip(made, wanted):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    else:
        assert not got.total.requires_grad


# What becomes of a program: the kernels of its graph, and the reductions of each plan.

PROGRAMS = {
    "usual": ("photometric()", [FUSED], [2]),
    "masked": ("photometric(masked)", [FUSED], [2]),
    "valid": ('photometric(masked, padding="valid")', [FUSED], [2]),
    "more means of the images": ("photometric(masked) + 0.1 * l2() + 0.2 * mean(rendered, unmasked)", [FUSED], [4]),
    "two windows": ("photometric(masked) + ssim_loss()", [FUSED], [3]),
    "a map": ("mean(sq(1 - ssim_map()), masked)", [FUSED], [1]),
    "the same window twice": ("ssim_loss() + mean(1 - ssim_map(target, rendered), masked)", [FUSED], [2]),
    "another number of channels": ("photometric(masked) + 0.1 * ssim_loss(alpha, depth)", [FUSED, FUSED], [2, 1]),
    "one not linear": ("sq(ssim_loss(masked))", [MEASURED, "pointwise:sq"], [1]),
    "two not linear": ("ssim_loss(masked) * ssim_loss()", [MEASURED, MEASURED], [1, 1]),
    "windows of a region": ("ssim_loss(masked, window_mask=true)", ["photometric:ssim"], []),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_fused(name: str) -> None:
    text, kernels, reductions = PROGRAMS[name]
    carried = IMAGES | {"alpha"}
    found = fused(text, carried)
    assert sorted(found.kernels) == sorted(kernels)
    assert [len(p.reductions) for p in found.plans] == reductions
    agree(found, tensors(carried))


def test_the_usual_loss_needs_no_graph() -> None:
    for name in ("usual", "masked", "valid", "two windows"):
        assert is_direct(fused(PROGRAMS[name][0]).graph)
    for name in ("one not linear", "windows of a region"):
        assert not is_direct(fused(PROGRAMS[name][0]).graph)


def test_the_same_window_is_one() -> None:
    (plan,) = fused(PROGRAMS["the same window twice"][0]).plans
    assert len(plan.windows) == 1
    (plan,) = fused(PROGRAMS["two windows"][0]).plans
    assert len(plan.windows) == 2, "one is of images that are zeroed outside the mask"


def test_beside_other_terms_only_windows_are_taken() -> None:
    carried = IMAGES | {"state.scales", "state.opacities", "depth"}
    found = fused("term a = photometric(masked)\nterm b = 0.1 * reg(state)\nterm c = tv(depth)", carried)
    assert found.kernels.count(FUSED) == 1
    assert sorted(found.plans[0].inputs) == [1, 3, 3]
    assert not is_direct(found.graph)
    agree(found, tensors(carried))


def test_a_use_that_is_not_linear_leaves_the_linear_one() -> None:
    found = fused("term a = ssim_loss()\nterm b = sq(ssim_loss())")
    assert found.kernels.count(FUSED) == 1
    agree(found, tensors())


def test_without_a_window_beside_other_values_nothing_is_fused() -> None:
    found = fused("l1(masked) + tv(rendered)")
    assert FUSED not in found.kernels
    assert found.graph is found.plain.graph


@pytest.mark.parametrize("text", ["l1(alpha > 0.5)", "ssim_loss(alpha > 0.5)", "mean(1 - ssim_map(), alpha > 0.5)"])
def test_a_region_without_gradient_may_read_what_carries_one(text: str) -> None:
    """A comparison lets no gradient through."""
    found = fused(f"photometric() + {text}", IMAGES | {"alpha"})
    assert found.kernels == [FUSED]
    agree(found, tensors(IMAGES | {"alpha"}))


def test_a_region_that_carries_a_gradient_is_refused() -> None:
    text = "photometric() + ssim_loss(masked) + l1(masked)"
    refused = fused(text, IMAGES | {"mask"})
    assert [len(p.reductions) for p in refused.plans] == [2], "the usual two, which read no mask"
    assert "photometric:ssim" in refused.kernels
    agree(refused, tensors(IMAGES | {"mask"}))
    assert [len(p.reductions) for p in fused(text).plans] == [4]


def test_a_map_times_what_carries_a_gradient_is_refused() -> None:
    text = "mean((1 - ssim_map()) * alpha)"
    refused = fused(text, IMAGES | {"alpha"})
    assert refused.plans == []
    agree(refused, tensors(IMAGES | {"alpha"}))
    taken = fused(text)
    assert taken.kernels == [FUSED]
    agree(taken, tensors())


# Gradients


def test_inputs_that_need_no_gradient_get_none() -> None:
    text = "photometric(rendered * alpha, target, masked)"
    for carried, expected in ((IMAGES, {"rendered"}), (IMAGES | {"target", "alpha"}, {"rendered", "target", "alpha"})):
        found = fused(text, carried)
        (kernel,) = kernels_of(found.plain.graph, carried)
        names = [found.plain.graph.nodes[i].attr for i in kernel.inputs]
        assert {names[i] for i in kernel.plan.differentiable} == expected
        given = tensors(carried)
        agree(found, given)
        places = tuple(found.plain.names.index(n) for n in sorted(expected))
        bound = [given[n].detach() for n in found.plain.names]
        made = Direct(found.graph, found.plain.names, places, runner(PORTABLE))(bound, found.host)
        assert [g.shape for g in made.gradients] == [bound[i].shape for i in places]


def test_without_any_gradient_nothing_is_spread() -> None:
    (plan,) = fused("photometric(masked)", frozenset()).plans
    assert not plan.has_gradient
    assert plan.spreads == 0
    agree(fused("photometric(masked)", frozenset()), tensors(frozenset()))


@pytest.mark.parametrize("text", ["photometric(masked)", 'sq(ssim_loss(masked, padding="valid")) + l1(masked)'])
@pytest.mark.parametrize("what", [torch.nan, torch.inf, -torch.inf])
def test_what_is_outside_a_region_may_be_anything(text: str, what: float) -> None:
    found, given = fused(text), tensors()
    expected = found.run(given)
    wanted = torch.autograd.grad(expected.total, given["rendered"])[0]
    outside = given["mask"] == 0
    spoiled = given | {n: torch.where(outside, what, given[n]).detach() for n in ("rendered", "target")}
    spoiled["rendered"].requires_grad_()
    got = found.run(spoiled)
    torch.testing.assert_close(got.total, expected.total, rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(got.total, spoiled["rendered"])[0]
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-14)


def test_what_is_inside_a_region_is_not_hidden() -> None:
    found, given = fused("photometric(masked)"), tensors()
    inside = given["mask"].nonzero()[0]
    spoiled = given["rendered"].detach().clone()
    spoiled[tuple(inside[:3])] = torch.nan
    assert found.run(given | {"rendered": spoiled}).total.isnan()


# Numbers around kernels

BOOKED = (
    "param w = 0.3 in [0, 1]\n"
    "term a = w * (ssim_loss(masked) / 4 + 0.1 * l1(masked)) + 0.5\n"
    "term b = 2 * (1 - w) * ssim_loss(masked) - ramp(step, 10) * (mean(rendered, unmasked) - mean(depth) / 2)\n"
    "term c = ramp(step, 10) * tv(depth) + ssim_loss(masked)"
)


@pytest.mark.parametrize("step", [0, 4, 50])
def test_the_total_is_the_weighted_sum_of_the_terms(step: int) -> None:
    """At step 0 a weight is 0."""
    carried = IMAGES | {"depth"}
    found, given = fused(BOOKED, carried, step=step), tensors(carried)
    assert found.kernels.count(FUSED) == 1
    made = found.run(given)
    weights = [1.0 if t.weight is None else found.host[t.weight] for t in found.graph.terms]
    expected = (torch.tensor(weights, dtype=HIGH) * made.terms).sum()
    torch.testing.assert_close(made.total.detach(), expected, rtol=1e-12, atol=1e-12)
    agree(found, given)


def test_a_reduction_that_many_terms_read_is_made_once() -> None:
    (plan,) = fused(BOOKED, IMAGES | {"depth"}, step=4).plans
    assert sorted(r.stage for r in plan.reductions) == ["after", "after", "centre"]


def test_a_factor_may_be_the_first_value_of_the_graph() -> None:
    found = fused("param p = 2 in [0, 9]\nterm a = p\nterm b = p * l1() + p * ssim_loss()")
    assert found.plain.graph.nodes[0].op == "host"
    assert found.kernels == [FUSED]
    agree(found, tensors())


def test_a_term_whose_weight_is_0_now() -> None:
    text = "term a = ramp(step, 10) * photometric(masked)\nterm b = 0.5 * l2(masked)"
    found, given = fused(text, step=0), tensors()
    assert 0.0 in found.host
    made = found.run(given)
    assert made.terms[0] != 0, "raw terms are there"
    torch.testing.assert_close(made.total.detach(), 0.5 * made.terms[1])
    agree(found, given)


@pytest.mark.parametrize("empty", [True, False])
def test_empty_regions_are_counted(empty: bool) -> None:
    text = "photometric(masked) + 0.5 * l2(unmasked) + 0.1 * mean(depth, masked and alpha > 2)"
    found, given = fused(text), tensors()
    if empty:
        given["mask"] = torch.zeros_like(given["mask"])
    expected = found.run(given, found.plain.graph).empty
    assert int(found.run(given).empty) == int(expected) == (2 if empty else 1)
    agree(found, given)


def test_an_empty_region_leaves_nothing_but_zeros() -> None:
    found, given = fused("photometric(masked)"), tensors()
    given["mask"] = torch.zeros_like(given["mask"])
    made = found.run(given)
    assert made.total == 0
    assert not torch.autograd.grad(made.total, given["rendered"])[0].any()


@pytest.mark.parametrize("text", ["mean(masked * 1)", "mean(1 - ssim_map(masked * 1, masked * 1))", "1 - ssim_map().r"])
def test_what_reads_no_image_is_left(text: str) -> None:
    """Without a mask it is a number, with no pixels to count."""
    whole = text if text.startswith("mean") else f"mean({text})"
    agree(fused(whole, mask=False), tensors())
    agree(fused(f"{whole} + photometric()", mask=False), tensors())
