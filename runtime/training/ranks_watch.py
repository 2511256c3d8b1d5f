"""Notices that a process of the run has ended, and that this one has to."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...dsl.diagnostics import LossError

BEAT = 2.0  # seconds between two signs of life
SILENT = 30.0  # seconds without one after which a process counts as gone
GRACE = 8.0  # seconds that this process has to end by itself once another is gone
LISTEN = 3.0  # seconds that it waits, when it ends, for what the others have found
TERMINATED = 128 + signal.SIGTERM  # exit status, as shells report it


class Gone(NamedTuple):
    """How a rank ended: the rest of a sentence that begins with it, notes, and whether a signal told it to."""

    message: str
    notes: tuple[str, ...]
    ordered: bool = False


_DEAD = Gone("is gone", ("its process ended without a word: it was killed, ran out of memory, or its machine failed",))
_MUTE = Gone("is gone", (f"it has given no sign of life for {SILENT:.0f} seconds",))


class Watch:
    """A thread that gives signs of life and looks for those of the others, through a key-value store.

    A process of the same machine is also looked for by its number, so that the loss of one is noticed at once. If this
    process does not end by itself within a few seconds after another has gone (it may wait for it in an operation that
    cannot be interrupted), the thread ends it.

    Args:
        store: a `torch.distributed.TCPStore` that all processes share, hosted by rank 0.
        rank: number of this process.
        world: how many there are.

    Attributes:
        gone: the ranks that have ended although the run has not, and how.
        ordered: the signal that orders this process to end, or an empty text.
        report: gives the finding to print when the thread ends the process; None from it: another process prints it.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.gone: dict[int, Gone] = {}
        self.ordered = ""
        self.report: Callable[[], LossError | None] = lambda: None
        self._store = store
        self._rank, self._world = rank, world
        self._others = [r for r in range(world) if r != rank]
        self._interrupted: float | None = None
        self._cut_off = False  # the store cannot be reached any more
        self._beat = 0
        self._seen: dict[int, tuple[str, float]] = {}
        self._left: dict[int, dict[str, Any]] = {}
        self._neighbours: dict[int, int] = {}
        self._marks: list[dict[str, Any]] = []  # still to be written
        self._said = False
        self._met = 0.0  # when the store answered last
        self._wanted = threading.Semaphore(0)
        self._turn = threading.Condition()
        self._turns = 0  # how often the store was asked
        self._ending = threading.Event()  # the process ends by itself
        self._closed = threading.Event()
        self._wake, self._poke = socket.socketpair()
        for end in (self._wake, self._poke):
            end.setblocking(False)
        # Two threads: a store whose host hangs never answers, and that must be noticed too.
        self._asking = threading.Thread(target=self._ask, name="splatdsl-ranks-store", daemon=True)
        self._thread = threading.Thread(target=self._run, name="splatdsl-ranks", daemon=True)

    def announce(self) -> None:
        """Write this process into the store; all must have done so before one calls `start`."""
        self._store.set(f"at/{self._rank}", json.dumps([_machine(), os.getpid()]))
        self._store.set(f"left/{self._rank}", "")
        self._store.set(f"beat/{self._rank}", "0")

    def start(self) -> None:
        """Begin to watch."""
        now = time.monotonic()
        for rank, text in zip(self._others, self._store.multi_get([f"at/{r}" for r in self._others])):
            machine, number = json.loads(text)
            if machine == _machine():
                self._neighbours[rank] = number
            self._seen[rank] = ("0", now)
        self._met = now
        self._asking.start()
        self._thread.start()

    def close(self) -> None:
        """Stop to watch; what the others do from now on is their affair."""
        if not self._closed.is_set() and not self._said:  # why it ends must stay to be read
            self._mark({"why": "done"})
        self._closed.set()
        self._wanted.release()
        with contextlib.suppress(OSError):
            self._poke.send(b"\0")
        for thread in (self._thread, self._asking):
            if thread.is_alive():
                thread.join(LISTEN)

    # Looking

    def look(self) -> None:
        """Give a sign of life, and bring `gone` up to date. Waits a second at most."""
        with self._turn:
            before = self._turns
            self._wanted.release()
            self._turn.wait_for(lambda: self._turns > before or self._closed.is_set(), timeout=1.0)
        if self._rank != 0 and not self._cut_off and time.monotonic() - self._met > SILENT:
            self.gone.setdefault(0, _MUTE)  # it hosts the store

    def _ask(self) -> None:
        while not self._closed.is_set():
            self._wanted.acquire(timeout=BEAT)
            while self._wanted.acquire(blocking=False):
                pass  # the same answer serves all who have asked by now
            if not self._closed.is_set() and not self._cut_off:
                self._exchange()
            with self._turn:
                self._turns += 1
                self._turn.notify_all()

    def _exchange(self) -> None:
        self._beat += 1
        keys = [f"{kind}/{rank}" for kind in ("beat", "left") for rank in self._others]
        try:
            while self._marks:
                self._store.set(f"left/{self._rank}", json.dumps(self._marks.pop(0)))
            self._store.set(f"beat/{self._rank}", str(self._beat))
            texts = [text.decode() for text in self._store.multi_get(keys)]
        except Exception:  # the errors of the store are of several types, and all mean that its host is gone
            self._host_lost()
            return
        now = self._met = time.monotonic()
        count = len(self._others)
        for rank, beat, left in zip(self._others, texts[:count], texts[count:]):
            if left:
                self._left[rank] = json.loads(left)
            if beat != self._seen[rank][0]:
                self._seen[rank] = (beat, now)
        self._judge(now)

    def _host_lost(self) -> None:
        self._cut_off = True
        if self._rank != 0 and self._left.get(0, {}).get("why") != "done":
            self.gone.setdefault(0, _ended(self._left[0]) if 0 in self._left else _DEAD)

    def _judge(self, now: float) -> None:
        for rank in self._others:
            left = self._left.get(rank, {})
            why = left.get("why")
            if why == "lost":  # it ends because of another, and knows which
                for culprit in left["texts"]:
                    if culprit != self._rank:
                        self.gone.setdefault(culprit, _DEAD)
            elif why in ("failed", "signal"):
                self.gone.setdefault(rank, _ended(left))
            elif why is None and rank in self._neighbours and not _alive(self._neighbours[rank]):
                self._bury(rank)
            elif why is None and now - self._seen[rank][1] > SILENT:
                self.gone.setdefault(rank, _MUTE)

    def _bury(self, rank: int) -> None:
        """A process has ended: it may have said why after this look began."""
        try:
            left = self._store.get(f"left/{rank}")
        except Exception:  # as in `look`
            self._host_lost()
            return
        if not left:
            self.gone.setdefault(rank, _DEAD)
        else:
            self._left[rank] = json.loads(left)
            if self._left[rank]["why"] != "done":
                self.gone.setdefault(rank, _ended(self._left[rank]))

    def identify(self, seconds: float) -> dict[int, Gone]:
        """Who is gone, after looking for at most so many seconds. A rank that goes silent now is found within them."""
        self._ending.set()
        began = time.monotonic()
        before = dict(self._seen)
        while not self.gone:
            self.look()
            waited = time.monotonic() - began
            if self.gone or waited >= (min(seconds, BEAT) if self.ordered else seconds):
                break
            if waited > 4 * BEAT:
                mute = [r for r in self._others if r not in self._left and self._seen[r][0] == before[r][0]]
                if mute:
                    self.gone[mute[0]] = _DEAD
            time.sleep(0.1)
        if not self.gone and seconds == 0.0:
            self._ending.clear()
        return self.gone

    # Leaving

    def _mark(self, left: dict[str, Any]) -> None:
        self._said = True
        self._marks.append(left)
        self.look()

    def leave(self, why: str, texts: Sequence[Any]) -> bool:
        """Write down why this process ends, and wait until the others have read it.

        Args:
            why: ``failed``, ``lost`` or ``signal``.
            texts: the findings, or the ranks that were lost.

        Returns:
            Whether a finding (``failed``) is to be printed here: rank 0 says what all have found.
        """
        self._ending.set()
        self._mark({"why": why, "texts": list(texts)})
        if why != "failed" and self._rank != 0:
            return False
        deadline = time.monotonic() + LISTEN
        speaks = self._rank == 0
        while time.monotonic() < deadline:
            self.look()
            if not speaks and 0 in self._left:
                return bool(self._left[0].get("texts") != list(texts))
            if not speaks and 0 in self.gone:
                break
            if speaks and all(rank in self._left or rank in self.gone for rank in self._others):
                break  # rank 0 hosts the store: it stays until they know
            time.sleep(0.1)
        return True

    # The thread

    def _run(self) -> None:
        deadline: float | None = None
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                if select.select([self._wake], [], [], 0.2 if deadline else BEAT)[0]:
                    self._signalled(self._wake.recv(64))
            if self._closed.is_set():
                return
            self.look()
            if not (self.gone or self.ordered):
                continue
            if deadline is None:
                deadline = time.monotonic() + GRACE
            # A process that ends by itself waits in `identify` and `leave` before it does.
            if time.monotonic() > deadline + (3 * GRACE if self._ending.is_set() else 0.0):
                self._end()

    def _signalled(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers:
            self.ordered = self.ordered or "SIGTERM"
        if signal.SIGINT in numbers:
            now = time.monotonic()
            if self._interrupted is None:
                self._interrupted = now
            elif now - self._interrupted > 1.0:
                self.ordered = self.ordered or "SIGINT"

    def culprits(self) -> list[int]:
        """The ranks whose end is not just that of all: a signal to all of them is nobody's fault."""
        return [rank for rank, how in sorted(self.gone.items()) if not (self.ordered and how.ordered)]

    def _end(self) -> None:
        error = self.report()
        culprits = self.culprits()
        self._mark({"why": "lost", "texts": culprits} if culprits else {"why": "signal", "texts": []})
        if error is not None:
            from ...dsl.render import full

            text = "\n\n".join(full(d, False) for d in error.diagnostics)
            os.write(2, f"{text}\n".encode(errors="backslashreplace"))
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(1 if culprits else TERMINATED)

    @contextlib.contextmanager
    def signals(self, request_stop: Callable[[], None]) -> Iterator[None]:
        """While this lasts, SIGINT asks for a stop that all ranks take together, and SIGTERM ends this process.

        A launcher may pass a signal on that reached this process already, so a second SIGINT counts only some time
        after the first; it ends the process at once.
        """
        asked = False

        def handle(number: int, frame: Any) -> None:
            nonlocal asked
            if number == signal.SIGINT and not asked:
                asked = True
                request_stop()
                if self._rank == 0:
                    # Not through a stream: the signal may arrive while one is being written to.
                    os.write(2, b"\nstopping after this step; once more to stop at once\n")

        before = [(number, signal.signal(number, handle)) for number in (signal.SIGINT, signal.SIGTERM)]
        # A handler runs only between two instructions of Python. The file descriptor is written to at once, also
        # while the process waits for another in an operation; the thread reads it.
        old = signal.set_wakeup_fd(self._poke.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before:
                signal.signal(number, handler)


def _ended(left: dict[str, Any]) -> Gone:
    if left["why"] == "signal":
        return Gone("was ended by a signal", (), True)
    if left["why"] == "lost":
        return _DEAD
    return Gone("stopped with an error", tuple(f"its error is {text}" for text in left["texts"]))


def _machine() -> str:
    """What two processes have in common that see the same process numbers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return "/".join(parts)


def _alive(number: int) -> bool:
    """Whether a process of this machine runs; one that has ended and was not yet waited for does not."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return True
