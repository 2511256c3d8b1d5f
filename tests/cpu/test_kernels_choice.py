"""Which kernels run, what is said where they cannot, and what a slow compilation says."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import splatdsl
from splatdsl.compiler import backend, events
from splatdsl.compiler.api import dump_stage
from splatdsl.compiler.windows import cpp
from splatdsl.compiler.windows.routes import ROUTES, choose

TEXT = "photometric(masked)"
CPU = torch.device("cpu")
needs_cpp = pytest.mark.skipif(cpp.missing() != "", reason=cpp.missing())


def images() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    made = {n: torch.rand(1, 20, 24, 3, generator=g) for n in ("rendered", "target")}
    made["rendered"].requires_grad_()
    return {**made, "mask": torch.rand(1, 20, 24, generator=g) > 0.4}


def said(error: splatdsl.LossError) -> tuple[str, str, str]:
    (diagnostic,) = error.diagnostics
    return diagnostic.code, diagnostic.message, " ".join(diagnostic.help)


# Names


@pytest.mark.parametrize(("wrong", "near"), [("nonsense", ", ".join(ROUTES)), ("tritn", "triton"), ("CPP", "cpp")])
def test_unknown_kernels(wrong: str, near: str) -> None:
    with pytest.raises(splatdsl.LossError) as found:
        splatdsl.compile(TEXT, kernels=wrong)
    code, message, help_ = said(found.value)
    assert code == "BND009"
    assert wrong in message
    assert near in help_


@pytest.mark.skipif(torch.cuda.is_available() or "TRITON_INTERPRET" in os.environ, reason="Triton runs here")
def test_triton_on_a_processor() -> None:
    loss_fn = splatdsl.compile(TEXT, backend="eager", kernels="triton")
    with pytest.raises(splatdsl.LossError) as found:
        loss_fn(**images())
    code, message, help_ = said(found.value)
    assert code == "RUN017"
    assert message.startswith("the kernels `triton` cannot run here: ")
    assert 'kernels="torch"' in help_


def test_what_is_chosen() -> None:
    assert choose("auto", "eager", CPU, torch.float32).route == "torch"
    assert choose("auto", "aot_eager", CPU, torch.float32).route == "torch"
    assert choose("auto", "inductor", CPU, torch.float32).route == ("torch" if cpp.missing() else "cpp")
    assert choose("torch", "inductor", CPU, torch.float32).route == "torch"
    assert choose("portable", "eager", CPU, torch.float64).route == "portable"


@needs_cpp
def test_the_routes_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATDSL_CACHE_DIR", str(tmp_path))
    found = {}
    for kernels in ("torch", "cpp", "portable"):
        given = images()
        total = splatdsl.compile(TEXT, backend="eager", kernels=kernels)(**given)
        found[kernels] = (total.detach(), torch.autograd.grad(total, given["rendered"])[0])
    for kernels in ("cpp", "portable"):
        torch.testing.assert_close(found[kernels], found["torch"], rtol=1e-5, atol=1e-8)


# A compiler that is missing or broken. Each in a process of its own: what a compiler can do is found out once.

SCRIPT = """
import sys, warnings, torch, splatdsl
g = torch.Generator().manual_seed(0)
x, y = (torch.rand(1, 20, 24, 3, generator=g) for _ in range(2))
def run(backend, kernels):
    r = x.clone().requires_grad_()
    total = splatdsl.compile("photometric()", backend=backend, kernels=kernels)(rendered=r, target=y)
    total.backward()
    return total.detach(), r.grad
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    try:
        made = [run(sys.argv[1], sys.argv[2]) for _ in range(2)]
    except splatdsl.LossError as error:
        print(error.diagnostics[0].code, error.diagnostics[0].message)
        raise SystemExit
print(*(str(w.message) for w in found if "the loss runs without" in str(w.message)), sep="\\n")
expected = run("eager", "torch")
for one in made:
    torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-8)
print("the same numbers")
"""


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A compiler that is there, tells its version, and fails."""
    path = tmp_path / "broken-g++"
    version = "[ \"$1\" = --version ] && echo 'g++ 13' && exit"
    path.write_text(f"#!/bin/sh\n{version}\necho 'error: out of order' >&2\nexit 1\n")
    path.chmod(0o755)
    return str(path)


@needs_cpp
def test_cpp_without_a_compiler(run_python: Any, tmp_path: Path) -> None:
    done = run_python("-c", SCRIPT, "eager", "cpp", CXX=str(tmp_path / "nowhere"), SPLATDSL_CACHE_DIR=str(tmp_path))
    assert done.stdout.startswith("RUN017 the kernels `cpp` cannot run here: ")
    assert "compiler" in done.stdout
    assert "Traceback" not in done.stderr


