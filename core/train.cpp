// Epochs x batches: the loop that calls the kernels. Memory is sized once, rows are shuffled by index, a step allocates
// nothing. Every thread runs the same loop on its own panels; the barriers stand where one needs what another computed.
#include "train.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "random.hpp"
#include "threads.hpp"

namespace chainrule {

// Rows that go through the network at once. A larger batch goes through in chunks whose gradients are summed in the order
// of the rows, so that the memory of a full batch does not grow with it and the bits do not depend on the chunk.
constexpr int64_t CHUNK = 256;

Network::Network(const std::vector<int64_t>& sizes, const std::vector<Activation>& activations, int64_t width)
    : width(width) {
  for (size_t l = 0; l + 1 < sizes.size(); l++) {
    int64_t in = sizes[l], out = sizes[l + 1];
    layers.push_back({in, out, activations[l], flat_size, packed_size, panels(out)});
    flat_size += (in + 1) * out;
    packed_size += (in + 1) * padded(out);
  }
}

namespace {

template <class T>
class Buffer {  // n zeros, aligned to a cache line
 public:
  explicit Buffer(int64_t n) : data_(static_cast<T*>(std::aligned_alloc(64, (n * sizeof(T) + 127) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
    std::memset(data_.get(), 0, n * sizeof(T));
  }
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
};

template <class T>
Buffer<T> packed(const Kernels<T>& kernels, const Network& net, const T* flat) {
  Buffer<T> to(net.packed_size);
  if (flat)
    for (const Layer& layer : net.layers) kernels.pack(layer, flat, to.get());
  return to;
}

// Asks every thirty milliseconds or so: looks at the clock once in some millions of operations, whatever a step takes.
class Watch {
 public:
  explicit Watch(const Interrupted& interrupted) : interrupted_(interrupted) {}
  bool stop(double flops) {
    flops_ += flops;
    if (!interrupted_ || flops_ < 2e7) return false;
    flops_ = 0;
    auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(30)) return false;
    last_ = now;
    return interrupted_();
  }

 private:
  const Interrupted& interrupted_;
  double flops_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// A thread's place in the team, and how often it has met the others.
struct Seat {
  int t;
  unsigned meetings = 0;
};

// One chunk of rows through the network and back, by all threads together.
template <class T>
class Pass {
 public:
  Pass(const Kernels<T>& kernels, const Network& net, const Data<T>& data, Loss loss, int64_t rows, int threads,
       const Interrupted& interrupted)
      : barrier(threads),
        kernels_(kernels),
        net_(net),
        data_(data),
        loss_(loss),
        threads_(threads),
        watch_(interrupted),
        rows_(rows),
        memory_(memory_size()),
        row_loss_(rows) {
    T* next = memory_.get();
    auto take = [&](int64_t n) {
      T* here = next;
      next += (n + 15) / 16 * 16;
      return here;
    };
    const auto& layers = net.layers;
    values_.push_back(take(rows * net.padded(layers[0].in)));
    for (const Layer& layer : layers) {
      int64_t n = rows * net.padded(layer.out);
      values_.push_back(take(n));
      slopes_.push_back(has_slope(layer.activation) ? take(n) : nullptr);
      deltas_.push_back(&layer == &layers.back() ? values_.back() : take(n));
    }
    labels_ = take(rows * net.padded(layers.back().out));
    weights_ = take(rows);
    for (int t = 0; t < threads; t++) scratch_.push_back(take(widest() * net.width));
  }

  // The rows named by index (or first_row on), the gradient and the rule's step. `scale` is 1 / rows of the whole batch.
  // The rows' losses are added to `loss`. False, to every thread alike, when it is to end: interrupted or, where
  // `judge`, at a loss that is not finite.
  bool run(Seat& seat, const Parameters<T>& m, const int64_t* index, int64_t first_row, int64_t rows, double scale,
           const Rule<T>& rule, bool judge, double& loss, const int64_t* next = nullptr, int64_t next_rows = 0) {
    const auto& layers = net_.layers;
    const int depth = int(layers.size()), t = seat.t;
    auto [begin, end] = share(rows, t, threads_);
    kernels_.gather(data_.x, index, first_row, rows, begin, end, values_[0]);
    kernels_.gather(data_.labels, index, first_row, rows, begin, end, labels_);
    if (data_.weight)
      for (int64_t i = begin; i < end; i++) weights_[i] = data_.weight[index ? index[i] : first_row + i];
    barrier.wait();
    for (int l = 0; l < depth; l++) {
      const Layer& layer = layers[l];
      Range own = share(layer.panels, t, threads_);
      // The output layer's σ belongs to the loss, which needs q as well.
      Activation activation = l + 1 < depth ? layer.activation : Activation::identity;
      kernels_.forward(layer, m.theta, values_[l], rows, own.begin, own.end, activation, values_[l + 1], slopes_[l]);
      if (!meet(seat, 2. * rows * layer.in * layer.out)) return false;
    }
    kernels_.loss(layers.back().activation, loss_, layers.back().out, rows, begin, end, labels_,
                  data_.weight ? weights_ : nullptr, T(scale), values_[depth], row_loss_.get());
    barrier.wait();
    // Each thread adds up all rows: cheaper than waiting for one that does, and all see a divergence before they step.
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) sum += row_loss_.get()[i];
    loss += sum;
    if (judge && !std::isfinite(sum)) {
      if (t == 0) diverged_ = true;
      return false;
    }
    for (int l = depth - 1; l >= 0; l--) {
      const Layer& layer = layers[l];
      if (l > 0) {
        Range below = share(layers[l - 1].panels, t, threads_);
        kernels_.backward(layer, m.theta, deltas_[l], rows, below.begin, below.end, layers[l - 1].activation,
                          values_[l], slopes_[l - 1], scratch_[t], deltas_[l - 1]);
        if (!meet(seat, 4. * rows * layer.in * layer.out)) return false;  // between two layers' steps, at the worst
      }
      Range own = share(layer.panels, t, threads_);
      Ahead ahead{&data_.x, nullptr, 0};
      if (l == 0 && next) {
        auto [from, to] = share(next_rows, t, threads_);
        ahead = {&data_.x, next + from, to - from};
      }
      kernels_.update(layer, m, values_[l], deltas_[l], rows, own.begin, own.end, rule, ahead);
    }
    barrier.wait();
    return true;
  }

  Ending ending() const {
    return diverged_ ? Ending::diverged : stop_[0] || stop_[1] ? Ending::interrupted : Ending::finished;
  }

  Barrier barrier;

 private:
  // A barrier, at which the first thread may say that all are to stop. Two places to say it take turns: one is written
  // again only after the meeting between, when all have read it.
  bool meet(Seat& seat, double flops) {
    std::atomic<bool>& stop = stop_[seat.meetings++ % 2];
    if (seat.t == 0 && watch_.stop(flops)) stop = true;
    barrier.wait();
    return !stop;
  }
  int64_t widest() const {
    int64_t w = 0;
    for (const Layer& layer : net_.layers) w = std::max(w, layer.out);
    return w;
  }
  int64_t memory_size() const {
    int64_t n = rows_ * net_.padded(net_.layers[0].in) + rows_ + 16 * (4 * int64_t(net_.layers.size()) + 8 + threads_);
    for (const Layer& layer : net_.layers) n += 3 * rows_ * net_.padded(layer.out);
    return n + rows_ * net_.padded(net_.layers.back().out) + threads_ * widest() * net_.width;
  }

  const Kernels<T>& kernels_;
  const Network& net_;
  const Data<T>& data_;
  const Loss loss_;
  const int threads_;
  Watch watch_;
  const int64_t rows_;
  std::atomic<bool> stop_[2] = {false, false}, diverged_ = false;
  Buffer<T> memory_;
  Buffer<double> row_loss_;
  std::vector<T*> values_, slopes_, deltas_, scratch_;  // values_[l] enters layer l; deltas_[l] is ∂ε/∂p of layer l
  T *labels_, *weights_;
};

// ½ λ |W|² over the weights of all layers, biases left out (39); in the flat order, which no panel width changes.
template <class T>
double penalty(const Network& net, const T* packed, double decay) {
  double sum = 0;
  if (decay != 0)
    for (const Layer& layer : net.layers)
      for (int64_t o = 0; o < layer.out; o++) {
        const T* w = packed + layer.packed + o / net.width * layer.in * net.width + o % net.width;
        for (int64_t i = 0; i < layer.in; i++) sum += double(w[i * net.width]) * w[i * net.width];
      }
  return 0.5 * decay * sum;
}

template <class T>
Rule<T> rule_of(const Training& training) {
  return {training.step,
          T(training.rate),
          T(training.decay),
          T(training.momentum),
          T(training.beta1),
          T(training.beta2),
          T(1 - training.beta1),
          T(1 - training.beta2),
          T(training.epsilon),
          T(1),
          T(1)};
}

// The rows of x through the network, chunk by chunk, each thread its share: take(t, first, rows, Q) has the output layer's
// values in panels, after its activation or, with `raw`, before it.
template <class T, class F>
void each_chunk(const Kernels<T>& kernels, const Network& net, const T* theta, const Rows& x, int64_t n, int threads,
                bool raw, const Interrupted& interrupted, const F& take) {
  Buffer<T> m = packed(kernels, net, theta);
  const int64_t chunk = std::min(n, CHUNK);
  int64_t widest = net.padded(net.layers[0].in);
  double parameters = 0;
  for (const Layer& layer : net.layers) {
    widest = std::max(widest, net.padded(layer.out));
    parameters += double(layer.in) * layer.out;
  }
  Buffer<T> memory(int64_t(threads) * 3 * chunk * widest);
  std::atomic<bool> stop = false;
  Watch watch(interrupted);
  run_together(threads, [&](int t) {
    T* in = memory.get() + int64_t(t) * 3 * chunk * widest;
    T *out = in + chunk * widest, *slope = out + chunk * widest;
    auto [begin, end] = share(n, t, threads);
    for (int64_t first = begin; first < end && !stop; first += chunk) {
      int64_t rows = std::min(chunk, end - first);
      kernels.gather(x, nullptr, first, rows, 0, rows, in);
      for (const Layer& layer : net.layers) {
        const bool keep = raw && &layer == &net.layers.back(), soft = layer.activation == Activation::softmax;
        kernels.forward(layer, m.get(), in, rows, 0, layer.panels,
                        keep || soft ? Activation::identity : layer.activation, out, slope);
        if (soft && !keep) kernels.softmax(layer.out, rows, 0, rows, out);
        std::swap(in, out);
      }
      take(first, rows, in, out);
      if (t == 0 && watch.stop(2 * parameters * rows)) stop = true;
    }
  });
}

}  // namespace

template <class T>
void predict(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* Z, int threads,
             const Interrupted& interrupted) {
  const int64_t outputs = net.layers.back().out, w = net.width;
  each_chunk(kernels_of<T>(set), net, theta, x, n, threads, false, interrupted,
             [&](int64_t first, int64_t rows, const T* z, T*) {
               for (int64_t row = 0; row < rows; row++)
                 for (int64_t k = 0; k < outputs; k++)
                   Z[(first + row) * outputs + k] = z[(k / w * rows + row) * w + k % w];
             });
}

template <class T>
double mean_loss(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data, Loss loss,
                 int threads, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  const Layer& last = net.layers.back();
  Buffer<double> row_loss(data.n);
  each_chunk(kernels, net, theta, data.x, data.n, threads, true, interrupted,
             [&](int64_t first, int64_t rows, T* q, T* labels) {
               kernels.gather(data.labels, nullptr, first, rows, 0, rows, labels);
               kernels.loss(last.activation, loss, last.out, rows, 0, rows, labels,
                            data.weight ? data.weight + first : nullptr, T(1), q, row_loss.get() + first);
             });
  double sum = 0;
  for (int64_t i = 0; i < data.n; i++) sum += row_loss.get()[i];
  return sum / data.n;
}

template <class T>
double loss_and_gradient(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data, Loss loss,
                         double decay, int threads, T* gradient, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  Buffer<T> m = packed(kernels, net, theta), sums(net.packed_size);
  Parameters<T> parameters{m.get(), nullptr, nullptr, sums.get()};
  Rule<T> rule{};
  rule.step = Step::gradient;
  Pass<T> pass(kernels, net, data, loss, std::min(data.n, CHUNK), threads, interrupted);
  double total = 0;
  run_together(threads, [&](int t) {
    Seat seat{t};
    double sum = 0;
    bool going = true;
    for (int64_t first = 0; first < data.n && going; first += CHUNK)
      going =
          pass.run(seat, parameters, nullptr, first, std::min(CHUNK, data.n - first), 1. / data.n, rule, false, sum);
    if (t == 0) total = sum;
  });
  for (const Layer& layer : net.layers) {
    kernels.unpack(layer, sums.get(), gradient);
    if (decay != 0)
      for (int64_t i = layer.flat; i < layer.flat + layer.in * layer.out; i++) gradient[i] += T(decay) * theta[i];
  }
  return total / data.n + penalty(net, m.get(), decay);
}

template <class T>
Outcome run_epochs(const InstructionSet& set, const Network& net, T* theta, const State<T>& state, const Data<T>& data,
                   const Training& training, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  const int64_t n = data.n, batch = std::min(training.batch_size, n);
  auto memory = [&](const T* flat) { return flat ? packed(kernels, net, flat) : Buffer<T>(1); };
  Buffer<T> m = packed(kernels, net, theta), velocity = memory(state.velocity), square = memory(state.square),
            sums(batch > CHUNK ? net.packed_size : 1);
  Parameters<T> parameters{m.get(), velocity.get(), square.get(), sums.get()};
  Pass<T> pass(kernels, net, data, training.loss, std::min(batch, CHUNK), training.threads, interrupted);
  Buffer<int64_t> order(training.shuffle ? n : 1);
  const int64_t* index = training.shuffle ? order.get() : nullptr;
  double powers[2] = {state.powers[0], state.powers[1]};
  // Fetching rows ahead pays while the next batch fits in the second-level cache beside the weights in use.
  const bool ahead = index && batch * data.x.columns * int64_t(sizeof(T)) <= 128 * 1024;
  Outcome outcome{{}, Ending::finished};
  outcome.loss.reserve(std::min<int64_t>(training.epochs, 4096));

  run_together(training.threads, [&](int t) {
    Seat seat{t};
    Rule<T> rule = rule_of<T>(training), sum = rule;
    sum.step = Step::gradient;
    double power1 = powers[0], power2 = powers[1];
    bool going = true;
    for (int64_t epoch = 0; epoch < training.epochs && going; epoch++) {
      if (t == 0 && index) permutation(training.seed, uint64_t(training.first_epoch + epoch), n, order.get());
      pass.barrier.wait();
      double loss = 0;
      for (int64_t first = 0; first < n && going; first += batch) {
        const int64_t end = std::min(first + batch, n);
        const bool chunked = end - first > CHUNK;
        double next1 = power1 * training.beta1, next2 = power2 * training.beta2;
        rule.unbias1 = T(1 / (1 - next1));
        rule.unbias2 = T(1 / (1 - next2));
        for (int64_t row = first; row < end && going; row += CHUNK)
          going = pass.run(seat, parameters, index ? index + row : nullptr, row, std::min(CHUNK, end - row),
                           1. / (end - first), chunked ? sum : rule, true, loss,
                           ahead && end < n ? index + end : nullptr, std::min(batch, n - end));
        if (!going) break;
        if (chunked) {
          for (const Layer& layer : net.layers) {
            Range own = share(layer.panels, t, training.threads);
            kernels.apply(layer, parameters, own.begin, own.end, rule);
          }
          pass.barrier.wait();
        }
        power1 = next1, power2 = next2;
      }
      if (t == 0 && going) outcome.loss.push_back(loss / n + penalty(net, m.get(), training.decay));
    }
    if (t == 0) powers[0] = power1, powers[1] = power2;
  });

  outcome.ending = pass.ending();
  state.powers[0] = powers[0], state.powers[1] = powers[1];
  for (const Layer& layer : net.layers) {
    kernels.unpack(layer, m.get(), theta);
    if (state.velocity) kernels.unpack(layer, velocity.get(), state.velocity);
    if (state.square) kernels.unpack(layer, square.get(), state.square);
  }
  // The last step's overflow shows in no loss.
  if (!std::all_of(theta, theta + net.flat_size, [](T v) { return std::isfinite(v); }))
    outcome.ending = Ending::diverged;
  return outcome;
}

#define CHAINRULE_INSTANTIATE(T)                                                                                   \
  template void predict(const InstructionSet&, const Network&, const T*, const Rows&, int64_t, T*, int,            \
                        const Interrupted&);                                                                       \
  template double mean_loss(const InstructionSet&, const Network&, const T*, const Data<T>&, Loss, int,            \
                            const Interrupted&);                                                                   \
  template double loss_and_gradient(const InstructionSet&, const Network&, const T*, const Data<T>&, Loss, double, \
                                    int, T*, const Interrupted&);                                                  \
  template Outcome run_epochs(const InstructionSet&, const Network&, T*, const State<T>&, const Data<T>&,          \
                              const Training&, const Interrupted&);
CHAINRULE_INSTANTIATE(float)
CHAINRULE_INSTANTIATE(double)

}  // namespace chainrule
