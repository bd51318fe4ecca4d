// Forward pass, back-propagation and update on panels: compiled once per instruction set, each object exporting one table.
//
// What makes it fast, each point measured (docs/design.md):
// 1. Weights stay in panels W[panel][in][width] for the whole run, width = two vectors. A forward tile of ROWS samples x
//    one panel keeps all its sums in registers: per input one load of two weight vectors and ROWS broadcasts.
// 2. The values of a batch lie in panels too, A[panel][row][width]. Every inner loop reads its two operands as two
//    contiguous streams, whatever the shape of the network.
// 3. The gradient of a weight is never stored: the tile that sums it over the batch makes the optimizer's step at once.
//
// Why the result does not depend on the machine: a vector's lanes hold different outputs, so each number is one sum in one
// order (inputs ascending in (31), outputs ascending in (36), rows ascending in (35)), with one rounding per multiply-add,
// whatever the width, the tile or the number of threads.
//
// Only the table leaves this file; no STL, nothing inline with external linkage (why: simd.hpp).
#include "kernels.hpp"

#include "functions.hpp"

namespace chainrule {
namespace {

// Rows of a tile: 16 registers hold 6 rows x 2 sums, 2 weights and 1 broadcast. With 32 there is room to spare: two units
// with a latency of four need 8 sums under way, 8 x 2 are plenty.
constexpr int ROWS = CHAINRULE_ROWS;
// Inputs of one forward block: its weights (16 KiB of one panel) stay in the first-level cache for all rows of the batch.
constexpr int64_t BLOCK = 256;

// The vectors of a row of n numbers that lie in a range of lines.
template <class T>
CHAINRULE_INLINE Range vectors_of(Range lines, int64_t n) {
  constexpr int each = LINE / CHAINRULE_VECTOR_BYTES;
  const int64_t vectors = (n + LANES<T> - 1) / LANES<T>;
  return {least(lines.begin * each, vectors), least(lines.end * each, vectors)};
}
template <class T>
CHAINRULE_INLINE int64_t padded(int64_t n) {  // to whole panels
  return (n + WIDTH<T> - 1) / WIDTH<T> * WIDTH<T>;
}

// ---- run-time numbers as compile-time ones ---------------------------------------------------------------------------

template <int M, class F>
CHAINRULE_INLINE void with_count(int64_t m, const F& f) {
  if (m == M) f.template operator()<M>();
  else if constexpr (M > 1) with_count<M - 1>(m, f);
}
// f<M>(first) for runs of M <= MOST that cover 0..n as evenly as they can: a last tile of one row would leave the
// arithmetic units waiting for its few sums.
template <int MOST, class F>
CHAINRULE_INLINE void cover(int64_t n, const F& f) {
  for (int64_t first = 0, tiles = (n + MOST - 1) / MOST; tiles > 0; tiles--) {
    int64_t m = (n - first + tiles - 1) / tiles;
    with_count<MOST>(m, [&]<int M>() INLINE_LAMBDA { f.template operator()<M>(first); });
    first += m;
  }
}

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
  for (int64_t k = c.begin; k < c.end; k += W) {
    const T* a = c.A + (k * c.rows + row * W);
    int64_t count = least(W, c.end - k);
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
CHAINRULE_INLINE void product_blocks(Product<T> c) {
  for (c.begin = 0; c.begin < c.depth; c.begin += BLOCK) {
    c.end = least(c.begin + BLOCK, c.depth);
    cover<MOST>(c.rows, [&]<int M>(int64_t row) INLINE_LAMBDA { product_tile<M, V>(c, row); });
    c.bias = nullptr;
  }
}
// The vectors first..last of the outputs; W, bias and P at the first panel.
template <class T>
void product(const T* A, const T* W, const T* bias, T* P, int64_t rows, int64_t depth, int64_t first, int64_t last) {
  constexpr int L = LANES<T>;
  for (int64_t v = first, n; v < last; v += n) {
    const int64_t panel = v / PANEL * WIDTH<T>, lane = v % PANEL * L, left = last - v;
    Product<T> c{A, W + panel * depth + lane, bias + v * L, P + panel * rows + lane, rows, depth, 0, 0};
    if (lane || left == 1) product_blocks<2 * ROWS, 1>(c), n = 1;
    else if (rows == 1 &&
             left >= 8)  // few rows: several panels at once, else there are too few sums to hide fma's latency
      product_blocks<1, 8>(c), n = 8;
    else if (rows <= 3 && left >= 4) product_blocks<3, 4>(c), n = 4;
    else product_blocks<ROWS, 2>(c), n = 2;
  }
}

// f(at) for each vector of `rows` rows of the panels, of those first..last of a row.
template <class T, class F>
CHAINRULE_INLINE void each_vector(int64_t rows, int64_t first, int64_t last, const F& f) {
  for (int64_t v = first, n; v < last; v += n) {
    n = least(last - v, PANEL - v % PANEL);
    const int64_t at = (v / PANEL * rows * PANEL + v % PANEL) * LANES<T>;
    if (n == PANEL)
      for (int64_t i = at; i < at + rows * WIDTH<T>; i += LANES<T>) f(i);
    else
      for (int64_t row = 0; row < rows; row++) f(at + row * WIDTH<T>);
  }
}

// σ in place on the vectors first..last of each row, and σ′ where it has to be kept.
template <class T>
void activate(Activation act, int64_t rows, int64_t first, int64_t last, T* y, T* slope) {
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA {
    if constexpr (F != Activation::identity)
      each_vector<T>(rows, first, last, [&](int64_t i) INLINE_LAMBDA {
        Value<T> v = activation<F, T>(load(y + i));
        store<T>(y + i, v.y);
        if constexpr (has_slope(F)) store<T>(slope + i, v.slope);
      });
  });
}

// LANES rows from `row` on of a panel (rows, width), its lanes from `lane` on: as vectors of LANES rows, a lane each. Rows
// past the last are the last again.
template <class T>
CHAINRULE_INLINE void turned(const T* panel, int64_t rows, int64_t row, int64_t lane, Vec<T> (&v)[LANES<T>]) {
  EACH (i, LANES<T>) v[i] = load(panel + least(row + i, rows - 1) * WIDTH<T> + lane);
  transpose<T>(v);
}

// A narrow layer: V vectors of rows x M outputs. The rows were turned into At (in, V * LANES).
template <int V, int M, class T>
CHAINRULE_INLINE void narrow_tile(const T* At, const T* weights, const T* bias, int64_t in, int64_t gap, T* Q,
                                  int64_t stride) {
  Vec<T> sum[M][V];
  EACH (m, M)
    EACH (v, V) sum[m][v] = splat(bias[m]);
  for (int64_t k = 0; k < in; k++, At += V * LANES<T>)
    EACH (m, M) {
      Vec<T> w = splat(weights[m * gap + k]);
      EACH (v, V) sum[m][v] = fma(load(At + v * LANES<T>), w, sum[m][v]);
    }
  EACH (m, M)
    EACH (v, V) store<T>(Q + m * stride + v * LANES<T>, sum[m][v]);
}
template <class T>
void forward_narrow(const Layer& layer, const T* weights, const T* A, int64_t rows, T* scratch, T* Q) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t gap = padded<T>(layer.in), stride = padded<T>(rows);
  const T* bias = weights + layer.out * gap;
  for (int64_t row = 0; row < rows; row += 4 * L) {
    const int64_t vectors = least(4, (rows - row + L - 1) / L);
    for (int64_t k = 0; k < layer.in; k += L)
      for (int64_t v = 0; v < vectors; v++) {
        Vec<T> turn[L];
        turned(A + k / W * rows * W, rows, row + v * L, k % W, turn);
        EACH (j, L) store<T>(scratch + ((k + j) * vectors + v) * L, turn[j]);
      }
    with_count<4>(vectors, [&]<int V>() INLINE_LAMBDA {
      for (int64_t o = 0, m; o < layer.out; o += m) {
        m = least(2, layer.out - o);
        with_count<2>(m, [&]<int M>() INLINE_LAMBDA {
          narrow_tile<V, M>(scratch, weights + o * gap, bias + o, layer.in, gap, Q + o * stride + row, stride);
        });
      }
    });
  }
}

template <class T>
void forward(const Layer& layer, const T* packed, const T* A, int64_t rows, Range lines, Activation act, T* scratch,
             T* Y, T* slope) {
  const auto [first, last] = vectors_of<T>(lines, layer.out);
  if (first == last) return;
  const T* weights = packed + layer.packed;
  if (layer.narrow) {
    forward_narrow(layer, weights, A, rows, scratch, Y);
    activate(act, 1, 0, layer.out * padded<T>(rows) / LANES<T>, Y, slope);
    return;
  }
  product(A, weights, weights + layer.panels * layer.in * WIDTH<T>, Y, rows, layer.in, first, last);
  activate(act, rows, first, last, Y, slope);
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
  for (int64_t k = 0; k < layer.panels * W; k += L) {
    Vec<T> v[L];
    EACH (j, L) v[j] = k + j < layer.out ? load(columns + (k + j) * L) : Vec<T>{};
    transpose<T>(v);
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
void softmax(const Layer& layer, int64_t rows, T* scratch, T* Q) {
  each_block(layer, rows, 0, rows, scratch, Q, [&](int64_t, T* columns, int64_t stride) INLINE_LAMBDA {
    softmax(Block<T>{columns, stride, nullptr, 0, layer.out, {}});
  });
}

template <class T>
void loss(const Layer& layer, Loss kind, int64_t rows, int64_t begin, int64_t end, const T* labels, const T* weight,
          T scale, T* scratch, T* Q, double* row_loss) {
  constexpr int L = LANES<T>;
  const int64_t label_stride = padded<T>(rows);
  each_block(layer, rows, begin, end, scratch, Q, [&](int64_t row, T* columns, int64_t stride) INLINE_LAMBDA {
    const int64_t count = least(L, end - row);
    T each[L] = {};
    for (int64_t i = 0; i < L; i++) each[i] = !weight ? T(1) : i < count ? weight[row + i] : T(0);
    Block<T> block{columns, stride, labels + row, label_stride, layer.out, load(each) * splat(scale)};
    Vec<T> e = loss_of(layer.activation, kind, block);
    for (int64_t i = 0; i < count; i++) row_loss[row + i] = double(each[i]) * double(e[i]);
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
      EACH (j, L) v[j] = i + j < count ? load(from + j * W) : Vec<T>{};
      transpose<T>(v);
      EACH (j, L)
        if (o + j < layer.out) store<T>(to + (o + j) * W + i, v[j]);
    }
}

// D = ∂ε/∂y ⊙ σ′ of the vectors first..last of one panel; a narrow layer's few outputs need no tile: ∂ε/∂y is made and used
// at once.
template <Activation F, class T>
CHAINRULE_INLINE void backward_narrow(const Layer& layer, const T* weights, const T* dQ, int64_t rows, int64_t panel,
                                      int64_t first, int64_t last, const T* Y, const T* slope, T* D) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const int64_t gap = padded<T>(layer.in), stride = padded<T>(rows), at = panel * rows * W;
  const T* w = weights + panel * W;
  for (int64_t lane = first * L; lane < last * L; lane += L)
    for (int64_t row = 0; row < rows; row++) {
      Vec<T> dY = {};
      for (int64_t o = 0; o < layer.out; o++) dY = fma(splat(dQ[o * stride + row]), load(w + o * gap + lane), dY);
      const int64_t i = at + row * W + lane;
      store<T>(D + i, dY * slope_at<F, T>(Y, slope, i));
    }
}

template <class T>
void backward(const Layer& layer, const T* packed, const T* dP, int64_t rows, Range lines, Activation below, const T* Y,
              const T* slope, T* scratch, T* D) {
  constexpr int W = WIDTH<T>;
  static const T zeros[W] = {};
  const T* weights = packed + layer.packed;
  const auto [first, last] = vectors_of<T>(lines, layer.in);
  for (int64_t v = first, n; v < last; v += n) {
    n = least(last - v, PANEL - v % PANEL);
    const int64_t panel = v / PANEL, from = v % PANEL, to = from + n;
    if (!layer.narrow) {
      transposed(layer, weights, panel, from, to, scratch);
      product(dP, scratch, zeros, D + panel * rows * W, rows, layer.out, from, to);
    }
    with_activation(below, [&]<Activation F>() INLINE_LAMBDA {
      if (layer.narrow) backward_narrow<F>(layer, weights, dP, rows, panel, from, to, Y, slope, D);
      else if constexpr (F != Activation::identity)
        each_vector<T>(rows, v, v + n,
                       [&](int64_t i) INLINE_LAMBDA { store<T>(D + i, load(D + i) * slope_at<F, T>(Y, slope, i)); });
    });
  }
}

// ---- (34, 35, 40..46): gradient and step --------------------------------------------------------------------------------

// The rule's step on `rows` runs of n parameters, the first at `at` and the others a panel's row further each; their
// gradients are the rows of g, (rows, n).
template <Step S, class T>
CHAINRULE_INLINE void steps(const Rule<T>& r, T decay, const Parameters<T>& m, int64_t first, const T* g, int64_t rows,
                            int64_t n) {
  for (int64_t row = 0; row < rows; row++, first += WIDTH<T>)
    for (int64_t at = first; at < first + n; at += LANES<T>, g += LANES<T>) {
      Vec<T> theta = load(m.theta + at), rate = splat(r.rate);
      Vec<T> gradient = fma(splat(decay), theta, load(g));  // (40)
      if constexpr (S == Step::descent) {                   // (41)
        theta = fma(-rate, gradient, theta);
      } else if constexpr (S == Step::adam) {  // (44, 45, 46)
        Vec<T> mean = fma(splat(r.beta1), load(m.velocity + at), splat(r.rest1) * gradient);
        Vec<T> square = fma(splat(r.beta2), load(m.square + at), splat(r.rest2) * (gradient * gradient));
        store<T>(m.velocity + at, mean);
        store<T>(m.square + at, square);
        Vec<T> root = square_root(square * splat(r.unbias2)) + splat(r.epsilon);
        theta = theta - rate * (mean * splat(r.unbias1)) / root;
      } else {  // (42, 43)
        Vec<T> push = -(rate * gradient), velocity = fma(splat(r.momentum), load(m.velocity + at), push);
        store<T>(m.velocity + at, velocity);
        theta = theta + (S == Step::momentum ? velocity : fma(splat(r.momentum), velocity, push));
      }
      store<T>(m.theta + at, theta);
    }
}
template <class T>
void step(const Rule<T>& rule, T decay, const Parameters<T>& m, int64_t at, const T* g, int64_t rows, int64_t n) {
  switch (rule.step) {
    case Step::gradient:
      for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < n; i++) m.gradient[at + row * WIDTH<T> + i] = *g++;
      return;
    case Step::descent: return steps<Step::descent>(rule, decay, m, at, g, rows, n);
    case Step::momentum: return steps<Step::momentum>(rule, decay, m, at, g, rows, n);
    case Step::nesterov: return steps<Step::nesterov>(rule, decay, m, at, g, rows, n);
    case Step::adam: return steps<Step::adam>(rule, decay, m, at, g, rows, n);
  }
}

// M inputs x V vectors of outputs: Σ_row A[row][input] D[row][lane], then the step; A and D at the tile's first number.
// PLAIN, (41) without decay, is done in the registers; for the other rules the sums go through a small buffer.
template <int M, int V, bool PLAIN, class T>
CHAINRULE_INLINE void update_tile(const T* A, const T* D, int64_t rows, const Rule<T>& rule, const Parameters<T>& m,
                                  int64_t at) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  Vec<T> sum[M][V];
  const bool resume = !PLAIN && rule.step == Step::gradient;
  EACH (i, M)
    EACH (v, V) sum[i][v] = resume ? load(m.gradient + at + i * W + v * L) : Vec<T>{};
#pragma GCC unroll 2
  for (int64_t row = 0; row < rows; row++) {
    Vec<T> d[V];
    EACH (v, V) d[v] = load(D + row * W + v * L);
    EACH (i, M) {
      Vec<T> x = splat(A[row * W + i]);
      EACH (v, V) sum[i][v] = fma(x, d[v], sum[i][v]);
    }
  }
  if constexpr (PLAIN) {
    Vec<T> rate = splat(-rule.rate);
    EACH (i, M)
      EACH (v, V) {
        T* theta = m.theta + at + i * W + v * L;
        store<T>(theta, fma(rate, sum[i][v], load(theta)));
      }
  } else {
    T g[M * V * L];
    EACH (i, M)
      EACH (v, V) store<T>(g + (i * V + v) * L, sum[i][v]);
    step(rule, rule.decay, m, at, g, M, V * L);
  }
}
// Rows lie anywhere in memory and each is read once an epoch: fetched here, a panel's columns at a time, they cost nothing.
template <class T>
CHAINRULE_INLINE void fetch(const Ahead& ahead, int64_t column) {
  const int64_t size = ahead.x->source == Source::float64 ? 8 : ahead.x->source == Source::float32 ? 4 : 1;
  const char* data = static_cast<const char*>(ahead.x->data) + column * ahead.x->column_stride * size;
  for (int64_t row = 0; row < ahead.rows; row++)
    for (int64_t line = 0; line < WIDTH<T> * size; line += LINE)
      __builtin_prefetch(data + ahead.index[row] * ahead.x->row_stride * size + line);
}

template <int V, bool PLAIN, class T>
CHAINRULE_INLINE void update_panel(const Layer& layer, const T* A, const T* D, int64_t rows, const Rule<T>& rule,
                                   const Parameters<T>& m, int64_t at, const Ahead& ahead) {
  constexpr int W = WIDTH<T>;
  for (int64_t k = 0; k < layer.in; k += W) {
    if (ahead.index) fetch<T>(ahead, k);
    cover<PANEL * ROWS / V>(least(W, layer.in - k), [&]<int M>(int64_t i) INLINE_LAMBDA {
      update_tile<M, V, PLAIN>(A + k * rows + i, D, rows, rule, m, at + (k + i) * W);
    });
  }
}

// A narrow layer's weights of one output lie as the values do, inputs beside each other: V vectors of them a tile.
template <int V, class T>
CHAINRULE_INLINE void narrow_update(const T* A, const T* d, int64_t rows, int64_t lanes, const Rule<T>& rule,
                                    const Parameters<T>& m, int64_t at) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  T g[V * L];
  Vec<T> sum[V];
  EACH (v, V) sum[v] = rule.step == Step::gradient ? load(m.gradient + at + v * L) : Vec<T>{};
  for (int64_t row = 0; row < rows; row++)
    EACH (v, V) sum[v] = fma(load(A + v / PANEL * rows * W + row * W + v % PANEL * L), splat(d[row]), sum[v]);
  EACH (v, V) store<T>(g + v * L, sum[v]);
  for (int64_t j = lanes; j < V * L; j++) g[j] = 0;  // past the last input
  step(rule, rule.decay, m, at, g, 1, V * L);
}
template <class T>
void update_narrow(const Layer& layer, const Parameters<T>& m, const T* A, const T* dQ, int64_t rows,
                   const Rule<T>& rule) {
  constexpr int W = WIDTH<T>;
  const int64_t panels = (layer.in + W - 1) / W, stride = padded<T>(rows);
  T g[W] = {};
  for (int64_t o = 0; o < layer.out; o++) {
    const T* d = dQ + o * stride;
    for (int64_t p = 0, n; p < panels; p += n) {
      n = least(4, panels - p);
      with_count<4>(n, [&]<int N>() INLINE_LAMBDA {
        narrow_update<N * PANEL>(A + p * rows * W, d, rows, layer.in - p * W, rule, m,
                                 layer.packed + (o * panels + p) * W);
      });
    }
    g[o] = rule.step == Step::gradient ? m.gradient[layer.packed + layer.out * panels * W + o] : T(0);
    for (int64_t row = 0; row < rows; row++) g[o] += d[row];
  }
  step(rule, T(0), m, layer.packed + layer.out * panels * W, g, 1, W);
}

