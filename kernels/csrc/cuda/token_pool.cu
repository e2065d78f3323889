// BilinearTokenPool on a CUDA device: one launch of kernel.h's threads.
#include <cuda_runtime.h>

#include "launch.h"

namespace ovk {
namespace {

template <class Lanes, int kRows>
__global__ void __launch_bounds__(kMaxThreads)
    pool_kernel(const typename Lanes::Element* __restrict__ rows_RD, const int32_t* __restrict__ indices_T4,
                const float* __restrict__ weights_T4, typename Lanes::Element* __restrict__ out_TD, Sizes sizes,
                int32_t* bad_token) {
  const Thread thread = {static_cast<int64_t>(blockIdx.x), static_cast<int32_t>(threadIdx.x),
                         static_cast<int32_t>(threadIdx.y), static_cast<int32_t>(blockDim.x),
                         static_cast<int32_t>(blockDim.y)};
  pool_thread<Lanes, kRows>(rows_RD, indices_T4, weights_T4, out_TD, sizes, bad_token, thread);
}

template <class Lanes, int kRows>
cudaError_t enqueue(const ovk_token_pool& pool, const Launch& launch, int32_t* bad_token, cudaStream_t stream) {
  using Element = typename Lanes::Element;
  auto* rows_RD = static_cast<const Element*>(pool.rows);
  auto* out_TD = static_cast<Element*>(pool.out);
  Sizes sizes = sizes_of(pool);
  void* arguments[] = {
      &rows_RD, const_cast<int32_t**>(&pool.indices), const_cast<float**>(&pool.weights), &out_TD, &sizes, &bad_token};
  const dim3 blocks(static_cast<unsigned>(launch.blocks)), threads(launch.threads_x, launch.threads_y);
  return cudaLaunchKernel(pool_kernel<Lanes, kRows>, blocks, threads, arguments, 0, stream);
}

}  // namespace
}  // namespace ovk

extern "C" int32_t ovk_token_pool_cuda(const ovk_token_pool* pool, int32_t rows_in_flight, int32_t* bad_token,
                                       void* stream) {
  if (const int32_t status = ovk::check_launch(pool, rows_in_flight)) return status;
  if (pool->num_tokens == 0) return OVK_OK;
  const ovk::Launch launch = ovk::plan_launch(*pool, rows_in_flight);
  return ovk::with_kernel(launch, pool->dtype, [&](auto kernel) -> int32_t {
    using Kernel = decltype(kernel);
    const cudaError_t error = ovk::enqueue<typename Kernel::Lanes, Kernel::kRows>(*pool, launch, bad_token,
                                                                                  static_cast<cudaStream_t>(stream));
    return error == cudaSuccess ? OVK_OK : OVK_DEVICE_FAILED;
  });
}
