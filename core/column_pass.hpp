// Passes in columns, a sample a lane, on the flat parameters as they are: predictions of any network, and the training of
// those that cost less so (ColumnPass::worthwhile), whose chunks of rows are shared by the threads.
#pragma once
#include "pass.hpp"

namespace chainrule {

// One chunk of rows through the network. What enters layer l is values[l], with a column of ones behind it for the
// gradient of the bias; the last is q, whose activation is left to the caller.
template <class T>
struct ColumnForward {
  const Kernels<T>& kernels;
  const Network& net;
  const int64_t stride;            // odd in widths: else the columns fall into the same few sets of a cache
  std::vector<T*> values, slopes;  // slopes: σ′ of layer l, or null

  enum class Keep {
    nothing,
    some,
    slopes
  };  // the values of two layers, of all with slopes as needed, or with all slopes
  ColumnForward(const Kernels<T>& kernels, const Network& net, int64_t rows, Keep keep, Memory& memory)
      : kernels(kernels), net(net), stride((net.padded(rows) / net.width | 1) * net.width) {
    auto with_ones = [&](int64_t units) {
      T* C = memory.template take<T>((units + 1) * stride);
      std::fill_n(C + units * stride, stride, T(1));
      return C;
    };
    values.push_back(with_ones(net.layers[0].in));
    T* turns[2] = {};
    if (keep == Keep::nothing)
      for (T*& C : turns) C = memory.template take<T>(net.widest * stride);
    for (size_t l = 0; l < net.layers.size(); l++) {
      const Layer& layer = net.layers[l];
      const bool hidden = l + 1 < net.layers.size();
      const bool slope = keep == Keep::slopes || (keep == Keep::some && hidden && has_slope(layer.activation));
      if (keep == Keep::nothing) values.push_back(turns[l % 2]);
      else values.push_back(hidden ? with_ones(layer.out) : memory.template take<T>(layer.out * stride));
      slopes.push_back(slope ? memory.template take<T>(layer.out * stride) : nullptr);
    }
  }

  void run(const T* theta, const Rows& x, const Batch& batch) const {
    kernels.gather_columns(x, batch, T(1), T(0), stride, values[0]);
    for (size_t l = 0; l < net.layers.size(); l++) {
      const Layer& layer = net.layers[l];
      const bool hidden = l + 1 < net.layers.size();  // the output layer's σ belongs to the loss, which needs q as well
      kernels.forward_columns({theta + layer.flat, layer.in, 1, theta + layer.flat_bias()}, layer.out, layer.in,
                              values[l], batch.rows, stride, hidden ? layer.activation : Activation::identity,
                              values[l + 1], hidden ? slopes[l] : nullptr);
    }
  }
  // The output layer's activation, in place.
  void finish(int64_t rows) const {
    const Layer& last = net.layers.back();
    if (last.activation == Activation::softmax) kernels.softmax_columns(last.out, rows, stride, values.back());
    else kernels.activate(last.activation, last.out, rows, stride, values.back(), slopes.back());
  }
};

// Training: the threads take chunks of a batch in waves, then each adds up its share of the parameters' gradients in the
// order of the chunks, and makes the step there.
template <class T>
class ColumnPass {
 public:
  ColumnPass(const Kernels<T>& kernels, const Network& net, const T* theta, const State<T>& state, const Data<T>& data,
             const Settings& settings, int64_t rows, int threads, const Interrupted& interrupted)
      : meeting(threads, interrupted),
        kernels_(kernels),
        net_(net),
        data_(data),
        aim_(net, settings.objective),
        threads_(threads),
        wave_(rows > CHUNK ? std::min<int64_t>(WAVE * threads, (rows + CHUNK - 1) / CHUNK) : 1),
        losses_(2 * wave_) {
    auto copy = [&](const T* flat) {
      return flat ? std::copy_n(flat, net.flat_size, memory_.take<T>(padded_size())) - net.flat_size : nullptr;
    };
    m_ = {copy(theta), copy(state.velocity), copy(state.square), memory_.take<T>(padded_size())};
    sums_ = memory_.take<T>(2 * wave_ * padded_size());
    rows = std::min(rows, CHUNK);
    int64_t hidden = 0, scratch = 0;
    for (const Layer& layer : net.layers) {
      if (layer.flat > 0) hidden = std::max(hidden, layer.in);
      const int64_t in = net.padded(layer.in + 1), out = net.padded(layer.out);
      scratch = std::max(scratch, std::max(in, out) * net.padded(rows) + in * out);
    }
    for (int t = 0; t < threads; t++) {
      ColumnForward<T> forward(kernels, net, rows, ColumnForward<T>::Keep::some, memory_);
      const int64_t stride = forward.stride;
      auto columns = [&](int64_t n) { return memory_.take<T>(n * stride); };
      seats_.push_back({std::move(forward),
                        {columns(hidden), columns(net.layers.size() > 2 ? hidden : 0)},
                        columns(net.layers.back().out),
                        memory_.take<T>(scratch),
                        data.weight ? columns(1) : nullptr,
                        memory_.take<double>(stride)});
    }
  }

