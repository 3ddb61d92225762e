// Multiply-adds on registers alone: what the kernels' instructions can give at most. Built by benchmarks/fma_peak.py.
#include <immintrin.h>

#include <cstdint>

namespace {
// As many sums as hide the latency, twice over.
constexpr int kSums = 24;

template <class Vector, class Step>
float Loop(int64_t rounds, Vector zero, Step step) {
  Vector sums[kSums];
#pragma GCC unroll 24
  for (int s = 0; s < kSums; ++s) sums[s] = zero;
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 24
    for (int s = 0; s < kSums; ++s) {
      sums[s] = step(sums[s]);
      asm volatile("" : "+v"(sums[s]));  // kept in a register, and not foreseen
    }
  }
  float total = 0;
#pragma GCC unroll 24
  for (int s = 0; s < kSums; ++s) total += ((__v16sf)sums[s])[0];
  return total;
}
}  // namespace

// Each does rounds * 24 instructions, of 32, 64 and 128 operations.
extern "C" float fp32(int64_t rounds) {
  const __m512 one = _mm512_set1_ps(1e-9f);
  return Loop(rounds, _mm512_setzero_ps(), [=](__m512 sum) { return _mm512_fmadd_ps(one, one, sum); });
}
extern "C" float bf16(int64_t rounds) {
  const __m512bh one = (__m512bh)_mm512_set1_epi32(0x30803080);
  return Loop(rounds, _mm512_setzero_ps(), [=](__m512 sum) { return _mm512_dpbf16_ps(sum, one, one); });
}
extern "C" float int8(int64_t rounds) {
  const __m512i one = _mm512_setzero_si512();
  return Loop(rounds, _mm512_setzero_si512(), [=](__m512i sum) { return _mm512_dpbusd_epi32(sum, one, one); });
}
