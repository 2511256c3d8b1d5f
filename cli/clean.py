"""``splatdsl clean``: remove the results that ``check`` keeps, and the kernels of losses."""

from __future__ import annotations

import click

from ..dsl.result_cache import clean as remove


@click.command()
def clean() -> int:
    """Remove the results that `check` keeps of files that have not changed, and the compiled kernels of losses."""
    folder, removed = remove()
    click.echo(f"removed {removed} file{'' if removed == 1 else 's'} of kept results from {folder}")
    return 0
