"""``splatdsl explain FILE``: the objective that a program or a run config stands for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from ..dsl.curves import number
from ..dsl.objective import COLOURS, Objective, Part, TermRecord, Weight, objective
from ..dsl.phases import MOST, RUN, phases
from ..dsl.render import full, printable, wants_color
from ..dsl.steps import Existence
from ..dsl.typed import TypedProgram
from .load_program import Loaded, load
from .shared import Line, print_lines

FORMATS = ("text", "json")
_WIDE = 96  # columns after which a sum goes on in the next line


def explain_file(
    path: str, format: str = "text", latex: bool = False, overrides: Sequence[str] = (), steps: int | None = None
) -> int:
    """Print the objective in a file: as text, as JSON or as LaTeX.

    Returns:
        0, or 1 when the program or the config has errors: then only the findings are printed.
    """
    loaded = load(path, overrides, steps)
    if format == "json":
        _json(loaded)
        return 1 if loaded.failed else 0
    # Equations go into a file: findings must not get in between.
    findings = sys.stderr if latex else sys.stdout
    if loaded.found:
        color = wants_color(findings)
        print("\n\n".join(full(d, color) for d in loaded.found), file=findings)
    if loaded.failed or loaded.program is None:
        return 1
    if latex:
        from ..dsl.latex import latex as equations

        print(equations(loaded.program, loaded.max_steps))
        return 0
    record = objective(loaded.program, loaded.max_steps)
    lines = list(_text(record, loaded))
    lines += _phases(record, loaded.program)
    print_lines([("", ""), *lines] if loaded.found else lines)
    return 0


# Text


def _text(record: Objective, loaded: Loaded) -> Iterator[Line]:
    yield "bold", printable(record.name)
    for line in record.docstring.strip().splitlines():
        yield "italic", f"  {printable(line.strip())}"
    for group in record.groups:
        yield "", ""
        yield from _total(record, group)
    yield from _section("where", [("", f"  {printable(text)}") for text in record.where])
    yield from _section("parameters", list(_params(record, loaded)))
    yield from _section("inputs", [("", f"  {row}") for row in _table([[n, what] for n, what in record.inputs])])
    yield from _section("run", list(_run(loaded)))
    for term in record.terms:
        yield "", ""
        yield from _term(term, record.max_steps)


def _section(title: str, lines: list[Line]) -> Iterator[Line]:
    if lines:
        yield "", ""
        yield "bold", title
        yield from lines


def _total(record: Objective, group: str) -> Iterator[Line]:
    """The loss as a sum, one summand a line where it is long."""
    terms = [t for t in record.terms if t.group == group and not t.off]
    head = f"loss[{group}] = " if group else "loss = "
    summands = [(part.formula, term.when) for term in terms for part in term.parts]
    shown = [f"{text}  when {when}" if when else text for text, when in summands]
    if not any(when for _, when in summands) and len(head) + sum(len(s) + 3 for s in shown) <= _WIDE:
        yield "bold", head + printable(_sum([text for text, _ in summands]) or "0")
        return
    for i, text in enumerate(shown):
        minus = text.startswith("-")
        sign = head if i == 0 else " " * (len(head) - 2) + ("- " if minus else "+ ")
        yield "bold", sign + printable(text.removeprefix("-") if i and minus else text)


def _sum(texts: list[str]) -> str:
    out = ""
    for text in texts:
        out += text if not out else f" - {text[1:]}" if text.startswith("-") else f" + {text}"
    return out


def _table(rows: list[list[str]]) -> list[str]:
    """Rows in columns as wide as they need."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _params(record: Objective, loaded: Loaded) -> Iterator[Line]:
    rows = []
    for p in record.params:
        unit = f" {p.unit}" if p.unit == "steps" else ""
        origin = loaded.origins.get(p.name, "")
        origin = f"{origin}, default {_value(p.default)}" if origin else "default"
        rows.append([p.name, f"= {_value(p.value)}{unit}", p.limits, origin])
    yield from (("", f"  {printable(row)}") for row in _table(rows))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return number(float(value)) if isinstance(value, (int, float)) else f'"{value}"'


