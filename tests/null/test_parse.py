"""What the parser makes of well-formed text: the shape of the tree and the place of every node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from splatdsl.dsl import ast
from splatdsl.dsl.build import below
from splatdsl.dsl.diagnostics import Sink
from splatdsl.dsl.parse import parse, parse_expression
from splatdsl.dsl.source import Source, Span

PROGRAMS = Path(__file__).with_name("programs.txt").read_text(encoding="utf-8").split("====\n")
NOWHERE = Span(0, 0)


def _parse(text: str) -> ast.Program:
    sink = Sink()
    program = parse(Source(text), sink)
    assert [str(d) for d in sink.items] == []
    return program


def _one(text: str) -> ast.Statement:
    (statement,) = _parse(text).statements
    return statement


def _expr(text: str) -> ast.Expr:
    sink = Sink()
    found = parse_expression(Source(text), sink)
    assert [str(d) for d in sink.items] == []
    assert found is not None
    return found


def _shape(node: ast.Node) -> str:
    """An expression with every operation in brackets."""
    match node:
        case ast.Name(id=name) | ast.Constant(name=name):
            return name
        case ast.Number(text=text):
            return text
        case ast.String(value=value):
            return f'"{value}"'
        case ast.Paren(value=value):
            return f"<{_shape(value)}>"
        case ast.Tuple(items=items):
            return f"tuple<{', '.join(map(_shape, items))}>"
        case ast.Call(function=function, args=args, keywords=keywords):
            named = [f"{k.name.text}={_shape(k.value)}" for k in keywords]
            return f"{function.text}({', '.join([*map(_shape, args), *named])})"
        case ast.Field(value=value, name=name):
            return f"{_shape(value)}.{name.text}"
        case ast.Unary(op=op, operand=operand):
            return f"({op} {_shape(operand)})"
        case ast.Binary(op=op, left=left, right=right) | ast.Compare(op=op, left=left, right=right):
            return f"({_shape(left)} {op} {_shape(right)})"
        case ast.Conditional(then=then, condition=condition, otherwise=otherwise):
            return f"({_shape(then)} if {_shape(condition)} else {_shape(otherwise)})"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a + b + c", "((a + b) + c)"),
        ("a - b - c", "((a - b) - c)"),
        ("a + b * c", "(a + (b * c))"),
        ("a * b / c", "((a * b) / c)"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("a ** b", "(a ^ b)"),
        ("-a ^ b", "(- (a ^ b))"),
        ("a ^ -b", "(a ^ (- b))"),
        ("-a * b", "((- a) * b)"),
        ("a * -b", "(a * (- b))"),
        ("--a", "(- (- a))"),
        ("-1", "(- 1)"),
        ("a < b + c", "(a < (b + c))"),
        ("not a < b", "(not (a < b))"),
        ("not not a", "(not (not a))"),
        ("not a and b", "((not a) and b)"),
        ("a or b and c", "(a or (b and c))"),
        ("a and b or c and d", "((a and b) or (c and d))"),
        ("a if b else c if d else e", "(a if b else (c if d else e))"),
        ("a or b if c else d", "((a or b) if c else d)"),
        ("(a if b else c) if d else e", "(<(a if b else c)> if d else e)"),
        ("((a))", "<<a>>"),
        ("a.b.c", "a.b.c"),
        ("-a.b", "(- a.b)"),
        ("f(x).r ^ 2", "(f(x).r ^ 2)"),
        ("(a + b).r", "<(a + b)>.r"),
        ("f()", "f()"),
        ("f(a, b=1, c=not d,)", "f(a, b=1, c=(not d))"),
        ("f((0, 1), (a, b,), c=(1, 2, 3))", "f(tuple<0, 1>, tuple<a, b>, c=tuple<1, 2, 3>)"),
        ('f("log", mode="a" if b else ("c"))', 'f("log", mode=("a" if b else <"c">))'),
        ('1 if mode == "log" else 2', '(1 if (mode == "log") else 2)'),
        ("inf + pi", "(inf + pi)"),
        ("true or false", "(true or false)"),
        ("7_000 * 1e-3", "(7_000 * 1e-3)"),
        ("a!=b", "(a != b)"),
    ],
)
def test_precedence(text: str, shape: str) -> None:
    assert _shape(_expr(text)) == shape


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("7_000", 7000.0),
        ("1e-3", 1e-3),
        ("1E+5", 1e5),
        ("0.25", 0.25),
        ("00012", 12.0),
        ("1_0.2_5e1_0", 10.25e10),
    ],
)
def test_numbers(text: str, value: float) -> None:
    number = _expr(text)
    assert isinstance(number, ast.Number)
    assert (number.value, number.text) == (value, text)


def test_param() -> None:
    plain = _one("param w = 0.2")
    assert isinstance(plain, ast.Param)
    assert (plain.name.text, plain.unit, plain.limits) == ("w", None, None)

    ranged = _one("param w: steps = 1 + 2 in [0, 1)")
    assert isinstance(ranged, ast.Param)
    assert ranged.unit == ast.Ident("steps", NOWHERE)
    assert _shape(ranged.default) == "(1 + 2)"
    assert isinstance(ranged.limits, ast.Range)
    assert (ranged.limits.lo_open, ranged.limits.hi_open) == (False, True)
    assert (_shape(ranged.limits.lo), _shape(ranged.limits.hi)) == ("0", "1")

    bound = _one("param w = 0.05 >= 0")
    assert isinstance(bound, ast.Param)
    assert bound.limits == ast.Bound(">=", ast.Number(0.0, "0", NOWHERE), NOWHERE)

    chosen = _one('param m = "a" in {"a", "b",}')
    assert isinstance(chosen, ast.Param)
    assert chosen.limits == ast.Choices((ast.String("a", NOWHERE), ast.String("b", NOWHERE)), NOWHERE)


def test_input() -> None:
    one = _one("input mono: depth[inverse, relative] in [0, 1]?")
    assert isinstance(one, ast.Input)
    assert [n.text for n in one.name] == ["mono"]
    assert one.optional
    assert one.kind.name == ast.Ident("depth", NOWHERE)
    assert [a.text for a in one.kind.attributes] == ["inverse", "relative"]
    assert isinstance(one.kind.range, ast.Range)

    dimensions = _one("input near.flow: [B H W 2]")
    assert isinstance(dimensions, ast.Input)
    assert [n.text for n in dimensions.name] == ["near", "flow"]
    assert (dimensions.kind.name, dimensions.optional) == (None, False)
    assert [a.text for a in dimensions.kind.attributes] == ["B", "H", "W", "2"]

    several = _one("input grids: list of [C Y X] in (0, inf)")
    assert isinstance(several, ast.Input)
    assert several.kind.name == ast.Ident("list", NOWHERE)
    assert several.kind.element is not None
    assert [a.text for a in several.kind.element.attributes] == ["C", "Y", "X"]
    assert several.kind.range is not None
    assert several.kind.element.range is None


def test_def() -> None:
    one = _one("def f(a, b=2) = a * b")
    assert isinstance(one, ast.Def)
    assert [(p.name.text, p.default and _shape(p.default)) for p in one.parameters] == [("a", None), ("b", "2")]
    assert _shape(one.body) == "(a * b)"
    none = _one("def f() = 1")
    assert isinstance(none, ast.Def)
    assert none.parameters == ()


def test_use() -> None:
    assert _one('use "a/b.loss"') == ast.Use(ast.String("a/b.loss", NOWHERE), None, NOWHERE)
    named = _one('use "a.loss" (x, y,)')
    assert isinstance(named, ast.Use)
    assert [n.text for n in named.names or ()] == ["x", "y"]


def test_extern() -> None:
    one = _one("extern f(image, x: map, n=3) -> (a: map in [0, 1], b: region) frozen")
    assert isinstance(one, ast.Extern)
    assert [(name and name.text, type(kind).__name__) for name, kind in one.arguments] == [
        (None, "KindExpr"),
        ("x", "KindExpr"),
        ("n", "Number"),
    ]
    assert [(name and name.text, kind.range is not None) for name, kind in one.results] == [("a", True), ("b", False)]
    assert one.word == ast.Ident("frozen", NOWHERE)
    single = _one("extern f() -> [B]")
    assert isinstance(single, ast.Extern)
    assert (single.arguments, single.word) == ((), None)
    assert [(name, [a.text for a in kind.attributes]) for name, kind in single.results] == [(None, ["B"])]


def test_memory_term_let_bare() -> None:
    memory = _one("memory m = 0 then m + 1 when a")
    assert isinstance(memory, ast.Memory)
    assert (_shape(memory.init), _shape(memory.update), memory.when and _shape(memory.when)) == ("0", "(m + 1)", "a")
    term = _one("term group.name = a when b")
    assert isinstance(term, ast.Term)
    assert ([n.text for n in term.name], _shape(term.value), term.when and _shape(term.when)) == (
        ["group", "name"],
        "a",
        "b",
    )
    let = _one("let a = b")
    assert let == ast.Let(ast.Ident("a", NOWHERE), ast.Name("b", NOWHERE), NOWHERE)
    bare = _one("a when b")
    assert isinstance(bare, ast.Bare)
    assert (_shape(bare.value), bare.when and _shape(bare.when)) == ("a", "b")


def test_docstring() -> None:
    program = _parse('"""One "quoted" word,\n  and a line."""\nl1()')
    assert program.statements[0] == ast.Docstring('One "quoted" word,\n  and a line.', NOWHERE)
    assert len(program.statements) == 2


def test_byte_order_mark_is_dropped() -> None:
    statement = _one("\ufeffterm a = 1")
    assert statement.span == Span(0, 10)


def test_words_that_are_not_reserved_are_names() -> None:
    assert (
        _shape(_expr("list + steps + frozen + number + at + loss"))
        == "(((((list + steps) + frozen) + number) + at) + loss)"
    )


# ---- places


def _walk(node: ast.Node) -> Iterator[ast.Node]:
    yield node
    for child in below(node):
        yield from _walk(child)


STARTS = {
    ast.Param: "param", ast.Input: "input", ast.Let: "let", ast.Def: "def", ast.Use: "use", ast.Extern: "extern",
    ast.Memory: "memory", ast.Term: "term", ast.Docstring: '"""', ast.Paren: "(", ast.Tuple: "(", ast.Choices: "{",
    ast.String: '"',
}  # fmt: skip


