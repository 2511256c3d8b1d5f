"""Programs by chance, well-formed ones that reach every rule of the grammar.

They mean nothing, they only parse: names are not declared and kinds do not fit. Everything follows from the generator
of random numbers that is passed in, so a seed names a program.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

NAMES = ("a", "b", "x", "w", "rendered", "target", "masked", "state", "depth", "step", "alpha", "in_", "list", "steps")
LONG_NAMES = ("photometric_weight_of_the_first_stage", "a_name_that_is_so_long_that_lines_with_it_do_not_fit_for_sure")
FUNCTIONS = ("l1", "mean", "sum", "ssim_loss", "max", "ramp", "after", "has", "reg", "disparity_of_the_other_view")
KINDS = ("image", "map", "depth", "number", "flag", "view", "region", "index", "normals")
NUMBERS = ("0", "1", "2", "0.5", "1e-3", "7_000", "1E+5", "0.25", "00012", "1_0.2_5e1_0", "3.14159265358979")
STRINGS = ('""', '"log"', '"common/3dgs.loss"', '"a # b"', '"step"', '"(["', '"\u00fcber \u2192 \U0001d54f"')
CONSTANTS = ("inf", "pi", "true", "false")
COMMENTS = (
    "#",
    "# c",
    "#c",
    "# splat: ignore[MSK001]",
    '# "quoted',
    "# term x = 1",
    "#\t tab  ",
    "# (",
    "# \u00e9\u2028",
)
DIMENSIONS = ("B", "H", "W", "N", "K", "3", "16", "M")
OPENERS = ("(", "[", "{")
CLOSERS = (")", "]", "}")

_Tokens = list[str]


def random_program(random: Random, most: int = 5) -> str:
    """A well-formed program of at most so many statements, with blanks, line breaks and comments anywhere."""
    return _Writer(random).program(most)


class Sampler:
    """Tokens of statements and expressions. ``room`` bounds what is still nested."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self.random.random() < share

    def name(self) -> str:
        """A name, seldom a long one."""
        return self.random.choice(LONG_NAMES if self.chance(0.06) else NAMES)

    def path(self) -> _Tokens:
        """A name, or two with a dot."""
        return [self.name(), ".", self.name()] if self.chance(0.3) else [self.name()]

    def listed(self, item: Callable[[], _Tokens], least: int = 1, most: int = 4, comma: float = 0.2) -> _Tokens:
        """Items with commas between them, and perhaps one behind the last."""
        count = self.random.randint(least, most)
        tokens: _Tokens = []
        for n in range(count):
            tokens += [",", *item()] if n else item()
        return [*tokens, ","] if count and self.chance(comma) else tokens

    # ---- expressions, loosest first

    def expr(self, room: int) -> _Tokens:
        """An expression with no text and no tuple at its top."""
        if room > 0 and self.chance(0.08):
            return [*self.either(room - 1), "if", *self.either(room - 1), "else", *self.expr(room - 1)]
        return self.either(room)

    def either(self, room: int) -> _Tokens:
        """Operands of ``or`` and ``and``."""
        if room <= 0 or not self.chance(0.12):
            return self.negation(room)
        tokens = self.negation(room - 1)
        for _ in range(self.random.choice((1, 1, 2, 4))):
            tokens += [self.random.choice(("or", "and")), *self.negation(room - 1)]
        return tokens

    def negation(self, room: int) -> _Tokens:
        """``not``, a comparison, or a sum."""
        if room > 0 and self.chance(0.06):
            return ["not", *self.negation(room - 1)]
        tokens = self.sum(room)
        if room > 0 and self.chance(0.1):
            if self.chance(0.2):
                tokens = [*tokens, self.random.choice(("==", "!=")), self.random.choice(STRINGS)]
            else:
                tokens += [self.random.choice(("<", "<=", ">", ">=", "==", "!=")), *self.sum(room - 1)]
        return tokens

    def sum(self, room: int) -> _Tokens:
        """Arithmetic."""
        tokens = self.factor(room)
        if room > 0 and self.chance(0.5):
            for _ in range(self.random.choice((1, 1, 1, 2, 3, 7))):
                tokens += [self.random.choice("++--***/"), *self.factor(room - 1)]
        return tokens

    def factor(self, room: int) -> _Tokens:
        """A sign, a power, or what binds more tightly."""
        if room > 0 and self.chance(0.1):
            return ["-", *self.factor(room - 1)]
        base = self.postfix(room)
        if room > 0 and self.chance(0.1):
            return [*base, self.random.choice(("^", "^", "**")), *self.factor(room - 1)]
        return base

    def postfix(self, room: int) -> _Tokens:
        """A name, a number, a call, brackets; perhaps with fields."""
        kind = self.random.random()
        if kind < 0.2:
            return [self.random.choice(NUMBERS)]
        if kind < 0.5 or room <= 0:
            tokens = [self.random.choice(CONSTANTS)] if kind < 0.24 else [self.name()]
        elif kind < 0.85:
            tokens = self.call(room - 1)
        else:
            tokens = ["(", *self.expr(room - 1), ")"]
        while self.chance(0.12):
            tokens += [".", self.name()]
        return tokens

    def call(self, room: int) -> _Tokens:
        """A call with any arguments."""
        function = self.random.choice(FUNCTIONS)
        if self.chance(0.08):
            inner = [*self.expr(room), "for", self.name(), "in", *self.either(room)]
            return [function, "(", *inner, *([","] if self.chance(0.1) else []), ")"]
        tokens = self.listed(lambda: self.argument(room), 0, 4)
        if self.chance(0.3):
            if tokens and tokens[-1] != ",":
                tokens.append(",")
            tokens += self.listed(lambda: [self.name(), "=", *self.argument(room)], 1, 3)
        return [function, "(", *tokens, ")"]

    def argument(self, room: int) -> _Tokens:
        """What may stand between commas in a call."""
        kind = self.random.random()
        if kind < 0.05:
            return [self.random.choice(STRINGS)]
        if kind < 0.12 and room > 0:
            tokens = self.listed(lambda: self.expr(room - 1), 1, 4)
            single = "," not in (tokens[-1], *self._outer_commas(tokens))
            return ["(", *tokens, *([","] if single else []), ")"]
        return self.expr(room)

    @staticmethod
    def _outer_commas(tokens: _Tokens) -> _Tokens:
        depth, found = 0, []
        for token in tokens:
            depth += (token in OPENERS) - (token in CLOSERS)
            found += [token] if token == "," and not depth else []
        return found

    # ---- kinds

    def interval(self) -> _Tokens:
        """A range with open or closed ends."""
        ends = [*self.sum(1), ",", *self.sum(1)]
        return [self.random.choice("[("), *ends, self.random.choice("])")]

    def kind(self, room: int = 2) -> _Tokens:
        """A kind without a range."""
        choice = self.random.random()
        if choice < 0.15 and room:
            return ["list", "of", *self.kind(room - 1)]
        if choice < 0.4:
            return ["[", *self.random.choices(DIMENSIONS, k=self.random.randint(1, 5)), "]"]
        name = self.random.choice(KINDS)
        if choice < 0.6:
            words = self.random.choice((NAMES, DIMENSIONS))
            tokens = [name, "[", self.random.choice(words)]
            for _ in range(self.random.randint(0, 3)):
                tokens += [*([","] if self.chance(0.7) else []), self.random.choice(words)]
            return [*tokens, "]"]
        return [name]

    def type(self) -> _Tokens:
        """A kind, perhaps with a range."""
        return [*self.kind(), "in", *self.interval()] if self.chance(0.3) else self.kind()

    # ---- statements

    def statement(self, room: int) -> _Tokens:
        """A statement of any kind but the docstring."""
        return self.random.choice(_STATEMENTS)(self, room)

    def param(self, room: int) -> _Tokens:
        """``param``."""
        tokens = ["param", self.name(), *([":", self.name()] if self.chance(0.2) else []), "="]
        limit = self.random.random()
        if limit < 0.25:
            options = self.listed(lambda: [self.random.choice((*STRINGS, *CONSTANTS, *NUMBERS))])
            return [*tokens, self.random.choice(STRINGS), "in", "{", *options, "}"]
        tokens += self.sum(min(room, 2))
        if limit < 0.5:
            tokens += ["in", *self.interval()]
        elif limit < 0.75:
            tokens += [self.random.choice((">", ">=")), *self.sum(1)]
        return tokens

    def input(self, room: int) -> _Tokens:
        """``input``."""
        return ["input", *self.path(), ":", *self.type(), *(["?"] if self.chance(0.4) else [])]

    def let(self, room: int) -> _Tokens:
        """``let``."""
        return ["let", self.name(), "=", *self.expr(room)]

    def define(self, room: int) -> _Tokens:
        """``def``."""
        parameters = self.listed(self.parameter, 0, 4)
        return ["def", self.name(), "(", *parameters, ")", "=", *self.expr(room)]

    def parameter(self) -> _Tokens:
        """A parameter of a ``def``."""
        if not self.chance(0.4):
            return [self.name()]
        default = [self.random.choice(STRINGS)] if self.chance(0.2) else self.expr(1)
        return [self.name(), "=", *default]

    def use(self, room: int) -> _Tokens:
        """``use``."""
        names = ["(", *self.listed(lambda: [self.name()], 1, 6), ")"] if self.chance(0.6) else []
        return ["use", self.random.choice(STRINGS), *names]

    def slot(self) -> _Tokens:
        """An argument of an ``extern``."""
        kind = self.random.random()
        if kind < 0.3:
            return [self.name(), "=", *self.expr(1)]
        return [self.name(), ":", *self.type()] if kind < 0.6 else self.type()

    def extern(self, room: int) -> _Tokens:
        """``extern``."""
        tokens = ["extern", self.name(), "(", *self.listed(self.slot, 0, 4), ")", "->"]
        if self.chance(0.4):
            tokens += ["(", *self.listed(lambda: [self.name(), ":", *self.type()], 1, 3), ")"]
        else:
            tokens += self.type()
        return [*tokens, "frozen"] if self.chance(0.4) else tokens

    def memory(self, room: int) -> _Tokens:
        """``memory``."""
        return ["memory", self.name(), "=", *self.expr(1), "then", *self.expr(room), *self.when(room)]

    def term(self, room: int) -> _Tokens:
        """``term``."""
        return ["term", *self.path(), "=", *self.expr(room), *self.when(room)]

    def bare(self, room: int) -> _Tokens:
        """An expression on its own."""
        return [*self.expr(room), *self.when(room)]

    def when(self, room: int) -> _Tokens:
        """A condition, perhaps."""
        return ["when", *self.expr(room)] if self.chance(0.3) else []


