// What every pass of examples through a network needs: memory, the order of the rows, and a way to stop.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "random.hpp"
#include "threads.hpp"
#include "train.hpp"

namespace chainrule {

// Rows that go through the network at once. A larger batch goes through in chunks: each one's gradient is summed from 0,
// and these are added in order, so that memory does not grow with the batch, and threads may share the chunks.
constexpr int64_t CHUNK = 256;
// What a barrier costs, in operations: as long as a core takes for so many.
constexpr double BARRIER = 5e4;

struct Free {
  void operator()(void* p) const { std::free(p); }
};
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t bytes)
      : text_("the system does not give " + std::to_string((bytes >> 20) + 1) +
              " MB of memory: fewer n_threads, a smaller batch_size or a smaller network need less") {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// The order in which n rows come, batch after batch, each in chunks; as they lie in memory where `index` is null.
struct Order {
  const int64_t* index;
  int64_t n, batch;

  Batch at(int64_t first) const {  // the chunk that begins there; of 0 rows past the end
    return {index ? index + first : nullptr, first, std::min({CHUNK, batch - first % batch, n - first})};
  }
  Batch after(const Batch& chunk) const { return at(chunk.first + chunk.rows); }
  int64_t end(int64_t first) const { return std::min(first + batch, n); }  // of the batch that begins there
};
struct Turn {  // one batch of a training: its first row in the order, the epoch, and its number in that
  int64_t first;
  uint64_t epoch;
  int64_t step;
};

// An objective as the kernels take it.
template <class T>
struct Aim {
  std::vector<T> constants;
  Criterion<T> criterion;
  T label_scale, label_shift;  // (68)

  Aim(const Network& net, const Objective& objective)
      : constants(objective.constants.begin(), objective.constants.end()) {
    const int64_t outputs = net.layers.back().out, classes = objective.loss == Loss::cross_entropy ? outputs : 2;
    criterion = {objective.loss, constants.data(), objective.loss == Loss::gaussian ? outputs / 2 : outputs};
    label_scale = T(1 - objective.smoothing);
    label_shift = T(objective.smoothing / double(classes));
  }
};

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

// Threads in step: a barrier at which the first may say that all are to stop.
class Meeting {
 public:
  Meeting(int threads, const Interrupted& interrupted) : barrier(threads), watch_(interrupted) {}

  Barrier barrier;

  // Thread t's number of meetings so far is `meetings`. Two places to say stop take turns: one is written again only after
  // the meeting between, when all have read it. False when it is over.
  bool meet(int t, unsigned& meetings, double flops) {
    std::atomic<bool>& stop = stop_[meetings++ % 2];
    if (t == 0 && watch_.stop(flops)) stop = true;
    barrier.wait(t);
    return !stop;
  }
  void diverge() { diverged_ = true; }
  Ending ending() const {
    return diverged_ ? Ending::diverged : stop_[0] || stop_[1] ? Ending::interrupted : Ending::finished;
  }

 private:
  // Apart from what all read at each meeting: only the first thread's.
  alignas(128) Watch watch_;
  alignas(128) std::atomic<bool> stop_[2] = {false, false}, diverged_ = false;
};

// Memory that lives as long as its owner, zeros in pieces of any type, cut from blocks. No two share a cache line. What a small
// network needs is kept for the thread's next call: to ask the system for it takes longer than the call's own work.
class Memory {
 public:
  Memory() : blocks_(std::move(kept_)) {
    kept_.clear();
    if (!blocks_.empty()) use(blocks_.back());
  }
  Memory(const Memory&) = delete;
  ~Memory() {
    size_t bytes = 0;
    for (const Block& block : blocks_) bytes += block.bytes;
    if (bytes > MOST) return;
    if (blocks_.size() > 1) {  // next time in one
      blocks_.clear();
      Block block(bytes);
      if (!block.data) return;
      blocks_.push_back(std::move(block));
    }
    kept_ = std::move(blocks_);
  }

  template <class N>
  N* take(int64_t n) {
    const size_t bytes = (size_t(n) * sizeof(N) + 127) / 128 * 128;
    if (bytes > left_) {
      Block block(std::max(bytes, LEAST));
      if (!block.data) throw OutOfMemory(block.bytes);
      use(block);
      blocks_.push_back(std::move(block));
    }
    char* piece = next_;
    next_ += bytes, left_ -= bytes;
    return static_cast<N*>(std::memset(piece, 0, bytes));
  }

 private:
  static constexpr size_t LEAST = 32 * 1024, MOST = 1024 * 1024;
  struct Block {
    size_t bytes;
    std::unique_ptr<char, Free> data;
    explicit Block(size_t bytes) : bytes(bytes), data(static_cast<char*>(std::aligned_alloc(128, bytes))) {}
  };
  void use(const Block& block) { next_ = block.data.get(), left_ = block.bytes; }

  static thread_local std::vector<Block> kept_;  // one, or none
  std::vector<Block> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0;
};
inline thread_local std::vector<Memory::Block> Memory::kept_;

bool every_thread();  // see use_every_thread

}  // namespace chainrule
