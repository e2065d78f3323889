// What callbacks may do: stop, throw, call back in, close; and that the next answer is right.
//
//     callbacks BUNDLE IMAGE
#include <atomic>
#include <chrono>
#include <optional>
#include <ovrun.hpp>
#include <thread>

#include "check.h"

namespace {

void wait_a_little() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

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
        CHECK(code_of([&] { ov::stop(); }) == OV_BUSY);
        CHECK(other.generate(request).token_ids == whole.token_ids);
    });
    CHECK(calls > 1 && result.token_ids == whole.token_ids);
}

void cancels(ov::Session& session, const ov::Request& request, const ov::Result& whole) {
    std::atomic<bool> begun{false}, cancelled{false};
    std::thread elsewhere([&] {
        while (!begun) wait_a_little();
        session.cancel();
        cancelled = true;
    });
    const auto cut = session.generate(request, [&](std::string_view) {
        begun = true;
        while (!cancelled) wait_a_little();
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
        while (!begun) wait_a_little();
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

void closes_itself(const std::string& bundle, const ov::Request& request) {
    std::optional<ov::Session> session(ov::Session::open(bundle));
    auto chat = session->chat();
    const auto cut = session->generate(request, [&](std::string_view) {
        if (!session) return;
        session->close();
        session.reset();
        CHECK(code_of([&] { chat.ask("And now?"); }) == OV_BUSY);
    });
    CHECK(cut.finish_reason == "interrupted");
    CHECK(code_of([&] { chat.ask("And now?"); }) == OV_USAGE);  // closed with it, when it had returned
}

// Two threads, each in a callback of its session; then `meet` does something to the other one.
template <class Meet>
void crosswise(ov::Session& left, ov::Session& right, const ov::Request& request, Meet meet) {
    std::atomic<int> inside{0};
    const auto ask = [&](ov::Session& own, ov::Session& other) {
        bool first = true;
        own.generate(request, [&](std::string_view) {
            if (!std::exchange(first, false)) return;
            ++inside;
            while (inside < 2) wait_a_little();
            meet(other);
        });
    };
    std::thread thread([&] { ask(left, right); });
    ask(right, left);
    thread.join();
}

void ask_each_other(const std::string& bundle, const ov::Request& request, const ov::Result& whole) {
    auto left = ov::Session::open(bundle), right = ov::Session::open(bundle);
    std::atomic<int> busy{0}, answered{0};
    crosswise(left, right, request, [&](ov::Session& other) {
        const ov_status status = code_of([&] { CHECK(other.generate(request).token_ids == whole.token_ids); });
        CHECK(status == OV_OK || status == OV_BUSY);
        ++(status == OV_OK ? answered : busy);
    });
    CHECK(busy == 1 && answered == 1);  // who comes last would close the circle
    CHECK(left.generate(request).token_ids == whole.token_ids);
    crosswise(left, right, request, [](ov::Session& other) { other.close(); });
    CHECK(code_of([&] { left.generate(request); }) == OV_USAGE && code_of([&] { right.generate(request); }) == OV_USAGE);
}

// The chat's own answer is cancelled, those of others go on.
void closes_a_chat(ov::Session& session, const ov::Request& request, const ov::Result& whole) {
    auto asked = session.chat(), other = session.chat();
    std::atomic<bool> begun{false}, closed{false};
    const auto wait = [&](std::string_view) {
        begun = true;
        while (!closed) wait_a_little();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    };
    std::thread elsewhere([&] {
        while (!begun) wait_a_little();
        closed = true;
        asked.close();
    });
    CHECK(asked.ask(request, wait).finish_reason == "interrupted");
    elsewhere.join();
    CHECK(code_of([&] { asked.ask(request); }) == OV_USAGE);
    bool first = true;
    const auto result = session.generate(request, [&](std::string_view) {
        if (std::exchange(first, false)) other.close();
    });
    CHECK(result.token_ids == whole.token_ids && code_of([&] { other.ask(request); }) == OV_USAGE);
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
    closes_itself(argv[1], request);
    ask_each_other(argv[1], request, whole);
    closes_a_chat(session, request, whole);
    ov::Session moved = std::move(session);
    CHECK(moved.generate(request).text == whole.text);
    CHECK(code_of([&] { session.generate(request); }) == OV_USAGE);
    starts_again(argv[1], request, whole);
    return 0;
}
