// Eight threads on four sessions: every answer is the one that a thread alone gets, or the beginning of it where the
// asker, or a ninth thread that cancels at random, ended it. The thread that starts Python ends.
//
//     threads BUNDLE SECONDS IMAGE...
#include <atomic>
#include <chrono>
#include <iostream>
#include <map>
#include <ovrun.hpp>
#include <random>
#include <thread>

#include "check.h"

int main(int argc, char** argv) {
    CHECK(argc > 3);
    std::thread([] { ov::start(); }).join();
    const ov::Options options = ov::Options().set("threads", 1);
    std::vector<ov::Session> sessions;
    for (int i = 0; i < 4; ++i) sessions.push_back(ov::Session::open(argv[1], options));
    std::map<int, ov::Result> right;
    for (int i = 3; i < argc; ++i) right[i] = sessions[0].generate("Describe this image.", {argv[i]});

    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::stod(argv[2]));
    std::atomic<long> answers{0}, whole{0}, wrong{0};
    std::vector<std::thread> threads;
    for (unsigned number = 0; number < 8; ++number) {
        threads.emplace_back([&, number] {
            std::mt19937 random(number);
            do {
                const int image = 3 + static_cast<int>(random() % static_cast<unsigned>(argc - 3));
                ov::Session& session = sessions[number % 4];
                const bool stop = random() % 8 == 0;
                const auto result = session.generate(
                    "Describe this image.", {argv[image]}, {}, [&](std::string_view) { return !stop; });
                const bool is_right = result.finish_reason == "interrupted"
                                          ? right.at(image).text.rfind(result.text, 0) == 0
                                          : result.token_ids == right.at(image).token_ids;
                if (!is_right) ++wrong;
                if (result.finish_reason != "interrupted") ++whole;
                ++answers;
            } while (std::chrono::steady_clock::now() < end);
        });
    }
    std::thread canceller([&] {
        for (unsigned i = 0; std::chrono::steady_clock::now() < end; ++i) {
            sessions[i % 4].cancel();
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
    });
    for (auto& thread : threads) thread.join();
    canceller.join();
    std::cout << answers << " answers, " << whole << " of them whole, " << wrong << " wrong\n";
    return wrong == 0 && whole >= 8 ? 0 : 1;
}
