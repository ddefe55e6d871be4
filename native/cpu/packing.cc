// Padded sequences without their padding: which positions hold something, and rows moved by such lists.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/packing.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/sum_rows-inl.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// -----------------------------------------------------------------------------------------------------------
// packPadded: range[batch, 2] -> rows[packed], columns[packed], count, slots[batch * time], offsets[batch + 1]

Status CheckPackPadded(const CheckContext& context) {
  const int64_t time = context.attributes.Int("time");
  const TensorSpec& range = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "range", range, DType::kInt32));
  if (range.shape.rank != 2 || range.shape[1] != 2)
    return Refuse(context, "range", "of shape [batch, 2]", range.shape.ToString());
  int64_t positions = 0;
  if (time < 1 || __builtin_mul_overflow(range.shape[0], time, &positions) ||
      positions > std::numeric_limits<int32_t>::max())
    return Refuse(context, "time", "1 or more, fewer than 2^31 positions together", std::to_string(time));
  for (int i = 0; i < 2; ++i) {
    const TensorSpec& list = context.outputs[i];
    KAIROS_RETURN_IF_ERROR(ExpectDType(context, "rows", list, DType::kInt32));
    if (list.shape.rank != 1 || list.shape[0] < positions)
      return Refuse(context, "rows", "room for every position", list.shape.ToString());
  }
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "count", context.outputs[2], DType::kInt32, Shape{}));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "slots", context.outputs[3], DType::kInt32, Shape{positions}));
  return ExpectTensor(context, "offsets", context.outputs[4], DType::kInt32, Shape{range.shape[0] + 1});
}

std::unique_ptr<Kernel> PreparePackPadded(PrepareContext& prepare) {
  return MakeKernel([time = prepare.attributes.Int("time")](const RunContext& context) {
    const int64_t sequences = context.inputs[0].shape[0];
    const int32_t* range = context.inputs[0].As<const int32_t>();
    int32_t* rows = context.outputs[0].As<int32_t>();
    int32_t* columns = context.outputs[1].As<int32_t>();
    int32_t* slots = context.outputs[3].As<int32_t>();
    int32_t* offsets = context.outputs[4].As<int32_t>();
    int32_t packed = 0;
    std::fill_n(slots, sequences * time, -1);
    for (int64_t sequence = 0; sequence < sequences; ++sequence)
      for (int edge = 0; edge < 2; ++edge) {
        const int32_t bound = range[2 * sequence + edge];
        if (bound < 0 || bound > time)
          context.fault.RaiseBound("bound", 2 * sequence + edge, bound, 0, time, 0);
      }
    std::fill_n(offsets, sequences + 1, 0);
    if (!context.fault.raised.load())
      for (int64_t sequence = 0; sequence < sequences; ++sequence) {
        for (int32_t t = range[2 * sequence]; t < range[2 * sequence + 1]; ++t) {
          const int32_t at = static_cast<int32_t>(sequence * time) + t;
          slots[at] = packed;
          rows[packed] = at;
          columns[packed++] = t;
        }
        offsets[sequence + 1] = packed;
      }
    *context.outputs[2].As<int32_t>() = packed;
  });
}

// -----------------------------------------------------------------------------------------------------------
// pickRows: x[N, ...], picked[M], inverse[N] -> x's rows in that order; zeros where the list says -1. `inverse` is for
// the gradient alone.

Status CheckPickRows(const CheckContext& context) {
  const TensorSpec &x = context.inputs[0], &picked = context.inputs[1], &inverse = context.inputs[2];
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "picked", picked, DType::kInt32));
  if (picked.shape.rank != 1) return Refuse(context, "picked", "of rank 1", picked.shape.ToString());
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "inverse", inverse, DType::kInt32, Shape{x.shape[0]}));
  Shape shape = x.shape;
  shape.dims[0] = picked.shape[0];
  return ExpectTensor(context, "output", context.outputs[0], x.dtype, shape);
}

void PickRows(const RunContext& context) noexcept {
  const TensorView& x = context.inputs[0];
  const int64_t rows = x.shape[0], count = context.inputs[1].shape[0];
  const int64_t bytes = x.shape.Product(1, x.shape.rank) * static_cast<int64_t>(SizeOf(x.dtype));
  const int32_t* picked = context.inputs[1].As<const int32_t>();
  const std::byte* from = x.As<const std::byte>();
  std::byte* to = context.outputs[0].As<std::byte>();
  context.team.ParallelFor(count, MoveGrain(bytes), [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t row = picked[at];
      if (row < -1 || row >= rows) context.fault.RaiseBound("row", at, row, -1, rows - 1, 1);
      if (row < 0 || row >= rows)
        std::memset(to + at * bytes, 0, bytes);
      else
        CopyRow(from + row * bytes, bytes, to + at * bytes);
    }
  });
}

}  // namespace

std::span<const KernelEntry> PackingEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"packPadded", CheckPackPadded, PreparePackPadded},
      {"pickRows", CheckPickRows, Stateless<PickRows>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Packing)
}  // namespace kairos
#endif
