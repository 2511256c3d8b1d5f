"""Sweeps before they run: which runs there are, what they are called, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatdsl.dsl.config import check_config, load_config
from splatdsl.dsl.config_sweep import MOST_RUNS, load_sweep
from splatdsl.dsl.diagnostics import Diagnostic

Write = Callable[[str, str], Path]
BASE = """\
loss: |
  param w = 0.2 in [0, 1]
  w * l1()
data: {kind: synthetic}
"""


def _names(path: Path, *over: str, overrides: tuple[str, ...] = (), paired: bool | None = None) -> list[str]:
    runs, found = load_sweep(path, overrides, over, paired)
    assert found == []
    assert runs is not None
    return [run.name for run in runs]


def _mistakes(path: Path, *over: str, overrides: tuple[str, ...] = ()) -> list[Diagnostic]:
    runs, found = load_sweep(path, overrides, over)
    assert runs is None
    return found


def test_every_combination_is_a_run_the_last_key_changes_fastest(write: Write) -> None:
    path = write("run.yaml", BASE + "sweep:\n  over: {loss_params.w: [0.1, 0.2], train: {seed: [0, 1]}}\n")
    runs, found = load_sweep(path)
    assert found == []
    assert runs is not None
    assert [run.name for run in runs] == ["w=0.1,seed=0", "w=0.1,seed=1", "w=0.2,seed=0", "w=0.2,seed=1"]
    assert [(run.config.loss_params["w"], run.config.train.seed) for run in runs] == [
        (0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1),
    ]  # fmt: skip
    assert runs[3].values == {"loss_params.w": 0.2, "train.seed": 1}
    assert runs[0].config.train.max_steps == 300


def test_values_can_be_paired(write: Write) -> None:
    path = write("run.yaml", BASE + "sweep: {over: {loss_params.w: [0.1, 0.2], train.seed: [5, 6]}, zip: true}\n")
    assert _names(path) == ["w=0.1,seed=5", "w=0.2,seed=6"]
    assert len(_names(path, paired=False)) == 4
    assert _names(path, "train.seed=7,8") == ["w=0.1,seed=7", "w=0.2,seed=8"]


def test_the_command_line_replaces_values_of_the_section_and_adds_keys(write: Write) -> None:
    path = write("run.yaml", BASE + "sweep: {over: {loss_params.w: [0.1, 0.2]}}\n")
    assert _names(path, "loss_params.w=0.3") == ["w=0.3"]
    assert _names(path, "train.seed=1,2") == ["w=0.1,seed=1", "w=0.1,seed=2", "w=0.2,seed=1", "w=0.2,seed=2"]
    assert _names(path, "train.seed=1", overrides=("sweep=null",)) == ["seed=1"]
    assert _names(path, overrides=("sweep.over={train.seed: [3, 4]}",)) == ["seed=3", "seed=4"]
    assert _names(path, overrides=("sweep.over.train.seed=[3]", "sweep.zip=false")) == ["w=0.1,seed=3", "w=0.2,seed=3"]


def test_a_sweep_may_be_a_file_of_its_own(write: Write) -> None:
    write("base.yaml", BASE)
    write("seeds.yaml", "over: {train.seed: [0, 1]}\n")
    assert _names(write("a.yaml", "extends: base.yaml\nsweep: {from: seeds.yaml}\n")) == ["seed=0", "seed=1"]
    write("lists/w.yaml", "[0.1, 0.9]\n")
    text = "extends: base.yaml\nsweep: {over: {loss_params.w: {from: lists/w.yaml}}}\n"
    assert _names(write("b.yaml", text)) == ["w=0.1", "w=0.9"]


def test_values_of_every_form(write: Write) -> None:
    write("one.loss", "l1()\n")
    write("sub/two.loss", "l2()\n")
    path = write("run.yaml", BASE)
    names = _names(path, "loss=one.loss,sub/two.loss,zoo:3dgs,mix(l1(), l2(), 0.5)")
    assert names == ["loss=one", "loss=two", "loss=zoo-3dgs", "loss=mix-l1-l2-0.5"]
    assert _names(path, "train.lr={means: 1, sh0: 2},{}") == ["lr=means-1-sh0-2", "lr=empty"]
    assert _names(path, "train.max_gaussians=null,10,1_000") == [
        "max_gaussians=null", "max_gaussians=10", "max_gaussians=1_000",
    ]  # fmt: skip
    assert _names(path, "data.seed=1,2", "train.seed=1")[0] == "data.seed=1,train.seed=1", "short names would clash"
    assert _names(path, "loss=l1(),l1( )")[1] == "loss=l1~2", "names differ even where slugs do not"


@pytest.fixture(autouse=True)
def in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("3", "`sweep` is a single value"),
        ("{train.seed: [0]}", "`sweep` has no `over`"),
        ("{over: [train.seed]}", "`sweep.over` takes keys"),
        ("{over: {}}", "`sweep.over` takes keys"),
        ("{over: {train.seed: 3}}", "`train.seed` takes a list of values, not a single value"),
        ("{over: {train.seed: []}}", "not an empty list"),
        ("{over: {train.seed: [1, 1]}}", "has the value `1` twice"),
        ("{over: {train.seed: [0, 1], train: {seed: [3]}}}", "`train.seed` is swept twice"),
        ("{over: {train.seed: [0, 1], train: [{seed: 3}]}}", "`train` is swept twice"),
        ("{over: {train.seed: [0, 1], loss_params.w: [1]}, zip: yes}", "`train.seed` has 2 and `loss_params.w` 1"),
        ("{over: {output: [a, b]}}", "`output` cannot be swept"),
        (f"{{over: {{train.seed: {list(range(40))}, data.seed: {list(range(40))}}}}}", f"at most {MOST_RUNS:,} runs"),
    ],
)
def test_sections_that_are_none(write: Write, section: str, message: str) -> None:
    path = write("run.yaml", BASE + f"sweep: {section}\n")
    for found in (_mistakes(path), check_config(path)):
        assert "CFG013" in {d.code for d in found}
        assert any(message in d.message for d in found), [d.message for d in found]
        assert all(d.source.name == str(path) for d in found)
    assert load_config(path)[0] is not None, "it is only read where it counts"


def test_unknown_keys(write: Write) -> None:
    path = write("run.yaml", BASE + "sweep: {ovr: {train.seed: [0]}}\n")
    assert {d.code: d.help for d in _mistakes(path)}["CFG004"] == ("did you mean `over`?",)
    path = write("run.yaml", BASE + "sweep:\n  over:\n    train.sede: [0, 1]\n    loss_params.ww: [0.5]\n")
    assert [(d.code, d.line, d.column, d.help) for d in check_config(path)] == [
        ("CFG004", 7, 11, ("did you mean `seed`?",)),
        ("NAM009", 8, 17, ("did you mean `w`?",)),
    ]
    (found,) = _mistakes(write("run.yaml", BASE), "trian.seed=0,1")
    assert (found.source.name, found.column, found.help) == ("--over", 1, ("did you mean `train`?",))


@pytest.mark.parametrize(
    ("over", "message", "column"),
    [
        ("train.seed", "it takes KEY=VALUE,VALUE", 1),
        ("train.seed=", "it takes KEY=VALUE,VALUE", 1),
        ("=3", "it takes KEY=VALUE,VALUE", 1),
        ("train.seed=1,,2", "has an empty value", 14),
        ("train.seed=1,[", "not valid YAML", 15),
        ("train.seed=1,x", "a whole number", 14),
        ("loss_params.w=0.5,2", "must be in [0, 1]", 19),
        ("loss.x=1,2", "cannot set a key of `loss`", 1),
    ],
)
def test_mistakes_on_the_command_line_point_into_it(write: Write, over: str, message: str, column: int) -> None:
    found = _mistakes(write("run.yaml", BASE), over)[0]
    assert message in found.message
    assert (found.source.name, found.column) == ("--over", column)


def test_a_finding_says_which_runs_have_it(write: Write) -> None:
    path = write("run.yaml", BASE)
    (found,) = _mistakes(path, "train.refine_start=10,500", "train.seed=0,1")
    assert found.code == "CFG010"
    assert found.notes == ("in the run `refine_start=500,seed=0` and 1 more",)
    (found,) = _mistakes(path, "train.seed=0,1", overrides=("loss_params.w=3",))
    assert found.notes == ()


def test_check_looks_at_every_value(write: Write) -> None:
    path = write("run.yaml", BASE + "sweep: {over: {loss_params.w: [0.1, 7], train.seed: [0, -1]}}\n")
    found = check_config(path)
    assert [(d.code, d.line) for d in found] == [("RNG002", 5), ("CFG007", 5)]
    assert check_config(path, sweep=False) == []
    # What every run replaces need not be there for the sweep, but for a run alone.
    path = write("b.yaml", "data: {kind: synthetic}\nsweep: {over: {loss: [l1(), l2()]}}\n")
    assert check_config(path) == []
    assert [d.code for d in check_config(path, sweep=False)] == ["CFG005"]


@settings(max_examples=100, deadline=None)
@given(st.text("ab.=,[]{}()'\" :w1~train.seed", max_size=20))
def test_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "sweep.yaml"
    path.write_text(BASE)
    runs, found = load_sweep(path, over=[text, f"train.seed={text}"])
    assert (runs is None) == bool(found)
    for diagnostic in found:
        assert str(diagnostic)
