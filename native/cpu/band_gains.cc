// bandGains(x[B, L, d], low[B, w], high[B, w], [range[B, 2]]) -> y = low_b lowband + high_b highband, w being 1 or d:
// the bands of `bandMix`, with gains of each item's own. With a range, item b is the sequence of positions [start, end),
// whose cutoff is the same share of its length; other rows of x are not read and those of y are zero. A cutoff of 0 leaves
// no low band.
// bandGainsBackward(x, low, high, dy, [range]) -> dx, dlow, dhigh: both sums ride along with the projections.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/band_gains.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <vector>

#include "cpu/band_waves-inl.h"
#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_BAND_GAINS_CC_
#define KAIROS_CPU_BAND_GAINS_CC_
namespace kairos {
namespace {

Status CheckGainOperands(const CheckContext& context, size_t range) {
  const TensorSpec &x = context.inputs[0], &low = context.inputs[1];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  if (x.shape.rank != 3) return Refuse(context, "x", "of shape [batch, L, channels]", x.shape.ToString());
  const int64_t batch = x.shape[0], length = x.shape[1], cutoff = context.attributes.Int("cutoff");
  const int64_t width = low.shape.rank == 2 && low.shape[1] == 1 ? 1 : x.shape[2];
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "low", low, DType::kFloat32, {batch, width}));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "high", context.inputs[2], DType::kFloat32, {batch, width}));
  if (length < 1 || length > kMostWaveFloats)
    return Refuse(context, "x", "of length 1 to 2^24 in dim 1", x.shape.ToString());
  if (cutoff < 0 || cutoff > length / 2 + 1)
    return Refuse(context, "cutoff", "at least 0 and at most L / 2 + 1", std::to_string(cutoff));
  const bool ragged = context.inputs.size() > range;
  const int64_t tables = ragged ? (length + 1) / 2 : 1;
  if (Passes(WaveCount(length, cutoff)) * kWaves > kMostWaveFloats / length / tables)
    return Refuse(context, "cutoff", "less, for so long a sequence", std::to_string(cutoff));
  return ragged ? ExpectTensor(context, "range", context.inputs[range], DType::kInt32, {batch, 2}) : Ok();
}

Status CheckGains(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckGainOperands(context, 3));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, context.inputs[0].shape);
}

Status CheckGainsBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckGainOperands(context, 4));
  const Shape &x = context.inputs[0].shape, &gains = context.inputs[1].shape;
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[3], DType::kFloat32, x));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dx", context.outputs[0], DType::kFloat32, x));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dlow", context.outputs[1], DType::kFloat32, gains));
  return ExpectTensor(context, "dhigh", context.outputs[2], DType::kFloat32, gains);
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_BAND_GAINS_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// Where an item's sequence lies.
struct Item {
  int64_t begin, length;
};

// The sequence's columns through its waves, block by block; its other rows are zero.
class GainsKernel : public Kernel {
 public:
  Status Accept(const CheckContext& live) const override {
    const Shape& x = live.inputs[0].shape;
    if (x[1] == time_) return Ok();
    return Refuse(live, "x", "of length " + std::to_string(time_) + " as when it was bound", x.ToString());
  }

 protected:
  GainsKernel(const PrepareContext& context, size_t range)
      : range_(range),
        ragged_(context.inputs.size() > range),
        time_(context.inputs[0].shape[1]),
        cutoff_(context.attributes.Int("cutoff")),
        begins_(static_cast<size_t>(time_ + 1)) {
    for (int64_t length = ragged_ ? 1 : time_; length <= time_; ++length) {
      const std::vector<float> waves = MakeWaves(length, CutoffAt(length, time_, cutoff_));
      begins_[length] = static_cast<int64_t>(waves_.size());
      waves_.insert(waves_.end(), waves.begin(), waves.end());
    }
  }

  int64_t AmplitudeFloats() const {
    return Passes(WaveCount(time_, cutoff_)) * kWaves * kMostVectors * kLanes;
  }
  int64_t Grain(int64_t channels) const { return 1 + 16384 / (time_ * channels + 1); }

  // Raises for a range that is none; what is given lies within the positions all the same.
  Item ItemOf(const RunContext& context, int64_t item) const {
    if (!ragged_) return {0, time_};
    static constexpr const char* kBound = "range bound";
    const int32_t* range = context.inputs[range_].As<const int32_t>() + 2 * item;
    if (range[1] < 0 || range[1] > time_)
      context.fault.RaiseBound(kBound, 2 * item + 1, range[1], 0, time_, range_);
    else if (range[0] < 0 || range[0] > range[1])
      context.fault.RaiseBound(kBound, 2 * item, range[0], 0, range[1], range_);
    const int64_t end = std::clamp<int64_t>(range[1], 0, time_);
    const int64_t begin = std::clamp<int64_t>(range[0], 0, end);
    return {begin, end - begin};
  }

  // Whether the low band of a sequence holds every frequency.
  bool Whole(int64_t length) const {
    return WaveCount(length, CutoffAt(length, time_, cutoff_)) == length && cutoff_ > 0;
  }

  // Calls visit(block, first column, vectors) for the blocks of a sequence.
  template <class Visit>
  void ForBlocks(int64_t length, int64_t channels, const Visit& visit) const {
    const int64_t passes = Passes(WaveCount(length, CutoffAt(length, time_, cutoff_)));
    for (int64_t column = 0; column < channels; column += kMostVectors * kLanes) {
      const int64_t width = std::min<int64_t>(channels - column, kMostVectors * kLanes);
      const int64_t vectors = (width + kLanes - 1) / kLanes;
      visit(Block{length, channels, passes, static_cast<size_t>(width - (vectors - 1) * kLanes),
                  waves_.data() + begins_[length]},
            column, vectors);
    }
  }

