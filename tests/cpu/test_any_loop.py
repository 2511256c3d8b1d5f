"""A loss in any loop: other names, mixed precision, evaluation, checkpoints, other processes."""

from __future__ import annotations

import copy
import importlib.util
import multiprocessing
import pickle
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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
REMEMBERING = (
    "param keep = 0.9 in [0, 1]\nmemory level = 0 then keep * level + (1 - keep) * l1()\nterm a = l1() + level"
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
WHOLE = {"rendered": torch.cat(RENDERED), "target": torch.cat(TARGETS), "mask": torch.cat(MASKS)}


def leaves() -> list[Tensor]:
    return [x.clone().requires_grad_() for x in RENDERED]


def finding(call: Any) -> str:
    with pytest.raises(LossError) as error:
        call()
    return str(error.value)


# Names


def test_names_of_the_caller_in_what_it_passes() -> None:
    expected = made()(**WHOLE, state=gaussians(), step=50)
    names = {
        "rendered": "rgb",
        "target": "image",
        "mask": "valid",
        "state.scales": "_scaling",
        "state.opacities": "_opacity",
    }
    loss_fn = made(bind=names)
    raw = gaussians()
    model = SimpleNamespace(_xyz=raw["means"], _scaling=raw["scales"], _opacity=raw["opacities"][:, None])
    outputs, batch = {"rgb": WHOLE["rendered"]}, {"image": WHOLE["target"], "valid": WHOLE["mask"]}
    by_record = loss_fn(render=outputs, item=batch, state=model, step=50)
    by_keyword = loss_fn(**outputs, **batch, _scaling=model._scaling, _opacity=model._opacity, step=50)
    by_our_names = loss_fn(**WHOLE, state=model, step=50)
    of_objects = loss_fn(render=SimpleNamespace(**outputs), item=SimpleNamespace(**batch), state=model, step=50)
    assert [float(x) for x in (by_record, by_keyword, by_our_names, of_objects)] == [float(expected)] * 4


def test_buffers_cameras_and_second_renders_are_read_under_the_names_of_the_caller() -> None:
    text = "input near: view\nterm a = mean(alpha * depth) + mean(camera.fx) + 2 * l1(near.rendered, near.target)"
    depth, alpha = rand(2, H, W, 1), rand(2, H, W, 1, seed=1)
    fx = torch.tensor([[[3.0, 0, 1], [0, 2, 1], [0, 0, 1]]], dtype=torch.float64)
    near = {"rendered": rand(2, H, W, 3, seed=2), "target": rand(2, H, W, 3, seed=3)}
    expected = made(text)(alpha=alpha, depth=depth, camera={"intrinsics": fx.expand(2, 3, 3)}, near=near)
    names = {"alpha": "accumulation", "depth": "z", "camera.intrinsics": "cam_K", "rendered": "rgb", "target": "gt"}
    other = {"rgb": near["rendered"], "gt": near["target"]}
    given = {"accumulation": alpha, "z": depth}
    loss_fn = made(text, bind=names)
    in_render = loss_fn(render={**given, "cam_K": fx.expand(2, 3, 3)}, near=other)
    in_item = loss_fn(render=given, item={"cam_K": fx.expand(2, 3, 3)}, near=other)
    assert float(in_render) == float(in_item) == float(expected)


def test_a_function_in_place_of_a_name_makes_the_value() -> None:
    loss_fn = made("l1()", bind={"rendered": lambda out: out["image"].permute(0, 2, 3, 1), "target": lambda i: i[0]})
    first = leaves()[0]
    total = loss_fn(render={"image": first.permute(0, 3, 1, 2)}, item=[TARGETS[0]])
    assert float(total) == float(made("l1()")(RENDERED[0], TARGETS[0]))
    (ours,) = torch.autograd.grad(total, first)
    assert ours.abs().sum() > 0


def test_components_first() -> None:
    first = [x.permute(0, 3, 1, 2).contiguous() for x in (WHOLE["rendered"], WHOLE["target"])]
    expected = float(made()(**WHOLE, state=gaussians()))
    loss_fn = made(layout="BCHW")
    assert float(loss_fn(*first, WHOLE["mask"], state=gaussians())) == expected
    assert float(loss_fn(*first, WHOLE["mask"][:, None], state=gaussians())) == expected
    one = made(layout="BCHW")(first[0][0], first[1][0], WHOLE["mask"][0], state=gaussians())
    assert float(one) == float(made()(*(WHOLE[n][0] for n in ("rendered", "target", "mask")), state=gaussians()))
    assert 'layout="BCHW"' in finding(lambda: made()(*first, state=gaussians()))


def test_what_is_no_name_is_said() -> None:
    assert "did you mean `rendered`" in finding(lambda: made(bind={"rendred": "rgb"}))
    assert "must be bound to a name or a function" in finding(lambda: made(bind={"rendered": 3}))
    assert "the layouts are BHWC and BCHW" in finding(lambda: made(layout="CWH"))
    loss_fn = made("l1(alpha > 0.5)", bind={"rendered": "rgb", "alpha": "accumulation"})
    twice = finding(lambda: loss_fn(RENDERED[0], TARGETS[0], rgb=RENDERED[0]))
    assert "`rendered` was given twice, also as `rgb`" in twice
    record = made("mean(state.opacities)", bind={"state": "model", "state.opacities": "opacity"})
    assert "`state.opacities` was given twice" in finding(lambda: record(model=gaussians(), opacity=rand(N)))
    missing = finding(lambda: loss_fn(RENDERED[0], TARGETS[0], render={"alpha": RENDERED[0][..., :1]}))
    assert "`alpha` is bound to `accumulation`" in missing
    with pytest.raises(TypeError, match="did you mean `accumulation`"):
        loss_fn(RENDERED[0], TARGETS[0], acumulation=RENDERED[0][..., :1])


# Mixed precision


def trained(amp: bool, dtype: torch.dtype) -> tuple[list[float], Tensor]:
    """A picture trained through a small layer, in half precision or not: losses and the picture."""
    loss_fn, scaler = made("0.8*l1(masked) + 0.2*ssim_loss(masked)"), torch.amp.GradScaler("cpu", enabled=amp)
    target, mask = rand(1, H, W, 3).float(), MASKS[1].float()
    picture = torch.full((1, H, W, 3), 0.5).requires_grad_()
    layer = torch.eye(3).requires_grad_()
    optimizer, losses = torch.optim.Adam([picture, layer], lr=0.02), []
    for step in range(25):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=amp):
            rendered = picture @ layer
            assert rendered.dtype == (dtype if amp else torch.float32)
            loss = loss_fn(rendered, target, mask, step=step)
        assert loss.dtype == torch.float32
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss))
    return losses, picture.detach()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_trains_to_the_same_picture(dtype: torch.dtype) -> None:
    exact, wanted = trained(False, dtype)
    losses, picture = trained(True, dtype)
    assert losses[-1] < 0.6 * losses[0]
    assert losses == pytest.approx(exact, rel=0.05, abs=2e-3)
    assert float((picture - wanted).abs().mean()) < 0.01


