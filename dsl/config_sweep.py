"""Sweeps: one config, several values for some of its keys, a run for each combination.

    sweep:
      over:
        train.seed: [0, 1, 2]
        loss_params.ssim_weight: [0.1, 0.2]

The values stand in the section ``sweep`` of a config or on the command line (``--over train.seed=0,1,2``); both are
read here, and every run is checked as a config of its own before the first one starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import product
from typing import NamedTuple

from .config_origin import Place
from .config_override import Refusal, assign, places
from .config_schema import RunConfig
from .config_tree import Tree
from .config_values import as_bool, as_number
from .config_yaml import Items, Mapping, Node, Reset, Scalar, read_tree
from .diagnostics import Diagnostic, Label, Severity, Sink
from .source import Source, Span
from .suggest import did_you_mean

MOST_RUNS = 1_000
"""Runs of one sweep."""

OVER = "--over"
_APART = ("output", "sweep", "extends")


class Axis(NamedTuple):
    """A key and its values.

    Attributes:
        words: the key's words, each with its place.
        values: the values, in order.
        place: where the key stands.
    """

    words: list[tuple[str, Place]]
    values: list[Node]
    place: Place

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(word for word, _ in self.words)


class SweepRun(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: readable, and that of its folder: ``ssim_weight=0.1,seed=0``.
        values: the swept keys with this run's values.
        config: the run.
    """

    name: str
    values: dict[str, float | bool | str | None]
    config: RunConfig


def read_section(node: Node, sink: Sink) -> tuple[list[Axis], bool]:
    """The axes of a config's section ``sweep``, and whether their values are paired instead of combined."""
    if not isinstance(node, Mapping):
        if type(node) is not Node and not isinstance(node, Reset):
            _refuse(sink, f"`sweep` is {node.what}, but it takes keys", node, help="`sweep: {over: {train.seed: [0]}}`")
        return [], False
    for word, (place, _) in node.entries.items():
        if word not in ("over", "zip"):
            help = did_you_mean(word, ("over", "zip")) or "the keys that are swept stand below `over`"
            sink.add(Diagnostic("CFG004", f"`{word}` is not a key of `sweep`", *place, help=[help]))
    paired = False
    if "zip" in node.entries:
        given = node.entries["zip"][1]
        flag = as_bool(given.text) if isinstance(given, Scalar) and given.style is None else None
        if flag is None and type(given) is not Node:
            _refuse(sink, "`sweep.zip` must be `true` or `false`", given, code="CFG006")
        paired = bool(flag)
    over = node.entries.get("over")
    if over is None:
        _refuse(sink, "`sweep` has no `over`", node, help="add `over: {train.seed: [0, 1, 2]}`")
        return [], paired
    if not isinstance(over[1], Mapping) or not over[1].entries:
        if type(over[1]) is not Node:
            _refuse(sink, "`sweep.over` takes keys with lists of values", over[1], help="`train.seed: [0, 1, 2]`")
        return [], paired
    return list(_axes(over[1], [], sink)), paired


def _axes(node: Mapping, above: list[tuple[str, Place]], sink: Sink) -> Iterator[Axis]:
    """An axis for each list; keys may be dotted or nested."""
    for name, (place, child) in node.entries.items():
        parts = name.split(".")
        words = above
        try:
            words = words + places(place.source, parts, place.span.start)
        except ValueError:  # a key in quotes with escapes
            words = words + [(word, place) for word in parts]
        if isinstance(child, Mapping):
            yield from _axes(child, words, sink)
        elif isinstance(child, Items) and child.items:
            yield Axis(words, child.items, place)
        elif type(child) is not Node and not isinstance(child, Reset):
            what = "an empty list" if isinstance(child, Items) else child.what
            _refuse(sink, f"`{'.'.join(w for w, _ in words)}` takes a list of values, not {what}", child)


