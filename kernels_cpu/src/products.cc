// XLA FFI handlers of what is made of products: linear layers and attention.
#include "attention.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace jaxcls {
namespace {

namespace ffi = xla::ffi;

// Bytes of a panel of tokens, at most, if it is to stay in the L2 cache. Wide panels need few rows of W at a time: rows a
// multiple of 4 KiB apart share the same eight lines of an L1 cache.
constexpr int64_t kPanelBytes = 1 << 20;

// Rows of int8 weights as what they are multiplied as.
struct Rows {
  std::vector<int32_t> converted, offsets;

  // bfloat16: whole numbers up to 127 are exact.
  const int32_t* Widen(const int8_t* w, int64_t count) {
    if ((int64_t)converted.size() < count / 2) converted.resize(count / 2);
    for (int64_t i = 0; i < count; i += 2 * kLanes) {
      const __m512i low = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)(w + i)));
      const __m512i high = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)(w + i + kLanes)));
      _mm512_storeu_si512(converted.data() + i / 2, ToBf16(_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high)));
    }
    return converted.data();
  }

  // -128 times the sum of each row.
  const int32_t* Offsets(const int8_t* w, int64_t rows, int64_t in_dim) {
    if ((int64_t)offsets.size() < rows) offsets.resize(rows);
    const __m512i ones = _mm512_set1_epi8(1);
    for (int64_t r = 0; r < rows; ++r) {
      __m512i sum = _mm512_setzero_si512();
      for (int64_t i = 0; i < in_dim; i += 64) sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(w + r * in_dim + i));
      offsets[r] = -128 * _mm512_reduce_add_epi32(sum);
    }
    return offsets.data();
  }
};

// How many tokens at the end of a step are too few for a vector of their own. Summing the lanes of a dot product costs
// about as much as 128 units of it (where the two ways were measured to be equal); a vector costs the same with one token
// as with 16.
inline int64_t FewTokens(int64_t tokens, int64_t units) {
  const int64_t left = tokens % kLanes;
  return left * (units + 128) < kLanes * units ? left : 0;
}

// The tokens of an operation as they are multiplied: panels, and the few that are left.
struct Packed {
  std::vector<int32_t> units;
  std::vector<float> scales;
  int64_t operation = 0;

  void Resize(int64_t num_units, int64_t num_scales) {
    if ((int64_t)units.size() < num_units) units.resize(num_units);
    if ((int64_t)scales.size() < num_scales) scales.resize(num_scales);
  }
};

// The rows of W that a thread begins an operation with: nobody has fetched them.
inline void FetchFirst(const void* rows, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(rows) + at, 0, 2);
}

