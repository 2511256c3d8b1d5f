"""A command that several processes run together, started by torchrun or Slurm."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from ..dsl.diagnostics import LossError

if TYPE_CHECKING:
    from ..runtime.training.ranks import Team

# What launchers set for each process that they start; looked at before torch is loaded.
SIGNS = ("RANK", "SLURM_PROCID")


@contextmanager
def together() -> Iterator[Team | None]:
    """Joins the other processes while this lasts; None for a process that was started alone.

    What goes wrong is printed by one process, once. After a failure the process ends here, not by an exception: the
    libraries that connect it to the others may wait for them when the interpreter shuts down.
    """
    if not any(sign in os.environ for sign in SIGNS):
        yield None
        return
    # torch would print stack traces of its own where a connection breaks; what that means is said in one message here.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    from ..runtime.extras import require

    require("torch")
    from ..runtime.training.ranks_start import find_place, started

    place = find_place()
    if place is None:
        yield None
        return
    if place.rank:
        os.environ.setdefault("SPLATDSL_PROGRESS", "0")  # of the compiler, which each process runs
        logging.getLogger("splatdsl").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
    with started(place) as team:
        try:
            yield team
            team.finish()
        except click.ClickException as error:  # a mistake in the command line, which all of them have
            if team.rank == 0:
                error.show()
            team.finish()
            _end(error.exit_code)
        except LossError as error:
            from .main import _failed as report

            _end(report(error) if team.leave(error) else 1)
        except BaseException as error:
            from .main import INTERRUPTED
            from .main import _failed as report

            team.watch.leave("failed", [f"{type(error).__name__}: {error}"])
            _end(report(error) if isinstance(error, Exception) else INTERRUPTED)


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
