"""Colours and editor files: their words are the language's, and every program is coloured whole."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from splatdsl.dsl.check.functions import library_names
from splatdsl.dsl.inputs import BY_NAME, REGIONS
from splatdsl.dsl.lalr import tables
from splatdsl.dsl.lexer import scan
from splatdsl.dsl.manifest import RENDERERS

ROOT = Path(__file__).resolve().parents[2]
VSCODE = ROOT / "grammar" / "editors" / "vscode"
GRAMMAR = json.loads((VSCODE / "syntaxes" / "loss.tmLanguage.json").read_text(encoding="utf-8"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.loss"))
PRELUDE = (ROOT / "grammar" / "prelude.loss").read_text(encoding="utf-8")
PROGRAMS = [
    *Path(__file__).with_name("programs.txt").read_text(encoding="utf-8").split("====\n"),
    *(path.read_text(encoding="utf-8") for path in EXAMPLES),
    PRELUDE,
    '"""Two\nlines"""\nuse "a # b.loss" (x)  # not # twice\nlet y = state.means.x ** 2 -1_0.5e-3/pi\n'
    "term t=f (y)when true\n",
]


def _project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_there_are_programs() -> None:
    assert len(EXAMPLES) >= 5


# ---- the TextMate grammar


class TextMate:
    """Colours a text as editors do: at each place the pattern that matches first, of several the one listed first.

    Only what this grammar uses: `match`, `begin` with `end`, `include` of the repository.
    """

    def __init__(self, grammar: dict) -> None:
        self.rules = [grammar["repository"][p["include"].removeprefix("#")] for p in grammar["patterns"]]
        assert len(self.rules) == len(grammar["repository"]), "a rule of the repository is not included"
        self.patterns = [re.compile(r.get("match") or r["begin"], re.MULTILINE) for r in self.rules]

    def scopes(self, text: str) -> list[str]:
        """The scope of each character, "" for none."""
        found, at = [""] * len(text), 0
        while at < len(text):
            matches = [(m.start(), i, m) for i, p in enumerate(self.patterns) if (m := p.search(text, at))]
            if not matches:
                break
            _, index, match = min(matches, key=lambda m: m[:2])
            rule, end = self.rules[index], match.end()
            assert end > match.start(), "a pattern matches nothing and would never end"
            if "begin" in rule:
                closing = re.compile(rule["end"]).search(text, end)
                end = closing.end() if closing else len(text)
            found[match.start() : end] = [rule.get("name", "")] * (end - match.start())
            for group, capture in rule.get("captures", {}).items():
                start, stop = match.span(int(group))
                found[start:stop] = [capture["name"]] * (stop - start)
            at = end
        return found


def _expected(terminal: str, word: str) -> str:
    """The beginning of the scope of a token."""
    if word in tables().keywords:
        declaring = ("param", "input", "let", "def", "use", "extern", "memory", "term")
        kinds = {"and": "keyword.operator.word", "or": "keyword.operator.word", "not": "keyword.operator.word"}
        kinds |= dict.fromkeys(("inf", "pi", "true", "false"), "constant.language")
        kinds |= dict.fromkeys(declaring, "keyword.declaration")
        return kinds.get(word, "keyword.control")
    if terminal in ("LPAR", "RPAR", "LSQB", "RSQB", "LBRACE", "RBRACE", "COMMA", "COLON", "DOT"):
        return "punctuation"
    names = {"NAME": ("variable.other", "entity.name.function"), "NUMBER": "constant.numeric"}
    texts = {"STRING": "string.quoted.double", "DOCSTRING": "string.quoted.docstring"}
    return {**names, **texts}.get(terminal, "keyword.operator")


def test_the_textmate_grammar_has_the_words_of_the_language() -> None:
    listed = []
    for name in ("declaration", "control", "word-operator", "constant"):
        pattern = GRAMMAR["repository"][name]["match"]
        listed += re.fullmatch(r"\\b\((.*)\)\\b", pattern).group(1).split("|")
    assert sorted(listed) == sorted(tables().keywords)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_the_textmate_grammar_colours_every_token(number: int) -> None:
    program = PROGRAMS[number]
    scopes, table = TextMate(GRAMMAR).scopes(program), tables()
    tokens = [t for t in scan(program) if table.terminals[t[0]] != "_NEWLINE"]
    assert tokens
    for terminal, word, start, end in tokens:
        wanted = _expected(table.terminals[terminal], word)
        for scope in scopes[start:end]:
            assert scope.startswith(wanted), f"{word!r} at {start} is {scope or 'plain'}, not {wanted}"
    inside = {i for _, _, start, end in tokens for i in range(start, end)}
    for i, scope in enumerate(scopes):
        if i not in inside and not program[i].isspace():
            assert scope.startswith("comment"), f"{program[i]!r} at {i} is {scope or 'plain'}, not a comment"


def test_a_missing_word_would_be_found() -> None:
    broken = json.loads(json.dumps(GRAMMAR).replace("when|then|", "then|"))
    scopes = TextMate(broken).scopes("term a = l1() when true")
    assert scopes[len("term a = l1() ")] == "variable.other.loss"
    assert TextMate(GRAMMAR).scopes("term a = l1() when true")[len("term a = l1() ")] == "keyword.control.loss"


# ---- Pygments


@pytest.fixture(scope="module")
def lexer():
    pytest.importorskip("pygments", reason="the lexer is for pygments")
    from splatdsl.dsl.pygments_lexer import LossLexer

    return LossLexer(stripnl=False, ensurenl=False)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_pygments_colours_every_program_whole(lexer, number: int) -> None:
    from pygments.token import Error

    program = PROGRAMS[number]
    tokens = list(lexer.get_tokens(program))
    assert "".join(word for _, word in tokens) == program
    assert [word for kind, word in tokens if kind in Error] == []


def test_pygments_knows_words_builtins_and_inputs(lexer) -> None:
    from pygments.token import Error, Keyword, Name, Operator

    for word in tables().keywords:
        [(kind, _)] = list(lexer.get_tokens(word))
        assert kind in Keyword or kind in Operator.Word, word
    for name in library_names():
        assert next(iter(lexer.get_tokens(f"{name}(")))[0] is Name.Builtin, name
    for name in (*BY_NAME, *REGIONS):
        if "." not in name:
            assert next(iter(lexer.get_tokens(name)))[0] is Name.Builtin.Pseudo, name
    kinds = {word: kind for kind, word in lexer.get_tokens("def mine(x) = own (x) + state.means & 1")}
    assert kinds["mine"] is Name.Function
    assert kinds["own"] is Name.Function
    assert kinds["means"] is Name.Attribute
    assert kinds["x"] is Name
    assert kinds["&"] is Error


def test_pygments_is_told_of_the_lexer() -> None:
    project = _project()
    module, _, name = project["entry-points"]["pygments.lexers"]["loss"].partition(":")
    assert (module, name) == ("splatdsl.dsl.pygments_lexer", "LossLexer")


def test_the_lexer_is_fast_on_long_texts(lexer) -> None:
    text = "let a = b +  c\n" * 10_000
    assert sum(len(word) for _, word in lexer.get_tokens(text)) == len(text)


# ---- the extension for VS Code


def test_the_extension_names_files_that_exist_and_settings_that_the_server_reads() -> None:
    from splatdsl.lsp.settings import Settings, read_settings

    manifest = json.loads((VSCODE / "package.json").read_text(encoding="utf-8"))
    project = _project()
    assert manifest["version"] == project["version"]
    assert manifest["license"] == project["license"]
    contributes = manifest["contributes"]
    paths = [manifest["main"], contributes["languages"][0]["configuration"], contributes["grammars"][0]["path"]]
    for path in paths:
        assert (VSCODE / path).is_file(), path
    assert contributes["grammars"][0]["scopeName"] == GRAMMAR["scopeName"]
    json.loads((VSCODE / "language-configuration.json").read_text(encoding="utf-8"))
    names = {name.removeprefix("splatdsl.") for name in contributes["configuration"]["properties"]} - {"command"}
    assert names == set(Settings._fields)
    script = (VSCODE / "extension.js").read_text(encoding="utf-8")
    assert f"{{ {', '.join(Settings._fields)} }}" in script
    defaults = {name: contributes["configuration"]["properties"][f"splatdsl.{name}"]["default"] for name in names}
    assert read_settings(defaults) == (Settings(), [])


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_extension_is_javascript() -> None:
    done = subprocess.run(["node", "--check", VSCODE / "extension.js"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_of_editors_are_read_and_checked() -> None:
    from splatdsl.lsp.settings import Settings, read_settings

    renderer = sorted(RENDERERS)[0]
    given = {"splatdsl": {"pedantic": True, "steps": 500, "renderer": renderer}}
    settings, problems = read_settings(given)
    assert (settings, problems) == (Settings(True, 500, renderer), [])
    assert read_settings({"python": {}}, settings) == (settings, [])
    assert read_settings(None, settings) == (settings, [])
    assert read_settings({"splatdsl": None}, settings) == (settings, [])
    assert read_settings({"pedantic": None, "steps": None, "renderer": None}, settings) == (Settings(), [])
    kept, problems = read_settings({"pedantic": 1, "steps": True, "renderer": renderer + "x"}, settings)
    assert kept == settings
    assert len(problems) == 3
    assert f"did you mean `{renderer}`?" in problems[2]
    assert read_settings({"steps": 0, "renderer": ["a"]})[0] == Settings()
