// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"): four random words from a
// counter and a key, with no state between them, so every device and any number of threads draw the same
// stream.
#pragma once

#include <array>
#include <cstdint>

namespace kairos {

struct PhiloxKey {
  uint32_t low, high;

  // The key of the next round.
  constexpr PhiloxKey Next() const { return {low + 0x9E3779B9u, high + 0xBB67AE85u}; }
};

constexpr uint32_t kPhiloxMultipliers[] = {0xD2511F53u, 0xCD9E8D57u};
constexpr int kPhiloxRounds = 10;

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock Philox(PhiloxBlock counter, PhiloxKey key) {
  for (int round = 0; round < kPhiloxRounds; ++round, key = key.Next()) {
    const uint64_t a = uint64_t{kPhiloxMultipliers[0]} * counter[0],
                   b = uint64_t{kPhiloxMultipliers[1]} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key.low, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key.high, static_cast<uint32_t>(a)};
  }
  return counter;
}

}  // namespace kairos
