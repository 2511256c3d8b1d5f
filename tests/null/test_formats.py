"""The formats of findings, held against what the programs that read them expect."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from splatdsl.cli import main as entry
from splatdsl.cli.formats import FORMATS, Report, renderer
from splatdsl.dsl.diagnostics import Applicability, Diagnostic, Edit, Fix, Label
from splatdsl.dsl.source import Source, Span

TEXT = "param w = 0.2\nlet x = 1\nterm a = l1(masked &\n  mask)\n"
SOURCE = Source(TEXT, "losses/gärten & co/a.loss")
AND = TEXT.index("&")
FOUND = [
    Diagnostic("USE001", "`w` is not used: 100% <wrong>", SOURCE, Span(6, 7), help=["remove it, or: use it"]),
    Diagnostic(
        "SYN003",
        "`&` is not part\nof the language",
        SOURCE,
        Span(AND, AND + 1),
        labels=[Label(Span(0, 5), "a `param`"), Label(Span(0, 1), "elsewhere", Source("y", "b.loss"))],
        notes=["one", "two\nthree"],
        help=["write `and`"],
        fixes=[
            Fix("write `and`", [Edit(Span(AND, AND + 1), "and")], Applicability.SAFE),
            Fix("remove it", [Edit(Span(AND, AND + 1), "")], Applicability.UNSAFE),
            Fix("think", [], Applicability.DISPLAY),
        ],
    ),
    Diagnostic("SYN005", "over lines", SOURCE, Span(AND - 6, AND + 4)),
    Diagnostic("CFG008", "missing \x1b file", Source("", "run.yaml"), None),
]


def render(format: str, found: list[Diagnostic] = FOUND, **options) -> str:
    files = options.pop("files", ["losses/gärten & co/a.loss", "clean.loss", "run.yaml"])
    return renderer(format)(Report(found, files, format=format, **options))


@pytest.mark.parametrize("format", FORMATS)
def test_a_text_ends_with_a_line_end_and_is_the_same_twice(format: str) -> None:
    assert render(format).endswith("\n")
    assert render(format) == render(format)


def test_concise() -> None:
    assert render("concise").splitlines() == [
        "losses/gärten & co/a.loss:1:7: warning[USE001 unused-param]: `w` is not used: 100% <wrong>",
        "losses/gärten & co/a.loss:3:20: error[SYN003 not-in-the-language]: `&` is not part of the language [*]",
        "losses/gärten & co/a.loss:3:14: error[SYN005 open-bracket]: over lines",
        "run.yaml: error[CFG008 config-missing-file]: missing � file",
    ]


def test_grouped() -> None:
    assert render("grouped").splitlines() == [
        "losses/gärten & co/a.loss:",
        "  1:7   warning[USE001 unused-param]: `w` is not used: 100% <wrong>",
        "  3:20  error[SYN003 not-in-the-language]: `&` is not part of the language [*]",
        "  3:14  error[SYN005 open-bracket]: over lines",
        "",
        "run.yaml:",
        "  -  error[CFG008 config-missing-file]: missing � file",
    ]
    assert render("grouped", []) == ""


def test_full_is_what_a_terminal_shows() -> None:
    assert "\x1b[1;31merror" in render("full", color=True)
    assert "\x1b" not in render("full")
    assert render("full").count("\n\n") == 3


def test_json_has_every_fix() -> None:
    made = json.loads(render("json"))
    assert [found["code"] for found in made] == ["USE001", "SYN003", "SYN005", "CFG008"]
    fixes = made[1]["fixes"]
    assert [fix["applicability"] for fix in fixes] == ["safe", "unsafe", "display"]
    assert fixes[0]["edits"] == [
        {"line": 3, "column": 20, "end_line": 3, "end_column": 21, "start": AND, "end": AND + 1, "text": "and"}
    ]
    assert made[3]["line"] is None
    lines = render("json-lines").splitlines()
    assert [json.loads(line) for line in lines] == made


def test_github() -> None:
    first, second, third, last = render("github").splitlines()
    assert first == (
        "::warning title=splatdsl (USE001 unused-param),file=losses/gärten & co/a.loss,line=1,col=7,endLine=1,"
        "endColumn=7::`w` is not used: 100%25 <wrong>%0Ahelp: remove it, or: use it"
    )
    assert "line=3,col=20,endLine=3,endColumn=20::`&` is not part%0Aof the language%0Anote: one" in second
    assert "line=3,col=14,endLine=4::" in third, "no column where the place spans lines"
    assert last.startswith("::error title=splatdsl (CFG008 config-missing-file),file=run.yaml::")
    odd = Diagnostic("USE001", "m", Source("x", "a:b,c%.loss"), Span(0, 1))
    assert "file=a%3Ab%2Cc%25.loss," in render("github", [odd])


def test_gitlab() -> None:
    made = json.loads(render("gitlab", [*FOUND, FOUND[0]]))
    for found in made:
        assert set(found) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert found["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert found["location"]["positions"]["begin"]["line"] >= 1
    assert made[0]["location"]["path"] == "losses/gärten & co/a.loss"
    assert len({found["fingerprint"] for found in made}) == len(made), "two findings never look like one"
    moved = Source("# above\n" + TEXT, SOURCE.name)
    later = Diagnostic("USE001", FOUND[0].message, moved, Span(14, 15))
    assert json.loads(render("gitlab", [later]))[0]["fingerprint"] == made[0]["fingerprint"], "it has only moved"


def test_junit() -> None:
    text = render("junit", problems=[("gone.loss", 'is "not" <there>')])
    root = xml.fromstring(text.encode())
    assert root.tag == "testsuites"
    suites = {suite.get("name"): suite for suite in root}
    assert sorted(suites) == ["clean.loss", "gone.loss", "losses/gärten & co/a.loss", "run.yaml"]
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
    for count in ("tests", "failures", "errors"):
        assert int(root.get(count, "")) == sum(int(suite.get(count, "")) for suite in root)
    assert [case.get("name") for case in suites["clean.loss"]] == ["splatdsl"]
    failure = suites["losses/gärten & co/a.loss"].findall("testcase/failure")[1]
    assert failure.get("message") == "`&` is not part\nof the language"
    assert (failure.text or "").splitlines()[0] == "line 3, column 20: `&` is not part"
    assert suites["gone.loss"][0][0].get("message") == 'is "not" <there>'


def test_junit_holds_no_character_that_xml_has_not() -> None:
    odd = "".join(map(chr, range(32))) + "\x7f\ufffe\U0001f600"
    text = render("junit", [Diagnostic("USE001", odd, Source("x", "a.loss"), Span(0, 1))])
    assert "\U0001f600" in (xml.fromstring(text.encode())[0][0][0].get("message") or "")


def test_sarif() -> None:
    made = json.loads(render("sarif", problems=[("gone.loss", "does not exist")]))
    assert made["version"] == "2.1.0"
    assert made["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = made["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["CFG008", "SYN003", "SYN005", "USE001"]
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["invocations"] == [
        {
            "executionSuccessful": False,
            "toolExecutionNotifications": [{"level": "error", "message": {"text": "gone.loss: does not exist"}}],
        }
    ]
    for rule in rules:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", rule["name"])
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning")
    for result, d in zip(run["results"], FOUND, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == d.code
        assert result["level"] == d.severity.value
        (location,) = result["locations"]
        assert ("region" in location["physicalLocation"]) == (d.span is not None)
    place = run["results"][1]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "losses/g%C3%A4rten%20%26%20co/a.loss"
    assert place["region"] == {"startLine": 3, "startColumn": 20, "endLine": 3, "endColumn": 21}
    related = run["results"][1]["relatedLocations"]
    assert [r["physicalLocation"]["artifactLocation"]["uri"].rpartition("/")[2] for r in related] == [
        "a.loss",
        "b.loss",
    ]
    fixes = run["results"][1]["fixes"]
    assert [fix["properties"]["applicability"] for fix in fixes] == ["safe", "unsafe"]
    (change,) = fixes[0]["artifactChanges"]
    assert change["replacements"] == [
        {
            "deletedRegion": {"startLine": 3, "startColumn": 20, "endLine": 3, "endColumn": 21},
            "insertedContent": {"text": "and"},
        }
    ]
    assert "fixes" not in run["results"][0]


def test_sarif_names_absolute_paths_as_files() -> None:
    found = Diagnostic("USE001", "m", Source("x", "/tmp/a b.loss"), Span(0, 1))
    made = json.loads(render("sarif", [found]))
    uri = made["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "file:///tmp/a%20b.loss"


# On the command line


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = entry.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.mark.parametrize("format", FORMATS)
def test_findings_and_none_give_their_statuses_in_every_format(cli, write, format: str) -> None:
    write("bad.loss", "l1(maskd)\n")
    write("good.loss", "l1(masked)\n")
    status, out, err = cli("check", "bad.loss", "good.loss", "--format", format)
    assert status == 1
    assert "NAM001" in out
    assert err == "1 error in 2 files\n"
    status, out, _ = cli("check", "good.loss", "--format", format)
    assert status == 0
    if format in ("json", "gitlab"):
        assert json.loads(out) == []
    elif format == "sarif":
        assert json.loads(out)["runs"][0]["results"] == []
    elif format == "junit":
        assert xml.fromstring(out.encode()).get("failures") == "0"
    else:
        assert out == ""


@pytest.mark.parametrize("format", FORMATS)
def test_output_file(cli, write, tmp_path: Path, format: str) -> None:
    write("bad.loss", "l1(maskd)\n")
    write("worse.loss", "l2(maskd)\n")
    _, printed, _ = cli("check", "bad.loss", "worse.loss", "--format", format, "--color", "never")
    status, out, err = cli("check", "bad.loss", "worse.loss", "--format", format, "--output-file", "report.txt")
    assert (status, out) == (1, "")
    assert err == "2 errors in 2 files\n"
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == printed


def test_an_output_file_that_cannot_be_written(cli, write) -> None:
    write("bad.loss", "l1(maskd)\n")
    status, out, err = cli("check", "bad.loss", "--output-file", "absent/report.txt")
    assert (status, out) == (2, "")
    assert "the report `absent/report.txt` cannot be written: no such file or directory" in err


def test_statistics(cli, write) -> None:
    write("a.loss", "term a = l1(masked & mask)\nterm b = l2(maskd)\n")
    write("b.loss", "term a = l2(maskd)\n")
    write("c.loss", "term a = l2(masked)\nparam w = 1\n")
    status, out, _ = cli("check", ".", "--statistics")
    assert status == 1
    assert out.splitlines() == [
        "2       NAM001  unknown-name",
        "1  [*]  SYN003  not-in-the-language",
        "1       USE001  unused-param",
    ]
    made = json.loads(cli("check", ".", "--statistics", "--format", "json")[1])
    assert made[0] == {"code": "NAM001", "slug": "unknown-name", "count": 2, "fixable": 0}
    lines = cli("check", ".", "--statistics", "--format", "json-lines")[1].splitlines()
    assert [json.loads(line) for line in lines] == made
