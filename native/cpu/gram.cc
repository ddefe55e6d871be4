// gram(J[K, P]) -> J J^T, float32 within blocks of columns and float64 across them.
//
// Columns are cut into stripes that depend on P alone. A stripe keeps a matrix of its own, and stripes are added in
// order, so the bits do not depend on the number of threads. Within a stripe J is read panel by panel, small enough
// for L2: each pair of row groups meets there, and memory is read once.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gram.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
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

// Adds a b^T over columns [0, count) to the corner of `total`.
template <int kRows, int kColumns>
void MultiplyGroups(const float* a, const float* b, int64_t step, int64_t count, double* total,
                    int64_t total_step) {
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
      for (int c = 0; c < kColumns; ++c) right[c] = Load(d, b + c * step + i, live);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const FloatVector left = Load(d, a + r * step + i, live);
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

using GroupFunction = void (*)(const float*, const float*, int64_t, int64_t, double*, int64_t);

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
  explicit Gram(PrepareContext& context) {
    const int64_t rows = context.inputs[0].shape[0];
    pack_offset_ = sizeof(double) * static_cast<size_t>(kMostStripes * rows * rows);
    // Fewer live rows have wider panels, never more floats.
    pack_floats_ = rows > kUnpackedRows ? kPanelFloats + kPackGap * kMostRows : 0;
    context.scratch_bytes = pack_offset_ + sizeof(float) * static_cast<size_t>(pack_floats_) *
                                               static_cast<size_t>(context.threads);
  }

  void Run(const RunContext& context) noexcept override {
    const float* j = context.inputs[0].As<float>();
    const int64_t rows = context.inputs[0].shape[0], columns = context.inputs[0].shape[1];
    const int64_t panel = PanelOf(rows), panels = (columns + panel - 1) / panel;
    const int64_t stripes = std::min(panels, kMostStripes);
    double* partial = reinterpret_cast<double*>(context.scratch);
    const int64_t grain = 1 + (int64_t{1} << 16) / (1 + rows * panel);
    context.team.ParallelFor(stripes, grain, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
      float* pack = reinterpret_cast<float*>(context.scratch + pack_offset_) + thread * pack_floats_;
      for (int64_t stripe = begin; stripe < end; ++stripe) {
        double* total = partial + stripe * rows * rows;
        std::fill_n(total, rows * rows, 0.0);
        for (int64_t at = panels * stripe / stripes; at < panels * (stripe + 1) / stripes; ++at)
          MultiplyPanel(j + at * panel, rows, columns, std::min(panel, columns - at * panel), pack, total);
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
  // Groups on and above the diagonal; entries below it within a group are computed and not used.
  static void MultiplyPanel(const float* j, int64_t rows, int64_t step, int64_t count, float* pack,
                            double* total) {
    if (rows > kUnpackedRows) {
      const int64_t pack_step = PackStepOf(rows);
      for (int64_t r = 0; r < rows; ++r) std::copy_n(j + r * step, count, pack + r * pack_step);
      j = pack;
      step = pack_step;
    }
    for (int64_t r = 0; r < rows; r += kGroup)
      for (int64_t c = r; c < rows; c += kGroup) {
        const int64_t tall = std::min<int64_t>(kGroup, rows - r), wide = std::min<int64_t>(kGroup, rows - c);
        kGroups.of[tall - 1][wide - 1](j + r * step, j + c * step, step, count, total + r * rows + c, rows);
      }
  }

  size_t pack_offset_;
  int64_t pack_floats_;
};

std::unique_ptr<Kernel> PrepareGram(PrepareContext& context) { return std::make_unique<Gram>(context); }

}  // namespace

std::span<const KernelEntry> GramEntries() {
  static constexpr KernelEntry kEntries[] = {{"gram", CheckGram, PrepareGram}};
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Gram)
}  // namespace kairos
#endif
