"""Settings of the checker: what is on where, from the nearest settings file and the command line.

Settings stand in ``splatdsl.toml``, or in ``pyproject.toml`` under ``[tool.splatdsl]``. The nearest such file going
up from a checked file applies to it, and it alone; it may name another one to build on (``extend``). The command line
beats files. This module only finds files; ``settings_file.py``, which reads them, is loaded when there is one.
"""

from __future__ import annotations

import os
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings_file import Origin
    from .settings_select import Layer

OWN_FILE = "splatdsl.toml"
SHARED_FILE = "pyproject.toml"
SETTINGS_LIMIT = 1024 * 1024  # bytes of one settings file


class Selection:
    """The codes that are on. Without an argument: every group but the pedantic one."""

    __slots__ = ("_codes",)

    def __init__(self, codes: frozenset[str] | None = None) -> None:
        self._codes = codes

    def allows(self, code: str) -> bool:
        """Whether findings with this code are reported."""
        if self._codes is not None:
            return code in self._codes
        from .codes import lookup

        return lookup(code).group != "pedantic"

    @property
    def codes(self) -> frozenset[str]:
        """All codes that are on."""
        if self._codes is not None:
            return self._codes
        from .codes import all_codes

        return frozenset(code for code, record in all_codes().items() if record.group != "pedantic")

    @property
    def pedantic(self) -> bool:
        """Whether any pedantic code is on: its rules are only run then."""
        if self._codes is None:
            return False
        from .codes import lookup

        return any(lookup(code).group == "pedantic" for code in self._codes)


class Settings:
    """How one file is checked.

    Attributes:
        selection: the codes that are on.
        fail_level: ``error`` or ``warning``: findings at or above it make the exit status 1.
        renderer: the renderer to check programs for, or None.
        steps: the length of training to check programs for, or None.
        per_file_ignores: patterns, the folders that they are relative to, and the codes that are off there.
        exclude: patterns of paths that a search through folders leaves out, and the folders they are relative to.
        path: the settings file, or None.
        origins: where each key was set, for those that were.
        selected_by: what the command line says about codes, or None.
    """

    __slots__ = (
        "exclude",
        "fail_level",
        "origins",
        "path",
        "per_file_ignores",
        "renderer",
        "selected_by",
        "selection",
        "steps",
    )

    def __init__(
        self,
        selection: Selection | None = None,
        fail_level: str = "warning",
        renderer: str | None = None,
        steps: int | None = None,
        per_file_ignores: Sequence[tuple[str, str, frozenset[str]]] = (),
        exclude: Sequence[tuple[str, str]] = (),
        path: str | None = None,
        origins: dict[str, Origin] | None = None,
        selected_by: Layer | None = None,
    ) -> None:
        self.selection = Selection() if selection is None else selection
        self.fail_level = fail_level
        self.renderer = renderer
        self.steps = steps
        self.per_file_ignores = tuple(per_file_ignores)
        self.exclude = tuple(exclude)
        self.path = path
        self.origins = origins or {}
        self.selected_by = selected_by

    def ignored_in(self, path: str) -> frozenset[str]:
        """The codes that ``per-file-ignores`` switches off for a file."""
        if not self.per_file_ignores:
            return frozenset()
        from .settings_globs import matches

        where, found = os.path.abspath(path), set[str]()
        for pattern, base, codes in self.per_file_ignores:
            if matches(pattern, base, where):
                found |= codes
        return frozenset(found)

    def excludes(self, path: str) -> bool:
        """Whether a search through folders leaves a file or a folder out."""
        if not self.exclude:
            return False
        from .settings_globs import matches

        where = os.path.abspath(path)
        return any(matches(pattern, base, where, folders=True) for pattern, base in self.exclude)


class CommandLine:
    """What the command line says about settings.

    Attributes:
        codes: its ``--select``, ``--extend-select``, ``--ignore`` and ``--pedantic``; None if there is none of them.
        fail_level, renderer, steps: values that beat those of files; None where not given.
        configs: the arguments of ``--config``: files, or ``key=value`` texts.
        isolated: whether settings files are left alone.
    """

    __slots__ = ("codes", "configs", "fail_level", "isolated", "renderer", "steps")

    def __init__(
        self,
        codes: Layer | None = None,
        fail_level: str | None = None,
        renderer: str | None = None,
        steps: int | None = None,
        configs: Sequence[str] = (),
        isolated: bool = False,
    ) -> None:
        self.codes = codes
        self.fail_level = fail_level
        self.renderer = renderer
        self.steps = steps
        self.configs = tuple(configs)
        self.isolated = isolated


class Resolver:
    """Settings by folder; each folder is looked at once."""

    __slots__ = ("_by_file", "_by_folder", "_found", "_line", "_plain")

    def __init__(self, line: CommandLine | None = None) -> None:
        self._line = line or CommandLine()
        self._plain = line is None
        self._by_folder: dict[str, Settings] = {}
        self._by_file: dict[str | None, Settings] = {}
        self._found: dict[str, str | None] = {}

    def of(self, path: str) -> Settings:
        """The settings for a file, or for what stands directly in a folder.

        Raises:
            LossError: its settings file has mistakes.
        """
        return self.of_folder(path if os.path.isdir(path) else os.path.dirname(path))

    def of_folder(self, folder: str) -> Settings:
        """The settings for the files of a folder.

        Raises:
            LossError: the settings file has mistakes.
        """
        known = self._by_folder.get(folder)
        if known is None:
            known = self._by_folder[folder] = self._load(None if self._line.isolated else self._find(folder))
        return known

    def _load(self, file: str | None) -> Settings:
        if file not in self._by_file:
            if file is None and self._plain:
                self._by_file[file] = Settings()
            else:
                from .settings_file import load

                self._by_file[file] = load(file, self._line)
        return self._by_file[file]

    def _find(self, folder: str) -> str | None:
        here = os.path.abspath(folder)
        passed = []
        while here not in self._found:
            passed.append(here)
            file = _settings_file(here)
            above = os.path.dirname(here)
            if file is not None or above == here:
                self._found[here] = file
                break
            here = above
        found = self._found[here]
        self._found.update((name, found) for name in passed)
        return found


def _settings_file(folder: str) -> str | None:
    """The settings file of a folder itself."""
    for name in (OWN_FILE, SHARED_FILE):
        path = os.path.join(folder, name)
        try:
            if not S_ISREG(os.stat(path).st_mode):
                continue
            if name == OWN_FILE:
                return path
            with open(path, "rb") as file:
                text = file.read(SETTINGS_LIMIT)
        except OSError:
            continue
        if _may_have_table(text):
            from .settings_toml import has_table

            if has_table(text):
                return path
    return None


def _may_have_table(text: bytes) -> bool:
    """Whether it is worth parsing a ``pyproject.toml``: most have no settings for this tool."""
    dense = b"\n" + text.translate(None, b" \t\"'")
    return b"splatdsl" in dense and any(start in dense for start in (b"[tool.splatdsl", b"\n[tool]", b"\ntool"))
