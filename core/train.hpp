// The engine's functions, as the bindings call them: the same as reference.py's, on plain pointers, no Python.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "kernels.hpp"

namespace chainrule {

// The layers of a network and the sizes of its two parameter vectors, for an instruction set's panel width.
struct Network {
  std::vector<Layer> layers;
  int64_t width, flat_size = 0, packed_size = 0, widest = 0;
  double work = 0;  // multiply-adds of a row's forward pass

  Network(const std::vector<int64_t>& sizes, const std::vector<Activation>& activations, int64_t width);
  int64_t padded(int64_t n) const { return (n + width - 1) / width * width; }
};

template <class T>
struct Data {  // X (n, d), L (n, k), weight (n,) with mean 1, or null
  Rows x, labels;
  int64_t n;
  const T* weight;
};

// What a training lowers, and how: functions.py's Objective and optimizers.py's Settings and State.
struct Objective {
  Loss loss;
  std::vector<double> constants;  // δ of huber, τ of quantile, for each output
  double smoothing, l2;
};
struct Images {  // images.py's Augmentation: (95) to (97)
  int64_t height, width, channels;
  double rotation, scale, shear, shift, elastic, smoothness;
};
struct Settings {
  Objective objective;
  Step step;
  int64_t batch_size;
  double momentum, beta1, beta2, epsilon, weight_decay, clip, max_norm, adversarial;
  std::vector<double> dropout;  // of what enters each layer; empty: none
  bool shuffle;
  uint64_t seed;
  std::optional<Images> images;       // that are distorted
  std::vector<signed char> monotone;  // the sign of each input; empty: any
  std::vector<int64_t> embedding;     // the column of each input, ascending from 0; empty: no embedding
};
template <class T>
struct State {  // what an optimizer remembers, flat like θ; null where its rule does not need it
  T *velocity, *square;
  double* powers;  // β1^t, β2^t
  int64_t epochs;  // made before
};
struct Rates {  // α of each step, or of all where there is one
  const double* of_step;
  int64_t n;
  double at(int64_t step) const { return of_step[n == 1 ? 0 : step]; }
};

enum class Ending : int { finished, interrupted, diverged };
struct Outcome {
  std::vector<double> loss;  // per whole epoch: the mean over its batches, each before its step
  Ending ending;
};

// Use all threads that are asked for, even where fewer would be faster: for tests.
void use_every_thread(bool always);

// Asked some thirty milliseconds apart whether to stop. All but the training give up then; the caller knows, for it was asked.
using Interrupted = std::function<bool()>;

template <class T>
void predict(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* Z, int threads,
             const Interrupted& interrupted);
// (82..84) ∂z/∂x, (n, k, d)
template <class T>
void jacobian(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* J,
              int threads, const Interrupted& interrupted);
// (85) ∂z/∂m, (n k, parameters)
template <class T>
void parameter_jacobian(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* J,
                        int threads, const Interrupted& interrupted);
// The numbers of a row of a matrix of least squares, of so many parameters and one column more: room for whole vectors, and an odd
// number of panels: with a power of two its rows would share a few sets of the caches.
inline int64_t matrix_gap(int64_t size, int64_t width) { return ((size + width) / width | 1) * width; }
// (89, 87) The sums over rows i and outputs j of precision_j w_i times JᵀJ, Jᵀe and e², e = z − l, as one matrix: A += [J e]ᵀ[J e],
// (parameters + 1, gap), of which the right upper half counts. Each w_i e² is in `squares`, (n, k).
void normal_equations(const InstructionSet& set, const Network& net, const double* theta, const Data<double>& data,
                      const double* precision, int threads, double* squares, double* A, int64_t gap,
                      const Interrupted& interrupted);
// What least squares lowers: F (86) = ½ Σ β_j w_i e² + ½ Σ decay m², decay of each parameter; and, where the evidence is asked
// for, the groups of the parameters, each group's α, and how many labels of each output are known.
struct Penalties {
  const double *beta, *decay;
  const int64_t* group = nullptr;  // null: the evidence is not asked for
  int64_t groups = 0;
  const double *alpha = nullptr, *known = nullptr;
};
struct Stepped {
  bool lower;      // whether a step was found that lowers F: θ is where it leads
  double damping;  // of the next
  bool heard;      // whether there is evidence
  double log, effective;
};
// (88, 103) One step of Levenberg and Marquardt: Σ w e² of each output after it is in `squares`, (k,); and the evidence (90), and α
// and β as it has them (92, 93), are in `alpha` and `beta`.
Stepped least_squares_step(const InstructionSet& set, const Network& net, double* theta, const Data<double>& data,
                           const Penalties& penalties, double damping, int threads, double* squares, double* alpha,
                           double* beta, const Interrupted& interrupted);
// (95..97) All rows as they enter in an epoch, (n, d).
template <class T>
void distort(const InstructionSet& set, const Images& images, uint64_t seed, uint64_t epoch, const Rows& x, T* out,
             int threads);
template <class T>
double mean_loss(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data,
                 const Objective& objective, int threads, const Interrupted& interrupted);
template <class T>
double loss_and_gradient(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data,
                         const Objective& objective, int threads, T* gradient, const Interrupted& interrupted);
template <class T>
Outcome run_epochs(const InstructionSet& set, const Network& net, T* theta, const State<T>& state, const Data<T>& data,
                   const Settings& settings, const Rates& rates, int64_t epochs, int threads,
                   const Interrupted& interrupted);

}  // namespace chainrule
