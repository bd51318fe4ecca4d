// Rows of the user's arrays into the kernels' layouts, and parameters to and fro. Part of kernels.cpp.
#pragma once
#include "tiles.hpp"

namespace chainrule {
namespace {

// A number of the input as T. A grey level g of a uint8 image is g / 255, correctly rounded: a product with 1/255 and one
// correction (Markstein 1990), far cheaper than a division.
template <class T, class S>
CHAINRULE_INLINE T number(S x) {
  T g = T(x);
  if constexpr (sizeof(S) > 1) return g;
  else if constexpr (sizeof(T) == 4) {
    T q = g * (1 / 255.f);
    return __builtin_fmaf(__builtin_fmaf(-q, 255.f, g), 1 / 255.f, q);
  } else {
    T q = g * (1 / 255.);
    return __builtin_fma(__builtin_fma(-q, 255., g), 1 / 255., q);
  }
}

// V vectors of contiguous numbers; rows lie anywhere in memory, so the fewer instructions, the more cache misses are under way at
// once.
template <int V, class T, class S>
CHAINRULE_INLINE void copy_vectors(const S* from, T* to) {
  constexpr int N = V * LANES<T>;
  if constexpr (sizeof(T) == sizeof(S)) {
    EACH (v, V) store<T>(to + v * LANES<T>, load<T>(from + v * LANES<T>));
  } else {
    T numbers[N];
    for (int j = 0; j < N; j++) numbers[j] = number<T, S>(from[j]);
    EACH (v, V) store<T>(to + v * LANES<T>, load<T>(numbers + v * LANES<T>));
  }
}

// Rows lie anywhere in memory: the lines that hold these columns of some rows come while others are worked on.
CHAINRULE_INLINE void fetch(const Rows& x, const Batch& batch, int64_t column, int64_t n) {
  const int64_t size = bytes_of(x.source), bytes = least(n, x.columns - column) * size, gap = x.row_stride * size;
  const char* const first = static_cast<const char*>(x.at(0, column));
  const bool aligned = (reinterpret_cast<intptr_t>(first) | gap) % LINE == 0;
  const int64_t lines = (bytes + LINE - 1) / LINE + !aligned;  // one more where the end may lie in another
  for (int64_t row = 0; row < batch.rows; row++) {
    const char* from = first + batch.row(row) * gap;
    for (int64_t line = 0; line < lines; line++) __builtin_prefetch(from + line * LINE);
  }
}

// Where vectors that begin in a row may reach past its end, into the next or what lies between: X goes on up to here.
CHAINRULE_INLINE int64_t end_of(const Rows& x) {
  return (x.row_stride > 0 ? (x.rows - 1) * x.row_stride : 0) + x.columns;
}

template <class T, class S>
void gather_from(const Rows& x, const Batch& batch, T* A) {
  constexpr int W = WIDTH<T>;
  const int64_t last = end_of(x) - W;
  for (int64_t row = 0; row < batch.rows; row++) {
    const int64_t at = batch.row(row) * x.row_stride;
    const S* from = static_cast<const S*>(x.data) + at;
    for (int64_t k = 0; k < x.columns; k += W) {
      T* to = A + k * batch.rows + row * W;
      const int64_t count = least(W, x.columns - k);
      const bool beyond = sizeof(T) == sizeof(S) && at + k <= last;
      if (x.column_stride == 1 && (count == W || (beyond && count > LANES<T>))) copy_vectors<PANEL, T>(from + k, to);
      else if (x.column_stride == 1 && beyond) copy_vectors<1, T>(from + k, to);
      else
        for (int64_t j = 0; j < count; j++) to[j] = number<T, S>(from[(k + j) * x.column_stride]);
    }
  }
}

// LANES rows by MOST columns from column k on, turned in registers.
template <int MOST, class T, class S>
CHAINRULE_INLINE void turn_square(const Rows& x, const Batch& batch, int64_t row, int64_t k, Vec<T> scale, Vec<T> shift,
                                  int64_t stride, T* C) {
  constexpr int L = LANES<T>;
  const S* X = static_cast<const S*>(x.data) + k;
  const int64_t count = least(MOST, x.columns - k);
  Vec<T> v[L];
  bool whole = sizeof(T) == sizeof(S);
  if constexpr (sizeof(T) == sizeof(S)) {
    const int64_t last = end_of(x) - k - L;
    EACH (i, L) whole &= batch.row(row + i) * x.row_stride <= last;
    if (whole)
      EACH (i, L) v[i] = load<T>(X + batch.row(row + i) * x.row_stride);
  }
  if (!whole) {
    T held[L][L];
    for (int i = 0; i < L; i++)
      for (int64_t j = 0; j < count; j++) held[i][j] = number<T, S>(X[batch.row(row + i) * x.row_stride + j]);
    EACH (i, L) v[i] = load<T>(held[i]);
  }
  transpose<T>(v);
  EACH (j, MOST)
    if (j < count) store<T>(C + (k + j) * stride + row, fma(v[j], scale, shift));
}
template <class T, class S>
void gather_columns_from(const Rows& x, const Batch& batch, T scale, T shift, int64_t stride, T* C) {
  constexpr int L = LANES<T>;
  const Vec<T> scales = splat(scale), shifts = splat(shift);
  if (x.column_stride == 1 && batch.rows >= L) {  // the last squares overlap those before
    auto squares = [&]<int MOST>() INLINE_LAMBDA {
      for (int64_t row = 0; row < batch.rows; row += L) {
        if (batch.index) fetch(x, batch.part(least(row + L, batch.rows), least(row + 2 * L, batch.rows)), 0, x.columns);
        for (int64_t k = 0; k < x.columns; k += L)
          turn_square<MOST, T, S>(x, batch, least(row, batch.rows - L), k > 0 ? least(k, x.columns - L) : 0, scales,
                                  shifts, stride, C);
      }
    };
    if (x.columns <= 4) squares.template operator()<least(4, L)>();
    else squares.template operator()<L>();
    return;
  }
  for (int64_t row = 0; row < batch.rows; row++) {
    const S* from = static_cast<const S*>(x.data) + batch.row(row) * x.row_stride;
    for (int64_t k = 0; k < x.columns; k++)
      C[k * stride + row] = fma(number<T, S>(from[k * x.column_stride]), scale, shift);
  }
}
template <class T>
void gather(const Rows& x, const Batch& batch, T* A) {
  switch (x.source) {
    case Source::float32: return gather_from<T, float>(x, batch, A);
    case Source::float64: return gather_from<T, double>(x, batch, A);
    case Source::uint8: return gather_from<T, uint8_t>(x, batch, A);
  }
}
template <class T>
void gather_columns(const Rows& x, const Batch& batch, T scale, T shift, int64_t stride, T* C) {
  switch (x.source) {
    case Source::float32: return gather_columns_from<T, float>(x, batch, scale, shift, stride, C);
    case Source::float64: return gather_columns_from<T, double>(x, batch, scale, shift, stride, C);
    case Source::uint8: return gather_columns_from<T, uint8_t>(x, batch, scale, shift, stride, C);
  }
}
template <class T>
void scatter_columns(const T* C, int64_t stride, int64_t rows, int64_t units, int64_t row_stride, int64_t unit_stride,
                     T* Z) {
  for (int64_t row = 0; row < rows; row++)
    for (int64_t u = 0; u < units; u++) Z[row * row_stride + u * unit_stride] = C[u * stride + row];
}

// f(flat, packed, n, gap): n numbers of the weights and of the bias, of outputs from `first` on, that lie `gap` apart in the
// packed vector.
template <class T, class F>
CHAINRULE_INLINE void each_row(const Layer& layer, int64_t first, const F& f) {
  constexpr int W = WIDTH<T>;
  for (int64_t o = first; o < layer.out; o++) {
    const int64_t row = layer.flat + o * layer.in;
    if (layer.narrow) f(row, layer.packed + o * padded<T>(layer.in), layer.in, 1);
    else f(row, layer.packed + o / W * layer.in * W + o % W, layer.in, W);
  }
  for (int64_t o = 0; o < layer.out; o++) f(layer.flat_bias() + o, layer.bias + o, 1, 1);
}
// f(flat, packed) for squares of LANES outputs by LANES inputs, the last of a row beside the end; how many outputs they cover.
template <class T, class F>
CHAINRULE_INLINE int64_t each_square(const Layer& layer, const F& f) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  if (layer.narrow || layer.in < L) return 0;
  const int64_t whole = layer.out / L * L;
  for (int64_t o = 0; o < whole; o += L)
    for (int64_t k = 0; k < layer.in; k += L) {
      const int64_t i = least(k, layer.in - L);
      f(layer.flat + o * layer.in + i, layer.packed + o / W * layer.in * W + i * W + o % W);
    }
  return whole;
}
template <class T>
void pack(const Layer& layer, const T* flat, T* packed) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t done = each_square<T>(layer, [&](int64_t from, int64_t to) INLINE_LAMBDA {
    Vec<T> v[L];
    load_turned(flat + from, layer.in, v);
    EACH (i, L) store<T>(packed + to + i * W, v[i]);
  });
  each_row<T>(layer, done, [&](int64_t from, int64_t to, int64_t n, int64_t gap) INLINE_LAMBDA {
    for (int64_t i = 0; i < n; i++) packed[to + i * gap] = flat[from + i];
  });
}
template <class T>
void unpack(const Layer& layer, const T* packed, T* flat) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t done = each_square<T>(layer, [&](int64_t to, int64_t from) INLINE_LAMBDA {
    Vec<T> v[L];
    load_turned(packed + from, W, v);
    EACH (j, L) store<T>(flat + to + j * layer.in, v[j]);
  });
  each_row<T>(layer, done, [&](int64_t to, int64_t from, int64_t n, int64_t gap) INLINE_LAMBDA {
    for (int64_t i = 0; i < n; i++) flat[to + i] = packed[from + i * gap];
  });
}

}  // namespace
}  // namespace chainrule
