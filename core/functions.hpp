// Activations and losses on vectors: functions.py in C++, with the same numbers of docs/derivation.md. Part of kernels.cpp,
// compiled once per instruction set.
#pragma once
#include "tiles.hpp"

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
    case Activation::exp: return f.template operator()<Activation::exp>();
    default: return f.template operator()<Activation::identity>();
  }
}

// ---- activations -----------------------------------------------------------------------------------------------------

template <class T>
struct Value {
  Vec<T> y, slope;
};
// y = σ(p) and σ′(p), without loss of digits wherever p lies; the compiler drops the one that is not used. Only where those of a
// silu or gelu are too faint to be learned by, on the far left, are they 0.
template <Activation A, class T>
CHAINRULE_INLINE Value<T> activation(Vec<T> p) {
  const Vec<T> zero = splat(T(0)), one = splat(T(1));
  auto seen = [](Vec<T> x) INLINE_LAMBDA { return zero_below(Simd<T>::faint, x); };
  if constexpr (A == Activation::sigmoid) {  // (2, 3)
    Vec<T> e = exp<T>(-p), y = one / (one + e);
    return {y, e * y * y};
  } else if constexpr (A == Activation::tanh) {  // (48)
    Vec<T> e = exp<T>(p + p), below = one / (e + one);
    return {tanh<T>(p), splat(T(4)) * (e * below) * below};
  } else if constexpr (A == Activation::relu) {  // (49)
    return {at_least(p, T(0)), p > zero ? one : zero};
  } else if constexpr (A == Activation::softplus) {  // (50)
    return {softplus<T>(p), sigmoid<T>(p)};
  } else if constexpr (A == Activation::silu) {  // (51)
    Vec<T> e = exp<T>(-p), s = one / (one + e), y = p * s;
    return {seen(y), seen(fma(y, e * s, s))};    // 1 − s = e s, without its loss of digits
  } else if constexpr (A == Activation::gelu) {  // (52)
    Normal<T> n = normal<T>(p);
    return {seen(p * n.distribution), seen(fma(p, n.density, n.distribution))};
  } else if constexpr (A == Activation::exp) {  // (73)
    Vec<T> y = exp<T>(p);
    return {y, y};
  } else {  // (47); the softmax is not a function of one variable and has its own pass
    return {p, one};
  }
}
// σ′(p) from y = σ(p), where the forward pass did not store it. y (1 − y) has an error of
// half a unit in the last place of 1: a unit that far in saturation learns as little with it as without.
template <Activation A, class T>
CHAINRULE_INLINE Vec<T> slope_from(Vec<T> y) {
  const Vec<T> zero = splat(T(0)), one = splat(T(1));
  if constexpr (A == Activation::sigmoid) return y * (one - y);
  else if constexpr (A == Activation::tanh) return fma(-y, y, one);
  else if constexpr (A == Activation::relu) return y > zero ? one : zero;
  else if constexpr (A == Activation::exp) return y;
  else return one;
}

template <Activation F, class T>
CHAINRULE_INLINE Vec<T> slope_at(const T* Y, const T* slope, int64_t i) {
  return slope ? load(slope + i) : slope_from<F, T>(load(Y + i));
}

// σ in place at y and, where slope is not null, σ′.
template <Activation F, class T>
CHAINRULE_INLINE void activate_vector(T* y, T* slope) {
  Value<T> v = activation<F, T>(load(y));
  store<T>(y, v.y);
  if (slope) store<T>(slope, v.slope);
}
// In place in columns, `rows` of each.
template <class T>
void activate(Activation act, int64_t columns, int64_t rows, int64_t stride, T* Y, T* slope) {
  if (act == Activation::identity && !slope) return;
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA {
    for (int64_t at = 0; at < columns * stride; at += stride)
      if (slope)
        for (int64_t i = at; i < at + rows; i += LANES<T>) activate_vector<F>(Y + i, slope + i);
      else
        for (int64_t i = at; i < at + rows; i += LANES<T>) activate_vector<F>(Y + i, static_cast<T*>(nullptr));
  });
}
// D ⊙= σ′, likewise
template <class T>
void times_slope(Activation act, int64_t columns, int64_t rows, int64_t stride, const T* Y, const T* slope, T* D) {
  if (act == Activation::identity && !slope) return;
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA {
    for (int64_t at = 0; at < columns * stride; at += stride)
      for (int64_t i = at; i < at + rows; i += LANES<T>) store<T>(D + i, load(D + i) * slope_at<F, T>(Y, slope, i));
  });
}

