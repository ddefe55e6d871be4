// gram(J[K, P]) -> J J^T, float32 within blocks of columns and float64 across them.
// gramOfParts is the same where J's rows lie in pieces: operand part * K + row holds a part of a row, of any shape.
//
// Columns are cut into stripes that depend on P alone. A stripe keeps a matrix of its own, and stripes are added in
// order, so the bits do not depend on the number of threads. Within a stripe J is read panel by panel, small enough
// for L2: each pair of row groups meets there, and memory is read once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gram.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_GRAM_CC_
#define KAIROS_CPU_GRAM_CC_
namespace kairos {
namespace {

constexpr int64_t kMostRows = 64;
constexpr int64_t kMostStripes = 64;

Status CheckGram(const CheckContext& context) {
  const TensorSpec& j = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "j", j, DType::kFloat32));
  if (j.shape.rank != 2 || j.shape[0] > kMostRows)
    return Refuse(context, "j", "a matrix of at most 64 rows", j.shape.ToString());
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, {j.shape[0], j.shape[0]});
}

Status CheckGramOfParts(const CheckContext& context) {
  const int64_t rows = context.attributes.Int("rows"), operands = static_cast<int64_t>(context.inputs.size());
  if (rows < 1 || rows > kMostRows || operands % rows != 0)
    return Refuse(context, "rows", "in [1, 64], a divisor of the number of operands", std::to_string(rows));
  for (int64_t i = 0; i < operands; ++i)
    KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "part", context.inputs[i], DType::kFloat32,
                                        context.inputs[i - i % rows].shape));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, {rows, rows});
}

// Columns of a panel: at most 256 KiB of J.
constexpr int64_t kPanelFloats = int64_t{1} << 16;
int64_t PanelOf(int64_t rows) {
  return std::min<int64_t>(kPanelFloats / std::max<int64_t>(rows, 1) / 1024 * 1024, 16384);
}

// Panels of more rows than this are moved together: each is read many times, and rows that lie a power of two apart
// would push each other out of the cache.
constexpr int64_t kUnpackedRows = 12;
constexpr int64_t kPackGap = 16;
int64_t PackStepOf(int64_t rows) { return PanelOf(rows) + kPackGap; }

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_GRAM_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// Rows of a group: with 32 registers four by four products are kept in them, with 16 three by three.
constexpr int kGroup = HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64 ? 4 : 3;
// Additions to a lane in float, before they go to double.
constexpr int64_t kBlock = 64 * hn::MaxLanes(FloatTag());

// Adds a b^T over columns [0, count) to the corner of `total`; a and b are rows.
template <int kRows, int kColumns>
void MultiplyGroups(const float* const* a, const float* const* b, int64_t count, double* total,
                    int64_t total_step) {
  const float *rows[kRows], *columns[kColumns];
  std::copy_n(a, kRows, rows);
  std::copy_n(b, kColumns, columns);
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    FloatVector sums[kRows][kColumns];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sums[r][c] = hn::Zero(d);

    for (int64_t i = begin; i < end; i += lanes) {
      const size_t live = static_cast<size_t>(std::min(lanes, end - i));
      FloatVector right[kColumns];
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) right[c] = Load(d, columns[c] + i, live);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const FloatVector left = Load(d, rows[r] + i, live);
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) sums[r][c] = hn::MulAdd(left, right[c], sums[r][c]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c)
        total[r * total_step + c] += hn::GetLane(hn::SumOfLanes(d, sums[r][c]));
  }
}

using GroupFunction = void (*)(const float* const*, const float* const*, int64_t, double*, int64_t);

struct GroupTable {
  GroupFunction of[kGroup][kGroup];
};

template <int... kIndex>
constexpr GroupTable MakeGroups(std::integer_sequence<int, kIndex...>) {
  GroupTable table{};
  ((table.of[kIndex / kGroup][kIndex % kGroup] = MultiplyGroups<kIndex / kGroup + 1, kIndex % kGroup + 1>),
   ...);
  return table;
}

constexpr GroupTable kGroups = MakeGroups(std::make_integer_sequence<int, kGroup * kGroup>());

