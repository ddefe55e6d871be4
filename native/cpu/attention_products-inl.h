// The products of attention: a tile of queries, or few of them, with packed keys or rows where they lie.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_ATTENTION_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_ATTENTION_PRODUCTS_INL_H_
#undef KAIROS_CPU_ATTENTION_PRODUCTS_INL_H_
#else
#define KAIROS_CPU_ATTENTION_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/gemm-inl.h"
#include "cpu/rows-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE::attention {

inline constexpr int64_t kKeyTile = 128;
inline constexpr int64_t kQueryTile = gemm::kTileRows;

inline int64_t PanelFloats(int64_t depth, int64_t columns) {
  return depth * ((columns + gemm::kTileColumns - 1) / gemm::kTileColumns) * gemm::kTileColumns;
}

// A right factor: kTileColumns columns after the other, packed or where they lie.
struct Panels {
  const float* data = nullptr;
  int64_t row_step = 0, panel_step = 0;
  Panels From(int64_t row) const { return {data + row * row_step, row_step, panel_step}; }
};

// Rows of one head that a product takes as columns: packed so, or met one by one in dot products.
struct Columns {
  const float* rows = nullptr;
  int64_t step = 0, width = 0;
  Panels packed;  // [width, count]; without data where rows are met one by one
};

inline Columns Transposed(const float* rows, int64_t step, int64_t width, int64_t count, bool few,
                          float* pack) {
  if (few) return {rows, step, width, {}};
  gemm::PackB({rows, 1, step}, width, count, pack);
  return {rows, step, width, {pack, gemm::kTileColumns, width * gemm::kTileColumns}};
}

// The rows of one head, [count, width], packed where as many rows of the left factor repay it.
inline Panels Rows(const float* from, int64_t step, int64_t count, int64_t width, int64_t left, float* pack) {
  const gemm::Operand rows{from, step, 1};
  if (!gemm::PacksB(rows, left, width)) return {from, step, gemm::kTileColumns};
  gemm::PackB(rows, count, width, pack);
  return {pack, gemm::kTileColumns, count * gemm::kTileColumns};
}

// c[rows, columns] = a[rows, depth] b, or += with `add`.
inline void Product(const gemm::Operand& a, const Panels& b, int64_t depth, int64_t rows, int64_t columns,
                    float* c, int64_t c_step, bool add) {
  const float* panel = b.data;
  for (int64_t column = 0; column < columns; column += gemm::kTileColumns, panel += b.panel_step) {
    gemm::TileTask task{};
    task.a = a;
    task.b = panel;
    task.b_step = b.row_step;
    task.depth = depth;
    task.c = c + column;
    task.c_step = c_step;
    task.start = add ? task.c : nullptr;
    task.start_step = c_step;
    gemm::MultiplyPanel(task, kQueryTile * a.row_step, rows,
                        std::min<int64_t>(gemm::kTileColumns, columns - column));
  }
}

