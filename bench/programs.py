"""The programs of the suite: the text of each, its inputs at a size, and what it is compared with.

A variant is built only when it is asked for: building may compile.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..runtime.loading import compile as compile_loss
from . import peers
from .harness import Call, training_step

OURS = "splatdsl"
EAGER = "by hand, eager"
BY_COMPILER = "by hand, torch.compile"
FLOOR = "memory floor"

PIXELS, GAUSSIANS = "pixels", "gaussians"


class Size(NamedTuple):
    """How large the inputs are; a program uses one of the two."""

    height: int = 540
    width: int = 960
    gaussians: int = 100_000

    def of(self, over: str) -> str:
        """As it is printed: ``540x960`` or ``1e5``."""
        if over == PIXELS:
            return f"{self.height}x{self.width}"
        digits = int(math.log10(self.gaussians)) if self.gaussians else 0
        short = f"{self.gaussians / 10**digits:g}e{digits}"
        return short if float(short) == self.gaussians and digits > 3 else str(self.gaussians)


class Settings(NamedTuple):
    """How variants are built.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        backend: of `torch.compile`, for ours and for the lines by hand; ``"eager"`` compiles nothing.
        kernels: which route of ours computes windows; ``"auto"`` lets it choose.
    """

    device: str = "cpu"
    backend: str = "inductor"
    kernels: str = "auto"


class Inputs(NamedTuple):
    """Tensors of one step: those that want a gradient, the others, and the arguments of a call of ours."""

    leaves: dict[str, Tensor]
    constants: dict[str, Tensor]
    given: dict[str, Any]

    def tensor(self, name: str) -> Tensor:
        """By name, whichever it is."""
        return self.leaves[name] if name in self.leaves else self.constants[name]


Loss = Callable[[], Tensor]
Build = Callable[[Inputs, Settings], Loss]


class Peer(NamedTuple):
    """Another way to the number of a program.

    Attributes:
        name: as tables show it.
        build: makes it, ready to call.
        same: False: it computes another number by design, and is timed without a comparison of values.
        missing: why it cannot run with these settings: "" if it can, None if nobody expects it to.
    """

    name: str
    build: Build
    same: bool = True
    missing: Callable[[Settings], str | None] = lambda settings: ""


class Program(NamedTuple):
    """A row of the suite.

    Attributes:
        name: for ``--only``.
        title: one line for tables.
        text: the program of ours.
        over: what its size counts.
        inputs: makes its tensors.
        peers: what it is compared with.
        step: at which step it is called.
    """

    name: str
    title: str
    text: str
    over: str
    inputs: Callable[[Size, str], Inputs]
    peers: tuple[Peer, ...]
    step: int = 0

    def variants(self, settings: Settings) -> tuple[str, ...]:
        """The names of what can be measured with these settings, ours first."""
        return (OURS, *(p.name for p in self.peers if p.missing(settings) == ""), FLOOR)

    def missing(self, settings: Settings) -> list[str]:
        """Of each peer that should be here and is not, why."""
        return [f"without `{p.name}`: {why}" for p in self.peers if (why := p.missing(settings))]

    def build(self, name: str, inputs: Inputs, settings: Settings) -> Call:
        """One variant, ready to run; its first call compiles."""
        if name == FLOOR:
            return Call(floor(inputs), {}, same=False)
        if name == OURS:
            return Call(training_step(ours(self.text, inputs, settings, self.step), inputs.leaves), inputs.leaves)
        peer = next(p for p in self.peers if p.name == name)
        return Call(training_step(peer.build(inputs, settings), inputs.leaves), inputs.leaves, peer.same)


def takes_kernels() -> bool:
    """Whether the route of window kernels can be chosen by hand."""
    return "kernels" in inspect.signature(compile_loss).parameters


def compiled_loss(text: str, settings: Settings) -> Any:
    """Our loss of a program's text, as a user makes it."""
    choice: dict[str, Any] = {"kernels": settings.kernels} if takes_kernels() else {}
    return compile_loss(text, backend=settings.backend, **choice)


