// Weights as checkpoints store them, and the rows of them that are multiplied at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "simd.h"

namespace jaxcls {

// W, [out_dim, in_dim], with what its results are multiplied by and what is added to them.
struct Matrix {
  const char* w;
  bool int8;                  // W is whole numbers, which Bf16 converts chunk by chunk and Int8 multiplies as they are
  int64_t out_dim, in_units;  // units of the type that it is multiplied as
  int64_t row_bytes;
  const float *scale, *bias;  // [out_dim] or null
};

// Rows of W that are multiplied before their results are moved on: a multiple of every kTileRows and of 16.
constexpr int64_t kChunk = 48;

inline int64_t Chunks(const Matrix& matrix) { return (matrix.out_dim + kChunk - 1) / kChunk; }

// At most kChunk rows of W, from row `first` on.
struct Chunk {
  int64_t first, rows;
  const int32_t* w;        // [rows, in_units]
  const int32_t* offsets;  // [rows] or null: what sums start at
};

// Makes chunks; room for what int8 weights are multiplied as.
class ChunkMaker {
 public:
  template <class Type>
  Chunk Make(const Matrix& matrix, int64_t number) {
    const int64_t first = number * kChunk, rows = std::min(kChunk, matrix.out_dim - first);
    const char* w = matrix.w + first * matrix.row_bytes;
    Chunk chunk{first, rows, reinterpret_cast<const int32_t*>(w), nullptr};
    if (matrix.int8 && Type::kPerUnit == 2) {
      chunk.w = Widen(reinterpret_cast<const int8_t*>(w), rows * matrix.row_bytes);
    } else if (matrix.int8) {
      chunk.offsets = Offsets(reinterpret_cast<const int8_t*>(w), rows, matrix.row_bytes);
    }
    return chunk;
  }

 private:
  // bfloat16: whole numbers up to 127 are exact.
  const int32_t* Widen(const int8_t* w, int64_t count) {
    if ((int64_t)converted_.size() < count / 2) converted_.resize(count / 2);
    for (int64_t i = 0; i < count; i += 2 * kLanes) {
      const __m512i low = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)(w + i)));
      const __m512i high = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)(w + i + kLanes)));
      _mm512_storeu_si512(converted_.data() + i / 2, ToBf16(_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high)));
    }
    return converted_.data();
  }

  // -128 times the sum of each row.
  const int32_t* Offsets(const int8_t* w, int64_t rows, int64_t in_dim) {
    const __m512i ones = _mm512_set1_epi8(1);
    for (int64_t r = 0; r < rows; ++r) {
      __m512i sum = _mm512_setzero_si512();
      for (int64_t i = 0; i < in_dim; i += 64) sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(w + r * in_dim + i));
      offsets_[r] = -128 * _mm512_reduce_add_epi32(sum);
    }
    return offsets_;
  }

  std::vector<int32_t> converted_;
  int32_t offsets_[kChunk];
};

}  // namespace jaxcls
