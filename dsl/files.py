"""Reading text files that a user names, with reasons in plain words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from stat import S_ISDIR, S_ISREG

KIB = 1024
LOSS_LIMIT = 256 * KIB  # bytes of one program
CONFIG_LIMIT = 1024 * KIB  # bytes of one run config

ZOO = "zoo:"
"""How a path begins that means a program of the collection in the package: ``zoo:2dgs``."""

ZOO_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples", "zoo")


class Unreadable(Exception):
    """Why a file cannot be read; its text completes a sentence that begins with the file's name."""


class NotInZoo(Unreadable):
    """There is no program of that name in the collection."""


def zoo_names() -> list[str]:
    """The programs of the collection, sorted; none where it was left out of an installation."""
    try:
        return sorted(name.removesuffix(".loss") for name in os.listdir(ZOO_FOLDER) if name.endswith(".loss"))
    except OSError:
        return []


def is_program(path: str) -> bool:
    """Whether a path looks like that of a program: it ends in ``.loss``, or names one of the collection."""
    return path.endswith(".loss") or path.startswith(ZOO)


def located(path: str) -> str:
    """The file behind a path: another one only for ``zoo:NAME``, whether there is such a program or not."""
    return os.path.join(ZOO_FOLDER, f"{path.removeprefix(ZOO)}.loss") if path.startswith(ZOO) else path


def read_text(path: str, limit: int) -> str:
    """The text of a UTF-8 file, line endings as they are; ``zoo:NAME`` is one too.

    Raises:
        Unreadable: it is missing, a folder or a device, not permitted, larger than ``limit`` bytes or not UTF-8.
    """
    text = _KEPT.get().get(path)
    return decode(read_bytes(path, limit), limit) if text is None else text


_KEPT: ContextVar[Mapping[str, str]] = ContextVar("kept", default={})  # noqa: B039 (nobody changes it)


@contextmanager
def kept(texts: Mapping[str, str]) -> Iterator[None]:
    """Within it, these texts stand for the files at their real paths, whatever is there now."""
    token = _KEPT.set(texts)
    try:
        yield
    finally:
        _KEPT.reset(token)


def read_bytes(path: str, limit: int) -> bytes:
    """The bytes of a file, or so many that they are above the limit.

    Raises:
        Unreadable: it is missing, a folder or a device, not permitted, or larger than ``limit`` bytes.
    """
    if path.startswith(ZOO):
        if path.removeprefix(ZOO) not in zoo_names():
            raise NotInZoo("is not in the zoo")
        path = located(path)
    try:
        about = os.stat(path)
        if S_ISREG(about.st_mode):
            if about.st_size > limit:
                raise Unreadable(f"is larger than {limit // KIB} KiB")
            with open(path, "rb") as file:
                return file.read(limit + 1)
    except FileNotFoundError:
        raise Unreadable("does not exist") from None
    except IsADirectoryError:
        raise Unreadable("is a folder") from None
    except PermissionError:
        raise Unreadable("cannot be read: permission denied") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    # Whoever opens a pipe waits for the other end, perhaps for ever.
    raise Unreadable("is a folder" if S_ISDIR(about.st_mode) else "is a pipe or a device, not a file")


def decode(data: bytes, limit: int) -> str:
    """Bytes as text.

    Raises:
        Unreadable: more than ``limit`` bytes, or not UTF-8.
    """
    if len(data) > limit:
        raise Unreadable(f"is larger than {limit // KIB} KiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"is not UTF-8 text: byte 0x{data[error.start]:02x} on line {line}") from None
