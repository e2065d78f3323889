// Errors: what a status of C becomes.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "../ovrun.h"

namespace ov {

// What went wrong (what()) and what to do about it (hint()).
class Error : public std::runtime_error {
public:
    Error(ov_status code, const std::string& message, std::string hint)
        : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}
    ov_status code() const noexcept { return code_; }
    const std::string& hint() const noexcept { return hint_; }

private:
    ov_status code_;
    std::string hint_;
};

namespace detail {

inline void check(ov_status status) {
    if (status == OV_OK) return;
    const std::string message = ov_last_error();
    throw Error(status, message.empty() ? ov_status_text(status) : message, ov_last_hint());
}

inline void check_version() {
    if (ov_abi_version() == OV_ABI_VERSION) return;
    throw Error(OV_USAGE, "libovrun is of another version than ovrun.hpp", "compile with the headers of the library");
}

}  // namespace detail
}  // namespace ov
