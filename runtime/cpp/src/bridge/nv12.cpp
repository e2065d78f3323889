#include "nv12.h"

#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "no-trapping-math")  // vectors, whatever the rest is compiled with
#endif

namespace ovrun {
namespace {

// What colour adds to each pixel of two rows, whose number is rounded up to pairs.
struct Colour {
    explicit Colour(std::size_t pairs) : pairs(pairs), numbers(8 * pairs) {}
    float* red() { return numbers.data(); }
    float* green_from_cb() { return red() + 2 * pairs; }
    float* green_from_cr() { return red() + 4 * pairs; }
    float* blue() { return red() + 6 * pairs; }

    std::size_t pairs;
    std::vector<float> numbers;
};

const std::uint8_t* row_of(const ov_frame& frame, int plane, std::int64_t row, std::int64_t row_bytes) {
    const std::int64_t stride = frame.stride_bytes[plane] ? frame.stride_bytes[plane] : row_bytes;
    return static_cast<const std::uint8_t*>(frame.planes[plane]) + row * (row ? stride : 0);
}

void read_colour(const std::uint8_t* __restrict chroma, const Matrix& matrix, Colour& colour) {
    const Matrix m = matrix;
    float *__restrict red = colour.red(), *__restrict blue = colour.blue();
    float *__restrict from_cb = colour.green_from_cb(), *__restrict from_cr = colour.green_from_cr();
    const std::size_t pairs = colour.pairs;
    for (std::size_t i = 0; i < pairs; ++i) {
        const auto cb = static_cast<float>(chroma[2 * i]), cr = static_cast<float>(chroma[2 * i + 1]);
        red[2 * i] = red[2 * i + 1] = m[2] * cr;
        from_cb[2 * i] = from_cb[2 * i + 1] = m[5] * cb;
        from_cr[2 * i] = from_cr[2 * i + 1] = m[6] * cr;
        blue[2 * i] = blue[2 * i + 1] = m[9] * cb;
    }
}

// Rounded and cut off as Pillow does. No function of the standard library, which would not be compiled as this file is.
inline std::uint32_t level(float value) {
    value += 0.5F;
    value = value > 0.0F ? value : 0.0F;
    value = value < 255.0F ? value : 255.0F;
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(value));
}

inline std::uint32_t pixel_of(std::uint32_t red, std::uint32_t green, std::uint32_t blue) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return red << 24 | green << 16 | blue << 8 | 255U;
#else
    return red | green << 8 | blue << 16 | 255U << 24;
#endif
}

// Adds in the order in which Pillow does, so that every bit is its.
void write_row(const std::uint8_t* __restrict luma, const Matrix& matrix, Colour& colour, std::size_t width,
               std::uint32_t* __restrict out) {
    const Matrix m = matrix;
    const float *__restrict red = colour.red(), *__restrict blue = colour.blue();
    const float *__restrict from_cb = colour.green_from_cb(), *__restrict from_cr = colour.green_from_cr();
    for (std::size_t x = 0; x < width; ++x) {
        const auto y = static_cast<float>(luma[x]);
        out[x] = pixel_of(
            level(m[0] * y + red[x] + m[3]), level(m[4] * y + from_cb[x] + from_cr[x] + m[7]),
            level(m[8] * y + blue[x] + m[11]));
    }
}

}  // namespace

void rgbx_of_nv12(const ov_frame& frame, const Matrix& matrix, std::uint32_t* out) {
    const auto width = static_cast<std::size_t>(frame.width_px), pairs = (width + 1) / 2;
    Colour colour(pairs);
    for (std::int64_t y = 0; y < frame.height_px; ++y, out += width) {
        if (y % 2 == 0) read_colour(row_of(frame, 1, y / 2, static_cast<std::int64_t>(2 * pairs)), matrix, colour);
        write_row(row_of(frame, 0, y, frame.width_px), matrix, colour, width, out);
    }
}

}  // namespace ovrun
