// Training in panels: a chunk of rows through the network and back, by all threads together.
//
// A thread owns a range of lines of each layer: it computes their outputs and changes their weights. What another needs is
// met with a barrier, and a barrier costs as much as a small layer. So a small last layer is everyone's own: each thread has
// a copy of its parameters and computes all of it. And each gathers all rows for itself: to fetch them from another core
// takes longer than from memory. A network of two layers then has one barrier a step, after the first. What the first layer
// makes is written before it, while others may still be in the pass before: it has two places that take turns.
//
// Two threads share by its inputs a layer that makes its sums in halves, if it is the first or the last: each makes one half of
// every sum, and has the weights to it. What they meet for is the other's half; what comes after each does for itself. In a
// first layer each reads its half of every row; in a last layer each needs no more than what it has made in the layer before.
#pragma once
#include <array>

#include "images.hpp"
#include "pass.hpp"

namespace chainrule {

template <class T>
class PanelPass {
 public:
  // Batches of `rows` at most.
  PanelPass(const Kernels<T>& kernels, const Network& net, const T* theta, const State<T>& state, const Data<T>& data,
            const Settings& settings, int64_t rows, int threads, const Interrupted& interrupted)
      : meeting(threads, interrupted),
        kernels_(kernels),
        net_(net),
        data_(data),
        settings_(settings),
        aim_(net, settings.objective),
        threads_(threads),
        depth_(int(net.layers.size())),
        clips_(std::isfinite(settings.clip)),
        seats_(threads) {
    const auto& layers = net.layers;
    const Layer& last = layers.back();
    const bool summed = clips_ || doubles() || rows > CHUNK || settings.step == Step::gradient;
    m_ = {packed(theta), packed(state.velocity), packed(state.square),
          summed ? memory_.take<T>(net.packed_size) : nullptr};
    rows = std::min(rows, CHUNK);
    const double redundant = 6. * rows * last.in * last.out * (threads - 1) / threads;
    for (int l = 0; l < depth_; l++) by_inputs_.push_back(threads == 2 && !clips_ && shared_by_inputs(l));
    const bool own_last =
        threads > 1 && depth_ > 1 && !clips_ && !by_inputs_.back() && (last.narrow || redundant < 4 * BARRIER);
    shared_ = own_last ? depth_ - 1 : depth_;
    judges_alone_ = threads == 1 || own_last || by_inputs_.back();
    if (clips_)
      for (const Layer& layer : layers) squares_.push_back(memory_.take<T>(net.padded(layer.out)));
    const int64_t padded_rows = net.padded(rows);
    auto values = [&](int l) {  // memory for what enters layer l
      return memory_.take<T>(padded_rows * net.padded(l ? layers[l - 1].out : layers[0].in));
    };
    auto judging = [&](Seat& seat) {  // memory for the loss
      seat.labels = values(depth_);
      seat.weights = memory_.take<T>(padded_rows);
      seat.row_loss = memory_.take<double>(rows);
    };
    Seat& first = seats_[0];
    first.values[0].push_back(values(0));
    for (int l = 0; l < depth_; l++) {
      const bool hidden = l + 1 < depth_;
      first.values[0].push_back(values(l + 1));
      first.slopes[0].push_back(hidden && (has_slope(layers[l].activation) || drops(l + 1)) ? values(l + 1) : nullptr);
      if (hidden) first.deltas.push_back(values(l + 1));
    }
    first.values[1] = first.values[0], first.slopes[1] = first.slopes[0];
    for (int l = 0; l < depth_; l++) {
      sums_.emplace_back();
      for (auto& turn : sums_[l])
        for (T*& half : turn) half = by_inputs_[l] ? values(l + 1) : nullptr;
    }
    if (threads > 1 && shares(0)) {
      first.values[1][1] = values(1);
      if (first.slopes[0][0]) first.slopes[1][0] = values(1);
    }
    judging(first);
    if (settings.images) {
      distorter_.emplace(kernels, *settings.images, settings.seed, memory_);
      distorted_ = memory_.take<T>(rows * data.x.columns);
    }
    if (doubles()) slope_ = values(0);
    int64_t scratch = 2 * net.widest * net.width;
    for (const Layer& layer : layers)
      if (layer.in_halves()) scratch = std::max(scratch, rows * net.padded(layer.out));
    first.last = last;
    first.own = m_;
    for (int t = 0; t < threads; t++) {  // the others have what the first has, but for what is their own
      Seat& seat = seats_[t];
      if (t > 0) seat = first;
      seat.t = t;
      seat.lines.clear(), seat.inputs.clear();
      for (int l = 0; l < depth_; l++) seat.lines.push_back(lines_of(t, l)), seat.inputs.push_back(inputs_of(t, l));
      seat.x = data.x;
      seat.x.data = data.x.at(0, seat.inputs[0].begin);
      seat.x.columns = seat.inputs[0].end - seat.inputs[0].begin;
      seat.scratch = memory_.take<T>(scratch);
      if (distorted_) {
        seat.x = {distorted_ + seat.inputs[0].begin, SOURCE<T>, data.x.columns, 1, rows, seat.x.columns};
        seat.image = memory_.take<T>(distorter_->scratch());
      }
      if (t > 0) seat.values[0][0] = seat.values[1][0] = values(0);
      for (int l = 0; l < depth_ && t > 0; l++)
        if (!shares(l)) {
          seat.values[0][l + 1] = seat.values[1][l + 1] = values(l + 1);
          if (seat.slopes[0][l]) seat.slopes[0][l] = seat.slopes[1][l] = values(l + 1);
          if (by_inputs_[l] && l + 1 < depth_) seat.deltas[l] = values(l + 1);
        }
      if (t > 0 && judges_alone_) judging(seat);
      if (t > 0 && own_last) {
        auto copy = [&](T* from) {
          const int64_t n = net.packed_size - last.packed;
          return from ? static_cast<T*>(std::memcpy(memory_.take<T>(n), from + last.packed, n * sizeof(T))) : nullptr;
        };
        seat.last.packed = 0;
        seat.last.bias = last.bias - last.packed;
        seat.own = {copy(m_.theta), copy(m_.velocity), copy(m_.square), copy(m_.gradient)};
      }
    }
    // Fetching rows ahead pays while the next batch fits in the second-level cache beside the weights in use.
    const int64_t row_bytes = rows * data.x.columns * int64_t(sizeof(T)),
                  weight_bytes = layers[0].in * layers[0].out * int64_t(sizeof(T));
    fetches_ = settings.shuffle && (row_bytes <= 128 * 1024 || row_bytes + weight_bytes <= 384 * 1024);
  }

