// One vector type per scalar type, and the functions of one variable that a network needs, on vectors.
//
// It is: load, store, fma, sqrt, exp, tanh, log, the sigmoid, the normal distribution; the same bits on every instruction
// set, because each is built from correctly rounded operations (+ - * / fma sqrt) in one order. It is not a general
// vector library: what the kernels do not use is not here.
//
// Compiled once per instruction set, so everything sits in an unnamed namespace: an inline function with external linkage
// could be merged by the linker with its copy of another instruction set, and then run where that set does not exist.
// CHAINRULE_VECTOR_BYTES is 32 for AVX2, 64 for AVX-512, 16 for NEON.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "polynomials.hpp"

#define CHAINRULE_INLINE static inline __attribute__((always_inline))
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)  // unrolled: i is a constant
#define INLINE_LAMBDA __attribute__((always_inline))

namespace {

template <class T>
struct Simd;
template <>
struct Simd<float> {
  typedef float type __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), may_alias));
  typedef float unaligned __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t bits __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), may_alias));
  typedef uint32_t words __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
  typedef uint32_t raw __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), may_alias));
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float round = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  static constexpr float normal = 0x1p-126f, faint = 0x1p-42f, flat = 0x1p-58f;
  static constexpr float exp_low = -87.f, exp_high = 88.f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // high: few bits, n * high is exact
};
template <>
struct Simd<double> {
  typedef double type __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), may_alias));
  typedef double unaligned __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t bits __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), may_alias));
  typedef uint32_t words __attribute__((vector_size(CHAINRULE_VECTOR_BYTES / 2)));
  typedef uint64_t raw __attribute__((vector_size(CHAINRULE_VECTOR_BYTES), may_alias));
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double round = 6755399441055744.;  // 1.5 * 2^52
  static constexpr double normal = 0x1p-1022, faint = 0x1p-340, flat = 0x1p-506;
  static constexpr double exp_low = -708., exp_high = 709.;
  static constexpr double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
};
template <class T>
using Vec = typename Simd<T>::type;
template <class T>
using Bits = typename Simd<T>::bits;
template <class T>
using Raw = typename Simd<T>::raw;  // the same bits without a sign: their sums may wrap around
template <class T>
using Words = typename Simd<T>::words;  // 32 bits a lane
template <class T>
constexpr int LANES = CHAINRULE_VECTOR_BYTES / sizeof(T);

template <class T>
CHAINRULE_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::unaligned*>(p);
}
template <class T>
CHAINRULE_INLINE void store(T* p, Vec<T> x) {
  *reinterpret_cast<typename Simd<T>::unaligned*>(p) = x;
}
template <class T>
CHAINRULE_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};  // x - 0: every lane holds x
}

// Where a vector is one register of an x86-64 processor: its instruction `op`, on floats and on doubles.
#if CHAINRULE_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define CHAINRULE_X86(op, type) _mm512_##op##_##type
typedef __m512 Floats;
typedef __m512d Doubles;
#elif CHAINRULE_VECTOR_BYTES == 32 && defined(__FMA__)
#define CHAINRULE_X86(op, type) _mm256_##op##_##type
typedef __m256 Floats;
typedef __m256d Doubles;
#elif CHAINRULE_VECTOR_BYTES == 16 && defined(__FMA__)
#define CHAINRULE_X86(op, type) _mm_##op##_##type
typedef __m128 Floats;
typedef __m128d Doubles;
#endif

// a * b + c, rounded once. The lanes' loops here and below serve widths that the instruction set has no register for (a test
// uses them).
CHAINRULE_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
CHAINRULE_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
CHAINRULE_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(CHAINRULE_X86)
  return (Vec<float>)CHAINRULE_X86(fmadd, ps)((Floats)a, (Floats)b, (Floats)c);
#elif CHAINRULE_VECTOR_BYTES == 16 && defined(__aarch64__)
  return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  for (int i = 0; i < LANES<float>; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#endif
}
CHAINRULE_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(CHAINRULE_X86)
  return (Vec<double>)CHAINRULE_X86(fmadd, pd)((Doubles)a, (Doubles)b, (Doubles)c);