@pytest.mark.parametrize("text", PROGRAMS, ids=range(len(PROGRAMS)))
def test_spans_cover_the_text_of_each_node(text: str) -> None:
    source = Source(text)
    program = parse(source, Sink())
    assert source.slice(program.span) == source.text
    assert program.statements
    for statement in program.statements:
        for node in _walk(statement):
            written = source.slice(node.span)
            assert written == written.strip()
            assert written
            match node:
                case ast.Ident(text=exact) | ast.Name(id=exact) | ast.Number(text=exact) | ast.Constant(name=exact):
                    assert written == exact
                case ast.String(value=value):
                    assert written == f'"{value}"'
                case ast.Docstring(text=value):
                    assert written == f'"""{value}"""'
                case ast.Call(function=function):
                    assert written.startswith(function.text)
                    assert written.endswith(")")
                case ast.Unary(op=op):
                    assert written.startswith(op)
                case ast.Range(lo_open=lo_open, hi_open=hi_open):
                    assert written[0] == ("(" if lo_open else "[")
                    assert written[-1] == (")" if hi_open else "]")
                case ast.Bound(op=op):
                    assert written.startswith(op)
            assert written.startswith(STARTS.get(type(node), ""))
            for child in below(node):
                assert node.span.start <= child.span.start < child.span.end <= node.span.end


