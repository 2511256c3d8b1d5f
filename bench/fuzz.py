"""Programs by chance through the front end: ``python -m splatdsl.bench.fuzz --count N --mutations M [--seed S]``.

Well-formed programs (``grammar/samples.py``) are formatted: the tree, the tokens and the comments must stay what they
were, in order, and formatting again must change nothing. Damaged ones, made from those and from the examples of the
reference, are checked and formatted: nothing but ``LossError`` may come out, within a time limit. The exit status is 1
if anything failed; what is printed names the seed that makes the text again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import cache
from multiprocessing import get_context
from random import Random
from types import FrameType
from typing import NamedTuple

from ..dsl.api import analyse
from ..dsl.builtins import ALL
from ..dsl.codes import all_codes
from ..dsl.diagnostics import LossError, Sink
from ..dsl.format import comments, format_program, format_text
from ..dsl.lalr import tables
from ..dsl.lexer import scan
from ..dsl.parse import parse
from ..dsl.render import full
from ..dsl.source import Source
from ..grammar.damages import damaged
from ..grammar.samples import random_program

LIMIT = 10.0  # seconds for one text
CHUNK = 500
SHOWN = 8  # failures that are printed in full


class Failure(NamedTuple):
    """A text that something went wrong with; ``where`` groups failures of one cause."""

    seed: str
    where: str
    what: str
    text: str


class Result(NamedTuple):
    """Of one chunk."""

    figures: Counter[str]
    failures: list[Failure]


class _TooSlow(BaseException):
    """Not an ``Exception``, so that nothing between can catch it."""


def format_problem(text: str) -> str:
    """What is wrong with the formatted form of a well-formed text; empty if nothing is.

    Raises:
        RuntimeError: another tree (`format_text` compares them itself).
    """
    result = format_text(text)
    if _tokens(text) != _tokens(result):
        return "other tokens"
    if comments(Source(text).text) != comments(result):
        return "other comments"
    again, sink = Source(result), Sink()
    if format_program(again, parse(again, sink)) != result or sink.items:
        return "formatting again changes it"
    return ""


def _tokens(text: str) -> list[str]:
    """The tokens but for line ends, commas, and the two spellings of a power."""
    dropped = {tables().id["_NEWLINE"], tables().id["COMMA"]}
    return ["^" if word == "**" else word for kind, word, _, _ in scan(Source(text).text) if kind not in dropped]


@cache
def _examples() -> tuple[str, ...]:
    """Programs that mean something: what the reference shows as right and wrong."""
    texts = [text for code in all_codes().values() for text in (code.good, code.bad)]
    texts += [text for record in ALL for text in (record.good, record.bad)]
    return tuple(sorted({text for text in texts if text and len(text) < 500}))


def _well_formed(seed: str, figures: Counter[str]) -> tuple[str, Callable[[], str]]:
    text = random_program(Random(seed))
    figures["programs"] += 1
    figures["characters"] += len(text)
    figures["comments"] += len(comments(text))
    return text, lambda: format_problem(text)


def _damaged(seed: str, figures: Counter[str]) -> tuple[str, Callable[[], str]]:
    random = Random(seed)
    examples = _examples()
    if random.random() < 0.6:
        text = "\n".join(random.choice(examples) for _ in range(random.choice((1, 1, 2))))
    else:
        text = random_program(random, most=2)
    text = damaged(random, text)
    figures["damaged"] += 1
    figures["damaged characters"] += len(text)

    def problem() -> str:
        _, found = analyse(Source(text))
        figures["with findings"] += bool(found)
        malformed = any(diagnostic.code.startswith("SYN") for diagnostic in found)
        if random.random() < 0.1:
            for diagnostic in found:
                full(diagnostic)
        elif malformed:
            return ""  # nothing is formatted that does not parse: enough to see that in the tenth above
        try:
            format_text(text)
        except LossError as error:
            return "" if error.diagnostics else "no finding in LossError"
        figures["formatted"] += 1
        return format_problem(text)

    return text, problem


_KINDS = {"program": _well_formed, "damaged": _damaged}


def chunk(job: tuple[str, int, int, int]) -> Result:
    """Some programs of one kind: (kind, seed, first, last + 1)."""
    kind, seed, start, stop = job
    figures: Counter[str] = Counter()
    failures: list[Failure] = []
    signal.signal(signal.SIGALRM, _stop)
    for number in range(start, stop):
        name = f"{seed}:{kind}:{number}"
        text, problem = _KINDS[kind](name, figures)
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            what = where = problem()
        except _TooSlow as error:
            where = f"takes more than {LIMIT:g} s in {_place(error, -2)}"  # the last frame is that of the alarm
            what = traceback.format_exc(limit=-8)
        except Exception as error:
            where = f"{type(error).__name__} at {_place(error, -1)}"
            what = traceback.format_exc(limit=-4)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if what:
            failures.append(Failure(name, where, what, text))
    return Result(figures, failures)


def _place(error: BaseException, frame: int) -> str:
    found = traceback.extract_tb(error.__traceback__)[frame]
    return f"{found.filename}:{found.lineno}"


def _stop(_: int, __: FrameType | None) -> None:
    raise _TooSlow


def run(count: int, mutations: int, seed: int, processes: int) -> Result:
    """All of it, in several processes."""
    jobs = [
        (kind, seed, start, min(start + CHUNK, total))
        for kind, total in (("program", count), ("damaged", mutations))
        for start in range(0, total, CHUNK)
    ]
    figures: Counter[str] = Counter()
    failures: list[Failure] = []
    with get_context("spawn").Pool(processes) as pool:
        for result in pool.imap(chunk, jobs):
            figures += result.figures
            failures += result.failures
    return Result(figures, failures)


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m splatdsl.bench.fuzz", description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="well-formed programs")
    parser.add_argument("--mutations", type=int, default=0, help="damaged programs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", metavar="SEED", help="print the text of one seed, such as 0:damaged:17, and stop")
    options = parser.parse_args(arguments)
    if options.show:
        print(_KINDS[options.show.split(":")[1]](options.show, Counter())[0])
        return 0
    began = time.monotonic()
    figures, failures = run(options.count, options.mutations, options.seed, options.processes)
    for name, number in figures.items():
        print(f"{name}: {number:,}")
    causes = Counter(failure.where for failure in failures)
    for where, number in causes.most_common():
        print(f"FAILED {number:,} x {where}")
    for failure in list({f.where: f for f in reversed(failures)}.values())[:SHOWN]:
        print(f"\n{failure.seed}\n{failure.text!r}\n{failure.what}")
    print(f"failures: {len(failures):,}; {time.monotonic() - began:.0f} s, seed {options.seed}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
