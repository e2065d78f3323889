// How the CPU reads and writes features: by cache lines, a line as so many vectors, and what is left one by one.
//
// Included once for every instruction set. OVK_VECTOR_BYTES is the size of the set's registers: 32 for AVX2, 16 for
// what every processor has.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../token_pool.h"

namespace ovk {
namespace {  // each instruction set has its own copy: the linker must not mix them

constexpr int kLineBytes = 64;
constexpr int kVector = OVK_VECTOR_BYTES / sizeof(float);
typedef float Vector __attribute__((vector_size(OVK_VECTOR_BYTES)));

template <class Element>
OVK_INLINE void load(const Element* from, Vector& to) {
  float wide[kVector];
  for (int i = 0; i < kVector; ++i) wide[i] = widen(from[i]);
  memcpy(&to, wide, sizeof(to));
}

template <class Element>
OVK_INLINE void save(const Vector& from, Element* to) {
  float wide[kVector];
  memcpy(wide, &from, sizeof(from));
  for (int i = 0; i < kVector; ++i) to[i] = narrow<Element>(wide[i]);
}

template <>
OVK_INLINE void load(const float* from, Vector& to) {
  memcpy(&to, from, sizeof(to));
}

template <>
OVK_INLINE void save(const Vector& from, float* to) {
  memcpy(to, &from, sizeof(from));
}

#if OVK_VECTOR_BYTES == 32

template <>
OVK_INLINE void load(const Half* from, Vector& to) {
  to = (Vector)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

template <>
OVK_INLINE void save(const Vector& from, Half* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph((__m256)from, _MM_FROUND_TO_NEAREST_INT));
}

OVK_INLINE void stream(const Vector& from, float* to) { _mm256_stream_ps(to, (__m256)from); }

#elif defined(__x86_64__)

OVK_INLINE void stream(const Vector& from, float* to) { _mm_stream_ps(to, (__m128)from); }

#else

OVK_INLINE void stream(const Vector& from, float* to) { save(from, to); }

#endif

// Features of one cache line of rows, in float32.
template <class Element>
struct Line {
  static constexpr int kFeatures = kLineBytes / sizeof(Element);
  Vector at[kFeatures / kVector];
};

// Lanes of whole lines (token_pool.h). While a line is read, the same line of a row that is needed soon is asked for:
// the order of rows is the plan's, which no processor can guess. The sums wait in the first cache between sources, and
// the last source's go straight to the result, so that reading and writing never pause for each other.
template <class Element_, bool kStreamed>
struct Lines {
  using Element = Element_;
  static constexpr int kFeatures = Line<Element>::kFeatures;
  static constexpr int kMax = 4096 / sizeof(Line<Element>);
  struct Raw {
    const Element *now, *soon;
  };

  const Element* const* ahead;  // rows to come, one for every source of this token
  int64_t feature;              // the first of these
  int num_lines;
  int num_sources;
  Element* out;
  int num_added = 0;
  Line<Element> total[kMax];

  OVK_INLINE Raw fetch(const Element* from) { return {from, *ahead++ + feature}; }

  OVK_INLINE void clear() { num_added = 0; }

  OVK_INLINE void add(float weight, const Raw& raw) {
    const bool first = num_added++ == 0, last = num_added == num_sources;
    if (first) {
      last ? add<true, true>(weight, raw) : add<true, false>(weight, raw);
    } else {
      last ? add<false, true>(weight, raw) : add<false, false>(weight, raw);
    }
  }

  OVK_INLINE void finish(Element*) {
    if (num_sources > 0) return;  // written with the last of them
    for (int i = 0; i < num_lines; ++i) write({}, i);
  }

  template <bool kFirst, bool kLast>
  OVK_INLINE void add(float weight, const Raw& raw) {
    for (int i = 0; i < num_lines; ++i) {
      Line<Element> sum = {};
      if (!kFirst) sum = total[i];
      __builtin_prefetch(raw.soon + i * kFeatures);
      for (int v = 0; v < kFeatures / kVector; ++v) {
        Vector x;
        load(raw.now + i * kFeatures + v * kVector, x);
        add_product(sum.at[v], weight, x);
      }
      if (kLast) {
        write(sum, i);
      } else {
        total[i] = sum;
      }
    }
  }

  OVK_INLINE void write(const Line<Element>& line, int i) {
    for (int v = 0; v < kFeatures / kVector; ++v) {
      Element* to = out + i * kFeatures + v * kVector;
      if constexpr (kStreamed) {
        stream(line.at[v], to);
      } else {
        save(line.at[v], to);
      }
    }
  }
};

// Lanes of one feature, for those behind the last whole line.
template <class Element_>
struct Single {
  using Element = Element_;
  using Raw = const Element*;

  OVK_INLINE Raw fetch(const Element* from) const { return from; }
  OVK_INLINE void clear() { total = 0; }
  OVK_INLINE void add(float weight, Raw raw) { add_product(total, weight, widen(*raw)); }
  OVK_INLINE void finish(Element* out) const { *out = narrow<Element>(total); }

  float total;
};

}  // namespace
}  // namespace ovk
