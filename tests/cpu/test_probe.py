"""`splatdsl probe`: every number against an independent computation, and a training that it does not disturb."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from splatdsl.cli.main import main
from splatdsl.dsl.config import RunConfig, load_config
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.renderers.reference import ReferenceRenderer
from splatdsl.runtime.splat.state import SplatTrainingState
from splatdsl.runtime.training.probe import ProbeRun, StepProbe, TermProbe, default_steps
from splatdsl.runtime.training.probe_picture import sheet
from splatdsl.runtime.training.probe_report import absent, percent, report_json, warnings
from splatdsl.runtime.training.setup import build_loss, build_provider, trainer_config
from splatdsl.runtime.training.trainer import SplatTrainer

GROUPS = ("means", "scales", "quats", "opacities", "sh0", "shN")
CONFIG = """\
loss: |
  param w = 0.3
  term colour = l1(masked)
  term fill = w * mean(1 - alpha, masked)
  term depth = 0.1 * mean(relu(9 - depth), alpha > 0.5)
  term mixed = 0.05 * mean(state.opacities) * mean(sq(rendered))
  term small = 0.01 * mean(state.scales)
  term late = l2(masked) when after(step, 6)
data: {kind: synthetic, width: 32, height: 24, views: 4, test_every: 4}
renderer: {kind: reference}
train:
  max_steps: 8
  sh_degree: 1
  sh_degree_interval: 2
  backend: eager
  device: cpu
  images: false
  tensorboard: false
"""

Made = Callable[..., RunConfig]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(text: str = CONFIG, *overrides: str) -> RunConfig:
        path = tmp_path / "run.yaml"
        path.write_text(text)
        config, found = load_config(path, overrides)
        assert config is not None, found
        return config

    return make


def probed(config: RunConfig, *at: int) -> tuple[list[StepProbe], SplatTrainingState]:
    found: list[StepProbe] = []
    result = ProbeRun(config, at, found.append).train()
    return found, result.state


def by_name(at: StepProbe) -> dict[str, TermProbe]:
    return {term.name: term for term in at.terms}


def written_out(config: RunConfig) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The weighted terms of step 0 in plain torch: with the parameters and the buffers that they are made of."""
    provider = build_provider(config.data, config.train.seed, torch.device("cpu"))
    provider.load_data()
    model = provider.init_splat_model(sh_degree=1, init_opacity=0.1, init_scale=1.0)
    params = {name: value.clone().requires_grad_() for name, value in model.parameters().items()}
    item = provider.next_train_data(0)
    assert item.mask is not None
    rendered, out = ReferenceRenderer().render(
        params, item.cam_to_world, item.K, 32, 24, 0, torch.zeros(1, 3), frozenset({"rendered", "alpha", "depth"})
    )
    assert out.depths is not None
    buffers = {"rendered": rendered, "alpha": out.alphas, "depth": out.depths}
    keep = item.mask[..., None].float()
    solid = (out.alphas > 0.5).float()
    terms = {
        "colour": ((rendered - item.image).abs() * keep).sum() / (3 * keep.sum()),
        "fill": 0.3 * ((1 - out.alphas) * keep).sum() / keep.sum(),
        "depth": 0.1 * ((9 - out.depths).relu() * solid).sum() / solid.sum().clamp(min=1),
        "mixed": 0.05 * params["opacities"].sigmoid().mean() * rendered.square().mean(),
        "small": 0.01 * params["scales"].exp().mean(),
    }
    return terms, params, buffers


def test_values_and_gradients_are_those_of_plain_autograd(made: Made) -> None:
    config = made()
    [at], _ = probed(config, 0)
    terms, params, buffers = written_out(config)
    assert all(float(value.detach()) > 0 for value in terms.values())
    assert [term.name for term in at.terms] == list(terms), "`late` does not exist yet"
    gradients: dict[str, dict[str, Tensor]] = {}
    for name, term in by_name(at).items():
        value = float(terms[name].detach())
        assert term.value == pytest.approx(value, rel=1e-5)
        assert term.raw * term.weight == pytest.approx(term.value, rel=1e-5)
        whole = torch.autograd.grad(terms[name], list(params.values()), retain_graph=True, allow_unused=True)
        gradients[name] = {group: slope for group, slope in zip(params, whole) if slope is not None}
        for group in GROUPS:
            expected = gradients[name].get(group)
            assert (term.norms[group] or 0.0) == pytest.approx(
                0.0 if expected is None else float(expected.norm()), rel=2e-3, abs=1e-9
            ), (name, group)
    assert at.loss == pytest.approx(sum(float(value.detach()) for value in terms.values()), rel=1e-5)
    first, second = gradients["colour"]["opacities"].flatten(), gradients["fill"]["opacities"].flatten()
    cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    assert at.cosines["opacities"]["colour", "fill"] == pytest.approx(cosine, abs=1e-3)
    # What a term pulls at directly, the path from one buffer to another left out: depth is made of alpha, too.
    for name, buffer in (("colour", "rendered"), ("fill", "alpha"), ("depth", "depth"), ("mixed", "rendered")):
        [slope] = torch.autograd.grad(terms[name], [buffers[buffer]], retain_graph=True)
        assert torch.allclose(by_name(at)[name].pull[buffer], slope[0].norm(dim=-1), rtol=1e-4, atol=1e-9), name
    assert {name: set(term.pull) for name, term in by_name(at).items()} == {
        "colour": {"rendered"},
        "fill": {"alpha"},
        "depth": {"depth"},
        "mixed": {"rendered"},
        "small": set(),
    }
    direct = torch.autograd.grad(terms["small"], [params["scales"]])[0].norm(dim=1)
    assert torch.allclose(by_name(at)["small"].direct["scales"], direct, rtol=1e-4)
    assert set(by_name(at)["mixed"].direct) == {"opacities"}
    assert set(by_name(at)["colour"].direct) == set()


