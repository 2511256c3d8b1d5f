"""A kernel without windows printed as C++: sums over lanes, and the gradients of what the lanes are made of.

Lanes are summed in blocks of a fixed length, blocks in spans of a fixed number, and spans in their order, so the result
is the same for any number of threads.
"""

from __future__ import annotations

from .cpp_print import TYPES, Printer, array
from .flat_math import EXACT, SINGLE
from .lanes import TRANSCENDENTAL, Stage
from .plan import WindowPlan

_BLOCK = 1024  # lanes that are summed in the precision of the inputs, about; beyond that sums are double
_SPAN = 16  # blocks of a span: what a thread takes at once
_SMALL = 65536
_LARGE = 16 << 20
_CALLS = {op: f"{op}_of" for op in TRANSCENDENTAL} | {"abs": "abs_of", "sqrt": "sqrt_of"}

_WALK = """\
// Inputs and gradients of rows from `row`: those with one component are repeated for, and summed over, the lanes.
struct Block {
  const T* in[INPUTS + 1];
  T* out[GRADIENTS + 1];
  T wide[EXPANDED + 1][EXPANDED ? LANES : 1], made[SUMMED + 1][SUMMED ? LANES : 1];
};

void enter(Block& b, const Call& c, long row, long rows, const bool* read) {
  for (int i = 0, w = 0; i < INPUTS; i++) {
    const T* x = (const T*)c.memory[i] + row * (SHARED[i] ? 1 : C);
    b.in[i] = x;
    if (C == 1 || !SHARED[i]) continue;
    T* to = b.wide[w++];
    b.in[i] = to;
    if (!read[i]) continue;
    for (long r = 0; r < rows; r++)
      for (int k = 0; k < C; k++) to[r * C + k] = x[r];
  }
  for (int g = 0, s = 0; g < GRADIENTS; g++) {
    const bool shared = C > 1 && SHARED[DIFFERENTIABLE[g]];
    b.out[g] = shared ? b.made[s++] : (T*)c.memory[INPUTS + g] + row * (SHARED[DIFFERENTIABLE[g]] ? 1 : C);
  }
}

void leave(const Block& b, const Call& c, long row, long rows) {
  for (int g = 0; g < GRADIENTS; g++) {
    if (C == 1 || !SHARED[DIFFERENTIABLE[g]]) continue;
    T* to = (T*)c.memory[INPUTS + g] + row;
    for (long r = 0; r < rows; r++) {
      T sum = 0;
      for (int k = 0; k < C; k++) sum += b.out[g][r * C + k];
      to[r] = sum;
    }
  }
}

typedef void (*Work)(const Call& c, long from, long to, double* sums);

void sum_regions(const Call& c, long from, long to, double* sums) {
  Block b;
  for (long row = from; row < to; row += ROWS) {
    const long rows = to - row < ROWS ? to - row : ROWS;
    enter(b, c, row, rows, IN_REGIONS);
    regions((int)(rows * C), c.u, b.in, b.out, sums);
  }
}

void sum_values(const Call& c, long from, long to, double* sums) {
  Block b;
  for (long row = from; row < to; row += ROWS) {
    const long rows = to - row < ROWS ? to - row : ROWS;
    enter(b, c, row, rows, IN_VALUES);
    values((int)(rows * C), c.u, b.in, b.out, sums);
  }
}

void sum_gradients(const Call& c, long from, long to, double* sums) {
  Block b;
  for (long row = from; row < to; row += ROWS) {
    const long rows = to - row < ROWS ? to - row : ROWS;
    enter(b, c, row, rows, IN_GRADIENTS);
    gradients((int)(rows * C), c.u, b.in, b.out, sums);
    leave(b, c, row, rows);
  }
}

// Gradients are fresh memory, whose pages come one by one as they are written; with large ones there are fewer.
void ask_for_large_pages(const Call& c) {
#ifdef MADV_HUGEPAGE
  const size_t page = 2u << 20;
  for (int g = 0; g < GRADIENTS; g++) {
    const size_t bytes = sizeof(T) * c.rows * (SHARED[DIFFERENTIABLE[g]] ? 1 : C);
    const size_t start = ((size_t)c.memory[INPUTS + g] + page - 1) & ~(page - 1);
    const size_t end = ((size_t)c.memory[INPUTS + g] + bytes) & ~(page - 1);
    if (bytes >= LARGE && end > start) madvise((void*)start, end - start, MADV_HUGEPAGE);
  }
#endif
}

// Each span on its own, then all in their order.
int run_spans(Work work, const Call& c, int count, double* sums) {
  for (int k = 0; k < count; k++) sums[k] = 0;
  const long length = (long)ROWS * SPAN, spans = (c.rows + length - 1) / length;
  const int threads = c.threads < spans ? c.threads : (int)spans;
  if (threads < 2 || c.rows * C < SMALL) {
    for (long s = 0; s < spans; s++) {
      double own[RESULTS + 1] = {0};
      work(c, s * length, (s + 1) * length < c.rows ? (s + 1) * length : c.rows, own);
      for (int k = 0; k < count; k++) sums[k] += own[k];
    }
    return 0;
  }
  double* own = (double*)calloc(spans * (RESULTS + 1), sizeof(double));
  if (!own) return 1;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static)
#endif
  for (long s = 0; s < spans; s++)
    work(c, s * length, (s + 1) * length < c.rows ? (s + 1) * length : c.rows, own + s * (RESULTS + 1));
  for (long s = 0; s < spans; s++)
    for (int k = 0; k < count; k++) sums[k] += own[s * (RESULTS + 1) + k];
  free(own);
  return 0;
}

}  // namespace

// memory: inputs, then gradients; numbers: the factor of each reduction, then those of the host; out: the weighted sum,
// each reduction, each normaliser.
extern "C" int run(void* const* memory, const double* numbers, T* out, long rows, int threads, int gradient) {
  Call c;
  c.memory = memory;
  c.rows = rows;
  c.threads = threads;
  for (int k = 0; k < HOSTS; k++) c.u.host[k] = (T)numbers[REDUCTIONS + k];
  double weights[REGIONS + 1], sums[NORMALISERS + 1], totals[REDUCTIONS + 1], whole = 0;
  if (REGIONS && run_spans(sum_regions, c, REGIONS, weights)) return 1;
  for (int k = 0; k < NORMALISERS; k++)
    sums[k] = NORMALISER_REGION[k] < 0 ? (double)rows * C : weights[NORMALISER_REGION[k]];
  for (int k = 0; k < REDUCTIONS; k++) {
    const double divisor = NORMALISER[k] < 0 ? 1 : sums[NORMALISER[k]];
    c.u.weight[k] = divisor <= 0 ? T(0) : (T)(numbers[k] / divisor);
  }
  if (gradient) ask_for_large_pages(c);
  if (run_spans(gradient && GRADIENTS ? sum_gradients : sum_values, c, REDUCTIONS, totals)) return 1;
  for (int k = 0; k < REDUCTIONS; k++) {
    const double divisor = NORMALISER[k] < 0 ? 1 : sums[NORMALISER[k]];
    const double value = divisor <= 0 ? 0 : totals[k] / divisor;
    out[1 + k] = (T)value;
    whole += numbers[k] * value;
  }
  out[0] = (T)whole;
  for (int k = 0; k < NORMALISERS; k++) out[1 + REDUCTIONS + k] = (T)sums[k];
  return 0;
}
"""