  // As many of the threads asked for as gain by it: each is to have work for several times the barriers that it waits at,
  // and a line of a layer's outputs.
  static int worthwhile(const Network& net, const Settings& s, int64_t rows, int asked) {
    if (every_thread()) return asked;
    // Of a weight's step, in operations that take as long: it is read and written, with its moments.
    const double change = s.step <= Step::descent ? 12 : s.step <= Step::nesterov ? 30 : 50;
    double work = 0;
    int64_t most = gains_by_inputs(net, s) ? 2 : 1;
    rows = std::min(rows, CHUNK);
    for (const Layer& layer : net.layers) {
      const double products = &layer == &net.layers.front() ? 4 : 6;
      work += (products * double(rows) + change) * double(layer.weights());
      most = std::max(most, lines(layer.out));
    }
    const double barriers = std::max(1., 2. * net.layers.size() - 3);  // of a pass, where the last layer needs none
    return int(std::clamp(std::min(work / (4 * BARRIER * barriers), double(most)), 1., double(asked)));
  }

  Meeting meeting;

  // Thread t's part in one batch: forward, backward, and the rule's step or, with Step::gradient, the sum. The rows' losses
  // are added to `loss`. False, to every thread alike, when it is to end: interrupted or, where it is a training, at a loss
  // that is not finite.
  bool batch(int t, const Order& order, const Turn& turn, const Rule<T>& rule, double& loss) {
    Seat& seat = seats_[t];
    const int64_t end = order.end(turn.first);
    const bool steps = rule.step != Step::gradient, summed = steps && (clips_ || doubles() || end - turn.first > CHUNK);
    Rule<T> now = rule;
    if (summed) now.step = Step::gradient;
    for (Batch chunk = order.at(turn.first); chunk.first < end; chunk = order.after(chunk)) {
      const Batch next = steps && fetches_ ? order.after(chunk) : Batch{};
      const double scale = 1. / (end - turn.first);
      if (doubles()) {
        if (!run(seat, chunk, turn, scale / 2, now, steps, false, {}, loss)) return false;
        if (!run(seat, chunk, turn, scale / 2, now, steps, true, next, loss)) return false;
      } else if (!run(seat, chunk, turn, scale, now, steps, false, next, loss)) {
        return false;
      }
    }
    if (summed) {
      now = rule;
      if (clips_) now.scale = T(clipping(seat));
      for (int l = 0; l < depth_; l++)
        kernels_.apply(layer_of(seat, l), parameters_of(seat, l), seat.inputs[l], seat.lines[l], now);
    }
    if (steps && std::isfinite(settings_.max_norm))
      for (int l = 0; l + 1 < depth_; l++)
        kernels_.limit(net_.layers[l], m_.theta, seat.lines[l], T(settings_.max_norm));
    if (steps && !settings_.monotone.empty())
      for (int l = 0; l < depth_; l++)
        kernels_.confine(layer_of(seat, l), parameters_of(seat, l).theta, seat.inputs[l], seat.lines[l],
                         l ? nullptr : settings_.monotone.data());
    return true;
  }

