// Rows of a table by id, their gradient, and bags of rows that are pooled: gather, gatherBackward, embeddingBag,
// embeddingBags; see cpu/embedding.cc.
//
// A bag belongs to as many neighbouring threads as its row has fours; they add its rows in order, eight loads ahead
// each, so bits depend on the bag alone. Floor: rows looked up and results written, over the bandwidth of random rows.
#include "cuda/families.h"
#include "cuda/groups.h"
#include "cuda/move_rows.h"
#include "cuda/offsets.h"

namespace kairos::gpu {
namespace {

// ---- gatherBackward: table, ids, dy -> the gradient of the whole table ----

std::unique_ptr<DeviceKernel> PrepareGather(DevicePrepareContext& context) {
  return PrepareMoveRows<RowList::kIds>(context);
}

std::unique_ptr<DeviceKernel> PrepareGatherBackward(DevicePrepareContext& context) {
  Grouping::Form form;
  if (context.attributes.Find("paddingIndex")) form.padding = context.attributes.Int("paddingIndex");
  const Grouping grouping(form, context.inputs[0].shape, context.inputs[1].shape.Count(), 0);
  context.scratch_bytes = grouping.scratch_bytes();
  return MakeKernel([grouping, count = context.outputs[0].shape.Count()](const LaunchContext& launch) {
    const TensorView* out = launch.views + launch.inputs;
    LaunchZero(launch, out, count);
    grouping.Group(launch);
    grouping.SumIntoTable(launch, 2, out);
  });
}

// ---- embeddingBag: table, ids, offsets; embeddingBags: table, ids of each feature, offsets of each ----

// starts[f]: the first row of feature f's table in the table of all; starts[features]: the end.
template <class Vector>
__device__ void PoolBags(const TensorView* views, int features, const int64_t* starts, bool mean,
                         int64_t units, const FaultSink& sink) {
  const auto* table = Global(views[0].As<const Vector>());
  const TensorView& out = views[1 + 2 * features];
  const int64_t bags = out.shape[0], count = bags * features * units;
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, units), of = Divide(at.quotient, features);
    const int64_t bag = of.quotient, unit = at.remainder;
    const int feature = static_cast<int>(of.remainder);
    const int64_t first = starts ? starts[feature] : 0;
    const int64_t rows = starts ? starts[feature + 1] - first : views[0].shape[0];
    const TensorView& list = views[1 + feature];
    const auto* ids = Global(list.As<const int32_t>());
    const Range range = RowRange(views[1 + features + feature].As<const int32_t>(), bag, bags, list.shape[0],
                                 sink, 1 + features + feature);
    bool all_inside = true;
    Vector sum = SumInOrder<Vector>(
        range.begin, range.end, [&](int64_t place) { return ids[place]; },
        [&](int64_t id) {
          const bool inside = id >= 0 && id < rows;
          all_inside = all_inside && inside;
          return inside ? table[(first + id) * units + unit] : Vector{};
        });
    for (int64_t place = range.begin; !all_inside && place < range.end; ++place)
      if (ids[place] < 0 || ids[place] >= rows) sink.RaiseId(place, ids[place], rows, 1 + feature);
    if (mean && range.end - range.begin > 1) Scale(&sum, 1.0f / static_cast<float>(range.end - range.begin));
    out.As<Vector>()[i] = sum;
  }
}

__global__ void PoolBagsKernel(const TensorView* views, int features, const int64_t* starts, bool mean,
                               FaultSink sink) {
  const int64_t width = views[0].shape[1];
  if (InFours(width))
    PoolBags<Float4>(views, features, starts, mean, width / 4, sink);
  else
    PoolBags<float>(views, features, starts, mean, width, sink);
}

std::unique_ptr<DeviceKernel> PrepareBags(DevicePrepareContext& context, bool tables) {
  const auto rows = context.attributes.Ints("rows");
  const int features = tables ? static_cast<int>(rows.size()) : 1;
  std::vector<int64_t> starts{0};
  for (const int64_t count : rows) starts.push_back(starts.back() + count);
  if (tables) context.AddTable(std::span<const int64_t>(starts));
  const int64_t width = context.inputs[0].shape[1], count = context.outputs[0].shape.Count();
  const int64_t threads = width % 4 == 0 ? count / 4 : count;
  return MakeKernel([=, mean = context.attributes.String("mode") == "mean"](const LaunchContext& launch) {
    const auto* table = tables ? reinterpret_cast<const int64_t*>(launch.tables) : nullptr;
    LaunchFlat(launch, threads, PoolBagsKernel, launch.views, features, table, mean, SinkOf(launch));
  });
}

std::unique_ptr<DeviceKernel> PrepareEmbeddingBag(DevicePrepareContext& context) {
  return PrepareBags(context, false);
}
std::unique_ptr<DeviceKernel> PrepareEmbeddingBags(DevicePrepareContext& context) {
  return PrepareBags(context, true);
}

}  // namespace

std::span<const DeviceKernelEntry> EmbeddingKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"gather", PrepareGather},
                                                   {"gatherBackward", PrepareGatherBackward},
                                                   {"embeddingBag", PrepareEmbeddingBag},
                                                   {"embeddingBags", PrepareEmbeddingBags}};
  return kEntries;
}

}  // namespace kairos::gpu
