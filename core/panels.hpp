// Forward pass, back-propagation and update on panels. Part of kernels.cpp.
//
// What makes it fast, each point measured (docs/design.md):
// 1. Weights stay in panels W[panel][in][width] for the whole run, width = two vectors. A forward tile of ROWS samples x
//    one panel keeps all its sums in registers: per input one load of two weight vectors and ROWS broadcasts.
// 2. The values of a batch lie in panels too, A[panel][row][width]. Every inner loop reads its two operands as two
//    contiguous streams, whatever the shape of the network.
// 3. The gradient of a weight is not stored: the tile that sums it over the batch makes the optimizer's step at once. Only what
//    is summed over chunks of a batch, clipped, or asked for, goes through memory.
#pragma once
#include "columns.hpp"
#include "gather.hpp"

namespace chainrule {
namespace {

template <class T>
const T ZEROS[4 * WIDTH<T>] = {};

// ---- (31, 38): a batch times panels ------------------------------------------------------------------------------------

// P[panel][row][lane] = start + Σ_k A[k][row] W[panel][k][lane] for inputs begin..end; start is the bias, or with
// bias = null what P holds. V vectors of outputs a tile: half a panel, one, or several for batches of a few rows.
template <class T>
struct Product {
  const T *A, *W, *bias;  // W, bias and P at the tile's first vector
  T* P;
  int64_t rows, depth;  // of the batch, of W
  int64_t begin, end;
};
template <int M, int V, class T>
CHAINRULE_INLINE void product_tile(const Product<T>& c, int64_t row) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  Vec<T> sum[M][V];
  const T* w = c.W + c.begin * W;
  T* P = c.P + row * W;
  EACH (v, V)
    EACH (m, M) {
      const T* start = c.bias ? c.bias : P + v / PANEL * c.rows * W + m * W - v / PANEL * W;
      sum[m][v] = load(start + v * L);
    }
  for (int64_t k = c.begin, count; k < c.end; k += count) {
    const T* a = c.A + (k / W * W * c.rows + row * W + k % W);
    count = least(W - k % W, c.end - k);
#pragma GCC unroll 4
    for (int64_t j = 0; j < count; j++, w += W) {
      Vec<T> weight[V];
      EACH (v, V) weight[v] = load(w + v / PANEL * c.depth * W + v % PANEL * L);
      EACH (m, M) {
        Vec<T> x = splat(a[m * W + j]);
        EACH (v, V) sum[m][v] = fma(x, weight[v], sum[m][v]);
      }
    }
  }
  EACH (v, V)
    EACH (m, M) store<T>(P + v / PANEL * c.rows * W + m * W + v % PANEL * L, sum[m][v]);
}
template <int MOST, int V, class T>
CHAINRULE_INLINE void product_blocks(Product<T> c, Range inputs) {
  for (c.begin = inputs.begin; c.begin < inputs.end; c.begin += BLOCK) {
    c.end = least(c.begin + BLOCK, inputs.end);
    cover<MOST>(c.rows, [&]<int M>(int64_t row) INLINE_LAMBDA { product_tile<M, V>(c, row); });
    c.bias = nullptr;
  }
}
// Some vectors of the outputs, from the bias on or, where it is null, from 0; W, bias and P at the first panel.
template <class T>
void product(const T* A, const T* W, const T* bias, T* P, int64_t rows, int64_t depth, Range inputs, Range vectors) {
  constexpr int L = LANES<T>;
  for (int64_t v = vectors.begin, n; v < vectors.end; v += n) {
    const int64_t panel = v / PANEL * WIDTH<T>, lane = v % PANEL * L, left = vectors.end - v;
    const T* start = bias ? bias + v * L : ZEROS<T>;
    const Product<T> c{A, W + panel * depth + lane, start, P + panel * rows + lane, rows, depth, 0, 0};
    if (lane || left == 1) product_blocks<2 * ROWS, 1>(c, inputs), n = 1;
    else if (rows == 1 && left >= 8)  // few rows: several panels at once, else too few sums to hide fma's latency
      product_blocks<1, 8>(c, inputs), n = 8;
    else if (rows <= 3 && left >= 4) product_blocks<3, 4>(c, inputs), n = 4;
    else product_blocks<ROWS, 2>(c, inputs), n = 2;
  }
}

// σ in place on the vectors first..last of each row, and σ′ where slope is not null.
template <class T>
void activate_panels(Activation act, int64_t rows, Range vectors, T* y, T* slope) {
  if (act == Activation::identity && !slope) return;
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA {
    each_panel(vectors, [&](int64_t panel, int64_t from, int64_t to) INLINE_LAMBDA {
      each_vector<T>(panel * rows * WIDTH<T>, rows, from, to,
                     [&](int64_t i) INLINE_LAMBDA { activate_vector<F>(y + i, slope ? slope + i : nullptr); });
    });
  });
}

