"""From text to checked program: the front end's pipeline in one function."""

from __future__ import annotations

from collections.abc import Mapping

from .check.program import ProgramChecker
from .check.rules import run_rules
from .diagnostics import Diagnostic, Severity, Sink
from .parse import parse_partial
from .source import Source
from .typed import TypedProgram


def analyse(
    source: Source,
    params: Mapping[str, object] | None = None,
    max_steps: int | None = None,
    renderer_buffers: frozenset[str] | None = None,
    data_fields: frozenset[str] | None = None,
    *,
    pedantic: bool = False,
    half: bool = False,
    folder: str | None = None,
) -> tuple[TypedProgram | None, list[Diagnostic]]:
    """Parse and check one program.

    Args:
        source: the text.
        params: values that replace the defaults of parameters.
        max_steps: length of the run, if known; schedules are then checked against it.
        renderer_buffers: what the renderer can supply, if known.
        data_fields: what every item of the data has, if known: "target", "mask" and declared inputs.
        pedantic: whether to report possibilities too, which can be mistaken.
        half: whether the run renders in half precision.
        folder: the folder that paths in ``use`` are relative to, where the text is no file of its own.

    Returns:
        The typed program, None if there is an error that no comment suppresses; and all findings, sorted, those that
        comments suppress among them.
    """
    sink = Sink()
    tree, lost = parse_partial(source, sink)
    checker = ProgramChecker(tree, source, sink, params or {}, max_steps, lost, folder)
    checker.check()
    # Also when the program has mistakes: its good terms have been typed, and every finding counts.
    run_rules(checker, renderer_buffers, data_fields, pedantic, half)
    found = sink.sorted()
    if not sink.has_errors:
        return checker.typed, found
    # A comment may suppress an error that leaves the program whole.
    stopped = checker.incomplete or any(d.severity is Severity.ERROR for d in _unsuppressed(checker.typed, found))
    return (None if stopped else checker.typed), found


def _unsuppressed(program: TypedProgram, found: list[Diagnostic]) -> list[Diagnostic]:
    if not any("splat:" in source.text for source in program.sources):
        return found
    from .suppress import apply

    return apply(found)


def check_text(
    text: str,
    name: str = "<loss>",
    params: Mapping[str, object] | None = None,
    max_steps: int | None = None,
    renderer_buffers: frozenset[str] | None = None,
    data_fields: frozenset[str] | None = None,
    *,
    pedantic: bool = False,
    half: bool = False,
    folder: str | None = None,
) -> list[Diagnostic]:
    """All findings in a program's text, sorted; the arguments are those of `analyse`."""
    source = Source(text, name)
    return analyse(
        source, params, max_steps, renderer_buffers, data_fields, pedantic=pedantic, half=half, folder=folder
    )[1]