def test_a_step_with_infinite_gradients_is_skipped_by_the_scaler() -> None:
    loss_fn, scaler = made("0.8*l1() + 0.2*ssim_loss()"), torch.amp.GradScaler("cpu", init_scale=8.0)
    picture = rand(1, H, W, 3).float().requires_grad_()
    target, optimizer = rand(1, H, W, 3, seed=1).float(), torch.optim.SGD([picture], lr=0.1)
    for bad in (float("inf"), float("nan")):
        before, scale = picture.detach().clone(), scaler.get_scale()
        optimizer.zero_grad()
        loss = loss_fn(picture * torch.tensor([1.0, bad, 1.0]), target)
        assert not loss.isfinite()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(picture.detach(), before)
        assert scaler.get_scale() == scale / 2
    optimizer.zero_grad()
    scaler.scale(loss_fn(picture, target)).backward()
    (expected,) = torch.autograd.grad(loss_fn(picture, target), picture)
    before = picture.detach().clone()
    scaler.step(optimizer)
    assert torch.allclose(picture.detach(), before - 0.1 * expected, rtol=1e-6, atol=1e-9)


# Evaluation


def test_evaluation_between_steps_compiles_nothing_again() -> None:
    loss_fn = made("0.8*l1(masked) + 0.2*l2(masked)", backend="aot_eager")
    picture, target = RENDERED[1].clone().requires_grad_(), TARGETS[1]
    counts = []
    for step in range(4):
        mask = (rand(1, H, W, seed=step) > 0.5).double()
        loss_fn(picture, target, mask, step=step).backward()
        trained_value = float(loss_fn(picture, target, mask, step=step))
        with torch.no_grad():
            quiet = loss_fn(picture, target, mask, step=step)
        with torch.inference_mode():
            quieter = loss_fn(picture * 1, target, mask, step=step)
        assert not quiet.requires_grad
        assert not quieter.requires_grad
        assert float(quiet) == float(quieter) == trained_value
        counts.append(loss_fn.stats.graphs)
    with torch.inference_mode():
        made_there = TARGETS[1] * 1
    assert float(loss_fn(picture, made_there, mask, step=3)) == trained_value, "what was made there can be trained with"
    assert loss_fn.stats.graphs == loss_fn.stats.predicted
    assert loss_fn.stats.recompiles == 0
    assert counts[0] == counts[-1], "all graphs exist after the first step"


