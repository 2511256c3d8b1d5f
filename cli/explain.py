"""``splatdsl explain``: the objective in a file, or what a code, a config key or a word of the language means."""

from __future__ import annotations

import os

import click

from ..dsl.files import is_program

CONFIGS = (".yaml", ".yml")


@click.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Explain every code.")
@click.option("--format", type=click.Choice(["text", "json"]), help="How it is printed; text by default.")
@click.option("--latex", is_flag=True, help="Print the objective in a file as equations for LaTeX (amsmath).")
@click.option("--steps", type=click.IntRange(1, 10**12), metavar="N", help="Explain a file for a training of N steps.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a config's value, for instance loss_params.ssim_weight=0.3; repeatable.",
)
def explain(
    name: str | None,
    everything: bool,
    format: str | None,
    latex: bool,
    steps: int | None,
    overrides: tuple[str, ...],
) -> int:
    """Explain NAME: a file, a code (NAM001) or its slug, a config key (train.max_steps), or a word of the language:
    a function (ssim), an input (alpha, state.scales), a region (masked), a kind (depth) or a keyword (when).

    Of a .loss file, `zoo:NAME` or a run config, print the objective: each term's formula, its weight and when it
    exists, what it reads and what it moves. `-` reads a program from standard input. The exit status is 1 when it has
    errors.
    """
    if name is not None and (name == "-" or is_program(name) or name.endswith(CONFIGS) or os.path.isfile(name)):
        if everything:
            raise click.UsageError("--all explains every code: name no file with it")
        if latex and format is not None:
            raise click.UsageError("--latex and --format are two ways to print the objective: give one of them")
        from .explain_file import explain_file

        return explain_file(name, format or "text", latex, overrides, steps)
    if latex or steps is not None or overrides:
        raise click.UsageError(f"`{name}` is no file, and these options are for files")
    from .explain_code import explain_name

    return explain_name(name, everything, format or "text")
