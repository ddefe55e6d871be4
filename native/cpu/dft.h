// Plans for real discrete Fourier transforms of any length along the rows of a tile: mixed radix, decimation
// in time, in place. No SIMD here; dft-inl.h runs a plan.
//
// A stage joins r spectra of length m into one of length m * r. Before it, the tile's L rows hold L / m
// interleaved subsequences, each as a packed spectrum of m real components: of every conjugate pair of
// frequencies k, m - k only one is kept.
//
//     row of component c, subsequence n:   c * (L / m) + n,   0 <= n < L / m
//
//     component 0 is DC; an even m has a real Nyquist component; all others are pairs (re, im) of a frequency
//
// A butterfly takes component c of the r subsequences n + S j, S = L / (m r), and leaves its r results in the
// same rows: result q becomes component c * r + q of the longer spectrum. So input is in natural order and
// only the final order of frequencies is permuted: `bins` lists it. The inverse undoes the stages in reverse
// and ends in natural order.
//
// Odd radices come first, large before small, so that only radices 2, 4 and 8 ever meet a Nyquist component.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numbers>
#include <vector>

namespace kairos {

struct DftPlan;

constexpr int64_t kMaxDftLength = int64_t{1} << 24;
constexpr int64_t kMaxSmallRadix = 16;  // greater primes are LargeRadix
constexpr int64_t kFirstRadix = 16;     // only of a first stage, which is all real
constexpr int kDenseBlock = 4;          // frequencies per pass over the terms of a dense product

// A prime radix p above 13, either
//   dense:  sums and differences of x[j] and x[p - j], 1 <= j <= h = (p - 1) / 2, times h x h cosines and
//           sines; or
//   Rader:  in the order of the powers of a generator g, the sums of x[1 .. p-1] with cas = cos + sin are a
//           circular convolution: a filter by a real transform of length p - 1, or of a longer one that
//           factors well.
struct LargeRadix {
  int64_t radix = 0;
  // dense: per block of kDenseBlock frequencies, per term j, kDenseBlock cosines then kDenseBlock sines
  std::vector<float> table;
  // Rader
  std::unique_ptr<DftPlan> convolution;
  std::vector<int32_t> gather;   // g^t: which input row is term t
  std::vector<int32_t> scatter;  // g^-t: which output row is term t of the convolution
  std::vector<float> kernel;     // spectrum of cas(2 pi g^-t / p) / length, in the convolution's row order
};

// A pair of components of one frequency, and where its twiddles start. Rows are those of subsequence 0.
struct DftPair {
  int32_t re;
  int32_t im;
  int64_t twiddles;
};

struct DftStage {
  int64_t radix = 1;
  int64_t stride = 1;    // S: rows between the inputs of one butterfly, and butterflies per component
  int64_t nyquist = -1;  // row of the Nyquist component before this stage, or -1
  std::vector<DftPair> pairs;
  std::vector<float> twiddles;  // per pair: (re, im) of w^(k j), j = 1 .. radix - 1
  std::unique_ptr<LargeRadix> large;
};

// Where frequency f of the final spectrum stands. `conjugate`: the rows hold frequency L - f.
struct DftBin {
  int32_t re;
  int32_t im;  // -1: real (DC, Nyquist)
  bool conjugate;
};

struct DftPlan {
  int64_t length = 1;
  std::vector<DftStage> stages;  // never empty
  std::vector<DftBin> bins;      // L / 2 + 1
  int64_t scratch_rows = 0;      // beside the tile itself
};

std::unique_ptr<DftPlan> PlanDft(int64_t length);

// -----------------------------------------------------------------------------------------------------------
// Cost, in vector operations per row and direction; the constants are fitted to measured times.

namespace dft {

inline std::vector<int64_t> PrimeFactors(int64_t n) {  // descending
  std::vector<int64_t> factors;
  for (int64_t p = 2; p * p <= n; ++p)
    for (; n % p == 0; n /= p) factors.push_back(p);
  if (n > 1) factors.push_back(n);
  std::reverse(factors.begin(), factors.end());
  return factors;
}

// Radices in the order of the stages.
inline std::vector<int64_t> Radices(int64_t length) {
  std::vector<int64_t> radices = PrimeFactors(length);
  const auto first_two = std::find(radices.begin(), radices.end(), 2);
  int64_t twos = radices.end() - first_two;
  radices.erase(first_two, radices.end());
  // In place of two stages of radix 4.
  if (radices.empty() && twos % 3 == 1 && twos > 4) {
    radices.push_back(kFirstRadix);
    twos -= 4;
  }
  for (; twos % 3 != 0 && twos >= 2; twos -= 2) radices.push_back(4);
  for (; twos >= 3; twos -= 3) radices.push_back(8);
  if (twos == 1) radices.push_back(2);
  if (radices.empty()) radices.push_back(1);
  return radices;
}

inline double DenseCost(int64_t p) { return 8 + 0.62 * static_cast<double>(p); }

double RaderCost(int64_t p);

inline double Cost(int64_t length) {
  double cost = 0;
  for (int64_t radix : Radices(length)) {
    if (radix > kMaxSmallRadix) {
      cost += std::min(DenseCost(radix), RaderCost(radix));
    } else {
      cost += radix == 4             ? 5.5
              : radix == 8           ? 7
              : radix == kFirstRadix ? 8
                                     : 4 + 0.5 * static_cast<double>(radix);
    }
  }
  return cost * static_cast<double>(length);
}

// The cheapest even length of at least `least` without factors above 5.
inline int64_t SmoothLength(int64_t least) {
  int64_t best = 0;
  for (int64_t five = 1; five < 4 * least; five *= 5)
    for (int64_t three = five; three < 4 * least; three *= 3) {
      int64_t length = 2 * three;
      while (length < least) length *= 2;
      if (best == 0 || Cost(length) < Cost(best)) best = length;
    }
  return best;
}

// Length of the convolution for prime p: p - 1 itself where that has no large factor and is cheaper.
inline int64_t RaderLength(int64_t p) {
  const int64_t padded = SmoothLength(2 * p - 3);
  const bool smooth = PrimeFactors(p - 1).front() <= kMaxSmallRadix;
  return smooth && Cost(p - 1) <= Cost(padded) ? p - 1 : padded;
}

inline double RaderCost(int64_t p) { return 4 + 2 * Cost(RaderLength(p)) / static_cast<double>(p); }

// -----------------------------------------------------------------------------------------------------------
// Tables, in double

using Complex = std::complex<double>;

// exp(-2 pi i k / n)
inline Complex Root(int64_t k, int64_t n) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k % n) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

inline int64_t PowerModulo(int64_t base, int64_t exponent, int64_t modulus) {
  int64_t result = 1;
  for (; exponent > 0; exponent /= 2, base = base * base % modulus)
    if (exponent % 2 != 0) result = result * base % modulus;
  return result;
}

inline int64_t Generator(int64_t p) {
  const std::vector<int64_t> factors = PrimeFactors(p - 1);
  const auto generates = [&](int64_t g) {
    return std::none_of(factors.begin(), factors.end(),
                        [&](int64_t factor) { return PowerModulo(g, (p - 1) / factor, p) == 1; });
  };
  int64_t g = 2;
  while (!generates(g)) ++g;
  return g;
}

// The plain recursive transform of a convolution's kernel: runs once per plan.
inline std::vector<Complex> Spectrum(const std::vector<double>& x) {
  const auto transform = [](auto& self, const double* in, int64_t step, int64_t n) -> std::vector<Complex> {
    if (n == 1) return {in[0]};
    const int64_t r = PrimeFactors(n).front(), m = n / r;
    std::vector<Complex> out(n), roots(n);
    for (int64_t k = 0; k < n; ++k) roots[k] = Root(k, n);
    for (int64_t j = 0; j < r; ++j) {
      const auto part = self(self, in + j * step, step * r, m);
      for (int64_t k = 0; k < n; ++k) out[k] += roots[j * k % n] * part[k % m];
    }
    return out;
  };
  return transform(transform, x.data(), 1, static_cast<int64_t>(x.size()));
}

inline void FillDense(LargeRadix& large) {
  const int64_t p = large.radix, h = (p - 1) / 2, blocks = (h + kDenseBlock - 1) / kDenseBlock;
  large.table.resize(static_cast<size_t>(blocks * h * 2 * kDenseBlock));
  float* entry = large.table.data();
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t j = 1; j <= h; ++j, entry += 2 * kDenseBlock)
      for (int64_t i = 0; i < kDenseBlock; ++i) {
        const Complex root = Root((block * kDenseBlock + i + 1) * j, p);
        entry[i] = static_cast<float>(root.real());
        entry[kDenseBlock + i] = static_cast<float>(-root.imag());
      }
}

