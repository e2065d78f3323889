// The launch of token_pool.cu on the host: its blocks and threads one after the other, over the host's memory. For
// tests, which load it in place of ovk_cuda.
#include "launch.h"

namespace ovk {
namespace {

template <class Lanes, int kRows>
void run_threads(const ovk_token_pool& pool, const Launch& launch, int32_t* bad_token) {
  using Element = typename Lanes::Element;
  const Sizes sizes = sizes_of(pool);
  for (int64_t block = 0; block < launch.blocks; ++block) {
    for (int32_t y = 0; y < launch.threads_y; ++y) {
      for (int32_t x = 0; x < launch.threads_x; ++x) {
        pool_thread<Lanes, kRows>(static_cast<const Element*>(pool.rows), pool.indices, pool.weights,
                                  static_cast<Element*>(pool.out), sizes, bad_token,
                                  {block, x, y, launch.threads_x, launch.threads_y});
      }
    }
  }
}

}  // namespace
}  // namespace ovk

extern "C" int32_t ovk_token_pool_cuda(const ovk_token_pool* pool, int32_t rows_in_flight, int32_t* bad_token,
                                       void* /*stream*/) {
  if (const int32_t status = ovk::check_launch(pool, rows_in_flight)) return status;
  if (pool->num_tokens == 0) return OVK_OK;
  const ovk::Launch launch = ovk::plan_launch(*pool, rows_in_flight);
  return ovk::with_kernel(launch, pool->dtype, [&](auto kernel) -> int32_t {
    using Kernel = decltype(kernel);
    ovk::run_threads<typename Kernel::Lanes, Kernel::kRows>(*pool, launch, bad_token);
    return OVK_OK;
  });
}
