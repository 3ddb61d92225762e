// down(act(up x)) or down(act(gate x) * up x): the hidden layer is made in the order in which it is multiplied.
#pragma once

#include "linear.h"

namespace jaxcls {

struct MlpArgs {
  int64_t tokens;
  const float* x;  // [tokens, dim]
  Matrix up, gate, down;  // gate.w is null where there is none
  Activation activation;
  const float* residual;  // [tokens, dim] or null: is added
  float* y;               // [tokens, dim]
};

// What one row of W gives for 16 tokens, as it is before an activation.
struct Row {
  __m512 scale, bias;

  Row(const Matrix& m, int64_t n)
      : scale(_mm512_set1_ps(m.scale ? m.scale[n] : 1.0f)), bias(_mm512_set1_ps(m.bias ? m.bias[n] : 0.0f)) {}
  __m512 Of(const float* sums, __m512 token_scale) const {
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_load_ps(sums), token_scale), scale, bias);
  }
};

// Hidden values in place of the sums of `up`; those of the gate are behind them. `token_scale`: of the first token, or null.
inline void Activate(const MlpArgs& a, float* sums, int64_t stride, const Chunk& chunk, const float* token_scale) {
  for (int64_t r = 0; r < chunk.rows; ++r) {
    const Row up(a.up, chunk.first + r), gate(a.gate, a.gate.w ? chunk.first + r : 0);
    for (int64_t t = r * stride; t < (r + 1) * stride; t += kLanes) {
      const __m512 scale = token_scale ? _mm512_loadu_ps(token_scale + t - r * stride) : _mm512_set1_ps(1.0f);
      __m512 v = up.Of(sums + t, scale);
      if (a.gate.w) {
        v = _mm512_mul_ps(v, Activate(gate.Of(sums + kChunk * stride + t, scale), a.activation));
      } else {
        v = Activate(v, a.activation);
      }
      _mm512_store_ps(sums + t, v);
    }
  }
}

// The hidden layer of all tokens. A token's scale for Int8 needs all of its values: until then they are floats.
template <class Type>
class Hidden {
  using Made = std::conditional_t<Type::kPerUnit == 4, F32, Type>;
  using Stored = std::conditional_t<Made::kPerUnit == 2, uint16_t, float>;

 public:
  Hidden(int64_t tokens, int64_t dim, int64_t few)
      : dim_(dim), made_(tokens, dim / Made::kPerUnit, few), layout_(tokens, dim / Type::kPerUnit, few) {
    thread_local Packed made, packed;
    made_values_ = &made;
    packed_ = Type::kPerUnit == 4 ? &packed : &made;
    made.Reserve<Made>(made_);
    packed_->Reserve<Type>(layout_);
  }

  const Layout& layout() const { return layout_; }
  const Packed& packed() const { return *packed_; }

  // Values [rows of the chunk, stride] of `count` tokens from `first` on.
  void Store(const float* values, int64_t stride, int64_t first, int64_t count, const Chunk& chunk) const {
    int32_t* units = made_values_->units.data();
    if (first >= made_.many()) {
      const Rows<Stored> rows{nullptr, nullptr, nullptr, Activation::kNone, nullptr, dim_,
                              reinterpret_cast<Stored*>(units + made_.rows())};
      return rows.Store(values, stride, 0, count, chunk);
    }
    for (int64_t t = 0; t < stride; t += kLanes) {
      const Layout::Column to = made_.column((first + t) / kLanes);
      for (int64_t r = 0; r < chunk.rows; r += Made::kPerUnit) {
        const __m512 one = _mm512_load_ps(values + r * stride + t);
        const __m512 two = Made::kPerUnit == 2 ? _mm512_load_ps(values + (r + 1) * stride + t) : one;
        StoreUnits(one, two, units + to.unit((chunk.first + r) / Made::kPerUnit), Made());
      }
    }
  }