def read_over(text: str, sink: Sink) -> Axis | None:
    """``train.seed=0,1,2``: a key and its values, each of them YAML; commas inside brackets and quotes part nothing."""
    source = Source(text, OVER)
    name, equals, rest = source.text.partition("=")
    words = [word.strip() for word in name.split(".")]
    if not equals or not all(words) or not rest.strip():
        message = f"`{OVER} {text}` sweeps nothing: it takes KEY=VALUE,VALUE"
        help = [f"for instance {OVER} train.seed=0,1,2"]
        sink.add(Diagnostic("CFG013", message, source, Span(0, len(source.text)), help=help))
        return None
    values: list[Node] = []
    for start, end in _parts(source.text, len(name) + 1):
        before = len(sink.items)
        value = read_tree(source, sink, start, end)
        if value is None and len(sink.items) == before:
            message = f"`{OVER} {text}` has an empty value"
            sink.add(Diagnostic("CFG013", message, source, Span(start, max(end, start)), help=["leave out the comma"]))
        if value is None:
            return None
        values.append(value)
    found = places(source, words)
    return Axis(found, values, Place(source, Span(0, len(name.rstrip()))))


def _parts(text: str, start: int) -> Iterator[tuple[int, int]]:
    depth, quote, begin = 0, "", start
    for at in range(start, len(text)):
        letter = text[at]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth <= 0:
            yield begin, at
            begin = at + 1
    yield begin, len(text)


def axes_of(tree: Tree, over: Sequence[str], paired: bool | None, sink: Sink) -> tuple[list[Axis], bool]:
    """The axes of a sweep: those of the config, then those of the command line, which replace the former key by key."""
    axes, of_section = read_section(tree.sweep, sink) if tree.sweep is not None else ([], False)
    extra = [axis for axis in (read_over(text, sink) for text in over) if axis is not None]
    keys = {axis.key for axis in extra}
    chosen = [axis for axis in axes if axis.key not in keys] + extra
    paired = of_section if paired is None else paired
    _check_axes(chosen, tree.given, paired, sink)
    return chosen, paired


def _check_axes(axes: Sequence[Axis], given: Sequence[str], paired: bool, sink: Sink) -> None:
    for i, axis in enumerate(axes):
        key = axis.key
        if axis.words[0][0] in _APART:
            help = "each run has a folder of its own" if key == "output" else "it says what a config is made of"
            sink.add(Diagnostic("CFG013", f"`{key}` cannot be swept", *axis.place, help=[help]))
        for name in given:
            if f"{name}.".startswith(f"{key}."):
                message = f"`{key}` is both swept and set with `--set {name}=...`"
                sink.add(Diagnostic("CFG013", message, *axis.place, help=["keep one of them"]))
        for other in axes[:i]:
            if f"{key}.".startswith(f"{other.key}.") or f"{other.key}.".startswith(f"{key}."):
                label = Label(other.place.span, "first here", other.place.source)
                sink.add(Diagnostic("CFG013", f"`{key}` is swept twice", *axis.place, labels=[label]))
        seen: dict[str, Node] = {}
        for value in axis.values:
            text = value_text(value)
            if text in seen:
                label = Label(seen[text].span, "first here", seen[text].source)
                message = f"`{key}` has the value `{text}` twice"
                sink.add(Diagnostic("CFG013", message, *value.place, labels=[label], help=["keep one of them"]))
            seen.setdefault(text, value)
        if paired and len(axis.values) != len(axes[0].values):
            message = f"values are paired, but `{axes[0].key}` has {len(axes[0].values)} and `{key}` {len(axis.values)}"
            sink.add(Diagnostic("CFG013", message, *axis.place, help=["give every key as many, or combine them"]))
    number = 1
    for axis in axes:
        number *= len(axis.values)
    if not paired and number > MOST_RUNS:
        sink.add(Diagnostic("CFG013", f"a sweep has at most {MOST_RUNS:,} runs, not {number:,}", *axes[0].place))


def combinations(axes: Sequence[Axis], paired: bool) -> list[tuple[Node, ...]]:
    """The values of each run; the last key changes fastest."""
    return list(zip(*(axis.values for axis in axes)) if paired else product(*(axis.values for axis in axes)))


def star(axes: Sequence[Axis]) -> list[tuple[Node, ...]]:
    """Every value once, beside the first ones of the other keys: what is enough to check each of them."""
    first = [axis.values[0] for axis in axes]
    found = [tuple(first)]
    for i, axis in enumerate(axes):
        found += [(*first[:i], value, *first[i + 1 :]) for value in axis.values[1:]]
    return found


