"""``splatdsl reference``: the language in full, made from the records that the checker itself uses."""

from __future__ import annotations

import click

from ..dsl.suggest import did_you_mean


@click.command()
@click.argument("name", required=False)
def reference(name: str | None) -> int:
    """Print the reference of the language as Markdown, or what it says about the function NAME."""
    from ..dsl.check.functions import library_names
    from ..dsl.reference import entry, page

    if name is None:
        click.echo(page(), nl=False)
        return 0
    found = entry(name)
    if found is None:
        help_ = did_you_mean(name, library_names()) or "`splatdsl reference` without a name lists all functions"
        raise click.UsageError(f"there is no function `{name}`; {help_}")
    click.echo(found, nl=False)
    return 0
