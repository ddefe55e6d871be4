// One rectangle of a product on one thread, c = bias + a b, register tiled after Goto and van de Geijn:
//
//   n  in steps of kColumnBlock   columns of b
//   k  in steps of kDepth         packed into panels that stay in L2
//   m  in steps of kRowBlock      rows of a, read where they lie
//   n  in steps of kTileColumns   a panel
//   m  in steps of kTileRows      a tile of c, held in registers over kDepth products
//
// An element's products are always added in order of k, in blocks that depend on k alone, so its bits depend
// neither on the tile or thread that computes it nor on the sizes m and n.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_GEMM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_GEMM_INL_H_
#undef KAIROS_CPU_GEMM_INL_H_
#else
#define KAIROS_CPU_GEMM_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "cpu/rows-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE::gemm {

// With 32 registers 24 hold the tile; with 16, twelve.
#if HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64
inline constexpr int kTileVectors = 4;
#else
inline constexpr int kTileVectors = 2;
#endif
inline constexpr int kLanes = hn::MaxLanes(FloatTag());
inline constexpr int kTileRows = 6;
inline constexpr int kTileColumns = kTileVectors * kLanes;
inline constexpr int64_t kDepth = 512;
inline constexpr int64_t kColumnBlock = 256;
inline constexpr int64_t kRowBlock = 16 * kTileRows;
// Tiles of packed a start a line further each, or they would all compete for the same sets of the cache.
inline constexpr int64_t kTileGap = 16;
inline constexpr size_t kPackedB = kDepth * kColumnBlock;
inline constexpr size_t kPackedA = (kDepth * kTileRows + kTileGap) * kRowBlock / kTileRows;
inline constexpr size_t kPackFloats = kPackedB + kPackedA;
static_assert(kColumnBlock % kTileColumns == 0);

// Element (i, j) is data[i * row_step + j * column_step]; one of the steps is 1.
struct Operand {
  const float* data;
  int64_t row_step;
  int64_t column_step;
  const float* At(int64_t row, int64_t column) const { return data + row * row_step + column * column_step; }
};

struct Rectangle {
  int64_t row_begin, row_end, column_begin, column_end;
};

struct TileTask {
  Operand a;
  const float* b;
  int64_t b_step;  // from one row of b to the next
  int64_t depth;
  float* c;
  int64_t c_step;
  const float* start;  // what to add: c itself, the bias, or null
  int64_t start_step;  // from one row of it to the next
  int rows;            // live rows, 1 .. kRows
  size_t last;         // live lanes of the last vector
};

template <int kRows, int kVectors, bool kPartial>
void Tile(const TileTask& task) {
  const FloatTag d;
  const auto live = hn::FirstN(d, task.last);
  // Rows beyond the live ones repeat the last: computed, never stored.
  const float* a[kRows];
  for (int i = 0; i < kRows; ++i) a[i] = task.a.At(std::min(i, task.rows - 1), 0);

  FloatVector c[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) c[i][j] = hn::Zero(d);

  const float* b = task.b;
  int64_t offset = 0;
#pragma GCC unroll 4
  for (int64_t k = 0; k < task.depth; ++k, b += task.b_step, offset += task.a.column_step) {
    FloatVector row[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      if (kPartial && kMasksAreSafe && j == kVectors - 1)
        row[j] = hn::MaskedLoad(live, d, b + j * kLanes);
      else
        row[j] = hn::LoadU(d, b + j * kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const FloatVector x = hn::Set(d, a[i][offset]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) c[i][j] = hn::MulAdd(x, row[j], c[i][j]);
    }
  }

#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    if (i >= task.rows) break;
    float* to = task.c + i * task.c_step;
    const float* start = task.start + i * task.start_step;
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      const size_t lanes = kPartial && j == kVectors - 1 ? task.last : kLanes;
      if (task.start != nullptr) c[i][j] = hn::Add(c[i][j], Load(d, start + j * kLanes, lanes));
      Store(c[i][j], d, to + j * kLanes, lanes);
    }
  }
}

using TileFunction = void (*)(const TileTask&);

// By rows (1, 2, 4, 6), vectors and whether the last vector is partial.
struct TileTable {
  TileFunction of[4][kTileVectors][2];
};

template <int kRows, int... kIndex>
constexpr void FillTiles(TileFunction (&of)[kTileVectors][2], std::integer_sequence<int, kIndex...>) {
  ((of[kIndex][0] = Tile<kRows, kIndex + 1, false>, of[kIndex][1] = Tile<kRows, kIndex + 1, true>), ...);
}

