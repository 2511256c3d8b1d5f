"""``splatdsl check``: programs, run configs and folders of them.

Nothing is imported here that a plain check does not need: no click, no YAML, and the renderer of findings only when
there is one.
"""

from __future__ import annotations

import os
import sys

from ..dsl.settings import CommandLine, Resolver, Settings
from .check_input import Input, Problem, inside, read

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself costs milliseconds
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from ..dsl.diagnostics import Diagnostic, LossError
    from ..dsl.result_cache import ResultCache

CLEAN, FINDINGS, USAGE = 0, 1, 2
PARALLEL_FROM = 64
"""Files from which on several cores are used."""

CACHED_FROM = 8
"""Files from which on results are kept: for fewer, finding out whether a kept one holds costs more than it saves."""


class Options:
    """How to check and how to report.

    Attributes:
        format: a key of ``formats.FORMATS``.
        color: None decides by the terminal.
        line: what the command line says about settings.
        overrides: ``KEY=VALUE`` texts of ``--set``.
        stdin_filename: what the text of ``-`` is called; its ending says whether it is a config.
        fix: what to do with fixes: ``""`` (nothing), ``apply``, ``diff`` or ``ignore`` (suppress all findings).
        unsafe_fixes: whether unsafe fixes count.
        exit_zero: whether findings leave the exit status at 0.
        exit_non_zero_on_fix: whether a fix that was applied makes it 1.
        statistics: whether to print counts instead of findings.
        output_file: where the report goes instead of standard output.
        cache: whether to use kept results.
        force_exclude: whether excluded paths are left out even if they are named.
        data: the folder of the scene to check for, or None: the config's, or any.
        half: whether the run renders in half precision.
    """

    __slots__ = (
        "cache",
        "color",
        "data",
        "exit_non_zero_on_fix",
        "exit_zero",
        "fix",
        "force_exclude",
        "format",
        "half",
        "line",
        "output_file",
        "overrides",
        "statistics",
        "stdin_filename",
        "unsafe_fixes",
    )

    def __init__(
        self,
        format: str = "full",
        color: bool | None = None,
        line: CommandLine | None = None,
        overrides: Sequence[str] = (),
        stdin_filename: str | None = None,
        fix: str = "",
        unsafe_fixes: bool = False,
        exit_zero: bool = False,
        exit_non_zero_on_fix: bool = False,
        statistics: bool = False,
        output_file: str | None = None,
        cache: bool = True,
        force_exclude: bool = False,
        data: str | None = None,
        half: bool = False,
    ) -> None:
        self.format = format
        self.color = color
        self.line = line
        self.overrides = tuple(overrides)
        self.stdin_filename = stdin_filename
        self.fix = fix
        self.unsafe_fixes = unsafe_fixes
        self.exit_zero = exit_zero
        self.exit_non_zero_on_fix = exit_non_zero_on_fix
        self.statistics = statistics
        self.output_file = output_file
        self.cache = cache
        self.force_exclude = force_exclude
        self.data = data
        self.half = half


def check_paths(paths: Sequence[str], options: Options) -> int:
    """Check files and folders, print the findings on stdout and a summary on stderr.

    Returns:
        0 when nothing was found, 1 when something was at or above the fail level, 2 when a path could not be checked
        or a settings file has mistakes.
    """
    return Run(options).run(paths)


