"""What formatting never does, on programs by chance; and that the chance reaches everything and can find something."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatdsl.bench import fuzz
from splatdsl.dsl.build import Builder
from splatdsl.dsl.diagnostics import LossError, Sink
from splatdsl.dsl.format import comments, format_text
from splatdsl.dsl.lalr import tables
from splatdsl.dsl.parse import parse
from splatdsl.dsl.source import Source
from splatdsl.grammar.damages import damaged
from splatdsl.grammar.samples import random_program

SEEDS = st.integers(0, 2**32)
QUICK = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@QUICK
@given(SEEDS)
def test_formatting_keeps_tree_tokens_and_comments_and_is_stable(seed: int) -> None:
    assert fuzz.format_problem(random_program(Random(seed))) == ""


@QUICK
@given(SEEDS)
def test_lines_have_no_blanks_at_their_ends(seed: int) -> None:
    text = format_text(random_program(Random(seed)))
    if '"""' not in text:
        lines = text.replace("\r\n", "\n").split("\n")
        assert [line for line in lines if line != line.rstrip(" \t\f")] == []
        assert lines[0] != ""
        assert lines[-2:] != ["", ""]
        assert "\n\n\n" not in "\n".join(lines)


@QUICK
@given(SEEDS)
def test_the_layout_does_not_depend_on_the_blanks_between_tokens(seed: int) -> None:
    """All blanks within a line become one, which changes no statement."""
    text = random_program(Random(seed)).lstrip("\ufeff")
    if '"""' in text or '"' in text or "#" in text:
        return
    lines = [line[: len(line) - len(line.lstrip())] + " ".join(line.split()) for line in text.split("\n")]
    assert format_text("\n".join(lines).replace("\r", "")) == format_text(text).replace("\r", "")


@QUICK
@given(SEEDS)
def test_damaged_programs_are_formatted_or_refused(seed: int) -> None:
    random = Random(seed)
    text = damaged(random, random_program(random, most=2))
    try:
        format_text(text)
    except LossError as error:
        assert error.diagnostics  # noqa: PT017
    else:
        assert fuzz.format_problem(text) == ""


def test_the_samples_reach_every_rule_of_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: set[str] = set()
    actions = Builder.actions

    def recorded(self, names):
        def record(name, action):
            def build(children, start, end):
                reached.add(name)
                return action(children, start, end)

            return build

        found = actions(self, names)
        return [None if action is None else record(name, action) for name, action in zip(names, found)]

    monkeypatch.setattr(Builder, "actions", recorded)
    for seed in range(300):
        sink = Sink()
        parse(Source(random_program(Random(seed))), sink)
        assert sink.items == []
    missing = {name for name in tables().names if name is not None and not name.startswith("_")} - reached
    assert missing == set()


def test_the_samples_have_comments_everywhere() -> None:
    texts = [random_program(Random(seed)) for seed in range(300)]
    inside = sum(len(comments(text)) > 3 * text.count("\n\n") for text in texts)
    assert inside > 50
    assert any("\r\n" in text for text in texts)
    assert any(text.startswith("\ufeff") for text in texts)


def test_a_seed_is_a_program() -> None:
    assert random_program(Random("0:program:7")) == random_program(Random("0:program:7"))
    assert len({random_program(Random(seed)) for seed in range(100)}) == 100


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (lambda text: text.replace("# c", "#"), "other comments"),
        (lambda text: text.replace("# c\n", ""), "other comments"),
        (lambda text: text.replace("b", "c", 1), "other tokens"),
        (lambda text: text.replace("(b)", "b"), "other tokens"),
        (lambda text: text.replace("a + (b)", "(b) + a"), "other tokens"),
        (lambda text: text + "\n\n", "formatting again changes it"),
        (lambda text: text.replace(" = ", "="), "formatting again changes it"),
        (lambda text: text, ""),
    ],
)
def test_a_formatter_that_goes_wrong_is_found_out(break_it, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "format_text", lambda text: break_it(format_text(text)))
    assert fuzz.format_problem("term x = a + (b)\n# c\n") == problem


def test_the_script_reports_figures_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--count", "20", "--mutations", "60", "--seed", "3", "--processes", "1"]) == 0
    out = capsys.readouterr().out
    assert "programs: 20\n" in out
    assert "damaged: 60\n" in out
    assert "\nfailures: 0; " in out


def test_the_script_catches_exceptions_and_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(text: str) -> str:
        while True:
            pass

    def broken(text: str) -> str:
        raise KeyError("lost")

    monkeypatch.setattr(fuzz, "LIMIT", 0.05)
    monkeypatch.setattr(fuzz, "format_problem", broken)
    (failure,) = fuzz.chunk(("program", 0, 0, 1)).failures
    assert failure.where.startswith("KeyError at ")
    monkeypatch.setattr(fuzz, "format_problem", endless)
    (failure,) = fuzz.chunk(("program", 0, 5, 6)).failures
    assert failure.seed == "0:program:5"
    assert failure.where.startswith(f"takes more than 0.05 s in {__file__}:")
    assert failure.text == random_program(Random("0:program:5"))
