"""The tables are those of the grammar, and the driver does with them what lark does with the grammar."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from lark import Token, Tree
from lark.exceptions import UnexpectedToken
from lark.lark import PostLex

from splatdsl import grammar
from splatdsl.dsl import lalr
from splatdsl.dsl.layout import Layout
from splatdsl.dsl.lexer import scan
from splatdsl.grammar import generate

PROGRAMS = Path(__file__).with_name("programs.txt").read_text(encoding="utf-8").split("====\n")
MUTATIONS = 60  # of each program
FRAGMENTS = (
    *"()[]{}+-*/^=<>?:,.#\"'&|!~%;@ö\t\r\n",
    *(" ", "\n", "\n  ", "\r\n", '"', '"""', "**", "->", ">=", "==", "!=", "0", "1.", ".5", "1e", "7_0", "l1(", "\x00"),
    *("param ", "input ", "let ", "def ", "use ", "extern ", "memory ", "term ", " when ", " then ", " of ", " for "),
    *(" in ", " if ", " else ", " and ", " or ", " not ", " inf", " pi", " true", " false", "# note\n"),
)  # fmt: skip


@pytest.fixture(scope="module")
def lark_parser():
    parser = generate.build_lark(grammar.read_grammar())
    parser.lexer = parser._build_lexer()  # lark would build a new one for every text that it lexes
    return parser


def test_there_are_enough_programs() -> None:
    assert len(PROGRAMS) > 20


def test_shipped_tables_are_those_of_the_grammar() -> None:
    shipped = json.loads(Path(grammar.TABLES).read_text(encoding="utf-8"))
    fresh = generate.build_tables(grammar.read_grammar())
    assert shipped["stamp"] == fresh["stamp"], "loss.lark has changed: run python -m splatdsl.grammar.generate"
    assert {**shipped, "lark": ""} == {**fresh, "lark": ""}, "run python -m splatdsl.grammar.generate"


def test_the_grammar_has_no_conflicts() -> None:
    pytest.importorskip("interegular", reason="lark needs interegular to look for colliding terminals")
    generate.build_lark(grammar.read_grammar(), strict=True)


def test_a_conflict_would_be_found() -> None:
    pytest.importorskip("interegular", reason="lark needs interegular to look for colliding terminals")
    twice = grammar.read_grammar().replace("| postfix POWER factor ", "| power POWER power ")
    with pytest.raises(Exception, match="Shift/Reduce"):
        generate.build_lark(twice, strict=True)


def test_generator_checks_and_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    monkeypatch.setattr(generate, "TABLES", str(path))
    assert generate.main(["--check"]) == 1
    assert not path.exists()
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert path.read_bytes() == Path(grammar.TABLES).read_bytes()
    assert generate.main(["--nonsense"]) == 2


def test_an_edited_grammar_is_rebuilt_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    edited = tmp_path / "loss.lark"
    edited.write_text(grammar.read_grammar().replace('_LET: "let"', '_LET: "lass"'), encoding="utf-8")
    monkeypatch.setattr(grammar, "GRAMMAR", str(edited))
    before = Path(grammar.TABLES).read_bytes()
    data = grammar.load_tables()
    assert "lass" in data["keywords"]
    assert "let" not in data["keywords"]
    assert Path(grammar.TABLES).read_bytes() == before