// Y = first + second on some vectors of each row; Y may be the first.
template <class T>
void add_panels(int64_t rows, Range vectors, const T* first, const T* second, T* Y) {
  each_panel(vectors, [&](int64_t panel, int64_t from, int64_t to) INLINE_LAMBDA {
    each_vector<T>(panel * rows * WIDTH<T>, rows, from, to,
                   [&](int64_t i) INLINE_LAMBDA { store<T>(Y + i, load(first + i) + load(second + i)); });
  });
}

// LANES rows from `row` on of a panel (rows, width), its lanes from `lane` on: as vectors of LANES rows, a lane each. Rows
// past the last are the last again.
template <class T>
CHAINRULE_INLINE void turned(const T* panel, int64_t rows, int64_t row, int64_t lane, Vec<T> (&v)[LANES<T>]) {
  if (row + LANES<T> <= rows) return load_turned(panel + row * WIDTH<T> + lane, WIDTH<T>, v);
  const T* from[LANES<T>];
  for (int i = 0; i < LANES<T>; i++) from[i] = panel + least(row + i, rows - 1) * WIDTH<T> + lane;
  load_turned(from, 0, v);
}

// A narrow layer: the rows are turned into columns, a few vectors of them at a time.
template <class T>
void forward_narrow(const Layer& layer, const T* packed, const T* A, int64_t rows, T* scratch, T* Q) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t stride = padded<T>(rows);
  for (int64_t row = 0; row < rows; row += COLUMNS * L) {
    const int64_t n = least(COLUMNS, vectors<T>(rows - row));
    for (int64_t k = 0; k < layer.in; k += L)
      for (int64_t v = 0; v < n; v++) {
        Vec<T> turn[L];
        turned(A + k / W * rows * W, rows, row + v * L, k % W, turn);
        EACH (j, L) store<T>(scratch + ((k + j) * n + v) * L, turn[j]);
      }
    forward_product<T>({{packed + layer.packed, padded<T>(layer.in), 1, packed + layer.bias},
                        scratch,
                        n * L,
                        Q + row,
                        stride,
                        layer.out,
                        layer.in,
                        n},
                       [](int64_t, int64_t) {});
  }
}

// f(panel, from, to, inputs) as each_panel, with the inputs that lead there, of those asked for; of an embedding (99) a vector
// of units at a time, whose columns' inputs are fewer than a panel's.
template <class T, class F>
CHAINRULE_INLINE void each_part(const Layer& layer, Range vectors, Range inputs, const F& f) {
  constexpr int L = LANES<T>;
  if (!layer.starts)
    return each_panel(vectors,
                      [&](int64_t panel, int64_t from, int64_t to) INLINE_LAMBDA { f(panel, from, to, inputs); });
  for (int64_t v = vectors.begin; v < vectors.end; v++) {
    const int64_t first = v * L / layer.each, last = (least((v + 1) * L, layer.out) - 1) / layer.each;
    f(v / PANEL, v % PANEL, v % PANEL + 1, Range{layer.starts[first], layer.starts[last + 1]});
  }
}

