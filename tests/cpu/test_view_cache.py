"""What depends on a view's data alone is kept until the view comes up again, and nothing else changes."""

import copy
import gc
import pickle
from types import SimpleNamespace

import pytest
import torch

import splatdsl
from splatdsl.compiler.views import divide, view_inputs
from splatdsl.compiler.windows import cpp
from splatdsl.runtime.data.base import SplatDataItem, ViewListProvider
from splatdsl.runtime.training.loss_access import LossAccess
from splatdsl.runtime.view_cache import ViewCache, budget_of

pytestmark = pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")

PROGRAM = """
param sharp = 2 > 0
param start: steps = 5
input prior: map
input motion: map
let t = haar(target)
let r = haar(rendered)
let calm = exp(-component_mean(abs(dx(target))))
let low = block_mean(component_sum(abs(t.ll)), 4)
memory usual = 1 then 0.9 * usual + 0.1 * mean(low)
term colour = l1(masked)
term ssim = 0.2 * ssim_loss(rendered, target, erode(masked, 1))
term wave = usual * l1(r.ll, t.ll) + l1(r.lh, t.lh, low >= quantile(low, 0.5))
term smooth = expdecay(step, 0.1) * mean(abs(dx(depth)) * calm ^ sharp, erode(masked, 1))
term shape = mean(abs(minmax(prior) - depth)) + l1(motion, prior) when after(step, start)
"""
SMALL = "term smooth = mean(abs(dx(rendered)) * exp(-component_mean(abs(dx(target)))))"


def frames(seed, height=18, width=22):
    """What a renderer makes: with gradients."""
    g = torch.Generator().manual_seed(seed)
    sizes = {"rendered": 3, "depth": 1, "motion": 1}
    return {n: torch.rand(1, height, width, k, generator=g).requires_grad_() for n, k in sizes.items()}


def view(seed, height=18, width=22):
    """What a view's data is."""
    g = torch.Generator().manual_seed(100 + seed)
    found = {n: torch.rand(1, height, width, k, generator=g) for n, k in (("target", 3), ("prior", 1))}
    return {**found, "mask": torch.rand(1, height, width, generator=g) > 0.3}


def small(seed):
    return {"rendered": frames(seed)["rendered"], "target": view(seed)["target"]}


class Twins:
    """A loss with and without the cache, whose results must not differ."""

    def __init__(self, text=PROGRAM, budget="1 MB", backend="eager"):
        self.plain = splatdsl.compile(text, backend=backend)
        self.caching = splatdsl.compile(text, backend=backend, view_cache=budget)
        self.cache = self.caching.view_cache

    def __call__(self, rendered, data, **others):
        found = []
        for loss_fn in (self.plain, self.caching):
            leaves = {n: t.detach().requires_grad_() for n, t in rendered.items()}
            told = others if loss_fn is self.caching else {k: v for k, v in others.items() if k != "view"}
            total = loss_fn(**leaves, **data, **told)
            if total.requires_grad:
                total.backward()
            made = {n: t.grad for n, t in leaves.items() if t.grad is not None}
            found.append((total.detach(), dict(loss_fn.terms), loss_fn.empty_regions, made))
        torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-7)
        return found[1][0]


def test_steps_views_phases_and_evaluation_give_the_same():
    twins, views = Twins(), [view(0), view(1)]
    for step in range(8):
        twins(frames(step), views[step % 2], step=step)
    assert twins.cache.misses == 6  # two views: of the target, of the mask, and from step 5 on of the prior
    assert twins.cache.hits == 2 * 8 + 3 - 6
    with torch.no_grad():
        twins(frames(9), views[0], step=3)
    assert twins.cache.misses == 6
    torch.testing.assert_close(twins.caching.memories["usual"], twins.plain.memories["usual"])


def test_a_compiled_loss_has_as_many_graphs_as_predicted():
    twins = Twins(SMALL, backend="aot_eager")
    data = {"target": view(0)["target"]}
    for step in range(3):
        twins({"rendered": frames(step)["rendered"]}, data, step=step)
    stats = twins.caching.stats
    assert (stats.graphs, stats.predicted, stats.recompiles, stats.graph_breaks) == (2, 2, 0, 0)
    assert (twins.cache.hits, twins.cache.misses) == (2, 1)


