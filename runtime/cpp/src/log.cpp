#include "log.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "interpreter.h"
#include "last_error.h"

namespace ovrun {
namespace {

struct Reader {
    ov_log_callback callback;
    void* user;
    int calls;  // under way
};

struct Log {
    std::mutex mutex;
    std::condition_variable changed;
    std::shared_ptr<Reader> reader;
};

Log& the_log() {
    static auto* const all = new Log;  // never destroyed, as handles are not
    return *all;
}

thread_local int depth = 0;

std::shared_ptr<Reader> begin() {
    const std::lock_guard lock(the_log().mutex);
    if (the_log().reader) ++the_log().reader->calls;
    return the_log().reader;
}

void tell(int32_t level, const char* line) {
    const auto reader = begin();
    if (reader == nullptr) return;
    ++depth;
    try {
        reader->callback(level, line, reader->user);
    } catch (...) {  // what is logged, often an error, must not become another one
    }
    --depth;
    const std::lock_guard lock(the_log().mutex);
    --reader->calls;
    the_log().changed.notify_all();
}

void replace(std::shared_ptr<Reader> reader) {
    std::unique_lock lock(the_log().mutex);
    the_log().reader.swap(reader);
    if (reader && depth == 0) the_log().changed.wait(lock, [&] { return reader->calls == 0; });
}

}  // namespace

ov_status set_log(ov_log_callback callback, int32_t verbosity, void* user) {
    replace(callback ? std::make_shared<Reader>(Reader{callback, user, 0}) : nullptr);
    const Listener listener = complaints();
    return bridge()->set_log(&listener, callback ? tell : nullptr, verbosity);
}

}  // namespace ovrun
