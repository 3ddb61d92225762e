// y^T = W x^T: the one product that everything here is made of.
//
// Vectors run over tokens: x is packed into panels of tokens, rows of W are broadcast as they lie in the checkpoint,
// so weights are neither packed nor copied. A unit is 32 bits of the contracted axis: one float, two bfloat16, four int8.
#pragma once

#include <algorithm>
#include <type_traits>

#include "simd.h"

namespace jaxcls {

struct F32 {
  static constexpr int kPerUnit = 1;
  using Sum = __m512;
  static Sum Start(int32_t) { return _mm512_setzero_ps(); }
  static __m512 Result(Sum sum) { return sum; }
  static __m512 MultiplyAdd(__m512 sum, __m512i w, __m512i x) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(w), _mm512_castsi512_ps(x), sum);
  }
};

struct Bf16 : F32 {
  static constexpr int kPerUnit = 2;
  static __m512 MultiplyAdd(__m512 sum, __m512i w, __m512i x) {
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x);
  }
};

// x from 0 to 255, which is 128 more than the number meant: sums start at -128 times the sum of the weights.
struct Int8 {
  static constexpr int kPerUnit = 4;
  using Sum = __m512i;
  static Sum Start(int32_t offset) { return _mm512_set1_epi32(offset); }
  static __m512 Result(Sum sum) { return _mm512_cvtepi32_ps(sum); }
  static Sum MultiplyAdd(Sum sum, __m512i w, __m512i x) { return _mm512_dpbusd_epi32(sum, x, w); }
};

// kRows rows of W times kVectors vectors of tokens, over the whole contracted axis, in registers.
//   w: [kRows, units], rows `w_stride` units apart, units `w_step` units apart
//   x: [units, kVectors * 16] units
//   y: [kRows, kVectors * 16] floats, rows `y_stride` apart
//   offsets: [kRows], what sums start at; null: zero
//   fetch: whether the rows after these are on their way from memory
template <class Type, int kRows, int kVectors>
void Tile(const int32_t* w, int64_t w_stride, int64_t w_step, const int32_t* x, int64_t units, float* y,
          int64_t y_stride, const int32_t* offsets, bool fetch) {
  typename Type::Sum sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Type::Start(offsets ? offsets[r] : 0);
  for (int64_t u = 0; u < units; ++u) {
    __m512i tokens[kVectors];
    for (int v = 0; v < kVectors; ++v) tokens[v] = _mm512_loadu_si512(x + (u * kVectors + v) * kLanes);
    // The rows that come next: too many streams for the hardware to see.
    if (fetch && u % kLanes == 0) {
      for (int r = 0; r < kRows; ++r) __builtin_prefetch(w + (r + kRows) * w_stride + u);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = Type::MultiplyAdd(sums[r][v], _mm512_set1_epi32(w[r * w_stride + u * w_step]), tokens[v]);
      }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(y + r * y_stride + v * kLanes, Type::Result(sums[r][v]));
}

// At most 24 accumulators, and no more rows than an L1 cache has ways: rows a multiple of 4 KiB apart share one set.
template <int kVectors>
constexpr int kTileRows = std::min(8, 24 / kVectors);

// Any number of rows of W times one panel.
template <class Type, int kVectors, int kRows = kTileRows<kVectors>>
void Product(const int32_t* w, int64_t w_stride, int64_t w_step, int64_t rows, const int32_t* x, int64_t units,
             float* y, int64_t y_stride, const int32_t* offsets = nullptr, bool fetch = false) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    Tile<Type, kRows, kVectors>(w + r * w_stride, w_stride, w_step, x, units, y + r * y_stride, y_stride,
                                offsets ? offsets + r : nullptr, fetch);
  }
  if constexpr (kRows > 1) {
    if (r < rows) {
      Product<Type, kVectors, kRows / 2>(w + r * w_stride, w_stride, w_step, rows - r, x, units, y + r * y_stride,
                                         y_stride, offsets ? offsets + r : nullptr, fetch);
    }
  }
}

