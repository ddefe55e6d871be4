// Sparse gradients and the tables' side of them: coalesce, embeddingBagBackward, updateRows, tableSlots, tableBags; see
// cpu/sparse.cc. Grouping and sums are those of groups.cu.
#include <vector>

#include "cuda/families.h"
#include "cuda/groups.h"
#include "cuda/move_rows.h"
#include "cuda/offsets.h"

namespace kairos::gpu {
namespace {

// ---- coalesce: table, ids, dy ...[, offsets] -> slots, rows, count, further rows: one for each dy ----

std::unique_ptr<DeviceKernel> PrepareCoalesce(DevicePrepareContext& context) {
  const int inputs = static_cast<int>(context.inputs.size());
  const int gradients = static_cast<int>(context.outputs.size()) - 2;
  Grouping::Form form;
  form.mean = context.attributes.String("mode") == "mean";
  if (context.attributes.Find("paddingIndex")) form.padding = context.attributes.Int("paddingIndex");
  if (inputs == 3 + gradients) form.offsets = inputs - 1;
  const Grouping grouping(form, context.inputs[0].shape, context.inputs[1].shape.Count(),
                          form.offsets < 0 ? 0 : context.inputs.back().shape[0] - 1);
  context.scratch_bytes = grouping.scratch_bytes();
  return MakeKernel([grouping, gradients](const LaunchContext& launch) {
    const TensorView* out = launch.views + launch.inputs;
    grouping.Group(launch, out);
    grouping.WriteSlots(launch, out, out + 2);
    for (int k = 0; k < gradients; ++k) grouping.SumIntoRows(launch, 2 + k, out + (k == 0 ? 1 : k + 2));
  });
}

// ---- embeddingBagBackward: table, ids, offsets, dy -> the gradient of the whole table ----

std::unique_ptr<DeviceKernel> PrepareBagBackward(DevicePrepareContext& context) {
  Grouping::Form form;
  form.offsets = 2;
  form.mean = context.attributes.String("mode") == "mean";
  const Grouping grouping(form, context.inputs[0].shape, context.inputs[1].shape.Count(),
                          context.inputs[2].shape[0] - 1);
  context.scratch_bytes = grouping.scratch_bytes();
  return MakeKernel([grouping, count = context.outputs[0].shape.Count()](const LaunchContext& launch) {
    const TensorView* out = launch.views + launch.inputs;
    LaunchZero(launch, out, count);
    grouping.Group(launch);
    grouping.SumIntoTable(launch, 3, out);
  });
}

// ---- updateRows: table, slots, rows -> the table with those rows; in place where the memory is the same ----
//
// Of equal slots the last one is written. Which that is stands in a hash table of the slots: the greatest position of
// each, whoever comes first.

struct LastWriters {
  int32_t* slots;      // -1: free
  int32_t* positions;  // the last one
  int64_t mask;        // places - 1

  __device__ int64_t PlaceOf(int32_t slot) const {
    return static_cast<int64_t>(static_cast<uint32_t>(slot) * 0x9E3779B1u) & mask;
  }
};

__global__ void ClearWritersKernel(LastWriters writers) {
  for (int64_t i = FlatBegin(); i <= writers.mask; i += FlatStep())
    writers.slots[i] = writers.positions[i] = -1;
}

__global__ void FindWritersKernel(const TensorView* views, LastWriters writers) {
  const int64_t rows = views[0].shape[0], count = views[1].shape.Count();
  const auto* slots = views[1].As<const int32_t>();
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const int32_t slot = slots[i];
    if (slot < 0 || slot >= rows) continue;
    // There are twice as many places as slots, so a free one comes.
    for (int64_t place = writers.PlaceOf(slot);; place = (place + 1) & writers.mask) {
      const int32_t held = CompareAndSwap(&writers.slots[place], -1, slot);
      if (held != -1 && held != slot) continue;
      AtomicMax(&writers.positions[place], static_cast<int32_t>(i));
      break;
    }
  }
}

template <class Vector>
__device__ void WriteRows(const TensorView* views, const LastWriters& writers, int64_t units) {
  const int64_t rows = views[3].shape[0], count = views[1].shape.Count() * units;
  const auto* slots = views[1].As<const int32_t>();
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, units);
    const int32_t slot = slots[at.quotient];
    if (slot < 0 || slot >= rows) continue;
    int64_t place = writers.PlaceOf(slot);
    while (writers.slots[place] != slot) place = (place + 1) & writers.mask;
    if (writers.positions[place] == at.quotient)
      views[3].As<Vector>()[slot * units + at.remainder] = views[2].As<const Vector>()[i];
  }
}

__global__ void WriteRowsKernel(const TensorView* views, LastWriters writers) {
  const int64_t width = views[3].shape.Product(1, views[3].shape.rank);
  if (InFours(width))
    WriteRows<Float4>(views, writers, width / 4);
  else
    WriteRows<float>(views, writers, width);
}

__global__ void CopyTableKernel(const TensorView* table, const TensorView* out) {
  if (table->data == out->data) return;
  const int64_t count = out->shape.Count(), fours = count / 4;
  for (int64_t i = FlatBegin(); i < fours; i += FlatStep())
    out->As<Float4>()[i] = table->As<const Float4>()[i];
  for (int64_t i = 4 * fours + FlatBegin(); i < count; i += FlatStep())
    out->As<float>()[i] = table->As<const float>()[i];
}

