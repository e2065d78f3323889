// Which calls are refused before anything of them is read.
#pragma once

#include "../include/ovk.h"

namespace ovk {

int64_t element_bytes(int32_t dtype);  // 0: no such dtype

int32_t check(const ovk_token_pool* pool);
int32_t check(const ovk_resample* resample);

}  // namespace ovk
