// Runs the plans of dft.h on tiles: rows of one vector, one transform per lane. Included per CPU variant.
#if defined(KAIROS_DFT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_DFT_INL_H
#undef KAIROS_DFT_INL_H
#else
#define KAIROS_DFT_INL_H
#endif

#include "cpu/butterfly-inl.h"
#include "cpu/dft.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

HWY_INLINE size_t TileLanes() { return hn::Lanes(F32()); }

// Rows of one vector each, `step` floats apart: a tile, or a column block of a tensor.
struct Rows {
  float* data;
  size_t step;

  HWY_INLINE V Get(size_t row) const { return hn::LoadU(F32(), data + row * step); }
  HWY_INLINE void Put(size_t row, V value) const { hn::StoreU(value, F32(), data + row * step); }
  Rows From(size_t row, size_t every = 1) const { return {data + row * step, step * every}; }
};

template <int r>
HWY_INLINE void LoadAll(V (&x)[r], Rows from, size_t row, size_t stride) {
  KAIROS_UNROLL for (int j = 0; j < r; ++j) x[j] = from.Get(row + static_cast<size_t>(j) * stride);
}
template <int r>
HWY_INLINE void StoreAll(const V (&x)[r], Rows to, size_t row, size_t stride) {
  KAIROS_UNROLL for (int j = 0; j < r; ++j) to.Put(row + static_cast<size_t>(j) * stride, x[j]);
}
template <int r, bool kConjugate>
HWY_INLINE void Twiddle(V (&re)[r], V (&im)[r], const float* twiddles) {
  KAIROS_UNROLL for (int j = 1; j < r; ++j) {
    const V wr = hn::Set(F32(), twiddles[2 * j - 2]), wi = hn::Set(F32(), twiddles[2 * j - 1]);
    if constexpr (kConjugate) {
      MultiplyConjugate(re[j], im[j], wr, wi);
    } else {
      MultiplyComplex(re[j], im[j], wr, wi);
    }
  }
}

// -----------------------------------------------------------------------------------------------------------
// Stages of small radix. `from` and `to` are the same rows or do not overlap.

template <int r>
void ForwardStage(const DftStage& stage, Rows from, Rows to) {
  const size_t s = static_cast<size_t>(stage.stride);
  for (size_t n = 0; n < s; ++n) {
    V x[r];
    LoadAll(x, from, n, s);
    Butterfly<r>::Real(x);
    StoreAll(x, to, n, s);
  }
  if (stage.nyquist >= 0) {
    const size_t row = static_cast<size_t>(stage.nyquist);
    for (size_t n = row; n < row + s; ++n) {
      V x[r];
      LoadAll(x, from, n, s);
      Butterfly<r>::Shifted(x);
      StoreAll(x, to, n, s);
    }
  }
  for (const DftPair& pair : stage.pairs) {
    const float* twiddles = stage.twiddles.data() + pair.twiddles;
    const Rows re_from = from.From(pair.re), im_from = from.From(pair.im);
    const Rows re_to = to.From(pair.re), im_to = to.From(pair.im);
    for (size_t n = 0; n < s; ++n) {
      V re[r], im[r];
      LoadAll(re, re_from, n, s);
      LoadAll(im, im_from, n, s);
      Twiddle<r, false>(re, im, twiddles);
      Butterfly<r>::Complex(re, im);
      StoreAll(re, re_to, n, s);
      StoreAll(im, im_to, n, s);
    }
  }
}

template <int r>
void InverseStage(const DftStage& stage, Rows from, Rows to) {
  const size_t s = static_cast<size_t>(stage.stride);
  for (size_t n = 0; n < s; ++n) {
    V x[r];
    LoadAll(x, from, n, s);
    Butterfly<r>::InverseReal(x);
    StoreAll(x, to, n, s);
  }
  if (stage.nyquist >= 0) {
    const size_t row = static_cast<size_t>(stage.nyquist);
    for (size_t n = row; n < row + s; ++n) {
      V x[r];
      LoadAll(x, from, n, s);
      Butterfly<r>::InverseShifted(x);
      StoreAll(x, to, n, s);
    }
  }
  for (const DftPair& pair : stage.pairs) {
    const float* twiddles = stage.twiddles.data() + pair.twiddles;
    const Rows re_from = from.From(pair.re), im_from = from.From(pair.im);
    const Rows re_to = to.From(pair.re), im_to = to.From(pair.im);
    for (size_t n = 0; n < s; ++n) {
      V re[r], im[r];
      LoadAll(re, re_from, n, s);
      LoadAll(im, im_from, n, s);
      Butterfly<r>::Complex(im, re);
      Twiddle<r, true>(re, im, twiddles);
      StoreAll(re, re_to, n, s);
      StoreAll(im, im_to, n, s);
    }
  }
}

