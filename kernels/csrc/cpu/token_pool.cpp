// BilinearTokenPool on the CPU: checks the plan, chooses the instruction set, shares the tokens out to threads.
#include "../token_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "../check.h"
#include "instruction_sets.h"
#include "threads.h"

namespace ovk {
namespace {

// AVX-512 is not among them: measured, it was no faster (docs/kernels.md), since the work is waiting for memory.
struct InstructionSet {
  const char* name;
  PoolTokens pool_tokens;
};

[[maybe_unused]] bool allowed(std::string_view name) {
  const char* only = std::getenv("OVK_CPU_ISA");  // for tests, and to tell whether a set is at fault
  return !only || name == only;
}

InstructionSet choose() {
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (has_avx2 && allowed("avx2")) return {"avx2", pool_tokens_avx2};
#endif
  return {"plain", pool_tokens_plain};
}

const InstructionSet& instruction_set() {
  static const InstructionSet chosen = choose();
  return chosen;
}

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

// Tokens go to threads in blocks, whoever is free: a thread that the system holds up does not hold up the others.
void pool_in_blocks(const ovk_token_pool& pool, int64_t threads) {
  constexpr int64_t kFeaturesPerBlock = 1 << 16, kBlocksPerThread = 2;  // less is not worth waking a thread
  const int64_t block = std::max<int64_t>(1, kFeaturesPerBlock / pool.dim);
  const int64_t num_blocks = (pool.num_tokens + block - 1) / block;
  const bool streamed = worth_streaming(pool);
  std::atomic<int64_t> next{0};
  run_on_threads(std::min(threads, num_blocks / kBlocksPerThread), [&] {
    for (int64_t b = next++; b < num_blocks; b = next++) {
      instruction_set().pool_tokens(pool, b * block, std::min((b + 1) * block, pool.num_tokens), streamed);
    }
  });
}

}  // namespace
}  // namespace ovk

extern "C" {

const char* ovk_cpu_isa(void) { return ovk::instruction_set().name; }

int32_t ovk_token_pool_cpu(const ovk_token_pool* pool, int32_t threads, int64_t* bad_token) {
  if (const int32_t status = ovk::check(pool)) return status;
  if (threads < 0) return OVK_BAD_OPTION;
  if (const int64_t bad = ovk::first_bad_token(*pool); bad >= 0) {
    if (bad_token) *bad_token = bad;
    return OVK_BAD_INDEX;
  }
  if (pool->num_tokens == 0 || pool->dim == 0) return OVK_OK;
  ovk::pool_in_blocks(*pool, threads ? threads : std::thread::hardware_concurrency());
  return OVK_OK;
}

}  // extern "C"
