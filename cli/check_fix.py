"""``check`` with ``--fix``, ``--diff`` and ``--add-ignore``: it changes programs, or shows how it would."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..dsl.fixes import Outcome, Unwritable, changed, fix_text, write
from ..dsl.source import Source

if TYPE_CHECKING:
    from ..dsl.diagnostics import Diagnostic
    from ..dsl.settings import Settings
    from .check import Run
    from .check_input import Input


def fix(run: Run, given: Input, settings: Settings) -> list[Diagnostic]:
    """Do to one file what was asked for, and give the findings that are left in it.

    Only programs are changed, never run configs: there the text is another tool's format as well.
    """
    wanted = run.options.fix
    if given.is_config:
        outcome = Outcome(given.text, run.check(given, given.text, settings), [], [])
    elif wanted == "ignore":
        outcome = _suppress(run, given, settings)
    else:
        unsafe = run.options.unsafe_fixes
        outcome = fix_text(given.text, given.name, lambda text: run.check(given, text, settings), unsafe)
    for problem in outcome.problems:
        run.complain(given.name, f"{problem}; this is a bug in splatdsl", problem)
    found = outcome.found
    if outcome.text != given.text:
        if wanted == "diff":
            run.differs = True
            run.out.write(_difference(given, outcome.text))
        elif given.path != "-":
            try:
                write(given.path, outcome.text, given.data)
            except Unwritable as reason:
                run.complain(given.name, f"`{given.name}` {reason}", str(reason))
                return run.check(given, given.text, settings)
        run.fixed[given.name] = outcome.fixed
    if given.path == "-" and wanted != "diff":
        sys.stdout.buffer.write(
            (given.data[:3] if given.data.startswith(b"\xef\xbb\xbf") else b"") + outcome.text.encode()
        )
        sys.stdout.flush()
    return found


def _suppress(run: Run, given: Input, settings: Settings) -> Outcome:
    """A comment for every finding that can be suppressed."""
    from ..dsl.settings_select import suppressible
    from ..dsl.suppress import additions

    before = run.check(given, given.text, settings)
    source = Source(given.text, given.name)
    own = [d for d in before if d.source.name == given.name and suppressible(d.code)]
    text = changed(given.text, additions(source, own))
    after = run.check(given, text, settings) if own else before
    if len(after) + len(own) != len(before):
        return Outcome(given.text, before, [], [f"the findings in {given.name} cannot be suppressed"])
    return Outcome(text, after, [d.code for d in own], [])


def _difference(given: Input, text: str) -> str:
    """The change as a patch."""
    from difflib import unified_diff

    before, after = given.text.splitlines(keepends=True), text.splitlines(keepends=True)
    out = []
    for line in unified_diff(before, after, given.name, given.name):
        out.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(out)
