"""The back end's pipeline in one place, and a look at each of its stages."""

from __future__ import annotations

from ..dsl.api import analyse
from ..dsl.diagnostics import LossError
from ..dsl.inputs import HOST_SIZES
from ..dsl.source import Source
from .emit import emit
from .lower import lower
from .passes import optimise
from .resolve import resolve
from .specialise import Schedule
from .windows.report import report

STAGES = ("ir", "kernels", "fx", "code")


def dump_stage(text: str, name: str, stage: str, masked: bool = True, kernels: str = "auto") -> str:
    """What one stage makes of a program, with all its terms active.

    Args:
        text: the program.
        name: what messages call it.
        stage: "ir" (the optimised graph), "kernels" (the window kernels in it, which route runs them here and why, and
            their source), "fx" (the torch graph as a table of nodes, each with the line it came
            from) or "code" (the Python that runs).
        masked: whether the item has a mask.
        kernels: the route that is asked for, at the stage "kernels".

    Raises:
        LossError: the program has an error.
    """
    program, diagnostics = analyse(Source(text, name))
    if program is None:
        raise LossError(diagnostics)
    schedule = Schedule(program)
    env = schedule.environment(0, 1)
    facts = schedule.facts({**env, **dict.fromkeys(HOST_SIZES, 256.0)}, masked)
    facts = facts._replace(terms=tuple(t.name for t in program.terms))
    lowered = lower(resolve(program, facts.terms, facts.zeros(), facts.given()), facts)
    graph = optimise(lowered.graph)
    if stage == "ir":
        hosts = [f"host[{i}] = {slot.name}" for i, slot in enumerate(lowered.slots)]
        return "\n".join([*hosts, str(graph)])
    if stage == "kernels":
        return report(graph, kernels)
    module = emit(graph)
    if stage == "code":
        return str(module.code).strip()
    lines: list[str] = []
    for node in module.graph.nodes:
        origin = node.meta.get("loss_origin")
        place = f"    # {origin.file}:{origin.line} {origin.text}" if origin else ""
        lines.append(f"{node.format_node() or node}{place}")
    return "\n".join(lines)
