// Hands lines of the log to the application.
#pragma once

#include <cstdint>

#include "ovrun.h"

namespace ovrun {

// Returns when no line is on its way to an earlier callback; at once from within a callback of the log.
ov_status set_log(ov_log_callback callback, int32_t verbosity, void* user);

}  // namespace ovrun
