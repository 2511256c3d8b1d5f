"""Names of terms as a user gives them: checked against a program, with what may have been meant."""

from __future__ import annotations

from collections.abc import Sequence

from .diagnostics import Diagnostic, LossError
from .source import Source, Span
from .suggest import did_you_mean
from .typed import TypedProgram


def check_names(program: TypedProgram, names: Sequence[str], source: Source | None = None) -> tuple[str, ...]:
    """Names of terms, each once and in the program's order.

    Args:
        program: whose terms they are.
        names: as given.
        source: the text that they stand in, one after another, for messages; made up if None.

    Raises:
        LossError: BND009, there is no term of a name; one finding each.
    """
    known = [term.name for term in program.terms]
    text = source or Source(f"without={','.join(names)}", "<call>")
    start = 0 if source else len("without=")
    findings = []
    for name in names:
        at = text.text.find(name, start)
        whole = not name or at < 0
        span = Span(0, len(text.text)) if whole else Span(at, at + len(name))
        start = start if whole else span.end
        if name not in known:
            help_ = did_you_mean(name, known) or f"its terms are {', '.join(known)}"
            findings.append(Diagnostic("BND009", f"this loss has no term `{name}`", text, span, help=(help_,)))
    if findings:
        raise LossError(findings)
    return tuple(name for name in known if name in names)
