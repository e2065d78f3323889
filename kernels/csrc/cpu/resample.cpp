// One pass of a resize on the CPU: checks the plan. The sums are in resample_samples.h.
#include "../check.h"
#include "instruction_sets.h"

namespace ovk {
namespace {

int64_t first_bad_sample(const ovk_resample& r) {
  for (int64_t m = 0; m < r.out_size; ++m) {
    if (r.first[m] < 0 || r.first[m] > r.in_size - r.taps) return m;
  }
  return -1;
}

}  // namespace
}  // namespace ovk

extern "C" int32_t ovk_resample_cpu(const ovk_resample* resample, int64_t* bad_sample) {
  if (const int32_t status = ovk::check(resample)) return status;
  if (const int64_t bad = ovk::first_bad_sample(*resample); bad >= 0) {
    if (bad_sample) *bad_sample = bad;
    return OVK_BAD_INDEX;
  }
  if (resample->outer > 0 && resample->inner > 0) ovk::instruction_set().resample(*resample);
  return OVK_OK;
}
