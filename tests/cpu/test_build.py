"""`splatdsl build`: the file runs without this package, and gives the program's numbers bit for bit."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.cli.main import main
from splatdsl.compiler.standalone import build, class_name, is_ours
from splatdsl.compiler.standalone_host import HostText
from splatdsl.compiler.standalone_sources import Sources
from splatdsl.dsl.api import analyse
from splatdsl.dsl.builtins import ALL
from splatdsl.dsl.diagnostics import LossError
from splatdsl.dsl.source import Source

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = ROOT / "tests" / "zoo" / "references"
BUFFERS = ("alpha", "depth", "depth.median", "depth.inverse", "depth.accumulated", "normals", "normals_from_depth")
BUFFERS += ("distortion", "visible", "radii", "background", "camera", "rendered", "target", "mask", "state")

# Between them: optional inputs, second renders, functions of the host, memories, groups, chance, sizes, a background.
SHOWN = ("2dgs", "3dgs-main", "cor-gs", "lichtfeld", "pgsr", "splatam", "splatfacto-w", "spotlesssplats")


def module(text: str, name: str = "written") -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made  # where `NamedTuple` looks
    exec(compile(text, f"<{name}>", "exec", dont_inherit=True), made.__dict__)
    return made


def written(text: str, **params: Any) -> Any:
    """An object of the class that a program becomes."""
    program, found = analyse(Source(text, "test.loss"), params)
    assert program is not None, found
    return module(build(program, "Written")).Written()


def reference(name: str) -> ModuleType:
    """What a program of the zoo is compared with: here its inputs, and steps around every boundary."""
    spec = importlib.util.spec_from_file_location("build_" + re.sub(r"\W", "_", name), REFERENCES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(REFERENCES))
    try:
        spec.loader.exec_module(made)
    finally:
        sys.path.remove(str(REFERENCES))
    return made


def mapped(values: Any, change: Any) -> Any:
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, dict):
        return {k: mapped(v, change) for k, v in values.items()}
    return type(values)(mapped(v, change) for v in values) if isinstance(values, (list, tuple)) else values


def arguments(loss: Any, cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of the class: single buffers in place of a payload."""
    complete = {**dict.fromkeys(("rendered", "target", "mask", "state", "render")), **given}
    complete = loss.parts.complete(complete, given.get("item"))
    found = {}
    for name in list(inspect.signature(cls.__call__).parameters)[1:]:
        real = next((b for b in BUFFERS if b.replace(".", "_") == name), name)
        plain = real in loss.program.inputs or real in BUFFERS[-6:]
        value = complete.get(real) if plain or real not in BUFFERS else loss.parts.binder.lookup.find(real, complete)
        if value is not None:
            found[name] = value
    return found


def leaves(values: Any, names: tuple[str, ...]) -> tuple[Any, dict[str, Tensor]]:
    copy, found = mapped(values, lambda t: t.detach().clone()), {}
    for name in names:
        at = copy
        for part in name.split("."):
            at = at.get(part) if isinstance(at, dict) else at[int(part)] if at is not None else None
        if at is not None:
            found[name] = at.requires_grad_()
    return copy, found


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_gives_the_numbers_of_the_program_bit_for_bit(name: str) -> None:
    made = reference(name)
    externs = getattr(made, "EXTERNS", None) or {}
    params = getattr(made, "PARAMS", {})
    path = str(ROOT / "examples" / "zoo" / f"{name}.loss")
    first = splatdsl.load(path, params=params, backend="eager", register=externs or None)
    cls = module(build(first.program, "Written")).Written
    cases = [(False, torch.float64), (False, torch.float32)]
    cases += [(True, torch.float64)] if getattr(made, "MASKED", True) else []
    seen: set[str] = set()
    for masked, dtype in cases:

        def cast(t: Tensor, dtype: torch.dtype = dtype) -> Tensor:
            return t.to(dtype) if t.is_floating_point() else t

        functions = {n: lambda *a, f=f, cast=cast: mapped(f(*a), cast) for n, f in externs.items()}
        loss = splatdsl.load(path, params=params, backend="eager", register=functions or None)
        file = cls(register=functions) if functions else cls()
        given = mapped(made.inputs(torch.Generator().manual_seed(zlib.crc32(name.encode())), masked), cast)
        for step in made.STEPS:
            ours, moved = leaves(given, made.GRADIENTS)
            theirs, also = leaves(given, made.GRADIENTS)
            total = loss(**ours, step=step, max_steps=made.MAX_STEPS)
            again = file(**arguments(loss, cls, theirs), step=step, max_steps=made.MAX_STEPS)
            where = f"step {step}, {dtype}, {'masked' if masked else 'unmasked'}"
            assert torch.equal(total, again), where
            assert list(loss.terms) == list(file.terms), where
            seen |= set(file.terms)
            for term, value in loss.terms.items():
                assert torch.equal(value, file.terms[term]), f"{term} at {where}"
            expected = torch.autograd.grad(total, list(moved.values()), allow_unused=True)
            got = torch.autograd.grad(again, list(also.values()), allow_unused=True)
            for leaf, a, b in zip(moved, expected, got):
                assert (a is None or not a.any()) if b is None else a is not None or not b.any(), f"{leaf} at {where}"
                if a is not None and b is not None:  # terms are added up in another order
                    torch.testing.assert_close(b, a, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=1e-7)
    assert seen == set(cls.TERMS)