// A few tokens, too few to fill a vector: vectors run along the contracted axis, and every sum is that of its lanes.
constexpr int kDotTokens = 4;

// kRows rows of W times kTokens tokens, each at most 4.
//   w, offsets: as for Tile, units next to each other
//   x: [kTokens, units]
//   y: [kRows, kLanes] floats, of which 4 are written
//   part, parts: the rows after these that it fetches from memory are r with r % parts == part; parts = 0: none
template <class Type, int kRows, int kTokens>
void DotTile(const int32_t* w, const int32_t* x, int64_t units, float* y, const int32_t* offsets, int part,
             int parts) {
  typename Type::Sum sums[kRows][kTokens];
  bool fetch[kRows];
  for (int r = 0; r < kRows; ++r) {
    fetch[r] = parts && r % parts == part;
    for (int t = 0; t < kTokens; ++t) sums[r][t] = Type::Start(0);
  }
  for (int64_t u = 0; u < units; u += kLanes) {
    __m512i tokens[kTokens];
    for (int t = 0; t < kTokens; ++t) tokens[t] = _mm512_loadu_si512(x + t * units + u);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      if (fetch[r]) __builtin_prefetch(w + (r + kRows) * units + u);
      const __m512i row = _mm512_loadu_si512(w + r * units + u);
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) sums[r][t] = Type::MultiplyAdd(sums[r][t], row, tokens[t]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    // Where there are fewer tokens than four, the others' places get any of the sums.
    auto sum = [&](int t) { return sums[r][std::min(t, kTokens - 1)]; };
    _mm_storeu_ps(y + r * kLanes, SumOfLanes(sum(0), sum(1), sum(2), sum(3), offsets ? offsets[r] : 0));
  }
}

// Any number of rows of W times fewer than 16 tokens; y: [rows, kLanes]. The rows that come next are fetched evenly over
// the tiles of these: all at once, in the first, would wait for memory.
template <class Type, int kRows = 4>
void DotProduct(const int32_t* w, int64_t rows, const int32_t* x, int64_t tokens, int64_t units, float* y,
                const int32_t* offsets, bool fetch) {
  const int parts = fetch ? (int)((tokens + kDotTokens - 1) / kDotTokens) : 0;
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    for (int64_t t = 0; t < tokens; t += kDotTokens) {
      auto tile = [&](auto count) {
        DotTile<Type, kRows, count>(w + r * units, x + t * units, units, y + r * kLanes + t,
                                    offsets ? offsets + r : nullptr, (int)(t / kDotTokens), parts);
      };
      switch (tokens - t) {
        case 1: tile(std::integral_constant<int, 1>()); break;
        case 2: tile(std::integral_constant<int, 2>()); break;
        case 3: tile(std::integral_constant<int, 3>()); break;
        default: tile(std::integral_constant<int, kDotTokens>());
      }
    }
  }
  if constexpr (kRows > 1) {
    if (r < rows) {
      DotProduct<Type, kRows / 2>(w + r * units, rows - r, x, tokens, units, y + r * kLanes,
                                  offsets ? offsets + r : nullptr, fetch);
    }
  }
}

// A unit of 16 tokens; of Bf16, from two values of each.
inline void StoreUnits(__m512 first, __m512, int32_t* out, F32) { _mm512_storeu_si512(out, _mm512_castps_si512(first)); }

inline void StoreUnits(__m512 first, __m512 second, int32_t* out, Bf16) {
  // From the 32 values in order, a pair of those that are 16 apart at a time.
  const __m512i low = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i pairs = _mm512_add_epi32(low, _mm512_slli_epi32(_mm512_add_epi32(low, _mm512_set1_epi32(kLanes)), 16));
  _mm512_storeu_si512(out, _mm512_permutexvar_epi16(pairs, ToBf16(first, second)));
}

inline __m512 LoadFloats(const float* x) { return _mm512_loadu_ps(x); }
inline __m512 LoadFloats(const uint16_t* x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)x)), 16));
}

