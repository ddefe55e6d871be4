// Discrete Fourier transforms of any length along the rows of a tile that a block holds: complex, mixed radix, in place.
//
//   tile[row][column]    a column is a complex signal; neighbouring threads work on neighbouring columns
//
// Forward: decimation in frequency. A stage of radix r cuts every span of m rows into r spans of m / r; where frequency
// k ends up is `place[k]`. Inverse: the stages backwards, from that order to the natural one, so nothing is ever
// reordered. An inverse stage is a forward one on numbers whose parts are swapped.
//
// A length with a prime factor above 13 goes through Bluestein's chirp ("A linear filtering approach to the computation
// of the discrete Fourier transform", 1970): a circular convolution of at least 2 L - 1 rows. Its spectrum is in the
// order of the stages and the result's is natural.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "cpu/dft.h"
#include "cuda/gpu.h"

namespace kairos::gpu {

using Complex = float2;

__host__ __device__ inline Complex operator+(Complex a, Complex b) { return {a.x + b.x, a.y + b.y}; }
__host__ __device__ inline Complex operator-(Complex a, Complex b) { return {a.x - b.x, a.y - b.y}; }
__host__ __device__ inline Complex operator*(Complex a, Complex b) {
  return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};
}
__host__ __device__ inline Complex Swap(Complex a) { return {a.y, a.x}; }
__host__ __device__ inline Complex Conjugate(Complex a) { return {a.x, -a.y}; }

// ---- The plan ----

constexpr int kFourierRadices[] = {16, 15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2};
constexpr int kSmallRadix = 10, kMostStages = 24;

// Travels as a kernel's argument; the addresses are in device memory.
struct Fourier {
  int length;  // of the signal
  int rows;    // of a tile: the length, or the chirp's convolution's
  int stages;
  int radices[kMostStages];
  bool chirped;
  bool small;               // no radix above kSmallRadix
  const Complex* roots;     // exp(-2 pi i k / rows)
  const Complex* chirp;     // exp(-pi i n n / length)
  const Complex* spectrum;  // of the conjugate chirp, in the order of the stages, over rows
  const int32_t* place;     // row of a frequency
};

// Radices of the fewest stages, the greatest first; none where a prime factor is too great.
inline std::vector<int> FourierRadices(int64_t length, int most = kFourierRadices[0]) {
  std::vector<int> best;
  for (int radix : kFourierRadices) {
    if (radix > most || length % radix != 0) continue;
    std::vector<int> radices{radix};
    if (length > radix) {
      const std::vector<int> rest = FourierRadices(length / radix, radix);
      if (rest.empty()) continue;
      radices.insert(radices.end(), rest.begin(), rest.end());
    }
    // Of equally many, the most even: 10 5 before 25 2.
    if (best.empty() || radices.size() < best.size() ||
        (radices.size() == best.size() && radices[0] < best[0]))
      best = std::move(radices);
  }
  return best;
}

// Rows for a chirp's convolution: a product of 2, 3 and 5 of few stages.
inline int64_t ChirpRows(int64_t length) {
  const int64_t least = 2 * length - 1;
  int64_t best = 0;
  size_t best_cost = 0;
  for (int64_t five = 1; five < 2 * least; five *= 5)
    for (int64_t three = five; three < 2 * least; three *= 3)
      for (int64_t rows = three; rows < 2 * least; rows *= 2) {
        if (rows < least) continue;
        const size_t cost = FourierRadices(rows).size() * static_cast<size_t>(rows);
        if (best == 0 || cost < best_cost) best = rows, best_cost = cost;
      }
  return best;
}

// What `prepare` builds and the device keeps.
struct FourierPlan {
  Fourier fourier{};
  std::vector<Complex> roots, chirp, spectrum;
  std::vector<int32_t> place;

