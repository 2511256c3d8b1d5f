"""`splatdsl ablate`: what is trained and what is not, and that the numbers are those of the runs."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from splatdsl.cli.main import main
from splatdsl.dsl.config import RunConfig, load_config
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.loading import compile
from splatdsl.runtime.training import series
from splatdsl.runtime.training.ablate import Variant, plan
from splatdsl.runtime.training.ablate_table import markdown, rows, text_table
from splatdsl.runtime.training.selection import SelectedLossFn, without
from splatdsl.runtime.training.series import Outcome
from splatdsl.runtime.training.setup import build_loss, build_trainer

CONFIG = """\
loss: |
  param w = 0.05
  term colour = l1(masked)
  term fill = w * mean(1 - alpha, masked)
  term depth = 0.1 * mean(relu(9 - depth), alpha > 0.5)
  term late = l2(masked) when after(step, 40)
data: {kind: synthetic, width: 32, height: 24, views: 4, test_every: 4}
renderer: {kind: reference}
train:
  max_steps: 4
  sh_degree: 1
  backend: eager
  device: cpu
  images: false
  tensorboard: false
"""
CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that are trained in, in order."""
    names: list[str] = []
    build = series.build_trainer

    def noted(config: RunConfig, output: Path, **options: Any) -> Any:
        names.append(output.name)
        return build(config, output, **options)

    monkeypatch.setattr(series, "build_trainer", noted)
    return names


def run(config: Path, *arguments: str) -> int:
    return main(["ablate", str(config), "--output", str(config.parent / "out"), *arguments])


