"""The zoo without torch: what its programs say of themselves, what they use, and ``zoo:NAME`` in place of a path.

That the programs compute the right numbers is for tests/zoo.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import click
import pytest

from splatdsl.cli import zoo as command
from splatdsl.cli import zoo_page
from splatdsl.dsl import api, config, files, fixes, zoo
from splatdsl.dsl.check_files import check, read_source
from splatdsl.dsl.diagnostics import LossError
from splatdsl.dsl.source import Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "zoo"
NAMES = sorted(path.stem for path in FOLDER.glob("*.loss"))
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def small_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of its own, empty."""
    folder = tmp_path / "examples" / "zoo"
    folder.mkdir(parents=True)
    monkeypatch.setattr(files, "ZOO_FOLDER", str(folder))
    return folder


def used(text: str) -> list[str]:
    """The features of a program's text."""
    program, found = api.analyse(Source(text))
    assert program is not None, found
    return [name for name, there in zoo.features(program).items() if there]


# The programs


def test_the_zoo_is_the_folder() -> None:
    assert files.zoo_names() == NAMES
    assert len(NAMES) >= 60


def test_an_entry_is_what_the_docstring_says(small_zoo: Path) -> None:
    (small_zoo / "good-one.loss").write_text(
        '# A comment\n"""Good: one sentence: with a colon.\n\nSystem: 7 The Good One\n'
        "Paper: Somebody, A Title That\n  Goes On, 2024.\nCode: a/b at 1, c.py.\nSteps: from 1\n"
        'Scope: loss part. Left to the trainer: two\n  steps.\n\nFree text. Scope: is no field here.\n"""\n\n'
        'use "other.loss" (x)\nterm y = l1()\n'
    )
    (small_zoo / "plain.loss").write_text("l1()\n")
    first, second = zoo.entries()
    assert (second.number, second.system, second.sentence) == (7, "The Good One", "one sentence: with a colon.")
    assert (second.paper, second.code) == ("Somebody, A Title That Goes On, 2024.", "a/b at 1, c.py.")
    assert (second.complete, second.left, second.steps, second.follows) == (False, "two steps.", "from 1", "")
    assert second.uses == ("other.loss",)
    assert (first.name, first.number, first.system, first.sentence, first.complete) == ("plain", 0, "", "", False)


@pytest.mark.parametrize(("scope", "complete"), [("complete", True), ("complete.", True), ("incomplete", False)])
def test_complete_is_a_word(small_zoo: Path, scope: str, complete: bool) -> None:
    (small_zoo / "one.loss").write_text(f'"""One: two.\n\nScope: {scope}\n"""\nl1()\n')
    assert zoo.entry("one").complete is complete


# Features


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l1()", []),
        ("term a = l1()  # detach(alpha) when after(step, 3)", []),
        ("l1(masked)", ["mask"]),
        ("ssim_loss()", ["ssim"]),
        ("lpips(rendered, target)", ["lpips"]),
        ("l1() * detach(mean(alpha))", ["alpha", "detach"]),
        ("mean(distortion)", ["distortion"]),
        ("mean(state.opacities) + mean(state.scales)", ["opacities", "scales"]),
        ("mean(norm(state.means))", ["poses"]),
        ("mean(1 - dot(normals, depth_normals(depth)))", ["depth", "normals", "stencil"]),
        ("input mono: depth[relative]\nterm a = pearson_loss(depth, mono)", ["depth", "inputs", "fit"]),
        ("input mono: depth[relative]?\nterm a = pearson_loss(depth, mono) when has(mono)", ["optional"]),
        ("input near: view\nterm a = l1(near.rendered, near.target)", ["view"]),
        ("input near: view\nterm a = mean(near.alpha)", ["alpha", "view"]),
        ("extern net(image) -> map\nterm a = mean(net(rendered))", ["extern"]),
        ("memory m = 0 then l1()\nterm a = m * l1()", ["memory"]),
        ("input p: list of [C Y X]\nterm a = sum(tv(q) for q in p)", ["list", "stencil"]),
        ("term a.x = l1()\nterm b.y = l2()", ["group"]),
        ("term a = l1() when after(step, 100)", ["gate"]),
        ("term a = l1() when step > 100", ["gate"]),
        ("term a = l1() when every(step, 10)", ["every"]),
        ("ramp(step, 1000) * l1()", ["ramp"]),
        ("loglinear(step, 1.0, 0.01, over=max_steps) * l1()", ["decay"]),
        ("linear(step, 0.01, 1.0, over=max_steps) * l1()", ["ramp"]),
        ("(1 - progress) * l1()", ["decay"]),
        ("mix(l1(), l2(), ramp(step, 1000))", ["ramp", "decay"]),
        ("term a = l1() when chance(step, 0.5)", ["random"]),
        ("mean(blur(rendered, 1.5))", ["stencil"]),
        ("mean(relu(state.scales - quantile(state.scales, 0.9)))", ["scales", "order"]),
        ("input ids: index [N K]\nterm a = mean(gather(state.means, ids))", ["poses", "neighbours"]),
        ("input at: [B P 2]\nterm a = mean(sample_at(depth, at))", ["depth", "inputs", "points"]),
    ],
)
def test_features_come_from_the_checked_program(text: str, expected: list[str]) -> None:
    found = used(text)
    missing = [name for name in expected if name not in found]
    assert not missing, f"{missing} not in {found}"
    if expected in ([], ["mask"], ["ssim"], ["ramp"], ["decay"], ["gate"], ["every"], ["detach"]):
        assert found == expected