  void theta(T* flat) const { unpack(m_.theta, flat); }
  void gradient(T* flat) const { unpack(m_.gradient, flat); }
  void state(const State<T>& state) const {
    unpack(m_.velocity, state.velocity);
    unpack(m_.square, state.square);
  }

 private:
  struct alignas(128) Seat {  // what one thread has
    int t;
    unsigned meetings = 0, passes = 0;
    std::vector<T*> values[2], slopes[2];  // values[.][l] enters layer l; slopes: σ′ of layer l, or null
    std::vector<T*> deltas;                // ∂ε/∂p of layer l; the last layer's take the place of its values
    T *labels = nullptr, *weights = nullptr, *scratch = nullptr, *image = nullptr;
    double* row_loss = nullptr;
    std::vector<Range> lines, inputs;  // of each layer's outputs, and inputs: this thread's to compute and to change
    Rows x;                            // its columns of X, or of the distorted rows of a chunk
    Layer last;                        // where it is everyone's own, with its place in this thread's copy
    Parameters<T> own;
  };

  // `displaced`: (100) the rows that went through just now, each of them moved.
  bool run(Seat& seat, const Batch& rows_of, const Turn& turn, double scale, const Rule<T>& rule, bool judge,
           bool displaced, const Batch& next, double& loss) {
    const unsigned pass = seat.passes++;
    const int64_t rows = rows_of.rows;
    const auto &values = seat.values[pass % 2], &slopes = seat.slopes[pass % 2];
    const Range inputs = seat.inputs[0];
    if (distorted_ && !displaced) {  // by all together, who keep it until all have gathered: the layers meet later
      const auto [begin, end] = share(rows, seat.t, threads_);
      for (int64_t i = begin; i < end; i++)
        distorter_->distort(data_.x, rows_of.row(i), turn.epoch, seat.image, distorted_ + i * data_.x.columns);
      meeting.barrier.wait(seat.t);
    }
    kernels_.gather(seat.x, distorted_ ? Batch{nullptr, 0, rows} : rows_of, values[0] + inputs.begin * rows);
    if (displaced) kernels_.displace(rows * net_.padded(data_.x.columns), T(settings_.adversarial), slope_, values[0]);
    drop(0, turn, rows_of, {lines(inputs.begin), lines(inputs.end)}, values[0], nullptr);
    const Range judged = judged_rows(seat, rows);
    const Batch labelled = rows_of.part(judged.begin, judged.end);
    kernels_.gather_columns(data_.labels, labelled, aim_.label_scale, aim_.label_shift, net_.padded(rows),
                            seat.labels + judged.begin);
    if (data_.weight)
      for (int64_t i = judged.begin; i < judged.end; i++) seat.weights[i] = data_.weight[rows_of.row(i)];
    for (int l = 0; l < depth_; l++) {
      const Layer& layer = layer_of(seat, l);
      // The output layer's σ belongs to the loss, which needs q as well.
      Activation activation = l + 1 < depth_ ? layer.activation : Activation::identity;
      auto meets = [&] {
        return l >= shared_ || meeting.meet(seat.t, seat.meetings, 2. * rows * layer.in * layer.out);
      };
      if (by_inputs_[l]) {
        const auto& sums = sums_[l][pass % 2];
        kernels_.forward_half(layer, m_.theta, values[l], rows, seat.inputs[l], sums[seat.t]);
        if (!meets()) return false;
        kernels_.join_halves(layer, rows, sums[0], sums[1], activation, values[l + 1], slopes[l]);
      } else {
        kernels_.forward(layer, parameters_of(seat, l).theta, values[l], rows, seat.lines[l], activation, seat.scratch,
                         values[l + 1], slopes[l]);
      }
      if (l + 1 < depth_) drop(l + 1, turn, rows_of, seat.lines[l], values[l + 1], slopes[l]);
      if (shares(l) && !meets()) return false;
    }
    kernels_.loss(layer_of(seat, depth_ - 1), aim_.criterion, rows, judged.begin, judged.end, seat.labels,
                  data_.weight ? seat.weights : nullptr, T(scale), seat.scratch, values[depth_], seat.row_loss);
    if (!judges_alone_) meeting.barrier.wait(seat.t);
    // Each thread adds up all rows: cheaper than waiting for one that does, and all see a divergence before they step.
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) sum += seat.row_loss[i];
    loss += doubles() ? sum / 2 : sum;
    if (judge && !std::isfinite(sum)) {
      if (seat.t == 0) meeting.diverge();
      return false;
    }
    for (int l = depth_ - 1; l >= 0; l--) {
      const Layer& layer = layer_of(seat, l);
      const T* delta = l + 1 == depth_ ? values[depth_] : seat.deltas[l];
      if (l > 0) {
        kernels_.backward(layer, parameters_of(seat, l).theta, delta, rows, seat.lines[l - 1],
                          net_.layers[l - 1].activation, values[l], slopes[l - 1], seat.scratch, seat.deltas[l - 1]);
        // Others read these weights still, or will need these deltas. An end here is one between two layers' steps.
        const bool read = (l < shared_ && !by_inputs_[l]) || l > 1;
        if (read && !meeting.meet(seat.t, seat.meetings, 4. * rows * layer.in * layer.out)) return false;
      }
      kernels_.update(layer, parameters_of(seat, l), values[l], delta, rows, seat.inputs[l], seat.lines[l], rule,
                      {&data_.x, l == 0 ? next : Batch{}});
    }
    if (doubles() && !displaced) {  // ∂ε/∂x, by all together
      meeting.barrier.wait(seat.t);
      const auto [begin, end] = share(lines(net_.layers[0].in), seat.t, threads_);
      kernels_.backward(layer_of(seat, 0), parameters_of(seat, 0).theta, depth_ > 1 ? seat.deltas[0] : values[1], rows,
                        {begin, end}, Activation::identity, values[0], nullptr, seat.scratch, slope_);
      meeting.barrier.wait(seat.t);
    }
    return true;
  }

