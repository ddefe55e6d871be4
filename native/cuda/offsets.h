// Ragged rows on the device: row r is values [offsets[r], offsets[r + 1]). Whoever reads a row proves its own two
// offsets, so that no pass of its own is needed and no wrong offset leads outside.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

struct Range {
  int64_t begin, end;
};

// Empty where the row's offsets are wrong, and then the fault is raised. All rows together prove that offsets ascend
// from 0 to `values`.
__device__ inline Range RowRange(const int32_t* offsets, int64_t row, int64_t rows, int64_t values,
                                 const FaultSink& sink, int operand) {
  const int64_t begin = offsets[row], end = offsets[row + 1];
  const auto raise = [&](int64_t at, int64_t offset, int64_t least, int64_t greatest) {
    sink.Raise(DeviceFault::kBound, DeviceFault::kOffset, at, offset, least, greatest + 1, operand);
    return Range{0, 0};
  };
  if (row == 0 && begin != 0) return raise(0, begin, 0, 0);
  if (begin < 0 || begin > values) return raise(row, begin, 0, values);
  if (end < begin || end > values) return raise(row + 1, end, begin, values);
  if (row == rows - 1 && end != values) return raise(row + 1, end, values, values);
  return {begin, end};
}

}  // namespace kairos::gpu
