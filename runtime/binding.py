"""Tensors of a call to inputs of a graph, checked once for every new combination of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.inputs import BY_NAME
from ..dsl.live import where_read
from ..dsl.typed import TypedProgram

PAYLOAD_FIELDS = {
    "alpha": ("alpha", "alphas", "render_alphas"),
    "depth": ("depth", "depths_expected", "depths"),
    "depth.accumulated": ("depths_accumulated",),
    "radii": ("radii",),
    "visible": ("visible",),
}
STATE_SHAPES = {"means": 3, "scales": 3, "quats": 4, "opacities": 1, "sh0": 3, "shN": -1}


class Binder:
    """Binds the tensors of calls of one program; with a device, only tensors on it."""

    def __init__(self, program: TypedProgram, device: torch.device | None = None) -> None:
        self.program = program
        self.device = device
        self._checked: set[tuple[Any, ...]] = set()
        self._window = max(
            (e.builtin.window for t in program.terms for e in t.value.walk() if e.op == "call"), default=1
        )

    def bind(self, names: frozenset[str] | tuple[str, ...], given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Tensors by input name, `[B, H, W, k]` and `[N, k]`, in one floating dtype.

        Args:
            names: graph inputs that are needed, such as "rendered" or "state.scales".
            given: what the caller passed: rendered, target, mask, state, render, and buffers by name.

        Raises:
            LossError: an input is missing or does not fit.
        """
        found: dict[str, Tensor] = {}
        for name in names:
            value = self._find(name, given)
            if value is None:
                raise LossError([self._missing(name, given)])
            if not isinstance(value, Tensor):
                raise LossError([self._problem("BND002", name, f"`{name}` must be a torch tensor, not {_name(value)}")])
            found[name] = self._shape(name, value)
        signature = tuple(
            (n, t.shape if t.dim() == 4 else t.shape[1:], t.dtype, t.device) for n, t in sorted(found.items())
        )
        rows = {t.shape[0] for t in found.values() if t.dim() == 2}  # changes with densification, so not in the key
        if signature not in self._checked or len(rows) > 1:
            self._check(found)
            self._checked.add(signature)
        dtype = torch.float64 if any(t.dtype == torch.float64 for t in found.values()) else torch.float32
        return {n: t.to(dtype).contiguous() for n, t in found.items()}

    # Finding

    def _find(self, name: str, given: Mapping[str, Any]) -> Any:
        if name in ("rendered", "target", "mask"):
            return given.get(name)
        render = given.get("render")
        if name.startswith("state."):
            state = given.get("state")
            if state is None:
                return None
            params = getattr(state, "params", state)
            field = name.partition(".")[2]
            try:
                return params[field]
            except (KeyError, TypeError, IndexError):
                return None
        if given.get(name) is not None:
            return given[name]
        if name == "visible" and _read(render, "visible") is None:
            radii = given.get("radii")
            return _visible(radii if radii is not None else _read(render, "radii"))
        for field in PAYLOAD_FIELDS[name]:
            value = _read(render, field)
            if value is not None:
                return value
        if name == "depth":
            accumulated, alpha = _read(render, "depths_accumulated"), self._find("alpha", given)
            if accumulated is not None and alpha is not None:
                return accumulated / alpha.clamp(min=1e-10)
        return None

    # Shapes

    def _shape(self, name: str, x: Tensor) -> Tensor:
        if name.startswith("state.") or name == "visible":
            components = STATE_SHAPES.get(name.partition(".")[2], 1)
            flat = x  # rows of nothing have no width that could be asked for
            if x.dim():
                flat = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, max(components, 1))
            if x.dim() == 0 or (components > 0 and flat.shape[1] != components):
                wanted = "[N]" if components == 1 else f"[N, {components}]"
                message = f"`{name}` must have shape {wanted}, but has {_shape(x)}"
                raise LossError([self._problem("BND002", name, message)])
            return flat if flat.is_floating_point() else flat.to(torch.float32)
        components = BY_NAME[name].kind.components
        if name == "mask" and x.dim() in (2, 3) and not (x.dim() == 3 and x.shape[-1] == 1 and x.shape[0] != 1):
            x = x.unsqueeze(-1)
        if x.dim() == 3:
            x = x.unsqueeze(0)
        if x.dim() == 4 and x.shape[1] == components and x.shape[-1] != components:
            message = f"`{name}` must have shape [B, H, W, {components}], but has {_shape(x)}"
            raise LossError(
                [
                    self._problem(
                        "BND002", name, message, f"it looks like [B, {components}, H, W]: use x.permute(0, 2, 3, 1)"
                    )
                ]
            )
        if x.dim() != 4 or x.shape[-1] != components:
            wanted = "[B, H, W]" if name == "mask" else f"[B, H, W, {components}]"
            raise LossError([self._problem("BND002", name, f"`{name}` must have shape {wanted}, but has {_shape(x)}")])
        if not x.is_floating_point():
            if name == "mask" and x.dtype == torch.bool:
                return x.to(torch.float32)
            message = f"`{name}` must be floating point in 0..1, but is {_dtype(x)}"
            raise LossError([self._problem("BND003", name, message, _convert(name, x))])
        return x

    # Checks that are made once per signature; they may wait for the device.

    def _check(self, tensors: Mapping[str, Tensor]) -> None:
        findings: list[Diagnostic] = []
        devices = {n: t.device for n, t in tensors.items()}
        if len(set(devices.values())) > 1:
            shown = ", ".join(f"`{n}` on {d}" for n, d in devices.items())
            findings.append(self._problem("BND004", next(iter(devices)), f"inputs are on different devices: {shown}"))
        elif self.device is not None and devices and not _is_on(next(iter(devices.values())), self.device):
            found = next(iter(devices.values()))
            message = f"this loss was made for the device {self.device}, but its inputs are on {found}"
            findings.append(self._problem("BND004", next(iter(devices)), message, "leave out `device=` to follow them"))
        images = {n: t for n, t in tensors.items() if t.dim() == 4}
        findings += self._agree(images, "the image size", lambda t: tuple(t.shape[:3]))
        rows = {n: t for n, t in tensors.items() if t.dim() == 2}
        findings += self._agree(rows, "the number of gaussians", lambda t: (t.shape[0],))
        for name, image in images.items():
            if min(image.shape[1:3]) < self._window:
                size = f"{image.shape[2]}x{image.shape[1]}"
                message = f"`{name}` is {size} pixels, but SSIM needs at least {self._window}x{self._window}"
                findings.append(self._problem("BND006", name, message, "train on larger images, or drop the SSIM term"))
                break
        for name in ("target", "mask"):
            if name in images and not findings:
                findings += self._in_unit_range(name, images[name])
        if findings:
            raise LossError(findings)

    def _agree(self, tensors: Mapping[str, Tensor], what: str, of: Any) -> list[Diagnostic]:
        sizes = {n: of(t) for n, t in tensors.items()}
        if len(set(sizes.values())) <= 1:
            return []
        first = next(iter(sizes))
        other = next(n for n in sizes if sizes[n] != sizes[first])
        shown = [f"{what} of `{n}` is {' x '.join(str(v) for v in s)}" for n, s in sizes.items()]
        message = f"`{first}` and `{other}` differ in {what}: {_sizes(sizes[first])} and {_sizes(sizes[other])}"
        return [self._problem("BND002", other, message, notes=shown)]

    def _in_unit_range(self, name: str, x: Tensor) -> list[Diagnostic]:
        low, high = (float(v) for v in torch.aminmax(x.detach())) if x.numel() else (0.0, 0.0)
        if low >= -1e-3 and high <= 1 + 1e-3:
            return []
        help_ = "divide it by 255" if high > 2 else "clamp it to 0..1"
        return [self._problem("BND005", name, f"`{name}` must be in 0..1, but goes from {low:g} to {high:g}", help_)]

    # Words

    def _missing(self, name: str, given: Mapping[str, Any]) -> Diagnostic:
        fixed = name.partition(".")[0]
        if name.startswith("state."):
            if given.get("state") is None:
                return self._problem(
                    "BND001", name, "this loss reads `state`, but the call gave none", "pass state=..."
                )
            field = name.partition(".")[2]
            return self._problem("BND001", name, f"the state has no parameter `{field}`, which this loss reads")
        help_ = f"pass {fixed}=..."
        if name in PAYLOAD_FIELDS:
            help_ = f"pass render= a payload that has it, or {fixed}=..., and ask the renderer for it"
        elif name == "mask":
            help_ = "pass mask=..., or write `masked`, which is everywhere when the item has no mask"
        return self._problem("BND001", name, f"this loss reads `{name}`, but the call gave none", help_)

    def _problem(
        self, code: str, name: str, message: str, help: str = "", notes: list[str] | None = None
    ) -> Diagnostic:
        source, span = where_read(self.program, name)
        return Diagnostic(code, message, source, span, notes=notes or [], help=[help] if help else [])


def _is_on(found: torch.device, wanted: torch.device) -> bool:
    return found.type == wanted.type and wanted.index in (None, found.index)


def _read(render: Any, field: str) -> Any:
    if render is None:
        return None
    if isinstance(render, Mapping):
        return render.get(field)
    return getattr(render, field, None)


def _visible(radii: Any) -> Any:
    """`[N]` from radii `[B, N, 2]`, `[B, N]` or `[N]`: 1 where a gaussian is drawn in any view."""
    if not isinstance(radii, Tensor):
        return None
    drawn = radii > 0
    if drawn.dim() == 3:
        drawn = drawn.all(dim=-1)
    return (drawn.any(dim=0) if drawn.dim() == 2 else drawn).to(torch.float32)


def _name(value: object) -> str:
    return type(value).__name__


def _shape(x: Tensor) -> str:
    return "[" + ", ".join(str(s) for s in x.shape) + "]"


def _sizes(s: tuple[int, ...]) -> str:
    return " x ".join(str(v) for v in s)


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _convert(name: str, x: Tensor) -> str:
    return (
        "convert it: mask.bool()" if name == "mask" else "convert it: x.float() / 255" if x.dtype == torch.uint8 else ""
    )
