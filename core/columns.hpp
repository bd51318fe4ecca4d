// Values in columns, C[unit][stride], the rows of a batch a lane each; the weights are read from where they lie, one number
// for all lanes. Nothing is packed, and a narrow layer leaves no lane empty. Part of kernels.cpp.
#pragma once
#include "functions.hpp"
#include "steps.hpp"

namespace chainrule {
namespace {

// A tile's sums: 6 units x 2 vectors of rows where there are 16 registers, x 4 where there are 32.
constexpr int UNITS = 6, COLUMNS = ROWS == 6 ? 2 : 4;
constexpr int64_t COLUMN_BLOCK = 128;  // inputs of one block: with the rows of a tile, 32 KiB of A at most

// ---- (31, 36): products ------------------------------------------------------------------------------------------------

// P[u] = bias[u] + Σ_i W[u * unit + i * input] A[i], or from 0 where bias is null; P is not A.
template <class T>
struct ColumnProduct {
  Coefficients<T> w;
  const T* A;
  int64_t a_stride;
  T* P;
  int64_t p_stride, units, inputs, vectors;
};
template <int M, int V, class T>
CHAINRULE_INLINE void column_tile(const ColumnProduct<T>& c, int64_t u, int64_t v, int64_t begin, int64_t end) {
  constexpr int L = LANES<T>;
  const T *W = c.w.W + u * c.w.unit, *A = c.A + v * L;
  T* P = c.P + u * c.p_stride + v * L;
  Vec<T> sum[M][V];
  EACH (m, M)
    EACH (k, V) sum[m][k] = begin ? load(P + m * c.p_stride + k * L) : c.w.bias ? splat(c.w.bias[u + m]) : Vec<T>{};
  for (int64_t i = begin; i < end; i++) {
    Vec<T> a[V];
    EACH (k, V) a[k] = load(A + i * c.a_stride + k * L);
    EACH (m, M) {
      Vec<T> w = splat(W[m * c.w.unit + i * c.w.input]);
      EACH (k, V) sum[m][k] = fma(a[k], w, sum[m][k]);
    }
  }
  EACH (m, M)
    EACH (k, V) store<T>(P + m * c.p_stride + k * L, sum[m][k]);
}
// after(row, n) when the rows row..row+n of all units are made: they are in the first-level cache then.
template <class T, class F>
CHAINRULE_INLINE void column_product(const ColumnProduct<T>& c, const F& after) {
  for (int64_t v = 0, n; v < c.vectors; v += n) {
    n = least(COLUMNS, c.vectors - v);
    with_count<COLUMNS>(n, [&]<int V>() INLINE_LAMBDA {
      for (int64_t begin = 0; begin < c.inputs; begin += COLUMN_BLOCK)
        cover<UNITS>(c.units, [&]<int M>(int64_t u) INLINE_LAMBDA {
          column_tile<M, V>(c, u, v, begin, least(begin + COLUMN_BLOCK, c.inputs));
        });
    });
    after(v * LANES<T>, n * LANES<T>);
  }
}
// (31) with the inputs after the first half: a sum of its own, of n rows, which is added to P.
template <class T>
void add_second_half(const ColumnProduct<T>& c, int64_t half, int64_t row, int64_t n) {
  constexpr int64_t SOME = 64;  // units at a time: their sums stay in the first-level cache
  T sums[SOME * COLUMNS * LANES<T>];
  for (int64_t first = 0; first < c.units; first += SOME) {
    const int64_t units = least(SOME, c.units - first);
    column_product<T>({{c.w.W + first * c.w.unit + half * c.w.input, c.w.unit, c.w.input, nullptr},
                       c.A + half * c.a_stride + row,
                       c.a_stride,
                       sums,
                       n,
                       units,
                       c.inputs - half,
                       n / LANES<T>},
                      [](int64_t, int64_t) {});
    for (int64_t u = 0; u < units; u++)
      for (int64_t i = 0; i < n; i += LANES<T>) {
        T* p = c.P + (first + u) * c.p_stride + row + i;
        store<T>(p, load(p) + load(sums + u * n + i));
      }
  }
}
template <class T, class F>
CHAINRULE_INLINE void forward_product(ColumnProduct<T> c, const F& after) {
  const ColumnProduct<T> whole = c;
  c.inputs = first_half(c.inputs, c.units);
  column_product(c, [&](int64_t row, int64_t n) INLINE_LAMBDA {
    if (c.inputs < whole.inputs) add_second_half(whole, c.inputs, row, n);
    after(row, n);
  });
}
template <class T>
void forward_columns(const Coefficients<T>& w, int64_t units, int64_t inputs, const T* A, int64_t rows, int64_t stride,
                     Activation activation, T* Y, T* slope) {
  forward_product<T>({w, A, stride, Y, stride, units, inputs, vectors<T>(rows)}, [&](int64_t row, int64_t n) {
    activate(activation, units, n, stride, Y + row, slope ? slope + row : nullptr);
  });
}
template <class T>
void derive_columns(const Coefficients<T>& w, int64_t units, int64_t inputs, const T* A, int64_t rows, int64_t stride,
                    Activation activation, const T* Y, const T* slope, T* D) {
  column_product<T>({w, A, stride, D, stride, units, inputs, vectors<T>(rows)}, [&](int64_t row, int64_t n) {
    times_slope(activation, units, n, stride, Y ? Y + row : nullptr, slope ? slope + row : nullptr, D + row);
  });
}

// ---- the output layer --------------------------------------------------------------------------------------------------

template <class T>
void softmax_columns(int64_t units, int64_t rows, int64_t stride, T* Q) {
  for (int64_t row = 0; row < rows; row += LANES<T>) softmax(Block<T>{Q + row, stride, nullptr, 0, units, {}, {}});
}
template <class T>
void softmax_slope(int64_t units, int64_t rows, int64_t stride, const T* Z, T* D) {
  for (int64_t row = 0; row < rows; row += LANES<T>) {
    Vec<T> dot = {};
    for (int64_t k = 0; k < units; k++) dot = fma(load(D + k * stride + row), load(Z + k * stride + row), dot);
    for (int64_t k = 0; k < units; k++) {
      T* d = D + k * stride + row;
      store<T>(d, load(Z + k * stride + row) * (load(d) - dot));
    }
  }
}
template <class T>
void loss_columns(Activation output, const Criterion<T>& criterion, int64_t units, int64_t rows, int64_t stride,
                  const T* L, const T* weight, T scale, T* Q, double* row_loss) {
  for (int64_t row = 0; row < rows; row += LANES<T>)
    loss_of_rows(output, criterion, units, least(LANES<T>, rows - row), Q + row, stride, L + row, stride,
                 weight ? weight + row : nullptr, scale, row_loss + row);
}

// ---- (34, 35): the gradient --------------------------------------------------------------------------------------------

// Columns C into rows R[row][padded unit], LANES x LANES at a time, as many rows as whole vectors have; what is past the last
// unit or row is never used.
template <class T>
void rows_of_columns(const T* C, int64_t units, int64_t rows, int64_t stride, T* R, int64_t gap) {
  constexpr int L = LANES<T>;
  for (int64_t u = 0; u < units; u += L) {
    const T* from[L];
    for (int i = 0; i < L; i++) from[i] = C + least(u + i, units - 1) * stride;
    for (int64_t row = 0; row < rows; row += L) {
      Vec<T> v[L];
      if (u + L <= units) load_turned(C + u * stride + row, stride, v);
      else load_turned(from, row, v);
      T* to = R + row * gap + u;
      EACH (j, L) store<T>(to + j * gap, v[j]);
    }
  }
}
// sums[m][lane] = Σ_row C[m][row] R[row][lane] for M columns and V vectors of lanes.
template <int M, int V, class T>
CHAINRULE_INLINE void gradient_tile(const T* C, int64_t stride, const T* R, int64_t gap, int64_t rows, T* sums) {
  constexpr int L = LANES<T>;
  Vec<T> sum[M][V];
  sum_rows(C, 1, stride, R, gap, rows, sum);
  EACH (m, M)
    EACH (v, V) store<T>(sums + m * gap + v * L, sum[m][v]);
}
// sums[m][lane] = Σ_row C[m][row] R[lane][row] for all columns of C and R; a row of the sums has whole vectors.
template <class T>
void outer_products(const T* C, int64_t columns, const T* R, int64_t lanes, int64_t rows, int64_t stride, T* scratch,
                    T* sums) {
  constexpr int L = LANES<T>, MOST = PANEL * ROWS;
  const int64_t gap = vectors<T>(lanes) * L;
  rows_of_columns(R, lanes, rows, stride, scratch, gap);
  const int64_t most = columns <= 3 ? 4 : 2;  // vectors a tile: enough sums at once to hide a multiply-add's latency
  for (int64_t lane = 0, n; lane < gap; lane += n * L) {
    n = least(most, (gap - lane) / L);
    with_count<4>(n, [&]<int V>() INLINE_LAMBDA {
      cover<MOST / V>(columns, [&]<int M>(int64_t m) INLINE_LAMBDA {
        gradient_tile<M, V>(C + m * stride, stride, scratch + lane, gap, rows, sums + m * gap + lane);
      });
    });
  }
}
template <class T>
void gradient_columns(const Layer& layer, const T* A, const T* dP, int64_t rows, int64_t stride, T* scratch, T* G) {
  constexpr int L = LANES<T>;
  const int64_t in = layer.in, out = layer.out, across = vectors<T>(in + 1) * L, down = vectors<T>(out) * L;
  T *W = G + layer.flat, *b = G + layer.flat_bias();
  // The inputs, with the 1 whose weight is the bias, or the outputs in the lanes: whichever fills them better.
  if (out * across < (in + 1) * down) {
    T* const sums = scratch + vectors<T>(rows) * L * across;
    outer_products(dP, out, A, in + 1, rows, stride, scratch, sums);
    for (int64_t o = 0; o < out; o++) {
      for (int64_t i = 0; i < in; i++) W[o * in + i] = sums[o * across + i];
      b[o] = sums[o * across + in];
    }
    return;
  }
  T* const sums = scratch + vectors<T>(rows) * L * down;
  outer_products(A, in + 1, dP, out, rows, stride, scratch, sums);
  for (int64_t o = 0; o < out; o++) b[o] = sums[in * down + o];
  if (in < L) {
    for (int64_t o = 0; o < out; o++)
      for (int64_t i = 0; i < in; i++) W[o * in + i] = sums[i * down + o];
    return;
  }
  for (int64_t o = 0; o < out; o += L)
    for (int64_t k = 0; k < in; k += L) {
      const int64_t i = least(k, in - L);  // the last square may begin beside the one before
      Vec<T> v[L];
      load_turned(sums + i * down + o, down, v);
      EACH (j, L)
        if (o + j < out) store<T>(W + (o + j) * in + i, v[j]);
    }
}

// ---- a few rows --------------------------------------------------------------------------------------------------------

// R rows and LANES outputs from each of o on: the sums stay in registers while squares of the weights, LANES outputs by LANES
// inputs, are turned, each for all R rows. turn(o, k, square) does that.
template <int R, int V, class T, class F>
CHAINRULE_INLINE void rows_tile(const T* bias, const T* A, int64_t a_gap, int64_t inputs, int64_t half, T* Y,
                                int64_t y_gap, const int64_t (&o)[V], const F& turn) {
  constexpr int L = LANES<T>;
  Vec<T> sum[R][V], first[R][V];
  EACH (r, R)
    EACH (v, V) sum[r][v] = load(bias + o[v]);
  for (int64_t k = 0; k < inputs; k += L) {
    if (k == half)
      EACH (r, R)
        EACH (v, V) first[r][v] = sum[r][v], sum[r][v] = Vec<T>{};
    EACH (v, V) {
      Vec<T> square[L];
      turn(o[v], k, square);
      auto add = [&](int64_t i) INLINE_LAMBDA {
        EACH (r, R) sum[r][v] = fma(splat(A[r * a_gap + k + i]), square[i], sum[r][v]);
      };
      if (inputs - k >= L)
        EACH (i, L) add(i);
      else
        for (int64_t i = 0; i < inputs - k; i++) add(i);
    }
  }
  EACH (r, R)
    EACH (v, V) store<T>(Y + r * y_gap + o[v], half < inputs ? first[r][v] + sum[r][v] : sum[r][v]);
}
// A square that reaches past a row's end has numbers of the next, or of the bias, which are not used.
template <class T>
void forward_rows(const Layer& layer, const T* flat, int64_t flat_size, const T* A, int64_t a_gap, int64_t rows, T* Y) {
  constexpr int L = LANES<T>;
  const int64_t in = layer.in, out = layer.out, half = layer.first_half(), gap = padded<T>(out);
  const T *W = flat + layer.flat, *b = flat + layer.flat_bias();
  auto whole = [&](int64_t o, int64_t k, Vec<T>(&square)[L]) INLINE_LAMBDA { load_turned(W + o * in + k, in, square); };
  auto part = [&](int64_t, int64_t k, Vec<T>(&square)[L]) INLINE_LAMBDA {  // fewer outputs than lanes
    if (layer.flat + (out - 1) * in + k + L <= flat_size) {
      const T* from[L];
      for (int64_t j = 0; j < L; j++) from[j] = W + least(j, out - 1) * in;
      load_turned(from, k, square);
    } else {  // a vector would reach past the parameters
      for (int64_t i = 0; i < least(L, in - k); i++)
        for (int64_t j = 0; j < out; j++) square[i][j] = W[j * in + k + i];
    }
  };
  cover<4>(rows, [&]<int R>(int64_t row) INLINE_LAMBDA {
    const T* a = A + row * a_gap;
    T* y = Y + row * gap;
    if (out < L) {
      T bias[L];
      for (int64_t o = 0; o < L; o++) bias[o] = b[least(o, out - 1)];
      return rows_tile<R, 1>(bias, a, a_gap, in, half, y, gap, {0}, part);
    }
    cover<2>(vectors<T>(out), [&]<int V>(int64_t v) INLINE_LAMBDA {
      int64_t o[V];
      EACH (i, V) o[i] = least((v + i) * L, out - L);  // the last may begin beside the one before
      rows_tile<R, V>(b, a, a_gap, in, half, y, gap, o, whole);
    });
  });
}

// (85) of each row: all products of an output's derivative with an input, then the bias's.
template <class T>
void outer_rows(const Layer& layer, const T* A, const T* D, int64_t rows, T* J, int64_t gap) {
  const int64_t in = layer.in, out = layer.out;
  for (int64_t row = 0; row < rows; row++) {
    const T *a = A + row * in, *d = D + row * out;
    T *W = J + row * gap + layer.flat, *b = J + row * gap + layer.flat_bias();
    for (int64_t o = 0; o < out; o++) {
      for (int64_t i = 0; i < in; i++) W[o * in + i] = d[o] * a[i];
      b[o] = d[o];
    }
  }
}

}  // namespace
}  // namespace chainrule