constexpr TileTable MakeTiles() {
  TileTable table{};
  constexpr std::make_integer_sequence<int, kTileVectors> kVectors;
  FillTiles<1>(table.of[0], kVectors);
  FillTiles<2>(table.of[1], kVectors);
  FillTiles<4>(table.of[2], kVectors);
  FillTiles<kTileRows>(table.of[3], kVectors);
  return table;
}

inline constexpr TileTable kTiles = MakeTiles();

#if HWY_TARGET != HWY_SCALAR
// Blocks of four floats, `step` apart.
template <class D>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const float* from, int64_t step) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    constexpr int64_t kBlocks = hn::MaxLanes(half) / 4;
    return hn::Combine(d, LoadBlocks(half, from + kBlocks * step, step), LoadBlocks(half, from, step));
  }
}
#endif

// As many rows of four as `d` has lanes become four rows of as many.
template <class D>
HWY_INLINE void TransposeFour([[maybe_unused]] D d, const float* from, int64_t from_step, float* to,
                              int64_t to_step) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) to[j * to_step + i] = from[i * from_step + j];
#else
  const hn::RepartitionToWide<D> pair;
  const auto row = [=](int i) HWY_ATTR { return LoadBlocks(d, from + i * from_step, 4 * from_step); };
  const auto a = row(0), b = row(1), e = row(2), f = row(3);
  const auto low_ab = hn::BitCast(pair, hn::InterleaveLower(d, a, b));
  const auto low_ef = hn::BitCast(pair, hn::InterleaveLower(d, e, f));
  const auto high_ab = hn::BitCast(pair, hn::InterleaveUpper(d, a, b));
  const auto high_ef = hn::BitCast(pair, hn::InterleaveUpper(d, e, f));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pair, low_ab, low_ef)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pair, low_ab, low_ef)), d, to + to_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pair, high_ab, high_ef)), d, to + 2 * to_step);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pair, high_ab, high_ef)), d, to + 3 * to_step);
#endif
}

// Panels of kTileColumns columns one after the other: panel[k][column]. Lanes beyond the last stay unwritten.
inline void PackB(const Operand& b, int64_t depth, int64_t columns, float* to) {
  for (int64_t first = 0; first < columns; first += kTileColumns, to += depth * kTileColumns) {
    const int64_t width = std::min<int64_t>(kTileColumns, columns - first);
    if (b.column_step == 1) {
      for (int64_t k = 0; k < depth; ++k) {
        const float* from = b.At(k, first);
        float* row = to + k * kTileColumns;
        ForVectors(width, [=](int64_t i, size_t live) HWY_ATTR {
          const FloatTag d;
          Store(Load(d, from + i, live), d, row + i, live);
        });
      }
      continue;
    }
    const int64_t quads = width / 4 * 4, deep = depth / 4 * 4;
    // A cache line of each row at a time: rows may lie a power of two apart, so that few of their lines stay in L1.
    constexpr int64_t kLine = 16;
    for (int64_t line = 0; line < deep; line += kLine) {
      const int64_t stop = std::min(line + kLine, deep);
      int64_t n = 0;
      const auto transpose = [&](auto d) HWY_ATTR {
        for (int64_t k = line; k < stop; k += 4)
          TransposeFour(d, b.At(k, first + n), b.column_step, to + k * kTileColumns + n, kTileColumns);
      };
      for (; kLanes > 4 && n + kLanes <= quads; n += kLanes) transpose(FloatTag());
      for (; n < quads; n += 4) transpose(hn::CappedTag<float, 4>());
      for (; n < width; ++n)
        for (int64_t k = line; k < stop; ++k) to[k * kTileColumns + n] = *b.At(k, first + n);
    }
    for (int64_t k = deep; k < depth; ++k)
      for (int64_t n = 0; n < width; ++n) to[k * kTileColumns + n] = *b.At(k, first + n);
  }
}

// Whether to pack b for so many rows of a. Where each row of b is on a page of its own, packing pays sooner.
inline bool PacksB(const Operand& b, int64_t rows, int64_t columns) {
  if (b.column_step != 1) return true;
  if (!kMasksAreSafe && columns % kLanes != 0) return true;
  if (b.row_step <= kTileColumns) return false;
  return rows > (b.row_step <= 1024 ? kRowBlock : 2 * kTileRows);
}