  // As many of the threads asked for as gain by it; none where panels are faster, with `in_panels` threads: these share a chunk
  // of rows. Batches of several chunks are worth a little more.
  static int worthwhile(const Network& net, const Settings& s, int64_t rows, int asked, int in_panels) {
    constexpr int64_t MOST = 32768;  // parameters: a chunk's gradient is to stay in the cache
    if (!s.dropout.empty() || std::isfinite(s.clip) || std::isfinite(s.max_norm) || net.flat_size > MOST) return 0;
    const Cost cost = cost_of(net, rows);
    if (cost.columns * (rows > CHUNK ? 1 / 1.2 : in_panels) >= cost.panels) return 0;
    const double chunks = double((rows + CHUNK - 1) / CHUNK), work = 2 * cost.columns * double(rows);
    return every_thread() ? asked : int(std::clamp(std::min(chunks, work / (8 * BARRIER)), 1., double(asked)));
  }

  Meeting meeting;

  bool batch(int t, const Order& order, const Turn& turn, const Rule<T>& rule, double& loss) {
    Seat& seat = seats_[t];
    const int64_t end = order.end(turn.first), chunks = (end - turn.first + CHUNK - 1) / CHUNK;
    const bool steps = rule.step != Step::gradient;
    const Range share_of = own(t);
    T* gradient = m_.gradient;
    if (chunks > 1) std::fill(gradient + share_of.begin, gradient + share_of.end, T(0));
    for (int64_t first = 0; first < chunks; first += wave_) {
      const int64_t count = std::min(wave_, chunks - first), turns = seat.waves++ % 2 * wave_;
      const Range mine = share(count, t, threads_);
      for (int64_t c = mine.begin; c < mine.end; c++) {
        const int64_t slot = turns + c;
        losses_[slot] = run(seat, order.at(turn.first + (first + c) * CHUNK), 1. / (end - turn.first),
                            sums_ + slot * padded_size());
      }
      if (!meeting.meet(t, seat.meetings, 6. * net_.work * double(count * CHUNK))) return false;
      bool finite = true;
      for (int64_t c = 0; c < count; c++) {  // one after the other, however many a wave has
        loss += losses_[turns + c];
        finite = finite && std::isfinite(losses_[turns + c]);
      }
      if (steps && !finite) {
        if (t == 0) meeting.diverge();
        return false;
      }
      if (chunks == 1) gradient = sums_ + turns * padded_size();
      else
        for (int64_t c = 0; c < count; c++) {
          const T* chunk = sums_ + (turns + c) * padded_size();
          for (int64_t i = share_of.begin; i < share_of.end; i++) gradient[i] += chunk[i];
        }
    }
    if (steps) step(gradient, rule, share_of);
    else if (chunks == 1)
      for (int64_t i = share_of.begin; i < share_of.end; i++) m_.gradient[i] = T(0) + gradient[i];  // as a sum: no −0
    meeting.barrier.wait(t);  // the next pass reads what all have changed
    return true;
  }

  void theta(T* flat) const { std::copy_n(m_.theta, net_.flat_size, flat); }
  void gradient(T* flat) const { std::copy_n(m_.gradient, net_.flat_size, flat); }
  void state(const State<T>& state) const {
    if (state.velocity) std::copy_n(m_.velocity, net_.flat_size, state.velocity);
    if (state.square) std::copy_n(m_.square, net_.flat_size, state.square);
  }

 private:
  static constexpr int64_t WAVE = 8;  // chunks a thread between two barriers

