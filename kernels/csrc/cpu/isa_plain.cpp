// What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64.
#define OVK_VECTOR_BYTES 16
#include "pool_tokens.h"

namespace ovk {

void pool_tokens_plain(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed) {
  pool_tokens(pool, begin, end, streamed);
}

}  // namespace ovk