  // (100) whether rows go through twice
  bool doubles() const { return settings_.adversarial > 0; }
  // (67) what enters layer l, and its slopes
  bool drops(int l) const { return !settings_.dropout.empty() && settings_.dropout[l] > 0; }
  void drop(int l, const Turn& turn, const Batch& chunk, Range lines, T* Y, T* slope) const {
    if (!drops(l)) return;
    const double p = settings_.dropout[l];
    const uint64_t key = Stream(settings_.seed, DROPOUT + turn.epoch).bits(uint64_t(turn.step) * depth_ + l);
    const int64_t units = l ? net_.layers[l - 1].out : net_.layers[0].in;
    kernels_.drop({key, uint32_t(p * 4294967296.)}, T(1 / (1 - p)), units, chunk.first - turn.first, chunk.rows, lines,
                  Y, slope);
  }
  // (65) by what the summed gradient is to be multiplied
  double clipping(Seat& seat) {
    for (int l = 0; l < depth_; l++) kernels_.squares(net_.layers[l], m_.gradient, seat.lines[l], squares_[l]);
    meeting.barrier.wait(seat.t);
    double sum = 0;
    for (int l = 0; l < depth_; l++)
      for (int64_t u = 0; u < net_.layers[l].out; u++) sum += squares_[l][u];
    return std::min(1., settings_.clip / std::sqrt(sum));
  }