template <class T>
void forward(const Layer& layer, const T* packed, const T* A, int64_t rows, Range lines, Activation act, T* scratch,
             T* Y, T* slope) {
  const Range mine = vectors_of<T>(lines, layer.out);
  if (mine.begin == mine.end) return;
  if (layer.narrow) {
    forward_narrow(layer, packed, A, rows, scratch, Y);
    return activate(act, layer.out, rows, padded<T>(rows), Y, slope);
  }
  const T* W = packed + layer.packed;
  const int64_t half = layer.first_half();
  auto multiply = [&](Range inputs, Range vectors) {
    // Without an input in the first half the bias goes with the very first, whose weight is 0.
    const Range first = inputs.begin < half ? Range{inputs.begin, least(inputs.end, half)} : Range{0, 1};
    product(A, W, packed + layer.bias, Y, rows, layer.in, first, vectors);
    if (inputs.end <= half) return;
    product<T>(A, W, nullptr, scratch, rows, layer.in, {inputs.begin < half ? half : inputs.begin, inputs.end},
               vectors);
    add_panels(rows, vectors, Y, scratch, Y);
  };
  if (!layer.starts) multiply({0, layer.in}, mine);
  else
    each_part<T>(layer, mine, {}, [&](int64_t panel, int64_t from, int64_t to, Range inputs) {
      multiply(inputs, {panel * PANEL + from, panel * PANEL + to});
    });
  activate_panels(act, rows, mine, Y, slope);
}
template <class T>
void forward_half(const Layer& layer, const T* packed, const T* A, int64_t rows, Range inputs, T* P) {
  const T* bias = inputs.begin ? nullptr : packed + layer.bias;
  product(A, packed + layer.packed, bias, P, rows, layer.in, inputs, {0, vectors<T>(layer.out)});
}
template <class T>
void join_halves(const Layer& layer, int64_t rows, const T* first, const T* second, Activation act, T* Y, T* slope) {
  const Range all = {0, vectors<T>(layer.out)};
  add_panels(rows, all, first, second, Y);
  activate_panels(act, rows, all, Y, slope);
}

// ---- (67): dropout ------------------------------------------------------------------------------------------------------

// 32 random bits for each number of x: two rounds of a mixer by Wellons (2018), each keyed with half of the key.
template <class T>
CHAINRULE_INLINE Words<T> random_words(uint64_t key, Words<T> x) {
  for (int round = 0; round < 2; round++, key >>= 32) {
    x = x + uint32_t(key);
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    x = x ^ (x >> 16);
  }
  return x;
}

template <class T>
void drop(const Mask& mask, T scale, int64_t units, int64_t first_row, int64_t rows, Range lines, T* Y, T* slope) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  Words<T> ascending;
  for (int i = 0; i < L; i++) ascending[i] = uint32_t(i);
  each_panel(vectors_of<T>(lines, units), [&](int64_t panel, int64_t from, int64_t to) INLINE_LAMBDA {
    for (int64_t row = 0; row < rows; row++)
      for (int64_t v = from; v < to; v++) {
        const int64_t unit = panel * W + v * L, at = panel * rows * W + row * W + v * L;
        Words<T> bits = random_words<T>(mask.key, ascending + uint32_t((first_row + row) * units + unit));
        Bits<T> stays = __builtin_convertvector(bits >= mask.lowest, Bits<T>);
        auto keep = [&](T* y) INLINE_LAMBDA { store<T>(y, (Vec<T>)(stays & (Bits<T>)(load(y) * splat(scale)))); };
        keep(Y + at);
        if (slope) keep(slope + at);
      }
  });
}

// ---- (100): adversarial training ------------------------------------------------------------------------------------------

template <class T>
void displace(int64_t n, T size, const T* S, T* A) {
  for (int64_t i = 0; i < n; i += LANES<T>) {
    const Vec<T> s = load(S + i);
    const Vec<T> up = (Vec<T>)((s > 0) & (Bits<T>)splat(size)), down = (Vec<T>)((s < 0) & (Bits<T>)splat(size));
    store<T>(A + i, load(A + i) + (up - down));
  }
}

// ---- the output layer's rows as columns ----------------------------------------------------------------------------------

// LANES rows of the panels Q (…, rows, width), from `row` on, as columns of LANES.
template <class T>
void to_columns(const Layer& layer, const T* Q, int64_t rows, int64_t row, T* columns) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  for (int64_t k = 0; k < layer.out; k += L) {
    Vec<T> v[L];
    turned(Q + k / W * rows * W, rows, row, k % W, v);
    EACH (j, L) store<T>(columns + (k + j) * L, v[j]);
  }
}
// And back, `count` rows, with zeros where a panel has no outputs.
template <class T>
void to_panels(const Layer& layer, const T* columns, int64_t rows, int64_t row, int64_t count, T* Q) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  for (int64_t k = 0; k < padded<T>(layer.out); k += L) {
    Vec<T> v[L];
    const T* from[L];
    for (int j = 0; j < L; j++) from[j] = k + j < layer.out ? columns + (k + j) * L : ZEROS<T>;
    load_turned(from, 0, v);
    T* to = Q + k / W * rows * W + row * W + k % W;
    for (int64_t i = 0; i < count; i++) store<T>(to + i * W, v[i]);
  }
}
// f(row, Q, stride) for each LANES rows of begin..end, whose outputs are the columns Q: in place where the layer is narrow,
// else turned to and fro.
template <class T, class F>
CHAINRULE_INLINE void each_block(const Layer& layer, int64_t rows, int64_t begin, int64_t end, T* scratch, T* Q,
                                 const F& f) {
  constexpr int L = LANES<T>;
  for (int64_t row = begin; row < end; row += L) {
    if (!layer.narrow) to_columns(layer, Q, rows, row, scratch);
    f(row, layer.narrow ? Q + row : scratch, layer.narrow ? padded<T>(rows) : int64_t(L));
    if (!layer.narrow) to_panels(layer, scratch, rows, row, least(L, end - row), Q);
  }
}

