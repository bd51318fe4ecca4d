// Activations and losses on vectors: functions.py in C++, with the same numbers of docs/derivation.md. Part of kernels.cpp,
// compiled once per instruction set; the rows it works on lie in panels (kernels.hpp).
#pragma once
#include "network.hpp"
#include "simd.hpp"

namespace chainrule {
namespace {

template <class F>
CHAINRULE_INLINE void with_activation(Activation a, const F& f) {
  switch (a) {
    case Activation::sigmoid: return f.template operator()<Activation::sigmoid>();
    case Activation::tanh: return f.template operator()<Activation::tanh>();
    case Activation::relu: return f.template operator()<Activation::relu>();
    case Activation::softplus: return f.template operator()<Activation::softplus>();
    case Activation::silu: return f.template operator()<Activation::silu>();
    case Activation::gelu: return f.template operator()<Activation::gelu>();
    default: return f.template operator()<Activation::identity>();
  }
}

// ---- activations -----------------------------------------------------------------------------------------------------

template <class T>
struct Value {
  Vec<T> y, slope;
};
// y = σ(p) and σ′(p), without loss of digits wherever p lies; the compiler drops the one that is not used.
template <Activation A, class T>
CHAINRULE_INLINE Value<T> activation(Vec<T> p) {
  const Vec<T> zero = splat(T(0)), one = splat(T(1));
  if constexpr (A == Activation::sigmoid) {  // (2, 3)
    Vec<T> e = exp<T>(-p), y = one / (one + e);
    return {y, e * y * y};
  } else if constexpr (A == Activation::tanh) {  // (48)
    Vec<T> e = exp<T>(p + p), below = one / (e + one);
    return {tanh<T>(p), splat(T(4)) * (e * below) * below};
  } else if constexpr (A == Activation::relu) {  // (49)
    return {p < zero ? zero : p, p > zero ? one : zero};
  } else if constexpr (A == Activation::softplus) {  // (50)
    return {softplus<T>(p), sigmoid<T>(p)};
  } else if constexpr (A == Activation::silu) {  // (51)
    Vec<T> e = exp<T>(-p), s = one / (one + e), y = p * s;
    return {y, fma(y, e * s, s)};                // 1 − s = e s, without its loss of digits
  } else if constexpr (A == Activation::gelu) {  // (52)
    Normal<T> n = normal<T>(p);
    return {p * n.distribution, fma(p, n.density, n.distribution)};
  } else {  // (47); the softmax is not a function of one variable and has its own pass
    return {p, one};
  }
}
// σ′(p) of a hidden layer: from y = σ(p) where that is cheap, else as the forward pass stored it. y (1 − y) has an error of
// half a unit in the last place of 1: a unit that far in saturation learns as little with it as without.
template <Activation A, class T>
CHAINRULE_INLINE Vec<T> slope_at(const T* Y, const T* slope, int64_t i) {
  const Vec<T> zero = splat(T(0)), one = splat(T(1));
  if constexpr (A == Activation::sigmoid) return load(Y + i) * (one - load(Y + i));
  else if constexpr (A == Activation::tanh) return fma(-load(Y + i), load(Y + i), one);
  else if constexpr (A == Activation::relu) return load(Y + i) > zero ? one : zero;
  else if constexpr (has_slope(A)) return load(slope + i);
  else return one;
}

// ---- (33, 53..58): the output layer -------------------------------------------------------------------------------------

// LANES rows at once, a row a lane: vector k holds output k of all of them, so that sums over the outputs need no lane of
// another. L and Q are such columns, (outputs, stride).
template <class T>
struct Block {
  T* Q;
  int64_t stride;
  const T* L;
  int64_t label_stride, outputs;
  Vec<T> scale;  // of each row

