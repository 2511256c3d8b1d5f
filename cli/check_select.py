"""From everything that the checker found to what is reported: suppressing comments, and the codes that are on."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from ..dsl.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..dsl.diagnostics import Diagnostic
    from ..dsl.settings import Settings
    from .check_input import Input


def chosen(found: Sequence[Diagnostic], given: Input, text: str, settings: Settings) -> list[Diagnostic]:
    """The findings that comments and settings leave, with those about the comments."""
    if given.is_config:
        found = [_without_fixes(d) if d.source.name == given.name else d for d in found]
    selection = settings.selection
    off = {name: settings.ignored_in(name) for name in {given.name, *(d.source.name for d in found)}}
    if "splat:" in text or any("splat:" in d.source.text for d in found):
        from ..dsl.suppress import apply

        def judged(code: str) -> bool:
            """Whether this run would have found a code if it were there."""
            known = given.is_config or {"BUF": settings.renderer, "SCH": settings.steps}.get(code[:3], True) is not None
            return known and selection.allows(code) and code not in off[given.name]

        found = apply(found, Source(text, given.name), judged)
    return [d for d in found if selection.allows(d.code) and d.code not in off.get(d.source.name, ())]


def _without_fixes(diagnostic: Diagnostic) -> Diagnostic:
    """A finding in the text of a run config: fixes are of a program's text, which stands there in another form."""
    if not diagnostic.fixes:
        return diagnostic
    bare = copy(diagnostic)
    bare.help = (*bare.help, *(fix.title for fix in bare.fixes if fix.title not in bare.help))
    bare.fixes = ()
    return bare
