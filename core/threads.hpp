// Threads that run one function together and meet at a barrier. A thread owns the same panels of weights all run long, so
// they stay in its cache; which thread computes a number never changes the number.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels.hpp"

namespace chainrule {

// Part t of n things shared by `threads`.
inline Range share(int64_t n, int t, int threads) { return {n * t / threads, n * (t + 1) / threads}; }

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Between looks for what another thread does. A step takes microseconds: spin for some tens of them, then let others run, then
// sleep, so that a busy machine is not blocked.
inline void rest(int look) {
  if (look < 4000) pause();
  else if (look < 4100) std::this_thread::yield();
  else std::this_thread::sleep_for(std::chrono::microseconds(50));
}

// Each thread writes how often it has arrived where no other writes, and reads the others': a step of a small network waits for
// one journey between two caches, not for the three or four of a counter that all change.
class Barrier {
 public:
  explicit Barrier(int threads) : arrivals_(threads) {}
  void wait(int t) {
    const int threads = int(arrivals_.size());
    if (threads == 1) return;
    const uint32_t now = arrivals_[t].count.load(std::memory_order_relaxed) + 1;
    arrivals_[t].count.store(now, std::memory_order_release);
    for (int other = 1; other < threads; other++) {
      const auto& count = arrivals_[(t + other) % threads].count;
      for (int look = 0; int32_t(count.load(std::memory_order_acquire) - now) < 0; look++) rest(look);
    }
  }

 private:
  struct alignas(128) Arrival {
    std::atomic<uint32_t> count{0};
  };
  std::vector<Arrival> arrivals_;
};

// Where threads begin. A scheduler may put a new one on the processor of the one that made it, where it waits until that one's
// time is over, a thousand times as long as a step; and may leave two there for a whole training. So each is put on a processor
// of its own, and is free to go elsewhere once it runs.
class Processors {
 public:
#if defined(__linux__)
  Processors() : here_(sched_getcpu()), known_(here_ >= 0 && !sched_getaffinity(0, sizeof allowed_, &allowed_)) {}
  // On the t-th processor after this one that the process may use.
  void place(std::thread& thread, int t) const {
    if (!known_) return;
    int cpu = here_;
    for (int moves = t % CPU_COUNT(&allowed_); moves > 0; moves--) do
        cpu = (cpu + 1) % CPU_SETSIZE;
      while (!CPU_ISSET(cpu, &allowed_));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
  }
  void release() const {  // the calling thread
    if (known_) sched_setaffinity(0, sizeof allowed_, &allowed_);
  }

 private:
  int here_;
  cpu_set_t allowed_;
  bool known_;
#else
  void place(std::thread&, int) const {}
  void release() const {}
#endif
};

// f(0) here and f(1) .. f(threads - 1) on threads of their own; f does not throw. None begins before all are there: were one
// missing, the others would wait for it at the first barrier.
template <class F>
void run_together(int threads, const F& f) {
  if (threads == 1) return f(0);
  enum : int { wait, go, leave };
  std::atomic<int> gate{wait};
  const Processors processors;
  std::vector<std::thread> others;
  auto open = [&](int how) {
    gate.store(how, std::memory_order_release);
    gate.notify_all();
  };
  try {
    others.reserve(threads - 1);
    for (int t = 1; t < threads; t++) {
      others.emplace_back([&f, &gate, &processors, t] {
        gate.wait(wait, std::memory_order_acquire);
        processors.release();
        if (gate.load(std::memory_order_acquire) == go) f(t);
      });
      processors.place(others.back(), t);
    }
  } catch (const std::exception& error) {
    open(leave);
    for (auto& other : others) other.join();
    throw std::runtime_error("n_threads: the system does not give " + std::to_string(threads) + " threads (" +
                             error.what() + "); ask for fewer");
  }
  open(go);
  f(0);
  for (auto& other : others) other.join();
}

}  // namespace chainrule
