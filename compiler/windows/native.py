"""Shared libraries made of C++ on this machine: compiled once, kept in the user's cache folder, loaded with ctypes.

A library is kept under everything that it depends on: its source, the flags, the compiler and the processor. Next to it
is its checksum, without which it is not loaded. A folder with both appears in one step, so any number of processes may
build the same at once.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from ...dsl.result_cache import folder

TIMEOUT = 120.0
"""Seconds that a compiler may take."""

_COMMON = ("-std=c++14", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
_CHOICES = (
    ("-march=native", "-fopenmp"),
    ("-march=native", "-fopenmp-simd"),
    ("-fopenmp-simd",),
    (),
)
"""Flags that not every compiler has; the first that work are taken. None of them changes what a NaN means."""

_SOURCE, _LIBRARY, _CHECKSUM = "kernel.cpp", "kernel.so", "kernel.sha256"


class KernelUnavailable(Exception):
    """A library cannot be had on this machine.

    Attributes:
        reason: why, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_lock = threading.Lock()
_known: dict[str, ctypes.CDLL | KernelUnavailable] = {}


def load(source: str, compiler: str, symbol: str, timeout: float = TIMEOUT) -> ctypes.CDLL:
    """The library of a source, compiled if it is not kept yet.

    Args:
        source: C++ with a C interface.
        compiler: the command, a name or a path.
        symbol: a function that the library must have.
        timeout: seconds that the compiler may take.

    Raises:
        KernelUnavailable: there is no such compiler, it failed, or what it made cannot be loaded. What a process was
            told once holds until its end.
    """
    name = _name(source, compiler)
    with _lock:
        found = _known.get(name)
        if found is None:
            try:
                found = _load(name, source, compiler, symbol, timeout)
            except KernelUnavailable as error:
                found = error
            _known[name] = found
    if isinstance(found, KernelUnavailable):
        raise KernelUnavailable(found.reason)
    return found


def _load(name: str, source: str, compiler: str, symbol: str, timeout: float) -> ctypes.CDLL:
    reason = ""
    for base in (_cache, _private):
        try:
            place = base() / name
            kept = _open(place, symbol)
            if kept is not None:
                return kept
            _build(place, source, compiler, timeout)
        except OSError as error:  # the folder cannot be made or written, or has no space: the next one
            reason = f"its folder cannot be written ({error})"
            continue
        made = _open(place, symbol)
        if made is not None:
            return made
        reason = f"what `{compiler}` made cannot be loaded"  # on a disk that allows no programs, say
    raise KernelUnavailable(reason)


def _open(place: Path, symbol: str) -> ctypes.CDLL | None:
    """The library in a folder; None if there is none, or it is damaged."""
    try:
        checksum = (place / _CHECKSUM).read_text(encoding="ascii")
        content = (place / _LIBRARY).read_bytes()
        if hashlib.sha256(content).hexdigest() != checksum:
            return None
        library = ctypes.CDLL(str(place / _LIBRARY))
        getattr(library, symbol)
    except (OSError, AttributeError, UnicodeDecodeError):
        return None
    return library


def _build(place: Path, source: str, compiler: str, timeout: float) -> None:
    """Compiles into a folder of its own and puts that into place."""
    command = shutil.which(compiler)
    if command is None:
        raise KernelUnavailable(f"the C++ compiler `{compiler}` was not found")
    place.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        (work / _SOURCE).write_text(source, encoding="utf-8")
        _compile(command, work, timeout)
        content = (work / _LIBRARY).read_bytes()
        (work / _CHECKSUM).write_text(hashlib.sha256(content).hexdigest(), encoding="ascii")
        for _ in range(2):
            try:
                os.rename(work, place)
                return
            except OSError:
                # There is one: another process was faster, which is as good, or it is damaged.
                if not place.exists() or _whole(place):
                    return
                shutil.rmtree(place, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _whole(place: Path) -> bool:
    try:
        checksum = (place / _CHECKSUM).read_text(encoding="ascii")
        return hashlib.sha256((place / _LIBRARY).read_bytes()).hexdigest() == checksum
    except (OSError, UnicodeDecodeError):
        return False


def _compile(command: str, work: Path, timeout: float) -> None:
    """Runs the compiler with the first flags that it takes."""
    said = ""
    for flags in _CHOICES:
        line = [command, *_COMMON, *flags, _SOURCE, "-o", _LIBRARY]
        try:
            # A group of its own: a compiler is several processes, and none may be left behind.
            running = subprocess.Popen(
                line,
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise KernelUnavailable(f"the C++ compiler `{command}` cannot be run ({error.strerror})") from None
        with running:
            try:
                output = running.communicate(timeout=timeout)[1]
            except BaseException as error:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                raise KernelUnavailable(f"the C++ compiler `{command}` took longer than {timeout:g} s") from None
        if running.returncode == 0 and (work / _LIBRARY).is_file():
            return
        said = said or _complaint(output.decode(errors="replace"), running.returncode)
    raise KernelUnavailable(f"the C++ compiler `{command}` failed: {said}")


def _complaint(text: str, code: int) -> str:
    """The line of a compiler's output that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line]
    return (wrong or lines or [f"exit status {code}, and no message"])[0][:300]


def _name(source: str, compiler: str) -> str:
    parts = [source, repr((_COMMON, _CHOICES)), _compiler(compiler), processor(), sys.platform]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _compiler(compiler: str) -> str:
    """Which compiler this is: its file changes with its version, and asking it for that would take longer."""
    found = shutil.which(compiler)
    if found is None:
        return compiler
    path = os.path.realpath(found)
    status = os.stat(path)
    return f"{found}\0{path}\0{status.st_size}\0{status.st_mtime_ns}"


@cache
def processor() -> str:
    """What code for this machine may use: the description of its first processor."""
    kept = ("flags", "Features", "model name", "model", "stepping", "cpu family", "CPU implementer", "CPU part")
    lines = [platform.machine(), platform.processor()]
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                break
            if line.split(":")[0].strip() in kept:
                lines.append(line.strip())
    return "\n".join(lines)


def _cache() -> Path:
    return Path(folder()) / "kernels"


@cache
def _private() -> Path:
    """A folder of this process alone."""
    made = tempfile.mkdtemp(prefix="splatdsl-kernels-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