  Vec<T> q(int64_t k) const { return load(Q + k * stride); }
  Vec<T> l(int64_t k) const { return load(L + k * label_stride); }
  void set(int64_t k, Vec<T> value) const { store<T>(Q + k * stride, value); }
};

template <class T>
struct Softmax {
  Vec<T> highest, sum;  // of q; of e^(q − highest)
};
// Q becomes e^(q − highest); dividing by the sum is left to the caller.
template <class T>
CHAINRULE_INLINE Softmax<T> exponentials(const Block<T>& b) {
  Vec<T> highest = b.q(0), sum = {};
  for (int64_t k = 1; k < b.outputs; k++) highest = b.q(k) > highest ? b.q(k) : highest;
  for (int64_t k = 0; k < b.outputs; k++) {
    Vec<T> e = exp<T>(b.q(k) - highest);
    b.set(k, e);
    sum = sum + e;
  }
  return {highest, sum};
}
// (53)
template <class T>
CHAINRULE_INLINE void softmax(const Block<T>& b) {
  Softmax<T> s = exponentials(b);
  for (int64_t k = 0; k < b.outputs; k++) b.set(k, b.q(k) / s.sum);
}

// Half the squared error after activation F, (33): ∂ε/∂q = (z − l) σ′(q).
template <Activation F, class T>
CHAINRULE_INLINE Vec<T> squared_error(const Block<T>& b) {
  Vec<T> sum = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Value<T> z = activation<F, T>(b.q(k));
    Vec<T> e = z.y - b.l(k);
    sum = fma(splat(T(0.5)) * e, e, sum);
    b.set(k, e * z.slope * b.scale);
  }
  return sum;
}
// (58) the same after the softmax, whose every output depends on every q: ∂ε/∂q = z ⊙ (e − Σ e z) with e = z − l
template <class T>
CHAINRULE_INLINE Vec<T> squared_error_softmax(const Block<T>& b) {
  softmax(b);
  Vec<T> sum = {}, dot = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Vec<T> e = b.q(k) - b.l(k);
    sum = fma(splat(T(0.5)) * e, e, sum);
    dot = fma(e, b.q(k), dot);
  }
  for (int64_t k = 0; k < b.outputs; k++) b.set(k, b.q(k) * (b.q(k) - b.l(k) - dot) * b.scale);
  return sum;
}
// (54, 55) ε = Σ softplus(q) − l q, ∂ε/∂q = σ(q) − l
template <class T>
CHAINRULE_INLINE Vec<T> binary_cross_entropy(const Block<T>& b) {
  Vec<T> sum = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Vec<T> q = b.q(k), l = b.l(k);
    sum = sum + fma(-l, q, softplus<T>(q));
    b.set(k, (sigmoid<T>(q) - l) * b.scale);
  }
  return sum;
}
// (56, 57) ε = Σ l (log Σ e^q − q), ∂ε/∂q = z Σ l − l
template <class T>
CHAINRULE_INLINE Vec<T> cross_entropy(const Block<T>& b) {
  Vec<T> below = {}, labels = {}, highest = b.q(0);
  for (int64_t k = 1; k < b.outputs; k++) highest = b.q(k) > highest ? b.q(k) : highest;
  for (int64_t k = 0; k < b.outputs; k++) {
    below = fma(b.l(k), highest - b.q(k), below);
    labels = labels + b.l(k);
  }
  Softmax<T> s = exponentials(b);
  for (int64_t k = 0; k < b.outputs; k++) b.set(k, fma(b.q(k) / s.sum, labels, -b.l(k)) * b.scale);
  return fma(labels, log<T>(s.sum), below);
}

template <class T>
CHAINRULE_INLINE Vec<T> loss_of(Activation act, Loss kind, const Block<T>& b) {
  if (kind == Loss::cross_entropy) return cross_entropy(b);
  if (kind == Loss::binary_cross_entropy) return binary_cross_entropy(b);
  if (act == Activation::softmax) return squared_error_softmax(b);
  Vec<T> e;
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA { e = squared_error<F>(b); });
  return e;
}

}  // namespace
}  // namespace chainrule