# State


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    loss_fn = made(REMEMBERING)
    loss_fn(RENDERED[0], TARGETS[0], step=0)
    before = copy.deepcopy(loss_fn.state_dict())
    assert "has no `params`" in finding(lambda: loss_fn.load_state_dict({"model": 1}))
    assert "keep" in finding(lambda: loss_fn.load_state_dict({"params": {"keep": 1.5}}))
    assert "other" in finding(lambda: loss_fn.load_state_dict({"params": {"keep": 0.1, "other": 1.0}}))
    form = {"params": {"keep": 0.1}, "memories": {"level": {"value": torch.ones(3), "before": None, "step": 2}}}
    assert "the memory `level` is a number" in finding(lambda: loss_fn.load_state_dict(form))
    assert str(loss_fn.state_dict()) == str(before)


# Copies and other processes


def test_a_copy_is_a_loss_of_its_own() -> None:
    loss_fn = made(REMEMBERING)
    loss_fn(RENDERED[0], TARGETS[0], step=0)
    twin = copy.deepcopy(loss_fn)
    assert float(twin(RENDERED[0], TARGETS[0], step=1)) == float(loss_fn(RENDERED[0], TARGETS[0], step=1))
    twin.params["keep"] = 0.5
    twin(RENDERED[0], TARGETS[0], step=2)
    assert loss_fn.params["keep"] == 0.9
    assert float(loss_fn.memories["level"]) != float(twin.memories["level"])


def test_a_pickled_loss_carries_its_settings_and_functions() -> None:
    text = "extern tint(image) -> image\nparam w = 1 in [0, 2]\nterm a = w * l1(tint(rendered), target)"
    loss_fn = made(text, register={"tint": torch.nn.Identity()}, bind={"rendered": "rgb"}, name="tinted")
    loss_fn.params["w"] = 0.5
    twin = pickle.loads(pickle.dumps(loss_fn))
    assert twin.fingerprint == loss_fn.fingerprint
    assert repr(twin) == repr(loss_fn)
    assert float(twin(rgb=RENDERED[0], target=TARGETS[0])) == float(loss_fn(rgb=RENDERED[0], target=TARGETS[0]))
    assert twin.stats.graphs == 1


def test_a_function_that_cannot_go_along_is_named() -> None:
    text = "extern tint(image) -> image\nterm a = l1(tint(rendered), target)"
    loss_fn = made(text, register={"tint": lambda x: x})
    found = finding(lambda: pickle.dumps(loss_fn))
    assert "BND013" in found
    assert "registered for the extern `tint`" in found
    assert "`bind` has for `rendered`" in finding(lambda: pickle.dumps(made("l1()", bind={"rendered": lambda o: o})))
    assert float(copy.deepcopy(loss_fn)(RENDERED[0], TARGETS[0])) == float(loss_fn(RENDERED[0], TARGETS[0]))


def test_a_pickled_loss_needs_no_files(tmp_path: Any) -> None:
    (tmp_path / "common.loss").write_text("def close(a, b) = mean(abs(a - b))\n")
    (tmp_path / "own.loss").write_text('use "common.loss" (close)\nterm a = close(rendered, target)\n')
    loss_fn = splatdsl.load(tmp_path / "own.loss", backend="eager")
    expected, text = float(loss_fn(RENDERED[0], TARGETS[0])), pickle.dumps(loss_fn)
    (tmp_path / "common.loss").write_text("def close(a, b) = 2 * mean(abs(a - b))\n")
    assert float(pickle.loads(text)(RENDERED[0], TARGETS[0])) == expected