@pytest.mark.parametrize("text", PROGRAMS, ids=range(len(PROGRAMS)))
def test_the_text_of_an_expression_reads_as_that_expression(text: str) -> None:
    source = Source(text)
    kinds = ast.Expr.__args__  # type: ignore[attr-defined]
    for statement in parse(source, Sink()).statements:
        for node in _walk(statement):
            if isinstance(node, kinds):
                call = _expr(f"f({source.slice(node.span)}\n)")
                assert isinstance(call, ast.Call)
                assert call.args == (node,)


def test_statement_spans_end_at_the_last_token() -> None:
    source = Source("term a = 1   # one\n\n  let b = (\n 2 )  \n")
    assert [source.slice(s.span) for s in parse(source, Sink()).statements] == ["term a = 1", "let b = (\n 2 )"]


def test_a_fresh_process_imports_nothing_heavy(run_python) -> None:
    code = (
        "import sys; before = set(sys.modules); import splatdsl.dsl.parse as p\n"
        "from splatdsl.dsl.source import Source; from splatdsl.dsl.diagnostics import Sink\n"
        "assert p.parse(Source('0.8 * l1(masked)'), Sink()).statements\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "splatdsl.dsl.build" in loaded
    heavy = {"lark", "torch", "numpy", "click", "rich", "yaml", "dataclasses", "hashlib", "difflib", "interegular"}
    assert not heavy & loaded
    assert not {name for name in loaded if "syntax" in name}, "the wording of errors is loaded when there is one"
