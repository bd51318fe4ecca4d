// Python in, pointers out: checks shapes, releases the GIL, calls train.cpp. It computes nothing.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "dispatch.hpp"
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
using Sizes = std::vector<int64_t>;
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
                           {"identity", "sigmoid", "tanh", "relu", "softplus", "silu", "gelu", "softmax"});
}
Loss loss_named(const std::string& name) {
  return named<Loss>("loss", name, {"half_squared_error", "binary_cross_entropy", "cross_entropy"});
}
Step step_named(const std::string& name) {
  return Step(1 + named<int>("step", name, {"descent", "momentum", "nesterov", "adam"}));  // 0 is Step::gradient
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

Network network(const Sizes& sizes, const Names& activations, int64_t width, size_t parameters) {
  std::vector<Activation> kinds;
  for (const auto& name : activations) kinds.push_back(activation_named(name));
  if (sizes.size() < 2 || kinds.size() + 1 != sizes.size() || *std::min_element(sizes.begin(), sizes.end()) < 1)
    throw std::invalid_argument("sizes must be 1 or more each, one more than activations");
  Network net(sizes, kinds, width);
  if (net.flat_size != int64_t(parameters)) throw std::invalid_argument("theta does not have the network's size");
  return net;
}

template <class A>
Rows rows_of(const A& x) {
  Source source;
  if (x.dtype() == nb::dtype<float>()) source = Source::float32;
  else if (x.dtype() == nb::dtype<double>()) source = Source::float64;
  else if (x.dtype() == nb::dtype<uint8_t>()) source = Source::uint8;
  else throw std::invalid_argument("X must hold float32, float64 or uint8");
  return {x.data(), source, x.stride(0), x.stride(1), int64_t(x.shape(1))};
}

template <class T>
Data<T> data_of(const Network& net, const Table& X, const Matrix<T>& L, const Weight<T>& weight) {
  const int64_t n = X.shape(0);
  if (n == 0) throw std::invalid_argument("X has no rows");
  if (int64_t(X.shape(1)) != net.layers.front().in) throw std::invalid_argument("X and sizes disagree");
  if (int64_t(L.shape(0)) != n || int64_t(L.shape(1)) != net.layers.back().out)
    throw std::invalid_argument("L, X and sizes disagree");
  if (weight && int64_t(weight->shape(0)) != n) throw std::invalid_argument("weight and X disagree");
  return {rows_of(X), rows_of(L), n, weight ? weight->data() : nullptr};
}

template <class T>
nb::ndarray<nb::numpy, T> array(std::vector<size_t> shape) {
  size_t n = 1;
  for (size_t s : shape) n *= s;
  auto data = std::make_unique<T[]>(n);
  nb::capsule owner(data.get(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::numpy, T>(data.release(), shape.size(), shape.data(), owner);
}

template <class T>
auto bind_predict(const Vector<const T>& theta, const Sizes& sizes, const Names& activations, const Table& X,
                  int threads) {
  const InstructionSet& set = instructions();
  Network net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  if (int64_t(X.shape(1)) != net.layers.front().in) throw std::invalid_argument("X and sizes disagree");
  Rows x = rows_of(X);
  const int64_t n = X.shape(0);
  auto Z = array<T>({size_t(n), size_t(net.layers.back().out)});
  if (n > 0) {
    Released gil;
    predict<T>(set, net, theta.data(), x, n, Z.data(), at_least_one(threads), interrupted);
  }
  raise_interrupt();
  return Z;
}

template <class T>
double bind_mean_loss(const Vector<const T>& theta, const Sizes& sizes, const Names& activations, const Table& X,
                      const Matrix<T>& L, const std::string& loss, const Weight<T>& weight, int threads) {
  const InstructionSet& set = instructions();
  Network net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  Data<T> data = data_of(net, X, L, weight);
  Loss kind = loss_named(loss);
  double value;
  {
    Released gil;
    value = mean_loss<T>(set, net, theta.data(), data, kind, at_least_one(threads), interrupted);
  }
  raise_interrupt();
  return value;
}

template <class T>
auto bind_loss_and_gradient(const Vector<const T>& theta, const Sizes& sizes, const Names& activations, const Table& X,
                            const Matrix<T>& L, const std::string& loss, double decay, const Weight<T>& weight,
                            int threads) {
  const InstructionSet& set = instructions();
  Network net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  Data<T> data = data_of(net, X, L, weight);
  Loss kind = loss_named(loss);
  auto gradient = array<T>({theta.shape(0)});
  double value;
  {
    Released gil;
    value = loss_and_gradient<T>(set, net, theta.data(), data, kind, decay, at_least_one(threads), gradient.data(),
                                 interrupted);
  }
  raise_interrupt();
  return std::make_tuple(value, gradient);
}

template <class T>
auto bind_run_epochs(const Vector<T>& theta, const Sizes& sizes, const Names& activations, const Table& X,
                     const Matrix<T>& L, const std::string& loss, const std::string& step, const Vector<T>& velocity,
                     const Vector<T>& square, const Vector<double>& powers, int64_t batch_size, int64_t epochs,
                     int64_t first_epoch, double rate, double momentum, double beta1, double beta2, double epsilon,
                     double decay, const Weight<T>& weight, bool shuffle, uint64_t seed, int threads) {
  const InstructionSet& set = instructions();
  Network net = network(sizes, activations, kernels_of<T>(set).width, theta.shape(0));
  Data<T> data = data_of(net, X, L, weight);
  if (batch_size < 1 || epochs < 0 || powers.shape(0) != 2 || data.n >= int64_t(1) << 32)
    throw std::invalid_argument("run_epochs: a setting is out of range");
  Training training{loss_named(loss),
                    step_named(step),
                    batch_size,
                    epochs,
                    first_epoch,
                    shuffle,
                    seed,
                    at_least_one(threads),
                    rate,
                    decay,
                    momentum,
                    beta1,
                    beta2,
                    epsilon};
  const bool remembers = training.step != Step::descent, squares = training.step == Step::adam;
  if ((remembers && velocity.shape(0) != theta.shape(0)) || (squares && square.shape(0) != theta.shape(0)))
    throw std::invalid_argument("run_epochs: the optimizer's state does not have the size of theta");
  State<T> state{remembers ? velocity.data() : nullptr, squares ? square.data() : nullptr, powers.data()};
  Outcome outcome;
  {
    Released gil;
    outcome = run_epochs<T>(set, net, theta.data(), state, data, training, interrupted);
  }
  // Ctrl-C ends the training and no more: the caller has all that was learned. Another handler's exception goes on its way.
  if (PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) throw nb::python_error();
    PyErr_Clear();
  }
  const char* endings[] = {"finished", "interrupted", "diverged"};
  return std::make_tuple(outcome.loss, std::string(endings[int(outcome.ending)]));
}

template <class T>
auto bind_evaluate(const std::string& activation, const Vector<const T>& x) {
  auto y = array<T>({x.shape(0)}), slope = array<T>({x.shape(0)});
  kernels_of<T>(instructions()).evaluate(activation_named(activation), x.shape(0), x.data(), y.data(), slope.data());
  return std::make_tuple(y, slope);
}

template <class T>
void bind(nb::module_& m) {
  m.def("predict", &bind_predict<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "n_threads"_a);
  m.def("mean_loss", &bind_mean_loss<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "L"_a.noconvert(), "loss"_a, "weight"_a.noconvert().none(), "n_threads"_a);
  m.def("loss_and_gradient", &bind_loss_and_gradient<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a,
        "X"_a.noconvert(), "L"_a.noconvert(), "loss"_a, "l2"_a, "weight"_a.noconvert().none(), "n_threads"_a);
  m.def("run_epochs", &bind_run_epochs<T>, "theta"_a.noconvert(), "sizes"_a, "activations"_a, "X"_a.noconvert(),
        "L"_a.noconvert(), "loss"_a, "step"_a, "velocity"_a.noconvert(), "square"_a.noconvert(), "powers"_a.noconvert(),
        "batch_size"_a, "epochs"_a, "first_epoch"_a, "rate"_a, "momentum"_a, "beta1"_a, "beta2"_a, "epsilon"_a, "l2"_a,
        "weight"_a.noconvert().none(), "shuffle"_a, "seed"_a, "n_threads"_a);
  m.def("evaluate", &bind_evaluate<T>, "activation"_a, "x"_a.noconvert());
}

}  // namespace

NB_MODULE(_native, m) {
  bind<float>(m);
  bind<double>(m);
  nb::module_::import_("atexit").attr("register")(nb::cpp_function([] {
    closing = true;
    nb::gil_scoped_release released;
    while (running) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
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
    auto bits = array<uint64_t>({size_t(n)});
    Stream random(seed, stream);
    for (int64_t i = 0; i < n; i++) bits.data()[i] = random.bits(uint64_t(first + i));
    return bits;
  });
  m.def("permutation", [](uint64_t seed, uint64_t epoch, int64_t n) {
    auto order = array<int64_t>({size_t(n)});
    permutation(seed, epoch, n, order.data());
    return order;
  });
}
