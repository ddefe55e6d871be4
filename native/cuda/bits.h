// Small arithmetic of kernels: bits of numbers, and divisions that are cheap where the numbers are small.
#pragma once

#include <cstring>

#include "cuda/gpu.h"

namespace kairos::gpu {

#ifdef __CUDACC__
__device__ inline float AsFloat(uint32_t bits) { return __uint_as_float(bits); }
__device__ inline uint32_t AsBits(float number) { return __float_as_uint(number); }
#else
inline float AsFloat(uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}
inline uint32_t AsBits(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof(bits));
  return bits;
}
#endif

// NaN becomes 0; the rest is cut to the range.
__device__ inline int32_t SaturateToInt(float number) {
  if (number != number) return 0;
  if (number >= 2147483648.0f) return 2147483647;
  if (number <= -2147483648.0f) return -2147483647 - 1;
  return static_cast<int32_t>(number);
}

struct Division {
  int64_t quotient, remainder;
};

// Of numbers that are not negative; 64-bit division takes a GPU many times as long as 32-bit.
__device__ inline Division Divide(int64_t number, int64_t by) {
  if ((number | by) >> 31 == 0) {
    const auto a = static_cast<uint32_t>(number), b = static_cast<uint32_t>(by);
    return {a / b, a % b};
  }
  return {number / by, number % by};
}

}  // namespace kairos::gpu
