"""The record behind a diagnostic code."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What one diagnostic code stands for.

    Attributes:
        id: letters that name the family, then three digits; never reused.
        slug: readable name, unique.
        what: one sentence, what the finding says.
        why: why it matters: what would go wrong in training.
        bad: a small example that gives exactly this code. A `.loss` program, or YAML for ``CFG`` codes; empty
            where the finding needs tensors or a running training (``BND``, ``RUN``), which tests build themselves.
        good: the same, put right: it gives no finding.
        since: the version that introduced it.
        group: ``correctness`` (outright wrong: an error), ``suspicious`` (runs, but is hardly meant: a warning),
            ``style`` (means what it says, but says it badly: a warning), or ``pedantic`` (a possibility, off unless
            asked for: a warning).
        fix: one sentence, how to put it right.
        wrong_if: for ``pedantic`` codes, one sentence: when the finding is mistaken.
    """

    id: str
    slug: str
    what: str
    why: str
    bad: str = ""
    good: str = ""
    since: str = "0.1.0"
    group: str = "correctness"
    fix: str = ""
    wrong_if: str = ""
