"""Gradient accumulation: the mean over micro-batches is the loss of the whole batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl import LossError

pytestmark = pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
H, W, N = 16, 20, 6
PROGRAM = (
    "param weight = 0.2 in [0, 1]\n"
    "term photometric = mix(l1(masked), ssim_loss(masked), weight)\n"
    "term flat = 0.1 * tv(rendered, masked)\n"
    "term small = ramp(step, 100) * 0.01 * reg(state)"
)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(text: str = PROGRAM, **options: Any) -> splatdsl.CompiledLossFn:
    return splatdsl.compile(text, backend=options.pop("backend", "eager"), **options)


def gaussians() -> dict[str, Tensor]:
    return {
        "means": rand(N, 3, seed=1),
        "scales": rand(N, 3, seed=2) - 2,
        "opacities": rand(N, seed=3),
        "quats": rand(N, 4, seed=4),
    }


IMAGES = (2, 1, 3)
RENDERED = [rand(b, H, W, 3, seed=10 + b) for b in IMAGES]
TARGETS = [rand(b, H, W, 3, seed=20 + b) for b in IMAGES]
MASKS = [(rand(b, H, W, seed=30 + b) > share).double() for b, share in zip(IMAGES, (0.2, 0.95, 0.5))]


def leaves() -> list[Tensor]:
    return [x.clone().requires_grad_() for x in RENDERED]


def finding(call: Any) -> str:
    with pytest.raises(LossError) as error:
        call()
    return str(error.value)


def test_the_mean_over_equal_micro_batches_is_the_loss_of_the_batch() -> None:
    loss_fn, whole, parts = made(), rand(4, H, W, 3).requires_grad_(), rand(4, H, W, 3).requires_grad_()
    target = rand(4, H, W, 3, seed=1)
    total = loss_fn(whole, target, state=gaussians(), step=30)
    total.backward()
    accumulated = 0.0
    for i in range(4):
        part = loss_fn(parts[i : i + 1], target[i : i + 1], state=gaussians(), step=30) / 4
        part.backward()
        accumulated += float(part)
    assert accumulated == pytest.approx(float(total), rel=1e-14)
    assert torch.allclose(parts.grad, whole.grad, rtol=1e-12, atol=1e-18)


LINEAR = {
    "usual": PROGRAM,
    "region of data": "term a = l1(masked and gray(target) > 0.3) + 0.1 * mean(alpha, unmasked)",
    "windows": 'term a = ssim_loss(masked, padding="valid") + 0.2 * gradient_l1(masked)',
    "sums": "term a = 0.001 * sum(abs(rendered - target), masked) + mean(state.opacities)",
    "one value per image": "term a = mean(std(alpha, masked)) + pearson_loss(alpha, gray(target), masked)",
    "where differences exist": "term a = mean(sq(dx(alpha)), masked) when after(step, 20)\nterm b = l1(masked) / 2 - 3",
}


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("masked", [True, False])
def test_the_mean_over_micro_batches_of_any_size_and_mask_is_the_loss_of_the_batch(name: str, masked: bool) -> None:
    loss_fn, whole, apart = made(LINEAR[name]), leaves(), leaves()
    masks = MASKS if masked else [None] * 3
    given = {"mask": torch.cat(MASKS) if masked else None, "state": gaussians(), "step": 50}
    total = loss_fn(torch.cat(whole), torch.cat(TARGETS), alpha=torch.cat(whole).mean(-1, keepdim=True), **given)
    total.backward()
    terms = {n: float(v) for n, v in loss_fn.terms.items()}
    parts = loss_fn.micro_batches(target=TARGETS, mask=masks, step=50)
    accumulated, of_terms = 0.0, dict.fromkeys(terms, 0.0)
    for part, rendered in zip(parts, apart):
        loss = part(rendered, alpha=rendered.mean(-1, keepdim=True), state=gaussians()) / len(parts)
        loss.backward()
        accumulated += float(loss)
        of_terms = {n: v + float(loss_fn.terms[n]) / len(parts) for n, v in of_terms.items()}
    assert accumulated == pytest.approx(float(total), rel=1e-13)
    assert of_terms == pytest.approx(terms, rel=1e-12)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-10, atol=1e-17) for a, b in zip(apart, whole))
    plain = [
        loss_fn(r, t, m, alpha=r.mean(-1, keepdim=True), state=gaussians(), step=50)
        for r, t, m in zip(apart, TARGETS, masks)
    ]
    assert abs(float(sum(plain)) / 3 - float(total)) > 1e-4, "a mean of means is another number"


def test_micro_batches_take_items_and_count_nothing_where_nothing_is_masked_in() -> None:
    loss_fn = made("l1(masked)", bind={"target": "image"})
    empty = torch.zeros_like(MASKS[0])
    items = [{"image": TARGETS[0], "mask": empty}, {"image": TARGETS[1]}]  # without a mask every pixel counts
    parts = loss_fn.micro_batches(item=items)
    found = [float(part(rendered)) for part, rendered in zip(parts, RENDERED)]
    assert found == [0.0, 2 * float(made("l1()")(RENDERED[1], TARGETS[1]))]
    nothing = loss_fn.micro_batches(image=TARGETS[:2], mask=[empty, torch.zeros_like(MASKS[1])])
    assert [float(part(rendered)) for part, rendered in zip(nothing, RENDERED)] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("term a = -0.01 * psnr(masked)", "`psnr(masked)` is not linear"),
        ("term a = sqrt(l2(masked))", "`sqrt(l2(masked))` is not linear"),
        ("term a = l1(masked) * detach(l2(masked))", "is not linear in means"),
        ("term a = l1(alpha > 0.5)", "a region of term `a` is made of `alpha`"),
        ("term a = mean(state.opacities, visible)", "`visible` is another one in each micro-batch"),
        ("memory m = 0 then 0.5 * m + l1()\nterm a = m * mean(state.opacities)", "`m` is renewed from the images"),
        ("term a = l1(masked) / B", "reads `B`, the number of images"),
    ],
)
def test_what_is_no_mean_over_micro_batches_is_refused(text: str, words: str) -> None:
    loss_fn = made(text)
    given = {"alpha": RENDERED[0][..., :1], "visible": torch.ones(N).double(), "state": gaussians()}
    found = finding(lambda: loss_fn.micro_batches(target=TARGETS, mask=MASKS)[0](RENDERED[0], **given))
    assert "BND014" in found
    assert words in " ".join(found.split())


def test_micro_batches_that_do_not_fit_together() -> None:
    loss_fn = made("l1(masked)")
    assert "nothing says how many micro-batches" in finding(lambda: loss_fn.micro_batches())
    assert "`target` has 3, `mask` has 1" in finding(lambda: loss_fn.micro_batches(target=TARGETS, mask=MASKS[:1]))
    assert "must be a list" in finding(lambda: loss_fn.micro_batches(target=TARGETS[0]))
    sizes = loss_fn.micro_batches(target=[TARGETS[0], TARGETS[1][:, :12]])
    assert "no parts of one batch" in finding(lambda: sizes[0](RENDERED[0]))
    parts = loss_fn.micro_batches(target=TARGETS, mask=MASKS)
    assert "was given to `micro_batches` already" in finding(lambda: parts[0](RENDERED[0], mask=MASKS[0]))


def test_micro_batches_with_different_inputs_are_no_batch() -> None:
    loss_fn = made("input sky: map?\nterm a = l1(masked)\nterm b = mean(rendered * sky) when has(sky)")
    parts = loss_fn.micro_batches(target=TARGETS[:2], sky=[MASKS[0], None])
    parts[0](RENDERED[0])
    found = finding(lambda: parts[1](RENDERED[1]))
    assert "BND014" in found
    assert "terms a, b" in found