#elif CHAINRULE_VECTOR_BYTES == 16 && defined(__aarch64__)
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  for (int i = 0; i < LANES<double>; i++) c[i] = __builtin_fma(a[i], b[i], c[i]);
  return c;
#endif
}
CHAINRULE_INLINE Vec<float> square_root(Vec<float> a) {
#if defined(CHAINRULE_X86)
  return (Vec<float>)CHAINRULE_X86(sqrt, ps)((Floats)a);
#else
  for (int i = 0; i < LANES<float>; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}
CHAINRULE_INLINE Vec<double> square_root(Vec<double> a) {
#if defined(CHAINRULE_X86)
  return (Vec<double>)CHAINRULE_X86(sqrt, pd)((Doubles)a);
#else
  for (int i = 0; i < LANES<double>; i++) a[i] = __builtin_sqrt(a[i]);
  return a;
#endif
}

template <class T>
CHAINRULE_INLINE Vec<T> absolute(Vec<T> x) {
  return (Vec<T>)((Bits<T>)x & ~(Bits<T>)splat(T(-0.)));
}
// x, but not below low, or not above high: one instruction where the compiler, which minds the NaN, needs three. A NaN in x
// survives: it is the second operand, and both instructions return that one where they cannot compare.
template <class T>
CHAINRULE_INLINE Vec<T> at_least(Vec<T> x, T low) {
#if defined(CHAINRULE_X86)
  if constexpr (sizeof(T) == 4) return (Vec<T>)CHAINRULE_X86(max, ps)((Floats)splat(low), (Floats)x);
  else return (Vec<T>)CHAINRULE_X86(max, pd)((Doubles)splat(low), (Doubles)x);
#else
  return x < splat(low) ? splat(low) : x;
#endif
}
template <class T>
CHAINRULE_INLINE Vec<T> at_most(Vec<T> x, T high) {
#if defined(CHAINRULE_X86)
  if constexpr (sizeof(T) == 4) return (Vec<T>)CHAINRULE_X86(min, ps)((Floats)splat(high), (Floats)x);
  else return (Vec<T>)CHAINRULE_X86(min, pd)((Doubles)splat(high), (Doubles)x);
#else
  return x > splat(high) ? splat(high) : x;
#endif
}

// x, but 0 where it is nearer to that than `least`. Below Simd<T>::normal a number is denormal, and each use of it may cost a
// hundred cycles; below `flat` a thousandth of its square is, below `faint` the product of three. A NaN survives.
template <class T>
CHAINRULE_INLINE Vec<T> zero_below(T least, Vec<T> x) {
  return absolute<T>(x) < splat(least) ? Vec<T>{} : x;
}

template <class T, int N>
CHAINRULE_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[N]) {
  Vec<T> y = splat(c[N - 1]);
  for (int i = N - 2; i >= 0; i--) y = fma(y, x, splat(c[i]));
  return y;
}
template <class T>
struct Table;
template <>
struct Table<float> {
  static constexpr auto& EXP = EXP_FLOAT;
  static constexpr auto& ATANH = ATANH_FLOAT;
  static constexpr auto& ERFC = ERFC_FLOAT;
};
template <>
struct Table<double> {
  static constexpr auto& EXP = EXP_DOUBLE;
  static constexpr auto& ATANH = ATANH_DOUBLE;
  static constexpr auto& ERFC = ERFC_DOUBLE;
};

