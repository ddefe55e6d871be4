// Waves of the low band of sequences, and how many a cutoff leaves.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace kairos {

inline constexpr int kWaves = 5;  // that a pass over the rows holds in registers
inline constexpr int64_t kMostWaveFloats = int64_t{1} << 24;

inline int64_t WaveCount(int64_t length, int64_t cutoff) {
  return std::clamp<int64_t>(2 * cutoff - 1, 0, length);
}
// No waves are a pass of waves that are zero.
inline int64_t Passes(int64_t waves) { return std::max<int64_t>(1, (waves + kWaves - 1) / kWaves); }

// The cutoff of a sequence that takes `length` of `whole` positions.
inline int64_t CutoffAt(int64_t length, int64_t whole, int64_t cutoff) {
  if (cutoff == 0) return 0;
  return std::min((2 * (cutoff - 1) * length + whole) / (2 * whole) + 1, length / 2 + 1);
}

// wave[pass][t][kWaves]; waves beyond the last are zero.
inline std::vector<float> MakeWaves(int64_t length, int64_t cutoff) {
  const int64_t count = WaveCount(length, cutoff), passes = Passes(count);
  std::vector<float> waves(static_cast<size_t>(passes * length * kWaves));
  for (int64_t w = 0; w < count; ++w)
    for (int64_t t = 0; t < length; ++t) {
      const int64_t k = (w + 1) / 2;
      const double turns = static_cast<double>(k * t % length) / static_cast<double>(length);
      const double angle = 2 * std::numbers::pi * turns;
      // DC and, for even lengths, the last cosine have no sine beside them.
      const double power = (k == 0 || 2 * k == length ? 1.0 : 2.0) / static_cast<double>(length);
      waves[(w / kWaves * length + t) * kWaves + w % kWaves] =
          static_cast<float>(std::sqrt(power) * (w % 2 == 1 || w == 0 ? std::cos(angle) : std::sin(angle)));
    }
  return waves;
}

}  // namespace kairos
