// AVX-512 vectors of 16 floats: elementary functions and transposition.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <initializer_list>

namespace jaxcls {

constexpr int kLanes = 16;

// exp for x <= 88; below -87.3 it is 0. NaN stays NaN (min and max return their second operand then). Degree 6 polynomial
// on [-ln2/2, ln2/2], relative error below 1e-7.
inline __m512 Exp(__m512 x) {
  const __m512 below = _mm512_set1_ps(-87.3f);
  const __mmask16 keep = _mm512_cmp_ps_mask(x, below, _CMP_NLE_UQ);
  x = _mm512_min_ps(_mm512_set1_ps(88.0f), _mm512_max_ps(below, x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  for (float c : {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_maskz_scalef_ps(keep, p, n);
}

// 2^x for x <= 0 and finite; NaN stays NaN. A polynomial on [-1/2, 1/2], of relative error below 2e-7 (degree 5) or
// 2e-4 (degree 3), and exactly 1 at 0.
template <int kDegree>
__m512 Exp2(__m512 x);

template <>
inline __m512 Exp2<5>(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, 0), r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.0013264715671539307f);
  for (float c : {0.009671512991189957f, 0.05550733953714371f, 0.24022242426872253f, 0.6931470036506653f, 1.0f}) {
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  }
  return _mm512_scalef_ps(p, n);
}

template <>
inline __m512 Exp2<3>(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, 0), r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(0.055008865892887115f);
  for (float c : {0.2422109693288803f, 0.693282961845398f, 1.0f}) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

// erf as x P(x^2) / Q(x^2) on [-4, 4]; a rational fit of absolute error 2.2e-8 before rounding.
inline __m512 Erf(__m512 x) {
  x = _mm512_min_ps(_mm512_set1_ps(4.0f), _mm512_max_ps(_mm512_set1_ps(-4.0f), x));
  const __m512 t = _mm512_mul_ps(x, x);
  __m512 p = _mm512_set1_ps(1.9746937596210046e-06f);
  for (float c : {0.0002880194515455514f, 0.004003331530839205f, 0.0534665547311306f, 0.1962437480688095f,
                  1.128378987312317f}) {
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(c));
  }
  __m512 q = _mm512_set1_ps(3.747825758182444e-05f);
  for (float c : {0.0012162537313997746f, 0.015443839132785797f, 0.11647404730319977f, 0.5072476863861084f, 1.0f}) {
    q = _mm512_fmadd_ps(q, t, _mm512_set1_ps(c));
  }
  return _mm512_div_ps(_mm512_mul_ps(x, p), q);
}

// Transposes 16 x 16 values of 32 bits in place.
inline void Transpose(__m512i v[kLanes]) {
  __m512i t[kLanes];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// The sums of the lanes of four vectors.
inline __m128 SumOfLanes(__m512 a, __m512 b, __m512 c, __m512 d, int32_t) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 four = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// The same of whole numbers, which start at `offset`.
inline __m128 SumOfLanes(__m512i a, __m512i b, __m512i c, __m512i d, int32_t offset) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i four = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64(four, 1));
  const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  return _mm_cvtepi32_ps(_mm_add_epi32(sum, _mm_set1_epi32(offset)));
}

// Two vectors of floats, rounded to 32 bfloat16 in order.
inline __m512i ToBf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

// Stores the lanes of a mask, rounded to bfloat16 where that is stored.
inline void Store(float* y, __mmask16 mask, __m512 v) { _mm512_mask_storeu_ps(y, mask, v); }
inline void Store(uint16_t* y, __mmask16 mask, __m512 v) {
  _mm256_mask_storeu_epi16(y, mask, (__m256i)_mm512_cvtneps_pbh(v));
}

}  // namespace jaxcls
