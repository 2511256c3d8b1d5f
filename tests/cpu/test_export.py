"""`torch.export` of a loss: the same numbers and gradients, at every step of its phase."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl import LossError

pytestmark = pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
H, W = 16, 20
PROGRAM = (
    "param weight = 0.2 in [0, 1]\n"
    "term photometric = mix(l1(masked), ssim_loss(masked), weight)\n"
    "term smooth = 0.1 * mean(sq(blur(rendered - target, 2)), masked)\n"
    "term small = ramp(step, 100) * 0.01 * reg(state)\n"
    "term late = 0.1 * tv(rendered) when after(step, 90)"
)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def arguments(images: int, count: int) -> dict[str, Any]:
    return {
        "rendered": rand(images, H, W, 3).requires_grad_(),
        "target": rand(images, H, W, 3, seed=1),
        "mask": rand(images, H, W, seed=2) > 0.5,
        "state": {
            "means": rand(count, 3, seed=3),
            "scales": (rand(count, 3, seed=4) - 2).requires_grad_(),
            "opacities": rand(count, seed=5).requires_grad_(),
        },
    }


def by_input(given: dict[str, Any], names: Any) -> dict[str, Tensor]:
    """The arguments of a call as an exported program takes them."""
    every = {**given, **{f"state.{name}": x for name, x in given["state"].items()}}
    return {name: every[name] for name in names}


def made(text: str = PROGRAM, **options: Any) -> splatdsl.CompiledLossFn:
    return splatdsl.compile(text, backend="eager", **options)


def test_an_exported_loss_gives_the_same_numbers_and_gradients_for_any_number_of_gaussians_and_images() -> None:
    loss_fn, file = made(), io.BytesIO()
    loss_fn.params["weight"] = 0.4
    made_with = loss_fn.export(**arguments(2, 5), max_steps=120, dynamic=("N", "B"))
    assert not [node for node in made_with.graph.nodes if "splatdsl" in str(node.target)]
    torch.export.save(made_with, file)
    file.seek(0)
    program = torch.export.load(file)
    exported, names = program.module(), program.example_inputs[0][0].keys()
    assert set(names) == {"rendered", "target", "mask", "state.scales", "state.opacities"}
    for images, count, step in ((2, 5, 0), (3, 9, 50), (1, 4, 89)):
        given = arguments(images, count)
        expected = loss_fn(**given, step=step, max_steps=120)
        total, terms = exported(by_input(given, names), torch.tensor(step))
        assert float(total) == pytest.approx(float(expected), rel=1e-6)
        assert {n: float(v) for n, v in terms.items()} == pytest.approx({n: float(v) for n, v in loss_fn.terms.items()})
        leaves = [given["rendered"], given["state"]["scales"], given["state"]["opacities"]]
        ours, theirs = torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves)
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-9) for a, b in zip(ours, theirs))
        assert float(ours[0].abs().sum()) > 0
    given = by_input(arguments(2, 5), names)
    for step in (90, 119, 120, -1):  # another term exists, or there is no such step
        assert exported(given, torch.tensor(step))[0].isnan()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memory m = 0 then 0.5 * m + l1()\nterm a = l1() + m", "the memory `m` is state between calls"),
        ("extern f(image) -> image\nterm a = l1(f(rendered), target)", "`f` is a function of the host"),
        ("term a = l1() + mean(state.opacities) / N", "reads the size `N` as a number"),
        ("term a = l1() when after(step, 10)", "no term exists at step 0"),
    ],
)
def test_what_cannot_be_exported_is_said(text: str, words: str) -> None:
    with pytest.raises(LossError, match="BND013") as error:
        made(text).export(**arguments(1, 4), max_steps=50)
    assert words in str(error.value)


def test_a_size_that_is_read_is_that_of_the_example() -> None:
    loss_fn, given = made("term a = l1() + mean(state.opacities) / N"), arguments(1, 4)
    exported = loss_fn.export(**given, max_steps=2, dynamic=()).module()
    total, _ = exported(by_input(given, ("rendered", "state.opacities", "target")), torch.tensor(0))
    assert float(total) == pytest.approx(float(loss_fn(**given)), rel=1e-6)
    with pytest.raises(LossError, match="there is no dimension `Z`"):
        loss_fn.export(**given, dynamic=("Z",))
