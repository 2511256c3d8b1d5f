"""What to write in place of an operation that goes wrong, in the names of the text that it stands in."""

from __future__ import annotations

import re

from ... import ast
from ...diagnostics import Edit
from ...source import Span
from ...typed import Expr
from .context import Context, shortened
from .hazards_trace import Names

Remedy = tuple[str, list[Edit]]
"""What to write instead, and the edits that do so; none where the author must decide."""

_SAFE = re.compile(r"(?P<name>\w+)\((?:max|clamp)\(\{x\}, (?P<lo>[-\d.e]+)(?:, (?P<hi>[-\d.e]+))?\)\)")
_LOOSE = re.compile(r"\b(?:if|and|or|not)\b|[<>]|[!=]=")


class Remedies:
    """Writes the fixes of one program."""

    def __init__(self, context: Context, names: Names) -> None:
        self._context, self._names = context, names

    def made(self, title: str, pattern: str, outer: Expr, span: Span, **values: Expr | str) -> Remedy:
        """A remedy that writes a pattern over a place; where a value has no text there, it is only advice.

        Args:
            title: says what to do; ``{}`` in it stands for what is written.
            pattern: what is written, with the values by name.
            outer: the value whose text the place is part of.
            span: the place.
            values: the values, or texts that are written as they are.
        """
        shown, exact = {}, {}
        for key, value in values.items():
            text = value if isinstance(value, str) else self._context.exact(value, outer)
            name = text if text is not None else self._names.of(value) if isinstance(value, Expr) else ""
            shown[key], exact[key] = shortened(name), text
        edits = [] if None in exact.values() else [Edit(span, pattern.format(**exact))]
        texts = self._context.report.texts
        around = texts.definition(outer.source, span) if texts is not None and edits else None
        if around is not None and texts is not None and texts.loses_parameter(around, outer.source, edits[0]):
            edits = []
        return title.replace("{}", pattern.format(**shown)), edits

    def safe(self, e: Expr, operand: Expr, text: str) -> Remedy:
        """The call with its argument kept off the values where it goes wrong."""
        said = operand.type.facts.get("parameter")
        if e.builtin.name == "log" and said is not None and said.value == "log":
            return self.made("`{}` is a logarithm already: leave `log` out", "{x}", e, e.span, x=text)
        if e.builtin.name == "log" and operand.op == "input" and operand.value == "state.opacity_logits":
            return "the opacities themselves are `state.opacities`: `log(max(state.opacities, 1e-6))`", []
        title, pattern = "keep it off that value: `{}`", e.builtin.safe
        match = _SAFE.fullmatch(pattern)
        inner = None if match is None else self.bounded(operand, e, match["lo"], match["hi"])
        if match is not None and inner is not None:
            return self.made(title, "{name}({x})", e, e.span, name=match["name"], x=inner)
        return self.made(title, pattern, e, e.span, x=text)

    def bounded(self, operand: Expr, outer: Expr, lo: str, hi: str | None = None) -> str | None:
        """An operand that is a `clamp` or `max` already, with the limits moved inside; None for any other."""
        texts = self._context.report.texts
        node = texts.find(operand, outer) if texts is not None else None
        if not isinstance(node, ast.Call) or node.keywords or len(node.args) != len(operand.args):
            return None
        if operand.op != "call" or operand.builtin.name != node.function.text:
            return None
        written = [" ".join(outer.source.slice(a.span).split()) for a in node.args]
        limits = [a.type.range.lo if a.type.stage == 0 and a.type.range.is_point else None for a in operand.args]
        if any("#" in text for text in written):
            return None
        if node.function.text == "max" and hi is None and len(written) == 2:
            for i, limit in enumerate(limits):
                if limit is not None and limit < float(lo):
                    return f"max({written[1 - i]}, {lo})"
        if node.function.text == "clamp" and len(written) == 3:
            low, high = limits[1:]
            if low is not None and high is not None:
                new_lo = lo if low < float(lo) else written[1]
                new_hi = hi if hi is not None and high > float(hi) else written[2]
                return f"clamp({written[0]}, {new_lo}, {new_hi})"
        return None


def as_operand(text: str) -> str:
    """A text that can stand beside `+`."""
    return f"({text})" if _LOOSE.search(text) else text
