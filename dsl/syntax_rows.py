"""What is said about a malformed statement: the first row that fits.

``{token}`` is the token that cannot stand where it does, ``{prev}`` the one before it, ``{next}`` the one after,
``{first}`` and ``{name}`` the first two of the statement, ``{opener}`` the innermost open bracket. Every row is
reached by a snippet of ``tests/null/test_syntax_errors.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .layout import CLOSERS, STARTERS
from .syntax_fixes import called, field, foreign, near_word, only_when, statement_like

if TYPE_CHECKING:
    from collections.abc import Callable

    from .syntax_errors import Context

CONSTANTS = ("INF", "PI", "TRUE", "FALSE")
SIGNS = ("PLUS", "MINUS", "STAR", "SLASH", "POWER", "COMPARE")
WORDS = ("_WHEN", "_THEN", "_OF", "_FOR", "_IN", "_IF", "_ELSE", "AND", "OR", "NOT", *CONSTANTS)
DECLARATIONS = ("_PARAM", "_INPUT", "_LET", "_DEF", "_EXTERN", "_MEMORY", "_TERM")
BEGINNINGS = ("NAME", "NUMBER", "STRING", "LPAR", "NOT", *CONSTANTS)
BEFORE_NAMES = (*DECLARATIONS, "DOT", "LPAR", "LSQB", "COMMA", "COLON", "_ARROW", "_OF")
SURFACE = {
    "NAME": "a name", "STRING": "a path in quotes", "EQUAL": "`=`", "COLON": "`:`", "COMMA": "`,`", "LPAR": "`(`",
    "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "RBRACE": "`}`", "_ARROW": "`->`", "OPTIONAL": "`?`", "_IN": "`in`",
    "_OF": "`of`", "_THEN": "`then`", "_ELSE": "`else`", "_WHEN": "`when`", "$END": "the end of the statement",
}  # fmt: skip
"""How a message names the terminals that it lists as possible."""

FAULTS: dict[str, tuple[str, str, str]] = {
    "large file": ("SYN001", "the file is {size} KiB long; the limit is {limit} KiB", ""),
    "many operators": ("SYN001", "the statement has more than {limit} operators", "name its parts with `let`"),
    "deep nesting": ("SYN001", "brackets or operators nest deeper than {limit} levels", "name the parts with `let`"),
    "long number": ("SYN001", "the number has {count} characters; the limit is {limit}", "16 digits are kept anyway"),
    "surrogate": ("SYN002", "the text is not valid Unicode: half of a surrogate pair stands here", "save it as UTF-8"),
    "huge number": ("SYN013", "the number `{number}` is too large", "write `inf` for infinity"),
    "tiny number": ("SYN013", "the number `{number}` is so small that it would be read as 0", "write `0`"),
    "number field": (
        "SYN012",
        "a number has no fields",
        "a number has digits on both sides of its point: `1.0`, `1.5e3`",
    ),
    "chain": ("SYN014", "comparisons cannot be chained", "join two of them: `a {op} b and b {second} c`"),
    "positional": (
        "SYN015",
        "a positional argument cannot follow a keyword argument",
        "put it before the first `name=value`, or name it too",
    ),
    "comprehension beside": (
        "SYN024",
        "`for` must be in the only argument of a call",
        "write `sum(f(p) for p in LIST)`",
    ),
    "misplaced docstring": ("SYN016", "a docstring can only be the first statement of a file", "use `#` comments"),
    "quoted docstring": ("SYN016", "a text alone is not a statement", 'a docstring has three quotes: """..."""'),
    "misplaced string": ("SYN017", "a text in quotes cannot stand here", "texts name files and modes only"),
    "misplaced tuple": ("SYN018", "`(a, b)` can only be an argument of a call", "write one statement for each value"),
    "param limit upper": ("SYN019", "`{op}` is not a limit of a parameter", "write both ends: `in [lo, hi]`"),
    "param limit equal": (
        "SYN019",
        "`{op}` is not a limit of a parameter",
        'write `>= lo`, `in [lo, hi]` or `in {{"a", "b"}}`',
    ),
    "mixed indentation": (
        "SYN020",
        "tabs and spaces are mixed: this line is indented with other blanks than the first statement",
        "indent all lines with spaces",
    ),
    "dimension comma": ("SYN023", "dimensions are separated by blanks", "write `{list}`"),
    "long name": ("SYN026", "the name `{name}` has more than two parts", "write `group.name`"),
    "not one expression": ("SYN031", "one expression should stand here", ""),
}
"""Code, message and help of what is found without a table of contexts."""


class Row(NamedTuple):
    """One sentence and the places that it is for.

    Attributes:
        code: the diagnostic code.
        when: whether it fits.
        message: one line.
        help: the way out; empty where there is none.
        at: the place, see ``Context.span``.
        opened: text of a label on the innermost open bracket.
        fix: what ``{fix}`` stands for.
    """

    code: str
    when: Callable[[Context], bool]
    message: str
    help: str = ""
    at: str = "token"
    opened: str = ""
    fix: Callable[[Context], str] | None = None


def _names(c: Context, *heads: str) -> bool:
    """Whether the offending token follows the name that a statement of one of these kinds declares."""
    return c.index == 2 and c.p == "NAME" and c.head in (heads or DECLARATIONS)


def _lost_bracket(c: Context) -> bool:
    below = c.starts_line and c.column <= c.base
    return c.opener >= 0 and not c.closed_later and not c.wants_value and (below or c.t in ("$END", "_WHEN", "_THEN"))


def _no_else(c: Context) -> bool:
    return c.after_value and c.count("_IF") > c.count("_ELSE") and c.t in ("$END", "_WHEN", "COMMA", *CLOSERS)


ASSIGN = "to name a value write `let {first} = ...`; to name a part of the loss, `term {first} = ...`"
KEYWORD = "`{token}` is a keyword and cannot be a name"
IF_ELSE = "write `a if c else b`"
RANGE = "write `in [lo, hi]`"
MULTIPLY = "to multiply write `*`"
COMPARE = "comparisons are `<`, `<=`, `>`, `>=`, `==` and `!=`"
POINT = "a number has digits on both sides of its point: "
OPENED = "opened here"

# fmt: off
ROWS: tuple[Row, ...] = (
    # brackets
    Row("SYN006", lambda c: c.t in CLOSERS and c.opener < 0,
        "`{token}` closes nothing", "remove it, or open the bracket that it should close"),
    Row("SYN006", lambda c: c.t in CLOSERS and c.token != c.closer and c.bracket != "range",
        "`{token}` cannot close `{opener}`", "write `{closer}`", opened=OPENED),
    Row("SYN005", _lost_bracket,
        "`{opener}` is never closed", "add `{closer}`", at="prev", opened=OPENED),
    # words in the wrong place
    Row("SYN028", lambda c: c.p == "DOCSTRING",
        "`{token}` must start a line of its own", "a docstring ends its line"),
    Row("SYN016", lambda c: c.t == "DOCSTRING",
        "a docstring can only be the first statement of a file", "use `#` comments"),
    Row("SYN024", lambda c: c.t == "_FOR" and (c.index == 0 or c.after_value),
        "`for` cannot stand here",
        "it goes through a list, in `sum(f(p) for p in LIST)` or `mean(f(p) for p in LIST)`"),
    Row("SYN029", lambda c: c.index == 0 and c.t in ("_WHEN", "_THEN", "_ELSE", "_IN", "_OF", "AND", "OR"),
        "`{token}` cannot start a statement", "indent the line to continue the statement above it"),
    Row("SYN028", lambda c: c.t in STARTERS and (c.n == "NAME" or not (c.wants_name or c.wants_value)),
        "`{token}` must start a line of its own"),
    Row("SYN010", lambda c: c.t in (*WORDS, *STARTERS) and c.wants_name and c.p in BEFORE_NAMES,
        KEYWORD, "choose another name, for instance `{token}_`"),
    Row("SYN010", lambda c: c.wants_value and (c.t in (*STARTERS, "_OF", "_FOR") or (c.t in WORDS and c.n == "EQUAL")),
        KEYWORD, "choose another name, for instance `{token}_`"),
    # numbers
    Row("SYN012", lambda c: c.prev == "0" and c.glued() and c.t == "NAME" and c.token[0] in "xXbBoO",
        "`{prev}{token}` is not a number", "numbers are decimal: `12`, `0.5`, `1e-3`, `7_000`", at="pair"),
    Row("SYN012", lambda c: c.p == "NUMBER" and c.glued() and c.t == "NAME" and not c.token.strip("_eE"),
        "`{prev}{token}` is not a number", "write `{prev}`, or digits after it: `1e-3`, `7_000`", at="pair"),
    Row("SYN012", lambda c: c.p == "NUMBER" and c.glued() and c.t in ("NAME", *CONSTANTS),
        "`{prev}{token}` is neither a number nor a name", "to multiply write `{prev} * {token}`", at="pair"),
    Row("SYN019", lambda c: c.p == "_IN" or (c.name_at(-2) == "_IN" and c.t == "DOT"),
        "a range should follow `in`", RANGE),
    Row("SYN012", lambda c: c.p == "DOT" and c.name_at(-2) == "NUMBER" and c.glued(-1),
        "`{before}.` is not a number", POINT + "`{before}.0`", at="point"),
    Row("SYN012", lambda c: c.t == "DOT" and c.n == "NUMBER" and c.glued(1) and c.wants_value,
        "`.{next}` is not a number", POINT + "`0.{next}`", at="next"),
    # the sign =
    Row("SYN003", lambda c: c.t == "EQUAL" and c.n == "COMPARE" and c.glued(1),
        "there is no `{token}{next}`", COMPARE, at="next"),
    Row("SYN003", lambda c: c.t in ("EQUAL", "COMPARE") and c.p == "COMPARE" and c.glued(),
        "there is no `{prev}{token}`", COMPARE, at="pair"),
    Row("SYN003", lambda c: c.t in ("PLUS", "MINUS", "STAR", "SLASH") and c.n == "EQUAL" and c.glued(1),
        "there is no `{token}{next}`", "the loss is the sum of its terms: write one more `term`", at="next"),
    Row("SYN003", lambda c: c.t == "EQUAL" and c.p in ("PLUS", "MINUS", "STAR", "SLASH") and c.glued(),
        "there is no `{prev}{token}`", "the loss is the sum of its terms: write one more `term`", at="pair"),
    Row("SYN003", lambda c: c.t == "COLON" and c.n == "EQUAL" and c.glued(1),
        "there is no `:=`", "write `=`", at="next"),
    Row("SYN011", lambda c: c.t == "EQUAL" and c.head == "NAME" and c.index == 1,
        "`{first} = ...` is not a statement", ASSIGN, at="pair"),
    Row("SYN011", lambda c: c.t == "EQUAL" and c.head == "NAME" and c.index == 3 and c.name_at(-2) == "DOT",
        "`{first}.{prev} = ...` is not a statement", "to name a part of the loss write `term {first}.{prev} = ...`",
        at="four"),
    Row("SYN025", lambda c: c.t == "EQUAL" and c.bracket == "call" and c.after_value,
        "the name of an argument must be a plain name", "to compare write `==`"),
    Row("SYN025", lambda c: c.t == "EQUAL" and c.after_value,
        "`=` cannot stand inside a value", "to compare write `==`"),
    # forms of other languages
    Row("SYN023", lambda c: c.p == "OPTIONAL" and c.head == "_INPUT",
        "`?` comes last", "write it at the end: `input {name}: kind in [lo, hi]?`", at="prev"),
    Row("SYN023", lambda c: c.t == "OPTIONAL" and _names(c, "_INPUT"),
        "`?` comes last", "write it at the end: `input {name}: kind?`"),
    Row("SYN023", lambda c: c.p == "NAME" and c.prev == "optional" and c.t == "NAME" and c.head == "_INPUT",
        "there is no kind `optional`", "what may be missing ends with `?`: `input {name}: {token}?`", at="prev"),
    Row("SYN021", lambda c: c.t == "OPTIONAL",
        "there is no `c ? a : b`", IF_ELSE),
    Row("SYN021", lambda c: c.t == "_IF" and c.index == 0,
        "`if` cannot start a statement", "a term that exists only sometimes is `term name = ... {fix}`", fix=only_when),
    Row("SYN021", lambda c: c.t == "_IF" and c.wants_value,
        "`if` follows a value", IF_ELSE),
    Row("SYN021", lambda c: c.t == "_ELSE" and c.after_value and not c.count("_IF"),
        "`else` without `if`", IF_ELSE),
    Row("SYN021", _no_else,
        "`if` has no `else`", "write `a if c else b`; a term that exists only sometimes ends with `when c`"),
    Row("SYN021", lambda c: c.t in ("_IF", "_ELSE") and c.after_value and c.count("_IF") > 0,
        "`{token}` cannot follow here", "put one of the two conditions in brackets: `(a if c else b)`"),
    Row("SYN022", lambda c: c.t == "LSQB" and c.after_value,
        "values are not indexed with `[ ]`", "{fix}", fix=field),
    Row("SYN022", lambda c: c.t in ("LSQB", "LBRACE") and c.wants_value,
        "`{token}` does not begin a value", "several values are an argument in round brackets: `(a, b)`"),
    Row("SYN029", lambda c: c.t == "_IN" and c.after_value and c.head != "_PARAM",
        "`in` is not an operator", "write `x >= lo and x <= hi`"),
    # limits of parameters
    Row("SYN019", lambda c: c.t in ("COMPARE", "_IN") and _names(c, "_PARAM"),
        "the default of a parameter stands before its limit", "write `param {name} = default in [lo, hi]`"),
    Row("SYN019", lambda c: c.head == "_PARAM" and c.t in ("COMPARE", "_IN") and c.count("COMPARE", "_IN") > 0,
        "a parameter has one limit", "write both ends: `in [lo, hi]`"),
    Row("SYN019", lambda c: c.head == "_PARAM" and c.t in ("_IF", "AND", "OR") and c.after_value,
        "the default of a parameter is arithmetic", "put it in brackets: `(... {token} ...)`"),
    Row("SYN023", lambda c: c.bracket == "range" and not c.wants_value,
        "a range has two ends", RANGE, opened="the range"),
    # when and then
    Row("SYN029", lambda c: c.t == "_WHEN" and c.opener >= 0 and c.after_value,
        "`when` cannot stand inside brackets", "it ends a term: `term name = ... when c`", opened=OPENED),
    Row("SYN029", lambda c: c.t == "_WHEN" and c.count("_WHEN") > 0,
        "a statement has one `when`", "join the conditions with `and`"),
    Row("SYN009", lambda c: c.t in ("_WHEN", "$END") and c.head == "_MEMORY" and c.after_value and not c.count("_THEN"),
        "`then` and the next value are missing", "write `memory {name} = first then next`", at="prev"),
    Row("SYN029", lambda c: c.t == "_WHEN" and c.after_value,
        "only `term` and `memory` take `when`", IF_ELSE),
    Row("SYN029", lambda c: c.t == "_THEN" and c.after_value,
        "`then` belongs to `memory` alone", "write `memory name = first then next`"),
    # statements that miss a part
    Row("SYN011", lambda c: c.index == 1 and c.head == "NAME" and statement_like(c) and bool(foreign(c)),
        "`{first}` is not a statement", "{fix}", at="prev", fix=foreign),
    Row("SYN011", lambda c: c.t == "COLON" and c.index == 1 and c.head == "NAME",
        "`{first}: ...` is not a statement", "write `term {first} = ...`", at="pair"),
    Row("SYN009", lambda c: c.head == "_USE" and c.index == 1,
        "`use` takes a path in double quotes", 'write `use "common/photometric.loss" (name)`'),
    Row("SYN009", lambda c: c.index == 1 and c.head in DECLARATIONS,
        "a name should follow `{first}`", "names are written with a-z, A-Z, 0-9 and _"),
    Row("SYN009", lambda c: c.t == "COLON" and _names(c),
        "the value of `{name}` follows `=`, not `:`", "write `{first} {name} = ...`"),
    Row("SYN009", lambda c: c.t == "LPAR" and _names(c, "_LET", "_TERM"),
        "`{first}` names a value, not a function", "write `def {name}(...) = ...`"),
    Row("SYN009", lambda c: c.t == "COMMA" and _names(c, "_LET", "_TERM", "_PARAM", "_MEMORY"),
        "`{first}` names one value", "write one `{first}` for each"),
    Row("SYN009", lambda c: _names(c, "_PARAM", "_LET", "_TERM", "_MEMORY"),
        "`= value` is missing after `{name}`", "write `{first} {name} = ...`", at="prev"),
    Row("SYN009", lambda c: c.head == "_PARAM" and c.name_at(-2) == "COLON" and c.index == 4,
        "`= value` is missing after `{prev}`", "write `param {name}: {prev} = ...`", at="prev"),
    Row("SYN023", lambda c: _names(c, "_INPUT") and c.t == "EQUAL",
        "an input has a kind, not a value", "write `input {name}: kind`"),
    Row("SYN009", lambda c: c.head == "_INPUT" and c.p == "NAME" and not c.count("COLON"),
        "`: kind` is missing after `{prev}`", "write `input {name}: image`", at="prev"),
    Row("SYN009", lambda c: _names(c, "_DEF") and c.t == "EQUAL",
        "a `def` has brackets after its name", "write `def {name}() = ...`, or `let {name} = ...` for a value"),
    Row("SYN009", lambda c: _names(c, "_DEF"),
        "`(` is missing after `{name}`", "write `def {name}(a, b) = ...`", at="prev"),
    Row("SYN009", lambda c: _names(c, "_EXTERN"),
        "`(` is missing after `{name}`", "write `extern {name}(image) -> map`", at="prev"),
    Row("SYN009", lambda c: c.head == "_DEF" and c.p == "RPAR" and c.allows("EQUAL"),
        "`= expression` is missing after `{prev}`", "write `def {name}(...) = expression`", at="prev"),
    Row("SYN009", lambda c: c.head == "_EXTERN" and c.p == "RPAR" and c.allows("_ARROW"),
        "`-> kind` is missing after `{prev}`", "write `extern {name}(...) -> image`", at="prev"),
    Row("SYN009", lambda c: c.head == "_EXTERN" and c.bracket == "header" and c.count("_ARROW") > 0 and c.p == "NAME",
        "each of several results has a name and a kind", "write `-> (noise: map, seen: region)`", at="prev"),
    Row("SYN009", lambda c: c.p == "DOT",
        "a name should follow `.`", "a field or a component: `state.scales`, `target.r`", at="pair"),
    # kinds
    Row("SYN023", lambda c: c.t == "LPAR" and c.head in ("_INPUT", "_EXTERN") and c.p == "NAME" and c.allows("LSQB"),
        "the facts of a kind stand in `[ ]`", "write `{prev}[...]`"),
    Row("SYN023", lambda c: c.p in ("COLON", "_OF", "_ARROW") and c.head in ("_INPUT", "_EXTERN"),
        "a kind should follow `{prev}`", "write `image`, `depth[inverse]`, or dimensions such as `[N 3]`"),
    Row("SYN023", lambda c: c.bracket == "list",
        "`{token}` cannot stand in the list of a kind", "a list names facts or dimensions: `depth[inverse]`, `[N 3]`"),
    # values
    Row("SYN027", lambda c: c.t == "NOT" and c.p in SIGNS and c.n != "EQUAL",
        "`not` needs brackets after `{prev}`", "write `{prev} (not ...)`"),
    Row("SYN003", lambda c: c.t == "SLASH" and c.p == "SLASH" and c.glued(),
        "there is no `//`", "write `floor(a / b)`", at="pair"),
    Row("SYN008", lambda c: c.wants_value and c.t == "$END" and c.more_below,
        "the line ends where a value should follow `{prev}`", "indent the next line to continue the statement",
        at="prev"),
    Row("SYN008", lambda c: c.wants_value and c.t == "$END",
        "the line ends where a value should follow `{prev}`", at="prev", opened=OPENED),
    Row("SYN008", lambda c: c.wants_value and c.bracket == "call" and c.p in ("COMMA", "LPAR"),
        "an argument is missing before `{token}`"),
    Row("SYN008", lambda c: c.wants_value and bool(c.p),
        "a value is missing between `{prev}` and `{token}`"),
    Row("SYN008", lambda c: c.wants_value,
        "a value is missing before `{token}`"),
    Row("SYN030", lambda c: c.t == "COLON" and c.bracket == "call" and c.p == "NAME" and c.allows("EQUAL"),
        "the value of an argument follows `=`, not `:`", "write `{prev}=...`"),
    Row("SYN030", lambda c: c.t == "LPAR" and c.after_value and c.p == "NAME" and c.name_at(-2) == "DOT",
        "`.{prev}` cannot be called", "{fix}", at="prev", fix=called),
    Row("SYN030", lambda c: c.t == "LPAR" and c.after_value,
        "only a name can be called", MULTIPLY + " before the bracket"),
    Row("SYN008", lambda c: c.t == "COMMA" and c.after_value and c.opener < 0,
        "`,` cannot stand outside brackets", "write one statement for each value"),
    Row("SYN007", lambda c: c.after_value and c.prev == "lambda",
        "functions have names: there is no `lambda`", "write `def name(x) = expression`", at="prev"),
    Row("SYN007", lambda c: c.after_value and c.t == "NAME" and bool(near_word(c)),
        "an operator is missing between `{prev}` and `{token}`", "{fix}", fix=near_word),
    Row("SYN007", lambda c: c.after_value and c.t in BEGINNINGS and c.starts_line and c.opener < 0,
        "an operator is missing between `{prev}` and `{token}`",
        "an indented line continues the statement above it; a new one starts in column {column}"),
    Row("SYN007", lambda c: c.after_value and c.t in BEGINNINGS and c.bracket in ("call", "set"),
        "an operator or a comma is missing between `{prev}` and `{token}`",
        "values are separated by commas; a product needs `*`"),
    Row("SYN007", lambda c: c.after_value and c.t in BEGINNINGS,
        "an operator is missing between `{prev}` and `{token}`", MULTIPLY),
    Row("SYN009", lambda c: c.t == "$END",
        "the statement is unfinished after `{prev}`", "here could stand: {expected}", at="prev"),
    Row("SYN031", lambda c: True,
        "`{token}` cannot follow `{prev}`", "here could stand: {expected}"),
)
