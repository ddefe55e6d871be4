// targetRank(scores, target, exclude): how many items of a row stand before the target, by falling score and then by
// index, leaving out the row's excluded items; see cpu/ranking.cc. A warp or a block reads a row once. Floor: the scores'
// bytes over the bandwidth.
#include "cuda/families.h"
#include "cuda/rows.h"

namespace kairos::gpu {
namespace {

// Whether `item` stands before the target: items before it win a tie, NaN stands behind every number.
struct Order {
  const float* scores;
  int64_t target;
  float bound;

  __device__ bool StandsBefore(int64_t item) const {
    if (item == target) return false;
    if (bound != bound) return true;
    return item < target ? scores[item] >= bound : scores[item] > bound;
  }
};

// An item that is listed twice counts once.
__device__ bool ListedBefore(const int32_t* list, int64_t at) {
  for (int64_t i = 0; i < at; ++i)
    if (list[i] == list[at]) return true;
  return false;
}

template <bool kBlock>
__global__ void TargetRankKernel(const TensorView* views, FaultSink sink) {
  using Group = RowGroup<kBlock>;
  const int64_t rows = views[0].shape[0], items = views[0].shape[1], excluded = views[2].shape[1];
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const int64_t target = views[1].As<const int32_t>()[row];
    const bool inside = target >= 0 && target < items;
    if (!inside) sink.RaiseId(row, target, items);
    const float* scores = Global(views[0].As<const float>()) + row * items;
    const auto* exclude = views[2].As<const int32_t>() + row * excluded;
    const Order order{scores, target, inside ? scores[target] : 0.0f};
    int32_t before = 0;
    KAIROS_UNROLL_BY(4)
    for (int64_t item = Group::Lane(); inside && item < items; item += Group::kLanes)
      before += order.StandsBefore(item);
    for (int64_t i = Group::Lane(); inside && i < excluded; i += Group::kLanes) {
      const int64_t item = exclude[i];
      if (item >= 0 && item < items && order.StandsBefore(item) && !ListedBefore(exclude, i)) --before;
    }
    before = Group::Sum(before);
    if (Group::Lane() == 0) views[3].As<int32_t>()[row] = before;
  }
}

std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  const Shape shape = context.inputs[0].shape;
  return MakeKernel([rows = shape[0], items = shape[1]](const LaunchContext& launch) {
    LaunchRows(launch, rows, items, TargetRankKernel<false>, TargetRankKernel<true>, launch.views,
               SinkOf(launch));
  });
}

}  // namespace

std::span<const DeviceKernelEntry> RankingKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"targetRank", Prepare}};
  return kEntries;
}

}  // namespace kairos::gpu
