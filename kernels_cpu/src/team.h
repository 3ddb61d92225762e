// Loops over independent pieces, on one thread or with the help of XLA's.
#pragma once

#include <immintrin.h>

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
  // Calls run(piece, i) for every i in [0, count), here and on the helpers; `schedule` starts one more of these.
  template <class Schedule>
  void Run(void (*run)(const void*, int64_t), const void* piece, int64_t count, int64_t wanted, Schedule schedule) {
    run_ = run;
    piece_ = piece;
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(count << kBits);
    for (int64_t missing = wanted - helpers_.load(); missing > 0; --missing) {
      helpers_.fetch_add(1);
      schedule([this] { Help(); });
    }
    while (TakePiece()) {
    }
    // Pieces take microseconds.
    for (int64_t spins = 0; done_.load() < count; ++spins) Pause(spins);
  }

  // To be called when an operation begins; whether it is computed by itself. Where steps run side by side, each with a core
  // of its own, one that happens to begin between two operations of the other is not.
  bool Enter() { return !Crowded(computing_.fetch_add(1) > 0); }
  void Leave() { Crowded(computing_.fetch_sub(1) > 1); }

 private:
  static constexpr int kBits = 32;
  // Polls, tens of nanoseconds each, for a next operation.
  static constexpr int64_t kPatience = 2048;

  // Cycles, about half a millisecond, for which operations are not alone after two were computed at once.
  static constexpr uint64_t kMemory = 1 << 20;

  bool Crowded(bool now) {
    if (now) crowded_at_.store(__rdtsc(), std::memory_order_relaxed);
    return now || __rdtsc() - crowded_at_.load(std::memory_order_relaxed) < kMemory;
  }

  static void Pause(int64_t spins) { spins < 4096 ? _mm_pause() : std::this_thread::yield(); }

  // One of the pieces that nobody has taken; false if there is none. What is not yet done keeps `run_` and `piece_` alive.
  bool TakePiece() {
    const int64_t seen = ticket_.load();
    if ((seen & kMask) >= seen >> kBits) return false;
    const int64_t ticket = ticket_.fetch_add(1), index = ticket & kMask;
    if (index >= ticket >> kBits) return false;
    run_(piece_, index);
    done_.fetch_add(1);
    return true;
  }

  void Help() {
    for (int64_t spins = 0; spins < kPatience && computing_.load(std::memory_order_relaxed) < 2; ++spins) {
      if (TakePiece()) {
        spins = -1;
      } else {
        _mm_pause();
      }
    }
    helpers_.fetch_sub(1);
  }

  static constexpr int64_t kMask = (int64_t{1} << kBits) - 1;
  std::atomic<int> computing_{0};
  std::atomic<uint64_t> crowded_at_{0};
  void (*run_)(const void*, int64_t) = nullptr;
  const void* piece_ = nullptr;
  std::atomic<int64_t> ticket_{0};  // number of pieces, and the next one
  std::atomic<int64_t> done_{0}, helpers_{0};
};

inline Team team;

// Calls piece(i) for every i in [0, count), in any order. A result never depends on who computes what.
template <class Pool, class Piece>
void ForEach(Pool& pool, int64_t count, const Piece& piece) {
  const bool alone = team.Enter();
  const int64_t wanted = alone ? std::min<int64_t>(pool.num_threads(), count) - 1 : 0;
  if (wanted <= 0) {
    for (int64_t i = 0; i < count; ++i) piece(i);
  } else {
    auto run = [](const void* piece, int64_t i) { (*static_cast<const Piece*>(piece))(i); };
    team.Run(run, &piece, count, wanted, [&pool](auto help) { pool.Schedule(std::move(help)); });
  }
  team.Leave();
}

}  // namespace jaxcls