def ours(text: str, inputs: Inputs, settings: Settings, step: int) -> Loss:
    """Our loss of these inputs."""
    loss_fn = compiled_loss(text, settings)
    return lambda: loss_fn(**inputs.given, step=step)


def floor(inputs: Inputs) -> Callable[[], None]:
    """What moving the tensors costs: each leaf read once with its partner, if it has one, and one tensor written.

    A partner is an input of the same shape without a gradient, such as the target of a render.
    """
    waiting = list(inputs.constants.values())
    pairs = []
    for leaf in inputs.leaves.values():
        partner = next((c for c in waiting if c.shape == leaf.shape), None)
        waiting = [c for c in waiting if c is not partner]
        pairs.append((leaf.detach(), partner, torch.empty_like(leaf.detach())))

    def run() -> None:
        for leaf, partner, out in pairs:
            if partner is None:
                torch.mul(leaf, 0.5, out=out)
            else:
                torch.sub(leaf, partner, out=out)

    return run


def by_hand(function: Callable[..., Tensor], *names: str, window: bool = False) -> tuple[Peer, Peer]:
    """The same lines twice, eager and under `torch.compile`, with inputs by name."""

    def arguments(inputs: Inputs, settings: Settings) -> list[Tensor]:
        found = [inputs.tensor(name) for name in names]
        return [*found, peers.gaussian_window(device=settings.device)] if window else found

    def eager(inputs: Inputs, settings: Settings) -> Loss:
        given = arguments(inputs, settings)
        return lambda: function(*given)

    def compiled(inputs: Inputs, settings: Settings) -> Loss:
        given = arguments(inputs, settings)
        call = torch.compile(function, fullgraph=True, backend=settings.backend)
        return lambda: call(*given)

    return Peer(EAGER, eager), Peer(BY_COMPILER, compiled)


def fused(padding: str) -> Peer:
    """A package with a fused SSIM kernel; only on CUDA."""

    def missing(settings: Settings) -> str | None:
        if not settings.device.startswith("cuda"):
            return None
        return "" if peers.fused_package() else "neither fused_ssim nor fussim works here; pip install 'splatdsl[cuda]'"

    def build(inputs: Inputs, settings: Settings) -> Loss:
        package = peers.fused_package()
        assert package is not None
        return lambda: peers.photometric_fused(inputs.tensor("rendered"), inputs.tensor("target"), package[1], padding)

    return Peer("F.l1_loss + fused_ssim", build, missing=missing)


def msssim() -> Peer:
    """The package pytorch-msssim."""

    def missing(settings: Settings) -> str:
        return "" if find_spec("pytorch_msssim") else "it is not installed; pip install 'splatdsl[bench]'"

    def build(inputs: Inputs, settings: Settings) -> Loss:
        from pytorch_msssim import SSIM

        ssim = SSIM(data_range=1.0, size_average=True, channel=3).to(settings.device)
        return lambda: peers.photometric_msssim(inputs.tensor("rendered"), inputs.tensor("target"), ssim)

    return Peer("F.l1_loss + pytorch-msssim", build, missing=missing)


def unmasked(inputs: Inputs, settings: Settings) -> Loss:
    """Our photometric loss of the same images without their mask."""
    given = {name: value for name, value in inputs.given.items() if name != "mask"}
    return ours("term photometric = photometric()", inputs._replace(given=given), settings, 0)