HWY_INLINE float Dot(const float* a, const float* b, int64_t count) {
  const FloatTag d;
  FloatVector sum = hn::Zero(d);
  ForVectors(count, [&](int64_t i, size_t live)
                        HWY_ATTR { sum = hn::MulAdd(Load(d, a + i, live), Load(d, b + i, live), sum); });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

#if HWY_TARGET != HWY_SCALAR
// The sum of a vector's blocks of four lanes.
template <class D>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> SumOfBlocks(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return SumOfBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

// The sums of four vectors' lanes.
HWY_INLINE void SumFour(FloatVector s0, FloatVector s1, FloatVector s2, FloatVector s3, float* to) {
  const FloatTag d;
#if HWY_TARGET == HWY_SCALAR
  const FloatVector sums[] = {s0, s1, s2, s3};
  for (int i = 0; i < 4; ++i) to[i] = hn::GetLane(hn::SumOfLanes(d, sums[i]));
#else
  const hn::RepartitionToWide<FloatTag> pair;
  const auto join = [=](FloatVector a, FloatVector b) HWY_ATTR {
    return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  };
  const auto low = hn::BitCast(pair, join(s0, s1)), high = hn::BitCast(pair, join(s2, s3));
  // Each block of four lanes has a share of each sum.
  const auto shares = hn::Add(hn::BitCast(d, hn::InterleaveLower(pair, low, high)),
                              hn::BitCast(d, hn::InterleaveUpper(pair, low, high)));
  hn::StoreU(SumOfBlocks(d, shares), hn::CappedTag<float, 4>(), to);
#endif
}

// Few queries wait for memory: while they meet a tile of keys the next one is fetched.
HWY_INLINE void FetchAhead(const float* row, int64_t step) { hwy::Prefetch(row + kKeyTile * step); }

// to[j] = x . (row j), for `count` rows, four at a time.
inline void Dots(const float* x, const Columns& b, int64_t count, float* to) {
  const FloatTag d;
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    const float *r0 = b.rows + j * b.step, *r1 = r0 + b.step, *r2 = r1 + b.step, *r3 = r2 + b.step;
    FloatVector s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    ForVectors(b.width, [&](int64_t i, size_t live) HWY_ATTR {
      const FloatVector v = Load(d, x + i, live);
      for (const float* row : {r0, r1, r2, r3}) FetchAhead(row + i, b.step);
      s0 = hn::MulAdd(v, Load(d, r0 + i, live), s0);
      s1 = hn::MulAdd(v, Load(d, r1 + i, live), s1);
      s2 = hn::MulAdd(v, Load(d, r2 + i, live), s2);
      s3 = hn::MulAdd(v, Load(d, r3 + i, live), s3);
    });
    SumFour(s0, s1, s2, s3, to + j);
  }
  for (; j < count; ++j) to[j] = Dot(x, b.rows + j * b.step, b.width);
}

// y[width] = the sum of weights[j] (row j), for `count` rows, or += with `add`.
inline void WeightedSum(const float* weights, const float* rows, int64_t step, int64_t count, int64_t width,
                        float* y, bool add) {
  const FloatTag d;
  ForVectors(width, [&](int64_t i, size_t live) HWY_ATTR {
    const float* row = rows + i;
    // Four sums: additions to one would wait for each other.
    FloatVector s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    int64_t j = 0;
    for (; j + 4 <= count; j += 4, row += 4 * step) {
      for (int64_t ahead = 0; ahead < 4; ++ahead) FetchAhead(row + ahead * step, step);
      s0 = hn::MulAdd(hn::Set(d, weights[j]), Load(d, row, live), s0);
      s1 = hn::MulAdd(hn::Set(d, weights[j + 1]), Load(d, row + step, live), s1);
      s2 = hn::MulAdd(hn::Set(d, weights[j + 2]), Load(d, row + 2 * step, live), s2);
      s3 = hn::MulAdd(hn::Set(d, weights[j + 3]), Load(d, row + 3 * step, live), s3);
    }
    for (; j < count; ++j, row += step) s0 = hn::MulAdd(hn::Set(d, weights[j]), Load(d, row, live), s0);
    s0 = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
    Store(add ? hn::Add(Load(d, y + i, live), s0) : s0, d, y + i, live);
  });
}

// c[rows, count] = a[rows, width] b.
inline void Product(const float* a, int64_t a_step, const Columns& b, int64_t rows, int64_t count, float* c,
                    int64_t c_step) {
  if (b.packed.data != nullptr)
    return Product({a, a_step, 1}, b.packed, b.width, rows, count, c, c_step, false);
  for (int64_t row = 0; row < rows; ++row) Dots(a + row * a_step, b, count, c + row * c_step);
}

}  // namespace kairos::HWY_NAMESPACE::attention
HWY_AFTER_NAMESPACE();

#endif  // include guard
