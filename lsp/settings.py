"""What an editor can set: ``initializationOptions`` at the start, ``workspace/didChangeConfiguration`` later.

An editor's settings beat those of ``splatdsl.toml``, as the command line's do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..dsl.manifest import RENDERERS
from ..dsl.settings import CommandLine
from ..dsl.settings_select import Layer
from ..dsl.suggest import did_you_mean


class Settings(NamedTuple):
    """How programs are checked; what is None is left to the project's settings file.

    Attributes:
        pedantic: whether possibilities are reported beside mistakes.
        steps: length of the training to check for.
        renderer: the renderer to check for.
    """

    pedantic: bool | None = None
    steps: int | None = None
    renderer: str | None = None

    def line(self) -> CommandLine | None:
        """The same as a command line would say it."""
        if self == Settings():
            return None
        codes = None if self.pedantic is None else Layer(pedantic=self.pedantic)
        return CommandLine(codes=codes, renderer=self.renderer, steps=self.steps)


def read_settings(given: Any, before: Settings | None = None) -> tuple[Settings, list[str]]:
    """Settings from what an editor sent, and a sentence for each part that could not be used.

    Args:
        given: the settings, alone or under the key ``splatdsl``; None or another tool's changes nothing.
        before: what stays in force where nothing usable is given.
    """
    settings = before or Settings()
    if isinstance(given, dict) and "splatdsl" in given:
        given = given["splatdsl"]
    if not isinstance(given, dict):
        return settings, []
    problems: list[str] = []
    if "pedantic" in given:
        if given["pedantic"] is None or isinstance(given["pedantic"], bool):
            settings = settings._replace(pedantic=given["pedantic"])
        else:
            problems.append(f"`splatdsl.pedantic` must be true, false or null, not {given['pedantic']!r}")
    if "steps" in given:
        steps = given["steps"]
        if steps is None or (isinstance(steps, int) and not isinstance(steps, bool) and steps >= 1):
            settings = settings._replace(steps=steps)
        else:
            problems.append(f"`splatdsl.steps` must be a whole number from 1 on, or null, not {steps!r}")
    if "renderer" in given:
        renderer = given["renderer"] or None
        if renderer is None or (isinstance(renderer, str) and renderer in RENDERERS):
            settings = settings._replace(renderer=renderer)
        else:
            help_ = did_you_mean(str(renderer), RENDERERS) or f"the renderers are {', '.join(sorted(RENDERERS))}"
            problems.append(f"`splatdsl.renderer`: there is no renderer {renderer!r}; {help_}")
    return settings, problems
