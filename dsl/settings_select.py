"""Which codes are on: selectors such as ``SCH001``, ``dead-schedule``, ``SCH``, ``style`` and ``ALL``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from .settings import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .codes.record import Code

GROUPS = ("correctness", "suspicious", "style", "pedantic")
EVERYTHING = "ALL"

_NOTHING_TO_RUN = ("SYN", "NAM", "TYP", "CFG")
_NOT_IN_A_TEXT = ("DAT", "BND", "RUN")
_EXACT = 10  # how specific a code or its slug is; a group is 1, a prefix 2 and more


class Selector(NamedTuple):
    """What one word of ``--select`` stands for.

    Attributes:
        text: the word.
        rank: how specific it is; of two words that disagree about a code, the more specific one decides.
        codes: the codes that it stands for.
        explicit: whether it also asks for pedantic codes, which a prefix does not.
    """

    text: str
    rank: int
    codes: frozenset[str]
    explicit: bool


class Layer(NamedTuple):
    """What one place, such as a settings file or the command line, says about codes."""

    select: Sequence[Selector] | None = None
    extend_select: Sequence[Selector] = ()
    ignore: Sequence[Selector] = ()
    pedantic: bool | None = None


def _records() -> dict[str, Code]:
    from .codes import all_codes

    return all_codes()


def switchable(code: str) -> bool:
    """Whether a code is of findings in a text and can be switched on and off."""
    return code[:3] not in _NOT_IN_A_TEXT and not always_on(code)


def always_on(code: str) -> bool:
    """Whether a code can neither be ignored nor suppressed: there is nothing to run while it is found.

    Those are syntax errors, errors of names and kinds, and of run configs.
    """
    return code[:3] in _NOTHING_TO_RUN and _records()[code].group == "correctness"


def suppressible(code: str) -> bool:
    """Whether a comment in a program can suppress a code.

    It cannot where there would be nothing to run, where the finding is not about a text, and for findings about
    suppressions themselves.
    """
    return not always_on(code) and code[:3] not in (*_NOT_IN_A_TEXT, "SUP")


def parse(text: str) -> Selector | None:
    """The meaning of a word; None if it has none. Letter case does not matter."""
    word = text.strip()
    upper, lower = word.upper(), word.lower()
    records = _records()
    if upper == EVERYTHING:
        return Selector(word, 0, frozenset(records), True)
    if lower in GROUPS:
        return Selector(word, 1, frozenset(c for c, record in records.items() if record.group == lower), True)
    if upper in records:
        return Selector(word, _EXACT, frozenset([upper]), True)
    slug = _slugs().get(lower)
    if slug is not None:
        return Selector(word, _EXACT, frozenset([slug]), True)
    matching = frozenset(code for code in records if upper and code.startswith(upper))
    if len(upper) >= 3 and matching:
        return Selector(word, 1 + len(upper), matching, False)
    return None


def code_of(text: str) -> str | None:
    """The code that a code or a slug names; None if there is none."""
    word = text.strip()
    return word.upper() if word.upper() in _records() else _slugs().get(word.lower())


@cache
def _slugs() -> dict[str, str]:
    return {record.slug: code for code, record in _records().items()}


def unknown(text: str) -> str:
    """A sentence about a word that selects nothing, with what was probably meant."""
    from .suggest import did_you_mean

    records = _records()
    prefixes = sorted({code[:3] for code in records})
    words = [*records, *(record.slug for record in records.values()), *prefixes, *GROUPS, EVERYTHING]
    help = did_you_mean(text.strip().upper(), records) if text.strip()[-1:].isdigit() else did_you_mean(text, words)
    help = help or f"families are {', '.join(prefixes)}; groups are {', '.join(GROUPS)}; or {EVERYTHING}"
    return f"no code, slug, family or group is called `{text.strip()}`; {help}"


def without_effect(selector: Selector) -> str | None:
    """Why nothing can be ignored by a word, or None if something can."""
    if all(map(always_on, selector.codes)):
        return f"`{selector.text}` cannot be ignored: there is nothing to run while it is found"
    return None


def resolve(layers: Iterable[Layer]) -> Selection:
    """What several places say together; later ones are nearer and win.

    Without any, every code is on but those of the pedantic group: they need ``pedantic``, or a selector that names
    them, their group or ``ALL``. ``select`` starts afresh. Inside one layer the more specific selector decides, and
    ``ignore`` wins a draw.
    """
    records = _records()
    selected, explicit, pedantic, touched = set(records), set[str](), False, False
    for layer in layers:
        touched = True
        if layer.select is not None:
            selected, explicit = set(), set()
        adding = [*(layer.select or ()), *layer.extend_select]
        for rank in sorted({selector.rank for selector in (*adding, *layer.ignore)}):
            for selector in adding:
                if selector.rank == rank:
                    selected |= selector.codes
                    explicit |= selector.codes if selector.explicit else set()
            for selector in layer.ignore:
                if selector.rank == rank:
                    selected -= selector.codes
                    explicit -= selector.codes
        pedantic = pedantic if layer.pedantic is None else layer.pedantic
    if not touched:
        return Selection()
    chosen = {c for c in selected if pedantic or c in explicit or records[c].group != "pedantic"}
    return Selection(frozenset(chosen | {c for c in records if always_on(c)}))
