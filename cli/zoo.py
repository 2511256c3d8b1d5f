"""``splatdsl zoo``: the programs of published systems that come with the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from ..dsl.config_reader import nearby
from ..dsl.files import ZOO, NotInZoo
from ..dsl.render import count, wants_color
from ..dsl.zoo import FEATURES, Entry, entries, entry, features, program
from .shared import Line, print_lines

_MARKS = {True: "x", False: ""}


@click.command()
@click.argument("name", required=False)
@click.option("--table", is_flag=True, help="Show which program uses what, with totals.")
@click.option("--search", metavar="WORD", help="Only programs whose text has this word, or that use this feature.")
@click.option(
    "--format",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="How it is printed.",
)
@click.option("--page", is_flag=True, help="Print docs/zoo.md; this needs the repository with its tests.")
def zoo(name: str | None, table: bool, search: str | None, format: str, page: bool) -> int:
    """List the programs of published systems, or print the program NAME.

    `zoo:NAME` stands for such a program wherever a path to one is taken: `splatdsl check zoo:2dgs`, `loss: zoo:2dgs` in
    a run config, `splatdsl.load("zoo:2dgs")`. `splatdsl zoo 2dgs > my.loss` begins one of your own.
    """
    if page:
        if name is not None or table or search is not None or format != "text":
            raise click.UsageError("--page prints the whole page: leave out the rest")
        from .zoo_page import page as whole

        click.echo(whole(), nl=False)
        return 0
    if name is not None:
        if table or search is not None:
            raise click.UsageError(f"--table and --search are about all programs: leave out `{name}`")
        return _one(name.removeprefix(ZOO), format)
    found = entries()
    if not found:
        raise click.UsageError("this installation has no zoo: its folder `examples/zoo` is missing")
    if search is not None:
        found = [e for e in found if _matches(e, search)]
        if not found:
            raise click.UsageError(f"no program of the zoo says or uses `{search}`")
    if format == "json":
        click.echo(json.dumps([_record(e, table) for e in found], indent=2, ensure_ascii=False))
    elif format == "markdown":
        click.echo("\n".join(markdown_table(found) if table else markdown_list(found)))
    else:
        print_lines(list(_text_table(found) if table else _text_list(found)))
    return 0


def _one(name: str, format: str) -> int:
    """Print one program."""
    try:
        found = entry(name)
    except NotInZoo as reason:
        raise click.UsageError(f"`{name}` {reason}; {nearby(ZOO + name, '')}".replace(f"`{ZOO}", "`")) from None
    if format == "markdown":
        raise click.UsageError("one program is printed as text or as json; `--format markdown` is for lists")
    if format == "json":
        click.echo(json.dumps({**_record(found, True), "text": found.text}, indent=2, ensure_ascii=False))
        return 0
    if wants_color(sys.stdout):
        from rich.console import Console
        from rich.syntax import Syntax

        from ..dsl.pygments_lexer import LossLexer

        syntax = Syntax("", LossLexer(), theme="ansi_dark", background_color="default")
        Console(highlight=False).print(syntax.highlight(found.text), soft_wrap=True, end="")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(found.text.encode())
        sys.stdout.buffer.flush()
        for file in found.uses:
            other = file.removesuffix(".loss")
            click.echo(f"it uses `{file}`, which must stand beside it: splatdsl zoo {other} > {file}", err=True)
    return 0


def _matches(e: Entry, word: str) -> bool:
    """Whether a program has the word in its name or its text, in any letter case, or uses the feature of that name."""
    if word.lower() in (feature.name for feature in FEATURES):
        return features(program(e.name))[word.lower()]
    return word.lower() in f"{e.name}\n{e.text}".lower()


def _record(e: Entry, with_features: bool) -> dict[str, Any]:
    """A program as plain values."""
    made: dict[str, Any] = {"program": e.name, **e._asdict()}
    for key in ("name", "text"):
        del made[key]
    made["path"] = e.path
    if with_features:
        made["features"] = [name for name, used in features(program(e.name)).items() if used]
    return made


def totals(found: list[Entry]) -> str:
    """How many systems there are, and how many of them complete: those with all of their programs."""
    systems: dict[object, bool] = {}
    for e in found:
        key = e.number or e.name
        systems[key] = systems.get(key, True) and e.complete
    complete = sum(systems.values())
    counts = f"{count(len(systems), 'system')} in {count(len(found), 'program')}"
    return f"{counts}: {complete} complete, {len(systems) - complete} with the loss part of the training"


def matrix(found: list[Entry]) -> list[tuple[Entry, dict[str, bool]]]:
    """What each program uses."""
    return [(e, features(program(e.name))) for e in found]


def markdown_list(found: list[Entry]) -> list[str]:
    """The programs as a table of Markdown."""
    lines = ["| | system | program | scope | what it is |", "|--:|---|---|---|---|"]
    for e in found:
        sentence = e.sentence.replace("|", "\\|")
        lines.append(f"| {e.number} | {e.system} | `{e.name}` | {e.scope} | {sentence} |")
    return [*lines, "", f"{totals(found)}."]


def markdown_table(found: list[Entry]) -> list[str]:
    """What the programs use, as a table of Markdown."""
    rows = matrix(found)
    lines = [
        "| | program | scope | " + " | ".join(f.name for f in FEATURES) + " |",
        "|--:|---|---|" + ":-:|" * len(FEATURES),
    ]
    for e, used in rows:
        marks = " | ".join(_MARKS[used[f.name]] for f in FEATURES)
        lines.append(f"| {e.number} | `{e.name}` | {e.scope} | {marks} |")
    counts = " | ".join(str(sum(used[f.name] for _, used in rows)) for f in FEATURES)
    complete = sum(e.complete for e in found)
    lines.append(f"| | {count(len(found), 'program')} | {complete} complete | {counts} |")
    return [*lines, "", f"{totals(found)}.", "", *(f"- *{f.name}*: {f.doc}." for f in FEATURES)]


# Text


def _text_list(found: list[Entry]) -> Iterator[Line]:
    """One program a line."""
    systems = max(len(e.system) for e in found)
    names = max(len(e.name) for e in found)
    for e in found:
        head = f"{e.number:2}  {e.system:{systems}}  {e.name:{names}}  {e.scope:9}"
        yield "", f"{head}  {e.sentence}"
    yield "", ""
    yield "bold", totals(found)


def _text_table(found: list[Entry]) -> Iterator[Line]:
    """One program a line and one feature a column, its name written downwards."""
    rows = matrix(found)
    names = max(len(e.name) for e in found)
    left = 2 + 2 + names + 2 + 9
    height = max(len(f.name) for f in FEATURES)
    for i in range(height):
        letters = [f.name.rjust(height)[i] for f in FEATURES]
        yield "bold", " " * left + "".join(f"  {letter}" for letter in letters)
    for e, used in rows:
        marks = "".join("  x" if used[f.name] else "  ." for f in FEATURES)
        yield "", f"{e.number:2}  {e.name:{names}}  {e.scope:9}{marks}"
    counts = "".join(f"{sum(used[f.name] for _, used in rows):3}" for f in FEATURES)
    yield "bold", f"{'':{left}}{counts}"
    yield "", ""
    yield "bold", totals(found)
    yield "", ""
    width = max(len(f.name) for f in FEATURES)
    for f in FEATURES:
        yield "", f"{f.name:{width}}  {f.doc}"
