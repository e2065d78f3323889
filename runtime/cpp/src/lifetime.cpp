#include "lifetime.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "interpreter.h"
#include "last_error.h"
#include "log.h"
#include "target.h"

namespace ovrun {
namespace {

const char* const kProcessEnds = "the process is at its end";
const char* const kPythonEnds = "the Python of this process is at its end";
constexpr std::chrono::seconds kPatience{10};  // an engine is in the middle of a step, a callback in its own work

struct Visits {
    std::mutex mutex;
    std::condition_variable changed;
    int under_way = 0;
    std::atomic<const char*> over{nullptr};  // why
};

Visits& visits() {
    static auto* const all = new Visits;  // never destroyed: threads call while the process ends
    return *all;
}

thread_local int mine = 0;

// Ends what runs, and waits for that, not for ever; true where nothing is left.
bool end(const char* why) {
    const char* nothing = nullptr;
    visits().over.compare_exchange_strong(nothing, why);
    close_gates();
    const WithoutGil without_gil;  // which those that are waited for may need
    std::unique_lock lock(visits().mutex);
    return visits().changed.wait_for(lock, kPatience, [] { return visits().under_way == mine; });
}

void process_ends() {
    if (!is_forked() && visits().over == nullptr) end(kProcessEnds);
}

}  // namespace

Visit::Visit() {
    const std::lock_guard lock(visits().mutex);
    ++visits().under_way;
    ++mine;
}

Visit::~Visit() {
    const std::lock_guard lock(visits().mutex);
    --visits().under_way;
    --mine;
    visits().changed.notify_all();
}

int Visit::depth() { return mine; }

bool is_over() { return visits().over != nullptr || (bridge() != nullptr && !python_lives()); }

ov_status check_end() {
    if (!is_over()) return OV_OK;
    const char* why = visits().over;
    return fail(OV_USAGE, why ? why : kPythonEnds, "ask before that");
}

void watch_for_exit() {
    static std::atomic<int> times{0};
    if (times.fetch_add(1) < 8) std::atexit(process_ends);  // libraries are loaded by the first uses
}

void python_ends() {
    if (is_forked() || !end(kPythonEnds)) return;
    close_everything();
    set_log(nullptr, 0, nullptr);
}

}  // namespace ovrun