def _run(loaded: Loaded) -> Iterator[Line]:
    rows = [[s.key, str(s.value), s.origin] for s in loaded.settings]
    if not rows and loaded.max_steps is not None:
        rows = [["train.max_steps", str(loaded.max_steps), "--steps"]]
    yield from (("", f"  {printable(row)}") for row in _table(rows))


def _term(term: TermRecord, max_steps: int | None) -> Iterator[Line]:
    name = f"{term.group}.{term.name}" if term.group else term.name
    yield "bold cyan", f"term {name}"
    rows: list[tuple[str, str]] = []
    if term.off:
        because = " and ".join(term.off)
        yield "", f"  not computed: {printable(because)} {'is' if len(term.off) == 1 else 'are'} 0"
        return
    single = len(term.parts) == 1
    if not single:
        rows.append(("formula", term.formula))
    if single:
        rows += _value_rows(term.parts[0])
    exists = term.exists.describe(max_steps)
    rows.append(("exists", exists + (f"  (when {term.when})" if term.when and term.when not in exists else "")))
    if term.guards:
        rows.append(("asks for", ", ".join(term.guards) + ", if the item has it"))
    if single:
        rows += list(_part_rows(term.parts[0], max_steps))
    yield from _rows(rows, 2)
    for i, part in enumerate(() if single else term.parts, 1):
        yield "cyan", f"  part {i}"
        yield from _rows([*_value_rows(part), *_part_rows(part, max_steps)], 4)


def _value_rows(part: Part) -> list[tuple[str, str]]:
    return [("value", part.full)]


def _rows(rows: list[tuple[str, str]], indent: int) -> Iterator[Line]:
    before = ""
    for key, text in rows:
        yield "", f"{' ' * indent}{'' if key == before else key:<10}{printable(text)}"
        before = key


def _part_rows(part: Part, max_steps: int | None) -> Iterator[tuple[str, str]]:
    yield from (("weight", text) for text in _weight(part.weight, max_steps))
    yield "region", ", ".join(part.regions) or "none"
    reads = ", ".join([*part.buffers, *part.fields])
    if part.optional:
        reads += ("; " if reads else "") + ", ".join(part.optional) + " if the item has it"
    yield "reads", reads or "nothing"
    yield "gradient", _gradient(part.gradient)


def _weight(weight: Weight, max_steps: int | None) -> Iterator[str]:
    constant = weight.constant
    gates = [gate.text for gate in weight.nonzero.gates]
    if constant is not None:
        same = weight.formula in (number(constant), "1")
        yield (number(constant) if same else f"{weight.formula} = {number(constant)}")
    else:
        yield weight.formula
        yield from (piece.describe() for piece in weight.pieces)
        if weight.unknown:
            missing = ", ".join(weight.unknown)
            yield f"known with --steps: it depends on {missing}" if missing == "max_steps" else f"depends on {missing}"
    if gates:
        yield f"not 0 {', '.join(gates)}"


def _gradient(targets: tuple[str, ...]) -> str:
    if not targets:
        return "none: nothing is trained by this"
    colours = tuple(t for t in targets if t in COLOURS)
    rest = [t for t in targets if t not in COLOURS]
    return ", ".join([*rest, *([f"colours ({', '.join(colours)})"] if colours else [])])


def _phases(record: Objective, program: TypedProgram) -> Iterator[Line]:
    """Which terms exist together, where that is not the same all the time."""
    for group in record.groups:
        found = phases(program, record.max_steps or RUN, group or None)
        if len(found) == 1:
            continue
        title = f"phases of {group}" if group else "phases"
        title += "" if record.max_steps else f", in a run of {RUN:,} steps"
        if found.sets > MOST or not found.complete:
            count = f"{found.sets:,}" if found.complete else f"more than {found.sets:,}"
            text = f"  {count} sets of terms, more than {MOST}: each of {len(found.gates)} conditions has its own graph"
            yield from _section(title, [("", text)])
            continue
        rows = [[", ".join(phase.terms) or "no term", phase.when] for phase in found]
        rows = [[*row, f"renews {', '.join(p.updates)}" if p.updates else ""] for row, p in zip(rows, found)]
        yield from _section(title, [("", f"  {printable(row)}") for row in _table(rows)])


