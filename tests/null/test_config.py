"""Run configs: every key, every mistake, in one run and at its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from splatdsl.dsl.codes.config import CODES
from splatdsl.dsl.config import check_config, config_to_dict, data_fields, load_config, renderer_buffers
from splatdsl.dsl.config_schema import SECTIONS, Key, RunConfig, all_keys, keys, reference
from splatdsl.dsl.diagnostics import Diagnostic

MINIMAL = "loss: l1(masked)\ndata: {kind: synthetic}\n"


def _codes(found: list[Diagnostic]) -> list[str]:
    return [d.code for d in found]


def _load(text: str, *overrides: str, path: str = "run.yaml") -> RunConfig:
    config, found = load_config(path, overrides, text)
    assert found == []
    assert config is not None
    return config


def _mistakes(text: str, *overrides: str, path: str = "run.yaml") -> list[Diagnostic]:
    config, found = load_config(path, overrides, text)
    assert config is None
    assert found
    return found


def _one(text: str, *overrides: str, path: str = "run.yaml") -> Diagnostic:
    (found,) = _mistakes(text, *overrides, path=path)
    return found


# Values


def test_defaults() -> None:
    config = _load(MINIMAL)
    assert (config.loss, config.data.kind, config.renderer.kind) == ("l1(masked)", "synthetic", "auto")
    assert (config.train.max_steps, config.train.seed, config.train.strategy) == (300, 0, "default")
    assert config.train.refine_stop is None
    assert config.train.lr.means == 1.0
    assert config.loss_params == {}
    assert config.output == os.path.join("runs", "run")


def test_values() -> None:
    config = _load(
        MINIMAL
        + "loss_params: {a: 0.2, b: 7_000, c: true, d: same, e: '3'}\n"
        + "train: {max_steps: 30_000, init_opacity: 1e-1, tensorboard: no, seed: 010, lr: {means: .5}}\noutput: out\n"
    )
    assert config.loss_params == {"a": 0.2, "b": 7000, "c": True, "d": "same", "e": "3"}
    assert config.train.max_steps == 30_000
    assert config.train.init_opacity == 0.1, "YAML itself takes 1e-1 for text"
    assert config.train.seed == 10, "YAML itself takes 010 for eight"
    assert config.train.tensorboard is False
    assert config.train.lr.means == 0.5
    assert config.output == "out"


def test_null_is_not_given() -> None:
    config = _load("loss: l1()\ndata: {kind: synthetic, path: null, width: ~}\ntrain:\nrenderer:\n")
    assert config.data.path is None
    assert config.train.max_steps == 300


def test_an_alias_is_followed() -> None:
    assert _load("loss: l1()\ndata: {kind: synthetic, seed: &n 7}\ntrain: {seed: *n}\n").train.seed == 7


def test_overrides_win_in_order() -> None:
    config = _load(
        MINIMAL, "train.max_steps=5", "train.lr.means=2", "train.max_steps=9", "loss_params.w=0.5", "data.views=3"
    )
    assert (config.train.max_steps, config.train.lr.means, config.data.views) == (9, 2, 3)
    assert config.loss_params == {"w": 0.5}
    assert _load(MINIMAL + "train: {max_steps: 4}\n", "train={seed: 3}").train.max_steps == 300
    assert _load(MINIMAL, "loss=0.8*l1(masked) + ramp(step,10000)*reg(state)").loss.endswith("reg(state)")


# Mistakes


@pytest.mark.parametrize("code", [code for code in CODES if code.bad], ids=lambda code: code.id)
def test_examples_of_codes(code) -> None:
    assert _codes(check_config("run.yaml", text=code.bad)) == [code.id]
    assert check_config("run.yaml", text=code.good) == []


def test_every_code_has_an_example_or_is_about_overrides() -> None:
    assert [code.id for code in CODES if not code.bad] == ["CFG011"]


def test_all_mistakes_in_one_run() -> None:
    found = _mistakes(
        "loss: l1()\ndata: {kind: synthtic}\ntrian: {}\ntrain:\n  max_steps: 0\n  seed: x\n  eval: 3\nloss: l2()\n"
    )
    assert [(d.code, d.line, d.column) for d in found] == [
        ("CFG007", 2, 14),
        ("CFG004", 3, 1),
        ("CFG007", 5, 14),
        ("CFG006", 6, 9),
        ("CFG004", 7, 3),
        ("CFG003", 8, 1),
    ]
    assert found[0].help == ("did you mean `synthetic`?",)
    assert found[1].help == ("did you mean `train`?",)
    assert found[5].labels[0].span.start == 0


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("max_steps: 3\n", "`max_steps` belongs to `train`: move it there"),
        ("max_step: 3\n", "did you mean `train.max_steps`?"),
        ("train: {kind: auto}\n", "`kind` belongs to `data` or `renderer`: move it there"),
        ("train: {output: x}\n", "`output` belongs to the top level: move it there"),
        ("train: {max-steps: 3}\n", "did you mean `max_steps`?"),
    ],
)
def test_unknown_keys_say_where_the_key_is(text: str, help: str) -> None:
    found = _one(MINIMAL + text)
    assert found.code == "CFG004"
    assert found.help == (help,)


def test_an_unknown_key_without_a_neighbour_lists_the_keys() -> None:
    assert "`sh0`" in _one(MINIMAL + "train: {lr: {zebra: 1}}\n").notes[0]


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ("max_steps: '300'", "CFG006", "is text in quotes"),
        ("max_steps: 3.5", "CFG006", "a whole number"),
        ("max_steps: [1]", "CFG006", "is a list"),
        ("max_steps: {a: 1}", "CFG006", "is a mapping"),
        ("max_steps: ", "CFG006", "is nothing"),
        ("max_steps: -1", "CFG007", "at least 1, not -1"),
        ("init_opacity: .nan", "CFG006", "not `.nan`"),
        ("init_opacity: .inf", "CFG006", "not `.inf`"),
        ("init_opacity: 1", "CFG007", "above 0 and below 1"),
        ("sh_degree: 4", "CFG007", "at most 3"),
        ("tensorboard: 1", "CFG006", "`true` or `false`"),
        ("strategy: mcmcc", "CFG007", "one of `none`, `default`, `mcmc`"),
        ("max_steps: 1:30", "CFG006", "not `1:30`"),
        ("lr: 0.5", "CFG006", "takes keys"),
    ],
)
def test_wrong_values(value: str, code: str, message: str) -> None:
    found = _one(f"{MINIMAL}train:\n  {value}\n")
    assert found.code == code
    assert message in found.message
    assert found.line == 4


@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        ("", "CFG005", "this config has no `data`"),
        ("- a\n", "CFG006", "not a list"),
        ("just text\n", "CFG006", "not a single value"),
        ("loss: a\n\tdata: b\n", "CFG001", "tab"),
        ("loss: a: b\n", "CFG001", "second `:`"),
        ("loss: *x\n", "CFG001", "alias"),
        ("loss: [a\n", "CFG001", "expected ',' or ']'"),
        ("loss: 'a\n", "CFG001", "end of stream"),
        (MINIMAL + "---\na: b\n", "CFG001", "one YAML document"),
        ("loss: a\x07\n", "CFG001", "U+0007"),
        ("loss: " + "[" * 100, "CFG001", "nested deeper"),
        ("loss: [" + "1," * 20_000 + "]\n", "CFG001", "over 2000"),
        ("loss: !!python/object/apply:os.system [ls]\n", "CFG002", "tags"),
        ("loss: &a [*a]\n", "CFG002", "inside what it refers to"),
        ("loss: a\n<<: {loss: b}\n", "CFG002", "merge keys"),
        ("? [loss]\n: a\n", "CFG002", "a key must be a name"),
    ],
)
def test_what_is_not_a_config(text: str, code: str, part: str) -> None:
    found = [d for d in _mistakes(text) if d.code == code]
    assert found
    assert part in found[0].message
    if text:
        assert found[0].span is not None


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    found = _mistakes("\n".join(lines) + "\n")
    assert "CFG002" in _codes(found)
    assert 4 in [d.line for d in found if d.code == "CFG002"]


def test_a_refused_value_is_not_reported_as_missing() -> None:
    assert _codes(_mistakes("loss: !x y\ndata: {kind: synthetic}\n")) == ["CFG002"]


@pytest.mark.parametrize(
    ("override", "code", "column"),
    [
        ("train.max_steps=0", "CFG007", 17),
        ("train.max_step=1", "CFG004", 7),
        ("trian.max_steps=1", "CFG004", 1),
        ("train.max_steps", "CFG011", 1),
        ("train..max_steps=1", "CFG011", 1),
        ("loss.x=1", "CFG011", 1),
        ("train.max_steps=[", "CFG001", 18),
        ("train.max_steps=", "CFG006", 7),
    ],
)
def test_mistakes_in_overrides_point_into_them(override: str, code: str, column: int) -> None:
    found = _one(MINIMAL, override)
    assert (found.code, found.source.name, found.source.text, found.column) == (code, "--set", override, column)


def test_conflicts() -> None:
    scene = MINIMAL.replace("synthetic", "synthetic, {}")
    assert _one(scene.replace("{}", "test_every: 1")).code == "CFG010"
    assert _one(MINIMAL + "train: {refine_start: 9, refine_stop: 9}\n").code == "CFG010"
    assert _one(MINIMAL + "train: {refine_start: 300}\n").code == "CFG010"
    unused = _one(MINIMAL + "train: {refine_start: 900, strategy: none}\n")
    assert (unused.code, unused.labels[0].text) == ("CFG009", "decided here")
    assert _one(scene.replace("{}", "path: x")).code == "CFG009"


# Files


def test_paths_are_relative_to_the_config_and_overrides_to_the_current_folder(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("losses/a.loss", "l1()\n")
    write("here/b.loss", "l2()\n")
    write("scene/sparse/0/cameras.bin", "")
    run = write("runs/a.yaml", "loss: ../losses/a.loss\ndata: {kind: colmap, path: ../scene}\n")
    monkeypatch.chdir(tmp_path / "here")
    config, found = load_config(run)
    assert found == []
    assert config is not None
    assert config.loss_source().text == "l1()\n"
    assert config.data.path == str(tmp_path / "scene")
    assert config.loss_path == str(tmp_path / "losses" / "a.loss")
    config, found = load_config(run, ["loss=b.loss", "data.path=../scene"])
    assert found == []
    assert config is not None
    assert config.loss_source().text == "l2()\n"
    assert config.data.path == os.path.join("..", "scene")


def test_a_loss_is_a_file_when_it_exists_or_is_called_so(write, tmp_path: Path) -> None:
    write("plain", "l1()\n")
    path = str(tmp_path / "run.yaml")
    assert _load("loss: plain\ndata: {kind: synthetic}\n", path=path).loss_source().text == "l1()\n"
    assert _load("loss: other\ndata: {kind: synthetic}\n", path=path).loss_source().text == "other"
    assert _one("loss: other.loss\ndata: {kind: synthetic}\n", path=path).code == "CFG008"


def test_missing_files_suggest_their_neighbours(write, tmp_path: Path) -> None:
    write("losses/quick.loss", "l1()\n")
    write("scenes/garden/sparse/x", "")
    path = str(tmp_path / "run.yaml")
    loss, scene = _mistakes("loss: losses/qiuck.loss\ndata: {kind: colmap, path: scenes/gardn}\n", path=path)
    assert loss.help == (f"did you mean `{tmp_path}/losses/quick.loss`?",)
    assert scene.help == (f"did you mean `{tmp_path}/scenes/garden`?",)
    far = _one("loss: nowhere/a.loss\ndata: {kind: synthetic}\n", path=path)
    assert far.help == (f"the folder `{tmp_path}/nowhere` does not exist",)


def test_scenes_that_are_none(write, tmp_path: Path) -> None:
    write("file", "")
    write("empty/x", "")
    write("scene/sparse/x", "")
    path = str(tmp_path / "run.yaml")
    text = "loss: l1()\ndata: {kind: colmap, path: %s}\n"
    assert "is a file" in _one(text % "file", path=path).message
    assert "sparse/" in _one(text % "empty", path=path).message
    assert "masks/" in _one(text % "scene, masks: required", path=path).message
    assert _one("loss: l1()\ndata: {kind: colmap}\n", path=path).code == "CFG005"


def test_files_that_cannot_be_read(write, tmp_path: Path) -> None:
    (tmp_path / "latin.loss").write_bytes(b"# ok\n# \xe9t\xe9\nl1()\n")
    (tmp_path / "big.loss").write_bytes(b"#" * (256 * 1024 + 1))
    (tmp_path / "folder.loss").mkdir()
    path = str(tmp_path / "run.yaml")
    for name, part in (
        ("latin", "not UTF-8 text: byte 0xe9 on line 2"),
        ("big", "larger than 256 KiB"),
        ("folder", "is a folder"),
    ):
        found = _one(f"loss: {name}.loss\ndata: {{kind: synthetic}}\n", path=path)
        assert found.code == "CFG008"
        assert part in found.message
    big = write("big.yaml", "#" * (1024 * 1024 + 1))
    for missing in (big, tmp_path / "absent.yaml", tmp_path):
        config, found_all = load_config(missing)
        assert config is None
        assert _codes(found_all) == ["CFG008"]


# What the checker is told, and where its findings go


def test_data_fields(write, tmp_path: Path) -> None:
    write("bare/sparse/x", "")
    write("masked/sparse/x", "")
    write("masked/masks/a.png", "")
    path = str(tmp_path / "run.yaml")
    text = "loss: l1()\ndata: {kind: colmap, path: %s}\n"
    points = {"target", "points", "depths"}
    assert data_fields(_load(MINIMAL)) == {"mask", "depth_map", *points}
    assert data_fields(_load(text % "bare", path=path)) == points
    assert data_fields(_load(text % "masked", path=path)) == {"mask", *points}
    assert data_fields(_load(text % "masked, masks: none", path=path)) == points


def test_the_real_scene(sceaux: Path) -> None:
    config = _load(f"loss: l1(masked)\ndata: {{kind: colmap, path: '{sceaux}', masks: required}}\n")
    assert data_fields(config) == {"target", "mask", "points", "depths"}


def test_renderer_buffers() -> None:
    auto, reference_ = _load(MINIMAL), _load(MINIMAL + "renderer: {kind: reference}\n")
    assert renderer_buffers(auto) <= renderer_buffers(reference_)
    assert "rendered" in renderer_buffers(auto)


@pytest.mark.parametrize(
    ("loss", "line", "column"),
    [
        ("loss: 0.8*l1(maskd)\n", 1, 14),
        ("loss: 'l1(maskd)'\n", 1, 11),
        ('loss: "l1(maskd)"\n', 1, 11),
        ("loss: l1(masked) +\n    l1(maskd)\n", 2, 8),
        ("loss: |\n  # a comment\n\n  term a = 1 *\n    l1(maskd)\n", 5, 8),
        ("loss: >-\n  l1(masked) +\n  l1(maskd)\n", 3, 6),
        ("loss: |2\n  l1(maskd)\n", 2, 6),
    ],
)
def test_findings_in_a_program_inside_a_config_have_its_lines(loss: str, line: int, column: int) -> None:
    (found,) = check_config("run.yaml", text=loss + "data: {kind: synthetic}\n")
    assert (found.code, found.source.name, found.line, found.column) == ("NAM001", "run.yaml", line, column)
    assert found.source.text[found.span.start : found.span.end] == "maskd"


def test_a_program_with_escapes_is_shown_on_its_own() -> None:
    (found,) = check_config("run.yaml", text='loss: "\\tl1(maskd)"\ndata: {kind: synthetic}\n')
    assert found.source.name == "run.yaml (loss)"


def test_parameters_are_checked_at_their_place_in_the_config() -> None:
    text = "loss: |\n  param w = 0.2 in [0, 1]\n  w * l1()\nloss_params:\n  w: 3\n  ww: 1\ndata: {kind: synthetic}\n"
    wrong, unknown = check_config("run.yaml", text=text)
    assert (wrong.source.name, wrong.line, wrong.column) == ("run.yaml", 5, 6)
    assert (unknown.source.name, unknown.line, unknown.column) == ("run.yaml", 6, 3)
    (found,) = check_config("run.yaml", ["loss_params.ww=0.1", "loss_params.w=0.1"], text.replace("  ww: 1\n", ""))
    assert (found.source.name, found.column) == ("--set", 13)


def test_the_step_count_reaches_the_checker() -> None:
    text = "loss: l1() when after(step, 400)\ndata: {kind: synthetic}\n"
    assert _codes(check_config("run.yaml", text=text)) == ["SCH002"]
    assert check_config("run.yaml", ["train.max_steps=500"], text) == []


def test_the_data_reaches_the_checker() -> None:
    text = "loss: mean(alpha, mask)\ndata: {kind: synthetic}\n"
    assert check_config("run.yaml", text=text) == []
    assert _codes(check_config("run.yaml", ["data.masks=none"], text)) == ["BUF002"]


# The schema


def test_every_section_of_the_table_is_reached_from_the_root() -> None:
    named = {"section": "{}", "table": "{}.NAME"}
    assert {named[key.type].format(key.dotted) for key in all_keys() if key.type in named} == set(SECTIONS) - {""}


@pytest.mark.parametrize("key", list(all_keys()), ids=lambda key: key.dotted)
def test_every_key_is_documented_and_its_default_is_legal(key: Key) -> None:
    assert key.option.doc.endswith(".")
    if key.type in ("int", "float", "bool", "str") and not key.required and key.default is not None:
        shown = json.dumps(key.default)
        text = shown.strip('"') if key.type == "str" else shown
        section = f"{key.section}.{key.name}={text}" if key.section else f"{key.name}={text or 'runs/x'}"
        kinds = key.option.only[1] if key.section == "data" and key.option.only else ()
        kinds = ("colmap",) if key.section.startswith("data.") else kinds
        on_disk = kinds and "synthetic" not in kinds
        base = MINIMAL.replace("synthetic", f"{kinds[0]}, path: .") if on_disk else MINIMAL
        _, found = load_config("run.yaml", [section], base)
        assert [d for d in found if d.code != "CFG008"] == []
    if key.option.only:
        decider = keys(key.section)[key.option.only[0]]
        assert set(key.option.only[1]) < set(decider.option.choices)


def test_the_reference_names_every_key() -> None:
    table = reference()
    assert all(f"`{key.dotted}`" in table for key in all_keys() if key.type not in ("section", "table"))


def test_a_resolved_config_loads_as_the_same_run(write, tmp_path: Path) -> None:
    write("a.loss", "l1()\n")
    write("scene/sparse/x", "")
    text = "loss: a.loss\ndata: {kind: colmap, path: scene, width: 64}\ntrain: {strategy: none, lr: {means: 2}}\n"
    config = _load(text, path=str(tmp_path / "run.yaml"))
    made = json.dumps(config_to_dict(config))
    again = _load(made, path="elsewhere.yaml")
    assert config_to_dict(again) == json.loads(made)
    assert again.train == config.train
    assert again.data == config.data
    assert again.loss_source().text == "l1()\n"
