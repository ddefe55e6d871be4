// Padded sequences without their padding: packPadded (range[batch, 2] -> rows, columns, count, slots, offsets) and
// pickRows; see cpu/packing.cc. One block finds where sequences begin, then every position writes its own entries.
// Floor: launch times; the lists are small beside the rows that they move.
#include "cuda/families.h"
#include "cuda/move_rows.h"

namespace kairos::gpu {
namespace {

constexpr int kThreads = 1024;

// One block. Where any range is wrong nothing is packed.
__global__ void __launch_bounds__(kThreads)
    OffsetsKernel(const TensorView* views, int64_t time, FaultSink sink) {
  const auto* range = views[0].As<const int32_t>();
  const int64_t sequences = views[0].shape[0];
  const TensorView &count = views[3], &offsets_view = views[5];
  if (offsets_view.shape[0] == 0) return;
  int32_t* offsets = offsets_view.As<int32_t>();
  int32_t wrong = 0;
  for (int64_t i = threadIdx.x; i < 2 * sequences; i += blockDim.x) {
    if (range[i] >= 0 && range[i] <= time) continue;
    ++wrong;
    sink.Raise(DeviceFault::kBound, DeviceFault::kBoundOf, i, range[i], 0, time + 1, 0);
  }
  const bool right = BlockSum(wrong) == 0;
  int32_t carry = 0;
  for (int64_t begin = 0; begin < sequences; begin += blockDim.x) {
    const int64_t at = begin + threadIdx.x;
    const bool packs = right && at < sequences && range[2 * at + 1] > range[2 * at];
    const int32_t length = packs ? range[2 * at + 1] - range[2 * at] : 0;
    int32_t total = 0;
    const int32_t before = BlockPrefix(length, &total);
    if (at < sequences) offsets[at + 1] = carry + before + length;
    carry += total;
  }
  if (threadIdx.x != 0) return;
  offsets[0] = 0;
  if (count.shape.Count() > 0) *count.As<int32_t>() = carry;
}

__global__ void FillListsKernel(const TensorView* views, int64_t time) {
  const auto* range = views[0].As<const int32_t>();
  const auto* offsets = views[5].As<const int32_t>();
  int32_t *rows = views[1].As<int32_t>(), *columns = views[2].As<int32_t>(), *slots = views[4].As<int32_t>();
  const int64_t positions = views[4].shape.Count();
  for (int64_t i = FlatBegin(); i < positions; i += FlatStep()) {
    const Division at = Divide(i, time);
    const int32_t begin = offsets[at.quotient], length = offsets[at.quotient + 1] - begin;
    const int64_t within = at.remainder - range[2 * at.quotient];
    const bool inside = within >= 0 && within < length;
    const int32_t packed = inside ? begin + static_cast<int32_t>(within) : -1;
    slots[i] = packed;
    if (!inside) continue;
    rows[packed] = static_cast<int32_t>(i);
    columns[packed] = static_cast<int32_t>(at.remainder);
  }
}

std::unique_ptr<DeviceKernel> PreparePackPadded(DevicePrepareContext& context) {
  const int64_t time = context.attributes.Int("time"), positions = context.outputs[3].shape.Count();
  const int threads = context.inputs[0].shape[0] <= kWarp ? kWarp : kThreads;
  return MakeKernel([=](const LaunchContext& launch) {
    Launch(launch, 1, threads, OffsetsKernel, launch.views, time, SinkOf(launch));
    LaunchFlat(launch, positions, FillListsKernel, launch.views, time);
  });
}

std::unique_ptr<DeviceKernel> PreparePickRows(DevicePrepareContext& context) {
  return PrepareMoveRows<RowList::kRowsOrNone>(context);
}

}  // namespace

std::span<const DeviceKernelEntry> PackingKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"packPadded", PreparePackPadded},
                                                   {"pickRows", PreparePickRows}};
  return kEntries;
}

}  // namespace kairos::gpu
