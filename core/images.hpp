// Images distorted on their way into a batch: what is drawn at random for each, and memory for it. The kernel does the rest.
#pragma once
#include <cmath>
#include <vector>

#include "pass.hpp"

namespace chainrule {

// (95) A Taylor series in one order, so that the bits are the same everywhere; |angle| <= π.
struct Rotation {
  double cosine = 0, sine = 0;
  explicit Rotation(double angle) {
    double term = 1;
    for (int k = 1; k <= 29; k++) {
      double& sum = k % 2 ? cosine : sine;
      sum += (k - 1) / 2 % 2 ? -term : term;
      term = term * angle / k;
    }
  }
};

template <class T>
class Distorter {
 public:
  Distorter(const Kernels<T>& kernels, const Images& images, uint64_t seed, Memory& memory)
      : kernels_(kernels), images_(images), seed_(seed) {
    const double apart = images.smoothness * std::sqrt(3.);
    auto knots = [&](int64_t n) { return images.elastic > 0 ? int64_t(double(n - 1) / apart) + 4 : 0; };
    warp_.height = images.height, warp_.width = images.width, warp_.channels = images.channels;
    warp_.knots_y = knots(images.height), warp_.knots_x = knots(images.width);
    warp_.gap = (images.width + kernels.width - 1) / kernels.width * kernels.width;
    T *x = memory.take<T>(warp_.gap), *splines_x = memory.take<T>(warp_.knots_x * warp_.gap),
      *splines_y = memory.take<T>(4 * images.height);
    for (int64_t j = 0; j < warp_.gap; j++) x[j] = T(double(j) - double(images.width - 1) / 2);
    for (int64_t j = 0; j < images.width && warp_.knots_x; j++) {
      const Spline spline(double(j) / apart);
      for (int k = 0; k < 4; k++) splines_x[(spline.first + k) * warp_.gap + j] = T(spline.share[k]);
    }
    int64_t* first = memory.take<int64_t>(images.height);
    for (int64_t i = 0; i < images.height && warp_.knots_y; i++) {
      const Spline spline(double(i) / apart);
      first[i] = spline.first;
      for (int k = 0; k < 4; k++) splines_y[i * 4 + k] = T(spline.share[k]);
    }
    warp_.x = x, warp_.splines_x = splines_x, warp_.splines_y = splines_y, warp_.first_y = first;
  }

  // Numbers that one thread needs for its work.
  int64_t scratch() const {
    const int64_t size = images_.height * images_.width * images_.channels + kernels_.width;
    return knots() + 2 * warp_.knots_y * warp_.gap + size;
  }

  // Row number `row` of x, as it enters in an epoch.
  void distort(const Rows& x, int64_t row, uint64_t epoch, T* scratch, T* out) const {
    const Stream random(Stream(seed_, AUGMENT + epoch).bits(uint64_t(row)));
    auto draw = [&, i = uint64_t(0)]() mutable { return double(random.bits(i++) >> 11) * 0x1p-52 - 1; };  // of [-1, 1)
    const Rotation turn(images_.rotation * draw());
    const double wider = 1 + images_.scale * draw(), higher = 1 + images_.scale * draw(), lean = images_.shear * draw();
    Warp<T> warp = warp_;
    warp.xx = T(wider * turn.cosine), warp.xy = T(higher * (lean * turn.cosine - turn.sine));
    warp.yx = T(wider * turn.sine), warp.yy = T(higher * (lean * turn.sine + turn.cosine));
    warp.shift_x = T(images_.shift * draw()), warp.shift_y = T(images_.shift * draw());
    for (int64_t k = 0; k < knots(); k++) scratch[k] = T(images_.elastic * draw());
    warp.knots = scratch;
    kernels_.distort(warp, x, row, scratch + knots(), out);
  }

 private:
  // The four cubic B-splines that are not 0 at s, and the number of the first.
  struct Spline {
    int64_t first;
    double share[4];
    explicit Spline(double s) : first(int64_t(s)) {
      const double f = s - double(first), g = 1 - f;
      share[0] = g * g * g / 6, share[1] = (f * f * (3 * f - 6) + 4) / 6;
      share[2] = (g * g * (3 * g - 6) + 4) / 6, share[3] = f * f * f / 6;
    }
  };
  int64_t knots() const { return 2 * warp_.knots_y * warp_.knots_x; }

  const Kernels<T>& kernels_;
  const Images images_;
  const uint64_t seed_;
  Warp<T> warp_;
};

}  // namespace chainrule
