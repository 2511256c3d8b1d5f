"""The command line's entry point.

``splatdsl check FILE.loss`` runs on every save in an editor, so it takes a path of its own that loads neither click nor
anything else that it does not need; every other command line goes through click (``app.py``).
"""

from __future__ import annotations

import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE
BUG = 70  # EX_SOFTWARE of sysexits.h


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 clean, 1 findings, 2 usage, 70 a bug in this program."""
    arguments = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks must not end the report
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _mute_stdout()
        return BROKEN_PIPE
    except Exception as error:
        try:
            return _failed(error)
        except Exception as second:  # a report that cannot be printed is a bug as well
            return _bug(second)


def _run(arguments: list[str]) -> int:
    paths = arguments[1:]
    if arguments[:1] == ["check"] and paths and all(p.endswith(".loss") and not p.startswith("-") for p in paths):
        from .check import Options, check_paths

        return check_paths(paths, Options())
    from .app import run

    return run(arguments)


def _failed(error: Exception) -> int:
    """A mistake of the user is reported like a finding; anything else is a bug and says so."""
    from ..dsl.diagnostics import LossError

    if isinstance(error, LossError):
        from ..dsl.render import full, wants_color

        color = wants_color(sys.stderr)
        print("\n\n".join(full(d, color) for d in error.diagnostics), file=sys.stderr)
        return 1
    return _bug(error)


def _bug(error: Exception) -> int:
    import traceback

    traceback.print_exception(error)
    print("\nbug in splatdsl: the error above is not your mistake. Please report it with the input.", file=sys.stderr)
    return BUG


def _mute_stdout() -> None:
    """Whoever read the output has gone: keep the interpreter from failing again when it flushes at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
