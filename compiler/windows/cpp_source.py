"""A window kernel printed as C++ with a plain C interface: the plan's programs, inside of `cpp_walk`."""

from __future__ import annotations

from collections.abc import Sequence

from ..kernels.photometric import BORDER, window
from .cpp_print import TYPES, Printer, array
from .cpp_walk import WALK
from .lanes import Lane, Stage
from .plan import STATISTICS, WindowPlan

ROWS = 4
"""Rows that the blur along the height makes at once, out of registers."""

_TILE = 1024  # lanes of a tile, about: its rings stay in the second level cache
_CHUNK = 512  # lanes that run through a stage at once, about: they stay in the first level cache
_SMALL = 16384
_BAND = 8
_VECTOR = """\
// A register full of lanes.
#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
typedef T Vector __attribute__((vector_size(BYTES), may_alias));
typedef T Anywhere __attribute__((vector_size(BYTES), may_alias, aligned(sizeof(T))));
constexpr int LANES = BYTES / sizeof(T);""".splitlines()


def cpp_source(plan: WindowPlan, dtype: str) -> str:
    """The source of a kernel; equal plans give equal text.

    Args:
        plan: what to compute.
        dtype: "float32" or "float64".
    """
    centre, after = len(plan.centre_reductions()), len(plan.after_reductions())
    values_centre, values_after = _first(plan.centre, centre), _first(plan.after, after)
    stages = (plan.regions, plan.before, plan.centre, plan.after)
    borders = sorted({b for stage in stages for b in stage.leaves("interior")})
    walked = {i for stage in stages[1:] for i in stage.leaves("input")}
    expanded = [i for i in sorted(walked) if plan.inputs[i] < plan.channels]
    lanes = 16 if dtype == "float32" else 8
    suffix = "f" if dtype == "float32" else ""
    return "\n".join(
        [
            f"// A window kernel, {dtype}, {plan.channels} lanes per pixel. Generated; the plan is {plan.key}.",
            f"typedef {TYPES[dtype]} T;",
            "#include <math.h>",
            "#include <sched.h>",
            "#include <stdlib.h>",
            "#include <string.h>",
            "#ifdef _OPENMP",
            "#include <omp.h>",
            "#endif",
            "#define RESTRICT __restrict__",
            "",
            "namespace {",
            "",
            *_constants(plan, borders, expanded),
            "",
            f"inline T absolute(T x) {{ return __builtin_fabs{suffix}(x); }}",
            f"inline T root(T x) {{ return __builtin_sqrt{suffix}(x); }}",
            "",
            *_VECTOR,
            "",
            *_window(),
            "",
            *_down(),
            "",
            "// Lanes of a chunk that lie in the interior of the image.",
            "struct Range { int from, to; };",
            "",
            "// What is the same in all lanes.",
            "struct Uniforms { T host[HOSTS + 1], weight[REDUCTIONS + 1]; };",
            "",
            *_stage("regions", "The weight of each region.", plan.regions, borders),
            *_before(plan, borders),
            *_stage("centre_values", "Integrands that read the blurred statistics.", values_centre, borders),
            *_stage(
                "centre_gradient", "The same integrands, then the cotangents that are spread.", plan.centre, borders
            ),
            *_stage("after_values", "The other integrands.", values_after, borders),
            *_stage(
                "after_gradient",
                "The same integrands, then the gradient of each input at the lane.",
                plan.after,
                borders,
            ),
            f"#define SHIFTED(a, b, s) __builtin_shufflevector(a, b, {', '.join(f's + {k}' for k in range(lanes))})",
            WALK,
        ]
    )


