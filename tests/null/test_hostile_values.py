"""Programs whose values are shared without end, or are very many: nobody goes through them twice.

Small texts can stand for values of any size: a name that is read twice doubles what a careless reader does. Each of
these is far from what anyone writes, and must still end soon, in little memory and without a traceback.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEGABYTES = 10.0, 300  # the aim is 2 seconds of processor time; a busy machine makes them longer

# `getrusage` knows the largest of all children, so that each command needs a new process above it.
LAUNCH = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "splatdsl", *sys.argv[1:]], stdin=subprocess.DEVNULL,
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
out = done.stdout.decode("utf-8", "replace")
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, out[:100_000], out[-3000:]]))
"""

Run = Callable[..., str]


@pytest.fixture
def run(run_python, tmp_path: Path) -> Run:
    """Runs a command line in the test's folder, and gives what it printed: it may refuse, but not fail."""

    def go(*arguments: str) -> str:
        done = run_python("-c", LAUNCH, *arguments, cwd=tmp_path)
        status, seconds, megabytes, out, end = json.loads(done.stdout)
        assert "Traceback" not in out + end, end
        assert status in (0, 1, 2), (status, end)
        assert seconds < SECONDS
        assert megabytes < MEGABYTES
        return str(out)

    return go


def lines(*statements: str) -> str:
    return "\n".join(statements) + "\n"


def many(count: int, statement: str) -> str:
    """Statements with a number in the place of ``@``."""
    return lines(*(statement.replace("@", str(i)) for i in range(count)))


def chain(first: str, link: str, last: str, length: int = 1_500) -> str:
    """Values that each read the one before; ``@`` stands for it, and for the last one."""
    lets = [f"let a{i} = {link.replace('@', f'a{i - 1}')}" for i in range(1, length)]
    return lines(f"let a0 = {first}", *lets, last.replace("@", f"a{length - 1}"))


SHARED = {
    "squares": chain("alpha", "@ * @", "term t = mean(@)"),
    "sums": chain("l1()", "0.9 * (@ + @)", "term t = @"),
    "quotients": chain("alpha", "@ / (@ - 0.5)", "term t = mean(@)"),
    "powers": chain("step", "@ ^ @", "term t = l1() * @ when @ > 2"),
    "steps": chain("step", "@ * @ - @", "term t = l1() * @ when @ > 0"),
    "conditions": chain("step > 3", "@ and @ or not @", "term t = l1() when @"),
    "gates": chain("every(step, 3)", "@ and @", "term t = l1() when @"),
    "weights": chain("ramp(step, 100)", "@ * @", "term t = l1() * @\nterm u = mean(alpha) * @"),
    "choices": chain("alpha", "where(@ > 0.5, @, 1 / @)", "term t = mean(@)"),
    "choices of the host": chain("step", "(@ if step > 5 else @ + @)", "term t = l1() * @"),
    "modes": 'param m = "a" in {"a", "b"}\n'
    + chain("m", '(@ if @ == "a" else m)', 'term t = l1() * (1 if @ == "a" else 2)'),
    "regions": chain("masked", "not @ and @ or alpha > 0.5", "term t = l1(@)"),
    "entropies": chain("alpha", "-(@ * log(@) + (1 - @) * log(1 - @))", "term t = mean(@)", 900),
    "lengths": chain("normals", "@ / norm(@)", "term t = mean(@)"),
    "means": chain("alpha", "mean(@ * masked) / mean(masked) * @", "term t = mean(@)", 900),
    "similarities": chain("ssim(masked)", "@ * @ - @", "term t = @"),
    "optional values": "input m: map?\n" + chain("alpha", "(m * @ if has(m) else @ * @)", "term t = mean(@)"),
    "lists": chain("l1()", "sum(l1(p) * @ for p in random_boxes(size=8, count=4))", "term t = @", 900),
    "functions of the host": "extern f(image) -> image\n" + chain("rendered", "f(@) * f(@)", "term t = mean(@)"),
    "memories": chain("l1()", "@ + mean(@ * alpha)", "memory m = 0 then @ when @ > 0\nterm t = m * l1()", 900),
    "a deep product": chain("alpha", "@" + " * alpha" * 2_300, "term t = mean(@)", 5),
    "a deep region": chain("masked", "@" + " and masked" * 2_300, "term t = l1(@)", 5),
    "a ring": lines(*(f"let b{i} = b{(i + 1) % 400}" for i in range(400)), "term t = b0"),
}

