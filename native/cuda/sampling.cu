// sampleNegatives(random) -> ids in [0, classes), uniform or log-uniform: the processor's words and arithmetic
// (cpu/sampling.h), so every device draws the same ids. A thread draws a Philox block, which is two ids. Floor: the ids
// written, and some sixty multiplications an id.
#include "cpu/sampling.h"
#include "cuda/families.h"
#include "cuda/gpu.h"
#include "runtime/philox.h"

namespace kairos::gpu {
namespace {

__global__ void SampleKernel(const TensorView* views, int64_t classes, double octaves, uint32_t salt) {
  const auto* random = views[0].As<const uint32_t>();
  auto* ids = views[1].As<int32_t>();
  const int64_t count = views[1].shape.Count();
  const PhiloxKey key{random[0], salt};
  for (int64_t block = FlatBegin(); 2 * block < count; block += FlatStep()) {
    const PhiloxBlock words =
        Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), random[1], 0}, key);
    for (int k = 0; k < 2 && 2 * block + k < count; ++k)
      ids[2 * block + k] = SampledId(words[2 * k], words[2 * k + 1], classes, octaves);
  }
}

std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  const int64_t classes = context.attributes.Int("classes");
  const double octaves = context.attributes.Float("octaves");
  const auto salt = static_cast<uint32_t>(context.attributes.Int("salt"));
  const int64_t blocks = (context.outputs[0].shape.Count() + 1) / 2;
  return MakeKernel([=](const LaunchContext& launch) {
    LaunchFlat(launch, blocks, SampleKernel, launch.views, classes, octaves, salt);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> SamplingKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"sampleNegatives", Prepare}};
  return kEntries;
}

}  // namespace kairos::gpu
