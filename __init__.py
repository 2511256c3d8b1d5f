"""The loss language for Gaussian splatting: checked in milliseconds, compiled to torch graphs, ready to train.

``check`` needs no torch; ``load`` and ``compile`` do, and import it when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .dsl.check_files import check
    from .dsl.diagnostics import Diagnostic, LossError, LossWarning
    from .runtime.compiled import CompiledLossFn
    from .runtime.externs import register
    from .runtime.loading import compile, load

__all__ = [
    "CompiledLossFn",
    "Diagnostic",
    "LossError",
    "LossWarning",
    "__version__",
    "check",
    "compile",
    "load",
    "register",
]

_HOMES = {
    "check": ".dsl.check_files",
    "Diagnostic": ".dsl.diagnostics",
    "LossError": ".dsl.diagnostics",
    "LossWarning": ".dsl.diagnostics",
    "CompiledLossFn": ".runtime.compiled",
    "compile": ".runtime.loading",
    "load": ".runtime.loading",
    "register": ".runtime.externs",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        if _HOMES[name].startswith(".runtime"):
            from .runtime.extras import require

            require("torch", extra="torch")  # says how to install it; the checker does without
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
