"""The command line by click. A sub-command's module is imported when it is run, never to list it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from ..dsl.suggest import did_you_mean

# name: (module beside this one, attribute, help); the help stands here so that listing commands imports none of them
COMMANDS: dict[str, tuple[str, str, str]] = {
    "check": ("check_command", "check", "Find mistakes in .loss files and run configs."),
    "fmt": ("fmt", "fmt", "Bring .loss files into the one layout."),
    "train": ("train", "train", "Train gaussians with a loss."),
    "view": ("view", "view", "Look at a run's gaussians and terms in the browser (needs the extra `viewer`)."),
    "sweep": ("sweep", "sweep", "Train once for each combination of some values, and print the table."),
    "ablate": ("ablate", "ablate", "Train without each term in turn, and print the table of a paper's ablation."),
    "probe": ("probe", "probe", "Show what each term does at a few steps of a run: value, gradient, where it pulls."),
    "explain": ("explain", "explain", "Explain a file's objective, a code such as NAM001, or a config key."),
    "rule": ("explain_code", "rule", "Explain a code, or all of them."),
    "config": (
        "config_command",
        "config",
        "Print a run config, or the settings of `check`, and where values are from.",
    ),
    "clean": ("clean", "clean", "Remove the results that `check` keeps of unchanged files."),
    "plot": ("plot", "plot", "Draw the weights of a loss over the run."),
    "build": ("build", "build", "Write a loss as one Python file that needs torch alone."),
    "reference": ("reference", "reference", "Print the reference of the language, or of one function."),
    "dump": ("dump", "dump", "Show a stage of the compiler: ast, typed, ir, fx or code."),
    "bench": ("bench", "bench", "Time our losses against the same numbers by hand."),
    "zoo": ("zoo", "zoo", "List the losses of published systems, or print one: `zoo:NAME` loads it."),
    "lsp": ("lsp", "lsp", "Serve editors: findings as you type, hover, completion (needs the extra `lsp`)."),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names.

        Raises:
            click.UsageError: there is none.
        """
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            help = did_you_mean(args[0], COMMANDS) or f"the commands are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command `{args[0]}`; {help}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, _, help) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"splatdsl {version('splatdsl')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def app() -> None:
    """The loss language for Gaussian splatting."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line through click; the exit status. Mistakes in it are reported and give 2.

    Not by ``app.main``, which has ways of its own to end a process on Ctrl-C and a broken pipe.
    """
    if not arguments:
        click.echo(app.get_help(click.Context(app, info_name="splatdsl")), err=True)
        return 2
    try:
        with app.make_context("splatdsl", list(arguments)) as context:
            status: Any = app.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        sys.stdout.flush()
        error.show()
        return 2
    except click.Abort:
        return 130
    return status if isinstance(status, int) else 0
