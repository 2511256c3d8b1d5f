"""The programs in examples/zoo against references in plain torch.

``references/NAME.py`` holds the formula of ``examples/zoo/NAME.loss``, written again without this package. At every
step of its ``STEPS``, in order and through one loss object, so that cross-step state is compared too, the program and
the reference must agree on which terms exist, on every weight and weighted value, on the total, and on the gradient of
the total with respect to every input that ``GRADIENTS`` names. All of that in float64, without compilation.

A variant of the module's ``VARIANTS`` overrides parameters (``"params"``), drops inputs (``"without"``, dotted names)
and has a mask only if it says ``"masked": True``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.dsl import zoo
from splatdsl.dsl.api import analyse
from splatdsl.dsl.check_files import read_source
from splatdsl.dsl.config import load_config
from splatdsl.dsl.objective import objective
from splatdsl.dsl.types import STEP
from splatdsl.runtime.training.setup import build_loss

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "examples" / "zoo"
REFERENCES = Path(__file__).resolve().parent / "references"

NAMES = sorted(p.stem for p in ZOO.glob("*.loss"))
PROVED = sorted(p.stem for p in REFERENCES.glob("*.py") if not p.name.startswith("_"))
BOTH = [name for name in NAMES if name in PROVED]

FIELDS = ("System", "Paper", "Code", "Steps", "Follows", "Scope")

# With a compiler behind them; the others go through the same graphs without one.
INDUCTOR = ("2dgs", "splatfacto")

# Those whose graph takes more than five seconds to make.
LARGE = ("sugar",)


# Loading


@cache
def reference(name: str) -> ModuleType:
    """The module of a reference; it finds ``_common`` beside it, and only while it is loaded."""
    path = REFERENCES / f"{name}.py"
    spec = importlib.util.spec_from_file_location("zoo_reference_" + re.sub(r"\W", "_", name), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(REFERENCES))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(REFERENCES))
    return module


def program(name: str) -> str:
    return str(ZOO / f"{name}.loss")


def cases(name: str) -> list[str]:
    """What a reference is compared under: masked, unmasked, and its variants by number."""
    module = reference(name)
    masked = ["masked"] if getattr(module, "MASKED", True) else []
    return [*masked, "unmasked", *(f"variant{i}" for i in range(len(getattr(module, "VARIANTS", ()))))]


def prepare(name: str, case: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of a case and the parameters that it overrides."""
    module = reference(name)
    variant: Mapping[str, Any] = module.VARIANTS[int(case[7:])] if case.startswith("variant") else {}
    masked = case == "masked" or bool(variant.get("masked"))
    given = module.inputs(torch.Generator().manual_seed(zlib.crc32(name.encode())), masked)
    assert masked == ("mask" in given), "`inputs` gives a mask exactly when it is asked for one"
    for path in variant.get("without", ()):
        *above, last = path.split(".")
        del _reach(given, above)[last]
    return given, {**getattr(module, "PARAMS", {}), **variant.get("params", {})}


def _reach(values: Any, path: list[str]) -> Any:
    """A value inside nested mappings and lists."""
    for part in path:
        values = values[part] if isinstance(values, Mapping) else values[int(part)]
    return values