def test_shares_sum_to_one(made: Made) -> None:
    found, _ = probed(made(), 0, 7)
    assert [at.step for at in found] == [0, 7]
    for at in found:
        assert sum(term.share for term in at.terms) == pytest.approx(1)
        for group in GROUPS:
            shares = [term.shares[group] for term in at.terms]
            if group in ("quats", "shN") and at.step == 0:
                assert shares == [None] * len(shares), "round gaussians of degree 0 do not change when these do"
            else:
                assert sum(share or 0.0 for share in shares) == pytest.approx(1), group
        for buffer in ("rendered", "alpha", "depth"):
            assert sum(term.pull_shares.get(buffer, 0.0) for term in at.terms) == pytest.approx(1)
    assert "late" in by_name(found[1])
    assert found[0].view != ""


def test_the_training_goes_on_as_without_it(made: Made) -> None:
    """Bit for bit, with densification, which reads gradients that a probe must not leave its own in."""
    text = CONFIG.replace("max_steps: 8", "max_steps: 9\n  refine_start: 0\n  refine_every: 3\n  refine_stop: 9")
    config = made(text)
    _, state = probed(config, 0, 1, 2, 4, 8)
    trainer: SplatTrainer[Any, Any] = SplatTrainer(
        trainer_config(config),
        build_loss(config, torch.device("cpu")),
        build_provider(config.data, 0, torch.device("cpu")),
        ReferenceRenderer(),
    )
    plain = trainer.run().state
    assert plain.num_gaussians != 2000, "densification did something"
    assert state.num_gaussians == plain.num_gaussians
    for name in GROUPS:
        assert torch.equal(state.params[name], plain.params[name]), name


def test_it_ends_after_the_last_probed_step(made: Made) -> None:
    run = ProbeRun(made(), [2, 1])
    assert run.train().steps == 3


def test_a_constant_term_has_no_gradient(made: Made) -> None:
    [at], _ = probed(made(CONFIG.replace("term late", "term still = 0.5 * mean(target)\n  term late")), 0)
    still = by_name(at)["still"]
    assert still.value > 0
    assert set(still.norms.values()) == {None}
    assert [w.describe() for w in warnings([at]) if w.terms == ("still",)] == [
        "`still` has no gradient at step 0: it changes nothing"
    ]


def test_a_term_with_a_memory_is_probed_with_what_the_memory_was(made: Made) -> None:
    text = CONFIG[CONFIG.index("data:") :]
    program = "loss: |\n  memory n = 0 then n + 1\n  term a = n * l1(masked)\n  term b = mean(1 - alpha, masked)\n"
    found, _ = probed(made(program + text), 0, 2)
    raw = by_name(found[1])
    assert found[1].loss == pytest.approx(raw["a"].value + raw["b"].value, rel=1e-5)
    assert raw["a"].value > by_name(found[0])["a"].value


def term(name: str, value: float, **norms: float | None) -> TermProbe:
    """A made-up term; the shares are filled in by `step`."""
    reached = {group: norms.get(group) for group in GROUPS}
    return TermProbe(name, value, 1.0, value, 0.0, reached, {}, {}, {}, {})


def step(number: int, *terms: TermProbe, cosines: dict[str, dict[tuple[str, str], float]] | None = None) -> StepProbe:
    sums = {g: sum(t.norms[g] or 0.0 for t in terms) for g in GROUPS}
    total = sum(abs(t.value) for t in terms)
    filled = []
    for t in terms:
        shares = {g: (t.norms[g] or 0.0) / sums[g] if sums[g] else None for g in GROUPS}
        filled.append(TermProbe(t.name, t.raw, 1.0, t.value, abs(t.value) / total, t.norms, shares, {}, {}, {}))
    return StepProbe(number, 100, "", 5, total, tuple(filled), cosines or {}, None, None, None)


def test_warnings_name_what_is_out_of_balance() -> None:
    first = step(0, term("a", 96.0, means=99.0, scales=1.0), term("b", 4.0, scales=0.0009, quats=7.0))
    second = step(50, term("a", 99.0, means=1.0, scales=1.0), term("b", 1.0, scales=1.0, quats=7.0))
    assert [w.describe() for w in warnings([first, second])] == [
        "`a` makes over 95 % of the loss (99.0 %) and of the gradient on scales (99.91 %), at steps 0, 50",
        "`b` makes under 0.1 % of the gradient on scales (0.09 %), at step 0",
    ], "groups that only one of them reaches are not worth a word"
    edge = step(0, term("a", 95.0, means=95.0), term("b", 5.0, means=5.0))
    assert warnings([edge]) == [], "95 % is not over 95 %"
    alone = step(0, term("a", 1.0, means=1.0))
    assert warnings([alone]) == []


