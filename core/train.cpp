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

// As many of the threads asked for as gain by it: each is to have work for several times the barriers that it waits at, and
// a line of a layer's outputs. `rows` go through the network at once.
bool every_thread = false;
int worthwhile(const Network& net, int64_t rows, int asked) {
  if (every_thread) return asked;
  double work = 0;
  int64_t lines = 1;
  for (const Layer& layer : net.layers) {
    work += (&layer == &net.layers.front() ? 4. : 6.) * rows * layer.in * layer.out;
    lines = std::max(lines, layer.out / 16);
  }
  const double barriers = std::max(1., 2. * net.layers.size() - 3);  // of a pass
  return int(std::clamp(std::min(work / (4 * BARRIER * barriers), double(lines)), 1., double(asked)));
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

// Rows of one pass: those that `place` names or, where it is null, from `first` on.
struct Chunk {
  const int64_t* place;
  int64_t first, rows;
};
// The order in which n rows come, batch after batch, each in chunks; as they lie in memory where `index` is null.
struct Order {
  const int64_t* index;
  int64_t n, batch;

  Chunk at(int64_t first) const {  // of 0 rows past the end
    return {index ? index + first : nullptr, first, std::min({CHUNK, batch - first % batch, n - first})};
  }
  Chunk after(const Chunk& chunk) const { return at(chunk.first + chunk.rows); }
};

// What one thread has.
template <class T>
struct Seat {
  int t;
  unsigned meetings = 0, passes = 0;
  std::vector<T*> values[2], slopes[2];  // values[.][l] enters layer l; slopes: σ′ of layer l
  std::vector<T*> deltas;                // ∂ε/∂p of layer l; the last layer's take the place of its values
  T *labels = nullptr, *weights = nullptr, *scratch = nullptr;
  double* row_loss = nullptr;
  Layer last;  // where it is everyone's own, with its place in this thread's copy
  Parameters<T> own;
};

// One chunk of rows through the network and back, by all threads together.
//
// A thread owns a range of lines of each layer: it computes their outputs and changes their weights. What another needs is
// met with a barrier, and a barrier costs as much as a small layer. So a small last layer is everyone's own: each thread has
// a copy of its parameters and computes all of it. And each gathers all rows for itself: to fetch them from another core
// takes longer than from memory. A network of two layers then has one barrier a step, after the first. What the first layer
// makes is written before it, while others may still be in the pass before: it has two places that take turns.
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
      if (!last_one) first.deltas.push_back(values(l + 1));
    }
    first.values[1] = first.values[0], first.slopes[1] = first.slopes[0];
    if (threads > 1) {
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
      if (t > 0) seat.values[0][0] = seat.values[1][0] = values(0);
      if (t > 0 && own_last) {
        seat.values[0][depth_] = seat.values[1][depth_] = values(depth_);
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

  // The rows of one chunk, the gradient and the rule's step. `scale` is 1 / rows of the whole batch. The rows' losses are
  // added to `loss`. Where `fetch`, rows of later passes are brought into the cache. False, to every thread alike, when it is
  // to end: interrupted or, where `judge`, at a loss that is not finite.
  bool run(Seat<T>& seat, const Order& order, const Chunk& now, double scale, const Rule<T>& rule, bool judge,
           bool fetch, double& loss) {
    const unsigned pass = seat.passes++;
    const int64_t rows = now.rows;
    const auto &values = seat.values[pass % 2], &slopes = seat.slopes[pass % 2];
    kernels_.gather(data_.x, now.place, now.first, rows, 0, rows, values[0]);
    const Range judged = judged_rows(seat, rows);
    kernels_.gather_columns(data_.labels, now.place, now.first, rows, judged.begin, judged.end, seat.labels);
    if (data_.weight)
      for (int64_t i = judged.begin; i < judged.end; i++)
        seat.weights[i] = data_.weight[now.place ? now.place[i] : now.first + i];
    for (int l = 0; l < depth_; l++) {
      const Layer& layer = layer_of(seat, l);
      // The output layer's σ belongs to the loss, which needs q as well.
      Activation activation = l + 1 < depth_ ? layer.activation : Activation::identity;
      kernels_.forward(layer, parameters_of(seat, l).theta, values[l], rows, lines_of(seat, l), activation,
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
      const T* delta = l + 1 == depth_ ? values[depth_] : seat.deltas[l];
      if (l > 0) {
        kernels_.backward(layer, parameters_of(seat, l).theta, delta, rows, lines_of(seat, l - 1),
                          net_.layers[l - 1].activation, values[l], slopes[l - 1], seat.scratch, seat.deltas[l - 1]);
        // Others read these weights still, or will need these deltas. An end here is one between two layers' steps.
        if ((l < shared_ || l > 1) && !meet(seat, 4. * rows * layer.in * layer.out)) return false;
      }
      Ahead ahead{&data_.x, nullptr, 0};
      if (const Chunk next = order.after(now); l == 0 && fetch && next.rows > 0)
        ahead = {&data_.x, next.place, next.rows};
      kernels_.update(layer, parameters_of(seat, l), values[l], delta, rows, lines_of(seat, l), rule, ahead);
    }
    return true;
  }

  // The rule's step from the gradients that were summed.
  void apply(Seat<T>& seat, const Rule<T>& rule) {
    for (int l = 0; l < depth_; l++) kernels_.apply(layer_of(seat, l), parameters_of(seat, l), lines_of(seat, l), rule);
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
  // Lines of layer l's outputs that are this thread's to compute and to change.
  Range lines_of(const Seat<T>& seat, int l) const {
    const Layer& layer = net_.layers[l];
    const int64_t lines = layer.narrow ? 1 : (layer.out * int64_t(sizeof(T)) + LINE - 1) / LINE;
    if (l >= shared_) return {0, lines};
    if (lines < 2 * threads_) return share(lines, seat.t, threads_);
    auto [begin, end] = share((lines + 1) / 2, seat.t, threads_);  // in pairs, a wide panel's: a lone line is slower
    return {2 * begin, std::min(2 * end, lines)};
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
        kernels.forward(layer, m.get(), in, rows, {0, layer.out},
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

void use_every_thread(bool always) { every_thread = always; }

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
  const int64_t rows = std::min(data.n, CHUNK);
  threads = worthwhile(net, rows, threads);
  Pass<T> pass(kernels, net, parameters, data, loss, rows, threads, interrupted);
  double total = 0;
  run_together(threads, [&](int t) {
    double sum = 0;
    bool going = true;
    const Order order{nullptr, data.n, data.n};
    for (Chunk now = order.at(0); now.rows > 0 && going; now = order.after(now))
      going = pass.run(pass.seats[t], order, now, 1. / data.n, rule, false, false, sum);
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
  const int64_t rows = std::min(batch, CHUNK);
  const int threads = worthwhile(net, rows, training.threads);
  Pass<T> pass(kernels, net, parameters, data, training.loss, rows, threads, interrupted);
  Buffer<int64_t> shuffled = training.shuffle ? Buffer<int64_t>(n) : Buffer<int64_t>();
  const Order order{shuffled.get(), n, batch};
  double powers[2] = {state.powers[0], state.powers[1]};
  // Fetching rows ahead pays while the next batch fits in the second-level cache beside the weights in use.
  const bool ahead = order.index && batch * data.x.columns * int64_t(sizeof(T)) <= 128 * 1024;
  Outcome outcome{{}, Ending::finished};
  outcome.loss.reserve(std::min<int64_t>(training.epochs, 4096));

  run_together(threads, [&](int t) {
    Seat<T>& seat = pass.seats[t];
    Rule<T> rule = rule_of<T>(training), sum = rule;
    sum.step = Step::gradient;
    double power1 = powers[0], power2 = powers[1];
    bool going = true;
    for (int64_t epoch = 0; epoch < training.epochs && going; epoch++) {
      if (t == 0 && order.index) permutation(training.seed, uint64_t(training.first_epoch + epoch), n, shuffled.get());
      pass.barrier.wait();
      double loss = 0;
      for (int64_t first = 0; first < n && going; first += batch) {
        const int64_t end = std::min(first + batch, n);
        const bool chunked = end - first > CHUNK;
        double next1 = power1 * training.beta1, next2 = power2 * training.beta2;
        rule.unbias1 = T(1 / (1 - next1));
        rule.unbias2 = T(1 / (1 - next2));
        for (Chunk now = order.at(first); now.first < end && going; now = order.after(now))
          going = pass.run(seat, order, now, 1. / (end - first), chunked ? sum : rule, true, ahead, loss);
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
