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
// What a barrier costs, in operations: as long as a core takes for so many.
constexpr double BARRIER = 5e4;
// Numbers in the rows of a batch that each thread rather gathers for itself than to wait for another.
constexpr int64_t FEW = 16384;

Network::Network(const std::vector<int64_t>& sizes, const std::vector<Activation>& activations, int64_t width)
    : width(width) {
  for (size_t l = 0; l + 1 < sizes.size(); l++) {
    int64_t in = sizes[l], out = sizes[l + 1];
    const bool narrow = l + 2 == sizes.size() && out <= width / 4;
    layers.push_back({in, out, activations[l], flat_size, packed_size, panels(out), narrow});
    flat_size += (in + 1) * out;
    packed_size += narrow ? out * padded(in) + width : (in + 1) * padded(out);
    work += double(in) * out;
    widest = std::max({widest, padded(in), padded(out)});
  }
}

namespace {

template <class T>
class Buffer {  // n zeros, aligned to a cache line; or nothing
 public:
  Buffer() = default;
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

// What `flat` holds, as the kernels take it; nothing where it is null.
template <class T>
Buffer<T> packed(const Kernels<T>& kernels, const Network& net, const T* flat) {
  if (!flat) return {};
  Buffer<T> to(net.packed_size);
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

// What one thread has.
template <class T>
struct Seat {
  int t;
  unsigned meetings = 0, steps = 0;
  std::vector<T*> values[2], slopes[2], deltas;  // values[.][l] enters layer l; slopes, deltas: σ′, ∂ε/∂p of layer l
  T *labels = nullptr, *weights = nullptr, *scratch = nullptr;
  double* row_loss = nullptr;
  Layer last;  // where it is everyone's own, with its place in this thread's copy
  Parameters<T> own;
};

// One chunk of rows through the network and back, by all threads together.
//
// A thread owns a range of panels of each layer: it computes their outputs and changes their weights. What another needs is
// met with a barrier, and a barrier costs as much as a small layer. So a small last layer is everyone's own: each thread has
// a copy of its parameters and computes all of it; and where the rows are few, each gathers all of them. A network of two
// layers then has one barrier a step, after the first. What is written before a step's first barrier has two places that
// take turns, for others may still read what the step before wrote.
template <class T>
class Pass {
 public:
  Pass(const Kernels<T>& kernels, const Network& net, const Parameters<T>& m, const Data<T>& data, Loss loss,
       int64_t rows, int threads, const Interrupted& interrupted)
      : barrier(threads),
        seats(threads),
        kernels_(kernels),
        net_(net),
        m_(m),
        data_(data),
        loss_(loss),
        threads_(threads),
        depth_(int(net.layers.size())),
        watch_(interrupted) {
    const auto& layers = net.layers;
    const Layer& last = layers.back();
    const double redundant = 6. * rows * last.in * last.out * (threads - 1) / threads;
    const bool own_last = threads > 1 && depth_ > 1 && (last.narrow || redundant < 4 * BARRIER);
    shared_ = own_last ? depth_ - 1 : depth_;
    own_rows_ = own_last && rows * layers[0].in <= FEW;
    const int64_t padded_rows = net.padded(rows);
    auto values = [&](int l) {  // memory for what enters layer l
      return memory<T>(padded_rows * net.padded(l ? layers[l - 1].out : layers[0].in));
    };
    auto judging = [&](Seat<T>& seat) {  // memory for the loss
      seat.labels = values(depth_);
      seat.weights = memory<T>(padded_rows);
      seat.row_loss = memory<double>(rows);
    };
    Seat<T>& first = seats[0];
    first.values[0].push_back(values(0));
    for (int l = 0; l < depth_; l++) {
      const bool last_one = l + 1 == depth_;
      first.values[0].push_back(values(l + 1));
      first.slopes[0].push_back(has_slope(layers[l].activation) && !last_one ? values(l + 1) : nullptr);
      first.deltas.push_back(last_one ? first.values[0].back() : values(l + 1));
    }
    first.values[1] = first.values[0], first.slopes[1] = first.slopes[0];
    if (own_rows_) {  // what the first layer makes is written before a step's only barrier
      first.values[1][1] = values(1);
      if (first.slopes[0][0]) first.slopes[1][0] = values(1);
    }
    judging(first);
    first.last = last;
    first.own = m;
    for (int t = 0; t < threads; t++) {  // the others have what the first has, but for what is their own
      Seat<T>& seat = seats[t];
      if (t > 0) seat = first;
      seat.t = t;
      seat.scratch = memory<T>(2 * net.widest * net.width);
      if (t > 0 && own_rows_) seat.values[0][0] = seat.values[1][0] = values(0);
      if (t > 0 && own_last) {
        seat.values[0][depth_] = seat.values[1][depth_] = seat.deltas.back() = values(depth_);
        judging(seat);
        auto copy = [&](T* from) {
          const int64_t n = net.packed_size - last.packed;
          return from ? static_cast<T*>(std::memcpy(memory<T>(n), from + last.packed, n * sizeof(T))) : nullptr;
        };
        seat.last.packed = 0;
        seat.own = {copy(m.theta), copy(m.velocity), copy(m.square), copy(m.gradient)};
      }
    }
  }

  // The rows named by index (or first_row on), the gradient and the rule's step. `scale` is 1 / rows of the whole batch.
  // The rows' losses are added to `loss`. False, to every thread alike, when it is to end: interrupted or, where
  // `judge`, at a loss that is not finite.
  bool run(Seat<T>& seat, const int64_t* index, int64_t first_row, int64_t rows, double scale, const Rule<T>& rule,
           bool judge, double& loss, const int64_t* next = nullptr, int64_t next_rows = 0) {
    const auto &values = seat.values[seat.steps % 2], &slopes = seat.slopes[seat.steps % 2];
    seat.steps++;
    const Range mine = own_rows_ ? Range{0, rows} : share(rows, seat.t, threads_);
    kernels_.gather(data_.x, index, first_row, rows, mine.begin, mine.end, values[0]);
    const Range judged = judged_rows(seat, rows);
    kernels_.gather_columns(data_.labels, index, first_row, rows, judged.begin, judged.end, seat.labels);
    if (data_.weight)
      for (int64_t i = judged.begin; i < judged.end; i++)
        seat.weights[i] = data_.weight[index ? index[i] : first_row + i];
    if (!own_rows_) barrier.wait();
    for (int l = 0; l < depth_; l++) {
      const Layer& layer = layer_of(seat, l);
      const Range own = panels_of(seat, l);
      // The output layer's σ belongs to the loss, which needs q as well.
      Activation activation = l + 1 < depth_ ? layer.activation : Activation::identity;
      kernels_.forward(layer, parameters_of(seat, l).theta, values[l], rows, own.begin, own.end, activation,
                       seat.scratch, values[l + 1], slopes[l]);
      if (l < shared_ && !meet(seat, 2. * rows * layer.in * layer.out)) return false;
    }
    kernels_.loss(layer_of(seat, depth_ - 1), loss_, rows, judged.begin, judged.end, seat.labels,
                  data_.weight ? seat.weights : nullptr, T(scale), seat.scratch, values[depth_], seat.row_loss);
    if (shared_ == depth_) barrier.wait();
    // Each thread adds up all rows: cheaper than waiting for one that does, and all see a divergence before they step.
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) sum += seat.row_loss[i];
    loss += sum;
    if (judge && !std::isfinite(sum)) {
      if (seat.t == 0) diverged_ = true;
      return false;
    }
    for (int l = depth_ - 1; l >= 0; l--) {
      const Layer& layer = layer_of(seat, l);
      if (l > 0) {
        const Range below = panels_of(seat, l - 1);
        kernels_.backward(layer, parameters_of(seat, l).theta, seat.deltas[l], rows, below.begin, below.end,
                          net_.layers[l - 1].activation, values[l], slopes[l - 1], seat.scratch, seat.deltas[l - 1]);
        // Others read these weights still, or will need these deltas. An end here is one between two layers' steps.
        if ((l < shared_ || l > 1) && !meet(seat, 4. * rows * layer.in * layer.out)) return false;
      }
      const Range own = panels_of(seat, l);
      Ahead ahead{&data_.x, nullptr, 0};
      if (l == 0 && next) {
        auto [from, to] = own_rows_ ? Range{0, next_rows} : share(next_rows, seat.t, threads_);
        ahead = {&data_.x, next + from, to - from};
      }
      kernels_.update(layer, parameters_of(seat, l), values[l], seat.deltas[l], rows, own.begin, own.end, rule, ahead);
    }
    if (!own_rows_) barrier.wait();
    return true;
  }

  // The rule's step from the gradients that were summed.
  void apply(Seat<T>& seat, const Rule<T>& rule) {
    for (int l = 0; l < depth_; l++) {
      const Range own = panels_of(seat, l);
      kernels_.apply(layer_of(seat, l), parameters_of(seat, l), own.begin, own.end, rule);
    }
    barrier.wait();
  }

  Ending ending() const {
    return diverged_ ? Ending::diverged : stop_[0] || stop_[1] ? Ending::interrupted : Ending::finished;
  }

  Barrier barrier;
  std::vector<Seat<T>> seats;

 private:
  template <class N>
  N* memory(int64_t n) {
    buffers_.emplace_back(n * int64_t(sizeof(N)));
    return reinterpret_cast<N*>(buffers_.back().get());
  }
  const Layer& layer_of(const Seat<T>& seat, int l) const { return l < shared_ ? net_.layers[l] : seat.last; }
  const Parameters<T>& parameters_of(const Seat<T>& seat, int l) const { return l < shared_ ? m_ : seat.own; }
  Range panels_of(const Seat<T>& seat, int l) const {
    const int64_t panels = net_.layers[l].panels;
    return l < shared_ ? share(panels, seat.t, threads_) : Range{0, panels};
  }
  // Whole vectors of rows, for the loss works on those.
  Range judged_rows(const Seat<T>& seat, int64_t rows) const {
    if (shared_ < depth_) return {0, rows};
    auto [begin, end] = share(net_.panels(rows), seat.t, threads_);
    return {std::min(begin * net_.width, rows), std::min(end * net_.width, rows)};
  }
  // A barrier, at which the first thread may say that all are to stop. Two places to say it take turns: one is written
  // again only after the meeting between, when all have read it.
  bool meet(Seat<T>& seat, double flops) {
    std::atomic<bool>& stop = stop_[seat.meetings++ % 2];
    if (seat.t == 0 && watch_.stop(flops)) stop = true;
    barrier.wait();
    return !stop;
  }

  const Kernels<T>& kernels_;
  const Network& net_;
  const Parameters<T> m_;
  const Data<T>& data_;
  const Loss loss_;
  const int threads_, depth_;
  int shared_;  // layers that the threads share; the last may be everyone's own
  bool own_rows_;
  Watch watch_;
  std::atomic<bool> stop_[2] = {false, false}, diverged_ = false;
  std::vector<Buffer<char>> buffers_;
};

// ½ λ |W|² over the weights of all layers, biases left out (39).
template <class T>
double penalty(const Network& net, const T* theta, double decay) {
  double sum = 0;
  for (const Layer& layer : net.layers)
    for (const T* w = theta + layer.flat; w < theta + layer.flat + layer.in * layer.out; w++) sum += double(*w) * *w;
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

// The rows of x through the network, chunk by chunk, each thread its share: take(first, rows, Q, free, scratch) has the
// output layer's values, after its activation or, with `raw`, before it, and memory for as many more.
template <class T, class F>
void each_chunk(const Kernels<T>& kernels, const Network& net, const T* theta, const Rows& x, int64_t n, int threads,
                bool raw, const Interrupted& interrupted, const F& take) {
  Buffer<T> m = packed(kernels, net, theta);
  const int64_t chunk = std::min(n, CHUNK), size = net.padded(chunk) * net.widest, scratch = 2 * net.widest * net.width;
  Buffer<T> memory(threads * (3 * size + scratch));
  std::atomic<bool> stop = false;
  Watch watch(interrupted);
  run_together(threads, [&](int t) {
    T* in = memory.get() + t * (3 * size + scratch);
    T *out = in + size, *slope = out + size, *work = slope + size;
    auto [begin, end] = share(n, t, threads);
    for (int64_t first = begin; first < end && !stop; first += chunk) {
      int64_t rows = std::min(chunk, end - first);
      kernels.gather(x, nullptr, first, rows, 0, rows, in);
      for (const Layer& layer : net.layers) {
        const bool keep = raw && &layer == &net.layers.back(), soft = layer.activation == Activation::softmax;
        kernels.forward(layer, m.get(), in, rows, 0, layer.panels,
                        keep || soft ? Activation::identity : layer.activation, work, out, slope);
        if (soft && !keep) kernels.softmax(layer, rows, work, out);
        std::swap(in, out);
      }
      take(first, rows, in, out, work);
      if (t == 0 && watch.stop(2 * net.work * rows)) stop = true;
    }
  });
}

}  // namespace

template <class T>
void predict(const InstructionSet& set, const Network& net, const T* theta, const Rows& x, int64_t n, T* Z, int threads,
             const Interrupted& interrupted) {
  const int64_t outputs = net.layers.back().out, w = net.width;
  const bool narrow = net.layers.back().narrow;
  each_chunk(kernels_of<T>(set), net, theta, x, n, threads, false, interrupted,
             [&](int64_t first, int64_t rows, const T* z, T*, T*) {
               for (int64_t row = 0; row < rows; row++)
                 for (int64_t k = 0; k < outputs; k++)
                   Z[(first + row) * outputs + k] =
                       narrow ? z[k * net.padded(rows) + row] : z[(k / w * rows + row) * w + k % w];
             });
}

template <class T>
double mean_loss(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data, Loss loss,
                 int threads, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  const Layer& last = net.layers.back();
  Buffer<double> row_loss(data.n);
  each_chunk(kernels, net, theta, data.x, data.n, threads, true, interrupted,
             [&](int64_t first, int64_t rows, T* q, T* labels, T* scratch) {
               kernels.gather_columns(data.labels, nullptr, first, rows, 0, rows, labels);
               kernels.loss(last, loss, rows, 0, rows, labels, data.weight ? data.weight + first : nullptr, T(1),
                            scratch, q, row_loss.get() + first);
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
  Pass<T> pass(kernels, net, parameters, data, loss, std::min(data.n, CHUNK), threads, interrupted);
  double total = 0;
  run_together(threads, [&](int t) {
    double sum = 0;
    bool going = true;
    for (int64_t first = 0; first < data.n && going; first += CHUNK)
      going = pass.run(pass.seats[t], nullptr, first, std::min(CHUNK, data.n - first), 1. / data.n, rule, false, sum);
    if (t == 0) total = sum;
  });
  for (const Layer& layer : net.layers) {
    kernels.unpack(layer, sums.get(), gradient);
    if (decay != 0)
      for (int64_t i = layer.flat; i < layer.flat + layer.in * layer.out; i++) gradient[i] += T(decay) * theta[i];
  }
  return total / data.n + (decay != 0 ? penalty(net, theta, decay) : 0);
}

template <class T>
Outcome run_epochs(const InstructionSet& set, const Network& net, T* theta, const State<T>& state, const Data<T>& data,
                   const Training& training, const Interrupted& interrupted) {
  const Kernels<T>& kernels = kernels_of<T>(set);
  const int64_t n = data.n, batch = std::min(training.batch_size, n);
  Buffer<T> m = packed(kernels, net, theta), velocity = packed(kernels, net, state.velocity),
            square = packed(kernels, net, state.square),
            sums = batch > CHUNK ? Buffer<T>(net.packed_size) : Buffer<T>(), trained(net.flat_size);
  Parameters<T> parameters{m.get(), velocity.get(), square.get(), sums.get()};
  auto unpack = [&] {
    for (const Layer& layer : net.layers) kernels.unpack(layer, m.get(), trained.get());
    return trained.get();
  };
  Pass<T> pass(kernels, net, parameters, data, training.loss, std::min(batch, CHUNK), training.threads, interrupted);
  Buffer<int64_t> order = training.shuffle ? Buffer<int64_t>(n) : Buffer<int64_t>();
  const int64_t* index = order.get();
  double powers[2] = {state.powers[0], state.powers[1]};
  // Fetching rows ahead pays while the next batch fits in the second-level cache beside the weights in use.
  const bool ahead = index && batch * data.x.columns * int64_t(sizeof(T)) <= 128 * 1024;
  Outcome outcome{{}, Ending::finished};
  outcome.loss.reserve(std::min<int64_t>(training.epochs, 4096));

  run_together(training.threads, [&](int t) {
    Seat<T>& seat = pass.seats[t];
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
          going = pass.run(seat, index ? index + row : nullptr, row, std::min(CHUNK, end - row), 1. / (end - first),
                           chunked ? sum : rule, true, loss, ahead && end < n ? index + end : nullptr,
                           std::min(batch, n - end));
        if (!going) break;
        if (chunked) pass.apply(seat, rule);
        power1 = next1, power2 = next2;
      }
      if (training.decay != 0) pass.barrier.wait();  // the penalty reads what others may still change
      if (t == 0 && going)
        outcome.loss.push_back(loss / n + (training.decay != 0 ? penalty(net, unpack(), training.decay) : 0));
    }
    if (t == 0) powers[0] = power1, powers[1] = power2;
  });

  outcome.ending = pass.ending();
  state.powers[0] = powers[0], state.powers[1] = powers[1];
  for (const Layer& layer : net.layers) {
    if (state.velocity) kernels.unpack(layer, velocity.get(), state.velocity);
    if (state.square) kernels.unpack(layer, square.get(), state.square);
  }
  // The last step's overflow shows in no loss. What is not finite is of no use: θ then stays as it was.
  unpack();
  if (std::all_of(trained.get(), trained.get() + net.flat_size, [](T v) { return std::isfinite(v); }))
    std::copy_n(trained.get(), net.flat_size, theta);
  else outcome.ending = Ending::diverged;
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
