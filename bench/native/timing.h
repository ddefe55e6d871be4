// What the native programs of the benchmarks share: aligned memory, random numbers and times of repeated runs.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace bench {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using Array = std::unique_ptr<T[], Free>;

// Zeros, on huge pages where the system grants them. Ends the program when there is no memory.
template <typename T>
Array<T> Allocate(size_t count) {
  constexpr size_t kHugePage = size_t{1} << 21;
  const size_t bytes = (count * sizeof(T) + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = nullptr;
  if (posix_memalign(&memory, kHugePage, bytes) != 0) std::exit(1);
#ifdef MADV_HUGEPAGE
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::fill_n(static_cast<char*>(memory), bytes, 0);
  return Array<T>(static_cast<T*>(memory));
}

// Milliseconds of each run, after two to warm up: at least `rounds` and at least `seconds` in all, at most 1000.
template <typename Run>
std::vector<double> Times(Run run, size_t rounds, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  run();
  run();
  std::vector<double> times;
  for (const auto begin = Clock::now();
       times.size() < rounds || (since(begin) < seconds && times.size() < 1000);) {
    const auto start = Clock::now();
    run();
    times.push_back(1e3 * since(start));
  }
  return times;
}

}  // namespace bench