class Gram final : public Kernel {
 public:
  // `parts`: J lies in operands of as many rows; otherwise it is the one operand.
  Gram(PrepareContext& context, bool parts) : parts_(parts) {
    const int64_t rows = context.outputs[0].shape[0];
    firsts_offset_ = sizeof(double) * static_cast<size_t>(kMostStripes * rows * rows);
    pack_offset_ = firsts_offset_ + sizeof(int64_t) * (context.inputs.size() + 1);
    pack_offset_ = (pack_offset_ + 63) / 64 * 64;
    // Fewer live rows have wider panels, never more floats.
    pack_floats_ = rows > kUnpackedRows ? kPanelFloats + kPackGap * kMostRows : 0;
    context.scratch_bytes = pack_offset_ + sizeof(float) * static_cast<size_t>(pack_floats_) *
                                               static_cast<size_t>(context.threads);
  }

  void Run(const RunContext& context) noexcept override {
    const int64_t rows = context.outputs[0].shape[0];
    const int64_t panel = PanelOf(rows);
    // Panels of part p are [firsts[p], firsts[p + 1]).
    const int64_t parts =
        !parts_ ? 1 : static_cast<int64_t>(context.inputs.size()) / std::max<int64_t>(rows, 1);
    int64_t* firsts = reinterpret_cast<int64_t*>(context.scratch + firsts_offset_);
    firsts[0] = 0;
    for (int64_t part = 0; part < parts; ++part)
      firsts[part + 1] = firsts[part] + (WidthOf(context, part, rows) + panel - 1) / panel;
    const int64_t panels = firsts[parts], stripes = std::min(panels, kMostStripes);
    double* partial = reinterpret_cast<double*>(context.scratch);
    const int64_t grain = 1 + (int64_t{1} << 16) / (1 + rows * panel);
    context.team.ParallelFor(stripes, grain, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
      float* pack = reinterpret_cast<float*>(context.scratch + pack_offset_) + thread * pack_floats_;
      for (int64_t stripe = begin; stripe < end; ++stripe) {
        double* total = partial + stripe * rows * rows;
        std::fill_n(total, rows * rows, 0.0);
        int64_t at = panels * stripe / stripes;
        int64_t part = std::upper_bound(firsts, firsts + parts + 1, at) - firsts - 1;
        for (; at < panels * (stripe + 1) / stripes; ++at) {
          while (at >= firsts[part + 1]) ++part;
          const int64_t width = WidthOf(context, part, rows), column = (at - firsts[part]) * panel;
          const float* row[kMostRows];
          for (int64_t r = 0; r < rows; ++r)
            row[r] = column + (parts_ ? context.inputs[part * rows + r].As<const float>()
                                      : context.inputs[0].As<const float>() + r * width);
          MultiplyPanel(row, rows, std::min(panel, width - column), pack, total);
        }
      }
    });

    float* gram = context.outputs[0].As<float>();
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = r; c < rows; ++c) {
        double sum = 0;
        for (int64_t stripe = 0; stripe < stripes; ++stripe) sum += partial[(stripe * rows + r) * rows + c];
        gram[r * rows + c] = gram[c * rows + r] = static_cast<float>(sum);
      }
  }

 private:
  int64_t WidthOf(const RunContext& context, int64_t part, int64_t rows) const {
    return parts_ ? context.inputs[part * rows].shape.Count() : context.inputs[0].shape[1];
  }

  // Groups on and above the diagonal; entries below it within a group are computed and not used.
  static void MultiplyPanel(const float** row, int64_t rows, int64_t count, float* pack, double* total) {
    if (rows > kUnpackedRows) {
      const int64_t pack_step = PackStepOf(rows);
      for (int64_t r = 0; r < rows; ++r) {
        std::copy_n(row[r], count, pack + r * pack_step);
        row[r] = pack + r * pack_step;
      }
    }
    for (int64_t r = 0; r < rows; r += kGroup)
      for (int64_t c = r; c < rows; c += kGroup) {
        const int64_t tall = std::min<int64_t>(kGroup, rows - r), wide = std::min<int64_t>(kGroup, rows - c);
        kGroups.of[tall - 1][wide - 1](row + r, row + c, count, total + r * rows + c, rows);
      }
  }

  bool parts_;
  size_t firsts_offset_, pack_offset_;
  int64_t pack_floats_;
};

std::unique_ptr<Kernel> PrepareGram(PrepareContext& context) {
  return std::make_unique<Gram>(context, false);
}
std::unique_ptr<Kernel> PrepareGramOfParts(PrepareContext& context) {
  return std::make_unique<Gram>(context, true);
}

}  // namespace

std::span<const KernelEntry> GramEntries() {
  static constexpr KernelEntry kEntries[] = {{"gram", CheckGram, PrepareGram},
                                             {"gramOfParts", CheckGramOfParts, PrepareGramOfParts}};
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Gram)
}  // namespace kairos
#endif
