#include "check.h"

#include <cstdint>
#include <initializer_list>

namespace ovk {
namespace {

bool aligned(const void* pointer, int64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// Bytes of an array; -1 if a size is negative or the bytes do not fit into 63 bits.
int64_t array_bytes(std::initializer_list<int64_t> sizes, int64_t element) {
  int64_t bytes = element;
  for (const int64_t size : sizes) {
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return bytes;
}

}  // namespace

int64_t element_bytes(int32_t dtype) {
  switch (dtype) {
    case OVK_FLOAT32:
      return 4;
    case OVK_FLOAT16:
    case OVK_BFLOAT16:
      return 2;
    default:
      return 0;
  }
}

int32_t check(const ovk_token_pool* pool) {
  if (!pool) return OVK_NULL_POINTER;
  const int64_t element = element_bytes(pool->dtype);
  if (element == 0) return OVK_BAD_DTYPE;
  const int64_t rows_bytes = array_bytes({pool->num_rows, pool->dim}, element);
  const int64_t out_bytes = array_bytes({pool->num_tokens, pool->dim}, element);
  if (rows_bytes < 0 || out_bytes < 0 || pool->num_tokens >= INT32_MAX) return OVK_BAD_SHAPE;
  if ((rows_bytes && !pool->rows) || (out_bytes && !pool->out)) return OVK_NULL_POINTER;
  if (pool->num_tokens && (!pool->indices || !pool->weights)) return OVK_NULL_POINTER;
  const bool all_aligned = aligned(pool->rows, element) && aligned(pool->out, element) && aligned(pool->indices, 4) &&
                           aligned(pool->weights, 4);
  return all_aligned ? OVK_OK : OVK_BAD_ALIGNMENT;
}

int32_t check(const ovk_resample* resample) {
  if (!resample) return OVK_NULL_POINTER;
  const ovk_resample& r = *resample;
  const int64_t in_bytes = array_bytes({r.outer, r.in_size, r.inner}, 1);
  const int64_t out_bytes = array_bytes({r.outer, r.out_size, r.inner}, 1);
  const int64_t weights_bytes = array_bytes({r.out_size, r.taps}, sizeof(int32_t));
  if (in_bytes < 0 || out_bytes < 0 || weights_bytes < 0) return OVK_BAD_SHAPE;
  if ((in_bytes && !r.in) || (out_bytes && !r.out)) return OVK_NULL_POINTER;
  if ((r.out_size && !r.first) || (weights_bytes && !r.weights)) return OVK_NULL_POINTER;
  return aligned(r.first, 4) && aligned(r.weights, 4) ? OVK_OK : OVK_BAD_ALIGNMENT;
}

}  // namespace ovk
