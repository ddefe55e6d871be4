// rmsNorm(x, weight) -> y, rstd over the last axis:
//
//   rstd = 1 / sqrt(mean(x^2) + epsilon)      n = x rstd      y = n weight
//
// rmsNormBackward(x, weight, rstd, dy) -> dx, dweight, with g = dy weight, mean over the axis:
//
//   dx = rstd (g - n mean(g n))    dweight = sum of dy n over rows
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rms_norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>

#include "cpu/check.h"
#include "cpu/column_sums-inl.h"
#include "cpu/families.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_RMS_NORM_CC_
#define KAIROS_CPU_RMS_NORM_CC_
namespace kairos {
namespace {

Status CheckRowsAndWeight(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  return ExpectTensor(context, "weight", context.inputs[1], DType::kFloat32, {x.shape.Last()});
}

Status CheckRmsNorm(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckRowsAndWeight(context));
  const Shape& shape = context.inputs[0].shape;
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, shape));
  return ExpectTensor(context, "rstd", context.outputs[1], DType::kFloat32, WithoutLast(shape));
}

Status CheckRmsNormBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckRowsAndWeight(context));
  const Shape& shape = context.inputs[0].shape;
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "rstd", context.inputs[2], DType::kFloat32, WithoutLast(shape)));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[3], DType::kFloat32, shape));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dx", context.outputs[0], DType::kFloat32, shape));
  return ExpectTensor(context, "dweight", context.outputs[1], DType::kFloat32, {shape.Last()});
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_RMS_NORM_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

void NormalizeRow(const float* x, const float* weight, double epsilon, int64_t count, float* y,
                  float* rstd_out) {
  const FloatTag d;
  double squares[1];
  SumRow(count, squares, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    const FloatVector value = Load(d, x + i, live);
    partial[0] = hn::MulAdd(value, value, partial[0]);
  });
  const float rstd = static_cast<float>(1 / std::sqrt(squares[0] / static_cast<double>(count) + epsilon));
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatVector normal = hn::Mul(Load(d, x + i, live), hn::Set(d, rstd));
    Store(hn::Mul(normal, Load(d, weight + i, live)), d, y + i, live);
  });
  *rstd_out = rstd;
}

class RmsNorm final : public Kernel {
 public:
  explicit RmsNorm(PrepareContext& context) : epsilon_(context.attributes.Float("epsilon")) {}

  void Run(const RunContext& context) noexcept override {
    const TensorView& x = context.inputs[0];
    const int64_t rows = x.shape.Product(0, x.shape.rank - 1), count = x.shape.Last();
    const float* weight = context.inputs[1].As<float>();
    context.team.ParallelFor(rows, RowGrain(count), [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t row = begin; row < end; ++row)
        NormalizeRow(x.As<float>() + row * count, weight, epsilon_, count,
                     context.outputs[0].As<float>() + row * count, context.outputs[1].As<float>() + row);
    });
  }

 private:
  double epsilon_;
};

// dx of one row; adds the row to `dweight`.
void NormalizeBackwardRow(const float* x, const float* weight, float rstd, const float* dy, int64_t count,
                          float* dx, float* dweight) {
  const FloatTag d;
  const FloatVector scale = hn::Set(d, rstd);
  double sum[1];
  SumRow(count, sum, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    const FloatVector g = hn::Mul(Load(d, dy + i, live), Load(d, weight + i, live));
    partial[0] = hn::MulAdd(g, hn::Mul(Load(d, x + i, live), scale), partial[0]);
  });
  const FloatVector mean = hn::Set(d, static_cast<float>(sum[0] / static_cast<double>(count)));
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatVector up = Load(d, dy + i, live);
    const FloatVector normal = hn::Mul(Load(d, x + i, live), scale);
    const FloatVector g = hn::Mul(up, Load(d, weight + i, live));
    Store(hn::Mul(scale, hn::NegMulAdd(normal, mean, g)), d, dx + i, live);
    Store(hn::MulAdd(up, normal, Load(d, dweight + i, live)), d, dweight + i, live);
  });
}

class RmsNormBackward final : public Kernel {
 public:
  explicit RmsNormBackward(PrepareContext& context) {
    const Shape& x = context.inputs[0].shape;
    context.scratch_bytes = SumRowsBytes(x.Product(0, x.rank - 1), x.Last());
  }

  void Run(const RunContext& context) noexcept override {
    const TensorView &x = context.inputs[0], &dy = context.inputs[3];
    const int64_t rows = x.shape.Product(0, x.shape.rank - 1), count = x.shape.Last();
    const float *weight = context.inputs[1].As<float>(), *rstd = context.inputs[2].As<float>();
    const double* sums =
        SumOverRows(context.team, context.scratch, rows, count, [&](int64_t row, float* block) HWY_ATTR {
          NormalizeBackwardRow(x.As<float>() + row * count, weight, rstd[row], dy.As<float>() + row * count,
                               count, context.outputs[0].As<float>() + row * count, block);
        });
    std::copy_n(sums, count, context.outputs[1].As<float>());
  }
};

}  // namespace

std::span<const KernelEntry> RmsNormEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"rmsNorm", CheckRmsNorm, Stateful<RmsNorm>},
      {"rmsNormBackward", CheckRmsNormBackward, Stateful<RmsNormBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(RmsNorm)
}  // namespace kairos
#endif
