// Rows picked by number, moved or added up: what lookups and their gradients come down to.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_SUM_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_SUM_ROWS_INL_H_
#undef KAIROS_CPU_SUM_ROWS_INL_H_
#else
#define KAIROS_CPU_SUM_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/rows-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

constexpr int64_t kAhead = 8;      // rows between a prefetch and its use, where a row is moved
constexpr int64_t kBagAhead = 48;  // where it is only added to a sum

HWY_INLINE void PrefetchRow(const void* row, int64_t bytes) {
  const auto* line = static_cast<const std::byte*>(row);
  for (int64_t at = 0; at < std::min<int64_t>(bytes, 512); at += 64) hwy::Prefetch(line + at);
}

// Rows that a thread should move at least: fewer are over before another thread has woken up.
inline int64_t MoveGrain(int64_t row_bytes) { return std::max<int64_t>(1, 262144 / (row_bytes + 32)); }

// A row of whole vectors costs less than the call of memcpy.
HWY_INLINE void CopyRow(const std::byte* from, int64_t bytes, std::byte* to) {
  const hn::ScalableTag<uint8_t> d;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  if (bytes % step != 0 || bytes > 16 * step) {
    std::memcpy(to, from, bytes);
    return;
  }
  for (int64_t i = 0; i < bytes; i += step)
    hn::StoreU(hn::LoadU(d, reinterpret_cast<const uint8_t*>(from) + i), d,
               reinterpret_cast<uint8_t*>(to) + i);
}

// to = the sum of from[picked[i]] in the order of i, each times scales[picked[i]] where there are scales. `following`
// more are picked behind these, by whoever sums next; their rows are on the way then.
HWY_INLINE void SumRowsAt(const float* from, int64_t width, const int32_t* picked, int64_t count,
                          const float* scales, float* to, int64_t following = 0) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  constexpr int64_t kVectors = 4;  // sums that stay in registers
  const auto scale = [&](int64_t i) { return hn::Set(d, scales[picked[i]]); };
  int64_t column = 0;
  for (; column + kVectors * lanes <= width; column += kVectors * lanes) {
    FloatVector sums[kVectors];
    for (FloatVector& sum : sums) sum = hn::Zero(d);
    for (int64_t i = 0; i < count; ++i) {
      if (column == 0 && i + kBagAhead < count + following)
        PrefetchRow(from + picked[i + kBagAhead] * width, width * 4);
      const float* row = from + picked[i] * width + column;
      if (scales) {
        for (int64_t k = 0; k < kVectors; ++k)
          sums[k] = hn::MulAdd(hn::LoadU(d, row + k * lanes), scale(i), sums[k]);
      } else {
        for (int64_t k = 0; k < kVectors; ++k) sums[k] = hn::Add(sums[k], hn::LoadU(d, row + k * lanes));
      }
    }
    for (int64_t k = 0; k < kVectors; ++k) hn::StoreU(sums[k], d, to + column + k * lanes);
  }
  for (; column < width; column += lanes) {
    const size_t live = static_cast<size_t>(std::min(lanes, width - column));
    FloatVector sum = hn::Zero(d);
    for (int64_t i = 0; i < count; ++i) {
      const FloatVector row = Load(d, from + picked[i] * width + column, live);
      sum = scales ? hn::MulAdd(row, scale(i), sum) : hn::Add(sum, row);
    }
    Store(sum, d, to + column, live);
  }
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
