// How loops over rows, units and inputs are cut into tiles whose sums stay in registers. Part of kernels.cpp.
#pragma once
#include "kernels.hpp"
#include "simd.hpp"

namespace chainrule {
namespace {

// Rows of a tile: 16 registers hold 6 rows x 2 sums, 2 weights and 1 broadcast. With 32 there is room to spare: two units
// with a latency of four need 8 sums under way, 8 x 2 are plenty.
constexpr int ROWS = CHAINRULE_ROWS;
// Inputs of one forward block: its weights (16 KiB of one panel) stay in the first-level cache for all rows of the batch.
constexpr int64_t BLOCK = 256;

template <class T>
CHAINRULE_INLINE int64_t vectors(int64_t n) {
  return (n + LANES<T> - 1) / LANES<T>;
}
template <class T>
CHAINRULE_INLINE int64_t panels(int64_t n) {
  return (n + WIDTH<T> - 1) / WIDTH<T>;
}
template <class T>
CHAINRULE_INLINE int64_t padded(int64_t n) {  // to whole panels
  return panels<T>(n) * WIDTH<T>;
}
// The vectors of a row of n numbers that lie in a range of lines.
template <class T>
CHAINRULE_INLINE Range vectors_of(Range lines, int64_t n) {
  constexpr int each = LINE / CHAINRULE_VECTOR_BYTES;
  return {least(lines.begin * each, vectors<T>(n)), least(lines.end * each, vectors<T>(n))};
}
// f(panel, from, to): the vectors from..to, of PANEL, of each panel that holds some of first..last.
template <class F>
CHAINRULE_INLINE void each_panel(Range vectors, const F& f) {
  for (int64_t v = vectors.begin, n; v < vectors.end; v += n) {
    n = least(vectors.end - v, PANEL - v % PANEL);
    f(v / PANEL, v % PANEL, v % PANEL + n);
  }
}
// f(at) for each vector of `rows` rows of a panel that begins at `at`, of the vectors from..to of a row.
template <class T, class F>
CHAINRULE_INLINE void each_vector(int64_t at, int64_t rows, int64_t from, int64_t to, const F& f) {
  if (from == 0 && to == PANEL)
    for (int64_t i = at; i < at + rows * WIDTH<T>; i += LANES<T>) f(i);
  else
    for (int64_t v = from; v < to; v++)
      for (int64_t row = 0; row < rows; row++) f(at + row * WIDTH<T> + v * LANES<T>);
}

// ---- run-time numbers as compile-time ones ---------------------------------------------------------------------------

template <int M, class F>
CHAINRULE_INLINE void with_count(int64_t m, const F& f) {
  if (m == M) f.template operator()<M>();
  else if constexpr (M > 1) with_count<M - 1>(m, f);
}
// f<M>(first) for runs of M <= MOST that cover 0..n as evenly as they can: a last tile of one row would leave the
// arithmetic units waiting for its few sums.
template <int MOST, class F>
CHAINRULE_INLINE void cover(int64_t n, const F& f) {
  for (int64_t first = 0, tiles = (n + MOST - 1) / MOST; tiles > 0; tiles--) {
    int64_t m = (n - first + tiles - 1) / tiles;
    with_count<MOST>(m, [&]<int M>() INLINE_LAMBDA { f.template operator()<M>(first); });
    first += m;
  }
}

// ---- (35): the sums of a gradient --------------------------------------------------------------------------------------

// sum[m][v] = Σ_row A[row][m] D[row][v], from 0, rows ascending: a row of A is a_row further, its number m a_next.
template <int M, int V, class T>
CHAINRULE_INLINE void sum_rows(const T* A, int64_t a_row, int64_t a_next, const T* D, int64_t d_row, int64_t rows,
                               Vec<T> (&sum)[M][V]) {
  EACH (m, M)
    EACH (v, V) sum[m][v] = Vec<T>{};
#pragma GCC unroll 2
  for (int64_t row = 0; row < rows; row++) {
    Vec<T> d[V];
    EACH (v, V) d[v] = load(D + row * d_row + v * LANES<T>);
    EACH (m, M) {
      Vec<T> a = splat(A[row * a_row + m * a_next]);
      EACH (v, V) sum[m][v] = fma(a, d[v], sum[m][v]);
    }
  }
}

}  // namespace
}  // namespace chainrule