template <class T>
void loss(const Layer& layer, const Criterion<T>& criterion, int64_t rows, int64_t begin, int64_t end, const T* labels,
          const T* weight, T scale, T* scratch, T* Q, double* row_loss) {
  each_block(layer, rows, begin, end, scratch, Q, [&](int64_t row, T* columns, int64_t stride) INLINE_LAMBDA {
    loss_of_rows(layer.activation, criterion, layer.out, least(LANES<T>, end - row), columns, stride, labels + row,
                 padded<T>(rows), weight ? weight + row : nullptr, scale, row_loss + row);
  });
}

// ---- (36, 37): back through a layer ------------------------------------------------------------------------------------

// Wᵀ of the vectors first..last of one panel of inputs: to[o][lane] = W[o / w][panel * w + lane][o % w], with zeros past the
// last input.
template <class T>
void transposed(const Layer& layer, const T* weights, int64_t panel, int64_t first, int64_t last, T* to) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t count = least(W, layer.in - panel * W);
  for (int64_t o = 0; o < layer.out; o += L)
    for (int64_t i = first * L; i < last * L; i += L) {
      const T* from = weights + (o / W * layer.in + panel * W + i) * W + o % W;
      Vec<T> v[L];
      if (i + L <= count) {
        load_turned(from, W, v);
      } else {
        const T* rows[L];
        for (int j = 0; j < L; j++) rows[j] = i + j < count ? from + j * W : ZEROS<T>;
        load_turned(rows, 0, v);
      }
      EACH (j, L)
        if (o + j < layer.out) store<T>(to + (o + j) * W + i, v[j]);
    }
}

// D = ∂ε/∂y ⊙ σ′ of the vectors from..to of one panel; a narrow layer's N outputs need no tile: their weights stay in
// registers, ∂ε/∂y is made and used at once.
template <Activation F, int N, class T>
CHAINRULE_INLINE void backward_narrow(const Layer& layer, const T* weights, const T* dQ, int64_t rows, int64_t panel,
                                      int64_t from, int64_t to, const T* Y, const T* slope, T* D) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t gap = padded<T>(layer.in), stride = padded<T>(rows);
  for (int64_t lane = from * L; lane < to * L; lane += L) {
    const int64_t at = panel * rows * W + lane;
    Vec<T> w[N];
    EACH (o, N) w[o] = load(weights + o * gap + panel * W + lane);
    for (int64_t row = 0; row < rows; row++) {
      Vec<T> dY = {};
      EACH (o, N) dY = fma(splat(dQ[o * stride + row]), w[o], dY);
      store<T>(D + at + row * W, dY * slope_at<F, T>(Y, slope, at + row * W));
    }
  }
}

template <class T>
void backward(const Layer& layer, const T* packed, const T* dP, int64_t rows, Range lines, Activation below, const T* Y,
              const T* slope, T* scratch, T* D) {
  constexpr int W = WIDTH<T>;
  const T* weights = packed + layer.packed;
  each_panel(vectors_of<T>(lines, layer.in), [&](int64_t panel, int64_t from, int64_t to) {
    const int64_t at = panel * rows * W;
    if (!layer.narrow) {
      transposed(layer, weights, panel, from, to, scratch);
      product<T>(dP, scratch, nullptr, D + at, rows, layer.out, {0, layer.out}, {from, to});
    }
    with_activation(below, [&]<Activation F>() INLINE_LAMBDA {
      if (layer.narrow)
        with_count<WIDTH<T> / 4>(layer.out, [&]<int N>() INLINE_LAMBDA {
          backward_narrow<F, N>(layer, weights, dP, rows, panel, from, to, Y, slope, D);
        });
      else if (F != Activation::identity || slope)
        each_vector<T>(at, rows, from, to,
                       [&](int64_t i) INLINE_LAMBDA { store<T>(D + i, load(D + i) * slope_at<F, T>(Y, slope, i)); });
    });
  });
}

