// dropout: element i is kept when its random word reaches floor(rate * 2^32), and is then scaled by 1 / (1 - rate).
// The word is lane i % 4 of Philox block i / 4: the CPU's stream. A thread draws a block.
#include <cmath>

#include "cuda/families.h"
#include "cuda/gpu.h"
#include "runtime/philox.h"

namespace kairos::gpu {
namespace {

__global__ void DropoutKernel(const TensorView* views, uint32_t threshold, uint32_t salt, float scale) {
  const float* x = views[0].As<const float>();
  const uint32_t* random = views[1].As<const uint32_t>();
  float* y = views[2].As<float>();
  const int64_t count = views[2].shape.Count();
  const PhiloxKey key{random[0], salt};
  const uint32_t step = random[1];
  for (int64_t block = FlatBegin(); 4 * block < count; block += FlatStep()) {
    const PhiloxBlock words =
        Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), step, 0}, key);
    for (int lane = 0; lane < 4 && 4 * block + lane < count; ++lane) {
      const int64_t i = 4 * block + lane;
      y[i] = words[lane] < threshold ? 0.0f : x[i] * scale;
    }
  }
}

std::unique_ptr<DeviceKernel> PrepareDropout(DevicePrepareContext& context) {
  const double rate = context.attributes.Float("rate");
  const auto threshold = static_cast<uint32_t>(std::floor(rate * 0x1p32));
  const auto salt = static_cast<uint32_t>(context.attributes.Int("salt"));
  const auto scale = static_cast<float>(1 / (1 - rate));
  const int64_t blocks = (context.outputs[0].shape.Count() + 3) / 4;
  return MakeKernel([=](const LaunchContext& launch) {
    LaunchFlat(launch, blocks, DropoutKernel, launch.views, threshold, salt, scale);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> DropoutKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"dropout", PrepareDropout}};
  return kEntries;
}

}  // namespace kairos::gpu
