"""Tensors of a call: what is accepted, and what is said of the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.dsl.diagnostics import Diagnostic, LossError

B, H, W, N = 2, 12, 16, 5
TEXT = (
    "term colour = photometric(masked)\nterm sparse = 0.01 * reg(state, visible)\nterm near = mean(depth, alpha > 0.5)"
)


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape)))


def given() -> dict[str, Any]:
    return {
        "rendered": rand(B, H, W, 3).requires_grad_(True),
        "target": rand(B, H, W, 3),
        "mask": rand(B, H, W) > 0.3,
        "state": {
            "opacities": rand(N),
            "scales": rand(N, 3),
            "means": rand(N, 3),
            "sh0": rand(N, 1, 3),
            "shN": rand(N, 15, 3),
        },
        "alpha": rand(B, H, W, 1),
        "depth": rand(B, H, W, 1),
        "visible": rand(N) > 0.3,
    }


def run(text: str = TEXT, **changes: Any) -> Tensor:
    call = {**given(), **changes}
    return splatdsl.compile(text, backend="eager")(**{k: v for k, v in call.items() if v is not None})


def fails(text: str = TEXT, **changes: Any) -> Diagnostic:
    with pytest.raises(LossError) as caught:
        run(text, **changes)
    assert len(caught.value.diagnostics) == 1, [d.message for d in caught.value.diagnostics]
    found = caught.value.diagnostics[0]
    assert found.source.name == "<loss>" or found.source.name == "<call>", "a place in the user's program"
    return found


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"rendered": None}, "BND001", "reads `rendered`, but the call gave none"),
        ({"target": None}, "BND001", "reads `target`"),
        ({"state": None}, "BND001", "reads `state`"),
        ({"state": {"opacities": torch.zeros(N)}}, "BND001", "no parameter `scales`"),
        ({"state": 5}, "BND001", "no parameter"),
        ({"depth": None}, "BND001", "reads `depth`"),
        ({"alpha": None}, "BND001", "reads `alpha`"),
        ({"visible": None}, "BND001", "reads `visible`"),
        ({"target": torch.zeros(B, 3, H, W)}, "BND002", "must have shape [B, H, W, 3], but has [2, 3, 12, 16]"),
        ({"target": torch.zeros(B, H, W)}, "BND002", "[B, H, W, 3]"),
        ({"target": torch.zeros(B, H, W, 4)}, "BND002", "[2, 12, 16, 4]"),
        ({"target": torch.zeros(B, H, W - 1, 3)}, "BND002", "differ in the image size"),
        ({"target": torch.zeros(1, H, W, 3)}, "BND002", "differ in the image size"),
        ({"mask": torch.ones(B, H, W - 1)}, "BND002", "differ in the image size"),
        ({"mask": torch.ones(B, H, W, 3)}, "BND002", "`mask` must have shape [B, H, W]"),
        ({"depth": torch.zeros(B, H, W)}, "BND002", "[B, H, W, 1]"),
        ({"alpha": torch.zeros(B, H, W, 3)}, "BND002", "[B, H, W, 1]"),
        ({"visible": torch.ones(N + 1)}, "BND002", "differ in the number of gaussians"),
        ({"state": {"opacities": torch.zeros(N), "scales": torch.zeros(N, 2)}}, "BND002", "[N, 3]"),
        ({"state": {"opacities": torch.zeros(()), "scales": torch.zeros(N, 3)}}, "BND002", "[N]"),
        ({"target": [[0.5]]}, "BND002", "must be a torch tensor, not list"),
        ({"target": torch.zeros(B, H, W, 3, dtype=torch.uint8)}, "BND003", "is uint8"),
        ({"rendered": torch.zeros(B, H, W, 3, dtype=torch.int64)}, "BND003", "is int64"),
        ({"mask": torch.ones(B, H, W, dtype=torch.uint8)}, "BND003", "`mask`"),
        ({"target": torch.rand(B, H, W, 3) * 255}, "BND005", "must be in 0..1"),
        ({"target": torch.rand(B, H, W, 3) * 2 - 1}, "BND005", "must be in 0..1"),
        ({"target": torch.full((B, H, W, 3), math.nan)}, "BND005", "nan"),
        ({"mask": torch.full((B, H, W), 255.0)}, "BND005", "`mask`"),
        ({"step": -1}, "BND007", "whole number of at least 0"),
        ({"step": 1.5}, "BND007", "1.5"),
        ({"step": True}, "BND007", "True"),
        ({"step": "1"}, "BND007", "'1'"),
        ({"max_steps": 0}, "BND007", "at least 1"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], code: str, words: str) -> None:
    found = fails(**changes)
    assert found.code == code
    assert words in found.message


@pytest.mark.parametrize(
    ("changes", "help_"),
    [
        ({"target": torch.zeros(B, 3, H, W)}, "x.permute(0, 2, 3, 1)"),
        ({"target": torch.zeros(B, H, W, 3, dtype=torch.uint8)}, "x.float() / 255"),
        ({"mask": torch.ones(B, H, W, dtype=torch.int32)}, "mask.bool()"),
        ({"target": torch.full((B, H, W, 3), 255.0)}, "divide it by 255"),
        ({"target": torch.full((B, H, W, 3), -0.5)}, "clamp"),
        ({"state": None}, "pass state="),
        ({"step": -1}, "pass step - 1"),
    ],
)
def test_the_way_out(changes: dict[str, Any], help_: str) -> None:
    assert help_ in " ".join(fails(**changes).help)


def test_an_image_smaller_than_the_window() -> None:
    small = {"rendered": rand(1, 10, 16, 3), "target": rand(1, 10, 16, 3), "mask": None}
    found = fails("photometric()", **small)
    assert found.code == "BND006"
    assert "16x10 pixels" in found.message
    assert run("l1()", **small).isfinite()
    assert run(
        'ssim_loss(padding="valid")', rendered=rand(1, 11, 11, 3), target=rand(1, 11, 11, 3), mask=None
    ).isfinite()


def test_a_program_that_reads_the_mask_itself_needs_one() -> None:
    found = fails("l1(mask > 0.5)", mask=None)
    assert found.code == "BND001"
    assert "`masked`" in found.help[0]
    assert run("l1(masked)", mask=None).isfinite()


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("l1() * log(step)", 0),
        ("mean(alpha * (1 / (step - 3)))", 3),
        ("l1() * exp(step)", 1000),
        ("l1() / (step - 3)", 3),
    ],
)
def test_a_number_of_the_host_that_is_not_finite(text: str, step: int) -> None:
    found = fails(text, step=step)
    assert found.code == "BND008"
    assert f"at step {step}" in found.message


def test_each_place_is_where_the_program_reads_the_input() -> None:
    found = fails("term a = l1()\nterm b = mean(depth)", depth=None)
    assert (found.line, found.column) == (2, 15)
    assert fails("term a = 1 * mean(alpha)\nterm b = photometric()", target=None).line == 2


# What is accepted


@pytest.mark.parametrize("kind", ["bool", "float", "bool channel", "float channel", "float64"])
def test_masks(kind: str) -> None:
    mask = rand(B, H, W) > 0.3
    variants = {
        "bool": mask,
        "float": mask.float(),
        "bool channel": mask[..., None],
        "float channel": mask[..., None].float(),
        "float64": mask.double(),
    }
    found = run("photometric(masked)", mask=variants[kind])
    torch.testing.assert_close(found.float(), run("photometric(masked)", mask=mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", [(H, W), (1, H, W), (H, W, 1), (1, H, W, 1)])
def test_a_single_image_without_a_batch(mask: tuple[int, ...]) -> None:
    image, target = rand(1, H, W, 3), rand(1, H, W, 3) * 0.5
    keep = rand(H, W) > 0.3
    expected = run("photometric(masked)", rendered=image, target=target, mask=keep[None])
    found = run("photometric(masked)", rendered=image[0], target=target[0], mask=keep.reshape(mask))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


class Payload:
    """What a renderer returns, as an object."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