constexpr int64_t kMaxFusedRadix = 8;  // beyond, registers do not suffice

// The last stage, the filter and the first inverse stage without leaving registers. A filter has
//   Real(row, x)                    on DC and Nyquist
//   Complex(re_row, im_row, re, im) on every other frequency, in the plan's final row order
template <int r, class Filter>
void FilterStage(const DftStage& stage, Rows from, Rows to, Filter& filter) {
  {
    V x[r];
    LoadAll(x, from, 0, 1);
    Butterfly<r>::Real(x);
    x[0] = filter.Real(0, x[0]);
    KAIROS_UNROLL for (int q = 1; 2 * q < r; ++q) filter.Complex(q, r - q, x[q], x[r - q]);
    if constexpr (r % 2 == 0) x[r / 2] = filter.Real(r / 2, x[r / 2]);
    Butterfly<r>::InverseReal(x);
    StoreAll(x, to, 0, 1);
  }
  if (stage.nyquist >= 0) {
    const size_t row = static_cast<size_t>(stage.nyquist);
    V x[r];
    LoadAll(x, from, row, 1);
    Butterfly<r>::Shifted(x);
    KAIROS_UNROLL for (int q = 0; 2 * q < r - 1; ++q)
        filter.Complex(row + q, row + r - 1 - q, x[q], x[r - 1 - q]);
    Butterfly<r>::InverseShifted(x);
    StoreAll(x, to, row, 1);
  }
  for (const DftPair& pair : stage.pairs) {
    const float* twiddles = stage.twiddles.data() + pair.twiddles;
    const size_t re_row = static_cast<size_t>(pair.re), im_row = static_cast<size_t>(pair.im);
    V re[r], im[r];
    LoadAll(re, from, re_row, 1);
    LoadAll(im, from, im_row, 1);
    Twiddle<r, false>(re, im, twiddles);
    Butterfly<r>::Complex(re, im);
    KAIROS_UNROLL for (int q = 0; q < r; ++q) filter.Complex(re_row + q, im_row + q, re[q], im[q]);
    Butterfly<r>::Complex(im, re);
    Twiddle<r, true>(re, im, twiddles);
    StoreAll(re, to, re_row, 1);
    StoreAll(im, to, im_row, 1);
  }
}

template <template <int> class Body, class... Args>
HWY_INLINE void WithRadix(int64_t radix, Args&&... args) {
  switch (radix) {
    case 1: return Body<1>::Run(args...);
    case 2: return Body<2>::Run(args...);
    case 3: return Body<3>::Run(args...);
    case 4: return Body<4>::Run(args...);
    case 5: return Body<5>::Run(args...);
    case 7: return Body<7>::Run(args...);
    case 8: return Body<8>::Run(args...);
    case 11: return Body<11>::Run(args...);
    case 13: return Body<13>::Run(args...);
    case 16: return Body<16>::Run(args...);
  }
}
template <int r>
struct RunForward {
  static void Run(const DftStage& stage, Rows from, Rows to) { ForwardStage<r>(stage, from, to); }
};
template <int r>
struct RunInverse {
  static void Run(const DftStage& stage, Rows from, Rows to) { InverseStage<r>(stage, from, to); }
};
template <int r>
struct RunFilter {
  template <class Filter>
  static void Run(const DftStage& stage, Rows from, Rows to, Filter& filter) {
    if constexpr (r <= kMaxFusedRadix) FilterStage<r>(stage, from, to, filter);
  }
};

void ForwardLarge(const DftStage& stage, Rows from, Rows to, float* scratch);
void InverseLarge(const DftStage& stage, Rows from, Rows to, float* scratch);

