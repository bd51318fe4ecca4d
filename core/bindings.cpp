// Python in, pointers out: checks shapes, releases the GIL, calls train.cpp. It computes nothing.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>

#include "dispatch.hpp"
#include "pass.hpp"
#include "random.hpp"
#include "train.hpp"

namespace nb = nanobind;
using namespace chainrule;
using namespace nb::literals;

namespace {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;  // any dtype, any strides: read in place
template <class T>
using Weight = std::optional<Vector<const T>>;
using Names = std::vector<std::string>;

const InstructionSet* current = runnable().empty() ? nullptr : runnable().front();

const InstructionSet& instructions() {
  if (!current) throw std::runtime_error("this processor lacks fused multiply-add: use engine=\"reference\"");
  return *current;
}

template <class E>
E named(const char* what, const std::string& name, std::initializer_list<const char*> names) {
  int i = 0;
  for (const char* n : names) {
    if (name == n) return E(i);
    i++;
  }
  throw std::invalid_argument(std::string(what) + " '" + name + "' is not known to the native engine");
}
Activation activation_named(const std::string& name) {
  return named<Activation>("activation", name,
                           {"identity", "sigmoid", "tanh", "relu", "softplus", "silu", "gelu", "exp", "softmax"});
}
Loss loss_named(const std::string& name) {
  return named<Loss>(
      "loss", name,
      {"half_squared_error", "huber", "quantile", "binary_cross_entropy", "cross_entropy", "poisson", "gaussian"});
}
Step step_named(const std::string& name) {
  // The first, Step::gradient, is not for callers.
  return Step(1 + named<int>("step", name, {"descent", "momentum", "nesterov", "adam", "rmsprop", "rprop"}));
}
int at_least_one(int threads) {
  if (threads < 1) throw std::invalid_argument("n_threads must be 1 or more");
  return threads;
}

// Calls that compute without the GIL. At exit they are told to stop and waited for: a thread that wants the GIL back of an
// interpreter that is gone takes the process down.
std::atomic<int> running{0};
std::atomic<bool> closing{false};

class Released {  // the GIL, while this lives
  struct Count {
    Count() { running++; }
    ~Count() { running--; }
  } count_;  // goes last: when the GIL is held again
  nb::gil_scoped_release released_;
};

bool interrupted() {
  if (closing) return true;
  nb::gil_scoped_acquire held;
  return PyErr_CheckSignals() != 0;
}
void raise_interrupt() {
  if (PyErr_Occurred()) throw nb::python_error();
  if (closing) throw std::runtime_error("the interpreter is about to end: no answer was computed");
}

// The network of some sizes and activations. The last few are remembered by the tuples that named them, which never change:
// to read them anew takes as long as a prediction of one row.
std::shared_ptr<const Network> network(nb::handle sizes, nb::handle activations, int64_t width, size_t parameters) {
  struct Known {
    nb::object sizes, activations;
    int64_t width = 0;
    std::shared_ptr<const Network> net;
  };
  static auto* known = new std::array<Known, 8>;  // kept until the process ends, as NumPy's objects below
  static size_t next = 0;
  std::shared_ptr<const Network> net;
  for (const Known& k : *known)
    if (k.sizes.is(sizes) && k.activations.is(activations) && k.width == width) net = k.net;
  if (!net) {
    const auto units = nb::cast<std::vector<int64_t>>(sizes);
    std::vector<Activation> kinds;
    for (const auto& name : nb::cast<std::vector<std::string>>(activations)) kinds.push_back(activation_named(name));
    if (units.size() < 2 || kinds.size() + 1 != units.size() || *std::min_element(units.begin(), units.end()) < 1)
      throw std::invalid_argument("sizes must be 1 or more each, one more than activations");
    net = std::make_shared<const Network>(units, kinds, width);
    if (PyTuple_Check(sizes.ptr()) && PyTuple_Check(activations.ptr()))
      (*known)[next++ % known->size()] = {nb::borrow(sizes), nb::borrow(activations), width, net};
  }
  if (net->flat_size != int64_t(parameters)) throw std::invalid_argument("theta does not have the network's size");
  return net;
}

template <class A>
Rows rows_of(const A& x) {
  Source source;
  if (x.dtype() == nb::dtype<float>()) source = Source::float32;
  else if (x.dtype() == nb::dtype<double>()) source = Source::float64;
  else if (x.dtype() == nb::dtype<uint8_t>()) source = Source::uint8;
  else throw std::invalid_argument("X must hold float32, float64 or uint8");
  return {x.data(), source, x.stride(0), x.stride(1), int64_t(x.shape(0)), int64_t(x.shape(1))};
}

Rows inputs(const Network& net, const Table& X) {
  if (int64_t(X.shape(1)) != net.layers.front().in) throw std::invalid_argument("X and sizes disagree");
  return rows_of(X);
}

template <class V>
V attribute(nb::handle object, const char* name) {
  return nb::cast<V>(object.attr(name));
}
// functions.py's Objective, for a network's outputs.
Objective objective_of(nb::handle given, const Network& net) {
  Objective objective{loss_named(attribute<std::string>(given, "loss")),
                      attribute<std::vector<double>>(given, "constants"), attribute<double>(given, "smoothing"),
                      attribute<double>(given, "l2")};
  const bool constants = objective.loss == Loss::huber || objective.loss == Loss::quantile;
  const int64_t outputs = net.layers.back().out;
  if (int64_t(objective.constants.size()) != (constants ? outputs : 0))
    throw std::invalid_argument("objective.constants must have one number for each output of huber and quantile");
  if (objective.loss == Loss::gaussian && outputs % 2)
    throw std::invalid_argument("the gaussian loss needs two outputs for each label");
  return objective;
}
// images.py's Augmentation, of rows of so many columns; or None.
std::optional<Images> images_of(nb::handle given, int64_t columns) {
  if (given.is_none()) return {};
  const auto shape = attribute<std::array<int64_t, 3>>(given, "size");
  const Images images{shape[0],
                      shape[1],
                      shape[2],
                      attribute<double>(given, "angle"),
                      attribute<double>(given, "scale"),
                      attribute<double>(given, "shear"),
                      attribute<double>(given, "shift"),
                      attribute<double>(given, "elastic"),
                      attribute<double>(given, "smoothness")};
  const bool large = images.height >= 2 && images.width >= 2 && images.channels >= 1;
  if (!large || images.height * images.width * images.channels != columns)
    throw std::invalid_argument("the augmentation's shape and X disagree");
  if (!(images.smoothness >= 0.5)) throw std::invalid_argument("smoothness must be 0.5 or more");
  return images;
}
// optimizers.py's Settings.
Settings settings_of(nb::handle given, const Network& net) {
  Settings settings{objective_of(given.attr("objective"), net),
                    step_named(attribute<std::string>(given, "step")),
                    attribute<int64_t>(given, "batch_size"),
                    attribute<double>(given, "momentum"),
                    attribute<double>(given, "beta1"),
                    attribute<double>(given, "beta2"),
                    attribute<double>(given, "epsilon"),
                    attribute<double>(given, "weight_decay"),
                    attribute<double>(given, "clip"),
                    attribute<double>(given, "max_norm"),
                    attribute<double>(given, "adversarial"),
                    attribute<std::vector<double>>(given, "dropout"),
                    attribute<bool>(given, "shuffle"),
                    attribute<uint64_t>(given, "seed"),
                    images_of(given.attr("augment"), net.layers.front().in),
                    attribute<std::vector<signed char>>(given, "monotone"),
                    attribute<std::vector<int64_t>>(given, "embedding")};
  if (settings.batch_size < 1) throw std::invalid_argument("batch_size must be 1 or more");
  if (!settings.dropout.empty() && settings.dropout.size() != net.layers.size())
    throw std::invalid_argument("dropout must have one number for each layer, or none");
  if (!settings.monotone.empty() && int64_t(settings.monotone.size()) != net.layers.front().in)
    throw std::invalid_argument("monotone must have one number for each input, or none");
  if (const auto& column = settings.embedding; !column.empty()) {
    const Layer& first = net.layers.front();
    bool fits = int64_t(column.size()) == first.in && column[0] == 0 && net.layers.size() > 1;
    for (size_t i = 1; i < column.size(); i++) fits = fits && (column[i] - column[i - 1] | 1) == 1;
    if (!fits || first.out % (column.back() + 1) != 0)
      throw std::invalid_argument(
          "embedding must have the column of each input, from 0 on, and the layer units for each");
  }
  for (double p : settings.dropout)
    if (!(p >= 0 && p < 1)) throw std::invalid_argument("dropout must be 0 or more and below 1");
  return settings;
}

template <class T>
Data<T> data_of(const Network& net, const Table& X, const Matrix<T>& L, const Objective& objective,
                const Weight<T>& weight) {
  const int64_t n = X.shape(0), outputs = net.layers.back().out;
  if (n == 0) throw std::invalid_argument("X has no rows");
  const Rows x = inputs(net, X);
  if (int64_t(L.shape(0)) != n || int64_t(L.shape(1)) != (objective.loss == Loss::gaussian ? outputs / 2 : outputs))
    throw std::invalid_argument("L, X and sizes disagree");
  if (weight && int64_t(weight->shape(0)) != n) throw std::invalid_argument("weight and X disagree");
  return {x, rows_of(L), n, weight ? weight->data() : nullptr};
}

// Of NumPy, looked up when the module is loaded and kept: at the end of the interpreter there is no time to give them back.
const nb::object* numpy_empty;
template <class T>
const nb::object* numpy_dtype;

// An array of NumPy's, not yet written.
template <class T>
struct Array {
  nb::object object;
  T* data;