def flat_source(plan: WindowPlan, dtype: str) -> str:
    """The source of a kernel without windows; equal plans give equal text.

    Args:
        plan: what to compute, a flat one.
        dtype: "float32" or "float64".
    """
    count = len(plan.reductions)
    return "\n".join(
        [
            f"// A kernel without windows, {dtype}, {plan.channels} lanes per row. Generated; the plan is {plan.key}.",
            f"typedef {TYPES[dtype]} T;",
            "#include <math.h>",
            "#include <stdlib.h>",
            "#include <string.h>",
            "#ifdef __linux__",
            "#include <sys/mman.h>",
            "#endif",
            "#define RESTRICT __restrict__",
            "",
            "namespace {",
            "",
            *_constants(plan),
            "",
            SINGLE if dtype == "float32" else EXACT,
            "// What is the same in all lanes.",
            "struct Uniforms { T host[HOSTS + 1], weight[REDUCTIONS + 1]; };",
            "struct Call { void* const* memory; long rows; int threads; Uniforms u; };",
            "",
            *_stage("regions", "Sums of the weights of regions.", plan.regions, len(plan.regions.results)),
            *_stage("values", "Sums of the integrands.", plan.after, count, gradients=False),
            *_stage("gradients", "The same, and the gradient of each input at the lane.", plan.after, count),
            _WALK,
        ]
    )


