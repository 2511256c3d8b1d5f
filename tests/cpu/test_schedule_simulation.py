"""A training run's worth of steps: what is compiled is what was foreseen, and nothing is compiled twice.

Numbers of gaussians change, images have several sizes, masks come and go, and parameters are edited. How many graphs
that makes is worked out here on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.compiler.compiled import missing_compiler
from splatdsl.compiler.windows import cpp

MAX_STEPS, SAMPLES = 30_000, 400
COUNTS = (100, 101, 0, 1, 2, 64, 80, 3000, 4096, 4097, 6000, 1, 5000, 0, 10_000, 7, 4095, 20_000, 4098, 500)
"""Gaussians after each densification: none, one, as many as an image has rows, and both sides of what splits sums."""
SIZES = ((1, 72, 64), (1, 64, 80), (1, 66, 90))
WEIGHTS = (0.5, 0.125, 2.0, 0.25, 0.0, 1.0)
"""What a parameter is edited to; a term whose weight is exactly 0 is not there."""

TERMS = (
    "param w = 0.5 in [0, 2]\n"
    "param limit = 0.2 in [0, 1]\n"
    "term colour = {colour}\n"
    "term scales = w * ramp(step, 5_000) * mean(max(state.scales, limit)) when step >= 3_000\n"
    "term opacity = 0.1 * (1 - 0.5 * progress) * mean(state.opacities) when step >= 9_000 and step < 21_000"
)
LIGHT = TERMS.format(colour="l1(masked) + 0.1 * l2(masked)")
USUAL = TERMS.format(colour="photometric(masked)")


def images(size: tuple[int, int, int], mask: bool) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(sum(size))
    given = {n: torch.rand(*size, 3, generator=g) for n in ("rendered", "target")}
    return {**given, "mask": (torch.rand(*size, generator=g) > 0.4).float()} if mask else given


def gaussians(count: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(count)
    return {"scales": torch.randn(count, 3, generator=g), "opacities": torch.randn(count, generator=g)}


def leaves(given: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"rendered": given["rendered"].requires_grad_(), **{n: t.requires_grad_() for n, t in state.items()}}


def evaluated(loss_fn: Any, given: dict[str, Tensor], state: dict[str, Tensor], step: int) -> list[Tensor]:
    """The total and all gradients."""
    wanted = leaves(given, state)
    for t in wanted.values():
        t.grad = None
    total = loss_fn(**given, state=state, step=step, max_steps=MAX_STEPS)
    total.backward()
    return [total.detach(), *(torch.zeros_like(t) if t.grad is None else t.grad for t in wanted.values())]


def terms_at(step: int, weight: float) -> tuple[str, ...]:
    """The terms that exist, read from the text above."""
    terms = ["colour"]
    if step >= 3_000 and weight != 0:
        terms.append("scales")
    if 9_000 <= step < 21_000:
        terms.append("opacity")
    return tuple(terms)


class Run(NamedTuple):
    """What happens in a run, in equal spans of it."""

    samples: int = SAMPLES
    counts: tuple[int, ...] = COUNTS
    sizes: tuple[tuple[int, int, int], ...] = SIZES
    weights: tuple[float, ...] = WEIGHTS
    exist: Callable[[int, float], tuple[str, ...]] = terms_at
    masks: float = 1.0  # until when images without a mask are among them


WHOLE = Run()


def simulate(text: str, backend: str, kernels: str, graph_of: Callable[..., Any], run: Run = WHOLE) -> int:
    """A run; the number of graphs it must need, by what ``graph_of`` says decides them."""
    samples, counts, sizes, weights, exist, _ = run
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    loss_fn = splatdsl.compile(text, backend=backend, kernels=kernels)
    plain = splatdsl.compile(text, backend="eager", kernels="torch")
    needed = set()
    seen_sizes: set[tuple[int, ...]] = set()
    for i in range(samples):
        step = i * (MAX_STEPS - 1) // (samples - 1)
        count = counts[i * len(counts) // samples]
        weight = weights[i * len(weights) // samples]
        if i * len(weights) % samples < len(weights):
            loss_fn.params["w"] = plain.params["w"] = weight
            loss_fn.params["limit"] = plain.params["limit"] = 0.1 + 0.5 * i / samples
        # The sizes and masks come in an order that has nothing to do with the terms.
        size = sizes[0 if i == 0 else (i * 7 + i // 5) % len(sizes)]
        mask = i % 3 != 1 or run.masks * samples < i
        first = size == sizes[0]
        seen_sizes.add(size)
        given, state = images(size, mask), gaussians(count)
        made = evaluated(loss_fn, given, state, step)
        terms = exist(step, weight)
        assert tuple(loss_fn.terms) == terms
        needed.add(graph_of(terms=terms, mask=mask, zero=weight == 0, first=first, many=count > 4096))
        if i % (samples // 16) == 0 or count in (0, 1):
            expected = evaluated(plain, given, state, step)
            torch.testing.assert_close(made, expected, rtol=2e-5, atol=1e-6)
        stats = loss_fn.stats
        assert (stats.graphs, stats.predicted) == (len(needed), len(needed)), f"step {step}: {stats}"
    assert seen_sizes == set(sizes)
    assert (loss_fn.stats.recompiles, loss_fn.stats.graph_breaks) == (0, 0)
    return len(needed)


def with_sizes(terms: tuple[str, ...], mask: bool, zero: bool, first: bool, many: bool) -> Any:
    """The first image size has a graph of its own, all others share one; few gaussians and many where any are read."""
    return terms, mask, zero, first, many if len(terms) > 1 else None


def without_sizes(terms: tuple[str, ...], mask: bool, zero: bool, **_: bool) -> Any:
    """What is kernels alone runs on any size and number."""
    return terms, mask, zero


@pytest.fixture(autouse=True)
def counters_as_before() -> Iterator[None]:
    yield
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def test_a_run_compiles_what_was_foreseen() -> None:
    graphs = simulate(LIGHT, "aot_eager", "auto", with_sizes, Run(masks=0.2))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.skipif(cpp.missing() != "", reason=cpp.missing())
def test_kernels_are_the_same_for_all_sizes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATDSL_CACHE_DIR", str(tmp_path))
    assert simulate(USUAL, "eager", "cpp", without_sizes) > 6
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0


@pytest.mark.slow
def test_a_run_under_inductor() -> None:
    if missing_compiler("cpu"):
        pytest.skip(missing_compiler("cpu"))
    text = "\n".join(LIGHT.splitlines()[:4])
    run = Run(
        32, (100, 0, 1, 4000), SIZES[:1], (0.5, 0.25), lambda step, _: ("colour", "scales")[: 1 + (step >= 3_000)]
    )
    graphs = simulate(text, "inductor", "torch", with_sizes, run)
    assert graphs == 4
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
