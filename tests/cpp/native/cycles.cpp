// Opens, asks and closes again and again; prints the resident memory in MB after a tenth of the cycles, at least ten, when
// the allocator has what it wants, and at the end.
//
//     cycles BUNDLE IMAGE COUNT [stop]      (with ov::stop in every third cycle)
#include <algorithm>
#include <fstream>
#include <iostream>
#include <ovrun.hpp>
#include <string>
#include <unistd.h>

namespace {

double resident_mb() {
    std::ifstream file("/proc/self/statm");
    long pages = 0;
    file >> pages >> pages;
    return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    const int count = std::stoi(argv[3]), warm = std::max(10, count / 10);
    for (int i = 0; i < count; ++i) {
        if (i == warm) std::cout << resident_mb() << "\n";
        auto session = ov::Session::open(argv[1], ov::Options().set("threads", 1));
        session.generate("Describe this image.", {argv[2]}, ov::Options().set("max-new-tokens", 4));
        auto chat = session.chat();
        chat.ask("What is this?", {argv[2]});
        if (argc > 4 && i % 3 == 0) ov::stop();
    }
    std::cout << resident_mb() << "\n";
    return 0;
}
