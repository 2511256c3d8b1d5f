"""The graph and its passes: what is shared, what is dropped, what is kept, and what can be looked at."""

from __future__ import annotations

import pytest
import torch

import splatdsl
from splatdsl.compiler.api import STAGES, dump_stage
from splatdsl.compiler.emit import argument_names, emit
from splatdsl.compiler.ir import SCALAR, Graph, Node, Origin, Shape, TermOutput
from splatdsl.compiler.lower import Lowered, lower
from splatdsl.compiler.passes import PASSES, optimise
from splatdsl.compiler.resolve import resolve
from splatdsl.compiler.specialise import Facts
from splatdsl.dsl.api import analyse
from splatdsl.dsl.diagnostics import LossError
from splatdsl.dsl.live import Zeros
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import TypedProgram

HERE = Origin("x.loss", 1, "x", "t")


def typed(text: str) -> TypedProgram:
    program, found = analyse(Source(text, "x.loss"))
    assert program is not None, [(d.code, d.message) for d in found]
    return program


def lowered(text: str, mask: bool = True) -> Lowered:
    program = typed(text)
    zero = Zeros({n: p.value for n, p in program.params.items()}).zero_params
    facts = Facts(tuple(t.name for t in program.terms), mask, zero)
    return lower(resolve(program, facts.terms, facts.zeros(), facts.given()), facts)


def graph(text: str, mask: bool = True) -> Graph:
    return optimise(lowered(text, mask).graph)


def kernels(g: Graph) -> list[str]:
    return [n.attr.kernel for n in g.nodes if n.op == "kernel"]


def test_equal_values_of_several_terms_are_computed_once() -> None:
    g = graph("term a = l1(masked)\nterm b = 0.5 * mean(abs(rendered - target), masked)\nterm c = l1(masked) / 3")
    assert kernels(g).count("reductions:mean") == 1
    assert len({t.value for t in g.terms}) == 1
    assert [t.weight is None for t in g.terms] == [True, False, False]


def test_different_values_are_not_merged() -> None:
    g = graph(
        "term a = mean(alpha, masked)\nterm b = mean(alpha)\nterm c = mean(alpha, alpha > 0.5)\n"
        "term d = mean(rendered.r)\nterm e = mean(rendered.g)"
    )
    assert len({t.value for t in g.terms}) == 5


def test_equal_numbers_of_the_host_are_passed_once() -> None:
    low = lowered(
        "let r = ramp(step, 10)\nterm a = r * l1()\nterm b = ramp(step, 10) * l2()\n"
        "term c = mean(alpha * ramp(step, 10))"
    )
    names = [s.name for s in low.slots]
    assert len(low.slots) == 2, f"the weight of a and b, and the ramp inside of c, not {names}"


def test_the_weight_is_split_off() -> None:
    text = (
        "param w = 0.25\nterm a = -(w * ramp(step, 10)) * l1() / 4\nterm b = 2 * (3 * (l1() * 0.5))\nterm c = l1() + 1"
    )
    loss = splatdsl.compile(text, backend="eager")
    assert loss.weights(5) == {"a": -0.03125, "b": 3.0, "c": 1.0}
    image = torch.zeros(1, 12, 12, 3)
    total = loss(rendered=image, target=image + 0.5, step=5)
    assert {n: v.item() for n, v in loss.terms.items()} == {"a": 0.5, "b": 0.5, "c": 1.5}
    weighted = sum(loss.weights(5)[n] * v.item() for n, v in loss.terms.items())
    assert total.item() == pytest.approx(weighted)


def test_a_term_that_does_not_exist_weighs_nothing() -> None:
    loss = splatdsl.compile("term a = l1()\nterm b = 3 * l2() when after(step, 10)", backend="eager")
    assert loss.weights(9)["b"] == 0
    assert loss.weights(10)["b"] == 3


def test_dead_terms_read_nothing() -> None:
    text = "param w = 0\nterm a = l1()\nterm b = w * mean(depth)\nterm c = mean(alpha) when after(step, 10)"
    loss = splatdsl.compile(text, backend="eager")
    assert loss.requires(0) == {"rendered", "target"}
    assert loss.requires(10) == {"rendered", "target", "alpha"}
    loss.params["w"] = 0.5
    assert loss.requires(0) == {"rendered", "target", "depth"}


def test_a_flag_that_is_off_switches_off_what_it_multiplies() -> None:
    loss = splatdsl.compile("param on: flag = false\nterm a = l1() + on * mean(depth)", backend="eager")
    assert loss.requires(0) == {"rendered", "target"}
    image = torch.zeros(1, 12, 12, 3)
    assert loss(rendered=image, target=image + 0.5).item() == 0.5
    loss.params["on"] = True
    assert "depth" in loss.requires(0)
    with pytest.raises(LossError, match="BND001"):
        loss(rendered=image, target=image)