def _copied(values: Any, tensor: Any) -> Any:
    """Nested mappings and lists, each tensor through a function."""
    if isinstance(values, Tensor):
        return tensor(values)
    if isinstance(values, Mapping):
        return {key: _copied(value, tensor) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(_copied(value, tensor) for value in values)
    return values


def with_leaves(values: dict[str, Any], names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A copy of the inputs, and those of them that carry gradient, by their dotted names; a case may lack some."""
    copy = _copied(values, lambda t: t.detach().clone())
    leaves = {}
    for name in names:
        try:
            leaf = _reach(copy, name.split("."))
        except (KeyError, IndexError):
            continue
        leaves[name] = leaf.requires_grad_()
    return copy, leaves


def host_values(loss: Any, given: dict[str, Any]) -> tuple[frozenset[str], dict[str, Any]]:
    """What `weights` is told of a call: optional inputs that are missing, and numbers that the host gives."""
    inputs = loss.program.inputs
    optional = {"mask", "target", *(name for name, info in inputs.items() if info.optional)}
    roots = [root for t in loss.program.terms for root in (t.value, t.when) if root is not None]
    optional |= {name for root in roots for e in root.walk() if e.op == "has" for name in e.value}
    missing = frozenset(name for name in optional if not _there(given, name))
    return missing, {n: given[n] for n, info in inputs.items() if info.stage <= STEP and n in given}


def _there(given: dict[str, Any], name: str) -> bool:
    try:
        return _reach(given, name.split(".")) is not None
    except (KeyError, IndexError):
        return False


def gradients(total: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of a total for every leaf, zeros where it does not depend on it."""
    if not leaves or not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(leaf) if g is None else g for (n, leaf), g in zip(leaves.items(), found)}


# Comparing


def apart(got: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    return float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-300)) if expected.numel() else 0.0


def same(got: float, expected: float) -> bool:
    return abs(got - expected) <= 1e-12 + 1e-9 * abs(expected)


@pytest.mark.parametrize(("name", "case"), [(n, c) for n in BOTH for c in cases(n)])
def test_a_program_computes_what_its_reference_says(name: str, case: str) -> None:
    module = reference(name)
    given, params = prepare(name, case)
    externs = getattr(module, "EXTERNS", None)
    loss = splatdsl.load(program(name), params=params, backend="eager", register=externs or None)
    missing, host = host_values(loss, given)
    memory: dict[str, Any] = {}
    wrong: list[str] = []
    moved = False
    for step in module.STEPS:
        ours, our_leaves = with_leaves(given, module.GRADIENTS)
        theirs, their_leaves = with_leaves(given, module.GRADIENTS)
        theirs["params"] = params
        expected = module.terms(theirs, step, module.MAX_STEPS, memory)
        parts = [weight * torch.as_tensor(value, dtype=torch.float64) for weight, value in expected.values()]
        reference_total = torch.stack([p.reshape(()) for p in parts]).sum() if parts else torch.zeros(())

        total = loss(**ours, step=step, max_steps=module.MAX_STEPS)
        if set(loss.terms) != set(expected):
            wrong.append(f"step {step}: terms {sorted(loss.terms)}, expected {sorted(expected)}")
            continue
        missing = [n for n, i in loss.program.inputs.items() if i.optional and given.get(n) is None]
        weights = loss.weights(step, module.MAX_STEPS, missing, **host)
        for (term, (weight, _)), part in zip(expected.items(), parts):
            value, weighted = float(part.detach()), weights[term] * float(loss.terms[term])
            if not same(weights[term], float(weight)):
                wrong.append(f"step {step}: weight of {term} is {weights[term]!r}, expected {float(weight)!r}")
            if not same(weighted, value):
                wrong.append(f"step {step}: {term} is {weighted!r}, expected {value!r}")
        if not same(float(total.detach()), float(reference_total.detach())):
            wrong.append(
                f"step {step}: the total is {float(total.detach())!r}, expected {float(reference_total.detach())!r}"
            )
        assert reference_total.isfinite(), f"step {step}: the reference is not finite"

        found, right = gradients(total, our_leaves), gradients(reference_total, their_leaves)
        for leaf, gradient in right.items():
            assert gradient.isfinite().all(), f"step {step}: the reference's gradient of {leaf} is not finite"
            moved = moved or bool(gradient.any())
            limit = 1e-15 + 1e-9 * float(gradient.abs().max())
            if not float((found[leaf] - gradient).abs().max()) <= limit:
                wrong.append(f"step {step}: the gradient of {leaf} is off by {apart(found[leaf], gradient):.2g}")
    assert not wrong, "\n".join(wrong)
    assert moved, "no gradient was other than 0 at any step: nothing was compared"