def test_warnings_name_terms_that_pull_against_each_other() -> None:
    pair = (term("a", 1.0, means=1.0), term("b", 1.0, means=1.0))
    against = step(0, *pair, cosines={"means": {("a", "b"): -0.51}, "scales": {("a", "b"): -0.9}})
    assert [w.describe() for w in warnings([against])] == [
        "`a` and `b` pull against each other on means (cosine -0.51), scales (cosine -0.90), at step 0"
    ]
    assert warnings([step(0, *pair, cosines={"means": {("a", "b"): -0.5}})]) == []


def test_opposite_terms_have_cosine_minus_one(made: Made) -> None:
    text = CONFIG[CONFIG.index("data:") :]
    program = "loss: |\n  term up = mean(state.opacities)\n  term down = 0.5 * mean(1 - state.opacities)\n"
    [at], _ = probed(made(program + text), 0)
    assert at.cosines == {"opacities": {("up", "down"): pytest.approx(-1)}}
    assert [w.rule for w in warnings([at])] == ["opposes"]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "-"), (0.0, "0 %"), (1.0, "100.0 %"), (0.00005, "<0.01 %"), (0.99995, ">99.99 %"), (0.0025, "0.25 %")],
)
def test_percentages_keep_the_digits_that_tell_something(share: float | None, shown: str) -> None:
    assert percent(share) == shown


def test_a_value_that_is_not_finite_is_reported_before_the_run_ends(made: Made) -> None:
    found: list[StepProbe] = []
    config = made(CONFIG.replace("term late = l2(masked)", "term bad = 1e38 * 1e38 * l2(masked)"))
    run = ProbeRun(config, [6], found.append)
    with pytest.raises(LossError) as caught:
        run.train()
    assert caught.value.diagnostics[0].code in ("RUN001", "BND008")
    report = json.dumps(report_json(found, {}), allow_nan=False)
    if found:  # a weight that is not finite ends the step before anything is computed
        assert [w.rule for w in warnings(found)].count("not-finite") == 1
        assert json.loads(report)["steps"][0]["terms"]["bad"]["weighted"] is None


def test_terms_that_are_not_there_are_named(made: Made) -> None:
    run = ProbeRun(made(CONFIG, "loss_params.w=0"), [0])
    assert absent(run.program, [], 8)["fill"] == "not computed, as w is 0"
    found_steps, _ = probed(made(), 0)
    assert absent(run.program, found_steps, 8) == {"late": "from step 6"}


def test_terms_of_groups_go_by_their_whole_names(made: Made) -> None:
    program = "loss: |\n  term near.a = l1(masked)\n  term far.a = l2(masked) when after(step, 3)\n"
    config = made(program + CONFIG[CONFIG.index("data:") :])
    run = ProbeRun(config, [0])
    found, _ = probed(config, 0)
    assert [term.name for term in found[0].terms] == ["near.a"]
    assert absent(run.program, found, 8) == {"far.a": "from step 3"}


def test_default_steps_lie_within_the_run() -> None:
    assert default_steps(300) == (0, 10, 50)
    assert default_steps(12) == (0, 10, 11)
    assert default_steps(1) == (0,)


def test_the_sheet_is_the_same_twice(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    [at], _ = probed(made(), 0)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        sheet(at, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_size > 20_000


def test_the_command_writes_tables_numbers_and_pictures(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    made()
    out = tmp_path / "out"
    assert main(["probe", str(tmp_path / "run.yaml"), "--at", "1,0", "--output", str(out)]) == 0
    printed = capfd.readouterr()
    assert "Step 0 of 8, view " in printed.out
    assert "Step 1 of 8, view " in printed.out
    assert "not there: late (from step 6)" in printed.out
    assert "step 2/2" in printed.err
    report = json.loads((out / "probe.json").read_text())
    assert [at["step"] for at in report["steps"]] == [0, 1]
    assert math.isclose(sum(t["share"] for t in report["steps"][0]["terms"].values()), 1)
    (out / "mine.png").touch()
    assert sorted(path.name for path in out.glob("step*")) == ["step_000000.png", "step_000001.png"]
    assert main(["probe", str(tmp_path / "run.yaml"), "--at", "2", "--output", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["mine.png", "probe.json", "step_000002.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "8"), "--at 8: the run has 8 steps, 0 to 7"),
        (("--at", "1,x"), "`1,x` is no list of steps; write for instance 0,500,1000"),
        (("--at", "-1"), "steps count from 0, and -1 is below it"),
        (("--at", "5", "--steps", "5"), "--at 5: the run has 5 steps, 0 to 4"),
    ],
)
def test_wrong_steps_are_refused(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    made()
    assert main(["probe", str(tmp_path / "run.yaml"), *arguments]) == 2
    assert said in capfd.readouterr().err
