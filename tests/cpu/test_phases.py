"""Phases at run time: programs with too many sets of terms in blocks, and graphs that are compiled ahead."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import splatdsl
from splatdsl.compiler import events
from splatdsl.compiler.interpret import Interpreter
from splatdsl.runtime.training.loss_access import LossAccess

PERIODS = (2, 3, 5, 7, 11, 13)
CROWDED = "\n".join(
    [
        "param w = 0.5 >= 0",
        "term a = 2 * w * l1(masked) when every(step, 2)",
        "term b = 3 * ssim_loss(masked) when every(step, 3)",
        "term c = 5 * scale_reg(state) when every(step, 5)",
        "term d = 7 * l2(unmasked) when every(step, 7)",
        "term e = 11 * opacity_reg(state) when every(step, 11)",
        "term f = 13 * huber(masked) when every(step, 13)",
    ]
)
STEPS = [0, 1, 2, 3, 6, 15, 30, 77, 91, 143, 210, 2310, 30_029]


def tensors(seed: int = 0, mask: bool = True) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed)
    given: dict[str, Any] = {
        "rendered": torch.rand(1, 24, 20, 3, generator=g).requires_grad_(),
        "target": torch.rand(1, 24, 20, 3, generator=g),
        "state": {
            "opacities": torch.randn(7, generator=g).requires_grad_(),
            "scales": torch.randn(7, 3, generator=g).requires_grad_(),
        },
    }
    return {**given, "mask": torch.rand(1, 24, 20, generator=g) > 0.5} if mask else given


def leaves(given: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {"rendered": given["rendered"], **given["state"]}


def gradients(total: torch.Tensor, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    wanted = leaves(given)
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(wanted.items(), found)}


def whole(loss_fn: Any, given: dict[str, Any], step: int, **more: Any) -> Any:
    """A step evaluated as one graph, whatever the program."""
    schedule, parts = loss_fn._compiled.schedule, loss_fn.parts
    complete = parts.complete({"render": None, "mask": None, **given}, None)
    env = schedule.environment(step, 30_000, parts.present(complete), parts.binder.host_values(complete))
    facts = schedule.facts(env, complete["mask"] is not None, more.get("group"), parts.lengths(complete))
    return loss_fn._steps(facts, complete, env, step)[0]


# Blocks


def test_a_crowded_program_has_a_graph_for_each_condition_and_is_exact() -> None:
    with pytest.warns(splatdsl.LossWarning, match="SCH025"):
        loss_fn = splatdsl.compile(CROWDED, backend="eager")
    given = tensors()
    names = {"mask", "rendered", "target", "state.opacities", "state.scales"}
    for step in STEPS:
        total = loss_fn(**given, step=step)
        exist = [name for name, k in zip("abcdef", PERIODS) if step % k == 0]
        assert list(loss_fn.terms) == exist
        if not exist:
            assert float(total.detach()) == 0
            continue
        bound = loss_fn.parts.binder.bind(tuple(names), given)
        expected, terms = Interpreter(loss_fn.program, bound, step, 30_000).run()
        torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-7)
        weights = loss_fn.weights(step)
        for name in exist:
            torch.testing.assert_close(weights[name] * loss_fn.terms[name], terms[name].detach(), rtol=1e-6, atol=1e-7)
        wanted = gradients(expected, given)
        for name, found in gradients(total, given).items():
            torch.testing.assert_close(found, wanted[name], rtol=1e-5, atol=1e-7)
    assert loss_fn.stats.graphs == len(PERIODS), "one for each condition"
    loss_fn.params["w"] = 0.25
    loss_fn(**given, step=30_030 - 2310)
    assert loss_fn.stats.graphs == len(PERIODS)


def test_a_program_with_few_sets_is_compiled_as_a_whole() -> None:
    loss_fn = splatdsl.compile("term a = l1()\nterm b = 2 * l2() when every(step, 2)", backend="eager")
    for step in range(4):
        loss_fn(**tensors(), step=step)
    assert loss_fn.stats.graphs == 2
    assert len(loss_fn.terms) == 1


def test_what_a_crowded_program_needs_is_what_its_terms_need() -> None:
    loss_fn = crowded_with("term g = 17 * mean(depth) when every(step, 17)")
    assert loss_fn.requires(2) == {"rendered", "target", "mask"}
    assert loss_fn.requires(5) == {"state"}
    assert loss_fn.requires(34) == {"rendered", "target", "mask", "depth"}
    assert loss_fn.requires(1) == frozenset()


def crowded_with(*lines: str, **options: Any) -> Any:
    with pytest.warns(splatdsl.LossWarning):
        return splatdsl.compile("\n".join([*lines, CROWDED]), backend="eager", **options)


def test_memories_are_renewed_once_and_read_the_same_in_all_blocks() -> None:
    """Twins, one of which evaluates every step as one graph."""
    lines = [
        "memory level = 1 then 0.5 * level + mean(rendered) when every(step, 3)",
        "memory errors = target then 0.5 * errors + 0.25 * (rendered - target)",
        "memory idle = 2 then 0.5 * idle when every(step, 4)",
        "term g = mean(sq(rendered - errors)) when every(step, 6)",
        "term h = level * mean(rendered) when every(step, 4)",
        "term i = level * idle * mean(sq(rendered)) when every(step, 9)",
    ]
    split, together = crowded_with(*lines), crowded_with(*lines)
    for step in range(0, 40):
        given = tensors(seed=step)
        total = split(**given, step=step)
        result = whole(together, given, step)
        torch.testing.assert_close(total.detach(), result.total.detach(), rtol=1e-5, atol=1e-6)
        assert list(split.terms) == list(result.names)
        assert set(split.memories) == set(together.memories)
        for name, value in split.memories.items():
            torch.testing.assert_close(value, together.memories[name], rtol=1e-5, atol=1e-6)
        if result.total.requires_grad:
            wanted = gradients(result.total, given)
            for name, found in gradients(total, given).items():
                torch.testing.assert_close(found, wanted[name], rtol=1e-4, atol=1e-6)
    assert split.stats.graphs < 25 < together.stats.graphs


def test_a_function_of_the_host_is_called_once_a_step() -> None:
    calls: list[int] = []
    scale = torch.tensor(2.0, requires_grad=True)

    def brighter(image: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return image * scale

    lines = [
        "extern brighter(x: image) -> image",
        "term g = 4 * l1(brighter(rendered), target) when every(step, 4)",
        "term h = 6 * l2(brighter(rendered), target) when every(step, 6)",
    ]
    loss_fn = crowded_with(*lines, register={"brighter": brighter})
    given = tensors()
    total = loss_fn(**given, step=12)
    assert len(calls) == 1
    (slope,) = torch.autograd.grad(total, [scale], retain_graph=True)
    rest = gradients(total, given)
    expected = whole(loss_fn, given, 12).total
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, [scale], retain_graph=True)[0])
    for name, wanted in gradients(expected, given).items():
        torch.testing.assert_close(rest[name], wanted, rtol=1e-5, atol=1e-7)
    calls.clear()
    loss_fn(**given, step=8)
    loss_fn(**given, step=1)
    assert len(calls) == 1


def test_empty_regions_count_in_each_block() -> None:
    loss_fn = crowded_with("term g = 17 * l1(masked) when every(step, 17)")
    given = {**tensors(mask=False), "mask": torch.zeros(1, 24, 20)}
    loss_fn(**given, step=17)
    assert loss_fn.empty_regions.dtype == torch.int32
    assert int(loss_fn.empty_regions) == 1
    loss_fn(**given, step=34)  # a and g, whose region is the same
    assert int(loss_fn.empty_regions) == 2
    loss_fn(**tensors(), step=34)
    assert int(loss_fn.empty_regions) == 0


def test_groups_are_crowded_one_by_one() -> None:
    lines = [f"term many.t{k} = {k} * l1() when every(step, {k})" for k in PERIODS]
    lines += ["term few.a = l2()", "term few.b = 2 * scale_reg(state) when every(step, 2)"]
    with pytest.warns(splatdsl.LossWarning):
        loss_fn = splatdsl.compile("\n".join(lines), backend="eager")
    given = tensors()
    for step in (0, 1, 2, 3):
        loss_fn(**given, step=step, group="few")
    assert loss_fn.stats.graphs == 2
    for step in STEPS:
        loss_fn(**given, step=step, group="many")
    assert loss_fn.stats.graphs == 2 + len(PERIODS)
    assert loss_fn.phases(group="few").sets == 2
    assert loss_fn.phases(group="many").sets == 63


# Phases


def test_phases_of_a_loss() -> None:
    text = "param start: steps = 500\ninput wet: flag\nterm a = l1()\nterm b = l2() when after(step, start) and wet"
    loss_fn = splatdsl.compile(text, backend="eager")
    assert [phase.terms for phase in loss_fn.phases(wet=False)] == [("a",)]
    assert loss_fn.phases(1_000, wet=True).describe().splitlines()[1:] == [
        "  up to step 499: a",
        "  from step 500: a, b",
    ]
    loss_fn.params["start"] = 700
    assert [(phase.start, phase.end) for phase in loss_fn.phases(1_000, wet=True)] == [(0, 700), (700, 1_000)]
    assert loss_fn.phases(1_000)[1].when == "from step 700, while wet"
    for unfit in ({"wet": 3.0}, {"max_steps": 0}, {"group": "x"}):
        with pytest.raises(splatdsl.LossError):
            loss_fn.phases(**unfit)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wett'; did you mean `wet`"):
        loss_fn.phases(wett=True)


def test_a_gated_buffer_is_not_asked_for_before_its_gate() -> None:
    lines = ["term a = l1()", "term b = mean(depth) when after(step, 40)"]
    text = "\n".join([*lines, "term c = normal_consistency() when after(step, 70)"])
    access = LossAccess(splatdsl.compile(text, backend="eager"), 100)
    available = frozenset({"rendered", "alpha", "depth", "normals", "normals_from_depth"})
    for phase, extra in zip(access.fn.phases(100), (set(), {"depth"}, {"depth", "normals", "normals_from_depth"})):
        for step in (phase.start, phase.end - 1):
            assert access.buffers(step, available) == {"rendered", "alpha", *extra}


# Warmup

WARM = """
param start: steps = 50
memory level = 1 then 0.5 * level + 0.5 * mean(rendered) when every(step, 10)
term a = level * l1(masked)
term b = 0.1 * scale_reg(state) when after(step, start)
"""


def state_of(loss_fn: Any) -> Any:
    memories = {name: value.clone() for name, value in loss_fn.memories.items()}
    return dict(loss_fn.terms), loss_fn.empty_regions, memories, torch.get_rng_state(), random.getstate()


def test_after_a_warmup_no_step_compiles_and_nothing_has_changed() -> None:
    loss_fn = splatdsl.compile(WARM, backend="aot_eager")
    given = tensors()
    heard: list[str] = []
    unsubscribe = events.subscribe(lambda event: heard.append(event.message))
    before = state_of(loss_fn)
    made = loss_fn.warmup(**given, max_steps=100)
    unsubscribe()
    after = state_of(loss_fn)
    assert before[:3] == after[:3] == ({}, before[1], {})
    assert torch.equal(before[3], after[3])
    assert before[4] == after[4]
    assert all(leaf.grad is None for leaf in leaves(given).values())
    assert len(made) == 4
    assert sum(one.graphs for one in made) == loss_fn.stats.graphs == loss_fn.stats.predicted
    assert made[0].what == loss_fn.phases(100)[0].describe()
    assert [m for m in heard if m.startswith("preparing phase ")][1] == f"preparing phase 2 of 4: {made[1].what}"
    graphs = loss_fn.stats.graphs
    for step in range(100):
        loss_fn(**given, step=step, max_steps=100).backward()
    assert loss_fn.stats.graphs == graphs
    kept = state_of(loss_fn)
    loss_fn.warmup(**given, max_steps=100)
    assert loss_fn.stats.graphs == graphs
    again = state_of(loss_fn)
    assert kept[0] == again[0]
    assert kept[1] is again[1]
    assert kept[2] == again[2]


def test_a_warmup_with_both_masks_and_for_evaluation() -> None:
    loss_fn = splatdsl.compile("term a = l1(masked)\nterm b = l2(masked) when after(step, 9)", backend="aot_eager")
    given = tensors()
    made = loss_fn.warmup(**given, max_steps=20, masks="both", evaluation=True)
    assert len(made) == 4
    graphs = loss_fn.stats.graphs
    assert graphs >= 4
    for step in (0, 15):
        for arguments in (given, {**given, "mask": None}):
            loss_fn(**arguments, step=step, max_steps=20).backward()
            with torch.no_grad():
                loss_fn(**arguments, step=step, max_steps=20)
    assert loss_fn.stats.graphs == graphs
    bare = splatdsl.compile("l1(masked)", backend="eager")
    assert len(bare.warmup(**tensors(mask=False), masks="both")) == 2
    assert (
        len(
            splatdsl.compile("mean(alpha, mask)", backend="eager").warmup(
                mask=given["mask"], alpha=torch.rand(1, 24, 20, 1, requires_grad=True), masks="both"
            )
        )
        == 1
    )


def test_a_warmup_knows_both_outcomes_of_chance() -> None:
    loss_fn = splatdsl.compile("term a = l1()\nterm b = l2() / 0.5 when chance(step, 0.5)", backend="eager")
    made = loss_fn.warmup(**tensors(), max_steps=100)
    assert [one.what for one in made] == ["while chance(step, 0.5): a, b", "while not chance(step, 0.5): a"]
    assert loss_fn.stats.graphs == 2
    for step in range(20):
        loss_fn(**tensors(), step=step, max_steps=100)
    assert loss_fn.stats.graphs == 2


def test_a_warmup_of_a_crowded_program_has_a_graph_for_each_condition() -> None:
    with pytest.warns(splatdsl.LossWarning):
        loss_fn = splatdsl.compile(CROWDED, backend="eager")
    given = tensors()
    made = loss_fn.warmup(**given)
    assert len(made) == len(PERIODS) == loss_fn.stats.graphs
    for step in STEPS:
        loss_fn(**given, step=step)
    assert loss_fn.stats.graphs == len(PERIODS)


def test_a_warmup_that_fails_changes_nothing() -> None:
    lines = ["memory m = 1 then 0.5 * m + 0.5 * mean(rendered)", "term a = m * l1()"]
    text = "\n".join([*lines, "term b = mean(depth) when after(step, 9)"])
    loss_fn = splatdsl.compile(text, backend="eager")
    with pytest.raises(splatdsl.LossError, match="depth"):
        loss_fn.warmup(**tensors(), max_steps=20)
    assert loss_fn.stats.graphs == 0
    assert dict(loss_fn.memories) == {}
    for unfit in ({"max_steps": 0}, {"masks": "all"}, {"group": "x"}):
        with pytest.raises(splatdsl.LossError):
            loss_fn.warmup(**{**tensors(), **unfit})
    with pytest.raises(TypeError, match="unexpected keyword argument 'tarjet'"):
        loss_fn.warmup(tarjet=1)

    def failing(image: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        raise RuntimeError("the function's own")

    lines = ["extern f(x: image) -> image", "memory m = 1 then 0.5 * m + 0.5 * mean(rendered)"]
    lines += ["term a = m * l1()", "term b = l1(f(rendered), target) when after(step, 9)"]
    text = "\n".join(lines)
    loss_fn = splatdsl.compile(text, backend="eager", register={"f": failing})
    before = state_of(loss_fn)
    with pytest.raises(RuntimeError, match="the function's own"):
        loss_fn.warmup(**tensors(), max_steps=20)
    after = state_of(loss_fn)
    assert before[2] == after[2] == {}
    assert torch.equal(before[3], after[3])


def test_a_warmup_leaves_modules_and_what_is_behind_the_render_alone() -> None:
    module = torch.nn.BatchNorm2d(3)
    net = torch.nn.Sequential(module)

    class Last(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    loss_fn = splatdsl.compile(
        "extern net(x: image) -> image\nterm a = l1(net(rendered), target)", backend="eager", register={"net": Last()}
    )
    given = tensors()
    source = given["rendered"]
    given["rendered"] = source * 1.0  # as a renderer makes it
    (one,) = loss_fn.warmup(**given)
    assert one.graphs == 1
    assert torch.equal(module.running_mean, torch.zeros(3))
    assert int(module.num_batches_tracked) == 0
    assert source.grad is None
    assert all(p.grad is None for p in module.parameters())
    loss_fn(**given, step=0).backward()  # the graph behind the render was not used up
    assert source.grad is not None
    assert int(module.num_batches_tracked) == 1


def test_a_warmup_takes_what_a_training_item_holds() -> None:
    item = SimpleNamespace(target=torch.rand(1, 24, 20, 3), mask=None)
    loss_fn = splatdsl.compile("l1(masked)", backend="eager")
    assert len(loss_fn.warmup(rendered=torch.rand(1, 24, 20, 3, requires_grad=True), item=item)) == 1
