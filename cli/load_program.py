"""A program with everything that is in force around it: what `explain FILE` and `plot` work on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from ..dsl.api import analyse
from ..dsl.config import RunConfig, check_config, data_fields, load_config, renderer_buffers
from ..dsl.diagnostics import Diagnostic, Severity
from ..dsl.files import CONFIG_LIMIT, LOSS_LIMIT, Unreadable, decode, is_program, read_text
from ..dsl.source import Source
from ..dsl.typed import TypedProgram

CONFIGS = (".yaml", ".yml")


class Setting(NamedTuple):
    """A key of a run config: its value, and where that is from (``a.yaml:3``, ``--set``, ``default``)."""

    key: str
    value: object
    origin: str


class Loaded(NamedTuple):
    """What was read.

    Attributes:
        program: None if there is an error.
        found: all findings.
        max_steps: the length of the run, None where nothing says it.
        config: the run config, None for a program on its own.
        settings: what is in force beside the parameters, () without a config.
        origins: where the values of parameters are from, by name; those at their default are left out.
    """

    program: TypedProgram | None
    found: list[Diagnostic]
    max_steps: int | None
    config: RunConfig | None
    settings: tuple[Setting, ...]
    origins: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether a finding is an error."""
        return self.program is None or any(d.severity is Severity.ERROR for d in self.found)


def load(path: str, overrides: Sequence[str] = (), steps: int | None = None) -> Loaded:
    """Read and check a program or a run config; ``-`` is a program on standard input.

    Args:
        path: a ``.loss`` file, or a run config, whose program, parameters, length, renderer and data then count.
        overrides: ``KEY=VALUE`` texts of ``--set``.
        steps: the length of the run, over the config's.

    Raises:
        click.UsageError: the file cannot be read.
    """
    if path != "-" and not is_program(path) and not path.endswith(CONFIGS):
        raise click.UsageError(f"`{path}` is neither a `.loss` file nor a run config (`.yaml`)")
    extra = [f"train.max_steps={steps}"] if steps is not None else []
    text = _read(path)
    if path.endswith(CONFIGS):
        return _config(path, [*overrides, *extra], text)
    return _program("<stdin>" if path == "-" else path, text, [*overrides, *extra], steps)


def _read(path: str) -> str:
    limit = CONFIG_LIMIT if path.endswith(CONFIGS) else LOSS_LIMIT
    try:
        return decode(sys.stdin.buffer.read(limit + 1), limit) if path == "-" else read_text(path, limit)
    except Unreadable as reason:
        from ..dsl.config_reader import nearby

        help = None if path == "-" or os.path.exists(path) else nearby(path, "")
        raise click.UsageError(f"`{path}` {reason}" + (f"; {help}" if help else "")) from None


def _config(path: str, overrides: Sequence[str], text: str) -> Loaded:
    config, found = load_config(path, overrides, text)
    if config is None or config.origin is None:
        return Loaded(None, check_config(path, overrides, text, sweep=False), None, None, (), {})
    program, _ = analyse(
        config.loss_source(),
        dict(config.loss_params),
        config.train.max_steps,
        renderer_buffers(config),
        data_fields(config),
    )
    found = check_config(path, overrides, text, sweep=False)
    return Loaded(program, found, config.train.max_steps, config, _settings(config), _origins(config))


def _program(name: str, text: str, overrides: Sequence[str], steps: int | None) -> Loaded:
    """A program on its own; `--set` is read as if a config had named it."""
    if not overrides:
        program, found = analyse(Source(text, name))
        return Loaded(program, found, None, None, (), {})
    config, found = load_config("<options>", overrides, text="loss: ''\ndata: {kind: synthetic}\n")
    if config is None or config.origin is None:
        return Loaded(None, found, steps, None, (), {})
    given = config.origin.values
    max_steps = config.train.max_steps if "train.max_steps" in given else None
    buffers = renderer_buffers(config) if "renderer.kind" in given else None
    program, more = analyse(Source(text, name), dict(config.loss_params), max_steps, buffers)
    found = found + [config.origin.place(diagnostic) for diagnostic in more]
    return Loaded(program, found, max_steps, None, (), _origins(config))


def _where(config: RunConfig, key: str) -> str:
    place = config.origin.values.get(key) if config.origin is not None else None
    if place is None:
        return "default"
    if place.source.name.startswith("--"):
        return place.source.name
    return f"{place.source.name}:{place.source.position(place.span.start)[0]}"


def _origins(config: RunConfig) -> dict[str, str]:
    return {name: _where(config, f"loss_params.{name}") for name in config.loss_params}


def _settings(config: RunConfig) -> tuple[Setting, ...]:
    """What the objective depends on beside its parameters."""
    values: dict[str, object] = {
        "train.max_steps": config.train.max_steps,
        "renderer.kind": config.renderer.kind,
        "data.kind": config.data.kind,
        "data.path": config.data.path,
        "data.masks": config.data.masks,
    }
    return tuple(Setting(key, value, _where(config, key)) for key, value in values.items() if value is not None)
