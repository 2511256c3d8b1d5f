"""``splatdsl check``: programs, run configs and folders of them.

Nothing is imported here that a plain check does not need: no click, no YAML, and the renderer of findings only when
there is one.
"""

from __future__ import annotations

import os
import sys

from ..dsl.files import CONFIG_LIMIT, LOSS_LIMIT, Unreadable, decode, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself costs milliseconds
    from collections.abc import Iterator, Sequence

    from ..dsl.diagnostics import Diagnostic

CLEAN, FINDINGS, USAGE = 0, 1, 2
_CONFIGS = (".yaml", ".yml")
_SKIPPED = {"__pycache__", "node_modules", "venv", "site-packages"}


class Options:
    """How to check and how to report.

    Attributes:
        format: ``full``, ``concise`` or ``json``.
        color: None decides by the terminal.
        renderer: the renderer to check for, or None: the config's, or any.
        steps: ``max_steps`` to check for, or None: the config's, or any.
        overrides: ``KEY=VALUE`` texts of ``--set``.
        stdin_filename: what the text of ``-`` is called; its ending says whether it is a config.
    """

    __slots__ = ("color", "format", "overrides", "renderer", "stdin_filename", "steps")

    def __init__(
        self,
        format: str = "full",
        color: bool | None = None,
        renderer: str | None = None,
        steps: int | None = None,
        overrides: Sequence[str] = (),
        stdin_filename: str | None = None,
    ) -> None:
        self.format = format
        self.color = color
        self.renderer = renderer
        self.steps = steps
        self.overrides = tuple(overrides)
        self.stdin_filename = stdin_filename


def check_paths(paths: Sequence[str], options: Options) -> int:
    """Check files and folders, print the findings on stdout and a summary on stderr.

    Returns:
        0 when nothing was found, 1 when something was, 2 when a path could not be checked at all.
    """
    found: list[Diagnostic] = []
    seen: set[tuple[object, ...]] = set()
    files, problems = 0, 0
    for path in paths:
        folder = path != "-" and os.path.isdir(path)
        before = files + problems
        for name in _inside(path) if folder else [path]:
            try:
                name, text = _read(name, options)
            except _Problem as problem:
                problems += 1
                _complain(str(problem))
                continue
            files += 1
            # A program may be reached twice: as a file, and through a config that names it.
            fresh = [d for d in _check(name, text, options) if _key(d) not in seen]
            seen.update(map(_key, fresh))
            if fresh and options.format != "json":
                _show(fresh, options, first=not found)
            found += fresh
        if folder and files + problems == before:
            problems += 1
            _complain(f"the folder `{path}` holds no `.loss` files and no run configs")
    if options.format == "json":
        _show_json(found)
    sys.stdout.flush()
    if files:
        print(_summary(found, files), file=sys.stderr)
    return USAGE if problems else FINDINGS if found else CLEAN


class _Problem(Exception):
    """A path that cannot be checked."""


def _complain(problem: str) -> None:
    sys.stdout.flush()
    print(f"splatdsl: {problem}", file=sys.stderr)


def _read(path: str, options: Options) -> tuple[str, str]:
    """The name that messages show for a path, and its text."""
    name = (options.stdin_filename or "<stdin>") if path == "-" else path
    limit = CONFIG_LIMIT if name.endswith(_CONFIGS) else LOSS_LIMIT
    try:
        text = decode(sys.stdin.buffer.read(limit + 1), limit) if path == "-" else read_text(path, limit)
    except Unreadable as reason:
        help = None
        if path != "-" and not os.path.exists(path):
            from ..dsl.config_reader import nearby

            help = nearby(path, "")
        raise _Problem(f"`{name}` {reason}" + (f"; {help}" if help else "")) from None
    if path != "-" and not name.endswith((".loss", *_CONFIGS)):
        raise _Problem(f"`{name}` is neither a `.loss` file nor a run config (`.yaml`)")
    return name, text


def _inside(folder: str) -> Iterator[str]:
    """The files of a folder that may be checked, in a fixed order."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        for name in sorted(names):
            path = os.path.join(where, name)
            if name.startswith("."):
                continue
            if name.endswith(".loss") or (name.endswith(_CONFIGS) and _looks_like_run(path)):
                yield path


def _looks_like_run(path: str) -> bool:
    """Whether a YAML file is a run config: other tools keep YAML files in the same folders."""
    try:
        with open(path, "rb") as file:
            lines = file.read(CONFIG_LIMIT).splitlines()
    except OSError:
        return False
    return all(any(line.startswith(key) for line in lines) for key in (b"loss:", b"data:"))


def _check(name: str, text: str, options: Options) -> list[Diagnostic]:
    if name.endswith(_CONFIGS):
        from ..dsl.config import check_config

        extra = [f"train.max_steps={options.steps}"] if options.steps is not None else []
        extra += [f"renderer.kind={options.renderer}"] if options.renderer is not None else []
        return check_config(name, [*options.overrides, *extra], text)

    from ..dsl.api import check_text

    buffers = None
    if options.renderer is not None:
        from ..dsl.manifest import RENDERERS

        buffers = RENDERERS[options.renderer]
    if options.overrides:
        from ..dsl.config import check_program

        return check_program(name, text, options.overrides, options.steps, buffers)
    return check_text(text, name=name, max_steps=options.steps, renderer_buffers=buffers)


def _key(diagnostic: Diagnostic) -> tuple[object, ...]:
    name = os.path.abspath(diagnostic.source.name)
    return diagnostic.code, name, diagnostic.source.text, diagnostic.span, diagnostic.message


def _show(found: list[Diagnostic], options: Options, first: bool) -> None:
    from ..dsl.render import concise, full, wants_color

    if options.format == "concise":
        print("\n".join(map(concise, found)))
        return
    color = wants_color(sys.stdout) if options.color is None else options.color
    print(("" if first else "\n") + "\n\n".join(full(diagnostic, color) for diagnostic in found))


def _summary(found: list[Diagnostic], files: int) -> str:
    if not found:
        return f"no findings in {files} file{'s' if files != 1 else ''}"
    from ..dsl.render import summary

    return summary(found, files)


def _show_json(found: list[Diagnostic]) -> None:
    import json

    from ..dsl.render import as_dict

    print(json.dumps([as_dict(diagnostic) for diagnostic in found], indent=2))