  explicit FourierPlan(int64_t length) {
    const auto of = [](dft::Complex number) {
      return Complex{static_cast<float>(number.real()), static_cast<float>(number.imag())};
    };
    std::vector<int> radices = FourierRadices(length);
    fourier.length = fourier.rows = static_cast<int>(length);
    fourier.chirped = length > 1 && radices.empty();
    if (fourier.chirped) {
      fourier.rows = static_cast<int>(ChirpRows(length));
      radices = FourierRadices(fourier.rows);
    }
    fourier.stages = static_cast<int>(radices.size());
    std::copy(radices.begin(), radices.end(), fourier.radices);
    fourier.small = radices.empty() || radices[0] <= kSmallRadix;
    for (int64_t k = 0; k < fourier.rows; ++k) roots.push_back(of(dft::Root(k, fourier.rows)));
    for (int64_t k = 0; k < fourier.rows; ++k) {
      int64_t row = 0, span = fourier.rows, rest = k;
      for (int radix : radices) {
        span /= radix;
        row += rest % radix * span;
        rest /= radix;
      }
      place.push_back(static_cast<int32_t>(row));
    }
    if (fourier.chirped) FillChirp(of);
  }

  void AddTo(DevicePrepareContext& context) const {
    context.AddTable(std::span<const Complex>(roots));
    context.AddTable(std::span<const Complex>(chirp));
    context.AddTable(std::span<const Complex>(spectrum));
    context.AddTable(std::span<const int32_t>(place));
  }
  Fourier At(const std::byte* tables) const {
    Fourier at = fourier;
    at.roots = reinterpret_cast<const Complex*>(tables);
    at.chirp = at.roots + roots.size();
    at.spectrum = at.chirp + chirp.size();
    at.place = reinterpret_cast<const int32_t*>(at.spectrum + spectrum.size());
    return at;
  }

 private:
  template <class Convert>
  void FillChirp(const Convert& of) {
    const int64_t length = fourier.length, rows = fourier.rows;
    std::vector<double> re(rows), im(rows);
    for (int64_t n = 0; n < length; ++n) {
      const dft::Complex turn = dft::Root(n * n % (2 * length), 2 * length);
      chirp.push_back(of(turn));
      for (const int64_t at : {n, (rows - n) % rows}) re[at] = turn.real(), im[at] = -turn.imag();
    }
    const std::vector<dft::Complex> of_re = dft::Spectrum(re), of_im = dft::Spectrum(im);
    spectrum.resize(rows);
    for (int64_t k = 0; k < rows; ++k)
      spectrum[place[k]] = of((of_re[k] + dft::Complex(0, 1) * of_im[k]) / static_cast<double>(rows));
    // A chirp's transform ends in natural order.
    for (int64_t k = 0; k < length; ++k) place[k] = static_cast<int32_t>(k);
  }
};

// ---- Butterflies in registers ----

// cos(2 pi k / n), for tables that the compiler makes.
constexpr double CosOfTurn(int k, int n) {
  k = k % n * 2 > n ? n - k % n : k % n;
  const double angle = 2 * std::numbers::pi * k / n;
  double term = 1, sum = 1;
  for (int i = 1; i < 30; ++i) {
    term *= -angle * angle / ((2 * i - 1) * (2 * i));
    sum += term;
  }
  return sum;
}

template <int kCount>
struct Turns {
  float cosine[kCount] = {}, sine[kCount] = {};
  constexpr Turns() {
    for (int k = 0; k < kCount; ++k) {
      cosine[k] = static_cast<float>(CosOfTurn(k, kCount));
      sine[k] = static_cast<float>(CosOfTurn(4 * k + 3 * kCount, 4 * kCount));
    }
  }
};

// v exp(-2 pi i k / n). All conditions are known once the loops around it are unrolled.
template <int kCount>
__device__ inline Complex Turn(Complex v, int k) {
  constexpr Turns<kCount> turns;
  if (k == 0) return v;
  if (4 * k == kCount) return {v.y, -v.x};
  if (2 * k == kCount) return {-v.x, -v.y};
  if (4 * k == 3 * kCount) return {-v.y, v.x};
  return v * Complex{turns.cosine[k], -turns.sine[k]};
}

