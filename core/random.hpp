// The counter-based generator that generator.py shares, number for number: random bits are a function of a seed, a stream
// and a counter, so any of them can be had at once, in any order, on any machine. It is not for cryptography.
//
// bits(seed, stream, i) is the i-th number of SplitMix64 (Steele, Lea, Flood 2014) started from a key of seed and stream.
#pragma once
#include <cstdint>

namespace chainrule {

constexpr uint64_t GOLDEN = 0x9e3779b97f4a7c15;

inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

struct Stream {
  uint64_t key;
  explicit Stream(uint64_t key) : key(key) {}
  Stream(uint64_t seed, uint64_t stream) : key(mix(mix(seed + GOLDEN) + (stream + 1) * GOLDEN)) {}
  uint64_t bits(uint64_t i) const { return mix(key + (i + 1) * GOLDEN); }
};

// The streams of shuffling begin here, one an epoch; those below are for initial values, one a layer.
constexpr uint64_t SHUFFLE = uint64_t(1) << 32;
// Those of dropout, and of what images are distorted by, one an epoch.
constexpr uint64_t DROPOUT = uint64_t(1) << 33, AUGMENT = uint64_t(1) << 34;

// The order of the rows in one epoch (Fisher, Yates): place i takes what stands at a random place j <= i.
inline void permutation(uint64_t seed, uint64_t epoch, int64_t n, int64_t* order) {
  Stream random(seed, SHUFFLE + epoch);
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = int64_t(((random.bits(uint64_t(i)) >> 32) * uint64_t(i + 1)) >> 32);
    int64_t held = order[i];
    order[i] = order[j];
    order[j] = held;
  }
}

}  // namespace chainrule
