// Images and videos: files, the bytes of files, pixels.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "error.hpp"
#include "span.hpp"
#include "text.hpp"

namespace ov {

// One of them. Bytes and pixels stay where they are and must be there until the call that gets them returns.
class Media {
public:
    Media(const Text& path) : path_(path.str()) { media_.kind = OV_FILE; }
    Media(const char* path) : Media(Text(path)) {}
    Media(const std::string& path) : Media(Text(path)) {}
    Media(std::string_view path) : Media(Text(path)) {}
    Media(const std::filesystem::path& path) : Media(Text(path)) {}
    Media(const ov_frame& frame) {
        media_.kind = OV_FRAME;
        media_.frame = frame;
    }
    static Media bytes(const void* encoded, std::size_t num_bytes) {
        Media media{""};
        media.media_.kind = OV_BYTES;
        media.media_.bytes = encoded;
        media.media_.num_bytes = num_bytes;
        return media;
    }

    // Valid while this object is.
    ov_media get() const {
        ov_media media = media_;
        if (media.kind == OV_FILE) media.path = path_.c_str();
        return media;
    }

private:
    std::string path_;
    ov_media media_{};
};

// A parameter: {ov::file("a.png"), frame}, a vector or a span. Looks at them where they are.
class MediaList {
public:
    MediaList() = default;
    MediaList(std::initializer_list<Media> items) : items_(items.begin(), items.size()) {}
    template <class Items, class = std::enable_if_t<std::is_constructible_v<span<const Media>, const Items&>>>
    MediaList(const Items& items) : items_(items) {}

    const Media* begin() const { return items_.data(); }
    const Media* end() const { return items_.data() + items_.size(); }

private:
    span<const Media> items_;
};

inline Media file(const std::filesystem::path& path) { return Media(path); }

// A file in memory: a vector, string_view or span of whatever has one byte.
template <class Bytes, class = decltype(std::declval<const Bytes&>().data())>
Media bytes(const Bytes& encoded) {
    static_assert(sizeof(*encoded.data()) == 1, "the bytes of a file");
    return Media::bytes(encoded.data(), encoded.size());
}

// Pixels in memory, of one plane. `stride_bytes` as in ov_frame.
inline ov_frame pixels(
    ov_format format, const void* data, int width_px, int height_px, std::int64_t stride_bytes = 0) {
    return {format, OV_BT601, width_px, height_px, {data, nullptr}, {stride_bytes, 0}};
}

inline ov_frame nv12(
    const void* luma, const void* chroma, int width_px, int height_px, std::int64_t luma_stride_bytes = 0,
    std::int64_t chroma_stride_bytes = 0, ov_colour colour = OV_BT601) {
    return {OV_NV12, colour, width_px, height_px, {luma, chroma}, {luma_stride_bytes, chroma_stride_bytes}};
}

// A cv::Mat of bytes, or what looks like one: grey, BGR or BGRA by its channels, unless another format is named.
template <class Mat, class = decltype(std::declval<const Mat&>().elemSize1())>
ov_frame pixels(const Mat& mat, std::optional<ov_format> format = std::nullopt) {
    const int channels = mat.channels();
    if (mat.elemSize1() != 1 || (channels != 1 && channels != 3 && channels != 4)) {
        throw Error(OV_BAD_INPUT, "the matrix has no bytes in 1, 3 or 4 channels", "convert it to CV_8U");
    }
    const ov_format usual = channels == 1 ? OV_GREY : channels == 3 ? OV_BGR : OV_BGRA;
    return pixels(format.value_or(usual), mat.data, mat.cols, mat.rows, static_cast<std::int64_t>(mat.step[0]));
}

}  // namespace ov
