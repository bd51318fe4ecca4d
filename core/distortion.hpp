// (95..97) An image, seen from places that moved: affinely, and by a smooth field of displacements. Part of kernels.cpp.
#pragma once
#include "gather.hpp"

namespace chainrule {
namespace {

template <class T, class S>
void copy_row(const Rows& x, int64_t row, T* to) {
  const S* from = static_cast<const S*>(x.at(row, 0));
  if (x.column_stride == 1)
    for (int64_t k = 0; k < x.columns; k++) to[k] = number<T, S>(from[k]);
  else
    for (int64_t k = 0; k < x.columns; k++) to[k] = number<T, S>(from[k * x.column_stride]);
}

template <class T>
void distort(const Warp<T>& w, const Rows& x, int64_t row, T* scratch, T* out) {
  constexpr int L = LANES<T>;
  typedef decltype(Bits<T>{}[0] + 0) Index;
  T *field = scratch, *image = field + 2 * w.knots_y * w.gap;
  switch (x.source) {
    case Source::float32: copy_row<T, float>(x, row, image); break;
    case Source::float64: copy_row<T, double>(x, row, image); break;
    case Source::uint8: copy_row<T, uint8_t>(x, row, image); break;
  }
  // (96) along x first: for each row of knots, both components.
  for (int64_t k = 0; k < 2 * w.knots_y; k++)
    for (int64_t j = 0; j < w.gap; j += L) {
      Vec<T> sum{};
      for (int64_t q = 0; q < w.knots_x; q++)
        sum = fma(splat(w.knots[k * w.knots_x + q]), load(w.splines_x + q * w.gap + j), sum);
      store<T>(field + k * w.gap + j, sum);
    }
  const T middle_x = T(w.width - 1) / 2, middle_y = T(w.height - 1) / 2;
  const T last_x = T(w.width - 2), last_y = T(w.height - 2);  // where the last square of pixels begins
  for (int64_t i = 0; i < w.height; i++) {
    const T y = T(i) - middle_y;
    const Vec<T> from_x = splat(fma(w.xy, y, middle_x + w.shift_x)), from_y = splat(fma(w.yy, y, middle_y + w.shift_y));
    for (int64_t j = 0; j < w.width; j += L) {
      Vec<T> at_x = fma(splat(w.xx), load(w.x + j), from_x), at_y = fma(splat(w.yx), load(w.x + j), from_y);
      if (w.knots_y) {
        const T* fields = field + w.first_y[i] * w.gap + j;
        EACH (k, 4) {
          const Vec<T> share = splat(w.splines_y[i * 4 + k]);
          at_x = fma(share, load(fields + k * w.gap), at_x);
          at_y = fma(share, load(fields + (w.knots_y + k) * w.gap), at_y);
        }
      }
      // (97) beyond the edge is what is at the edge
      at_x = at_most(at_least(at_x, T(0)), T(w.width - 1));
      at_y = at_most(at_least(at_y, T(0)), T(w.height - 1));
      const Bits<T> left = __builtin_convertvector(at_most(at_x, last_x), Bits<T>),
                    top = __builtin_convertvector(at_most(at_y, last_y), Bits<T>);
      const Vec<T> right = at_x - __builtin_convertvector(left, Vec<T>),
                   down = at_y - __builtin_convertvector(top, Vec<T>);
      const Bits<T> place = (top * Index(w.width) + left) * Index(w.channels);
      const int64_t count = least(L, w.width - j);
      for (int64_t c = 0; c < w.channels; c++) {
        const T *pixels = image + c, *below = pixels + w.width * w.channels;
        Vec<T> a, b, d, e;
        EACH (l, L) {
          const int64_t p = place[l];
          a[l] = pixels[p], b[l] = pixels[p + w.channels], d[l] = below[p], e[l] = below[p + w.channels];
        }
        const Vec<T> upper = fma(right, b - a, a), lower = fma(right, e - d, d);
        const Vec<T> value = fma(down, lower - upper, upper);
        T* to = out + (i * w.width + j) * w.channels + c;
        if (w.channels == 1 && count == L) store<T>(to, value);
        else
          for (int64_t l = 0; l < count; l++) to[l * w.channels] = value[l];
      }
    }
  }
}

}  // namespace
}  // namespace chainrule