template <class T>
void update(const Layer& layer, const Parameters<T>& m, const T* A, const T* dP, int64_t rows, Range lines,
            const Rule<T>& rule, const Ahead& rows_ahead) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const auto [first, last] = vectors_of<T>(lines, layer.out);
  if (first == last) return;
  if (layer.narrow) {
    if (rows_ahead.index)
      for (int64_t k = 0; k < layer.in; k += W) fetch<T>(rows_ahead, k);
    return update_narrow(layer, m, A, dP, rows, rule);
  }
  Ahead ahead = rows_ahead;
  const bool plain = rule.step == Step::descent && rule.decay == 0;
  for (int64_t v = first, n; v < last; v += n) {
    n = least(last - v, PANEL - v % PANEL);
    const int64_t panel = v / PANEL, lane = v % PANEL * L;
    const T* D = dP + panel * rows * W + lane;
    const int64_t weights = layer.packed + panel * layer.in * W + lane,
                  bias = layer.packed + layer.panels * layer.in * W + v * L;
    if (n == 1)
      plain ? update_panel<1, true>(layer, A, D, rows, rule, m, weights, ahead)
            : update_panel<1, false>(layer, A, D, rows, rule, m, weights, ahead);
    else
      plain ? update_panel<2, true>(layer, A, D, rows, rule, m, weights, ahead)
            : update_panel<2, false>(layer, A, D, rows, rule, m, weights, ahead);
    ahead.index = nullptr;  // once is enough
    T g[W];
    for (int i = 0; i < n * L; i += L) {
      Vec<T> sum = rule.step == Step::gradient ? load(m.gradient + bias + i) : Vec<T>{};
      for (int64_t row = 0; row < rows; row++) sum = sum + load(D + row * W + i);
      store<T>(g + i, sum);
    }
    step(rule, T(0), m, bias, g, 1, n * L);
  }
}

