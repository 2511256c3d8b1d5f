"""Parse tables from ``loss.lark``: ``python -m splatdsl.grammar.generate [--check]``.

lark reads the grammar, refuses conflicts and builds the LALR tables and the order of the terminals; what is written to
``tables.json`` drives the parser (``dsl/lalr.py``) without lark, which would cost more start-up time than the rest of
the linter. The file is data, not code: it loads quickly where no bytecode can be written.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from typing import Any

from . import TABLES, checksum, read_grammar

VERSION = 1
"""Raise this when the layout of the tables changes."""

STARTS = ("start", "statement")
KEPT = ("_NEWLINE", "OPEN_DOCSTRING", "BROKEN_STRING", "INVALID")
"""Terminals that no rule from ``statement`` uses, but that the scanner must know."""


def stamp(grammar: str) -> str:
    """The sha256 that ties tables to the grammar text and to the version of this generator."""
    return hashlib.sha256(f"{VERSION}\n{grammar}".encode()).hexdigest()


def build_lark(grammar: str, strict: bool = False, postlex: Any = None, starts: tuple[str, ...] = STARTS) -> Any:
    """lark's own parser of the grammar.

    Args:
        grammar: the text of ``loss.lark``.
        strict: also refuse shift/reduce conflicts and colliding terminals (needs the package interegular).
        postlex: what stands between lexer and parser; by default tokens pass unchanged.
        starts: the start symbols.

    Raises:
        lark.exceptions.GrammarError: the grammar is not LALR(1).
    """
    from lark import Lark
    from lark.lark import PostLex

    class Unchanged(PostLex):
        always_accept = KEPT

        def process(self, stream: Any) -> Any:
            return stream

    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        strict=strict,
        postlex=postlex or Unchanged(),
        maybe_placeholders=True,
        propagate_positions=True,
        start=list(starts),
    )


def build_tables(grammar: str, strict: bool = False) -> dict[str, Any]:
    """The tables of a grammar, as JSON values.

    Keys: ``terminals``, ``nonterminals`` (names; elsewhere their indices); ``scanner`` (one regular expression, a
    group for each entry of ``groups``), ``keywords`` (word to terminal), ``ignored`` (terminals); ``rules``, each
    ``[nonterminal, length, action or null, keep]`` where a null action passes the only kept child on and ``keep``
    lists ``[index of the child, 1 to splice its children]`` or null for an absent optional part; ``states``, each
    ``[row of actions, row of gotos]``; ``actions``, rows of terminal and code in turn: a positive code shifts to that
    state, a negative one reduces by rule ``-1 - code``, 0 accepts; ``gotos``, rows of nonterminal and state in turn.
    """
    import lark

    parser = build_lark(grammar, strict, starts=("statement",))
    rules = sorted(parser.rules, key=lambda r: (r.origin.name, [s.name for s in r.expansion], str(_action(r))))
    table = parser.parser.parser._parse_table

    scanner, groups, keywords = _scanner(parser.terminals)
    terminals = ["$END", *sorted({*groups, *keywords.values()})]
    nonterminals = sorted({rule.origin.name for rule in rules})
    index = {name: i for i, name in enumerate(terminals)}
    goto_index = {name: i for i, name in enumerate(nonterminals)}

    number = _numbering(table.states, table.start_states["statement"])
    rule_number = {rule: i for i, rule in enumerate(rules)}
    actions: dict[tuple[int, ...], int] = {}
    gotos: dict[tuple[int, ...], int] = {}
    states = []
    for state in number:
        act: list[tuple[int, int]] = []
        go: list[tuple[int, int]] = []
        for symbol, (kind, argument) in table.states[state].items():
            name = str(symbol)
            if kind.name == "Reduce":
                act.append((index[name], -1 - rule_number[argument]))
            elif name in index:
                act.append((index[name], number[argument]))
            else:
                go.append((goto_index[name], number[argument]))
        if state == table.end_states["statement"]:
            act.append((0, 0))
        states.append(
            [actions.setdefault(_flat(act), len(actions)), gotos.setdefault(_flat(go), len(gotos))],
        )
    return {
        "stamp": stamp(grammar),
        "checksum": checksum(grammar),
        "lark": lark.__version__,
        "terminals": terminals,
        "nonterminals": nonterminals,
        "scanner": scanner,
        "groups": [index[name] for name in groups],
        "keywords": {word: index[name] for word, name in keywords.items()},
        "ignored": sorted(index[name] for name in parser.ignore_tokens),
        "rules": [[goto_index[rule.origin.name], len(rule.expansion), *_action(rule)] for rule in rules],
        "actions": [list(row) for row in actions],
        "gotos": [list(row) for row in gotos],
        "states": states,
    }


def _numbering(states: dict[Any, Any], first: Any) -> dict[Any, int]:
    """Numbers for the states, breadth first by symbol: the same whatever order lark found them in."""
    number = {first: 0}
    for state in (queue := [first]):
        for symbol in sorted(states[state], key=str):
            kind, target = states[state][symbol]
            if kind.name == "Shift" and target not in number:
                number[target] = len(number)
                queue.append(target)
    return number


def _flat(pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    return tuple(value for pair in sorted(pairs) for value in pair)


def _scanner(definitions: list[Any]) -> tuple[str, list[str], dict[str, str]]:
    """One regular expression in lark's order of preference, the terminal of each group, and the keywords."""
    from lark.lexer import PatternStr

    order = sorted(definitions, key=lambda t: (-t.priority, -t.pattern.max_width, -len(t.pattern.value), t.name))
    name = re.compile(next(t for t in definitions if t.name == "NAME").pattern.to_regexp())
    keywords = {
        t.pattern.value: t.name for t in order if isinstance(t.pattern, PatternStr) and name.fullmatch(t.pattern.value)
    }
    rest = [t for t in order if t.name not in keywords.values()]
    # lark's patterns group with (...); only the outer group of each terminal may count
    patterns = [re.sub(r"(?<!\\)\((?!\?)", "(?:", t.pattern.to_regexp()) for t in rest]
    scanner = "|".join(f"({pattern})" for pattern in patterns)
    if re.compile(scanner).groups != len(rest):
        raise ValueError("a terminal of the grammar has a group that could not be made plain")
    return scanner, [t.name for t in rest], dict(sorted(keywords.items()))