def _constants(plan: WindowPlan, borders: Sequence[int], expanded: Sequence[int]) -> list[str]:
    c = plan.channels
    step = 16 * c
    chunk = max(1, round(_CHUNK / step)) * step
    tile = max(_TILE // c, 8 * BORDER)
    row = -(-((tile + 4 * BORDER) * c + 64) // 16)
    read = plan.regions.leaves("input")
    narrow = all(plan.inputs[i] == 1 for i in read)
    regions = len(plan.regions.results)
    sums = [i for i in plan.differentiable if plan.inputs[i] < c]
    table = {
        "C": (c, "lanes of a pixel"),
        "TAPS": (2 * BORDER + 1, "of the window"),
        "BORDER": (BORDER, "taps on each side of its centre"),
        "ROWS": (ROWS, "made at once by the blur along the height"),
        "TILE": (tile, "pixels of a tile along the width, at most"),
        "CHUNK": (chunk, "lanes that run through a stage at once, at most: whole pixels"),
        "LD": ((row | 1) * 16, "lanes from one row of scratch to the next: an odd number of cache lines"),
        "SMALL": (_SMALL, "lanes of a call below which one thread is faster than several"),
        "BAND": (_BAND, "rows of a thread, at least"),
        "INPUTS": (len(plan.inputs), ""),
        "HOSTS": (plan.hosts, ""),
        "WINDOWS": (len(plan.windows), ""),
        "STATISTICS": (STATISTICS * len(plan.windows), ""),
        "SPREADS": (plan.spreads, "cotangents that are blurred"),
        "GRADIENTS": (len(plan.differentiable), ""),
        "SUMMED": (len(sums), "gradients of inputs with one component"),
        "REGIONS": (regions, ""),
        "REGION_C": (1 if narrow else c, "lanes of a pixel in the stage of the regions"),
        "NORMALISERS": (len(plan.normalisers), ""),
        "REDUCTIONS": (len(plan.reductions), ""),
        "CENTRE": (len(plan.centre_reductions()), "of them, in the stage in the centre; the others come after"),
        "BORDERS": (len(borders), ""),
        "EXPANDED": (len(expanded), "inputs with one component, which are repeated for the lanes of a pixel"),
    }
    lines = [f"constexpr int {k} = {v};{f'  // {why}' if why else ''}" for k, (v, why) in table.items()]
    return [
        *lines,
        array("SHARED", ["true" if k < c else "false" for k in plan.inputs], "bool", "inputs with one component"),
        array(
            "IN_REGIONS", ["true" if i in read else "false" for i in range(len(plan.inputs))], "bool", "are read there"
        ),
        array("PLACE", [expanded.index(i) if i in expanded else -1 for i in range(len(plan.inputs))], "int", ""),
        array("EXPAND", expanded, "int", "the inputs behind EXPANDED"),
        array("DIFFERENTIABLE", plan.differentiable, "int", "inputs that get a gradient"),
        array("NORMALISER_REGION", [n.region for n in plan.normalisers], "int", "-1: every lane counts 1"),
        array("NORMALISER_BORDER", [n.border for n in plan.normalisers], "int", "pixels that are left out"),
        array("NORMALISER", [r.normaliser for r in plan.reductions], "int", "of each reduction; -1: a plain sum"),
        array("INTERIOR", borders, "int", "borders that the programs ask for"),
    ]


def _window() -> list[str]:
    """The window as an expression: taps on both sides of the centre are added first, for 6 products in place of 11."""
    taps = window()
    names = [f"const Vector& v{k}" for k in range(len(taps))]
    middle = len(taps) // 2
    terms = [f"T({taps[middle]!r}) * v{middle}"]
    terms += [f"T({taps[k]!r}) * (v{k} + v{len(taps) - 1 - k})" for k in range(middle - 1, -1, -1)]
    pairs = [f"({' + '.join(terms[k : k + 2])})" for k in range(0, len(terms), 2)]  # shorter chains
    return [
        "// The window around v5.",
        f"inline __attribute__((always_inline)) Vector window({', '.join(names)}) {{",
        "  return " + "\n         + ".join(pairs) + ";",
        "}",
    ]


def _down() -> list[str]:
    """The blur along the height."""
    taps = 2 * BORDER + 1
    rows = range(ROWS + taps - 1)
    return [
        f"// {ROWS} rows of the blur along the height, out of {len(rows)}; lanes `from` to `from + n`, whole vectors.",
        "// Loads are volatile because compilers otherwise load a row again for each of its uses.",
        "__attribute__((noinline)) void blur_down(const T* const* rows, T* RESTRICT out, long from, int n) {",
        *(f"  const T* r{k} = rows[{k}] + from;" for k in rows),
        "  for (int i = 0; i < n; i += LANES) {",
        *(f"    const Vector v{k} = *(const volatile Vector*)(r{k} + i);" for k in rows),
        *(f"    const Vector w{r} = window({', '.join(f'v{r + k}' for k in range(taps))});" for r in range(ROWS)),
        *(f"    *(Vector*)(out + {r} * CHUNK + i) = w{r};" for r in range(ROWS)),
        "  }",
        "}",
    ]


def _first(stage: Stage, count: int) -> Stage:
    """The program of the first results alone."""
    results = stage.results[:count]
    needed = set(results)
    for i in range(len(stage.lanes) - 1, -1, -1):
        if i in needed:
            needed.update(stage.lanes[i].args)
    kept = sorted(needed)
    moved = {old: new for new, old in enumerate(kept)}
    lanes = (stage.lanes[i]._replace(args=tuple(moved[a] for a in stage.lanes[i].args)) for i in kept)
    return Stage(tuple(lanes), tuple(moved[i] for i in results))


def _before(plan: WindowPlan, borders: Sequence[int]) -> list[str]:
    """The images of the windows become the statistics that are blurred."""
    stores: list[str] = []
    for w in range(len(plan.windows)):
        a, b = (f"v{i}" for i in plan.before.results[2 * w : 2 * w + 2])
        for k, value in enumerate((a, b, f"{a} * {a} + {b} * {b}", f"{a} * {b}")):
            stores.append(f"out{STATISTICS * w + k}[i] = {value};")
    return _stage(
        "before", "The statistics a, b, a*a + b*b, a*b of each window, not blurred yet.", plan.before, borders, stores
    )


def _stage(name: str, why: str, stage: Stage, borders: Sequence[int], stores: Sequence[str] | None = None) -> list[str]:
    """A function that runs a program on n lanes of a row."""
    if stores is None:
        stores = [f"out{k}[i] = v{i};" for k, i in enumerate(stage.results)]
    uniform = stage.uniform()
    body = _Body(stage)
    outside: list[str] = []
    inside: list[str] = []
    for i in range(len(stage.lanes)):
        line = body.line(i)
        if line:
            (outside if i in uniform else inside).append(line)
    pointers = [f"const T* RESTRICT in{k} = in[{k}];" for k in stage.leaves("input")]
    for leaf in ("stat", "spread"):
        pointers += [f"const T* RESTRICT {leaf}{k} = blurred[{k}];" for k in stage.leaves(leaf)]
    pointers += [
        f"const int from{b} = inner[{borders.index(b)}].from, to{b} = inner[{borders.index(b)}].to;"
        for b in stage.leaves("interior")
    ]
    pointers += [f"T* RESTRICT out{k} = out[{k}];" for k in range(len(stores))]
    return [
        f"// {why}",
        f"__attribute__((noinline)) void {name}(",
        "    int n, const Uniforms& u, const T* const* in, const T* const* blurred, const Range* inner,",
        "    T* const* out) {",
        *(f"  {line}" for line in [*pointers, *outside]),
        *(
            [
                "#pragma omp simd",
                "  for (int i = 0; i < n; i++) {",
                *(f"    {line}" for line in [*inside, *stores]),
                "  }",
            ]
            if stores
            else []
        ),
        "}",
        "",
    ]


class _Body(Printer):
    """Prints the lanes of a stage; conditions have a value only if one is read."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.lanes, {"abs": "absolute", "sqrt": "root"})
        self.read = set(stage.results)
        for op, args, _ in stage.lanes:
            self.read.update(args[1:] if op == "where" else args)

    def line(self, index: int) -> str:
        """The statement of a value; "" if nothing reads it as a number."""
        lane = self.lanes[index]
        if self.asked(lane) and index not in self.read:
            return ""
        return f"const T v{index} = {self.value(lane)};"

    def asked(self, lane: Lane) -> str:
        """Beside comparisons, whether a lane is so far from the edges."""
        if lane.op == "interior":
            return f"(i >= from{lane.attr}) & (i < to{lane.attr})"
        return super().asked(lane)

    def leaf(self, lane: Lane) -> str:
        """What is read, blurred values among it."""
        return f"{lane.op}{lane.attr}[i]" if lane.op in ("stat", "spread") else super().leaf(lane)
