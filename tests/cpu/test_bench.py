"""The benchmark suite: all that it compares computes the same, and what it prints holds what it measured."""

import json
import sys

import pytest
import torch

from splatdsl.bench import harness, memory, overhead, peers, startup, tables
from splatdsl.bench.programs import BY_COMPILER, EAGER, FLOOR, OURS, PROGRAMS, Settings, Size, compiled_loss
from splatdsl.bench.suite import NAMES, sizes_of
from splatdsl.cli.app import run as command
from splatdsl.runtime.ssim_package import fused_ssim

SIZE = Size(24, 33, 500)
PLAIN = Settings(backend="eager")
BY_NAME = {program.name: program for program in PROGRAMS}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_peer_computes_what_ours_does(name):
    program = BY_NAME[name]
    inputs = program.inputs(SIZE, "cpu")
    calls = {variant: program.build(variant, inputs, PLAIN) for variant in program.variants(PLAIN)}
    assert {OURS, EAGER, BY_COMPILER, FLOOR} <= calls.keys()
    assert next(iter(calls)) == OURS
    agreed = harness.agree(calls)
    assert {OURS, EAGER, BY_COMPILER} <= agreed.keys()
    assert float(calls[OURS].run()) > 1e-6
    assert all(leaf.grad.abs().max() > 0 for leaf in inputs.leaves.values())
    calls[FLOOR].run()


def test_pytorch_msssim_is_compared_where_it_computes_the_same():
    assert "F.l1_loss + pytorch-msssim" in BY_NAME["photometric-valid"].variants(PLAIN)
    assert "F.l1_loss + pytorch-msssim" not in BY_NAME["photometric"].variants(PLAIN)


@pytest.mark.parametrize(("name", "padding"), [("photometric", "same"), ("photometric-valid", "valid")])
def test_the_peer_with_a_fused_kernel(name, padding):
    program = BY_NAME[name]
    inputs = program.inputs(SIZE, "cpu")

    def loss():
        return peers.photometric_fused(inputs.tensor("rendered"), inputs.tensor("target"), fused_ssim, padding)

    fused = harness.Call(harness.training_step(loss, inputs.leaves), inputs.leaves)
    assert harness.agree({OURS: program.build(OURS, inputs, PLAIN), "fused": fused})["fused"].gradient < 1e-4
    other = harness.Call(harness.training_step(lambda: 1.001 * loss(), inputs.leaves), inputs.leaves)
    with pytest.raises(harness.Disagreement, match="`other` computes"):
        harness.agree({OURS: fused, "other": other})


def test_another_gradient_alone_is_found():
    leaf = torch.ones(5, requires_grad=True)

    def call(loss):
        return harness.Call(harness.training_step(loss, {"leaf": leaf}), {"leaf": leaf})

    calls = {"one": call(lambda: leaf.sum()), "other": call(lambda: leaf.square().sum())}
    with pytest.raises(harness.Disagreement, match="loss 0, gradient 1"):
        harness.agree(calls)
    assert list(harness.agree({**calls, "other": calls["other"]._replace(same=False)})) == ["one"]


def test_variants_take_turns():
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = harness.interleave(calls, 2, warmup=1, in_a_row=2)
    assert "".join(order) == "ab" + 2 * "aabb"
    assert [len(times) for times in seconds.values()] == [2, 2]
    rows = harness.summarise({"a": [0.002, 0.001, 0.004], "b": [0.006, 0.005, 0.001]}, "a")
    assert [(r["median_ms"], r["min_ms"], r["max_ms"], r["ratio"]) for r in rows] == [(2, 1, 4, 1), (5, 1, 6, 2.5)]


def test_how_much_others_take(monkeypatch):
    readings = iter([(100.0, 10.0), (120.0, 15.0), None, (1.0, 1.0)])  # seconds of all cores; of those, others'
    monkeypatch.setattr(harness.Others, "_now", staticmethod(lambda: next(readings)))
    with harness.Others() as others:
        pass
    assert others.share == 0.25
    with harness.Others() as others:
        pass
    assert others.share is None
    monkeypatch.undo()
    now = harness.Others._now()
    assert now is None or now[0] > 0


