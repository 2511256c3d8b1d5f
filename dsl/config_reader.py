"""From a config's tree to dataclasses, with every mistake on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, replace
from typing import Any

from .config_data import scene_problems
from .config_origin import Origin, Piece, Place
from .config_schema import SECTIONS, DataConfig, Key, ParamValue, RunConfig, all_keys, keys, only_text, section_class
from .config_values import Refused, as_bool, as_number, read_value
from .config_yaml import Mapping, Node, Reset, Scalar, pieces
from .diagnostics import Diagnostic, Label, Sink
from .files import LOSS_LIMIT, ZOO, NotInZoo, Unreadable, is_program, located, read_text, zoo_names
from .source import Source, Span
from .suggest import did_you_mean

FILES = ("colmap", "transforms", "auto")
"""The kinds of data that are on disk."""


class Reader:
    """One pass over the tree: values into dataclasses, mistakes into the sink.

    Args:
        path: the config.
        source: its text.
        sink: gets the findings.
        partial: whether a part could not be read, so that nobody knows which keys are missing.
    """

    def __init__(self, path: str, source: Source, sink: Sink, partial: bool = False) -> None:
        self.path = path
        self.source = source
        self.partial = partial
        self.sink = sink
        self.values: dict[str, Place] = {}
        self.names: dict[str, Place] = {}
        self.nodes: dict[str, Node] = {}

    def error(
        self,
        code: str,
        message: str,
        place: Place | None,
        *,
        caption: str = "",
        help: Iterable[str | None] = (),
        labels: Sequence[Label] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """Report at a place, or about the whole file."""
        source, span = place if place is not None else (self.source, None)
        advice = [text for text in help if text]
        self.sink.add(Diagnostic(code, message, source, span, caption=caption, help=advice, labels=labels, notes=notes))

    def run(self, root: Mapping) -> RunConfig:
        """The config; only valid when no error was reported."""
        given = self.section("", root)
        config = RunConfig(**given)
        self.relations(config)
        loss_node = self.nodes.get("loss")
        program, program_path, host, mapped = Source("", self.path), None, None, list[Piece]()
        if isinstance(loss_node, Scalar) and "loss" in self.values:
            program_path = self.program_file(config.loss, loss_node)
            if program_path is not None:
                program = self.read_program(program_path, loss_node)
            else:
                program = Source(config.loss, f"{self.path} (loss)")
                mapped = pieces(loss_node)
                host = loss_node.source if mapped else None
        self.watched(config, program_path)
        self.data_folder(config)
        output = config.output or os.path.join("runs", os.path.splitext(os.path.basename(self.path))[0])
        origin = Origin(self.path, program, program_path, self.values, self.names, host, mapped)
        data = config.data
        if data.path is not None:
            path = self.resolved(data.path, self.nodes["data.path"])
            data = replace(data, path=path)
        return RunConfig(**{**given, "data": data, "output": output, "origin": origin})

    def section(self, name: str, mapping: Mapping) -> dict[str, Any]:
        """The values of one section by key; defaults stand in for what is wrong."""
        table = keys(name)
        made: dict[str, Any] = {}
        for word, (place, node) in mapping.entries.items():
            key = table.get(word)
            if key is None:
                self.unknown(name, word, place, table)
                continue
            if isinstance(node, Reset):
                continue
            self.names[key.dotted] = place
            self.nodes[key.dotted] = node
            value = self.value(key, place, node)
            if value is not None:
                made[word] = value
                self.values[key.dotted] = node.place
        for key in table.values():
            if key.required and key.name not in made:
                if key.dotted not in self.names:
                    self.missing(name, key)
                made[key.name] = DataConfig("") if key.name == "data" else ""
        self.unused(name, table, made)
        return made

    def value(self, key: Key, place: Place, node: Node) -> Any:
        """The value of one key, or None when it is wrong or stands for "not given"."""
        if type(node) is Node:
            return None
        empty = isinstance(node, Scalar) and node.is_null
        if empty and key.optional:
            return None
        if key.type in ("section", "params", "table"):
            if empty and not key.required:
                return None
            if empty:
                node = Mapping({}, node.source, place.span)
            if not isinstance(node, Mapping):
                message = f"`{key.dotted}` is {node.what}, but it takes keys"
                self.error("CFG006", message, Place(node.source, first_line(node)), help=[_example(key)])
                return None
            if key.type == "section":
                return SECTIONS[key.dotted](**self.section(key.dotted, node))
            return self.params(node) if key.type == "params" else self.table(key, node)
        try:
            return read_value(key, node)
        except Refused as reason:
            at = place if empty else Place(node.source, first_line(node))
            self.error(reason.code, str(reason), at, help=reason.help, notes=[f"`{key.name}`: {key.option.doc}"])
            return None

    def params(self, mapping: Mapping) -> dict[str, ParamValue]:
        """``loss_params``: which names exist is for the program to say."""
        made: dict[str, ParamValue] = {}
        for name, (place, node) in mapping.entries.items():
            dotted = f"loss_params.{name}"
            self.names[dotted] = place
            if type(node) is Node or isinstance(node, Reset):
                continue
            if not isinstance(node, Scalar) or node.is_null:
                what = "nothing" if isinstance(node, Scalar) else node.what
                message = f"`{dotted}` must be a number, `true`, `false` or a word, and is {what}"
                self.error("CFG006", message, place)
                continue
            self.values[dotted] = node.place
            made[name] = _param(node)
        return made

    def table(self, key: Key, mapping: Mapping) -> dict[str, Any]:
        """Sections of one kind, by names that nobody has declared."""
        made: dict[str, Any] = {}
        for name, (place, node) in mapping.entries.items():
            dotted = f"{key.dotted}.{name}"
            self.names[dotted] = place
            if isinstance(node, Mapping):
                made[name] = section_class(dotted)(**self.section(dotted, node))
            elif not isinstance(node, Reset) and type(node) is not Node:
                what = "nothing" if isinstance(node, Scalar) and node.is_null else node.what
                table = ", ".join(f"`{word}`" for word in keys(dotted))
                self.error("CFG006", f"`{dotted}` is {what}, but it takes keys", place, help=[f"its keys are {table}"])
        return made

    def unknown(self, section: str, word: str, place: Place, table: dict[str, Key]) -> None:
        """A key that does not exist here."""
        elsewhere = [key for key in all_keys() if key.name == word and key.section != section]
        where = f"`{section}`" if section else "a run config"
        message = f"`{word}` is not a key of {where}"
        help = did_you_mean(word, [*table, *(() if section else ("extends", "sweep"))])
        if word in ("extends", "from"):
            help = "at the top of a file write `extends`" if not section else "below the top of a file write `from`"
            self.error("CFG004", message, place, help=[help])
        elif elsewhere:
            owners = " or ".join(f"`{key.section}`" if key.section else "the top level" for key in elsewhere)
            self.error("CFG004", message, place, help=[f"`{word}` belongs to {owners}: move it there"])
        elif help is None and not section:
            near = did_you_mean(word, [key.name for key in all_keys() if key.section])
            names = [key.dotted for key in all_keys() if near and f"`{key.name}`" in near]
            help = f"did you mean {' or '.join(f'`{name}`' for name in names)}?" if names else None
            self.error("CFG004", message, place, help=[help], notes=[] if help else [_listing(table)])
        else:
            self.error("CFG004", message, place, help=[help], notes=[] if help else [_listing(table)])

    def missing(self, section: str, key: Key) -> None:
        """A key that has no default."""
        if self.partial:
            return
        place = self.names.get(section) if section else None
        where = f"`{section}`" if section else "this config"
        self.error("CFG005", f"{where} has no `{key.name}`", place, help=[f"add {_example(key)}"])

    def unused(self, section: str, table: dict[str, Key], made: dict[str, Any]) -> None:
        """Keys that mean nothing beside the others of their section."""
        for key in table.values():
            only = key.option.only
            if only is None or key.name not in made:
                continue
            decider = table[only[0]]
            value = made.get(only[0], None if decider.default is MISSING else decider.default)
            if not value or value in only[1]:
                continue
            label = self.values.get(decider.dotted)
            labels = [Label(label.span, "decided here", label.source)] if label else []
            message = f"`{key.dotted}` is not used with `{only[0]}: {value}`"
            self.error(
                "CFG009",
                message,
                self.names[key.dotted],
                labels=labels,
                help=[f"remove it; it belongs to {only_text(key)}"],
            )

    def relations(self, config: RunConfig) -> None:
        """Values that are right on their own and wrong together."""
        data, train = config.data, config.train
        if data.width is not None and data.downscale is not None:
            self.error(
                "CFG010",
                "`data.width` and `data.downscale` both set the image size",
                self.names["data.downscale"],
                help=["keep one of them"],
            )
        if data.test_every == 1:
            self.error(
                "CFG010",
                "`data.test_every: 1` holds out every view and leaves none to train on",
                self.values.get("data.test_every"),
                help=["hold out every eighth view with 8, or none with 0"],
            )
        start, stop = (train.refine_start, train.refine_stop) if train.strategy != "none" else (None, None)
        if start is not None and stop is not None and start >= stop:
            self.error(
                "CFG010",
                f"densification would start at step {start} and stop at step {stop}",
                self.values.get("train.refine_start"),
                help=["make `refine_start` less than `refine_stop`"],
            )
        elif start is not None and start >= train.max_steps:
            self.error(
                "CFG010",
                f"densification would start at step {start}, after the last of {train.max_steps} steps",
                self.values.get("train.refine_start"),
                help=["start earlier, or set `strategy: none`"],
            )
        if data.kind in FILES and data.path is None and "data.path" not in self.names:
            self.missing("data", keys("data")["path"])
        elif data.kind in FILES and data.path is None:
            self.error("CFG005", f"`data.path` is needed with `kind: {data.kind}`", self.names["data.path"])

    def watched(self, config: RunConfig, program_path: str | None) -> None:
        """A loss that is watched is a file of the user's own."""
        if not config.train.watch_loss or "loss" not in self.values:
            return
        if program_path is None or program_path.startswith(ZOO):
            what = "is written in the config" if program_path is None else "belongs to the package"
            label = Label(first_line(self.nodes["loss"]), f"this {what}", self.nodes["loss"].source)
            self.error(
                "CFG010",
                f"`train.watch_loss` has no file to watch: the loss {what}",
                self.values.get("train.watch_loss"),
                labels=[label],
                help=["write the program into a `.loss` file, and name that as `loss`"],
            )

    def resolved(self, text: str, node: Node) -> str:
        """A path of the config: relative to the file that says so, or to the current folder on a command line."""
        if text.startswith(ZOO):
            return text
        text = os.path.expanduser(text)
        return os.path.normpath(os.path.join(folder_of(node), text))

    def program_file(self, loss: str, node: Scalar) -> str | None:
        """The file that ``loss`` names, or None when it is a program."""
        if "\n" in loss or "\0" in loss:
            return None
        path = self.resolved(loss, node)
        return path if is_program(loss) or (loss and os.path.isfile(path)) else None

    def read_program(self, path: str, node: Node) -> Source:
        """The text of the program's file; empty, with a finding, when it cannot be read."""
        try:
            if os.path.exists(path) and not self.may_be_shown(path, node):
                raise Unreadable("is not a `.loss` file")
            return Source(read_text(path, LOSS_LIMIT), path)
        except NotInZoo as reason:
            self.error("NAM015", f"`{path}` {reason}", node.place, help=[nearby(path, "")])
            return Source("", path)
        except Unreadable as reason:
            self.error("CFG008", f"the loss `{path}` {reason}", node.place, help=[nearby(path, ".loss")])
            return Source("", path)

    def may_be_shown(self, path: str, node: Node) -> bool:
        """Whether findings may quote a file: who writes a config must not get to read any file of another machine."""
        real, folder = os.path.realpath(located(path)), os.path.realpath(folder_of(node) or ".")
        outside = node.source.name.startswith("--")
        return real.endswith(".loss") or outside or os.path.commonpath([real, folder]) == folder

    def data_folder(self, config: RunConfig) -> None:
        """The scene's folder exists and looks like one."""
        data, node = config.data, self.nodes.get("data.path")
        if data.kind not in FILES or data.path is None or node is None:
            return
        path = self.resolved(data.path, node)
        for key, message, help in scene_problems(replace(data, path=path), path):
            self.error("CFG008", message, self.values.get(key, node.place), help=[help or nearby(path, "")])