def test_a_zero_inside_a_term_prunes_what_it_multiplies() -> None:
    assert graph("param w = 0\nterm a = l1() + w * mean(depth) - mean(w * alpha)").inputs() == ["rendered", "target"]


def test_without_a_mask_nothing_is_left_of_regions() -> None:
    g = graph("term a = l1(masked)\nterm b = mean(alpha, masked and alpha > 0.5 or unmasked)", mask=False)
    assert "mask" not in g.inputs()
    regions = [n for n in g.nodes if n.op in ("and", "or", "not")]
    assert regions == []
    assert graph("term a = mean(alpha, unmasked) + mean(alpha)", mask=False).inputs() == ["alpha"]


def test_empty_regions_are_counted_once_each() -> None:
    g = graph("term a = l1(masked)\nterm b = l2(masked)\nterm c = mean(alpha, unmasked)\nterm d = mean(alpha)")
    assert len(g.regions) == 2
    assert len(graph("term a = l1(masked)", mask=False).regions) == 0
    loss = splatdsl.compile(
        "term a = l1(masked)\nterm b = mean(alpha, alpha > 2)\nterm c = mean(alpha, unmasked)", backend="eager"
    )
    image, mask = torch.zeros(1, 12, 12, 3), torch.ones(1, 12, 12)
    loss(rendered=image, target=image, alpha=image[..., :1], mask=mask)
    assert loss.empty_regions.item() == 2


@pytest.mark.parametrize("name", [p.name for p in PASSES])
def test_passes_keep_terms_and_regions(name: str) -> None:
    text = "term a = l1(masked and alpha > 0.5) * 2\nterm b = mean(masked * 1 + 0) when after(step, 1)\n"
    text += "term c = mean(alpha, unmasked)"
    before = lowered(text).graph
    run = next(p.run for p in PASSES if p.name == name)
    after = run(before)
    after.verify()
    assert [t.name for t in after.terms] == [t.name for t in before.terms]
    assert [t.weight for t in after.terms] == [t.weight for t in before.terms]
    assert len(after.regions) == len(before.regions) == 2
    assert len(before.nodes) >= len(after.nodes) or name == "materialise"


def test_passes_do_not_change_what_is_already_optimal() -> None:
    g = graph("term a = photometric(masked)\nterm b = 0.01 * reg(state)")
    assert str(optimise(g)) == str(g)


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("mean(masked)", ["rendered"]),
        ("sum(masked * progress)", ["rendered"]),
        ("mean(where(masked, progress, 0))", ["rendered"]),
        ("param w = 0\nterm a = mean(w * state.scales + 1)", ["state.opacities"]),
        ("mean(alpha, masked if after(step, 3) else unmasked)", ["alpha"]),
    ],
)
def test_numbers_are_spread_where_a_kernel_needs_pixels(text: str, needs: list[str]) -> None:
    g = graph(text, mask=False)
    assert "pointwise:filled" in kernels(g)
    assert g.inputs() == needs


# What verify catches


def valid() -> Graph:
    return graph("term a = mean(abs(rendered - target) * alpha, masked)")


def test_verify_accepts_what_passes_make() -> None:
    valid().verify()


def broken(kind: str) -> Graph:
    g = valid()
    last = len(g.nodes) - 1
    product = next(i for i, n in enumerate(g.nodes) if n.op == "mul")
    if kind == "operand after its use":
        g.nodes[product] = g.nodes[product]._replace(args=(last, last))
    elif kind == "unknown operation":
        g.nodes[product] = g.nodes[product]._replace(op="nonsense")
    elif kind == "operand count":
        g.nodes[product] = g.nodes[product]._replace(args=g.nodes[product].args[:1])
    elif kind == "leaf with operands":
        g.nodes[1] = g.nodes[1]._replace(args=(0,))
    elif kind == "pixels and gaussians":
        g.nodes[g.nodes[product].args[1]] = g.nodes[g.nodes[product].args[1]]._replace(shape=Shape("gaussians", 1))
    elif kind == "components":
        g.nodes[g.nodes[product].args[1]] = g.nodes[g.nodes[product].args[1]]._replace(shape=Shape("pixels", 2))
    elif kind == "term of pixels":
        g.terms[0] = TermOutput("a", product, None)
    return g


@pytest.mark.parametrize(
    "kind",
    [
        "operand after its use",
        "unknown operation",
        "operand count",
        "leaf with operands",
        "pixels and gaussians",
        "components",
        "term of pixels",
    ],
)
def test_verify_catches(kind: str) -> None:
    with pytest.raises(AssertionError):
        broken(kind).verify()


def test_verify_catches_a_reference_outside_the_graph() -> None:
    g = Graph()
    g.nodes.append(Node("neg", (-1,), None, SCALAR, HERE))
    with pytest.raises(AssertionError, match="operands must come first"):
        g.verify()


