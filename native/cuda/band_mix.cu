// bandMix(x[..., L, d], scale[d]) -> y = low + scale high, and bandMixBackward(x, scale, dy) -> dx, dscale, as
// cpu/band_mix.cc has them. dscale's terms, one an item and column, are summed over chunks of items, then the chunks.
//
// Floor: x and y once over the bandwidth (backward: x, dy and dx). Unmeasured.
#include "cuda/band_waves.h"
#include "cuda/families.h"

namespace kairos::gpu {
namespace {

// dscale: a column's terms over all items.
struct ScaleTerm {
  const TensorView* views;
  const float* sums;
  int64_t rows, columns;

  __device__ void Load() {
    const Shape& x = views[0].shape;
    rows = x.Product(0, x.rank - 2);
    columns = x.Last();
  }
  __device__ int64_t Rows() const { return rows; }
  __device__ int64_t Columns() const { return columns; }
  __device__ void At(int64_t row, int64_t column, float* values) const {
    values[0] = sums[row * columns + column];
  }
  __device__ float* Result(int) const { return views[4].As<float>(); }
};

template <bool kBackward>
std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  const Shape& x = context.inputs[0].shape;
  const int64_t time = x[x.rank - 2], items = x.Product(0, x.rank - 2), channels = x.Last();
  BandPlan plan(time, context.attributes.Int("cutoff"), false);
  const BandForm form(time, channels);
  plan.call.tile = form.shared > 0;
  plan.call.outputs = kBackward ? 3 : 2;
  plan.AddTo(context);
  const size_t terms = (static_cast<size_t>(items * channels) * sizeof(float) + 7) / 8 * 8;
  if (kBackward) context.scratch_bytes = terms + ColumnSums::Bytes(items, channels, 1);
  return MakeBoundLengthKernel(time, false, [=, plan = std::move(plan)](const LaunchContext& launch) {
    auto* sums = reinterpret_cast<float*>(launch.scratch);
    LaunchBand<kBackward>(launch, items, form, plan.At(launch.tables), sums);
    if (!kBackward) return;
    ScaleTerm term{};
    term.views = launch.views;
    term.sums = sums;
    LaunchColumnSums<1>(launch, items, channels, term, launch.scratch + terms);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> BandMixKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"bandMix", Prepare<false>},
                                                   {"bandMixBackward", Prepare<true>}};
  return kEntries;
}

}  // namespace kairos::gpu
