// Products of few rows with the rows of a matrix, c = bias + a b^T: a server's weights, [out, in], against one request.
//
// To transpose b for the tiles of gemm-inl.h would take longer than the products. Here both are read as they lie, a group
// of rows of b at a time, which stays in L1 for all rows of a; lanes are added up last. An element's bits depend on the
// depth alone, but differ from those of the tiles: which form is taken is decided by the capacity, never by a count.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_DOT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_DOT_ROWS_INL_H_
#undef KAIROS_CPU_DOT_ROWS_INL_H_
#else
#define KAIROS_CPU_DOT_ROWS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "cpu/rows-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

// So many rows of a at most: beyond them tiles are faster, their transposition included.
inline constexpr int64_t kMostDotRows = 8;

struct DotTask {
  const float* a;
  int64_t a_step;
  const float* b;
  int64_t b_step;
  int64_t depth;
  const float* bias;  // or null
  float* c;
  int64_t c_step;
};

template <int kRows, int kColumns>
HWY_INLINE void DotTile(const DotTask& task) {
  const FloatTag d;
  FloatVector sum[kRows][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) sum[i][j] = hn::Zero(d);

  ForVectors(task.depth, [&](int64_t k, size_t live) HWY_ATTR {
    FloatVector x[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) x[i] = Load(d, task.a + i * task.a_step + k, live);
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j) {
      const float* from = task.b + j * task.b_step + k;
      hwy::Prefetch(from + kColumns * task.b_step);
      const FloatVector weight = Load(d, from, live);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) sum[i][j] = hn::MulAdd(x[i], weight, sum[i][j]);
    }
  });
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kColumns; ++j)
      task.c[i * task.c_step + j] =
          hn::GetLane(hn::SumOfLanes(d, sum[i][j])) + (task.bias ? task.bias[j] : 0.0f);
}

template <int kColumns>
void DotColumns(DotTask task, int64_t rows) {
  for (; rows >= 2; rows -= 2, task.a += 2 * task.a_step, task.c += 2 * task.c_step)
    DotTile<2, kColumns>(task);
  if (rows == 1) DotTile<1, kColumns>(task);
}

// c[rows, columns] = bias (or zero) + a b^T.
inline void MultiplyDots(DotTask task, int64_t rows, int64_t columns) {
  constexpr int kColumns = HWY_TARGET == HWY_AVX3 ? 8 : 4;
  const auto advance = [&](int by) {
    task.b += by * task.b_step;
    task.c += by;
    if (task.bias != nullptr) task.bias += by;
  };
  int64_t n = 0;
  for (; n + kColumns <= columns; n += kColumns, advance(kColumns)) DotColumns<kColumns>(task, rows);
  for (; n < columns; ++n, advance(1)) DotColumns<1>(task, rows);
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
