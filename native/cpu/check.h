// Lines that shape rules share.
#pragma once

#include <string>

#include "runtime/kernel.h"

namespace kairos {

inline Status ExpectDType(const CheckContext& context, const char* argument, const TensorSpec& tensor,
                          DType dtype) {
  if (tensor.dtype == dtype) return Ok();
  return Error{ErrorCode::kDtype, std::string(context.op), argument, NameOf(dtype), NameOf(tensor.dtype), ""};
}

inline Status ExpectTensor(const CheckContext& context, const char* argument, const TensorSpec& tensor,
                           DType dtype, const Shape& shape) {
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, argument, tensor, dtype));
  if (tensor.shape == shape) return Ok();
  return Refuse(context, argument, "of shape " + shape.ToString(), tensor.shape.ToString());
}

inline Status ExpectRank(const CheckContext& context, const char* argument, const TensorSpec& tensor,
                         int least) {
  if (tensor.shape.rank >= least) return Ok();
  return Refuse(context, argument, "of rank " + std::to_string(least) + " or more", tensor.shape.ToString());
}

// The shape without its last axis. The caller has proved that there is one.
inline Shape WithoutLast(Shape shape) {
  shape.dims[--shape.rank] = 0;
  return shape;
}

}  // namespace kairos
