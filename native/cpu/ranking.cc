// targetRank: how many items of a row stand before the target, by falling score and then by index, leaving
// out the row's excluded items. All better items are counted on vectors; the few excluded ones among them are
// taken off.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/ranking.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// NaN compares false, so it stands behind every number.
template <bool kOrEqual>
int64_t CountAbove(const float* scores, int64_t count, float bound) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto bounds = hn::Set(d, bound);
  size_t above = 0;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto score = hn::LoadU(d, scores + i);
    above += hn::CountTrue(d, kOrEqual ? hn::Ge(score, bounds) : hn::Gt(score, bounds));
  }
  for (; i < count; ++i) above += kOrEqual ? scores[i] >= bound : scores[i] > bound;
  return static_cast<int64_t>(above);
}

int64_t RankOf(const float* scores, int64_t items, int64_t target, const int32_t* exclude, int64_t excluded,
               int32_t* scratch) {
  const float bound = scores[target];
  const bool last = std::isnan(bound);
  // Items before the target win a tie.
  const auto stands_before = [&](int64_t item) {
    return item != target && (last || (item < target ? scores[item] >= bound : scores[item] > bound));
  };
  int64_t rank = items - 1;
  if (!last)
    rank = CountAbove<true>(scores, target, bound) +
           CountAbove<false>(scores + target + 1, items - target - 1, bound);
  const int32_t* end = std::copy_if(exclude, exclude + excluded, scratch, [&](int32_t item) {
    return item >= 0 && item < items && stands_before(item);
  });
  // An item that is listed twice counts once.
  const int64_t found = end - scratch;
  std::sort(scratch, scratch + found);
  return rank - (std::unique(scratch, scratch + found) - scratch);
}

Status Check(const CheckContext& context) {
  if (context.inputs.size() != 3 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "scores, target and exclude, and one output", "other counts");
  const TensorSpec &scores = context.inputs[0], &exclude = context.inputs[2];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "scores", scores, DType::kFloat32));
  if (scores.shape.rank != 2) return Refuse(context, "scores", "of rank 2", scores.shape.ToString());
  const int64_t rows = scores.shape[0], items = scores.shape[1];
  if (items > std::numeric_limits<int32_t>::max())
    return Refuse(context, "scores", "fewer than 2^31 items", scores.shape.ToString());
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "target", context.inputs[1], DType::kInt32, {rows}));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "exclude", exclude, DType::kInt32, {rows, exclude.shape.dims[1]}));
  return ExpectTensor(context, "output", context.outputs[0], DType::kInt32, {rows});
}

std::unique_ptr<Kernel> Prepare(PrepareContext& prepare) {
  const int64_t capacity = (prepare.inputs[2].shape[1] + 15) / 16 * 16;
  prepare.scratch_bytes = static_cast<size_t>(capacity) * sizeof(int32_t) * prepare.threads;
  return MakeKernel([capacity](const RunContext& context) {
    const int64_t rows = context.inputs[0].shape[0], items = context.inputs[0].shape[1];
    const int64_t excluded = context.inputs[2].shape[1];
    const float* scores = context.inputs[0].As<const float>();
    const int32_t* targets = context.inputs[1].As<const int32_t>();
    const int32_t* exclude = context.inputs[2].As<const int32_t>();
    int32_t* ranks = context.outputs[0].As<int32_t>();
    const int64_t grain = std::max<int64_t>(1, 65536 / (items + 16 * excluded + 1));
    context.team.ParallelFor(rows, grain, [&](int64_t begin, int64_t end, int thread) {
      int32_t* scratch = reinterpret_cast<int32_t*>(context.scratch) + capacity * thread;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t target = targets[row];
        ranks[row] = 0;
        if (target < 0 || target >= items) {
          context.fault.Raise(row, target, items);
          continue;
        }
        ranks[row] = static_cast<int32_t>(
            RankOf(scores + row * items, items, target, exclude + row * excluded, excluded, scratch));
      }
    });
  });
}

}  // namespace

std::span<const KernelEntry> RankingEntries() {
  static constexpr KernelEntry kEntries[] = {{"targetRank", Check, Prepare}};
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Ranking)
}  // namespace kairos
#endif