def test_a_used_program_counts_with_what_it_uses() -> None:
    assert zoo.features(zoo.program("taming-3dgs"))["ssim"]


def test_every_feature_is_of_use() -> None:
    """Each tells programs apart: some have it and some do not."""
    columns = [zoo.features(zoo.program(name)) for name in NAMES]
    for feature in zoo.FEATURES:
        having = sum(column[feature.name] for column in columns)
        assert 0 < having < len(columns), feature.name


# zoo:NAME as a path


def test_a_name_reads_the_file() -> None:
    source = read_source("zoo:2dgs")
    assert source.text == (FOLDER / "2dgs.loss").read_text(encoding="utf-8")
    assert source.name == "zoo:2dgs"


@pytest.mark.parametrize(
    ("path", "help"),
    [
        ("zoo:2dg", "`zoo:2dgs`"),
        ("zoo:2DGS", "`zoo:2dgs`"),
        ("zoo:2dgs.loss", "`zoo:2dgs`"),
        ("zoo:", "`splatdsl zoo`"),
        ("zoo:../zoo/2dgs", "`splatdsl zoo`"),
        ("zoo:/etc/passwd", "`splatdsl zoo`"),
        ("zoo:a\0b", "`splatdsl zoo`"),
    ],
)
def test_an_unknown_name_is_a_finding(path: str, help: str) -> None:
    with pytest.raises(LossError) as caught:
        read_source(path)
    (found,) = caught.value.diagnostics
    assert found.code == "NAM015"
    assert help in found.help[0]


def test_a_bare_name_gets_a_hint() -> None:
    with pytest.raises(LossError) as caught:
        read_source("2dgs")
    (found,) = caught.value.diagnostics
    assert found.code == "SYN053"
    assert "`zoo:2dgs`" in found.help[0]


def test_a_program_that_uses_another_is_checked_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [name for name in NAMES if zoo.entry(name).uses]
    assert users
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3dgs.loss").write_text("term other = l2()\n")  # not the one that is meant
    for name in users:
        assert check(f"zoo:{name}") == []


def test_programs_are_not_written_to() -> None:
    text = (FOLDER / "2dgs.loss").read_text(encoding="utf-8")
    with pytest.raises(fixes.Unwritable, match="comes with splatdsl"):
        fixes.write("zoo:2dgs", text + "#", text.encode())
    assert (FOLDER / "2dgs.loss").read_text(encoding="utf-8") == text


def test_a_config_names_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "run.yaml"
    path.parent.mkdir()
    path.write_text("loss: zoo:3dgs-mcmc\ndata: {kind: synthetic}\n")
    monkeypatch.chdir(tmp_path)
    made, found = config.load_config(str(path))
    assert found == []
    assert made is not None
    assert made.loss_path == "zoo:3dgs-mcmc"
    assert made.loss_source().text == (FOLDER / "3dgs-mcmc.loss").read_text(encoding="utf-8")
    assert config.config_to_dict(made)["loss"] == "zoo:3dgs-mcmc"
    assert config.check_config(str(path)) == []
    path.write_text("loss: zoo:3dgs-mcm\ndata: {kind: synthetic}\n")
    made, found = config.load_config(str(path))
    assert made is None
    assert [d.code for d in found] == ["NAM015"]
    assert (found[0].line, found[0].column) == (1, 7)


# The command


