// What one output row of BilinearTokenPool is, for CPU and GPU alike.
//
// Axes: R source rows, D features, T tokens, 4 sources of a token.
#pragma once

#include <cstdint>

#include "element.h"

namespace ovk {

constexpr int kSources = 4;

struct Token {
  int32_t source[kSources];
  float weight[kSources];
};

OVK_INLINE bool sources_inside(const int32_t* source, int64_t num_rows) {
  bool inside = true;
  OVK_UNROLL
  for (int s = 0; s < kSources; ++s) inside &= source[s] >= 0 && source[s] < num_rows;
  return inside;
}

// `Lanes` say how some neighbouring features of a row are read, summed in float32 and written: in registers on the GPU,
// by cache lines on the CPU. `Raw` is what a read leaves: a register of 16 bytes there, no more than a pointer here.
// `add` is add_product (element.h) for each of the features.

// All reads come before any sum, so that those of a token (on the GPU of several) are under way together.
template <class Lanes>
OVK_INLINE void fetch_sources(Lanes& lanes, const Token& token, const typename Lanes::Element* rows_RD, int64_t dim,
                              int64_t feature, typename Lanes::Raw (&raw)[kSources]) {
  OVK_UNROLL
  for (int s = 0; s < kSources; ++s) {
    if (token.weight[s] != 0) raw[s] = lanes.fetch(rows_RD + token.source[s] * dim + feature);
  }
}

template <class Lanes>
OVK_INLINE void sum_sources(Lanes& lanes, const Token& token, const typename Lanes::Raw (&raw)[kSources],
                            typename Lanes::Element* out) {
  lanes.clear();
  OVK_UNROLL
  for (int s = 0; s < kSources; ++s) {
    if (token.weight[s] != 0) lanes.add(token.weight[s], raw[s]);
  }
  lanes.finish(out);
}

}  // namespace ovk
