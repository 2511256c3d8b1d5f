"""``splatdsl explain``: the record behind a diagnostic code or a config key."""

from __future__ import annotations

import click

from ..dsl.codes import all_codes
from ..dsl.codes.record import Code
from ..dsl.suggest import did_you_mean


@click.command()
@click.argument("name")
def explain(name: str) -> int:
    """Explain NAME: a code (NAM001), its slug (unknown-name) or a config key (train.max_steps)."""
    from ..dsl.config_schema import all_keys, only_text  # dataclasses: not needed for a code

    codes = all_codes()
    record = codes.get(name.upper()) or next((code for code in codes.values() if code.slug == name.lower()), None)
    if record is not None:
        click.echo(_describe(record))
        return 0
    keys = {key.dotted: key for key in all_keys()}
    if name in keys:
        key = keys[name]
        click.echo(f"{key.dotted}: {key.wanted()}\n\n{key.option.doc}")
        if key.option.only:
            click.echo(f"Only with {only_text(key)}.")
        return 0
    help = did_you_mean(name, [*codes, *(code.slug for code in codes.values()), *keys])
    raise click.UsageError(f"nothing is called `{name}`" + (f"; {help}" if help else ""))


def _describe(code: Code) -> str:
    parts = [f"{code.id} {code.slug}", code.what, code.why]
    for title, text in (("Wrong:", code.bad), ("Right:", code.good)):
        if text:
            parts.append(title + "\n\n" + "\n".join(f"    {line}".rstrip() for line in text.strip("\n").split("\n")))
    return "\n\n".join(parts)