_STATEMENTS: tuple[Callable[[Sampler, int], _Tokens], ...] = (
    Sampler.param, Sampler.param, Sampler.input, Sampler.let, Sampler.define, Sampler.use, Sampler.extern,
    Sampler.memory, Sampler.term, Sampler.term, Sampler.term, Sampler.bare,
)  # fmt: skip


class _Writer:
    """Puts statements on lines, in one of many ways."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._sampler = Sampler(random)
        self._base = random.choice(("", "", "", "", "    ", "\t", "  "))
        self._loose = random.choice((0.0, 0.05, 0.3))  # share of places between tokens that hold a line break
        self._notes = random.choice((0.0, 0.1, 0.5))  # share of line ends that hold a comment
        self._tidy = random.random() < 0.3

    def program(self, most: int) -> str:
        """The whole text."""
        random, parts = self._random, []
        count = min(most, random.choice((1, 1, 2, 3, 5)))
        if random.random() < 0.2:
            inside = random.choice(("", "Doc.", "Doc\n  of # two lines\n", ' "quoted" \n\n', "term a = 1\r\n"))
            parts.append(self._ending(self._base + '"""' + inside + '"""'))
        else:
            parts.append(self._between())
        for _ in range(count):
            tokens = self._sampler.statement(random.choice((0, 1, 2, 3, 4)))
            parts.append(self._ending(self._base + self._joined(tokens)))
        text = "".join(parts)
        if random.random() < 0.1:
            text = text.rstrip("\n")
        if random.random() < 0.1:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        return "\ufeff" + text if random.random() < 0.03 else text

    def _comment(self) -> str:
        return self._random.choice(COMMENTS)

    def _ending(self, text: str) -> str:
        """A statement with what follows it up to the next."""
        end = (
            self._random.choice(("  ", " ", "", "\t")) + self._comment() if self._random.random() < self._notes else ""
        )
        return text + end + "\n" + self._between()

    def _between(self) -> str:
        """Blank lines and comments between statements."""
        lines = []
        while self._random.random() < 0.3:
            lines.append(self._random.choice(("", "", " ", "\t")))
            if self._random.random() < self._notes:
                lines.append(self._random.choice(("", self._base, self._base + "    ", " ")) + self._comment())
        return "".join(line + "\n" for line in lines)

    def _joined(self, tokens: _Tokens) -> str:
        parts, depth = [tokens[0]], 0
        for before, token in pairwise(tokens):
            depth += (before in OPENERS) - (before in CLOSERS)
            if self._random.random() < self._loose:
                parts.append(self._line_break(depth))
            else:
                words = (before[-1].isalnum() or before[-1] == "_") and (token[0].isalnum() or token[0] == "_")
                needed = words or (before[-1] == '"' and token[0] == '"')
                if self._tidy or needed:
                    parts.append(" ")
                else:
                    parts.append(self._random.choice(("", "", " ", "  ", "\t", " \f")))
            parts.append(token)
        return "".join(parts)

    def _line_break(self, depth: int) -> str:
        """A line end inside a statement, with comments and blank lines, and the indentation of what continues it."""
        text = ""
        while True:
            if self._random.random() < self._notes:
                text += self._random.choice(("", "  ", " ")) + self._comment()
            text += "\n"
            if self._random.random() < 0.75:
                break
            text += self._random.choice(("", " ", self._base, self._base + "  "))
        inside = ("", " ", self._base, self._base + "        ")
        return text + self._random.choice(inside if depth > 0 else (self._base + " ", self._base + "    "))
