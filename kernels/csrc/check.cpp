#include "check.h"

#include <cstdint>

namespace ovk {
namespace {

bool aligned(const void* pointer, int64_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

// Bytes of [a, b] elements; -1 if a size is negative or the bytes do not fit into 63 bits.
int64_t array_bytes(int64_t a, int64_t b, int64_t element) {
  int64_t count, bytes;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &count) || __builtin_mul_overflow(count, element, &bytes)) {
    return -1;
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
  const int64_t rows_bytes = array_bytes(pool->num_rows, pool->dim, element);
  const int64_t out_bytes = array_bytes(pool->num_tokens, pool->dim, element);
  if (rows_bytes < 0 || out_bytes < 0 || pool->num_tokens >= INT32_MAX) return OVK_BAD_SHAPE;
  if ((rows_bytes && !pool->rows) || (out_bytes && !pool->out)) return OVK_NULL_POINTER;
  if (pool->num_tokens && (!pool->indices || !pool->weights)) return OVK_NULL_POINTER;
  const bool all_aligned = aligned(pool->rows, element) && aligned(pool->out, element) && aligned(pool->indices, 4) &&
                           aligned(pool->weights, 4);
  return all_aligned ? OVK_OK : OVK_BAD_ALIGNMENT;
}

}  // namespace ovk
