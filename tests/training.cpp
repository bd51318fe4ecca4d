// A training without Python: the core alone, for processors that the tests reach only by cross-compiling. It prints the
// instruction set, then the SHA-256 of the trained parameters, which must be that of `History.hash` on any other machine.
//
//   training sizes=20,30,10 activations=sigmoid,sigmoid dtype=float32 loss=half_squared_error step=descent batch_size=10 ...
//   training evaluate=tanh dtype=float64        the hash of an activation's values and slopes over many arguments
//   training least_squares=1 dtype=float64 ...  of the normal equations at the initial values, and of what is solved by them
//
// test_engines.py calls it with the recipes that it trains from Python; numbers are in decimal or hexadecimal.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "../core/dispatch.hpp"
#include "../core/random.hpp"
#include "../core/train.hpp"

using namespace chainrule;

// ---- SHA-256 (FIPS 180-4) ----------------------------------------------------------------------------------------------

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }
// The first 32 bits of the fractional parts of the roots of the first primes.
static std::vector<uint32_t> fractions(int count, double power) {
  std::vector<uint32_t> bits;
  for (int p = 2; int(bits.size()) < count; p++) {
    bool prime = true;
    for (int d = 2; d * d <= p; d++) prime = prime && p % d;
    const long double root = std::pow((long double)p, (long double)power);
    if (prime) bits.push_back(uint32_t((root - std::floor(root)) * 4294967296.0L));
  }
  return bits;
}
static std::string sha256(std::string bytes) {
  const std::vector<uint32_t> k = fractions(64, 1 / 3.L);
  std::vector<uint32_t> h = fractions(8, 1 / 2.L);
  const uint64_t length = 8 * bytes.size();
  bytes += '\x80';
  while (bytes.size() % 64 != 56) bytes += '\0';
  for (int i = 56; i >= 0; i -= 8) bytes += char(length >> i);
  for (size_t block = 0; block < bytes.size(); block += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) {
      w[i] = 0;
      for (int j = 0; j < 4; j++) w[i] = w[i] << 8 | uint8_t(bytes[block + 4 * i + j]);
    }
    for (int i = 16; i < 64; i++)
      w[i] = w[i - 16] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
             (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    uint32_t v[8];
    std::copy(h.begin(), h.end(), v);
    for (int i = 0; i < 64; i++) {
      const uint32_t one =
          v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
      const uint32_t two =
          (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
      for (int j = 7; j > 0; j--) v[j] = v[j - 1];
      v[4] += one, v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
  }
  std::string text;
  for (uint32_t word : h) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", unsigned(word));
    text += digits;
  }
  return text;
}

// ---- arguments ----------------------------------------------------------------------------------------------------------

static std::map<std::string, std::string> given;

static std::vector<std::string> words(const std::string& name) {
  std::vector<std::string> parts;
  std::stringstream text(given[name]);
  for (std::string part; std::getline(text, part, ',');) parts.push_back(part);
  return parts;
}
static std::vector<double> numbers(const std::string& name) {
  std::vector<double> values;
  for (const auto& word : words(name)) values.push_back(std::strtod(word.c_str(), nullptr));
  return values;
}
static double number(const std::string& name) { return std::strtod(given[name].c_str(), nullptr); }
template <class E>
static E named(const std::string& name, std::initializer_list<const char*> names) {
  int i = 0;
  for (const char* n : names) {
    if (name == n) return E(i);
    i++;
  }
  std::fprintf(stderr, "%s is not known\n", name.c_str());
  std::exit(2);
}
static Activation activation_named(const std::string& name) {
  return named<Activation>(name, {"identity", "sigmoid", "tanh", "relu", "softplus", "silu", "gelu", "exp", "softmax"});
}

// ---- the three things it does ---------------------------------------------------------------------------------------------

// Random numbers of [0, 1), as generator.py's `uniform`.
static double uniform(const Stream& stream, int64_t i) {
  return double(stream.bits(uint64_t(i)) >> 11) * std::ldexp(1., -53);
}

template <class T>
static std::string evaluated(const InstructionSet& set) {
  std::vector<T> x, y, slope;
  for (int i = -4000; i <= 4000; i++) x.push_back(T(i) / T(128)), x.push_back(T(i) * T(i) * T(i) / T(1e9));
  y.resize(x.size()), slope.resize(x.size());
  kernels_of<T>(set).evaluate(activation_named(given["evaluate"]), int64_t(x.size()), x.data(), y.data(), slope.data());
  const auto bytes = [](const std::vector<T>& v) {
    return std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T));
  };
  return bytes(y) + bytes(slope);
}

