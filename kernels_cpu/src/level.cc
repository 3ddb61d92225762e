// Compiled for any x86-64, so that it can be asked before anything else here is run.

// What the running CPU can do: 0 nothing here, 1 float32 (AVX-512), 2 also bfloat16 and int8
// (AVX512_BF16, AVX512_VNNI).
extern "C" int jaxcls_cpu_level() {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return 0;
  }
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") ? 2 : 1;
}