  explicit Array(const nb::tuple& shape) : object((*numpy_empty)(shape, *numpy_dtype<T>)) {
    Py_buffer view;
    if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_WRITABLE)) throw nb::python_error();
    data = static_cast<T*>(view.buf);
    PyBuffer_Release(&view);
  }
};

// What predict and the Jacobians have in common: from n rows of X and k outputs an array of shape(n, k).
template <class T, class F>
auto answers(const Vector<const T>& theta, nb::handle sizes, nb::handle activations, const Table& X, int threads,
             const F& shape, decltype(&predict<T>) compute) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  const Rows x = inputs(*net, X);
  const Array<T> Z(shape(X.shape(0), size_t(net->layers.back().out)));
  at_least_one(threads);
  if (X.shape(0) > 0) {
    Released gil;
    compute(set, *net, theta.data(), x, int64_t(X.shape(0)), Z.data, threads, interrupted);
  }
  raise_interrupt();
  return Z.object;
}
template <class T>
auto bind_predict(const Vector<const T>& theta, nb::handle sizes, nb::handle activations, const Table& X, int threads) {
  auto shape = [](size_t n, size_t k) { return nb::make_tuple(n, k); };
  return answers<T>(theta, sizes, activations, X, threads, shape, predict<T>);
}
template <class T>
auto bind_jacobian(const Vector<const T>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                   int threads) {
  auto shape = [&](size_t n, size_t k) { return nb::make_tuple(n, k, X.shape(1)); };
  return answers<T>(theta, sizes, activations, X, threads, shape, jacobian<T>);
}
template <class T>
auto bind_parameter_jacobian(const Vector<const T>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                             int threads) {
  auto shape = [&](size_t n, size_t k) { return nb::make_tuple(n * k, theta.shape(0)); };
  return answers<T>(theta, sizes, activations, X, threads, shape, parameter_jacobian<T>);
}

