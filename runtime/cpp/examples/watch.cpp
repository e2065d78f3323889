// Live video: a camera that never waits, and a worker that answers about its newest frames.
// The camera here draws a square that comes nearer, as NV12. The worker always takes the newest frame; what comes while
// it answers is dropped.
//
//     watch [BUNDLE]
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <iostream>
#include <mutex>
#include <optional>
#include <ovrun.hpp>
#include <thread>
#include <vector>

constexpr int kSide = 104, kFrames = 24;

struct Picture {
    std::vector<std::uint8_t> luma = std::vector<std::uint8_t>(kSide * kSide, 235);
    std::vector<std::uint8_t> chroma = std::vector<std::uint8_t>(kSide * kSide / 2, 128);
};

Picture draw(int number) {
    Picture picture;
    const int near = 30 - number, far = kSide - near;
    for (int y = near; y < far; ++y) {
        for (int x = near; x < far; ++x) picture.luma[y * kSide + x] = 81;  // red: Y 81, Cb 90, Cr 240
    }
    for (int y = near / 2; y < far / 2; ++y) {
        for (int x = near / 2; x < far / 2; ++x) {
            picture.chroma[y * kSide + 2 * x] = 90;
            picture.chroma[y * kSide + 2 * x + 1] = 240;
        }
    }
    return picture;
}

// Room for one frame: a newer one takes the place of one that nobody took.
class Newest {
public:
    void put(std::optional<Picture> picture) {  // nothing: the end
        const std::lock_guard lock(mutex_);
        ended_ = ended_ || !picture;
        if (picture) picture_ = std::move(picture);
        changed_.notify_one();
    }
    std::optional<Picture> take() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return picture_ || ended_; });
        return std::exchange(picture_, std::nullopt);
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<Picture> picture_;
    bool ended_ = false;
};

int main(int argc, char** argv) try {
    auto session = ov::Session::open(argc > 1 ? argv[1] : "");
    auto watch = session.watch("What shape moves in the video?", 4, 3, ov::Options().set("max-new-tokens", 16));
    Newest newest;
    const auto camera = std::async(std::launch::async, [&newest] {  // waited for however this block is left
        for (int number = 0; number < kFrames; ++number) {
            newest.put(draw(number));
            std::this_thread::sleep_for(std::chrono::milliseconds(40));
        }
        newest.put(std::nullopt);
    });
    while (const auto picture = newest.take()) {
        const auto answer = watch.push(ov::nv12(picture->luma.data(), picture->chroma.data(), kSide, kSide));
        if (answer) std::cout << answer->tiles << " frames: " << answer->text << std::endl;
    }
} catch (const ov::Error& error) {
    std::cerr << "error: " << error.what() << "\nhint: " << error.hint() << "\n";
    return error.code();
}
