// Epochs x batches: the loop that calls the passes. Memory is sized once, rows are shuffled by index, a step allocates
// nothing. Every thread runs the same loop.
#include "train.hpp"

#include "column_pass.hpp"
#include "images.hpp"
#include "panel_pass.hpp"

namespace chainrule {

Network::Network(const std::vector<int64_t>& sizes, const std::vector<Activation>& activations, int64_t width)
    : width(width) {
  for (size_t l = 0; l + 1 < sizes.size(); l++) {
    const int64_t in = sizes[l], out = sizes[l + 1];
    const bool narrow = l + 2 == sizes.size() && out <= width / 4;
    const int64_t weights = narrow ? out * padded(in) : in * padded(out);
    layers.push_back({in, out, activations[l], flat_size, packed_size, packed_size + weights, narrow});
    flat_size += (in + 1) * out;
    packed_size += weights + padded(out);
    work += double(in) * out;
    widest = std::max({widest, padded(in), padded(out)});
  }
}

namespace {

bool all_threads = false;

// ½ λ |W|² over the weights of all layers, biases left out (39).
template <class T>
double penalty(const Network& net, const T* theta, double decay) {
  double sum = 0;
  for (const Layer& layer : net.layers)
    for (const T* w = theta + layer.flat; w < theta + layer.flat_bias(); w++) sum += double(*w) * *w;
  return 0.5 * decay * sum;
}

template <class T>
Rule<T> rule_of(const Settings& s) {
  return {s.step,         T(0),           T(s.objective.l2), T(0), T(s.momentum), T(s.beta1), T(s.beta2),
          T(1 - s.beta1), T(1 - s.beta2), T(s.epsilon),      T(1), T(1),          T(1)};
}

template <class Pass, class T>
double loss_and_gradient(Pass& pass, const Order& order, int threads, T* gradient) {
  Rule<T> rule{};
  rule.step = Step::gradient;
  double total = 0;
  run_together(threads, [&](int t) {
    double sum = 0;
    pass.batch(t, order, {}, rule, sum);
    if (t == 0) total = sum;
  });
  pass.gradient(gradient);
  return total / double(order.n);
}

template <class Pass, class T>
Outcome run_epochs(Pass& pass, const Network& net, T* theta, const State<T>& state, const Data<T>& data,
                   const Settings& settings, const Rates& rates, int64_t epochs, int threads) {
  const int64_t n = data.n, batch = std::min(settings.batch_size, n);
  const double l2 = settings.objective.l2;
  Memory memory;
  T* const trained = memory.take<T>(net.flat_size);
  int64_t* const shuffled = settings.shuffle ? memory.take<int64_t>(n) : nullptr;
  const Order order{shuffled, n, batch};
  double powers[2] = {state.powers[0], state.powers[1]};
  Outcome outcome{{}, Ending::finished};
  outcome.loss.reserve(std::min<int64_t>(epochs, 4096));

  run_together(threads, [&](int t) {
    Rule<T> rule = rule_of<T>(settings);
    double power1 = powers[0], power2 = powers[1];
    int64_t steps = 0;
    bool going = true;
    for (int64_t epoch = 0; epoch < epochs && going; epoch++) {
      Turn turn{0, uint64_t(state.epochs + epoch), 0};
      if (t == 0 && order.index) permutation(settings.seed, turn.epoch, n, shuffled);
      pass.meeting.barrier.wait(t);
      double loss = 0;
      for (; turn.first < n; turn.first += batch, turn.step++, steps++) {
        const double next1 = power1 * settings.beta1, next2 = power2 * settings.beta2, rate = rates.at(steps);
        rule.rate = T(rate);
        rule.shrink = T(rate * settings.weight_decay);
        if (settings.step == Step::adam) rule.unbias1 = T(1 / (1 - next1)), rule.unbias2 = T(1 / (1 - next2));
        going = pass.batch(t, order, turn, rule, loss);
        if (!going) break;
        power1 = next1, power2 = next2;
      }
      if (l2 != 0) pass.meeting.barrier.wait(t);  // the penalty reads what others may still change
      if (t == 0 && going) {
        if (l2 != 0) pass.theta(trained);
        outcome.loss.push_back(loss / double(n) + (l2 != 0 ? penalty(net, trained, l2) : 0));
      }
    }
    if (t == 0) powers[0] = power1, powers[1] = power2;
  });

  outcome.ending = pass.meeting.ending();
  state.powers[0] = powers[0], state.powers[1] = powers[1];
  pass.state(state);
  // The last step's overflow shows in no loss. What is not finite is of no use: θ then stays as it was.
  pass.theta(trained);
  if (std::all_of(trained, trained + net.flat_size, [](T v) { return std::isfinite(v); }))
    std::copy_n(trained, net.flat_size, theta);
  else outcome.ending = Ending::diverged;
  return outcome;
}

// f(pass, threads) with the kind of pass that suits the network and the batches best.
template <class T, class F>
void with_pass(const Kernels<T>& kernels, const Network& net, const T* theta, const State<T>& state,
               const Data<T>& data, const Settings& settings, int threads, const Interrupted& interrupted, const F& f) {
  const int64_t rows = std::min(settings.batch_size, data.n);
  auto with = [&]<class Pass>(Pass*, int used) {
    Pass pass(kernels, net, theta, state, data, settings, rows, used, interrupted);
    f(pass, used);
  };
  const int in_panels = PanelPass<T>::worthwhile(net, settings, rows, threads);
  const bool panels = settings.images || settings.adversarial > 0 || !settings.monotone.empty() || net.layers[0].starts;
  const int in_columns = panels ? 0 : ColumnPass<T>::worthwhile(net, settings, rows, threads, in_panels);
  if (in_columns) with(static_cast<ColumnPass<T>*>(nullptr), in_columns);
  else with(static_cast<PanelPass<T>*>(nullptr), in_panels);
}

}  // namespace

void use_every_thread(bool always) { all_threads = always; }
bool every_thread() { return all_threads; }

template <class T>
double loss_and_gradient(const InstructionSet& set, const Network& net, const T* theta, const Data<T>& data,
                         const Objective& objective, int threads, T* gradient, const Interrupted& interrupted) {
  const Settings settings{objective, Step::gradient, data.n, 0,  0,  0, 0, 0, INFINITY, INFINITY, 0,
                          {},        false,          0,      {}, {}, {}};
  double value = 0;
  with_pass(kernels_of<T>(set), net, theta, State<T>{}, data, settings, threads, interrupted,
            [&](auto& pass, int used) { value = loss_and_gradient(pass, {nullptr, data.n, data.n}, used, gradient); });
  if (const double l2 = objective.l2; l2 != 0) {
    for (const Layer& layer : net.layers)
      for (int64_t i = layer.flat; i < layer.flat_bias(); i++) gradient[i] += T(l2) * theta[i];
    value += penalty(net, theta, l2);
  }
  return value;
}

template <class T>
Outcome run_epochs(const InstructionSet& set, const Network& net, T* theta, const State<T>& state, const Data<T>& data,
                   const Settings& settings, const Rates& rates, int64_t epochs, int threads,
                   const Interrupted& interrupted) {
  Outcome outcome;
  Network own = net;
  const std::vector<int64_t>& column = settings.embedding;
  std::vector<int64_t> starts;
  if (!column.empty()) {
    for (int64_t i = 0; i < int64_t(column.size()); i++)
      if (i == 0 || column[i] != column[i - 1]) starts.push_back(i);
    own.layers[0].each = net.layers[0].out / int64_t(starts.size());
    starts.push_back(net.layers[0].in);
    own.layers[0].starts = starts.data();
  }
  with_pass(kernels_of<T>(set), own, static_cast<const T*>(theta), state, data, settings, threads, interrupted,
            [&](auto& pass, int used) {
              outcome = run_epochs(pass, own, theta, state, data, settings, rates, epochs, used);
            });
  return outcome;
}

template <class T>
void distort(const InstructionSet& set, const Images& images, uint64_t seed, uint64_t epoch, const Rows& x, T* out,
             int threads) {
  Memory memory;
  const Distorter<T> distorter(kernels_of<T>(set), images, seed, memory);
  std::vector<T*> scratch;
  for (int t = 0; t < threads; t++) scratch.push_back(memory.take<T>(distorter.scratch()));
  run_together(threads, [&](int t) {
    const auto [begin, end] = share(x.rows, t, threads);
    for (int64_t row = begin; row < end; row++) distorter.distort(x, row, epoch, scratch[t], out + row * x.columns);
  });
}

#define CHAINRULE_INSTANTIATE(T)                                                                                       \
  template double loss_and_gradient(const InstructionSet&, const Network&, const T*, const Data<T>&, const Objective&, \
                                    int, T*, const Interrupted&);                                                      \
  template Outcome run_epochs(const InstructionSet&, const Network&, T*, const State<T>&, const Data<T>&,              \
                              const Settings&, const Rates&, int64_t, int, const Interrupted&);                        \
  template void distort(const InstructionSet&, const Images&, uint64_t, uint64_t, const Rows&, T*, int);
CHAINRULE_INSTANTIATE(float)
CHAINRULE_INSTANTIATE(double)

}  // namespace chainrule