// ---- (33, 53..58, 74..81): the output layer ---------------------------------------------------------------------------

// LANES rows at once, a row a lane: vector k holds output k of all of them, so that sums over the outputs need no lane of
// another. L and Q are such columns, (outputs, stride).
template <class T>
struct Block {
  T* Q;
  int64_t stride;
  const T* L;
  int64_t label_stride, outputs;
  Vec<T> scale;  // of each row
  Criterion<T> criterion;

  Vec<T> q(int64_t k) const { return load(Q + k * stride); }
  Vec<T> l(int64_t k) const { return load(L + k * label_stride); }
  // x, or 0 where label k is missing: NaN
  Vec<T> known(int64_t k, Vec<T> x) const { return l(k) == l(k) ? x : Vec<T>{}; }
  Vec<T> constant(int64_t k) const { return splat(criterion.constant[k]); }
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

// Losses of z: ε of output k and ∂ε/∂z.
template <class T>
struct Error {
  Vec<T> value, slope;
};
template <Loss K, class T>
CHAINRULE_INLINE Error<T> error(const Block<T>& b, int64_t k, Vec<T> z) {
  const Vec<T> zero = splat(T(0)), half = splat(T(0.5)), e = b.known(k, z - b.l(k));
  if constexpr (K == Loss::huber) {  // (74, 75)
    Vec<T> delta = b.constant(k), size = absolute<T>(e), inside = size > delta ? delta : size;
    return {inside * fma(-half, inside, size), e > delta ? delta : e < -delta ? -delta : e};
  } else if constexpr (K == Loss::quantile) {  // (76, 77)
    Vec<T> tau = b.constant(k), above = splat(T(1)) - tau;
    return {e > zero ? above * e : -tau * e, e > zero ? above : e < zero ? -tau : e};
  } else {  // (22), (23)
    return {half * e * e, e};
  }
}
// (33) after activation F: ∂ε/∂q = ∂ε/∂z σ′(q)
template <Loss K, Activation F, class T>
CHAINRULE_INLINE Vec<T> loss_of_z(const Block<T>& b) {
  Vec<T> sum = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Value<T> z = activation<F, T>(b.q(k));
    Error<T> e = error<K>(b, k, z.y);
    sum = sum + e.value;
    b.set(k, e.slope * z.slope * b.scale);
  }
  return sum;
}
// (58) after the softmax, whose every output depends on every q: ∂ε/∂q = z ⊙ (∂ε/∂z − Σ ∂ε/∂z z)
template <Loss K, class T>
CHAINRULE_INLINE Vec<T> loss_of_softmax(const Block<T>& b) {
  softmax(b);
  Vec<T> sum = {}, dot = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Error<T> e = error<K>(b, k, b.q(k));
    sum = sum + e.value;
    dot = fma(e.slope, b.q(k), dot);
  }
  for (int64_t k = 0; k < b.outputs; k++) b.set(k, b.q(k) * (error<K>(b, k, b.q(k)).slope - dot) * b.scale);
  return sum;
}
template <Loss K, class T>
CHAINRULE_INLINE Vec<T> loss_of_output(Activation act, const Block<T>& b) {
  if (act == Activation::softmax) return loss_of_softmax<K>(b);
  Vec<T> e;
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA { e = loss_of_z<K, F>(b); });
  return e;
}

