// The log of the runtime.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "error.hpp"

namespace ov {

// Gets a level (-1 error, 0 warning, 1 what is being done, 2 everything) and a line, from any thread.
using Log = std::function<void(int, std::string_view)>;

namespace detail {

struct LogHolder {
    std::mutex mutex;
    std::shared_ptr<const Log> log;  // shared, so that a log may set another one while it runs

    static LogHolder& only() {
        static auto* const holder = new LogHolder;  // never destroyed: threads log while the process ends
        return *holder;
    }
    std::shared_ptr<const Log> swap(std::shared_ptr<const Log> other) {
        const std::lock_guard<std::mutex> lock(mutex);
        std::swap(log, other);
        return other;
    }
    static void tell(std::int32_t level, const char* line, void*) {
        std::shared_ptr<const Log> log;
        {
            const std::lock_guard<std::mutex> lock(only().mutex);
            log = only().log;
        }
        if (log) (*log)(level, line);
    }
};

}  // namespace detail

// Hands the log to `log`, or to nobody: ov::set_log(nullptr). What was there before is not running any more when this
// returns, unless that is who calls it. What it throws is dropped.
inline void set_log(Log log, int verbosity = 2) {
    detail::check_version();
    auto& holder = detail::LogHolder::only();
    const bool wanted = static_cast<bool>(log);
    const auto before = holder.swap(wanted ? std::make_shared<const Log>(std::move(log)) : nullptr);
    detail::check(ov_set_log(wanted ? &detail::LogHolder::tell : nullptr, verbosity, nullptr));
}

}  // namespace ov