// Least squares is a matter of doubles. What a step is made of (normal_equations, factor, solve, inverse_diagonal) is here for what
// else is asked of the matrix, and for tests.
auto bind_normal_equations(const Vector<const double>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                           const Matrix<double>& L, const Weight<double>& weight, const Vector<const double>& precision,
                           int threads) {
  const InstructionSet& set = instructions();
  const int64_t width = set.float64.width, size = theta.shape(0), gap = matrix_gap(size, width);
  const auto net = network(sizes, activations, width, theta.shape(0));
  const Data<double> data = data_of(*net, X, L, {Loss::half_squared_error, {}, 0, 0}, weight);
  if (precision.shape(0) != L.shape(1)) throw std::invalid_argument("precision must have one number for each output");
  at_least_one(threads);
  const Array<double> A(nb::make_tuple(size + 1, gap)), squares(nb::make_tuple(L.shape(0), L.shape(1)));
  {
    Released gil;
    std::fill_n(A.data, (size + 1) * gap, 0.);
    normal_equations(set, *net, theta.data(), data, precision.data(), threads, squares.data, A.data, gap, interrupted);
  }
  raise_interrupt();
  return nb::make_tuple(A.object, squares.object);
}
// U, (n, gap), of the first n rows and columns of a matrix of those, n numbers added to its diagonal; None where there is none.
nb::object bind_factor(const Matrix<double>& A, const Vector<const double>& diagonal) {
  const Kernels<double>& kernels = instructions().float64;
  const int64_t n = diagonal.shape(0), gap = A.shape(1);
  if (int64_t(A.shape(0)) < n || gap < n || gap % kernels.width)
    throw std::invalid_argument("the matrix must be one of normal_equations, with a diagonal as long as theta");
  const Array<double> U(nb::make_tuple(n, gap));
  bool exists;
  {
    Released gil;
    std::copy_n(A.data(), n * gap, U.data);
    for (int64_t i = 0; i < n; i++) U.data[i * gap + i] += diagonal.data()[i];
    exists = kernels.factor(U.data, n, gap);
  }
  return exists ? U.object : nb::none();
}
// The rows of a factor, checked.
int64_t rows_of_factor(const Matrix<double>& U) {
  if (U.shape(1) < U.shape(0) || U.shape(1) % size_t(instructions().float64.width))
    throw std::invalid_argument("the matrix must be one of factor");
  return U.shape(0);
}
nb::object bind_solve(const Matrix<double>& U, const Vector<const double>& b) {
  const int64_t n = rows_of_factor(U);
  if (int64_t(b.shape(0)) != n) throw std::invalid_argument("b must be as long as the factor");
  const Array<double> x(nb::make_tuple(n));
  {
    Released gil;
    std::copy_n(b.data(), n, x.data);
    instructions().float64.solve(U.data(), n, U.shape(1), x.data);
  }
  return x.object;
}
nb::object bind_inverse_diagonal(const Matrix<double>& U) {
  const int64_t n = rows_of_factor(U), gap = U.shape(1);
  const Array<double> inverse(nb::make_tuple(n));
  {
    Released gil;
    Memory memory;
    instructions().float64.inverse_diagonal(U.data(), n, gap, memory.take<double>(n * gap), inverse.data);
  }
  return inverse.object;
}