def test_changes_of_the_data_are_seen():
    twins, data = Twins(), view(0)
    twins(frames(0), data)
    data["target"].mul_(0.5)
    first = twins(frames(0), data)
    data["target"][:, 3:5].clamp_(min=0.4)  # through a view of it
    assert twins(frames(0), data) != first
    data["mask"][:, :9] = False
    twins(frames(0), data)
    data["mask"] = view(3)["mask"]
    twins(frames(0), data)
    data["target"].data = view(4)["target"]  # another memory under the same object
    twins(frames(0), data)
    data["mask"] = None
    twins(frames(0), data)
    misses = twins.cache.misses
    twins(frames(0), data)
    assert twins.cache.misses == misses


def test_a_target_that_is_gone_is_no_other():
    twins = Twins(SMALL)
    for seed in range(20):  # new tensors get the memory, and the ids, of those before
        twins({"rendered": frames(seed)["rendered"]}, {"target": view(seed)["target"]})
    assert twins.cache.hits == 0
    assert twins.cache.misses == 20
    gc.collect()
    assert len(twins.cache) == 0
    assert twins.cache.bytes == 0


def test_a_name_stands_for_new_tensors():
    twins = Twins()
    for step in range(6):
        data = view(step % 2)
        prior = data.pop("prior")
        twins(frames(step), data, item={"prior": prior}, view=f"view {step % 2}", step=step + 10)
    assert (twins.cache.hits, twins.cache.misses) == (12, 6)
    twins(frames(0, 26, 20), view(0, 26, 20), view="view 0")  # a crop of another size
    twins(frames(0), {n: t.double() if t.is_floating_point() else t for n, t in view(0).items()}, view="view 0")
    assert twins.cache.misses == 10


def test_a_name_is_a_promise_until_it_is_cleared():
    loss_fn = splatdsl.compile(SMALL, backend="eager", view_cache="1 MB")
    rendered = frames(0)["rendered"]
    first = loss_fn(rendered, view(0)["target"], view=("a", 1))
    assert loss_fn(rendered, view(1)["target"], view=("a", 1)) == first  # the promise is broken
    loss_fn.view_cache.clear()
    assert loss_fn(rendered, view(1)["target"], view=("a", 1)) != first


def test_a_name_does_not_speak_for_what_may_be_rendered():
    """Maps that are passed by keyword may be new at each step, also where they carry no gradient."""
    twins = Twins()
    with torch.no_grad():
        for step in range(3):
            twins(frames(step), view(0), view="a", step=20)
    for step in range(3):
        twins(frames(step), view(0), view="a", step=20)


def test_trained_targets_keep_their_gradient():
    twins = Twins(SMALL)
    for step in range(3):
        both = small(step)
        twins({**both}, {}, view="a")  # the target is among the leaves
    assert twins.cache.misses == 0


def test_the_budget_is_kept():
    needed = 4 * 18 * 22
    twins = Twins(SMALL, budget=2 * needed)
    views = [{"target": view(i)["target"]} for i in range(3)]
    for i in (0, 1, 0, 2, 0, 1):  # 1 goes for 2: it was used before 0
        twins({"rendered": frames(i)["rendered"]}, views[i])
        assert twins.cache.bytes <= twins.cache.budget
    assert (twins.cache.hits, twins.cache.misses, len(twins.cache)) == (2, 4, 2)
    assert repr(twins.cache) == f"ViewCache(hits=2, misses=4, views=2, bytes={2 * needed}, budget={2 * needed})"
    tight = Twins(SMALL, budget=needed - 1)
    for _ in range(3):
        tight({"rendered": frames(0)["rendered"]}, views[0])
    assert (tight.cache.bytes, tight.cache.hits, tight.cache.misses) == (0, 0, 1)