__host__ __device__ constexpr int SmallerFactor(int radix) {
  return radix == 16 ? 4 : radix % 2 == 0 ? 2 : radix % 3 == 0 && radix > 3 ? 3 : 1;
}

template <int kRadix>
__device__ inline void Dft(Complex (&v)[kRadix]) {
  constexpr int kFew = SmallerFactor(kRadix), kMany = kRadix / kFew;
  if constexpr (kRadix == 2) {
    const Complex difference = v[0] - v[1];
    v[0] = v[0] + v[1];
    v[1] = difference;
  } else if constexpr (kFew > 1) {
    Complex out[kRadix];
    KAIROS_UNROLL
    for (int a = 0; a < kFew; ++a) {
      Complex part[kMany];
      KAIROS_UNROLL
      for (int b = 0; b < kMany; ++b) part[b] = v[kFew * b + a];
      Dft<kMany>(part);
      KAIROS_UNROLL
      for (int b = 0; b < kMany; ++b) out[kFew * b + a] = Turn<kRadix>(part[b], a * b);
    }
    KAIROS_UNROLL
    for (int b = 0; b < kMany; ++b) {
      Complex part[kFew];
      KAIROS_UNROLL
      for (int a = 0; a < kFew; ++a) part[a] = out[kFew * b + a];
      Dft<kFew>(part);
      KAIROS_UNROLL
      for (int a = 0; a < kFew; ++a) v[kMany * a + b] = part[a];
    }
  } else {  // an odd prime
    constexpr int kHalf = kRadix / 2;
    constexpr Turns<kRadix> turns;
    Complex sums[kHalf], differences[kHalf], first = v[0];
    KAIROS_UNROLL
    for (int j = 1; j <= kHalf; ++j) {
      sums[j - 1] = v[j] + v[kRadix - j];
      differences[j - 1] = v[j] - v[kRadix - j];
      v[0] = v[0] + sums[j - 1];
    }
    KAIROS_UNROLL
    for (int k = 1; k <= kHalf; ++k) {
      Complex even = first, odd = {0, 0};
      KAIROS_UNROLL
      for (int j = 1; j <= kHalf; ++j) {
        const float c = turns.cosine[j * k % kRadix], s = turns.sine[j * k % kRadix];
        even = {even.x + c * sums[j - 1].x, even.y + c * sums[j - 1].y};
        odd = {odd.x + s * differences[j - 1].x, odd.y + s * differences[j - 1].y};
      }
      v[k] = {even.x + odd.y, even.y - odd.x};
      v[kRadix - k] = {even.x - odd.y, even.y + odd.x};
    }
  }
}

// ---- Stages ----

// A column: of a tile, or of the signal itself.
struct Column {
  Complex* data;
  int step;
  __device__ Complex& operator[](int row) const { return data[int64_t{row} * step]; }
};

// The threads of a block on a tile: `lanes` of them side by side, on as many columns.
struct Lanes {
  int row, rows;  // this thread's first piece of work, and the step to the next

  __device__ explicit Lanes(int lanes)
      : row(static_cast<int>(threadIdx.x) / lanes), rows(static_cast<int>(blockDim.x) / lanes) {}
};

// What a stage of one radix needs.
struct Stage {
  const Complex* roots;
  int rows, span;
  bool inverse;
};

