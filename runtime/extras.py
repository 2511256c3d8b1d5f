"""Optional packages: imported where they are needed, with a message that says how to get them."""

from __future__ import annotations

import importlib
from typing import Any

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source


def require(module: str, extra: str = "train") -> Any:
    """Import an optional package and return the module.

    Args:
        module: dotted name, for instance ``"pycolmap"``.
        extra: the extra of splatdsl that installs it.

    Raises:
        LossError: the package (or something that it imports itself) is not installed; names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        # A package that is there but lacks a part of its own would be misreported as absent.
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
        what = "is not installed" if absent else f"cannot be imported: {error}"
        raise LossError(
            [
                Diagnostic(
                    "DAT001",
                    f"`{package}` is needed here and {what}",
                    Source("", f"<{package}>"),
                    None,
                    help=(f"install it with: pip install 'splatdsl[{extra}]'",),
                )
            ]
        ) from error
