"""A program as one Python file that needs torch alone: the functions that it uses, and a class with its objective.

What the file computes is what the program computes without compilation, bit for bit: each term is printed from the
optimised graph of that term alone, for each case of what is decided when a step begins (see `standalone_terms`).
Modes and flags are what they are when the file is written, and so are the lengths of lists.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from ..dsl.typed import TypedProgram
from .standalone_class import ClassText
from .standalone_host import literal
from .standalone_layout import fitted
from .standalone_parts import escaped

SIGN = "Written by `splatdsl build`"
"""What tells a file that was written here."""
_CHECK = re.compile(r"^Checksum: ([0-9a-f]{16})$", re.M)
_IMPORTS = {
    "Any": "from typing import Any",
    "Callable": "from collections.abc import Callable",
    "ClassVar": "from typing import ClassVar",
    "Collection": "from collections.abc import Collection",
    "Mapping": "from collections.abc import Mapping",
    "Tensor": "from torch import Tensor",
    "math": "import math",
    "torch": "import torch",
}
_COPIED = "# What the loss is made of, in lines of up to 120 columns.\n# fmt: off\n"


def build(
    program: TypedProgram,
    name: str,
    lengths: Mapping[str, int] | None = None,
    version: str = "",
    origin: str | None = None,
) -> str:
    """The text of a file that computes a program.

    Args:
        program: the checked program, with the values of its parameters in force.
        name: what the class is called.
        lengths: how many items each list of the program has, by name.
        version: of this package, for the head of the file.
        origin: what the program is called there.

    Raises:
        LossError: the program has something that a file of its own cannot have.
    """
    printer = ClassText(program, name, lengths or {})
    own = "\n".join(printer.lines())
    sources = printer.names.sources
    constants, functions = sources.definitions()
    every = "\n".join([*constants, *functions, own])
    imports = {statement for word, statement in _IMPORTS.items() if re.search(rf"(?<![.\w]){word}\b", own)}
    imports |= {s for s in sources.imports() if re.search(rf"(?<![.\w]){s.rpartition(' ')[2]}\b", every)}
    copied = "\n\n\n".join([*(["\n".join(constants)] if constants else []), *functions])
    named = sources.named(f"{copied}\0{own}", frozenset({name}))
    copied, own = named.split("\0")
    opening = docstring(program, origin or program.source.name, version)
    head = "\n\n".join(
        [
            opening,
            "from __future__ import annotations",
            grouped(imports),
        ]
    )
    text = f"{head}\n\n{_COPIED}\n{copied}\n\n\n# fmt: on\n\n\n" + "\n".join(fitted(own.split("\n"))) + "\n"
    return text.replace(f"Checksum: {'0' * 16}", f"Checksum: {checksum(text)}", 1)


def grouped(statements: set[str]) -> str:
    """Import statements in their usual order: the standard library, then torch."""
    names: dict[str, set[str]] = {}
    lines = [s for s in statements if s.startswith("import ")]
    for statement in statements - set(lines):
        module, _, name = statement.removeprefix("from ").partition(" import ")
        names.setdefault(module, set()).add(name)
    lines.sort()
    lines += [f"from {m} import {', '.join(sorted(n))}" for m, n in sorted(names.items())]
    torch = [s for s in lines if "torch" in s]
    own = [s for s in lines if s not in torch]
    return "\n".join([*own, *([""] if own and torch else []), *torch])


def docstring(program: TypedProgram, origin: str, version: str) -> str:
    """The head of a file: what it was made from."""
    first = (program.docstring.strip().splitlines() or ["A loss."])[0]
    digest = hashlib.sha256("\n".join(s.text for s in program.sources).encode()).hexdigest()
    lines = [f'"""{escaped(" ".join(first.split()))}', ""]
    lines += [f"{SIGN} {version} from {escaped(origin)}".rstrip() + "; it needs torch alone."]
    lines += [f"Program: SHA-256 {digest}", f"Checksum: {'0' * 16}", ""]
    for term in program.terms:
        text = " ".join(re.sub(r"#.*", "", term.source.slice(term.span)).split())
        lines.append(f"    {escaped(text)}")
    for numbers, label in ((True, "Parameters"), (False, "Fixed in this file")):
        shown = []
        for name, info in program.params.items():
            if isinstance(info.value, (bool, str)) != numbers:
                limits = "" if not numbers else f" in {info.range}"
                shown.append(f"    {name} = {literal(info.value)}{limits}")
        lines += ["", f"{label}:", "", *shown] if shown else []
    return "\n".join([*lines, '"""'])


def checksum(text: str) -> str:
    """The checksum of a file's text, its own line left out."""
    bare = _CHECK.sub("", text, count=1)
    return hashlib.sha256(bare.replace("\r\n", "\n").encode()).hexdigest()[:16]


def is_ours(text: str) -> bool:
    """Whether a file was written here, and is as it was written."""
    found = _CHECK.search(text)
    return SIGN in text and found is not None and found[1] == checksum(text)


def class_name(stem: str) -> str:
    """The name of a file's class: its stem in camel case."""
    words: Sequence[str] = [w for w in re.split(r"\W+|_", stem) if w]
    made = "".join(w[:1].upper() + w[1:] for w in words)
    return made if made.isidentifier() else f"Loss{made}"


__all__ = ["SIGN", "build", "checksum", "class_name", "is_ours"]
