"""One rank of `test_ranks`: losses of several ranks against one process that holds everything; prints a JSON object.

The first argument names the set of cases. RANK, WORLD_SIZE and STORE, a file, come from the environment.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import splatdsl
from splatdsl.runtime.ranks import Ranks

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

PROGRAMS = {
    "photometric": "0.8*l1(masked) + 0.2*ssim_loss(masked) + 0.01*reg(state)",
    "valid": 'ssim_loss(rendered, target, masked, padding="valid")',
    "nested": "let d = rendered - target\nlet m = mean(d, masked)\nterm a = mean(sq(d - m), masked)\n"
    "term b = sqrt(mean(sq(d), masked) + 0.1)\nterm c = 0.1*mean(state.opacities * m)",
    "regions": "term inner = l1(erode(masked, 1)) + 0.5*l1(unmasked)\n"
    "term few = mean(abs(rendered - target), rendered > 0.9 and masked)\nterm none = l1(rendered > 2)",
    "together": "term a = max_over(abs(rendered - target), masked)\nterm t = tv(rendered, masked)\n"
    "term p = 0.01*(50 - psnr(masked))\nterm q = largest_mean(abs(rendered - target), 0.1, masked)\n"
    "term m = mean(median(abs(rendered - target), masked)) * mean(sq(rendered - target), masked)",
    "gaussians": "term a = mean(state.scales) + 0.3*sum(state.opacities) / N\nterm q = max_over(state.scales)\n"
    "term s = std(state.opacities)\nterm e = mean(exp(state.opacities - mean(state.opacities)))",
    "statistics": "term p = pearson_loss(rendered, target, masked)\n"
    "term s = mean(std(rendered, masked))\nterm b = mean(rendered) / B",
    "chance": "term r = mean(abs(rendered - target), bernoulli(0.3, like=rendered) > 0.5)",
    "memory": "let m = mean(rendered, masked)\nmemory seen = 0.5 then 0.5*seen + 0.5*m\nterm a = sq(m - seen)",
    "extern": "extern judge(image) -> number\nterm a = l1(masked) + 0.1*judge(rendered)",
    "visible": "term a = mean(state.scales, visible)",
}


def whole(images: int, gaussians: int) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor], Tensor]:
    """A batch whose first image is masked as a whole, and the second in part; gaussians; which images see which."""
    g = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    rendered, target = random(images, 24, 28, 3).sigmoid(), random(images, 24, 28, 3).sigmoid()
    mask = (random(images, 24, 28) > -0.3).double()
    mask[0], mask[1, :10] = 0, 0
    state = {"means": random(gaussians, 3), "scales": random(gaussians, 3), "quats": random(gaussians, 4)}
    state["opacities"] = random(gaussians)
    seen = (random(images, gaussians) > 0.5).double()
    return rendered, target, mask, state, seen


def judge(image: Tensor) -> Tensor:
    return image.square().mean() + 0.1 * image[:, 0].mean()


def compiled(name: str, **options: Any) -> Any:
    register = {"judge": judge} if name == "extern" else None
    return splatdsl.compile(PROGRAMS[name], register=register, **{"backend": "eager", **options})


class Outcome:
    """A step or two of a loss: total, terms, and the gradients by the render and the gaussians."""

    def __init__(
        self, loss: Any, rendered: Tensor, target: Tensor, mask: Any, state: Any, seen: Any, steps: int
    ) -> None:
        for step in range(3, 3 + steps):
            image = rendered.detach().clone().requires_grad_()
            params = {k: v.detach().clone().requires_grad_() for k, v in state.items()}
            self.total = loss(rendered=image, target=target, mask=mask, state=params, visible=seen, step=step)
            self.total.backward()
        self.terms = dict(loss.terms)
        self.image = torch.zeros_like(image) if image.grad is None else image.grad
        self.state = {k: torch.zeros_like(v) if v.grad is None else v.grad for k, v in params.items()}


def compare(name: str, gaussians: str, masks: str, **options: Any) -> float:
    """The largest relative error of a program on the ranks."""
    images, count = SIZE + 2, 41
    rendered, target, mask, state, seen = whole(images, count)
    if masks == "on some":  # the last ranks have none: their pixels all count
        mask[2:] = 1
    cuts = [0, *range(1, SIZE), images]
    rows = slice(cuts[RANK], cuts[RANK + 1])
    # The first rank has no gaussians at all.
    ends = [0, 0, *(count * k // SIZE for k in range(2, SIZE + 1))]
    own = slice(ends[RANK], ends[RANK + 1]) if gaussians == "shards" else slice(None)
    steps = 2 if name == "memory" else 1
    whole_mask = None if masks == "none" else mask
    mine = None if masks == "none" or (masks == "on some" and RANK > 1) else mask[rows]
    # Copies are seen by whichever rank; shards know of all images.
    visible = seen.amax(0)[own] if gaussians == "shards" else seen[rows].amax(0)
    one = Outcome(compiled(name, ranks=None), rendered, target, whole_mask, state, seen.amax(0), steps)
    loss = compiled(name, ranks=Ranks(gaussians), **options)
    many = Outcome(loss, rendered[rows], target[rows], mine, {k: v[own] for k, v in state.items()}, visible, steps)
    errors = [(many.total - one.total).abs() / one.total.abs()]
    assert many.terms.keys() == one.terms.keys()
    errors += [(many.terms[t] - one.terms[t]).abs() / one.terms[t].abs().clamp(min=1e-6) for t in one.terms]
    errors.append((many.image - one.image[rows]).norm() / one.image.norm().clamp(min=1e-6))
    for k, gradient in many.state.items():
        if gaussians == "copies":
            dist.all_reduce(gradient)
        errors.append((gradient - one.state[k][own]).norm() / one.state[k].norm().clamp(min=1e-6))
    found = torch.stack([e.double().reshape(()) for e in errors])
    assert found.isfinite().all(), (name, gaussians, masks, found)
    assert loss.stats.recompiles == 0
    return float(found.max())


def cases_eager() -> dict[str, Any]:
    found = {}
    several = ("photometric", "nested", "together")
    for name in PROGRAMS if SIZE == 2 else (*several, "gaussians"):
        for gaussians in ("copies", "shards"):
            for masks in ("all", "on some", "none") if name in several else ("all",):
                found[f"{name}, {gaussians}, masks {masks}"] = compare(name, gaussians, masks)
    return found


def cases_compiled() -> dict[str, Any]:
    options = {"together": "aot_eager", "nested": "inductor"}
    return {f"{name}, {b}": compare(name, "copies", "all", backend=b) for name, b in options.items()}


def refusal(call: Callable[[], Any]) -> str:
    try:
        call()
    except splatdsl.LossError as error:
        return str(error)
    return ""


def cases_refused() -> dict[str, Any]:
    rendered, target, mask, state, _ = whole(SIZE, 20)
    mine = {"rendered": rendered[RANK : RANK + 1], "target": target[RANK : RANK + 1], "mask": mask[RANK : RANK + 1]}
    first = RANK == 0

    def loss(text: str = PROGRAMS["photometric"], ranks: Any = "auto", **params: float) -> Any:
        return splatdsl.compile(text, backend="eager", ranks=ranks, params=params)

    less = {k: v[: 20 - RANK] for k, v in state.items()}
    other = {k: v + RANK for k, v in state.items()}
    weighted = "param w = 0.5 in [0, 1]\nterm a = w*l1()"
    optional = "input other: image?\nterm a = l1()\nterm b = l1(rendered, other) when has(other)"
    extra = {"other": mine["target"]} if first else {}
    cut = {k: v[:, : 20 + RANK] for k, v in mine.items()}
    found = {
        "steps": refusal(lambda: loss()(**mine, state=state, step=5 + RANK)),
        "parameters": refusal(lambda: loss(weighted, w=0.5 - 0.1 * RANK)(**mine)),
        "inputs": refusal(lambda: loss(optional)(**mine, **extra)),
        "numbers of gaussians": refusal(lambda: loss()(**mine, state=less)),
        "gaussians": refusal(lambda: loss()(**mine, state=other)),
        "sizes": refusal(lambda: loss(PROGRAMS["together"])(**cut)),
        "minmax": refusal(lambda: loss("mean(minmax(state.opacities))", Ranks("shards"))(**mine, state=state)),
        "word": refusal(lambda: loss(ranks="views")),
    }
    everyone = loss()
    with everyone.alone():
        if first:  # the others do not call it at all
            found["alone"] = float(everyone(**mine, state=state) - loss(ranks=None)(**mine, state=state))
    with torch.no_grad():
        found["no_grad"] = float(everyone(**mine, state=state))
    everyone.warmup(**mine, state=state)
    found["sum of ranks"] = float(everyone(**mine, state=state))
    found["expected"] = float(loss(ranks=None)(rendered=rendered, target=target, mask=mask, state=state))
    return found


def cases_gone() -> dict[str, Any]:
    rendered, target, _, _, _ = whole(SIZE, 5)
    loss = splatdsl.compile("l1()", backend="eager")
    for step in range(5):
        if RANK == 1 and step == 2:
            os._exit(9)
        said = refusal(lambda step=step: loss(rendered=rendered[:1], target=target[:1], step=step))
        if said:
            return {"step": step, "said": said}
    return {}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    store = f"file://{os.environ['STORE']}"
    dist.init_process_group("gloo", store, timeout=timedelta(seconds=60), rank=RANK, world_size=SIZE)
    print(
        json.dumps(
            {"eager": cases_eager, "compiled": cases_compiled, "refused": cases_refused, "gone": cases_gone}[
                sys.argv[1]
            ]()
        )
    )
    sys.stdout.flush()
    os._exit(0)  # a group that has lost a rank cannot be taken down in order


if __name__ == "__main__":
    main()