inline void FillRader(LargeRadix& large) {
  const int64_t p = large.radix, g = Generator(p), inverse = PowerModulo(g, p - 2, p);
  const int64_t length = RaderLength(p);
  large.convolution = PlanDft(length);
  std::vector<double> kernel(static_cast<size_t>(length));
  for (int64_t t = 0, power = 1, reciprocal = 1; t < p - 1; ++t) {
    large.gather.push_back(static_cast<int32_t>(power));
    large.scatter.push_back(static_cast<int32_t>(reciprocal));
    const Complex root = Root(reciprocal, p);
    const double cas = root.real() - root.imag();
    kernel[t] = cas;
    // A padded convolution reads the kernel circularly: what stands at t - (p - 1) stands at the end as well.
    if (length > p - 1 && t > 0) kernel[length - (p - 1) + t] = cas;
    power = power * g % p;
    reciprocal = reciprocal * inverse % p;
  }
  const std::vector<Complex> spectrum = Spectrum(kernel);
  large.kernel.resize(static_cast<size_t>(length));
  for (int64_t f = 0; f <= length / 2; ++f) {
    const DftBin& bin = large.convolution->bins[f];
    const Complex kept = bin.conjugate ? std::conj(spectrum[f]) : spectrum[f];
    const Complex value = kept / static_cast<double>(length);
    large.kernel[bin.re] = static_cast<float>(value.real());
    if (bin.im >= 0) large.kernel[bin.im] = static_cast<float>(value.imag());
  }
}