// ---- (34, 35, 40..46, 62..64): gradient and step -------------------------------------------------------------------------

// A layer of more bytes is not in the second-level cache when its step comes: what a tile will change is fetched beforehand.
constexpr int64_t FAR = 512 * 1024;

// Of an embedding (99), the sums g of one input and a vector of units: what is another column's becomes 0. Inputs ascend.
template <class T>
struct Separator {
  const int64_t* starts;
  Bits<T> columns;  // of the units
  int64_t column = 0;

  Separator(const Layer& layer, int64_t unit) : starts(layer.starts) {
    for (int i = 0; i < LANES<T> && starts; i++) columns[i] = (unit + i) / layer.each;
  }
  void separate(int64_t input, T* g) {
    while (input >= starts[column + 1]) column++;
    const Bits<T> own = columns == Bits<T>{} + decltype(columns[0] + 0)(column);
    store<T>(g, (Vec<T>)(own & (Bits<T>)load(g)));
  }
};

// M inputs x V vectors of outputs: Σ_row A[row][input] D[row][lane], then the step; A and D at the tile's first number.
// PLAIN, (41) without decay, is done in the registers; for the other rules the sums go through a small buffer. Of an
// embedding V is 1; the tile's first input is k.
template <int M, int V, bool PLAIN, class T>
CHAINRULE_INLINE void update_tile(const T* A, const T* D, int64_t rows, const Rule<T>& rule, const Parameters<T>& m,
                                  int64_t at, bool far, Separator<T>& separator, int64_t k) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  if (far) {
    const T* const parts[] = {m.theta, m.velocity, m.square};
    for (const T* part : parts)
      for (int64_t i = at; i < at + M * W && part; i += W)
        for (int64_t j = 0; j < V * L; j += LINE / int64_t(sizeof(T))) __builtin_prefetch(part + i + j, 1);
  }
  Vec<T> sum[M][V];
  sum_rows(A, W, 1, D, W, rows, sum);
  if constexpr (PLAIN) {
    const Vec<T> rate = splat(-rule.rate);
    T* const theta = m.theta + at;  // a store could change m, for all the compiler knows
    EACH (i, M)
      EACH (v, V) store<T>(theta + i * W + v * L, fma(rate, sum[i][v], load(theta + i * W + v * L)));
  } else {
    T g[M * V * L];
    EACH (i, M)
      EACH (v, V) store<T>(g + (i * V + v) * L, sum[i][v]);
    if (V == 1 && separator.starts)
      for (int i = 0; i < M; i++) separator.separate(k + i, g + i * L);
    steps(rule, true, m, at, M, V * L, W, g, V * L);
  }
}
template <int V, bool PLAIN, class T>
CHAINRULE_INLINE void update_panel(const Layer& layer, const T* A, const T* D, int64_t rows, const Rule<T>& rule,
                                   const Parameters<T>& m, int64_t at, Range inputs, bool fetches, const Ahead& ahead,
                                   Separator<T> separator) {
  constexpr int W = WIDTH<T>;
  const bool far = layer.weights() * int64_t(sizeof(T)) > FAR;
  for (int64_t k = inputs.begin, count; k < inputs.end; k += count) {
    count = least(W - k % W, inputs.end - k);
    if (fetches) fetch(*ahead.x, ahead.batch, k, count);  // here, a panel's columns at a time, it costs nothing
    cover<PANEL * ROWS / V>(count, [&]<int M>(int64_t i) INLINE_LAMBDA {
      const T* a = A + k / W * W * rows + k % W + i;
      update_tile<M, V, PLAIN>(a, D, rows, rule, m, at + (k + i) * W, far, separator, k + i);
    });
  }
}