template <int kRadix>
__device__ inline void RunStage(const Stage& stage, Lanes lanes, Column from, Column to) {
  const int stride = stage.span / kRadix, step = stage.rows / stage.span, count = stage.rows / kRadix;
  for (int i = lanes.row; i < count; i += lanes.rows) {
    const int offset = i % stride, first = i / stride * stage.span + offset;
    const Complex* root = stage.roots;
    const int turn = offset * step;
    Complex v[kRadix];
    const Complex* at = &from[first];
    const int64_t jump = int64_t{stride} * from.step, out_jump = int64_t{stride} * to.step;
    KAIROS_UNROLL
    for (int j = 0; j < kRadix; ++j, at += jump) v[j] = *at;
    if (stage.inverse) {
      v[0] = Swap(v[0]);
      KAIROS_UNROLL
      for (int j = 1; j < kRadix; ++j) v[j] = Swap(v[j]) * *(root += turn);
      Dft<kRadix>(v);
      KAIROS_UNROLL
      for (int j = 0; j < kRadix; ++j) v[j] = Swap(v[j]);
    } else {
      Dft<kRadix>(v);
      KAIROS_UNROLL
      for (int j = 1; j < kRadix; ++j) v[j] = v[j] * *(root += turn);
    }
    Complex* out = &to[first];
    KAIROS_UNROLL
    for (int j = 0; j < kRadix; ++j, out += out_jump) *out = v[j];
  }
}

// kSmall: no radix above kSmallRadix, which leaves registers for more blocks.
template <bool kSmall>
__device__ inline void RunRadix(int radix, Stage stage, Lanes lanes, Column from, Column to) {
  switch (radix) {
#define KAIROS_RADIX(R)                                                             \
  case R:                                                                           \
    if constexpr (!kSmall || R <= kSmallRadix) RunStage<R>(stage, lanes, from, to); \
    return;
    KAIROS_RADIX(2)
    KAIROS_RADIX(3)
    KAIROS_RADIX(4)
    KAIROS_RADIX(5)
    KAIROS_RADIX(6)
    KAIROS_RADIX(7)
    KAIROS_RADIX(8)
    KAIROS_RADIX(9)
    KAIROS_RADIX(10)
    KAIROS_RADIX(11)
    KAIROS_RADIX(12)
    KAIROS_RADIX(13)
    KAIROS_RADIX(15)
    KAIROS_RADIX(16)
#undef KAIROS_RADIX
  }
}

// All stages one way. The first reads `from`, the last writes `to`; the others work in `tile`, which may be either.
template <bool kSmall>
__device__ inline void RunStages(const Fourier& fourier, bool inverse, Lanes lanes, Column from, Column tile,
                                 Column to) {
  int span = inverse ? 1 : fourier.rows;
  KAIROS_ROLLED
  for (int stage = 0; stage < fourier.stages; ++stage) {
    const int radix = fourier.radices[inverse ? fourier.stages - 1 - stage : stage];
    if (inverse) span *= radix;
    RunRadix<kSmall>(radix, {fourier.roots, fourier.rows, span, inverse}, lanes, stage == 0 ? from : tile,
                     stage == fourier.stages - 1 ? to : tile);
    BlockSync();
    if (!inverse) span /= radix;
  }
}

// What stands around the stages of a transform by the chirp, which are a convolution: forward stages, then inverse ones.
// On numbers whose parts are swapped a forward transform is an inverse one.
__device__ inline void BeforeChirp(const Fourier& fourier, bool inverse, Lanes lanes, Column tile) {
  for (int row = lanes.row; row < fourier.rows; row += lanes.rows) {
    if (row < fourier.length)
      tile[row] = (inverse ? Swap(tile[row]) : tile[row]) * fourier.chirp[row];
    else
      tile[row] = {0, 0};
  }
  BlockSync();
}
__device__ inline void AmidChirp(const Fourier& fourier, Lanes lanes, Column tile) {
  for (int row = lanes.row; row < fourier.rows; row += lanes.rows)
    tile[row] = tile[row] * fourier.spectrum[row];
  BlockSync();
}
__device__ inline void AfterChirp(const Fourier& fourier, bool inverse, Lanes lanes, Column tile) {
  for (int row = lanes.row; row < fourier.length; row += lanes.rows) {
    const Complex value = tile[row] * fourier.chirp[row];
    tile[row] = inverse ? Swap(value) : value;
  }
  BlockSync();
}

}  // namespace kairos::gpu
