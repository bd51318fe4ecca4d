// Least squares: the matrix JᵀJ of the normal equations, its Cholesky factor, and what is asked of that. Part of kernels.cpp.
//
// Matrices are (n, gap), row after row; of symmetric ones only the right upper half, from the diagonal on, is written and read.
// A vector's lanes are columns, so that each number is one sum in one order here, too.
#pragma once
#include "tiles.hpp"

namespace chainrule {
namespace {

constexpr int FACTOR_ROWS = 16;  // of a block of the factor: within it a row is subtracted from the next ones at once

// f<M, V>(i, j) for tiles that cover the rows of a matrix of n columns from the diagonal on.
template <class T, class F>
CHAINRULE_INLINE void each_upper(Range rows, int64_t n, const F& f) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  for (int64_t j = rows.begin / W * W; j < n; j += W)
    with_count<PANEL>(least(PANEL, (n - j + L - 1) / L), [&]<int V>() INLINE_LAMBDA {
      cover<ROWS>(least(rows.end, j + W) - rows.begin,
                  [&]<int M>(int64_t i) INLINE_LAMBDA { f.template operator()<M, V>(rows.begin + i, j); });
    });
}
// (87) A += JᵀJ for some rows of A (n, gap), J (m, gap): what is past the last column of J is 0.
template <class T>
void add_gram(const T* J, int64_t m, int64_t n, int64_t gap, Range rows, T* A) {
  constexpr int L = LANES<T>;
  each_upper<T>(rows, n, [&]<int M, int V>(int64_t i, int64_t j) INLINE_LAMBDA {
    Vec<T> sum[M][V];
    sum_rows(J + i, gap, 1, J + j, gap, m, sum);
    EACH (k, M)
      EACH (v, V) {
        T* a = A + (i + k) * gap + j + v * L;
        store<T>(a, load(a) + sum[k][v]);
      }
  });
}

// y[j] −= a x[j] for the vectors of first..n.
template <class T>
CHAINRULE_INLINE void subtract(T a, const T* x, int64_t first, int64_t n, T* y) {
  constexpr int L = LANES<T>;
  for (int64_t j = first / L * L; j < n; j += L) store<T>(y + j, fma(splat(-a), load(x + j), load(y + j)));
}
// (88) A becomes U with UᵀU = A; false where A is not positive definite.
template <class T>
bool factor(T* A, int64_t n, int64_t gap) {
  constexpr int L = LANES<T>;
  for (int64_t first = 0; first < n; first += FACTOR_ROWS) {
    const int64_t end = least(first + FACTOR_ROWS, n);
    if (first > 0)
      each_upper<T>({first, end}, n, [&]<int M, int V>(int64_t i, int64_t j) INLINE_LAMBDA {
        Vec<T> sum[M][V];
        sum_rows(A + i, gap, 1, A + j, gap, first, sum);
        EACH (k, M)
          EACH (v, V) {
            T* a = A + (i + k) * gap + j + v * L;
            store<T>(a, load(a) - sum[k][v]);
          }
      });
    for (int64_t i = first; i < end; i++) {
      T* row = A + i * gap;
      for (int64_t k = first; k < i; k++) subtract(A[k * gap + i], A + k * gap, i, n, row);
      if (!(row[i] > 0) || row[i] - row[i] != 0) return false;  // NaN and infinity, too
      const T pivot = __builtin_sqrt(row[i]);
      row[i] = pivot;
      for (int64_t j = i + 1; j < n; j++) row[j] /= pivot;
    }
  }
  return true;
}
// UᵀU x = b, in place.
template <class T>
void solve(const T* U, int64_t n, int64_t gap, T* b) {
  for (int64_t i = 0; i < n; i++) {
    b[i] /= U[i * gap + i];
    for (int64_t j = i + 1; j < n; j++) b[j] = fma(-b[i], U[i * gap + j], b[j]);
  }
  for (int64_t i = n; i-- > 0;) {
    T sum = b[i];
    for (int64_t j = i + 1; j < n; j++) sum = fma(-U[i * gap + j], b[j], sum);
    b[i] = sum / U[i * gap + i];
  }
}
// (94) The diagonal of (UᵀU)⁻¹: the squares of the rows of V = U⁻¹, (n, gap), zeros at first, which is made from its last row
// up.
template <class T>
void inverse_diagonal(const T* U, int64_t n, int64_t gap, T* V, T* diagonal) {
  constexpr int L = LANES<T>;
  for (int64_t end = n; end > 0;) {
    const int64_t first = (end - 1) / FACTOR_ROWS * FACTOR_ROWS;
    if (end < n)
      for (int64_t j = end / L * L; j < n; j += L)
        cover<ROWS>(end - first, [&]<int M>(int64_t i) INLINE_LAMBDA {
          Vec<T> sum[M][1];
          sum_rows(U + (first + i) * gap + end, 1, gap, V + end * gap + j, gap, least(n, j + L) - end, sum);
          EACH (k, M) store<T>(V + (first + i + k) * gap + j, -sum[k][0]);
        });
    for (int64_t i = end; i-- > first;) {
      T* row = V + i * gap;
      row[i] = 1;
      for (int64_t k = i + 1; k < end; k++) subtract(U[i * gap + k], V + k * gap, k, n, row);
      const T pivot = U[i * gap + i];
      for (int64_t j = i; j < n; j++) row[j] /= pivot;
      diagonal[i] = 0;
      for (int64_t j = i; j < n; j++) diagonal[i] = fma(row[j], row[j], diagonal[i]);
    }
    end = first;
  }
}

}  // namespace
}  // namespace chainrule
