"""Run configs of several files: what is in force, where it was written, and every way in which it can go wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatdsl.dsl.config import check_config, config_to_dict, load_config
from splatdsl.dsl.config_files import merged
from splatdsl.dsl.config_schema import Key, RunConfig, all_keys
from splatdsl.dsl.config_yaml import Items, Mapping, Node, Reset, Scalar, read_tree
from splatdsl.dsl.diagnostics import Diagnostic, Sink
from splatdsl.dsl.source import Source

Write = Callable[[str, str], Path]
BASE = "loss: l1(masked)\ndata: {kind: synthetic, views: 6}\ntrain: {max_steps: 50, lr: {means: 2}}\n"


def _load(path: Path, *overrides: str) -> RunConfig:
    config, found = load_config(path, overrides)
    assert found == []
    assert config is not None
    return config


def _mistakes(path: Path, *overrides: str) -> list[Diagnostic]:
    config, found = load_config(path, overrides)
    assert config is None
    return found


def _one(path: Path, *overrides: str) -> Diagnostic:
    (found,) = _mistakes(path, *overrides)
    return found


def _places(config: RunConfig) -> dict[str, tuple[str, int]]:
    assert config.origin is not None
    return {
        key: (os.path.basename(place.source.name), place.source.position(place.span.start)[0])
        for key, place in config.origin.values.items()
    }


# What is in force


def test_later_files_win_key_by_key(write: Write) -> None:
    write("base.yaml", BASE)
    write("fast.yaml", "train:\n  max_steps: 20\n  seed: 4\n")
    config = _load(write("run.yaml", "extends: [base.yaml, fast.yaml]\ntrain: {seed: 5, lr: {sh0: 3}}\n"))
    assert (config.train.max_steps, config.train.seed, config.data.views) == (20, 5, 6)
    assert (config.train.lr.means, config.train.lr.sh0) == (2, 3)
    places = _places(config)
    assert places["train.max_steps"] == ("fast.yaml", 2)
    assert places["train.seed"] == ("run.yaml", 2)
    assert places["data.views"] == ("base.yaml", 2)
    assert config.origin is not None
    assert [os.path.basename(name) for name in config.origin.files] == ["base.yaml", "fast.yaml"]


def test_sections_values_and_parts_of_other_files(write: Write) -> None:
    write("base.yaml", BASE)
    write("parts/weights.yaml", "w: 0.5\nv: 2\n")
    write("parts/steps.yaml", "7_000\n")
    write("presets.yaml", "quick: {train: {seed: 3, lr: {shN: 0}}}\n")
    text = """\
extends: base.yaml
loss_params: {from: parts/weights.yaml, v: 3}
train:
  from: ["presets.yaml#quick.train"]
  max_steps: {from: parts/steps.yaml}
