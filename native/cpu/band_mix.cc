// bandMix(x[..., L, d], scale[d]) -> y = low + scale high: `low` is x without its frequencies from `cutoff` on, `high`
// is the rest. bandMixBackward(x, scale, dy) -> dx, dscale.
//
// The low band is a projection onto few waves, so it needs no transform:
//
//   wave 0: constant    waves 2k - 1, 2k: cos and sin(2 pi k t / L), 1 <= k < cutoff    each of length 1
//   amplitude_w = sum_t x[t] wave_w[t]        y[t] = scale x[t] + sum_w (1 - scale) amplitude_w wave_w[t]
//
// Where the low band is everything, y is x and dscale zero: differences of equal sums would leave their rounding.
//
// A block of columns of one item is read twice, the second time from L1 or L2, and written once. The projection is its
// own adjoint: dx is the mix of dy, dscale = sum over items of (sum_t dy x - sum_w amplitude_w(dy) amplitude_w(x)).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/band_mix.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <vector>

#include "cpu/band_waves-inl.h"
#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_BAND_MIX_CC_
#define KAIROS_CPU_BAND_MIX_CC_
namespace kairos {
namespace {

Status CheckOperands(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 2));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "scale", context.inputs[1], DType::kFloat32, {x.shape.Last()}));
  const int64_t length = x.shape[x.shape.rank - 2], cutoff = context.attributes.Int("cutoff");
  if (length < 1 || length > kMostWaveFloats)
    return Refuse(context, "x", "of length 1 to 2^24 in the last but one dim", x.shape.ToString());
  if (cutoff < 1 || cutoff > length / 2 + 1)
    return Refuse(context, "cutoff", "at least 1 and at most L / 2 + 1", std::to_string(cutoff));
  if (Passes(WaveCount(length, cutoff)) * kWaves > kMostWaveFloats / length)
    return Refuse(context, "cutoff", "less, for so long a sequence", std::to_string(cutoff));
  return Ok();
}

Status CheckMix(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, context.inputs[0].shape);
}

Status CheckMixBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context));
  const Shape &x = context.inputs[0].shape, &scale = context.inputs[1].shape;
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[2], DType::kFloat32, x));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dx", context.outputs[0], DType::kFloat32, x));
  return ExpectTensor(context, "dscale", context.outputs[1], DType::kFloat32, scale);
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_BAND_MIX_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

HWY_MAYBE_UNUSED void CopyFloats(ThreadTeam& team, const float* from, float* to, int64_t count) {
  team.ParallelFor(count, 1 << 15,
                   [&](int64_t begin, int64_t end, int) { std::copy(from + begin, from + end, to + begin); });
}

class BandKernel : public Kernel {
 public:
  // The waves are for one length: a length that depends on a count can run at its capacity only.
  Status Accept(const CheckContext& live) const override {
    const Shape& x = live.inputs[0].shape;
    if (x[x.rank - 2] == length_) return Ok();
    return Refuse(live, "x", "of length " + std::to_string(length_) + " as when it was bound", x.ToString());
  }

 protected:
  explicit BandKernel(const PrepareContext& context)
      : length_(context.inputs[0].shape[context.inputs[0].shape.rank - 2]),
        count_(WaveCount(length_, context.attributes.Int("cutoff"))),
        passes_(Passes(count_)),
        waves_(MakeWaves(length_, context.attributes.Int("cutoff"))) {}

  int64_t AmplitudeFloats() const { return passes_ * kWaves * kMostVectors * kLanes; }

  // Calls visit(block, first column, offset of its first element in x, vectors) for the blocks of items [begin, end).
  template <class Visit>
  void ForBlocks(int64_t begin, int64_t end, int64_t channels, const Visit& visit) const {
    for (int64_t item = begin; item < end; ++item)
      for (int64_t column = 0; column < channels; column += kMostVectors * kLanes) {
        const int64_t width = std::min<int64_t>(channels - column, kMostVectors * kLanes);
        const int64_t vectors = (width + kLanes - 1) / kLanes;
        const Block block{length_, channels, passes_, static_cast<size_t>(width - (vectors - 1) * kLanes),
                          waves_.data()};
        visit(block, column, item * length_ * channels + column, vectors);
      }
  }