FRESH = """
import sys, torch
given = torch.load(f"{folder}/given.pt")
total, terms = torch.export.load(f"{folder}/loss.pt2").module()(given, torch.tensor(60))
assert "splatdsl" not in sys.modules
import splatdsl
loss_fn = splatdsl.compile(open(f"{folder}/own.loss").read(), backend="eager")
loss_fn.load_state_dict(torch.load(f"{folder}/state.pt"))
numbers = [total, loss_fn(**given, step=1), torch.load(f"{folder}/loss.pt", weights_only=False)(**given, step=1)]
torch.save([float(x.detach()) for x in numbers] + [loss_fn.params["keep"]], f"{folder}/found.pt")
"""


def test_a_worker_process_computes_the_same_numbers(tmp_path: Any) -> None:
    exported = made("0.8*l1() + ramp(step, 100) * 0.2*l2()")
    given = {"rendered": RENDERED[0], "target": TARGETS[0]}
    torch.export.save(exported.export(**given, max_steps=100), tmp_path / "loss.pt2")
    loss_fn = made(REMEMBERING)
    loss_fn.params["keep"] = 0.25
    loss_fn(**given, step=0)
    torch.save(given, tmp_path / "given.pt")
    torch.save(loss_fn.state_dict(), tmp_path / "state.pt")
    torch.save(loss_fn, tmp_path / "loss.pt")
    (tmp_path / "own.loss").write_text(REMEMBERING)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(exec, (FRESH, {"folder": str(tmp_path)}))  # first, while the process knows nothing of the package
        sent = float(pool.apply(partial(loss_fn, **given, step=1)).detach())
    expected = float(loss_fn(**given, step=1))
    by_export, by_state, by_file, keep = torch.load(tmp_path / "found.pt")
    assert by_export == pytest.approx(float(exported(**given, step=60, max_steps=100)), rel=1e-14)
    assert [sent, by_state, by_file, keep] == [expected, expected, expected, 0.25]


# What is shown

ROOT = Path(__file__).parents[2]


def test_the_example_trains_and_accumulates_in_half_precision(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("plain_loop", ROOT / "examples" / "embedding" / "plain_loop.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    losses = example.main(["--steps", "12", "--amp", "--backend", "eager"])
    assert min(losses[6:]) < losses[0]
    assert "photometric" in capsys.readouterr().out


def test_the_page_shows_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "embedding-loop.md").read_text(encoding="utf-8")
    (tmp_path / "loss.loss").write_text(
        "term colour = l1(masked) + 0.1 * mean(alpha)\n"
        "term few = ramp(step, 10) * mean(state.opacities) * mean(state.scales)"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(splatdsl, "load", partial(splatdsl.load, backend="eager"))
    picture = rand(1, H, W, 3).requires_grad_()
    outputs = {"rgb": picture, "accumulation": picture[..., :1], "z": picture[..., 0]}
    model = SimpleNamespace(_scaling=rand(N, 3), _opacity=rand(N, 1))
    batch = {"photo": rand(1, H, W, 3), "valid": MASKS[1]}
    scope: dict[str, Any] = {"splatdsl": splatdsl, "torch": torch, "step": 7, "outputs": outputs, "model": model}
    scope |= {"rgb": picture, "alpha": outputs["accumulation"], "photo": batch["photo"], "mask": MASKS[1]}
    scope |= {"batch": batch, "batches": [batch, batch], "draw": lambda *_: outputs}
    scope["scaler"] = torch.amp.GradScaler("cpu", enabled=False)
    first, second, third = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(first, scope)
    exec(second, scope)
    assert picture.grad.abs().sum() > 0
    inputs = {"rendered": picture, "target": batch["photo"], "mask": MASKS[1], "alpha": outputs["accumulation"]}
    scope["inputs"] = {**inputs, "state.scales": model._scaling, "state.opacities": model._opacity}
    exec(third, scope)
    expected = scope["loss_fn"](render=outputs, item=batch, state=model, step=7)
    assert float(scope["total"]) == pytest.approx(float(expected))
