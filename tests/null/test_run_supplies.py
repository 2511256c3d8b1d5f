"""What a run gives to a program beside the render: fields of items and numbers by their documented names."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.config import check_config
from splatdsl.dsl.manifest import RENDERERS, RUN_VALUES

FIELDS = frozenset({"target", "mask", "points", "depths"})
COLOUR = "term colour = l1()\n"
FLAGGED = "param wanted: flag = false\ninput reliable: flag\n"
MONO = "input mono: depth[relative]?\n"


def codes(text: str, fields: frozenset[str] = FIELDS) -> list[str]:
    found = check_text(text, renderer_buffers=RENDERERS["reference"], data_fields=fields)
    assert not [d for d in found if d.code.startswith(("SYN", "NAM"))]
    return [d.code for d in found if d.code.startswith("BUF")]


@pytest.mark.parametrize("name", sorted(RUN_VALUES))
def test_numbers_of_the_run(name: str) -> None:
    text = f"input %s: number in (0, inf)\n{COLOUR}term size = %s * mean(state.scales)"
    assert codes(text % (name, name)) == []
    assert codes(text % ("other", "other")) == ["BUF002"]
    flag = f"input {name}: flag\n{COLOUR}term size = mean(state.scales) when {name}"
    assert codes(flag) == ["BUF002"], "a number is no flag"


def test_sparse_points() -> None:
    text = (
        "input points: [B M 2]\ninput depths: [B M 1] in (0, inf)\n"
        f"{COLOUR}term seen = mean(abs(sample_at(depth, points) - depths))"
    )
    assert codes(text) == []
    assert codes(text, FIELDS - {"depths"}) == ["BUF002"]


def test_a_term_that_a_flag_or_mode_switches_off_asks_for_nothing() -> None:
    off = f"{FLAGGED}{COLOUR}term size = mean(state.scales) when wanted and reliable"
    assert codes(off) == []
    assert codes(off.replace("= false", "= true")) == ["BUF002"]
    staged = 'param stage = "%s" in {"coarse", "fine"}\ninput planes: list of [C Y X]\n' + COLOUR
    staged += 'term space = sum(mean(p) for p in planes) when stage == "fine"'
    assert codes(staged % "coarse") == []
    assert codes(staged % "fine") == ["BUF002"]


def test_a_term_that_never_exists_is_reported_once() -> None:
    text = f"input reliable: flag\n{MONO}{COLOUR}term odd = pearson_loss(depth, mono) when reliable and has(mono)"
    assert codes(text) == ["BUF003"]
    assert codes(text, FIELDS | {"mono"}) == ["BUF002"]


def test_configs_know_what_their_data_have() -> None:
    program = (
        "input scene_scale: number in (0, inf)\n  input points: [B M 2]\n  input depths: [B M 1] in (0, inf)\n"
        "  term colour = l1()\n  term seen = scene_scale * mean(abs(sample_at(depth, points) - depths))\n"
    )
    text = f"loss: |\n  {program}data: {{kind: synthetic}}\nrenderer: {{kind: reference}}\n"
    assert check_config("run.yaml", text=text) == []
    assert [d.code for d in check_config("run.yaml", text=text.replace("depths", "ranges"))] == ["BUF002"]