// `w`: [out_dim, in_dim]; `quantised`: in int8, which Bf16 converts chunk by chunk and Int8 multiplies as it is.
template <class Type, int kVectors, class Input, class Output>
void RunLinear(ffi::ThreadPool& pool, const Input* x, const LinearArgs<Output>& args, const void* w, bool quantised) {
  constexpr int64_t kPanel = kVectors * kLanes;
  const int64_t few = FewTokens(args.tokens, args.in_units), many = args.tokens - few;
  const int64_t panels = (many + kPanel - 1) / kPanel, panel_units = args.in_units * kPanel;
  const int64_t in_dim = args.in_units * Type::kPerUnit, row_bytes = in_dim * (quantised ? 1 : 4 / Type::kPerUnit);
  const int64_t last = (many - (panels - 1) * kPanel + kLanes - 1) / kLanes;
  auto vectors = [=](int64_t p) { return p + 1 < panels ? kVectors : last; };
  auto pack_panel = [=](Packed& packed, int64_t p) {
    Pack<Type>(x + p * kPanel * in_dim, in_dim, std::min(kPanel, many - p * kPanel), args.in_units, (int)vectors(p),
               packed.units.data() + p * panel_units, packed.scales.data() + p * kPanel);
  };
  auto pack_few = [=](Packed& packed) {
    PackRows<Type>(x + many * in_dim, in_dim, few, args.in_units, packed.units.data() + panels * panel_units,
                   packed.scales.data() + many);
  };
  auto make_room = [=](Packed& packed) {
    packed.Resize(panels * panel_units + few * args.in_units, Type::kPerUnit == 4 ? args.tokens : 0);
  };
  // What a thread has packed another one has to fetch from its cache: a short text is packed by each for itself.
  static std::atomic<int64_t> operations{0};
  thread_local Packed own;
  Packed* together = panels > 1 ? &own : nullptr;
  const int64_t operation = ++operations;
  if (together) {
    make_room(*together);
    ForEach(pool, panels, [=](int64_t p) { pack_panel(*together, p); });
    pack_few(*together);
  }
  // A chunk of W stays in the L2 cache while it is multiplied with one panel after another.
  const int64_t chunks = (args.out_dim + kChunk - 1) / kChunk;
  ForEach(pool, chunks, [=](int64_t number) {
    thread_local Rows rows;
    Chunk chunk{number * kChunk, std::min(kChunk, args.out_dim - number * kChunk), nullptr, nullptr};
    const auto* w_rows = static_cast<const char*>(w) + chunk.first * row_bytes;
    Packed& packed = together ? *together : own;
    if (!together && packed.operation != operation) {
      FetchFirst(w_rows, std::min<int64_t>(chunk.rows, 8) * row_bytes);
      make_room(packed);
      if (panels) pack_panel(packed, 0);
      pack_few(packed);
      packed.operation = operation;
    }
    LinearArgs<Output> mine = args;
    mine.token_scale = Type::kPerUnit == 4 ? packed.scales.data() : nullptr;
    chunk.w = reinterpret_cast<const int32_t*>(w_rows);
    if (quantised && Type::kPerUnit == 2) {
      chunk.w = rows.Widen(reinterpret_cast<const int8_t*>(w_rows), chunk.rows * in_dim);
    } else if (quantised) {
      chunk.offsets = rows.Offsets(reinterpret_cast<const int8_t*>(w_rows), chunk.rows, in_dim);
    }
    for (int64_t p = 0; p < panels; ++p) {
      AnyPanel<Type, kVectors>(vectors(p), mine, packed.units.data() + p * panel_units, p * kPanel, chunk);
    }
    if (few) LinearRows<Type>(mine, packed.units.data() + panels * panel_units, many, chunk);
  });
}

template <class Type, class Input, class Output>
void ChoosePanel(ffi::ThreadPool& pool, const Input* x, const LinearArgs<Output>& args, const void* w,
                 bool quantised) {
  if (args.in_units * 4 * kLanes * 4 > kPanelBytes) {
    RunLinear<Type, 2>(pool, x, args, w, quantised);
  } else {
    RunLinear<Type, 4>(pool, x, args, w, quantised);
  }
}

// How many of the rows are tokens: one number, or none, which means all.
using TokenCount = ffi::Buffer<ffi::DataType::S32>;

