"""Start and end of a process that is one of several: under torchrun, under Slurm, or as the environment says."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from ...dsl.diagnostics import LossError
from .config import training_error
from .ranks import TIMEOUT, Team

# Slurm gives no port. One that depends on the job keeps the jobs of a machine apart; these lie below ephemeral ones.
FIRST_PORT, PORTS = 15_000, 15_000


@dataclass(frozen=True)
class Place:
    """Where a process stands among the processes of a run.

    Attributes:
        rank: number among all of them, from 0.
        world: how many there are.
        local_rank: number among those of this machine.
        address: host name of rank 0.
        port: where rank 0, or its launcher, listens.
        launcher: ``torchrun`` (or anything that sets its variables) or ``Slurm``.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    launcher: str


def find_place(environment: Mapping[str, str] | None = None) -> Place | None:
    """The place that the launcher gave to this process; None for a process that is alone.

    torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. A task of Slurm's ``srun`` has
    SLURM_PROCID, SLURM_LOCALID and SLURM_STEP_NUM_TASKS (or SLURM_NTASKS); the address is that of the first host of
    its step, the port follows from the job's number, and MASTER_ADDR and MASTER_PORT come before both. The script of
    ``sbatch`` itself has SLURM_NTASKS as well, but runs once: without SLURM_STEP_ID a process is alone.

    Args:
        environment: ``os.environ`` if None.

    Raises:
        LossError: RUN023, a variable is missing or is no number.
    """
    env = os.environ if environment is None else environment
    if "RANK" in env and "WORLD_SIZE" in env:
        world = _number(env, "WORLD_SIZE")
        if world == 1:
            return None
        return Place(
            _number(env, "RANK"), world, _number(env, "LOCAL_RANK", _number(env, "RANK")),
            env.get("MASTER_ADDR", "127.0.0.1"), _number(env, "MASTER_PORT"), "torchrun",
        )  # fmt: skip
    if "SLURM_PROCID" not in env or not ("SLURM_STEP_ID" in env or "MASTER_ADDR" in env):
        return None
    world = _number(env, "SLURM_STEP_NUM_TASKS", _number(env, "SLURM_NTASKS", 1))
    if world == 1:
        return None
    hosts = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or env.get("SLURM_NODELIST") or ""
    job = _number(env, "SLURM_JOB_ID", 0) * 31 + _number(env, "SLURM_STEP_ID", 0)
    return Place(
        _number(env, "SLURM_PROCID"), world, _number(env, "SLURM_LOCALID"),
        env.get("MASTER_ADDR") or first_host(hosts), _number(env, "MASTER_PORT", FIRST_PORT + job % PORTS), "Slurm",
    )  # fmt: skip


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\d+", text):
        found = "is not set" if text is None else f"is {text!r}, not a number"
        raise training_error(
            "RUN023",
            f"the environment variable {name} {found}, so the processes of this run cannot find each other",
            help=("start them with `torchrun` or `srun`, which set it",),
        )
    return int(text)


def first_host(hosts: str) -> str:
    """The first host of a list as Slurm writes it: ``gpu[03-05,9],cpu1`` gives ``gpu03``.

    Raises:
        LossError: RUN023, the list is empty.
    """
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", hosts.strip())
    if match is None:
        raise training_error(
            "RUN023",
            "Slurm names no hosts, so the processes of this run cannot find each other",
            help=("set MASTER_ADDR to the host of the first task",),
        )
    return "".join(part or "" for part in match.groups())


def own_device(name: str, place: Place) -> str:
    """The device of this process for a setting ``device``: CUDA devices are given out by local rank.

    Args:
        name: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:INDEX"``.
        place: this process.

    Raises:
        LossError: RUN023, the setting names one device for all, or there are fewer devices than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind != "cuda":
        return name
    if index:
        raise training_error(
            "RUN023",
            f"`device` is {name!r}, one device for {place.world} processes",
            help=("use `device: cuda` or `device: auto`: each process takes one of its own",),
        )
    count = torch.cuda.device_count()
    if place.local_rank < count or count == 0:  # none at all is reported as for a single process
        chosen = place.local_rank if count else 0
    elif count == 1 and place.launcher == "Slurm":  # --gpus-per-task shows each task its own alone
        chosen = 0
    else:
        raise training_error(
            "RUN023",
            f"rank {place.rank} is process {place.local_rank} of this machine (from 0), which has {count} CUDA "
            f"device{'s' if count != 1 else ''}",
            help=("start as many processes on a machine as it has devices, or use `device: cpu`",),
        )
    return f"cuda:{chosen}"


@contextlib.contextmanager
def started(place: Place) -> Iterator[Team]:
    """Joins the other processes: torch.distributed is initialised while this lasts, gloo on the CPU and NCCL on CUDA.

    Args:
        place: this process.

    Raises:
        LossError: RUN023, the others cannot be reached.
    """
    environment = {
        "RANK": place.rank, "WORLD_SIZE": place.world, "LOCAL_RANK": place.local_rank,
        "MASTER_ADDR": place.address, "MASTER_PORT": place.port,
    }  # fmt: skip
    for name, value in environment.items():
        os.environ.setdefault(name, str(value))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        # Not exported by torch.distributed as its type checker reads it, and absent where torch was built without.
        from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

        timeout = timedelta(seconds=TIMEOUT)
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        # torchrun keeps its store when it starts processes anew: what those before them wrote must not be found.
        store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
        team = Team.join(place.address)
    except (RuntimeError, ValueError) as error:
        raise training_error(
            "RUN023",
            f"rank {place.rank} of {place.world} cannot join the others at {place.address}:{place.port}: "
            f"{str(error).splitlines()[0]}",
            help=(
                "every process needs the same MASTER_ADDR and MASTER_PORT, reachable from all machines",
                "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME choose the network interface",
            ),
        ) from error
    clean = False
    try:
        yield team
        team.finish()
        clean = True
    except LossError as error:
        team.leave(error)
        raise
    finally:
        team.close()
        if clean:  # after a failure the others may never come to where this would wait for them
            dist.destroy_process_group()