// x = n ln 2 + r with |r| <= ln 2 / 2; then e^x = scale + scale * part with scale = 2^n and part = e^r - 1. The part keeps
// its relative accuracy near 0, so that exp(x), exp(x) - 1 and with it tanh(x) come from one polynomial.
template <class T>
struct Exponential {
  Vec<T> scale, part;
};
template <class T>
CHAINRULE_INLINE Exponential<T> exponential(Vec<T> x) {
  using S = Simd<T>;
  x = at_most(at_least(x, S::exp_low), S::exp_high);
  Vec<T> shifted = fma(x, splat(T(1.4426950408889634)), splat(S::round));
  Vec<T> n = shifted - splat(S::round);
  Vec<T> r = fma(n, splat(-S::ln2_high), x);
  r = fma(n, splat(-S::ln2_low), r);
  Vec<T> part = fma(polynomial(r, Table<T>::EXP), r * r, r);
  Raw<T> scale = ((Raw<T>)shifted << S::mantissa) + (Raw<T>)splat(T(1));
  return {(Vec<T>)scale, part};
}
template <class T>
CHAINRULE_INLINE Vec<T> exp(Vec<T> x) {
  auto e = exponential<T>(x);
  return fma(e.scale, e.part, e.scale);
}
// (2) σ(x) = 1 / (1 + e^−x)
template <class T>
CHAINRULE_INLINE Vec<T> sigmoid(Vec<T> x) {
  return splat(T(1)) / (splat(T(1)) + exp<T>(-x));
}
// tanh x = t / (t + 2) with t = e^(2x) − 1
template <class T>
CHAINRULE_INLINE Vec<T> tanh(Vec<T> x) {
  auto e = exponential<T>(x + x);
  Vec<T> t = fma(e.scale, e.part, e.scale - splat(T(1)));
  return t / (t + splat(T(2)));
}
// log((1 + s)/(1 − s)) = 2 atanh(s) for |s| <= 1/3
template <class T>
CHAINRULE_INLINE Vec<T> twice_atanh(Vec<T> s) {
  Vec<T> t = s * s, two_s = s + s;
  return fma(two_s * t, polynomial(t, Table<T>::ATANH), two_s);
}
// log(1 + u) for u in [0, 1]
template <class T>
CHAINRULE_INLINE Vec<T> log1p_unit(Vec<T> u) {
  return twice_atanh<T>(u / (u + splat(T(2))));
}
// log(x) for normal x > 0: x = 2^n m with m in [1/√2, √2), s = (m − 1)/(m + 1)
template <class T>
CHAINRULE_INLINE Vec<T> log(Vec<T> x) {
  using S = Simd<T>;
  Raw<T> offset = (Raw<T>)x - (Raw<T>)splat(T(0.70710678118654752));
  Bits<T> exponent = (Bits<T>)offset >> S::mantissa;
  Vec<T> m = (Vec<T>)((Raw<T>)x - ((Raw<T>)exponent << S::mantissa));
  Vec<T> n = __builtin_convertvector(exponent, Vec<T>);
  Vec<T> s = (m - splat(T(1))) / (m + splat(T(1)));
  return fma(n, splat(S::ln2_high), fma(n, splat(S::ln2_low), twice_atanh<T>(s)));
}
// softplus(x) = log(1 + e^x) = max(x, 0) + log(1 + e^−|x|)
template <class T>
CHAINRULE_INLINE Vec<T> softplus(Vec<T> x) {
  return at_least(x, T(0)) + log1p_unit<T>(exp<T>(-absolute<T>(x)));
}
// The standard normal distribution: its density φ(x) = e^(−x²/2)/√(2π), and Φ(x) = ½ erfc(−x/√2), from
// erfc(z) = e^(−z²) f((z − 4)/(z + 4)) / (1 + 2z) for z = |x|/√2.
template <class T>
struct Normal {
  Vec<T> density, distribution;
};
template <class T>
CHAINRULE_INLINE Normal<T> normal(Vec<T> x) {
  Vec<T> z = at_most(absolute<T>(x) * splat(T(0.70710678118654752)), T(27));
  Vec<T> decay = exp<T>(at_least(x * x * splat(T(-0.5)), T(0.7) * Simd<T>::exp_low));  // no denormal numbers
  Vec<T> w = (z - splat(T(4))) / (z + splat(T(4)));
  Vec<T> upper = splat(T(0.5)) * decay * polynomial(w, Table<T>::ERFC) / (splat(T(1)) + z + z);  // Φ(−|x|)
  return {decay * splat(T(0.39894228040143268)), x > splat(T(0)) ? splat(T(1)) - upper : upper};
}

