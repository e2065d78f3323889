// Sums of samples of pixels, in the instruction set that the including file tells the compiler.
//
// Loops over kLanes bytes become vectors. Down the columns of a picture so many bytes lie side by side anyway. Along its
// rows they don't: there the pixels of several rows are laid side by side first.
#pragma once

#include <cstring>

#include "../token_pool.h"

namespace ovk {
namespace {

constexpr int64_t kLanes = 64;
constexpr int64_t kWindow = 256;  // samples that are laid side by side at a time: 16 KiB, which stay in the first cache

// One sample of the result: `lanes` numbers of it, of as many in each of `taps` samples that are `stride` bytes apart.
OVK_INLINE void sum_taps(const uint8_t* samples, int64_t stride, const int32_t* weights, int64_t taps, int64_t lanes,
                         uint8_t* out) {
  uint32_t sums[kLanes];  // unsigned, so that they wrap
  for (int64_t i = 0; i < lanes; ++i) sums[i] = uint32_t{1} << (OVK_RESAMPLE_BITS - 1);
  for (int64_t k = 0; k < taps; ++k) {
    const auto weight = static_cast<uint32_t>(weights[k]);
    const uint8_t* sample = samples + k * stride;
    for (int64_t i = 0; i < lanes; ++i) sums[i] += weight * sample[i];
  }
  for (int64_t i = 0; i < lanes; ++i) {
    const int32_t rounded = static_cast<int32_t>(sums[i]) >> OVK_RESAMPLE_BITS;
    out[i] = static_cast<uint8_t>(rounded < 0 ? 0 : rounded > 255 ? 255 : rounded);
  }
}

OVK_INLINE void resample_wide(const ovk_resample& r) {
  for (int64_t a = 0; a < r.outer; ++a) {
    for (int64_t m = 0; m < r.out_size; ++m) {
      const uint8_t* samples = r.in + (a * r.in_size + r.first[m]) * r.inner;
      uint8_t* out = r.out + (a * r.out_size + m) * r.inner;
      for (int64_t b = 0; b < r.inner; b += kLanes) {
        const int64_t at = b + kLanes <= r.inner ? b : r.inner - kLanes;  // the last ones twice, with the same result
        sum_taps(samples + at, r.inner, r.weights + m * r.taps, r.taps, kLanes, out + at);
      }
    }
  }
}

// Where a sample has more taps than a window has room for.
OVK_INLINE void resample_far(const ovk_resample& r) {
  for (int64_t a = 0; a < r.outer; ++a) {
    for (int64_t m = 0; m < r.out_size; ++m) {
      sum_taps(r.in + (a * r.in_size + r.first[m]) * r.inner, r.inner, r.weights + m * r.taps, r.taps, r.inner,
               r.out + (a * r.out_size + m) * r.inner);
    }
  }
}

// Several lines `a`, as many as fit into kLanes, and so many samples of them that their taps fit into the window.
template <int64_t kInner>  // of a sample; 0: told at run time
OVK_INLINE void resample_narrow(const ovk_resample& r) {
  const int64_t inner = kInner ? kInner : r.inner, most = kLanes / inner;
  alignas(kLanes) uint8_t window[kWindow][kLanes] = {};
  alignas(kLanes) uint8_t sums[kLanes];
  for (int64_t a = 0; a < r.outer; a += most) {
    const int64_t lines = r.outer - a < most ? r.outer - a : most;
    for (int64_t m = 0, end; m < r.out_size; m = end) {
      const int64_t from = r.first[m];
      for (end = m + 1; end < r.out_size; ++end) {
        if (r.first[end] < from || r.first[end] + r.taps > from + kWindow) break;
      }
      int64_t samples = 0;
      for (int64_t i = m; i < end; ++i) samples = r.first[i] - from > samples ? r.first[i] - from : samples;
      samples += r.taps;
      for (int64_t line = 0; line < lines; ++line) {
        const uint8_t* in = r.in + ((a + line) * r.in_size + from) * inner;
        for (int64_t n = 0; n < samples; ++n) memcpy(&window[n][line * inner], in + n * inner, inner);
      }
      for (int64_t i = m; i < end; ++i) {
        sum_taps(window[r.first[i] - from], kLanes, r.weights + i * r.taps, r.taps, kLanes, sums);
        uint8_t* out = r.out + (a * r.out_size + i) * inner;
        for (int64_t line = 0; line < lines; ++line) {
          memcpy(out + line * r.out_size * inner, sums + line * inner, inner);
        }
      }
    }
  }
}

void resample(const ovk_resample& r) {
  if (r.inner >= kLanes) return resample_wide(r);
  if (r.taps > kWindow) return resample_far(r);
  return r.inner == 3 ? resample_narrow<3>(r) : resample_narrow<0>(r);
}

}  // namespace
}  // namespace ovk
