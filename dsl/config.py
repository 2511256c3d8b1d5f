"""Run configs: YAML, every mistake in it reported in one run, with its file and line.

Paths in a file are relative to that file, paths given with ``--set`` to the current folder. ``output`` is always
relative to the current folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from .config_data import scene_fields
from .config_schema import DataConfig, LrConfig, RendererConfig, RunConfig, TrainConfig, keys
from .config_tree import read_config
from .diagnostics import Diagnostic, Sink
from .files import ZOO

__all__ = [
    "DataConfig",
    "LrConfig",
    "RendererConfig",
    "RunConfig",
    "TrainConfig",
    "check_config",
    "check_program",
    "config_to_dict",
    "data_fields",
    "load_config",
    "renderer_buffers",
]


def load_config(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), text: str | None = None
) -> tuple[RunConfig | None, list[Diagnostic]]:
    """Read and validate a run config; the program it names is read, but not checked.

    Args:
        path: the YAML file; its folder is what paths in it are relative to.
        overrides: ``KEY=VALUE`` texts as ``--set`` takes them, applied in order.
        text: the file's text, where it is not to be read from ``path``.

    Returns:
        The config, or None when a finding is an error; and all findings in order.
    """
    sink = Sink()
    config = _read(os.fspath(path), overrides, text, sink)
    return (None if sink.has_errors else config), sink.sorted()


def _read(path: str, overrides: Sequence[str], text: str | None, sink: Sink) -> RunConfig | None:
    """The config as far as it could be read, findings or not; None when it is no mapping at all."""
    tree = read_config(path, overrides, text, sink)
    return None if tree is None else tree.read(tree.root, sink)


def check_config(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    text: str | None = None,
    pedantic: bool = False,
    half: bool = False,
    sweep: bool = True,
) -> list[Diagnostic]:
    """All findings of a config, and of its program under that config's parameters, renderer and data.

    A config with a section ``sweep`` is checked with each of the values there.

    Args:
        path, overrides, text: those of `load_config`.
        pedantic: whether to report possibilities in the program too, which can be mistaken.
        half: whether the run renders in half precision.
        sweep: whether the section ``sweep`` counts; otherwise the config is checked as one run.
    """
    sink = Sink()
    tree = read_config(os.fspath(path), overrides, text, sink)
    if tree is None:
        return sink.sorted()
    if sweep and tree.sweep is not None:
        from .config_sweep import axes_of, combinations, runs, star

        axes, paired = axes_of(tree, (), None, sink)
        if axes and not sink.has_errors:
            runs(tree, axes, combinations(axes, paired) if paired else star(axes), sink, pedantic, half)
            return sink.sorted()
    check_loaded(tree.read(tree.root, sink), sink, pedantic, half)
    return sink.sorted()


def check_loaded(config: RunConfig, sink: Sink, pedantic: bool = False, half: bool = False) -> None:
    """Check the program of a config that has been read; what was found in the config is in the sink."""
    if config.origin is None or not config.origin.program.text:
        return
    from .api import check_text  # the checker is not needed to read a config

    # The program's mistakes count even if the config has some of its own; only what it is checked against may then be
    # unknown.
    whole = not sink.has_errors
    program = config.loss_source()
    for diagnostic in check_text(
        program.text,
        name=program.name,
        params=dict(config.loss_params),
        max_steps=config.train.max_steps if whole else None,
        renderer_buffers=renderer_buffers(config) if whole else None,
        data_fields=data_fields(config) if whole else None,
        pedantic=pedantic,
        half=half,
    ):
        sink.add(config.origin.place(diagnostic))


def check_program(
    name: str,
    text: str,
    overrides: Sequence[str],
    max_steps: int | None = None,
    buffers: frozenset[str] | None = None,
    pedantic: bool = False,
    fields: frozenset[str] | None = None,
    half: bool = False,
) -> list[Diagnostic]:
    """All findings of a program under values given with ``--set``, as if a config had named it.

    Args:
        name, text: the program.
        overrides: ``KEY=VALUE`` texts such as ``loss_params.ssim_weight=0.3``.
        max_steps: the length of training, where no override gives it; None: any.
        buffers: what the renderer supplies, where no override names it; None: anything.
        pedantic: whether to report possibilities too, which can be mistaken.
        fields: what every item of the data has; None: anything.
        half: whether the run renders in half precision.
    """
    config, found = load_config("<options>", overrides, text="loss: ''\ndata: {kind: synthetic}\n")
    if config is None or config.origin is None:
        return found
    from .api import check_text

    given = config.origin.values
    diagnostics = check_text(
        text,
        name=name,
        params=dict(config.loss_params),
        max_steps=config.train.max_steps if "train.max_steps" in given else max_steps,
        renderer_buffers=renderer_buffers(config) if "renderer.kind" in given else buffers,
        data_fields=fields,
        pedantic=pedantic,
        half=half,
    )
    return found + [config.origin.place(diagnostic) for diagnostic in diagnostics]


def renderer_buffers(config: RunConfig) -> frozenset[str]:
    """What the config's renderer can supply; for ``auto``, what each of its candidates can."""
    from .manifest import RENDERERS

    kind = config.renderer.kind
    return RENDERERS[kind] if kind != "auto" else RENDERERS["gsplat"] & RENDERERS["reference"]


def data_fields(config: RunConfig) -> frozenset[str]:
    """The item fields that the config's data has, as far as they can be told without opening an image.

    A scene on disk has masks when its folder ``masks/`` holds a file, and an input when there is a folder of its name
    with files; whether every image has one is known when the scene is loaded.
    """
    data = config.data
    synthetic = {"target", "mask", "depth_map", "points", "depths"}
    found = synthetic if data.kind == "synthetic" else scene_fields(data)
    return frozenset(found - {"mask"} if data.masks == "none" else found)


def folder_fields(path: str) -> frozenset[str]:
    """The item fields of a scene on disk, as far as they can be told without opening an image."""
    return frozenset(scene_fields(DataConfig("auto", path)))


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """The resolved config as plain values: every default filled in, paths absolute, nothing that does not apply.

    Written as YAML or JSON it loads again as the same run.
    """
    made = _section_to_dict(config, "")
    file = config.loss_path is not None and not config.loss_path.startswith(ZOO)
    made["loss"] = os.path.abspath(config.loss_path or "") if file else config.loss
    if config.data.path is not None:
        made["data"]["path"] = os.path.abspath(config.data.path)
    return made


def _section_to_dict(section: Any, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key in keys(name).values():
        value = getattr(section, key.name)
        only = key.option.only
        if value is None or (only is not None and getattr(section, only[0]) not in only[1]):
            continue
        if key.type == "table":
            if value:
                made[key.name] = {word: _section_to_dict(part, f"{key.dotted}.{word}") for word, part in value.items()}
        elif is_dataclass(value):
            made[key.name] = _section_to_dict(value, key.dotted)
        else:
            made[key.name] = dict(value) if key.type == "params" else value
    return made
