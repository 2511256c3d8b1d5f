"""The checker against the running loss: a program that it lets pass gives finite values and gradients.

The scene has the values that matter: alpha exactly 0 and 1, no depth where nothing is drawn, black pixels, and pixels
that equal the photograph.
"""

from __future__ import annotations

import random
import warnings

import pytest
import torch

import splatdsl
from splatdsl.dsl.api import check_text

HAZARDS = ("NAN", "MSK002", "ACT003")
VALUES = [
    *("alpha", "depth", "depth.median", "1 - alpha", "rendered.r", "target.r", "alpha - 0.5", "depth - 1"),
    *("rendered.r - target.r", "abs(rendered.r - target.r)", "sq(alpha - 1)", "max(depth, 0.1)", "relu(depth - 1)"),
    *("depth + 1e-3", "detach(alpha)", "mean(alpha, alpha > 3)", "mean(depth)", "clamp(alpha, 0.1, 0.9)", "2 * alpha"),
    *("alpha * depth", "norm(rendered - target)", "component_max(rendered)", "where(depth > 0, depth, 1)"),
]
OPERATIONS = [
    *("1 / ({})", "alpha / ({})", "log({})", "sqrt({})", "({}) ^ 0.5", "({}) ^ -2", "exp(-sq(1 / ({})))"),
    "log1p(-({}))",
]
AROUND = [
    *("{0}", "where({1}, {0}, 0)", "where({1}, 0.5, {0})", "where({1}, where({2}, {0}, 1), 0)", "min({0}, 10)"),
    *("masked * ({0})", "where({1}, detach({0}), alpha)", "where({1} and {2}, {0}, 0)", "where({1} or {2}, 0, {0})"),
    *("clamp({0}, -5, 5)", "where({1}, 1 / (1 + {0}), 0)", "sigmoid({0})", "where(not ({1}), {0}, 0)"),
]
REDUCTIONS = ["mean({0}, everywhere)", "mean({0}, {1})", "mean({0}, {1} and {2})"]


def _scene() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    alpha = torch.rand(1, 16, 16, 1, generator=g)
    alpha[:, :4], alpha[:, 4:6] = 0, 1
    depth = torch.rand(1, 16, 16, 1, generator=g) * 2 + 0.01
    depth[:, 6:8] = 1
    depth[alpha == 0] = 0
    rendered, target = torch.rand(1, 16, 16, 3, generator=g), torch.rand(1, 16, 16, 3, generator=g)
    rendered[:, :2], target[:, 1:3], target[:, 8:10] = 0, 0, rendered[:, 8:10]
    made = {"rendered": rendered, "alpha": alpha, "depth": depth, "depth.median": depth.clone()}
    tensors = {name: tensor.requires_grad_() for name, tensor in made.items()}
    return {**tensors, "target": target, "mask": (alpha.detach() > 0.3).float()}


def _finite(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss_fn = splatdsl.compile(text, backend="eager")
    scene = _scene()
    buffers = {name.replace(".", "_"): tensor for name, tensor in scene.items()}
    total = loss_fn(**{name: buffers[name.replace(".", "_")] for name in scene})
    if total.requires_grad:
        total.backward()
    given = [t.grad for t in scene.values() if t.grad is not None]
    return bool(torch.isfinite(total)) and all(bool(torch.isfinite(g).all()) for g in given)


def _program(pick: random.Random) -> str:
    def condition() -> str:
        kind = pick.choice(["{} > {}", "{} >= {}", "{} < {}", "not ({} <= {})", "valid({})"])
        return kind.format(pick.choice(VALUES[:12]), pick.choice(["0", "0.2", "1", "-1"]))

    value = pick.choice(OPERATIONS).format(pick.choice(VALUES))
    value = pick.choice(AROUND).format(value, condition(), condition())
    return "term a = 1e-3 * " + pick.choice(REDUCTIONS).format(value, condition(), condition())


def test_silence_means_finite() -> None:
    pick = random.Random(7)
    silent = loud = 0
    for _ in range(160):
        text = _program(pick)
        found = check_text(text)
        if any(d.code.startswith(HAZARDS) for d in found) or any(d.severity.value == "error" for d in found):
            loud += 1
            continue
        silent += 1
        assert _finite(text), text
    assert silent > 30
    assert loud > 30


@pytest.mark.parametrize(
    "value",
    [
        "mean(1 / depth, alpha > 0.5)",
        "mean(where(depth >= 0, 1 / depth, 0))",
        "mean(sqrt(alpha), alpha > 0.1)",
        "mean(min(1 / depth, 100))",
        "mean(rendered ^ 0.4)",
        "mean(sqrt(sq(rendered - target)))",
        "mean(log(alpha) * alpha)",
        "mean(where(depth > 0, mean(1 / depth), 0))",
        "mean(where(alpha > 0.5, depth / mean(alpha, alpha > 3), 1))",
        "sum(depth * (alpha > 3)) / sum(alpha > 3)",
    ],
)
def test_what_is_found_is_real(value: str) -> None:
    text = f"term a = {value}"
    assert any(d.code.startswith(HAZARDS) for d in check_text(text))
    assert not _finite(text)