@pytest.mark.parametrize("as_object", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        {"alpha": "alpha", "depth": "depth"},
        {"alpha": "alphas", "depth": "depths"},
        {"alpha": "alphas", "depth": "depths_expected"},
        {"alpha": "render_alphas", "depth": "depths_expected"},
    ],
)
def test_payloads(names: dict[str, str], as_object: bool) -> None:
    call = given()
    fields = {names[n]: call[n] for n in ("alpha", "depth")}
    fields["radii"] = call["visible"].int()[None, :, None].expand(B, N, 2) * 7
    payload = Payload(**fields) if as_object else fields
    found = run(alpha=None, depth=None, visible=None, render=payload)
    torch.testing.assert_close(found, run(), rtol=0, atol=0)


def test_expected_depth_from_accumulated() -> None:
    call = given()
    payload = {"alphas": call["alpha"], "depths_accumulated": call["depth"] * call["alpha"]}
    found = run("mean(depth, alpha > 0.1)", alpha=None, depth=None, render=payload)
    torch.testing.assert_close(found, run("mean(depth, alpha > 0.1)"))
    none = {"alphas": torch.zeros(B, H, W, 1), "depths_accumulated": torch.zeros(B, H, W, 1)}
    assert run("mean(depth)", alpha=None, depth=None, render=none).item() == 0


