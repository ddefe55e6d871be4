// bandGains(x[B, L, d], low[B, w], high[B, w], [range[B, 2]]) and bandGainsBackward(x, low, high, dy, [range]) -> dx,
// dlow, dhigh, as cpu/band_gains.cc has them: the bands of bandMix with gains of each item's own, w being 1 or d, and
// waves of each length where items are ragged. An item is one block's, so its gains' gradients need no second pass.
//
// Floor: x and y once over the bandwidth (backward: x, dy and dx). Unmeasured.
#include "cuda/band_waves.h"
#include "cuda/families.h"

namespace kairos::gpu {
namespace {

template <bool kBackward>
std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  constexpr int kRange = kBackward ? 4 : 3;
  const Shape& x = context.inputs[0].shape;
  const bool ragged = context.inputs.size() > kRange;
  const int64_t items = x[0];
  BandPlan plan(x[1], context.attributes.Int("cutoff"), ragged);
  const BandForm form(x[1], x[2]);
  plan.call.gains = true;
  plan.call.tile = form.shared > 0;
  plan.call.outputs = kRange + ragged;
  if (ragged) plan.call.range = kRange;
  plan.AddTo(context);
  return MakeBoundLengthKernel(x[1], false, [=, plan = std::move(plan)](const LaunchContext& launch) {
    if (ragged) CheckRanges(launch, kRange, 0);
    LaunchBand<kBackward>(launch, items, form, plan.At(launch.tables), static_cast<float*>(nullptr));
  });
}

}  // namespace

std::span<const DeviceKernelEntry> BandGainsKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"bandGains", Prepare<false>},
                                                   {"bandGainsBackward", Prepare<true>}};
  return kEntries;
}

}  // namespace kairos::gpu