"""
    config = _load(write("run.yaml", text))
    assert config.loss_params == {"w": 0.5, "v": 3}
    assert (config.train.max_steps, config.train.seed, config.train.lr.shN, config.train.lr.means) == (7000, 3, 0, 2)
    assert _places(config)["train.max_steps"] == ("steps.yaml", 1)


def test_files_extend_others_and_paths_are_relative_to_the_file_that_says_them(write: Write, tmp_path: Path) -> None:
    write("shared/losses/a.loss", "l1()\n")
    write("shared/scene/sparse/x", "")
    write("shared/deep/data.yaml", "kind: colmap\npath: ../scene\n")
    write("shared/base.yaml", "loss: losses/a.loss\ndata: {from: deep/data.yaml}\n")
    config = _load(write("runs/run.yaml", "extends: ../shared/base.yaml\n"))
    assert config.loss_source().text == "l1()\n"
    assert config.data.path == str(tmp_path / "shared" / "scene")
    made = json.dumps(config_to_dict(config))
    again, found = load_config("elsewhere.yaml", text=made)
    assert found == []
    assert again is not None
    assert config_to_dict(again) == json.loads(made)


def test_null_takes_a_value_back_and_an_empty_section_adds_nothing(write: Write) -> None:
    write("base.yaml", BASE + "loss_params: {w: 1}\n")
    config = _load(write("run.yaml", "extends: base.yaml\ndata: {views: null}\ntrain:\nloss_params: ~\n"))
    assert config.data.views == 24
    assert config.train.max_steps == 50
    assert config.loss_params == {}
    run = write("b.yaml", "extends: base.yaml\n")
    assert _load(run, "data.views=null", "train.lr=null", "train.lr.sh0=4").train.lr.means == 1
    assert _load(run, "train.seed=null").train.seed == 0
    assert _one(run, "loss=null").code == "CFG005"
    # What belongs to the other kind of data is not in the way once it is taken back.
    write("scene/sparse/x", "")
    assert _mistakes(run, "data.kind=colmap", f"data.path={run.parent}/scene")[0].code == "CFG009"
    assert _load(run, "data.kind=colmap", f"data.path={run.parent}/scene", "data.views=null").data.kind == "colmap"


def test_overrides_name_files_relative_to_the_current_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("sub/base.yaml", BASE)
    write("here/other.yaml", BASE.replace("50", "70"))
    write("here/w.yaml", "w: 1\n")
    run = write("sub/run.yaml", "extends: base.yaml\n")
    monkeypatch.chdir(tmp_path / "here")
    assert _load(run, "extends=other.yaml").train.max_steps == 70
    assert _load(run, "extends=[../sub/base.yaml,other.yaml]").train.max_steps == 70
    assert _load(run, "loss_params={from: w.yaml}").loss_params == {"w": 1}
    assert _mistakes(run, "extends=null")[0].code == "CFG005"


def test_a_parameter_may_be_called_from(write: Write) -> None:
    assert _load(write("a.yaml", BASE + "loss_params: {from: 0.5}\n")).loss_params == {"from": 0.5}


def test_lists_are_replaced() -> None:
    source = Source("a: [1, 2]\nb: {c: 1, d: [3]}\n")
    base = read_tree(source, Sink())
    over = read_tree(Source("a: [9]\nb: {d: null}\n"), Sink())
    assert base is not None
    assert over is not None
    made = merged(base, over)
    assert isinstance(made, Mapping)
    items = made.entries["a"][1]
    assert isinstance(items, Items)
    assert len(items.items) == 1
    inner = made.entries["b"][1]
    assert isinstance(inner, Mapping)
    assert isinstance(inner.entries["d"][1], Reset)
    assert isinstance(base.entries["b"][1].entries["d"][1], Items), "nodes are never changed"


def test_an_override_of_a_shared_value_changes_one_place_only(write: Write) -> None:
    run = write("run.yaml", "loss: l1()\ndata: {kind: synthetic}\nloss_params: &p {means: 1}\ntrain: {lr: *p}\n")
    config = _load(run, "loss_params.means=3")
    assert (config.loss_params["means"], config.train.lr.means) == (3, 1)


_VALUES = {"loss": "a.loss", "data.path": "scene", "data.kind": "synthetic", "loss_params": "{w: 1}"}


def _legal(key: Key) -> str:
    """A value that the key takes and that is not its default."""
    if key.option.choices and key.dotted not in _VALUES:
        return next(choice for choice in key.option.choices if choice != key.default)
    kinds = {"bool": str(not key.default).lower(), "str": "words", "int": "64", "float": "0.25", "table": "{}"}
    value = "2" if key.option.le is not None else kinds.get(key.type, "")
    return _VALUES.get(key.dotted, value)


@pytest.mark.parametrize("key", [key for key in all_keys() if key.type != "section"], ids=lambda key: key.dotted)
def test_every_key_comes_from_a_file_and_can_be_set_and_taken_back(key: Key, write: Write) -> None:
    write("scene/sparse/x", "")
    write("scene/masks/x", "")
    write("scene/words/x", "")
    loss = write("a.loss", "l1()\n")
    value = _legal(key)
    words = key.dotted.split(".")
    scene = f"data: {{kind: auto, path: {loss.parent / 'scene'}}}\n"
    on_disk = words[0] == "data" and key.name not in ("kind", "height", "views", "seed")
    write("base.yaml", f"loss: {loss}\n{scene if on_disk else 'data: {kind: synthetic}'}\n")
    plain = write("plain.yaml", "extends: base.yaml\noutput: x\n")
    nested = "".join(f"{'  ' * i}{word}:\n" for i, word in enumerate(words)).rstrip()
    output = "" if key.name == "output" else "output: x\n"
    run = write("run.yaml", f"extends: base.yaml\n{output}{nested} {value}\n")
    given = f"{key.dotted}={loss.parent / value if key.dotted in ('loss', 'data.path') else value}"
    made = config_to_dict(_load(plain, given))
    assert config_to_dict(_load(run)) == made
    if key.type != "table" and key.dotted not in ("loss", "data.kind", "data.path"):
        assert made != config_to_dict(_load(plain))
    if not key.required and key.dotted not in ("data.path", "output"):
        without = config_to_dict(_load(run, f"{key.dotted}=null"))
        expected = config_to_dict(_load(plain))
        if words[:2] == ["data", "inputs"]:  # the entry itself stays, with its defaults
            without["data"].pop("inputs", None)
            expected["data"].pop("inputs", None)
        assert without == expected


def test_a_folder_is_searched_for_configs_that_extend_others_too(write: Write, tmp_path: Path, run_cli) -> None:
    write("parts/data.yaml", "data: {kind: synthetic}\n")
    write("run.yaml", "extends: parts/data.yaml\nloss: l1(maskd)\n")
    write("compose.yaml", "services: {extends: {file: x}}\n")
    done = run_cli("check", ".", "--format", "concise", cwd=tmp_path)
    assert done.stdout.count("NAM001") == 1
    assert "in 1 file" in done.stderr


# Mistakes


@pytest.mark.parametrize(
    ("text", "code", "message", "column"),
    [
        ("extends: nope.yaml\n", "CFG008", "does not exist", 10),
        ("extends: run.yaml\n", "CFG012", "is part of itself", 10),
        ("extends: 3.5\n", "CFG008", "does not exist", 10),
        ("extends: {a: b}\n", "CFG006", "takes the path of a config or a list of such, not a mapping", 10),
        ("extends: []\n", "CFG006", "not nothing", 1),
        ("extends: [base.yaml, [x]]\n", "CFG006", "not a list", 22),
        ("extends:\n", "CFG006", "not nothing", 1),
        ("extends: number.yaml\n", "CFG006", "is a single value, but what a config extends has keys", 10),
        ("extends: empty.yaml\n", "CFG008", "is empty", 10),
        ("extends: base.yaml#tran\n", "CFG004", "has no key `tran`", 10),
        ("extends: folder.yaml\n", "CFG008", "is a folder", 10),
        ("extends: notes.txt\n", "CFG008", "is not a `.yaml` file", 10),
        ("extends: !x base.yaml\n", "CFG002", "tags", 10),
        ("extends: base.yaml\ntrain: {from: number.yaml, seed: 1}\n", "CFG006", "must be a mapping to have keys", 9),
        ("extends: base.yaml\nloss: {from: base.yaml}\n", "CFG006", "`loss` must be text, and is a mapping", 1),
        ("extends: base.yaml\ntrain: {extends: base.yaml}\n", "CFG004", "`extends` is not a key of `train`", 9),
        ("extends: base.yaml\nfrom: base.yaml\n", "CFG004", "`from` is not a key of a run config", 1),
        ("extend: base.yaml\n" + BASE, "CFG004", "`extend` is not a key of a run config", 1),
    ],
)
def test_mistakes_are_found_at_their_place(write: Write, text: str, code: str, message: str, column: int) -> None:
    write("base.yaml", BASE)
    write("number.yaml", "3\n")
    write("empty.yaml", "# nothing\n")
    write("folder.yaml/x", "")
    write("notes.txt", BASE)
    found = _one(write("run.yaml", text))
    assert (found.code, found.column) == (code, column)
    assert message in found.message


def test_suggestions(write: Write) -> None:
    write("base.yaml", BASE)
    assert "base.yaml" in _one(write("a.yaml", "extends: bse.yaml\n")).help[0]
    assert _one(write("b.yaml", "extends: base.yaml#tran\n")).help == ("did you mean `train`?",)
    assert _one(write("c.yaml", BASE + "extend: base.yaml\n")).help == ("did you mean `extends`?",)
    assert _one(write("d.yaml", "extends: base.yaml\nfrom: base.yaml\n")).help == (
        "at the top of a file write `extends`",
    )


def test_findings_are_in_the_file_that_says_it(write: Write) -> None:
    write("base.yaml", "loss: |\n  param w = 0.2 in [0, 1]\n  w * l1(maskd)\ndata: {kind: synthetic, views: 0}\n")
    write("params.yaml", "\nw: 3\nww: 1\n")
    run = write("run.yaml", "extends: base.yaml\nloss_params: {from: params.yaml}\ntrain: {seed: -1}\n")
    found = [(os.path.basename(d.source.name), d.line, d.column, d.code) for d in check_config(run)]
    assert found == [
        ("base.yaml", 3, 10, "NAM001"),
        ("base.yaml", 4, 32, "CFG007"),
        ("params.yaml", 2, 4, "RNG002"),
        ("params.yaml", 3, 1, "NAM009"),
        ("run.yaml", 3, 15, "CFG007"),
    ]
    write("scene/sparse/x", "")
    write("other.yaml", "loss: l1()\ndata:\n  views: 6\n")
    unused = _one(write("b.yaml", "extends: other.yaml\ndata: {kind: colmap, path: scene}\n"))
    assert (unused.code, os.path.basename(unused.source.name), unused.line) == ("CFG009", "other.yaml", 3)
    (label,) = unused.labels
    assert label.source is not None
    assert os.path.basename(label.source.name) == "b.yaml"


def test_circles_and_too_many_files(write: Write) -> None:
    write("a.yaml", "extends: sub/b.yaml\n")
    write("sub/b.yaml", "extends: ../a.yaml\n")
    found = _one(write("run.yaml", "extends: a.yaml\n" + BASE))
    assert found.code == "CFG012"
    assert found.notes[0].count(" -> ") == 3
    assert os.path.basename(found.source.name) == "b.yaml"
    for i in range(60):
        write(f"chain{i}.yaml", f"extends: chain{i + 1}.yaml\n")
    write("chain60.yaml", BASE)
    assert _one(write("deep.yaml", "extends: chain0.yaml\n")).code == "CFG012"
    write("many.yaml", "seed: 1\n")
    names = ", ".join(["many.yaml"] * 101)
    assert _one(write("wide.yaml", BASE + f"loss_params: {{from: [{names}]}}\n")).code == "CFG012"
    # Two of each name two of the next: 2^20 without a limit.
    for i in range(20):
        write(f"two{i}.yaml", f"a: {{from: two{i + 1}.yaml}}\nb: {{from: two{i + 1}.yaml}}\n")
    write("two20.yaml", "c: 1\n")
    assert "CFG012" in {d.code for d in _mistakes(write("bomb.yaml", BASE + "loss_params: {from: two0.yaml}\n"))}


def test_what_may_stand_in_a_missing_file_is_not_reported_as_missing(write: Write) -> None:
    assert [d.code for d in _mistakes(write("run.yaml", "extends: nope.yaml\n"))] == ["CFG008"]
    write("broken.yaml", "loss: [a\n")
    assert [d.code for d in _mistakes(write("b.yaml", "extends: broken.yaml\n"))] == ["CFG001"]


_NAMES = st.sampled_from(
    ["a.yaml", "b.yaml", "run.yaml", "none.yaml", "a.yaml#train", "3", "[a.yaml, b.yaml]", "~", "{}"]
)
_LINES = st.builds(
    "{}{}: {}\n".format,
    st.sampled_from(["", "  ", "    "]),
    st.sampled_from(["extends", "from", "train", "loss", "data", "loss_params", "w", "lr"]),
    st.one_of(_NAMES, st.just(""), st.builds("{{from: {}}}".format, _NAMES)),
)
_TEXT = st.lists(_LINES, max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(_TEXT, _TEXT, _TEXT)
def test_whatever_the_files_hold_there_are_findings_and_no_exception(
    tmp_path_factory: pytest.TempPathFactory, a: str, b: str, run: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    for name, text in (("a", a), ("b", b), ("run", run)):
        (folder / f"{name}.yaml").write_text(text)
    config, found = load_config(folder / "run.yaml")
    assert (config is None) == bool(found)
    for diagnostic in found:
        assert str(diagnostic)


def test_nodes_that_stand_for_nothing_stay_what_they_are() -> None:
    source = Source("a: null\n")
    tree = read_tree(source, Sink())
    assert isinstance(tree, Mapping)
    value = tree.entries["a"][1]
    assert isinstance(value, Scalar)
    refused = Node(*value.place)
    assert merged(tree, refused) is refused