// θ is changed in place. None, or the sums of squares after the step; the damping of the next; and None, or the evidence's log, how
// many parameters are determined, α and β.
auto bind_least_squares_step(const Vector<double>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                             const Matrix<double>& L, const Weight<double>& weight, const Vector<const double>& decay,
                             const Vector<const double>& beta, double damping,
                             const std::optional<Vector<const int64_t>>& group, const Weight<double>& alpha,
                             const Vector<const double>& known, int threads) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, set.float64.width, theta.shape(0));
  const Data<double> data = data_of(*net, X, L, {Loss::half_squared_error, {}, 0, 0}, weight);
  const size_t outputs = L.shape(1), groups = alpha ? alpha->shape(0) : 0;
  if (beta.shape(0) != outputs || known.shape(0) != outputs)
    throw std::invalid_argument("beta and known must have one number for each output");
  if (decay.shape(0) != theta.shape(0) || (group && group->shape(0) != theta.shape(0)))
    throw std::invalid_argument("decay and group must be as long as theta");
  for (size_t i = 0; group && i < group->shape(0); i++)
    if (const int64_t g = group->data()[i]; g < 0 || g >= int64_t(groups))
      throw std::invalid_argument("group must have a place of alpha for each parameter");
  at_least_one(threads);
  const Array<double> squares(nb::make_tuple(outputs)), heard_alpha(nb::make_tuple(groups)),
      heard_beta(nb::make_tuple(outputs));
  const Penalties penalties{
      beta.data(), decay.data(), group ? group->data() : nullptr, int64_t(groups), alpha ? alpha->data() : nullptr,
      known.data()};
  Stepped found;
  {
    Released gil;
    found = least_squares_step(set, *net, theta.data(), data, penalties, damping, threads, squares.data,
                               heard_alpha.data, heard_beta.data, interrupted);
  }
  raise_interrupt();
  nb::object evidence = nb::none();
  if (found.heard) evidence = nb::make_tuple(found.log, found.effective, heard_alpha.object, heard_beta.object);
  return nb::make_tuple(found.lower ? squares.object : nb::none(), found.damping, evidence);
}

template <class T>
double bind_mean_loss(const Vector<const T>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                      const Matrix<T>& L, nb::handle objective, const Weight<T>& weight, int threads) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  const Objective aim = objective_of(objective, *net);
  const Data<T> data = data_of(*net, X, L, aim, weight);
  at_least_one(threads);
  double value;
  {
    Released gil;
    value = mean_loss<T>(set, *net, theta.data(), data, aim, threads, interrupted);
  }
  raise_interrupt();
  return value;
}

