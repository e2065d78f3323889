// Whether an environment has the package, by its files: once Python is started it is too late for another one.
#pragma once

#include "environment.h"
#include "ovrun.h"

namespace ovrun {

// OV_MISSING_DEPENDENCY where it is nowhere. What may be found by other means is left to Python.
ov_status check_package(const Environment& environment);

}  // namespace ovrun
