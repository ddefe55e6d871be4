// Rows of a table by slot, as elements one after another: out of the table into a tile of a chain, and back.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_TABLE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_TABLE_ROWS_INL_H_
#undef KAIROS_CPU_TABLE_ROWS_INL_H_
#else
#define KAIROS_CPU_TABLE_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/sum_rows-inl.h"
#include "runtime/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {

constexpr int64_t kRowsAhead = 32;  // between a prefetch and its use

// Pieces of rows that make up elements [begin, begin + count) of the rows at `slots`: piece(row of the table, column,
// length, elements before it).
template <class Piece>
HWY_INLINE void ForRowPieces(const int32_t* slots, int64_t row, int64_t begin, int64_t count, Piece piece) {
  int64_t at = begin / row, column = begin % row;
  for (int64_t done = 0; done < count; ++at, column = 0) {
    const int64_t length = std::min(row - column, count - done);
    piece(at, slots[at], column, length, done);
    done += length;
  }
}

// Rows outside the table are left as they are, whatever is computed for them.
inline void GatherRows(const TensorView& table, const int32_t* slots, int64_t slot_count, int64_t row,
                       int64_t begin, int64_t count, uint32_t* to) {
  const uint32_t* from = table.As<const uint32_t>();
  const auto inside = [rows = table.shape[0]](int32_t slot) { return slot >= 0 && slot < rows; };
  ForRowPieces(slots, row, begin, count,
               [&](int64_t at, int32_t slot, int64_t column, int64_t length, int64_t done) {
                 const int32_t later = slots[std::min(at + kRowsAhead, slot_count - 1)];
                 if (inside(later)) PrefetchRow(from + later * row, row * 4);
                 if (inside(slot))
                   std::memcpy(to + done, from + slot * row + column, length * 4);
                 else
                   std::memset(to + done, 0, length * 4);
               });
}

inline void ScatterRows(const uint32_t* from, const int32_t* slots, int64_t row, int64_t begin, int64_t count,
                        const TensorView& table) {
  uint32_t* to = table.As<uint32_t>();
  ForRowPieces(slots, row, begin, count,
               [&](int64_t, int32_t slot, int64_t column, int64_t length, int64_t done) {
                 if (slot >= 0 && slot < table.shape[0])
                   std::memcpy(to + slot * row + column, from + done, length * 4);
               });
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
