// The table of function pointers that one compilation of kernels.cpp exports: all arithmetic of the engine is behind it.
//
// The values of a batch have two layouts, for T float or double and w = width:
//   panels    A[panel][row][w], the units of a layer a lane each: for training, on packed weights
//   columns   C[unit][stride], the rows of a batch a lane each: for prediction, derivatives, small networks and the losses,
//             on the flat weights as they are
// In panels W is (panels of outputs, in, w), and bias and every P, Y, Q, D (panels of outputs, rows, w). What one thread owns
// of a layer is a range of lines: the outputs that share a cache line of the packed weights, 64 bytes, whatever a panel's
// width; a narrow layer is one line. Numbers in brackets are those of docs/derivation.md.
#pragma once
#include "network.hpp"

namespace chainrule {

constexpr int LINE = 64;  // bytes
struct Range {
  int64_t begin, end;
};

enum class Source : int { float32, float64, uint8 };  // what the rows of X hold; uint8 g enters as g / 255
template <class T>
constexpr Source SOURCE = sizeof(T) == 4 ? Source::float32 : Source::float64;
constexpr int64_t bytes_of(Source source) { return source == Source::float64 ? 8 : source == Source::float32 ? 4 : 1; }

struct Rows {  // X (n, d), any strides, in elements
  const void* data;
  Source source;
  int64_t row_stride, column_stride, rows, columns;

  const void* at(int64_t row, int64_t column) const {
    return static_cast<const char*>(data) + (row * row_stride + column * column_stride) * bytes_of(source);
  }
};
struct Batch {  // rows of X: those that `index` names or, where it is null, from `first` on
  const int64_t* index;
  int64_t first, rows;

  int64_t row(int64_t i) const { return index ? index[i] : first + i; }
  Batch part(int64_t begin, int64_t end) const { return {index ? index + begin : nullptr, first + begin, end - begin}; }
};
struct Ahead {  // rows that the next batch will gather: an update fetches them into the cache beside its arithmetic
  const Rows* x;
  Batch batch;  // of 0 rows: none
};

enum class Step : int { gradient, descent, momentum, nesterov, adam, rmsprop, rprop };  // gradient: θ stays, sums grow
template <class T>
struct Rule {
  Step step;
  T rate;                                 // α
  T decay;                                // λ, of the weights; never of the biases
  T shrink;                               // α times the decoupled decay, of the weights
  T momentum;                             // μ
  T beta1, beta2, rest1, rest2, epsilon;  // rest = 1 − β
  T unbias1, unbias2;                     // 1 / (1 − β^t)
  T scale;                                // of a gradient that was summed up and clipped
};
template <class T>
struct Parameters {  // the last three are what the rule needs, else null
  T *theta, *velocity, *square, *gradient;
};

template <class T>
struct Criterion {  // ε of a row
  Loss loss;
  const T* constant;  // δ of huber, τ of quantile, for each output
  int64_t labels;     // how many a row has
};
// How an image (height, width, channels) is distorted, (95..97). In places relative to its middle: a pixel at (x, y) shows what
// was at (xx x + xy y + shift_x, yx x + yy y + shift_y), and further by a field whose knots are (2, knots_y, knots_x), the
// displacements along x and along y. The tables have a row's columns a lane each, rows `gap` apart.
template <class T>
struct Warp {
  int64_t height, width, channels, knots_y, knots_x, gap;
  const T *x, *splines_x;  // places of the columns (gap); of each the share of every knot (knots_x, gap)
  const T* splines_y;      // of each row the shares of four knots (height, 4)
  const int64_t* first_y;  // the first of those four
  T xx, xy, yx, yy, shift_x, shift_y;
  const T* knots;
};
struct Mask {  // which units a dropout leaves, of one layer and batch
  uint64_t key;
  uint32_t lowest;  // a unit stays where its random number is at least this
};

template <class T>
struct Coefficients {  // a matrix that lies anywhere: W[u * unit + i * input]; bias may be null
  const T* W;
  int64_t unit, input;
  const T* bias;
};

template <class T>
struct Kernels {
  int width;  // outputs a panel holds: the instruction set's, never visible in a result

