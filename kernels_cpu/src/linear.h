// y = activation(x W^T + b) [* factor] [+ residual], fused.
#pragma once

#include <vector>

#include "matmul.h"

namespace jaxcls {

enum class Activation : int64_t { kNone = 0, kGelu = 1, kGeluTanh = 2, kSilu = 3, kRelu = 4 };

inline __m512 Sigmoid(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_div_ps(one, _mm512_add_ps(one, Exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

inline __m512 Activate(__m512 x, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGelu: {
      const __m512 half = _mm512_mul_ps(_mm512_set1_ps(0.5f), x);
      return _mm512_fmadd_ps(half, Erf(_mm512_mul_ps(x, _mm512_set1_ps(0.70710678f))), half);
    }
    case Activation::kGeluTanh: {
      // 0.5 (1 + tanh u) is sigmoid(2 u).
      const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.0713548163f), _mm512_set1_ps(1.5957691216f));
      return _mm512_mul_ps(x, Sigmoid(_mm512_mul_ps(x, cubic)));
    }
    case Activation::kSilu:
      return _mm512_mul_ps(x, Sigmoid(x));
    case Activation::kRelu:
      return _mm512_max_ps(_mm512_setzero_ps(), x);  // NaN stays NaN
  }
  return x;
}

template <class Output>
struct LinearArgs {
  int64_t tokens, in_units, out_dim;  // `tokens`: those that are computed
  const float* scale;        // [out_dim] or null: multiplies a row of W
  const float* token_scale;  // [tokens] or null: multiplies a token
  const float* bias;         // [out_dim] or null
  const float* factor;       // [tokens, out_dim] or null: multiplies the activated result
  const float* residual;     // [tokens, out_dim] or null: is added to that
  Output* y;                 // [tokens, out_dim]
  Activation activation;
};

// Rows of W that are multiplied before their results are transposed: a multiple of every kTileRows and of 16.
constexpr int64_t kChunk = 48;

// At most kChunk rows of W, from row `first` on.
struct Chunk {
  int64_t first, rows;
  const int32_t* w;        // [rows, in_units]
  const int32_t* offsets;  // [rows] or null: what sums start at
};

// What follows the product: `sums`, [rows of the chunk, stride] over tokens, to their places in y.
template <class Output>
void Finish(const LinearArgs<Output>& a, const float* sums, int64_t stride, int64_t first_token, int64_t tokens,
            const Chunk& chunk) {
  for (int64_t r = 0; r < chunk.rows; r += kLanes) {
    const int64_t n = chunk.first + r, rows = chunk.rows - r;
    const __mmask16 mask = rows >= kLanes ? 0xffff : (__mmask16)((1u << rows) - 1);
    const __m512 scale = a.scale ? _mm512_maskz_loadu_ps(mask, a.scale + n) : _mm512_set1_ps(1.0f);
    const __m512 bias = a.bias ? _mm512_maskz_loadu_ps(mask, a.bias + n) : _mm512_setzero_ps();
    for (int64_t t = 0; t < tokens; t += kLanes) {
      __m512i block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        block[i] = i < rows ? _mm512_load_si512(sums + (r + i) * stride + t) : _mm512_setzero_si512();
      }
      Transpose(block);
      const int64_t count = std::min<int64_t>(kLanes, tokens - t);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t token = first_token + t + i, at = token * a.out_dim + n;
        __m512 v = _mm512_castsi512_ps(block[i]);
        if (a.token_scale) v = _mm512_mul_ps(v, _mm512_set1_ps(a.token_scale[token]));
        v = Activate(_mm512_fmadd_ps(v, scale, bias), a.activation);
        if (a.factor) v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, a.factor + at));
        if (a.residual) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, a.residual + at));
        Store(a.y + at, mask, v);
      }
    }
  }
}

// One panel of tokens times one chunk of W.
template <class Type, int kVectors, class Output>
void LinearPanel(const LinearArgs<Output>& a, const int32_t* panel, int64_t first_token, const Chunk& chunk) {
  alignas(64) float sums[kChunk * kVectors * kLanes];
  const int64_t tokens = std::min<int64_t>(kVectors * kLanes, a.tokens - first_token);
  Product<Type, kVectors>(chunk.w, a.in_units, 1, chunk.rows, panel, a.in_units, sums, kVectors * kLanes, chunk.offsets,
                          first_token == 0);
  Finish(a, sums, kVectors * kLanes, first_token, tokens, chunk);
}

// Fewer than 16 tokens, [tokens, units], times one chunk of W.
template <class Type, class Output>
void LinearRows(const LinearArgs<Output>& a, const int32_t* rows, int64_t first_token, const Chunk& chunk) {
  alignas(64) float sums[kChunk * kLanes];
  const int64_t tokens = a.tokens - first_token;
  DotProduct<Type>(chunk.w, chunk.rows, rows, tokens, a.in_units, sums, chunk.offsets, first_token == 0);
  Finish(a, sums, kLanes, first_token, tokens, chunk);
}

// A panel of `vectors` vectors, at most kMost: the last one of a step need not be as wide as the others.
template <class Type, int kMost, class Output>
void AnyPanel(int64_t vectors, const LinearArgs<Output>& a, const int32_t* panel, int64_t first_token,
              const Chunk& chunk) {
  if constexpr (kMost > 1) {
    if (vectors < kMost) return AnyPanel<Type, kMost - 1>(vectors, a, panel, first_token, chunk);
  }
  LinearPanel<Type, kMost>(a, panel, first_token, chunk);
}

}  // namespace jaxcls
