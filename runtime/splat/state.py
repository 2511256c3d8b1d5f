"""Gaussians in training: parameters with one Adam each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, ParameterDict
from torch.optim import Adam

from ..data.problems import data_error
from .model import PARAMETERS, SplatModel
from .optimizers import can_skip, is_selective, make_optimizers, restore_optimizer, step_all

# Learning rates of gsplat's simple_trainer; that of the means is multiplied by the scene's scale.
LEARNING_RATES = {
    "means": 1.6e-4,
    "scales": 5e-3,
    "quats": 1e-3,
    "opacities": 5e-2,
    "sh0": 2.5e-3,
    "shN": 2.5e-3 / 20,
}


class SplatTrainingState:
    """Raw parameters and their optimisers, in the form that gsplat's densification strategies change in place.

    Attributes:
        params: `ParameterDict` of ``means [N, 3]``, ``scales [N, 3]`` (log), ``quats [N, 4]`` (wxyz),
            ``opacities [N]`` (logit), ``sh0 [N, 1, 3]``, ``shN [N, K - 1, 3]``.
        optimizers: one Adam a parameter, by the same names.
        sh_degree: degree of the spherical harmonics that the parameters hold.
    """

    def __init__(
        self,
        model: SplatModel,
        scene_scale: float = 1.0,
        device: torch.device | str = "cpu",
        learning_rates: Mapping[str, float] | None = None,
        optimizer: str = "auto",
    ) -> None:
        unknown = sorted(set(learning_rates or {}) - set(PARAMETERS))
        if unknown:
            raise data_error(
                "DAT015",
                f"there is no learning rate for {', '.join(unknown)}",
                "<learning rates>",
                help=(f"the parameters are {', '.join(PARAMETERS)}",),
            )
        device = torch.device(device)
        self.params = ParameterDict(
            {name: Parameter(value.to(device, copy=True)) for name, value in model.parameters().items()}
        )
        rates = {**LEARNING_RATES, **(learning_rates or {})}
        rates["means"] *= scene_scale
        rates = {name: rates[name] for name in PARAMETERS}
        self.optimizers: dict[str, Adam] = make_optimizers(self.params, rates, optimizer, device)
        self.sh_degree = model.sh_degree

    @classmethod
    def from_splat_model(
        cls,
        model: SplatModel,
        scene_scale: float = 1.0,
        device: torch.device | str = "cpu",
        learning_rates: Mapping[str, float] | None = None,
        optimizer: str = "auto",
    ) -> SplatTrainingState:
        """A state that starts from a model, which is copied.

        Args:
            model: where to start.
            scene_scale: the data provider's; the learning rate of the means is proportional to it.
            device: where parameters and moments live.
            learning_rates: by parameter, over those of gsplat's trainer (that of the means before scaling).
            optimizer: one of `optimizers.OPTIMIZERS`.

        Raises:
            LossError: a learning rate for something that is no parameter; RUN007, the optimiser cannot run there.
        """
        return cls(model, scene_scale, device, learning_rates, optimizer)

    def to_splat_model(self) -> SplatModel:
        """A copy on the CPU."""
        return SplatModel.from_parameters({name: self.params[name].detach().clone() for name in PARAMETERS})

    def _raw(self, name: str) -> Tensor:
        parameter: Tensor = self.params[name]
        return parameter

    @property
    def num_gaussians(self) -> int:
        """N, which densification changes."""
        return len(self._raw("means"))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._raw("means").device

    @property
    def means(self) -> Tensor:
        """Centres `[N, 3]`, scene units."""
        return self._raw("means")

    @property
    def scales(self) -> Tensor:
        """Standard deviations along the axes `[N, 3]`, > 0, scene units."""
        return torch.exp(self._raw("scales"))

    @property
    def opacities(self) -> Tensor:
        """Opacities `[N]`, in (0, 1)."""
        return torch.sigmoid(self._raw("opacities"))

    @property
    def quats(self) -> Tensor:
        """Rotations `[N, 4]` as w, x, y, z, of unit length."""
        return torch.nn.functional.normalize(self._raw("quats"), dim=-1)

    @property
    def sh0(self) -> Tensor:
        """The constant spherical harmonic `[N, 1, 3]`."""
        return self._raw("sh0")

    @property
    def shN(self) -> Tensor:
        """The other spherical harmonics `[N, K - 1, 3]`."""
        return self._raw("shN")

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    @property
    def is_selective(self) -> bool:
        """Whether a step moves only gaussians that are visible."""
        return is_selective(self.optimizers["means"])

    @property
    def can_skip(self) -> bool:
        """Whether `step` takes ``finite``, see there."""
        return can_skip(self.optimizers)

    def step(self, visible: Tensor | None = None, finite: Tensor | None = None) -> None:
        """One step of every optimiser.

        Args:
            visible: `[N]` bool, the gaussians that a selective optimiser moves; None: all.
            finite: 0-d bool on the device: where it is False nothing changes; only where `can_skip`.
        """
        step_all(self.optimizers, visible, finite)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continued run needs, for ``torch.save``. Tensors are copies, on the state's device."""
        return {
            "sh_degree": self.sh_degree,
            "params": {name: self.params[name].detach().clone() for name in PARAMETERS},
            "optimizers": {name: _copied(self.optimizers[name].state_dict()) for name in PARAMETERS},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, bit for bit, whatever N was here and there.

        The optimiser objects and the `ParameterDict` stay the same objects; the parameters in them are new.

        Raises:
            LossError: the saved state is incomplete, or of another degree of spherical harmonics.
        """
        missing = [part for part in ("sh_degree", "params", "optimizers") if part not in state]
        if missing:
            raise data_error("DAT018", f"the saved state has no {', '.join(missing)}", "<training state>")
        for part in ("params", "optimizers"):
            if set(state[part]) != set(PARAMETERS):
                names = ", ".join(sorted(state[part]))
                raise data_error(
                    "DAT018", f"the saved {part} are {names}, not {', '.join(PARAMETERS)}", "<training state>"
                )
        if state["sh_degree"] != self.sh_degree:
            raise data_error(
                "DAT018",
                f"the saved state has spherical harmonics of degree {state['sh_degree']}, this one {self.sh_degree}",
                "<training state>",
                help=(f"continue with sh_degree={state['sh_degree']}",),
            )
        restored = SplatModel.from_parameters(state["params"])  # checks the shapes before anything changes here
        device = self.device
        for name, value in restored.parameters().items():
            self.params[name] = Parameter(value.to(device, copy=True))
            # load_state_dict keeps references to the tensors that it is given where device and type agree.
            restore_optimizer(self.optimizers[name], self.params[name], _copied(state["optimizers"][name]))


def _copied(value: Any) -> Any:
    """A copy of nested containers and of the tensors in them."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    return value
