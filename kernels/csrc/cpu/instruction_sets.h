// The loops that are compiled once for every instruction set, and which of the sets this processor is served with.
#pragma once

#include <cstdint>

#include "../../include/ovk.h"

namespace ovk {

// Both take what has been checked. `streamed` writes past the caches (token_pool.cpp).
using PoolTokens = void (*)(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed);
using Resample = void (*)(const ovk_resample& resample);

struct InstructionSet {
  const char* name;
  PoolTokens pool_tokens;
  Resample resample;
};

extern const InstructionSet kPlain;
#if defined(__x86_64__)
extern const InstructionSet kAvx2;
#endif

const InstructionSet& instruction_set();

}  // namespace ovk