@pytest.mark.parametrize("name", BOTH)
def test_every_term_of_a_program_is_compared_at_some_step(name: str) -> None:
    module = reference(name)
    steps = module.STEPS
    assert list(steps) == sorted(set(steps)), "STEPS rise"
    assert steps[0] >= 0
    assert steps[-1] < module.MAX_STEPS
    seen: set[str] = set()
    for case in cases(name):
        given, params = prepare(name, case)
        given["params"] = params
        memory: dict[str, Any] = {}
        for step in steps:
            seen |= set(module.terms(given, step, module.MAX_STEPS, memory))
    assert seen == {term.name for term in zoo.program(name).terms}


@pytest.mark.parametrize("name", BOTH)
def test_the_steps_are_around_every_boundary(name: str) -> None:
    """A gate that is off by one step, or a ramp that ends elsewhere, cannot hide between two steps of a reference."""
    module = reference(name)
    typed, found = analyse(read_source(f"zoo:{name}"), getattr(module, "PARAMS", {}))
    assert typed is not None, found
    steps = set(module.STEPS)
    missed = []
    for term in objective(typed, module.MAX_STEPS).terms:
        ends = {end for span in term.exists.spans for end in span if end is not None}
        missed += [(term.name, end) for end in ends if 0 < end < module.MAX_STEPS and not {end - 1, end} <= steps]
        turns = {piece.first for part in term.parts for piece in part.weight.pieces}
        turns = {turn for turn in turns if 0 < turn < module.MAX_STEPS - 1}  # the last step is no turn
        near = max([1, *(gate.period for gate in term.exists.gates if gate.period)])  # the step before it there
        missed += [(term.name, turn) for turn in turns if sum(abs(s - turn) <= near for s in steps) < 2]
    assert missed == []


# Compiling


def compiles(name: str, backend: str) -> None:
    """One call of a compiled program in float32, at the step of its schedule where most terms exist."""
    module = reference(name)
    case = cases(name)[0]
    given, params = prepare(name, case)
    loss = splatdsl.load(
        program(name), params=params, backend=backend, register=getattr(module, "EXTERNS", None) or None
    )
    missing, host = host_values(loss, given)
    plain = splatdsl.load(
        program(name), params=params, backend="eager", register=getattr(module, "EXTERNS", None) or None
    )
    plain(**given, step=module.STEPS[0], max_steps=module.MAX_STEPS)  # it knows the sizes that weights depend on

    def existing(s: int) -> tuple[int, int]:
        return sum(w != 0 for w in plain.weights(s, module.MAX_STEPS, missing, **host).values()), -s

    step = max(module.STEPS, key=existing)
    single = _copied(given, lambda t: t.float() if t.is_floating_point() else t)
    ours, leaves = with_leaves(single, module.GRADIENTS)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the loss runs without compilation")  # it falls back with a warning
        total = loss(**ours, step=step, max_steps=module.MAX_STEPS)
    assert total.isfinite()
    assert loss.terms, "no term exists at the step that was chosen"
    for leaf, gradient in gradients(total, leaves).items():
        assert gradient.isfinite().all(), f"the gradient of {leaf} is not finite"
    assert (loss.stats.graph_breaks, loss.stats.recompiles) == (0, 0), loss.stats
    assert loss.stats.graphs >= 1


@pytest.fixture(scope="module")
def traced() -> str:
    """A backend that runs what was traced as it is: half of the time of one that lowers it too."""
    if "traced" not in torch._dynamo.list_backends(exclude_tags=()):
        torch._dynamo.register_backend(lambda module, inputs: module.forward, name="traced")
    return "traced"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in BOTH])
def test_a_program_compiles_without_graph_breaks(name: str, traced: str) -> None:
    # Breaks are found while tracing. Programs share what comes after it: a third of them goes on.
    compiles(name, "aot_eager" if BOTH.index(name) % 3 == 0 else traced)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in INDUCTOR if n in BOTH])
