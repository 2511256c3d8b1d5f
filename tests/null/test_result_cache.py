"""Kept results: the same output byte for byte, never a finding less, whatever happens to the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splatdsl.cli import main as entry
from splatdsl.cli.check import CACHED_FROM
from splatdsl.dsl import result_cache
from splatdsl.dsl.check.modules import MARKERS
from splatdsl.dsl.diagnostics import Applicability, Diagnostic, Edit, Fix, Label
from splatdsl.dsl.render import as_dict, full
from splatdsl.dsl.result_cache import ResultCache, reads, surroundings
from splatdsl.dsl.source import Source, Span

FILES = CACHED_FROM + 2
MISTAKES = ["l1(maskd)\n", "l1(masked & mask)\n", "param w = 1\nl1(masked)\n", "term a = ramp(step, 5, 5) * l1()\n"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPLATDSL_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def project(tmp_path: Path, write, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i in range(FILES):
        text = MISTAKES[i % len(MISTAKES)] if i % 3 == 0 else "l1(masked)\n"
        write(f"p/{i:02}.loss", f"# {i}\n{text}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "p"


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the programs that were really checked."""
    from splatdsl.dsl import api

    names: list[str] = []
    real = api.check_text

    def spy(text: str, name: str = "", **options: object) -> list[Diagnostic]:
        names.append(os.path.basename(name))
        return real(text, name=name, **options)

    monkeypatch.setattr(api, "check_text", spy)
    return names


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        status = entry.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.mark.parametrize("format", ["full", "concise", "json", "sarif", "junit", "gitlab", "github"])
def test_the_output_is_the_same(project: Path, cli, analysed: list[str], cache: Path, format: str) -> None:
    fresh = cli("check", "p", "--format", format, "--no-cache")
    assert not cache.exists()
    first = cli("check", "p", "--format", format)
    assert len(analysed) == 2 * FILES
    second = cli("check", "p", "--format", format)
    assert len(analysed) == 2 * FILES, "nothing was checked again"
    assert fresh == first == second
    assert fresh[0] == 1


def test_only_what_changed_is_checked(project: Path, cli, analysed: list[str]) -> None:
    cli("check", "p")
    analysed.clear()
    (project / "01.loss").write_text("l2(maskd)\n")
    status, out, _ = cli("check", "p")
    assert analysed == ["01.loss"]
    assert "01.loss:1:4" in out
    os.utime(project / "02.loss")
    cli("check", "p")
    assert analysed == ["01.loss"], "the text decides, not its time"
    assert status == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--steps", "10"],
        ["--renderer", "reference"],
        ["--pedantic"],
        ["--set", "train.max_steps=5"],
    ],
)
def test_whatever_findings_depend_on_is_part_of_the_key(
    project: Path, cli, analysed: list[str], options: list[str]
) -> None:
    cli("check", "p")
    analysed.clear()
    cli("check", "p", *options)
    assert len(analysed) in (FILES, 0)
    if options[0] != "--set":  # checked by another function then
        assert len(analysed) == FILES


def test_settings_choose_from_kept_results(project: Path, cli, analysed: list[str], write) -> None:
    before = cli("check", "p", "--ignore", "USE", "--no-cache")
    cli("check", "p")
    analysed.clear()
    assert cli("check", "p", "--ignore", "USE") == before
    assert analysed == []
    (project / "00.loss").write_text("# splat: ignore[USE001]\n")
    assert "SUP001" not in cli("check", "p")[1]


def test_a_change_of_the_rules_forgets_everything(
    project: Path, cli, analysed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("check", "p")
    analysed.clear()
    monkeypatch.setattr(result_cache, "_rules", lambda: b"other rules")
    cli("check", "p")
    assert len(analysed) == FILES


def test_the_rules_are_the_contents_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    for name in ("dsl/result_cache.py", "dsl/check/rules.py", "grammar/prelude.loss"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x")
    monkeypatch.setattr(result_cache, "__file__", str(package / "dsl" / "result_cache.py"))
    before = result_cache._rules()
    assert before == result_cache._rules()
    (package / "dsl/check/rules.py").write_text("y")
    assert before != result_cache._rules()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" * 100,
        lambda data: b"[]",
        lambda data: b'{"format":1}',
        lambda data: b"[" * 100_000,
        lambda data: data.replace(b"NAM001", b"NAM999"),
        lambda data: data.replace(b"maskd", b"mask "),
        lambda data: data.replace(b"[[],[[", b"[[],[]]]"),
        lambda data: json.dumps(
            {**json.loads(data), "entries": {k: [v[0], "[[],[]]"] for k, v in json.loads(data)["entries"].items()}}
        ).encode(),
        lambda data: json.dumps({**json.loads(data), "entries": dict.fromkeys(json.loads(data)["entries"])}).encode(),
    ],
)
def test_a_damaged_file_hides_nothing(project: Path, cli, cache: Path, damage) -> None:
    fresh = cli("check", "p")
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cli("check", "p") == fresh
    assert cli("check", "p") == fresh


