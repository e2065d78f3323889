// BilinearTokenPool on the CPU: checks the plan, shares the tokens out to threads.
#include "../token_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "../check.h"
#include "instruction_sets.h"
#include "threads.h"

namespace ovk {
namespace {

int64_t first_bad_token(const ovk_token_pool& pool) {
  for (int64_t t = 0; t < pool.num_tokens; ++t) {
    if (!sources_inside(pool.indices + t * kSources, pool.num_rows)) return t;
  }
  return -1;
}

// Memory that will have left the caches by the time it is read is written past them. Whole lines only.
bool worth_streaming(const ovk_token_pool& pool) {
  constexpr int64_t kStreamFromBytes = int64_t{16} << 20, kLineBytes = 64;
  const int64_t row_bytes = pool.dim * element_bytes(pool.dtype);
  return pool.dtype == OVK_FLOAT32 && pool.num_tokens * row_bytes >= kStreamFromBytes && row_bytes % kLineBytes == 0 &&
         reinterpret_cast<uintptr_t>(pool.out) % kLineBytes == 0;
}

// Tokens go to whichever thread is free, so one that the system holds up does not hold up the others: first in long
// runs, whose tokens share rows, then in ever shorter ones, so that all end together.
class Runs {
 public:
  Runs(int64_t num_tokens, int64_t shortest, int64_t threads)
      : num_tokens_(num_tokens), shortest_(shortest), parts_(threads > 1 ? 2 * threads : 1) {}

  bool take(int64_t& begin, int64_t& end) {
    begin = next_.load();
    do {
      end = begin + std::max(shortest_, (num_tokens_ - begin) / parts_);
      end = std::min(end, num_tokens_);
    } while (begin < num_tokens_ && !next_.compare_exchange_weak(begin, end));
    return begin < num_tokens_;
  }

 private:
  const int64_t num_tokens_, shortest_, parts_;
  std::atomic<int64_t> next_{0};
};

void pool_on_threads(const ovk_token_pool& pool, int64_t threads) noexcept {
  constexpr int64_t kFeaturesPerThread = 1 << 17;  // less is not worth waking one
  constexpr int64_t kFeaturesPerRun = 1 << 14;
  const int64_t useful = std::max<int64_t>(1, pool.num_tokens * pool.dim / kFeaturesPerThread);
  const int64_t count = std::clamp<int64_t>(threads, 1, useful);
  const bool streamed = worth_streaming(pool);
  Runs runs(pool.num_tokens, std::max<int64_t>(1, kFeaturesPerRun / pool.dim), count);
  const auto pool_runs = [&] {
    for (int64_t begin, end; runs.take(begin, end);) instruction_set().pool_tokens(pool, begin, end, streamed);
  };
  run_on_threads(count, Work(pool_runs));
}

}  // namespace
}  // namespace ovk

extern "C" {

int32_t ovk_token_pool_cpu(const ovk_token_pool* pool, int32_t threads, int64_t* bad_token) {
  if (const int32_t status = ovk::check(pool)) return status;
  if (threads < 0) return OVK_BAD_OPTION;
  if (const int64_t bad = ovk::first_bad_token(*pool); bad >= 0) {
    if (bad_token) *bad_token = bad;
    return OVK_BAD_INDEX;
  }
  if (pool->num_tokens == 0 || pool->dim == 0) return OVK_OK;
  ovk::pool_on_threads(*pool, threads ? threads : std::thread::hardware_concurrency());
  return OVK_OK;
}

}  // extern "C"