def report(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((config.parent / "out" / "ablation.json").read_text())
    return found


def loaded(path: Path, *overrides: str) -> RunConfig:
    config, found = load_config(path, overrides)
    assert config is not None, found
    return config


def test_a_loss_without_a_term_lacks_its_value_its_buffers_and_its_fingerprint(config: Path) -> None:
    whole = build_loss(loaded(config), CPU)
    less = without(whole, ["depth"])
    assert "depth" in whole.requires(0, 4)
    assert "depth" not in less.requires(0, 4)
    assert less.left_out == ("depth",)
    image, alpha = torch.rand(1, 24, 32, 3), torch.full((1, 24, 32, 1), 0.8)
    given = {"rendered": image, "target": image.flip(2), "alpha": alpha, "step": 0, "max_steps": 4}
    total = whole(**given, depth=torch.full((1, 24, 32, 1), 2.0))
    rest = less(**given)
    assert set(less.terms) == {"colour", "fill"}
    assert float((total - rest).detach()) == pytest.approx(0.1 * 7.0, rel=1e-5)
    assert less.fingerprint != whole.fingerprint
    assert without(whole, ["fill"]).fingerprint != less.fingerprint
    assert SelectedLossFn(whole, ["colour", "fill", "depth", "late"]).fingerprint == whole.fingerprint
    assert "left out: depth" in less.describe()
    assert [t.name for t in whole.program.terms] == ["colour", "fill", "depth", "late"], "the whole loss stays whole"


def test_the_other_terms_keep_their_chances_and_memories() -> None:
    whole = compile(
        "memory seen = 0 then seen + mean(target)\n"
        "memory idle = 0 then idle + 1\n"
        "term a = idle * l1() / 0.5 when chance(step, 0.5)\n"
        "term b = l2() / 0.5 when chance(step, 0.5)\n"
        "term c = seen * mean(rendered)\n",
        backend="eager",
    )
    less = without(whole, ["a"])
    assert set(less.program.memories) == {"seen"}
    one, two = ([loss.weights(step)["b"] for step in range(40)] for loss in (whole, less))
    assert one == two
    assert 0 < sum(one) < 80
    image = torch.rand(1, 12, 12, 3)
    for step in range(3):
        for loss in (whole, less):
            loss(rendered=image, target=1 - image, step=step)
        assert torch.equal(whole.terms["c"], less.terms["c"])
    assert float(less.terms["c"]) > 0


def test_registered_functions_stay_with_the_terms() -> None:
    whole = compile(
        "extern twice(image) -> image\nterm a = mean(twice(rendered))\nterm b = l1()\n",
        backend="eager",
        register={"twice": lambda x: 2 * x},
    )
    image = torch.rand(1, 12, 12, 3)
    assert float(without(whole, ["b"])(rendered=image).detach()) == pytest.approx(2 * float(image.mean()))


def test_a_name_that_no_term_has(config: Path) -> None:
    with pytest.raises(LossError) as caught:
        without(build_loss(loaded(config), CPU), ["depht", "nothing"])
    first, second = caught.value.diagnostics
    assert first.code == "BND009"
    assert first.help == ("did you mean `depth`?",)
    assert first.span is not None
    assert first.source.slice(first.span) == "depht"
    assert second.help == ("its terms are colour, fill, depth, late",)


def test_the_table_holds_the_numbers_of_the_runs(
    config: Path, trained: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(config) == 0
    assert trained == ["full_seed0", "without_colour_seed0", "without_fill_seed0", "without_depth_seed0"]
    made = {row["name"]: row for row in report(config)["rows"]}
    assert list(made) == ["full", "without colour", "without fill", "without depth", "without late"]
    for name in ("full", "without colour", "without fill", "without depth"):
        folder = Path(made[name]["runs"]["0"]["folder"])
        recorded = json.loads((folder / "run.json").read_text())
        assert recorded["status"] == "finished"
        assert made[name]["mean"]["psnr"] == recorded["after"]["eval/psnr"]
        assert made[name]["mean"]["gaussians"] == 2000
        assert made[name]["mean"]["seconds"] > 0
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        terms = {key for row in metrics for key in row if key.startswith("terms/")}
        removed = name.removeprefix("without ")
        assert terms == {f"terms/{term}" for term in ("colour", "fill", "depth") if term != removed}
        if name != "full":
            gap = made[name]["mean"]["psnr"] - made["full"]["mean"]["psnr"]
            assert made[name]["to_full"]["psnr"] == pytest.approx(gap)
            assert gap != 0
    assert made["without late"]["note"] == "not trained: exists at none of the 4 steps"
    assert made["without late"]["mean"] == {}
    shown = capfd.readouterr()
    assert "run 4 of 5: without depth: step 4/4" in shown.err
    assert "without late: not trained: exists at none of the 4 steps" in shown.out
    page = (config.parent / "out" / "ablation.md").read_text().splitlines()
    table = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")] for line in page if line[:1] == "|"}
    assert table["loss"][2:4] == ["PSNR", "vs full"]
    assert table["full"][2:4] == [f"{made['full']['mean']['psnr']:.2f}", ""]
    depth = made["without depth"]
    assert table["without depth"][2:4] == [f"{depth['mean']['psnr']:.2f}", f"{depth['to_full']['psnr']:+.2f}"]


def test_a_run_without_a_term_is_the_run_of_a_program_without_it(config: Path, tmp_path: Path) -> None:
    assert run(config, "--terms", "depth") == 0
    other = tmp_path / "other.yaml"
    other.write_text("".join(line for line in CONFIG.splitlines(keepends=True) if "term depth" not in line))
    result = build_trainer(loaded(other), tmp_path / "other").run()
    row = next(row for row in report(config)["rows"] if row["name"] == "without depth")
    assert row["mean"]["psnr"] == result.after["eval/psnr"]


def test_what_is_finished_is_not_trained_again(config: Path, trained: list[str]) -> None:
    assert run(config, "--terms", "fill,colour") == 0
    before = report(config)
    assert trained == ["full_seed0", "without_colour_seed0", "without_fill_seed0"], "in the program's order"
    trained.clear()
    assert run(config, "--terms", "fill,colour", "--set", "train.log_every=3") == 0
    assert trained == []
    assert report(config)["rows"] == before["rows"]
    assert run(config, "--terms", "depth") == 0
    assert trained == ["without_depth_seed0"]
    trained.clear()
    assert run(config, "--terms", "fill", "--set", "loss_params.w=0.06") == 0
    assert trained == ["full_seed0", "without_fill_seed0"], "a parameter changed"
    trained.clear()
    config.write_text(CONFIG.replace("width: 32", "width: 48"))
    assert run(config, "--terms", "fill", "--set", "loss_params.w=0.06") == 0
    assert trained == ["full_seed0", "without_fill_seed0"], "the data changed"
    trained.clear()
    (config.parent / "out" / "full_seed0" / "result.json").write_text("{")
    assert run(config, "--terms", "fill", "--set", "loss_params.w=0.06") == 0
    assert trained == ["full_seed0"], "a record that cannot be read counts as none"


def test_an_interrupted_run_starts_again(
    config: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    step = series.Watch.post_step

    def stop(self: Any) -> None:
        step(self)
        if len(trained) == 2 and len(self.seconds) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(series.Watch, "post_step", stop)
    assert run(config, "--terms", "fill", "--set", "train.seed=3") == 130
    assert trained == ["full_seed3", "without_fill_seed3"]
    assert [row["name"] for row in report(config)["rows"]] == ["full"]
    error = capfd.readouterr().err
    again = f"splatdsl ablate {config} --set train.seed=3 --terms fill --output {config.parent / 'out'}"
    assert "stopped; 1 of 2 runs are there" in error
    assert again in error
    trained.clear()
    monkeypatch.undo()
    build: Callable[..., Any] = series.build_trainer
    monkeypatch.setattr(series, "build_trainer", lambda c, out, **o: trained.append(out.name) or build(c, out, **o))
    assert main(again.split()[1:]) == 0
    assert trained == ["without_fill_seed3"]
    metrics = (config.parent / "out" / "without_fill_seed3" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics if "loss" in json.loads(line)] == [0, 3]


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        ("1 / max(step - 2, 0) * mean(1 - alpha, masked) when after(step, 2)", "is inf at step 2"),
        ("exp(500 * mean(alpha + 1)) when after(step, 1)", "term `fill` is not finite at step 1"),
    ],
    ids=["weight", "value"],
)
def test_a_run_that_fails_is_a_row(config: Path, capfd: pytest.CaptureFixture[str], fill: str, said: str) -> None:
    config.write_text(
        CONFIG.replace("  param w = 0.05\n", "").replace(
            "term fill = w * mean(1 - alpha, masked)", f"term fill = {fill}"
        )
    )
    assert run(config, "--terms", "fill,depth") == 0
    made = {row["name"]: row for row in report(config)["rows"]}
    assert {name: row["runs"]["0"]["status"] for name, row in made.items()} == {
        "full": "failed",
        "without fill": "finished",
        "without depth": "failed",
    }
    assert said in made["full"]["note"]
    assert made["without fill"]["to_full"] == {}, "there is nothing to compare it with"
    assert "full: failed: " in capfd.readouterr().out


def test_a_loss_of_one_term_is_not_trained_without_it(config: Path, trained: list[str]) -> None:
    config.write_text("loss: l1(masked)\n" + CONFIG[CONFIG.index("data:") :])
    assert run(config) == 0
    assert trained == ["full_seed0"]
    assert report(config)["rows"][1]["note"] == "not trained: nothing is left to train with"


def test_terms_alone(config: Path, trained: list[str]) -> None:
    assert run(config, "--terms", "colour", "--each-alone", "--steps", "2") == 0
    assert trained == ["full_seed0", "without_colour_seed0", "colour_alone_seed0"]
    metrics = (config.parent / "out" / "colour_alone_seed0" / "metrics.jsonl").read_text().splitlines()
    assert {key for line in metrics for key in json.loads(line) if key.startswith("terms/")} == {"terms/colour"}


def test_several_seeds_give_a_mean_and_a_deviation(config: Path, trained: list[str]) -> None:
    # Of the scene that the project makes itself the order of the views does not depend on the seed of the run.
    drawn = ("--set", "train.background=random")
    assert run(config, "--terms", "fill", "--seeds", "5,1", "--format", "json", *drawn) == 0
    assert trained == ["full_seed5", "without_fill_seed5", "full_seed1", "without_fill_seed1"]
    row = report(config)["rows"][0]
    one, two = (row["runs"][seed]["values"]["psnr"] for seed in ("5", "1"))
    assert one != two
    assert row["mean"]["psnr"] == pytest.approx((one + two) / 2)
    assert row["deviation"]["psnr"] == pytest.approx(abs(one - two) / 2**0.5)


def test_plan_tells_what_is_not_worth_a_run(config: Path) -> None:
    program = build_loss(loaded(config, "loss_params.w=0"), CPU).program
    planned = plan(program, 41, [t.name for t in program.terms])
    assert {v.name: v.skipped for v in planned if v.skipped} == {"without fill": "not computed, as w is 0"}
    never = plan(program, 40, ["late", "colour"])
    assert [v.skipped for v in never] == ["", "exists at none of the 40 steps", ""]
    assert never[2].kept == ("fill", "depth", "late")


def test_plan_knows_terms_of_groups_by_their_whole_names() -> None:
    program = compile("term near.a = l1()\nterm far.a = l2() when after(step, 50)\n", backend="eager").program
    planned = plan(program, 40, ["near.a", "far.a"])
    assert [v.skipped for v in planned] == ["", "nothing is left to train with", "exists at none of the 40 steps"]


def outcome(psnr: float) -> Outcome:
    return Outcome("finished", {"psnr": psnr, "ssim": 0.5, "gaussians": 1000, "seconds": 1.25, "step_ms": 3.0})


def test_markdown_is_a_table_that_lines_up() -> None:
    variants = [Variant("full", ("a", "b"), ()), Variant("without a", ("b",), ("a",)), Variant("without b", (), ("b",))]
    outcomes = {
        ("full", 0): outcome(20.0),
        ("full", 1): outcome(22.0),
        ("without a", 0): outcome(19.999),
        ("without a", 1): outcome(21.999),
        ("without b", 0): Outcome("failed", {}, "term `a` is not finite at step 3"),
        ("without b", 1): Outcome("failed", {}, "term `a` is not finite at step 3"),
    }
    text = markdown(rows(variants, [0, 1], outcomes), "Title")
    lines = text.splitlines()
    assert lines[0] == "Title"
    cells = [cell.strip() for cell in lines[4].split("|")[1:-1]]
    assert cells == ["full", "21.00 ± 1.41", "", "0.5000 ± 0.0000", "", "1,000", "3", "1.2"]
    assert "| 0.00 ± 0.00 |" in lines[5], "a difference that is rounded away has no sign"
    assert lines[6].startswith("| without b * |")
    assert len({len(line) for line in lines[2:7]}) == 1
    assert lines[-1] == "\\* without b: failed: term `a` is not finite at step 3"


@pytest.mark.parametrize(("width", "seeds"), [(80, 1), (80, 2), (200, 2)])
def test_the_table_fits_its_terminal_with_every_number_whole(width: int, seeds: int) -> None:
    variants = [Variant("full", ("a", "b"), ()), Variant("without photometric", ("b",), ("photometric",))]
    outcomes = {}
    for seed in range(seeds):
        for i, variant in enumerate(variants):
            given = outcome(21.25 + i + seed)
            given.values.update(psnr_masked=15.5, ssim_masked=0.625, gaussians=12_345, step_ms=123.0, seconds=456.7)
            outcomes[variant.name, seed] = given
    made = rows(variants, list(range(seeds)), outcomes)
    for stacked in (True, False) if width > 80 else (True,):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(text_table(made, stacked))
        text = console.export_text()
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        words = text.split()
        wanted = ["full", "photometric", "12,345", "123", "456.7", "0.5000", "15.50", "0.6250"]
        for word in (*wanted, "+1.00", "21.25" if seeds == 1 else "21.75"):
            assert word in words, (word, stacked)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--terms", "colour,fil"), 1, "this loss has no term `fil`"),
        (("--terms", "colour,fil"), 1, "did you mean `fill`?"),
        (("--seeds", "0,x"), 2, "`0,x` is no list of seeds; write for instance 0,1,2"),
        (("--seeds", "-1"), 2, "a seed is at least 0, and -1 is below it"),
        (("--set", "data.test_every=0"), 2, "no view is held out"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(
    config: Path, trained: list[str], capfd: pytest.CaptureFixture[str], arguments: Any, status: int, said: str
) -> None:
    assert run(config, *arguments) == status
    assert said in capfd.readouterr().err
    assert trained == []
    assert not (config.parent / "out").exists()
