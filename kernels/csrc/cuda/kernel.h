// BilinearTokenPool on the GPU, as what one thread does of it. Nothing here needs a GPU: emulated.cpp runs the same
// threads one after the other, so that tests on any machine go through the kernel's own indexing.
//
// A thread handles kRows neighbouring tokens and, of each, every threads_x-th vector of features.
#pragma once

#include "../token_pool.h"

namespace ovk {

struct Thread {
  int64_t block;
  int32_t x, y;
  int32_t threads_x, threads_y;
};

struct Sizes {
  int64_t num_rows, num_tokens, dim;
};

// Lanes of one access, see token_pool.h. kBytes divides the length of a row and the pointers, so a row has no tail.
template <class Element_, int kBytes>
struct Access {
  using Element = Element_;
  static constexpr int kWidth = kBytes / sizeof(Element);
  static constexpr bool kPlanAtOnce = kBytes == 16;
  struct alignas(kBytes) Raw {
    Element at[kWidth];
  };

  static OVK_INLINE Raw fetch(const Element* from) { return *reinterpret_cast<const Raw*>(from); }

  OVK_INLINE void clear() {
    OVK_UNROLL
    for (int i = 0; i < kWidth; ++i) total[i] = 0;
  }

  OVK_INLINE void add(float weight, const Raw& raw) {
    OVK_UNROLL
    for (int i = 0; i < kWidth; ++i) add_product(total[i], weight, widen(raw.at[i]));
  }

  OVK_INLINE void finish(Element* out) const {
    Raw raw;
    OVK_UNROLL
    for (int i = 0; i < kWidth; ++i) raw.at[i] = narrow<Element>(total[i]);
    *reinterpret_cast<Raw*>(out) = raw;
  }

  float total[kWidth];
};

// Four neighbouring numbers of the plan, at once where the launch has made sure that they are aligned.
template <bool kAtOnce, class T>
OVK_INLINE void read_four(const T* from, T (&to)[kSources]) {
  if constexpr (kAtOnce) {
    struct alignas(kSources * sizeof(T)) Four {
      T at[kSources];
    };
    const Four four = *reinterpret_cast<const Four*>(from);
    OVK_UNROLL
    for (int s = 0; s < kSources; ++s) to[s] = four.at[s];
  } else {
    OVK_UNROLL
    for (int s = 0; s < kSources; ++s) to[s] = from[s];
  }
}

OVK_INLINE void lower_to(int32_t* bad_token, int64_t t) {
  if (!bad_token) return;
#ifdef __CUDA_ARCH__
  atomicMin(bad_token, static_cast<int32_t>(t));
#else
  if (t < *bad_token) *bad_token = static_cast<int32_t>(t);
#endif
}

// A token that names a row outside is reported and left without sources.
OVK_INLINE void check_token(Token& token, int64_t t, int64_t num_rows, int32_t* bad_token) {
  if (sources_inside(token.source, num_rows)) return;
  lower_to(bad_token, t);
  OVK_UNROLL
  for (int s = 0; s < kSources; ++s) token.weight[s] = 0;
}

template <class Lanes, int kRows>
OVK_INLINE void pool_thread(const typename Lanes::Element* __restrict__ rows_RD, const int32_t* __restrict__ indices_T4,
                            const float* __restrict__ weights_T4, typename Lanes::Element* __restrict__ out_TD,
                            const Sizes& sizes, int32_t* bad_token, const Thread& thread) {
  const int64_t first = (thread.block * thread.threads_y + thread.y) * kRows;
  if (first >= sizes.num_tokens) return;
  Token tokens[kRows];
  OVK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    // Past the end the last token stands in: read, not written.
    const int64_t t = first + r < sizes.num_tokens ? first + r : sizes.num_tokens - 1;
    read_four<Lanes::kPlanAtOnce>(indices_T4 + t * kSources, tokens[r].source);
    read_four<Lanes::kPlanAtOnce>(weights_T4 + t * kSources, tokens[r].weight);
  }
  OVK_UNROLL
  for (int r = 0; r < kRows; ++r) {
    check_token(tokens[r], first + r, sizes.num_rows, thread.x == 0 ? bad_token : nullptr);
  }
  constexpr int kWidth = Lanes::kWidth;
  Lanes lanes;
  for (int64_t feature = thread.x * kWidth; feature < sizes.dim; feature += thread.threads_x * kWidth) {
    typename Lanes::Raw raw[kRows][kSources] = {};
    OVK_UNROLL
    for (int r = 0; r < kRows; ++r) fetch_sources(lanes, tokens[r], rows_RD, sizes.dim, feature, raw[r]);
    OVK_UNROLL
    for (int r = 0; r < kRows; ++r) {
      if (first + r < sizes.num_tokens) {
        sum_sources(lanes, tokens[r], raw[r], out_TD + (first + r) * sizes.dim + feature);
      }
    }
  }
}

}  // namespace ovk
