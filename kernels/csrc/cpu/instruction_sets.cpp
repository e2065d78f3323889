#include "instruction_sets.h"

#include <cstdlib>
#include <string_view>

namespace ovk {
namespace {

[[maybe_unused]] bool allowed(std::string_view name) {
  const char* only = std::getenv("OVK_CPU_ISA");  // for tests, and to tell whether a set is at fault
  return !only || name == only;
}

// AVX-512 is not among them: pooling waits for memory and was no faster with it (docs/kernels.md), resampling by a quarter (docs/log.md).
const InstructionSet& choose() {
#if defined(__x86_64__)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (has_avx2 && allowed(kAvx2.name)) return kAvx2;
#endif
  return kPlain;
}

}  // namespace

const InstructionSet& instruction_set() {
  static const InstructionSet& chosen = choose();
  return chosen;
}

}  // namespace ovk

extern "C" const char* ovk_cpu_isa(void) { return ovk::instruction_set().name; }