NUMEROUS = {
    "terms that share a chain": chain("l1()", "@ + 1", "let z = @", 900) + many(900, "term t@ = z"),
    "terms that take over": many(1_400, "term t@ = l1() when between(step, @0, @9)"),
    "hazards": many(900, "term t@ = mean(log(alpha) / depth)"),
    "unread parameters": many(2_900, "param p@ = 1") + "term t = l1()\n",
    "unknown names that are close": many(900, "let abcdefgh@ = 1") + many(900, "term t@ = abcdefgi@"),
    "two long names": f"let {'a' * 100_000}b = 1\nterm t = l1() * {'a' * 100_000}c\n",
    "parameters of a definition": f"def f({', '.join(f'a{i}=1' for i in range(8_000))}) = a0\nterm t = l1() * f()\n",
    "arguments": f"term t = mean(max({','.join(['alpha'] * 20_000)}))\n",
    "keywords": f"term t = l1({','.join(f'k{i}=1' for i in range(15_000))})\n",
    "results": f"extern f(image) -> ({', '.join(f'a{i}: map' for i in range(9_000))})\nterm t = mean(f().a7)\n",
    "modes": 'param m = "a" in {"a", ' + ", ".join(f'"a{i}"' for i in range(15_000)) + "}\nterm t = l1()\n",
    "optional inputs": many(900, "input p@: map?")
    + "let q0 = has(p0)\n"
    + lines(*(f"let q{i} = q{i - 1} and has(p{i})" for i in range(1, 900)))
    + many(900, "term t@ = mean(p@) when q@"),
    "weights of one term": many(1_400, "param w@ = 1") + f"term t = {' + '.join(f'w{i}*l1()' for i in range(1_300))}\n",
    "points": f"term t = l1() when piecewise(step, {', '.join(f'({i}, {i % 2})' for i in range(9_000))}) > 0.5\n",
    "gates": f"term t = l1() when {' or '.join(f'every(step, {i})' for i in range(2, 1_500))}\n",
    "single steps": f"term t = l1() when {' or '.join(f'step == {3 * i}' for i in range(1_300))}\n",
    "waves": many(1_400, "term t@ = l1() when cos(step * @) * step > 1"),
    "steps that are not 0": many(2_000, "term t@ = l1() when not step == @") + "term b = (\n",
    "similarities": f"def g(x) = {' + '.join(['ssim(x, target)'] * 3_000)}\n" + many(300, "term t@ = g(rendered)"),
    "unknown suppressions": many(6_000, "# splat: ignore[no-such-code@]") + "term t = l1()\n",
    "suppressions in one comment": f"term t = l1()  # splat: ignore[{','.join(['MSK001'] * 30_000)}]\n",
    "open suppressions": "# splat: ignore[" * 15_000 + "\nterm t = l1()\n",
    "blanket suppressions": "# splat: ignore\n" * 12_000 + "term t = l1()\n",
    "blocks": "# splat: disable[USE001]\n# splat: enable[USE001]\n" * 4_500 + "term t = l1()\n",
    "extreme numbers": lines(
        "param p = 9^9^9",
        "term b = l1() * step^step^step when step^step > 9^9",
        "term c = l1() * (inf - inf) * (0/0) * p",
        "term d = l1() when every(step, inf)",
        "term e = l1() when every(step, 1e-300)",
        "term f = l1() * linear(step, inf, -inf, over=inf)",
        "term g = ssim_loss(window=1e300)",
        "term h = mean(blur(alpha, 1e300))",
        "term i = sum(l1(p) for p in random_boxes(size=1e300, count=1e300))",
        "term j = tv(alpha, power=2^9^9)",
        "term k = l1() * exp(step * step) * cos(1e308 * step) when floor(1e308 * step) == p",
    ),
}