template <int... I>
struct Order {};
template <int N, int... I>
struct Ascending : Ascending<N - 1, N - 1, I...> {};
template <int... I>
struct Ascending<0, I...> {
  typedef Order<I...> type;
};
// Lanes I of the two vectors laid end to end.
template <int... I, class V>
CHAINRULE_INLINE V shuffle(V a, V b) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, I...);
#else
  typedef decltype(a < b) Mask;
  return __builtin_shuffle(a, b, Mask{I...});
#endif
}
#if CHAINRULE_VECTOR_BYTES == 64 && defined(__AVX512F__)
// As `exchange` below, with masks: one of the two stays where it is. The compiler takes a register more for each pair, and has
// none left.
template <int D>
CHAINRULE_INLINE void exchange_masked(Vec<float>& a, Vec<float>& b) {
  const __m512 x = (__m512)a, y = (__m512)b;
  if constexpr (D == 1) {
    a = (Vec<float>)_mm512_mask_moveldup_ps(x, 0xAAAA, y);
    b = (Vec<float>)_mm512_mask_movehdup_ps(y, 0x5555, x);
  } else if constexpr (D == 2) {
    a = (Vec<float>)_mm512_unpacklo_pd((__m512d)x, (__m512d)y);
    b = (Vec<float>)_mm512_unpackhi_pd((__m512d)x, (__m512d)y);
  } else if constexpr (D == 4) {
    a = (Vec<float>)_mm512_mask_shuffle_f32x4(x, 0xF0F0, y, y, 0xA0);
    b = (Vec<float>)_mm512_mask_shuffle_f32x4(y, 0x0F0F, x, x, 0xF5);
  } else {
    a = (Vec<float>)_mm512_shuffle_f32x4(x, y, 0x44);
    b = (Vec<float>)_mm512_shuffle_f32x4(x, y, 0xEE);
  }
}
#endif
// The upper right of a 2 x 2 scheme of blocks of D lanes changes places with the lower left.
template <int D, class T, int... J>
CHAINRULE_INLINE void exchange(Vec<T>& a, Vec<T>& b, Order<J...>) {
  constexpr int L = sizeof...(J);
#if CHAINRULE_VECTOR_BYTES == 64 && defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return exchange_masked<D>(a, b);
#endif
  Vec<T> upper = shuffle<(J & D ? L + J - D : J)...>(a, b);
  b = shuffle<(J & D ? L + J : J + D)...>(a, b);
  a = upper;
}
// v[i][j] becomes v[j][i]. What is not used of the last halves is not computed: the largest blocks go first.
template <class T, int D = LANES<T> / 2>
CHAINRULE_INLINE void transpose(Vec<T> (&v)[LANES<T>]) {
  EACH (i, LANES<T>)
    if ((i & D) == 0) exchange<D, T>(v[i], v[i + D], typename Ascending<LANES<T>>::type{});
  if constexpr (D > 1) transpose<T, D / 2>(v);
}
// A square of LANES x LANES numbers, turned: v[j][i] = rows[i][at + j].
template <class T>
CHAINRULE_INLINE void load_turned(const T* const (&rows)[LANES<T>], int64_t at, Vec<T> (&v)[LANES<T>]) {
  EACH (i, LANES<T>) v[i] = load(rows[i] + at);
  transpose<T>(v);
}
// The same of rows that lie `gap` apart. The compiler would keep an address for each, in memory; so it may not know that one
// depends on the other.
template <class T>
CHAINRULE_INLINE void load_turned(const T* row, int64_t gap, Vec<T> (&v)[LANES<T>]) {
  EACH (i, LANES<T>) {
    v[i] = load(row);
    row += gap;
    __asm__("" : "+r"(row));
  }
  transpose<T>(v);
}

// A panel is two vectors wide: a forward tile then needs one broadcast for two multiply-adds.
constexpr int PANEL = 2;
template <class T>
constexpr int WIDTH = PANEL * LANES<T>;
CHAINRULE_INLINE constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace
