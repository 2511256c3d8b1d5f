"""What several commands have in common."""

from __future__ import annotations

import sys

import click

from ..dsl.render import wants_color

Line = tuple[str, str]
"""A style of rich and a text; "" is plain."""

override_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a config's value, for instance loss_params.reg_weight=0.01; repeatable.",
)


def print_lines(lines: list[Line]) -> None:
    """Styled on a terminal, plain elsewhere."""
    if not wants_color(sys.stdout):
        print("\n".join(text.rstrip() for _, text in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for style, text in lines:
        console.print(Text(text, style), soft_wrap=True)