template <class Type, class Input>
ffi::Error LinearFrom(ffi::ThreadPool& pool, ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer scale,
                      ffi::AnyBuffer bias, ffi::AnyBuffer factor, ffi::AnyBuffer residual, TokenCount num_tokens,
                      ffi::Result<ffi::AnyBuffer> y, int64_t activation) {
  const auto shape = w.dimensions();
  const int64_t rows = x.dimensions()[0];
  auto fill = [&](auto* out) {
    LinearArgs<std::remove_pointer_t<decltype(out)>> args{};
    args.tokens = num_tokens.element_count() ? std::clamp<int64_t>(num_tokens.typed_data()[0], 0, rows) : rows;
    args.in_units = shape[1] / Type::kPerUnit;
    args.out_dim = shape[0];
    args.scale = scale.element_count() ? reinterpret_cast<const float*>(scale.untyped_data()) : nullptr;
    args.bias = bias.element_count() ? reinterpret_cast<const float*>(bias.untyped_data()) : nullptr;
    args.factor = factor.element_count() ? reinterpret_cast<const float*>(factor.untyped_data()) : nullptr;
    args.residual = residual.element_count() ? reinterpret_cast<const float*>(residual.untyped_data()) : nullptr;
    args.y = out;
    args.activation = static_cast<Activation>(activation);
    ChoosePanel<Type>(pool, reinterpret_cast<const Input*>(x.untyped_data()), args, w.untyped_data(),
                      w.element_type() == ffi::DataType::S8);
    std::memset(out + args.tokens * args.out_dim, 0, (rows - args.tokens) * args.out_dim * sizeof(*out));
  };
  if (y->element_type() == ffi::DataType::F32) {
    fill(reinterpret_cast<float*>(y->untyped_data()));
  } else {
    fill(reinterpret_cast<uint16_t*>(y->untyped_data()));
  }
  return ffi::Error::Success();
}

// `rounded`: the product of int8 weights is one of int8 inputs too, each token with its own scale.
ffi::Error Linear(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer scale, ffi::AnyBuffer bias,
                  ffi::AnyBuffer factor, ffi::AnyBuffer residual, TokenCount num_tokens,
                  ffi::Result<ffi::AnyBuffer> y, int64_t activation, bool rounded) {
  const auto from = x.element_type(), weights = w.element_type();
  if (weights == ffi::DataType::F32 && from == ffi::DataType::F32) {
    return LinearFrom<F32, float>(pool, x, w, scale, bias, factor, residual, num_tokens, y, activation);
  }
  if (weights == ffi::DataType::S8 && rounded && from == ffi::DataType::F32) {
    return LinearFrom<Int8, float>(pool, x, w, scale, bias, factor, residual, num_tokens, y, activation);
  }
  if (weights == ffi::DataType::S8 && rounded && from == ffi::DataType::BF16) {
    return LinearFrom<Int8, uint16_t>(pool, x, w, scale, bias, factor, residual, num_tokens, y, activation);
  }
  const bool bf16 = weights == ffi::DataType::BF16 || weights == ffi::DataType::S8;
  if (bf16 && from == ffi::DataType::F32) {
    return LinearFrom<Bf16, float>(pool, x, w, scale, bias, factor, residual, num_tokens, y, activation);
  }
  if (bf16 && from == ffi::DataType::BF16) {
    return LinearFrom<Bf16, uint16_t>(pool, x, w, scale, bias, factor, residual, num_tokens, y, activation);
  }
  return ffi::Error::InvalidArgument("jaxcls_linear: unsupported dtypes");
}

template <class Input>
ffi::Error AttentionOf(ffi::ThreadPool& pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v,
                       ffi::Buffer<ffi::DataType::S32> segment_ids, ffi::Result<ffi::AnyBuffer> out, float scale,
                       bool causal, int64_t window) {
  AttentionArgs<Input> args;
  args.num_heads = q.dimensions()[1];
  args.num_kv_heads = k.dimensions()[1];
  args.head_dim = q.dimensions()[2];
  args.q = reinterpret_cast<const Input*>(q.untyped_data());
  args.k = reinterpret_cast<const Input*>(k.untyped_data());
  args.v = reinterpret_cast<const Input*>(v.untyped_data());
  args.out = reinterpret_cast<Input*>(out->untyped_data());
  args.scale = scale;
  args.causal = causal;
  args.window = window;
  const int32_t* segments = segment_ids.typed_data();
  const int64_t tokens = q.dimensions()[0], row = args.num_heads * args.head_dim;
  struct Run {
    int64_t start, length;
  };
  std::vector<Run> runs;
  for (int64_t t = 0; t < tokens;) {
    int64_t end = t + 1;
    while (end < tokens && segments[end] == segments[t]) ++end;
    if (segments[t] >= 0) {
      runs.push_back({t, end - t});
    } else {
      std::memset(args.out + t * row, 0, (end - t) * row * sizeof(Input));  // padding
    }
    t = end;
  }
  ForEach(pool, runs.size() * args.num_kv_heads, [&args, &runs](int64_t piece) {
    thread_local AttentionScratch scratch;
    const Run& run = runs[piece / args.num_kv_heads];
    const int64_t head = piece % args.num_kv_heads, stride = args.num_kv_heads * args.head_dim;
    const int64_t first = run.start * stride + head * args.head_dim;
    const Sequence<Input> sequence{run.start, run.length, 0, args.k + first, args.v + first, stride};
    AttendSequence(args, sequence, head, scratch);
  });
  return ffi::Error::Success();
}

