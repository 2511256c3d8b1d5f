"""A plan as Triton kernels, in readable Python.

The images are flat rows of ``W * C`` lanes, so that the neighbouring pixel is C lanes away and nothing is transposed. A
program owns a block of ``BX`` columns, each of one channel of `PIXELS` pixels side by side, and goes down ``rows``
rows, and 5 more at either end. In each row it blurs along the width by shifted reads, and along the height by running
sums: ten for each blurred value, in registers.

`centre` blurs the images and makes the reductions that read them, and the cotangents that are spread. `after` blurs
these and makes the gradients and the other reductions. `values` makes the reductions alone. `regions` makes the
normalisers, as partial sums that the others add up; `finish` makes the numbers that come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..kernels.photometric import BORDER, window
from .lanes import Stage
from .plan import STATISTICS, WindowPlan
from .triton_print import HELPERS, Lines, needed, print_stage

PIXELS = 2
"""Pixels side by side that a lane of a block makes, where registers suffice."""

_TAPS = 2 * BORDER + 1


class March(NamedTuple):
    """A kernel that goes down the rows: what it blurs, what it makes of that, and how many reductions come out."""

    name: str
    about: str
    statistics: tuple[int, ...]  # of the images, blurred
    spread: int  # cotangents read and blurred
    stages: tuple[tuple[str, Stage, int], ...]  # at each pixel: a prefix, the program, results that are wanted
    spreads: int  # cotangents written
    gradients: bool


def triton_source(plan: WindowPlan) -> str:
    """The module of a plan: kernels `regions`, `values`, `centre`, `after` and `finish`, those that it needs."""
    out = Lines()
    parts = ", ".join(str(k) for k in plan.inputs)
    out.put(0, f'"""Window kernels of plan {plan.key}: {plan.channels} lanes per pixel, inputs of {parts} components.')
    out.put(0, "", "Made by a program: edits are lost.", '"""', "", "import triton", "import triton.language as tl", "")
    out.put(0, *(f"G{k} = tl.constexpr({weight!r})" for k, weight in enumerate(window()[: BORDER + 1])))
    out.text += HELPERS.splitlines()
    if plan.regions.results:
        _regions(plan, out)
    for march in marches(plan):
        _march(plan, march, out)
    _finish(plan, out)
    return "\n".join(out.text) + "\n"


def marches(plan: WindowPlan) -> tuple[March, ...]:
    """The kernels that go down the rows: `values` for a call without gradients; `centre`, `after` for one with them."""
    centre, after = len(plan.centre_reductions()), len(plan.after_reductions())
    stages = (("c", plan.centre, centre), ("a", plan.after, after))
    alone = needed(plan.centre, centre)[1]
    made = [March("values", "All reductions.", alone, 0, stages, 0, False)]
    if not plan.has_gradient:
        return tuple(made)
    if not plan.spreads:
        whole = (stages[0], ("a", plan.after, len(plan.after.results)))
        return (*made, March("centre", "All reductions, and the gradients.", alone, 0, whole, 0, True))
    used = plan.centre.leaves("stat")
    every = (("c", plan.centre, len(plan.centre.results)),)
    last = (("a", plan.after, len(plan.after.results)),)
    return (
        *made,
        March("centre", "Reductions under the window, and cotangents to spread.", used, 0, every, plan.spreads, False),
        March("after", "The other reductions, and the gradients.", (), plan.spreads, last, 0, True),
    )


def _arguments(march: March, plan: WindowPlan) -> list[str]:
    """What a marching kernel takes, without its constants."""
    made = [f"in{i}" for i in range(len(plan.inputs))]
    made += ["spread"] if march.spread or march.spreads else []
    made += [f"grad{i}" for i in plan.differentiable] if march.gradients else []
    return [*made, "partial", "sums", "scalars", "B", "H", "W", "slots", "rows"]