  // ---- panels. Lanes past the last column or unit hold 0, or what does no harm.

  void (*gather)(const Rows& x, const Batch& batch, T* A);
  // A row of x, distorted. `scratch`: memory for 2 knots_y gap numbers and those of the image.
  void (*distort)(const Warp<T>& warp, const Rows& x, int64_t row, T* scratch, T* out);
  void (*pack)(const Layer& layer, const T* flat, T* packed);  // packed must be zeros
  void (*unpack)(const Layer& layer, const T* packed, T* flat);
  // (31, 38) P = A Wᵀ + b and (32) Y = σ(P); `slope`, where it is not null, takes σ′(P). `scratch`, here and below, is
  // memory for 2 * width numbers per input and per output of the widest layer, and for the outputs of one in halves.
  void (*forward)(const Layer& layer, const T* packed, const T* A, int64_t rows, Range lines, Activation activation,
                  T* scratch, T* Y, T* slope);
  // The same of two threads, each with the inputs 0..half or half..in: the sums of its inputs, the first with the bias, and the
  // sum of both.
  void (*forward_half)(const Layer& layer, const T* packed, const T* A, int64_t rows, Range inputs, T* P);
  void (*join_halves)(const Layer& layer, int64_t rows, const T* first, const T* second, Activation activation, T* Y,
                      T* slope);
  // (67) for lines of `units` units: those that the mask takes away become 0, the others times `scale`; their slopes, where
  // there are, likewise. The first row is number first_row of its batch.
  void (*drop)(const Mask& mask, T scale, int64_t units, int64_t first_row, int64_t rows, Range lines, T* Y, T* slope);
  // (100) A + size sign(S), of n numbers, a multiple of the width
  void (*displace)(int64_t n, T size, const T* S, T* A);
  // (33, 54..58, 74..81) of the rows begin..end, begin a multiple of the width: Q becomes ∂ε/∂q times weight[row] * scale,
  // and row_loss[row] weight[row] ε. L is in columns, its stride the padded rows; weight may be null.
  void (*loss)(const Layer& layer, const Criterion<T>& criterion, int64_t rows, int64_t begin, int64_t end, const T* L,
               const T* weight, T scale, T* scratch, T* Q, double* row_loss);
  // (36) ∂ε/∂y = Wᵀ ∂ε/∂p and (37) D = ∂ε/∂y ⊙ σ′ for lines of the layer's inputs, whose activation is `below` and
  // whose values are Y and slope; σ′ is found from Y where slope is null
  void (*backward)(const Layer& layer, const T* packed, const T* dP, int64_t rows, Range lines, Activation below,
                   const T* Y, const T* slope, T* scratch, T* D);
  // (34, 35, 40) ∂ε/∂W = Σ ∂ε/∂p ⊗ a, ∂ε/∂b = Σ ∂ε/∂p over the rows, and with it the rule's step (41..46, 62..64) on W,
  // of some inputs, and b, which goes with the first input; with Step::gradient the sums are added to m.gradient. (99) From
  // one column's inputs to another's units there is none.
  void (*update)(const Layer& layer, const Parameters<T>& m, const T* A, const T* dP, int64_t rows, Range inputs,
                 Range lines, const Rule<T>& rule, const Ahead& ahead);
  // the rule's step from the sums in m.gradient, which become 0
  void (*apply)(const Layer& layer, const Parameters<T>& m, Range inputs, Range lines, const Rule<T>& rule);
  // (65) |∂ε/∂(W, b)|² of each unit of the lines
  void (*squares)(const Layer& layer, const T* gradient, Range lines, T* of_unit);
  // (66) the weights of each unit of the lines, where they are longer than `most`, become that long
  void (*limit)(const Layer& layer, T* theta, Range lines, T most);
  // (98) the weights of these inputs and lines become 0 where they are below 0 though the input's sign is 1, or above though it
  // is −1; where `sign` is null all are 1
  void (*confine)(const Layer& layer, T* theta, Range inputs, Range lines, const signed char* sign);

