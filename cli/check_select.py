"""From everything that the checker found to what is reported: suppressing comments, and the codes that are on."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from ..dsl.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..dsl.diagnostics import Diagnostic
    from ..dsl.settings import Settings
    from .check import Options
    from .check_input import Input


def chosen(
    found: Sequence[Diagnostic], given: Input, text: str, settings: Settings, options: Options
) -> list[Diagnostic]:
    """The findings that comments and settings leave, with those about the comments.

    Only the text that is checked is fixed: fixes in the files that it uses are there to read.
    """
    if given.is_config:
        found = [_without_fixes(d) if d.source.name == given.name else d for d in found]
    found = [d if d.source.name == given.name else _only_shown(d) for d in found]
    selection = settings.selection
    off = {name: settings.ignored_in(name) for name in {given.name, *(d.source.name for d in found)}}
    if "splat:" in text or any("splat:" in d.source.text for d in found):
        from ..dsl.suppress import apply, shows

        of_run = {"renderer": settings.renderer, "steps": settings.steps, "data": options.data}
        known = {name for name, value in of_run.items() if value is not None or given.is_config}
        known |= {"half"} if options.half else set()

        def judged(code: str) -> bool:
            """Whether this run would have found a code if it were there."""
            return shows(code, known) and selection.allows(code) and code not in off[given.name]

        found = apply(found, Source(text, given.name), judged)
    return [d for d in found if selection.allows(d.code) and d.code not in off.get(d.source.name, ())]


def _only_shown(diagnostic: Diagnostic) -> Diagnostic:
    """A finding with fixes that nobody applies."""
    if not diagnostic.fixes:
        return diagnostic
    from ..dsl.diagnostics import Applicability, Fix

    shown = copy(diagnostic)
    shown.fixes = tuple(Fix(fix.title, fix.edits, Applicability.DISPLAY) for fix in diagnostic.fixes)
    return shown


def _without_fixes(diagnostic: Diagnostic) -> Diagnostic:
    """A finding in the text of a run config: fixes are of a program's text, which stands there in another form."""
    if not diagnostic.fixes:
        return diagnostic
    bare = copy(diagnostic)
    bare.help = (*bare.help, *(fix.title for fix in bare.fixes if fix.title not in bare.help))
    bare.fixes = ()
    return bare
