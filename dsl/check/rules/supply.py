"""Whether renderer and data supply what the terms read; a term that is 0 reads nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ...diagnostics import Label
from ...inputs import RENDER_BUFFERS, buffer_of
from ...manifest import RUN_VALUES
from ...source import Source, Span
from ...suggest import closest
from ...typed import Expr, TypedTerm
from ...types import FLAG, TENSOR, VIEW
from .context import Context
from .optional import known


def check(context: Context) -> None:
    """BUF001 and BUF002 for what cannot be supplied, BUF003 for terms that this data never has."""
    if context.renderer is None and context.data is None:
        return
    _run(context)
    places = context.places
    for term in _possible(context):
        needed = known(term.when, True) if term.when is not None else frozenset()
        missing = _never_there(context, needed)
        if missing:
            _never(context, term, missing)
            continue
        inputs = context.zeros.inputs(term.value)
        lacking: dict[tuple[int, int], tuple[Source, Span, list[str]]] = {}
        read: set[str] = set()
        for e in term.value.walk():
            if e.op != "input" or e.value not in inputs:
                continue
            source, span = places.at(e)
            name = str(e.value)
            if name not in read:
                _data(context, term, e, source, span)
            if _lacks(context, name) and (name not in read or e.source is context.report.hidden):
                lacking.setdefault((id(source), span.start), (source, span, []))[2].append(name)
            read.add(name)
        for source, span, names in lacking.values():
            _renderer(context, term, list(dict.fromkeys(names)), source, span)


def _run(context: Context) -> None:
    """What the trainer of a run config does not give, whatever its data: host values and functions."""
    if context.renderer is None or context.data is None:
        return
    reported: set[str] = set()
    for term in _possible(context):
        if term.when is not None and _never_there(context, known(term.when, True)):
            continue
        for root in (term.value, *([term.when] if term.when is not None else [])):
            for e in root.walk():
                if e.op == "extern" and e.value.name not in reported:
                    reported.add(e.value.name)
                    message = f"no run registers the function `{e.value.name}`, which term `{term.name}` calls"
                    help_ = ["train from Python: `splatdsl.load(FILE, register={...})` is a `loss_fn` of the trainer"]
                    context.report.emit("BUF002", message, e.source, e.span, help=help_)
                info = context.program.inputs.get(str(e.value)) if e.op == "input" else None
                if info is None or info.stage == TENSOR or info.name in reported:
                    continue
                if info.name in RUN_VALUES and info.kind != FLAG:
                    continue
                reported.add(info.name)
                message = f"no run gives `{info.name}`, which term `{term.name}` reads"
                help_ = [f"make it a `param`, which a config sets, or run the loss where the host passes {info.name}="]
                context.report.emit("BUF002", message, e.source, e.span, help=help_)


def _possible(context: Context) -> Iterator[TypedTerm]:
    """The terms that modes and flags leave."""
    return (t for t in context.live if t.when is None or context.zeros.decide(t.when) is not False)


def _never_there(context: Context, names: frozenset[str]) -> str:
    """The first of these optional inputs that no item of the data can have."""
    if context.data is None:
        return ""
    fixed = {"mask", "target"}
    return next((n for n in sorted(names) if n.partition(".")[0] not in context.data | fixed), "")


def _never(context: Context, term: TypedTerm, name: str) -> None:
    when = term.when
    assert when is not None
    context.report.emit(
        "BUF003",
        f"term `{term.name}` never exists with this data: no item has `{name}`",
        when.source,
        when.span,
        help=[f"add `{name}` to the data, or remove the term for this run"],
    )


def _lacks(context: Context, name: str) -> bool:
    """Whether a buffer is one that renderers make and this one does not."""
    buffer = buffer_of(name)
    return context.renderer is not None and buffer in RENDER_BUFFERS and buffer not in context.renderer


def _renderer(context: Context, term: TypedTerm, names: list[str], source: Source, span: Span) -> None:
    """BUF001 at one place that the user wrote, for all that is missing there."""
    near = list(dict.fromkeys(n for name in names for n in closest(name, sorted(context.renderer or ()))[:1]))
    made = f"; it does make {' and '.join(f'`{n}`' for n in near)}" if near else ""
    whole = (source, span) in ((term.source, term.span), (term.value.source, term.value.span))
    context.report.emit(
        "BUF001",
        f"the renderer does not make {' and '.join(f'`{n}`' for n in names)}, which term `{term.name}` reads",
        source,
        span,
        labels=() if whole else [Label(term.span, "the term", term.source)],
        help=[f"choose a renderer that makes {'it' if len(names) == 1 else 'them'}, or remove the term" + made],
    )


def _data(context: Context, term: TypedTerm, e: Expr, source: Source, span: Span) -> None:
    if context.data is None:
        return
    name = buffer_of(e.value)
    info = context.program.inputs.get(name)
    if name not in ("target", "mask") and (info is None or info.optional or info.stage != TENSOR):
        return
    if name in context.data:
        return
    if info is not None and info.kind == VIEW:
        help_ = ["this trainer renders one view a step; run the loss in a trainer that renders a second one"]
    elif info is not None:
        help_ = [f"add it to the data, or declare it optional with `?` and write `when has({name})`"]
    elif name == "mask":
        help_ = ["`masked` also works on data without masks: it is everywhere then"]
    else:
        help_ = ["choose data with images"]
    message = f"the data has no `{name}` for every view, which term `{term.name}` reads"
    context.report.emit("BUF002", message, source, span, help=help_)