  // ---- columns. `stride` is a multiple of the width; what a column has beyond its rows may be read and written.

  // C[column][row] = scale * x + shift
  void (*gather_columns)(const Rows& x, const Batch& batch, T scale, T shift, int64_t stride, T* C);
  void (*scatter_columns)(const T* C, int64_t stride, int64_t rows, int64_t units, int64_t row_stride,
                          int64_t unit_stride, T* Z);
  // (31, 32) Y[u] = σ(bias[u] + Σ_i W[u, i] A[i]) for `units` units and i < inputs; σ′ where slope is not null
  void (*forward_columns)(const Coefficients<T>& w, int64_t units, int64_t inputs, const T* A, int64_t rows,
                          int64_t stride, Activation activation, T* Y, T* slope);
  // (36, 37, 82, 83) D[u] = Σ_i W[u, i] A[i] ⊙ σ′[u], which is found from Y where slope is null
  void (*derive_columns)(const Coefficients<T>& w, int64_t units, int64_t inputs, const T* A, int64_t rows,
                         int64_t stride, Activation activation, const T* Y, const T* slope, T* D);
  // (32) in place, and σ′ where slope is not null
  void (*activate)(Activation activation, int64_t units, int64_t rows, int64_t stride, T* Y, T* slope);
  // (53) the softmax of each row of Q, in place
  void (*softmax_columns)(int64_t units, int64_t rows, int64_t stride, T* Q);
  // (84) of each row, in place: D becomes z ⊙ (d − Σ d z)
  void (*softmax_slope)(int64_t units, int64_t rows, int64_t stride, const T* Z, T* D);
  void (*loss_columns)(Activation output, const Criterion<T>& criterion, int64_t units, int64_t rows, int64_t stride,
                       const T* L, const T* weight, T scale, T* Q, double* row_loss);
  // (34, 35) into G, flat like the layer: the sums over the rows. A has one column more than inputs, of ones: the bias is
  // the weight of an input that is always 1. `scratch` is memory for the padded rows x (the padded wider of in + 1 and out)
  // and for the padded in + 1 x the padded out.
  void (*gradient_columns)(const Layer& layer, const T* A, const T* dP, int64_t rows, int64_t stride, T* scratch, T* G);
  // the rule's step on n parameters, flat, from the gradients in m.gradient
  void (*step)(const Rule<T>& rule, bool weights, const Parameters<T>& m, int64_t at, int64_t n);

  // ---- a few rows: (31) of A (rows, in), a_gap apart, into Y (rows, padded out); flat_size is that of all parameters

  void (*forward_rows)(const Layer& layer, const T* flat, int64_t flat_size, const T* A, int64_t a_gap, int64_t rows,
                       T* Y);

  // (85) ∂ε/∂W = D ⊗ A and ∂ε/∂b = D of each row, flat like θ, rows of J `gap` apart; A is (rows, in), D (rows, out)
  void (*outer_rows)(const Layer& layer, const T* A, const T* D, int64_t rows, T* J, int64_t gap);

  // ---- least squares (normal.hpp): matrices (n, gap), of which the right upper half counts

  // (87) A += JᵀJ for some rows of A; J is (m, gap), 0 past its n columns
  void (*add_gram)(const T* J, int64_t m, int64_t n, int64_t gap, Range rows, T* A);
  // (88) A becomes U with UᵀU = A; false where there is none
  bool (*factor)(T* A, int64_t n, int64_t gap);
  // UᵀU x = b, in place
  void (*solve)(const T* U, int64_t n, int64_t gap, T* b);
  // (94) the diagonal of (UᵀU)⁻¹; V is memory for the matrix U⁻¹, zeros
  void (*inverse_diagonal)(const T* U, int64_t n, int64_t gap, T* V, T* diagonal);

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
