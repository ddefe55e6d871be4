// Sums over rows: what gradients of weights of a normalisation come down to.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_COLUMN_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_COLUMN_SUMS_INL_H_
#undef KAIROS_CPU_COLUMN_SUMS_INL_H_
#else
#define KAIROS_CPU_COLUMN_SUMS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/rows-inl.h"
#include "runtime/thread_team.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

inline constexpr int64_t kMostRowStripes = 32;
inline constexpr int64_t kRowBlock = 64;

// Of a stripe of rows: double total[width], float block[width].
inline size_t RowStripeBytes(int64_t width) {
  return (sizeof(double) + sizeof(float)) * static_cast<size_t>(width + 15) / 64 * 64 + 64;
}
inline int64_t RowStripes(int64_t rows) {
  return std::clamp<int64_t>((rows + kRowBlock - 1) / kRowBlock, 1, kMostRowStripes);
}
inline size_t SumRowsBytes(int64_t rows, int64_t width) {
  return static_cast<size_t>(RowStripes(rows)) * RowStripeBytes(width);
}

// Calls add_row(row, sums), which adds a row to sums[width], for every row; answers the totals. Float over a block of
// rows, double across blocks. Stripes depend on the number of rows alone and are added in order, so the bits do not
// depend on the number of threads. `scratch` has SumRowsBytes.
template <class AddRow>
HWY_INLINE const double* SumOverRows(ThreadTeam& team, std::byte* scratch, int64_t rows, int64_t width,
                                     AddRow add_row) {
  const int64_t stripes = RowStripes(rows);
  const auto total_of = [&](int64_t stripe) {
    return reinterpret_cast<double*>(scratch + RowStripeBytes(width) * static_cast<size_t>(stripe));
  };
  const int64_t grain = 1 + RowGrain(width) * stripes / (rows + 1);
  team.ParallelFor(stripes, grain, [&](int64_t begin, int64_t end, int) HWY_ATTR {
    for (int64_t stripe = begin; stripe < end; ++stripe) {
      double* total = total_of(stripe);
      float* block = reinterpret_cast<float*>(total + width);
      std::fill_n(total, width, 0.0);
      const int64_t last = rows * (stripe + 1) / stripes;
      for (int64_t row = rows * stripe / stripes; row < last;) {
        std::fill_n(block, width, 0.0f);
        for (const int64_t stop = std::min(last, row + kRowBlock); row < stop; ++row) add_row(row, block);
        for (int64_t i = 0; i < width; ++i) total[i] += block[i];
      }
    }
  });
  double* sum = total_of(0);
  for (int64_t stripe = 1; stripe < stripes; ++stripe)
    for (int64_t i = 0; i < width; ++i) sum[i] += total_of(stripe)[i];
  return sum;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