def test_copies_are_empty_and_checkpoints_hold_nothing_of_it():
    loss_fn = splatdsl.compile(SMALL, backend="eager", view_cache="1 MB")
    given = small(0)
    loss_fn(**given)
    assert loss_fn.view_cache.bytes > 0
    assert list(loss_fn.state_dict()) == ["params"]
    for made in (copy.deepcopy(loss_fn.view_cache), pickle.loads(pickle.dumps(loss_fn.view_cache))):
        assert (made.bytes, made.budget, made.misses) == (0, 10**6, 0)
    other = copy.deepcopy(loss_fn)
    torch.testing.assert_close(other(**given), loss_fn(**given))
    assert (other.view_cache.hits, loss_fn.view_cache.hits) == (0, 1)
    loss_fn.view_cache.clear()
    assert loss_fn.view_cache.bytes == 0


def test_a_warmup_leaves_no_trace_and_leaves_nothing_to_compile():
    loss_fn = splatdsl.compile(SMALL, backend="aot_eager", view_cache="1 MB")
    loss_fn.warmup(**small(0), view="a")
    assert (loss_fn.view_cache.hits, loss_fn.view_cache.misses, loss_fn.view_cache.bytes) == (0, 0, 0)
    graphs = loss_fn.stats.graphs
    loss_fn(**small(0), view="a")
    assert loss_fn.stats.graphs == graphs == 2


def test_without_such_work_everything_is_as_before():
    for text, budget in (("term colour = photometric()", "1 MB"), (SMALL, None), (SMALL, 0)):
        loss_fn = splatdsl.compile(text, backend="eager", view_cache=budget)
        loss_fn(**small(0), view="a")
        loss_fn(**small(1), view="a")
        assert (loss_fn.stats.graphs, loss_fn.view_cache.misses) == (1, 0)
    assert repr(loss_fn.view_cache) == "ViewCache(off)"


def test_what_is_required_is_as_before():
    twins = Twins()
    twins(frames(0), view(0), step=20)
    assert twins.caching.requires(20) == twins.plain.requires(20) >= {"target", "mask", "depth"}
    fixed = Twins("term fixed = mean(blur(target, 2))\nterm colour = mean(rendered)")
    fixed({"rendered": frames(0)["rendered"]}, {"target": view(0)["target"]})
    assert fixed.caching.requires(0) == fixed.plain.requires(0) >= {"target"}


def test_inference_mode_keeps_nothing_that_training_cannot_use():
    twins, data = Twins(SMALL), {"target": view(0)["target"]}
    with torch.inference_mode():
        twins.caching(frames(0)["rendered"], **data)
        inside = view(1)["target"]
        twins.caching(frames(0)["rendered"], inside)
        twins.caching(frames(0)["rendered"], inside.clone(), view="b")
    twins({"rendered": frames(0)["rendered"]}, data)
    twins({"rendered": frames(0)["rendered"]}, {"target": view(1)["target"]}, view="b")
    assert (twins.cache.hits, twins.cache.misses) == (2, 2)


@pytest.mark.parametrize(("given", "found"), [("256 MB", 256 * 10**6), ("1.5 GiB", 1610612736), ("7", 7), (1e3, 1000)])
def test_budgets(given, found):
    assert budget_of(given) == found == splatdsl.compile(SMALL, backend="eager", view_cache=given).view_cache.budget


@pytest.mark.parametrize("given", ["much", "-1 MB", "3 TB or so", -1, float("nan"), float("inf"), True, [1]])
def test_what_is_no_budget_is_said(given):
    with pytest.raises(splatdsl.LossError) as problem:
        splatdsl.compile(SMALL, backend="eager", view_cache=given)
    assert [d.code for d in problem.value.diagnostics] == ["BND009"]


@pytest.mark.parametrize("name", [["a"], torch.tensor(1)])
def test_what_is_no_name_is_said(name):
    loss_fn = splatdsl.compile(SMALL, backend="eager", view_cache="1 MB")
    with pytest.raises(splatdsl.LossError, match="`view` is the name of a view"):
        loss_fn(**small(0), view=name)


