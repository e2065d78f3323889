// Ends with everything open: sessions that were used, a chat, a log, a result; the thread that opened them is gone.
//
//     leaves BUNDLE IMAGE
#include <iostream>
#include <ovrun.hpp>
#include <thread>

#include "check.h"

static ov::Session* session;  // reachable, so that it is no leak
static ov::Chat* chat;

int main(int argc, char** argv) {
    CHECK(argc == 3);
    std::thread([argv] {
        CHECK(ov_set_log([](int32_t, const char*, void*) {}, 2, nullptr) == OV_OK);
        session = new ov::Session(ov::Session::open(argv[1]));
        chat = new ov::Chat(session->chat());
        std::cout << chat->ask("What is this?", {argv[2]}).text << "\n";
    }).join();
    return 0;
}
