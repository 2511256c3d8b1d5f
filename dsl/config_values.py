"""Scalars of a config by the type that their key wants."""

from __future__ import annotations

from math import isfinite
from typing import Any

from .config_schema import Key
from .config_yaml import Node, Scalar
from .suggest import did_you_mean

_BOOLS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
MOST = 10**12
"""Whole numbers of a config are no larger."""

_DIGITS = frozenset("0123456789_.+-eE")


class Refused(Exception):
    """A value that its key does not take; the text is the finding's message."""

    def __init__(self, code: str, message: str, *help: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.help = [text for text in help if text]


def read_value(key: Key, node: Node) -> Any:
    """The value of a key that takes a number, a flag, a word or text.

    Raises:
        Refused: another type (CFG006), or outside the limits (CFG007).
    """
    if not isinstance(node, Scalar) or node.is_null:
        given = "nothing" if isinstance(node, Scalar) else node.what
        raise Refused("CFG006", f"`{key.dotted}` must be {key.wanted()}, and is {given}")
    text = node.text
    if key.type == "str":
        if key.option.choices and text not in key.option.choices:
            help = did_you_mean(text, key.option.choices)
            raise Refused("CFG007", f"`{key.dotted}` must be {key.wanted()}, not `{shown(text)}`", help)
        return text
    value: bool | float | None = as_bool(text) if key.type == "bool" else as_number(text)
    if value is not None and node.style is not None:
        raise Refused("CFG006", f"`{key.dotted}` must be {key.wanted()}, and is text in quotes", "remove the quotes")
    if value is None or (key.type == "int" and value != int(value)):
        raise Refused("CFG006", f"`{key.dotted}` must be {key.wanted()}, not `{shown(text)}`")
    option = key.option
    for limit, inside in (
        (option.ge, option.ge is None or value >= option.ge),
        (option.gt, option.gt is None or value > option.gt),
        (option.le, option.le is None or value <= option.le),
        (option.lt, option.lt is None or value < option.lt),
    ):
        if limit is not None and not inside:
            raise Refused("CFG007", f"`{key.dotted}` must be {key.wanted()}, not {shown(text)}")
    if key.type == "int" and abs(value) > MOST:
        raise Refused("CFG007", f"`{key.dotted}` is at most {MOST:,}, not {shown(text)}")
    return int(value) if key.type == "int" else value


def as_number(text: str) -> float | None:
    """A finite decimal number, an int where it has no point or exponent: ``7_000``, ``1e-3``, ``.5``."""
    if not text or not _DIGITS.issuperset(text):
        return None
    try:
        if text.strip("+-").replace("_", "").isdigit():
            return int(text) if len(text) < 20 else None
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def as_bool(text: str) -> bool | None:
    """``true`` and ``false``, and YAML's other spellings of them."""
    return _BOOLS.get(text.lower())


def shown(text: str) -> str:
    """A value short enough for a message of one line."""
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."
