// Rows of a matrix, each worked on by a warp or, where rows are long, by a block.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

constexpr int kRowBlock = 256;
constexpr int kWarpsOfBlock = 4;
constexpr int64_t kLongRow = 2048;  // from here on a block's

// The threads of one row. kBlock: the whole block, else a warp.
template <bool kBlock>
struct RowGroup {
  static __device__ int64_t First() {
    return kBlock ? int64_t{blockIdx.x} : int64_t{blockIdx.x} * kWarpsOfBlock + threadIdx.x / kWarp;
  }
  static __device__ int64_t Step() {
    return kBlock ? int64_t{gridDim.x} : int64_t{gridDim.x} * kWarpsOfBlock;
  }
  static __device__ int64_t Lane() { return kBlock ? threadIdx.x : threadIdx.x % kWarp; }
  static constexpr int64_t kLanes = kBlock ? kRowBlock : kWarp;

  template <class T, class Combine>
  static __device__ T All(T value, Combine combine) {
    if constexpr (kBlock)
      return BlockCombine(value, combine);
    else
      return WarpCombine(value, combine);
  }
  template <class T>
  static __device__ T Sum(T value) {
    return All(value, gpu::Sum());
  }
};

// Launches the warp's or the block's form of a kernel over `rows` rows of `length`, sizes at capacity.
template <class... Parameters, class... Arguments>
void LaunchRows(const LaunchContext& context, int64_t rows, int64_t length, void (*warp)(Parameters...),
                void (*block)(Parameters...), Arguments... arguments) {
  if (length >= kLongRow)
    Launch(context, rows, kRowBlock, block, arguments...);
  else
    Launch(context, (rows + kWarpsOfBlock - 1) / kWarpsOfBlock, kWarpsOfBlock * kWarp, warp, arguments...);
}

}  // namespace kairos::gpu
