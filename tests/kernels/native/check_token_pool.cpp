// The CPU's kernel and the emulated one against each other on random and hostile plans, in memory of the exact size:
// built with sanitizers, this finds what reads or writes too far, and what threads do to each other. Before that, calls
// for which there is no memory. That the numbers are NumPy's is for the tests in Python to see.
//
//     check_token_pool [NUMBER OF PLANS] [SEED]
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "../../../kernels/csrc/check.h"
#include "../../../kernels/csrc/element.h"
#include "../../../kernels/include/ovk.h"
#include "check.h"
#include "exact.h"

namespace {

thread_local long allocations_left = -1;  // negative: as many as there is memory for

}  // namespace

// Not inlined: GCC would take malloc and free for a pair that does not match operator new and delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

struct Case {
  ovk_token_pool pool;
  Exact rows, indices, weights, out, other;
  int64_t out_bytes;
};

Case random_case(Random& random, int64_t max_features) {
  const auto dtype = static_cast<int32_t>(draw(random, 0, 2));
  const int64_t element = ovk::element_bytes(dtype);
  const int64_t dim = draw(random, 0, 3) ? draw(random, 1, 40) * draw(random, 1, 16) : draw(random, 0, 5);
  const int64_t num_rows = draw(random, 1, 60), num_tokens = draw(random, 0, dim ? max_features / dim : 50);
  const int64_t plan_skip = 4 * draw(random, 0, 3), skip = draw(random, 0, 1) ? 0 : element * draw(random, 1, 7);
  const int64_t out_bytes = num_tokens * dim * element;
  Case c = {{},
            Exact(num_rows * dim * element, skip),
            Exact(num_tokens * 16, plan_skip),
            Exact(num_tokens * 16, plan_skip),
            Exact(out_bytes, skip),
            Exact(out_bytes, skip),
            out_bytes};
  c.pool = {c.rows.as<void>(),
            c.indices.as<int32_t>(),
            c.weights.as<float>(),
            c.out.as<void>(),
            num_rows,
            num_tokens,
            dim,
            dtype};
  for (int64_t i = 0; i < num_rows * dim * element / 2; ++i) {
    c.rows.as<uint16_t>()[i] = static_cast<uint16_t>(random());
  }
  for (int64_t i = 0; i < num_tokens * 4; ++i) {
    c.indices.as<int32_t>()[i] = static_cast<int32_t>(draw(random, 0, num_rows - 1));
    c.weights.as<float>()[i] = draw(random, 0, 2) ? static_cast<float>(draw(random, -8, 8)) / 8 : 0.0f;
  }
  return c;
}

bool same(const Case& c) {
  const int64_t count = c.pool.num_tokens * c.pool.dim;
  for (int64_t i = 0; i < count; ++i) {
    float a, b;
    if (c.pool.dtype == OVK_FLOAT32) {
      a = c.out.as<float>()[i], b = c.other.as<float>()[i];
    } else if (c.pool.dtype == OVK_FLOAT16) {
      a = ovk::widen(c.out.as<ovk::Half>()[i]), b = ovk::widen(c.other.as<ovk::Half>()[i]);
    } else {
      a = ovk::widen(c.out.as<ovk::BFloat16>()[i]), b = ovk::widen(c.other.as<ovk::BFloat16>()[i]);
    }
    if (std::memcmp(&a, &b, sizeof(a)) != 0 && !(a != a && b != b)) return false;  // a NaN is a NaN
  }
  return true;
}

int32_t emulate(const Case& c, int32_t rows_in_flight, int32_t* bad_token) {
  ovk_token_pool pool = c.pool;
  pool.out = c.other.as<void>();
  return ovk_token_pool_cuda(&pool, rows_in_flight, bad_token, nullptr);
}