def test_few_files_are_not_kept(write, cli, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.loss", "l1(masked)\n")
    cli("check", "a.loss")
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(
    project: Path, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = cli("check", "p", "--no-cache")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPLATDSL_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert cli("check", "p") == fresh


# Programs of several files


def test_a_used_file_is_part_of_the_key(project: Path, cli, analysed: list[str], write) -> None:
    write("p/base.loss", "let strength = 0.5\nterm own = l2(masked)\n")
    write("p/00.loss", 'use "base.loss" (strength)\nterm a = strength * l1(masked)\n')
    before = cli("check", "p")
    analysed.clear()
    assert cli("check", "p") == before
    assert analysed == []
    write("p/base.loss", "let other = 0.5\nterm own = l2(masked) * other\n")
    _, out, _ = cli("check", "p")
    assert sorted(analysed) == ["00.loss", "base.loss"]
    assert "strength" in out


def test_a_missing_file_is_looked_for_every_time(project: Path, cli, analysed: list[str], write) -> None:
    write("p/00.loss", 'use "base.loss" (strength)\nterm a = strength * l1(masked)\n')
    cli("check", "p")
    analysed.clear()
    cli("check", "p")
    assert analysed == ["00.loss"]


def test_reads(write, tmp_path: Path) -> None:
    a = str(write("a.loss", 'use "b/b.loss" (x)\n  use "b/b.loss" (y)\nterm use_ = l1()\n'))
    b = str(write("b/b.loss", 'use "../c.loss" (z)\n'))
    c = str(write("c.loss", 'use "b/b.loss" (x)\n'))
    assert reads(a, Path(a).read_text()) == {b: Path(b).read_text(), c: Path(c).read_text()}
    assert reads(a, "term a = l1()  # use\n") == {}
    assert reads(a, "use \n") is None
    assert reads(a, 'use\n  "b/b.loss" (x)\n') is None
    assert reads(a, 'use "absent.loss" (x)\n') is None
    assert surroundings(a, "term because = l1()\n") == []


def test_what_makes_a_project_is_part_of_the_key(write, tmp_path: Path) -> None:
    a = str(write("p/a.loss", 'use "../b.loss" (x)\n'))
    write("b.loss", "let x = 1\n")
    before = surroundings(a, Path(a).read_text())
    write("p/splatdsl.toml", "")
    assert before is not None
    assert surroundings(a, Path(a).read_text()) != before
    assert set(MARKERS) <= set(result_cache.MARKERS)


# The store


def everything() -> Diagnostic:
    source, other = Source("term a = l1(masked)\n", "a.loss"), Source("w=5", "--set")
    fixes = [
        Fix("t", [Edit(Span(0, 1), "ü"), Edit(Span(3, 3), "")], Applicability.SAFE),
        Fix("u", [], Applicability.DISPLAY),
    ]
    return Diagnostic(
        "USE001",
        "a message",
        source,
        Span(5, 6),
        caption="here",
        labels=[Label(Span(0, 2), "one"), Label(Span(0, 1), "two", other), Label(Span(0, 4), "three", source)],
        notes=["n"],
        help=["h"],
        fixes=fixes,
    )


def test_a_finding_comes_back_whole(tmp_path: Path) -> None:
    d, text = everything(), "term a = l1(masked)\n"
    whole = Diagnostic("GRD006", "m", Source(text, "a.loss"), None)
    store = ResultCache(str(tmp_path))
    key = store.key("a.loss", text, [1, None])
    store.put(key, "a.loss", text, [d, whole])
    store.save()
    found = ResultCache(str(tmp_path)).get(key, "a.loss", text)
    assert found is not None
    assert [full(f) for f in found] == [full(d), full(whole)]
    assert [as_dict(f) for f in found] == [as_dict(d), as_dict(whole)]
    assert [f.severity for f in found] == [d.severity, whole.severity]
    assert ResultCache(str(tmp_path)).get(store.key("a.loss", text, [1, 0]), "a.loss", text) is None


def test_large_results_are_not_kept(tmp_path: Path) -> None:
    store = ResultCache(str(tmp_path))
    long = Diagnostic("USE001", "x" * result_cache.MAX_ENTRY, Source("t", "a.loss"), None)
    store.put("k", "a.loss", "t", [long])
    beside = Diagnostic("USE001", "m", Source("x" * 20_000, "b.loss"), None)
    store.put("l", "a.loss", "t", [beside])
    store.save()
    assert not os.path.exists(result_cache.folder())


def test_the_store_stays_small_and_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_cache, "MAX_ENTRIES", 4)
    for i in range(4):
        store = ResultCache(str(tmp_path))
        store.put(f"k{i}", "a.loss", "t", [])
        store.save()
    store = ResultCache(str(tmp_path))
    assert store.get("k0", "a.loss", "t") == []
    store.put("new", "a.loss", "t", [])
    store.save()
    kept = ResultCache(str(tmp_path))
    assert [k for k in ("k0", "k1", "k2", "k3", "new") if kept.get(k, "a.loss", "t") is not None] == [
        "k0",
        "k2",
        "k3",
        "new",
    ]
    monkeypatch.setattr(result_cache, "MAX_BYTES", 100)
    kept.put("big", "a.loss", "t", [])
    kept.save()
    (path,) = Path(result_cache.folder()).iterdir()
    assert len(json.loads(path.read_text())["entries"]) <= 2


def test_old_projects_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_cache, "MAX_PROJECTS", 3)
    for i in range(5):
        store = ResultCache(str(tmp_path / str(i)))
        store.put("k", "a.loss", "t", [])
        store.save()
        for age, path in enumerate(sorted(Path(result_cache.folder()).iterdir(), key=lambda p: p.stat().st_mtime_ns)):
            os.utime(path, ns=(age * 10**9, age * 10**9))
    assert len(list(Path(result_cache.folder()).iterdir())) == 3
    assert ResultCache(str(tmp_path / "4")).get("k", "a.loss", "t") == []