def _constants(plan: WindowPlan) -> list[str]:
    c, inputs = plan.channels, range(len(plan.inputs))
    shared = [k == 1 for k in plan.inputs]
    rows = max(1, _BLOCK // c)
    wide = c > 1
    table = {
        "C": (c, "lanes of a row"),
        "ROWS": (rows, "of a block"),
        "LANES": (rows * c, "of a block"),
        "SPAN": (_SPAN, "blocks that a thread takes at once"),
        "SMALL": (_SMALL, "lanes of a call below which one thread is faster than several"),
        "LARGE": (_LARGE, "bytes of a gradient from which on it is worth to ask for large pages"),
        "INPUTS": (len(plan.inputs), ""),
        "HOSTS": (plan.hosts, ""),
        "GRADIENTS": (len(plan.differentiable), ""),
        "REGIONS": (len(plan.regions.results), ""),
        "NORMALISERS": (len(plan.normalisers), ""),
        "REDUCTIONS": (len(plan.reductions), ""),
        "RESULTS": (max(len(plan.reductions), len(plan.regions.results)), "sums of a pass, at most"),
        "EXPANDED": (sum(shared) if wide else 0, "inputs with one component beside others with several"),
        "SUMMED": (sum(shared[i] for i in plan.differentiable) if wide else 0, "gradients of such"),
    }
    integrands = _Printed(plan.after, len(plan.reductions), gradients=False)
    read = {
        "IN_REGIONS": set(plan.regions.leaves("input")),
        "IN_VALUES": integrands.inputs(),
        "IN_GRADIENTS": set(plan.after.leaves("input")),
    }
    return [
        *(f"constexpr int {k} = {v};{f'  // {why}' if why else ''}" for k, (v, why) in table.items()),
        array("SHARED", ["true" if s else "false" for s in shared], "bool", "inputs with one component"),
        *(array(k, ["true" if i in v else "false" for i in inputs], "bool", "are read") for k, v in read.items()),
        array("DIFFERENTIABLE", plan.differentiable, "int", "inputs that get a gradient"),
        array("NORMALISER_REGION", [n.region for n in plan.normalisers], "int", "-1: every lane counts 1"),
        array("NORMALISER", [r.normaliser for r in plan.reductions], "int", "of each reduction; -1: a plain sum"),
    ]


def _stage(name: str, why: str, stage: Stage, summed: int, gradients: bool = True) -> list[str]:
    """A function that adds the first results over a block to sums, and stores the others."""
    printed = _Printed(stage, summed, gradients)
    stores = range(len(stage.results) - summed) if gradients else range(0)
    sums = [f"s{k}" for k in range(summed)]
    reduction = f" reduction(+:{', '.join(sums)})" if sums else ""
    body = [
        *(f"const T* RESTRICT in{i} = in[{i}];" for i in sorted(printed.inputs())),
        *(f"T* RESTRICT out{k} = out[{k}];" for k in stores),
        *(f"T {s} = 0;" for s in sums),
        *printed.statements(uniform=True),
        f"#pragma omp simd{reduction}",
        "for (int i = 0; i < n; i++) {",
        *(f"  {line}" for line in printed.statements(uniform=False)),
        *(f"  {s} += v{stage.results[k]};" for k, s in enumerate(sums)),
        *(f"  out{k}[i] = v{stage.results[summed + k]};" for k in stores),
        "}",
        *(f"sums[{k}] += {s};" for k, s in enumerate(sums)),
    ]
    return [
        f"// {why}",
        f"void {name}(int n, const Uniforms& u, const T* const* in, T* const* out, double* sums) {{",
        *(f"  {line}" for line in body),
        "}",
        "",
    ]


class _Printed(Printer):
    """The lanes of a stage as statements; conditions have a value if one is read."""

    def __init__(self, stage: Stage, summed: int, gradients: bool) -> None:
        super().__init__(stage.lanes, _CALLS)
        results = stage.results if gradients else stage.results[:summed]
        self.needed = set(results)
        self.read = set(results)
        for i in range(len(self.lanes) - 1, -1, -1):
            if i in self.needed:
                op, args, _ = self.lanes[i]
                self.needed.update(args)
                self.read.update(args[1:] if op == "where" else args)
                if op == "where" and not self.asked(self.lanes[args[0]]):
                    self.read.add(args[0])
        self.uniform = stage.uniform()

    def inputs(self) -> set[int]:
        """The inputs that are read."""
        return {self.lanes[i].attr for i in self.needed if self.lanes[i].op == "input"}

    def statements(self, uniform: bool) -> list[str]:
        """The statements outside or inside the loop."""
        chosen = (i for i in sorted(self.needed & self.read) if (i in self.uniform) == uniform)
        return [f"const T v{i} = {self.value(self.lanes[i])};" for i in chosen]
