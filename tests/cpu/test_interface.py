"""The public interface: `load`, `compile` and what they return."""

from types import SimpleNamespace

import pytest
import torch

import splatdsl
from splatdsl.runtime import SplatLossFn

PROGRAM = """
param w = 0.5 in [0, 1]
param start: steps = 10
term colour = (1 - w) * l1(masked)
term sparse = w * opacity_reg(state) when after(step, start)
"""


def tensors(mask=True):
    g = torch.Generator().manual_seed(0)
    given = {
        "rendered": torch.rand(1, 12, 16, 3, generator=g).requires_grad_(),
        "target": torch.rand(1, 12, 16, 3, generator=g),
        "state": {"opacities": torch.randn(7, generator=g).requires_grad_()},
    }
    return {**given, "mask": torch.rand(1, 12, 16, generator=g) > 0.5} if mask else given


def error(problem):
    return [(d.code, d.message) for d in problem.value.diagnostics]


def test_a_loss_follows_the_protocol():
    loss_fn = splatdsl.compile(PROGRAM, backend="eager")
    assert isinstance(loss_fn, SplatLossFn)
    given = tensors()
    direct = loss_fn(**given, step=20)
    through = loss_fn.compute_loss(given["rendered"], given["target"], given["state"], None, given["mask"], step=20)
    assert torch.equal(direct, through)
    assert set(loss_fn.terms) == {"colour", "sparse"}
    assert not loss_fn.terms["colour"].requires_grad
    total = sum(loss_fn.weights(20)[name] * value for name, value in loss_fn.terms.items())
    torch.testing.assert_close(total, direct.detach())


def test_terms_appear_with_their_condition():
    loss_fn = splatdsl.compile(PROGRAM, backend="eager")
    loss_fn(**tensors(), step=9)
    assert set(loss_fn.terms) == {"colour"}
    assert loss_fn.weights(9) == {"colour": 0.5, "sparse": 0.0}
    assert loss_fn.requires(9) == {"rendered", "target", "mask"}
    assert loss_fn.requires(10) == {"rendered", "target", "mask", "state"}


def test_parameters_are_checked_and_take_effect():
    loss_fn = splatdsl.compile(PROGRAM, params={"w": 0.25}, backend="eager")
    assert dict(loss_fn.params) == {"w": 0.25, "start": 10}
    loss_fn.params["w"] = 0.75
    assert loss_fn.weights(0)["colour"] == 0.25
    with pytest.raises(splatdsl.LossError) as problem:
        loss_fn.params["w"] = 2
    assert error(problem) == [("RNG002", "`w` must be in [0, 1], but is set to 2")]
    with pytest.raises(splatdsl.LossError) as problem:
        loss_fn.params["start"] = 2.5
    assert error(problem)[0][0] == "RNG002"
    with pytest.raises(splatdsl.LossError) as problem:
        splatdsl.compile(PROGRAM, params={"weight": 1})
    assert error(problem)[0][0] == "NAM009"
    assert loss_fn.params["w"] == 0.75


def test_steps_are_whole_numbers_in_declarations_too():
    assert [d.code for d in splatdsl.check("param s: steps = 0.5\nterm t = l1() when after(step, s)")] == ["RNG001"]


def test_an_item_stands_for_target_and_mask():
    loss_fn = splatdsl.compile(PROGRAM, backend="eager")
    given = tensors()
    expected = loss_fn(**given)
    target, mask = given.pop("target"), given.pop("mask")
    assert torch.equal(expected, loss_fn(**given, item={"target": target, "mask": mask}))
    assert torch.equal(expected, loss_fn(**given, item=SimpleNamespace(image=target, mask=mask)))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [({"backend": "inductr"}, "BND009"), ({"device": "cdua"}, "BND009"), ({"register": {"f": abs}}, "BND009")],
)
def test_bad_arguments_are_diagnostics(arguments, code):
    with pytest.raises(splatdsl.LossError) as problem:
        splatdsl.compile(PROGRAM, **arguments)
    assert error(problem)[0][0] == code


def test_a_misspelt_backend_gets_a_suggestion():
    with pytest.raises(splatdsl.LossError, match="did you mean `inductor`"):
        splatdsl.compile(PROGRAM, backend="inductr")


def test_a_device_is_held_to():
    loss_fn = splatdsl.compile(PROGRAM, backend="eager", device="meta")
    with pytest.raises(splatdsl.LossError) as problem:
        loss_fn(**tensors())
    assert error(problem)[0][0] == "BND004"


def test_what_a_graph_reads_for_its_size_is_required():
    loss_fn = splatdsl.compile("mean(masked)", backend="eager")
    assert loss_fn.requires(0) == {"mask", "rendered"}
    loss_fn = splatdsl.compile("mean(alpha) + mean(masked)", backend="eager")
    assert loss_fn.requires(0) == {"mask", "alpha"}
    assert loss_fn(alpha=torch.full((1, 12, 16, 1), 0.25)).item() == pytest.approx(1.25)


def test_the_same_program_has_the_same_fingerprint_until_a_parameter_changes():
    one, other = (splatdsl.compile(PROGRAM, backend="eager") for _ in range(2))
    assert one.fingerprint == other.fingerprint
    other.params["w"] = 0.1
    assert one.fingerprint != other.fingerprint


def test_an_error_reads_like_the_linter():
    with pytest.raises(splatdsl.LossError) as problem:
        splatdsl.compile("l1(maskd)", name="garden.loss")
    assert "garden.loss:1:4" in str(problem.value)
    assert "did you mean" in str(problem.value)
