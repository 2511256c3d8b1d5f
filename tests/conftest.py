"""What all tests share: the real command line, golden files, the real scene, and the marks that need hardware."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# Before anything loads OpenMP: spinning threads would make the suite several times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files from what the program prints now"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def run_python(tmp_path_factory: pytest.TempPathFactory) -> RunCli:
    """Runs the interpreter with arguments in a fresh process, in the given folder: ``run_python("-c", text)``."""
    results = str(tmp_path_factory.mktemp("results"))  # what `check` keeps stays out of the user's own folder

    def run(
        *arguments: str, cwd: Path = ROOT, stdin: str | bytes = "", merge: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            env={**kept, "PYTHONUTF8": "1", "PYTHONPATH": "", "SPLATDSL_CACHE_DIR": results, **environment},
            timeout=120,
            check=False,
        )
        error = "" if merge else done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), error)

    return run


@pytest.fixture
def run_ranks(tmp_path: Path) -> Callable[..., list[dict[str, object]]]:
    """Runs a script as several ranks, and reads the JSON object that each prints: ``run_ranks(script, 2, "eager")``.

    The rank ``gone`` is expected to end without one.
    """

    def run(script: Path, size: int, *arguments: str, gone: int | None = None) -> list[dict[str, object]]:
        shared = {"WORLD_SIZE": str(size), "STORE": str(tmp_path / "store"), "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        ranks = [
            subprocess.Popen(
                [sys.executable, str(script), *arguments],
                env={**os.environ, **shared, "RANK": str(r)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for r in range(size)
        ]
        try:
            said = [r.communicate(timeout=240) for r in ranks]
        finally:
            for r in ranks:
                r.kill()
        found = []
        for number, (rank, (out, errors)) in enumerate(zip(ranks, said)):
            if number != gone:
                assert rank.returncode == 0, "".join(e[-2000:] for _, e in said)
                assert out.strip(), errors[-3000:]
                found.append(json.loads(out.splitlines()[-1]))
        return found

    return run


@pytest.fixture(scope="session")
def run_cli(run_python: RunCli) -> RunCli:
    """Runs the real command line in a fresh process: ``run_cli("check", "x.loss", cwd=folder)``."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "splatdsl", *arguments, **options)

    return run


@pytest.fixture(scope="session")
def sceaux() -> Path:
    """The real scene; the test is skipped where it has not been put beside the repository."""
    folder = ROOT.parent / "shared" / "data" / "sceaux"
    if not (folder / "sparse").is_dir():
        pytest.skip(f"the real scene is not at {folder}")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file below the test's own folder: ``write("losses/a.loss", text)``."""

    def make(name: str, text: str | Sequence[str]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else "\n".join(text), encoding="utf-8")
        return path

    return make
