#if defined(__x86_64__)
#include <immintrin.h>

// From here on functions are compiled for AVX2; token_pool.cpp calls them only where there is one.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c")
#endif

#define OVK_VECTOR_BYTES 32
#include "pool_tokens.h"

namespace ovk {

void pool_tokens_avx2(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed) {
  pool_tokens(pool, begin, end, streamed);
}

}  // namespace ovk

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif  // defined(__x86_64__)
