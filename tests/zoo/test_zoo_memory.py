"""State across steps in the programs of examples/zoo, on renders that change from step to step.

With inputs that stay the same a running minimum, a running mean or a threshold never moves. Here the error of the
render grows and shrinks, and the program and its reference, each with its own memory, must still agree.
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "examples" / "zoo"
REFERENCES = Path(__file__).resolve().parent / "references"

NAMES = sorted(
    p.stem
    for p in ZOO.glob("*.loss")
    if re.search(r"^memory ", p.read_text(encoding="utf-8"), re.M) and (REFERENCES / f"{p.stem}.py").is_file()
)


def reference(name: str) -> ModuleType:
    path = REFERENCES / f"{name}.py"
    spec = importlib.util.spec_from_file_location("zoo_memory_" + re.sub(r"\W", "_", name), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(REFERENCES))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(REFERENCES))
    return module


def cases(name: str) -> list[int]:
    """-1 for the parameters as they are, then each variant that drops no input."""
    variants = getattr(reference(name), "VARIANTS", ())
    return [-1, *(i for i, v in enumerate(variants) if not v.get("without"))]


@pytest.mark.parametrize(("name", "case"), [(n, c) for n in NAMES for c in cases(n)])
def test_memories_follow_renders_that_change(name: str, case: int) -> None:
    module = reference(name)
    variant = {} if case < 0 else module.VARIANTS[case]
    params = {**getattr(module, "PARAMS", {}), **variant.get("params", {})}
    given = module.inputs(torch.Generator().manual_seed(zlib.crc32(name.encode())), bool(variant.get("masked")))
    loss = splatdsl.load(
        str(ZOO / f"{name}.loss"), params=params, backend="eager", register=getattr(module, "EXTERNS", None) or None
    )
    memory: dict[str, Any] = {}
    totals = []
    for i, step in enumerate(module.STEPS):
        error = (1 + 0.8 * math.sin(2.4 * i)) * (given["rendered"] - given["target"])

        def inputs(error: Tensor = error) -> tuple[dict[str, Any], Tensor]:
            rendered = (given["target"] + error).requires_grad_()
            return {**given, "rendered": rendered}, rendered

        ours, our_leaf = inputs()
        theirs, their_leaf = inputs()
        total = loss(**ours, step=step, max_steps=module.MAX_STEPS)
        terms = module.terms({**theirs, "params": params}, step, module.MAX_STEPS, memory)
        expected = torch.stack(
            [w * torch.as_tensor(v, dtype=torch.float64).reshape(()) for w, v in terms.values()]
        ).sum()
        assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-9), f"step {step}"
        total.backward()
        expected.backward()
        torch.testing.assert_close(our_leaf.grad, their_leaf.grad, rtol=1e-9, atol=1e-12, msg=f"step {step}")
        totals.append(float(expected.detach()))
    assert len(set(totals)) == len(totals), "every step saw another render"