template <class T>
auto bind_loss_and_gradient(const Vector<const T>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                            const Matrix<T>& L, nb::handle objective, const Weight<T>& weight, int threads) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  const Objective aim = objective_of(objective, *net);
  const Data<T> data = data_of(*net, X, L, aim, weight);
  at_least_one(threads);
  const Array<T> gradient(nb::make_tuple(theta.shape(0)));
  double value;
  {
    Released gil;
    value = loss_and_gradient<T>(set, *net, theta.data(), data, aim, threads, gradient.data, interrupted);
  }
  raise_interrupt();
  return nb::make_tuple(value, gradient.object);
}

template <class T>
auto bind_run_epochs(const Vector<T>& theta, nb::handle sizes, nb::handle activations, const Table& X,
                     const Matrix<T>& L, const Weight<T>& weight, nb::handle settings,
                     const Vector<const double>& rates, nb::handle state, int64_t epochs, int threads) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  const Settings how = settings_of(settings, *net);
  const Data<T> data = data_of(*net, X, L, how.objective, weight);
  at_least_one(threads);
  const int64_t batch = std::min(how.batch_size, data.n), steps = (data.n + batch - 1) / batch, known = rates.shape(0);
  if (epochs < 0 || data.n >= int64_t(1) << 32) throw std::invalid_argument("run_epochs: a setting is out of range");
  if (known != 1 && known / steps < epochs)
    throw std::invalid_argument("rates must have one number, or one for each step");
  // No copies: the optimizer's state is changed where it is.
  const auto velocity = nb::cast<Vector<T>>(state.attr("velocity"), false),
             square = nb::cast<Vector<T>>(state.attr("square"), false);
  const auto powers = nb::cast<Vector<double>>(state.attr("powers"), false);
  const bool remembers = how.step != Step::descent && how.step != Step::rmsprop;
  const bool squares = how.step == Step::adam || how.step == Step::rmsprop || how.step == Step::rprop;
  if (powers.shape(0) != 2 || (remembers && velocity.shape(0) != theta.shape(0)) ||
      (squares && square.shape(0) != theta.shape(0)))
    throw std::invalid_argument("run_epochs: the optimizer's state does not have the size of theta");
  const State<T> held{remembers ? velocity.data() : nullptr, squares ? square.data() : nullptr, powers.data(),
                      attribute<int64_t>(state, "epochs")};
  Outcome outcome;
  {
    Released gil;
    outcome =
        run_epochs<T>(set, *net, theta.data(), held, data, how, {rates.data(), known}, epochs, threads, interrupted);
  }
  // Ctrl-C ends the training and no more: the caller has all that was learned. Another handler's exception goes on its way.
  if (PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) throw nb::python_error();
    PyErr_Clear();
  }
  const char* endings[] = {"finished", "interrupted", "diverged"};
  return std::make_tuple(outcome.loss, std::string(endings[int(outcome.ending)]));
}

// ---- plain calls: a few rows, in arrays that need no conversion. Here the checks of data.py cost more than the work, so the
// core makes them, and answers None where anything is not plain: then data.py says what it is.

// An array as the core needs it: of the type T, in C order.
template <class T>
class Plain {
 public:
  explicit Plain(nb::handle array)
      : held_(PyObject_GetBuffer(array.ptr(), &view_, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) == 0) {
    if (!held_) PyErr_Clear();
    typed_ = held_ && view_.format && !std::strcmp(view_.format, sizeof(T) == 4 ? "f" : "d");
  }
  Plain(const Plain&) = delete;
  ~Plain() {
    if (held_) PyBuffer_Release(&view_);
  }
  explicit operator bool() const { return typed_; }
  const T* data() const { return static_cast<const T*>(view_.buf); }
  int64_t size() const { return view_.len / int64_t(sizeof(T)); }
  // Rows of n columns; -1 if it is something else. A vector is one row, or one column.
  int64_t rows(int64_t n) const {
    if (view_.ndim == 2 && view_.shape[1] == n) return view_.shape[0];
    if (view_.ndim == 1 && (view_.shape[0] == n || n == 1)) return view_.shape[0] / n;
    return -1;
  }
  bool between(T low, T high) const {  // not of a NaN; several at once, which the compiler makes vectors of
    constexpr int SOME = 16;
    const T *x = data(), *end = x + size();
    int outside[SOME] = {};
    auto look = [&](int i, T value) { outside[i] |= !(value >= low) | !(value <= high); };
    for (; end - x >= SOME; x += SOME)
      for (int i = 0; i < SOME; i++) look(i, x[i]);
    for (; x < end; x++) look(0, *x);
    return std::all_of(outside, outside + SOME, [](int out) { return out == 0; });
  }

