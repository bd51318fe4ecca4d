// Least squares: the normal equations, a step of second order, and the evidence after it. Numbers are those of docs/derivation.md.
//
// Sums go one number after the other, and logarithms are our own: equal bits on every machine, and those of reference.py's way.
#include <cmath>

#include "derivatives.hpp"

namespace chainrule {

namespace {

// The rows of the right upper half of an (n, n) matrix that thread t makes: as many numbers as each other's.
Range share_of_triangle(int64_t n, int t, int threads) {
  auto bound = [&](int i) {
    const double kept = std::sqrt(1 - double(i) / threads);  // of the rows, those below leave a triangle of that height
    return i == threads ? n : std::min(n, int64_t(double(n) * (1 - kept)) / 16 * 16);
  };
  return {bound(t), bound(t + 1)};
}

}  // namespace

void normal_equations(const InstructionSet& set, const Network& net, const double* theta, const Data<double>& data,
                      const double* precision, int threads, double* squares, double* A, int64_t gap,
                      const Interrupted& interrupted) {
  struct alignas(128) Hand {
    ParameterDerivatives<double> derivatives;
    double *labels, *scale, *J;
    unsigned meetings = 0;
  };
  const Kernels<double>& kernels = set.float64;
  const int64_t n = data.n, outputs = net.layers.back().out, size = net.flat_size;
  const int64_t portion = std::max<int64_t>(1, PORTION / outputs);  // rows; J has one for each output
  const double work = double(outputs) * double(size) * double(size + 1);
  if (!every_thread()) threads = int(std::clamp(double(portion) * work / (8 * BARRIER), 1., double(threads)));
  Memory memory;
  Meeting meeting(threads, interrupted);
  std::vector<Hand> hands;
  for (int t = 0; t < threads; t++) {
    ParameterDerivatives<double> derivatives(kernels, net, portion, memory);
    const int64_t stride = derivatives.derivatives.forward.stride;
    hands.push_back({std::move(derivatives), memory.take<double>(outputs * stride), memory.take<double>(stride),
                     memory.take<double>(portion * outputs * gap)});
  }
  auto make = [&](Hand& hand, const Batch& batch) {  // the rows [J e] of a batch, each times √(precision w)
    const ColumnForward<double>& forward = hand.derivatives.derivatives.forward;
    hand.derivatives.run(theta, data.x, batch);
    kernels.gather_columns(data.labels, batch, 1, 0, forward.stride, hand.labels);
    for (int64_t k = 0; k < outputs; k++) {
      for (int64_t i = 0; i < batch.rows; i++) {
        const double w = data.weight ? data.weight[batch.first + i] : 1;
        const double l = hand.labels[k * forward.stride + i];
        const bool known = !std::isnan(l);
        const double e = known ? forward.values.back()[k * forward.stride + i] - l : 0;
        hand.scale[i] = known ? std::sqrt(precision[k] * w) : 0;
        hand.J[(i * outputs + k) * gap + size] = hand.scale[i] * e;
        squares[(batch.first + i) * outputs + k] = w * (e * e);
      }
      hand.derivatives.of_output(theta, k, batch.rows, hand.scale, hand.J + k * gap, outputs * gap);
    }
  };
  run_together(threads, [&](int t) {
    const Range mine = share_of_triangle(size + 1, t, threads);
    auto batch_of = [&](int64_t first, int s) {
      const int64_t begin = std::min(first + s * portion, n);
      return Batch{nullptr, begin, std::min(portion, n - begin)};
    };
    for (int64_t first = 0; first < n; first += threads * portion) {
      if (const Batch batch = batch_of(first, t); batch.rows > 0) make(hands[t], batch);
      if (!meeting.meet(t, hands[t].meetings, work * double(threads * portion))) return;
      for (int s = 0; s < threads; s++)
        kernels.add_gram(hands[s].J, batch_of(first, s).rows * outputs, size + 1, gap, mine, A);
      meeting.barrier.wait(t);  // before the next rows take the place of these
    }
  });
}

namespace {

constexpr double RAISE = 4, LOWER = 5, LEAST = 1e-12, MOST = 1e10;  // of the damping
constexpr double STRIDE = 0.1, BENT = 0.375;                        // along a step; of its length
constexpr double WEAKEST = 1e-6, STRONGEST = 1e8;                   // of α
constexpr double LN2_HIGH = 0.6931471803691238, LN2_LOW = 1.9082149292705877e-10, TINY = 1e-300;

// ln x for x > 0, as elementary.py has it: k ln 2 + 2 artanh s, of x = 2^k (1 + s) / (1 − s).
double logarithm(double x) {
  int k;
  double m = std::frexp(x, &k);
  if (m < std::sqrt(0.5)) m *= 2, k--;
  const double s = (m - 1) / (m + 1), t = s * s;
  double series = 0;
  for (int i = 11; i >= 0; i--) series = series * t + 2.0 / (2 * i + 1);
  return k * LN2_HIGH + (k * LN2_LOW + s * series);
}

template <class F>
double sum(int64_t n, const F& f) {
  double s = 0;
  for (int64_t i = 0; i < n; i++) s += f(i);
  return s;
}

// What a step lowers, of rows and labels as they are.
struct Squares {
  const InstructionSet& set;
  const Network& net;
  const Data<double>& data;
  const Penalties& penalties;
  int threads;
  const Interrupted& interrupted;
  int64_t outputs = net.layers.back().out, size = net.flat_size;
  const double* labels = static_cast<const double*>(data.labels.data);