static Network network_of(int64_t width) {
  std::vector<int64_t> sizes;
  for (double size : numbers("sizes")) sizes.push_back(int64_t(size));
  std::vector<Activation> activations;
  for (const auto& name : words("activations")) activations.push_back(activation_named(name));
  return {sizes, activations, width};
}

// The network's initial values, (60) and (61), and the examples of test_engines.py.
template <class T>
struct Start {
  std::vector<T> theta, X, L;
  Data<T> data;

  Start(const Network& net, bool classes) : theta(net.flat_size) {
    const uint64_t initial = std::strtoull(given["initial"].c_str(), nullptr, 10);
    for (size_t l = 0; l < net.layers.size(); l++) {
      const Layer& layer = net.layers[l];
      const bool glorot = layer.activation <= Activation::tanh || layer.activation >= Activation::exp;
      const double bound = std::sqrt(6 / double(glorot ? layer.in + layer.out : layer.in));
      const Stream stream(initial, l);
      for (int64_t i = 0; i < layer.in * layer.out; i++)
        theta[layer.flat + i] = T(bound * (2 * uniform(stream, i) - 1));
    }
    const int64_t n = int64_t(number("rows")), d = net.layers.front().in, k = int64_t(number("labels"));
    X.resize(n * d), L.resize(n * k);
    const Stream inputs(0, 0), labels(0, 1);
    for (int64_t i = 0; i < n * d; i++) X[i] = T(4 * uniform(inputs, i) - 2);
    for (int64_t i = 0; i < n * k; i++) L[i] = T(uniform(labels, i));
    if (classes)  // one, where the number is largest
      for (T* row = L.data(); row < L.data() + n * k; row += k) {
        const int64_t best = std::max_element(row, row + k) - row;
        for (int64_t j = 0; j < k; j++) row[j] = j == best;
      }
    const Source source = sizeof(T) == 4 ? Source::float32 : Source::float64;
    data = {{X.data(), source, d, 1, n, d}, {L.data(), source, k, 1, n, k}, n, nullptr};
  }
};

static std::optional<Images> images_given() {
  const std::vector<double> v = numbers("images");
  if (v.empty()) return {};
  return Images{int64_t(v[0]), int64_t(v[1]), int64_t(v[2]), v[3], v[4], v[5], v[6], v[7], v[8]};
}

static std::vector<signed char> signs_given() {
  std::vector<signed char> signs;
  for (double sign : numbers("monotone")) signs.push_back(static_cast<signed char>(sign));
  return signs;
}

static std::vector<int64_t> columns_given() {
  std::vector<int64_t> columns;
  for (double column : numbers("embedding")) columns.push_back(int64_t(column));
  return columns;
}
// As training.py begins with an embedding: of the identity, or another after Glorot.
template <class T>
static void begin_embedding(const Layer& layer, const std::vector<int64_t>& columns, T* W) {
  if (columns.empty()) return;
  const int64_t each = layer.out / (columns.back() + 1);
  for (int64_t u = 0; u < layer.out; u++) {
    const int64_t own = std::count(columns.begin(), columns.end(), u / each);
    bool first = true;
    for (int64_t i = 0; i < layer.in; i++) {
      T& w = W[u * layer.in + i];
      const bool within = columns[i] == u / each;
      w = within ? T(double(w) * std::sqrt(double(layer.in + layer.out) / double(own + each))) : T(0);
      if (u % each == 0) w = within && first ? T(1) : T(0);
      first = first && !within;
    }
  }
}

template <class T>
static std::string trained(const InstructionSet& set) {
  const Network net = network_of(kernels_of<T>(set).width);
  const Objective objective{
      named<Loss>(given["loss"], {"half_squared_error", "huber", "quantile", "binary_cross_entropy", "cross_entropy",
                                  "poisson", "gaussian"}),
      numbers("constants"), number("smoothing"), number("l2")};
  const Settings settings{
      objective,
      named<Step>(given["step"], {"", "descent", "momentum", "nesterov", "adam", "rmsprop", "rprop"}),
      int64_t(number("batch_size")),
      number("momentum"),
      number("beta1"),
      number("beta2"),
      number("epsilon"),
      number("weight_decay"),
      number("clip"),
      number("max_norm"),
      number("adversarial"),
      numbers("dropout"),
      number("shuffle") != 0,
      std::strtoull(given["seed"].c_str(), nullptr, 10),
      images_given(),
      signs_given(),
      columns_given()};
  const std::vector<double> rates = numbers("rates");
  Start<T> start(net, objective.loss == Loss::cross_entropy);
  begin_embedding(net.layers[0], settings.embedding, start.theta.data() + net.layers[0].flat);
  for (const Layer& layer : net.layers)  // as training.py begins where signs are kept
    for (int64_t i = 0; i < layer.in * layer.out && !settings.monotone.empty(); i++) {
      T& w = start.theta[layer.flat + i];
      const int sign = layer.flat ? 1 : settings.monotone[i % layer.in];
      if (sign) w = T(sign) * std::abs(w);
    }
  std::vector<T> velocity(net.flat_size), square(net.flat_size);
  if (settings.step == Step::rprop) square.assign(net.flat_size, T(rates[0]));
  double powers[2] = {1, 1};
  run_epochs<T>(set, net, start.theta.data(), {velocity.data(), square.data(), powers, 0}, start.data, settings,
                {rates.data(), int64_t(rates.size())}, int64_t(number("epochs")), int(number("threads")), nullptr);
  return std::string(reinterpret_cast<const char*>(start.theta.data()), start.theta.size() * sizeof(T));
}