std::unique_ptr<DeviceKernel> PrepareUpdateRows(DevicePrepareContext& context) {
  const int64_t slots = context.inputs[1].shape[0], floats = context.inputs[2].shape.Count();
  const int64_t table = context.outputs[0].shape.Count();
  int64_t places = 1;
  while (places < 2 * slots) places *= 2;
  context.scratch_bytes = static_cast<size_t>(places) * 2 * sizeof(int32_t);
  return MakeKernel([=](const LaunchContext& launch) {
    auto* scratch = reinterpret_cast<int32_t*>(launch.scratch);
    const LastWriters writers{scratch, scratch + places, places - 1};
    LaunchFlat(launch, (table + 3) / 4, CopyTableKernel, launch.views, launch.views + 3);
    LaunchFlat(launch, places, ClearWritersKernel, writers);
    LaunchFlat(launch, slots, FindWritersKernel, launch.views, writers);
    LaunchFlat(launch, (floats + 3) / 4, WriteRowsKernel, launch.views, writers);
  });
}

// ---- tableSlots: ids of several features -> rows of one table that holds theirs one after another ----

// starts[f]: the first row of feature f; starts[features]: the end.
__global__ void TableSlotsKernel(const TensorView* views, int features, const int64_t* starts,
                                 FaultSink sink) {
  const int64_t count = views[0].shape.Count() * features;
  int32_t* to = views[features].As<int32_t>();
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, features);
    const int feature = static_cast<int>(at.remainder);
    const int64_t rows = starts[feature + 1] - starts[feature];
    const int64_t id = views[feature].As<const int32_t>()[at.quotient];
    const bool inside = id >= 0 && id < rows;
    if (!inside) sink.RaiseId(at.quotient, id, rows, feature);
    to[i] = static_cast<int32_t>(starts[feature] + (inside ? id : 0));
  }
}

std::vector<int64_t> StartsOf(const DevicePrepareContext& context) {
  std::vector<int64_t> starts{0};
  for (const int64_t count : context.attributes.Ints("rows")) starts.push_back(starts.back() + count);
  return starts;
}

std::unique_ptr<DeviceKernel> PrepareTableSlots(DevicePrepareContext& context) {
  const std::vector<int64_t> starts = StartsOf(context);
  context.AddTable(std::span<const int64_t>(starts));
  return MakeKernel([count = context.outputs[0].shape.Count()](const LaunchContext& launch) {
    LaunchFlat(launch, count, TableSlotsKernel, launch.views, launch.inputs,
               reinterpret_cast<const int64_t*>(launch.tables), SinkOf(launch));
  });
}

// ---- tableBags: ids and offsets of several features -> slots and offsets of one table; bag b * features + f is bag b
// of f ----

constexpr int64_t kBagLanes = 4;

// Bag b starts behind every feature's bags before b.
__global__ void TableBagsKernel(const TensorView* views, int features, const int64_t* starts,
                                FaultSink sink) {
  const TensorView &slots = views[2 * features], &ends = views[2 * features + 1];
  const int64_t bags = views[features].shape[0] - 1, total = slots.shape[0];
  if (FlatBegin() == 0 && ends.shape[0] > 0) ends.As<int32_t>()[0] = 0;
  for (int64_t i = FlatBegin(); i < bags * features * kBagLanes; i += FlatStep()) {
    const int64_t at = i / kBagLanes, lane = i % kBagLanes;
    const Division of = Divide(at, features);
    const int64_t bag = of.quotient;
    const int feature = static_cast<int>(of.remainder);
    const Range range = RowRange(views[features + feature].As<const int32_t>(), bag, bags,
                                 views[feature].shape[0], sink, features + feature);
    int64_t begin = 0;
    for (int f = 0; f < features; ++f)
      begin += views[features + f].As<const int32_t>()[bag + (f < feature ? 1 : 0)];
    const int64_t end = begin + range.end - range.begin;
    if (begin < 0 || end > total) continue;  // some feature's offsets are wrong, and were told
    if (lane == 0) ends.As<int32_t>()[at + 1] = static_cast<int32_t>(end);
    const int64_t rows = starts[feature + 1] - starts[feature];
    for (int64_t k = lane; k < range.end - range.begin; k += kBagLanes) {
      const int64_t id = views[feature].As<const int32_t>()[range.begin + k];
      const bool inside = id >= 0 && id < rows;
      if (!inside) sink.RaiseId(range.begin + k, id, rows, feature);
      slots.As<int32_t>()[begin + k] = static_cast<int32_t>(starts[feature] + (inside ? id : 0));
    }
  }
}

std::unique_ptr<DeviceKernel> PrepareTableBags(DevicePrepareContext& context) {
  const std::vector<int64_t> starts = StartsOf(context);
  context.AddTable(std::span<const int64_t>(starts));
  const int features = static_cast<int>(context.inputs.size()) / 2;
  return MakeKernel([features, bags = context.outputs[1].shape[0] - 1](const LaunchContext& launch) {
    LaunchFlat(launch, std::max<int64_t>(bags * kBagLanes, 1), TableBagsKernel, launch.views, features,
               reinterpret_cast<const int64_t*>(launch.tables), SinkOf(launch));
  });
}

}  // namespace

std::span<const DeviceKernelEntry> SparseKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"coalesce", PrepareCoalesce},
                                                   {"embeddingBagBackward", PrepareBagBackward},
                                                   {"updateRows", PrepareUpdateRows},
                                                   {"tableSlots", PrepareTableSlots},
                                                   {"tableBags", PrepareTableBags}};
  return kEntries;
}

}  // namespace kairos::gpu
