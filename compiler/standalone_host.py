"""Values of the host as Python expressions: conditions, weights and schedules on plain numbers."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..dsl.live import Zeros
from ..dsl.typed import Expr, TypedProgram
from .standalone_sources import Sources, known_names

OR, AND, NOT, COMPARE, ADD, MUL, NEG, POW, ATOM = range(1, 10)
"""How tightly operations bind, and 0 for a choice: what binds less than its surroundings is put in parentheses."""

BINARY: Mapping[str, tuple[str, int]] = {
    "add": ("+", ADD),
    "sub": ("-", ADD),
    "mul": ("*", MUL),
    "div": ("/", MUL),
    "lt": ("<", COMPARE),
    "le": ("<=", COMPARE),
    "gt": (">", COMPARE),
    "ge": (">=", COMPARE),
    "eq": ("==", COMPARE),
    "ne": ("!=", COMPARE),
}
_INLINE: Mapping[str, tuple[str, int]] = {
    "after": ("{x} >= {a}", COMPARE),
    "before": ("{x} < {b}", COMPARE),
    "between": ("{a} <= {x} < {b}", COMPARE),
    "relu": ("max({x}, 0.0)", ATOM),
    "clamp": ("min(max({x}, {lo}), {hi})", ATOM),
    "abs": ("abs({x})", ATOM),
    "sq": ("{x} * {x}", MUL),
    "detach": ("{x}", ATOM),
    "raw": ("{x}", ATOM),
    "where": ("{a} if {c} else {b}", 0),
    "finite": ("math.isfinite({x})", ATOM),
}
"""Builtins whose host form is an expression; operands that are no names stand in parentheses."""
HOST = f"{__package__.rpartition('.')[0]}.dsl.host"
_BUILTINS = f"{__package__.rpartition('.')[0]}.dsl.builtins"
CLOCK = ("step", "max_steps", "progress")
KEPT = frozenset(dir(builtins)) | {"x", "self", "found", "weights", "values", "given", "math", "torch", "number"}
"""Names that no value of a program gets in a method."""


def literal(value: Any) -> str:
    """A constant of a program as Python: whole numbers without a point."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return repr(value).replace("'", '"') if isinstance(value, str) else repr(value)
    if math.isfinite(value):
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
    return 'float("nan")' if math.isnan(value) else 'float("inf")' if value > 0 else 'float("-inf")'


def wrapped(text: str, binds: int, around: int) -> str:
    """An expression inside another: in parentheses where it binds less than what is around it."""
    return f"({text})" if binds < around else text