def test_a_program_is_printed_as_it_is(run_cli) -> None:
    done = run_cli("zoo", "2dgs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (FOLDER / "2dgs.loss").read_text(encoding="utf-8")
    assert run_cli("zoo", "zoo:2dgs").stdout == done.stdout
    assert run_cli("check", "-", stdin=done.stdout).returncode == 0


def test_colours_do_not_change_the_text(run_cli) -> None:
    done = run_cli("zoo", "2dgs", FORCE_COLOR="1")
    assert "\x1b[" in done.stdout
    assert ESCAPE.sub("", done.stdout) == (FOLDER / "2dgs.loss").read_text(encoding="utf-8")


def test_a_program_that_uses_another_says_so_beside(run_cli) -> None:
    done = run_cli("zoo", "taming-3dgs")
    assert done.stdout == (FOLDER / "taming-3dgs.loss").read_text(encoding="utf-8")
    assert "splatdsl zoo 3dgs > 3dgs.loss" in done.stderr


def test_the_list_and_the_table_agree(run_cli) -> None:
    records = json.loads(run_cli("zoo", "--table", "--format", "json").stdout)
    assert sorted(record["program"] for record in records) == NAMES
    assert [record["number"] for record in records] == sorted(record["number"] for record in records)
    listed = run_cli("zoo").stdout
    table = run_cli("zoo", "--table", "--format", "markdown").stdout.splitlines()
    text = run_cli("zoo", "--table").stdout.splitlines()
    columns = [cell.strip() for cell in table[0].strip("|").split("|")]
    for record in records:
        assert record["sentence"] in listed
        row = next(line for line in table if f"| `{record['program']}` |" in line)
        cells = dict(zip(columns, (cell.strip() for cell in row.strip("|").split("|"))))
        assert [c for c in columns if cells[c] == "x"] == record["features"]
        assert cells["scope"] == ("complete" if record["complete"] else "loss part")
        plain = next(line for line in text if line[4:].split(" ")[0] == record["program"])
        assert plain.count("  x") == len(record["features"])
    sums = next(line for line in table if "programs |" in line).strip("|").split("|")
    for name, cell in zip(columns[3:], sums[3:]):
        assert int(cell) == sum(name in record["features"] for record in records)


def test_totals_count_systems(small_zoo: Path) -> None:
    for name, number, scope in (("a", 1, "complete"), ("b", 2, "complete"), ("c", 2, "loss part. Left to it: x")):
        (small_zoo / f"{name}.loss").write_text(f'"""A: b.\n\nSystem: {number} S\nScope: {scope}\n"""\nl1()\n')
    assert command.totals(zoo.entries()) == (
        "2 systems in 3 programs: 1 complete, 1 with the loss part of the training"
    )


@pytest.mark.parametrize("word", ["memory", "MEMORY"])
def test_a_search_finds_features(word: str, run_cli) -> None:
    records = json.loads(run_cli("zoo", "--search", word, "--format", "json").stdout)
    assert [r["program"] for r in records] == [e.name for e in zoo.entries() if zoo.program(e.name).memories]


def test_a_search_finds_words(run_cli) -> None:
    found = json.loads(run_cli("zoo", "--search", "kerbl", "--format", "json").stdout)
    assert {"3dgs", "hierarchical-3dgs"} <= {record["program"] for record in found}
    assert len(found) < len(NAMES) / 2


def test_an_installation_without_the_zoo_says_so(small_zoo: Path) -> None:
    with pytest.raises(click.UsageError, match="has no zoo"):
        command.zoo.main([], standalone_mode=False)


def test_the_package_contains_the_programs() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "splatdsl.examples.zoo" in setup["packages"]
    assert "*.loss" in setup["package-data"]["splatdsl.examples.zoo"]
    assert Path(files.ZOO_FOLDER).relative_to(ROOT).parts == ("examples", "zoo")


# The page


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == zoo_page.page(), (
        "run `splatdsl zoo --page > docs/zoo.md`"
    )


def test_the_page_needs_the_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(zoo_page, "REFERENCES", tmp_path / "absent")
    with pytest.raises(click.UsageError, match="made in the repository"):
        zoo_page.page()


def test_the_page_shows_formulas_and_what_is_compared(
    small_zoo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(FOLDER / "3dgs-mcmc.loss", small_zoo)
    (tmp_path / "3dgs-mcmc.py").write_text(
        '"""The formula."""\nMAX_STEPS = 30_000\nSTART = 500\nSTEPS: tuple[int, ...] = (0, START - 1, START, 20_000)\n'
        'GRADIENTS = ("rendered", "state.scales")\nMASKED = False\nVARIANTS = ({"params": {}},)\n'
    )
    monkeypatch.setattr(zoo_page, "REFERENCES", tmp_path)
    page = zoo_page.page()
    assert "```text\nThe formula.\n```" in page
    assert "Verified at 4 steps (0, 499, 500, 20,000), without the item's mask, which the program does not read" in page
    assert "in 1 variant of parameters and inputs; gradients by `rendered`, `state.scales`." in page
    assert "### 7. " in page


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("(0,)", (0,)),
        ("tuple(sorted({5, 3, *GATES}))", (3, 5, 9)),
        ("(0, *range(7, 9))", (0, 7, 8)),
        ("(2 * 10 - 1, MAX_STEPS - 1)", (19, 99)),
    ],
)
def test_steps_are_read_without_running_anything(steps: str, expected: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        f'"""F."""\nimport nothing\nMAX_STEPS = 100\nGATES = (9,)\nSTEPS = {steps}\nGRADIENTS = ("rendered",)\n'
    )
    assert zoo_page.read_proof(path).steps == expected


@pytest.mark.parametrize(
    "text",
    ['STEPS = (0,)\nGRADIENTS = ("a",)\n', '"""F."""\nSTEPS = (0,)\n', '"""F."""\nSTEPS = f()\nGRADIENTS = ("a",)\n'],
)
def test_a_reference_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(click.UsageError, match=r"broken\.py"):
        zoo_page.read_proof(path)
    with pytest.raises(click.UsageError, match=r"absent\.py"):
        zoo_page.read_proof(tmp_path / "absent.py")
