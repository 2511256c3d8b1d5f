"""Settings of the checker: which codes are on, where settings come from, and mistakes in them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from splatdsl.cli import main as entry
from splatdsl.dsl import settings_select as select
from splatdsl.dsl.codes import all_codes
from splatdsl.dsl.diagnostics import LossError
from splatdsl.dsl.settings import CommandLine, Resolver
from splatdsl.dsl.settings_globs import matches
from splatdsl.dsl.settings_toml import place_of
from splatdsl.dsl.source import Source

UNUSED = "param w = 0.2 in [0, 1]\nterm colour = l1(masked)\n"  # USE001, style
RAMP = "term size = ramp(step, 500, 500) * reg(state)\nterm colour = l1(masked)\n"  # SCH001, suspicious
BROKEN = "term colour = l1(masked\n"  # SYN005


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments: str) -> tuple[int, list[str], str]:
        """Exit status, the codes found, and standard error."""
        status = entry.main([*arguments, "--format", "json"] if arguments[0] == "check" else list(arguments))
        printed = capsys.readouterr()
        if arguments[0] != "check" or not printed.out:
            return status, printed.out.splitlines(), printed.err
        return status, [found["code"] for found in json.loads(printed.out)], printed.err

    return run


# Selectors


def layer(selected: str = "", extend: str = "", ignore: str = "", pedantic: bool | None = None) -> select.Layer:
    def words(text: str) -> list[select.Selector]:
        found = [select.parse(word) for word in text.split()]
        assert None not in found
        return [selector for selector in found if selector is not None]

    return select.Layer(words(selected) if selected else None, words(extend), words(ignore), pedantic)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("USE001", {"USE001"}),
        ("use001", {"USE001"}),
        ("unused-param", {"USE001"}),
        ("Unused-Param", {"USE001"}),
        (" USE001 ", {"USE001"}),
        ("SUP00", {f"SUP00{i}" for i in range(1, 7)}),
    ],
)
def test_a_selector(text: str, codes: set[str]) -> None:
    found = select.parse(text)
    assert found is not None
    assert found.codes == codes


def test_selectors_of_many() -> None:
    every = set(all_codes())
    everything, family, group = (select.parse(text) for text in ("ALL", "sch", "Style"))
    assert everything is not None
    assert everything.codes == every
    assert family is not None
    assert family.codes == {c for c in every if c.startswith("SCH")}
    assert group is not None
    assert group.codes == {c for c in every if all_codes()[c].group == "style"}


@pytest.mark.parametrize("text", ["", "S", "SC", "XYZ", "USE999", "unused", "USE0011", "*", "styles"])
def test_no_selector(text: str) -> None:
    assert select.parse(text) is None


def test_the_default() -> None:
    chosen = select.resolve([])
    groups = {all_codes()[code].group for code in chosen.codes}
    assert groups == {"correctness", "suspicious", "style"}
    assert not chosen.pedantic
    assert all(chosen.allows(code) == (record.group != "pedantic") for code, record in all_codes().items())


def test_select_starts_afresh_and_keeps_what_leaves_no_program() -> None:
    chosen = select.resolve([layer("SCH")])
    assert chosen.allows("SCH001")
    assert not chosen.allows("USE001")
    assert chosen.allows("SYN001"), "a program that cannot be read has no other findings to select"
    assert all(chosen.allows(code) for code in all_codes() if select.always_on(code))


def test_the_more_specific_selector_decides() -> None:
    assert select.resolve([layer("SCH001", ignore="SCH")]).allows("SCH001")
    assert not select.resolve([layer("SCH", ignore="SCH001")]).allows("SCH001")
    assert select.resolve([layer("SCH", ignore="suspicious")]).allows("SCH001"), "a family beats a group"
    assert not select.resolve([layer("SCH001", ignore="SCH001")]).allows("SCH001"), "ignore wins a draw"


def test_a_nearer_layer_wins() -> None:
    far = layer("SCH", ignore="SCH002")
    assert not select.resolve([far]).allows("SCH002")
    assert select.resolve([far, layer(extend="SCH002")]).allows("SCH002")
    near = select.resolve([far, layer("SCH")])
    assert near.allows("SCH002")
    ignoring = select.resolve([far, layer(ignore="SCH001")])
    assert not ignoring.allows("SCH001")


def test_pedantic_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    records = dict(all_codes())
    records["SCH900"] = records["SCH001"]._replace(id="SCH900", slug="a-possibility", group="pedantic")
    monkeypatch.setattr(select, "_records", lambda: records)
    select._slugs.cache_clear()
    try:
        on = {
            "default": select.resolve([]),
            "family": select.resolve([layer("SCH")]),
            "switch": select.resolve([layer(pedantic=True)]),
            "family and switch": select.resolve([layer("SCH", pedantic=True)]),
            "code": select.resolve([layer(extend="SCH900")]),
            "slug": select.resolve([layer(extend="a-possibility")]),
            "group": select.resolve([layer(extend="pedantic")]),
            "ALL": select.resolve([layer("ALL")]),
            "ignored": select.resolve([layer(pedantic=True, ignore="SCH900")]),
            "switched off nearer": select.resolve([layer(pedantic=True), layer(pedantic=False)]),
            "other family": select.resolve([layer("USE", pedantic=True)]),
        }
        assert {name for name, chosen in on.items() if "SCH900" in chosen.codes} == {
            "switch",
            "family and switch",
            "code",
            "slug",
            "group",
            "ALL",
        }
    finally:
        select._slugs.cache_clear()


def test_what_cannot_be_ignored() -> None:
    for word in ("SYN", "SYN005", "open-bracket"):
        selector = select.parse(word)
        assert selector is not None
        assert "cannot be ignored" in (select.without_effect(selector) or "")
    for word in ("SCH", "ALL", "correctness", "NAM"):
        selector = select.parse(word)
        assert selector is not None
        assert (select.without_effect(selector) is None) == any(not select.always_on(c) for c in selector.codes)


# On the command line


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ([], ["USE001", "SCH001"]),
        (["--select", "SCH"], ["SCH001"]),
        (["--select", "style"], ["USE001"]),
        (["--ignore", "USE"], ["SCH001"]),
        (["--ignore", "unused-param,SCH001"], []),
        (["--ignore", "USE", "--ignore", "ramp-without-length"], []),
        (["--select", "USE", "--extend-select", "SCH"], ["USE001", "SCH001"]),
        (["--ignore", "ALL"], []),
    ],
)
def test_selection_by_options(cli, write, options: list[str], codes: list[str]) -> None:
    write("a.loss", UNUSED)
    write("b.loss", RAMP)
    status, found, _ = cli("check", "a.loss", "b.loss", *options)
    assert found == codes
    assert status == (1 if codes else 0)


def test_syntax_errors_are_always_found(cli, write) -> None:
    write("a.loss", BROKEN)
    assert cli("check", "a.loss", "--select", "SCH")[:2] == (1, ["SYN005"])
    assert cli("check", "a.loss", "--ignore", "ALL")[:2] == (1, ["SYN005"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--select", "USE01"], "did you mean `USE001`"),
        (["--select", "unused-parm"], "did you mean `unused-param`"),
        (["--ignore", "SCX"], "`SCH`"),
        (["--extend-select", "stile"], "`style`"),
        (["--ignore", "SYN005"], "cannot be ignored"),
        (["--fail-level", "fatal"], "fail-level"),
        (["--select", ""], "no code, slug, family or group"),
    ],
)
def test_an_unknown_word_is_a_usage_error(cli, write, options: list[str], message: str) -> None:
    write("a.loss", UNUSED)
    status, out, err = cli("check", "a.loss", *options)
    assert status == 2
    assert message in err
    assert out == []


def test_exit_statuses(cli, write) -> None:
    write("warn.loss", UNUSED)
    write("error.loss", BROKEN)
    assert cli("check", "warn.loss")[0] == 1
    assert cli("check", "warn.loss", "--fail-level", "error")[0] == 0
    assert cli("check", "warn.loss", "error.loss", "--fail-level", "error")[0] == 1
    assert cli("check", "error.loss", "--exit-zero")[0] == 0
    assert cli("check", "absent.loss", "--exit-zero")[0] == 2


# Settings files


def test_the_nearest_file_applies_alone(cli, write) -> None:
    write("splatdsl.toml", 'ignore = ["USE001"]\n')
    write("a.loss", UNUSED)
    write("near/pyproject.toml", '[tool.splatdsl]\nignore = ["SCH001"]\n')
    write("near/deep/b.loss", UNUSED + RAMP.replace("colour", "other").replace("l1(", "l2("))
    write("other/pyproject.toml", "[tool.black]\nline-length = 100\n")
    write("other/c.loss", UNUSED)
    assert cli("check", "a.loss")[:2] == (0, [])
    assert cli("check", "near/deep/b.loss")[1] == ["USE001"]
    assert cli("check", "other/c.loss")[1] == [], "a pyproject.toml without a table does not count"
    assert cli("check", ".")[1] == ["USE001"]


def test_the_own_file_goes_before_the_shared_one(cli, write) -> None:
    write("splatdsl.toml", 'ignore = ["USE001"]\n')
    write("pyproject.toml", "[tool.splatdsl]\nnonsense = 1\n")
    write("a.loss", UNUSED)
    assert cli("check", "a.loss")[:2] == (0, [])


@pytest.mark.parametrize(
    "text",
    [
        "[tool.splatdsl]\nignore = ['USE001']\n",
        "[ tool . splatdsl ]\nignore = ['USE001']\n",
        "[tool]\nsplatdsl.ignore = ['USE001']\n",
        "[tool]\nsplatdsl = { ignore = ['USE001'] }\n",
        "tool.splatdsl.ignore = ['USE001']\n",
        '["tool"."splatdsl"]\r\nignore = ["USE001"]\r\n',
    ],
)
def test_every_way_to_write_the_table(cli, write, text: str) -> None:
    write("pyproject.toml", text)
    write("a.loss", UNUSED)
    assert cli("check", "a.loss")[:2] == (0, [])


def test_extend(cli, write) -> None:
    write("base/shared.toml", 'select = ["SCH", "USE"]\nfail-level = "error"\n')
    write("p/splatdsl.toml", 'extend = "../base/shared.toml"\nignore = ["SCH001"]\n')
    write("p/a.loss", UNUSED)
    write("p/b.loss", RAMP)
    assert cli("check", "p")[:2] == (0, ["USE001"])


def test_the_command_line_beats_files(cli, write) -> None:
    write("splatdsl.toml", 'ignore = ["USE001"]\nfail-level = "error"\n')
    write("a.loss", UNUSED)
    assert cli("check", "a.loss", "--extend-select", "USE001")[:2] == (0, ["USE001"])
    assert cli("check", "a.loss", "--select", "USE", "--fail-level", "warning")[:2] == (1, ["USE001"])
    assert cli("check", "a.loss", "--isolated")[:2] == (1, ["USE001"])
    assert cli("check", "a.loss", "--config", "ignore=[]", "--config", "select=['USE']")[:2] == (0, ["USE001"])
    write("other.toml", "")
    assert cli("check", "a.loss", "--config", "other.toml")[:2] == (1, ["USE001"])


def test_renderer_and_steps(cli, write) -> None:
    write("splatdsl.toml", 'renderer = "reference"\nsteps = 100\n')
    write("a.loss", "term n = mean(distortion)\n")
    write("late.loss", "term n = l1(masked) when after(step, 5000)\nterm m = l2(masked)\n")
    assert "BUF001" in cli("check", "a.loss")[1]
    assert cli("check", "late.loss")[1] == ["SCH002"]
    assert cli("check", "late.loss", "--steps", "9000")[1] == []


def test_per_file_ignores(cli, write) -> None:
    write("p/splatdsl.toml", '[per-file-ignores]\n"old/**" = ["style"]\n"b*.loss" = ["SCH001"]\n')
    write("p/old/deep/a.loss", UNUSED)
    write("p/a.loss", UNUSED)
    write("p/new/b1.loss", RAMP)
    assert cli("check", "p")[1] == ["USE001"]


def test_exclude(cli, write) -> None:
    write("p/splatdsl.toml", 'exclude = ["old", "gen/*.loss"]\n')
    for name in ("old/a", "deep/old/a", "gen/a", "gen/deep/a", "a"):
        write(f"p/{name}.loss", UNUSED)
    _, found, err = cli("check", "p")
    assert found == ["USE001", "USE001"]
    assert "in 2 files" in err
    assert cli("check", "p/old/a.loss")[1] == ["USE001"], "a file that is named is checked"
    assert cli("check", "p/old/a.loss", "p/a.loss", "--force-exclude")[1] == ["USE001"]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.loss", "a.loss", True),
        ("*.loss", "deep/a.loss", True),
        ("deep/*.loss", "deep/a.loss", True),
        ("deep/*.loss", "deep/er/a.loss", False),
        ("deep/**/*.loss", "deep/a.loss", True),
        ("deep/**/*.loss", "deep/e/r/a.loss", True),
        ("**/a.loss", "a.loss", True),
        ("deep/**", "deep/e/r/a.loss", True),
        ("[ab].loss", "a.loss", True),
        ("[!ab].loss", "a.loss", False),
        ("[.loss", "[.loss", True),
        ("[z-a].loss", "z.loss", False),
        ("a?.loss", "ab.loss", True),
        ("a.loss", "axloss", False),
        ("*", "../a.loss", False),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, str(tmp_path), os.path.normpath(tmp_path / path)) is expected


# Mistakes in settings


@pytest.mark.parametrize(
    ("text", "code", "line", "said"),
    [
        ("ignore = [\n", "CFG101", 2, "not valid TOML"),
        ("x = 1\nx = 2\n", "CFG101", None, "not valid TOML"),
        ("\nselct = []\n", "CFG102", 2, "did you mean `select`?"),
        ("extend_select = []\n", "CFG102", 1, "did you mean `extend-select`?"),
        ("frobnicate = 1\n", "CFG102", 1, "the keys are extend, select"),
        ('select = "USE"\n', "CFG102", 1, "takes a list of texts, not a text"),
        ("select = [1]\n", "CFG102", 1, "takes a list of texts"),
        ("pedantic = 1\n", "CFG102", 1, "takes `true` or `false`, not a number"),
        ("steps = true\n", "CFG102", 1, "takes a whole number, not a flag"),
        ("steps = 1.5\n", "CFG102", 1, "takes a whole number"),
        ("per-file-ignores = ['a']\n", "CFG102", 1, "takes a table"),
        ("[per-file-ignores]\n'a' = 'b'\n", "CFG102", 1, "takes a table"),
        ("steps = 0\n", "CFG103", 1, "at least 1"),
        ("fail-level = 'eror'\n", "CFG103", 1, "did you mean `error`?"),
        ("renderer = 'gsplt'\n", "CFG103", 1, "did you mean `gsplat`?"),
        ("ignore = [\n  'USE001',\n  'USE01',\n]\n", "CFG103", 3, "did you mean `USE001`"),
        ("ignore = ['SYN005']\n", "CFG103", 1, "cannot be ignored"),
        ("[per-file-ignores]\n'a.loss' = ['NOPE']\n", "CFG103", 2, "no code, slug, family or group"),
        ("[tool.splatdsl]\nselect = []\n", "CFG104", 1, "no `[tool]` tables"),
        ("extend = 'absent.toml'\n", "CFG105", 1, "does not exist"),
        ("extend = 'splatdsl.toml'\n", "CFG105", 1, "builds on itself"),
    ],
)
def test_a_mistake_has_a_place_and_gives_2(cli, write, text: str, code: str, line: int | None, said: str) -> None:
    write("splatdsl.toml", text)
    write("a.loss", UNUSED)
    status, found, err = cli("check", "a.loss")
    assert status == 2
    assert found == []
    assert f"error[{code} " in err
    assert said in err
    assert err.count("error[") == 1
    if line is not None:
        assert f"splatdsl.toml:{line}:" in err


def test_all_mistakes_are_found_at_once(write, tmp_path: Path) -> None:
    write("splatdsl.toml", "selct = []\npedantic = 3\nignore = ['XYZ']\n")
    with pytest.raises(LossError) as caught:
        Resolver().of_folder(str(tmp_path))
    assert [d.code for d in caught.value.diagnostics] == ["CFG102", "CFG102", "CFG103"]


def test_a_broken_file_is_reported_once_and_other_folders_are_checked(cli, write) -> None:
    write("p/splatdsl.toml", "selct = []\n")
    write("p/a.loss", UNUSED)
    write("p/b.loss", UNUSED)
    write("q/c.loss", UNUSED)
    status, found, err = cli("check", "p/a.loss", "p/b.loss", "q/c.loss")
    assert (status, found) == (2, ["USE001"])
    assert err.count("CFG102") == 1


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("absent.toml", "does not exist"),
        ("fail-level=error", "texts stand in quotes"),
        ("selct=[]", "did you mean `select`?"),
        ("extend='a.toml'", "belongs in a settings file"),
    ],
)
def test_a_mistake_on_the_command_line(cli, write, argument: str, said: str) -> None:
    write("a.loss", UNUSED)
    status, found, err = cli("check", "a.loss", "--config", argument)
    assert (status, found) == (2, [])
    assert said in err


def test_the_command_line_alone_needs_no_file(tmp_path: Path) -> None:
    settings = Resolver(CommandLine(steps=7, isolated=True)).of_folder(str(tmp_path))
    assert (settings.steps, settings.path, str(settings.origins["steps"])) == (7, None, "--steps")


@pytest.mark.parametrize(
    ("text", "keys", "found"),
    [
        ("a = 1\nb = 2\n", ("b",), "b"),
        ("[t]\nb = 2\n", ("t", "b"), "b"),
        ("b = 1\n[t]\nb = 2\n", ("b",), "b"),
        ("t = { x = 1, b = 2 }\n", ("t", "b"), "b"),
        ("t.b = 2\n", ("t", "b"), "b"),
        ("[t]\n", ("t", "b"), "t"),
        ('[t]\n"x y" = 1\n', ("t", "x y"), '"x y"'),
        ("c = 1\n", ("b",), None),
    ],
)
def test_the_place_of_a_key(text: str, keys: tuple[str, ...], found: str | None) -> None:
    source = Source(text)
    span = place_of(source, keys)
    assert (None if span is None else source.slice(span)) == found


# splatdsl config


def test_config_shows_values_and_where_they_come_from(cli, write) -> None:
    write("base.toml", 'select = ["SCH"]\nsteps = 500\n')
    write("splatdsl.toml", 'extend = "base.toml"\n\nfail-level = "error"\n')
    status, lines, _ = cli("config", "--renderer", "gsplat")
    assert status == 0
    assert 'fail-level = "error"  # splatdsl.toml:3' in lines
    assert "steps = 500  # base.toml:2" in lines
    assert 'renderer = "gsplat"  # --renderer' in lines
    assert "exclude = []  # default" in lines
    chosen = [line for line in lines if line.startswith("select = ")]
    assert [line.partition("  # ")[2] for line in chosen] == ["select: base.toml:1"]
    assert all(code.startswith("SCH") for code in json.loads(chosen[0].partition("  # ")[0].removeprefix("select = ")))
    _, out, _ = cli("config", ".", "--format", "json", "--isolated")
    made = json.loads("\n".join(out))
    assert made["file"] is None
    assert made["settings"]["fail-level"] == {"value": "warning", "from": "default"}


def test_config_shows_groups_and_what_is_off(cli) -> None:
    _, lines, _ = cli("config", ".", "--isolated", "--ignore", "MSK001")
    assert any(line.startswith('select = ["correctness", "suspicious", "style"]') for line in lines)
    assert 'ignore = ["MSK001"]' in lines
    assert not any("SYN001" in line for line in lines), "nobody can switch that off"


def test_config_of_a_broken_file(cli, write) -> None:
    write("splatdsl.toml", "selct = []\n")
    status, lines, err = cli("config")
    assert (status, lines) == (2, [])
    assert "CFG102" in err


def test_no_settings_file_is_only_looked_for(write, tmp_path: Path, run_python) -> None:
    """Without a settings file nothing of TOML is loaded: that keeps the check of one file fast."""
    write("a.loss", "l1(masked)\n")
    write("pyproject.toml", '[project]\nname = "splatdsl-user"\n[tool.other]\nx = 1\n')
    done = run_python(
        "-c",
        "import sys; from splatdsl.cli.main import main; main(['check', 'a.loss'])\n"
        "print([m for m in ('tomllib', 'tomli', 'splatdsl.dsl.settings_file') if m in sys.modules])",
        cwd=tmp_path,
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_settings_in_the_documentation_are_legal(write, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
    text = page.partition("```toml\n")[2].partition("```")[0]
    write("shared.toml", "")
    write("p/pyproject.toml", text)
    settings = Resolver().of_folder(str(tmp_path / "p"))
    assert (settings.fail_level, settings.renderer, settings.steps) == ("error", "gsplat", 30_000)
    from splatdsl.dsl.settings_file import KEYS

    assert set(settings.origins) | {"extend"} == set(KEYS), "the example shows every key"


PEDANTIC = [code for code in all_codes().values() if code.group == "pedantic" and code.bad and code.id[:3] != "CFG"]


@pytest.mark.parametrize("code", PEDANTIC, ids=lambda c: c.id)
def test_a_pedantic_code_is_found_when_it_is_asked_for(cli, write, code) -> None:
    write("a.loss", code.bad + "\n")
    assert code.id not in cli("check", "a.loss")[1]
    assert code.id in cli("check", "a.loss", "--pedantic")[1]
    assert code.id in cli("check", "a.loss", "--extend-select", code.slug)[1]
    assert code.id not in cli("check", "a.loss", "--pedantic", "--ignore", code.id)[1]
    write("splatdsl.toml", "pedantic = true\n")
    assert code.id in cli("check", "a.loss")[1]
    assert code.id not in cli("check", "a.loss", "--no-pedantic")[1]
