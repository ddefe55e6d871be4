// Rows moved by a list of numbers. Threads take words of 16 bytes where rows are made of those: neighbours read
// neighbours, and each has several loads on their way. Floor: the bytes of the rows, read and written once.
#pragma once

#include "cuda/bits.h"
#include "cuda/vectors.h"

namespace kairos::gpu {

enum class RowList {
  kIds,        // each in [0, rows)
  kRowsOrNone  // -1 gives zeros
};

template <RowList kList, class Word>
__device__ void MoveWords(const TensorView& from, const TensorView& list, const TensorView& to, int64_t units,
                          const FaultSink& sink) {
  constexpr int kEach = 4;
  const int64_t rows = from.shape[0], count = list.shape.Count() * units, step = FlatStep();
  const auto* numbers = Global(list.As<const int32_t>());
  const auto* words_from = Global(from.As<const Word>());
  for (int64_t begin = FlatBegin(); begin < count; begin += kEach * step) {
    int64_t picked[kEach];
    Word words[kEach];
    for (int e = 0; e < kEach; ++e) {
      const int64_t i = begin + e * step;
      picked[e] = i < count ? numbers[Divide(i, units).quotient] : -1;
    }
    for (int e = 0; e < kEach; ++e) {
      const bool inside = picked[e] >= 0 && picked[e] < rows;
      const int64_t unit = Divide(begin + e * step, units).remainder;
      words[e] = inside ? words_from[picked[e] * units + unit] : Word{};
    }
    for (int e = 0; e < kEach; ++e) {
      const int64_t i = begin + e * step;
      if (i >= count) break;
      to.As<Word>()[i] = words[e];
      if (picked[e] >= 0 && picked[e] < rows) continue;
      if (kList == RowList::kIds)
        sink.RaiseId(i / units, picked[e], rows);
      else if (picked[e] != -1)
        sink.Raise(DeviceFault::kBound, DeviceFault::kRow, i / units, picked[e], -1, rows, 1);
    }
  }
}

template <RowList kList>
__global__ void MoveRowsKernel(const TensorView* views, int output, FaultSink sink) {
  const TensorView& from = views[0];
  const int64_t bytes = from.shape.Product(1, from.shape.rank) * static_cast<int64_t>(SizeOf(from.dtype));
  if (bytes % 16 == 0)
    MoveWords<kList, Float4>(from, views[1], views[output], bytes / 16, sink);
  else if (bytes % 4 == 0)
    MoveWords<kList, uint32_t>(from, views[1], views[output], bytes / 4, sink);
  else
    MoveWords<kList, uint8_t>(from, views[1], views[output], bytes, sink);
}

// Views: what rows are taken from, their numbers, ..., the result.
template <RowList kList>
std::unique_ptr<DeviceKernel> PrepareMoveRows(const DevicePrepareContext& context) {
  const TensorSpec& out = context.outputs[0];
  const int64_t bytes = out.shape.Count() * static_cast<int64_t>(SizeOf(out.dtype));
  return MakeKernel([threads = (bytes + 63) / 64](const LaunchContext& launch) {
    LaunchFlat(launch, threads, MoveRowsKernel<kList>, launch.views, launch.inputs, SinkOf(launch));
  });
}

}  // namespace kairos::gpu
