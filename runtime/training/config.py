"""Settings of a training run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source
from ..splat.optimizers import OPTIMIZERS, resolve_optimizer
from ..splat.state import LEARNING_RATES

BACKGROUNDS = ("black", "white", "random")
STRATEGIES = ("default", "mcmc", "none")

# What may differ when a run is resumed: it changes what is recorded and how fast, never the numbers.
FREE_FIELDS = frozenset(
    {
        *("output", "eval_every", "log_every", "checkpoint_every", "keep_checkpoints"),
        *("images", "tensorboard", "num_workers", "device"),
    }
)


def training_error(code: str, message: str, *, help: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> LossError:
    """The exception for a finding about the run itself, which has no place in a program."""
    return LossError([Diagnostic(code, message, Source("", "<training>"), None, help=help, notes=notes)])


@dataclass
class SplatTrainerConfig:
    """Settings of `SplatTrainer`; names and defaults are splatkit's, as far as splatkit has them.

    Attributes:
        max_steps: number of optimisation steps; they count from 0.
        batch_size: images a step.
        sh_degree: highest degree of spherical harmonics, 0 to 4.
        sh_degree_interval: steps after which one more degree is used; training starts at 0.
        init_opacity: opacity of new gaussians, 0..1.
        init_scale: factor on their initial size.
        num_workers: how many steps ahead items are loaded, in a thread; 0 loads within the step. None: 2 on CUDA and
            0 elsewhere.
        optimizer: ``"auto"`` (``"fused"`` on CUDA, ``"adam"`` elsewhere), ``"adam"``, ``"fused"`` or ``"selective"``,
            see `splat.optimizers`.
        exposure: whether an affine correction of colours is trained for each training view.
        bilateral_grid: whether a bilateral grid of such corrections is trained for each training view.
        global_scale: factor on the scene scale, which learning rates and densification are relative to.
        seed: every random number of the run follows from it and from the step.
        eval_every: steps between two evaluations on the held-out views; 0: before the first step and after the last.
        log_every: steps between two rows of ``metrics.jsonl``.
        checkpoint_every: steps between two checkpoints; 0: only before the first step and after the last.
        output: folder for everything that the run writes; None: nothing is written.
        strategy: densification: ``"default"``, ``"mcmc"``, ``"none"`` or a gsplat ``Strategy`` object.
        max_gaussians: densification adds none beyond this number; None: a million with ``"mcmc"``, else no limit.
        lr: factors on the learning rates of gsplat's trainer, by parameter; 0 freezes it.
        keep_checkpoints: how many checkpoints are kept, newest first; 0: all.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...
        background: what renders are composited on; ``"random"`` draws one colour a training image and is black in
            evaluations.
        images: whether evaluations write pictures; a number: of so many views at most (True: 8).
        tensorboard: whether scalars are written for TensorBoard too.
        refine_start_iter: first step after which gaussians are added and removed. None, here and below: the
            proportion of gsplat's defaults, which are made for 30,000 steps.
        refine_stop_iter: the step at which that ends.
        refine_every: steps between two refinements.
        reset_every: steps between two resets of the opacities; None in a run of fewer than 10,000 steps: never,
            since it would have no time to recover.
    """

    max_steps: int
    batch_size: int = 1
    sh_degree: int = 3
    sh_degree_interval: int = 1000
    init_opacity: float = 0.1
    init_scale: float = 1.0
    num_workers: int | None = None
    global_scale: float = 1.0
    seed: int = 0
    eval_every: int = 0
    log_every: int = 10
    checkpoint_every: int = 100
    output: Any = None
    strategy: Any = "default"
    max_gaussians: int | None = None
    lr: Mapping[str, float] = field(default_factory=dict)
    keep_checkpoints: int = 2
    device: str = "auto"
    background: str = "black"
    images: bool | int = True
    tensorboard: bool = True
    refine_start_iter: int | None = None
    refine_stop_iter: int | None = None
    refine_every: int | None = None
    reset_every: int | None = None
    optimizer: str = "auto"
    exposure: bool = False
    bilateral_grid: bool = False

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            LossError: RUN003, one finding for each setting that has a value it cannot have.
        """
        findings = [
            Diagnostic("RUN003", f"`{name}` is {value!r}, but must be {expected}", Source("", "<training>"), None)
            for name, value, expected in self._wrong()
        ]
        if findings:
            raise LossError(findings)

    def _wrong(self) -> list[tuple[str, Any, str]]:
        wrong: list[tuple[str, Any, str]] = []

        def number(name: str, low: float, *, high: float | None = None, whole: bool = True) -> None:
            value = getattr(self, name)
            kinds = (int,) if whole else (int, float)
            inside = isinstance(value, kinds) and not isinstance(value, bool) and value >= low
            if not inside or (high is not None and value > high):
                limits = f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"
                wrong.append((name, value, f"a {'whole ' if whole else ''}number, {limits}"))

        for name in ("max_steps", "batch_size", "sh_degree_interval", "log_every"):
            number(name, 1)
        for name in ("num_workers", "seed", "eval_every", "checkpoint_every", "keep_checkpoints"):
            if name != "num_workers" or self.num_workers is not None:
                number(name, 0)
        number("sh_degree", 0, high=4)
        for name in ("refine_start_iter", "refine_stop_iter"):
            if getattr(self, name) is not None:
                number(name, 0)
        for name in ("refine_every", "reset_every", "max_gaussians"):
            if getattr(self, name) is not None:
                number(name, 1)
        for name, high in (("init_opacity", 1.0), ("init_scale", None), ("global_scale", None)):
            number(name, 0.0, high=high, whole=False)
            if getattr(self, name) == 0 or (name == "init_opacity" and self.init_opacity == 1):
                wrong.append((name, getattr(self, name), "above 0" + (" and below 1" if high else "")))
        if self.background not in BACKGROUNDS:
            wrong.append(("background", self.background, "one of " + ", ".join(map(repr, BACKGROUNDS))))
        if self.optimizer not in OPTIMIZERS:
            wrong.append(("optimizer", self.optimizer, "one of " + ", ".join(map(repr, OPTIMIZERS))))
        for name in ("exposure", "bilateral_grid"):
            if not isinstance(getattr(self, name), bool):
                wrong.append((name, getattr(self, name), "True or False"))
        if isinstance(self.strategy, str) and self.strategy not in STRATEGIES:
            wrong.append(("strategy", self.strategy, "one of " + ", ".join(map(repr, STRATEGIES))))
        for name, factor in self.lr.items():
            if name not in LEARNING_RATES:
                wrong.append((f"lr.{name}", factor, "left out: the parameters are " + ", ".join(LEARNING_RATES)))
            elif not isinstance(factor, (int, float)) or isinstance(factor, bool) or not 0 <= factor < math.inf:
                wrong.append((f"lr.{name}", factor, "a number, at least 0"))
        if not isinstance(self.images, bool):
            number("images", 0)
        if not isinstance(self.device, str) or not re.fullmatch(r"[a-z]+(:\d+)?", self.device):
            wrong.append(("device", self.device, "'auto', 'cpu', 'cuda' or 'cuda:INDEX'"))
        return wrong

    @property
    def image_count(self) -> int:
        """How many views an evaluation makes pictures of, at most."""
        return (8 if self.images else 0) if isinstance(self.images, bool) else self.images

    def ahead(self, device: torch.device) -> int:
        """How many steps ahead items are loaded for a device."""
        if self.num_workers is not None:
            return self.num_workers
        return 2 if device.type == "cuda" else 0

    def describe(self) -> dict[str, Any]:
        """The settings as plain values that JSON can hold; a strategy object becomes its name and fields."""
        described = {f.name: getattr(self, f.name) for f in fields(self)}
        described["lr"] = dict(self.lr)
        described["output"] = None if self.output is None else str(self.output)
        if not isinstance(self.strategy, str):
            described["strategy"] = describe_object(self.strategy)
        return described

    def resolved(self, output: str, device: str) -> dict[str, Any]:
        """`describe` with nothing left to be looked up: what the run uses where a setting leaves it open.

        Args:
            output: the folder that is written to.
            device: the device that is trained on.
        """
        made = {**self.describe(), "output": output, "device": device, "images": self.image_count}
        made["lr"] = {name: float(self.lr.get(name, 1.0)) for name in LEARNING_RATES}
        made["num_workers"] = self.ahead(torch.device(device))
        made["optimizer"] = resolve_optimizer(self.optimizer, torch.device(device))
        if self.strategy == "none":
            unused = ("refine_start_iter", "refine_stop_iter", "refine_every", "reset_every", "max_gaussians")
            return {name: value for name, value in made.items() if name not in unused}
        if isinstance(self.strategy, str):  # an object has its own
            made.update(scaled_refinement(self))
        return made