PROGRAMS = {**{f"shared {name}": text for name, text in SHARED.items()}, **NUMEROUS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_checked(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.loss").write_text(PROGRAMS[name])
    out = run("check", "--pedantic", "--steps", "30000", "--no-cache", "a.loss")
    assert "no findings" in out or "a.loss:" in out


@pytest.mark.parametrize(
    "command", ["explain", "explain --latex", "plot --terminal", "dump --stage typed", "fmt --check"]
)
@pytest.mark.parametrize("name", ["sums", "steps", "conditions", "weights"])
def test_other_commands(name: str, command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.loss").write_text(SHARED[name])
    run(*command.split(), "a.loss")


@pytest.mark.parametrize(
    "name", ["shared similarities", "shared steps", "shared choices", "unread parameters", "blocks"]
)
def test_in_an_editor(name: str) -> None:
    pytest.importorskip("lsprotocol")
    from splatdsl.lsp import completion, hover, outline
    from splatdsl.lsp.document import Document

    text = PROGRAMS[name]
    document = Document("file:///a.loss", "/a.loss", text)
    assert document.findings is not None
    assert document.failure is None
    for offset in (0, len(text) // 2, len(text)):
        hover.hover(document, offset)
        completion.complete(document, offset)
    assert outline.outline(document)


def test_what_is_refused_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.loss").write_text(many(3_100, "param p@ = 1") + "term t = l1()\n")
    assert "TYP008" in (out := run("check", "a.loss"))
    assert "more than 3,000 statements" in out
    (tmp_path / "a.loss").write_text(NUMEROUS["terms that share a chain"])
    assert "together read more than" in run("check", "a.loss")
    (tmp_path / "a.loss").write_text(many(500, "term t@ = q@"))
    assert "is not checked any further" in (
        out := run("check", "--format", "concise", "a.loss") + run("check", "a.loss")
    )
    assert out.count(": error[NAM001") == 100


# No code of a program is ever run

RUNS = {"eval", "exec", "compile", "__import__", "import_module", "literal_eval", "system", "popen", "run_path"}
RUNS |= {
    "run_module",
    "load_module",
    "exec_module",
    "unsafe_load",
    "full_load",
    "spec_from_file_location",
    "entry_points",
}
UNSAFE = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "runpy",
    "code",
    "codeop",
    "ctypes",
    "subprocess",
}
FIXED = {"cli/app.py", "cli/lsp.py", "cli/formats/__init__.py"}
"""Files that import modules of a fixed list by name: commands, what `lsp` needs, report formats."""


def _dangers(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            of = getattr(getattr(node.func, "value", None), "id", "")
            if (name in RUNS and of != "re") or (name in ("load", "load_all") and of == "yaml"):
                found.append(f"{name}()")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNSAFE]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE:
            found.append(str(node.module))
    return found


def test_nothing_of_a_program_can_reach_code_that_runs_it(tmp_path: Path) -> None:
    files = [p for part in ("dsl", "cli", "lsp", "grammar") for p in sorted((ROOT / part).rglob("*.py"))]
    assert len(files) > 100
    found = {p.relative_to(ROOT).as_posix(): dangers for p in files if (dangers := _dangers(p))}
    assert {name for name, dangers in found.items() if dangers not in (["import_module()"], ["__import__()"])} == set()
    assert found.keys() <= FIXED
    bad = tmp_path / "bad.py"  # the search itself finds what it looks for
    bad.write_text("import pickle\nfrom subprocess import run\neval(x)\nyaml.load(x)\na.exec(x)\nre.compile(x)\n")
    assert _dangers(bad) == ["pickle", "subprocess", "eval()", "load()", "exec()"]
