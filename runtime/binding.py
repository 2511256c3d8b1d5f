"""Tensors of a call to inputs of a graph, checked once for every new combination of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.inputs import PAYLOAD_FIELDS
from ..dsl.interval import REALS, Interval
from ..dsl.live import Zeros, where_read
from ..dsl.typed import InputInfo, TypedProgram
from ..dsl.types import FLAG, IMAGE, STEP, Kind
from .lookup import Lookup
from .names import LAYOUTS, Names
from .shaping import Misfit, components_last, dimensions, shaped


class Binder:
    """Binds the tensors of calls of one program; with a device, only tensors on it, under the names of the caller."""

    def __init__(
        self,
        program: TypedProgram,
        device: torch.device | None = None,
        layout: str = LAYOUTS[0],
        names: Names | None = None,
    ) -> None:
        self.program = program
        self.device = device
        self.layout, self.names = layout, names or Names(program)
        self._checked: set[tuple[Any, ...]] = set()
        # Signatures of tensors that are bound as they are, or in another shape.
        self._plain: dict[tuple[Any, ...], tuple[torch.Size | None, ...]] = {}
        self._wide: dict[int, tuple[Tensor, Tensor]] = {}
        roots = program.values() + program.conditions()
        self._sizes = sorted({e.value for root in roots for e in root.walk() if e.op == "size"})
        self.lookup = Lookup(program)
        self._host_inputs = [info for info in program.inputs.values() if info.stage == STEP]
        several = [e for root in roots for e in root.walk() if e.op == "call" and "one_image" in e.builtin.needs]
        self._single = next((e for e in several if not any("B " in a.type.kind.dims for a in e.args[1:])), None)
        self._windowed = [root for root in roots if any(e.op == "call" and e.builtin.window > 1 for e in root.walk())]

    def bind(
        self,
        names: frozenset[str] | tuple[str, ...],
        given: Mapping[str, Any],
        known: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Tensors by input name, `[B, H, W, k]` and `[N, k]`, in one floating dtype.

        Args:
            names: graph inputs that are needed, such as "rendered", "state.scales" or "near.depth".
            given: what the caller passed: rendered, target, mask, state, render, and buffers by name.
            known: tensors that are in their form already: memories, and results of extern functions.

        Raises:
            LossError: an input is missing or does not fit.
        """
        inner = dict(known or {})
        given_values = {name: self._given(name, given) for name in names if name not in inner}
        plain = None if inner else self._signature(given_values)
        shapes = self._plain.get(plain) if plain is not None else None
        if shapes is not None:
            return {n: x if s is None else x.view(s) for (n, x), s in zip(given_values.items(), shapes)}
        found: dict[str, Tensor] = {}
        for name, value in given_values.items():
            if value is None:
                raise LossError([self._missing(name, given)])
            if not isinstance(value, Tensor):
                raise LossError([self._problem("BND002", name, f"`{name}` must be a torch tensor, not {_name(value)}")])
            found[name] = self._shape(name, self._widened(value))
        rows = {n for n in found if self.lookup.kind(n).layout == "gaussians"}
        indexed = any(self.lookup.kind(n).name == "index" for n in found)  # it is right for so many gaussians
        signature = (
            self._zero_params(),
            *(
                (n, t.shape[1:] if n in rows and not indexed else t.shape, t.dtype, t.device)
                for n, t in sorted(found.items())
            ),
        )
        counts = {self.lookup.kind(n).view + str(found[n].shape[0]) for n in rows}  # densification changes them
        views = {self.lookup.kind(n).view for n in rows}
        if signature not in self._checked or len(counts) > len(views):
            self._check(found)
            self._checked.add(signature)
        place = next((t.device for t in found.values()), None)  # a memory may come from a checkpoint of another device
        every = {**found, **{n: inner[n].to(place) for n in names if n in inner}}
        exact = any(t.dtype == torch.float64 for t in every.values())
        dtype = torch.float64 if exact else torch.float32
        bound = {n: (t.to(dtype) if t.is_floating_point() else t).contiguous() for n, t in every.items()}
        if plain is not None and all(_is_same(bound[n], value) for n, value in given_values.items()):
            self._plain[plain] = tuple(None if bound[n] is x else bound[n].shape for n, x in given_values.items())
        return bound

    def _given(self, name: str, given: Mapping[str, Any]) -> Any:
        try:
            value = self.lookup.find(name, given)
            return _ordinary(value) if isinstance(value, Tensor) and value.is_inference() else value
        except Misfit as misfit:
            raise LossError([self._problem(misfit.code, name, str(misfit), misfit.help)]) from None

    def _signature(self, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """What decides how tensors are bound; None if something else was given."""
        parts: list[Any] = [self._zero_params()]
        for name, value in values.items():
            if not isinstance(value, Tensor):
                return None
            parts.append((name, value.shape, value.dtype, value.device, value.is_contiguous()))
        return tuple(parts)

    def ones(self, given: Mapping[str, Any]) -> Tensor | None:
        """A mask `[B, H, W]` of the frames that were given, in which every pixel counts; None if there are none."""
        name = next((n for n in ("rendered", "target") if isinstance(given[n], Tensor)), None)
        return None if name is None else torch.ones_like(self._shape(name, given[name].detach())[..., 0])

    def no_list(self, name: str, value: Any) -> Diagnostic:
        """The finding that an input that is a list was given as something else."""
        message = f"`{name}` is declared as a list, but is a {_name(value)}"
        return self._problem("BND003", name, message, f"pass {name}=[...]")

    def _shape(self, name: str, x: Tensor) -> Tensor:
        try:
            kind, info = self._kind(name, x), self.lookup.declared(name)
            return shaped(name, kind, x if self.layout == LAYOUTS[0] else components_last(kind, x), info)
        except Misfit as misfit:
            raise LossError([self._problem(misfit.code, name, str(misfit), misfit.help)]) from None

    def _zero_params(self) -> tuple[str, ...]:
        """The parameters that are 0: with them the terms that are computed change, and so what images must be."""
        return tuple(name for name, info in self.program.params.items() if info.value == 0) if self._windowed else ()

    def _windows(self) -> dict[str, tuple[int, str]]:
        """The largest window of what is computed, and whose it is, by the view that it slides over."""
        zeros = Zeros({name: info.value for name, info in self.program.params.items()})
        found: dict[str, tuple[int, str]] = {}
        for e in (e for root in self._windowed if not zeros.is_zero(root) for e in root.walk()):
            if e.op == "call" and e.builtin.window > 1:
                for view in {a.type.kind.view for a in e.args if a.type.kind.layout == "pixels"}:
                    name = {"ssim": "SSIM", "ssim_map": "SSIM"}.get(e.builtin.name, f"`{e.builtin.name}`")
                    found[view] = max(found.get(view, (1, "")), (e.builtin.window, name))
        return found

    def _widened(self, x: Tensor) -> Tensor:
        """Half precision as float32, once a call: gradients of all that read it are then summed in float32."""
        if x.dtype not in (torch.float16, torch.bfloat16):
            return x
        return self._wide.setdefault(id(x), (x, x.float()))[1]

    def forget(self) -> None:
        """Let go of what was made of the tensors of a call."""
        self._wide.clear()

    def _kind(self, name: str, x: Tensor) -> Kind:
        return IMAGE if name == "background" and x.dim() > 2 else self.lookup.kind(name)

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
        kinds = {n: self._kind(n, t) for n, t in tensors.items()}
        for view in sorted({k.view for k in kinds.values()}):
            frame = {n: t for n, t in tensors.items() if kinds[n].view == view and kinds[n].layout == "pixels"}
            findings += self._agree(frame, "the image size", lambda t: tuple(t.shape[:3]))
            rows = {n: t for n, t in tensors.items() if kinds[n].view == view and kinds[n].layout == "gaussians"}
            findings += self._agree(rows, "the number of gaussians", lambda t: (t.shape[0],))
        if not findings:
            findings += self._letters(tensors)
        images = {n: t for n, t in tensors.items() if kinds[n].layout == "pixels"}
        windows = self._windows()
        for name, image in images.items():
            window, what = windows.get(kinds[name].view, (1, ""))
            if min(image.shape[1:3]) < window:
                size = f"{image.shape[2]}x{image.shape[1]}"
                message = f"`{name}` is {size} pixels, but {what} needs at least {window}x{window}"
                findings.append(self._problem("BND006", name, message, "train on larger images, or drop the term"))
                break
        findings += self._one_image(images) if not findings else []
        for name in ("target", "mask"):
            if name in images and not findings:
                findings += self._in_unit_range(name, images[name])
        for name, tensor in tensors.items():
            info = self.lookup.declared(name)
            if info is not None and not findings:
                findings += self._in_declared_range(info, tensor)
                findings += self._rows_of_gaussians(info, tensor, tensors)
        if findings:
            raise LossError(findings)

    def _one_image(self, images: Mapping[str, Tensor]) -> list[Diagnostic]:
        """Points without a dimension for the images are of one image."""
        count = max((len(t) for t in images.values()), default=1)
        if count == 1 or self._single is None:
            return []
        name = self._single.builtin.name
        message = f"`{name}` is given the points of one image, but there are {count}"
        help_ = "declare them for each image, as in `[B M 2]`, or train on one image at a time"
        return [Diagnostic("BND002", message, self._single.source, self._single.span, help=[help_])]

    def _letters(self, tensors: Mapping[str, Tensor]) -> list[Diagnostic]:
        """Dimensions with the same letter have the same size: but for those of lists, one in each item."""
        first: dict[str, tuple[str, int]] = {}
        for name, tensor in tensors.items():
            for letter, size in dimensions(name, self.lookup.kind(name), tensor):
                other, known = first.setdefault(letter, (name, size))
                if known != size:
                    word = letter.rpartition(":")[2].rpartition("]")[2]
                    message = f"`{other}` and `{name}` differ in {word}: {known} and {size}"
                    return [self._problem("BND002", name, message)]
        return []

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
        if info.range == REALS or not x.numel() or not x.is_floating_point():
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

    def _rows_of_gaussians(self, info: InputInfo, x: Tensor, tensors: Mapping[str, Tensor]) -> list[Diagnostic]:
        """An index names gaussians that there are."""
        kinds = {n: self.lookup.kind(n) for n in tensors}
        count = next((len(t) for n, t in tensors.items() if kinds[n].layout == "gaussians" and not kinds[n].view), None)
        if info.kind.name != "index" or count is None or not x.numel():
            return []
        low, high = (int(v) for v in torch.aminmax(x))
        if low >= 0 and high < count:
            return []
        message = f"`{info.name}` holds rows {low} to {high}, but there are {count} gaussians"
        return [self._problem("BND005", info.name, message, "rebuild it after adding or removing gaussians")]

    # Sizes and host values

    def host_values(self, given: Mapping[str, Any], sizes: bool = True) -> dict[str, float | bool]:
        """The numbers and flags that the program takes from the host, and the sizes that it reads.

        Without ``sizes`` nothing is measured: only what is given by its letter counts.

        Raises:
            LossError: one is not what the program declares.
        """
        values: dict[str, float | bool] = {}
        for info in self._host_inputs:
            value = given.get(info.name)
            if value is None:
                continue  # asked for only where a term that exists reads it
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
            means = self.lookup.find("state.means", given)
            if isinstance(means, Tensor) and means.dim():
                return float(means.shape[0])
        for name in ("rendered", "target", "mask", *self.program.inputs):
            value = self.lookup.find(name, given) if not self.lookup.is_record(name) else None
            if not isinstance(value, Tensor):
                continue
            sizes = dict(dimensions(name, self.lookup.kind(name), self._shape(name, value)))
            if letter in sizes:
                return float(sizes[letter])
        owners = [n for n, info in self.program.inputs.items() if letter in info.kind.dims]
        if owners and all(self.program.inputs[n].optional for n in owners):
            return 1.0  # the size of what is missing: nothing that exists reads it
        help_ = "pass state=..." if letter == "N" else f"pass {(owners or ['rendered'])[0]}=..."
        message = f"this loss reads the size `{letter}`, but the call gave nothing that has it"
        raise LossError([self._problem("BND001", letter, message, help_)])

    # Words

    def _missing(self, name: str, given: Mapping[str, Any]) -> Diagnostic:
        fixed = name.partition(".")[0].partition("[")[0]
        if fixed != name and fixed in self.program.inputs and given.get(fixed) is not None:
            field = name.partition(".")[2]
            lacks = f"`{fixed}` has no `{field}`" if field else "that is None"
            return self._problem("BND001", name, f"this loss reads `{name}`, but {lacks}")
        if name.startswith("state."):
            if given.get("state") is None:
                return self._problem(
                    "BND001", name, "this loss reads `state`, but the call gave none", "pass state=..."
                )
            field = name.partition(".")[2]
            message = f"the state has no parameter `{field}`, which this loss reads"
            return self._problem("BND001", name, message, self.names.hint(name))
        help_ = f"pass {fixed}=..."
        if name in PAYLOAD_FIELDS:
            help_ = f"pass render= a payload that has it, or {fixed}=..., and ask the renderer for it"
        elif name == "mask":
            help_ = "pass mask=..., or write `masked`, which is everywhere when the item has no mask"
        help_ = self.names.hint(name) or help_
        return self._problem("BND001", name, f"this loss reads `{name}`, but the call gave none", help_)

    def _problem(
        self, code: str, name: str, message: str, help: str = "", notes: list[str] | None = None
    ) -> Diagnostic:
        source, span = where_read(self.program, name)
        return Diagnostic(code, message, source, span, notes=notes or [], help=[help] if help else [])


def _is_on(found: torch.device, wanted: torch.device) -> bool:
    return found.type == wanted.type and wanted.index in (None, found.index)


def _is_same(bound: Tensor, given: Tensor) -> bool:
    """Whether a tensor was bound as it is, but perhaps for its shape."""
    alike = bound.dtype == given.dtype and bound.data_ptr() == given.data_ptr() and bound.numel() == given.numel()
    return bound is given or (alike and given.is_contiguous() and bound.is_contiguous())


def _ordinary(x: Tensor) -> Tensor:
    """A copy of what was made in `torch.inference_mode`: such tensors are in no graph of autograd, and need one of
    their own in every compiled graph."""
    with torch.inference_mode(False), torch.no_grad():
        return x.clone()


def _name(value: object) -> str:
    return type(value).__name__


def _sizes(s: tuple[int, ...]) -> str:
    return " x ".join(str(v) for v in s)