void check_agreement(Random& random, int64_t max_features) {
  const Case c = random_case(random, max_features);
  const int32_t rows_in_flight = (const int32_t[]){0, 1, 2, 4}[draw(random, 0, 3)];
  int32_t bad_token = OVK_NO_BAD_TOKEN;
  CHECK(ovk_token_pool_cpu(&c.pool, static_cast<int32_t>(draw(random, 0, 4)), nullptr) == OVK_OK);
  CHECK(emulate(c, rows_in_flight, &bad_token) == OVK_OK);
  CHECK(bad_token == OVK_NO_BAD_TOKEN);
  CHECK(same(c), "dtype %d, T %ld, D %ld, in flight %d", c.pool.dtype, static_cast<long>(c.pool.num_tokens),
        static_cast<long>(c.pool.dim), rows_in_flight);
}

// One bad index: the CPU names its token and writes nothing; the kernel names it and writes zeros there alone.
void check_hostile(Random& random) {
  const Case c = random_case(random, 5000);
  if (c.pool.num_tokens == 0) return;
  const int64_t at = draw(random, 0, c.pool.num_tokens - 1);
  int32_t& index = c.indices.as<int32_t>()[at * 4 + draw(random, 0, 3)];
  const int32_t good = index, last = static_cast<int32_t>(c.pool.num_rows) - 1;
  index = (const int32_t[]){-1, last + 1, INT32_MAX, INT32_MIN}[draw(random, 0, 3)];
  std::memset(c.out.as<char>(), 0x5a, c.out_bytes);
  int64_t bad = -1;
  int32_t bad_token = OVK_NO_BAD_TOKEN;
  CHECK(ovk_token_pool_cpu(&c.pool, 2, &bad) == OVK_BAD_INDEX);
  CHECK(bad == at);
  for (int64_t i = 0; i < c.out_bytes; ++i) CHECK(c.out.as<char>()[i] == 0x5a);
  CHECK(emulate(c, 0, &bad_token) == OVK_OK);
  CHECK(bad_token == at);
  CHECK(emulate(c, 0, nullptr) == OVK_OK);
  index = good;
  CHECK(ovk_token_pool_cpu(&c.pool, 1, nullptr) == OVK_OK);
  const int64_t row_bytes = c.pool.num_tokens ? c.out_bytes / c.pool.num_tokens : 0;
  std::memset(c.out.as<char>() + at * row_bytes, 0, row_bytes);
  CHECK(same(c));
}

// The first calls of the process, which would allocate what later ones share: whichever allocation fails, the result is
// there, and nothing was thrown.
void check_without_memory() {
  constexpr int64_t kRows = 4, kTokens = 1024, kDim = 1024;  // enough for several threads
  std::vector<float> rows(kRows * kDim, 0.5f), weights(kTokens * 4, 0.25f), out(kTokens * kDim);
  const std::vector<int32_t> indices(kTokens * 4, 3);
  ovk_token_pool pool = {rows.data(), indices.data(), weights.data(), out.data(), kRows, kTokens, kDim, OVK_FLOAT32};
  for (long succeed = 0; succeed < 8; ++succeed) {
    out.assign(out.size(), 0);
    allocations_left = succeed;
    const int32_t status = ovk_token_pool_cpu(&pool, 4, nullptr);
    allocations_left = -1;
    CHECK(status == OVK_OK && out == std::vector<float>(out.size(), 0.5f), "with %ld allocations", succeed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 400;
  const auto seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device()();
  std::printf("%s, %ld plans, seed %llu\n", ovk_cpu_isa(), count, static_cast<unsigned long long>(seed));
  check_without_memory();
  Random random(seed);
  for (long n = 0; n < count; ++n) check_agreement(random, 20000);
  for (long n = 0; n < count; ++n) check_hostile(random);
  std::vector<std::thread> callers;  // with enough to do for several threads each
  for (uint64_t caller = 0; caller < 3; ++caller) {
    callers.emplace_back([=] {
      Random own(seed + caller);
      for (int n = 0; n < 2; ++n) check_agreement(own, 2000000);
    });
  }
  for (std::thread& caller : callers) caller.join();
  return num_failed != 0;
}
