// NV12 to RGB in one pass, to the very numbers of ovrun/media/raw.py, which says what they mean.
#pragma once

#include <array>
#include <cstdint>

#include "ovrun.h"

namespace ovrun {

// From Y, Cb and Cr to R, G and B: three rows of three factors and what is added.
using Matrix = std::array<float, 12>;

// Red, green, blue and 255 a pixel, as Pillow keeps RGB, without gaps. Needs no GIL. The frame must have been checked.
void rgbx_of_nv12(const ov_frame& frame, const Matrix& matrix, std::uint32_t* out);

}  // namespace ovrun