// A transposed, tile by tile: tile[k][row], tiles `step` apart.
inline void PackA(const Operand& a, int64_t rows, int64_t depth, float* to, int64_t step) {
  for (int64_t k = 0; k < depth; ++k) {
    const float* from = a.At(0, k);
    float* tile = to + k * kTileRows;
    // Rows of a far apart are more than the hardware foresees.
    for (int64_t m = 0; m < rows; m += 16) hwy::Prefetch(a.At(m, std::min(k + 8, depth - 1)));
    int64_t m = 0;
    for (; m + kTileRows <= rows; m += kTileRows, tile += step)
      std::memcpy(tile, from + m, kTileRows * sizeof(float));
    if (m < rows) std::memcpy(tile, from + m, static_cast<size_t>(rows - m) * sizeof(float));
  }
}

// A block of rows against one panel.
inline void MultiplyPanel(TileTask task, int64_t a_tile, int64_t rows, int64_t columns) {
  const int64_t vectors = (columns + kLanes - 1) / kLanes;
  task.last = static_cast<size_t>(columns - (vectors - 1) * kLanes);
  const bool partial = task.last < static_cast<size_t>(kLanes);
  while (rows > 0) {
    task.rows = static_cast<int>(std::min<int64_t>(rows, kTileRows));
    const int size = task.rows > 4 ? 3 : task.rows > 2 ? 2 : task.rows - 1;
    kTiles.of[size][vectors - 1][partial](task);
    task.a.data += a_tile;
    task.c += kTileRows * task.c_step;
    if (task.start != nullptr) task.start += kTileRows * task.start_step;
    rows -= kTileRows;
  }
}

// c over the rectangle = bias (or zero) + the products of k in [0, depth); depth > 0, `pack` has kPackFloats.
// `finish(c, rows, columns)` sees each block once it is complete, while it is in L1 or L2. With `adds`, c is what the
// products are added to, and there is no bias. `panels` are all of b, packed by PackB at full depth, or null; the
// rectangle's columns then begin with a panel.
template <class Finish>
void Multiply(const Operand& a, const Operand& b, const float* bias, int64_t depth, float* c, int64_t c_step,
              const Rectangle& r, float* pack, Finish finish, bool adds = false,
              const float* panels = nullptr) {
  const bool packs_b = panels == nullptr && PacksB(b, r.row_end - r.row_begin, r.column_end - r.column_begin);
  // Columns of a that lie apart would meet in a few sets of L1: they are gathered once, not once a tile.
  const bool packs_a = a.column_step > 128;
  // With one block of rows a panel serves once, while it is in L1.
  const bool once = (packs_b || panels) && !packs_a && r.row_end - r.row_begin <= kRowBlock;
  const int64_t column_block = once ? kTileColumns : kColumnBlock;
  for (int64_t n = r.column_begin; n < r.column_end; n += column_block) {
    const int64_t columns = std::min(column_block, r.column_end - n);
    for (int64_t k = 0; k < depth; k += kDepth) {
      const int64_t deep = std::min(kDepth, depth - k);
      if (packs_b) PackB({b.At(k, n), b.row_step, b.column_step}, deep, columns, pack);
      for (int64_t m = r.row_begin; m < r.row_end; m += kRowBlock) {
        const int64_t rows = std::min(kRowBlock, r.row_end - m);
        Operand left{a.At(m, k), a.row_step, a.column_step};
        int64_t a_tile = kTileRows * a.row_step;
        if (packs_a) {
          a_tile = deep * kTileRows + kTileGap;
          PackA(left, rows, deep, pack + kPackedB, a_tile);
          left = {pack + kPackedB, 1, kTileRows};
        }
        for (int64_t column = 0; column < columns; column += kTileColumns) {
          TileTask task{};
          task.a = left;
          task.b = panels    ? panels + (n + column) * depth + k * kTileColumns
                   : packs_b ? pack + column * deep
                             : b.At(k, n + column);
          task.b_step = panels || packs_b ? kTileColumns : b.row_step;
          task.depth = deep;
          task.c = c + m * c_step + n + column;
          task.c_step = c_step;
          const bool onto = adds || k > 0;
          task.start = onto ? task.c : bias ? bias + n + column : nullptr;
          task.start_step = onto ? c_step : 0;
          const int64_t width = std::min<int64_t>(kTileColumns, columns - column);
          MultiplyPanel(task, a_tile, rows, width);
          if (k + deep == depth) finish(task.c, rows, width);
        }
      }
    }
  }
}

}  // namespace kairos::HWY_NAMESPACE::gemm
HWY_AFTER_NAMESPACE();

#endif  // include guard