@needs_cpp
def test_cpp_with_a_broken_compiler(run_python: Any, tmp_path: Path, broken: str) -> None:
    done = run_python("-c", SCRIPT, "eager", "cpp", CXX=broken, SPLATDSL_CACHE_DIR=str(tmp_path))
    assert done.stdout.startswith("RUN017 the kernels `cpp` cannot run here: ")
    assert "out of order" in done.stdout


def test_auto_without_a_compiler(run_python: Any, tmp_path: Path) -> None:
    """Neither kernels nor Inductor: one warning for both calls."""
    done = run_python("-c", SCRIPT, "inductor", "auto", CXX=str(tmp_path / "nowhere"), SPLATDSL_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    warned, last = done.stdout.splitlines()
    assert warned.startswith("the loss runs without compilation: ")
    assert last == "the same numbers"


AUTO = f"""
from splatdsl.compiler.windows import routes
from splatdsl.compiler import compiled
# What the kernels do is looked at here, not what Inductor does with the same compiler.
compiled.choose = lambda kernels, backend, *rest: choose(kernels, "inductor" if kernels == "auto" else backend, *rest)
choose = routes.choose
{SCRIPT}"""


@needs_cpp
def test_auto_with_a_broken_compiler(run_python: Any, tmp_path: Path, broken: str) -> None:
    done = run_python("-c", AUTO, "eager", "auto", CXX=broken, SPLATDSL_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    warned, last = done.stdout.splitlines()
    assert warned.startswith("the loss runs without its own kernels")
    assert "out of order" in warned
    assert last == "the same numbers"


# splatdsl dump


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ("auto", 'extern "C"'),
        ("torch", "computed by the torch graph"),
        ("cpp", 'extern "C"'),
        ("triton", "triton.jit"),
    ],
)
def test_dump_shows_the_kernels(kernels: str, expected: str) -> None:
    if kernels in ("auto", "cpp") and cpp.missing():
        pytest.skip(cpp.missing())
    shown = dump_stage(f"term colour = {TEXT}\n", "a.loss", "kernels", kernels=kernels)
    assert shown.startswith("route: ")
    assert "reads " in shown
    assert "gradients of rendered" in shown
    assert expected in shown


def test_dump_on_the_command_line(run_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.loss").write_text(f"term colour = {TEXT}\n")
    done = run_cli("dump", "--stage", "kernels", "--kernels", "triton", "a.loss", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == dump_stage(f"term colour = {TEXT}\n", "a.loss", "kernels", kernels="triton")


def test_dump_of_a_program_without_kernels() -> None:
    assert "kernels: none" in dump_stage("term a = tv(depth)\n", "a.loss", "kernels")


# What is said while a compilation takes long


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 0.01)
    monkeypatch.setattr(events, "_subscribers", [])
    monkeypatch.delenv("SPLATDSL_PROGRESS", raising=False)


def slow(seconds: float = 0.3) -> None:
    with events.compiling("the loss graph: colour, 24x20 pixels"):
        time.sleep(seconds)


def test_a_slow_compilation_says_so(impatient: None, capsys: pytest.CaptureFixture[str]) -> None:
    slow()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "splatdsl: compiling the loss graph: colour, 24x20 pixels ..."
    assert last.startswith("splatdsl: compiled the loss graph in ")


def test_a_fast_one_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(events, "PATIENCE", 60.0)
    slow(0.0)
    assert capsys.readouterr().err == ""
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer) and not t.finished.is_set()]


def test_progress_can_be_turned_off(
    impatient: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPLATDSL_PROGRESS", "0")
    slow(0.1)
    assert capsys.readouterr().err == ""


def test_who_subscribes_is_told_instead(impatient: None, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[events.CompileEvent] = []
    end = events.subscribe(told.append)
    slow(0.1)
    end()
    assert capsys.readouterr().err == ""
    assert [e.kind for e in told] == ["start", "end"]
    assert told[1].seconds >= 0.1


def test_a_first_call_tells(impatient: None) -> None:
    """Of a real compilation: once for each graph."""
    told: list[events.CompileEvent] = []
    end = events.subscribe(told.append)
    try:
        loss_fn = splatdsl.compile("l1(masked)", backend="aot_eager")
        for _ in range(2):
            loss_fn(**images())
    finally:
        end()
        torch._dynamo.reset()
    assert [e.kind for e in told] == ["start", "end"]
    assert "24x20 pixels" in told[0].message


def test_a_failed_compilation_ends_too(impatient: None, capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> None:
        with events.compiling("a graph"):
            time.sleep(0.2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert capsys.readouterr().err.splitlines()[1].startswith("splatdsl: compiled a graph in ")


def test_the_compiler_is_looked_for_once() -> None:
    before = backend.missing_compiler.cache_info().misses
    backend.missing_compiler("cpu")
    backend.missing_compiler("cpu")
    assert backend.missing_compiler.cache_info().misses <= before + 1
