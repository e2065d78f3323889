// What went wrong last, per thread: behind ov_last_error and ov_last_hint.
#pragma once

#include <string>

#include "ovrun.h"

namespace ovrun {

struct Complaint {
    std::string message, hint;
};

Complaint& last_error();

// Notes what is wrong and returns `status`, to be returned on.
ov_status fail(ov_status status, std::string message, std::string hint);

ov_status no_handle(const char* kind);

}  // namespace ovrun
