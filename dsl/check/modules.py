"""Files: what the names in each mean, and how `use` brings names of one into another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .. import ast
from ..diagnostics import Label
from ..files import LOSS_LIMIT, Unreadable, located, read_text
from ..parse import parse_partial
from ..source import Source, Span
from ..suggest import closest
from ..typed import Expr
from .functions import Function

if TYPE_CHECKING:
    from .report import Reporter

MAX_FILES = 100
"""Files that one program may be made of."""

MARKERS = ("splatdsl.toml", "pyproject.toml", ".git")
"""What stands in the folder of a project; programs never use files outside it."""


class Module:
    """One file of a program.

    Attributes:
        source: its text.
        tree: its statements.
        path: its real path; "" for a text that is no file.
        lets: its values by name, each typed once, when first needed; ``values`` are those that are.
        defs: its definitions and extern functions.
        terms: its terms by name.
        imports: names that it uses, and where they are from.
        lost: names whose declaration has a mistake that is reported already.
        names: its values, and where each is declared; ``values_declared`` are those that are not ``let``.
        extern_statements: its extern functions; they stand in ``defs`` too.
        used: what each of its `use` statements found, by identity.
    """

    def __init__(self, source: Source, tree: ast.Program, path: str, lost: frozenset[str] = frozenset()) -> None:
        self.source, self.tree, self.path = source, tree, path
        self.lets: dict[str, ast.Let] = {}
        self.values: dict[str, Expr] = {}
        self.defs: dict[str, Function] = {}
        self.terms: dict[str, ast.Term] = {}
        self.imports: dict[str, Module] = {}
        self.lost = set(lost)
        self.names: dict[str, Span] = {}
        self.values_declared: dict[str, ast.Param | ast.Input | ast.Memory] = {}
        self.extern_statements: dict[str, ast.Extern] = {}
        self.used: dict[int, Module] = {}

    def where(self, name: str) -> Span:
        """The place of a declaration."""
        function = self.defs.get(name)
        if function is not None and function.definition is not None:
            return function.definition.name.span
        if name in self.extern_statements:
            return self.extern_statements[name].name.span
        if name in self.terms:
            return self.terms[name].name[-1].span
        return self.names.get(name, Span(0, 0))

    def declares(self) -> list[str]:
        """Everything that another file can use."""
        return [*self.terms, *self.defs, *self.names]


class Used(NamedTuple):
    """A file that was asked for, or the reason why it cannot be read."""

    module: Module | None
    problem: str = ""
    help: str = ""


class Library:
    """Reads the files of a program, each once, and only inside the project's folder."""

    def __init__(self, report: Reporter, root: Source, folder: str | None) -> None:
        self.report = report
        self.modules: dict[str, Module] = {}
        self.base = os.path.realpath(folder or os.path.dirname(os.path.abspath(located(root.name))) or ".")
        self.project = _project(self.base)
        self.open: list[str] = []

    def use(self, statement: ast.Use, module: Module) -> Used:
        """The file that a `use` names."""
        written = statement.path.value
        if not written or written != written.strip() or any(c in written for c in "\\\0") or "://" in written:
            return Used(None, f'"{written}" is not a path', 'write a path with `/`, such as "common/colour.loss"')
        if os.path.isabs(written):
            return Used(None, f"`{written}` is not relative to this file", "write the path from this file's folder")
        folder = os.path.dirname(module.path) if module.path else self.base
        path = os.path.realpath(os.path.join(folder, written))
        if path != self.project and not path.startswith(self.project.rstrip(os.sep) + os.sep):
            return Used(None, f"`{written}` is outside the project's folder", "copy the file into the project")
        if path in self.open:
            chain = " -> ".join(os.path.basename(p) for p in [*self.open[self.open.index(path) :], path])
            return Used(None, f"`{written}` uses itself: {chain}", "move what both need into a third file")
        if path in self.modules:
            return Used(self.modules[path])
        if len(self.modules) >= MAX_FILES:
            return Used(None, f"a program is made of at most {MAX_FILES} files", "join some of them")
        if not written.endswith(".loss"):
            return Used(None, f"`{written}` is not a `.loss` file", "name a file that ends in .loss")
        try:
            text = read_text(path, LOSS_LIMIT)
        except Unreadable as reason:
            return Used(None, f"`{written}` {reason}", _nearby(path, written))
        name = os.path.join(os.path.dirname(module.source.name), written) if module.path else written
        source = Source(text, os.path.normpath(name))
        tree, lost = parse_partial(source, self.report.sink)
        made = self.modules[path] = Module(source, tree, path, lost)
        return Used(made)


def _project(folder: str) -> str:
    """The folder that a program's files must be in: the nearest one with a marker, else the program's own."""
    at = folder
    while True:
        if any(os.path.exists(os.path.join(at, marker)) for marker in MARKERS):
            return at
        above = os.path.dirname(at)
        if above == at:
            return folder
        at = above


def _nearby(path: str, written: str) -> str:
    try:
        names = [n for n in os.listdir(os.path.dirname(path)) if n.endswith(".loss")]
    except OSError:
        return "check the folder's name"
    near = closest(os.path.basename(path), names)
    return f"did you mean `{os.path.join(os.path.dirname(written), near[0])}`?" if near else ""


def report_use(report: Reporter, statement: ast.Use, source: Source, used: Used) -> None:
    """A `use` whose file cannot be read."""
    report.emit("NAM012", used.problem, source, statement.path.span, help=[used.help] if used.help else ())


def report_unknown(report: Reporter, name: ast.Ident, source: Source, module: Module, statement: ast.Use) -> None:
    """A name that the used file does not declare."""
    names = module.declares()
    near = closest(name.text, names)
    help_ = "did you mean " + " or ".join(f"`{n}`" for n in near) + "?" if near else ""
    if not help_ and names:
        help_ = "it declares " + ", ".join(f"`{n}`" for n in names[:12])
    report.emit(
        "NAM013",
        f"`{module.source.name}` declares no `{name.text}`",
        source,
        name.span,
        labels=[Label(statement.path.span, "this file", source)],
        help=[help_] if help_ else (),
    )