def test_a_program_compiles_with_inductor(name: str) -> None:
    compiles(name, "inductor")


# The collection as a whole


def header(name: str) -> tuple[str, dict[str, str]]:
    """The first line of a program's docstring and its fields, continuation lines joined."""
    text = (ZOO / f"{name}.loss").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    fields: dict[str, str] = {}
    for match in re.finditer(r"^([A-Z][a-z]+): (.*(?:\n  \S.*)*)", docstring, re.M):
        if match[1] in FIELDS:
            assert match[1] not in fields, f"{name}: {match[1]} twice"
            fields[match[1]] = " ".join(match[2].split())
    return docstring.strip().splitlines()[0], fields


@pytest.mark.parametrize("name", NAMES)
def test_a_program_has_a_reference_and_a_complete_header(name: str) -> None:
    first, fields = header(name)
    assert name in PROVED, "there is no reference for it"
    assert re.fullmatch(r"[^:]+: .+", first), f"the first line is `NAME: one sentence`, not {first!r}"
    assert {"System", "Steps", "Scope"} <= set(fields)
    assert list(fields) == [f for f in FIELDS if f in fields], "the fields stand in one order"
    assert re.fullmatch(r"\d+ \S.*", fields["System"])
    assert re.match(r"from [01]\b", fields["Steps"])
    assert re.fullmatch(r"complete\.?|loss part\. Left to the trainer: .+", fields["Scope"])
    assert "Code" in fields or "Paper" in fields


@pytest.mark.parametrize("name", PROVED)
def test_a_reference_belongs_to_a_program_and_says_its_formula(name: str) -> None:
    assert name in NAMES
    module = reference(name)
    assert len((module.__doc__ or "").strip()) > 60
    text = (REFERENCES / f"{name}.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^\s*(?:from|import) ([\w.]+)", text, re.M))
    assert not {i for i in imported if i.split(".")[0] in ("splatdsl", *(p.replace("-", "_") for p in PROVED))}
    assert module.GRADIENTS, "some gradient is compared"


def test_the_sixty_systems_are_there_and_most_of_them_complete() -> None:
    scopes: dict[int, list[tuple[str, str]]] = {}
    for name in NAMES:
        fields = header(name)[1]
        if "System" in fields:
            number = int(fields["System"].split()[0])
            scopes.setdefault(number, []).append((name, fields.get("Scope", "").rstrip(".")))
    assert set(scopes) >= set(range(1, 61)), f"missing: {sorted(set(range(1, 61)) - set(scopes))}"
    complete = [n for n, files in scopes.items() if all(scope == "complete" for _, scope in files)]
    assert len(complete) >= 48, f"complete: {sorted(complete)}"
    unproved = [name for n in complete for name, _ in scopes[n] if name not in PROVED]
    assert unproved == []


# Loading by name


def test_a_name_loads_the_program() -> None:
    params = {"scale_weight": 0.02}
    by_name = splatdsl.load("zoo:3dgs-mcmc", params=params, backend="eager")
    assert by_name.fingerprint == splatdsl.load(program("3dgs-mcmc"), params=params, backend="eager").fingerprint
    assert by_name.module_name == "zoo:3dgs-mcmc"
    with pytest.raises(splatdsl.LossError, match="`zoo:3dgs-mcmc`"):
        splatdsl.load("zoo:3dgs-mcm")


def test_a_run_config_names_a_program(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("loss: zoo:taming-3dgs\nloss_params: {lambda_dssim: 0.3}\ndata: {kind: synthetic}\n")
    config, found = load_config(str(path))
    assert found == []
    assert config is not None
    loss = build_loss(config, torch.device("cpu"))
    assert loss.module_name == "zoo:taming-3dgs"
    assert loss.params["lambda_dssim"] == 0.3
