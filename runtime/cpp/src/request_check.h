// What must not be followed: null pointers, and kinds of media that do not exist. What the rest means is checked in Python.
#pragma once

#include <string>

#include "ovrun.h"

namespace ovrun {

ov_status missing(const char* argument);
ov_status check_options(const ov_option* options, size_t num_options);
ov_status check_media(const ov_media& media, const std::string& name);
ov_status check_request(const ov_request* request);

}  // namespace ovrun