class HostText:
    """Prints host expressions of a program; modes and flags are what they are now.

    Args:
        program: the checked program.
        sources: takes the functions that an expression calls.
        attribute: the name of the attribute that a parameter is.
    """

    WRITTEN = frozenset({*_INLINE, "expdecay", "finite_or"})
    """Builtins without a function of their own on the host."""

    def __init__(self, program: TypedProgram, sources: Sources, attribute: Callable[[str], str]) -> None:
        self.program, self.sources, self.attribute = program, sources, attribute
        params = {name: info.value for name, info in program.params.items()}
        fixed = {name: value for name, value in params.items() if isinstance(value, (bool, str))}
        self.open = Zeros(fixed)
        """What modes and flags alone decide."""
        self.lets = {id(e): name for name, e in program.lets.items() if _is_nameable(e)}
        self._said: dict[str, str] = {}

    def said(self) -> list[str]:
        """Lines for the named values that were printed since the last time."""
        lines = [f"{name} = {text}" for name, text in self._said.items()]
        self._said = {}
        return lines

    def text(self, e: Expr, around: int = 0) -> str:
        """The expression, for a place that binds as tightly as ``around``."""
        text, binds = self._printed(e)
        return wrapped(text, binds, around)

    def _printed(self, e: Expr) -> tuple[str, int]:
        name = self.lets.get(id(e))
        if name is None or self.open.decide(e) is not None:
            return self._plain(e)
        name = "".join(c if c.isalnum() else "_" for c in name) + ("_" if name in KEPT | known_names() else "")
        if name not in self._said:
            text, _ = self._plain(e)
            self._said[name] = text
        return name, ATOM

    def _plain(self, e: Expr) -> tuple[str, int]:
        decided = self.open.decide(e) if e.op not in ("const", "call") else None
        if decided is not None:
            return str(decided), ATOM
        if e.op == "const":
            text = literal(e.value)
            return text, NEG if text.startswith("-") else ATOM
        if e.op == "param":
            value = self.program.params[e.value].value
            return (literal(value) if isinstance(value, (bool, str)) else f"self.{self.attribute(e.value)}"), ATOM
        if e.op in ("input", "size"):
            return (str(e.value) if e.value in CLOCK else f'x["{e.value}"]'), ATOM
        if e.op == "has":
            tests = [f'"{name}" in x' for name in e.value]
            return " and ".join(tests), AND if len(tests) > 1 else COMPARE
        if e.op == "neg":
            return f"-{self.text(e.args[0], NEG)}", NEG
        if e.op == "not":
            return f"not {self.text(e.args[0], NOT)}", NOT
        if e.op in ("and", "or"):
            return self._logic(e)
        if e.op == "if":
            then, condition, otherwise = e.args
            decided = self.open.decide(condition)
            if decided is not None:
                return self._printed(then if decided else otherwise)
            return f"{self.text(then, OR)} if {self.text(condition, OR)} else {self.text(otherwise, OR)}", 0
        if e.op == "tuple":
            return f"({', '.join(self.text(a) for a in e.args)}{',' if len(e.args) == 1 else ''})", ATOM
        if e.op == "pow":
            arguments = ", ".join(f"float({self.text(a)})" for a in e.args)
            return f"{self.sources.use(HOST, '_power')}({arguments})", ATOM
        if e.op == "div" and 0.0 in e.args[1].type.range:
            arguments = ", ".join(self.text(a) for a in e.args)
            return f"{self.sources.use(HOST, '_divide')}({arguments})", ATOM
        if e.op in BINARY:
            sign, binds = BINARY[e.op]
            left, right = self.text(e.args[0], binds + (binds == COMPARE)), self.text(e.args[1], binds + 1)
            return f"{left} {sign} {right}", binds
        if e.op == "call":
            return self._call(e)
        raise AssertionError(f"{e.op} is not of the host")

    def _logic(self, e: Expr) -> tuple[str, int]:
        settles = e.op == "or"
        parts = [a for a in e.args if self.open.decide(a) is not (not settles)]
        if len(parts) == 1:
            return self._printed(parts[0])
        binds = OR if settles else AND
        return f" {e.op} ".join(self.text(a, binds) for a in parts), binds

    def _call(self, e: Expr) -> tuple[str, int]:
        record = e.builtin
        if record.name in _INLINE:
            template, binds = _INLINE[record.name]
            around = COMPARE + 1 if binds in (COMPARE, 0) else MUL + 1 if binds == MUL else 0
            return template.format(**{n: self.text(a, around) for n, a in zip(e.names, e.args)}), binds
        if record.name == "expdecay":
            exp = self.sources.use(f"{_BUILTINS}.pointwise", "exp")
            by_name = dict(zip(e.names, e.args))
            return f"{exp}(-{self.text(by_name['rate'], NEG)} * {self.text(by_name['x'], MUL + 1)})", ATOM
        if record.name == "finite_or":
            by_name = dict(zip(e.names, e.args))
            x, other = self.text(by_name["x"], OR), self.text(by_name["other"], OR) if "other" in by_name else "0.0"
            return f"{x} if math.isfinite({x}) else {other}", 0
        assert record.host is not None
        assert record.host.__name__ != "<lambda>", f"`{record.name}` has no form here"
        variadic = next((p.name for p in record.parsed.params if p.variadic), None)
        many = [self.text(a) for a, n in zip(e.args, e.names) if n == variadic]
        others = [(n, self.text(a)) for a, n in zip(e.args, e.names) if n != variadic]
        order = [p.name for p in record.parsed.params]
        if variadic is not None and others:
            others.append((variadic, f"[{', '.join(many)}]"))
            many = []
        if "key" in record.needs:
            others.append(("seed", str(record.seed)))
            order.append("seed")
        arguments = list(many)
        for place, name in enumerate(n for n in order if n != variadic or not many):
            given = dict(others).get(name)
            if given is not None:
                arguments.append(given if place == len(arguments) else f"{name}={given}")
        host: Any = record.host
        name = host.__name__
        if host.__module__ != "builtins":
            name = self.sources.use(host.__module__, name)
        return f"{name}({', '.join(arguments)})", ATOM

    def zero(self, e: Expr) -> str:
        """When a value is 0 because parameters are, as a condition; "" if it never is, "True" if it always is."""
        made: dict[int, str] = {}
        for node in e.operands_first(made):
            made[id(node)] = self._zero(node, made)
        return made[id(e)]

    def _zero(self, e: Expr, made: Mapping[int, str]) -> str:
        if self.open.is_zero(e):
            return "True"
        if e.op == "param":
            info = self.program.params[e.value]
            number = not isinstance(info.value, (bool, str))
            return f"self.{self.attribute(e.value)} == 0" if number and 0.0 in info.range else ""
        parts = [made[id(a)] for a in e.args]
        if e.op == "neg" or (e.op == "div" and parts):
            return parts[0]
        if e.op == "mul":
            return either(parts)
        if e.op in ("add", "sub"):
            return both(parts)
        if e.op == "if":
            decided = self.open.decide(e.args[1])
            if decided is not None:
                return parts[0 if decided else 2]
            settled = {"const", "param", "has", "eq", "ne", "not", "and", "or", "if"}
            if (parts[0] or parts[2]) and all(n.op in settled for n in e.args[1].walk()):
                test = self.text(e.args[1], NOT)  # what is there is known when a step begins
                return either([both([test, parts[0]]), both([f"not {test}", parts[2]])])
            return both([parts[0], parts[2]])
        if e.op == "call":
            record = e.builtin
            if record.keeps:
                return both([p for p, n in zip(parts, e.names) if n in record.keeps])
            if len(parts) == 1 and record.host is not None and record.host(0.0) == 0:
                return parts[0]
        return ""


def _is_nameable(e: Expr) -> bool:
    """Whether a named value is known from the step and the parameters alone, and more than a name."""
    if not e.type.is_host or not e.args:
        return False
    reads = (n for n in e.walk() if n.op in ("input", "size", "has"))
    return all(n.op == "input" and n.value in CLOCK for n in reads)


def both(parts: list[str]) -> str:
    """All of several conditions, each "" where it never holds."""
    if not all(parts):
        return ""
    kept = list(dict.fromkeys(p for p in parts if p != "True"))
    if len(kept) < 2:
        return kept[0] if kept else "True"
    return " and ".join(f"({p})" if " or " in p else p for p in kept)


def either(parts: list[str]) -> str:
    """One of several conditions, each "" where it never holds."""
    kept = list(dict.fromkeys(p for p in parts if p))
    if "True" in kept:
        return "True"
    if len(kept) < 2:
        return kept[0] if kept else ""
    return " or ".join(f"({p})" if " and " in p else p for p in kept)


def opposite(condition: str) -> str:
    """When a condition of `HostText.zero` does not hold."""
    if " and " in condition or " or " in condition:
        return f"not ({condition})"
    return condition.replace(" == ", " != ") if " == " in condition else f"not {condition}"