  // What a row costs, in multiply-adds of one lane, those that hold nothing included: panels fill whole vectors with the units
  // of a layer; columns turn its values for the gradient, and write that down. The weights of the terms are measured.
  struct Cost {
    double panels = 0, columns = 0;
  };
  static Cost cost_of(const Network& net, int64_t rows) {
    constexpr double ACTIVATION = 14, TURN = 4, WRITE = 20;
    const int64_t lanes = net.width / 2;
    auto vectors = [&](int64_t n) { return double((n + lanes - 1) / lanes * lanes); };
    Cost cost;
    cost.columns = TURN * double(net.layers.front().in + net.layers.back().out);
    for (const Layer& layer : net.layers) {
      const double in = double(layer.in), out = double(layer.out), wide_in = vectors(layer.in),
                   wide = vectors(layer.out);
      const bool hidden = layer.flat > 0;  // has a layer below that wants a delta
      if (layer.narrow) cost.panels += in * out + TURN * wide_in + (hidden ? 2 : 1) * wide_in * out;
      else cost.panels += 2 * in * wide + (hidden ? out * wide_in : 0);
      cost.panels += ACTIVATION * (layer.narrow ? out : wide);
      cost.columns += (hidden ? 2 : 1) * in * out + ACTIVATION * out;
      cost.columns += std::min((in + 1 + TURN) * wide, (out + TURN) * vectors(layer.in + 1));
    }
    rows = std::min(rows, CHUNK);
    cost.columns = (cost.columns * vectors(rows) + WRITE * double(net.flat_size)) / double(rows);
    return cost;
  }

  struct alignas(128) Seat {  // what one thread has
    ColumnForward<T> forward;
    T* deltas[2];
    T *labels, *scratch, *weights;
    double* row_loss;
    unsigned meetings = 0, waves = 0;
  };

  // The loss of a chunk, and its gradient into G.
  double run(Seat& seat, const Batch& chunk, double scale, T* G) {
    const ColumnForward<T>& forward = seat.forward;
    const int64_t rows = chunk.rows, stride = forward.stride;
    forward.run(m_.theta, data_.x, chunk);
    kernels_.gather_columns(data_.labels, chunk, aim_.label_scale, aim_.label_shift, stride, seat.labels);
    if (data_.weight)
      for (int64_t i = 0; i < rows; i++) seat.weights[i] = data_.weight[chunk.row(i)];
    const Layer& last = net_.layers.back();
    kernels_.loss_columns(last.activation, aim_.criterion, last.out, rows, stride, seat.labels,
                          data_.weight ? seat.weights : nullptr, T(scale), forward.values.back(), seat.row_loss);
    const T* delta = forward.values.back();
    for (size_t l = net_.layers.size(); l-- > 0;) {
      const Layer& layer = net_.layers[l];
      kernels_.gradient_columns(layer, forward.values[l], delta, rows, stride, seat.scratch, G);
      if (l == 0) break;
      T* below = seat.deltas[(l - 1) % 2];
      kernels_.derive_columns({m_.theta + layer.flat, 1, layer.in, nullptr}, layer.in, layer.out, delta, rows, stride,
                              net_.layers[l - 1].activation, forward.values[l], forward.slopes[l - 1], below);
      delta = below;
    }
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) sum += seat.row_loss[i];
    return sum;
  }
  // The rule's step on a share of the parameters.
  void step(T* gradient, const Rule<T>& rule, Range part) const {
    const Parameters<T> m{m_.theta, m_.velocity, m_.square, gradient};
    auto piece = [&](bool weights, int64_t begin, int64_t end) {
      begin = std::max(begin, part.begin), end = std::min(end, part.end);
      if (begin < end) kernels_.step(rule, weights, m, begin, end - begin);
    };
    for (const Layer& layer : net_.layers) {
      piece(true, layer.flat, layer.flat_bias());
      piece(false, layer.flat_bias(), layer.flat_bias() + layer.out);
    }
  }
  int64_t padded_size() const { return (net_.flat_size + LINE - 1) / LINE * LINE; }
  // The parameters that thread t adds up and changes: whole cache lines.
  Range own(int t) const {
    auto [begin, end] = share(padded_size() / LINE, t, threads_);
    return {begin * LINE, std::min(end * LINE, net_.flat_size)};
  }

  const Kernels<T>& kernels_;
  const Network& net_;
  const Data<T>& data_;
  const Aim<T> aim_;
  const int threads_;
  const int64_t wave_;  // chunks between two barriers
  Memory memory_;
  Parameters<T> m_;
  T* sums_;  // the gradients of the chunks of two waves
  std::vector<double> losses_;
  std::vector<Seat> seats_;
};

}  // namespace chainrule
