// Sequences on the waves of their low band, as cpu/band_mix.cc and cpu/band_gains.cc define it: a thread has a column
// of an item, a block an item.
//
//   amplitude_w = sum_t x[t] wave_w[t]        y[t] = high x[t] + sum_w (low - high) amplitude_w wave_w[t]
//
// Five waves a pass stand side by side, padded to eight floats, so that all threads read them at once in two loads; one,
// two or four passes are in registers together. The column waits in shared memory for its second use, where it fits.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "cpu/band_waves.h"
#include "cuda/bound_length.h"
#include "cuda/column_sums.h"
#include "cuda/ranges.h"

namespace kairos::gpu {

constexpr int kWaveStride = 8;  // floats of a position in one pass
constexpr int kMostBandThreads = 256;

// What of the tables belongs to sequences of one length.
struct BandLength {
  int64_t begin;  // floats before its waves
  int32_t passes;
  int32_t whole;  // the low band is everything: differences of equal sums would leave their rounding
};

// Travels as a kernel's argument.
struct BandCall {
  int time, groups;  // passes in registers together
  int range = -1, outputs = 0;
  bool gains, tile;
  const BandLength* lengths;  // by length, or one
  const float* waves;
};

struct BandPlan {
  BandCall call{};
  std::vector<BandLength> lengths;
  std::vector<float> waves;

  // Tables for sequences of every length where they are ragged, else of one.
  BandPlan(int64_t time, int64_t cutoff, bool ragged) {
    call.time = static_cast<int>(time);
    const int64_t most = Passes(WaveCount(time, cutoff));
    call.groups = most == 1 ? 1 : most == 2 ? 2 : 4;
    for (int64_t length = ragged ? 0 : time; length <= time; ++length) {
      const int64_t own = length == 0 ? 0 : CutoffAt(length, time, cutoff), count = WaveCount(length, own);
      const int64_t used = length == 0 ? 0 : Passes(count);
      const int64_t passes = (used + call.groups - 1) / call.groups * call.groups;
      lengths.push_back({static_cast<int64_t>(waves.size()), static_cast<int32_t>(passes),
                         length > 0 && count == length && cutoff > 0});
      waves.resize(waves.size() + static_cast<size_t>(passes * length * kWaveStride));
      if (length == 0) continue;
      const std::vector<float> packed = MakeWaves(length, own);
      float* to = waves.data() + lengths.back().begin;
      for (int64_t at = 0; at < used * length; ++at)
        std::copy_n(packed.data() + at * kWaves, kWaves, to + at * kWaveStride);
    }
  }

  void AddTo(DevicePrepareContext& context) const {
    context.AddTable(std::span<const float>(waves));
    context.AddTable(std::span<const BandLength>(lengths));
  }
  BandCall At(const std::byte* tables) const {
    BandCall at = call;
    at.waves = reinterpret_cast<const float*>(tables);
    at.lengths = reinterpret_cast<const BandLength*>(at.waves + waves.size());
    return at;
  }
};

// ---- One column ----

template <int kGroups>
using Amplitudes = float[kGroups][kWaves];

// The waves of a position in one pass.
struct WaveRow {
  float height[kWaves];
  __device__ explicit WaveRow(const float* from) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    height[0] = four.x, height[1] = four.y, height[2] = four.z, height[3] = four.w, height[4] = from[4];
  }
};

// What a column is read from: the signal at first, then the tile that the first reading has filled.
struct BandColumn {
  const float* data;
  int64_t step;
};

template <int kGroups>
__device__ inline void AddWaves(const float* waves, int64_t pass, float value, Amplitudes<kGroups>& sums) {
  KAIROS_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    const WaveRow row(waves + g * pass);
    KAIROS_UNROLL
    for (int w = 0; w < kWaves; ++w) sums[g][w] += row.height[w] * value;
  }
}

// y = high x + (low - high) waves, for the first passes; adds what more passes give.
template <int kGroups>
__device__ inline void BlendColumn(const BandColumn& x, int length, const float* waves,
                                   const Amplitudes<kGroups>& amplitudes, float low, float high, bool more,
                                   float* y, int64_t step) {
  const int64_t pass = int64_t{length} * kWaveStride;
  for (int t = 0; t < length; ++t) {
    float sum = 0;
    KAIROS_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      const WaveRow row(waves + g * pass + int64_t{t} * kWaveStride);
      KAIROS_UNROLL
      for (int w = 0; w < kWaves; ++w) sum += row.height[w] * amplitudes[g][w];
    }
    float* to = y + t * step;
    *to = (more ? *to : high * x.data[t * x.step]) + (low - high) * sum;
  }
}

// The sums of a column's gradients: dy x within the low band, and beyond.
struct BandSums {
  float low, high;
};

