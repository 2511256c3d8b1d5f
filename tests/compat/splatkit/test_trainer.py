"""splatkit's own trainer, renderers and densification with another loss; what gsplat does on CUDA runs in torch."""

import re
from pathlib import Path

import pytest
import torch

import splatdsl

splatkit = pytest.importorskip("splatkit", reason="needs splatkit 0.1.0: .ci/compat-splatkit", exc_type=ImportError)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "embedding-splatkit.md"
STEPS, VIEWS = 18, 4
PROGRAM = """
term colour = photometric(masked)
term empty  = 0.5 * mean(alpha * unmasked, everywhere) when has(mask)
term small  = 0.01 * scale_reg(state) when after(step, 6)
term seen   = progress * mean(state.opacities, visible)
"""


class Watch(splatkit.modules.SplatBaseModule):
    """Notes what the loss was at each step, and which hooks were called."""

    def __init__(self):
        self.losses, self.terms, self.steps, self.gaussians, self.calls = [], [], [], 0, []

    def on_setup(self, loss_fn, **kwargs):
        self.loss_fn = loss_fn
        self.calls.append("on_setup")

    def post_compute_loss(self, step, loss, **kwargs):
        self.steps.append(step)
        self.losses.append(loss.item())
        self.terms.append(dict(getattr(self.loss_fn, "terms", {})))

    def post_step(self, training_state, **kwargs):
        self.gaussians = training_state.num_gaussians

    def on_cleanup(self, **kwargs):
        self.calls.append("on_cleanup")


def train(example, loss_fn, steps=STEPS, **parts):
    torch.manual_seed(0)
    watch = Watch()
    trainer = splatkit.SplatTrainer(
        config=splatkit.SplatTrainerConfig(max_steps=steps, sh_degree=0),
        renderer=parts.get("renderer") or splatkit.Splat3DGSRenderer(),
        loss_fn=loss_fn,
        data_provider=example.Scene(width=32, height=24, views=VIEWS, test_every=0, points=150),
        densification=parts.get("densification") or splatkit.SplatDefaultDensification(),
        modules=[watch],
    )
    with example.on_cpu(trainer):
        trainer.run()
    return watch


@pytest.fixture(scope="module")
def trained(example):
    return train(example, splatdsl.compile(PROGRAM, backend="eager"))


def test_the_loss_goes_down(trained):
    assert trained.calls == ["on_setup", "on_cleanup"]
    assert trained.steps == list(range(1, STEPS + 1))
    first, last = trained.terms[:VIEWS], trained.terms[-VIEWS:]  # each view once
    assert sum(t["colour"] for t in last) < 0.97 * sum(t["colour"] for t in first)


def test_schedules_follow_its_steps(trained):
    assert next(step for step, terms in zip(trained.steps, trained.terms) if "small" in terms) == 7
    assert [step for step, terms in zip(trained.steps, trained.terms) if "seen" in terms] == trained.steps
    for step, loss, terms in zip(trained.steps, trained.losses, trained.terms):
        weights = {"colour": 1.0, "empty": 0.5, "small": 0.01, "seen": (step - 1) / STEPS}
        assert loss == pytest.approx(sum(weights[name] * float(value) for name, value in terms.items()), rel=1e-5)


@pytest.mark.usefixtures("with_fused_ssim")
def test_the_twin_trains_as_the_class_does(example):
    """The same losses step by step, so the same gradients and the same updates between them."""
    theirs = train(example, splatkit.Splat3DGSLossFn(opacity_reg=0.01, scale_reg=0.01), steps=6)
    params = {"opacity_weight": 0.01, "scale_weight": 0.01}
    ours = train(example, splatdsl.load("zoo:splatkit-3dgs", params=params, backend="eager"), steps=6)
    assert ours.losses == pytest.approx(theirs.losses, rel=2e-4)
    assert max(abs(a - b) for a, b in zip(ours.losses, ours.losses[1:])) > 0.01, "they do change"


def test_the_2dgs_twin_trains_and_its_gates_open(example):
    params = {"distortion_start": 3, "normal_start": 5}
    loss_fn = splatdsl.load("zoo:splatkit-2dgs", params=params, backend="eager")
    watch = train(example, loss_fn, steps=6, renderer=splatkit.Splat2DGSRenderer())
    added = [sorted(set(terms) - {"photometric", "outside"}) for terms in watch.terms]
    assert added == [[], [], ["distortion"], ["distortion"], *[["distortion", "normals"]] * 2]
    assert all(value > 0 for terms in watch.terms for value in terms.values())


def test_what_the_page_shows_runs(example):
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    scene = example.Scene(width=32, height=24, views=VIEWS, test_every=0, points=150)
    names = {"data_provider": scene}
    exec(first.replace("30_000", "2").replace("trainer.run()", ""), names)
    with example.on_cpu(names["trainer"]):
        names["trainer"].run()
    assert set(names["trainer"]._loss_fn.terms) == {"photometric", "outside"}

    loss_fn = splatdsl.compile("l1() + 0.01 * mean(depth)", backend="eager")
    exec(second, names)
    watch = train(example, loss_fn, steps=2, renderer=names["WithDepth"]())
    assert min(watch.losses) > 0
    with pytest.raises(splatdsl.LossError, match="reads `depth`"):  # its trainer asks for none
        train(example, loss_fn, steps=2)


def test_gaussians_are_added_while_it_trains(example):
    densification = splatkit.SplatDefaultDensification(
        refine_start_iter=2, refine_every=2, grow_grad2d=1e-5, grow_scale3d=10.0
    )
    loss_fn = splatdsl.compile(PROGRAM, backend="eager")
    watch = train(example, loss_fn, steps=7, densification=densification)
    assert watch.gaussians > 200
    assert all(torch.isfinite(value) for terms in watch.terms for value in terms.values())


def test_a_memory_of_the_gaussians_is_left_behind_when_there_are_more(example):
    densification = splatkit.SplatDefaultDensification(refine_start_iter=1, refine_every=2, grow_grad2d=1e-5)
    program = "memory m = 0 then 0.5 * m + 0.5 * state.opacities\nterm t = l1() + 0.01 * mean(m * state.opacities)"
    with pytest.raises(splatdsl.LossError, match="on_densification") as problem:
        train(example, splatdsl.compile(program, backend="eager"), steps=7, densification=densification)
    assert problem.value.diagnostics[0].code == "BND012"


def test_the_example_runs(example, capsys):
    losses = example.main(steps=12, width=32, height=24)
    assert len(losses) == 12
    assert "photometric" in capsys.readouterr().out
