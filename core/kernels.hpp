// The table of function pointers that one compilation of kernels.cpp exports: all arithmetic of the engine is behind it.
//
// Shapes, for T float or double and w = width: A (panels of inputs, rows, w), W (panels of outputs, in, w),
// bias and every P, Y, Q, D (panels of outputs, rows, w). What one thread owns of a layer is a range of lines: the outputs
// that share a cache line of the packed weights, 64 bytes, whatever a panel's width. A narrow layer is one line.
// Numbers in brackets are those of docs/derivation.md.
#pragma once
#include "network.hpp"

namespace chainrule {

constexpr int LINE = 64;  // bytes
struct Range {
  int64_t begin, end;
};

enum class Source : int { float32, float64, uint8 };  // what the rows of X hold; uint8 g enters as g / 255

struct Rows {  // X (n, d), any strides, in elements
  const void* data;
  Source source;
  int64_t row_stride, column_stride, columns;
};

struct Ahead {  // rows that the next batch will gather: an update fetches them into the cache beside its arithmetic
  const Rows* x;
  const int64_t* index;  // null: none
  int64_t rows;
};

enum class Step : int { gradient, descent, momentum, nesterov, adam };  // `gradient` sums up and leaves θ alone
template <class T>
struct Rule {
  Step step;
  T rate;                                 // α
  T decay;                                // λ, of the weights; never of the biases
  T momentum;                             // μ
  T beta1, beta2, rest1, rest2, epsilon;  // rest = 1 − β
  T unbias1, unbias2;                     // 1 / (1 − β^t)
};
template <class T>
struct Parameters {  // packed; the last three are what the rule needs, else null
  T *theta, *velocity, *square, *gradient;
};

template <class T>
struct Kernels {
  int width;  // outputs a panel holds: the instruction set's, never visible in a result

  // Rows begin..end of a batch of `rows` into panels A: those that `index` names, or from first_row on where it is null.
  // Lanes past the last column become 0.
  void (*gather)(const Rows& x, const int64_t* index, int64_t first_row, int64_t rows, int64_t begin, int64_t end,
                 T* A);
  // The same into columns, C[column][padded row].
  void (*gather_columns)(const Rows& x, const int64_t* index, int64_t first_row, int64_t rows, int64_t begin,
                         int64_t end, T* C);
  void (*pack)(const Layer& layer, const T* flat, T* packed);  // packed must be zeros
  void (*unpack)(const Layer& layer, const T* packed, T* flat);

  // (31, 38) P = A Wᵀ + b and (32) Y = σ(P); `slope` takes σ′(P) where has_slope(activation). `scratch`, here and below, is
  // memory for 2 * width numbers per input and per output of the widest layer.
  void (*forward)(const Layer& layer, const T* packed, const T* A, int64_t rows, Range lines, Activation activation,
                  T* scratch, T* Y, T* slope);
  // (53) the softmax of each row of the last layer's Q, in place
  void (*softmax)(const Layer& layer, int64_t rows, T* scratch, T* Q);
  // (33, 54..58) of the rows begin..end, begin a multiple of the width: Q becomes ∂ε/∂q times weight[row] * scale, and
  // row_loss[row] weight[row] ε. L is in columns; weight may be null.
  void (*loss)(const Layer& layer, Loss loss, int64_t rows, int64_t begin, int64_t end, const T* L, const T* weight,
               T scale, T* scratch, T* Q, double* row_loss);
  // (36) ∂ε/∂y = Wᵀ ∂ε/∂p and (37) D = ∂ε/∂y ⊙ σ′ for lines of the layer's inputs, whose activation is `below` and
  // whose values are Y and slope
  void (*backward)(const Layer& layer, const T* packed, const T* dP, int64_t rows, Range lines, Activation below,
                   const T* Y, const T* slope, T* scratch, T* D);
  // (34, 35, 40) ∂ε/∂W = Σ ∂ε/∂p ⊗ a, ∂ε/∂b = Σ ∂ε/∂p over the rows, and with it the rule's step (41..46) on W and b.
  // With Step::gradient the sums are added to m.gradient, in the order of the rows.
  void (*update)(const Layer& layer, const Parameters<T>& m, const T* A, const T* dP, int64_t rows, Range lines,
                 const Rule<T>& rule, const Ahead& ahead);
  // the rule's step (41..46) from the sums in m.gradient, which become 0
  void (*apply)(const Layer& layer, const Parameters<T>& m, Range lines, const Rule<T>& rule);

  // y = σ(x) and slope = σ′(x) of n numbers: for tests
  void (*evaluate)(Activation activation, int64_t n, const T* x, T* y, T* slope);
};

struct InstructionSet {
  const char* name;
  Kernels<float> float32;
  Kernels<double> float64;
};
template <class T>
const Kernels<T>& kernels_of(const InstructionSet& set) {
  if constexpr (sizeof(T) == 4) return set.float32;
  else return set.float64;
}

}  // namespace chainrule