# What can be looked at

PROGRAM = """term colour = 0.8 * l1(masked)
    + 0.2 * ssim_loss(masked)
term sparse =
    0.01 * mean(state.opacities)
    when after(step, 100)
"""


def test_every_operation_knows_its_line() -> None:
    module = emit(graph(PROGRAM))
    places = {}
    for node in module.graph.nodes:
        origin = node.meta.get("loss_origin")
        if origin:
            places.setdefault(str(getattr(node.target, "__name__", node.target)), []).append((origin.line, origin.term))
            assert f"line {origin.line}, in term {origin.term}" in node.meta["stack_trace"]
    assert (1, "colour") in places["abs"]
    assert (2, "colour") in places["ssim"]
    assert (4, "sparse") in places["mean"]
    assert all(line in (1, 2, 3, 4) for several in places.values() for line, _ in several), (
        "never a line of the prelude"
    )


def test_the_stages_as_text() -> None:
    ir, kernels, fx, code = (dump_stage(PROGRAM, "mine.loss", stage) for stage in STAGES)
    assert "# mine.loss:2 ssim_loss(masked)" in kernels
    assert "term colour = %" in ir
    assert "term sparse = host[" in ir
    assert "count empty: %" in ir
    assert "mine.loss:2" in ir
    assert "# mine.loss:2 ssim_loss(masked)" in fx
    assert code.startswith("def forward(self")
    assert " mask" not in dump_stage(PROGRAM, "mine.loss", "ir", masked=False).replace("masked", "")


def test_a_program_with_a_mistake_cannot_be_dumped() -> None:
    with pytest.raises(LossError, match="NAM001"):
        dump_stage("l1(maskd)", "x", "ir")


def test_the_arguments_of_the_module() -> None:
    g = graph("term a = l1(masked) + mean(state.scales) * mean(depth.accumulated)")
    assert argument_names(g) == ["depth.accumulated", "mask", "rendered", "state.scales", "target", "host"]
    placeholders = [n.target for n in emit(g).graph.nodes if n.op == "placeholder"]
    assert placeholders == ["depth_accumulated", "mask", "rendered", "state_scales", "target", "host"]


# Programs that once were too much


def test_long_sums_and_chains_compile() -> None:
    image = torch.full((1, 12, 12, 3), 0.5)
    given = {"rendered": image, "target": image * 0, "alpha": image[..., :1]}
    for text, expected in {
        "term t = l1()" + " + mean(alpha)" * 2000: 1000.5,
        "term t = mean(alpha" + " + alpha" * 1999 + ")": 1000.0,
        "term t = l1() * (step" + " + 1" * 2000 + ")": 1000.0,
        "term t = mean(where(alpha > 0.2, 1 / (alpha" + " + alpha" * 1999 + "), 0))": 0.001,
    }.items():
        assert splatdsl.compile(text, backend="eager")(**given).item() == pytest.approx(expected, rel=1e-4)
    lets = ["let a0 = mean(alpha)", *(f"let a{i} = a{i - 1} + a0" for i in range(1, 1000))]
    assert splatdsl.compile("\n".join([*lets, "a999"]), backend="eager")(**given).item() == pytest.approx(500, rel=1e-4)


def test_shared_values_are_not_multiplied() -> None:
    lets = ["let a0 = alpha", *(f"let a{i} = (a{i - 1} + a{i - 1}) * 0.5" for i in range(1, 60)), "mean(a59)"]
    assert len(graph("\n".join(lets)).nodes) < 200
    hosts = ["let a0 = step", *(f"let a{i} = a{i - 1} * a{i - 1}" for i in range(1, 60)), "mean(alpha) * a59"]
    assert len(lowered("\n".join(hosts)).slots) == 1
    choices = ["let a0 = alpha", *(f"let a{i} = where(a{i - 1} > 0.5, a{i - 1}, a{i - 1} * 2)" for i in range(1, 60))]
    assert len(graph("\n".join([*choices, "mean(a59)"])).nodes) < 300


def test_choices_that_multiply_end_in_a_diagnostic() -> None:
    lets = ["let a0 = alpha", *(f"let a{i} = where(a{i - 1} > 0.5, 1 / a{i - 1}, log(a{i - 1}))" for i in range(1, 40))]
    with pytest.raises(LossError, match="TYP008"):
        lowered("\n".join([*lets, "mean(a39)"]))


def test_a_term_of_numbers_alone() -> None:
    loss = splatdsl.compile(
        "term a = 2 * step\nterm b = everywhere * 3\nterm c = mean(alpha, unmasked)", backend="eager"
    )
    total = loss(step=4)
    assert total.item() == 11
    assert {n: v.item() for n, v in loss.terms.items()} == {"a": 8, "b": 1, "c": 0}
    assert loss.weights(4) == {"a": 1.0, "b": 3.0, "c": 1.0}
    total.backward()
