"""Declarations: which names a file has, and the types of its inputs, memories and extern functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import ast
from ..diagnostics import Sink
from ..inputs import BY_NAME, HOST_SIZES, REGIONS
from ..interval import REALS, Interval
from ..source import Source, Span
from ..typed import Expr, ExternInfo, InputInfo, MemoryInfo
from ..types import FLAG, NUMBER, STEP, TENSOR, VIEW, Origin, Type
from .functions import Function, library
from .kinds import DIMENSION, KindReader
from .modules import Module, report_unknown, report_use
from .operators import is_arithmetic, is_error
from .params import limits

if TYPE_CHECKING:
    from .program import ProgramChecker


def declare(checker: ProgramChecker, module: Module) -> None:
    """Find what a file declares and uses; nothing is typed yet."""
    functions: dict[str, Span] = {}
    terms: dict[str, Span] = {}
    checker.size.add_file(module.tree, module.source)
    checker.library.open.append(module.path)
    for s in module.tree.statements:
        if isinstance(s, ast.Use):
            _use(checker, s, module)
        elif isinstance(s, (ast.Def, ast.Extern)):
            _function(checker, s, module, functions)
        elif isinstance(s, ast.Term):
            name = ".".join(part.text for part in s.name)
            if _new(checker, name, s.name[-1].span, terms, module):
                module.terms[name] = s
        elif isinstance(s, (ast.Let, ast.Param, ast.Memory, ast.Input)):
            _value(checker, s, module)
    checker.library.open.pop()


def _value(checker: ProgramChecker, s: ast.Let | ast.Param | ast.Memory | ast.Input, module: Module) -> None:
    if isinstance(s, ast.Input) and len(s.name) > 1:
        text = ".".join(part.text for part in s.name)
        help_ = ["what a view has is declared like the render's own: `input mono: depth[relative]`, read `near.mono`"]
        checker.report.emit("NAM014", f"`{text}` is not a name", module.source, s.name[0].span, help=help_)
        module.lost.add(s.name[-1].text)
        return
    ident = s.name[0] if isinstance(s, ast.Input) else s.name
    name = ident.text
    if name in BY_NAME or name in REGIONS:
        what = "a fixed input" if name in BY_NAME else "a region"
        checker.report.reserved(name, what, module.source, ident.span)
    elif name in HOST_SIZES:
        checker.report.reserved(name, f"the number of {HOST_SIZES[name]}", module.source, ident.span)
    elif name in module.imports:
        other = module.imports[name]
        first = Origin(other.source, other.where(name))
        checker.report.duplicate(name, module.source, ident.span, first)
    elif _new(checker, name, ident.span, module.names, module):
        if isinstance(s, ast.Let):
            module.lets[name] = s
        else:
            module.values_declared[name] = s
            if isinstance(s, ast.Input):
                checker.sizes.update(_letters(s.kind))


def _letters(kind: ast.KindExpr) -> list[str]:
    inner = _letters(kind.element) if kind.element is not None else []
    named = kind.name is not None and kind.name.text != "index"
    return inner if named else [w.text for w in kind.attributes if DIMENSION.match(w.text)] + inner


def _function(checker: ProgramChecker, s: ast.Def | ast.Extern, module: Module, functions: dict[str, Span]) -> None:
    name = s.name.text
    new = _new(checker, name, s.name.span, functions, module)
    if new and (library(name) is not None or name == "has"):
        checker.report.emit(
            "NAM007",
            f"`{name}` is a builtin and cannot be defined again",
            module.source,
            s.name.span,
            help=[f"call it `my_{name}`"],
        )
    other = module.imports.get(name)
    if new and other is not None and name in other.defs:
        checker.report.duplicate(name, module.source, s.name.span, Origin(other.source, other.where(name)))
        new = False
    if isinstance(s, ast.Def):
        if name not in module.defs:
            module.defs[name] = Function(name, None, s, module.source, module)
        _check_parameters(checker, s, module)
    elif new:
        module.extern_statements[name] = s
        module.defs[name] = Function(name, None, None, module.source, module, _EMPTY_EXTERN)


def _new(checker: ProgramChecker, name: str, span: Span, seen: dict[str, Span], module: Module) -> bool:
    if name in seen:
        checker.report.duplicate(name, module.source, span, Origin(module.source, seen[name]))
        return False
    seen[name] = span
    return True


def _check_parameters(checker: ProgramChecker, s: ast.Def, module: Module) -> None:
    seen: dict[str, Span] = {}
    optional = False
    for p in s.parameters:
        _new(checker, p.name.text, p.name.span, seen, module)
        if p.default is None and optional:
            message = f"`{p.name.text}` has no default but follows a parameter that has one"
            checker.report.emit("TYP006", message, module.source, p.span, help=["put it before those with defaults"])
        optional = optional or p.default is not None


# Files


def _use(checker: ProgramChecker, s: ast.Use, module: Module) -> None:
    used = checker.library.use(s, module)
    if used.module is None:
        report_use(checker.report, s, module.source, used)
        module.lost.update(n.text for n in s.names or ())
        if s.names is None:
            checker.lost_file = True
        return
    other = used.module
    if not other.names and not other.terms and not other.defs and not other.imports:
        declare(checker, other)
    module.used[id(s)] = other
    for name in s.names if s.names is not None else _everything(other, s):
        text = name.text
        if text in other.lost:
            module.lost.add(text)
        elif text not in other.declares() and text not in other.imports:
            report_unknown(checker.report, name, module.source, other, s)
            module.lost.add(text)
        elif text in other.names or text in other.defs or text in other.imports:
            if text in module.names or text in module.defs:
                checker.report.duplicate(text, module.source, name.span, Origin(module.source, module.where(text)))
            elif module.imports.get(text, other) is not other:
                first = module.imports[text]
                checker.report.duplicate(text, module.source, name.span, Origin(first.source, first.where(text)))
            else:
                module.imports[text] = other


def _everything(other: Module, s: ast.Use) -> list[ast.Ident]:
    return [ast.Ident(name, s.path.span) for name in dict.fromkeys([*other.defs, *other.names, *other.terms])]


# Inputs


def declare_input(checker: ProgramChecker, s: ast.Input, module: Module) -> InputInfo | None:
    """An input that is read for the first time; None after reporting what is wrong with it."""
    name = s.name[0].text
    known = checker.declared_inputs.get(name)
    range_: Interval | None = None
    if s.kind.range is not None:
        range_ = limits(checker, s.kind.range, module.source)
        if range_ is None:
            module.lost.add(name)
            return None
    read = KindReader(checker.report, module.source).read(s.kind, input_name=name, range_=range_)
    if read is None:
        module.lost.add(name)
        return None
    info = InputInfo(
        name,
        read.kind,
        read.range,
        STEP if read.stage == STEP else TENSOR,
        read.facts,
        s.optional,
        read.same,
        s.name[0].span,
        module.source,
    )
    if known is not None and (known.kind, known.optional) != (info.kind, info.optional):
        checker.report.duplicate(name, module.source, s.name[0].span, Origin(known.source, known.span))
        return None
    checker.declared_inputs[name] = info
    if info.optional and info.stage == STEP:
        help_ = ["leave out the `?`, and let the host give a value that says that there is none"]
        checker.report.emit("NAM014", "a number of the host cannot be missing", module.source, s.span, help=help_)
    return info


# Extern functions

_EMPTY_EXTERN = ExternInfo("", (), (), False, Span(0, 0), Source("", ""))


def extern_function(checker: ProgramChecker, name: str, module: Module) -> Function | None:
    """An extern function with its parameters and results; None after reporting what is wrong with it."""
    if name in checker.externs:
        return Function(name, None, None, module.source, module, checker.externs[name])
    if name in module.lost:
        return None
    s = module.extern_statements[name]
    reader = KindReader(checker.report, module.source)
    params: list[tuple[str, object, object, Interval, Expr | None]] = []
    good = True
    for i, (ident, slot) in enumerate(s.arguments):
        if isinstance(slot, ast.KindExpr):
            span = None if slot.range is None else limits(checker, slot.range, module.source)
            read = reader.read(slot, range_=span)
            good = good and read is not None
            if read is not None:
                params.append((ident.text if ident else f"argument{i + 1}", read.kind, read.facts, read.range, None))
        else:
            value = checker.elsewhere(slot, module)
            good = good and not is_error(value)
            params.append((ident.text if ident else f"argument{i + 1}", None, {}, REALS, value))
    results: list[tuple[str, Type]] = []
    for ident, kind in s.results:
        span = None if kind.range is None else limits(checker, kind.range, module.source)
        read = reader.read(kind, range_=span)
        if read is None:
            good = False
        elif read.kind == VIEW or (read.stage == STEP and read.kind == FLAG):
            message = f"an extern function cannot give {read.kind.describe()}"
            checker.report.emit("NAM014", message, module.source, kind.span, help=["let it give tensors or numbers"])
            good = False
        else:
            results.append((ident.text if ident else "", Type(TENSOR, read.kind, read.range, facts=read.facts)))
    if s.word is not None and s.word.text != "frozen":
        message = f"`{s.word.text}` cannot stand here"
        checker.report.emit("SYN031", message, module.source, s.word.span, help=["the only word here is `frozen`"])
        good = False
    if not good:
        module.lost.add(name)
        return None
    info = ExternInfo(name, tuple(params), tuple(results), s.word is not None, s.name.span, module.source)  # type: ignore[arg-type]
    checker.externs[name] = info
    return Function(name, None, None, module.source, module, info)


# Memories


def type_memory(checker: ProgramChecker, s: ast.Memory, module: Module) -> None:
    """The type of a memory: kind and range of its new value, which may be made of its old one."""
    name = s.name.text
    init = checker.elsewhere(s.init, module)
    if is_error(init):
        module.lost.add(name)
        return
    if not is_arithmetic(init):
        checker.report.kind("a number, or a value per pixel or per gaussian", init, f"the start of `{name}`")
        module.lost.add(name)
        return
    # The kind is that of the new value, which reads the old one: begin with the start's and go on until it holds.
    t = Type(TENSOR, NUMBER if init.type.kind == FLAG else init.type.kind, init.type.range)
    for attempt in range(4):
        checker.memory_types[name] = t
        sink, checker.report.sink = checker.report.sink, Sink()
        seeds = checker.seeds
        update = _update(checker, s.update, module)
        checker.report.sink, checker.seeds = sink, seeds
        if is_error(update):
            break
        range_ = init.type.range.hull(update.type.range)
        made = Type(TENSOR, NUMBER if update.type.kind == FLAG else update.type.kind, range_, facts=update.type.facts)
        if (made.kind, made.range) == (t.kind, t.range):
            break
        t = made if attempt < 2 else Type(TENSOR, made.kind, REALS if attempt == 2 else made.range, facts=made.facts)
    checker.memory_types[name] = t
    update = _update(checker, s.update, module)
    when = None if s.when is None else checker.elsewhere(s.when, module)
    if is_error(update) or (when is not None and is_error(when)):
        module.lost.add(name)
        return
    if not is_arithmetic(update):
        what = f"the new value of `{name}`"
        checker.report.kind("a number, or a value per pixel or per gaussian", update, what)
        module.lost.add(name)
        return
    if init.type.kind.is_tensor and (init.type.kind.space, init.type.kind.components) != (
        update.type.kind.space,
        update.type.kind.components,
    ):
        message = f"`{name}` starts as {init.type.kind.describe()}, but becomes {update.type.kind.describe()}"
        help_ = ["start from a number: it fills the shape of the new value"]
        checker.report.emit("TYP012", message, module.source, init.span, help=help_)
        module.lost.add(name)
        return
    if when is not None and (when.type.kind != FLAG or when.type.stage == TENSOR):
        help_ = ["to choose by a computed value write `where(condition, new, old)`"]
        checker.report.stage(when, "the condition after `when`", help_)
        module.lost.add(name)
        return
    checker.memories[name] = MemoryInfo(name, init, update, when, t, s.name.span, module.source)


def _update(checker: ProgramChecker, node: ast.Expr, module: Module) -> Expr:
    # Lets that read the memory must not keep a value from an attempt with another kind.
    kept = dict(module.values)
    value = checker.elsewhere(node, module)
    module.values = kept
    return value
