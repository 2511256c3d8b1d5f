"""splatkit's form of `compute_loss` and its base class, without splatkit; tests/compat/splatkit has the real one."""

import importlib
import sys
from abc import ABC
from types import SimpleNamespace

import pytest
import torch

import splatdsl
from splatdsl.runtime.adapters.splatkit import _Watch, join

G = torch.Generator().manual_seed(0)
RENDERS, TARGETS = (torch.rand(2, 12, 14, 3, generator=G) for _ in range(2))
STATE = SimpleNamespace(params={"opacities": torch.randn(5, generator=G)})
ALPHAS = torch.rand(2, 12, 14, 1, generator=G)
PARTS = (RENDERS, TARGETS, STATE, SimpleNamespace(alphas=ALPHAS))
LOGGER = object()


def loss(program):
    return splatdsl.compile(program, backend="eager")


def test_steps_of_hooks_count_from_1_and_programs_from_0():
    loss_fn = loss("term a = l1()\nterm b = mean(alpha) when after(step, 3)")
    loss_fn.on_setup(logger=LOGGER, max_steps=9)
    seen = []
    for step in range(1, 7):
        loss_fn.pre_step(LOGGER, step, 9, TARGETS, STATE)
        loss_fn.compute_loss(LOGGER, *PARTS)
        seen.append("b" in loss_fn.terms)
    assert seen == [False, False, False, True, True, True]
    assert torch.equal(loss_fn.compute_loss(*PARTS, step=0), loss_fn(rendered=RENDERS, target=TARGETS, step=0))
    assert set(loss_fn.terms) == {"a"}, "our own form does not ask the hooks"


def test_the_length_of_the_run_comes_with_the_step():
    loss_fn = loss("progress * l1()")
    for hook in (loss_fn.pre_step, loss_fn.pre_compute_loss):
        loss_fn.on_cleanup()
        hook(logger=LOGGER, step=6, max_steps=20)
        expected = 5 / 20 * (RENDERS - TARGETS).abs().mean()
        torch.testing.assert_close(loss_fn.compute_loss(LOGGER, *PARTS).detach(), expected)


@pytest.mark.parametrize(
    "program",
    [
        "l1() when after(step, 3)",
        "progress * l1()",
        "l1() * max_steps / 30_000",
        "l1() / 0.5 when chance(step, 0.5)",
        "mean(bernoulli(0.5, like=rendered) * abs(rendered - target))",
        "memory m = 0 then 0.9 * m + 0.1 * mean(alpha)\nterm t = l1() + m * mean(alpha)",
    ],
)
def test_a_loss_that_depends_on_the_step_must_be_told(program):
    loss_fn = loss(program)
    with pytest.raises(splatdsl.LossError) as problem:
        loss_fn.compute_loss(LOGGER, *PARTS)
    (diagnostic,) = problem.value.diagnostics
    assert diagnostic.code == "BND001"
    assert "no hook was called" in diagnostic.message
    loss_fn.compute_loss(LOGGER, *PARTS, step=5, max_steps=10)


def test_any_other_loss_needs_not_be_told():
    loss_fn = loss("l1()")
    expected = (RENDERS - TARGETS).abs().mean()
    torch.testing.assert_close(loss_fn.compute_loss(LOGGER, *PARTS).detach(), expected)
    named = dict(zip(("renders", "targets", "training_state", "rend_out"), PARTS))
    torch.testing.assert_close(loss_fn.compute_loss(logger=None, **named).detach(), expected)


@pytest.mark.parametrize(("step", "max_steps"), [(0, 9), (-1, 9), (1.5, 9), (True, 9), (None, 9), (1, 0)])
def test_what_is_no_step_of_splatkit_is_refused(step, max_steps):
    loss_fn = loss("progress * l1()")
    loss_fn.pre_step(LOGGER, step, max_steps)
    with pytest.raises(splatdsl.LossError) as problem:
        loss_fn.compute_loss(LOGGER, *PARTS)
    assert [d.code for d in problem.value.diagnostics] == ["BND007"]


def test_depths_of_gaussians_are_no_depth_map():
    loss_fn = loss("l1() + mean(depth)")
    pixels, rows = torch.rand(2, 12, 14, 1), torch.rand(2, 5)
    centres = torch.rand(2, 5, 2)
    common = {"rendered": RENDERS, "target": TARGETS}
    found = loss_fn(**common, render={"depths": pixels, "means2d": centres})
    torch.testing.assert_close(found.detach(), (RENDERS - TARGETS).abs().mean() + pixels.mean())
    with pytest.raises(splatdsl.LossError) as problem:
        loss_fn(**common, render={"depths": rows, "means2d": centres})
    assert [d.code for d in problem.value.diagnostics] == ["BND001"]


@pytest.mark.skipif(importlib.util.find_spec("splatkit") is not None, reason="the real splatkit is here")
@pytest.mark.parametrize("first", [True, False])
def test_the_base_class_is_joined_before_and_after_its_import(write, tmp_path, monkeypatch, first):
    write("splatkit/__init__.py", "from .loss_fn import SplatLossFn\n")
    write("splatkit/loss_fn.py", "from abc import ABC\n\nclass SplatLossFn(ABC):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    class Mine:
        pass

    try:
        if not first:
            importlib.import_module("splatkit")
        join(Mine)
        assert any(isinstance(finder, _Watch) for finder in sys.meta_path) is first
        module = importlib.import_module("splatkit")
        home = sys.modules["splatkit.loss_fn"]
        assert issubclass(Mine, module.SplatLossFn)
        assert not issubclass(ABC, module.SplatLossFn)
        assert type(home.__spec__.loader) is type(module.__spec__.loader), "the loader that did the work is not seen"
        assert home.__loader__ is home.__spec__.loader
    finally:
        for name in ("splatkit", "splatkit.loss_fn"):
            sys.modules.pop(name, None)


@pytest.mark.skipif(importlib.util.find_spec("splatkit") is not None, reason="the real splatkit is here")
def test_nothing_is_watched_where_splatkit_is_not_installed():
    before = list(sys.meta_path)
    join(SimpleNamespace)
    assert sys.meta_path == before