ffi::Error Attention(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v,
                     ffi::Buffer<ffi::DataType::S32> segment_ids, ffi::Result<ffi::AnyBuffer> out, float scale,
                     bool causal, int64_t window) {
  switch (q.element_type()) {
    case ffi::DataType::F32:
      return AttentionOf<float>(pool, q, k, v, segment_ids, out, scale, causal, window);
    case ffi::DataType::BF16:
      return AttentionOf<uint16_t>(pool, q, k, v, segment_ids, out, scale, causal, window);
    default:
      return ffi::Error::InvalidArgument("jaxcls_attention: unsupported dtype");
  }
}

using Ints = ffi::Buffer<ffi::DataType::S32>;

template <class Input>
PagesOf<Input> Pages(ffi::AnyBuffer pages) {
  const auto shape = pages.dimensions();
  return {reinterpret_cast<Input*>(pages.untyped_data()), shape[0], shape[1], shape[2] / 2, shape[3]};
}

template <class Input>
ffi::Error PagedAttentionOf(ffi::ThreadPool& pool, ffi::AnyBuffer q, ffi::AnyBuffer kv_pages, Ints kv_lens, Ints tables,
                            Ints cu_q_lens, Ints num_seqs, ffi::Result<ffi::AnyBuffer> out, float scale,
                            int64_t window) {
  const PagesOf<Input> pages = Pages<Input>(kv_pages);
  AttentionArgs<Input> args{};
  args.num_heads = q.dimensions()[1];
  args.num_kv_heads = pages.num_kv_heads;
  args.head_dim = pages.head_dim;
  args.q = reinterpret_cast<const Input*>(q.untyped_data());
  args.out = reinterpret_cast<Input*>(out->untyped_data());
  args.scale = scale;
  args.causal = true;
  args.window = window;
  const int64_t seqs = std::clamp<int64_t>(num_seqs.typed_data()[0], 0, kv_lens.element_count());
  const int64_t tokens = q.dimensions()[0], row = args.num_heads * args.head_dim, width = tables.dimensions()[1];
  const int32_t *starts = cu_q_lens.typed_data(), *lens = kv_lens.typed_data(), *table = tables.typed_data();
  for (int64_t s = 0; s < seqs; ++s) {
    const bool fits = starts[s] >= 0 && starts[s] <= starts[s + 1] && starts[s + 1] <= tokens &&
                      lens[s] >= starts[s + 1] - starts[s] && lens[s] <= width * pages.page_size;
    if (!fits) return ffi::Error::InvalidArgument("jaxcls_paged_attention: lengths that contradict each other");
    for (int64_t page = 0; page * pages.page_size < lens[s]; ++page) {
      const int32_t number = table[s * width + page];
      if (number < 0 || number >= pages.num_pages) {
        return ffi::Error::InvalidArgument("jaxcls_paged_attention: a page that is not there");
      }
    }
  }
  const int64_t end = seqs ? starts[seqs] : 0;
  std::memset(args.out + end * row, 0, (tokens - end) * row * sizeof(Input));
  ForEach(pool, seqs * args.num_kv_heads, [=, &args, &pages](int64_t piece) {
    thread_local AttentionScratch scratch;
    thread_local std::vector<Input> gathered;
    const int64_t s = piece / args.num_kv_heads, head = piece % args.num_kv_heads;
    const int64_t queries = starts[s + 1] - starts[s];
    if (!queries) return;
    const Input* kv = Gather(pages, table + s * width, lens[s], head, gathered);
    const Sequence<Input> sequence{starts[s], queries, lens[s] - queries, kv, kv + args.head_dim, 2 * args.head_dim};
    AttendSequence(args, sequence, head, scratch);
  });
  return ffi::Error::Success();
}

