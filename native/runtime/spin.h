// Waiting for a moment without giving the core away.
#pragma once

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kairos {

inline void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Looks for about as long as a small step takes, and as waking a thread that sleeps would: who waits longer would
// only heat a core that someone else may need. Says whether it became ready.
template <typename Ready>
bool Spin(Ready ready) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kSpin = std::chrono::microseconds(50);
  constexpr int kPausesPerLook = 64;
  for (const auto deadline = Clock::now() + kSpin; Clock::now() < deadline;)
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (ready()) return true;
      Pause();
    }
  return ready();
}

}  // namespace kairos
