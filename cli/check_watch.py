"""``check --watch``: check again whenever a file changes, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from ..dsl.settings import OWN_FILE, SHARED_FILE, Settings
from .check import check_paths
from .check_input import CONFIGS, inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .check import Options

INTERVAL = 0.3  # seconds between two looks


def watch(paths: Sequence[str], options: Options) -> int:
    """Check now, and after every change; never returns by itself."""
    state = _state(paths)
    while True:
        check_paths(paths, options)
        print("watching for changes; end with Ctrl-C", file=sys.stderr, flush=True)
        while True:
            time.sleep(INTERVAL)
            now = _state(paths)
            if now != state:
                break
        names = sorted({name for name, _ in set(state.items()) ^ set(now.items())})
        state = now
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"\n{names[0]}{more} changed", file=sys.stderr)


def _state(paths: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Time and size of everything that a check of these paths may read."""
    names = set[str]()
    for path in paths:
        if os.path.isdir(path):
            names.update(inside(path, lambda folder: Settings()))
        else:
            names.add(path)
            # What a program uses and a run config names mostly stands beside it.
            names.update(_beside(os.path.dirname(path)))
            if path.endswith(CONFIGS):
                names.update(_parts(path))
        folder = os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path))
        while True:
            names.update(os.path.join(folder, name) for name in (OWN_FILE, SHARED_FILE))
            above = os.path.dirname(folder)
            if above == folder:
                break
            folder = above
    names.update(name for program in list(names) if program.endswith(".loss") for name in _used(program))
    state = {}
    for name in names:
        try:
            status = os.stat(name)
        except OSError:
            continue
        state[name] = status.st_mtime_ns, status.st_size
    return state


def _beside(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, n) for n in os.listdir(folder or ".") if n.endswith((".loss", *CONFIGS))]
    except OSError:
        return []


def _parts(config: str) -> tuple[str, ...]:
    """The other files that a run config is made of."""
    from ..dsl.config_tree import read_config
    from ..dsl.diagnostics import Sink

    tree = read_config(config, (), None, Sink())
    return tree.files if tree is not None else ()


def _used(program: str) -> list[str]:
    from ..dsl.files import LOSS_LIMIT, Unreadable, read_text
    from ..dsl.result_cache import reads

    try:
        return list(reads(program, read_text(program, LOSS_LIMIT)) or ())
    except Unreadable:
        return []
