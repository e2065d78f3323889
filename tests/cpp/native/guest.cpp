// C++ in a process that is Python: what it does with threads of its own, and after Python has ended.
#include <atomic>
#include <cstdio>
#include <ovrun.hpp>
#include <thread>

namespace {

ov_session* held = nullptr;

ov_status answer() {
    ov_request request{};
    ov_result* result = nullptr;
    const ov_status status = ov_generate(held, &request, nullptr, nullptr, &result);
    ov_result_free(result);
    return status;
}

// Destroyed when the process ends, long after Python.
struct Last {
    ~Last() {
        if (held) std::printf("after Python: %d %d\n", answer(), ov_session_close(held));
    }
} last;

}  // namespace

extern "C" __attribute__((visibility("default"))) int hold(const char* bundle) {
    return ov_session_open(bundle, nullptr, 0, &held);
}

// Answers for ever, until it is told that Python has ended.
extern "C" __attribute__((visibility("default"))) void answer_in_background() {
    static std::atomic<int> answers{0};
    std::thread([] {
        while (answer() == OV_OK) ++answers;
    }).detach();
    while (answers < 2) std::this_thread::yield();
}

extern "C" __attribute__((visibility("default"))) int answer_in_thread() {
    ov_status status = OV_UNEXPECTED;
    std::thread([&] { status = answer(); }).join();
    return status;
}
