// What a network is to the engine: activations, losses, and where each layer lies in the flat parameter vector and in the
// packed one. It is not a container: it owns no parameters. No STL here: the kernels include it (see simd.hpp).
//
// Flat (the user's m): per layer the weights W, (out, in), row after row, then the bias b, (out,).
// Packed (the kernels'): per layer panels of `width` outputs, W[panel][in][width], then the bias, padded to whole panels.
// The samples' values are packed the same way, A[panel][row][width]: the outputs of one layer are the inputs of the next.
// Narrow, the last layer where it has few outputs, which would leave a panel's lanes empty: the weights are rows
// W[out][padded in], then the bias, padded to one panel; the values are columns Q[out][padded row], a sample a lane.
#pragma once
#include <cstdint>

namespace chainrule {

enum class Activation : int { identity, sigmoid, tanh, relu, softplus, silu, gelu, exp, softmax };
enum class Loss : int { half_squared_error, huber, quantile, binary_cross_entropy, cross_entropy, poisson, gaussian };

// σ′ of these cannot be had from y = σ(p): the forward pass stores it beside y.
constexpr bool has_slope(Activation a) {
  return a == Activation::softplus || a == Activation::silu || a == Activation::gelu;
}

// A layer of many inputs and not so many outputs makes each sum in two halves, and adds them at the end: two threads can make
// them. So many inputs belong to the first: whole panels of any instruction set; of other layers all.
constexpr int64_t first_half(int64_t in, int64_t out) { return in >= 256 && out <= 256 ? (in / 2 + 16) / 32 * 32 : in; }

struct Layer {
  int64_t in, out;  // W is (out, in)
  Activation activation;
  int64_t flat;    // of W in the flat vector; b follows
  int64_t packed;  // of W in the packed vector
  int64_t bias;    // of b in the packed vector
  bool narrow;
  // Of an embedding (99): column c has the inputs starts[c]..starts[c + 1] and, each of them as many, the units c * each..; the
  // weights from one column's inputs to another's units are 0, and stay so. Null: none.
  const int64_t* starts = nullptr;
  int64_t each = 0;

  int64_t weights() const { return in * (starts ? each : out); }  // that may differ from 0
  int64_t flat_bias() const { return flat + out * in; }
  int64_t first_half() const { return chainrule::first_half(in, out); }
  bool in_halves() const { return first_half() < in; }
};

}  // namespace chainrule