 private:
  Py_buffer view_;
  bool held_, typed_;
};
template <class T>
constexpr T LARGEST = std::numeric_limits<T>::max();
constexpr double LITTLE = 1e6;  // multiply-adds, with the GIL held

template <class T>
nb::object plain_predict(const Plain<T>& theta, nb::handle sizes, nb::handle activations, nb::handle rows) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, kernels_of<T>(set).width, theta.size());
  const Plain<T> X(rows);
  if (!X) return nb::none();
  const int64_t d = net->layers.front().in, n = X.rows(d);
  if (n < 1 || net->work * double(n) > LITTLE || !X.between(-LARGEST<T>, LARGEST<T>)) return nb::none();
  const Array<T> Z(nb::make_tuple(n, net->layers.back().out));
  predict<T>(set, *net, theta.data(), {X.data(), SOURCE<T>, d, 1, n, d}, n, Z.data, 1, nullptr);
  return Z.object;
}
nb::object bind_plain_predict(nb::handle theta, nb::handle sizes, nb::handle activations, nb::handle X) {
  if (Plain<float> m(theta); m) return plain_predict(m, sizes, activations, X);
  if (Plain<double> m(theta); m) return plain_predict(m, sizes, activations, X);
  return nb::none();
}

template <class T>
nb::object plain_gradient(const Plain<T>& theta, nb::handle sizes, nb::handle activations, nb::handle rows,
                          nb::handle labels, nb::handle objective) {
  const InstructionSet& set = instructions();
  const auto net = network(sizes, activations, kernels_of<T>(set).width, theta.size());
  const Plain<T> X(rows), L(labels);
  if (!X || !L) return nb::none();
  const Objective aim = objective_of(objective, *net);
  const int64_t d = net->layers.front().in, n = X.rows(d);
  const int64_t k = net->layers.back().out / (aim.loss == Loss::gaussian ? 2 : 1);
  if (n < 1 || L.rows(k) != n || 3 * net->work * double(n) > LITTLE) return nb::none();
  const bool probabilities = aim.loss == Loss::binary_cross_entropy;
  const bool positive = probabilities || aim.loss == Loss::cross_entropy || aim.loss == Loss::poisson;
  if (!X.between(-LARGEST<T>, LARGEST<T>) || !L.between(positive ? 0 : -LARGEST<T>, probabilities ? 1 : LARGEST<T>))
    return nb::none();
  const Array<T> gradient(nb::make_tuple(net->flat_size));
  const Data<T> data{{X.data(), SOURCE<T>, d, 1, n, d}, {L.data(), SOURCE<T>, k, 1, n, k}, n, nullptr};
  const double value = loss_and_gradient<T>(set, *net, theta.data(), data, aim, 1, gradient.data, nullptr);
  return nb::make_tuple(value, gradient.object);
}
nb::object bind_plain_gradient(nb::handle theta, nb::handle sizes, nb::handle activations, nb::handle X, nb::handle L,
                               nb::handle objective) {
  if (Plain<float> m(theta); m) return plain_gradient(m, sizes, activations, X, L, objective);
  if (Plain<double> m(theta); m) return plain_gradient(m, sizes, activations, X, L, objective);
  return nb::none();
}

template <class T>
auto bind_distort(const Table& X, nb::handle augment, uint64_t seed, uint64_t epoch,
                  const nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>& out, int threads) {
  const Rows x = rows_of(X);
  const auto images = images_of(augment, x.columns);
  if (!images || int64_t(out.shape(0)) != x.rows || int64_t(out.shape(1)) != x.columns)
    throw std::invalid_argument("out must have the shape of X");
  at_least_one(threads);
  Released gil;
  distort<T>(instructions(), *images, seed, epoch, x, out.data(), threads);
}

template <class T>
auto bind_evaluate(const std::string& activation, const Vector<const T>& x) {
  const auto shape = nb::make_tuple(x.shape(0));
  const Array<T> y(shape), slope(shape);
  kernels_of<T>(instructions()).evaluate(activation_named(activation), x.shape(0), x.data(), y.data, slope.data);
  return nb::make_tuple(y.object, slope.object);
}

