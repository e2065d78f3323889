// Ends while a thread that nobody waits for is answering: it is cancelled, and what comes later gets a status.
//
//     exits BUNDLE IMAGE
#include <atomic>
#include <ovrun.hpp>
#include <thread>

#include "check.h"

namespace {

std::atomic<ov_session*> held{nullptr};

// Made before anything of ovrun, so destroyed after all of it.
struct Last {
    ~Last() {
        ov_request request{};
        ov_result* result = nullptr;
        if (ov_generate(held, &request, nullptr, nullptr, &result) != OV_USAGE || result) _Exit(3);
        if (ov_session_close(held) != OV_OK || ov_session_close(held) != OV_USAGE) _Exit(4);
        if (ov_set_log(nullptr, 0, nullptr) != OV_USAGE || ov_start() != OV_USAGE) _Exit(5);
    }
} last;

}  // namespace

int main(int argc, char** argv) {
    CHECK(argc == 3);
    static ov::Media image = ov::file(argv[2]);  // used for ever
    ov_session* opened = nullptr;
    CHECK(ov_session_open(argv[1], nullptr, 0, &opened) == OV_OK);
    held = opened;
    static std::atomic<int> answers{0};
    std::thread([] {
        const ov_media media = image.get();
        ov_request request{};
        request.images = &media;
        request.num_images = 1;
        for (;;) {
            ov_result* result = nullptr;
            ov_generate(held, &request, nullptr, nullptr, &result);
            ov_result_free(result);
            ++answers;
        }
    }).detach();
    while (answers < 2) std::this_thread::yield();
    return 0;
}