def test_an_input_that_is_called_view_is_still_one():
    loss_fn = splatdsl.compile("input view: map\nterm a = l1(rendered.r, view)", backend="eager", view_cache="1 MB")
    given = {"rendered": frames(0)["rendered"], "view": view(0)["prior"]}
    expected = (given["rendered"][..., :1] - given["view"]).abs().mean()
    torch.testing.assert_close(loss_fn(**given), expected)


def graph_of(text, **facts):
    compiled = splatdsl.compile(text, backend="eager")._compiled
    env = compiled.schedule.environment(0, 10)
    return compiled.part(compiled.schedule.facts(env, True)).graph, view_inputs(compiled.program)


@pytest.mark.skipif(cpp.missing() != "", reason=cpp.missing())
def test_numbers_of_a_view_count_beside_window_kernels():
    given, found = small(0), []
    for kernels, budget in (("torch", None), ("cpp", "1 MB")):
        text = "term a = ssim_loss() + 0.5 * mean(blur(target, 2))"
        loss_fn = splatdsl.compile(text, backend="eager", kernels=kernels, view_cache=budget)
        found += [loss_fn(**given).detach() for _ in range(2)]
    assert loss_fn.view_cache.hits == 1
    torch.testing.assert_close(found[2:], found[:2])


def test_the_smallest_values_are_kept():
    graph, names = graph_of(
        "let wide = dx(target)\nlet one = component_mean(abs(wide))\n"
        "term a = mean(rendered * exp(-one)) + mean(abs(rendered) * one) + mean(sq(rendered) * sin(one))"
    )
    (found,) = divide(graph, names).views
    assert [found.nodes[i].shape.components for _, i in found.outputs] == [
        1
    ]  # one map, not three, and not three channels
    assert found.inputs() == ["target"]


def test_parameters_and_chance_are_not_of_a_view():
    text = "param s = 1 > 0\nterm a = mean(rendered * {})"
    for value in ("s * blur(target, 2)", "dx(s * target)"):
        graph, names = graph_of(text.format(value))
        found = divide(graph, names)
        assert (found is None) == (value == "dx(s * target)")
    graph, names = graph_of("term a = mean(rendered * blur(target, 2), bernoulli(0.5, like=target))")
    (found,) = divide(graph, names).views
    assert found.inputs() == ["target"]
    assert not any(n.op == "host" for n in found.nodes)


class Listed(ViewListProvider):
    """Enough of a provider to be asked for its kind."""

    _load = _item = _sparse_points = None


class Augmenting(Listed):
    def next_train_data(self, step):
        raise NotImplementedError


@pytest.mark.parametrize(("provider", "known"), [(Listed, True), (Augmenting, False)])
def test_the_trainer_names_views_that_stay_the_same(provider, known):
    loss_fn = splatdsl.compile(SMALL, backend="eager", view_cache="1 MB")
    access = LossAccess(loss_fn, 10)
    access.check_data(provider.__new__(provider))

    def step(image, **changed):
        item = SplatDataItem(3, "a.png", torch.eye(3)[None], torch.eye(4)[None], image)
        rendered = torch.rand_like(image).requires_grad_()
        frames = {"rendered_frames": rendered, "target_frames": image, "rend_out": None, "masks": None}
        access.compute(
            {**frames, "training_state": SimpleNamespace(), "step": 0, "max_steps": 10, **changed}, {"item": item}
        )
        return loss_fn.view_cache.hits

    image = view(0)["target"]
    step(image.clone())
    assert step(image.clone()) == int(known)
    assert step(image.clone(), target_frames=image.clone()) == int(known)  # a module passes on another image
    assert step(image.clone().mul_(0.5)) == int(known)  # or changes it
    assert step(torch.cat([image, image])) == int(known)  # a batch


def test_the_cache_itself():
    cache = ViewCache(100)
    source = torch.zeros(2)
    assert cache.keep("a", [source], (torch.zeros(20),))
    assert cache.find("a", [source]) is not None
    assert cache.keep("a", [source], (torch.zeros(10),))
    assert cache.bytes == 40
    assert not cache.keep("b", [], (torch.zeros(26),))
    assert cache.bytes == 40
    other = torch.zeros(2)
    assert cache.find("a", [other]) is None
