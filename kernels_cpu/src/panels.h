// Tokens as they are multiplied, and their product with rows of W.
#pragma once

#include <atomic>
#include <type_traits>
#include <vector>

#include "matmul.h"
#include "team.h"
#include "weights.h"

namespace jaxcls {

// Bytes of a panel of tokens, at most, if it is to stay in the L2 cache. Wide panels need few rows of W at a time: rows a
// multiple of 4 KiB apart share the same eight lines of an L1 cache.
constexpr int64_t kPanelBytes = 1 << 20;

// How many tokens at the end of a step are too few for a vector of their own. Summing the lanes of a dot product costs
// about as much as 128 units of it (where the two ways were measured to be equal); a vector costs the same with one token
// as with 16.
inline int64_t FewTokens(int64_t tokens, int64_t units) {
  const int64_t left = tokens % kLanes;
  return left * (units + 128) < kLanes * units ? left : 0;
}

// Where tokens lie: in panels [units, vectors, 16] of 4 vectors, or 2 if they are that long, and the last one of as many as
// it needs; behind them the `few` that fill no vector, [few, units].
struct Layout {
  int64_t tokens, units, few, width;

  Layout(int64_t tokens, int64_t units, int64_t few)
      : tokens(tokens), units(units), few(few), width(units * 4 * kLanes * 4 > kPanelBytes ? 2 : 4) {}

  int64_t many() const { return tokens - few; }
  int64_t panel_tokens() const { return width * kLanes; }
  int64_t panels() const { return (many() + panel_tokens() - 1) / panel_tokens(); }
  int64_t panel(int64_t p) const { return p * panel_tokens() * units; }
  int64_t rows() const { return panel(panels()); }
  int64_t size() const { return rows() + few * units; }
  int64_t vectors(int64_t p) const {
    return std::min(width, (many() - p * panel_tokens() + kLanes - 1) / kLanes);
  }
  // Vector `v` of all: its first unit, and how far the next ones are.
  struct Column {
    int64_t first, step;
    int64_t unit(int64_t u) const { return first + u * step; }
  };
  Column column(int64_t v) const {
    const int64_t p = v / width;
    return {panel(p) + v % width * kLanes, vectors(p) * kLanes};
  }
};

struct Packed {
  std::vector<int32_t> units;
  std::vector<float> scales;  // of tokens, for Int8
  int64_t operation = 0;

  template <class Type>
  void Reserve(const Layout& layout) {
    if ((int64_t)units.size() < layout.size()) units.resize(layout.size());
    const int64_t tokens = Type::kPerUnit == 4 ? layout.tokens + kLanes : 0;  // vectors read on
    if ((int64_t)scales.size() < tokens) scales.resize(tokens);
  }

  // x: [tokens, in_dim]
  template <class Type, class Input>
  void PackPanel(const Layout& layout, const Input* x, int64_t p) {
    const int64_t first = p * layout.panel_tokens(), in_dim = layout.units * Type::kPerUnit;
    Pack<Type>(x + first * in_dim, in_dim, std::min(layout.panel_tokens(), layout.many() - first), layout.units,
               (int)layout.vectors(p), units.data() + layout.panel(p), scales.data() + first);
  }

  // x: [few, in_dim]
  template <class Type, class Input>
  void PackFew(const Layout& layout, const Input* x) {
    PackRows<Type>(x, layout.units * Type::kPerUnit, layout.few, layout.units, units.data() + layout.rows(),
                   scales.data() + layout.many());
  }
};

// The rows of W that a thread begins an operation with: nobody has fetched them.
inline void FetchFirst(const Matrix& matrix, int64_t number) {
  const int64_t first = number * kChunk, rows = std::min<int64_t>(8, matrix.out_dim - first);
  const char* w = matrix.w + first * matrix.row_bytes;
  for (int64_t at = 0; at < rows * matrix.row_bytes; at += 64) __builtin_prefetch(w + at, 0, 2);
}

// Packs x and calls each(packed, number) for all chunks of `matrix`.
template <class Type, class Pool, class Input, class Each>
void ForChunks(Pool& pool, const Input* x, const Layout& layout, const Matrix& matrix, const Each& each) {
  // What a thread has packed another one has to fetch from its cache: a short text is packed by each for itself.
  static std::atomic<int64_t> operations{0};
  thread_local Packed own;
  Packed* together = layout.panels() > 1 ? &own : nullptr;
  const Input* few = x + layout.many() * layout.units * Type::kPerUnit;
  const int64_t operation = ++operations;
  if (together) {
    together->Reserve<Type>(layout);
    ForEach(pool, layout.panels(), [&](int64_t p) { together->PackPanel<Type>(layout, x, p); });
    together->PackFew<Type>(layout, few);
  }
  ForEach(pool, Chunks(matrix), [&](int64_t number) {
    Packed& packed = together ? *together : own;
    if (!together && packed.operation != operation) {
      FetchFirst(matrix, number);
      packed.Reserve<Type>(layout);
      if (layout.panels()) packed.PackPanel<Type>(layout, x, 0);
      packed.PackFew<Type>(layout, few);
      packed.operation = operation;
    }
    each(packed, number);
  });
}

// Calls f with a number from 1 to kMost that is known when it is compiled.
template <int kMost, class Function>
void WithVectors(int64_t vectors, const Function& f) {
  if constexpr (kMost > 1) {
    if (vectors < kMost) return WithVectors<kMost - 1>(vectors, f);
  }
  f(std::integral_constant<int, kMost>());
}

// All tokens times a chunk of each of some matrices; calls finish(sums, stride, first, count) with the sums of `count` tokens
// from `first` on, [kMatrices, kChunk, stride]. A chunk of W stays in the L2 cache while it is multiplied with one panel
// after another.
template <class Type, size_t kMatrices, class Finish>
void Multiply(const Layout& layout, const int32_t* x, const Chunk (&chunks)[kMatrices], const Finish& finish) {
  alignas(64) float sums[kMatrices * kChunk * 4 * kLanes];
  for (int64_t p = 0; p < layout.panels(); ++p) {
    const int64_t first = p * layout.panel_tokens();
    WithVectors<4>(layout.vectors(p), [&](auto vectors) {
      constexpr int64_t kStride = vectors * kLanes;
      for (size_t m = 0; m < kMatrices; ++m) {
        Product<Type, vectors>(chunks[m].w, layout.units, 1, chunks[m].rows, x + layout.panel(p), layout.units,
                               sums + m * kChunk * kStride, kStride, chunks[m].offsets, p == 0);
      }
      finish(sums, kStride, first, std::min(kStride, layout.many() - first));
    });
  }
  if (!layout.few) return;
  for (size_t m = 0; m < kMatrices; ++m) {
    DotProduct<Type>(chunks[m].w, chunks[m].rows, x + layout.rows(), layout.few, layout.units,
                     sums + m * kChunk * kLanes, chunks[m].offsets, layout.many() == 0);
  }
  finish(sums, kLanes, layout.many(), layout.few);
}

}  // namespace jaxcls
