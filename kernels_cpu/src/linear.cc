// XLA FFI handlers of linear layers, alone and as the two or three of a feed-forward block.
#include <cstring>

#include "mlp.h"
#include "xla/ffi/api/ffi.h"

namespace jaxcls {
namespace {

namespace ffi = xla::ffi;

// How many of the rows are tokens: one number, or none, which means all.
using TokenCount = ffi::Buffer<ffi::DataType::S32>;

const float* FloatsOrNull(const ffi::AnyBuffer& buffer) {
  return buffer.element_count() ? reinterpret_cast<const float*>(buffer.untyped_data()) : nullptr;
}

template <class Type>
Matrix MatrixOf(const ffi::AnyBuffer& w, const ffi::AnyBuffer& scale, const ffi::AnyBuffer& bias) {
  const auto shape = w.dimensions();
  const bool int8 = w.element_type() == ffi::DataType::S8;
  const int64_t row_bytes = shape[1] * (int8 ? 1 : 4 / Type::kPerUnit);
  const char* data = w.element_count() ? reinterpret_cast<const char*>(w.untyped_data()) : nullptr;
  return {data, int8, shape[0], shape[1] / Type::kPerUnit, row_bytes, FloatsOrNull(scale), FloatsOrNull(bias)};
}

int64_t Tokens(const TokenCount& count, int64_t rows) {
  return count.element_count() ? std::clamp<int64_t>(count.typed_data()[0], 0, rows) : rows;
}

template <class Output>
void ZeroFrom(int64_t token, int64_t rows, int64_t dim, Output* y) {
  std::memset(y + token * dim, 0, (rows - token) * dim * sizeof(Output));
}

// Calls f with the type that weights are multiplied as. `rounded`: the product of int8 weights is one of int8 inputs too,
// each token with its own scale.
template <class Function>
ffi::Error WithType(ffi::DataType weights, bool rounded, const Function& f) {
  switch (weights) {
    case ffi::DataType::F32:
      return f(F32());
    case ffi::DataType::BF16:
      return f(Bf16());
    case ffi::DataType::S8:
      return rounded ? f(Int8()) : f(Bf16());
    default:
      return ffi::Error::InvalidArgument("jaxcls_linear: unsupported dtype of weights");
  }
}

template <class Type, class Input, class Output>
void RunLinear(ffi::ThreadPool& pool, const Input* x, int64_t tokens, const Matrix& matrix, const Rows<Output>& to) {
  const Layout layout(tokens, matrix.in_units, FewTokens(tokens, matrix.in_units));
  ForChunks<Type>(pool, x, layout, matrix, [&](const Packed& packed, int64_t number) {
    MultiplyChunk<Type>(layout, packed, matrix, number, to);
  });
}

ffi::Error Linear(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer scale, ffi::AnyBuffer bias,
                  ffi::AnyBuffer residual, TokenCount num_tokens, ffi::Result<ffi::AnyBuffer> y, int64_t activation,
                  bool rounded) {
  return WithType(w.element_type(), rounded, [&](auto type) {
    using Type = decltype(type);
    const Matrix matrix = MatrixOf<Type>(w, scale, bias);
    const int64_t rows = x.dimensions()[0], tokens = Tokens(num_tokens, rows);
    auto run = [&](const auto* from, auto* to) {
      using Output = std::remove_pointer_t<decltype(to)>;
      RunLinear<Type>(pool, from, tokens, matrix,
                      Rows<Output>{matrix.scale, matrix.bias, nullptr, static_cast<Activation>(activation),
                                   FloatsOrNull(residual), matrix.out_dim, to});
      ZeroFrom(tokens, rows, matrix.out_dim, to);
      return ffi::Error::Success();
    };
    auto run_from = [&](const auto* from) {
      if (y->element_type() == ffi::DataType::F32) return run(from, reinterpret_cast<float*>(y->untyped_data()));
      return run(from, reinterpret_cast<uint16_t*>(y->untyped_data()));
    };
    if (x.element_type() == ffi::DataType::F32) return run_from(reinterpret_cast<const float*>(x.untyped_data()));
    if constexpr (Type::kPerUnit > 1) {
      if (x.element_type() == ffi::DataType::BF16) {
        return run_from(reinterpret_cast<const uint16_t*>(x.untyped_data()));
      }
    }
    return ffi::Error::InvalidArgument("jaxcls_linear: unsupported dtype of inputs");
  });
}

using Floats = ffi::Buffer<ffi::DataType::F32>;

ffi::Error Mlp(ffi::ThreadPool pool, Floats x, ffi::AnyBuffer up, ffi::AnyBuffer up_scale, ffi::AnyBuffer up_bias,
               ffi::AnyBuffer gate, ffi::AnyBuffer gate_scale, ffi::AnyBuffer gate_bias, ffi::AnyBuffer down,
               ffi::AnyBuffer down_scale, ffi::AnyBuffer down_bias, ffi::AnyBuffer residual, TokenCount num_tokens,
               ffi::Result<Floats> y, int64_t activation, bool rounded) {
  return WithType(up.element_type(), rounded, [&](auto type) {
    using Type = decltype(type);
    const int64_t rows = x.dimensions()[0], tokens = Tokens(num_tokens, rows);
    RunMlp<Type>(pool, {tokens, x.typed_data(), MatrixOf<Type>(up, up_scale, up_bias),
                        MatrixOf<Type>(gate, gate_scale, gate_bias), MatrixOf<Type>(down, down_scale, down_bias),
                        static_cast<Activation>(activation), FloatsOrNull(residual), y->typed_data()});
    ZeroFrom(tokens, rows, y->dimensions()[1], y->typed_data());
    return ffi::Error::Success();
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_linear, Linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<TokenCount>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("activation")
                                  .Attr<bool>("rounded"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcls_mlp, Mlp,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<TokenCount>()
                                  .Ret<Floats>()
                                  .Attr<int64_t>("activation")
                                  .Attr<bool>("rounded"));

}  // namespace jaxcls
