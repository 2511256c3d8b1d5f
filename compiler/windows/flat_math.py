"""Functions of a lane as C++, for `flat_source`: those of the C library in double precision, own ones in single."""

from __future__ import annotations

EXACT = """\
inline T abs_of(T x) { return __builtin_fabs(x); }
inline T sqrt_of(T x) { return __builtin_sqrt(x); }
inline T exp_of(T x) { return exp(x); }
inline T log_of(T x) { return log(x); }
inline T log1p_of(T x) { return log1p(x); }
inline T sigmoid_of(T x) { return 1 / (1 + exp(-x)); }
inline T tanh_of(T x) { return tanh(x); }
"""

SINGLE = """\
inline T abs_of(T x) { return __builtin_fabsf(x); }
inline T sqrt_of(T x) { return __builtin_sqrtf(x); }

// Straight code, which compilers turn into vectors. Polynomials: Moshier, Cephes Mathematical Library.
inline unsigned bits_of(float x) { unsigned n; memcpy(&n, &x, 4); return n; }
inline float float_of(unsigned n) { float x; memcpy(&x, &n, 4); return x; }

// 2^n e^r with |r| <= ln(2) / 2. The power is two factors: of a result at an end of the range one would be no number.
inline float exp_of(float x) {
  x = x > 89.f ? 89.f : x;
  x = x < -104.f ? -104.f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.f;  // 1.5 * 2^23: its last bits are the rounded number
  const float k = shifted - 12582912.f;
  const int n = (int)(bits_of(shifted) - 0x4B400000u);
  const float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = p * (r * r) + r + 1.f;
  const int half = n >> 1;
  return y * float_of((unsigned)(half + 127) << 23) * float_of((unsigned)(n - half + 127) << 23);
}

// x = m 2^e with m from sqrt(1/2) to sqrt(2).
inline float log_of(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const unsigned n = bits_of(tiny ? x * 8388608.f : x);
  const float half = float_of((n & 0x7FFFFFu) | 0x3F000000u);
  const bool low = half < 0.707106781186547524f;
  const float e = (float)((int)((n >> 23) & 0xFFu) - 126) - (low ? 1.f : 0.f) - (tiny ? 23.f : 0.f);
  const float m = (low ? half + half : half) - 1.f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const float y = (p * m * z - e * 2.12194440e-4f - 0.5f * z + m) + e * 0.693359375f;
  const float inside = x > 0.f ? y : (x == 0.f ? -INFINITY : NAN);
  return x < INFINITY ? inside : x;
}

// What rounding takes from 1 + x comes back as the first term of a series.
inline float log1p_of(float x) {
  const float u = 1.f + x;
  const float lost = (x - (u - 1.f)) / u;
  return log_of(u) + ((u > 0.f) & (u < INFINITY) ? lost : 0.f);
}

inline float sigmoid_of(float x) { return 1.f / (1.f + exp_of(-x)); }

inline float tanh_of(float x) {
  const float a = __builtin_fabsf(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float far = 1.f - 2.f / (exp_of(a + a) + 1.f);
  return a < 0.625f ? p * z * x + x : (x < 0.f ? -far : far);
}
"""
