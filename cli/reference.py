"""``splatdsl reference``: the language and the run configs in full, made from what the checker itself uses."""

from __future__ import annotations

import click

from ..dsl.suggest import did_you_mean


@click.command()
@click.argument("name", required=False)
@click.option("--config", is_flag=True, help="Print the keys of run configs instead.")
def reference(name: str | None, config: bool) -> int:
    """Print the reference of the language as Markdown, or what it says about the function NAME."""
    if config:
        from ..dsl.config_schema import page as config_page

        if name is not None:
            raise click.UsageError("`splatdsl explain KEY` explains a key of run configs, such as train.max_steps")
        click.echo(config_page(), nl=False)
        return 0
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
