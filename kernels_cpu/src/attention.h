// Softmax attention inside each sequence of a packed stream: exactly the keys it has, no padding, no masked products.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "matmul.h"

namespace jaxcls {

template <class Input>
struct AttentionArgs {
  int64_t num_heads, num_kv_heads, head_dim;
  const Input *q, *k, *v;  // [tokens, heads, head_dim]
  Input* out;              // as q
  float scale;
  bool causal;
  int64_t window;  // a token sees those at a distance below it
};

// The queries of one sequence, and the keys and values that the heads of one key head see.
template <class Input>
struct Sequence {
  int64_t start, queries;  // in the stream of queries
  int64_t past;            // keys before the first query's own
  int64_t keys;            // all of them
  const Input *k, *v;      // of the first key
  int64_t stride;          // from one key to the next
};

template <class Input>
struct UnitOf;
template <>
struct UnitOf<float> {
  using Type = F32;
  static constexpr int kExpDegree = 5;
};
template <>
struct UnitOf<uint16_t> {
  using Type = Bf16;
  static constexpr int kExpDegree = 3;  // weights are rounded to 8 bits
};

// Scratch of one thread; grows to what the longest sequence needs.
struct AttentionScratch {
  std::vector<float> storage;
  int32_t *query, *value, *weight;
  float *score, *sum;

  void Reserve(int64_t length, int64_t head_dim, int64_t panel) {
    const int64_t keys = (length + 1) / 2 * 2;
    const int64_t sizes[] = {head_dim * panel, keys * head_dim, keys * panel, keys * panel, head_dim * panel};
    int64_t total = kLanes;
    for (int64_t size : sizes) total += (size + kLanes - 1) / kLanes * kLanes;
    if ((int64_t)storage.size() < total) storage.resize(total);
    auto at = (reinterpret_cast<uintptr_t>(storage.data()) + 63) / 64 * 64;
    float* next = reinterpret_cast<float*>(at);
    auto take = [&](int64_t size) {
      float* start = next;
      next += (size + kLanes - 1) / kLanes * kLanes;
      return start;
    };
    query = reinterpret_cast<int32_t*>(take(sizes[0]));
    value = reinterpret_cast<int32_t*>(take(sizes[1]));
    weight = reinterpret_cast<int32_t*>(take(sizes[2]));
    score = take(sizes[3]);
    sum = take(sizes[4]);
  }
};

// Values as units of the key axis: [key units, head_dim]. Floats are that already.
inline const int32_t* PackValues(const float* v, int64_t, int64_t, int64_t, int32_t*) {
  return reinterpret_cast<const int32_t*>(v);
}

inline const int32_t* PackValues(const uint16_t* v, int64_t stride, int64_t length, int64_t head_dim, int32_t* out) {
  for (int64_t key = 0; key < length; key += 2) {
    for (int64_t h = 0; h < head_dim; h += kLanes) {
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(v + key * stride + h)));
      __m512i high = _mm512_setzero_si512();
      if (key + 1 < length) {
        high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(v + (key + 1) * stride + h)));
      }
      _mm512_storeu_si512(out + key / 2 * head_dim + h, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
  return out;
}

// What a query may not see scores so little that its weight is exactly zero.
constexpr float kHidden = -1e30f;

// Hides from 16 queries, the first of them at `position`, what they may not see of `keys` keys from `low` on.
template <class Input>
void Hide(const AttentionArgs<Input>& a, int64_t position, int64_t low, int64_t keys, float* scores, int64_t stride) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i query = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)position));
  const __m512i furthest = _mm512_set1_epi32((int)std::min<int64_t>(a.window - 1, 1 << 30));
  for (int64_t j = 0; j < keys; ++j) {
    const __m512i distance = _mm512_sub_epi32(query, _mm512_set1_epi32((int)(low + j)));
    __mmask16 seen = _mm512_cmple_epi32_mask(_mm512_abs_epi32(distance), furthest);
    if (a.causal) seen &= _mm512_cmpge_epi32_mask(distance, _mm512_setzero_si512());
    _mm512_mask_storeu_ps(scores + j * stride, (__mmask16)~seen, _mm512_set1_ps(kHidden));
  }
}