// The matrix from the diagonal on, row after row, then the first step of (88) and the diagonal of the inverse (94).
static std::string solved(const InstructionSet& set) {
  const Kernels<double>& kernels = set.float64;
  const Network net = network_of(kernels.width);
  const Start<double> start(net, false);
  const int64_t size = net.flat_size, gap = net.padded(size + 1);
  const std::vector<double> precision(net.layers.back().out, 1.);
  std::vector<double> A((size + 1) * gap), squares(start.L.size()), V(size * gap), upper, step, inverse(size);
  normal_equations(set, net, start.theta.data(), start.data, precision.data(), int(number("threads")), squares.data(),
                   A.data(), gap, nullptr);
  for (int64_t i = 0; i <= size; i++) upper.insert(upper.end(), &A[i * gap + i], &A[i * gap + size] + 1);
  for (int64_t i = 0; i < size; i++) step.push_back(A[i * gap + size]), A[i * gap + i] += 0.5;
  if (!kernels.factor(A.data(), size, gap)) std::exit(3);
  kernels.solve(A.data(), size, gap, step.data());
  kernels.inverse_diagonal(A.data(), size, gap, V.data(), inverse.data());
  upper.insert(upper.end(), step.begin(), step.end());
  upper.insert(upper.end(), inverse.begin(), inverse.end());

  std::vector<int64_t> group;  // evidence.py's group_parameters
  int64_t groups = 0;
  for (const Layer& layer : net.layers) {
    const bool first = groups == 0;
    for (int64_t i = 0; i < layer.out * layer.in; i++) group.push_back(first ? i % layer.in : groups);
    groups += first ? layer.in : 1;
    group.insert(group.end(), layer.out, groups++);
  }
  const size_t outputs = net.layers.back().out;
  std::vector<double> theta(start.theta.data(), start.theta.data() + size), alpha(groups, 0.1), beta(outputs, 10.),
      decay(size), sums(outputs), known(outputs, double(start.data.n));
  double damping = 1e-2;
  for (int k = 0; k < 3; k++) {
    for (int64_t i = 0; i < size; i++) decay[i] = alpha[group[i]];
    std::vector<double> next_alpha(groups), next_beta(outputs);
    const Stepped found =
        least_squares_step(set, net, theta.data(), start.data,
                           {beta.data(), decay.data(), group.data(), groups, alpha.data(), known.data()}, damping,
                           int(number("threads")), sums.data(), next_alpha.data(), next_beta.data(), nullptr);
    if (!found.lower || !found.heard) std::exit(3);
    damping = found.damping, alpha = next_alpha, beta = next_beta;
    for (const auto* part : {&theta, &sums, &alpha, &beta}) upper.insert(upper.end(), part->begin(), part->end());
    upper.insert(upper.end(), {found.log, found.effective, damping});
  }
  return std::string(reinterpret_cast<const char*>(upper.data()), upper.size() * sizeof(double));
}

int main(int count, char** arguments) {
  for (int i = 1; i < count; i++) {
    const std::string text = arguments[i];
    given[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  use_every_thread(true);
  for (const InstructionSet* set : runnable()) {
    const bool wide = given["dtype"] == "float64", values = given.count("evaluate");
    const std::string bytes = given.count("least_squares") ? solved(*set)
                              : values                     ? (wide ? evaluated<double>(*set) : evaluated<float>(*set))
                                                           : (wide ? trained<double>(*set) : trained<float>(*set));
    std::printf("%s %s\n", set->name, sha256(bytes).c_str());
  }
}