// -----------------------------------------------------------------------------------------------------------
// Whole transforms. `tile` holds L rows, `scratch` plan.scratch_rows. The spectrum stands in the tile, in the
// plan's final row order.

void RunStage(const DftStage& stage, Rows from, Rows to, float* scratch) {
  if (stage.large) return ForwardLarge(stage, from, to, scratch);
  WithRadix<RunForward>(stage.radix, stage, from, to);
}
void RunInverseStage(const DftStage& stage, Rows from, Rows to, float* scratch) {
  if (stage.large) return InverseLarge(stage, from, to, scratch);
  WithRadix<RunInverse>(stage.radix, stage, from, to);
}

void ForwardDft(const DftPlan& plan, Rows from, Rows tile, float* scratch) {
  for (const DftStage& stage : plan.stages) {
    RunStage(stage, from, tile, scratch);
    from = tile;
  }
}

void InverseDft(const DftPlan& plan, Rows tile, Rows to, float* scratch) {
  for (size_t i = plan.stages.size(); i-- > 0;)
    RunInverseStage(plan.stages[i], tile, i == 0 ? to : tile, scratch);
}

// Forward, filter, inverse. `from` is read once, `to` is written once; both may be the same rows or the tile.
template <class Filter>
void FilterDft(const DftPlan& plan, Rows from, Rows tile, Rows to, float* scratch, Filter& filter) {
  const size_t last = plan.stages.size() - 1;
  for (size_t i = 0; i < last; ++i) RunStage(plan.stages[i], i == 0 ? from : tile, tile, scratch);
  const Rows in = last == 0 ? from : tile, out = last == 0 ? to : tile;
  if (const DftStage& stage = plan.stages[last]; stage.radix <= kMaxFusedRadix) {
    WithRadix<RunFilter>(stage.radix, stage, in, out, filter);
  } else {
    RunStage(stage, in, tile, scratch);
    for (const DftBin& bin : plan.bins) {
      V re = tile.Get(bin.re);
      if (bin.im < 0) {
        tile.Put(bin.re, filter.Real(bin.re, re));
        continue;
      }
      V im = tile.Get(bin.im);
      filter.Complex(bin.re, bin.im, re, im);
      tile.Put(bin.re, re);
      tile.Put(bin.im, im);
    }
    RunInverseStage(stage, tile, out, scratch);
  }
  for (size_t i = last; i-- > 0;) RunInverseStage(plan.stages[i], tile, i == 0 ? to : tile, scratch);
}

// -----------------------------------------------------------------------------------------------------------
// Large primes. A real transform of length p goes from rows to a packed spectrum (re of q at q, im at p - q).

// u <- [x0 +] sum_j u[j] cos(2 pi j q / p), v <- sum_j v[j] sin(2 pi j q / p): handed to emit(q, even, odd).
template <class Emit>
HWY_INLINE void DenseProduct(const LargeRadix& large, V first, const float* u, const float* v,
                             const Emit& emit) {
  const F32 d;
  const size_t lanes = TileLanes(), h = static_cast<size_t>(large.radix - 1) / 2;
  const float* table = large.table.data();
  for (size_t q = 1; q <= h; q += kDenseBlock) {
    V even[kDenseBlock], odd[kDenseBlock];
    KAIROS_UNROLL for (int i = 0; i < kDenseBlock; ++i) {
      even[i] = first;
      odd[i] = hn::Zero(d);
    }
    for (size_t j = 0; j < h; ++j, table += 2 * kDenseBlock) {
      const V uj = hn::Load(d, u + j * lanes), vj = hn::Load(d, v + j * lanes);
      KAIROS_UNROLL for (int i = 0; i < kDenseBlock; ++i) {
        even[i] = hn::MulAdd(uj, hn::Set(d, table[i]), even[i]);
        odd[i] = hn::MulAdd(vj, hn::Set(d, table[kDenseBlock + i]), odd[i]);
      }
    }
    KAIROS_UNROLL for (size_t i = 0; i < kDenseBlock; ++i) {
      if (q + i <= h) emit(q + i, even[i], odd[i]);
    }
  }
}

struct KernelSpectrum {  // the convolution's filter: the same for every lane
  const float* kernel;
  V sum;  // of the terms, before filtering

