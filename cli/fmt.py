"""``splatdsl fmt``: programs in the one layout.

Files are replaced, never written into: whatever happens, the old text or the new one is there.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import click

from ..dsl.diagnostics import LossError
from ..dsl.files import LOSS_LIMIT, ZOO, Unreadable, decode, is_program, read_text
from ..dsl.format import format_text

CLEAN, CHANGES, PROBLEMS = 0, 1, 2
_SKIPPED = {"__pycache__", "node_modules", "venv", "site-packages"}


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--check", is_flag=True, help="Write nothing; list the files that would change and exit with 1.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change and exit with 1.")
@click.option("--stdin-filename", metavar="NAME", help="What to call the text of `-`, standard input.")
def fmt(paths: tuple[str, ...], check: bool, diff: bool, stdin_filename: str | None) -> int:
    """Bring .loss files, and folders of them, into the one layout.

    `-` formats standard input to standard output. The meaning of a program, its comments and its docstring stay as
    they are. The exit status is 0, or 1 if --check or --diff found something to change, or 2 if a file could not be
    read, parsed or written; the others are formatted all the same.
    """
    if not paths:
        raise click.UsageError("nothing to format: name a .loss file or a folder")
    if stdin_filename is not None and "-" not in paths:
        raise click.UsageError("--stdin-filename names the text of `-`, which is not among the paths")
    run = _Run(check, diff)
    for path in paths:
        if path == "-":
            run.standard_input(stdin_filename or "<stdin>")
        elif os.path.isdir(path):
            run.folder(path)
        else:
            run.file(path)
    return run.finish()


class _Run:
    """One run over paths: what it may do, and what it has done."""

    def __init__(self, check: bool, diff: bool) -> None:
        self._check, self._diff = check, diff
        self._writes = not check and not diff
        self._seen: set[str] = set()
        self._changed = self._unchanged = self._failed = 0

    def folder(self, path: str) -> None:
        """All programs of a folder."""
        before, empty = self._failed, True
        for name in self._inside(path):
            self.file(name)
            empty = False
        if empty and self._failed == before:
            self._fail(f"the folder `{path}` holds no `.loss` files")

    def _inside(self, folder: str) -> Iterator[str]:
        def report(error: OSError) -> None:
            self._fail(f"`{error.filename}` cannot be read: {error.strerror}")

        for where, folders, names in os.walk(folder, onerror=report):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
            for name in sorted(names):
                path = os.path.join(where, name)
                if name.endswith(".loss") and not name.startswith(".") and os.path.isfile(path):
                    yield path

    def file(self, path: str) -> None:
        """One program; one that was reached before is left out."""
        target = os.path.realpath(path)
        if target in self._seen:
            return
        try:
            text = read_text(path, LOSS_LIMIT)
        except Unreadable as reason:
            help = None
            if not os.path.exists(path):
                from ..dsl.config_reader import nearby

                help = nearby(path, "")
            self._fail(f"`{path}` {reason}" + (f"; {help}" if help else ""))
            return
        if not is_program(path):
            self._fail(f"`{path}` is not a `.loss` file")
            return
        if path.startswith(ZOO) and self._writes:
            name = path.removeprefix(ZOO)
            self._fail(f"`{path}` is not written to; `splatdsl zoo {name} > {name}.loss` makes a copy of your own")
            return
        self._seen.add(target)
        result = self._format(text, path)
        if result is None:
            return
        if result != text and self._writes:
            try:
                replace(target, result)
            except OSError as error:
                self._fail(f"`{path}` cannot be written: {error.strerror or error}")
                return
            click.echo(f"reformatted {path}")
        self._count(path, text, result)

    def standard_input(self, name: str) -> None:
        """The text of standard input, to standard output."""
        try:
            text = decode(sys.stdin.buffer.read(LOSS_LIMIT + 1), LOSS_LIMIT)
        except Unreadable as reason:
            self._fail(f"`{name}` {reason}")
            return
        result = self._format(text, name)
        if result is None:
            return
        if self._writes:
            _print_bytes(result)
        self._count(name, text, result)

    def finish(self) -> int:
        """Print the summary; the exit status."""
        sys.stdout.flush()
        done = "reformatted" if self._writes else "would be reformatted"
        parts = [f"{_files(self._changed)} {done}"] if self._changed else []
        if self._unchanged:
            kept = "left unchanged" if self._writes else "already formatted"
            parts.append(f"{self._unchanged if self._changed else _files(self._unchanged)} {kept}")
        if self._failed:
            parts.append(f"{self._failed if parts else _files(self._failed)} could not be formatted")
        click.echo(", ".join(parts), err=True)
        if self._failed:
            return PROBLEMS
        return CHANGES if self._changed and not self._writes else CLEAN

    def _format(self, text: str, name: str) -> str | None:
        """The text in the one layout; None, with the findings printed, if it does not parse."""
        try:
            return format_text(text, name)
        except LossError as error:
            from ..dsl.render import full, wants_color

            color = wants_color(sys.stderr)
            self._fail("\n\n".join(full(found, color) for found in error.diagnostics) + "\n", prefix="")
            return None

    def _count(self, name: str, text: str, result: str) -> None:
        if result == text:
            self._unchanged += 1
            return
        self._changed += 1
        if self._diff:
            _print_bytes(unified(text, result, name))
        elif self._check:
            click.echo(f"would reformat {name}")

    def _fail(self, problem: str, prefix: str = "splatdsl: ") -> None:
        self._failed += 1
        sys.stdout.flush()
        click.echo(prefix + problem, err=True)


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"


def _print_bytes(text: str) -> None:
    """Print a text with its line ends as they are, on any platform."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def unified(old: str, new: str, name: str) -> str:
    """The difference of two texts as a patch of the file with this name."""
    parts = []
    lines = [[line + "\n" for line in text.split("\n")] for text in (old, new)]
    for side in lines:  # what follows the last line end is no line, or one that has no end
        last = side.pop()[:-1]
        side += [last] if last else []
    for line in difflib.unified_diff(lines[0], lines[1], name, name):
        parts.append(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n")
    return "".join(parts)


def replace(path: str, text: str) -> None:
    """Replace a file's text at once, keeping its permissions and, where that is allowed, its owner.

    Raises:
        OSError: it cannot be written; it is then as it was.
    """
    before = os.stat(path)
    if not os.access(path, os.W_OK):
        raise PermissionError("permission denied")
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        if hasattr(os, "chown") and (before.st_uid, before.st_gid) != (os.getuid(), os.getgid()):
            with contextlib.suppress(OSError):
                os.chown(temporary, before.st_uid, before.st_gid)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
