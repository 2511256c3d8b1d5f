"""How a kernel printed as C++ goes over the images: the part that is the same for all plans.

Threads get bands of rows, and walk each band in tiles along the width, so that the rings stay in the cache. Row by row
the images become statistics, which are blurred along the width into a ring of rows; as soon as a block of rows has all
of its neighbours, it is blurred along the height, the stage in the centre runs, and what it spreads goes the same way
through a second ring. Rows and columns just outside a band or a tile are computed again by its neighbour.

No sum depends on the bands: lanes are added in the order of their row, in runs of fixed lengths, and rows in order.
"""

WALK = r"""
inline long least(long a, long b) { return a < b ? a : b; }
inline long most(long a, long b) { return a > b ? a : b; }
inline long within(long x, long last) { return most(0, least(x, last)); }

// The images of a call, and the sums of each row: of the normalisers, then of the reductions.
struct Call {
  const T* inputs[INPUTS];
  T* gradients[GRADIENTS + 1];
  Uniforms uniforms;
  long batch, height, width;
  double* sums;
};
constexpr int SUMS = NORMALISERS + REDUCTIONS;

// Scratch of a thread, in lanes: rows before the blur along the width, rings of rows behind it, what is spread before
// and behind its own blur along the width, repeated inputs, a row of zeros, and chunks.
constexpr int RING = ROWS + 2 * BORDER, LATE = 2 * ROWS + 2 * BORDER;
constexpr int CHUNKS = ROWS * (STATISTICS > SPREADS ? STATISTICS : SPREADS) + REDUCTIONS + SUMMED + INPUTS + REGIONS;
constexpr size_t AT_PADDED = 0;
constexpr size_t AT_RING = AT_PADDED + (size_t)STATISTICS * LD;
constexpr size_t AT_SPREAD = AT_RING + (size_t)STATISTICS * RING * LD;
constexpr size_t AT_LATE = AT_SPREAD + (size_t)SPREADS * ROWS * LD;
constexpr size_t AT_EXPANDED = AT_LATE + (size_t)SPREADS * LATE * LD;
constexpr size_t AT_ZERO = AT_EXPANDED + (size_t)EXPANDED * LATE * LD;
constexpr size_t AT_CHUNKS = AT_ZERO + LD;
constexpr size_t SCRATCH = AT_CHUNKS + (size_t)CHUNKS * CHUNK;

struct Scratch {
  T* lanes = nullptr;
  ~Scratch() { free(lanes); }
  // Made at the first call of a thread and kept; the row of zeros is never written again.
  T* get() {
    void* made = nullptr;
    if (!lanes && !posix_memalign(&made, 64, SCRATCH * sizeof(T))) lanes = (T*)memset(made, 0, SCRATCH * sizeof(T));
    return lanes;
  }
};
thread_local Scratch scratch;

// The lanes of a vector that begins TAP pixels behind x, which is aligned. Where a vector is as long as a cache line,
// loads beside it touch two of them, so every other one is shifted out of registers: loads and shifts are done by
// different parts of a processor.
template <int TAP> inline __attribute__((always_inline)) Vector beside(const T* x) {
  constexpr int AT = TAP * C, FIRST = AT / LANES * LANES;
  if (AT == FIRST) return *(const Vector*)(x + AT);
#if defined(__AVX512F__) && (defined(__clang__) || __GNUC__ >= 12)
  if (TAP % 2 == 0) return SHIFTED(*(const Vector*)(x + FIRST), *(const Vector*)(x + FIRST + LANES), AT % LANES);
#endif
  return *(const Anywhere*)(x + AT);
}

// The window along the width: n lanes, in whole vectors, from rows that begin BORDER pixels before them.
__attribute__((noinline)) void blur_across(const T* RESTRICT in, T* RESTRICT out, int n) {
  for (int i = 0; i < n; i += LANES) {
    const T* x = in + i;
    *(Vector*)(out + i) = window(beside<0>(x), beside<1>(x), beside<2>(x), beside<3>(x), beside<4>(x), beside<5>(x),
                                 beside<6>(x), beside<7>(x), beside<8>(x), beside<9>(x), beside<10>(x));
  }
}

// Asks for n lanes of memory before they are needed: rows of an image are too far apart for the processor to guess.
inline void ahead(const T* x, long n) {
  for (long i = 0; i < n; i += 64 / sizeof(T)) __builtin_prefetch(x + i);
}

// Each pixel's number, once for every lane of it.
__attribute__((noinline)) void expand(const T* RESTRICT in, T* RESTRICT out, long pixels) {
  for (long p = 0; p < pixels; p++)
    for (int c = 0; c < C; c++) out[p * C + c] = in[p];
}

// The sum of n lanes, in an order that depends on n alone.
__attribute__((noinline)) double sum(const T* RESTRICT x, long n) {
  constexpr int PARTS = 64;
  T parts[PARTS] = {};
  long i = 0;
  for (; i + PARTS <= n; i += PARTS) {
#pragma omp simd
    for (int k = 0; k < PARTS; k++) parts[k] += x[i + k];
  }
  for (int k = 0; i + k < n; k++) parts[k] += x[i + k];
  for (int half = PARTS / 2; half > 4; half /= 2) {
#pragma omp simd
    for (int k = 0; k < half; k++) parts[k] += parts[k + half];
  }
  return ((double)parts[0] + parts[1]) + ((double)parts[2] + parts[3]) + ((double)parts[4] + parts[5]) +
         ((double)parts[6] + parts[7]);
}

// Which of n lanes of row y, from a column on, lie in the interior for each border.
inline void interior(const Call& call, long y, long column, int n, int lanes, Range* inner) {
  for (int k = 0; k < BORDERS; k++) {
    const long b = INTERIOR[k];
    const bool inside = y >= b && y < call.height - b;
    inner[k].from = (int)least(n, most(0, (b - column) * lanes));
    inner[k].to = inside ? (int)within((call.width - b - column) * lanes, n) : 0;
  }
}

// The weights of the regions in a row, summed for each normaliser. Rows are numbered through all images.
void region_row(const Call& call, T* lanes, long row) {
  T* chunks = lanes + AT_CHUNKS;
  double* sums = call.sums + row * SUMS;
  const long y = row % call.height;
  constexpr int STEP = CHUNK / REGION_C;
  for (long x = 0; x < call.width; x += STEP) {
    const int pixels = (int)least(STEP, call.width - x), n = pixels * REGION_C;
    const T* in[INPUTS];
    T* out[REGIONS + 1];
    Range inner[BORDERS + 1];
    for (int k = 0; k < INPUTS; k++) {
      const int own = SHARED[k] ? 1 : C;
      in[k] = call.inputs[k] + (row * call.width + x) * own;
      if (own < REGION_C && IN_REGIONS[k]) {
        expand(in[k], chunks + (REGIONS + k) * CHUNK, pixels);
        in[k] = chunks + (REGIONS + k) * CHUNK;
      }
    }
    for (int k = 0; k < REGIONS; k++) out[k] = chunks + k * CHUNK;
    interior(call, y, x, n, REGION_C, inner);
    regions(n, call.uniforms, in, nullptr, inner, out);
    for (int k = 0; k < NORMALISERS; k++) {
      const int region = NORMALISER_REGION[k], b = NORMALISER_BORDER[k];
      if (region < 0) continue;
      const T* w = out[region];
      const bool inside = y >= b && y < call.height - b;
      const long to = inside ? within((call.width - b - x) * REGION_C, n) : 0;
      const long from = least(to, most(0, (b - x) * REGION_C));
      sums[k] += sum(w + from, to - from);
      if (to - from < n) sums[k] += 0 * (sum(w, from) + sum(w + to, n - to));  // a NaN there is not hidden
    }
  }
}

// Rows b0 to b1 and columns x0 to x1 of an image.
template <bool GRADIENT>
void strip(const Call& call, T* lanes, long image, long b0, long b1, long x0, long x1) {
  constexpr bool SPREAD = GRADIENT && SPREADS > 0;
  constexpr bool WINDOWED = WINDOWS > 0 && (SPREAD || CENTRE > 0);
  constexpr bool LAST = REDUCTIONS > CENTRE || (GRADIENT && GRADIENTS > 0);
  constexpr int REACH = SPREAD ? BORDER : 0;
  const long H = call.height, W = call.width;
  const long s0 = most(0, b0 - REACH), s1 = least(H, b1 + REACH);    // rows of the stage in the centre
  const long xs0 = most(0, x0 - REACH), xs1 = least(W, x1 + REACH);  // and its columns
  const long xp0 = most(0, xs0 - BORDER), xp1 = least(W, xs1 + BORDER);  // columns of the stage before
  const long p1 = least(H, s1 + BORDER);
  T *padded = lanes + AT_PADDED, *spread = lanes + AT_SPREAD, *chunks = lanes + AT_CHUNKS;
  const T* zero = lanes + AT_ZERO;
  T* blurred_chunks = chunks + (REDUCTIONS + SUMMED) * CHUNK;

  // Outside of the image there are zeros.
  const long left = (xp0 - xs0 + BORDER) * C, right = (xp1 - xs0 + BORDER) * C;
  if (WINDOWED)
    for (int s = 0; s < STATISTICS; s++) {
      memset(padded + s * LD, 0, left * sizeof(T));
      memset(padded + s * LD + right, 0, ((xs1 - xs0 + 2 * BORDER) * C - right) * sizeof(T));
    }
  const long left_s = (xs0 - x0 + BORDER) * C, right_s = (xs1 - x0 + BORDER) * C;
  if (SPREAD)
    for (int s = 0; s < SPREADS * ROWS; s++) {
      memset(spread + s * LD, 0, left_s * sizeof(T));
      memset(spread + s * LD + right_s, 0, ((x1 - x0 + 2 * BORDER) * C - right_s) * sizeof(T));
    }

  const auto ring = [&](int s, long y) { return lanes + AT_RING + ((size_t)s * RING + y % RING) * LD; };
  const auto late = [&](int s, long y) { return lanes + AT_LATE + ((size_t)s * LATE + y % LATE) * LD; };
  const auto repeated = [&](int e, long y) { return lanes + AT_EXPANDED + ((size_t)e * LATE + y % LATE) * LD; };
  const auto inputs_at = [&](long y, long lane, const T** in) {  // lane: counted in the row
    for (int k = 0; k < INPUTS; k++)
      in[k] = SHARED[k] ? (PLACE[k] < 0 ? nullptr : repeated(PLACE[k], y) + lane - xp0 * C)
                        : call.inputs[k] + ((image * H + y) * W) * C + lane;
  };
  long p = most(0, s0 - BORDER);  // the next row of the stage before
  long s = s0;                    // of the stage in the centre
  long q = b0;                    // of the stage after
  long e = WINDOWED ? p : q;      // of the repeated inputs
  const auto expand_until = [&](long end) {
    for (; e < end; e++)
      for (int k = 0; k < EXPANDED; k++) {
        const T* row = call.inputs[EXPAND[k]] + (image * H + e) * W + xp0;
        if (e + ROWS < p1) ahead(row + ROWS * W, xp1 - xp0);
        expand(row, repeated(k, e), xp1 - xp0);
      }
  };
  const T *in[INPUTS], *rows[RING], *blurred[(STATISTICS > SPREADS ? STATISTICS : SPREADS) + 1];
  T* out[STATISTICS + REDUCTIONS + SPREADS + GRADIENTS + 1];
  Range inner[BORDERS + 1];

  while (q < b1) {
    if (WINDOWED && s < s1) {
      const long wanted = least(p1, s + ROWS + BORDER);
      expand_until(wanted);
      for (; p < wanted; p++) {
        const long n = (xp1 - xp0) * C;
        for (long from = 0; from < n; from += CHUNK) {
          const int m = (int)least(CHUNK, n - from);
          inputs_at(p, xp0 * C + from, in);
          interior(call, p, xp0 + from / C, m, C, inner);
          if (p + ROWS < p1)
            for (int k = 0; k < INPUTS; k++)
              if (!SHARED[k]) ahead(in[k] + ROWS * W * C, m);
          for (int k = 0; k < STATISTICS; k++) out[k] = padded + k * LD + left + from;
          before(m, call.uniforms, in, nullptr, inner, out);
        }
        for (int k = 0; k < STATISTICS; k++) blur_across(padded + k * LD, ring(k, p), (int)((xs1 - xs0) * C));
      }
      const int count = (int)least(ROWS, s1 - s);
      const long n = (xs1 - xs0) * C;
      for (long from = 0; from < n; from += CHUNK) {
        const int m = (int)least(CHUNK, n - from);
        for (int k = 0; k < STATISTICS; k++) {
          for (int r = 0; r < RING; r++) {
            const long y = s - BORDER + r;
            rows[r] = y < 0 || y >= p ? zero : ring(k, y);
          }
          blur_down(rows, blurred_chunks + k * ROWS * CHUNK, from, m);
        }
        for (int r = 0; r < count; r++) {
          const long y = s + r;
          const bool own = y >= b0 && y < b1;
          for (int k = 0; k < STATISTICS; k++) blurred[k] = blurred_chunks + (k * ROWS + r) * CHUNK;
          for (int k = 0; k < CENTRE; k++) out[k] = chunks + k * CHUNK;
          if (SPREAD)
            for (int k = 0; k < SPREADS; k++) out[CENTRE + k] = spread + (k * ROWS + r) * LD + left_s + from;
          inputs_at(y, xs0 * C + from, in);
          interior(call, y, xs0 + from / C, m, C, inner);
          (SPREAD ? centre_gradient : centre_values)(m, call.uniforms, in, blurred, inner, out);
          const long a = within((x0 - xs0) * C - from, m), z = within((x1 - xs0) * C - from, m);
          if (own)
            for (int k = 0; k < CENTRE; k++)
              call.sums[(image * H + y) * SUMS + NORMALISERS + k] += sum(out[k] + a, z - a);
        }
      }
      if (SPREAD)
        for (int r = 0; r < count; r++)
          for (int k = 0; k < SPREADS; k++)
            blur_across(spread + (k * ROWS + r) * LD, late(k, s + r), (int)((x1 - x0) * C));
      s += count;
    }
    while (q < b1 && (!WINDOWED || s >= least(s1, q + ROWS + REACH))) {
      const int count = (int)least(ROWS, b1 - q);
      const long n = LAST ? (x1 - x0) * C : 0;
      if (LAST) expand_until(q + count);
      for (long from = 0; from < n; from += CHUNK) {
        const int m = (int)least(CHUNK, n - from);
        if (SPREAD)
          for (int k = 0; k < SPREADS; k++) {
            for (int r = 0; r < RING; r++) {
              const long y = q - BORDER + r;
              rows[r] = y < 0 || y >= s ? zero : late(k, y);
            }
            blur_down(rows, blurred_chunks + k * ROWS * CHUNK, from, m);
          }
        for (int r = 0; r < count; r++) {
          const long y = q + r, row = image * H + y;
          for (int k = 0; k < SPREADS; k++) blurred[k] = blurred_chunks + (k * ROWS + r) * CHUNK;
          for (int k = 0; k < REDUCTIONS - CENTRE; k++) out[k] = chunks + k * CHUNK;
          int summed = 0;
          if (GRADIENT)
            for (int k = 0; k < GRADIENTS; k++)
              out[REDUCTIONS - CENTRE + k] = SHARED[DIFFERENTIABLE[k]]
                                                 ? chunks + (REDUCTIONS + summed++) * CHUNK
                                                 : call.gradients[k] + (row * W + x0) * C + from;
          inputs_at(y, x0 * C + from, in);
          interior(call, y, x0 + from / C, m, C, inner);
          (GRADIENT ? after_gradient : after_values)(m, call.uniforms, in, blurred, inner, out);
          for (int k = 0; k < REDUCTIONS - CENTRE; k++)
            call.sums[row * SUMS + NORMALISERS + CENTRE + k] += sum(out[k], m);
          if (GRADIENT)
            for (int k = 0; k < GRADIENTS; k++) {
              if (!SHARED[DIFFERENTIABLE[k]]) continue;
              T* to = call.gradients[k] + row * W + x0 + from / C;
              const T* lane = out[REDUCTIONS - CENTRE + k];
              for (int i = 0; i < m / C; i++) {
                T total = 0;
                for (int c = 0; c < C; c++) total += lane[i * C + c];
                to[i] = total;
              }
            }
        }
      }
      q += count;
    }
  }
}

// Rows r0 to r1, numbered through all images.
template <bool GRADIENT>
void band(const Call& call, T* lanes, long r0, long r1) {
  const long tiles = (call.width + TILE - 1) / TILE;
  while (r0 < r1) {
    const long image = r0 / call.height, y = r0 % call.height, count = least(call.height - y, r1 - r0);
    for (long t = 0; t < tiles; t++)
      strip<GRADIENT>(call, lanes, image, y, y + count, call.width * t / tiles, call.width * (t + 1) / tiles);
    r0 += count;
  }
}

}  // namespace

// The numbers of the plan into `out`, and with `gradient` the gradients. Returns 0, or 1 when memory ran out.
// tensors: the inputs, then the gradients. numbers: the cotangents of the reductions, then the numbers of the host.
extern "C" int run(const void* const* tensors, const double* numbers, T* out, long batch, long height, long width,
                   int threads, int gradient) {
  Call call;
  call.batch = batch, call.height = height, call.width = width;
  for (int k = 0; k < INPUTS; k++) call.inputs[k] = (const T*)tensors[k];
  for (int k = 0; k < GRADIENTS; k++) call.gradients[k] = gradient ? (T*)tensors[INPUTS + k] : nullptr;
  for (int k = 0; k < HOSTS; k++) call.uniforms.host[k] = (T)numbers[REDUCTIONS + k];
  const long rows = batch * height;
  call.sums = (double*)calloc(rows * SUMS + 1, sizeof(double));
  if (!call.sums) return 1;
  if (rows * width * C < SMALL) threads = 1;
  threads = (int)most(1, least(threads, rows / BAND));

  double divisors[NORMALISERS + 1];
  const auto divisor = [&](int k) { return NORMALISER[k] < 0 ? 1.0 : divisors[NORMALISER[k]]; };
  const auto weigh = [&] {
    for (int k = 0; k < NORMALISERS; k++) {
      const long b = NORMALISER_BORDER[k];
      double total = 0;
      for (long r = 0; r < rows; r++) total += call.sums[r * SUMS + k];
      divisors[k] = NORMALISER_REGION[k] >= 0
                        ? total * (C / REGION_C)
                        : (double)batch * most(0, height - 2 * b) * most(0, width - 2 * b) * C;
    }
    for (int k = 0; k < REDUCTIONS; k++)
      call.uniforms.weight[k] = divisor(k) > 0 ? (T)(numbers[k] / divisor(k)) : T(0);
  };
  if (REGIONS == 0) weigh();

  bool whole = true;  // whether every thread has its scratch
  int arrived = 0, weighed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1) reduction(&& : whole)
  {
    long own = 0, all = 1;
#ifdef _OPENMP
    own = omp_get_thread_num();
    all = omp_get_num_threads();
#endif
    const long r0 = rows * own / all, r1 = rows * (own + 1) / all;
    T* lanes = scratch.get();
    whole = lanes != nullptr;
    if (REGIONS > 0) {
      if (whole)
        for (long r = r0; r < r1; r++) region_row(call, lanes, r);
      // The last thread goes on to the normalisers, the others wait. They soon leave their processor to whoever needs
      // it, unlike those at a barrier of OpenMP, which would hold up a thread that waits for a processor.
      if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == all) {
        weigh();
        __atomic_store_n(&weighed, 1, __ATOMIC_RELEASE);
      }
      for (int turns = 0; !__atomic_load_n(&weighed, __ATOMIC_ACQUIRE);)
        if (++turns > 1000) sched_yield();
    }
    if (whole && width > 0) {
      if (gradient) band<true>(call, lanes, r0, r1);
      else band<false>(call, lanes, r0, r1);
    }
  }
  double every = 0;
  for (int k = 0; k < REDUCTIONS; k++) {
    double total = 0;
    for (long r = 0; r < rows; r++) total += call.sums[r * SUMS + NORMALISERS + k];
    const double value = divisor(k) > 0 ? total / divisor(k) : 0;
    every += numbers[k] * value;
    out[1 + k] = (T)value;
  }
  out[0] = (T)every;
  for (int k = 0; k < NORMALISERS; k++) out[1 + REDUCTIONS + k] = (T)divisors[k];
  free(call.sums);
  return whole ? 0 : 1;
}
"""
