// How the outputs of a pass in columns move: with an input (82), or with what enters each layer and each parameter (83, 85).
#pragma once
#include "column_pass.hpp"

namespace chainrule {

// Rows a pass takes at once: what passes through the layers stays in the caches.
constexpr int64_t PORTION = 64;

// Derivatives of the outputs: the forward pass, kept with all its slopes, and memory for two layers' derivatives.
template <class T>
struct alignas(128) Derivatives {
  ColumnForward<T> forward;
  T *now, *next;

  Derivatives(const Kernels<T>& kernels, const Network& net, int64_t rows, Memory& memory)
      : forward(kernels, net, rows, ColumnForward<T>::Keep::slopes, memory),
        now(memory.take<T>(net.widest * forward.stride)),
        next(memory.take<T>(net.widest * forward.stride)) {}

  const Layer& layer(size_t l) const { return forward.net.layers[l]; }
  bool softmax() const { return forward.net.layers.back().activation == Activation::softmax; }

  // (82) ∂z/∂x_j: forward, from the first layer's weights of that input on. The column of ones stands for ∂x_j/∂x_j.
  const T* along(const T* theta, int64_t j, int64_t rows) {
    const auto& [kernels, net, stride, values, slopes] = forward;
    const T* ones = values[0] + net.layers[0].in * stride;
    for (size_t l = 0; l < net.layers.size(); l++) {
      const T* W = theta + layer(l).flat + (l ? 0 : j);
      const bool soft = l + 1 == net.layers.size() && softmax();
      kernels.derive_columns({W, layer(l).in, 1, nullptr}, layer(l).out, l ? layer(l).in : 1, l ? now : ones, rows,
                             stride, soft ? Activation::identity : layer(l).activation, nullptr,
                             soft ? nullptr : slopes[l], next);
      if (soft) kernels.softmax_slope(layer(l).out, rows, stride, values.back(), next);
      std::swap(now, next);
    }
    return now;
  }
  // (83) ∂z_k/∂p of each layer, backward: take(l, it), and at the end ∂z_k/∂x where that is wanted.
  template <class F>
  const T* back(const T* theta, int64_t k, int64_t rows, bool to_inputs, const F& take) {
    const auto& [kernels, net, stride, values, slopes] = forward;
    const size_t last = net.layers.size() - 1;
    const int64_t outputs = layer(last).out;
    std::fill_n(now, outputs * stride, T(0));
    if (softmax()) {
      std::fill_n(now + k * stride, stride, T(1));
      kernels.softmax_slope(outputs, rows, stride, values.back(), now);
    } else {
      std::copy_n(slopes[last] + k * stride, stride, now + k * stride);
    }
    for (size_t l = last + 1; l-- > 0;) {
      take(l, now);
      if (l == 0 && !to_inputs) break;
      const bool single = l == last && !softmax();  // ∂z_k/∂q is 0 but for q_k
      kernels.derive_columns({theta + layer(l).flat + (single ? k * layer(l).in : 0), 1, layer(l).in, nullptr},
                             layer(l).in, single ? 1 : layer(l).out, single ? now + k * stride : now, rows, stride,
                             l ? layer(l - 1).activation : Activation::identity, nullptr, l ? slopes[l - 1] : nullptr,
                             next);
      std::swap(now, next);
    }
    return now;
  }
};

// (85) A row for each row of X and each output, flat like θ.
template <class T>
struct ParameterDerivatives {
  Derivatives<T> derivatives;
  std::vector<T*> A;  // what enters each layer, (rows, units)
  T* D;               // a layer's derivatives, likewise

  ParameterDerivatives(const Kernels<T>& kernels, const Network& net, int64_t rows, Memory& memory)
      : derivatives(kernels, net, rows, memory), D(memory.take<T>(net.widest * derivatives.forward.stride)) {
    for (const Layer& layer : net.layers) A.push_back(memory.take<T>(layer.in * derivatives.forward.stride));
  }

  void run(const T* theta, const Rows& x, const Batch& batch) {
    const ColumnForward<T>& forward = derivatives.forward;
    forward.run(theta, x, batch);
    forward.finish(batch.rows);
    for (size_t l = 0; l < A.size(); l++) {
      const int64_t in = derivatives.layer(l).in;
      forward.kernels.scatter_columns(forward.values[l], forward.stride, batch.rows, in, in, 1, A[l]);
    }
  }
  // Those of output k, rows `gap` apart; times a number for each row where `scale` is not null.
  void of_output(const T* theta, int64_t k, int64_t rows, const T* scale, T* J, int64_t gap) {
    const ColumnForward<T>& forward = derivatives.forward;
    derivatives.back(theta, k, rows, false, [&](size_t l, const T* dP) {
      const Layer& layer = derivatives.layer(l);
      forward.kernels.scatter_columns(dP, forward.stride, rows, layer.out, layer.out, 1, D);
      for (int64_t row = 0; row < rows && scale; row++)
        for (int64_t o = 0; o < layer.out; o++) D[row * layer.out + o] *= scale[row];
      forward.kernels.outer_rows(layer, A[l], D, rows, J, gap);
    });
  }
};

}  // namespace chainrule
