// The CPU's resampling against plain sums, on random and hostile plans in memory of the exact size: built with
// sanitizers, this finds what reads or writes too far. That the numbers are Pillow's is for the tests in Python to see.
//
//     check_resample [NUMBER OF PLANS] [SEED]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "../../../kernels/include/ovk.h"
#include "check.h"
#include "exact.h"

namespace {

struct Case {
  ovk_resample call;
  Exact in, first, weights, out;
  int64_t out_bytes;
};

// Lines of a picture, columns of one, and sizes that are neither; with more taps than samples laid side by side.
Case random_case(Random& random) {
  const int64_t inner = (const int64_t[]){3, 3, 1, 4, 63, 64, 65, 200, draw(random, 0, 300)}[draw(random, 0, 8)];
  const int64_t outer = draw(random, 0, 3) ? draw(random, 1, 70) : draw(random, 0, 1);
  const int64_t in_size = draw(random, 0, 5) ? draw(random, 1, 90) : draw(random, 200, 900);
  const int64_t most = draw(random, 0, 3) ? std::min<int64_t>(in_size, 9) : in_size;
  const int64_t taps = draw(random, 0, 9) ? draw(random, 1, most) : 0;
  const int64_t out_size = draw(random, 0, 60), skip = draw(random, 0, 7), plan_skip = 4 * draw(random, 0, 3);
  const int64_t out_bytes = outer * out_size * inner;
  Case c = {{},
            Exact(outer * in_size * inner, skip),
            Exact(out_size * 4, plan_skip),
            Exact(out_size * taps * 4, plan_skip),
            Exact(out_bytes, skip),
            out_bytes};
  c.call = {c.in.as<uint8_t>(), c.first.as<int32_t>(), c.weights.as<int32_t>(), c.out.as<uint8_t>(),
            outer, in_size, inner, out_size, taps};
  for (int64_t i = 0; i < outer * in_size * inner; ++i) c.in.as<uint8_t>()[i] = static_cast<uint8_t>(random());
  const bool in_order = draw(random, 0, 2);
  for (int64_t m = 0; m < out_size; ++m) {
    c.first.as<int32_t>()[m] = static_cast<int32_t>(
        in_order ? m * (in_size - taps) / std::max<int64_t>(1, out_size - 1) : draw(random, 0, in_size - taps));
  }
  const int bits = static_cast<int>(draw(random, 0, 31));  // up to weights whose sums wrap
  for (int64_t i = 0; i < out_size * taps; ++i) {
    c.weights.as<int32_t>()[i] = static_cast<int32_t>(random()) >> bits;
  }
  return c;
}

uint8_t plain_sum(const ovk_resample& r, int64_t a, int64_t m, int64_t b) {
  uint32_t sum = 1u << 21;
  for (int64_t k = 0; k < r.taps; ++k) {
    sum += static_cast<uint32_t>(r.weights[m * r.taps + k]) * r.in[(a * r.in_size + r.first[m] + k) * r.inner + b];
  }
  return static_cast<uint8_t>(std::clamp(static_cast<int32_t>(sum) >> 22, 0, 255));
}

void check_sums(Random& random) {
  const Case c = random_case(random);
  const ovk_resample& r = c.call;
  CHECK(ovk_resample_cpu(&r, nullptr) == OVK_OK);
  long wrong = 0;
  for (int64_t i = 0; i < c.out_bytes; ++i) {
    wrong += r.out[i] != plain_sum(r, i / r.inner / r.out_size, i / r.inner % r.out_size, i % r.inner);
  }
  CHECK(wrong == 0, "%ld of [%ld, %ld to %ld, %ld] with %ld taps", wrong, static_cast<long>(r.outer),
        static_cast<long>(r.in_size), static_cast<long>(r.out_size), static_cast<long>(r.inner),
        static_cast<long>(r.taps));
}

void check_hostile(Random& random) {
  const Case c = random_case(random);
  const ovk_resample& r = c.call;
  if (r.out_size == 0) return;
  const int64_t at = draw(random, 0, r.out_size - 1);
  const auto too_far = static_cast<int32_t>(r.in_size - r.taps + 1);
  c.first.as<int32_t>()[at] = (const int32_t[]){-1, too_far, INT32_MAX, INT32_MIN}[draw(random, 0, 3)];
  std::memset(c.out.as<char>(), 0x5a, c.out_bytes);
  int64_t bad = -1;
  CHECK(ovk_resample_cpu(&r, &bad) == OVK_BAD_INDEX && bad == at);
  for (int64_t i = 0; i < c.out_bytes; ++i) CHECK(c.out.as<char>()[i] == 0x5a);
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 400;
  const auto seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device()();
  std::printf("%s, %ld plans, seed %llu\n", ovk_cpu_isa(), count, static_cast<unsigned long long>(seed));
  std::vector<std::thread> callers;
  for (uint64_t caller = 0; caller < 3; ++caller) {
    callers.emplace_back([=] {
      Random own(seed + caller);
      for (long n = 0; n < count; ++n) check_sums(own), check_hostile(own);
    });
  }
  for (std::thread& caller : callers) caller.join();
  return num_failed != 0;
}
