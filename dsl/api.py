"""From text to checked program: the front end's pipeline in one function."""

from __future__ import annotations

from collections.abc import Mapping

from .check.program import ProgramChecker
from .diagnostics import Diagnostic, Label, Sink
from .inputs import BY_NAME
from .live import Zeros
from .parse import parse_partial
from .source import Source
from .suggest import closest
from .typed import TypedProgram

RENDER_BUFFERS = frozenset(spec.buffer for spec in BY_NAME.values()) - {"", "target", "mask", "state"}


def analyse(
    source: Source,
    params: Mapping[str, object] | None = None,
    max_steps: int | None = None,
    renderer_buffers: frozenset[str] | None = None,
    data_fields: frozenset[str] | None = None,
) -> tuple[TypedProgram | None, list[Diagnostic]]:
    """Parse and check one program.

    Args:
        source: the text.
        params: values that replace the defaults of parameters.
        max_steps: length of the run, if known; schedules are then checked against it.
        renderer_buffers: what the renderer can supply, if known.
        data_fields: what every item of the data has, if known: of "target" and "mask".

    Returns:
        The typed program, None if there is an error; and all findings, sorted.
    """
    sink = Sink()
    tree, lost = parse_partial(source, sink)
    checker = ProgramChecker(tree, source, sink, params or {}, max_steps, lost)
    program = checker.check()
    # Also when the program has mistakes: its good terms have been typed, and every finding counts.
    _check_supply(checker.typed, sink, renderer_buffers, data_fields)
    return (None if sink.has_errors else program), sink.sorted()


def check_text(
    text: str,
    name: str = "<loss>",
    params: Mapping[str, object] | None = None,
    max_steps: int | None = None,
    renderer_buffers: frozenset[str] | None = None,
    data_fields: frozenset[str] | None = None,
) -> list[Diagnostic]:
    """All findings in a program's text, sorted; the arguments are those of `analyse`."""
    return analyse(Source(text, name), params, max_steps, renderer_buffers, data_fields)[1]


def _check_supply(
    program: TypedProgram, sink: Sink, renderer: frozenset[str] | None, data: frozenset[str] | None
) -> None:
    """Whether renderer and data supply what the terms read; a term that is 0 reads nothing."""
    zeros = Zeros({name: info.value for name, info in program.params.items()})
    for term in program.terms:
        if zeros.is_zero(term.value):
            continue
        inputs = zeros.inputs(term.value)
        for e in term.value.walk():
            if e.op != "input" or e.value not in inputs:
                continue
            buffer = BY_NAME[e.value].buffer
            if renderer is not None and buffer in RENDER_BUFFERS and buffer not in renderer:
                near = closest(e.value, sorted(renderer))
                sink.add(
                    Diagnostic(
                        "BUF001",
                        f"the renderer does not make `{e.value}`, which term `{term.name}` reads",
                        e.source,
                        e.span,
                        labels=[Label(term.span, "the term", term.source)],
                        help=[
                            "choose a renderer that makes it, or remove the term"
                            + (f"; it does make `{near[0]}`" if near else "")
                        ],
                    )
                )
            if data is not None and buffer in ("target", "mask") and buffer not in data:
                help_ = "`masked` also works on data without masks: it is everywhere then"
                sink.add(
                    Diagnostic(
                        "BUF002",
                        f"the data has no `{buffer}` for every view, which term `{term.name}` reads",
                        e.source,
                        e.span,
                        help=[help_] if buffer == "mask" else ["choose data with images"],
                    )
                )
