"""Symbols of formulas in LaTeX: fixed inputs as the field writes them, a program's own names spelled out; numbers."""

from __future__ import annotations

from . import ast
from .formula import View

PIXEL, GAUSSIAN = "p", "i"

# name: (symbol, what it is, what it is counted by)
FIXED: dict[str, tuple[str, str, str]] = {
    "rendered": ("I", "rendered image", PIXEL),
    "target": (r"\hat{I}", "photograph", PIXEL),
    "mask": ("M", "mask, 1 where a pixel counts", PIXEL),
    "masked": ("M", "mask, 1 where a pixel counts; 1 everywhere if the item has none", PIXEL),
    "unmasked": ("(1 - M)", "complement of the mask", PIXEL),
    "everywhere": (r"\Omega", "all pixels of the batch", ""),
    "alpha": ("A", "accumulated opacity", PIXEL),
    "depth": ("D", "expected depth", PIXEL),
    "depth.accumulated": (r"D^{\mathrm{acc}}", "accumulated depth", PIXEL),
    "depth.median": (r"D^{\mathrm{med}}", "median depth", PIXEL),
    "depth.inverse": ("D^{-1}", "inverse depth", PIXEL),
    "normals": (r"\mathbf{n}", "rendered normals", PIXEL),
    "normals_from_depth": (r"\mathbf{n}^{D}", "normals of the rendered depth", PIXEL),
    "distortion": (r"\Delta", "depth distortion", PIXEL),
    "background": ("B", "background", ""),
    "visible": ("v", "1 for gaussians in view", GAUSSIAN),
    "radii": ("r", "radii on the screen", GAUSSIAN),
    "state": (r"\mathcal{G}", "gaussians", ""),
    "state.means": (r"\boldsymbol{\mu}", "centres", GAUSSIAN),
    "state.scales": (r"\mathbf{s}", "scales", GAUSSIAN),
    "state.log_scales": (r"\log \mathbf{s}", "logarithms of the scales", GAUSSIAN),
    "state.opacities": ("o", "opacities", GAUSSIAN),
    "state.opacity_logits": (r"\tilde{o}", "logits of the opacities", GAUSSIAN),
    "state.quats": (r"\mathbf{q}", "rotations", GAUSSIAN),
    "state.sh0": (r"\mathbf{h}^{0}", "base colours", GAUSSIAN),
    "state.shN": (r"\mathbf{h}", "higher coefficients of the colours", GAUSSIAN),
    "step": ("t", "training step, from 0", ""),
    "max_steps": ("T", "number of steps", ""),
    "progress": ("t / T", "", ""),
}

_GREEK_LETTERS = "alpha beta gamma delta epsilon zeta eta theta iota kappa nu xi rho tau upsilon phi chi psi omega"
GREEK = frozenset(_GREEK_LETTERS.split())
_TAKEN = frozenset("ABDIMNTLciopqrstvwG")
_ESCAPES = {"\\": r"\backslash ", "{": r"\{", "}": r"\}", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$"}


def escaped(text: str) -> str:
    """Text with the characters that LaTeX takes for commands made plain."""
    special = {"~": r"\sim ", "^": r"\hat{}", "\n": " "}
    return "".join(_ESCAPES.get(c) or special.get(c) or (c if c.isprintable() else "?") for c in text)


def upright(text: str) -> str:
    """A word as a name in a formula."""
    return rf"\mathrm{{{escaped(text)}}}"


class Symbols:
    """The symbols of one program, no two parameters with the same one.

    Attributes:
        given: symbols of parameters by name.
        used: what the symbols of fixed inputs stand for.
    """

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self._taken: set[str] = set()
        self.used: dict[str, str] = {}

    def fixed(self, name: str, index: str) -> str | None:
        """The symbol of a fixed input, with an index inside a sum over its pixels or gaussians; None for others."""
        if name not in FIXED:
            return None
        symbol, meaning, over = FIXED[name]
        if name == "progress":
            self.used["t"], self.used["T"] = FIXED["step"][1], FIXED["max_steps"][1]
            return r"\tfrac{t}{T}"
        plain = "M" if name == "unmasked" else symbol
        self.used[plain] = FIXED["masked"][1] if name == "unmasked" else meaning
        if index and over == index:
            return symbol.replace("M", f"M_{index}") if name == "unmasked" else f"{symbol}_{{{index}}}"
        return symbol

    def param(self, name: str) -> str:
        """The symbol of a parameter: a weight is a lambda."""
        if name not in self.given:
            word = name.removesuffix("_weight") if name.endswith("_weight") else name.removeprefix("lambda_")
            symbol = self.plain(name) if word == name else rf"\lambda_{{{upright(word)}}}"
            if symbol in self._taken:
                symbol = upright(name)
            self._taken.add(symbol)
            self.given[name] = symbol
        return self.given[name]

    def plain(self, name: str) -> str:
        """The symbol of any other name."""
        if name == "lambda" or name in GREEK:
            return rf"\{name}"
        if len(name) == 1:
            return rf"\mathtt{{{name}}}" if name in _TAKEN else name
        return upright(name)


def dotted(view: View) -> str | None:
    """A name with its fields, as one text; None for anything else."""
    fields: list[str] = []
    node = view.node
    for _ in range(200):
        if isinstance(node, ast.Field):
            fields.append(node.name.text)
            node = node.value
        elif isinstance(node, ast.Paren):
            node = node.value
        elif isinstance(node, ast.Name) and node.id in view.env:
            view = view.env[node.id]
            node = view.node
        else:
            break
    return ".".join([node.id, *reversed(fields)]) if isinstance(node, ast.Name) else None


def number_tex(x: float) -> str:
    """A number: powers of ten beyond six digits."""
    if x in (float("inf"), float("-inf")):
        return r"\infty" if x > 0 else r"-\infty"
    text = f"{x:.6g}"
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    power = f"10^{{{int(exponent)}}}"
    return power if mantissa == "1" else rf"{mantissa} \cdot {power}"


def cases(rows: list[tuple[str, str]]) -> str:
    """Values by condition; "" is otherwise."""
    lines = [value + (rf" & \text{{if }} {when}" if when else r" & \text{otherwise}") for value, when in rows]
    return r"\begin{cases} " + r" \\ ".join(lines) + r" \end{cases}"
