#include "launch.h"

#include <algorithm>

namespace ovk {
namespace {

uint64_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

int32_t widest_access(const ovk_token_pool& pool, int64_t row_bytes) {
  const bool plan_aligned = (address(pool.indices) | address(pool.weights)) % 16 == 0;
  const uint64_t bits = address(pool.rows) | address(pool.out) | static_cast<uint64_t>(row_bytes);
  const uint64_t limited = bits | (plan_aligned ? 16 : 8);
  return static_cast<int32_t>(limited & -limited);  // the lowest bit that is set
}

// More rows in flight hide more latency, as long as the device is full of threads without them.
int32_t rows_for(int64_t num_threads) {
  constexpr int64_t kFullDevice = 1 << 18;  // about what an H100 holds; to be measured (docs/kernels.md)
  for (const int32_t rows : {4, 2}) {
    if (num_threads / rows >= kFullDevice) return rows;
  }
  return 1;
}

}  // namespace

Launch plan_launch(const ovk_token_pool& pool, int32_t rows_in_flight) {
  const int64_t row_bytes = pool.dim * element_bytes(pool.dtype);
  Launch launch;
  launch.access_bytes = widest_access(pool, row_bytes);
  const int64_t vectors = std::max<int64_t>(1, row_bytes / launch.access_bytes);
  const int64_t passes = (vectors + kMaxThreads - 1) / kMaxThreads;
  launch.threads_x = static_cast<int32_t>((vectors + passes - 1) / passes);
  launch.threads_y = kMaxThreads / launch.threads_x;
  const int32_t wanted = rows_in_flight ? rows_in_flight : rows_for(pool.num_tokens * launch.threads_x);
  launch.rows_in_flight = launch.access_bytes == 16 ? wanted : 1;
  const int64_t tokens_per_block = launch.rows_in_flight * launch.threads_y;
  launch.blocks = (pool.num_tokens + tokens_per_block - 1) / tokens_per_block;
  return launch;
}

}  // namespace ovk
