// Rows of floats on vectors: loads and stores of live elements only, sums that stay exact over long rows.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_ROWS_INL_H_
#undef KAIROS_CPU_ROWS_INL_H_
#else
#define KAIROS_CPU_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cpu/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;

// Elsewhere Highway's masked loads and stores touch the whole vector.
inline constexpr bool kMasksAreSafe = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2;

// The first `count` lanes from memory, `otherwise` in the others.
HWY_INLINE FloatVector LoadPart(FloatTag d, const float* from, size_t count, float otherwise = 0) {
  if constexpr (kMasksAreSafe) {
    const auto live = hn::FirstN(d, count);
    return hn::IfThenElse(live, hn::MaskedLoad(live, d, from), hn::Set(d, otherwise));
  }
  float lanes[hn::MaxLanes(FloatTag())];
  for (size_t i = 0; i < hn::Lanes(d); ++i) lanes[i] = i < count ? from[i] : otherwise;
  return hn::LoadU(d, lanes);
}

HWY_INLINE void StorePart(FloatVector v, FloatTag d, float* to, size_t count) {
  if constexpr (kMasksAreSafe) return hn::BlendedStore(v, hn::FirstN(d, count), d, to);
  float lanes[hn::MaxLanes(FloatTag())];
  hn::StoreU(v, d, lanes);
  for (size_t i = 0; i < count; ++i) to[i] = lanes[i];
}

// Calls visit(i, live) for each vector of [0, count): `live` lanes from element i on.
template <class Visit>
HWY_INLINE void ForVectors(int64_t count, Visit visit) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) visit(i, static_cast<size_t>(lanes));
  if (i < count) visit(i, static_cast<size_t>(count - i));
}

HWY_INLINE FloatVector Load(FloatTag d, const float* from, size_t live, float otherwise = 0) {
  return HWY_LIKELY(live == hn::Lanes(d)) ? hn::LoadU(d, from) : LoadPart(d, from, live, otherwise);
}

HWY_INLINE void Store(FloatVector v, FloatTag d, float* to, size_t live) {
  if (HWY_LIKELY(live == hn::Lanes(d)))
    hn::StoreU(v, d, to);
  else
    StorePart(v, d, to, live);
}

// Sums of term(i, live) over [0, count), kTerms at once. Terms must be zero in lanes that are not live. Float
// within blocks, double across them: 32 additions a lane lose little, however long the row. Vectors go to four sums
// by turns, or each addition would wait for the one before.
template <size_t kTerms, class Term>
HWY_INLINE void SumRow(int64_t count, double (&sums)[kTerms], Term term) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t block = 4 * 32 * lanes;
  for (double& sum : sums) sum = 0;
  for (int64_t begin = 0; begin < count; begin += block) {
    FloatVector partial[4][kTerms];
    for (auto& vectors : partial)
      for (FloatVector& vector : vectors) vector = hn::Zero(d);
    const int64_t end = HWY_MIN(begin + block, count);
    int64_t i = begin;
    for (; i + 4 * lanes <= end; i += 4 * lanes)
#pragma GCC unroll 4
      for (int turn = 0; turn < 4; ++turn) term(i + turn * lanes, static_cast<size_t>(lanes), partial[turn]);
    for (; i < end; i += lanes) term(i, static_cast<size_t>(HWY_MIN(lanes, end - i)), partial[0]);
    for (size_t t = 0; t < kTerms; ++t) {
      const FloatVector front = hn::Add(partial[0][t], partial[1][t]),
                        back = hn::Add(partial[2][t], partial[3][t]);
      sums[t] += hn::GetLane(hn::SumOfLanes(d, hn::Add(front, back)));
    }
  }
}

// The greatest element. Lets NaN fall: whoever subtracts the maximum meets it anyway.
HWY_INLINE float MaxRow(const float* x, int64_t count) {
  const FloatTag d;
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  FloatVector most = hn::Set(d, kLeast), second = most;
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    most = hn::Max(most, hn::LoadU(d, x + i));
    second = hn::Max(second, hn::LoadU(d, x + i + lanes));
  }
  for (; i < count; i += lanes)
    most = hn::Max(most, Load(d, x + i, static_cast<size_t>(HWY_MIN(lanes, count - i)), kLeast));
  most = hn::Max(most, second);
  // Not MaxOfLanes: one target's starts from the least finite value.
  float each[hn::MaxLanes(FloatTag())];
  hn::StoreU(most, d, each);
  return *std::max_element(each, each + lanes);
}

// The sum of exp(x - most), leaving the terms in `terms` unless it is null. Terms of the maximum, all 1,
// are added last: the small ones decide the logarithm of a sum near 1.
HWY_INLINE double SumExp(const float* x, float most, int64_t count, float* terms) {
  const FloatTag d;
  double sums[2];
  SumRow(count, sums, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    const FloatVector shift = hn::Set(d, most);
    const FloatVector from = Load(d, x + i, live, -std::numeric_limits<float>::infinity());
    FloatVector term = math::ExpOfSmall(d, hn::Sub(from, shift));
    if (terms != nullptr) Store(term, d, terms + i, live);
    // Were the maximum minus infinity, lanes that are not live would be NaN.
    if (live < hn::Lanes(d)) term = hn::IfThenElseZero(hn::FirstN(d, live), term);
    const auto greatest = hn::Eq(from, shift);
    partial[0] = hn::Add(partial[0], hn::IfThenZeroElse(greatest, term));
    partial[1] = hn::Add(partial[1], hn::IfThenElseZero(greatest, term));
  });
  return sums[1] + sums[0];
}

// Rows that a thread should get at least: about eight thousand elements' work.
inline int64_t RowGrain(int64_t count) { return 1 + 8192 / (count + 1); }

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