inline std::unique_ptr<LargeRadix> PlanLarge(int64_t p) {
  auto large = std::make_unique<LargeRadix>();
  large->radix = p;
  DenseCost(p) <= RaderCost(p) ? FillDense(*large) : FillRader(*large);
  return large;
}

// Two parts of a complex butterfly, then what one real transform needs.
inline int64_t ScratchRows(const LargeRadix& large) {
  const DftPlan* convolution = large.convolution.get();
  return 2 * large.radix + (convolution ? convolution->length + convolution->scratch_rows : large.radix - 1);
}

struct Component {  // of a spectrum between two stages
  int64_t frequency;
  int64_t re;
  int64_t im;
};

}  // namespace dft

inline std::unique_ptr<DftPlan> PlanDft(int64_t length) {
  auto plan = std::make_unique<DftPlan>();
  plan->length = length;
  std::vector<dft::Component> pairs;
  int64_t nyquist = -1, rows = length, joined = 1;  // rows per component; m
  for (int64_t r : dft::Radices(length)) {
    DftStage& stage = plan->stages.emplace_back();
    stage.radix = r;
    stage.stride = rows / r;
    stage.nyquist = nyquist;
    if (r > kMaxSmallRadix) {
      stage.large = dft::PlanLarge(r);
      plan->scratch_rows = std::max(plan->scratch_rows, dft::ScratchRows(*stage.large));
    }
    const int64_t s = stage.stride;
    std::vector<dft::Component> next;
    for (int64_t q = 1; 2 * q < r; ++q) next.push_back({joined * q, q * s, (r - q) * s});
    if (nyquist >= 0)
      for (int64_t q = 0; 2 * q < r; ++q)
        next.push_back({joined / 2 + joined * q, nyquist + q * s, nyquist + (r - 1 - q) * s});
    for (const dft::Component& pair : pairs) {
      stage.pairs.push_back({static_cast<int32_t>(pair.re), static_cast<int32_t>(pair.im),
                             static_cast<int64_t>(stage.twiddles.size())});
      for (int64_t j = 1; j < r; ++j) {
        const dft::Complex root = dft::Root(pair.frequency * j, joined * r);
        stage.twiddles.push_back(static_cast<float>(root.real()));
        stage.twiddles.push_back(static_cast<float>(root.imag()));
      }
      for (int64_t q = 0; q < r; ++q)
        next.push_back({pair.frequency + joined * q, pair.re + q * s, pair.im + q * s});
    }
    nyquist = r % 2 == 0 ? r / 2 * s : -1;
    pairs = std::move(next);
    joined *= r;
    rows = s;
  }
  plan->bins.assign(static_cast<size_t>(length / 2 + 1), DftBin{0, -1, false});
  if (nyquist >= 0) plan->bins.back().re = static_cast<int32_t>(nyquist);
  for (const dft::Component& pair : pairs) {
    const bool conjugate = 2 * pair.frequency > length;
    plan->bins[conjugate ? length - pair.frequency : pair.frequency] = {
        static_cast<int32_t>(pair.re), static_cast<int32_t>(pair.im), conjugate};
  }
  return plan;
}

}  // namespace kairos