# JSON


def _json(loaded: Loaded) -> None:
    import json

    from ..dsl.render import as_dict

    record = None if loaded.failed or loaded.program is None else objective(loaded.program, loaded.max_steps)
    made = {
        "version": 1,
        "findings": [as_dict(d) for d in loaded.found],
        "objective": None if record is None else objective_dict(record, loaded),
        "phases": [] if record is None or loaded.program is None else list(_phase_dicts(record, loaded.program)),
    }
    print(json.dumps(made, indent=2))


def objective_dict(record: Objective, loaded: Loaded) -> dict[str, object]:
    """An objective as plain values; numbers that are not finite are texts."""
    return {
        "name": record.name,
        "docstring": record.docstring,
        "max_steps": record.max_steps,
        "settings": [{"key": s.key, "value": s.value, "origin": s.origin} for s in loaded.settings],
        "params": [
            {
                "name": p.name,
                "unit": p.unit,
                "value": _plain(p.value),
                "default": _plain(p.default),
                "limits": p.limits,
                "origin": loaded.origins.get(p.name, "default"),
            }
            for p in record.params
        ],
        "inputs": [{"name": name, "kind": what} for name, what in record.inputs],
        "where": list(record.where),
        "groups": [g for g in record.groups if g],
        "terms": [_term_dict(t) for t in record.terms],
    }


def _phase_dicts(record: Objective, program: TypedProgram) -> Iterator[dict[str, object]]:
    """The phases of each group, where they are few enough to be compiled as a whole."""
    for group in record.groups:
        found = phases(program, record.max_steps or RUN, group or None)
        yield {
            "group": group or None,
            "max_steps": found.max_steps,
            "sets": found.sets,
            "complete": found.complete,
            "conditions": list(found.gates),
            "phases": [
                {
                    "start": phase.start,
                    "end": phase.end,
                    "steps": phase.steps,
                    "when": phase.when,
                    "terms": list(phase.terms),
                    "updates": list(phase.updates),
                }
                for phase in (found if found.sets <= MOST else ())
            ],
        }


def _plain(value: object) -> object:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return number(value)
    return value


def _existence_dict(existence: Existence) -> dict[str, object]:
    return {
        "spans": [[s.start, s.stop] for s in existence.spans],
        "gates": [{"kind": g.kind, "text": g.text, "period": g.period, "offset": g.offset} for g in existence.gates],
        "steps": existence.total(),
        "exact": existence.exact,
    }


def _term_dict(term: TermRecord) -> dict[str, object]:
    return {
        "name": term.name,
        "group": term.group or None,
        "formula": term.formula,
        "when": term.when or None,
        "exists": _existence_dict(term.exists),
        "off": list(term.off),
        "has": list(term.guards),
        "parts": [_part_dict(p) for p in term.parts],
    }


def _part_dict(part: Part) -> dict[str, object]:
    weight = part.weight
    return {
        "formula": part.formula,
        "value": part.core,
        "value_full": part.full,
        "weight": {
            "formula": weight.formula,
            "constant": None if weight.constant is None else _plain(weight.constant),
            "pieces": [
                {
                    "first": p.first,
                    "last": p.last,
                    "start": _plain(p.start),
                    "end": _plain(p.end),
                    "shape": p.shape,
                }
                for p in weight.pieces
            ],
            "nonzero": _existence_dict(weight.nonzero),
            "depends_on": list(weight.unknown),
        },
        "regions": list(part.regions),
        "buffers": list(part.buffers),
        "fields": list(part.fields),
        "optional": list(part.optional),
        "gradient": list(part.gradient),
    }
