// What a network answers, and how the answer depends on its inputs and parameters: passes in columns, each thread with its
// share of the rows. Numbers in brackets are those of docs/derivation.md.
#include "derivatives.hpp"

namespace chainrule {

namespace {

// Up to so many rows are multiplied as they are: to turn them into columns would take longer.
constexpr int64_t FEW = 8;

// f(hand, batch) for portions of n rows, each thread its share, with a hand of its own that make(memory) has given it.
template <class Make, class F>
void each_portion(int64_t n, double work, int threads, const Interrupted& interrupted, const Make& make, const F& f) {
  const int64_t portions = (n + PORTION - 1) / PORTION;
  if (!every_thread()) threads = int(std::clamp(double(n) * work / (8 * BARRIER), 1., double(threads)));
  Memory memory;
  std::vector<decltype(make(memory))> hands;
  for (int t = 0; t < threads; t++) hands.push_back(make(memory));
  std::atomic<bool> stop = false;
  Watch watch(interrupted);
  run_together(threads, [&](int t) {
    auto [begin, end] = share(portions, t, threads);
    for (int64_t first = begin * PORTION; first < std::min(end * PORTION, n) && !stop; first += PORTION) {
      const int64_t rows = std::min(PORTION, n - first);
      f(hands[t], Batch{nullptr, first, rows});
      if (t == 0 && watch.stop(work * double(rows) * threads)) stop = true;
    }
  });
}

// A few rows, as they are; only what the softmax needs is turned.
template <class T>
void predict_few(const Kernels<T>& kernels, const Network& net, const T* theta, const Rows& x, int64_t n, T* Z) {
  const int64_t stride = net.padded(n), outputs = net.layers.back().out;
  const bool soft = net.layers.back().activation == Activation::softmax;
  Memory memory;
  const T* A = static_cast<const T*>(x.data);
  int64_t gap = x.row_stride, wide = 0;
  if (x.source != SOURCE<T> || x.column_stride != 1) {
    gap = x.columns;
    T *turned = memory.take<T>(x.columns * stride), *rows = memory.take<T>(n * gap);
    kernels.gather_columns(x, {nullptr, 0, n}, T(1), T(0), stride, turned);
    kernels.scatter_columns(turned, stride, n, x.columns, gap, 1, rows);
    A = rows;
  }
  for (const Layer& layer : net.layers) wide = std::max(wide, net.padded(layer.out));
  T *out = memory.take<T>(n * wide), *next = memory.take<T>(n * wide);
  for (const Layer& layer : net.layers) {
    kernels.forward_rows(layer, theta, net.flat_size, A, gap, n, out);
    gap = net.padded(layer.out);
    if (layer.activation != Activation::softmax) kernels.activate(layer.activation, n, layer.out, gap, out, nullptr);
    A = out;
    std::swap(out, next);
  }
  if (soft) {
    T* turned = memory.take<T>(outputs * stride);
    kernels.gather_columns({A, SOURCE<T>, gap, 1, n, outputs}, {nullptr, 0, n}, T(1), T(0), stride, turned);
    kernels.softmax_columns(outputs, n, stride, turned);
    kernels.scatter_columns(turned, stride, n, outputs, outputs, 1, Z);
  } else {
    for (int64_t row = 0; row < n; row++) std::copy_n(A + row * gap, outputs, Z + row * outputs);
  }
}

}  // namespace

template <class T>
void predict(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* Z, int threads,
             const Interrupted& interrupted) {
  using Forward = ColumnForward<T>;
  const Kernels<T>& kernels = kernels_of<T>(set);
  const int64_t outputs = net.layers.back().out;
  if (n <= FEW) return predict_few(kernels, net, theta, x, n, Z);
  each_portion(
      n, 2 * net.work, threads, interrupted,
      [&](Memory& memory) { return Forward(kernels, net, std::min(n, PORTION), Forward::Keep::nothing, memory); },
      [&](const Forward& forward, const Batch& batch) {
        forward.run(theta, x, batch);
        forward.finish(batch.rows);
        kernels.scatter_columns(forward.values.back(), forward.stride, batch.rows, outputs, outputs, 1,
                                Z + batch.first * outputs);
      });
}

template <class T>
double mean_loss(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data,
                 const Objective& objective, int threads, const Interrupted& interrupted) {
  struct Hand {
    ColumnForward<T> forward;
    T* labels;
  };
  const Kernels<T>& kernels = kernels_of<T>(set);
  const Layer& last = net.layers.back();
  const Aim<T> aim(net, objective);
  Memory memory;
  double* const row_loss = memory.take<double>(data.n);
  each_portion(
      data.n, 2 * net.work, threads, interrupted,
      [&](Memory& memory) {
        ColumnForward<T> forward(kernels, net, std::min(data.n, PORTION), ColumnForward<T>::Keep::nothing, memory);
        const int64_t stride = forward.stride;
        return Hand{std::move(forward), memory.take<T>(net.widest * stride)};
      },
      [&](const Hand& hand, const Batch& batch) {
        const ColumnForward<T>& forward = hand.forward;
        forward.run(theta, data.x, batch);
        kernels.gather_columns(data.labels, batch, aim.label_scale, aim.label_shift, forward.stride, hand.labels);
        kernels.loss_columns(last.activation, aim.criterion, last.out, batch.rows, forward.stride, hand.labels,
                             data.weight ? data.weight + batch.first : nullptr, T(1), forward.values.back(),
                             row_loss + batch.first);
      });
  double sum = 0;
  for (int64_t i = 0; i < data.n; i++) sum += row_loss[i];
  return sum / double(data.n);
}

template <class T>
void jacobian(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* J,
              int threads, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  const Layer &first = net.layers.front(), &last = net.layers.back();
  const int64_t d = first.in, outputs = last.out;
  // In either direction a layer at the other end needs no product.
  const double forward = double(d) * (net.work - double(first.in) * first.out);
  const double backward = double(outputs) * (net.work - double(last.in) * last.out);
  const bool along = forward < backward;
  each_portion(
      n, 2 * (net.work + std::min(forward, backward)), threads, interrupted,
      [&](Memory& memory) { return Derivatives<T>(kernels, net, std::min(n, PORTION), memory); },
      [&](Derivatives<T>& derivatives, const Batch& batch) {
        const int64_t rows = batch.rows, stride = derivatives.forward.stride;
        derivatives.forward.run(theta, x, batch);
        derivatives.forward.finish(rows);
        T* to = J + batch.first * outputs * d;
        for (int64_t j = 0; j < d && along; j++)
          kernels.scatter_columns(derivatives.along(theta, j, rows), stride, rows, outputs, outputs * d, d, to + j);
        for (int64_t k = 0; k < outputs && !along; k++)
          kernels.scatter_columns(derivatives.back(theta, k, rows, true, [](size_t, const T*) {}), stride, rows, d,
                                  outputs * d, 1, to + k * d);
      });
}

template <class T>
void parameter_jacobian(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* J,
                        int threads, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  const int64_t outputs = net.layers.back().out, size = net.flat_size;
  each_portion(
      n, 2 * double(outputs) * (net.work + double(size)), threads, interrupted,
      [&](Memory& memory) { return ParameterDerivatives<T>(kernels, net, std::min(n, PORTION), memory); },
      [&](ParameterDerivatives<T>& derivatives, const Batch& batch) {
        derivatives.run(theta, x, batch);
        for (int64_t k = 0; k < outputs; k++)
          derivatives.of_output(theta, k, batch.rows, nullptr, J + (batch.first * outputs + k) * size, outputs * size);
      });
}

#define CHAINRULE_INSTANTIATE(T)                                                                                    \
  template void predict(const InstructionSet&, const Network&, const T*, const Rows&, int64_t, T*, int,             \
                        const Interrupted&);                                                                        \
  template void jacobian(const InstructionSet&, const Network&, const T*, const Rows&, int64_t, T*, int,            \
                         const Interrupted&);                                                                       \
  template void parameter_jacobian(const InstructionSet&, const Network&, const T*, const Rows&, int64_t, T*, int,  \
                                   const Interrupted&);                                                             \
  template double mean_loss(const InstructionSet&, const Network&, const T*, const Data<T>&, const Objective&, int, \
                            const Interrupted&);
CHAINRULE_INSTANTIATE(float)
CHAINRULE_INSTANTIATE(double)

}  // namespace chainrule
