// What every processor of the architecture has: SSE2 on x86-64, NEON on aarch64.
#define OVK_VECTOR_BYTES 16
#include "instruction_sets.h"
#include "pool_tokens.h"
#include "resample_samples.h"

namespace ovk {

const InstructionSet kPlain = {"plain", pool_tokens, resample};

}  // namespace ovk