def folder_of(node: Node) -> str:
    """What a path in a config is relative to: the folder of its file, or the current one on a command line."""
    return "" if node.source.name.startswith("--") else os.path.dirname(node.source.name)


def _param(node: Scalar) -> ParamValue:
    if node.style is not None:
        return node.text
    for read in (as_number, as_bool):
        value = read(node.text)
        if value is not None:
            return value
    return node.text


def first_line(node: Node) -> Span:
    """The part of a node's span that a caret underlines."""
    text = node.source.slice(node.span)
    return Span(node.span.start, node.span.start + len(text.partition("\n")[0].rstrip()))


def _listing(table: Iterable[str]) -> str:
    return "keys: " + ", ".join(f"`{name}`" for name in table)


def _example(key: Key) -> str:
    examples = {
        "loss": "`loss: my.loss`",
        "data": "`data: {kind: colmap, path: my_scene}`",
        "data.path": "`path: my_scene`",
        "data.kind": "`kind: colmap` or `kind: synthetic`",
        "loss_params": "`loss_params: {ssim_weight: 0.2}`",
        "renderer": "`renderer: {kind: auto}`",
        "train": "`train: {max_steps: 300}`",
        "train.lr": "`lr: {means: 0.5}`",
    }
    return examples.get(key.dotted, f"`{key.name}`")


def nearby(path: str, ending: str) -> str | None:
    """A suggestion from the folder that a path names, or from the zoo."""
    if path.startswith(ZOO):
        name, names = path.removeprefix(ZOO).removesuffix(".loss"), zoo_names()
        if name in names:
            return f"it is called `{ZOO}{name}`"
        help = did_you_mean(name, names)
        return re.sub(r"`(.*?)`", rf"`{ZOO}\1`", help) if help else "`splatdsl zoo` lists what is there"
    folder = os.path.dirname(path)
    try:
        names = [name for name in os.listdir(folder or ".") if name.endswith(ending)]
    except OSError:
        while folder and not os.path.isdir(folder):
            path, folder = folder, os.path.dirname(folder)
        return f"the folder `{path}` does not exist" if path else None
    help = did_you_mean(os.path.basename(path), names[:1000])
    return help and help.replace("`", f"`{folder}{os.sep}" if folder else "`", 1)
