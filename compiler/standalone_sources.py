"""Functions of this package as source text that stands on its own: with what they use, in an order that works.

What is written is what runs without compilation: places that ask whether torch is compiling are settled, operators
that are registered for the compiler are plain functions again, and functions that hand back their argument are left
out. Names of other modules become names of one module; where two functions have the same, both get their module's.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = __package__.rpartition(".")[0]
KERNELS = f"{__package__}.kernels"
COMPILING = ("in_loops", "is_compiling")
"""Functions that say whether torch is compiling: false in what is written."""

_MARK = re.compile(r"\bK__(\w+?)__K__(\w+?)__K\b")
_COMMENT = re.compile(r"  # (type: ignore|noqa)\S*.*$", re.M)


class Key(NamedTuple):
    """A definition: its module and its name there."""

    module: str
    name: str

    @property
    def mark(self) -> str:
        """What stands for its name until all names are known: an identifier."""
        return f"K__{self.module.replace('.', '__DOT__')}__K__{self.name}__K"


def shown(text: str) -> str:
    """A text with plain names in place of marks: about as long as it will be."""
    return _MARK.sub(r"\2", text)


class _Module:
    """A module's source and what its names are."""

    def __init__(self, name: str) -> None:
        self.name = name
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        self.text = Path(spec.origin).read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.lines = [0]
        for line in self.text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line.encode()))
        self.bytes = self.text.encode()
        self.definitions: dict[str, ast.stmt] = {}
        self.modules: dict[str, str] = {}
        self.elsewhere: dict[str, Key] = {}
        self.imports: dict[str, str] = {}
        for node in self.tree.body:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            if node.name != "_":  # what the compiler is told of an operator
                self.definitions[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        self.definitions[name.id] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self.definitions[node.target.id] = node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                as_ = f" as {alias.asname}" if alias.asname else ""
                self.imports[alias.asname or alias.name] = f"import {alias.name}{as_}"
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            self._from(node)

    def _from(self, node: ast.ImportFrom) -> None:
        package = self.name.rsplit(".", node.level)[0] if node.level else ""
        origin = ".".join(p for p in (package, node.module or "") if p)
        for alias in node.names:
            name = alias.asname or alias.name
            if not origin.startswith(PACKAGE):
                self.imports[name] = f"from {origin} import {alias.name}"
            elif node.module is None:
                self.modules[name] = f"{origin}.{alias.name}"
            else:
                self.elsewhere[name] = Key(origin, alias.name)

    def at(self, line: int, column: int) -> int:
        """The offset of a place in the bytes of the source."""
        return self.lines[line - 1] + column


@cache
def _module(name: str) -> _Module:
    return _Module(name)


@cache
def known_names() -> frozenset[str]:
    """The names of everything that a file can hold: no variable in it may hide one."""
    parent = importlib.util.find_spec(KERNELS)
    assert parent is not None
    places = list(parent.submodule_search_locations or ())
    modules = [f"{KERNELS}.{m.name}" for m in pkgutil.iter_modules(places)]
    modules += [f"{__package__}.standalone_kit", f"{PACKAGE}.dsl.host", f"{PACKAGE}.dsl.builtins.schedules"]
    modules += [f"{PACKAGE}.dsl.builtins.{name}" for name in ("pointwise", "chances")]
    names = {name for module in modules for name in (*_module(module).definitions, *_module(module).imports)}
    return frozenset(names | set(dir(builtins)))


@cache
def kit_names() -> frozenset[str]:
    """The names of what a file has beside kernels: no argument of a call may hide one."""
    return frozenset(_module(f"{__package__}.standalone_kit").definitions)


def found(key: Key) -> Key:
    """Where a name is defined, through the modules that hand it on."""
    while key.name not in _module(key.module).definitions:
        key = _module(key.module).elsewhere[key.name]
    return key


class _Writer:
    """The text of one definition, with its names marked."""

    def __init__(self, key: Key) -> None:
        self.key, self.module = key, _module(key.module)
        self.node = self.module.definitions[key.name]
        self.uses: set[Key] = set()
        self.imports: set[str] = set()
        self._local = frozenset(_bound(self.node))

    def hidden(self) -> set[str]:
        """Names of definitions that the text uses and also binds itself: they need another name."""
        return {key.name for key in self.uses} & self._local

    def text(self) -> str:
        """The definition, without what only a type checker or the compiler reads."""
        node = self.node
        made = self._segment(node)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            decorators = [d for d in node.decorator_list if not _is_operator(d)]
            made = "".join(f"@{self._segment(d)}\n" for d in decorators) + made
            made = re.sub(rf"^((?:def|class) ){re.escape(node.name)}\b", rf"\1{self.key.mark}", made, flags=re.M)
        return _COMMENT.sub("", made)

    def _segment(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._edited(start, end, self._edits(node))

    def _edited(self, start: int, end: int, edits: Iterator[tuple[int, int, str]]) -> str:
        parts, at = [], start
        for first, last, text in sorted(edits):
            parts += [self.module.bytes[at:first].decode(), text]
            at = last
        return "".join([*parts, self.module.bytes[at:end].decode()])

    def _span(self, node: ast.AST) -> tuple[int, int]:
        at = self.module.at
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _edits(self, node: ast.AST) -> Iterator[tuple[int, int, str]]:
        if isinstance(node, ast.Name):
            text = self._name(node.id)
            if text != node.id:
                yield (*self._span(node), text)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and self._is_module(node.value.id):
            key = found(Key(self.module.modules[node.value.id], node.attr))
            self.uses.add(key)
            yield (*self._span(node), key.mark)
        elif isinstance(node, ast.IfExp) and settled(node.test) is not None:
            yield (*self._span(node), self._segment(node.body if settled(node.test) else node.orelse))
        elif isinstance(node, ast.Call) and self._hands_back(node):
            yield (*self._span(node), self._segment(node.args[0]))
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            decorators = {id(d) for d in node.decorator_list}
            kept = [c for c in ast.iter_child_nodes(node) if id(c) not in decorators and c not in node.body]
            for child in kept:
                yield from self._edits(child)
            yield from self._body(node.body)
        else:
            for child in ast.iter_child_nodes(node):
                yield from self._edits(child)

    def _body(self, body: list[ast.stmt]) -> Iterator[tuple[int, int, str]]:
        """Statements, with `if` settled where it asks whether torch is compiling."""
        for i, statement in enumerate(body):
            known = settled(statement.test) if isinstance(statement, ast.If) else None
            if i + 1 < len(body) and self._changes_nothing(statement):
                yield (self._span(statement)[0], self._span(body[i + 1])[0], "")
                continue
            if not isinstance(statement, ast.If) or known is None:
                yield from self._edits(statement)
                continue
            start, _ = self._span(statement)
            if known:  # it returns: what follows is never reached
                last = self._span(body[-1])[1]
                yield (start, last, "\n    ".join(self._segment(s) for s in statement.body))
                return
            assert not statement.orelse
            assert i + 1 < len(body)
            yield (start, self._span(body[i + 1])[0], "")

    def _changes_nothing(self, statement: ast.stmt) -> bool:
        """Whether a statement assigns to a name what it is."""
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            return False
        name = statement.targets[0].id
        return self._segment(statement.value) in (name, f"None if {name} is None else {name}")

    def _is_module(self, name: str) -> bool:
        return name in self.module.modules and name not in self._local

    def _hands_back(self, call: ast.Call) -> bool:
        """Whether a call gives its first argument as it is."""
        if not isinstance(call.func, ast.Name) or call.func.id in self._local:
            return False
        key = self._key(call.func.id)
        return key is not None and _is_identity(key)

    def _key(self, name: str) -> Key | None:
        if name in self.module.definitions or name in self.module.elsewhere:
            return found(Key(self.module.name, name))
        return None

    def _name(self, name: str) -> str:
        if name in self._local:
            return name
        key = self._key(name)
        if key is not None:
            self.uses.add(key)
            return key.mark
        if name in self.module.imports:
            self.imports.add(self.module.imports[name])
        return name


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a function binds itself; a class or an assignment binds none of the module's."""
    if not isinstance(node, ast.FunctionDef):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                yield from _bound(statement)
        return
    for inner in ast.walk(node):
        if isinstance(inner, ast.arg):
            yield inner.arg
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id


def settled(test: ast.expr) -> bool | None:
    """A condition that is known where torch is not compiling; None for others."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = settled(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        values = [settled(v) for v in test.values]
        decides = isinstance(test.op, ast.Or)
        if decides in values:
            return decides
        return None if None in values else not decides
    if isinstance(test, ast.Call):
        name = test.func.attr if isinstance(test.func, ast.Attribute) else getattr(test.func, "id", "")
        return False if name in COMPILING else None
    return None


@cache
def _is_identity(key: Key) -> bool:
    """Whether a function hands back its first argument, where torch is not compiling."""
    node = _module(key.module).definitions[key.name]
    if not isinstance(node, ast.FunctionDef) or not node.args.args:
        return False
    for statement in node.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.If) and settled(statement.test):
            return _gives(statement.body[0], node.args.args[0].arg)
        if isinstance(statement, ast.Return):
            return _gives(statement, node.args.args[0].arg)
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            return False
        if statement.targets[0].id == node.args.args[0].arg:
            return False
    return False


def _gives(statement: ast.stmt, name: str) -> bool:
    """Whether a statement returns what has this name."""
    value = statement.value if isinstance(statement, ast.Return) else None
    if isinstance(value, ast.IfExp) and settled(value.test) is not None:
        value = value.body if settled(value.test) else value.orelse
    return isinstance(value, ast.Name) and value.id == name


def _is_operator(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute) and called.attr == "custom_op"


class Sources:
    """The definitions that a text uses."""

    def __init__(self) -> None:
        self._texts: dict[Key, str] = {}
        self._needs: dict[Key, set[Key]] = {}
        self._imports: set[str] = set()
        self._hidden: set[str] = set()

    def use(self, module: str, name: str) -> str:
        """What to write for a function or constant; it is among the definitions from then on."""
        key = found(Key(module, name))
        pending = [key]
        while pending:
            at = pending.pop()
            if at not in self._texts:
                writer = _Writer(at)
                self._texts[at] = writer.text()
                self._needs[at] = writer.uses - {at}
                self._imports |= writer.imports
                self._hidden |= writer.hidden()
                pending += sorted(writer.uses)
        return key.mark

    def kernel(self, reference: str) -> str:
        """The same for a ``module:function`` reference of a builtin's record."""
        module, _, name = reference.partition(":")
        return self.use(f"{KERNELS}.{module}", name)

    def imports(self) -> set[str]:
        """The import statements that the definitions need."""
        return set(self._imports)

    def definitions(self) -> tuple[list[str], list[str]]:
        """The texts of constants and of functions: what a definition needs comes before it; names are still marked."""
        order: list[Key] = []
        seen: set[Key] = set()
        stack = [(key, False) for key in sorted(self._texts, reverse=True)]
        while stack:
            key, ready = stack.pop()
            if ready:
                order.append(key)
            elif key not in seen:
                seen.add(key)
                stack.append((key, True))
                stack += [(k, False) for k in sorted(self._needs[key], reverse=True)]
        constants = [k for k in order if isinstance(_module(k.module).definitions[k.name], (ast.Assign, ast.AnnAssign))]
        texts = dict.fromkeys(self._texts[k] for k in constants)  # one statement may define several
        return list(texts), [self._texts[k] for k in order if k not in constants]

    def named(self, text: str, reserved: frozenset[str] = frozenset()) -> str:
        """A text with names in place of marks. Names in ``reserved`` are taken."""
        taken = set(dir(builtins)) | reserved | self._hidden
        places: dict[str, set[str]] = {}
        for module, name in _MARK.findall(text):
            places.setdefault(name, set()).add(module)

        def name_of(match: re.Match[str]) -> str:
            module, name = match.groups()
            if len(places[name]) == 1 and name not in taken:
                return name
            prefix = "host" if "__DOT__dsl__DOT__" in module else module.rpartition("__DOT__")[2]
            return f"_{prefix}{name}" if name.startswith("_") else f"{prefix}_{name}"

        return _MARK.sub(name_of, text)
