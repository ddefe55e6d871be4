// sampleNegatives(random) -> ids in [0, classes), uniform or log-uniform. Id i comes from words 2 (i % 2) and the next
// of Philox block i / 2, whatever the variant or the number of threads.
#include <algorithm>
#include <cmath>
#include <string>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/sampling.h"
#include "runtime/philox.h"

namespace kairos {
namespace {

constexpr int64_t kGrain = 1024;  // pairs of ids

Status Check(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "random", context.inputs[0], DType::kInt32, {2}));
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "output", context.outputs[0], DType::kInt32));
  const int64_t classes = context.attributes.Int("classes"), salt = context.attributes.Int("salt");
  if (classes < 1 || classes > INT32_MAX)
    return Refuse(context, "classes", "in [1, 2^31)", std::to_string(classes));
  const double octaves = context.attributes.Float("octaves");
  if (!(octaves >= 0 && octaves <= 31))
    return Refuse(context, "octaves", "in [0, 31]", std::to_string(octaves));
  if (salt < INT32_MIN || salt > int64_t{UINT32_MAX})
    return Refuse(context, "salt", "an integer of 32 bits", std::to_string(salt));
  return Ok();
}

std::unique_ptr<Kernel> Prepare(PrepareContext& prepare) {
  const int64_t classes = prepare.attributes.Int("classes");
  const double octaves = prepare.attributes.Float("octaves");
  const uint32_t salt = static_cast<uint32_t>(prepare.attributes.Int("salt"));
  return MakeKernel([=](const RunContext& context) {
    const uint32_t* random = context.inputs[0].As<const uint32_t>();
    int32_t* ids = context.outputs[0].As<int32_t>();
    const int64_t count = context.outputs[0].shape.Count();
    const PhiloxKey key{random[0], salt};
    const uint32_t step = random[1];
    context.team.ParallelFor((count + 1) / 2, kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t block = begin; block < end; ++block) {
        const PhiloxBlock words = Philox(
            {static_cast<uint32_t>(block), static_cast<uint32_t>(uint64_t(block) >> 32), step, 0}, key);
        for (int64_t i = 2 * block; i < std::min(count, 2 * block + 2); ++i)
          ids[i] = SampledId(words[2 * (i % 2)], words[2 * (i % 2) + 1], classes, octaves);
      }
    });
  });
}

}  // namespace

// The same for every variant of the CPU.
std::span<const KernelEntry> SamplingKernels(CpuVariant) {
  static constexpr KernelEntry kEntries[] = {{"sampleNegatives", Check, Prepare}};
  return kEntries;
}

}  // namespace kairos