  HWY_INLINE V Real(size_t row, V x) {
    if (row == 0) sum = x;
    return hn::Mul(x, hn::Set(F32(), kernel[row]));
  }
  HWY_INLINE void Complex(size_t re_row, size_t im_row, V& re, V& im) const {
    MultiplyComplex(re, im, hn::Set(F32(), kernel[re_row]), hn::Set(F32(), kernel[im_row]));
  }
};

// x[0 .. p-1] -> sum_j x[j] cas(2 pi j q / p). The terms x[g^t] stand in scratch already.
HWY_INLINE void Rader(const LargeRadix& large, V first, Rows to, float* scratch) {
  const DftPlan& plan = *large.convolution;
  const size_t terms = static_cast<size_t>(large.radix - 1), length = static_cast<size_t>(plan.length);
  const Rows tile{scratch, TileLanes()};
  for (size_t t = terms; t < length; ++t) tile.Put(t, hn::Zero(F32()));
  KernelSpectrum filter{large.kernel.data(), hn::Zero(F32())};
  FilterDft(plan, tile, tile, tile, scratch + length * TileLanes(), filter);
  to.Put(0, hn::Add(first, filter.sum));
  for (size_t t = 0; t < terms; ++t) to.Put(large.scatter[t], hn::Add(first, tile.Get(t)));
}

HWY_INLINE void ForwardReal(const LargeRadix& large, Rows from, Rows to, float* scratch) {
  const size_t lanes = TileLanes(), p = static_cast<size_t>(large.radix), h = (p - 1) / 2;
  const V first = from.Get(0);
  if (!large.convolution) {
    const Rows u{scratch, lanes}, v{scratch + h * lanes, lanes};
    V dc = first;
    for (size_t j = 1; j <= h; ++j) {
      const V a = from.Get(j), b = from.Get(p - j), sum = hn::Add(a, b);
      dc = hn::Add(dc, sum);
      u.Put(j - 1, sum);
      v.Put(j - 1, hn::Sub(b, a));
    }
    to.Put(0, dc);
    DenseProduct(large, first, u.data, v.data, [&](size_t q, V even, V odd) HWY_ATTR {
      to.Put(q, even);
      to.Put(p - q, odd);
    });
    return;
  }
  for (size_t t = 0; t < p - 1; ++t) hn::StoreU(from.Get(large.gather[t]), F32(), scratch + t * lanes);
  Rader(large, first, to, scratch);
  const V half = Splat(0.5);
  for (size_t q = 1; q <= h; ++q) {
    const V a = to.Get(q), b = to.Get(p - q);
    to.Put(q, hn::Mul(hn::Add(a, b), half));
    to.Put(p - q, hn::Mul(hn::Sub(b, a), half));
  }
}

HWY_INLINE void InverseReal(const LargeRadix& large, Rows from, Rows to, float* scratch) {
  const size_t lanes = TileLanes(), p = static_cast<size_t>(large.radix), h = (p - 1) / 2;
  const V first = from.Get(0);
  if (!large.convolution) {
    const Rows u{scratch, lanes}, v{scratch + h * lanes, lanes};
    V sum = first;
    for (size_t q = 1; q <= h; ++q) {
      const V re = from.Get(q), im = from.Get(p - q), twice = hn::Add(re, re);
      sum = hn::Add(sum, twice);
      u.Put(q - 1, twice);
      v.Put(q - 1, hn::Add(im, im));
    }
    to.Put(0, sum);
    DenseProduct(large, first, u.data, v.data, [&](size_t j, V even, V odd) HWY_ATTR {
      to.Put(j, hn::Sub(even, odd));
      to.Put(p - j, hn::Add(even, odd));
    });
    return;
  }
  // sum_q (re - im) cas over all q, with re[p - q] = re[q] and im[p - q] = -im[q], is the inverse.
  for (size_t t = 0; t < p - 1; ++t) {
    const size_t q = static_cast<size_t>(large.gather[t]);
    const V re = from.Get(q <= h ? q : p - q), im = from.Get(q <= h ? p - q : q);
    hn::StoreU(q <= h ? hn::Sub(re, im) : hn::Add(re, im), F32(), scratch + t * lanes);
  }
  Rader(large, first, to, scratch);
}