template <class T>
void bind(nb::module_& m) {
  m.def("predict", &bind_predict<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "n_threads"_a);
  m.def("jacobian", &bind_jacobian<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "n_threads"_a);
  m.def("parameter_jacobian", &bind_parameter_jacobian<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a,
        "X"_a.noconvert(), "n_threads"_a);
  m.def("mean_loss", &bind_mean_loss<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "L"_a.noconvert(), "objective"_a, "weight"_a.noconvert().none(), "n_threads"_a);
  m.def("loss_and_gradient", &bind_loss_and_gradient<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a,
        "X"_a.noconvert(), "L"_a.noconvert(), "objective"_a, "weight"_a.noconvert().none(), "n_threads"_a);
  m.def("run_epochs", &bind_run_epochs<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "L"_a.noconvert(), "weight"_a.noconvert().none(), "settings"_a, "rates"_a.noconvert(), "state"_a, "epochs"_a,
        "n_threads"_a);
  m.def("distort", &bind_distort<T>, "X"_a.noconvert(), "augment"_a, "seed"_a, "epoch"_a, "out"_a.noconvert(),
        "n_threads"_a);
  m.def("evaluate", &bind_evaluate<T>, "activation"_a, "x"_a.noconvert());
}

}  // namespace

NB_MODULE(_native, m) {
  const nb::module_ numpy = nb::module_::import_("numpy");
  numpy_empty = new nb::object(numpy.attr("empty"));
  numpy_dtype<float> = new nb::object(numpy.attr("dtype")("float32"));
  numpy_dtype<double> = new nb::object(numpy.attr("dtype")("float64"));
  numpy_dtype<uint64_t> = new nb::object(numpy.attr("dtype")("uint64"));
  numpy_dtype<int64_t> = new nb::object(numpy.attr("dtype")("int64"));
  bind<float>(m);
  bind<double>(m);
  m.def("normal_equations", &bind_normal_equations, "theta"_a.noconvert(), "sizes"_a, "activations"_a,
        "X"_a.noconvert(), "L"_a.noconvert(), "weight"_a.noconvert().none(), "precision"_a.noconvert(), "n_threads"_a);
  m.def("factor", &bind_factor, "matrix"_a.noconvert(), "diagonal"_a.noconvert());
  m.def("solve", &bind_solve, "U"_a.noconvert(), "b"_a.noconvert());
  m.def("inverse_diagonal", &bind_inverse_diagonal, "U"_a.noconvert());
  m.def("least_squares_step", &bind_least_squares_step, "theta"_a.noconvert(), "sizes"_a, "activations"_a,
        "X"_a.noconvert(), "L"_a.noconvert(), "weight"_a.noconvert().none(), "decay"_a.noconvert(),
        "beta"_a.noconvert(), "damping"_a, "group"_a.noconvert().none(), "alpha"_a.noconvert().none(),
        "known"_a.noconvert(), "n_threads"_a);
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] {
    closing = true;
    nb::gil_scoped_release released;
    while (running) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
  m.def("plain_predict", &bind_plain_predict, "theta"_a, "sizes"_a, "activations"_a, "X"_a.none());
  m.def("plain_loss_and_gradient", &bind_plain_gradient, "theta"_a, "sizes"_a, "activations"_a, "X"_a.none(),
        "L"_a.none(), "objective"_a);
  m.def("instruction_sets", [] {
    Names names;
    for (const auto* set : runnable()) names.push_back(set->name);
    return names;
  });
  m.def("instruction_set", [] { return std::string(current ? current->name : "none"); });
  m.def("select", [](const std::string& name) {
    for (const auto* set : runnable())
      if (name == set->name) {
        current = set;
        return;
      }
    throw std::invalid_argument("this processor does not run the instruction set '" + name + "'");
  });
  m.def("use_every_thread", &use_every_thread, "always"_a);
  m.def("random_bits", [](uint64_t seed, uint64_t stream, int64_t first, int64_t n) {
    const Array<uint64_t> bits(nb::make_tuple(n));
    Stream random(seed, stream);
    for (int64_t i = 0; i < n; i++) bits.data[i] = random.bits(uint64_t(first + i));
    return bits.object;
  });
  m.def("permutation", [](uint64_t seed, uint64_t epoch, int64_t n) {
    const Array<int64_t> order(nb::make_tuple(n));
    permutation(seed, epoch, n, order.data);
    return order.object;
  });
}
