"""Tensors of a call to inputs of a graph, checked once for every new combination of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.inputs import BY_NAME
from ..dsl.interval import REALS, Interval
from ..dsl.live import where_read
from ..dsl.typed import InputInfo, TypedProgram
from ..dsl.types import FLAG, NUMBER, STEP

PAYLOAD_FIELDS = {
    "alpha": ("alpha", "alphas", "render_alphas"),
    "depth": ("depth", "depths_expected", "depths"),
    "depth.accumulated": ("depths_accumulated",),
    "depth.median": ("depths_median", "render_median"),
    "depth.inverse": ("depths_inverse",),
    "normals": ("normals", "render_normals"),
    "normals_from_depth": ("normals_from_depth", "surf_normals"),
    "distortion": ("distortion", "render_distort"),
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
        roots = [t.value for t in program.terms] + [t.when for t in program.terms if t.when is not None]
        self._sizes = sorted({e.value for root in roots for e in root.walk() if e.op == "size"})
        self._host_inputs = [info for info in program.inputs.values() if info.stage == STEP]
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
        if name in self.program.inputs:
            return None
        if name == "radii":
            radii = _read(render, "radii")
            return radii if not isinstance(radii, Tensor) else _largest(radii)
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
        info = self.program.inputs.get(name)
        kind = info.kind if info is not None else BY_NAME[name].kind if name in BY_NAME else None
        if kind is not None and kind == NUMBER:
            if x.numel() != 1:
                message = f"`{name}` must be a single number, but has {_shape(x)}"
                raise LossError([self._problem("BND002", name, message)])
            return x.reshape(()) if x.is_floating_point() else x.reshape(()).to(torch.float32)
        if name.startswith("state.") or name in ("visible", "radii") or (kind and kind.space == "gaussians"):
            components = STATE_SHAPES.get(name.partition(".")[2], 1) if info is None else int(info.kind.components)
            flat = x  # rows of nothing have no width that could be asked for
            if x.dim():
                flat = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, max(components, 1))
            if x.dim() == 0 or (components > 0 and flat.shape[1] != components):
                wanted = "[N]" if components == 1 else f"[N, {components}]"
                message = f"`{name}` must have shape {wanted}, but has {_shape(x)}"
                raise LossError([self._problem("BND002", name, message)])
            return flat if flat.is_floating_point() else flat.to(torch.float32)
        assert kind is not None
        components = int(kind.components)
        plain = name == "mask" or (info is not None and components == 1)
        if plain and x.dim() in (2, 3) and not (x.dim() == 3 and x.shape[-1] == 1 and x.shape[0] != 1):
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
            wanted = "[B, H, W]" if plain else f"[B, H, W, {components}]"
            raise LossError([self._problem("BND002", name, f"`{name}` must have shape {wanted}, but has {_shape(x)}")])
        if not x.is_floating_point():
            if kind.name == "region" and x.dtype == torch.bool:
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
        for name, info in self.program.inputs.items():
            if name in tensors and not findings:
                findings += self._in_declared_range(info, tensors[name])
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

    def _in_declared_range(self, info: InputInfo, x: Tensor) -> list[Diagnostic]:
        if info.range == REALS or not x.numel():
            return []
        finite = x.detach()[torch.isfinite(x.detach())]  # holes of a prior may be NaN: `valid` is their region
        if not finite.numel():
            return []
        low, high = (float(v) for v in torch.aminmax(finite))
        wide = Interval(info.range.lo - 1e-3, info.range.hi + 1e-3)  # open ends are the declared intent, not a bound
        if low in wide and high in wide:
            return []
        message = f"`{info.name}` is declared in {info.range}, but goes from {low:g} to {high:g}"
        return [self._problem("BND005", info.name, message, "change the declaration or the data")]

    # Sizes and host values

    def host_values(self, given: Mapping[str, Any], sizes: bool = True) -> dict[str, float | bool]:
        """The numbers and flags that the program takes from the host, and the sizes that it reads.

        Without ``sizes`` nothing is measured: only what is given by its letter counts.

        Raises:
            LossError: one is missing, or is not what the program declares.
        """
        values: dict[str, float | bool] = {}
        for info in self._host_inputs:
            value = given.get(info.name)
            if value is None:
                message = f"this loss reads `{info.name}`, but the call gave none"
                raise LossError([self._problem("BND001", info.name, message, f"pass {info.name}=...")])
            flag = info.kind == FLAG
            number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
            if isinstance(number, bool) != flag or not isinstance(number, (bool, int, float)):
                wanted = "true or false" if flag else "a number"
                message = f"`{info.name}` must be {wanted}, not {_name(value)}"
                raise LossError([self._problem("BND003", info.name, message)])
            if not flag and float(number) not in info.range:
                message = f"`{info.name}` is declared in {info.range}, but is {number:g}"
                raise LossError([self._problem("BND005", info.name, message)])
            values[info.name] = number if flag else float(number)
        for letter in self._sizes:
            if sizes:
                values[letter] = self._size(letter, given)
            elif letter in given:
                values[letter] = float(given[letter])
        return values

    def _size(self, letter: str, given: Mapping[str, Any]) -> float:
        if letter == "N":
            means = self._find("state.means", given)
            if isinstance(means, Tensor) and means.dim():
                return float(means.shape[0])
        for name in ("rendered", "target", "mask") if letter != "N" else ():
            image = given.get(name)
            if isinstance(image, Tensor):
                return float(self._shape(name, image).shape["BHW".index(letter)])
        help_ = "pass state=..." if letter == "N" else "pass rendered=..."
        message = f"this loss reads the size `{letter}`, but the call gave nothing that has it"
        raise LossError([self._problem("BND001", letter, message, help_)])

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


def _largest(radii: Tensor) -> Tensor:
    """`[N]` from radii `[B, N, 2]`, `[B, N]` or `[N]`: the largest in any view."""
    largest = radii.amax(dim=-1) if radii.dim() == 3 else radii
    return (largest.amax(dim=0) if largest.dim() == 2 else largest).to(torch.float32)


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
