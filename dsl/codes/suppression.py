"""SUP: comments that suppress findings, `# splat: ignore[MSK001]`."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "SUP001",
        "unused-suppression",
        "A comment suppresses a code that is not found there.",
        "The mistake was put right, or the comment stands in the wrong place; the next mistake would go unseen.",
        bad="term loss = l1(masked)  # splat: ignore[USE001]",
        good="term loss = l1(masked)",
        group="style",
        fix="Remove the code from the comment; `--fix` does.",
    ),
    Code(
        "SUP002",
        "unknown-suppression",
        "A comment suppresses a code that does not exist.",
        "It suppresses nothing, and its reader believes that it does.",
        bad="term loss = l1(masked)  # splat: ignore[ABC999]",
        good="term loss = l1(masked)",
        group="style",
        fix="Name a code or its slug; families and groups are switched off in the settings.",
    ),
    Code(
        "SUP003",
        "blanket-suppression",
        "A comment would suppress everything, since it names no code.",
        "It would also hide every mistake that is made there later, so it suppresses nothing.",
        bad="term loss = l1(masked)  # splat: ignore",
        good="term loss = l1(masked)",
        group="style",
        fix="Name the codes: `# splat: ignore[CODE]`.",
    ),
    Code(
        "SUP004",
        "malformed-suppression",
        "A comment that starts with `splat:` cannot be read.",
        "It suppresses nothing, and its reader believes that it does.",
        bad="term loss = l1(masked)  # splat: ignroe[BUF001]",
        good="term loss = l1(masked)",
        group="style",
        fix="The forms are `ignore[CODE]`, `disable[CODE]` and `enable[CODE]`.",
    ),
    Code(
        "SUP005",
        "unmatched-enable",
        "A comment enables a code that no comment above it disables.",
        "The block that it should end does not exist, or is that of another code.",
        bad="# splat: enable[BUF001]\nterm loss = l1(masked)",
        good="term loss = l1(masked)",
        group="style",
        fix="Remove it, or name the code that was disabled.",
    ),
    Code(
        "SUP006",
        "impossible-suppression",
        "A comment suppresses a code that cannot be suppressed: an error without which there is no program.",
        "The checker would be silent about a file that cannot be trained with.",
        bad="term loss = l1(masked)  # splat: ignore[SYN008]",
        good="term loss = l1(masked)",
        group="style",
        fix="Put the mistake right; only findings about a program that can run are suppressed.",
    ),
)
