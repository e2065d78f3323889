// The loop over tokens of one instruction set. Which set that is, the including file tells the compiler.
#pragma once

#include "lanes.h"

namespace ovk {
namespace {

constexpr int kLead = 4;  // rows between the one that is read and the one that is asked for; measured (docs/kernels.md)

// The rows that a token and the one after it read, in that order; then the last one again, for what looks further.
template <class Element>
struct Upcoming {
  const Element* rows[2 * kSources + kLead];
  int count = 0;  // without the repeated ones

  OVK_INLINE void add(const Token& token, const Element* rows_RD, int64_t dim) {
    for (int s = 0; s < kSources; ++s) {
      if (token.weight[s] != 0) rows[count++] = rows_RD + token.source[s] * dim;
    }
    for (int i = 0; i < kLead && count > 0; ++i) rows[count + i] = rows[count - 1];
  }
};

OVK_INLINE Token read_token(const ovk_token_pool& pool, int64_t t) {
  Token token;
  memcpy(token.source, pool.indices + t * kSources, sizeof(token.source));
  memcpy(token.weight, pool.weights + t * kSources, sizeof(token.weight));
  return token;
}

template <class Lanes>
OVK_INLINE void pool_features(Lanes& lanes, const Token& token, const typename Lanes::Element* rows_RD, int64_t dim,
                              int64_t feature, typename Lanes::Element* out_D) {
  typename Lanes::Raw raw[kSources] = {};
  fetch_sources(lanes, token, rows_RD, dim, feature, raw);
  sum_sources(lanes, token, raw, out_D + feature);
}

template <class Element, bool kStreamed>
OVK_INLINE void pool_tokens(const ovk_token_pool& pool, int64_t begin, int64_t end) {
  constexpr int64_t kFeatures = Lines<Element, kStreamed>::kFeatures, kMax = Lines<Element, kStreamed>::kMax;
  const auto* rows_RD = static_cast<const Element*>(pool.rows);
  const int64_t dim = pool.dim;
  Lines<Element, kStreamed> lines;
  Single<Element> single;
  for (int64_t t = begin; t < end; ++t) {
    const Token token = read_token(pool, t);
    Upcoming<Element> upcoming;
    upcoming.add(token, rows_RD, dim);
    lines.num_sources = upcoming.count;
    if (t + 1 < end) upcoming.add(read_token(pool, t + 1), rows_RD, dim);
    Element* out_D = static_cast<Element*>(pool.out) + t * dim;
    int64_t feature = 0;
    for (; dim - feature >= kFeatures; feature += lines.num_lines * kFeatures) {
      const int64_t whole = (dim - feature) / kFeatures;
      lines.ahead = upcoming.rows + kLead;
      lines.feature = feature;
      lines.num_lines = static_cast<int>(whole < kMax ? whole : kMax);
      lines.out = out_D + feature;
      pool_features(lines, token, rows_RD, dim, feature, out_D);
    }
    for (; feature < dim; ++feature) pool_features(single, token, rows_RD, dim, feature, out_D);
  }
#if defined(__x86_64__)
  if (kStreamed) _mm_sfence();  // before another thread is told that this one is done
#endif
}

void pool_tokens(const ovk_token_pool& pool, int64_t begin, int64_t end, bool streamed) {
  switch (pool.dtype) {
    case OVK_FLOAT16:
      return pool_tokens<Half, false>(pool, begin, end);
    case OVK_BFLOAT16:
      return pool_tokens<BFloat16, false>(pool, begin, end);
    default:
      return streamed ? pool_tokens<float, true>(pool, begin, end) : pool_tokens<float, false>(pool, begin, end);
  }
}

}  // namespace
}  // namespace ovk
