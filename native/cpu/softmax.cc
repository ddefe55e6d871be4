// softmax(x) over the last axis, and softmaxBackward(y, dy) = y (dy - sum(y dy)). Each may work in place.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/softmax.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <limits>

#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"
#include "hwy/cache_control.h"

#ifndef KAIROS_CPU_SOFTMAX_CC_
#define KAIROS_CPU_SOFTMAX_CC_
namespace kairos {
namespace {

Status CheckSoftmax(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, x.shape);
}

Status CheckSoftmaxBackward(const CheckContext& context) {
  const TensorSpec& y = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "y", y, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "y", y, 1));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[1], DType::kFloat32, y.shape));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, y.shape);
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_SOFTMAX_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// A row of minus infinities gives NaN, as in PyTorch: there is no distribution to return.
void SoftmaxRow(const float* x, float* y, int64_t count) {
  const FloatTag d;
  const FloatVector most = hn::Set(d, MaxRow(x, count));
  double sum[1];
  SumRow(count, sum, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    constexpr float kLeast = -std::numeric_limits<float>::infinity();
    hwy::Prefetch(x + i + 2 * count);  // a row after the next: meanwhile memory would be idle
    FloatVector term = math::ExpOfSmall(d, hn::Sub(Load(d, x + i, live, kLeast), most));
    Store(term, d, y + i, live);
    // Were the maximum minus infinity, lanes that are not live would be NaN.
    if (live < hn::Lanes(d)) term = hn::IfThenElseZero(hn::FirstN(d, live), term);
    partial[0] = hn::Add(partial[0], term);
  });
  const float scale = static_cast<float>(1 / sum[0]);
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    Store(hn::Mul(Load(d, y + i, live), hn::Set(d, scale)), d, y + i, live);
  });
}

void SoftmaxBackwardRow(const float* y, const float* dy, float* dx, int64_t count) {
  const FloatTag d;
  double dot[1];
  SumRow(count, dot, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    partial[0] = hn::MulAdd(Load(d, y + i, live), Load(d, dy + i, live), partial[0]);
  });
  const FloatVector mean = hn::Set(d, static_cast<float>(dot[0]));
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    Store(hn::Mul(Load(d, y + i, live), hn::Sub(Load(d, dy + i, live), mean)), d, dx + i, live);
  });
}

void RunSoftmax(const RunContext& context) noexcept {
  const TensorView &x = context.inputs[0], &y = context.outputs[0];
  const int64_t rows = x.shape.Product(0, x.shape.rank - 1), count = x.shape.Last();
  if (count == 0) return;  // however many empty rows there are
  context.team.ParallelFor(rows, RowGrain(count), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row)
      SoftmaxRow(x.As<float>() + row * count, y.As<float>() + row * count, count);
  });
}

void RunSoftmaxBackward(const RunContext& context) noexcept {
  const TensorView &y = context.inputs[0], &dy = context.inputs[1], &dx = context.outputs[0];
  const int64_t rows = y.shape.Product(0, y.shape.rank - 1), count = y.shape.Last();
  if (count == 0) return;  // however many empty rows there are
  context.team.ParallelFor(rows, RowGrain(count), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row)
      SoftmaxBackwardRow(y.As<float>() + row * count, dy.As<float>() + row * count,
                         dx.As<float>() + row * count, count);
  });
}

}  // namespace

std::span<const KernelEntry> SoftmaxEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"softmax", CheckSoftmax, Stateless<RunSoftmax>},
      {"softmaxBackward", CheckSoftmaxBackward, Stateless<RunSoftmaxBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Softmax)
}  // namespace kairos
#endif
