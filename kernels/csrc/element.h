// Features as they lie in memory, and float32, in which all of them are computed. Same bits on CPU and GPU.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define OVK_INLINE __host__ __device__ __forceinline__
#else
#define OVK_INLINE inline __attribute__((always_inline))
#endif

#ifdef __CUDA_ARCH__
#define OVK_UNROLL _Pragma("unroll")  // arrays that are indexed in a loop are registers only if it is gone
#else
#define OVK_UNROLL
#endif

namespace ovk {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

template <class To, class From>
OVK_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

OVK_INLINE float widen(float x) { return x; }

OVK_INLINE float widen(BFloat16 x) { return bits_as<float>(static_cast<uint32_t>(x.bits) << 16); }

OVK_INLINE float widen(Half x) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(x.bits));
#else
  // Shifted into place, exponents are 112 too small, or 224 for what is not finite. A subnormal number comes out of an
  // exact difference. All is selected, nothing branched on, so that compilers turn loops over it into vectors.
  const uint32_t magnitude = (x.bits & 0x7fffu) << 13;
  const uint32_t beyond = magnitude >= 0x1fu << 23 ? 112u << 23 : 0u;
  const uint32_t normal = magnitude + (112u << 23) + beyond;
  const uint32_t subnormal = bits_as<uint32_t>(bits_as<float>(magnitude + (113u << 23)) - 0x1p-14f);
  return bits_as<float>((magnitude < 1u << 23 ? subnormal : normal) | (x.bits & 0x8000u) << 16);
#endif
}

// To the nearest, ties to even, as NumPy's astype. A NaN stays a NaN; which one is not promised.
template <class Element>
Element narrow(float x);

template <>
OVK_INLINE float narrow<float>(float x) {
  return x;
}

template <>
OVK_INLINE BFloat16 narrow<BFloat16>(float x) {
#ifdef __CUDA_ARCH__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const uint32_t bits = bits_as<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return {static_cast<uint16_t>(nan ? bits >> 16 | 0x40u : rounded)};
#endif
}

template <>
OVK_INLINE Half narrow<Half>(float x) {
#ifdef __CUDA_ARCH__
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t bits = bits_as<uint32_t>(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
  // Added to a half, whose last bit is then the subnormal numbers' step, a small number is rounded by the addition.
  const uint32_t subnormal = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - bits_as<uint32_t>(0.5f);
  const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
  return {static_cast<uint16_t>((magnitude >= (143u << 23) ? large : finite) | (bits >> 16 & 0x8000u))};
#endif
}

// Rounded twice, never fused: the host is compiled with -ffp-contract=off. `Part` is a float, or a vector of them.
template <class Part>
OVK_INLINE void add_product(Part& total, float weight, const Part& x) {
#ifdef __CUDA_ARCH__
  total = __fadd_rn(total, __fmul_rn(weight, x));
#else
  total = total + weight * x;
#endif
}

}  // namespace ovk