// A narrow layer's weights of one output lie as the values do, inputs beside each other: M outputs x V vectors of inputs a
// tile, and with the first vectors the biases.
template <int M, int V, class T>
CHAINRULE_INLINE void narrow_tile(const T* A, const T* d, int64_t rows, int64_t stride, bool biases, T* g, T* bias) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  Vec<T> sum[M][V] = {};
  T of_bias[M] = {};
  for (int64_t row = 0; row < rows; row++) {
    Vec<T> a[V];
    EACH (v, V) a[v] = load(A + v / PANEL * rows * W + row * W + v % PANEL * L);
    EACH (m, M) {
      const T dq = d[m * stride + row];
      EACH (v, V) sum[m][v] = fma(a[v], splat(dq), sum[m][v]);
      if (biases) of_bias[m] += dq;
    }
  }
  EACH (m, M) {
    EACH (v, V) store<T>(g + (m * V + v) * L, sum[m][v]);
    if (biases) bias[m] = of_bias[m];
  }
}
template <class T>
void update_narrow(const Layer& layer, const Parameters<T>& m, const T* A, const T* dQ, int64_t rows,
                   const Rule<T>& rule) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t all = vectors<T>(layer.in), gap = padded<T>(layer.in), stride = padded<T>(rows);
  T g[8 * L], bias[W] = {};
  for (int64_t v = 0, n; v < all; v += n) {
    n = least(4, all - v);
    with_count<4>(n, [&]<int V>() INLINE_LAMBDA {
      cover<V == 1   ? 8
            : V == 2 ? 4
                     : 2>(layer.out, [&]<int M>(int64_t o) INLINE_LAMBDA {
        narrow_tile<M, V>(A + v / PANEL * rows * W, dQ + o * stride, rows, stride, v == 0, g, bias + o);
        for (int64_t i = 0; i < M; i++) {
          T* sums = g + i * V * L;
          for (int64_t j = layer.in - v * L; j < V * L; j++) sums[j] = 0;  // past the last input
          steps(rule, true, m, layer.packed + (o + i) * gap + v * L, 1, V * L, 0, sums, 0);
        }
      });
    });
  }
  steps(rule, false, m, layer.bias, 1, W, 0, bias, 0);
}

template <class T>
void update(const Layer& layer, const Parameters<T>& m, const T* A, const T* dP, int64_t rows, Range inputs,
            Range lines, const Rule<T>& rule, const Ahead& ahead) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const Range vectors = vectors_of<T>(lines, layer.out);
  if (vectors.begin == vectors.end) return;
  bool fetches = ahead.batch.rows > 0;
  if (layer.narrow) {
    if (fetches) fetch(*ahead.x, ahead.batch, 0, layer.in);
    return update_narrow(layer, m, A, dP, rows, rule);
  }
  const bool plain = rule.step == Step::descent && rule.decay == 0 && rule.shrink == 0 && !layer.starts;
  each_part<T>(layer, vectors, inputs, [&](int64_t panel, int64_t from, int64_t to, Range some) {
    const T* D = dP + panel * rows * W + from * L;
    const int64_t weights = layer.packed + panel * layer.in * W + from * L, n = (to - from) * L;
    const Separator<T> separator(layer, panel * W + from * L);
    if (to - from == 1)
      plain ? update_panel<1, true>(layer, A, D, rows, rule, m, weights, some, fetches, ahead, separator)
            : update_panel<1, false>(layer, A, D, rows, rule, m, weights, some, fetches, ahead, separator);
    else
      plain ? update_panel<2, true>(layer, A, D, rows, rule, m, weights, some, fetches, ahead, separator)
            : update_panel<2, false>(layer, A, D, rows, rule, m, weights, some, fetches, ahead, separator);
    fetches = fetches && layer.starts;  // once is enough
    if (inputs.begin > 0) return;
    T g[W];
    for (int64_t i = 0; i < n; i += L) {
      Vec<T> sum = {};
      for (int64_t row = 0; row < rows; row++) sum = sum + load(D + row * W + i);
      store<T>(g + i, sum);
    }
    steps(rule, false, m, layer.bias + panel * W + from * L, 1, n, 0, g, 0);
  });
}

// f(weights, at, rows, n): rows of n weights of some inputs, or the biases, that belong to some lines, each a panel's row further.
template <class T, class F>
CHAINRULE_INLINE void each_run(const Layer& layer, Range inputs, Range lines, const F& f) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const Range vectors = vectors_of<T>(lines, layer.out);
  if (vectors.begin == vectors.end) return;
  if (layer.narrow) {
    f(true, layer.packed, layer.out * panels<T>(layer.in), W);
    return f(false, layer.bias, 1, W);
  }
  each_part<T>(layer, vectors, inputs, [&](int64_t panel, int64_t from, int64_t to, Range some) INLINE_LAMBDA {
    f(true, layer.packed + (panel * layer.in + some.begin) * W + from * L, some.end - some.begin, (to - from) * L);
    if (inputs.begin == 0) f(false, layer.bias + panel * W + from * L, 1, (to - from) * L);
  });
}

