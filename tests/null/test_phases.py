"""Phases of a run against a search through all of its steps, and the finding for programs that have too many."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.host import PRESENT, environment, evaluate
from splatdsl.dsl.live import Zeros
from splatdsl.dsl.phases import Phases, phases
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import TypedProgram
from splatdsl.dsl.types import FLAG

HEAD = "param start: steps = 30\nparam on: flag = true\ninput wet: flag\ninput depth_error: number in [0, 10]\n"
VALUES = ["l1()", "l2()", "ssim_loss()", "scale_reg(state)", "opacity_reg(state)", "huber()", "charbonnier()"]


def program(text: str) -> TypedProgram:
    found, diagnostics = analyse(Source(text, "test.loss"), None)
    assert found is not None, diagnostics
    return found


def gated(*conditions: str, head: str = HEAD) -> TypedProgram:
    """A term for each condition; "" is none."""
    lines = (
        f"term t{i} = {VALUES[i % len(VALUES)]}{f' when {condition}' if condition else ''}"
        for i, condition in enumerate(conditions)
    )
    return program(head + "\n".join(lines))


def searched(
    found: TypedProgram, steps: int, group: str | None = None, host: Mapping[str, Any] | None = None
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], set[int]]:
    """The steps of every set of terms, step by step, for each value of what the host gives."""
    params = {name: info.value for name, info in found.params.items()}
    zeros = Zeros(params)
    asked = {e.value for when in found.conditions() for e in when.walk() if e.op == "input"}
    inputs = {name: info for name, info in found.inputs.items() if name in asked}
    values = {n: [False, True] if i.kind == FLAG else [1.0, 2.0, 2.5, 3.0, 5.0, 5.5, 8.0] for n, i in inputs.items()}
    values.update((name, [value]) for name, value in (host or {}).items())
    terms = [t for t in found.terms if (group is None or t.group == group) and not zeros.is_zero(t.value)]
    read = {name for t in terms for name in zeros.memories(t.value)}
    made: dict[tuple[tuple[str, ...], tuple[str, ...]], set[int]] = {}
    for chosen in product(*values.values()):
        for step in range(steps):
            env = {**environment(step, steps, params), **dict(zip(values, chosen)), PRESENT: {"mask", "target"}}
            exist = tuple(t.name for t in terms if t.when is None or evaluate(t.when, env))
            renewed = tuple(
                name for name in sorted(read) if (when := found.memories[name].when) is None or evaluate(when, env)
            )
            made.setdefault((exist, renewed), set()).add(step)
    return made


def listed(made: Phases) -> dict[tuple[tuple[str, ...], tuple[str, ...]], set[int]]:
    keys = [(phase.terms, phase.updates) for phase in made]
    assert len(set(keys)) == len(keys), "each set of terms is one phase"
    for phase in made:
        steps = [step for span in phase.spans for step in range(span.start, span.stop or 0)]
        assert steps == [step for step in range(made.max_steps) if phase.holds(step)]
        assert (phase.start, phase.end, phase.steps) == (steps[0], steps[-1] + 1, len(steps))
    return {(phase.terms, phase.updates): {s for s in range(made.max_steps) if phase.holds(s)} for phase in made}


@pytest.mark.parametrize(
    "conditions",
    [
        ("",),
        ("", "after(step, 500)", "between(step, 100, 700)", "before(step, 100)"),
        ("", "every(step, 16) and after(step, start)", "every(step - 5, 16)", "not every(step, 4)"),
        ("every(step, 2)", "every(step, 3)", "every(step, 5)", "every(step, 7, 3)", "every(step, 11)"),
        ("progress > 0.5", "after(progress, 0.25) or every(step, 10)", "step < max_steps - 7", "not (progress > 0.5)"),
        ("on", "not on", "on and after(step, 10)", "after(step, 10) if on else before(step, 20)"),
        ("wet", "not wet and after(step, 40)", "wet or every(step, 9)"),
        ("depth_error > 2", "depth_error > 5 and after(step, 20)", "between(depth_error, 3, 8)", "depth_error < 2"),
        ("sin(step / 7) > 0.3", "step ^ 2 > 40000", "sin(step / 7) > 0.3 and every(step, 3)"),
        ("after(step, 5000)", "before(step, 0) or after(step, 799)", "has(mask)", "every(step, 1)"),
    ],
)
def test_phases_are_those_of_a_search_through_all_steps(conditions: tuple[str, ...]) -> None:
    found = gated(*conditions)
    made = phases(found, 800)
    assert made.complete
    assert listed(made) == searched(found, 800)


def test_random_conditions() -> None:
    draw = random.Random(7)
    atoms = ["after(step, {a})", "before(step, {a})", "between(step, {a}, {b})", "every(step, {k})", "wet"]
    atoms += ["every(step, {k}, {o})", "progress > 0.{o}", "on", "after(step, start + {k})"]

    def condition(depth: int = 0) -> str:
        if depth < 2 and draw.random() < 0.5:
            return f"({condition(depth + 1)} {draw.choice(['and', 'or'])} {condition(depth + 1)})"
        k = draw.randint(2, 13)
        a = draw.randint(1, 150)
        text = draw.choice(atoms).format(k=k, o=draw.randint(1, k - 1), a=a, b=a + draw.randint(1, 200))
        return f"not {text}" if draw.random() < 0.3 else text

    for _ in range(20):
        found = gated(*(condition() for _ in range(draw.randint(1, 5))))
        assert listed(phases(found, 200)) == searched(found, 200)


def test_what_the_host_gives_is_the_same_at_all_steps() -> None:
    found = gated("wet", "depth_error > 2 and after(step, 40)")
    assert len(phases(found, 100)) == 4
    for wet in (False, True):
        host = {"wet": wet, "depth_error": 3.0}
        assert listed(phases(found, 100, host=host)) == searched(found, 100, host=host)
    (early, late) = phases(found, 100, host={"wet": True, "depth_error": 3.0})
    assert (early.terms, early.start, early.end) == (("t0",), 0, 40)
    assert (late.terms, late.start, late.end) == (("t0", "t1"), 40, 100)


def test_chance_counts_both_ways() -> None:
    made = phases(gated("", "chance(step, 0.5)"), 100)
    assert [(phase.terms, phase.steps) for phase in made] == [(("t0", "t1"), 100), (("t0",), 100)]
    assert [phase.when for phase in made] == ["while chance(step, 0.5)", "while not chance(step, 0.5)"]


def test_parameters_in_force_decide() -> None:
    text = "param w = 0.5 >= 0\nparam start: steps = 30\nterm a = l1()\nterm b = w * l2() when after(step, start)"
    found = program(text)
    assert [phase.terms for phase in phases(found, 100)] == [("a",), ("a", "b")]
    found.params["start"].value = 60.0
    assert [phase.start for phase in phases(found, 100)] == [0, 60]
    found.params["w"].value = 0.0
    assert [phase.terms for phase in phases(found, 100)] == [("a",)]


def test_groups_and_memories() -> None:
    found = program(
        "memory level = 1 then 0.9 * level + 0.1 * mean(alpha) when every(step, 10)\n"
        "memory other = 1 then 0.5 * other + 0.5 * mean(alpha) when every(step, 3)\n"
        "term near.colour = level * l1()\nterm far.colour = l2() when after(step, 50)\n"
        "term far.shape = other * scale_reg(state) when every(step, 4)"
    )
    for group in (None, "near", "far"):
        assert listed(phases(found, 120, group)) == searched(found, 120, group)
    assert {phase.updates for phase in phases(found, 120, "near")} == {(), ("level",)}


def test_inputs_that_are_not_there() -> None:
    found = program("term a = l1()\nterm b = mean(alpha, unmasked) when has(mask) and after(step, 10)")
    assert [phase.terms for phase in phases(found, 20)] == [("a",), ("a", "b")]
    assert [phase.terms for phase in phases(found, 20, present={"target"})] == [("a",)]


def test_words() -> None:
    made = phases(gated("", "every(step, 16) and after(step, 500)", "between(step, 600, 3000)"), 30_000)
    assert made.describe().splitlines() == [
        "4 phases",
        "  up to step 499; steps 500 to 599 and from step 3,000, other than every 16 steps: t0",
        "  steps 500 to 599 and from step 3,000, every 16 steps: t0, t1",
        "  steps 600 to 2,999, other than every 16 steps: t0, t2",
        "  steps 600 to 2,999, every 16 steps: t0, t1, t2",
    ]
    assert repr(made[1]) == "Phase(steps 500 to 599 and from step 3,000, every 16 steps: t0, t1)"
    assert made.gates == ("every(step, 16) and after(step, 500)", "between(step, 600, 3000)")
    three = phases(gated("", "every(step, 2)", "every(step, 3)"), 1_000)
    assert {phase.terms: phase.when for phase in three} == {
        ("t0", "t1", "t2"): "every 2 steps, every 3 steps",
        ("t0",): "always, other than every 2, 3 steps",
        ("t0", "t1"): "every 2 steps, other than every 3 steps",
        ("t0", "t2"): "every 3 steps, other than every 2 steps",
    }
    (alone, wet) = phases(gated("", "wet and after(step, 40)"), 100)
    assert (alone.when, wet.when) == ("depending on wet", "from step 40, while wet")
    renewed = program("memory m = 1 then 0.5 * m + 0.5 * mean(alpha) when every(step, 10)\nterm a = m * l1()")
    assert phases(renewed, 1_000)[0].describe() == "every 10 steps: a; renews m"
    assert phases(gated("after(step, 5)"), 9)[0].describe() == "up to step 4: no term"


def test_a_run_of_one_step_and_one_that_is_very_long() -> None:
    found = gated("", "after(step, 1)", "every(step, 7)")
    assert [phase.terms for phase in phases(found, 1)] == [("t0", "t2")]
    long = phases(found, 200_000)
    assert sum(phase.steps for phase in long) == 200_000
    assert long.complete
    assert not phases(found, 10**9).complete


def test_more_sets_than_anyone_lists() -> None:
    primes = [k for k in range(2, 72) if all(k % other for other in range(2, k))]
    made = phases(gated(*(f"every(step, {k})" for k in primes)), 30_000)
    assert not made.complete
    assert made.describe().startswith("more than 1,000 phases, of which these come first")
    for phase in made[:20]:
        assert phase.terms == tuple(f"t{i}" for i, k in enumerate(primes) if phase.start % k == 0)


# The finding


def crowded(*conditions: str, head: str = HEAD, **options: Any) -> list[str]:
    """The messages of SCH025 for a program with a term for each condition."""
    lines = (
        f"term t{i} = 100 * {VALUES[i % len(VALUES)]}{f' when {condition}' if condition else ''}"
        for i, condition in enumerate(conditions)
    )
    return [d.message for d in check_text(head + "\n".join(lines), **options) if d.code == "SCH025"]


COPRIME = [f"every(step, {k})" for k in (2, 3, 5, 7, 11, 13)]
STARTS = [f"after(step, {1000 * (i + 1)})" for i in range(17)]


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (COPRIME[:5], "the 5 conditions of this program make 31 sets of terms that exist together, more than 16"),
        (COPRIME, "the 6 conditions of this program make 63 sets of terms that exist together, more than 16"),
        (
            ["", *STARTS[:16]],
            "the 16 conditions of this program make 17 sets of terms that exist together, more than 16",
        ),
        (
            [f"chance(step, 0.{i + 1})" for i in range(6)],
            "the 6 conditions of this program make 63 sets of terms that exist together, more than 16",
        ),
    ],
)
def test_too_many_sets_are_found(conditions: list[str], message: str) -> None:
    assert crowded(*conditions) == [message]
    assert crowded(*conditions, max_steps=30_000) == [message]


@pytest.mark.parametrize(
    ("conditions", "steps"),
    [
        (COPRIME[:4], None),
        (["", *STARTS[:15]], None),
        (["", *STARTS], 10_000),  # the others begin after the run has ended
        ([COPRIME[0]] * 8 + COPRIME[1:3], None),
        ([f"depth_error > {i}" for i in range(1, 9)], None),
        (["every(step, 16)", *(f"every(step, 16, {i})" for i in range(1, 12))], None),
        ([f"{COPRIME[i]} and before(step, 0.5 * start)" for i in range(5)], 10_000),
    ],
)
def test_few_sets_of_many_conditions_are_no_finding(conditions: list[str], steps: int | None) -> None:
    assert crowded(*conditions, max_steps=steps) == []


def test_groups_are_counted_apart() -> None:
    one, other = ("\n".join(f"term {g}.t{i} = l1() when {c}" for i, c in enumerate(COPRIME[:5])) for g in "ab")
    few = "\n".join(f"term c.t{i} = l2() when {c}" for i, c in enumerate(COPRIME[:3]))
    found = [d.message for d in check_text(f"{one}\n{other}\n{few}") if d.code == "SCH025"]
    assert [message.split(" make ")[0] for message in found] == [
        "the 5 conditions of the group `a`",
        "the 5 conditions of the group `b`",
    ]


def test_explain_lists_phases_or_says_that_they_are_too_many(run_cli, tmp_path) -> None:
    text = "term a = l1()\nterm b = scale_reg(state) when after(step, 50)\n"
    (tmp_path / "few.loss").write_text(text)
    shown = run_cli("explain", "few.loss", "--steps", "100", cwd=tmp_path).stdout
    assert shown.endswith("\nphases\n  a     up to step 49\n  a, b  from step 50\n")
    many = "".join(f"term t{k} = {k} * l1() when every(step, {k})\n" for k in (2, 3, 5, 7, 11))
    (tmp_path / "many.loss").write_text(many)
    shown = run_cli("explain", "many.loss", cwd=tmp_path).stdout
    assert shown.endswith(
        "\nphases, in a run of 30,000 steps\n  31 sets of terms, more than 16: each of 5 conditions has its own graph\n"
    )
