// One picture in every form it can be handed over, a chat, a video and a watch: a line of JSON for each answer.
//
//     answers BUNDLE IMAGE VIDEO RGB WIDTH HEIGHT      (RGB: the picture's pixels without gaps)
#include <fstream>
#include <iostream>
#include <iterator>
#include <ovrun.hpp>

namespace {

std::vector<unsigned char> read(const char* path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void print(const char* name, const ov::Result& result) {
    std::cout << "{\"name\": \"" << name << "\", \"answer\": " << result.json << "}\n";
}

struct Layout {
    std::vector<unsigned char> memory;
    ov_frame frame;
};

// The rows `gap` bytes further apart, from the bottom up if asked, in exactly as much memory as they need.
Layout lay_out(const std::vector<unsigned char>& rgb, int width, int height, ov_format format, int gap, bool upwards) {
    const int channels = format == OV_RGBA || format == OV_BGRA ? 4 : 3;
    const bool swapped = format == OV_BGR || format == OV_BGRA;
    const std::size_t stride = static_cast<std::size_t>(width * channels + gap);
    Layout out;
    out.memory.assign(stride * (height - 1) + static_cast<std::size_t>(width * channels), 77);
    for (int y = 0; y < height; ++y) {
        unsigned char* row = out.memory.data() + stride * static_cast<std::size_t>(upwards ? height - 1 - y : y);
        for (int x = 0; x < width; ++x) {
            const unsigned char* pixel = rgb.data() + 3 * (static_cast<std::size_t>(y) * width + x);
            for (int c = 0; c < 3; ++c) row[x * channels + c] = pixel[swapped ? 2 - c : c];
        }
    }
    const auto step = static_cast<std::int64_t>(stride);
    const auto* first = out.memory.data() + (upwards ? stride * (height - 1) : 0);
    out.frame = ov::pixels(format, first, width, height, upwards ? -step : step);
    return out;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 7) return 2;
    auto session = ov::Session::open(argv[1], ov::Options().set("threads", 1));
    const auto encoded = read(argv[2]), rgb = read(argv[4]);
    const int width = std::stoi(argv[5]), height = std::stoi(argv[6]);
    const std::string prompt = "Describe this image.";
    print("file", session.generate(prompt, {ov::file(argv[2])}));
    print("bytes", session.generate(prompt, {ov::bytes(encoded)}));
    print("tight", session.generate(prompt, {ov::pixels(OV_RGB, rgb.data(), width, height)}));
    int number = 0;
    for (const ov_format format : {OV_RGB, OV_BGR, OV_RGBA, OV_BGRA}) {
        const auto layout = lay_out(rgb, width, height, format, 3 * number, number % 2 == 1);
        print("frame", session.generate(prompt, {layout.frame}));
        ++number;
    }
    const ov_frame frame = ov::pixels(OV_RGB, rgb.data(), width, height);
    print("two", session.generate("How many shapes are in the second image?", {ov::file(argv[2]), frame}));

    auto chat = session.chat(ov::Options().set("max-new-tokens", 20));
    {
        const auto copy = rgb;  // gone before the second turn
        print("turn 1", chat.ask("How many shapes are there?", {ov::pixels(OV_RGB, copy.data(), width, height)}));
    }
    print("turn 2", chat.ask("What color is the circle?"));

    ov::Request clip;
    clip.video = {ov::file(argv[3])};
    clip.options.set("num-frames", 4);
    print("video", session.generate(clip));
    clip.options = {};
    clip.video = {frame, frame, frame};
    print("frames", session.generate(clip));

    auto watch = session.watch("What shape moves in the video?", 2, 2, ov::Options().set("max-new-tokens", 8));
    for (int i = 0; i < 4; ++i) {
        if (const auto answer = watch.push(frame)) print("watch", *answer);
    }
} catch (const ov::Error& error) {
    std::cerr << error.what() << " (" << error.hint() << ")\n";
    return 1;
}
