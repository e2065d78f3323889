// One picture in, text out, as it comes.
//
//     caption IMAGE [PROMPT] [BUNDLE]
#include <iostream>
#include <ovrun.hpp>

int main(int argc, char** argv) {
    if (argc < 2) {
        std::cerr << "usage: caption IMAGE [PROMPT] [BUNDLE]\n";
        return OV_USAGE;
    }
    try {
        auto session = ov::Session::open(argc > 3 ? argv[3] : "");
        const auto result = session.generate(
            argc > 2 ? argv[2] : "Describe this image.", {ov::file(argv[1])}, ov::Options().set("max-new-tokens", 64),
            [](std::string_view piece) { std::cout << piece << std::flush; });
        std::cout << "\n";
        for (const auto& warning : result.warnings) std::cerr << "warning: " << warning << "\n";
        return OV_OK;
    } catch (const ov::Error& error) {
        std::cerr << "error: " << error.what() << "\nhint: " << error.hint() << "\n";
        return error.code();
    }
}