def _action(rule: Any) -> tuple[str | None, list[Any]]:
    """What to build from a rule, and from which of its symbols: what lark's tree builder would keep."""
    placeholders = list(rule.options.empty_indices) or [False] * len(rule.expansion)
    keep: list[list[int] | None] = []
    position = 0
    for absent in placeholders:
        if absent:
            keep.append(None)
            continue
        symbol = rule.expansion[position]
        if not (symbol.is_term and symbol.filter_out):
            keep.append([position, int(not symbol.is_term and symbol.name.startswith("_"))])
        position += 1
    expand = rule.options.expand1 and not rule.alias
    if expand and len(keep) == 1 and keep[0] is not None and not keep[0][1]:
        return None, keep
    return rule.alias or rule.options.template_source or rule.origin.name, keep


def write(check: bool = False) -> bool:
    """Write the tables, or only compare; True if the file was current. A newer lark alone changes nothing."""
    grammar = read_grammar()
    tables = build_tables(grammar, strict=True)
    try:
        with open(TABLES, encoding="utf-8") as file:
            old = json.load(file)
    except (OSError, ValueError):
        old = {}
    current = {**old, "lark": ""} == {**tables, "lark": ""}
    if not check and not current:
        with open(TABLES, "w", encoding="utf-8", newline="\n") as file:
            json.dump(tables, file, separators=(",", ":"))
            file.write("\n")
    return current


def main(arguments: list[str]) -> int:
    """Exit status 0, or 1 if ``--check`` finds that the file is not current."""
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: python -m splatdsl.grammar.generate [--check]", file=sys.stderr)
        return 2
    current = write(check)
    print(f"{TABLES}: {'current' if current else 'not current' if check else 'written'}")
    return 1 if check and not current else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