  // To be called when all values are stored.
  template <class Pool>
  void Finish(Pool& pool) const {
    if constexpr (Type::kPerUnit == 4) {
      ForEach(pool, (made_.many() + kLanes - 1) / kLanes, [&](int64_t v) { Round(v); });
      packed_->PackFew<Type>(layout_, reinterpret_cast<const float*>(made_values_->units.data() + made_.rows()));
    }
  }

 private:
  // 16 tokens to Int8, each divided by its largest magnitude / 127.
  void Round(int64_t v) const {
    const int32_t* values = made_values_->units.data();
    const Layout::Column from = made_.column(v), to = layout_.column(v);
    auto value = [&](int64_t n) { return _mm512_castsi512_ps(_mm512_loadu_si512(values + from.unit(n))); };
    __m512 top = _mm512_setzero_ps();
    __mmask16 bad = 0;
    for (int64_t n = 0; n < dim_; ++n) {
      bad |= _mm512_cmp_ps_mask(value(n), value(n), _CMP_UNORD_Q);
      top = _mm512_max_ps(top, _mm512_abs_ps(value(n)));
    }
    const __m512 most = _mm512_set1_ps(127.0f), nan = _mm512_set1_ps(__builtin_nanf(""));
    _mm512_storeu_ps(packed_->scales.data() + v * kLanes, _mm512_mask_mov_ps(_mm512_div_ps(top, most), bad, nan));
    const __mmask16 some = _mm512_cmp_ps_mask(top, _mm512_setzero_ps(), _CMP_GT_OQ);
    const __m512 scale = _mm512_maskz_div_ps(some, most, top);
    for (int64_t u = 0; u < layout_.units; ++u) {
      __m512i unit = _mm512_setzero_si512();
      for (int i = 0; i < 4; ++i) {
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(value(4 * u + i), scale));
        const __m512i byte = _mm512_and_si512(whole, _mm512_set1_epi32(255));
        unit = _mm512_or_si512(unit, _mm512_sllv_epi32(byte, _mm512_set1_epi32(8 * i)));
      }
      _mm512_storeu_si512(packed_->units.data() + to.unit(u), _mm512_xor_si512(unit, _mm512_set1_epi8((char)0x80)));
    }
  }

  int64_t dim_;
  Layout made_, layout_;
  Packed *made_values_, *packed_;
};

template <class Type, size_t kMatrices>
void HiddenChunk(const MlpArgs& a, const Layout& layout, const Packed& packed, int64_t number, const Hidden<Type>& hidden) {
  thread_local ChunkMaker makers[2];
  Chunk chunks[kMatrices] = {makers[0].Make<Type>(a.up, number)};
  if constexpr (kMatrices == 2) chunks[1] = makers[1].Make<Type>(a.gate, number);
  const float* scales = Type::kPerUnit == 4 ? packed.scales.data() : nullptr;
  Multiply<Type>(layout, packed.units.data(), chunks, [&](float* sums, int64_t stride, int64_t first, int64_t count) {
    Activate(a, sums, stride, chunks[0], scales ? scales + first : nullptr);
    hidden.Store(sums, stride, first, count, chunks[0]);
  });
}

template <class Type, class Pool>
void RunMlp(Pool& pool, const MlpArgs& a) {
  const Layout layout(a.tokens, a.up.in_units, FewTokens(a.tokens, a.up.in_units));
  const Hidden<Type> hidden(a.tokens, a.up.out_dim, layout.few);
  ForChunks<Type>(pool, a.x, layout, a.up, [&](const Packed& packed, int64_t number) {
    if (a.gate.w) {
      HiddenChunk<Type, 2>(a, layout, packed, number, hidden);
    } else {
      HiddenChunk<Type, 1>(a, layout, packed, number, hidden);
    }
  });
  hidden.Finish(pool);
  ForEach(pool, Chunks(a.down), [&](int64_t number) {
    const Rows<float> to{a.down.scale, a.down.bias, nullptr, Activation::kNone, a.residual, a.down.out_dim, a.y};
    MultiplyChunk<Type>(hidden.layout(), hidden.packed(), a.down, number, to);
  });
}

}  // namespace jaxcls