  int64_t Grain(int64_t channels) const { return 1 + 16384 / (length_ * channels + 1); }

  // Whether the low band holds every frequency.
  bool Whole() const { return count_ == length_; }

  int64_t length_, count_, passes_;
  std::vector<float> waves_;
};

class BandMix final : public BandKernel {
 public:
  explicit BandMix(PrepareContext& context) : BandKernel(context) {
    context.scratch_bytes = static_cast<size_t>(AmplitudeFloats() * context.threads) * sizeof(float);
  }

  void Run(const RunContext& context) noexcept override {
    const Shape& shape = context.inputs[0].shape;
    const float *x = context.inputs[0].As<float>(), *scale = context.inputs[1].As<float>();
    float* y = context.outputs[0].As<float>();
    if (Whole()) return CopyFloats(context.team, x, y, shape.Count());
    context.team.ParallelFor(
        shape.Product(0, shape.rank - 2), Grain(shape.Last()), [&](int64_t begin, int64_t end, int thread) {
          float* amplitudes = reinterpret_cast<float*>(context.scratch) + AmplitudeFloats() * thread;
          ForBlocks(begin, end, shape.Last(),
                    [&](const Block& block, int64_t column, int64_t at, int64_t vectors) {
                      WithVectors<MixBlock>(vectors, block, x + at, Gains{nullptr, scale + column, 1}, y + at,
                                            amplitudes);
                    });
        });
  }
};

// dscale is kept per thread in double and added in the order of threads.
class BandMixBackward final : public BandKernel {
 public:
  explicit BandMixBackward(PrepareContext& context) : BandKernel(context) {
    const int64_t channels = context.inputs[0].shape.Last();
    share_ = (2 * AmplitudeFloats() * static_cast<int64_t>(sizeof(float)) +
              channels * static_cast<int64_t>(sizeof(double)) + 63) /
             64 * 64;
    context.scratch_bytes = static_cast<size_t>(share_ * context.threads);
  }

  void Run(const RunContext& context) noexcept override {
    const Shape& shape = context.inputs[0].shape;
    const int64_t channels = shape.Last();
    const float *x = context.inputs[0].As<float>(), *scale = context.inputs[1].As<float>();
    const float* dy = context.inputs[2].As<float>();
    float* dx = context.outputs[0].As<float>();
    float* dscale = context.outputs[1].As<float>();
    if (Whole()) {
      std::fill_n(dscale, channels, 0.0f);
      return CopyFloats(context.team, dy, dx, shape.Count());
    }
    const auto sums_of = [&](int thread) {
      return reinterpret_cast<double*>(context.scratch + share_ * thread);
    };
    for (int thread = 0; thread < context.team.size(); ++thread) std::fill_n(sums_of(thread), channels, 0.0);
    context.team.ParallelFor(
        shape.Product(0, shape.rank - 2), Grain(channels), [&](int64_t begin, int64_t end, int thread) {
          double* sums = sums_of(thread);
          float* amplitudes = reinterpret_cast<float*>(sums + channels);
          ForBlocks(begin, end, channels,
                    [&](const Block& block, int64_t column, int64_t at, int64_t vectors) {
                      WithVectors<MixBackwardBlock>(vectors, block, x + at, Gains{nullptr, scale + column, 1},
                                                    dy + at, dx + at, static_cast<double*>(nullptr),
                                                    sums + column, amplitudes);
                    });
        });
    for (int64_t channel = 0; channel < channels; ++channel) {
      double sum = 0;
      for (int thread = 0; thread < context.team.size(); ++thread) sum += sums_of(thread)[channel];
      dscale[channel] = static_cast<float>(sum);
    }
  }

 private:
  int64_t share_;
};

template <class K>
std::unique_ptr<Kernel> Prepare(PrepareContext& context) {
  return std::make_unique<K>(context);
}

}  // namespace

std::span<const KernelEntry> BandMixEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"bandMix", CheckMix, Prepare<BandMix>},
      {"bandMixBackward", CheckMixBackward, Prepare<BandMixBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(BandMix)
}  // namespace kairos
#endif
