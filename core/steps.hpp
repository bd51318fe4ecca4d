// How a gradient becomes a step: optimizers.py on vectors. Part of kernels.cpp.
#pragma once
#include "tiles.hpp"

namespace chainrule {
namespace {

// iRprop− (Igel, Hüsken 2000): a weight's own step grows while its derivative keeps its sign, and shrinks when it changes.
constexpr double FASTER = 1.2, SLOWER = 0.5, LONGEST = 50, SHORTEST = 1e-6;

// The step on the vector of parameters at `at`, whose gradient is g; decay and shrink are 0 for biases.
template <Step S, class T>
CHAINRULE_INLINE void step_of(const Rule<T>& r, T decay, T shrink, const Parameters<T>& m, int64_t at, Vec<T> g) {
  const Vec<T> rate = splat(r.rate), zero = splat(T(0));
  Vec<T> theta = load(m.theta + at);
  // What remembers a gradient that is 0 from now on, of an input that is, or a dead unit, would become denormal and stay so.
  auto kept = [](Vec<T> x) INLINE_LAMBDA { return zero_below(Simd<T>::normal, x); };
  g = fma(splat(decay), theta, g);                                                        // (40)
  if constexpr (S == Step::adam || S == Step::rmsprop) g = zero_below(Simd<T>::flat, g);  // its square is taken
  theta = fma(splat(-shrink), theta, theta);                                              // (62)
  if constexpr (S == Step::descent) {                                                     // (41)
    theta = fma(-rate, g, theta);
  } else if constexpr (S == Step::adam) {  // (44, 45, 46)
    Vec<T> mean = kept(fma(splat(r.beta1), load(m.velocity + at), splat(r.rest1) * g));
    Vec<T> square = kept(fma(splat(r.beta2), load(m.square + at), splat(r.rest2) * (g * g)));
    store<T>(m.velocity + at, mean);
    store<T>(m.square + at, square);
    Vec<T> root = square_root(square * splat(r.unbias2)) + splat(r.epsilon);
    theta = theta - rate * (mean * splat(r.unbias1)) / root;
  } else if constexpr (S == Step::rmsprop) {  // (63)
    Vec<T> square = kept(fma(splat(r.beta2), load(m.square + at), splat(r.rest2) * (g * g)));
    store<T>(m.square + at, square);
    theta = theta - rate * g / (square_root(square) + splat(r.epsilon));
  } else if constexpr (S == Step::rprop) {  // (64); `velocity` holds the last gradient, `square` each parameter's step
    Vec<T> agreement = g * load(m.velocity + at), length = load(m.square + at);
    Vec<T> longer = at_most(length * splat(T(FASTER)), T(LONGEST));
    Vec<T> shorter = at_least(length * splat(T(SLOWER)), T(SHORTEST));
    length = agreement > zero ? longer : agreement < zero ? shorter : length;
    g = agreement < zero ? zero : g;
    store<T>(m.velocity + at, g);
    store<T>(m.square + at, length);
    theta = g > zero ? theta - length : g < zero ? theta + length : theta;
  } else {  // (42, 43)
    Vec<T> push = -(rate * g), velocity = kept(fma(splat(r.momentum), load(m.velocity + at), push));
    store<T>(m.velocity + at, velocity);
    theta = theta + (S == Step::momentum ? velocity : fma(splat(r.momentum), velocity, push));
  }
  store<T>(m.theta + at, theta);
}

// The step, or with Step::gradient the addition, on `rows` runs of n parameters, whole vectors: the first at `at`, the
// others `gap` further each. Their gradients are the rows of g, g_gap apart, times the rule's scale.
template <class T>
void steps(const Rule<T>& rule, bool weights, const Parameters<T>& m, int64_t at, int64_t rows, int64_t n, int64_t gap,
           const T* g, int64_t g_gap) {
  const T decay = weights ? rule.decay : T(0), shrink = weights ? rule.shrink : T(0);
  auto run = [&]<Step S>() INLINE_LAMBDA {
    const Vec<T> scale = splat(rule.scale);
    for (int64_t row = 0; row < rows; row++, at += gap, g += g_gap)
      for (int64_t i = 0; i < n; i += LANES<T>)
        if constexpr (S == Step::gradient) store<T>(m.gradient + at + i, load(m.gradient + at + i) + load(g + i));
        else step_of<S>(rule, decay, shrink, m, at + i, scale * load(g + i));
  };
  switch (rule.step) {
    case Step::gradient: return run.template operator()<Step::gradient>();
    case Step::descent: return run.template operator()<Step::descent>();
    case Step::momentum: return run.template operator()<Step::momentum>();
    case Step::nesterov: return run.template operator()<Step::nesterov>();
    case Step::adam: return run.template operator()<Step::adam>();
    case Step::rmsprop: return run.template operator()<Step::rmsprop>();
    case Step::rprop: return run.template operator()<Step::rprop>();
  }
}

// The step on n flat parameters, from m.gradient. The last vector, where n leaves it incomplete, is a copy.
template <class T>
void step(const Rule<T>& rule, bool weights, const Parameters<T>& m, int64_t at, int64_t n) {
  constexpr int L = LANES<T>;
  const int64_t whole = n / L * L, rest = n - whole;
  steps(rule, weights, m, at, 1, whole, 0, m.gradient + at, 0);
  if (rest == 0) return;
  T held[4][L] = {};
  T* const parts[4] = {m.theta, m.velocity, m.square, m.gradient};
  for (int p = 0; p < 4; p++)
    for (int64_t i = 0; i < rest && parts[p]; i++) held[p][i] = parts[p][at + whole + i];
  steps(rule, weights, Parameters<T>{held[0], held[1], held[2], held[3]}, 0, 1, L, 0, held[3], 0);
  for (int p = 0; p < 3; p++)
    for (int64_t i = 0; i < rest && parts[p]; i++) parts[p][at + whole + i] = held[p][i];
}

}  // namespace
}  // namespace chainrule
