// y^T = W x^T: the one product that everything here is made of.
//
// Vectors run over tokens: x is packed into panels of tokens, rows of W are broadcast as they lie in the checkpoint,
// so weights are neither packed nor copied. A unit is 32 bits of the contracted axis: one float, two bfloat16.
#pragma once

#include <algorithm>

#include "simd.h"

namespace jaxcls {

struct F32 {
  static constexpr int kPerUnit = 1;
  static __m512 MultiplyAdd(__m512 sum, int32_t w, __m512i x) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(w)), _mm512_castsi512_ps(x), sum);
  }
};

struct Bf16 {
  static constexpr int kPerUnit = 2;
  static __m512 MultiplyAdd(__m512 sum, int32_t w, __m512i x) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(w), (__m512bh)x);
  }
};

// kRows rows of W times kVectors vectors of tokens, over the whole contracted axis, in registers.
//   w: [kRows, units], rows `w_stride` units apart, units `w_step` units apart
//   x: [units, kVectors * 16] units
//   y: [kRows, kVectors * 16] floats, rows `y_stride` apart
template <class Type, int kRows, int kVectors>
void Tile(const int32_t* w, int64_t w_stride, int64_t w_step, const int32_t* x, int64_t units, float* y,
          int64_t y_stride) {
  __m512 sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_ps();
  for (int64_t u = 0; u < units; ++u) {
    __m512i tokens[kVectors];
    for (int v = 0; v < kVectors; ++v) tokens[v] = _mm512_loadu_si512(x + (u * kVectors + v) * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Type::MultiplyAdd(sums[r][v], w[r * w_stride + u * w_step], tokens[v]);
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(y + r * y_stride + v * kLanes, sums[r][v]);
}

// 24 accumulators, whatever the width of a panel.
template <int kVectors>
constexpr int kTileRows = std::min(12, 24 / kVectors);

// Any number of rows of W times one panel.
template <class Type, int kVectors, int kRows = kTileRows<kVectors>>
void Product(const int32_t* w, int64_t w_stride, int64_t w_step, int64_t rows, const int32_t* x, int64_t units,
             float* y, int64_t y_stride) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    Tile<Type, kRows, kVectors>(w + r * w_stride, w_stride, w_step, x, units, y + r * y_stride, y_stride);
  }
  if constexpr (kRows > 1) {
    if (r < rows) {
      Product<Type, kVectors, kRows / 2>(w + r * w_stride, w_stride, w_step, rows - r, x, units, y + r * y_stride,
                                         y_stride);
    }
  }
}

// 16 tokens x units of the contracted axis -> [units, 16]. `rows` tokens exist; the others become zeros.
template <class Type>
inline void LoadUnits(const float* x, __m512i* out) {
  if constexpr (Type::kPerUnit == 1) {
    *out = _mm512_castps_si512(_mm512_loadu_ps(x));
  } else {
    *out = ToBf16(_mm512_loadu_ps(x), _mm512_loadu_ps(x + kLanes));
  }
}

template <class Type>
inline void LoadUnits(const uint16_t* x, __m512i* out) {
  static_assert(Type::kPerUnit == 2);
  *out = _mm512_loadu_si512(x);
}

// Packs `vectors` x 16 tokens (rows `stride` apart; those from `tokens` on are zeros) into a panel [units, tokens].
// `units` is a multiple of 16.
template <class Type, class Input>
void Pack(const Input* x, int64_t stride, int64_t tokens, int64_t units, int vectors, int32_t* panel) {
  for (int v = 0; v < vectors; ++v) {
    for (int64_t u = 0; u < units; u += kLanes) {
      __m512i block[kLanes];
      for (int t = 0; t < kLanes; ++t) {
        const int64_t token = v * kLanes + t;
        if (token < tokens) {
          LoadUnits<Type>(x + token * stride + u * Type::kPerUnit, &block[t]);
        } else {
          block[t] = _mm512_setzero_si512();
        }
      }
      Transpose(block);
      for (int i = 0; i < kLanes; ++i) _mm512_storeu_si512(panel + ((u + i) * vectors + v) * kLanes, block[i]);
    }
  }
}

}  // namespace jaxcls
