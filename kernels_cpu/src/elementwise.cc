// XLA FFI handlers of what is done to every token on its own, without a product.
#include "simd.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace jaxcls {
namespace {

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::DataType::F32>;

// Values of a piece: enough to be worth another thread.
constexpr int64_t kPieceSize = 1 << 14;

inline __mmask16 Rest(int64_t count) { return count >= kLanes ? 0xffff : (__mmask16)((1u << count) - 1); }

// Calls each(v, i, mask) with 16 values of a row at a time, from i on; those beyond its end are zero.
template <class Each>
void ForRow(const float* x, int64_t dim, Each each) {
  for (int64_t i = 0; i < dim; i += kLanes) {
    const __mmask16 mask = Rest(dim - i);
    each(_mm512_maskz_loadu_ps(mask, x + i), i, mask);
  }
}

void NormRow(const float* x, const float* weight, const float* bias, int64_t dim, float eps, bool centred, float* y) {
  __m512 sum = _mm512_setzero_ps();
  if (centred) ForRow(x, dim, [&](__m512 v, int64_t, __mmask16) { sum = _mm512_add_ps(sum, v); });
  const __m512 mean = _mm512_set1_ps(centred ? _mm512_reduce_add_ps(sum) / dim : 0.0f);
  __m512 squares = _mm512_setzero_ps();
  ForRow(x, dim, [&](__m512 v, int64_t, __mmask16 mask) {
    const __m512 d = _mm512_maskz_sub_ps(mask, v, mean);
    squares = _mm512_fmadd_ps(d, d, squares);
  });
  const __m512 root = _mm512_sqrt_ps(_mm512_set1_ps(_mm512_reduce_add_ps(squares) / dim + eps));
  const __m512 factor = _mm512_div_ps(_mm512_set1_ps(1.0f), root);
  ForRow(x, dim, [&](__m512 v, int64_t i, __mmask16 mask) {
    const __m512 scaled = _mm512_mul_ps(_mm512_sub_ps(v, mean), factor);
    const __m512 added = bias ? _mm512_maskz_loadu_ps(mask, bias + i) : _mm512_setzero_ps();
    _mm512_mask_storeu_ps(y + i, mask, _mm512_fmadd_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + i), added));
  });
}

ffi::Error Norm(ffi::ThreadPool pool, Floats x, Floats weight, Floats bias, ffi::Result<Floats> y, float eps,
                bool centred) {
  const int64_t dim = weight.element_count(), rows = dim ? x.element_count() / dim : 0;
  const int64_t per_piece = std::max<int64_t>(1, dim ? kPieceSize / dim : 1);
  const float* added = bias.element_count() ? bias.typed_data() : nullptr;
  ForEach(pool, (rows + per_piece - 1) / per_piece, [&](int64_t piece) {
    for (int64_t row = piece * per_piece; row < std::min(rows, (piece + 1) * per_piece); ++row) {
      NormRow(x.typed_data() + row * dim, weight.typed_data(), added, dim, eps, centred, y->typed_data() + row * dim);
    }
  });
  return ffi::Error::Success();
}

// One head of one token.
template <class Output>
void RotateHead(const float* x, const float* cos, const float* sin, int64_t half, int64_t dim, Output* y) {
  ForRow(x, half, [&](__m512 first, int64_t i, __mmask16 mask) {
    const __m512 second = _mm512_maskz_loadu_ps(mask, x + half + i);
    const __m512 c = _mm512_maskz_loadu_ps(mask, cos + i), s = _mm512_maskz_loadu_ps(mask, sin + i);
    Store(y + i, mask, _mm512_fmsub_ps(first, c, _mm512_mul_ps(second, s)));
    Store(y + half + i, mask, _mm512_fmadd_ps(second, c, _mm512_mul_ps(first, s)));
  });
  Output* rest = y + 2 * half;
  ForRow(x + 2 * half, dim - 2 * half, [&](__m512 v, int64_t i, __mmask16 mask) { Store(rest + i, mask, v); });
}

template <class Output>
void RotateTo(ffi::ThreadPool& pool, const Floats& x, const Floats& cos, const Floats& sin, Output* y) {
  const auto shape = x.dimensions();
  const int64_t tokens = shape[0], heads = shape[1], dim = shape[2], half = cos.dimensions()[1];
  const int64_t per_piece = std::max<int64_t>(1, kPieceSize / std::max<int64_t>(1, heads * dim));
  ForEach(pool, (tokens + per_piece - 1) / per_piece, [&](int64_t piece) {
    for (int64_t t = piece * per_piece; t < std::min(tokens, (piece + 1) * per_piece); ++t) {
      const float *c = cos.typed_data() + t * half, *s = sin.typed_data() + t * half;
      for (int64_t head = t * heads; head < (t + 1) * heads; ++head) {
        RotateHead(x.typed_data() + head * dim, c, s, half, dim, y + head * dim);
      }
    }
  });
}

ffi::Error Rotate(ffi::ThreadPool pool, Floats x, Floats cos, Floats sin, ffi::Result<ffi::AnyBuffer> y) {
  if (y->element_type() == ffi::DataType::F32) {
    RotateTo(pool, x, cos, sin, reinterpret_cast<float*>(y->untyped_data()));
  } else if (y->element_type() == ffi::DataType::BF16) {
    RotateTo(pool, x, cos, sin, reinterpret_cast<uint16_t*>(y->untyped_data()));
  } else {
    return ffi::Error::InvalidArgument("jaxcls_rotate: unsupported dtype");
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_norm, Norm,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Attr<float>("eps")
                                  .Attr<bool>("centred"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_rotate, Rotate,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Ret<ffi::AnyBuffer>());

}  // namespace jaxcls
