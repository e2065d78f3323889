// Callbacks of the log: that their end is waited for, that they may throw and set another one.
//
//     logs BUNDLE IMAGE
#include <atomic>
#include <chrono>
#include <ovrun.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "check.h"

namespace {

ov_status fails(ov::Session& session) {
    try {
        session.generate("x", {"no such file"});
    } catch (const ov::Error& error) {
        CHECK(std::string(error.what()) == "no such file does not exist");
        return error.code();
    }
    return OV_OK;
}

void lines_come_until_the_end(ov::Session& session) {
    std::atomic<int> lines{0};
    const auto count = [](int32_t, const char* line, void* user) {
        CHECK(line != nullptr);
        ++*static_cast<std::atomic<int>*>(user);
    };
    CHECK(ov_set_log(count, 2, &lines) == OV_OK);
    CHECK(fails(session) == OV_BAD_INPUT);
    const int seen = lines;
    CHECK(seen > 0 && ov_set_log(nullptr, 0, nullptr) == OV_OK);
    CHECK(fails(session) == OV_BAD_INPUT && lines == seen);
}

// What is thrown takes the place of nothing.
void throws(ov::Session& session) {
    int lines = 0;
    ov::set_log([&](int, std::string_view) {
        ++lines;
        throw std::runtime_error("of the log");
    });
    CHECK(fails(session) == OV_BAD_INPUT && lines > 0);
    ov::set_log(nullptr);
}

// `end` returns when no callback is running, so that what it uses may be freed.
template <class End>
void is_waited_for(ov::Session& session, End end) {
    std::atomic<bool> inside{false}, left{false};
    ov::set_log([&](int, std::string_view) {
        inside = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        left = true;
    });
    std::thread thread([&] { fails(session); });
    while (!inside) std::this_thread::yield();
    end();
    CHECK(left);
    thread.join();
}

void sets_another(ov::Session& session) {
    int first = 0, second = 0;
    ov::set_log([&](int, std::string_view) {
        ++first;
        ov::set_log([&](int, std::string_view) { ++second; });
        ++first;  // still there
        CHECK(ov_stop() == OV_BUSY);
    });
    CHECK(fails(session) == OV_BAD_INPUT && first == 2);
    CHECK(fails(session) == OV_BAD_INPUT && first == 2 && second > 0);
    ov::set_log(nullptr);
}

}  // namespace

int main(int argc, char** argv) {
    CHECK(argc == 3);
    auto session = ov::Session::open(argv[1]);
    lines_come_until_the_end(session);
    throws(session);
    is_waited_for(session, [] { ov::set_log(nullptr); });
    is_waited_for(session, [] { ov::set_log([](int, std::string_view) {}); });
    sets_another(session);
    session.generate("What is this?", {argv[2]});
    is_waited_for(session, [] { ov::stop(); });
    return 0;
}