def describe_object(value: Any) -> Any:
    """A plain description of a settings object: its class and those public attributes that are plain values."""
    if value is None:
        return None
    attributes = {
        name: attribute
        for name, attribute in sorted(vars(value).items())
        if not name.startswith("_") and (attribute is None or isinstance(attribute, (bool, int, float, str)))
    }
    return {"type": type(value).__name__, **attributes}


def scaled_refinement(config: SplatTrainerConfig) -> dict[str, int]:
    """The steps at which a strategy acts, with gaps filled in proportion to the length of the run.

    gsplat's defaults (start 500, stop 15,000, every 100, reset every 3,000) are for 30,000 steps. ``refine_every``
    does not fall below 100: at the start of a run most gradients are above the threshold, so refining more often would
    double the number of gaussians again and again before the optimiser has had time to lower them.
    """
    ratio = config.max_steps / 30_000
    reset = round(3000 * ratio) if config.max_steps >= 10_000 else config.max_steps + 1
    stop = 25_000 if config.strategy == "mcmc" else 15_000

    def pick(given: int | None, default: int) -> int:
        return default if given is None else given

    return {
        "refine_start_iter": pick(config.refine_start_iter, round(500 * ratio)),
        "refine_stop_iter": pick(config.refine_stop_iter, round(stop * ratio)),
        "refine_every": pick(config.refine_every, max(100, round(100 * ratio))),
        "reset_every": pick(config.reset_every, reset),
    }
