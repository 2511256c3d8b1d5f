"""``splatdsl lsp``: the language server for editors."""

from __future__ import annotations

import importlib

import click

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source


@click.command()
def lsp() -> int:
    """Serve an editor on standard input and output; editors start this themselves.

    Findings as you type, hover, completion, signatures, renaming, fixes and formatting for .loss files, and findings
    in run configs. Settings come from the editor: pedantic, steps and renderer.
    """
    for module in ("lsprotocol.types", "pygls.lsp.server"):
        _require(module)
    from ..lsp.server import serve

    return serve()


def _require(module: str) -> None:
    """Import a part of the extra ``lsp``.

    Raises:
        LossError: it is not installed, or too old to have that module; names the extra.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        what = "is not installed" if absent else f"cannot be imported: {error}"
        help_ = ["install it with: pip install 'splatdsl[lsp]'"]
        message = f"`{package}` is needed here and {what}"
        raise LossError([Diagnostic("DAT001", message, Source("", f"<{package}>"), None, help=help_)]) from error
