// The loop over NV12 for ctypes.
#include <nv12.h>

#include <algorithm>

extern "C" __attribute__((visibility("default"))) void rgbx(
    const ov_frame* frame, const float* factors, std::uint32_t* out) {
    ovrun::Matrix matrix{};
    std::copy_n(factors, matrix.size(), matrix.begin());
    ovrun::rgbx_of_nv12(*frame, matrix, out);
}