// 16 units of one token. `scale` is what Int8 multiplies before it rounds.
template <class Type, class Input>
inline __m512i LoadUnits(const Input* x, __m512 scale) {
  if constexpr (Type::kPerUnit == 1) {
    return _mm512_castps_si512(LoadFloats(x));
  } else if constexpr (Type::kPerUnit == 4) {
    __m512i bytes = _mm512_setzero_si512();
    auto quarter = [&](int i) {
      return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(LoadFloats(x + i * kLanes), scale)));
    };
    bytes = _mm512_inserti32x4(bytes, quarter(0), 0);
    bytes = _mm512_inserti32x4(bytes, quarter(1), 1);
    bytes = _mm512_inserti32x4(bytes, quarter(2), 2);
    bytes = _mm512_inserti32x4(bytes, quarter(3), 3);
    return _mm512_xor_si512(bytes, _mm512_set1_epi8((char)0x80));
  } else if constexpr (sizeof(Input) == 4) {
    return ToBf16(LoadFloats(x), LoadFloats(x + kLanes));
  } else {
    return _mm512_loadu_si512(x);
  }
}

// The largest magnitude of `count` values, a multiple of 16; NaN if there is one.
template <class Input>
float Largest(const Input* x, int64_t count) {
  __m512 top = _mm512_setzero_ps();
  __mmask16 bad = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const __m512 v = LoadFloats(x + i);
    bad |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    top = _mm512_max_ps(top, _mm512_abs_ps(v));
  }
  return bad ? __builtin_nanf("") : _mm512_reduce_max_ps(top);
}

// What Int8 multiplies a token by before it rounds; what its products are multiplied by again goes to `back`.
template <class Input>
__m512 TokenScale(const Input* x, int64_t count, float* back) {
  const float top = Largest(x, count);
  *back = top / 127.0f;
  return _mm512_set1_ps(top > 0 ? 127.0f / top : 0.0f);
}

// Rounds tokens to units and leaves them as they lie: [tokens, units]. What Pack does besides, and its arguments.
template <class Type, class Input>
void PackRows(const Input* x, int64_t stride, int64_t tokens, int64_t units, int32_t* rows, float* token_scales) {
  for (int64_t token = 0; token < tokens; ++token) {
    __m512 scale = _mm512_setzero_ps();
    if constexpr (Type::kPerUnit == 4) {
      scale = TokenScale(x + token * stride, units * Type::kPerUnit, token_scales + token);
    }
    for (int64_t u = 0; u < units; u += kLanes) {
      _mm512_storeu_si512(rows + token * units + u, LoadUnits<Type>(x + token * stride + u * Type::kPerUnit, scale));
    }
  }
}

// Packs `vectors` x 16 tokens (rows `stride` apart; those from `tokens` on are zeros) into a panel [units, tokens].
// `units` is a multiple of 16. Int8: a token is divided by its largest magnitude / 127, which goes to `token_scales`.
template <class Type, class Input>
void Pack(const Input* x, int64_t stride, int64_t tokens, int64_t units, int vectors, int32_t* panel,
          float* token_scales = nullptr) {
  for (int v = 0; v < vectors; ++v) {
    __m512 scales[kLanes];
    if constexpr (Type::kPerUnit == 4) {
      for (int64_t token = v * kLanes; token < std::min<int64_t>(tokens, (v + 1) * kLanes); ++token) {
        scales[token - v * kLanes] = TokenScale(x + token * stride, units * Type::kPerUnit, token_scales + token);
      }
    }
    for (int64_t u = 0; u < units; u += kLanes) {
      __m512i block[kLanes];
      for (int t = 0; t < kLanes; ++t) {
        const int64_t token = v * kLanes + t;
        block[t] = token < tokens ? LoadUnits<Type>(x + token * stride + u * Type::kPerUnit, scales[t])
                                  : _mm512_setzero_si512();
      }
      Transpose(block);
      for (int i = 0; i < kLanes; ++i) _mm512_storeu_si512(panel + ((u + i) * vectors + v) * kLanes, block[i]);
    }
  }
}

}  // namespace jaxcls