// views: x, scale or low and high, [dy], [range], then the results. `sums` [item][column] takes dscale's terms.
template <bool kBackward, int kGroups>
__global__ void BandKernel(const TensorView* views, BandCall call, float* sums) {
  const TensorView& x = views[0];
  const int rank = x.shape.rank, gains = call.gains ? 2 : 1;
  const int64_t items = x.shape.Product(0, rank - 2), channels = x.shape[rank - 1];
  const TensorView& y = views[call.outputs];
  const float* given = views[kBackward ? 1 + gains : 0].As<const float>();  // what is blended
  auto* tile = reinterpret_cast<float*>(SharedMemory()) + threadIdx.x;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    int64_t begin = 0, end = call.time;
    if (call.range >= 0) {
      const Range range(views[call.range].As<const int32_t>() + 2 * item, call.time);
      begin = range.begin, end = range.end;
    }
    const int length = static_cast<int>(end - begin);
    const BandLength& of = call.lengths[call.range >= 0 ? length : 0];
    const float* waves = call.waves + of.begin;
    const int64_t width = call.gains ? views[1].shape[1] : channels, pass = int64_t{length} * kWaveStride;
    double all_low = 0, all_high = 0;  // of this thread's columns
    for (int64_t column = threadIdx.x; column < channels; column += blockDim.x) {
      const int64_t first = item * call.time * channels + column, from = first + begin * channels;
      float* to = y.As<float>() + first;
      for (int64_t t = 0; t < begin; ++t) to[t * channels] = 0;
      for (int64_t t = end; t < call.time; ++t) to[t * channels] = 0;
      to += begin * channels;
      float low = 1, high;
      if (call.gains) {
        const int64_t gain = item * width + (width == 1 ? 0 : column);
        low = views[1].As<const float>()[gain], high = views[2].As<const float>()[gain];
      } else {
        high = views[1].As<const float>()[column];
      }
      BandColumn source{given + from, channels};
      const float* other = x.As<const float>() + from;
      float within = 0, dot = 0;
      for (int p = 0; p < of.passes && !of.whole; p += kGroups) {
        Amplitudes<kGroups> amplitudes = {}, of_x = {};
        for (int t = 0; t < length; ++t) {
          const float value = source.data[t * source.step];
          const float* wave = waves + p * pass + int64_t{t} * kWaveStride;
          AddWaves<kGroups>(wave, pass, value, amplitudes);
          if (kBackward) {
            const float x_value = other[t * channels];
            AddWaves<kGroups>(wave, pass, x_value, of_x);
            if (p == 0) dot += value * x_value;
          }
          if (p == 0 && call.tile) tile[t * blockDim.x] = value;
        }
        if (p == 0 && call.tile) source = {tile, blockDim.x};
        if (kBackward) {
          KAIROS_UNROLL
          for (int g = 0; g < kGroups; ++g) {
            KAIROS_UNROLL
            for (int w = 0; w < kWaves; ++w) within += amplitudes[g][w] * of_x[g][w];
          }
        }
        BlendColumn<kGroups>(source, length, waves + p * pass, amplitudes, low, high, p > 0, to, channels);
      }
      if (of.whole) {
        for (int t = 0; t < length; ++t) {
          const float value = source.data[t * channels];
          to[t * channels] = low * value;
          if (kBackward) dot += value * other[t * channels];
        }
        within = dot;
      }
      if (!kBackward) continue;
      const BandSums result{within, of.whole ? 0.0f : dot - within};
      if (!call.gains) {
        sums[item * channels + column] = result.high;
      } else if (width == 1) {
        all_low += result.low, all_high += result.high;
      } else {
        views[call.outputs + 1].As<float>()[item * width + column] = result.low;
        views[call.outputs + 2].As<float>()[item * width + column] = result.high;
      }
    }
    if (!kBackward || !call.gains || width != 1) continue;
    all_low = BlockSum(all_low);
    all_high = BlockSum(all_high);
    if (threadIdx.x == 0) {
      views[call.outputs + 1].As<float>()[item] = static_cast<float>(all_low);
      views[call.outputs + 2].As<float>()[item] = static_cast<float>(all_high);
    }
  }
}

// ---- Launchers ----

// A block for each item, its threads for its columns; the tile where it fits.
struct BandForm {
  int threads;
  size_t shared;

  BandForm(int64_t time, int64_t channels) {
    const int64_t wide = (channels + kWarp - 1) / kWarp * kWarp;
    threads = static_cast<int>(std::clamp<int64_t>(wide, kWarp, kMostBandThreads));
    shared = static_cast<size_t>(time * threads) * sizeof(float);
    if (shared + 1024 > MostSharedBytes()) shared = 0;  // sums of a block stand there too
  }
};

template <bool kBackward>
void LaunchBand(const LaunchContext& launch, int64_t items, const BandForm& form, const BandCall& call,
                float* sums) {
  LaunchShared(launch, items, form.threads, form.shared,
               call.groups == 1   ? BandKernel<kBackward, 1>
               : call.groups == 2 ? BandKernel<kBackward, 2>
                                  : BandKernel<kBackward, 4>,
               launch.views, call, sums);
}

}  // namespace kairos::gpu