template <class T>
void apply(const Layer& layer, const Parameters<T>& m, Range lines, const Rule<T>& rule) {
  constexpr int L = LANES<T>, W = WIDTH<T>;
  const auto [first, last] = vectors_of<T>(lines, layer.out);
  if (first == last) return;
  auto run = [&](T decay, int64_t at, int64_t rows, int64_t n) {  // rows of n numbers, each a panel's row further
    for (int64_t row = 0; row < rows; row++, at += W) {
      step(rule, decay, m, at, m.gradient + at, 1, n);
      for (int64_t i = at; i < at + n; i++) m.gradient[i] = 0;
    }
  };
  if (layer.narrow) {
    const int64_t weights = layer.out * padded<T>(layer.in);
    run(rule.decay, layer.packed, weights / W, W);
    run(T(0), layer.packed + weights, 1, W);
    return;
  }
  for (int64_t v = first, n; v < last; v += n) {
    n = least(last - v, PANEL - v % PANEL);
    run(rule.decay, layer.packed + v / PANEL * layer.in * W + v % PANEL * L, layer.in, n * L);
    run(T(0), layer.packed + layer.panels * layer.in * W + v * L, 1, n * L);
  }
}

// ---- in and out --------------------------------------------------------------------------------------------------------

// A number of the input as T. A grey level g of a uint8 image is g / 255, correctly rounded: a product with 1/255 and one
// correction (Markstein 1990), far cheaper than a division.
template <class T, class S>
CHAINRULE_INLINE T number(S x) {
  T g = T(x);
  if constexpr (sizeof(S) > 1) return g;
  else if constexpr (sizeof(T) == 4) {
    T q = g * (1 / 255.f);
    return __builtin_fmaf(__builtin_fmaf(-q, 255.f, g), 1 / 255.f, q);
  } else {
    T q = g * (1 / 255.);
    return __builtin_fma(__builtin_fma(-q, 255., g), 1 / 255., q);
  }
}

