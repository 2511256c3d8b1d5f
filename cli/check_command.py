"""The options of ``splatdsl check``."""

from __future__ import annotations

from typing import Any

import click

from ..dsl import settings_select as select
from ..dsl.manifest import RENDERERS
from ..dsl.settings import CommandLine
from .check import Options, check_paths
from .formats import FORMATS


class Codes(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic from click 8.4 on
    """Words that select codes, parted by commas."""

    name = "codes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[select.Selector]:
        """The meaning of each word."""
        if isinstance(value, list):
            return value
        found = []
        for word in str(value).split(","):
            selector = select.parse(word)
            if selector is None:
                self.fail(select.unknown(word), param, ctx)
            elif param is not None and param.name == "ignore" and (reason := select.without_effect(selector)):
                self.fail(reason, param, ctx)
            else:
                found.append(selector)
        return found


def settings_options(command: Any) -> Any:
    """The options that settings files have too, for every command that resolves settings."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


_SETTINGS = (
    click.option(
        "--select",
        type=Codes(),
        multiple=True,
        metavar="CODES",
        help="Codes that are on, in place of the default: codes, slugs, families such as SCH, groups, or ALL.",
    ),
    click.option("--extend-select", type=Codes(), multiple=True, metavar="CODES", help="Codes that are on as well."),
    click.option("--ignore", type=Codes(), multiple=True, metavar="CODES", help="Codes that are off."),
    click.option("--pedantic/--no-pedantic", default=None, help="Also report what is only possibly a mistake."),
    click.option(
        "--fail-level",
        type=click.Choice(["error", "warning"]),
        help="The least severity that makes the exit status 1.  [default: warning]",
    ),
    click.option("--renderer", type=click.Choice(sorted(RENDERERS)), help="Check for what this renderer can supply."),
    click.option("--steps", type=click.IntRange(1, 10**12), metavar="N", help="Check for a training of N steps."),
    click.option(
        "--config",
        "configs",
        multiple=True,
        metavar="FILE|KEY=VALUE",
        help="A settings file in place of the nearest one, or a setting in TOML; repeatable.",
    ),
    click.option("--isolated", is_flag=True, help="Leave settings files alone."),
)


def command_line(given: dict[str, Any]) -> CommandLine | None:
    """What options say about settings; they are taken out of ``given``. None if nothing was said."""
    words = {key: [s for group in given.pop(key) for s in group] for key in ("select", "extend_select", "ignore")}
    pedantic = given.pop("pedantic")
    rest = {key: given.pop(key) for key in ("fail_level", "renderer", "steps", "configs", "isolated")}
    codes = None
    if any(words.values()) or pedantic is not None:
        codes = select.Layer(words["select"] or None, words["extend_select"], words["ignore"], pedantic)
    if codes is None and not any(rest.values()):
        return None
    return CommandLine(codes, **rest)


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    default="full",
    show_default=True,
    help="How findings are printed.",
)
@click.option("--output-file", metavar="FILE", help="Write the report here and not to standard output.")
@click.option("--statistics", is_flag=True, help="Print how often each code was found, and not the findings.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour in the full format.",
)
@click.option("--fix", is_flag=True, help="Apply safe fixes to programs.")
@click.option("--unsafe-fixes", is_flag=True, help="Let --fix and --diff also apply fixes that change the objective.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option("--add-ignore", is_flag=True, help="Write a suppressing comment for every finding that can have one.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if there are findings.")
@click.option("--exit-non-zero-on-fix", is_flag=True, help="Exit with 1 if anything was fixed.")
@settings_options
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Check for what this scene has: images, and masks, depth and inputs if there are any.",
)
@click.option("--half", is_flag=True, help="Check for a run that renders in half precision.")
@click.option("--force-exclude", is_flag=True, help="Leave out excluded paths even if they are named.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a config's value, for instance loss_params.ssim_weight=0.3; repeatable.",
)
@click.option("--stdin-filename", metavar="NAME", help="What to call the text of `-`, standard input.")
@click.option("--no-cache", is_flag=True, help="Check every file, also those that have not changed.")
@click.option("--watch", is_flag=True, help="Check again whenever a file changes, until Ctrl-C.")
def check(paths: tuple[str, ...], color: str, **given: Any) -> int:
    """Find mistakes in .loss files, run configs (.yaml) and folders of them, without running anything.

    `-` reads standard input. The exit status is 0 when nothing was found, 1 when something was, and 2 when a path
    cannot be checked at all or the settings have mistakes.
    """
    if not paths:
        raise click.UsageError("nothing to check: name a .loss file, a run config or a folder")
    if given["stdin_filename"] is not None and "-" not in paths:
        raise click.UsageError("--stdin-filename names the text of `-`, which is not among the paths")
    modes = {"fix": "apply", "diff": "diff", "add_ignore": "ignore"}
    asked = [name for name in modes if given.pop(name)]
    if "diff" in asked and "fix" in asked:
        asked.remove("fix")  # the usual way to ask what --fix would do
    if len(asked) > 1:
        raise click.UsageError("--add-ignore cannot be combined with --fix or --diff")
    watching = given.pop("watch")
    if watching and "-" in paths:
        raise click.UsageError("--watch needs files: standard input is read once")
    if "-" in paths and asked == ["fix"] and len(paths) > 1:
        raise click.UsageError("--fix prints the fixed text of `-`, so that `-` must be the only path")
    if "-" in paths and asked == ["add_ignore"]:
        raise click.UsageError("--add-ignore needs files")
    line = command_line(given)
    options = Options(
        color={"auto": None, "always": True, "never": False}[color],
        line=line,
        fix=modes[asked[0]] if asked else "",
        cache=not given.pop("no_cache"),
        **given,
    )
    if watching:
        from .check_watch import watch

        return watch(paths, options)
    return check_paths(paths, options)