  T* packed(const T* flat) {
    if (!flat) return nullptr;
    T* to = memory_.take<T>(net_.packed_size);
    for (const Layer& layer : net_.layers) kernels_.pack(layer, flat, to);
    return to;
  }
  void unpack(const T* packed, T* flat) const {
    if (!flat) return;
    for (const Layer& layer : net_.layers) kernels_.unpack(layer, packed, flat);
  }
  const Layer& layer_of(const Seat& seat, int l) const { return l < shared_ ? net_.layers[l] : seat.last; }
  const Parameters<T>& parameters_of(const Seat& seat, int l) const { return l < shared_ ? m_ : seat.own; }
  static int64_t lines(int64_t units) { return (units * int64_t(sizeof(T)) + LINE - 1) / LINE; }
  // Whether two threads gain by sharing a first layer by its inputs: each then makes all of its deltas, which is to be little.
  static bool gains_by_inputs(const Network& net, const Settings& s) {
    const Layer& first = net.layers[0];
    if (std::isfinite(s.clip) || std::isfinite(s.max_norm) || s.adversarial > 0 || first.starts)
      return false;  // they want whole units, or whole rows
    const int64_t next = net.layers.size() > 1 ? net.layers[1].out : 0;
    return first.in_halves() && !first.narrow && 8 * next <= first.in;
  }
  bool shared_by_inputs(int l) const {
    if (l == 0) return gains_by_inputs(net_, settings_);
    return l + 1 == depth_ && !by_inputs_[l - 1] && net_.layers[l].in_halves() && !net_.layers[l].narrow;
  }
  // Whether others need what a thread has made in layer l.
  bool shares(int l) const { return l < shared_ && !by_inputs_[l] && (l + 1 == depth_ || !by_inputs_[l + 1]); }
  Range inputs_of(int t, int l) const {
    const int64_t in = net_.layers[l].in, half = net_.layers[l].first_half();
    return !by_inputs_[l] ? Range{0, in} : t ? Range{half, in} : Range{0, half};
  }
  // Lines of layer l's outputs that are thread t's to compute and to change.
  Range lines_of(int t, int l) const {
    const int64_t all = net_.layers[l].narrow ? 1 : lines(net_.layers[l].out);
    if (l >= shared_ || by_inputs_[l]) return {0, all};
    if (l + 1 < depth_ && by_inputs_[l + 1]) {
      const Range next = inputs_of(t, l + 1);
      return {lines(next.begin), lines(next.end)};
    }
    if (all < 2 * threads_) return share(all, t, threads_);
    auto [begin, end] = share((all + 1) / 2, t, threads_);  // in pairs, a wide panel's: a lone line is slower
    return {2 * begin, std::min(2 * end, all)};
  }
  // Whole vectors of rows, for the loss works on those.
  Range judged_rows(const Seat& seat, int64_t rows) const {
    if (judges_alone_) return {0, rows};
    auto [begin, end] = share(net_.padded(rows) / net_.width, seat.t, threads_);
    return {std::min(begin * net_.width, rows), std::min(end * net_.width, rows)};
  }

  const Kernels<T>& kernels_;
  const Network& net_;
  const Data<T>& data_;
  const Settings& settings_;
  const Aim<T> aim_;
  const int threads_, depth_;
  const bool clips_;
  int shared_;                   // layers that the threads share; the last may be everyone's own
  std::vector<char> by_inputs_;  // layers that two threads share by their inputs
  bool judges_alone_;            // each thread has the outputs of all rows
  bool fetches_;
  Memory memory_;
  std::optional<Distorter<T>> distorter_;
  T* distorted_ = nullptr;  // the rows of a chunk
  T* slope_ = nullptr;      // ∂ε/∂x of a chunk
  Parameters<T> m_;
  std::vector<std::array<std::array<T*, 2>, 2>>
      sums_;                 // of the two halves of the inputs, in two places that take turns
  std::vector<T*> squares_;  // of each layer's units
  std::vector<Seat> seats_;
};

}  // namespace chainrule
