// y = activation(x W^T + b) [+ residual]: what follows a product.
#pragma once

#include "activation.h"
#include "panels.h"

namespace jaxcls {

// Sums, [rows of a chunk, stride] over `count` tokens from `first` on, as they are stored: transposed, one row a token.
template <class Output>
struct Rows {
  const float *scale, *bias;  // [out_dim] or null
  const float* token_scale;   // [tokens] or null: multiplies a token
  Activation activation;
  const float* residual;  // [tokens, out_dim] or null: is added
  int64_t out_dim;
  Output* y;  // [tokens, out_dim]

  void Store(const float* sums, int64_t stride, int64_t first, int64_t count, const Chunk& chunk) const {
    for (int64_t r = 0; r < chunk.rows; r += kLanes) {
      const int64_t n = chunk.first + r, rows = chunk.rows - r;
      const __mmask16 mask = rows >= kLanes ? 0xffff : (__mmask16)((1u << rows) - 1);
      const __m512 scales = scale ? _mm512_maskz_loadu_ps(mask, scale + n) : _mm512_set1_ps(1.0f);
      const __m512 added = bias ? _mm512_maskz_loadu_ps(mask, bias + n) : _mm512_setzero_ps();
      for (int64_t t = 0; t < count; t += kLanes) {
        __m512i block[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          block[i] = i < rows ? _mm512_load_si512(sums + (r + i) * stride + t) : _mm512_setzero_si512();
        }
        Transpose(block);
        for (int64_t i = 0; i < std::min<int64_t>(kLanes, count - t); ++i) {
          const int64_t token = first + t + i, at = token * out_dim + n;
          __m512 v = _mm512_castsi512_ps(block[i]);
          if (token_scale) v = _mm512_mul_ps(v, _mm512_set1_ps(token_scale[token]));
          v = Activate(_mm512_fmadd_ps(v, scales, added), activation);
          if (residual) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, residual + at));
          jaxcls::Store(y + at, mask, v);
        }
      }
    }
  }
};

// One linear layer of all tokens that `layout` has, packed or to be packed from x.
template <class Type, class Output>
void MultiplyChunk(const Layout& layout, const Packed& packed, const Matrix& matrix, int64_t number, Rows<Output> to) {
  thread_local ChunkMaker maker;
  const Chunk chunks[] = {maker.Make<Type>(matrix, number)};
  to.token_scale = Type::kPerUnit == 4 ? packed.scales.data() : nullptr;
  Multiply<Type>(layout, packed.units.data(), chunks, [&](const float* sums, int64_t stride, int64_t first, int64_t count) {
    to.Store(sums, stride, first, count, chunks[0]);
  });
}

}  // namespace jaxcls
