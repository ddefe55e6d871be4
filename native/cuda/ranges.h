// Ranges int32[rows, 2] of positions [start, end), as attention and bandGains take them.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

struct Least {
  __device__ int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

// Positions are of axis 1 of `limited`. Raises for the first row whose range is none; one block.
static __global__ void CheckRangesKernel(const TensorView* ranges, const TensorView* limited, int operand,
                                         FaultSink sink) {
  const int64_t rows = ranges->shape[0], limit = limited->shape[1];
  const int32_t* range = ranges->As<const int32_t>();
  int64_t first = rows;
  for (int64_t row = threadIdx.x; row < rows && first == rows; row += blockDim.x) {
    const int64_t start = range[2 * row], end = range[2 * row + 1];
    if (end < 0 || end > limit || start < 0 || start > end) first = row;
  }
  first = BlockCombine(first, Least());
  if (threadIdx.x > 0 || first == rows) return;
  const int64_t start = range[2 * first], end = range[2 * first + 1];
  if (end < 0 || end > limit)
    sink.Raise(DeviceFault::kBound, DeviceFault::kRangeBound, 2 * first + 1, end, 0, limit + 1, operand);
  else
    sink.Raise(DeviceFault::kBound, DeviceFault::kRangeBound, 2 * first, start, 0, end + 1, operand);
}

inline void CheckRanges(const LaunchContext& launch, int ranges, int limited) {
  Launch(launch, 1, 1024, CheckRangesKernel, launch.views + ranges, launch.views + limited, ranges,
         SinkOf(launch));
}

// What of a range lies within the positions, whatever it holds.
struct Range {
  int64_t begin, end;
  __device__ Range(const int32_t* range, int64_t limit) {
    end = range[1] < 0 ? 0 : range[1] > limit ? limit : range[1];
    begin = range[0] < 0 ? 0 : range[0] > end ? end : range[0];
  }
};

}  // namespace kairos::gpu