// W contiguous numbers; rows lie anywhere in memory, so the fewer instructions, the more cache misses are under way at once.
template <class T, class S>
CHAINRULE_INLINE void panel_of(const S* from, T* to) {
  if constexpr (sizeof(T) == sizeof(S)) {
    EACH (v, PANEL) store<T>(to + v * LANES<T>, load<T>(from + v * LANES<T>));
  } else {
    T panel[WIDTH<T>];
    for (int j = 0; j < WIDTH<T>; j++) panel[j] = number<T, S>(from[j]);
    EACH (v, PANEL) store<T>(to + v * LANES<T>, load<T>(panel + v * LANES<T>));
  }
}

template <class T, class S>
void gather_from(const Rows& x, const int64_t* index, int64_t first_row, int64_t rows, int64_t begin, int64_t end,
                 T* A) {
  constexpr int W = WIDTH<T>;
  for (int64_t row = begin; row < end; row++) {
    const S* from = static_cast<const S*>(x.data) + (index ? index[row] : first_row + row) * x.row_stride;
    for (int64_t k = 0; k < x.columns; k += W) {
      T* to = A + k * rows + row * W;
      int64_t count = least(W, x.columns - k);
      if (count == W && x.column_stride == 1) {
        panel_of<T>(from + k, to);
        continue;
      }
      int64_t j = 0;
      EACH (v, PANEL) store<T>(to + v * LANES<T>, Vec<T>{});
      if constexpr (sizeof(T) == sizeof(S))
        if (x.column_stride == 1)
          for (; j + LANES<T> <= count; j += LANES<T>) store<T>(to + j, load<T>(from + k + j));
      for (; j < count; j++) to[j] = number<T, S>(from[(k + j) * x.column_stride]);
    }
  }
}
template <class T, class S>
void gather_columns_from(const Rows& x, const int64_t* index, int64_t first_row, int64_t rows, int64_t begin,
                         int64_t end, T* C) {
  const int64_t stride = padded<T>(rows);
  for (int64_t row = begin; row < end; row++) {
    const S* from = static_cast<const S*>(x.data) + (index ? index[row] : first_row + row) * x.row_stride;
    for (int64_t k = 0; k < x.columns; k++) C[k * stride + row] = number<T, S>(from[k * x.column_stride]);
  }
}
template <class T>
void gather_columns(const Rows& x, const int64_t* index, int64_t first_row, int64_t rows, int64_t begin, int64_t end,
                    T* C) {
  switch (x.source) {
    case Source::float32: return gather_columns_from<T, float>(x, index, first_row, rows, begin, end, C);
    case Source::float64: return gather_columns_from<T, double>(x, index, first_row, rows, begin, end, C);
    case Source::uint8: return gather_columns_from<T, uint8_t>(x, index, first_row, rows, begin, end, C);
  }
}
template <class T>
void gather(const Rows& x, const int64_t* index, int64_t first_row, int64_t rows, int64_t begin, int64_t end, T* A) {
  switch (x.source) {
    case Source::float32: return gather_from<T, float>(x, index, first_row, rows, begin, end, A);
    case Source::float64: return gather_from<T, double>(x, index, first_row, rows, begin, end, A);
    case Source::uint8: return gather_from<T, uint8_t>(x, index, first_row, rows, begin, end, A);
  }
}

