// XLA FFI handlers of attention, and of the pages that it reads.
#include "attention.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace jaxcls {
namespace {

namespace ffi = xla::ffi;

using Ints = ffi::Buffer<ffi::DataType::S32>;

// The queries of a sequence in the stream of queries, and its keys in theirs; `past`: those before the first query's own.
struct Run {
  int64_t first_query, queries, past, first_key, keys;
};

// `query_tokens`: which token each row of q is of, a negative number: of none. None of them: q is of all tokens in order.
template <class Input>
ffi::Error AttentionOf(ffi::ThreadPool& pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v,
                       Ints segment_ids, Ints query_tokens, ffi::Result<ffi::AnyBuffer> out, float scale, bool causal,
                       int64_t window) {
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
  const int64_t tokens = k.dimensions()[0], row = args.num_heads * args.head_dim, some = query_tokens.element_count();
  auto nothing = [&](int64_t first, int64_t count) {
    std::memset(args.out + first * row, 0, count * row * sizeof(Input));
  };
  std::vector<Run> runs;
  for (int64_t i = 0; i < some; ++i) {
    const int64_t t = query_tokens.typed_data()[i];
    if (t >= tokens) return ffi::Error::InvalidArgument("jaxcls_attention: a query of a token that is not there");
    if (t < 0 || segments[t] < 0) {
      nothing(i, 1);
      continue;
    }
    int64_t begin = t, end = t + 1;
    while (begin > 0 && segments[begin - 1] == segments[t]) --begin;
    while (end < tokens && segments[end] == segments[t]) ++end;
    runs.push_back({i, 1, t - begin, begin, end - begin});
  }
  for (int64_t t = 0; !some && t < tokens;) {
    int64_t end = t + 1;
    while (end < tokens && segments[end] == segments[t]) ++end;
    if (segments[t] >= 0) {
      runs.push_back({t, end - t, 0, t, end - t});
    } else {
      nothing(t, end - t);
    }
    t = end;
  }
  ForEach(pool, runs.size() * args.num_kv_heads, [&args, &runs](int64_t piece) {
    thread_local AttentionScratch scratch;
    const Run& run = runs[piece / args.num_kv_heads];
    const int64_t head = piece % args.num_kv_heads, stride = args.num_kv_heads * args.head_dim;
    const int64_t at = run.first_key * stride + head * args.head_dim;
    const Sequence<Input> sequence{run.first_query, run.queries, run.past, run.keys, args.k + at, args.v + at, stride};
    AttendSequence(args, sequence, head, scratch);
  });
  return ffi::Error::Success();
}

ffi::Error Attention(ffi::ThreadPool pool, ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, Ints segment_ids,
                     Ints query_tokens, ffi::Result<ffi::AnyBuffer> out, float scale, bool causal, int64_t window) {
  switch (q.element_type()) {
    case ffi::DataType::F32:
      return AttentionOf<float>(pool, q, k, v, segment_ids, query_tokens, out, scale, causal, window);
    case ffi::DataType::BF16:
      return AttentionOf<uint16_t>(pool, q, k, v, segment_ids, query_tokens, out, scale, causal, window);
    default:
      return ffi::Error::InvalidArgument("jaxcls_attention: unsupported dtype");
  }
}

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
    const int64_t past = lens[s] - queries;
    const Sequence<Input> sequence{starts[s], queries, past, lens[s], kv, kv + args.head_dim, 2 * args.head_dim};
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_attention, Attention,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Ints>()
                                  .Arg<Ints>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale")
                                  .Attr<bool>("causal")
                                  .Attr<int64_t>("window"));

}  // namespace jaxcls