template <class T>
void apply(const Layer& layer, const Parameters<T>& m, Range inputs, Range lines, const Rule<T>& rule) {
  constexpr int W = WIDTH<T>;
  each_run<T>(layer, inputs, lines, [&](bool weights, int64_t at, int64_t rows, int64_t n) {
    steps(rule, weights, m, at, rows, n, W, m.gradient + at, W);
    for (int64_t row = 0; row < rows; row++)
      for (int64_t i = 0; i < n; i++) m.gradient[at + row * W + i] = 0;
  });
}

// ---- (65, 66): lengths ---------------------------------------------------------------------------------------------------

// Σ w² over a unit's weights, inputs ascending, of LANES units: the weights begin at w, `gap` apart.
template <class T>
CHAINRULE_INLINE Vec<T> sum_of_squares(const T* w, int64_t inputs, int64_t gap) {
  Vec<T> sum = {};
  for (int64_t k = 0; k < inputs; k++) sum = fma(load(w + k * gap), load(w + k * gap), sum);
  return sum;
}
template <class T>
void squares(const Layer& layer, const T* gradient, Range lines, T* of_unit) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  if (layer.narrow) {
    for (int64_t o = 0; o < layer.out && lines.begin < lines.end; o++) {
      const T* g = gradient + layer.packed + o * padded<T>(layer.in);
      T sum = 0, bias = gradient[layer.bias + o];
      for (int64_t k = 0; k < layer.in; k++) sum = fma(g[k], g[k], sum);
      of_unit[o] = fma(bias, bias, sum);
    }
    return;
  }
  each_panel(vectors_of<T>(lines, layer.out), [&](int64_t panel, int64_t from, int64_t to) {
    for (int64_t lane = from * L; lane < to * L; lane += L) {
      Vec<T> sum = sum_of_squares(gradient + layer.packed + panel * layer.in * W + lane, layer.in, W);
      Vec<T> bias = load(gradient + layer.bias + panel * W + lane);
      store<T>(of_unit + panel * W + lane, fma(bias, bias, sum));
    }
  });
}
template <class T>
void limit(const Layer& layer, T* theta, Range lines, T most) {  // hidden layers only, which are not narrow
  constexpr int L = LANES<T>, W = WIDTH<T>;
  each_panel(vectors_of<T>(lines, layer.out), [&](int64_t panel, int64_t from, int64_t to) {
    for (int64_t lane = from * L; lane < to * L; lane += L) {
      T* w = theta + layer.packed + panel * layer.in * W + lane;
      Vec<T> length = square_root(sum_of_squares(w, layer.in, W));
      Vec<T> factor = length > splat(most) ? splat(most) / length : splat(T(1));
      for (int64_t k = 0; k < layer.in; k++) store<T>(w + k * W, load(w + k * W) * factor);
    }
  });
}

// ---- (98): signs ---------------------------------------------------------------------------------------------------------

template <class T>
void confine(const Layer& layer, T* theta, Range inputs, Range lines, const signed char* sign) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  if (layer.narrow) {
    for (int64_t o = 0; o < layer.out && lines.begin < lines.end; o++) {
      T* w = theta + layer.packed + o * padded<T>(layer.in);
      for (int64_t k = 0; k < layer.in; k++) {
        const int s = sign ? sign[k] : 1;
        if ((s > 0 && w[k] < 0) || (s < 0 && w[k] > 0)) w[k] = 0;
      }
    }
    return;
  }
  const Vec<T> zero = {};
  each_panel(vectors_of<T>(lines, layer.out), [&](int64_t panel, int64_t from, int64_t to) {
    for (int64_t k = inputs.begin; k < inputs.end; k++) {
      const int s = sign ? sign[k] : 1;
      if (s == 0) continue;
      for (int64_t lane = from * L; lane < to * L; lane += L) {
        T* w = theta + layer.packed + (panel * layer.in + k) * W + lane;
        const Vec<T> v = load(w);
        store<T>(w, s > 0 ? (v < zero ? zero : v) : (v > zero ? zero : v));
      }
    }
  });
}

}  // namespace
}  // namespace chainrule
