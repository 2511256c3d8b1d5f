"""`splatdsl.check` for Python: a file or a text, all findings, no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .api import analyse
from .diagnostics import Diagnostic, LossError
from .files import LOSS_LIMIT, ZOO, NotInZoo, Unreadable, is_program, read_text, zoo_names
from .source import Source
from .suppress import apply


def read_source(path: str) -> Source:
    """The text of a `.loss` file, or of a program of the zoo: ``zoo:2dgs``.

    Raises:
        LossError: the file is missing, too large or not text, or the zoo has no such program.
    """
    try:
        return Source(read_text(path, LOSS_LIMIT), path)
    except NotInZoo:
        raise LossError([not_in_zoo(path)]) from None
    except Unreadable as problem:
        help_ = ["a path is relative to the working directory"] if not os.path.isabs(path) else []
        if path in zoo_names():
            help_ = [f"the zoo has a program of that name: `{ZOO}{path}`"]
        source = Source("", path)
        raise LossError([Diagnostic("SYN053", f"`{path}` {problem}", source, None, help=help_)]) from None


def not_in_zoo(path: str) -> Diagnostic:
    """The finding about ``zoo:NAME`` where there is no such program."""
    from .config_reader import nearby

    source = Source("", path)
    return Diagnostic("NAM015", f"`{path}` is not in the zoo", source, None, help=[nearby(path, "") or ""])


def check(
    text_or_path: str | os.PathLike[str],
    params: Mapping[str, object] | None = None,
    max_steps: int | None = None,
    *,
    pedantic: bool = False,
    renderer_buffers: frozenset[str] | None = None,
    data_fields: frozenset[str] | None = None,
) -> list[Diagnostic]:
    """All findings in a program, sorted; an empty list means that it is fine. Never imports torch.

    Comments in the program suppress findings; settings files do not count here.

    Args:
        text_or_path: a path object or a name that ends with `.loss` is a file, and `zoo:NAME` a program of the zoo;
            anything else is program text.
        params: values for the program's parameters.
        max_steps: length of the run, if known.
        pedantic: whether to report possibilities too, which can be mistaken.
        renderer_buffers: what the renderer makes, if known, such as "alpha" and "depth".
        data_fields: what every item of the data has, if known: "target", "mask" and declared inputs.

    Raises:
        LossError: the file cannot be read.
    """
    if isinstance(text_or_path, str) and not ("\n" not in text_or_path and is_program(text_or_path)):
        source = Source(text_or_path)
    else:
        source = read_source(os.fspath(text_or_path))
    found = analyse(source, params, max_steps, renderer_buffers, data_fields, pedantic=pedantic)[1]
    return apply(found, source)