def images(size: Size, device: str, *more: str) -> Inputs:
    """A render and a target with noise; ``more`` names further inputs, of which ``mask`` keeps about 60 %."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, size.height, size.width)

    def rand(channels: int) -> Tensor:
        return torch.rand(*shape, channels, generator=generator).to(device)

    leaves = {"rendered": rand(3).requires_grad_()}
    constants = {"target": rand(3)}
    if "mask" in more:
        constants["mask"] = (rand(1) < 0.6).float()
    if "normals" in more:
        for name in ("normals", "normals_from_depth"):
            leaves[name] = torch.nn.functional.normalize(rand(3) - 0.5, dim=-1).requires_grad_()
        leaves["distortion"] = rand(1).requires_grad_()
        constants["alpha"] = rand(1)
    if "depth" in more:
        leaves = {"depth": (0.5 + 4 * rand(1)).requires_grad_()}
        constants = {"sensor": torch.where(rand(1) < 0.8, 0.5 + 4 * rand(1), 0), "mask": (rand(1) < 0.6).float()}
    given = {**leaves, **constants}
    if "mask" in given:
        given["mask"] = given["mask"].squeeze(-1)
    return Inputs(leaves, constants, given)


def gaussians(size: Size, device: str) -> Inputs:
    """Raw parameters of gaussians, as trainers hold them."""
    generator = torch.Generator().manual_seed(0)
    n = size.gaussians
    made = {"opacities": torch.randn(n, generator=generator), "scales": torch.randn(n, 3, generator=generator) - 4}
    leaves: dict[str, Tensor] = {name: torch.nn.Parameter(t.to(device)) for name, t in made.items()}
    return Inputs(leaves, {}, {"state": leaves})


SURFACE = """term photometric = photometric()
term normals = 0.05 * normal_consistency() when after(step, 7_000)
term distortion = 100 * mean(distortion) when after(step, 3_000)
"""

PROGRAMS = (
    Program(
        "photometric",
        "0.8 L1 + 0.2 (1 - SSIM), zero padding",
        "term photometric = photometric()",
        PIXELS,
        images,
        (*by_hand(peers.photometric, "rendered", "target", window=True), fused("same")),
    ),
    Program(
        "photometric-valid",
        "0.8 L1 + 0.2 (1 - SSIM) without a border of 5 pixels, as the packages compute it",
        'term photometric = photometric(padding="valid")',
        PIXELS,
        images,
        (*by_hand(peers.photometric_valid, "rendered", "target", window=True), msssim(), fused("valid")),
    ),
    Program(
        "masked",
        "photometric over a mask of 60 % of the pixels",
        "term photometric = photometric(masked)",
        PIXELS,
        lambda size, device: images(size, device, "mask"),
        (
            *by_hand(peers.masked_photometric, "rendered", "target", "mask", window=True),
            Peer("splatdsl, unmasked", unmasked, same=False),
        ),
    ),
    Program(
        "combined",
        "splatkit's documented CombinedLoss: L1 over a mask, SSIM of the whole image without its border",
        'term l1 = 0.8 * l1(masked)\nterm ssim = 0.2 * ssim_loss(everywhere, padding="valid")',
        PIXELS,
        lambda size, device: images(size, device, "mask"),
        by_hand(peers.splatkit_combined, "rendered", "target", "mask", window=True),
    ),
    Program(
        "2dgs-early",
        "2DGS at step 0: its geometry terms have not started",
        SURFACE,
        PIXELS,
        images,
        by_hand(peers.photometric, "rendered", "target", window=True),
    ),
    Program(
        "2dgs",
        "2DGS at step 10,000: photometric, normal consistency and distortion",
        SURFACE,
        PIXELS,
        lambda size, device: images(size, device, "normals"),
        by_hand(
            peers.surface, "rendered", "target", "alpha", "normals", "normals_from_depth", "distortion", window=True
        ),
        step=10_000,
    ),
    Program(
        "depth",
        "L1 of 1 / depth against a sensor with holes, masked",
        "input sensor: depth[metric, sparse]\nterm depth = 0.1 * disparity_l1(depth, sensor, masked)",
        PIXELS,
        lambda size, device: images(size, device, "depth"),
        by_hand(peers.disparity, "depth", "sensor", "mask"),
    ),
    Program(
        "mcmc",
        "mean opacity and mean scale of the gaussians",
        "term opacity = 0.01 * opacity_reg(state)\nterm scale = 0.01 * scale_reg(state)",
        GAUSSIANS,
        gaussians,
        by_hand(peers.mcmc, "opacities", "scales"),
    ),
)


def terms(count: int) -> tuple[str, tuple[float, ...]]:
    """A program of so many Huber terms, each with a width of its own, and the widths."""
    deltas = tuple(round(0.9 * (i + 1) / (count + 1), 6) for i in range(count))
    lines = [f"term t{i} = {1 / (i + 1)!r} * huber(delta={delta!r})" for i, delta in enumerate(deltas)]
    return "\n".join(lines), deltas
