#if defined(__x86_64__)
#include <immintrin.h>

// From here on functions are compiled for AVX2; instruction_sets.cpp chooses them only where there is one.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c")
#endif

#define OVK_VECTOR_BYTES 32
#include "instruction_sets.h"
#include "pool_tokens.h"
#include "resample_samples.h"

namespace ovk {

const InstructionSet kAvx2 = {"avx2", pool_tokens, resample};

}  // namespace ovk

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif  // defined(__x86_64__)
