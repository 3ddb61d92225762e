// What a linear layer applies to its results.
#pragma once

#include "simd.h"

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

}  // namespace jaxcls