// Losses of q, each for the one activation with which it is exact.

// (54, 55) ε = Σ softplus(q) − l q, ∂ε/∂q = σ(q) − l
template <class T>
CHAINRULE_INLINE Vec<T> binary_cross_entropy(const Block<T>& b) {
  Vec<T> sum = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Vec<T> q = b.q(k), l = b.l(k);
    sum = sum + b.known(k, fma(-l, q, softplus<T>(q)));
    b.set(k, b.known(k, sigmoid<T>(q) - l) * b.scale);
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
// (78, 79) ε = Σ e^q − l q, ∂ε/∂q = e^q − l
template <class T>
CHAINRULE_INLINE Vec<T> poisson(const Block<T>& b) {
  Vec<T> sum = {};
  for (int64_t k = 0; k < b.outputs; k++) {
    Vec<T> q = b.q(k), l = b.l(k), z = exp<T>(q);
    sum = sum + b.known(k, fma(-l, q, z));
    b.set(k, b.known(k, z - l) * b.scale);
  }
  return sum;
}
// (80, 81) with the mean μ_k = q_k and s_k = log σ_k² = q_(k + labels)
template <class T>
CHAINRULE_INLINE Vec<T> gaussian(const Block<T>& b) {
  const Vec<T> half = splat(T(0.5)), one = splat(T(1));
  Vec<T> sum = {};
  for (int64_t k = 0; k < b.criterion.labels; k++) {
    Vec<T> s = b.q(k + b.criterion.labels), e = b.q(k) - b.l(k), scaled = e * exp<T>(-s), square = scaled * e;
    sum = fma(half, b.known(k, s + square), sum);
    b.set(k, b.known(k, scaled) * b.scale);
    b.set(k + b.criterion.labels, half * b.known(k, one - square) * b.scale);
  }
  return sum;
}

template <class T>
CHAINRULE_INLINE Vec<T> loss_of(Activation act, const Block<T>& b) {
  switch (b.criterion.loss) {
    case Loss::huber: return loss_of_output<Loss::huber>(act, b);
    case Loss::quantile: return loss_of_output<Loss::quantile>(act, b);
    case Loss::binary_cross_entropy: return binary_cross_entropy(b);
    case Loss::cross_entropy: return cross_entropy(b);
    case Loss::poisson: return poisson(b);
    case Loss::gaussian: return gaussian(b);
    default: return loss_of_output<Loss::half_squared_error>(act, b);
  }
}

// `count` rows, at most LANES: Q becomes ∂ε/∂q times weight * scale, row_loss weight times ε; weight may be null.
template <class T>
CHAINRULE_INLINE void loss_of_rows(Activation output, const Criterion<T>& criterion, int64_t outputs, int64_t count,
                                   T* Q, int64_t stride, const T* L, int64_t label_stride, const T* weight, T scale,
                                   double* row_loss) {
  T each[LANES<T>];
  for (int64_t i = 0; i < LANES<T>; i++) each[i] = !weight ? T(1) : i < count ? weight[i] : T(0);
  Block<T> block{Q, stride, L, label_stride, outputs, load(each) * splat(scale), criterion};
  Vec<T> e = loss_of(output, block);
  for (int64_t i = 0; i < count; i++) row_loss[i] = double(each[i]) * double(e[i]);
}

template <class T>
void evaluate(Activation act, int64_t n, const T* x, T* y, T* slope) {
  for (int64_t i = 0; i < n; i += LANES<T>) {
    const int64_t count = least(LANES<T>, n - i);
    T value[LANES<T>] = {}, derivative[LANES<T>];
    for (int64_t j = 0; j < count; j++) value[j] = x[i + j];
    activate(act, 1, LANES<T>, LANES<T>, value, derivative);
    for (int64_t j = 0; j < count; j++) y[i + j] = value[j], slope[i + j] = derivative[j];
  }
}

}  // namespace
}  // namespace chainrule