@pytest.mark.parametrize("damage", ["", "{", '{"checksum": 1}', "{}"])
def test_damaged_tables_are_rebuilt(damage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "tables.json"
    path.write_text(damage)
    monkeypatch.setattr(grammar, "TABLES", str(path))
    assert grammar.load_tables()["stamp"] == generate.stamp(grammar.read_grammar())


# ---- the driver against lark


def _tokens_of_lark(parser, text: str) -> list[tuple[str, str, int, int]]:
    return [(t.type, str(t), t.start_pos, t.end_pos) for t in parser.lex(text)]


def _plain(value: object) -> object:
    """A lark tree, or what the driver built, as nested tuples."""
    if isinstance(value, Tree):
        return (str(value.data), *(_plain(child) for child in value.children))
    if isinstance(value, Token):
        return (value.type, str(value), value.start_pos)
    return value


def _by_lark(parser, names: list[str], tokens: list[lalr.Token]) -> tuple[object, int]:
    interactive = parser.parse_interactive(start="statement")
    for index, (kind, text, start, end) in enumerate(tokens[:-1]):
        try:
            interactive.feed_token(Token(names[kind], text, start, 1, start + 1, 1, end + 1, end))
        except UnexpectedToken:
            return None, index
    try:
        return _plain(interactive.feed_eof()), -1
    except UnexpectedToken:
        return None, len(tokens) - 1


def _by_driver(tables: lalr.Tables, tokens: list[lalr.Token]) -> tuple[object, int]:
    def action(name: str):
        def build(children: list, start: int, end: int) -> object:
            if name.startswith("_"):
                return children
            # a token is a tuple of an int first, a tree of a str
            plain = [
                (tables.terminals[c[0]], c[1], c[2]) if isinstance(c, tuple) and isinstance(c[0], int) else c
                for c in children
            ]
            return (name, *plain)

        return build

    value, failed = tables.run(tokens, [None if name is None else action(name) for name in tables.names])
    return (None if failed >= 0 else value), failed


def _compare(parser, text: str) -> tuple[int, int]:
    """Assert that both agree on a text; how many statements there were, and how many of them malformed."""
    tables = lalr.tables()
    tokens = scan(text)
    assert [(tables.terminals[t[0]], *t[1:]) for t in tokens] == _tokens_of_lark(parser, text), repr(text)
    statements = Layout(text, tokens).statements
    wrong = 0
    for statement in statements:
        ours, theirs = _by_driver(tables, statement.tokens), _by_lark(parser, tables.terminals, statement.tokens)
        assert ours == theirs, repr(text)
        wrong += ours[1] >= 0
    return len(statements), wrong


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_driver_and_lark_agree_on_programs(program: str, lark_parser) -> None:
    count, wrong = _compare(lark_parser, program)
    assert count > 0
    assert wrong == 0


def _mutate(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.choice((0, 0, 1, 1, 3, 12)))
        piece = rng.choice(FRAGMENTS) if rng.random() < 0.8 else text[rng.randint(0, len(text)) :][: rng.randint(1, 9)]
        text = text[:start] + (piece if rng.random() < 0.8 else "") + text[end:]
    return text


def test_driver_and_lark_agree_on_mutations(lark_parser) -> None:
    rng = random.Random(7)
    texts = {_mutate(program, rng) for program in PROGRAMS for _ in range(MUTATIONS)}
    results = [_compare(lark_parser, text) for text in sorted(texts)]
    with_errors = sum(wrong > 0 for _, wrong in results)
    assert len(results) > MUTATIONS // 2 * len(PROGRAMS)
    assert with_errors > len(results) // 2, "most mutations should break something"
    assert with_errors < len(results), "some should not"


def test_the_start_rule_describes_whole_files(lark_parser) -> None:
    """`start` is never used by the driver: held against it here, with layout standing between lexer and parser."""
    names = lalr.tables().terminals

    class Between(PostLex):
        always_accept = generate.KEPT

        def process(self, stream):
            stream = list(stream)
            ids = {name: i for i, name in enumerate(names)}
            text = self.text
            for statement in Layout(text, [(ids[t.type], str(t), t.start_pos, t.end_pos) for t in stream]).statements:
                for kind, word, start, end in statement.tokens[:-1]:
                    yield Token(names[kind], word, start, 1, 1, 1, 1, end)
                yield Token("_NEWLINE", "\n", end, 1, 1, 1, 1, end)

    between = Between()
    whole = generate.build_lark(grammar.read_grammar(), postlex=between)
    for program in PROGRAMS:
        between.text = program
        tree = whole.parse(program, start="start")
        statements = Layout(program, scan(program)).statements
        assert [_plain(child) for child in tree.children] == [
            _by_lark(lark_parser, names, statement.tokens)[0] for statement in statements
        ]
