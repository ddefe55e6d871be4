// A block of columns of one sequence on the waves of its low band: projected, blended back, and the sums of gradients.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_BAND_WAVES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_BAND_WAVES_INL_H_
#undef KAIROS_CPU_BAND_WAVES_INL_H_
#else
#define KAIROS_CPU_BAND_WAVES_INL_H_
#endif

#include <algorithm>

#include "cpu/band_waves.h"
#include "cpu/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

// Vectors of a block of columns: with kWaves amplitudes each they fill the registers.
inline constexpr int kMostVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(FloatTag()));

// A block of columns of one item. Of its last vector `live` lanes count.
struct Block {
  int64_t length, step;  // from one row to the next
  int64_t passes;
  size_t live;
  const float* waves;
};

// amplitudes[pass][wave][vector] of x.
template <int kVectors>
HWY_INLINE void Project(const Block& block, const float* x, float* amplitudes) {
  const FloatTag d;
  const float* wave = block.waves;
  for (int64_t pass = 0; pass < block.passes; ++pass, amplitudes += kWaves * kVectors * kLanes) {
    FloatVector sum[kWaves][kVectors];
#pragma GCC unroll 8
    for (int w = 0; w < kWaves; ++w)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[w][v] = hn::Zero(d);
    const float* row = x;
    for (int64_t t = 0; t < block.length; ++t, row += block.step, wave += kWaves) {
      FloatVector value[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        value[v] = Load(d, row + v * kLanes, v == kVectors - 1 ? block.live : kLanes);
#pragma GCC unroll 8
      for (int w = 0; w < kWaves; ++w) {
        const FloatVector height = hn::Set(d, wave[w]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[w][v] = hn::MulAdd(height, value[v], sum[w][v]);
      }
    }
#pragma GCC unroll 8
    for (int w = 0; w < kWaves; ++w)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[w][v], d, amplitudes + (w * kVectors + v) * kLanes);
  }
}

// What the bands are multiplied by: one gain for all columns, or one each. Without `low` it is 1.
struct Gains {
  const float *low, *high;
  int64_t step;  // 0 or 1

  Gains At(int64_t column) const { return {low ? low + step * column : low, high + step * column, step}; }

  HWY_INLINE FloatVector Low(int vector, size_t live) const {
    return low ? Of(low, vector, live) : hn::Set(FloatTag(), 1);
  }
  HWY_INLINE FloatVector High(int vector, size_t live) const { return Of(high, vector, live); }

 private:
  HWY_INLINE FloatVector Of(const float* gain, int vector, size_t live) const {
    const FloatTag d;
    return step == 0 ? hn::Set(d, *gain) : Load(d, gain + vector * kLanes, live);
  }
};

// y = high x + (low - high) times the waves of those amplitudes.
template <int kVectors>
HWY_INLINE void Blend(const Block& block, const float* x, const Gains& gains, const float* amplitudes,
                      float* y) {
  const FloatTag d;
  const float* wave = block.waves;
  for (int64_t pass = 0; pass < block.passes; ++pass, amplitudes += kWaves * kVectors * kLanes) {
    FloatVector by[kVectors], amplitude[kWaves][kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const size_t live = v == kVectors - 1 ? block.live : kLanes;
      by[v] = gains.High(v, live);
      const FloatVector low = hn::Sub(gains.Low(v, live), by[v]);
#pragma GCC unroll 8
      for (int w = 0; w < kWaves; ++w)
        amplitude[w][v] = hn::Mul(low, hn::LoadU(d, amplitudes + (w * kVectors + v) * kLanes));
      if (pass > 0) by[v] = hn::Set(d, 1);
    }
    const float* from = pass == 0 ? x : y;
    float* to = y;
    for (int64_t t = 0; t < block.length; ++t, from += block.step, to += block.step, wave += kWaves) {
      FloatVector value[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        value[v] = hn::Mul(by[v], Load(d, from + v * kLanes, v == kVectors - 1 ? block.live : kLanes));
#pragma GCC unroll 8
      for (int w = 0; w < kWaves; ++w) {
        const FloatVector height = hn::Set(d, wave[w]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) value[v] = hn::MulAdd(height, amplitude[w][v], value[v]);
      }
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        Store(value[v], d, to + v * kLanes, v == kVectors - 1 ? block.live : kLanes);
    }
  }
}

// For the block's columns dlow += sum_w amplitude_w(dy) amplitude_w(x), dhigh += sum_t dy x less that. `dlow` may be
// null; with step 0 all columns add to one sum.
template <int kVectors>
HWY_INLINE void AddGainGradient(const Block& block, const float* x, const float* dy, const float* of_x,
                                const float* of_dy, double* dlow, double* dhigh, int64_t step) {
  const FloatTag d;
  for (int v = 0; v < kVectors; ++v) {
    const size_t live = v == kVectors - 1 ? block.live : kLanes;
    FloatVector all = hn::Zero(d), low = hn::Zero(d);
    for (int64_t t = 0; t < block.length; ++t) {
      const int64_t at = t * block.step + v * kLanes;
      all = hn::MulAdd(Load(d, dy + at, live), Load(d, x + at, live), all);
    }
    for (int64_t w = 0; w < block.passes * kWaves; ++w) {
      const int64_t at = (w * kVectors + v) * kLanes;
      low = hn::MulAdd(hn::LoadU(d, of_dy + at), hn::LoadU(d, of_x + at), low);
    }
    float lanes[2][kLanes];
    hn::StoreU(low, d, lanes[0]);
    hn::StoreU(hn::Sub(all, low), d, lanes[1]);
    for (size_t lane = 0; lane < live; ++lane) {
      const int64_t at = step * static_cast<int64_t>(v * kLanes + lane);
      if (dlow) dlow[at] += lanes[0][lane];
      dhigh[at] += lanes[1][lane];
    }
  }
}

struct MixBlock {
  template <int kVectors>
  static void Run(const Block& block, const float* x, const Gains& gains, float* y, float* amplitudes) {
    Project<kVectors>(block, x, amplitudes);
    Blend<kVectors>(block, x, gains, amplitudes, y);
  }
};

struct MixBackwardBlock {
  template <int kVectors>
  static void Run(const Block& block, const float* x, const Gains& gains, const float* dy, float* dx,
                  double* dlow, double* dhigh, float* amplitudes) {
    float* of_x = amplitudes + block.passes * kWaves * kVectors * kLanes;
    Project<kVectors>(block, dy, amplitudes);
    Project<kVectors>(block, x, of_x);
    AddGainGradient<kVectors>(block, x, dy, of_x, amplitudes, dlow, dhigh, gains.step);
    Blend<kVectors>(block, dy, gains, amplitudes, dx);
  }
};

template <class Body, class... Args>
void WithVectors(int64_t vectors, const Args&... args) {
  switch (vectors) {
    case 1: return Body::template Run<1>(args...);
    case 2: return Body::template Run<2>(args...);
    case 3: return Body::template Run<std::min(3, kMostVectors)>(args...);
    case 4: return Body::template Run<std::min(4, kMostVectors)>(args...);
  }
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
