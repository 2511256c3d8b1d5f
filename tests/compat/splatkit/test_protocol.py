"""A compiled loss is one of splatkit's loss functions, takes its calls, and learns the step from its hooks."""

import inspect
import pickle

import pytest
import torch

import splatdsl

splatkit = pytest.importorskip("splatkit", reason="needs splatkit 0.1.0: .ci/compat-splatkit", exc_type=ImportError)

from splatkit.loss_fn import SplatLossFn  # noqa: E402
from splatkit.modules import SplatBaseModule, SplatModuleComposite  # noqa: E402

GATED = "term always = l1()\nterm late = 0.5 * mean(alpha) when after(step, 4)\nterm ramp = progress * l2()"


@pytest.fixture(scope="module")
def gated():
    return splatdsl.compile(GATED, backend="eager")


def test_it_is_one_of_its_loss_functions(gated):
    assert splatkit.__version__ == "0.1.0"
    assert isinstance(gated, SplatLossFn)
    assert isinstance(gated, SplatBaseModule)
    assert issubclass(splatdsl.CompiledLossFn, SplatLossFn)
    assert not isinstance(object(), SplatLossFn)
    assert gated.render_payload_T is splatkit.modules.SplatRenderPayload


def test_it_is_one_too_if_splatkit_is_imported_later(run_python):
    """The other order is that of this process."""
    lines = [
        "import inspect, sys, splatdsl",
        "loss = splatdsl.compile('l1()', backend='eager')",
        "assert 'splatkit' not in sys.modules",
        "import splatkit.loss_fn as home",
        "assert isinstance(loss, home.SplatLossFn)",
        "assert home.__spec__.loader is home.__loader__",
        "assert 'Splat3DGSLossFn' in inspect.getsource(home)",
        "print('same', type(home.__loader__).__name__)",
    ]
    done = run_python("-c", "\n".join(lines))
    assert done.stdout.split() == ["same", "SourceFileLoader"], done.stderr


def test_it_has_every_hook_with_its_parameters(gated):
    names = [n for n in vars(SplatBaseModule) if n.startswith(("on_", "pre_", "post_"))]
    assert len(names) == 7
    for name in names:
        asked = inspect.signature(getattr(SplatBaseModule, name)).parameters
        arguments = {n: None for n in asked if n != "self"}
        inspect.signature(getattr(gated, name)).bind(**arguments)
        inspect.signature(getattr(gated, name)).bind(*arguments.values())
    assert isinstance(gated.module_name, str)


def test_its_composite_passes_the_steps_on(gated, call, logger):
    given = call("3dgs")
    composite = SplatModuleComposite(gated)
    for step, terms in ((4, {"always", "ramp"}), (5, {"always", "late", "ramp"}), (10, {"always", "late", "ramp"})):
        given.tell(composite, logger, step, max_steps=10)
        found = given.loss(gated, logger)
        assert set(gated.terms) == terms
        told = {"rendered": given.renders, "target": given.targets, "render": given.payload}
        assert torch.equal(found, gated(**told, step=step - 1, max_steps=10))
    composite.on_cleanup(logger=logger)


def test_by_position_and_by_keyword_are_the_same(gated, call, logger):
    given = call("3dgs", masked=True)
    given.tell(gated, logger, 7, max_steps=10)
    expected = given.loss(gated, logger)
    parts = (given.renders, given.targets, given.state, given.payload)
    assert torch.equal(gated.compute_loss(logger, *parts, given.masks), expected)
    assert torch.equal(gated.compute_loss(logger, *parts, masks=given.masks), expected)
    assert torch.equal(gated.compute_loss(None, *parts, given.masks), expected)
    ours = gated.compute_loss(*parts, given.masks, 6, 10)
    assert torch.equal(ours, expected)
    assert not torch.equal(gated.compute_loss(*parts, given.masks, step=2, max_steps=10), expected)
    assert torch.equal(gated.compute_loss(logger, *parts, given.masks, step=6, max_steps=10), expected)


def test_a_step_that_nobody_told_is_an_error(gated, call, logger):
    given = call("3dgs")
    gated.on_setup(logger=logger, max_steps=10)  # forgets the run before
    with pytest.raises(splatdsl.LossError) as problem:
        given.loss(gated, logger)
    (diagnostic,) = problem.value.diagnostics
    assert (diagnostic.code, diagnostic.source.slice(diagnostic.span)) == ("BND001", "step")
    given.tell(gated, logger, 0)
    with pytest.raises(splatdsl.LossError, match="at least 1 in splatkit's hooks") as problem:
        given.loss(gated, logger)
    assert problem.value.diagnostics[0].code == "BND007"
    given.tell(gated, logger, 1)
    given.loss(gated, logger)
    gated.on_cleanup(logger=logger)
    with pytest.raises(splatdsl.LossError, match="depends on the step"):
        given.loss(gated, logger)


def test_a_loss_without_schedules_needs_no_hook(call, logger):
    given = call("3dgs")
    loss_fn = splatdsl.compile("0.5 * l1() + mean(alpha)", backend="eager")
    expected = 0.5 * (given.renders - given.targets).abs().mean() + given.payload.alphas.mean()
    torch.testing.assert_close(given.loss(loss_fn, logger), expected)


def test_one_that_went_to_another_process_is_one_still(gated, call, logger):
    """As splatkit's distributed trainer sends it."""
    given = call("3dgs")
    given.tell(gated, logger, 6, max_steps=10)
    other = pickle.loads(pickle.dumps(gated))
    assert isinstance(other, SplatLossFn)
    given.tell(other, logger, 6, max_steps=10)
    assert torch.equal(given.loss(other, logger), given.loss(gated, logger))


def test_a_missing_argument_is_what_python_says(gated, call, logger):
    given = call("3dgs")
    with pytest.raises(TypeError, match=r"compute_loss\(\) missing .*'rend_out'"):
        gated.compute_loss(logger, given.renders, given.targets, given.state)