// Up to kVectors * 16 queries of one head, from `first` on, against keys [begin, end) of their sequence.
template <class Input, int kVectors>
void AttendPanel(const AttentionArgs<Input>& a, const Sequence<Input>& s, int64_t first, int64_t head,
                 const int32_t* values, int64_t value_step, AttentionScratch& scratch) {
  using Type = typename UnitOf<Input>::Type;
  constexpr int kPer = Type::kPerUnit;
  constexpr int64_t kPanel = kVectors * kLanes;
  // Scores of so many keys at a time are looked through while they are in the L1 cache.
  constexpr int64_t kKeys = 48;
  const int64_t q_stride = a.num_heads * a.head_dim, position = s.past + first;
  const int64_t queries = std::min<int64_t>(kPanel, s.queries - first);
  const int64_t begin = std::max<int64_t>(0, position - a.window + 1);
  const int64_t end = a.causal ? position + queries : std::min<int64_t>(s.keys, position + queries - 1 + a.window);
  // Keys are taken in whole units; the value of one beyond the end is multiplied by a weight of zero.
  const int64_t low = begin / kPer * kPer, keys = end - low, units = (keys + kPer - 1) / kPer;
  const bool masked = a.causal || begin > 0 || a.window < s.keys;

  Pack<Type>(a.q + (s.start + first) * q_stride + head * a.head_dim, q_stride, queries, a.head_dim / kPer, kVectors,
             scratch.query);
  __m512 top[kVectors], total[kVectors];
  for (int v = 0; v < kVectors; ++v) top[v] = _mm512_set1_ps(kHidden);
  for (int64_t key = 0; key < keys; key += kKeys) {
    const int64_t count = std::min(kKeys, keys - key);
    float* scores = scratch.score + key * kPanel;
    Product<Type, kVectors>(reinterpret_cast<const int32_t*>(s.k + (low + key) * s.stride), s.stride / kPer, 1, count,
                            scratch.query, a.head_dim / kPer, scores, kPanel);
    for (int v = 0; masked && v < kVectors; ++v) {
      Hide(a, position + v * kLanes, low + key, count, scores + v * kLanes, kPanel);
    }
    for (int64_t j = 0; j < count; ++j) {
      for (int v = 0; v < kVectors; ++v) {
        top[v] = _mm512_max_ps(top[v], _mm512_loadu_ps(scores + j * kPanel + v * kLanes));
      }
    }
  }
  // exp(x) is 2^(x log2(e)).
  const __m512 scale = _mm512_set1_ps(a.scale * 1.44269504088896f);
  for (int v = 0; v < kVectors; ++v) {
    top[v] = _mm512_mul_ps(top[v], scale);
    total[v] = _mm512_setzero_ps();
  }
  for (int64_t u = 0; u < units; ++u) {
    for (int v = 0; v < kVectors; ++v) {
      auto weight = [&](int64_t j) {
        const __m512 score = _mm512_loadu_ps(scratch.score + j * kPanel + v * kLanes);
        const __m512 w = Exp2<UnitOf<Input>::kExpDegree>(_mm512_fmsub_ps(score, scale, top[v]));
        total[v] = _mm512_add_ps(total[v], w);
        return w;
      };
      const __m512 one = weight(u * kPer);
      const __m512 two = kPer == 2 && u * kPer + 1 < keys ? weight(u * kPer + 1) : _mm512_setzero_ps();
      StoreUnits(one, two, scratch.weight + u * kPanel + v * kLanes, Type());
    }
  }
  Product<Type, kVectors>(values + low / kPer * value_step, 1, value_step, a.head_dim, scratch.weight, units,
                          scratch.sum, kPanel);
  for (int64_t h = 0; h < a.head_dim; h += kLanes) {
    for (int v = 0; v < kVectors; ++v) {
      __m512i block[kLanes];
      const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1.0f), total[v]);
      for (int i = 0; i < kLanes; ++i) {
        block[i] = _mm512_castps_si512(
            _mm512_mul_ps(_mm512_loadu_ps(scratch.sum + (h + i) * kPanel + v * kLanes), inverse));
      }
      Transpose(block);
      const int64_t count = std::min<int64_t>(kLanes, queries - v * kLanes);
      for (int64_t t = 0; t < count; ++t) {
        const int64_t token = s.start + first + v * kLanes + t;
        Store(a.out + token * q_stride + head * a.head_dim + h, 0xffff, _mm512_castsi512_ps(block[t]));
      }
    }
  }
}

// All queries of the heads that share one key head, in one sequence.
template <class Input>
void AttendSequence(const AttentionArgs<Input>& a, const Sequence<Input>& s, int64_t kv_head,
                    AttentionScratch& scratch) {
  using Type = typename UnitOf<Input>::Type;
  scratch.Reserve(s.keys, a.head_dim, 4 * kLanes);
  const int64_t group = a.num_heads / a.num_kv_heads;
  const int32_t* values = PackValues(s.v, s.stride, s.keys, a.head_dim, scratch.value);
  const int64_t step = Type::kPerUnit == 1 ? s.stride : a.head_dim;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int64_t first = 0; first < s.queries;) {
      const int64_t left = s.queries - first;
      if (left > 2 * kLanes) {
        AttendPanel<Input, 4>(a, s, first, head, values, step, scratch);
        first += 4 * kLanes;
      } else if (left > kLanes) {
        AttendPanel<Input, 2>(a, s, first, head, values, step, scratch);
        first += 2 * kLanes;
      } else {
        AttendPanel<Input, 1>(a, s, first, head, values, step, scratch);
        first += kLanes;
      }
    }
  }
}

// Pages of `page_size` tokens: [pages, page_size, num_kv_heads, 2, head_dim], a key and its value side by side.
template <class Input>
struct PagesOf {
  Input* data;
  int64_t num_pages, page_size, num_kv_heads, head_dim;

  int64_t token() const { return 2 * num_kv_heads * head_dim; }
  Input* slot(int64_t index) const { return data + index * token(); }
};

// Keys and values of one head, of the first `count` tokens of a sequence: [count, 2, head_dim].
template <class Input>
const Input* Gather(const PagesOf<Input>& pages, const int32_t* table, int64_t count, int64_t kv_head,
                    std::vector<Input>& out) {
  const int64_t width = 2 * pages.head_dim;
  if ((int64_t)out.size() < count * width) out.resize(count * width);
  for (int64_t t = 0; t < count; ++t) {
    const int64_t index = table[t / pages.page_size] * pages.page_size + t % pages.page_size;
    std::memcpy(out.data() + t * width, pages.slot(index) + kv_head * width, width * sizeof(Input));
  }
  return out.data();
}

}  // namespace jaxcls
