"""CFG101 and up: settings of the checker in `splatdsl.toml`, `pyproject.toml` and `--config`."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "CFG101",
        "settings-syntax",
        "A settings file, or a value of `--config`, is not valid TOML.",
        "Nothing in it can be trusted to mean what it looks like.",
        fix="Texts stand in quotes, lists in square brackets, and a table starts with `[name]`.",
    ),
    Code(
        "CFG102",
        "settings-unknown-key",
        "A key of the settings does not exist, or its value is of the wrong type.",
        "A setting that is ignored lets through what its author believes to be checked.",
        fix="`splatdsl config` lists the keys with their values.",
    ),
    Code(
        "CFG103",
        "settings-bad-value",
        "A value of the settings names no code, renderer or level that exists, or cannot have an effect.",
        "A misspelled code in `ignore` ignores nothing, one in `select` checks nothing.",
        fix="Name a code, a slug, a family such as `SCH` or a group; `splatdsl explain --all` lists them.",
    ),
    Code(
        "CFG104",
        "settings-tool-table",
        "`splatdsl.toml` has a `[tool.splatdsl]` table.",
        "Only `pyproject.toml`, which many tools share, has such tables; in the tool's own file it would be ignored.",
        fix="Remove the header, so that the keys stand at the top level.",
    ),
    Code(
        "CFG105",
        "settings-file",
        "A settings file cannot be read, or builds on itself through `extend`.",
        "The programs below it would be checked by other rules than those that were agreed on.",
        fix="A path in `extend` is relative to the file that says so.",
    ),
)
