// What callbacks may do: stop, throw, call back in, close, cancel from elsewhere; and that the next answer is right.
//
//     callbacks BUNDLE IMAGE
#include <atomic>
#include <chrono>
#include <ovrun.hpp>
#include <thread>

#include "check.h"

namespace {

ov_status code_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const ov::Error& error) {
        return error.code();
    }
    return OV_OK;
}

void stops(ov::Session& session, const ov::Request& request, const ov::Result& whole) {
    std::string seen;
    const auto cut = session.generate(request, [&](std::string_view piece) {
        seen += piece;
        return seen.size() < 5;
    });
    CHECK(cut.finish_reason == "interrupted" && cut.text == seen && seen.size() >= 5);
    CHECK(whole.text.rfind(cut.text, 0) == 0 && cut.text.size() < whole.text.size());
    CHECK(session.generate(request).token_ids == whole.token_ids);
}

void throws(ov::Session& session, const ov::Request& request, const ov::Result& whole) {
    struct Own {};
    bool caught = false;
    try {
        session.generate(request, [](std::string_view) -> bool { throw Own(); });
    } catch (const Own&) {
        caught = true;
    }
    CHECK(caught && session.generate(request).token_ids == whole.token_ids);
}

void calls_back(ov::Session& session, ov::Session& other, const ov::Request& request, const ov::Result& whole) {
    auto chat = session.chat();
    int calls = 0;
    const auto result = session.generate(request, [&](std::string_view) {
        if (calls++ > 0) return;
        CHECK(code_of([&] { session.generate(request); }) == OV_BUSY);
        CHECK(code_of([&] { chat.ask("And now?"); }) == OV_BUSY);
        CHECK(code_of([&] { session.chat(); }) == OV_BUSY);
        CHECK(code_of([&] { session.close(); }) == OV_BUSY);
        CHECK(code_of([&] { ov::stop(); }) == OV_BUSY);
        CHECK(other.generate(request).token_ids == whole.token_ids);
    });
    CHECK(calls > 1 && result.token_ids == whole.token_ids);
}

void cancels(ov::Session& session, const ov::Request& request, const ov::Result& whole) {
    std::atomic<bool> begun{false}, cancelled{false};
    std::thread elsewhere([&] {
        while (!begun) std::this_thread::yield();
        session.cancel();
        cancelled = true;
    });
    const auto cut = session.generate(request, [&](std::string_view) {
        begun = true;
        while (!cancelled) std::this_thread::yield();
    });
    elsewhere.join();
    CHECK(cut.finish_reason == "interrupted" && cut.text.size() < whole.text.size());
    session.cancel();  // nothing runs: nothing happens
    CHECK(session.generate(request).token_ids == whole.token_ids);
}

void closes_under_way(const std::string& bundle, const ov::Request& request) {
    auto session = ov::Session::open(bundle);
    std::atomic<bool> begun{false};
    std::thread elsewhere([&] {
        while (!begun) std::this_thread::yield();
        session.close();
    });
    const auto cut = session.generate(request, [&](std::string_view) {
        begun = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    });
    elsewhere.join();
    CHECK(cut.finish_reason == "interrupted");
    CHECK(code_of([&] { session.generate(request); }) == OV_USAGE);
}

void logs(ov::Session& session, const ov::Request& request) {
    std::atomic<int> lines{0};
    const auto count = [](int32_t, const char* line, void* user) {
        CHECK(line != nullptr);
        ++*static_cast<std::atomic<int>*>(user);
    };
    CHECK(ov_set_log(count, 2, &lines) == OV_OK);
    CHECK(code_of([&] { session.generate("x", {"no such file"}); }) == OV_BAD_INPUT);
    const int seen = lines;
    CHECK(seen > 0 && ov_set_log(nullptr, 0, nullptr) == OV_OK);
    CHECK(code_of([&] { session.generate("x", {"no such file"}); }) == OV_BAD_INPUT && lines == seen);
    session.generate(request);
}

void starts_again(const std::string& bundle, const ov::Request& request, const ov::Result& whole) {
    auto left = ov::Session::open(bundle);
    ov::stop();
    CHECK(code_of([&] { left.generate(request); }) == OV_USAGE);
    ov::stop();
    CHECK(ov::Session::open(bundle).generate(request).token_ids == whole.token_ids);
}

}  // namespace

int main(int argc, char** argv) {
    CHECK(argc == 3);
    auto session = ov::Session::open(argv[1]), other = ov::Session::open(argv[1]);
    ov::Request request;
    request.images = {ov::file(argv[2])};
    std::string said;
    const auto whole = session.generate(request, [&](std::string_view piece) { said += piece; });
    CHECK(whole.finish_reason == "stop" && said == whole.text && whole.text.size() > 10);
    CHECK(whole.timings_ms.first_token > 0 && whole.timings_ms.load > 0 && whole.tiles > 0);
    stops(session, request, whole);
    throws(session, request, whole);
    calls_back(session, other, request, whole);
    cancels(session, request, whole);
    closes_under_way(argv[1], request);
    logs(session, request);
    ov::Session moved = std::move(session);
    CHECK(moved.generate(request).text == whole.text);
    CHECK(code_of([&] { session.generate(request); }) == OV_USAGE);
    starts_again(argv[1], request, whole);
    return 0;
}