ffi::Error PagedAttention(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer kv_pages, Ints kv_lens, Ints tables,
                          Ints cu_q_lens, Ints num_seqs, ffi::Result<ffi::AnyBuffer> out, float scale, int64_t window) {
  switch (q.element_type()) {
    case ffi::DataType::F32:
      return PagedAttentionOf<float>(pool, q, kv_pages, kv_lens, tables, cu_q_lens, num_seqs, out, scale, window);
    case ffi::DataType::BF16:
      return PagedAttentionOf<uint16_t>(pool, q, kv_pages, kv_lens, tables, cu_q_lens, num_seqs, out, scale, window);
    default:
      return ffi::Error::InvalidArgument("jaxcls_paged_attention: unsupported dtype");
  }
}

// `before` and `after` are the same memory: XLA copies where it cannot give it away.
template <class Input>
ffi::Error WritePagesOf(ffi::AnyBuffer before, ffi::AnyBuffer k, ffi::AnyBuffer v, Ints slots,
                        ffi::Result<ffi::AnyBuffer> after) {
  const PagesOf<Input> pages = Pages<Input>(*after);
  if (before.untyped_data() != after->untyped_data()) {
    std::memcpy(after->untyped_data(), before.untyped_data(), before.size_bytes());
  }
  const auto *keys = reinterpret_cast<const Input*>(k.untyped_data()), *values = reinterpret_cast<const Input*>(v.untyped_data());
  const int64_t all = pages.num_pages * pages.page_size, dim = pages.head_dim;
  for (int64_t t = 0; t < (int64_t)slots.element_count(); ++t) {
    const int64_t slot = slots.typed_data()[t];
    if (slot < 0 || slot >= all) continue;
    for (int64_t head = 0; head < pages.num_kv_heads; ++head) {
      const int64_t from = (t * pages.num_kv_heads + head) * dim;
      Input* to = pages.slot(slot) + 2 * head * dim;
      std::memcpy(to, keys + from, dim * sizeof(Input));
      std::memcpy(to + dim, values + from, dim * sizeof(Input));
    }
  }
  return ffi::Error::Success();
}

ffi::Error WritePages(ffi::AnyBuffer before, ffi::AnyBuffer k, ffi::AnyBuffer v, Ints slots,
                      ffi::Result<ffi::AnyBuffer> after) {
  switch (before.element_type()) {
    case ffi::DataType::F32:
      return WritePagesOf<float>(before, k, v, slots, after);
    case ffi::DataType::BF16:
      return WritePagesOf<uint16_t>(before, k, v, slots, after);
    default:
      return ffi::Error::InvalidArgument("jaxcls_write_pages: unsupported dtype");
  }
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_paged_attention, PagedAttention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Ints>()
                                  .Arg<Ints>()
                                  .Arg<Ints>()
                                  .Arg<Ints>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale")
                                  .Attr<int64_t>("window"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_write_pages, WritePages,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Ints>()
                                  .Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_linear, Linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<TokenCount>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("activation")
                                  .Attr<bool>("rounded"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_attention, Attention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::DataType::S32>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale")
                                  .Attr<bool>("causal")
                                  .Attr<int64_t>("window"));

}  // namespace jaxcls