// f(flat, packed, n): n numbers of the weights and of the bias that lie `gap` apart in the packed vector.
template <class T, class F>
CHAINRULE_INLINE void each_row(const Layer& layer, const F& f) {
  constexpr int W = WIDTH<T>;
  const int64_t row_size = padded<T>(layer.in), bias = layer.flat + layer.out * layer.in;
  for (int64_t o = 0; o < layer.out; o++) {
    const int64_t row = layer.flat + o * layer.in;
    if (layer.narrow) {
      f(row, layer.packed + o * row_size, layer.in, 1);
      f(bias + o, layer.packed + layer.out * row_size + o, 1, 1);
    } else {
      f(row, layer.packed + o / W * layer.in * W + o % W, layer.in, W);
      f(bias + o, layer.packed + layer.panels * layer.in * W + o, 1, 1);
    }
  }
}
template <class T>
void pack(const Layer& layer, const T* flat, T* packed) {
  each_row<T>(layer, [&](int64_t from, int64_t to, int64_t n, int64_t gap) INLINE_LAMBDA {
    for (int64_t i = 0; i < n; i++) packed[to + i * gap] = flat[from + i];
  });
}
template <class T>
void unpack(const Layer& layer, const T* packed, T* flat) {
  each_row<T>(layer, [&](int64_t to, int64_t from, int64_t n, int64_t gap) INLINE_LAMBDA {
    for (int64_t i = 0; i < n; i++) flat[to + i] = packed[from + i * gap];
  });
}

template <class T>
void evaluate(Activation act, int64_t n, const T* x, T* y, T* slope) {
  constexpr int L = LANES<T>;
  with_activation(act, [&]<Activation F>() INLINE_LAMBDA {
    for (int64_t i = 0; i < n; i += L) {
      T lanes[L] = {};
      int64_t count = least(L, n - i);
      for (int64_t j = 0; j < count; j++) lanes[j] = x[i + j];
      Value<T> v = activation<F, T>(load(lanes));
      for (int64_t j = 0; j < count; j++) y[i + j] = v.y[j], slope[i + j] = v.slope[j];
    }
  });
}

template <class T>
constexpr Kernels<T> TABLE = {WIDTH<T>,   gather<T>, gather_columns<T>, pack<T>,   unpack<T>, forward<T>,
                              softmax<T>, loss<T>,   backward<T>,       update<T>, apply<T>,  evaluate<T>};

}  // namespace

extern const InstructionSet CHAINRULE_TABLE;
const InstructionSet CHAINRULE_TABLE = {CHAINRULE_NAME, TABLE<float>, TABLE<double>};

}  // namespace chainrule
