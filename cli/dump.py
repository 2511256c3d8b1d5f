"""``splatdsl dump``: a program at one stage of the compiler, as text."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ..dsl import ast
from ..dsl.diagnostics import Diagnostic, LossError, Severity, Sink
from ..dsl.files import LOSS_LIMIT, ZOO, Unreadable, read_text
from ..dsl.source import Source
from ..dsl.typed import Expr, TypedProgram

STAGES = ("ast", "typed", "ir", "kernels", "fx", "code")
ROUTES = ("auto", "torch", "cpp", "triton")


@click.command()
@click.option("--stage", type=click.Choice(STAGES), required=True, help="ast and typed need no torch.")
@click.option("--masked/--no-masked", default=True, show_default=True, help="Whether the data item has a mask (ir on).")
@click.option("--kernels", type=click.Choice(ROUTES), default="auto", show_default=True, help="Which kernels to show.")
@click.argument("file")
def dump(stage: str, masked: bool, kernels: str, file: str) -> int:
    """Print the program in FILE as the compiler sees it at one stage."""
    try:
        source = Source(read_text(file, LOSS_LIMIT), file)
    except Unreadable as reason:
        from ..dsl.config_reader import nearby

        help = nearby(file, "") if file.startswith(ZOO) else None
        raise click.UsageError(f"`{file}` {reason}" + (f"; {help}" if help else "")) from None
    click.echo(_STAGES[stage](source) if stage in _STAGES else _compiled(source, stage, masked, kernels))
    return 0


def _compiled(source: Source, stage: str, masked: bool, kernels: str) -> str:
    try:
        from ..compiler.api import dump_stage
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise click.UsageError(f"--stage {stage} needs torch, which is not installed: pip install torch") from None
    text: str = dump_stage(source.text, source.name, stage, masked, kernels)
    return text.rstrip("\n")


def _ast(source: Source) -> str:
    from ..dsl.parse import parse

    sink = Sink()
    tree = parse(source, sink)
    _stop_at_errors(sink.sorted())
    return "\n".join(ast_lines(tree, source))


def _typed(source: Source) -> str:
    from ..dsl.api import analyse

    program, found = analyse(source)
    _stop_at_errors(found)
    assert program is not None
    return "\n".join(typed_lines(program))


_STAGES = {"ast": _ast, "typed": _typed}


def _stop_at_errors(found: list[Diagnostic]) -> None:
    if any(d.severity is Severity.ERROR for d in found):
        raise LossError(found)


def ast_lines(tree: ast.Node, source: Source, label: str = "", depth: int = 0) -> Iterator[str]:
    """The syntax tree, one node a line: its place in its parent, its class, its plain fields, its line and column."""
    line, column = source.position(tree.span.start)
    plain = {}
    below: list[tuple[str, ast.Node]] = []
    for field in tree.fields:
        value = getattr(tree, field)
        if isinstance(value, ast.Ident):
            plain[field] = value.text
        elif isinstance(value, ast.Node):
            below.append((field, value))
        elif isinstance(value, tuple) and value and all(isinstance(item, ast.Ident) for item in value):
            plain[field] = ".".join(item.text for item in value)
        elif isinstance(value, tuple):
            below += list(_nodes(field, value))
        elif value is not None:
            plain[field] = value
    facts = "".join(f" {name}={value!r}" for name, value in plain.items())
    yield f"{'  ' * depth}{label}{type(tree).__name__}{facts}  {line}:{column}"
    for name, child in below:
        yield from ast_lines(child, source, f"{name}: ", depth + 1)


DEEPEST = 50
"""Levels that are indented."""


def _nodes(label: str, values: tuple[object, ...]) -> Iterator[tuple[str, ast.Node]]:
    """The nodes in nested tuples, numbered: an argument of an `extern` is a pair of a name and a kind."""
    for i, value in enumerate(values):
        name = f"{label}[{i}]"
        if isinstance(value, ast.Node):
            yield name, value
        elif isinstance(value, tuple):
            yield from _nodes(name, value)


def typed_lines(program: TypedProgram) -> Iterator[str]:
    """Parameters and terms of a checked program; a value that is used twice is printed once and referred to."""
    for name, param in program.params.items():
        yield f"param {name} = {param.value!r}  {param.unit} in {param.range}".rstrip()
    shared: dict[int, int] = {}
    uses: dict[int, int] = {}
    home = program.source
    for term in program.terms:
        for root in (term.value, term.when):
            for node in root.walk() if root is not None else ():
                for child in node.args:
                    uses[id(child)] = uses.get(id(child), 0) + 1
    for term in program.terms:
        yield f"term {term.name}  {':'.join(map(str, term.source.position(term.span.start)))}"
        yield from _typed_node(term.value, "", 1, uses, shared, home)
        if term.when is not None:
            yield from _typed_node(term.when, "when ", 1, uses, shared, home)


def _typed_node(
    node: Expr, label: str, depth: int, uses: dict[int, int], shared: dict[int, int], home: Source
) -> Iterator[str]:
    stack = [(node, label, depth)]  # no recursion: values nest deeply where names stand for them
    while stack:
        node, label, depth = stack.pop()
        margin = "  " * min(depth, DEEPEST)
        number = shared.get(id(node))
        if number is not None:
            yield f"{margin}{label}%{number}"
            continue
        mark = ""
        if uses.get(id(node), 0) > 1 and node.args:
            shared[id(node)] = len(shared)
            mark = f"%{shared[id(node)]} = "
        what = node.op
        if node.op == "call":
            what = f"{node.builtin.name}()"
        elif node.value is not None:
            what = f"{node.op} {node.value!r}"
        yield f"{margin}{label}{mark}{what}: {node.type!r}  {_place(node, home)}"
        names = [f"{name}=" for name in node.names[: len(node.args)]] + [""] * (len(node.args) - len(node.names))
        stack += [(child, name, depth + 1) for child, name in reversed(list(zip(node.args, names)))]


def _place(node: Expr, home: Source) -> str:
    """Line and column, with the file's name where it is not the program itself: the value comes from a definition."""
    line, column = node.source.position(node.span.start)
    return f"{line}:{column}" if node.source is home else f"{node.source.name}:{line}:{column}"
