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

// One row of Q: its vectors lie a panel apart. f(k, q) for each vector, k its first output.
template <class T, class F>
CHAINRULE_INLINE void each_vector(int64_t outputs, int64_t rows, int64_t row, const F& f) {
  for (int64_t k = 0; k < outputs; k += LANES<T>) {
    int64_t panel = k / WIDTH<T>;
    f(k, (panel * rows + row) * WIDTH<T> + k % WIDTH<T>);
  }
}
// Σ over a row's outputs, ascending, of what `term` holds at q; in double, so that no loss drowns in a long sum.
template <class T>
CHAINRULE_INLINE double total(int64_t outputs, int64_t k, const Vec<T>& term, double sum) {
  int64_t count = least(LANES<T>, outputs - k);
  for (int64_t j = 0; j < count; j++) sum += double(term[j]);
  return sum;
}

template <class T>
struct Softmax {
  T highest, sum;  // of q; of e^(q − highest)
};
// Q of one row becomes e^(q − highest); dividing by the sum is left to the caller.
template <class T>
CHAINRULE_INLINE Softmax<T> exponentials(int64_t outputs, int64_t rows, int64_t row, T* Q) {
  T highest = Q[row * WIDTH<T>];
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    for (int64_t j = 0; j < least(LANES<T>, outputs - k); j++) highest = Q[at + j] > highest ? Q[at + j] : highest;
  });
  T sum = 0;
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    store<T>(Q + at, exp<T>(load(Q + at) - splat(highest)));
    for (int64_t j = 0; j < least(LANES<T>, outputs - k); j++) sum += Q[at + j];
  });
  return {highest, sum};
}

template <class T>
void softmax(int64_t outputs, int64_t rows, int64_t begin, int64_t end, T* Q) {
  for (int64_t row = begin; row < end; row++) {
    Softmax<T> s = exponentials(outputs, rows, row, Q);
    each_vector<T>(outputs, rows, row,
                   [&](int64_t, int64_t at) INLINE_LAMBDA { store<T>(Q + at, load(Q + at) / splat(s.sum)); });
  }
}

// Half the squared error of one row after activation F, (33): ∂ε/∂q = (z − l) σ′(q).
template <Activation F, class T>
CHAINRULE_INLINE double squared_error_row(int64_t outputs, int64_t rows, int64_t row, const T* L, Vec<T> scale, T* Q) {
  double sum = 0;
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    Value<T> z = activation<F, T>(load(Q + at));
    Vec<T> e = z.y - load(L + at);
    sum = total<T>(outputs, k, splat(T(0.5)) * e * e, sum);
    store<T>(Q + at, e * z.slope * scale);
  });
  return sum;
}
// (58) the same after the softmax, whose every output depends on every q: ∂ε/∂q = z ⊙ (e − Σ e z) with e = z − l
template <class T>
CHAINRULE_INLINE double squared_error_softmax_row(int64_t outputs, int64_t rows, int64_t row, const T* L, Vec<T> scale,
                                                  T* Q) {
  Softmax<T> s = exponentials(outputs, rows, row, Q);
  double sum = 0;
  T dot = 0;
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    Vec<T> z = load(Q + at) / splat(s.sum), e = z - load(L + at);
    store<T>(Q + at, z);
    sum = total<T>(outputs, k, splat(T(0.5)) * e * e, sum);
    for (int64_t j = 0; j < least(LANES<T>, outputs - k); j++) dot += e[j] * z[j];
  });
  each_vector<T>(outputs, rows, row, [&](int64_t, int64_t at) INLINE_LAMBDA {
    Vec<T> z = load(Q + at), e = z - load(L + at);
    store<T>(Q + at, z * (e - splat(dot)) * scale);
  });
  return sum;
}
// (54, 55) ε = Σ softplus(q) − l q, ∂ε/∂q = σ(q) − l
template <class T>
CHAINRULE_INLINE double binary_cross_entropy_row(int64_t outputs, int64_t rows, int64_t row, const T* L, Vec<T> scale,
                                                 T* Q) {
  double sum = 0;
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    Vec<T> q = load(Q + at), l = load(L + at);
    sum = total<T>(outputs, k, fma(-l, q, softplus<T>(q)), sum);
    store<T>(Q + at, (sigmoid<T>(q) - l) * scale);
  });
  return sum;
}
// (56, 57) ε = Σ l (log Σ e^q − q), ∂ε/∂q = z Σ l − l
template <class T>
CHAINRULE_INLINE double cross_entropy_row(int64_t outputs, int64_t rows, int64_t row, const T* L, Vec<T> scale, T* Q) {
  double below = 0;  // Σ l (highest − q)
  T labels = 0, highest = Q[row * WIDTH<T>];
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    for (int64_t j = 0; j < least(LANES<T>, outputs - k); j++) {
      highest = Q[at + j] > highest ? Q[at + j] : highest;
      labels += L[at + j];
    }
  });
  each_vector<T>(outputs, rows, row, [&](int64_t k, int64_t at) INLINE_LAMBDA {
    below = total<T>(outputs, k, load(L + at) * (splat(highest) - load(Q + at)), below);
  });
  Softmax<T> s = exponentials(outputs, rows, row, Q);
  each_vector<T>(outputs, rows, row, [&](int64_t, int64_t at) INLINE_LAMBDA {
    Vec<T> z = load(Q + at) / splat(s.sum);
    store<T>(Q + at, fma(z, splat(labels), -load(L + at)) * scale);
  });
  return below + double(labels) * double(log<T>(splat(s.sum))[0]);
}

template <class T>
void loss(Activation act, Loss kind, int64_t outputs, int64_t rows, int64_t begin, int64_t end, const T* L,
          const T* weight, T scale, T* Q, double* row_loss) {
  for (int64_t row = begin; row < end; row++) {
    Vec<T> s = splat(weight ? weight[row] * scale : scale);
    double e;
    if (kind == Loss::cross_entropy) e = cross_entropy_row(outputs, rows, row, L, s, Q);
    else if (kind == Loss::binary_cross_entropy) e = binary_cross_entropy_row(outputs, rows, row, L, s, Q);
    else if (act == Activation::softmax) e = squared_error_softmax_row(outputs, rows, row, L, s, Q);
    else
      with_activation(act,
                      [&]<Activation F>() INLINE_LAMBDA { e = squared_error_row<F>(outputs, rows, row, L, s, Q); });
    row_loss[row] = weight ? double(weight[row]) * e : e;
    // Lanes past the last output must not reach a gradient.
    int64_t panels = (outputs + WIDTH<T> - 1) / WIDTH<T>;
    T* tail = Q + ((panels - 1) * rows + row) * WIDTH<T>;
    for (int64_t k = outputs - (panels - 1) * WIDTH<T>; k < WIDTH<T>; k++) tail[k] = 0;
  }
}

}  // namespace
}  // namespace chainrule