def _jit(out: Lines, arguments: Sequence[str]) -> None:
    """The decorator of a kernel that is compiled once: not again for other sizes, or where memory begins elsewhere."""
    plain = [a for a in arguments if a in ("B", "H", "W", "slots", "rows")]
    pointers = [a for a in arguments if a not in plain]
    out.put(0, "", "", "@triton.jit(", f"    do_not_specialize={plain!r},".replace("'", '"'))
    out.put(0, f"    do_not_specialize_on_alignment={pointers!r},".replace("'", '"'), ")")


def _prologue(plan: WindowPlan, out: Lines, stages: Sequence[tuple[str, Stage, int]]) -> None:
    """Reads the numbers that are the same for all lanes, and makes the factors of the reductions."""
    wanted: dict[str, set[int]] = {"host": set(), "weight": set()}
    for _, stage, results in stages:
        for i in needed(stage, results)[0]:
            if stage.lanes[i].op in wanted:
                wanted[stage.lanes[i].op].add(stage.lanes[i].attr)
    for i in sorted(wanted["host"]):
        out.put(1, f"host{i} = tl.load(scalars + {len(plan.reductions) + i})")
    divisors = {plan.reductions[i].normaliser for i in wanted["weight"]} - {-1}
    _sums(plan, out, sorted(divisors))
    for i in sorted(wanted["weight"]):
        divisor = plan.reductions[i].normaliser
        cotangent = f"tl.load(scalars + {i})"
        out.put(1, f"weight{i} = {cotangent if divisor < 0 else f'over({cotangent}, sum{divisor})'}")


def _sums(plan: WindowPlan, out: Lines, which: Sequence[int]) -> None:
    """Adds up normalisers from their partial sums, which are few."""
    for i in which:
        region, border = plan.normalisers[i]
        if region < 0:
            out.put(1, f"sum{i} = count(B, H, W, {plan.channels}, {border}, F)")
        else:
            place = f"{i} * P + " if i else ""
            out.put(1, f"sum{i} = tl.sum(tl.load(sums + {place}tl.arange(0, P)), 0)")


def _march(plan: WindowPlan, march: March, out: Lines) -> None:
    """A kernel that goes down the rows: two texts, one of them for blocks far from the edges, which need no care."""
    arguments = [*_arguments(march, plan), "BX: tl.constexpr", "P: tl.constexpr", "F: tl.constexpr"]
    taken = ", ".join(a.split(":")[0] for a in arguments)
    sums = [f"total{i}" for i in range(len(_made(plan, march)))]
    pixels = _pixels(plan)
    for name in ("inner", "edge"):
        out.put(0, "", "", "@triton.jit")
        out.put(0, f"def {march.name}_{name}({', '.join(['px', 'py', 'batch', *arguments])}):")
        out.put(1, f'"""{march.about} Of a band of rows."""')
        _body(plan, march, name == "edge", out)
        if sums:
            out.put(1, f"return {', '.join(sums)}")
    _jit(out, _arguments(march, plan))
    out.put(0, f"def {march.name}({', '.join(arguments)}):", f'    """{march.about}"""')
    out.put(1, "px, py, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)")
    if march.spread:
        out.put(1, "# Backwards: what was written last may still be in the cache.")
        out.put(1, "py, batch = tl.num_programs(1) - 1 - py, tl.num_programs(2) - 1 - batch")
    channels, halo = plan.channels, BORDER if march.spread or march.statistics else 0
    out.put(1, f"first = px * BX // {channels} * {pixels}")
    out.put(1, f"last = (px * BX + BX - 1) // {channels} * {pixels} + {pixels - 1}")
    given = ", ".join(sums) + " = " if sums else ""
    out.put(1, f"if (first >= {halo}) & (last < W - {halo}):")
    out.put(2, f"{given}{march.name}_inner(px, py, batch, {taken})")
    out.put(1, "else:", f"    {given}{march.name}_edge(px, py, batch, {taken})")
    if sums:
        out.put(1, "slot = (batch * tl.num_programs(1) + py) * tl.num_programs(0) + px")
    for name, i in zip(sums, _made(plan, march)):
        out.put(1, f"tl.store(partial + {f'{i} * slots + ' if i else ''}slot, tl.sum({name}, 0))")


