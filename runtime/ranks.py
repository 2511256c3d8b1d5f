"""A loss on several ranks: who they are, and that they call it alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from ..compiler.channels import Channel, disagreement
from ..compiler.ranks import COPIES, SHARDS, Layout

if TYPE_CHECKING:
    from .evaluation import Parts

__all__ = ["Ranks", "joined", "ranks_of"]

DIVIDED = ("B", "N")
"""Sizes that ranks may have parts of."""


class Ranks:
    """The processes that hold the parts of one batch.

    Each rank renders its own images. Every mean and sum of the loss is then one over the images of all ranks, and the
    total and the terms are the same numbers on each of them: those of one process that holds the whole batch.

    The gradient of what a rank was given is its own contribution: summed over ranks it is the gradient of one process.
    Gaussians in shards get theirs as it is. `DistributedDataParallel` averages instead; there, multiply the loss by
    the number of ranks.

    Args:
        gaussians: "copies" if every rank holds all gaussians, "shards" if each holds others, as with gsplat's
            ``rasterization(distributed=True)``.
        group: the process group; None: the default one.
        timeout: how many seconds a rank waits for the others at the beginning of a step.

    Raises:
        LossError: RUN018, `gaussians` is neither; RUN019, another rank is gone.
    """

    def __init__(self, gaussians: str = COPIES, group: Any = None, timeout: float = 600.0) -> None:
        if gaussians not in (COPIES, SHARDS):
            raise disagreement(f"there is no way `{gaussians}` to hold gaussians", f"there are {COPIES} and {SHARDS}")
        self.gaussians, self.group, self.timeout = gaussians, group, timeout
        self._channel: Channel | None = None
        self._compared = False

    def __repr__(self) -> str:
        return f"Ranks(gaussians={self.gaussians!r})"

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or one in another process, begins anew in its own process group."""
        return {"gaussians": self.gaussians, "timeout": self.timeout}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["gaussians"], None, state["timeout"])  # type: ignore[misc]

    @property
    def active(self) -> bool:
        """Whether there is more than one rank."""
        return dist.is_available() and dist.is_initialized() and dist.get_world_size(self.group) > 1

    @property
    def channel(self) -> Channel:
        """The connection to the other ranks; made at first use, by all of them."""
        if self._channel is None:
            self._channel = Channel(self.group, self.timeout)
        return self._channel

    @property
    def layout(self) -> Layout:
        """How the batch is divided."""
        return Layout(self.channel.number, self.channel.size, self.gaussians)

    def agree(self, call: Call) -> Agreed:
        """Compare a call with those of the other ranks.

        Raises:
            LossError: RUN018, they differ in what decides the value of the loss; RUN019, a rank is gone.
        """
        channel = self.channel
        digest = hashlib.blake2b(repr(call.decides).encode(), digest_size=7).digest()
        own = [call.step, call.max_steps, int.from_bytes(digest, "big"), call.has_mask, call.images, call.gaussians]
        every = channel.tell(own)
        images, gaussians = [r[4] for r in every], [r[5] for r in every]
        if any(r[:3] != own[:3] for r in every):
            self._explain(call)
        if self.gaussians == COPIES and any(n != gaussians[0] for n in gaussians):
            counts = ", ".join(f"{n} on rank {r}" for r, n in enumerate(gaussians))
            raise disagreement(
                f"the ranks hold different numbers of gaussians: {counts}",
                'if each rank holds gaussians of its own, say so: `ranks=Ranks(gaussians="shards")`',
                "otherwise densify with the same seed and the same statistics on every rank",
            )
        channel.rows = {"images": images, "gaussians": gaussians}
        sizes = {"B": float(sum(images))}
        if self.gaussians == SHARDS:
            sizes["N"] = float(sum(gaussians))
        return Agreed(any(r[3] for r in every), sizes)

    def compare_gaussians(self, means: Any) -> None:
        """Look once whether gaussians that should be copies are.

        Raises:
            LossError: RUN018, they are not.
        """
        if self._compared or self.gaussians != COPIES or not isinstance(means, Tensor) or not means.numel():
            return
        self._compared = True
        total = means.detach().double()
        own = torch.stack([total.sum(), (total * total).sum()]).view(torch.int64).tolist()
        if any(said != own for said in self.channel.tell(own)):
            raise disagreement(
                "the ranks hold as many gaussians, but other ones",
                'if each rank holds gaussians of its own, say so: `ranks=Ranks(gaussians="shards")`',
                "otherwise start every rank from the same gaussians",
            )

    def over_all(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a call, with what copies of gaussians are in any rank's images: `visible` and `radii`."""
        found = dict(tensors)
        if self.gaussians == COPIES:
            for name in sorted(found):
                if name.rpartition(".")[2] in ("visible", "radii"):
                    found[name] = self.channel.largest(found[name])
        return found

    def _explain(self, call: Call) -> NoReturn:
        said = self.channel.tell_text(f"step {call.step} of {call.max_steps}\n" + "\n".join(map(str, call.decides)))
        lines = [text.splitlines() for text in said]
        differ = sorted(
            {k for line in lines for k in range(max(map(len, lines))) if line[k : k + 1] != lines[0][k : k + 1]}
        )
        notes = [f"rank {r}: {'; '.join(line[k] for k in differ if k < len(line))}" for r, line in enumerate(lines)]
        raise disagreement(
            "the ranks call the loss in different ways",
            "call it on every rank for the same step, with the same program, parameters and inputs; an input that only "
            "some images have is given on every rank, with a mask or NaN where there is none",
            "to evaluate it on one rank, write `with loss_fn.alone():` around the call",
            notes=notes,
        )


class Call(NamedTuple):
    """What ranks compare of a call: the step, and in words everything that decides its terms and values.

    ``images`` and ``gaussians`` are this rank's numbers of them.
    """

    step: int
    max_steps: int
    decides: tuple[str, ...]
    has_mask: bool
    images: int
    gaussians: int


class Agreed(NamedTuple):
    """What follows for all ranks: whether any of them has a mask, and the sizes of the whole batch by letter."""

    has_mask: bool
    sizes: dict[str, float]


def ranks_of(given: Ranks | str | None) -> Ranks | None:
    """The argument ``ranks`` of `load`.

    Raises:
        LossError: RUN018, it is none of these.
    """
    if given == "auto":
        return Ranks()
    if given is None or isinstance(given, Ranks):
        return given
    raise disagreement(f"`ranks` is {given!r}", 'it is "auto", None, or a `splatdsl.runtime.ranks.Ranks`')


def joined(
    ranks: Ranks, parts: Parts, given: Mapping[str, Any], step: int, max_steps: int, group: str | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """The arguments of a call on one of several ranks, with a mask if any of them has one, and sizes of the batch.

    Raises:
        LossError: RUN018, the ranks call the loss in different ways; RUN019, one is gone.
    """
    find, host = parts.binder.lookup.find, parts.binder.host_values(given)
    present = sorted(parts.present(given) - {"mask"})
    frames = next((x for name in ("rendered", "target") if isinstance(x := given[name], Tensor)), None)
    means = find("state.means", given)
    decides = (
        f"program {_digest(parts.program.source.text)}",
        f"parameters {[(name, info.value) for name, info in parts.program.params.items()]}",
        f"inputs {', '.join(present)}",
        f"numbers {sorted((k, v) for k, v in host.items() if k not in DIVIDED)}",
        f"lists {sorted(parts.lengths(given).items())}",
        f"term group {group}",
        f"gradients of {', '.join(_carrying(given)) if torch.is_grad_enabled() else 'nothing'}",
        f"images in {'nothing' if frames is None else str(frames.dtype).removeprefix('torch.')}",
    )
    images = 0 if frames is None else len(frames) if frames.dim() > 3 else 1
    counted = len(means) if isinstance(means, Tensor) and means.dim() else 0
    agreed = ranks.agree(Call(step, max_steps, decides, given["mask"] is not None, images, counted))
    ranks.compare_gaussians(means)
    if agreed.has_mask and given["mask"] is None and frames is not None:
        given = {**given, "mask": parts.binder.ones(given)}
    return dict(given), {k: v for k, v in agreed.sizes.items() if k in host}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _carrying(given: Mapping[str, Any]) -> list[str]:
    """The arguments of a call that carry gradients."""
    found = []
    for name, value in given.items():
        inner = getattr(value, "params", value)
        several = inner.values() if isinstance(inner, Mapping) else [inner]
        if any(isinstance(x, Tensor) and x.requires_grad for x in several):
            found.append(name)
    return sorted(found)
