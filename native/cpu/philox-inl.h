// Random words on vectors, the same stream as runtime/philox.h gives block by block.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_PHILOX_INL_H_
#undef KAIROS_CPU_PHILOX_INL_H_
#else
#define KAIROS_CPU_PHILOX_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "runtime/philox.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Words that one round of vectors gives: DrawWords writes a multiple of as many.
inline constexpr int64_t kDrawnAtOnce = 4 * hn::MaxLanes(hn::ScalableTag<uint64_t>());

// The words of blocks from `block` on, in order, `count` of them rounded up to kDrawnAtOnce. The widest targets
// hold one block per 64-bit lane: a counter word lies in a lane's low half, where MulEven reads it and ignores
// what drifts into the high half.
inline void DrawWords(PhiloxKey first_key, uint32_t step, uint64_t block, int64_t count, uint32_t* words) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < count; i += 4, ++block) {
    const auto four =
        Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), step, 0}, first_key);
    std::copy_n(four.data(), 4, words + i);
  }
#else
  const hn::ScalableTag<uint64_t> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  const auto multiply = [d32](auto word, uint32_t by)
                            HWY_ATTR { return hn::MulEven(hn::BitCast(d32, word), hn::Set(d32, by)); };
  const auto low = hn::Set(d, uint64_t{0xFFFFFFFF});
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += 4 * lanes, block += lanes) {
    const auto blocks = hn::Add(hn::Set(d, block), hn::Iota(d, 0));
    auto c0 = blocks, c1 = hn::ShiftRight<32>(blocks), c2 = hn::Set(d, uint64_t{step}), c3 = hn::Zero(d);
    PhiloxKey key = first_key;
    for (int round = 0; round < kPhiloxRounds; ++round, key = key.Next()) {
      const auto a = multiply(c0, kPhiloxMultipliers[0]), b = multiply(c2, kPhiloxMultipliers[1]);
      c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(b), c1), hn::Set(d, uint64_t{key.low}));
      c1 = b;
      c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(a), c3), hn::Set(d, uint64_t{key.high}));
      c3 = a;
    }
    const auto front = hn::Or(hn::And(c0, low), hn::ShiftLeft<32>(c1));
    const auto back = hn::Or(hn::And(c2, low), hn::ShiftLeft<32>(c3));
    hn::StoreInterleaved2(front, back, d, reinterpret_cast<uint64_t*>(words + i));
  }
#endif
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