def _pixels(plan: WindowPlan) -> int:
    """How many pixels side by side a lane of a block makes. They share what is read, and the registers."""
    return PIXELS if max(len(plan.centre.leaves("stat")), plan.spreads) <= STATISTICS else 1


def columns(plan: WindowPlan, width: int, block: int) -> int:
    """How many blocks of columns there are in an image of so many pixels."""
    return -(-(-(-width // _pixels(plan)) * plan.channels) // block)


def _made(plan: WindowPlan, march: March) -> tuple[int, ...]:
    """The reductions that a kernel makes."""
    prefixes = [prefix for prefix, _, _ in march.stages]
    centre = plan.centre_reductions() if "c" in prefixes else ()
    return centre + (plan.after_reductions() if "a" in prefixes else ())


def _tags(pixels: int) -> list[str]:
    """What ends the names of each of the pixels of a lane."""
    return [chr(ord("a") + n) for n in range(pixels)] if pixels > 1 else [""]


def _body(plan: WindowPlan, march: March, edge: bool, out: Lines) -> None:
    """The walk down the rows."""
    channels, pixels = plan.channels, _pixels(plan)
    tags = _tags(pixels)
    blurred = [f"stat{i}" for i in march.statistics] + [f"spread{i}" for i in range(march.spread)]
    halo = BORDER if blurred else 0
    out.put(1, "lane = px * BX + tl.arange(0, BX)", "zero = tl.zeros((BX,), F)")
    out.put(1, f"pixel = lane // {channels} * {pixels}", f"col = pixel * {channels} + lane % {channels}")
    if edge:
        out.put(1, *(f"inside{tag} = {_inside(n)}" for n, tag in enumerate(tags)))
    _prologue(plan, out, march.stages)
    out.put(1, *(f"total{number} = zero" for number in range(len(_made(plan, march)))))
    for name in blurred:
        for tag in tags:
            out.put(1, *(f"{name}{tag}_{k} = zero" for k in range(_TAPS - 1)))
    out.put(1, "top = py * rows", "bottom = tl.minimum(top + rows, H)")
    if halo:
        out.put(1, f"for line in range(top - {halo}, bottom + {halo}):")
        _width(plan, march, edge, out)
        for full in (name + tag for name in blurred for tag in tags):
            ahead = [f"{full}_{k}" for k in range(_TAPS - 1)]
            weights = [f"{_weight(k)} * h_{full}" for k in range(_TAPS)]
            out.put(2, f"{full} = {ahead[0]} + {weights[0]}")
            out.put(2, *(f"{a} = {b} + {w}" for a, b, w in zip(ahead, [*ahead[1:], "zero"], weights[1:])))
        out.put(2, f"row = line - {halo}", "if row >= top:")
    else:
        out.put(1, "for row in range(top, bottom):")
    _centre(plan, march, edge, 3 if halo else 2, out)


def _weight(k: int) -> str:
    """The name of the k-th weight of the window."""
    return f"G{min(k, _TAPS - 1 - k)}"


def _inside(shift: int) -> str:
    """A test for the pixels that have one so many to their right; the last block goes on behind the edge."""
    if shift < 0:
        return f"(pixel >= {-shift}) & (pixel < W + {-shift})"
    return f"pixel < W - {shift}" if shift else "pixel < W"


def _pixel(shift: int) -> str:
    """The place of those pixels in the row."""
    return f"(pixel + {shift})" if shift > 0 else (f"(pixel - {-shift})" if shift else "pixel")


def _load(place: str, offset: int, test: str) -> str:
    """Reads values of a row; 0 where a test fails, if there is one."""
    at = f"{place} + {offset}" if offset > 0 else (f"{place} - {-offset}" if offset else place)
    return f"tl.load({at}, mask={test}, other=0.0)" if test else f"tl.load({at})"


def _rows_of(plan: WindowPlan, read: Sequence[int], row: str, depth: int, out: Lines, prefix: str) -> None:
    """Where each input begins in a row, for each lane."""
    if read:
        out.put(depth, f"at = (batch * H + {row}).to(tl.int64) * W")
    for i in read:
        place = "at + pixel" if plan.inputs[i] < plan.channels else f"at * {plan.channels} + col"
        out.put(depth, f"{prefix}{i} = in{i} + {place}")


def _width(plan: WindowPlan, march: March, edge: bool, out: Lines) -> None:
    """One row blurred along the width, 0 for rows outside."""
    channels, pixels = plan.channels, _pixels(plan)
    windows = sorted({i // STATISTICS for i in march.statistics})
    read = plan.before.leaves("input") if windows else ()
    out.put(2, "near = tl.minimum(tl.maximum(line, 0), H - 1)")
    _rows_of(plan, read, "near", 2, out, "p")
    for i in range(march.spread):
        place = f"((batch * {plan.spreads} + {i}) * H + near).to(tl.int64) * W * {channels} + col"
        out.put(2, f"p_spread{i} = spread + {place}")
    begun: set[str] = set()

    def gather(name: str, value: str, shift: int) -> None:
        """Adds a value, so many pixels away, to the sums of those pixels of a lane that it belongs to."""
        for n, tag in enumerate(_tags(pixels)):
            k = shift - n + BORDER
            if 0 <= k < _TAPS:
                out.put(2, f"h_{name}{tag} {'+=' if name + tag in begun else '='} {_weight(k)} * {value}")
                begun.add(name + tag)

    for shift in range(-BORDER, pixels + BORDER):
        test = "ok" if edge else ""
        if edge:
            out.put(2, f"ok = {_inside(shift)}")
        for i in range(march.spread):
            out.put(2, f"x = {_load(f'p_spread{i}', shift * channels, test)}")
            gather(f"spread{i}", "x", shift)
        if not windows:
            continue
        steps = {i: shift if plan.inputs[i] < channels else shift * channels for i in read}
        inputs = {i: _load(f"p{i}", steps[i], test) for i in read}
        every = len(plan.before.results)
        results = print_stage(out, 2, "b", "", plan.before, every, inputs, "near", _pixel(shift))
        for w in windows:
            for name, result, lane in zip("xy", results[2 * w :], plan.before.results[2 * w :]):
                masked = edge and plan.before.lanes[lane].op != "input"
                out.put(2, f"{name} = tl.where(ok, {result}, 0.0)" if masked else f"{name} = {result}")
            out.put(2, "xx_yy = x * x + y * y", "xy = x * y")
            for k, value in enumerate(("x", "y", "xx_yy", "xy")):
                if STATISTICS * w + k in march.statistics:
                    gather(f"stat{STATISTICS * w + k}", value, shift)
    out.put(2, "here = (line + tl.zeros((BX,), tl.int32) >= 0) & (line + tl.zeros((BX,), tl.int32) < H)")
    out.put(2, *(f"h_{name} = tl.where(here, h_{name}, 0.0)" for name in sorted(begun)))


def _centre(plan: WindowPlan, march: March, edge: bool, depth: int, out: Lines) -> None:
    """What is made at each pixel of a lane."""
    channels, pixels = plan.channels, _pixels(plan)
    read: set[int] = set()
    for _, stage, results in march.stages:
        found = needed(stage, results)[0]
        read.update(stage.lanes[i].attr for i in found if stage.lanes[i].op == "input")
    _rows_of(plan, sorted(read), "row", depth, out, "q")
    for n, tag in enumerate(_tags(pixels)):
        test = f"inside{tag}" if edge else ""
        inputs = {i: _load(f"q{i}", n if plan.inputs[i] < channels else n * channels, test) for i in sorted(read)}
        total = 0
        for prefix, stage, wanted in march.stages:
            names = print_stage(out, depth, prefix, tag, stage, wanted, inputs, "row", _pixel(n))
            reductions = len(plan.centre_reductions() if prefix == "c" else plan.after_reductions())
            for name in names[:reductions]:
                out.put(depth, f"total{total} += " + (f"tl.where({test}, {name}, 0.0)" if edge else name))
                total += 1
            for number, name in enumerate(names[reductions:]):
                if prefix == "c":
                    memory, line = "spread", f"((batch * {plan.spreads} + {number}) * H + row)"
                else:
                    memory, line = f"grad{plan.differentiable[number]}", "(batch * H + row)"
                place = f"{memory} + {line}.to(tl.int64) * W * {channels} + col"
                place += f" + {n * channels}" if n else ""
                out.put(depth, f"tl.store({place}, {name}{f', mask={test}' if edge else ''})")


def _regions(plan: WindowPlan, out: Lines) -> None:
    """Partial sums of the regions' weights: by pixel where no input differs between the lanes of one."""
    read = plan.regions.leaves("input")
    wide = any(plan.inputs[i] == plan.channels for i in read)
    per, repeats = (plan.channels, 1) if wide else (1, plan.channels)
    own = [i for i, n in enumerate(plan.normalisers) if n.region >= 0]
    arguments = [*(f"in{i}" for i in range(len(plan.inputs))), "sums", "scalars", "B", "H", "W"]
    _jit(out, arguments)
    out.put(0, f"def regions({', '.join(arguments)}, BX: tl.constexpr, P: tl.constexpr, F: tl.constexpr):")
    out.put(1, '"""Partial sums of the weights of the regions."""', "program = tl.program_id(0)")
    out.put(1, "zero = tl.zeros((BX,), F)")
    out.put(1, *(f"total{i} = zero" for i in own))
    for i in plan.regions.leaves("host"):
        out.put(1, f"host{i} = tl.load(scalars + {len(plan.reductions) + i})")
    out.put(1, "for line in range(program, B * H, P):", f"    for first in range(0, W * {per}, BX):")
    out.put(3, "row = line % H", "col = first + tl.arange(0, BX)", f"pixel = col // {per}", f"inside = col < W * {per}")
    out.put(3, "at = (line + tl.zeros((BX,), tl.int64)) * W")
    inputs = {}
    for i in read:
        place = f"at * {per} + col" if plan.inputs[i] == plan.channels else "at + pixel"
        inputs[i] = f"tl.load(in{i} + {place}, mask=inside, other=0.0)"
    names = print_stage(out, 3, "r", "", plan.regions, len(plan.regions.results), inputs, "row", "pixel")
    for i in own:
        region, b = plan.normalisers[i]
        border = f" & (row >= {b}) & (row < H - {b}) & (pixel >= {b}) & (pixel < W - {b})" if b else ""
        out.put(3, f"total{i} += tl.where(inside{border}, {names[region]}, 0.0)")
    for i in own:
        times = f" * {repeats}" if repeats > 1 else ""
        out.put(1, f"tl.store(sums + {i} * P + program, tl.sum(total{i}, 0){times})")


def _finish(plan: WindowPlan, out: Lines) -> None:
    """The kernel that makes the numbers that come out."""
    arguments = ["partial", "sums", "scalars", "out", "B", "H", "W", "slots"]
    _jit(out, arguments)
    out.put(0, f"def finish({', '.join(arguments)}, BX: tl.constexpr, P: tl.constexpr, F: tl.constexpr):")
    out.put(1, '"""The weighted sum, each reduction, each normaliser."""')
    count = len(plan.reductions)
    _sums(plan, out, range(len(plan.normalisers)))
    for i, reduction in enumerate(plan.reductions):
        out.put(1, f"total{i} = tl.zeros((BX,), tl.float64)")
        out.put(1, "for first in range(0, slots, BX):", "    slot = first + tl.arange(0, BX)")
        place = f"{i} * slots + slot" if i else "slot"
        out.put(2, f"total{i} += tl.load(partial + {place}, mask=slot < slots, other=0.0).to(tl.float64)")
        value = f"tl.sum(total{i}, 0).to(F)"
        out.put(1, f"value{i} = {value if reduction.normaliser < 0 else f'over({value}, sum{reduction.normaliser})'}")
        out.put(1, f"tl.store(out + {1 + i}, value{i})")
    for i in range(len(plan.normalisers)):
        out.put(1, f"tl.store(out + {1 + count + i}, sum{i})")
    parts = [f"tl.load(scalars + {i}) * value{i}" for i in range(count)]
    out.put(1, f"tl.store(out, {' + '.join(parts) if parts else '0.0'})")
