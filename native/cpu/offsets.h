// Ragged rows: row r is values [offsets[r], offsets[r + 1]). Offsets are data, so they are proved before use.
#pragma once

#include "cpu/check.h"
#include "runtime/kernel.h"

namespace kairos {

inline Status ExpectOffsets(const CheckContext& context, const char* argument, const TensorSpec& offsets) {
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, argument, offsets, DType::kInt32));
  if (offsets.shape.rank == 1 && offsets.shape[0] >= 1) return Ok();
  return Refuse(context, argument, "of rank 1 with one more than there are rows", offsets.shape.ToString());
}

// Ragged ids of several features: from operand `first` on ids of each, then offsets of each, all of as many rows.
inline Status ExpectBags(const CheckContext& context, size_t first, size_t features) {
  for (size_t feature = first; feature < first + features; ++feature) {
    const TensorSpec &ids = context.inputs[feature], &offsets = context.inputs[feature + features];
    KAIROS_RETURN_IF_ERROR(ExpectDType(context, "ids", ids, DType::kInt32));
    if (ids.shape.rank != 1) return Refuse(context, "ids", "of rank 1", ids.shape.ToString());
    KAIROS_RETURN_IF_ERROR(ExpectOffsets(context, "offsets", offsets));
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "offsets", offsets, DType::kInt32, context.inputs[first + features].shape));
  }
  return Ok();
}

// Whether operand `operand` ascends from 0 to `values`; raises the fault where it does not.
inline bool OffsetsAscend(const RunContext& context, int operand, int64_t values) {
  const TensorView& view = context.inputs[operand];
  const int32_t* offsets = view.As<const int32_t>();
  const int64_t last = view.shape.Count() - 1;
  if (offsets[0] != 0) {
    context.fault.RaiseBound("offset", 0, offsets[0], 0, 0, operand);
    return false;
  }
  for (int64_t i = 1; i <= last; ++i)
    if (offsets[i] < offsets[i - 1] || offsets[i] > values) {
      context.fault.RaiseBound("offset", i, offsets[i], offsets[i - 1], values, operand);
      return false;
    }
  if (offsets[last] == values) return true;
  context.fault.RaiseBound("offset", last, offsets[last], values, values, operand);
  return false;
}

}  // namespace kairos
