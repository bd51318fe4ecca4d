// The normal equations of least squares: what second-order training asks of a network. Numbers are those of docs/derivation.md.
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

}  // namespace chainrule
