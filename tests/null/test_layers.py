"""Who may import whom, and what the linter may load."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("grammar", "dsl", "compiler", "runtime", "lsp", "cli")
APART = {"lsp": ("compiler", "runtime", "torch")}  # what a room must not import although it stands above it
MAX_LINES = 400
FORBIDDEN = ("torch", "numpy", "gsplat", "click", "rich", "yaml", "argparse", "importlib.metadata", "dataclasses")


def _sources() -> list[Path]:
    return sorted(p for layer in LAYERS for p in (ROOT / layer).rglob("*.py"))


def _imports(path: Path, top_level_only: bool = False) -> list[tuple[int, str]]:
    """Line and absolute name (without the package's own) of each import; the repository root is the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = list(path.relative_to(ROOT).parent.parts)
    found = []
    for node in _outside_functions(tree) if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.level == 0 else package[: len(package) - node.level + 1]
            name = [*base, *([node.module] if node.module else [])]
            found += [(node.lineno, ".".join([*name, alias.name])) for alias in node.names]
    return found


def _outside_functions(tree: ast.AST):
    """Nodes that run at import; the bodies of ``if TYPE_CHECKING`` do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _outside_functions(node)


def _violations(path: Path) -> list[str]:
    layer = path.relative_to(ROOT).parts[0]
    above = LAYERS[LAYERS.index(layer) + 1 :]
    found = []
    for line, name in _imports(path):
        first = name.removeprefix("splatdsl.").split(".")[0]
        if first in (*above, *APART.get(layer, ())) or (layer in ("grammar", "dsl") and first == "torch"):
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
        if name.split(".")[0] == "splatdsl":
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}; imports inside the package are relative")
    return found


def test_imports_follow_the_layers() -> None:
    assert [problem for path in _sources() for problem in _violations(path)] == []


def test_the_command_line_does_not_import_torch_at_its_top() -> None:
    eager = ("torch", "compiler", "runtime")
    problems = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in (ROOT / "cli").glob("*.py")
        for line, name in _imports(path, top_level_only=True)
        if name.split(".")[0] in eager
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("dsl", "import torch.nn"),
        ("dsl", "from torch import Tensor"),
        ("dsl", "def f():\n    from ..compiler import api"),
        ("dsl", "from .. import cli"),
        ("compiler", "from ..runtime.data import base"),
        ("runtime", "from ..cli.main import main"),
        ("dsl", "from ..lsp import positions"),
        ("lsp", "from ..runtime import extras"),
        ("lsp", "import torch"),
        ("cli", "from splatdsl.dsl import ast"),
    ],
)
def test_the_scan_finds_a_wrong_import(layer: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / layer / "module.py"
    path.parent.mkdir()
    path.write_text(text)
    assert len(_violations(path)) == 1


def test_files_stay_short() -> None:
    long = {
        str(p.relative_to(ROOT)): n for p in _sources() if (n := len(p.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


# Run in a fresh process: what the linter loads beside what the interpreter and an editable install load anyway.
_PROBE = """
import sys
before = set(sys.modules)
from splatdsl.cli.main import main
status = main(["check", {path!r}])
{extra}
print("loaded:", *sorted(set(sys.modules) - before))
sys.exit(status)
"""


def _loaded(run_python, path: Path, extra: str = "") -> tuple[int, set[str]]:
    done = run_python("-c", _PROBE.format(path=str(path), extra=extra))
    assert "loaded:" in done.stdout, done.stderr
    return done.returncode, set(done.stdout.split("loaded:")[1].split())


@pytest.mark.parametrize(("text", "status"), [("l1(masked)\n", 0), ("l1(maskd)\n", 1)])
def test_check_loads_nothing_heavy(text: str, status: int, write, run_python) -> None:
    got, loaded = _loaded(run_python, write("one.loss", text))
    assert got == status
    assert loaded.isdisjoint(FORBIDDEN), f"`check` loads {sorted(loaded.intersection(FORBIDDEN))}"


def test_the_probe_sees_a_heavy_import(write, run_python) -> None:
    """The test above can fail: a process that does import such a module is found out."""
    heavy = "click"
    assert heavy in FORBIDDEN
    _, loaded = _loaded(run_python, write("one.loss", "l1(masked)\n"), extra=f"import {heavy}")
    assert not loaded.isdisjoint(FORBIDDEN)


@pytest.mark.parametrize("name", ["run.yaml", "folder"])
def test_checking_a_config_never_loads_torch(name: str, write, run_cli, run_python, tmp_path: Path) -> None:
    write("run.yaml", "loss: l1(masked)\ndata: {kind: synthetic}\n")
    (tmp_path / "folder").mkdir()
    write("folder/a.loss", "l1(masked)\n")
    status, loaded = _loaded(run_python, tmp_path / name)
    assert status == 0
    assert loaded.isdisjoint({"torch", "numpy", "gsplat"})
    assert "click" in loaded  # this path does go through click, unlike a plain .loss file


def test_torch_is_seen_when_it_is_imported(write, run_python) -> None:
    pytest.importorskip("torch")
    _, loaded = _loaded(run_python, write("one.loss", "l1(masked)\n"), extra="import torch")
    assert "torch" in loaded