// A complex butterfly is two real ones: DFT(a + i b) = DFT(a) + i DFT(b).
void ForwardLarge(const DftStage& stage, Rows from, Rows to, float* scratch) {
  const LargeRadix& large = *stage.large;
  const size_t lanes = TileLanes();
  const size_t p = static_cast<size_t>(large.radix), s = static_cast<size_t>(stage.stride);
  const Rows a{scratch, lanes}, b{scratch + p * lanes, lanes};
  float* rest = scratch + 2 * p * lanes;
  for (size_t n = 0; n < s; ++n) ForwardReal(large, from.From(n, s), to.From(n, s), rest);
  for (const DftPair& pair : stage.pairs) {
    const float* twiddles = stage.twiddles.data() + pair.twiddles;
    for (size_t n = 0; n < s; ++n) {
      const Rows re_from = from.From(pair.re + n, s), im_from = from.From(pair.im + n, s);
      const Rows re_to = to.From(pair.re + n, s), im_to = to.From(pair.im + n, s);
      for (size_t j = 0; j < p; ++j) {
        V re = re_from.Get(j), im = im_from.Get(j);
        if (j > 0) {
          const V wr = hn::Set(F32(), twiddles[2 * j - 2]), wi = hn::Set(F32(), twiddles[2 * j - 1]);
          MultiplyComplex(re, im, wr, wi);
        }
        a.Put(j, re);
        b.Put(j, im);
      }
      ForwardReal(large, a, a, rest);
      ForwardReal(large, b, b, rest);
      re_to.Put(0, a.Get(0));
      im_to.Put(0, b.Get(0));
      for (size_t q = 1; q <= (p - 1) / 2; ++q) {
        const V a_re = a.Get(q), a_im = a.Get(p - q), b_re = b.Get(q), b_im = b.Get(p - q);
        re_to.Put(q, hn::Sub(a_re, b_im));
        im_to.Put(q, hn::Add(a_im, b_re));
        re_to.Put(p - q, hn::Add(a_re, b_im));
        im_to.Put(p - q, hn::Sub(b_re, a_im));
      }
    }
  }
}

void InverseLarge(const DftStage& stage, Rows from, Rows to, float* scratch) {
  const LargeRadix& large = *stage.large;
  const size_t lanes = TileLanes();
  const size_t p = static_cast<size_t>(large.radix), s = static_cast<size_t>(stage.stride);
  const Rows a{scratch, lanes}, b{scratch + p * lanes, lanes};
  float* rest = scratch + 2 * p * lanes;
  for (size_t n = 0; n < s; ++n) InverseReal(large, from.From(n, s), to.From(n, s), rest);
  for (const DftPair& pair : stage.pairs) {
    const float* twiddles = stage.twiddles.data() + pair.twiddles;
    const V half = Splat(0.5);
    for (size_t n = 0; n < s; ++n) {
      const Rows re_from = from.From(pair.re + n, s), im_from = from.From(pair.im + n, s);
      const Rows re_to = to.From(pair.re + n, s), im_to = to.From(pair.im + n, s);
      a.Put(0, re_from.Get(0));
      b.Put(0, im_from.Get(0));
      for (size_t q = 1; q <= (p - 1) / 2; ++q) {
        const V re = re_from.Get(q), im = im_from.Get(q);
        const V re_minus = re_from.Get(p - q), im_minus = im_from.Get(p - q);
        a.Put(q, hn::Mul(hn::Add(re, re_minus), half));
        a.Put(p - q, hn::Mul(hn::Sub(im, im_minus), half));
        b.Put(q, hn::Mul(hn::Add(im, im_minus), half));
        b.Put(p - q, hn::Mul(hn::Sub(re_minus, re), half));
      }
      InverseReal(large, a, a, rest);
      InverseReal(large, b, b, rest);
      for (size_t j = 0; j < p; ++j) {
        V re = a.Get(j), im = b.Get(j);
        if (j > 0) {
          const V wr = hn::Set(F32(), twiddles[2 * j - 2]), wi = hn::Set(F32(), twiddles[2 * j - 1]);
          MultiplyConjugate(re, im, wr, wi);
        }
        re_to.Put(j, re);
        im_to.Put(j, im);
      }
    }
  }
}

}  // namespace
}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KAIROS_DFT_INL_H
