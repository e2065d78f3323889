// What benchmarks/cpp_overhead.py times of the C++ side: as a library in its own process, and as a program of its own.
//
//     cpp_overhead BUNDLE      opens it and ends
#include <chrono>
#include <ovrun.hpp>

namespace {

double ms_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

const ov::Options one_thread = ov::Options().set("threads", 1);

}  // namespace

extern "C" void* open_session(const char* bundle) { return new ov::Session(ov::Session::open(bundle, one_thread)); }

extern "C" double ask_ms(void* session, const unsigned char* rgb, int width_px, int height_px) {
    const auto start = std::chrono::steady_clock::now();
    const auto result = static_cast<ov::Session*>(session)->generate(
        "Describe this image.", {ov::pixels(OV_RGB, rgb, width_px, height_px)}, {}, [](std::string_view) {});
    return result.token_ids.empty() ? -1 : ms_since(start);
}

extern "C" void close_session(void* session) { delete static_cast<ov::Session*>(session); }

int main(int argc, char** argv) {
    if (argc != 2) return OV_USAGE;
    const auto session = ov::Session::open(argv[1], one_thread);
    return 0;
}
