"""Drives the LALR tables that lark made from the grammar; lark itself stays out of the linter's start-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..grammar import load_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Token = tuple[int, str, int, int]
    """Terminal, text, start and end offset."""
    Action = Callable[[list[Any], int, int], object]
    """Builds the value of a rule from its children and the offsets that they span."""


class Tables:
    """The tables in the form that the driver and the lexer use.

    Attributes:
        terminals: names of the terminals; elsewhere a terminal is its index.
        id: index of a terminal by name.
        scanner: the regular expression of all terminals, with one group for each entry of ``groups``.
        groups: terminal by number of the group (from 1), -1 for text to skip.
        keywords: terminal by reserved word.
        names: what each rule builds, None for a rule that passes its child on.
    """

    __slots__ = (
        "_actions", "_gotos", "_rules", "_unit", "groups", "id", "keywords", "names", "scanner", "terminals",
    )  # fmt: skip

    def __init__(self, data: dict[str, Any]) -> None:
        self.terminals: list[str] = data["terminals"]
        self.id = {name: index for index, name in enumerate(self.terminals)}
        self.scanner: str = data["scanner"]
        ignored = set(data["ignored"])
        self.groups = [-1, *(-1 if terminal in ignored else terminal for terminal in data["groups"])]
        self.keywords: dict[str, int] = data["keywords"]
        actions = [dict(zip(row[::2], row[1::2])) for row in data["actions"]]
        gotos = [dict(zip(row[::2], row[1::2])) for row in data["gotos"]]
        self._actions: list[dict[int, int]] = [actions[row] for row, _ in data["states"]]
        self._gotos: list[dict[int, int]] = [gotos[row] for _, row in data["states"]]
        self.names: list[str | None] = [rule[2] for rule in data["rules"]]
        # (nonterminal, length, plain, keep); plain: all children are kept as they are
        self._rules = [
            (left, length, keep == [[i, 0] for i in range(length)], keep) for left, length, _, keep in data["rules"]
        ]
        self._unit: dict[tuple[int, int, int], int] = {}

    def run(self, tokens: Sequence[Token], actions: Sequence[Action | None]) -> tuple[Any, int]:
        """Parse one statement.

        Args:
            tokens: the statement, ended by a token of terminal 0 (``$END``).
            actions: what builds each rule's value, in the order of ``names``; None where the child is passed on.

        Returns:
            The value of the statement and -1, or None and the index of the first token that cannot stand there.
        """
        states = [0]
        values: list[Any] = []
        starts: list[int] = []
        table, gotos, rules, unit = self._actions, self._gotos, self._rules, self._unit
        end = 0
        for index, token in enumerate(tokens):
            terminal = token[0]
            while True:
                top = states[-1]
                code = table[top].get(terminal)
                if code is None:
                    return None, index
                if code > 0:
                    states.append(code)
                    values.append(token)
                    starts.append(token[2])
                    end = token[3]
                    break
                if code == 0:
                    return values[-1], -1
                rule = -1 - code
                left, length, plain, keep = rules[rule]
                action = actions[rule]
                if action is None and length == 1:
                    # a chain such as product -> sum -> comparison changes no value: remember where it ends
                    below = states[-2]
                    key = (below, top, terminal)
                    target = unit.get(key)
                    if target is None:
                        target = unit[key] = self._chain(below, top, terminal, actions)
                    states[-1] = target
                    continue
                start = starts[-length]
                if plain:
                    children = values[-length:]
                else:
                    children = _kept(values[-length:], keep)
                value = children[0] if action is None else action(children, start, end)
                del states[-length:], values[-length:], starts[-length:]
                states.append(gotos[states[-1]][left])
                values.append(value)
                starts.append(start)
        return None, len(tokens)

    def _chain(self, below: int, top: int, terminal: int, actions: Sequence[Action | None]) -> int:
        """The state on top after all reductions that only pass one symbol on."""
        while True:
            code = self._actions[top].get(terminal)
            if code is None or code >= 0:
                return top
            rule = -1 - code
            left, length, _, _ = self._rules[rule]
            if length != 1 or actions[rule] is not None:
                return top
            top = self._gotos[below][left]

    def states_after(self, tokens: Sequence[Token]) -> list[int]:
        """The stack of states after the first tokens of a statement.

        Raises:
            ValueError: no statement begins with these tokens.
        """
        states = [0]
        for token in tokens:
            if not self._shift(states, token[0]):
                raise ValueError(f"no statement goes on with {token[1]!r} here")
        return states

    def accepts(self, states: Sequence[int], terminal: int) -> bool:
        """Whether ``terminal`` may follow where the stack of states is this."""
        return self._shift(list(states), terminal)

    def _shift(self, states: list[int], terminal: int) -> bool:
        while True:
            code = self._actions[states[-1]].get(terminal)
            if code is None:
                return False
            if code >= 0:
                states.append(code)
                return True
            left, length, _, _ = self._rules[-1 - code]
            del states[-length:]
            states.append(self._gotos[states[-1]][left])


def _kept(values: list[Any], keep: list[list[int] | None]) -> list[Any]:
    """The children that a rule keeps; the list of a spliced first child is extended in place, to stay linear."""
    children: list[Any] | None = None
    for entry in keep:
        if entry is None:
            children = children if children is not None else []
            children.append(None)
        elif not entry[1]:
            children = children if children is not None else []
            children.append(values[entry[0]])
        elif children is None:
            children = values[entry[0]]
        else:
            children.extend(values[entry[0]])
    return children if children is not None else []


_tables: Tables | None = None


def tables() -> Tables:
    """The tables of the language, loaded once."""
    global _tables
    if _tables is None:
        _tables = Tables(load_tables())
    return _tables
