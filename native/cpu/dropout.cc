// dropout: element i is kept when its random word reaches floor(rate * 2^32), and is then scaled by 1 / (1 -
// rate). The word is lane i % 4 of Philox block i / 4, whatever the variant or the number of threads.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/dropout.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/philox-inl.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kTile = 512;  // elements; a multiple of four times any vector's lanes
constexpr int64_t kGrain = 16;  // tiles

void Apply(const float* x, const uint32_t* words, uint32_t threshold, float scale, int64_t count, float* y) {
  const hn::ScalableTag<float> d;
  const hn::ScalableTag<int32_t> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  // Signed comparison, which every target has, of words with their highest bit turned.
  const auto turn = hn::Set(di, INT32_MIN),
             limit = hn::Xor(hn::Set(di, static_cast<int32_t>(threshold)), turn);
  const auto factor = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto word = hn::Xor(hn::LoadU(di, reinterpret_cast<const int32_t*>(words) + i), turn);
    const auto dropped = hn::RebindMask(d, hn::Lt(word, limit));
    hn::StoreU(hn::IfThenZeroElse(dropped, hn::Mul(hn::LoadU(d, x + i), factor)), d, y + i);
  }
  for (; i < count; ++i) y[i] = words[i] < threshold ? 0 : x[i] * scale;
}

Status Check(const CheckContext& context) {
  if (context.inputs.size() != 2 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "x and random, and one output", "other counts");
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "random", context.inputs[1], DType::kInt32, {2}));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, x.shape));
  const double rate = context.attributes.Float("rate");
  if (!(rate >= 0 && rate < 1))
    return Refuse(context, "rate", "at least 0 and below 1", std::to_string(rate));
  const int64_t salt = context.attributes.Int("salt");
  if (salt < INT32_MIN || salt > int64_t{UINT32_MAX})
    return Refuse(context, "salt", "an integer of 32 bits", std::to_string(salt));
  return Ok();
}

std::unique_ptr<Kernel> Prepare(PrepareContext& prepare) {
  const double rate = prepare.attributes.Float("rate");
  const uint32_t threshold = static_cast<uint32_t>(std::floor(rate * 0x1p32));
  const uint32_t salt = static_cast<uint32_t>(prepare.attributes.Int("salt"));
  const float scale = static_cast<float>(1 / (1 - rate));
  return MakeKernel([=](const RunContext& context) {
    const float* x = context.inputs[0].As<const float>();
    const uint32_t* random = context.inputs[1].As<const uint32_t>();
    float* y = context.outputs[0].As<float>();
    const int64_t count = context.outputs[0].shape.Count();
    const PhiloxKey key{random[0], salt};
    const uint32_t step = random[1];
    context.team.ParallelFor((count + kTile - 1) / kTile, kGrain, [&](int64_t first, int64_t last, int) {
      alignas(64) uint32_t words[kTile];
      for (int64_t tile = first; tile < last; ++tile) {
        const int64_t begin = tile * kTile, live = std::min(kTile, count - begin);
        if (threshold > 0) {
          DrawWords(key, step, static_cast<uint64_t>(begin / 4), kTile, words);
          Apply(x + begin, words, threshold, scale, live, y + begin);
        } else if (x != y) {
          std::memcpy(y + begin, x + begin, live * sizeof(float));
        }
      }
    });
  });
}

}  // namespace

std::span<const KernelEntry> DropoutEntries() {
  static constexpr KernelEntry kEntries[] = {{"dropout", Check, Prepare}};
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Dropout)
}  // namespace kairos
#endif
