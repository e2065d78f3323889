// Callbacks that end their thread, by pthread_exit and pthread_cancel. Not for sanitizers, which do not see such an unwinding.
//
//     thread_ends BUNDLE IMAGE
#include <atomic>
#include <chrono>
#include <ovrun.hpp>
#include <pthread.h>
#include <thread>

#include "check.h"

int main(int argc, char** argv) {
    CHECK(argc == 3);
    auto session = ov::Session::open(argv[1]);
    ov::Request request;
    request.images = {ov::file(argv[2])};
    const auto whole = session.generate(request);
    std::thread([&] {
        session.generate(request, [](std::string_view) { pthread_exit(nullptr); });
        CHECK(!"it has ended");
    }).join();
    CHECK(session.generate(request).token_ids == whole.token_ids);

    std::atomic<bool> begun{false};
    std::thread thread([&] {
        session.generate(request, [&](std::string_view) {
            begun = true;
            for (;;) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        });
    });
    while (!begun) std::this_thread::yield();
    pthread_cancel(thread.native_handle());
    thread.join();
    CHECK(session.generate(request).token_ids == whole.token_ids);
    return 0;
}