  void answers(const double* theta, double* z) const {
    predict<double>(set, net, theta, data.x, data.n, z, threads, interrupted);
  }
  // Σ w e² of each output, where the network answers z
  void of(const double* z, double* squares) const {
    for (int64_t k = 0; k < outputs; k++)
      squares[k] = sum(data.n, [&](int64_t i) {
        const double e = z[i * outputs + k] - labels[i * outputs + k];
        const double square = std::isnan(labels[i * outputs + k]) ? 0 : e * e;
        return data.weight ? square * data.weight[i] : square;
      });
  }
  double height(const double* theta, const double* squares) const {  // F (86)
    return 0.5 * (sum(outputs, [&](int64_t k) { return penalties.beta[k] * squares[k]; }) +
                  sum(size, [&](int64_t i) { return penalties.decay[i] * (theta[i] * theta[i]); }));
  }
  // ½ JᵀB ∂²z/∂t² (102) along a step from where the outputs are z, as the gradient of the loss whose e it is
  void curvature(const double* theta, const double* step, const double* z, Memory& memory, double* gradient) const {
    const int64_t count = data.n * outputs;
    double *there = memory.take<double>(size), *before = memory.take<double>(count),
           *after = memory.take<double>(count), *aim = memory.take<double>(count);
    for (int64_t i = 0; i < size; i++) there[i] = theta[i] + -STRIDE * step[i];
    answers(there, before);
    for (int64_t i = 0; i < size; i++) there[i] = theta[i] + STRIDE * step[i];
    answers(there, after);
    for (int64_t i = 0; i < count; i++) {
      double curve =
          penalties.beta[i % outputs] * (before[i] - 2 * z[i] + after[i]) / (2 * (STRIDE * STRIDE));  // (101)
      if (data.weight) curve = data.weight[i / outputs] * curve;
      aim[i] = std::isnan(labels[i]) ? labels[i] : z[i] - curve;
    }
    const Rows targets{aim, Source::float64, outputs, 1, data.n, outputs};
    loss_and_gradient<double>(set, net, theta, {data.x, targets, data.n, nullptr}, {Loss::half_squared_error, {}, 0, 0},
                              threads, gradient, interrupted);
    for (int64_t i = 0; i < size; i++) gradient[i] *= double(data.n);
  }
};

// A matrix's upper half with n numbers added to its diagonal, as its factor; false where it has none.
bool factored(const Kernels<double>& kernels, const double* A, int64_t n, int64_t gap, double* U,
              const auto& diagonal) {
  std::copy_n(A, n * gap, U);
  for (int64_t i = 0; i < n; i++) U[i * gap + i] += diagonal(i);
  return kernels.factor(U, n, gap);
}

}  // namespace

Stepped least_squares_step(const InstructionSet& set, const Network& net, double* theta, const Data<double>& data,
                           const Penalties& penalties, double damping, int threads, double* squares, double* alpha,
                           double* beta, const Interrupted& interrupted) {
  const Kernels<double>& kernels = set.float64;
  const int64_t n = data.n, outputs = net.layers.back().out, size = net.flat_size, width = kernels.width;
  const int64_t gap = matrix_gap(size, width);
  bool stopped = false;
  const Interrupted asked = [&] { return stopped = stopped || interrupted(); };
  Watch watch(asked);
  const double factoring = double(size) * double(size) * double(size) / 3;
  const Squares lowered{set, net, data, penalties, threads, asked};
  Memory memory;
  double *A = memory.take<double>((size + 1) * gap), *U = memory.take<double>(size * gap);
  double *each = memory.take<double>(n * outputs), *z = memory.take<double>(n * outputs),
         *moved = memory.take<double>(n * outputs);
  double *here = memory.take<double>(size), *slope = memory.take<double>(size), *step = memory.take<double>(size),
         *bend = memory.take<double>(size);
  std::copy_n(theta, size, here);
  normal_equations(set, net, theta, data, penalties.beta, threads, each, A, gap, asked);
  for (int64_t k = 0; k < outputs; k++) squares[k] = sum(n, [&](int64_t i) { return each[i * outputs + k]; });
  const double before = lowered.height(here, squares);
  lowered.answers(here, z);
  for (int64_t i = 0; i < size; i++) slope[i] = A[i * gap + size] + penalties.decay[i] * here[i];  // (87)
  const double scale = sum(outputs, [&](int64_t k) { return penalties.beta[k]; }) / double(outputs);
  auto leads_down = [&] {
    if (watch.stop(factoring)) return false;
    if (!factored(kernels, A, size, gap, U, [&](int64_t i) { return penalties.decay[i] + damping * scale; }))
      return false;
    std::copy_n(slope, size, step);
    kernels.solve(U, size, gap, step);
    {
      Memory once;
      lowered.curvature(here, step, z, once, bend);
    }
    kernels.solve(U, size, gap, bend);  // (102)
    const double bent = sum(size, [&](int64_t i) { return bend[i] * bend[i]; });
    if (bent <= BENT * BENT * sum(size, [&](int64_t i) { return step[i] * step[i]; }))
      for (int64_t i = 0; i < size; i++) step[i] += bend[i];          // (103)
    for (int64_t i = 0; i < size; i++) theta[i] = here[i] - step[i];  // (88)
    lowered.answers(theta, moved);
    lowered.of(moved, squares);
    return lowered.height(theta, squares) < before;
  };
  Stepped found{false, damping, false, 0, 0};
  for (; damping < MOST && !stopped; damping *= RAISE)
    if ((found.lower = leads_down() && !stopped)) {
      found.damping = std::max(damping / LOWER, LEAST);
      break;
    }
  if (!found.lower) {
    found.damping = damping;
    std::copy_n(here, size, theta);
    return found;
  }
  if (!penalties.group || watch.stop(2 * factoring)) return found;
  found.heard = factored(kernels, A, size, gap, U, [&](int64_t i) { return penalties.alpha[penalties.group[i]]; });
  if (!found.heard) return found;

  // The evidence, of the matrix before the step and the parameters after it.
  std::vector<double> count(penalties.groups), sums(penalties.groups), unsure(penalties.groups), sure(penalties.groups);
  double* inverse = bend;
  {
    Memory once;
    kernels.inverse_diagonal(U, size, gap, once.take<double>(size * gap), inverse);
  }
  for (int64_t i = 0; i < size; i++) {
    const int64_t g = penalties.group[i];
    count[g] += 1, sums[g] += theta[i] * theta[i], unsure[g] += inverse[i];
  }
  for (int64_t g = 0; g < penalties.groups; g++)
    sure[g] = std::min(std::max(count[g] - penalties.alpha[g] * unsure[g], 1e-6), count[g]);  // (91)
  auto of_groups = [&](const auto& f) { return sum(penalties.groups, f); };
  auto of_outputs = [&](const auto& f) { return sum(outputs, f); };
  found.effective = of_groups([&](int64_t g) { return sure[g]; });
  const double fit = of_outputs([&](int64_t k) { return penalties.beta[k] * squares[k]; }) +
                     of_groups([&](int64_t g) { return penalties.alpha[g] * sums[g]; });
  const double room =
      of_groups([&](int64_t g) { return count[g] * logarithm(penalties.alpha[g]); }) +
      of_outputs([&](int64_t k) { return penalties.known[k] * logarithm(penalties.beta[k] / (2 * M_PI)); });
  found.log = -0.5 * fit + 0.5 * room - sum(size, [&](int64_t i) { return logarithm(U[i * gap + i]); });  // (90)
  for (int64_t g = 0; g < penalties.groups; g++)
    alpha[g] = std::min(std::max(sure[g] / std::max(sums[g], TINY), WEAKEST), STRONGEST);  // (92)
  for (int64_t k = 0; k < outputs; k++)
    beta[k] = penalties.known[k] > 0
                  ? std::max(penalties.known[k] - found.effective / double(outputs), 1.) / std::max(squares[k], TINY)
                  : penalties.beta[k];  // (93)
  return found;
}

}  // namespace chainrule
