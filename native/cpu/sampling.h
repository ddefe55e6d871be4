// From random words to sampled ids, on every device.
//
// Only exact operations and those that IEEE 754 rounds in one way stand between words and ids, so that every machine
// draws the same: no library's exponential, and no product that a compiler could fuse into a sum.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "runtime/anywhere.h"

namespace kairos {

// A product that nvcc does not fuse with the difference that it goes into.
KAIROS_ANYWHERE inline double Unfused(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

// 2^x for x in [0, 32): the whole part exactly, the rest by the exponential's series.
KAIROS_ANYWHERE inline double PowerOfTwo(double x) {
  constexpr double kLn2 = 0.6931471805599453;
  const double whole = std::floor(x), rest = x - whole;
  const double t = rest * kLn2;
  double series = 1;
  for (int n = 14; n > 0; --n) {
    const double term = series * t / n;
    series = 1 + term;
  }
  return std::ldexp(series, static_cast<int>(whole));
}

// P(id) = log2((id + 2) / (id + 1)) / octaves where octaves is log2(classes + 1); uniform where it is 0.
KAIROS_ANYWHERE inline int32_t SampledId(uint32_t high, uint32_t low, int64_t classes, double octaves) {
  const double uniform = (static_cast<double>(high >> 5) * 0x1p26 + static_cast<double>(low >> 6)) * 0x1p-53;
  const double scaled = Unfused(uniform, octaves > 0 ? octaves : static_cast<double>(classes));
  const double id = octaves > 0 ? std::floor(PowerOfTwo(scaled)) - 1 : std::floor(scaled);
  return static_cast<int32_t>(std::min(id, static_cast<double>(classes - 1)));
}

}  // namespace kairos
