"""Every record speaks the truth: its examples give what it says, and codes and records are one to one."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.builtins import ALL, table
from splatdsl.dsl.builtins.spec import Builtin, parse_signature, record_fields
from splatdsl.dsl.check.functions import PRELUDE_PATH, prelude
from splatdsl.dsl.codes import all_codes
from splatdsl.dsl.codes.record import Code
from splatdsl.dsl.facts import FACTS

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [c for c in all_codes().values() if c.bad and not c.id.startswith(("CFG", "SUP"))]  # SUP: test_suppress.py
NO_PROGRAM = {"NAM009", "NAM013", "NAM015", "RNG002", "TYP008", "BUF001", "BUF002", "SYN053"}
"""Codes of the checker whose example is no text: they need a value, a renderer, a file or a very large program."""


def codes(text: str, pedantic: bool = False) -> list[str]:
    return [d.code for d in check_text(text, pedantic=pedantic)]


def test_codes_and_slugs_are_unique() -> None:
    families = [p.stem for p in (ROOT / "dsl" / "codes").glob("*.py") if p.stem not in ("__init__", "record")]
    written = [
        i
        for f in families
        for i in re.findall(r'"([A-Z]{3}\d{3})",?\n', (ROOT / "dsl" / "codes" / f"{f}.py").read_text(encoding="utf-8"))
    ]
    assert len(all_codes()) == len({c.slug for c in all_codes().values()})
    assert set(written) <= set(all_codes()), "a family of records is not part of all_codes()"


@pytest.mark.parametrize("code", all_codes().values(), ids=lambda c: c.id)
def test_a_record_is_well_formed(code: Code) -> None:
    assert re.fullmatch(r"[A-Z]{3}\d{3}", code.id)
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code.slug)
    for text in (code.what, code.why):
        assert text.endswith("."), f"not a sentence: {text!r}"
        assert len(text) > 15
    assert bool(code.good) == bool(code.bad) or code.id == "CFG011"


def test_every_code_of_the_checker_has_an_example() -> None:
    without = {
        c.id for c in all_codes().values() if not c.bad and c.id[:3] in ("SYN", "NAM", "TYP", "RNG", "SCH", "SSM")
    }
    assert without | {"BUF001", "BUF002"} == NO_PROGRAM


@pytest.mark.parametrize("code", PROGRAMS, ids=lambda c: c.id)
def test_the_examples_of_a_code(code: Code) -> None:
    pedantic = code.group == "pedantic"
    assert codes(code.bad, pedantic) == [code.id], "the bad example gives exactly its code"
    assert codes(code.good, pedantic) == [], "the good example is clean"
    assert not pedantic or codes(code.bad) == [], "a possibility is only reported when asked for"


@pytest.mark.parametrize("record", ALL, ids=lambda b: b.name)
def test_the_examples_of_a_builtin(record: Builtin) -> None:
    assert codes(record.good) == []
    assert codes(record.bad) == [record.bad_code]
    assert re.search(rf"\b{record.name}\(", record.good), "the good example calls it"
    assert re.search(rf"\b{record.name}\(", record.bad), "the bad example calls it"


@pytest.mark.parametrize("record", ALL, ids=lambda b: b.name)
def test_the_record_of_a_builtin(record: Builtin) -> None:
    signature = record.parsed
    names = [p.name for p in signature.params]
    assert len(set(names)) == len(names)
    assert record.doc.endswith(".")
    for listed in (record.keeps, record.increasing, record.facts):
        assert set(listed) <= set(names)
    for singular in (record.domain, record.smooth):
        assert singular is None or singular[0] in names
    if record.domain is not None and record.smooth is not None:
        assert record.smooth[1].within(record.domain[1]), "a derivative is finite only where there is a value"
    assert bool(record.safe) == (record.smooth is not None), "what is singular somewhere says how to stay away"
    assert not record.safe or "{x}" in record.safe
    assert bool(record.instead) == record.similarity
    assert set(record.drops) <= {spec.name for spec in FACTS}
    assert set(record.ignores) <= {spec.name for spec in FACTS}
    assert not (record.facts and record.refact), "one of the two decides"
    rules = (
        [rule for _, rule, _ in record_fields(signature.result)] if "(" in signature.result[:1] else [signature.result]
    )
    for rule in rules:
        first, *of = rule.split()
        if first in ("like", "same", "component", "components", "region", "statistic"):
            assert {name for name in of if not name.isdigit()} <= set(names)
    if record.kernel:
        module, _, function = record.kernel.partition(":")
        path = ROOT / "compiler" / "kernels" / f"{module}.py"
        assert path.is_file()
        found = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
        kernel = next((n for n in found if n.name == function), None)
        assert kernel is not None, f"{path.name} has no `def {function}`"
        takes = {a.arg for a in (*kernel.args.args, *kernel.args.kwonlyargs)}
        fields = {need.partition(".")[2] for need in record.needs if need.startswith("state.")}
        if kernel.args.vararg is None:
            expected = {*names} - {"state"} | fields if fields else {*names}
            assert expected <= takes, "arguments are passed by name"
        for_others = {"network", "one_image", "holes"}
        assert {need for need in record.needs if "." not in need} - for_others <= takes


HOST_ARGUMENTS = {"host", "whole", "flag", "mode", "point", "string"}
"""Kinds of arguments that are never tensors."""


def test_what_takes_tensors_has_a_kernel() -> None:
    """A builtin of tensors has a kernel, or it is a network that the host runs."""
    tensors = [b for b in ALL if any(p.kind not in HOST_ARGUMENTS for p in b.parsed.params) or b.host is None]
    assert {b.name for b in tensors if not b.kernel} == {b.name for b in ALL if "network" in b.needs} == {"lpips"}
    assert all(b.host is not None for b in ALL if b not in tensors)


@pytest.mark.parametrize("record", [b for b in ALL if b.host is not None], ids=lambda b: b.name)
def test_the_host_function_takes_the_arguments_by_name(record: Builtin) -> None:
    assert record.host is not None
    params = record.parsed.params
    if record.name in ("min", "max"):
        assert record.host(2.0, 1.0, 3.0) == {"min": 1.0, "max": 3.0}[record.name]
        return
    takes = inspect.signature(record.host).parameters
    assert {p.name for p in params} <= {n for n, p in takes.items() if p.kind is not p.POSITIONAL_ONLY}
    required = {n for n, p in takes.items() if p.default is inspect.Parameter.empty}
    assert required <= {p.name for p in params if p.default != "none"}


def test_builtins_are_listed_once() -> None:
    assert len(table()) == len(ALL)
    both = set(table()) & set(prelude()[1])
    assert both == set(), "a prelude definition hides a primitive"


@pytest.mark.parametrize(
    "text",
    ["", "()", "(x: value)", "(x: nonsense) -> number", "x: value -> number"],
)
def test_a_malformed_signature_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"signature"):
        parse_signature(text)


def test_the_notation_of_signatures() -> None:
    s = parse_signature(
        '(a: visual = rendered, *p: point; m: {"x", "y"} = "x", k: host > 0 = 1.5) -> number in [-1, 2)'
    )
    a, p, m, k = s.params
    assert (a.name, a.kind, a.default, a.keyword_only, a.variadic) == ("a", "visual", "rendered", False, False)
    assert (p.name, p.variadic, p.keyword_only) == ("p", True, False)
    assert (m.kind, m.choices, m.default, m.keyword_only) == ("mode", ("x", "y"), '"x"', True)
    assert k.range is not None
    assert 0.0 not in k.range
    assert 0.001 in k.range
    assert k.default == "1.5"
    assert s.result == "number"
    assert (s.range.lo, s.range.hi, s.range.lo_open, s.range.hi_open) == (-1, 2, False, True)


# The comments above the definitions of the prelude


def _comments() -> dict[str, list[str]]:
    """Comment lines right above each ``def``, by its name."""
    found: dict[str, list[str]] = {}
    block: list[str] = []
    for line in PRELUDE_PATH.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            block.append(line.removeprefix("#").strip())
        else:
            match = re.match(r"def (\w+)\(", line)
            if match:
                found[match[1]] = block
            block = []
    return found


def test_every_definition_of_the_prelude_is_described() -> None:
    assert set(_comments()) == set(prelude()[1])


@pytest.mark.parametrize("name", sorted(prelude()[1]))
def test_the_comment_of_a_prelude_definition(name: str) -> None:
    lines = _comments()[name]
    good = [line.removeprefix("good:").strip() for line in lines if line.startswith("good:")]
    bad = [re.match(r"bad ([A-Z]{3}\d{3}): (.*)", line) for line in lines if line.startswith("bad")]
    assert lines, f"`{name}` has no comment"
    assert lines[0][:1].isupper() or lines[0][:1].isdigit() or lines[0].startswith("("), "it begins with what it is"
    assert good, "a right example is missing"
    assert bad, "a wrong example is missing"
    for text in good:
        assert codes(text) == []
        assert re.search(rf"\b{name}\(", text)
    for match in bad:
        assert match is not None, "a wrong example is written `bad CODE: program`"
        assert codes(match[2]) == [match[1]]


# Codes in the source and records


def _used() -> dict[str, str]:
    used: dict[str, str] = {}
    for folder in ("dsl", "compiler", "runtime", "cli", "grammar"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "codes" in path.parts or path.relative_to(ROOT).parts[:2] == ("dsl", "builtins"):
                text = path.read_text(encoding="utf-8") if "builtins" in path.parts else ""
                text = "\n".join(line for line in text.splitlines() if "bad_code=" not in line)
            else:
                text = path.read_text(encoding="utf-8")
            for code in re.findall(r'"([A-Z]{3}\d{3})"', text):
                used.setdefault(code, str(path.relative_to(ROOT)))
    return used


def test_every_code_in_the_source_has_a_record() -> None:
    missing = {code: path for code, path in _used().items() if code not in all_codes()}
    assert missing == {}


def test_every_record_is_used_in_the_source() -> None:
    assert sorted(set(all_codes()) - set(_used())) == []
