"""What fixes of findings make of whole programs: the text afterwards, and that the finding is gone."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from splatdsl.cli import main as entry
from splatdsl.dsl.api import check_text
from splatdsl.dsl.codes import all_codes
from splatdsl.dsl.diagnostics import Applicability, Diagnostic, Sink
from splatdsl.dsl.fixes import best, fix_text
from splatdsl.dsl.parse import parse
from splatdsl.dsl.source import Source

MISTAKES = Path(__file__).resolve().parent.parent / "mistakes"
WRONG = sorted(p.name for p in MISTAKES.glob("*.loss") if ".ok." not in p.name)
HEADER = re.compile(r"# expect: [A-Z0-9 ]+(?:; options: (?P<options>.*))?$")


def findings(text: str, steps: int | None = None, pedantic: bool = False) -> list[Diagnostic]:
    return check_text(text, name="a.loss", max_steps=steps, pedantic=pedantic)


def one(text: str, code: str) -> Diagnostic:
    (found,) = [d for d in findings(text) if d.code == code]
    return found


def fixed(text: str, *codes: str) -> str:
    """The text with the fixes of some codes applied; none of these is left."""
    outcome = fix_text(text, "a.loss", lambda now: [d for d in findings(now) if d.code in codes], unsafe=True)
    assert outcome.problems == []
    assert [d.code for d in outcome.found] == []
    return outcome.text


# In a definition


@pytest.mark.parametrize(
    ("code", "body", "calls", "after"),
    [
        ("MSK002", "mmean(x, m) = sum(x*m)/sum(m)", ["mmean(abs(rendered-target), masked)"], "mean(x, m)"),
        ("NAN006", "H2(p) = -(p*log(p)+(1-p)*log(1-p))", ["mean(H2(alpha))"], "binary_entropy(p)"),
        ("NAN006", "H2(p) = p*log(p)+(1-p)*log(1-p)", ["mean(1 - H2(alpha))"], "-binary_entropy(p)"),
        ("NAN009", "n(x) = sqrt(x) + 1e-8", ["mean(n(alpha))"], "sqrt(x + 1e-8)"),
        ("NAN004", "u(v) = v / norm(v)", ["mean(dot(u(normals), normals_from_depth))"], "normalize(v)"),
        ("NAN003", "q(v) = sqrt(component_sum(v*v))", ["mean(q(rendered - target))"], "norm(v)"),
        ("NAN003", "q(v) = sqrt(alpha * v)", ["mean(q(alpha))"], "sqrt(max(alpha * v, 1e-6))"),
        ("NAN008", "inv(d) = 1 / d", ["mean(inv(depth))"], "1 / max(d, 1e-6)"),
        ("MSK001", "wl1(a, b, m) = l1(a*m, b*m)", ["wl1(rendered, target, mask)"], "l1(a, b, m)"),
        ("MSK001", "wl1(x, m) = mean(x*(1 - m))", ["wl1(abs(rendered - target), mask)"], "mean(x, not m)"),
        ("MSK001", "wl1(x, w) = mean(x * w)", ["wl1(abs(rendered - target), 1 - mask)"], "mean(x, region(w))"),
        ("RED001", "tot(x) = sum(x)", ["tot(alpha)"], "mean(x)"),
        ("SSM001", "like(a, b) = 0.2*ssim(a, b)", ["like(rendered, target)"], "0.2*(1 - ssim(a, b))"),
    ],
)
def test_a_fix_in_a_definition_uses_its_names(code: str, body: str, calls: list[str], after: str) -> None:
    """It is made where there is one call, and only shown where there are two."""
    head = body.partition(" = ")[0]
    once = f"def {body}\nterm a = {calls[0]}\n"
    assert fixed(once, code) == once.replace(body, f"{head} = {after}")
    assert one(once, code).fixes[0].applicability is Applicability.UNSAFE
    twice = f"{once}term b = 0.5 * {calls[0]}\n"
    (fix,) = next(d for d in findings(twice) if d.code == code).fixes
    assert fix.applicability is Applicability.DISPLAY
    assert fix.edits[-1].text in after or after.startswith(fix.edits[-1].text)


def test_other_callers_of_a_definition_keep_what_they_had() -> None:
    text = (
        "def mmean(x, m) = sum(x*m)/sum(m)\n"
        "term a = mmean(abs(rendered-target), masked)\n"
        "term b = mmean(depth, unmasked)\n"
    )
    outcome = fix_text(text, "a.loss", findings, unsafe=True)
    assert (outcome.text, outcome.problems) == (text, [])
    found = next(d for d in outcome.found if d.code == "MSK002")
    assert "`mean(x, m)`" in found.fixes[0].title


def test_a_call_in_a_definition_that_is_called_twice_is_two_calls() -> None:
    inner = "def inv(d) = 1 / d\ndef far(x) = mean(inv(x))\nterm a = far(depth)\n"
    assert one(inner, "NAN008").fixes[0].applicability is Applicability.UNSAFE
    both = inner + "term b = far(depth.median)\n"
    assert {d.fixes[0].applicability for d in findings(both) if d.code == "NAN008"} == {Applicability.DISPLAY}


def test_what_has_no_text_in_a_definition_is_not_written_there() -> None:
    found = one("def lg(p) = log(p/(1-p))\nterm b = mean(lg(state.opacities))\n", "ACT003")
    assert found.fixes == ()
    assert found.help == ("`state.opacity_logits` is this number as it is trained",)
    own = one("term b = mean(log(state.opacities/(1-state.opacities)))\n", "ACT003")
    assert own.fixes[0].edits[0].text == "state.opacity_logits"
    exp = one("def e(p) = mean(exp(p))\nterm b = e(state.opacity_logits)\n", "ACT020")
    assert (exp.fixes, exp.help) == ((), ("use `state.opacities`",))


def test_a_number_of_the_caller_is_not_written_into_a_definition() -> None:
    text = "def late(n) = step > n\nterm a = l1(masked) when late(300)\n"
    assert fixed(text, "SCH006") == text.replace("step > n", "after(step, n + 1)")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("MSK002", "def mm(x, m, n) = sum(x*m)/sum(n)\nterm a = mm(alpha, masked, masked)\n"),
        ("NAN004", "def u(v, w) = v / norm(w)\nterm a = mean(dot(u(normals, normals), normals_from_depth))\n"),
        ("NAN006", "def h(p, q) = -(p*log(p)+(1-q)*log(1-q))\nterm a = mean(h(alpha, alpha))\n"),
    ],
)
def test_parameters_that_are_equal_in_one_call_stay_apart(code: str, text: str) -> None:
    assert one(text, code).fixes == ()


def test_a_name_that_does_not_exist_is_put_right_for_all_callers() -> None:
    text = "def d(x) = l1(x, targte, masked)\nterm a = d(rendered)\nterm b = 0.1 * d(sq(rendered))\n"
    assert fixed(text, "NAM001") == text.replace("targte", "target")


def test_a_text_that_is_too_long_for_a_message_is_written_whole() -> None:
    x = " + ".join(f"{i} * abs(rendered - target)" for i in range(1, 5))
    text = f"term a = sum(({x}) * masked) / sum(masked)\n"
    assert fixed(text, "MSK002") == f"term a = mean({x}, masked)\n"


# One fix after another


def test_a_condition_is_bracketed_before_more_is_asked() -> None:
    text = (
        "input mono: depth[inverse, relative]?\n"
        "param on: flag = true\n"
        "term c = l1(masked)\n"
        "term d = pearson_loss(depth.inverse, mono) when {}\n"
    )

    def after(condition: str) -> str:
        return fixed(text.format(condition), "NAM010").splitlines()[-1].partition(" when ")[2]

    assert after("on or after(step, 100)") == "(on or after(step, 100)) and has(mono)"
    assert after("(on or after(step, 100))") == "(on or after(step, 100)) and has(mono)"
    assert after("after(step, 100)") == "after(step, 100) and has(mono)"
    assert after("on if after(step, 9) else not on") == "(on if after(step, 9) else not on) and has(mono)"
    assert after("not on") == "not on and has(mono)"


@pytest.mark.parametrize("condition", ["not has(mono)", "after(step, 5) and not has(mono)"])
def test_what_is_missing_there_is_not_asked_for(condition: str) -> None:
    text = f"input mono: depth[inverse, relative]?\nterm d = pearson_loss(depth.inverse, mono) when {condition}\n"
    found = one(text, "NAM010")
    assert found.fixes == ()
    assert found.help == ("this term is there only where `mono` is missing: let it read something else",)


def test_two_terms_that_share_what_is_missing_are_both_put_right() -> None:
    """The finding is at the same place for both."""
    text = (
        "input mono: depth[inverse, relative]?\n"
        "let p = pearson_loss(depth.inverse, mono)\n"
        "term a = p\n"
        "term b = 0.1 * p when after(step, 100)\n"
    )
    assert fixed(text, "NAM010").splitlines()[2:] == [
        "term a = p when has(mono)",
        "term b = 0.1 * p when after(step, 100) and has(mono)",
    ]


def test_a_similarity_that_two_terms_read_with_both_signs_is_left_alone() -> None:
    text = (
        "def like(a, b) = 0.2*ssim(a, b)\nterm c = l1(masked)\n"
        "term d = like(rendered, target)\nterm e = 1 - like(rendered, target)\n"
    )
    outcome = fix_text(text, "a.loss", lambda now: [d for d in findings(now) if d.code == "SSM001"], unsafe=True)
    assert (outcome.text, outcome.fixed, outcome.problems) == (text, [], [])


def test_a_shared_similarity_is_not_turned_again_and_again() -> None:
    """Turned for one term it is wrong for the other."""
    text = "let s = ssim(masked)\nterm c = l1(masked)\nterm d = 0.2 * s\n"
    assert fixed(text, "SSM001") == text.replace("ssim", "1 - ssim")
    both = text + "term e = 1 - s\n"
    outcome = fix_text(both, "a.loss", lambda now: [d for d in findings(now) if d.code == "SSM001"], unsafe=True)
    assert (outcome.text, outcome.fixed, outcome.problems) == (both, [], [])


# What is written


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.2*ssim(masked)", "0.2*(1 - ssim(masked))"),
        ("ssim(masked)", "1 - ssim(masked)"),
        ("(ssim(masked))", "(1 - ssim(masked))"),
        ("mean(ssim_map(), masked)", "mean(1 - ssim_map(), masked)"),
        ("ssim(masked) + l1(masked)", "1 - ssim(masked) + l1(masked)"),
        ("l1(masked) + ssim(masked)", "l1(masked) + (1 - ssim(masked))"),
        ("l1(masked) - (-ssim(masked))", "l1(masked) - (-(1 - ssim(masked)))"),
    ],
)
def test_a_similarity_is_turned_with_brackets_only_where_they_are_needed(before: str, after: str) -> None:
    text = f"term c = l1(masked)\nterm d = {before}\n"
    assert fixed(text, "SSM001") == text.replace(before, after)
    found = one(text, "SSM001")
    assert len(found.help) == 1
    assert found.fixes[0].title.removeprefix("write ") in found.help[0], "they are shown as one"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("acos(clamp(d, -1, 1))", "acos(clamp(d, -0.9999, 0.9999))"),
        ("acos(clamp(d, -0.5, 1))", "acos(clamp(d, -0.5, 0.9999))"),
        ("acos(d)", "acos(clamp(d, -0.9999, 0.9999))"),
        ("sqrt(max(d, 0))", "sqrt(max(d, 1e-6))"),
        ("sqrt(max(0, d))", "sqrt(max(d, 1e-6))"),
        ("sqrt(clamp(d, 0, 1))", "sqrt(clamp(d, 1e-6, 1))"),
        ("log(max(d, 0) + alpha)", "log(max(max(d, 0) + alpha, 1e-6))"),
        ("1 / max(d, 0)", "1 / max(d, 1e-6)"),
        ("max(d, 0) ^ 0.3", "max(d, 1e-6) ^ 0.3"),
    ],
)
def test_limits_that_are_there_are_moved(before: str, after: str) -> None:
    text = f"let d = dot(normals, normals_from_depth)\nterm a = mean({before})\n"
    assert fixed(text, "NAN003", "NAN006", "NAN008", "NAN020") == text.replace(before, after)


# Files that are used


COMMON = "def mmean(x, m) = sum(x*m)/sum(m)\nterm mean_error = mmean(gray(abs(rendered-target)), masked)\n"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = entry.main([*arguments, "--format", "concise"])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_fix_in_a_used_file_is_not_counted(cli, write, tmp_path: Path) -> None:
    write("common.loss", COMMON)
    write("a.loss", 'use "common.loss" (mmean)\nterm a = mmean(gray(abs(rendered-target)), masked)\n')
    _, out, err = cli("check", "a.loss", "--unsafe-fixes")
    assert "common.loss:1:19: warning[MSK002" in out
    assert "[*]" not in out
    assert err == "1 warning in 1 file\n"
    status, out, err = cli("check", "a.loss", "--fix", "--unsafe-fixes")
    assert (status, err) == (1, "fixed 0 findings in 0 files; 1 warning in 1 file\n")
    assert (tmp_path / "common.loss").read_text() == COMMON


def test_a_fix_is_counted_once_its_own_file_is_checked(cli, write) -> None:
    write("common.loss", COMMON)
    write("a.loss", 'use "common.loss" (mean_error)\n')
    assert cli("check", "a.loss", "common.loss")[2].splitlines()[1:] == ["1 fixable with --fix --unsafe-fixes"]
    assert cli("check", "common.loss", "a.loss")[2].splitlines()[1:] == ["1 fixable with --fix --unsafe-fixes"]


def test_help_in_a_used_file_is_in_its_own_names(run_cli, write, tmp_path: Path) -> None:
    write("common.loss", "def mmean(x, m) = sum(x*m)/sum(m)\n")
    write("a.loss", 'use "common.loss" (mmean)\nterm a = mmean(gray(abs(rendered-target)), masked)\n')
    done = run_cli("check", "a.loss", cwd=tmp_path)
    assert "help: `mean(x, m)` is 0 with zero gradient there (not applied for you)" in done.stdout


# Comments that suppress an error


def test_a_suppressed_error_leaves_the_other_rules_on() -> None:
    ignored = "term a = ssim(masked)  # splat: ignore[SSM001]\n"
    assert [d.code for d in findings("let q = 1\n" + ignored)] == ["USE003", "SSM001"]


def test_a_comment_beside_a_suppressed_error_is_not_called_unused(cli, write, tmp_path: Path) -> None:
    text = (
        "# splat: disable[USE003]\nlet q = 1\n# splat: enable[USE003]\n"
        "term a = ssim(masked)  # splat: ignore[SSM001]\nterm b = l1(masked)\n"
    )
    write("a.loss", text)
    assert cli("check", "a.loss", "--fix")[:2] == (0, "")
    assert (tmp_path / "a.loss").read_text() == text


def test_a_comment_is_not_judged_by_a_rule_that_needs_more_of_the_run(cli, write) -> None:
    write("a.loss", "term a = l1(masked)  # splat: ignore[DTP002, BUF003, GRD006]\n")
    assert cli("check", "a.loss", "--renderer", "gsplat")[0] == 0
    assert cli("check", "a.loss", "--half")[1].count("SUP001") == 1


# Every mistake that is known


@pytest.mark.parametrize("name", WRONG)
def test_fixing_a_mistake_removes_what_it_fixes(name: str, cli, tmp_path: Path) -> None:
    """The command ends, says of no fix that it is wrong, and leaves a program that parses."""
    path = tmp_path / name
    shutil.copyfile(MISTAKES / name, path)
    before = path.read_text(encoding="utf-8")
    match = HEADER.match(before.splitlines()[0])
    assert match
    options = shlex.split(match["options"] or "")
    _, found, _ = cli("check", name, *options, "--unsafe-fixes")
    status, left, err = cli("check", name, *options, "--unsafe-fixes", "--fix")
    after = path.read_text(encoding="utf-8")
    assert status in (0, 1), err
    assert (after != before) == ("[*]" in found)
    assert "[*]" not in left, "what can be fixed is fixed"
    sink, was = Sink(), Sink()
    parse(Source(after, name), sink)
    parse(Source(before, name), was)
    assert len(sink.items) <= len(was.items)


@pytest.mark.parametrize("twice", [False, True], ids=["called once", "called twice"])
def test_fixes_in_definitions_are_sound(twice: bool) -> None:
    """Each wrong example with its terms as definitions, whose parameters stand for what the terms read."""
    read = ("rendered", "target", "alpha", "depth", "mask", "masked", "normals", "mono", "state.opacities")
    made = 0
    for code, record in sorted(all_codes().items()):
        lines = []
        for i, line in enumerate(record.bad.split("\n")):
            match = re.match(r"term (\w+) *= (.*?)(\s+when .*)?$", line)
            if not match or "#" in line or line.count("(") != line.count(")"):
                lines.append(line)
                continue
            body, given = match[2], []
            for name in read:
                word = re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.(])")
                if word.search(body):
                    body = word.sub(f"p{len(given)}", body)
                    given.append(name)
            if not given:
                lines.append(line)
                continue
            lines.append(f"def f{i}({', '.join(f'p{n}' for n in range(len(given)))}) = {body}")
            call = f"f{i}({', '.join(given)}){match[3] or ''}"
            lines += [f"term {match[1]} = {call}", *([f"term {match[1]}_too = 0.5 * {call}"] if twice else [])]
        text = "\n".join(lines)
        outcome = fix_text(text, "a.loss", lambda now: findings(now, 7_000, True), unsafe=True)
        assert outcome.problems == [], (code, text)
        assert not [d for d in outcome.found if best(d, unsafe=True)], (code, outcome.text)
        definitions = [line for line in outcome.text.split("\n") if re.match(r"def f\d+\(", line)]
        if twice and not re.search("SYN|NAM", code):
            assert set(definitions) <= set(lines), (code, outcome.text)
        made += len(outcome.fixed)
    assert made > 20