def test_the_graph_by_hand_is_the_loss():
    inputs = BY_NAME["photometric"].inputs(Size(16, 16), "cpu")
    ours = compiled_loss(overhead.WINDOWED, PLAIN)(**inputs.given)
    for other in (overhead.bare, overhead.graph_by_hand):
        torch.testing.assert_close(other(overhead.WINDOWED, inputs, PLAIN)(), ours, rtol=1e-5, atol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process can be reset on Linux only")
def test_memory_is_that_of_a_step():
    size = Size(400, 500)
    image = 400 * 500 * 3 * 4 / memory.MIB
    held = memory._in_child(BY_NAME["photometric"], (EAGER,), size, PLAIN)
    if not held:
        pytest.skip("this system does not let the peak be reset")
    # Five blurred images, squares and products of the inputs, and maps, kept for the backward; not hundreds.
    assert 10 * image < held[EAGER].above < 40 * image


def test_the_first_step_of_a_process():
    found = startup._child(OURS, Size(24, 32), PLAIN, {})
    assert found["import_torch"] > 0
    assert found["first_step"] > 0


@pytest.fixture(scope="module")
def quick(run_cli, tmp_path_factory):
    """A quick run: the finished process and the report that it wrote."""
    path = tmp_path_factory.mktemp("bench") / "report.json"
    done = run_cli("bench", "--quick", "--device", "cpu", "--only", "mcmc,scaling,overhead,masked", "--json", str(path))
    assert done.returncode == 0, done.stderr
    return done, path


def test_a_quick_run(quick):
    done, path = quick
    report = json.loads(path.read_text("utf-8"))
    assert report["version"] == 1
    assert report["settings"]["rounds"] == 2
    assert report["settings"]["compiled"] is False
    assert {"cpu", "cores", "threads", "torch", "python"} <= report["machine"].keys()
    assert [(e["program"], e["size"]) for e in report["programs"]] == [("masked", "24x32"), ("mcmc", "500")]
    for entry in report["programs"]:
        first = entry["rows"][0]
        assert (first["variant"], first["ratio"]) == (OURS, 1.0)
        for row in entry["rows"]:
            assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
            assert row["ratio"] == pytest.approx(row["median_ms"] / first["median_ms"])
            if row["same"]:
                assert row["loss"] == pytest.approx(first["loss"], rel=1e-4)
                assert row["gradient_difference"] < harness.GRADIENT_TOLERANCE
    assert [e["against"] for e in report["scaling"]] == ["pixels", "gaussians", "terms"]
    assert [row["value"] for row in report["scaling"][2]["rows"]] == [1, 2, 4]
    assert [e["case"] for e in report["overhead"]] == list(overhead.CASES)
    assert "startup" not in report
    assert "nothing is compiled" in done.stdout
    assert "time against gaussians" in done.stdout
    assert "masked at 24x32" in done.stderr, "long work says what it does"


def test_a_report_becomes_a_section_of_the_documentation(quick, capsys):
    assert command(["bench", "--from", str(quick[1]), "--markdown", "--date", "2026-01-31"]) == 0
    page = capsys.readouterr().out
    lines = page.splitlines()
    assert lines[0].startswith("## Figures of 2026-01-31: ")
    for heading in ("### masked", "### time against terms", "### overhead: gate"):
        assert heading in lines
    tables_of = [line for line in lines if line.startswith("|")]
    assert any(line.startswith(f"| {OURS} | ") and "1.00x" in line for line in tables_of)
    report = json.loads(quick[1].read_text("utf-8"))
    assert page == tables.markdown(report, "2026-01-31")
    assert page != tables.markdown({**report, "programs": []}, "2026-01-31")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "photometrik"], "did you mean `photometric`?"),
        (["--sizes", "540x"], "write height x width in pixels, such as 540x960"),
        (["--sizes", "8x8"], "at least 12 pixels"),
        (["--sizes", "0.5"], "at least 1"),
        (["--sizes", "1e400"], "is no size"),
        (["--full", "--quick"], "give one of them"),
        (["--sizes", "1e5", "--full"], "give one of them"),
        (["--rounds", "0"], "1<=x"),
        (["--kernels", "cuda"], "'triton'"),
        (["--device", "tpu"], "there are cpu and cuda"),
        (["--json", "nowhere/report.json"], "there is no folder `nowhere`"),
        (["--json", "-", "--markdown"], "give --json a file"),
        (["--from", "nowhere.json"], "cannot be read"),
        (["--from", __file__], "cannot be read"),
    ],
)
def test_mistakes_have_a_way_out(arguments, said, capsys):
    assert command(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_cuda_is_asked_for_where_there_is_none(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert command(["bench", "--device", "cuda", "--only", "photometric", "--sizes", "1080x1920"]) == 2
    assert "use --device cpu" in capsys.readouterr().err


def test_sizes_and_names():
    assert sizes_of("540") == ((), (Size(gaussians=540),)), "a number alone is one of gaussians"
    assert sizes_of("1080x1920, 3e6") == ((Size(1080, 1920),), (Size(gaussians=3_000_000),))
    assert [Size(gaussians=n).of("gaussians") for n in (500, 10_000, 3_000_000, 123_456)] == [
        "500",
        "1e4",
        "3e6",
        "1.23456e5",
    ]
    assert len(set(NAMES)) == len(NAMES)