def runs(
    tree: Tree,
    axes: Sequence[Axis],
    chosen: Sequence[tuple[Node, ...]],
    sink: Sink,
    pedantic: bool = False,
    half: bool = False,
) -> list[SweepRun]:
    """The runs, each of them read and checked; a finding says which of them have it, unless all do."""
    from .config import check_loaded

    made: list[SweepRun] = []
    found: dict[tuple[object, ...], tuple[Diagnostic, list[str]]] = {}
    for name, values in zip(names(axes, chosen), chosen):
        own = Sink()
        root = tree.root
        try:
            for axis, value in zip(axes, values):
                root = assign(root, axis.words, value)
        except Refusal as refusal:
            own.add(refusal.diagnostic)
        else:
            config = tree.read(root, own)
            check_loaded(config, own, pedantic, half)
            shown = {axis.key: plain_value(value) for axis, value in zip(axes, values)}
            made.append(SweepRun(name, shown, config))
        for d in own.items:
            key = (d.code, d.source.name, d.source.text, d.span, d.message)
            found.setdefault(key, (d, []))[1].append(name)
    for diagnostic, where in found.values():
        if len(where) < len(chosen):
            diagnostic = copy(diagnostic)
            more = f" and {len(where) - 1} more" if len(where) > 1 else ""
            diagnostic.notes = (*diagnostic.notes, f"in the run `{where[0]}`{more}")
        sink.add(diagnostic)
    return made


def names(axes: Sequence[Axis], chosen: Sequence[tuple[Node, ...]]) -> list[str]:
    """A name for each run, readable and different: ``ssim_weight=0.1,seed=0``."""
    last = [axis.words[-1][0] for axis in axes]
    short = [word if last.count(word) == 1 else axis.key for word, axis in zip(last, axes)]
    found: list[str] = []
    for values in chosen:
        name = ",".join(f"{word}={_slug(value)}" for word, value in zip(short, values))[:180]
        same, name_ = 1, name
        while name_ in found:
            same += 1
            name_ = f"{name}~{same}"
        found.append(name_)
    return found


def _slug(node: Node) -> str:
    text = value_text(node)
    stem, ending = os.path.splitext(os.path.basename(text))
    text = stem if ending in (".loss", ".yaml", ".yml") else text
    return re.sub(r"[^\w.+-]+", "-", text).strip("-")[:40] or "empty"


def value_text(node: Node) -> str:
    """A value as it is written, in one line."""
    if isinstance(node, Scalar):
        return "null" if node.is_null else " ".join(node.text.split())
    return " ".join(node.source.slice(node.span).split())


def plain_value(node: Node) -> float | bool | str | None:
    """A value for tables: a number or flag where it is one, otherwise its text."""
    if not isinstance(node, Scalar) or node.style is not None:
        return value_text(node)
    if node.is_null:
        return None
    number, flag = as_number(node.text), as_bool(node.text)
    return number if number is not None else flag if flag is not None else node.text


def _refuse(sink: Sink, message: str, node: Node, *, help: str | None = None, code: str = "CFG013") -> None:
    end = node.source.text.find("\n", node.span.start, node.span.end)
    span = Span(node.span.start, end if end >= 0 else node.span.end)
    sink.add(Diagnostic(code, message, node.source, span, help=[help] if help else []))


def load_sweep(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), over: Sequence[str] = (), paired: bool | None = None
) -> tuple[list[SweepRun] | None, list[Diagnostic]]:
    """Read and check all runs of a sweep.

    Args:
        path: the config.
        overrides: ``KEY=VALUE`` texts that hold for all runs.
        over: ``KEY=VALUE,VALUE`` texts, beside what the config's section ``sweep`` says.
        paired: whether the first values make the first run, the second ones the second, and so on; None: what the
            config says, otherwise every combination is a run.

    Returns:
        The runs, or None when a finding is an error; and all findings.
    """
    from .config_tree import read_config

    sink = Sink()
    tree = read_config(os.fspath(path), overrides, None, sink)
    if tree is None:
        return None, sink.sorted()
    axes, paired = axes_of(tree, over, paired, sink)
    if not axes and not sink.has_errors:
        help = [f"give values with `{OVER} train.seed=0,1,2`, or in a section `sweep` of the config"]
        sink.add(Diagnostic("CFG013", "nothing is swept", tree.source, None, help=help))
    if any(d.code == "CFG013" and d.severity is Severity.ERROR for d in sink.items) or not axes:
        return None, sink.sorted()
    made = runs(tree, axes, combinations(axes, paired), sink)
    return (None if sink.has_errors else made), sink.sorted()
