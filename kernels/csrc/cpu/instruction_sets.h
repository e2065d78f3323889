// The loop over tokens, once for every instruction set.
#pragma once

#include <cstdint>

#include "../../include/ovk.h"

namespace ovk {

// Tokens `begin` to `end` of a pool that has been checked. `streamed` writes past the caches, see `worth_streaming`.
using PoolTokens = void (*)(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed);

void pool_tokens_plain(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed);
void pool_tokens_avx2(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed);

}  // namespace ovk