  // Zeros in the rows of an item that its sequence leaves out.
  void ClearOutside(const Item& item, int64_t channels, float* y) const {
    std::fill(y, y + item.begin * channels, 0.0f);
    std::fill(y + (item.begin + item.length) * channels, y + time_ * channels, 0.0f);
  }

  size_t range_;
  bool ragged_;
  int64_t time_, cutoff_;
  std::vector<int64_t> begins_;  // of each length's waves
  std::vector<float> waves_;
};

// y = gain x, a sequence whose low band is all of it.
void ScaleRows(const float* x, const float* gain, int64_t step, int64_t length, int64_t channels, float* y) {
  for (int64_t t = 0; t < length; ++t)
    for (int64_t c = 0; c < channels; ++c) y[t * channels + c] = gain[step * c] * x[t * channels + c];
}

class BandGains final : public GainsKernel {
 public:
  explicit BandGains(PrepareContext& context) : GainsKernel(context, 3) {
    context.scratch_bytes = static_cast<size_t>(AmplitudeFloats() * context.threads) * sizeof(float);
  }

  void Run(const RunContext& context) noexcept override {
    const int64_t channels = context.inputs[0].shape[2], size = time_ * channels;
    const int64_t width = context.inputs[1].shape[1];
    context.team.ParallelFor(
        context.inputs[0].shape[0], Grain(channels), [&](int64_t begin, int64_t end, int thread) {
          float* amplitudes = reinterpret_cast<float*>(context.scratch) + AmplitudeFloats() * thread;
          for (int64_t at = begin; at < end; ++at) {
            const Item item = ItemOf(context, at);
            const float* x = context.inputs[0].As<float>() + at * size + item.begin * channels;
            float* y = context.outputs[0].As<float>() + at * size + item.begin * channels;
            const Gains gains{context.inputs[1].As<float>() + at * width,
                              context.inputs[2].As<float>() + at * width, width == 1 ? 0 : 1};
            ClearOutside(item, channels, context.outputs[0].As<float>() + at * size);
            if (item.length == 0) continue;
            if (Whole(item.length)) {
              ScaleRows(x, gains.low, gains.step, item.length, channels, y);
              continue;
            }
            ForBlocks(item.length, channels, [&](const Block& block, int64_t column, int64_t vectors) {
              WithVectors<MixBlock>(vectors, block, x + column, gains.At(column), y + column, amplitudes);
            });
          }
        });
  }
};

class BandGainsBackward final : public GainsKernel {
 public:
  explicit BandGainsBackward(PrepareContext& context) : GainsKernel(context, 4) {
    const int64_t sums = SumsOf(context.inputs[0].shape[2]) * static_cast<int64_t>(sizeof(double));
    share_ = (2 * AmplitudeFloats() * static_cast<int64_t>(sizeof(float)) + 2 * sums + 63) / 64 * 64;
    context.scratch_bytes = static_cast<size_t>(share_ * context.threads);
  }

  void Run(const RunContext& context) noexcept override {
    const int64_t channels = context.inputs[0].shape[2], size = time_ * channels;
    const int64_t width = context.inputs[1].shape[1];
    context.team.ParallelFor(
        context.inputs[0].shape[0], Grain(channels), [&](int64_t begin, int64_t end, int thread) {
          double* dlow = reinterpret_cast<double*>(context.scratch + share_ * thread);
          double* dhigh = dlow + SumsOf(channels);
          float* amplitudes = reinterpret_cast<float*>(dhigh + SumsOf(channels));
          for (int64_t at = begin; at < end; ++at) {
            const Item item = ItemOf(context, at);
            const int64_t first = at * size + item.begin * channels;
            const float *x = context.inputs[0].As<float>() + first,
                        *dy = context.inputs[3].As<float>() + first;
            float* dx = context.outputs[0].As<float>() + first;
            const Gains gains{context.inputs[1].As<float>() + at * width,
                              context.inputs[2].As<float>() + at * width, width == 1 ? 0 : 1};
            ClearOutside(item, channels, context.outputs[0].As<float>() + at * size);
            std::fill_n(dlow, 2 * SumsOf(channels), 0.0);
            if (item.length > 0 && Whole(item.length)) {
              ScaleRows(dy, gains.low, gains.step, item.length, channels, dx);
              for (int64_t t = 0; t < item.length; ++t)
                for (int64_t c = 0; c < channels; ++c)
                  dlow[gains.step * c] += double{dy[t * channels + c]} * x[t * channels + c];
            } else if (item.length > 0) {
              ForBlocks(item.length, channels, [&](const Block& block, int64_t column, int64_t vectors) {
                WithVectors<MixBackwardBlock>(vectors, block, x + column, gains.At(column), dy + column,
                                              dx + column, dlow + gains.step * column,
                                              dhigh + gains.step * column, amplitudes);
              });
            }
            for (int64_t c = 0; c < width; ++c) {
              context.outputs[1].As<float>()[at * width + c] = static_cast<float>(dlow[c]);
              context.outputs[2].As<float>()[at * width + c] = static_cast<float>(dhigh[c]);
            }
          }
        });
  }

 private:
  // No channels have one gain all the same.
  static int64_t SumsOf(int64_t channels) { return std::max<int64_t>(1, channels); }

  int64_t share_;
};

template <class K>
std::unique_ptr<Kernel> Prepare(PrepareContext& context) {
  return std::make_unique<K>(context);
}

}  // namespace

std::span<const KernelEntry> BandGainsEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"bandGains", CheckGains, Prepare<BandGains>},
      {"bandGainsBackward", CheckGainsBackward, Prepare<BandGainsBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(BandGains)
}  // namespace kairos
#endif
