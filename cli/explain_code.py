"""The records behind diagnostic codes: ``splatdsl explain CODE`` and ``splatdsl rule CODE``."""

from __future__ import annotations

import json

import click

from ..dsl.codes import all_codes
from ..dsl.codes.record import Code
from ..dsl.suggest import did_you_mean

LEVELS = {
    "correctness": "an error: outright wrong",
    "suspicious": "a warning: it runs, but is hardly meant",
    "style": "a warning: it means what it says, but says it badly",
    "pedantic": "off unless asked for with --pedantic: only possibly a mistake",
}


def find(name: str) -> Code | None:
    """The record of a code or a slug, in any letter case."""
    codes = all_codes()
    return codes.get(name.upper()) or next((code for code in codes.values() if code.slug == name.lower()), None)


def describe(code: Code) -> str:
    """What, why, a wrong and a right example, the remedy, and how it is reported."""
    parts = [f"{code.id} {code.slug}", code.what, code.why]
    for title, text in (("Wrong:", code.bad), ("Right:", code.good)):
        if text:
            parts.append(title + "\n\n" + "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n")))
    if code.fix:
        parts.append(f"Fix: {code.fix}")
    if code.wrong_if:
        parts.append(f"It is mistaken where: {code.wrong_if}")
    parts.append(f"Group: {code.group} ({LEVELS[code.group]}). Since {code.since}.")
    return "\n\n".join(parts)


def as_dict(code: Code) -> dict[str, object]:
    """The record as plain values."""
    made: dict[str, object] = code._asdict()
    made["level"] = "error" if code.group == "correctness" else "warning"
    made["default"] = code.group != "pedantic"
    return made


def show(codes: list[Code], everything: bool, format: str) -> None:
    """Print one record, or a list of them."""
    if format == "json":
        made = [as_dict(code) for code in codes]
        click.echo(json.dumps(made if everything else made[0], indent=2))
    else:
        click.echo(f"\n\n{'-' * 72}\n\n".join(map(describe, codes)))


def explain_name(name: str | None, everything: bool, format: str, keys: bool = True) -> int:
    """Print what a code, a slug or a key of run configs stands for, or all codes.

    Raises:
        click.UsageError: nothing is called so, or it is not said what to explain.
    """
    codes = all_codes()
    if everything == (name is not None):
        raise click.UsageError("name one thing to explain, or give --all")
    if name is None:
        show(list(codes.values()), True, format)
        return 0
    record = find(name)
    if record is not None:
        show([record], False, format)
        return 0
    known = [text for code in codes.values() for text in (code.id, code.slug)]
    if keys:
        from ..dsl.config_schema import all_keys, only_text  # dataclasses: not needed for a code

        options = {key.dotted: key for key in all_keys()}
        if name in options:
            key = options[name]
            only = f"Only with {only_text(key)}." if key.option.only else ""
            if format == "json":
                made = {"key": key.dotted, "takes": key.wanted(), "doc": key.option.doc, "only": only}
                click.echo(json.dumps(made, indent=2))
            else:
                click.echo(f"{key.dotted}: {key.wanted()}\n\n{key.option.doc}" + (f"\n{only}" if only else ""))
            return 0
        known += options
        if _reference(name, format):
            return 0
        from ..dsl.check.functions import library_names
        from ..dsl.inputs import BY_NAME, REGIONS

        known += [*library_names(), *BY_NAME, *REGIONS]
    help = did_you_mean(name.upper() if name[-1:].isdigit() else name, known)
    raise click.UsageError(f"nothing is called `{name}`" + (f"; {help}" if help else ""))


def _reference(name: str, format: str) -> bool:
    """Print what the reference says of a function, an input, a region or a word; False where it says nothing."""
    from ..dsl.reference import entry  # reads the records of all functions: not needed for a code

    text = entry(name)
    if text is None:
        return False
    if format == "json":
        click.echo(json.dumps({"name": name, "text": text}, indent=2))
        return True
    parts = text.strip().split("```")
    for i in range(1, len(parts), 2):  # the fences of Markdown become an indent, as in the records of codes
        code = parts[i].partition("\n")[2].rstrip("\n")
        parts[i] = "\n".join(f"    {line}".rstrip() for line in code.split("\n"))
    click.echo(f"{name}\n\n{''.join(parts).rstrip()}")
    return True


@click.command()
@click.argument("name", metavar="CODE", required=False)
@click.option("--all", "everything", is_flag=True, help="Explain every code.")
@click.option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rule(name: str | None, everything: bool, format: str) -> int:
    """Explain CODE: a code (NAM001) or its slug (unknown-name)."""
    return explain_name(name, everything, format, keys=False)