def test_a_buffer_given_by_name_wins_over_the_payload() -> None:
    assert run("mean(alpha)", alpha=torch.ones(B, H, W, 1), render={"alphas": torch.zeros(B, H, W, 1)}).item() == 1


@pytest.mark.parametrize("radii", [(B, N, 2), (B, N), (N,)])
def test_visible_from_radii(radii: tuple[int, ...]) -> None:
    sizes = torch.zeros(radii, dtype=torch.int32)
    if len(radii) == 3:
        sizes[0, 1], sizes[1, 3] = 4, 2
        sizes[0, 2, 0] = 5  # drawn in one direction only: not drawn
    elif len(radii) == 2:
        sizes[0, 1], sizes[1, 3] = 4, 2
    else:
        sizes[1], sizes[3] = 4, 2
    assert run("mean(visible * 1)", visible=None, radii=sizes).item() == pytest.approx(2 / N)


def test_states() -> None:
    raw = given()["state"]
    expected = run("reg(state) + mean(state.sh0) + mean(state.shN ^ 2)")
    parameters = torch.nn.ParameterDict({n: torch.nn.Parameter(x) for n, x in raw.items()})
    column = {**raw, "opacities": raw["opacities"][:, None]}
    for state in (parameters, Payload(params=parameters), Payload(params=raw), column):
        torch.testing.assert_close(run("reg(state) + mean(state.sh0) + mean(state.shN ^ 2)", state=state), expected)


def test_gradients_reach_what_was_given() -> None:
    call = given()
    parameters = torch.nn.ParameterDict({n: torch.nn.Parameter(x) for n, x in call["state"].items()})
    first = {n: call[n][:1] for n in ("rendered", "target", "alpha", "depth")}
    run(**first, mask=None, state=parameters).backward()
    assert call["rendered"].grad.abs().sum() > 0
    assert parameters["scales"].grad.abs().sum() > 0
    assert parameters["means"].grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    image, target = rand(1, H, W, 3), rand(1, H, W, 3) * 0.5
    found = run("photometric()", rendered=image.to(dtype), target=target, mask=None)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.item() == pytest.approx(
        run("photometric()", rendered=image, target=target, mask=None).item(), rel=2e-2
    )


def test_strided_tensors() -> None:
    image, target = rand(1, H, W, 3), rand(1, H, W, 3) * 0.5
    channels_first = image.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not channels_first.is_contiguous()
    expected = run("photometric()", rendered=image, target=target, mask=None)
    torch.testing.assert_close(run("photometric()", rendered=channels_first, target=target, mask=None), expected)


def test_densification_changes_the_number_of_gaussians_but_not_its_checks() -> None:
    loss = splatdsl.compile("reg(state, visible)", backend="eager")
    for n in (5, 9, 1, 0, 7):
        state = {"opacities": torch.zeros(n), "scales": torch.zeros(n, 3)}
        assert loss(state=state, visible=torch.ones(n)).item() == pytest.approx(1.5 if n else 0)
    with pytest.raises(LossError, match="BND002"):
        loss(state={"opacities": torch.zeros(5), "scales": torch.zeros(5, 3)}, visible=torch.ones(4))


def test_inputs_that_are_not_read_are_not_looked_at() -> None:
    assert run("mean(alpha)", rendered=None, target="nonsense", state=7, mask=None, depth=None, visible=None).isfinite()


def test_a_slightly_overshooting_target_is_fine() -> None:
    assert run("l1()", target=torch.full((B, H, W, 3), 1.0005)).isfinite()


def test_an_unknown_keyword_is_no_buffer() -> None:
    with pytest.raises(TypeError, match=r"normal.*did you mean `normals`"):
        splatdsl.compile("l1()", backend="eager")(normal=torch.zeros(1))
