"""``splatdsl build``: a loss as one Python file that needs torch alone."""

from __future__ import annotations

import contextlib
import keyword
import os
import tempfile

import click

from ..dsl.diagnostics import LossError, Severity
from ..dsl.files import ZOO
from .load_program import load
from .shared import override_option

SAME, DIFFERS = 0, 1


@click.command()
@click.argument("file")
@click.option("-o", "--output", metavar="FILE", help="Where to write it; standard output by default.")
@click.option("--name", metavar="NAME", help="What the class is called; the file's name in camel case by default.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter's value; repeatable.")
@override_option
@click.option("--length", "lengths", multiple=True, metavar="LIST=N", help="How many items a list has; repeatable.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 unless the output is what would be written.")
@click.option("--force", is_flag=True, help="Replace a file that was not written by this command, or was changed.")
def build(
    file: str,
    output: str | None,
    name: str | None,
    params: tuple[str, ...],
    overrides: tuple[str, ...],
    lengths: tuple[str, ...],
    check: bool,
    force: bool,
) -> int:
    """Write the loss in FILE as a Python module that runs without splatdsl.

    FILE is a .loss file, `zoo:NAME`, or a run config. The module holds a class with the objective, readable and
    commented with the program's own lines, and the functions that it uses; it needs torch alone, and computes what the
    program computes without compilation, bit for bit. Modes, flags and the lengths of lists are fixed when it is
    written; other parameters are attributes. Functions of the host are given to the class: `register={"name": fn}`.
    """
    if check and output is None:
        raise click.UsageError("--check compares a file: name it with -o")
    counts = dict(_count(text) for text in lengths)
    loaded = load(file, [*(f"loss_params.{p}" for p in params), *overrides])
    if loaded.program is None or loaded.failed:
        raise LossError([d for d in loaded.found if d.severity is Severity.ERROR])
    program, origin = loaded.program, _origin(file)
    unknown = sorted(n for n in counts if n not in program.inputs or program.inputs[n].kind.element is None)
    if unknown:
        raise click.UsageError(f"--length: this loss has no list `{unknown[0]}`")

    from importlib.metadata import version

    from ..compiler.standalone import build as written
    from ..compiler.standalone import class_name

    name = name or class_name(origin.removeprefix(ZOO).partition(".")[0])
    if not name.isidentifier() or keyword.iskeyword(name):
        raise click.UsageError(f"`{name}` cannot be the name of a class")
    text = written(program, name, counts, version("splatdsl"), origin)
    if output is None:
        click.echo(text, nl=False)
        return SAME
    before = _before(output)
    if check:
        return _compared(output, before, text)
    return _write(output, before, text, force, f"class {name}, {_terms(len(program.terms))}")


def _origin(file: str) -> str:
    """What the file is called in the module: without its folder, so that it is the same from everywhere."""
    return "<stdin>" if file == "-" else file if file.startswith(ZOO) else os.path.basename(file)


def _count(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise click.UsageError(f"--length takes LIST=N, such as planes=6, not `{text}`")
    return name, int(number)


def _terms(count: int) -> str:
    return f"{count} term{'s' if count != 1 else ''}"


def _before(path: str) -> str | None:
    """The text that a file has now; None if there is no file."""
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise click.UsageError(f"`{path}` cannot be read: {reason}") from None


def _compared(path: str, before: str | None, text: str) -> int:
    if before == text:
        return SAME
    what = "does not exist" if before is None else "is not what would be written"
    click.echo(f"splatdsl: `{path}` {what}", err=True)
    return DIFFERS


def _write(path: str, before: str | None, text: str, force: bool, what: str) -> int:
    from ..compiler.standalone import is_ours

    if before == text:
        click.echo(f"{path} is up to date: {what}")
        return SAME
    if before is not None and not force and not is_ours(before):
        reason = (
            "was changed since it was written" if "`splatdsl build`" in before else "was not written by this command"
        )
        raise click.UsageError(f"`{path}` {reason}; --force replaces it")
    try:
        _replace(path, text)
    except OSError as error:
        raise click.UsageError(f"`{path}` cannot be written: {error.strerror or error}") from None
    click.echo(f"wrote {path}: {what}")
    return SAME


def _replace(path: str, text: str) -> None:
    """Write a file as a whole or not at all."""
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
