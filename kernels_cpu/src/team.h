// Loops over independent pieces, on one thread or with the help of XLA's.
#pragma once

#include <immintrin.h>

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>

namespace jaxcls {

// The pieces of the operation that is computed by itself, of which there is never more than one.
//
// A thread that went to sleep takes longer to wake up than most operations on a short text take, so helpers stay between
// operations, for as long as another usually follows.
class Team {
 public:
  // Calls run(piece, first, last) for ranges that make up [0, count), here and on the helpers; `schedule` starts one more
  // of these.
  template <class Schedule>
  void Run(void (*run)(const void*, int64_t, int64_t), const void* piece, int64_t count, int64_t wanted,
           Schedule schedule) {
    run_ = run;
    piece_ = piece;
    threads_.store(wanted + 1, std::memory_order_relaxed);
    core_.store(Core(), std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(count << kBits);
    for (int64_t missing = wanted - helpers_.load(); missing > 0; --missing) {
      helpers_.fetch_add(1);
      schedule([this] { Help(); });
    }
    while (TakePieces()) {
    }
    // Pieces take microseconds.
    for (int64_t spins = 0; done_.load() < count; ++spins) Pause(spins);
  }

  // An operation, while it is computed.
  class Operation {
   public:
    explicit Operation(Team& team) : team_(team), alone_(!team.Crowded(team.computing_.fetch_add(1) > 0)) {
      if (Settle() > 0) {
        team_.operations_[core_].fetch_sub(1);
        LeaveCore();
        Settle();
      }
    }
    ~Operation() {
      team_.operations_[core_].fetch_sub(1);
      team_.Crowded(team_.computing_.fetch_sub(1) > 1);
    }

    // Whether it is computed by itself. Where steps run side by side, each with a core of its own, one that happens to begin
    // between two operations of the other is not.
    bool alone() const { return alone_; }

   private:
    // Notes the core; how many operations this one holds up there.
    int Settle() {
      core_ = Core() % kCores;
      return team_.operations_[core_].fetch_add(1);
    }

    Team& team_;
    const bool alone_;
    int core_;
  };

 private:
  static constexpr int kBits = 32;
  // Cycles, less than half a millisecond, for which a helper looks for a next operation.
  static constexpr uint64_t kPatience = 1 << 20;

  // Cycles, about half a millisecond, for which operations are not alone after two were computed at once.
  static constexpr uint64_t kMemory = 1 << 20;

  bool Crowded(bool now) {
    if (now) crowded_at_.store(__rdtsc(), std::memory_order_relaxed);
    return now || __rdtsc() - crowded_at_.load(std::memory_order_relaxed) < kMemory;
  }

  static void Pause(int64_t spins) { spins < 4096 ? _mm_pause() : std::this_thread::yield(); }

  // A share of the pieces that nobody has taken; false if there is none. Neighbours, because memory is read ahead. What
  // is not yet done keeps `run_` and `piece_` alive.
  bool TakePieces() {
    int64_t ticket = ticket_.load(), count, first;
    do {
      first = ticket & kMask;
      const int64_t left = (ticket >> kBits) - first;
      if (left <= 0) return false;
      count = std::max<int64_t>(1, left / threads_.load(std::memory_order_relaxed));
    } while (!ticket_.compare_exchange_weak(ticket, ticket + count));
    run_(piece_, first, first + count);
    done_.fetch_add(count);
    return true;
  }

  void Help() {
    for (uint64_t last = __rdtsc(); __rdtsc() - last < kPatience && computing_.load(std::memory_order_relaxed) < 2;) {
      if (Core() == core_.load(std::memory_order_relaxed)) LeaveCore();
      if (TakePieces()) {
        last = __rdtsc();
      } else {
        _mm_pause();
      }
    }
    helpers_.fetch_sub(1);
  }

  static int Core() { return sched_getcpu(); }

  // A thread may wake up on the core of another that computes, and stay there for milliseconds, while the next core is idle.
  static void LeaveCore() {
    cpu_set_t all, others;
    if (sched_getaffinity(0, sizeof(all), &all)) return;
    others = all;
    CPU_CLR(sched_getcpu(), &others);
    if (!CPU_COUNT(&others)) return;
    sched_setaffinity(0, sizeof(others), &others);
    sched_setaffinity(0, sizeof(all), &all);
  }

  static constexpr int kCores = 1024;
  static constexpr int64_t kMask = (int64_t{1} << kBits) - 1;
  std::atomic<int> computing_{0};
  std::atomic<int> operations_[kCores] = {};  // by the core that they began on
  std::atomic<uint64_t> crowded_at_{0};
  void (*run_)(const void*, int64_t, int64_t) = nullptr;
  const void* piece_ = nullptr;
  std::atomic<int64_t> threads_{1};
  std::atomic<int> core_{0};  // of the thread that is helped
  std::atomic<int64_t> ticket_{0};  // number of pieces, and the next one
  std::atomic<int64_t> done_{0}, helpers_{0};
};

inline Team team;

// Calls piece(i) for every i in [0, count), in any order. A result never depends on who computes what.
template <class Pool, class Piece>
void ForEach(Pool& pool, int64_t count, const Piece& piece) {
  const Team::Operation operation(team);
  const int64_t wanted = operation.alone() ? std::min<int64_t>(pool.num_threads(), count) - 1 : 0;
  if (wanted <= 0) {
    for (int64_t i = 0; i < count; ++i) piece(i);
  } else {
    auto run = [](const void* piece, int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) (*static_cast<const Piece*>(piece))(i);
    };
    team.Run(run, &piece, count, wanted, [&pool](auto help) { pool.Schedule(std::move(help)); });
  }
}

}  // namespace jaxcls