class Run:
    """One run of ``check``.

    Attributes:
        found: the findings so far.
        files: the names of the files that were checked.
        problems: the names of those that could not be, each with the reason.
        fixed: the code of each finding that was fixed or suppressed, by file.
        differs: whether a file would change.
        out: where the report goes.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.found: list[Diagnostic] = []
        self.files: list[str] = []
        self.problems: list[tuple[str, str]] = []
        self.fixed: dict[str, list[str]] = {}
        self.differs = False
        self.out: TextIO = sys.stdout
        self._resolver = Resolver(options.line)
        self._settings_problems: set[str] = set()
        self._seen: set[tuple[object, ...]] = set()
        self._elsewhere: dict[tuple[object, ...], int] = {}  # findings in files that are used, by place in `found`
        self._failed = False
        self._caches: dict[str, ResultCache] | None = None
        self._streams = options.format in ("full", "concise") and not (options.statistics or options.output_file)

    def run(self, paths: Sequence[str]) -> int:
        """Check, report, and give the exit status."""
        if self.options.fix == "apply" and "-" in paths:
            self.out = sys.stderr  # standard output is the fixed program
        names = list(self._names(paths))
        if self.options.cache and not self.options.fix and len(names) >= CACHED_FROM:
            self._caches = {}
            if len(names) >= PARALLEL_FROM:
                from .check_parallel import warm

                warm(self, names)
        try:
            for name in names:
                self._one(name)
        finally:
            for cache in (self._caches or {}).values():
                cache.save()
        self._finish()
        if self.problems or self._settings_problems:
            return USAGE
        if self.options.fix == "diff":
            return FINDINGS if self.differs else CLEAN
        if self.fixed and self.options.exit_non_zero_on_fix:
            return FINDINGS
        return FINDINGS if self._failed and not self.options.exit_zero else CLEAN

    def _names(self, paths: Sequence[str]) -> Iterator[str]:
        for path in paths:
            if path == "-" or not os.path.isdir(path):
                if not (self.options.force_exclude and path != "-" and self._settings_or_default(path).excludes(path)):
                    yield path
                continue
            names = list(inside(path, self._settings_or_default))
            if not names:
                self.complain(path, f"the folder `{path}` holds no `.loss` files and no run configs")
            yield from names

    def _settings_or_default(self, path: str) -> Settings:
        return self.settings(path) or Settings()

    def settings(self, path: str) -> Settings | None:
        """The settings of a file or folder, or None after reporting that they have mistakes."""
        try:
            return self._resolver.of((self.options.stdin_filename or "") if path == "-" else path)
        except Exception as error:
            from ..dsl.diagnostics import LossError

            if not isinstance(error, LossError):
                raise
            self._report_settings(error)
            return None

    def _report_settings(self, error: LossError) -> None:
        """Show the mistakes of a settings file, once."""
        from ..dsl.render import full, wants_color

        color = wants_color(sys.stderr) if self.options.color is None else self.options.color
        self.out.flush()
        for text in (full(diagnostic, color) for diagnostic in error.diagnostics):
            if text not in self._settings_problems:
                self._settings_problems.add(text)
                print(text + "\n", file=sys.stderr)

    def complain(self, name: str, problem: str, reason: str | None = None) -> None:
        """Report a path that cannot be checked, a file that cannot be written, or a fix that had to be taken back."""
        self.problems.append((name, problem if reason is None else reason))
        self.out.flush()
        print(f"splatdsl: {problem}", file=sys.stderr)

    def _one(self, path: str) -> None:
        try:
            given = read(path, self.options.stdin_filename)
        except Problem as problem:
            self.complain(problem.name, str(problem), problem.reason)
            return
        settings = self.settings(path)
        if settings is None:
            return
        self.files.append(given.name)
        if self.options.fix:
            from .check_fix import fix

            found = fix(self, given, settings)
        else:
            found = self.check(given, given.text, settings)
        # A program may be reached twice: as a file, and through a config that names it.
        fresh = [d for d in found if _key(d) not in self._seen] if found else []
        for d in found if self._elsewhere else ():
            if d.source.name == given.name and (at := self._elsewhere.pop(_key(d), None)) is not None:
                self.found[at] = d  # it can be fixed after all
        for i, d in enumerate(fresh, len(self.found)):
            if d.fixes and d.source.name != given.name:
                self._elsewhere[_key(d)] = i
        if not fresh:
            return
        self._seen.update(map(_key, fresh))
        self._failed |= settings.fail_level == "warning" or any(d.severity.value == "error" for d in fresh)
        if self._streams and self.options.fix != "diff":
            from .check_report import show

            show(self, fresh)
        self.found += fresh

    def check(self, given: Input, text: str, settings: Settings) -> list[Diagnostic]:
        """The findings in a text that settings and comments leave."""
        found = self.kept(given, text, settings)
        if found or "splat:" in text:
            from .check_select import chosen

            return chosen(found, given, text, settings, self.options)
        return found

    @property
    def caches(self) -> dict[str, ResultCache]:
        """The caches that are in use, by project."""
        return self._caches if self._caches is not None else {}

    def cache(self, root: str) -> ResultCache:
        """The cache of a project."""
        from ..dsl.result_cache import ResultCache

        caches = self._caches
        assert caches is not None
        if root not in caches:
            caches[root] = ResultCache(root)
        return caches[root]

    def resolve(self, path: str) -> Settings | None:
        """The settings of a file without a word about their mistakes."""
        from ..dsl.diagnostics import LossError

        try:
            return self._resolver.of(path)
        except LossError:
            return None

    def kept(self, given: Input, text: str, settings: Settings) -> list[Diagnostic]:
        """All findings in a text, from an earlier run if nothing that they depend on has changed."""
        if self._caches is None or given.is_config:
            return self._analyse(given, text, settings)
        from ..dsl.result_cache import surroundings

        beside = surroundings(given.name, text)
        if beside is None:
            return self._analyse(given, text, settings)
        root = os.path.dirname(settings.path or "") or os.getcwd()
        cache = self.cache(root)
        steps, pedantic = settings.steps, settings.selection.pedantic
        key = cache.key(
            given.name,
            text,
            [
                settings.renderer,
                steps,
                pedantic,
                sorted(self._fields() or ["any"]),
                self.options.half,
                *self.options.overrides,
                beside,
            ],
        )
        found = cache.get(key, given.name, text)
        if found is None:
            found = self._analyse(given, text, settings)
            cache.put(key, given.name, text, found)
        return found

    def _analyse(self, given: Input, text: str, settings: Settings) -> list[Diagnostic]:
        """All findings in a text."""
        pedantic = settings.selection.pedantic
        if given.is_config:
            from ..dsl.config import check_config

            line = self.options.line
            extra = [f"train.max_steps={line.steps}"] if line is not None and line.steps is not None else []
            extra += [f"renderer.kind={line.renderer}"] if line is not None and line.renderer is not None else []
            if self.options.data is not None:
                extra += ["data.kind=auto", f"data.path={self.options.data}"]
            return check_config(given.name, [*self.options.overrides, *extra], text, pedantic, self.options.half)

        from ..dsl.api import check_text

        fields, half = self._fields(), self.options.half

        buffers = None
        if settings.renderer is not None:
            from ..dsl.manifest import RENDERERS

            buffers = RENDERERS[settings.renderer]
        if self.options.overrides:
            from ..dsl.config import check_program

            return check_program(
                given.name, text, self.options.overrides, settings.steps, buffers, pedantic, fields, half
            )
        return check_text(
            text,
            name=given.name,
            max_steps=settings.steps,
            renderer_buffers=buffers,
            data_fields=fields,
            pedantic=pedantic,
            half=half,
        )

    def _fields(self) -> frozenset[str] | None:
        """The item fields of the scene that is checked for, or None."""
        if self.options.data is None:
            return None
        from ..dsl.config import folder_fields

        return folder_fields(self.options.data)

    def _finish(self) -> None:
        """Print what is not printed yet, and the summary."""
        if not self._streams and self.options.fix != "diff":
            from .check_report import report

            report(self)
        self.out.flush()
        if self.files:
            print(self._summary(), file=sys.stderr)

    def _summary(self) -> str:
        if not (self.found or self.options.fix):
            return f"no findings in {len(self.files)} file{'s' if len(self.files) != 1 else ''}"
        from .check_report import summary

        return summary(self)


def _key(diagnostic: Diagnostic) -> tuple[object, ...]:
    name = os.path.abspath(diagnostic.source.name)
    return diagnostic.code, name, diagnostic.source.text, diagnostic.span, diagnostic.message
