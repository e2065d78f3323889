// Which kernel a call takes, and how many threads of it; the same on a device and emulated.
#pragma once

#include "../check.h"
#include "kernel.h"

namespace ovk {

struct Launch {
  int32_t access_bytes;  // 16 where pointers and the length of a row allow it, else the largest power of two that fits
  int32_t rows_in_flight;
  int32_t threads_x, threads_y;
  int64_t blocks;
};

constexpr int kMaxThreads = 256;  // of a block

Launch plan_launch(const ovk_token_pool& pool, int32_t rows_in_flight);

inline Sizes sizes_of(const ovk_token_pool& pool) { return {pool.num_rows, pool.num_tokens, pool.dim}; }

template <class Lanes_, int kRows_>
struct Kernel {
  using Lanes = Lanes_;
  static constexpr int kRows = kRows_;
};

template <class Element, class Run>
int32_t with_kernel_of(const Launch& launch, const Run& run) {
  if (launch.access_bytes == 16) {
    if (launch.rows_in_flight == 4) return run(Kernel<Access<Element, 16>, 4>());
    if (launch.rows_in_flight == 2) return run(Kernel<Access<Element, 16>, 2>());
    return run(Kernel<Access<Element, 16>, 1>());
  }
  if (launch.access_bytes == 8) return run(Kernel<Access<Element, 8>, 1>());
  if constexpr (sizeof(Element) == 2) {
    if (launch.access_bytes == 2) return run(Kernel<Access<Element, 2>, 1>());
  }
  return run(Kernel<Access<Element, 4>, 1>());
}

// `run` is given the kernel, as a type, that the launch asks for.
template <class Run>
int32_t with_kernel(const Launch& launch, int32_t dtype, const Run& run) {
  if (dtype == OVK_FLOAT16) return with_kernel_of<Half>(launch, run);
  if (dtype == OVK_BFLOAT16) return with_kernel_of<BFloat16>(launch, run);
  return with_kernel_of<float>(launch, run);
}

// What a call is refused for before anything is launched.
inline int32_t check_launch(const ovk_token_pool* pool, int32_t rows_in_flight) {
  const bool known = rows_in_flight == 0 || rows_in_flight == 1 || rows_in_flight == 2 || rows_in_flight == 4;
  if (const int32_t status = check(pool)) return status;
  return known ? OVK_OK : OVK_BAD_OPTION;
}

}  // namespace ovk
