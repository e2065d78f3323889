#include "last_error.h"

#include <utility>

namespace ovrun {

Complaint& last_error() {
    thread_local Complaint complaint;
    return complaint;
}

ov_status fail(ov_status status, std::string message, std::string hint) {
    last_error() = {std::move(message), std::move(hint)};
    return status;
}

ov_status no_handle(const char* kind) {
    const std::string name = kind;
    return fail(OV_USAGE, "the " + name + " is closed, or was never one", "open another one");
}

}  // namespace ovrun