def test_two_runs_at_once_keep_both_results(tmp_path: Path) -> None:
    one, two = ResultCache(str(tmp_path)), ResultCache(str(tmp_path))
    one.put("one", "a.loss", "t", [])
    two.put("two", "a.loss", "t", [])
    one.save()
    two.save()
    kept = ResultCache(str(tmp_path))
    assert kept.get("one", "a.loss", "t") == kept.get("two", "a.loss", "t") == []


def test_many_processes_at_once(project: Path, cli, cache: Path) -> None:
    fresh = cli("check", "p", "--no-cache")
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "splatdsl", "check", "p"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
        for _ in range(4)
    ]
    for run in runs:
        out, _ = run.communicate(timeout=60)
        assert (run.returncode, out.decode()) == fresh[:2]
    assert [p.suffix for p in cache.iterdir()] == [".json"]


def test_clean_takes_kernels_too(cli, cache: Path) -> None:
    (cache / "kernels" / "abc").mkdir(parents=True)
    (cache / "kernels" / "abc" / "kernel.so").touch()
    (cache / "mine").touch()
    status, out, _ = cli("clean")
    assert (status, out.split()[:2]) == (0, ["removed", "1"])
    assert [path.name for path in cache.iterdir()] == ["mine"]


def test_clean(project: Path, cli, cache: Path) -> None:
    cli("check", "p")
    (cache / "mine.txt").write_text("stays")
    status, out, _ = cli("clean")
    assert (status, out) == (0, f"removed 1 file of kept results from {cache}\n")
    assert [p.name for p in cache.iterdir()] == ["mine.txt"]
    (cache / "mine.txt").unlink()
    cli("check", "p")
    cli("clean")
    assert not cache.exists()
    assert cli("clean")[1].startswith("removed 0 files")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"SPLATDSL_CACHE_DIR": "/a"}, "/a"), ({"XDG_CACHE_HOME": "/b"}, "/b/splatdsl"), ({}, "~/.cache/splatdsl")],
)
def test_where_results_are_kept(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPLATDSL_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert result_cache.folder() == os.path.expanduser(expected)


@pytest.mark.slow
def test_a_thousand_files(write, run_cli, tmp_path: Path) -> None:
    """Programs of 30 lines: a few seconds from nothing, under one when nothing has changed."""
    for i in range(1000):
        lines = [f"param w{j} = 0.{i + 1} in [0, 1]" for j in range(15)]
        lines += [f"term t{j} = w{j} * huber(masked, delta=0.{j + 1})" for j in range(15)]
        write(f"many/{i}.loss", "\n".join(lines) + "\n")
    first = run_cli("check", "many", cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "no findings in 1000 files\n")
    start = time.perf_counter()
    second = run_cli("check", "many", cwd=tmp_path)
    assert time.perf_counter() - start < 2  # about 0.2 s on an idle machine
    assert (second.returncode, second.stderr) == (0, first.stderr)