QUICK = """param ssim_weight = 0.2 in [0, 1]
param reg_weight = 0.002 >= 0
param reg_steps: steps = 200
term photometric = mix(l1(masked), ssim_loss(masked), ssim_weight)
term regulariser = ramp(step, reg_steps) * reg_weight * reg(state)
"""


def images(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    g = torch.Generator().manual_seed(7)
    rendered, target = (torch.rand(1, 20, 24, 3, generator=g, dtype=dtype) for _ in range(2))
    state = {n: torch.rand(9, k, generator=g, dtype=dtype) for n, k in (("scales", 3), ("opacities", 1))}
    return {"rendered": rendered, "target": target, "mask": (rendered[..., 0] > 0.3).to(dtype), "state": state}


# No splatdsl in the new process: an isolated interpreter has no current folder, and an import of it fails.
ALONE = """
import importlib.util, sys
class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "splatdsl":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nobody())
try:
    import splatdsl
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("splatdsl is there")
import torch
spec = importlib.util.spec_from_file_location("loss", sys.argv[1])
loss = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loss)
given = torch.load(sys.argv[2])
leaves = [given["rendered"].requires_grad_(), given["state"]["scales"].requires_grad_()]
quick = loss.Quick(ssim_weight=0.3)
total = quick(**given, step=50)
total.backward()
assert not [name for name in sys.modules if name.partition(".")[0] == "splatdsl"]
torch.save([total.detach(), quick.terms, [leaf.grad for leaf in leaves]], sys.argv[3])
"""


def test_the_file_runs_where_this_package_is_not(tmp_path: Path, capsys) -> None:
    (tmp_path / "quick.loss").write_text(QUICK, encoding="utf-8")
    assert main(["build", str(tmp_path / "quick.loss"), "-o", str(tmp_path / "loss.py")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'loss.py'}: class Quick, 2 terms\n"
    torch.save(images(), tmp_path / "given.pt")
    paths = [str(tmp_path / name) for name in ("loss.py", "given.pt", "made.pt")]
    command = [sys.executable, "-I", "-W", "error::SyntaxWarning", "-c", ALONE, *paths]
    alone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    total, terms, gradients = torch.load(tmp_path / "made.pt")
    loss = splatdsl.compile(QUICK, params={"ssim_weight": 0.3}, backend="eager")
    given = images()
    moved = [given["rendered"].requires_grad_(), given["state"]["scales"].requires_grad_()]
    expected = loss(**given, step=50)
    expected.backward()
    assert torch.equal(total, expected.detach())
    assert terms.keys() == loss.terms.keys()
    assert all(torch.equal(terms[name], value) for name, value in loss.terms.items())
    assert all(torch.equal(got, leaf.grad) for got, leaf in zip(gradients, moved))

    for tool in (["format", "--check"], ["check"]):  # in their default settings
        command = [sys.executable, "-m", "ruff", *tool, "--isolated", paths[0]]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout


def test_a_file_of_ones_own_is_not_replaced(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick.loss").write_text(QUICK, encoding="utf-8")
    write = ["build", "quick.loss", "-o", "loss.py"]
    assert main([*write, "--check"]) == 1
    assert main(write) == 0
    assert main([*write, "--check"]) == 0
    before = Path("loss.py").read_text(encoding="utf-8")
    assert is_ours(before)
    assert main(["build", "quick.loss"]) == 0
    assert capsys.readouterr().out.endswith(before)
    assert main([*write, "--param", "reg_weight=0.5", "--name", "Other"]) == 0, "it was as it had been written"
    changed = Path("loss.py").read_text(encoding="utf-8")
    assert "reg_weight: float = 0.5" in changed
    assert "class Other:" in changed
    Path("loss.py").write_text(changed.replace("0.5", "0.6"), encoding="utf-8")
    assert main(write) == 2
    assert "was changed since it was written; --force replaces it" in capsys.readouterr().err
    Path("mine.py").write_text("pass\n", encoding="utf-8")
    assert main(["build", "quick.loss", "-o", "mine.py"]) == 2
    assert Path("mine.py").read_text(encoding="utf-8") == "pass\n"
    assert main([*write, "--force"]) == 0
    assert Path("loss.py").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("changed", [{}, {"ssim_weight": 0.0}, {"reg_weight": 0}, {"ssim_weight": 1, "reg_steps": 0}])
def test_parameters_are_attributes_and_zero_is_what_it_is_in_the_program(changed: dict[str, float]) -> None:
    file, loss = written(QUICK), splatdsl.compile(QUICK, backend="eager")
    for name, value in changed.items():
        setattr(file, name, value)
        loss.params[name] = value
    for step in (0, 1, 199, 200):
        assert torch.equal(file(**images(), step=step), loss(**images(), step=step))
        assert file.terms.keys() == loss.terms.keys()
        assert file.weights(step) == loss.weights(step)
        assert file.requires(step) == loss.requires(step)


def test_mistakes_of_a_call_are_named() -> None:
    file, given = written(QUICK), images()
    with pytest.raises(ValueError, match="this loss reads `target`, but the call gave none"):
        file(given["rendered"], state=given["state"])
    with pytest.raises(ValueError, match=r"`rendered` must have shape \[B, H, W, 3\], but has \[1, 3, 20, 24\]"):
        file(**{**given, "rendered": given["rendered"].permute(0, 3, 1, 2)})
    with pytest.raises(ValueError, match="`rendered` and `mask` differ in size"):
        file(**{**given, "mask": given["mask"][:, 1:]})
    with pytest.raises(TypeError, match=r"`target` must be floating point in 0\.\.1, but is torch.uint8"):
        file(**{**given, "target": (given["target"] * 255).to(torch.uint8)})
    with pytest.raises(ValueError, match="`step` must be a whole number of at least 0, but is -1"):
        file(**given, step=-1)
    with pytest.raises(ValueError, match=r"`ssim_weight` must be in \[0, 1\], but is 1\.5"):
        file.ssim_weight = 1.5
    with pytest.raises(ValueError, match=r"`reg_steps` must be in .* and whole, but is 1\.5"):
        file.reg_steps = 1.5
    single = {n: v[0] for n, v in given.items() if n != "state"}
    assert torch.equal(file(**single, state=given["state"]), file(**given)), "one image needs no batch"


def test_state_goes_into_a_checkpoint_and_back() -> None:
    text = "memory mean_error = 1 then 0.9 * mean_error + 0.1 * l1()\nterm colour = l2() / max(mean_error, 1e-3)\n"
    file, loss, given = written(text), splatdsl.compile(text, backend="eager"), images()
    del given["mask"], given["state"]
    for step in range(3):
        assert torch.equal(file(**given, step=step), loss(**given, step=step))
    other = written(text)
    other.load_state_dict(file.state_dict())
    for step in (3, 3, 4):  # a second call at a step changes nothing
        expected = loss(**given, step=step)
        assert torch.equal(file(**given, step=step), expected)
        assert torch.equal(other(**given, step=step), expected)


def test_what_cannot_be_written_is_named() -> None:
    program, _ = analyse(Source("input grids: list of [Z Y X 12]\nterm a = mean(tv(g) for g in grids)\n", "a.loss"))
    assert program is not None
    with pytest.raises(LossError, match=r"BND015.*how many items the list `grids` has must be known"):
        build(program, "A")
    two = module(build(program, "A", {"grids": 2})).A()
    grids = [torch.rand(4, 5, 6, 12, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    loss = splatdsl.compile(program.source.text, backend="eager")
    assert torch.equal(two(grids=grids[:2]), loss(grids=grids[:2]))
    with pytest.raises(ValueError, match="`grids` must have 2 items, as this file was written for, not 3"):
        two(grids=grids)
    text = "extern depth_of(image) -> depth\nterm a = mean(abs(depth - depth_of(target)))\n"
    program, _ = analyse(Source(text, "a.loss"))
    assert program is not None
    made = module(build(program, "A"))
    with pytest.raises(ValueError, match="no function is given for `depth_of`"):
        made.A()


def test_names_of_a_program_do_not_hide_what_the_file_needs() -> None:
    text = """param terms = 2 > 0
param lambda = 0.5 in [0, 1]
input number: image
let mean = max(1, progress)
let pixels = abs(rendered - number)
term weights = lambda * mean * mean(pixels, masked)
term now_here = terms * l2(rendered, number, masked)
"""
    file, loss = written(text), splatdsl.compile(text, backend="eager")
    given = {n: v for n, v in images().items() if n in ("rendered", "mask")}
    given["number"] = images()["target"]
    again = {("number_" if n == "number" else n): v for n, v in given.items()}
    assert torch.equal(file(**again, step=3), loss(**given, step=3))
    file.terms_, loss.params["terms"] = 5, 5
    assert torch.equal(file(**again, step=3), loss(**given, step=3))


def test_a_class_is_named_after_its_file() -> None:
    names = {"quick": "Quick", "gsplat-2dgs": "Gsplat2dgs", "2dgs": "Loss2dgs", "my_loss": "MyLoss"}
    assert {stem: class_name(stem) for stem in names} == names


def test_every_function_of_the_language_can_be_written() -> None:
    sources = Sources()
    marks = [sources.kernel(r.kernel) for r in ALL if r.kernel] + [sources.kernel(r.exists) for r in ALL if r.exists]
    constants, functions = sources.definitions()
    head = ["from __future__ import annotations", *sorted(sources.imports())]
    *lines, last = sources.named("\n".join([*head, *constants, *functions, " ".join(marks)])).split("\n")
    text = "\n".join(lines)
    assert "splatdsl" not in text
    made = module(text, "every_kernel")
    assert len(last.split()) > 80
    assert all(callable(getattr(made, name)) for name in last.split())
    lambdas = {r.name for r in ALL if r.host is not None and r.host.__name__ == "<lambda>"}
    assert lambdas <= HostText.WRITTEN
