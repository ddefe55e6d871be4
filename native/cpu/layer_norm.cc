// layerNorm(x, weight, bias) -> y, mean, rstd over the last axis:
//
//   n = (x - mean) rstd      rstd = 1 / sqrt(variance + epsilon)      y = n weight + bias
//
// layerNormBackward(x, weight, mean, rstd, dy) -> dx, dweight, dbias, g = dy weight, means over the axis:
//
//   dx = rstd (g - mean(g) - n mean(g n))    dweight = sum of dy n over rows    dbias = sum of dy over rows
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/layer_norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>

#include "cpu/check.h"
#include "cpu/column_sums-inl.h"
#include "cpu/families.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"
#include "hwy/cache_control.h"

#ifndef KAIROS_CPU_LAYER_NORM_CC_
#define KAIROS_CPU_LAYER_NORM_CC_
namespace kairos {
namespace {

Status CheckLayerNorm(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  const Shape row{x.shape.Last()}, rows = WithoutLast(x.shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "weight", context.inputs[1], DType::kFloat32, row));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "bias", context.inputs[2], DType::kFloat32, row));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, x.shape));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "mean", context.outputs[1], DType::kFloat32, rows));
  return ExpectTensor(context, "rstd", context.outputs[2], DType::kFloat32, rows);
}

Status CheckLayerNormBackward(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  const Shape row{x.shape.Last()}, rows = WithoutLast(x.shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "weight", context.inputs[1], DType::kFloat32, row));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "mean", context.inputs[2], DType::kFloat32, rows));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "rstd", context.inputs[3], DType::kFloat32, rows));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[4], DType::kFloat32, x.shape));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dx", context.outputs[0], DType::kFloat32, x.shape));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dweight", context.outputs[1], DType::kFloat32, row));
  return ExpectTensor(context, "dbias", context.outputs[2], DType::kFloat32, row);
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_LAYER_NORM_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

void NormalizeRow(const float* x, const float* weight, const float* bias, double epsilon, int64_t count,
                  float* y, float* mean_out, float* rstd_out) {
  const FloatTag d;
  double sum[1], squares[1];
  SumRow(count, sum, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    partial[0] = hn::Add(partial[0], Load(d, x + i, live));
  });
  const float mean = static_cast<float>(sum[0] / static_cast<double>(count));
  SumRow(count, squares, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    const FloatVector centered = hn::Sub(Load(d, x + i, live, mean), hn::Set(d, mean));
    partial[0] = hn::MulAdd(centered, centered, partial[0]);
    hwy::Prefetch(x + i + 2 * count);
  });
  const float rstd = static_cast<float>(1 / std::sqrt(squares[0] / static_cast<double>(count) + epsilon));
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatVector normal = hn::Mul(hn::Sub(Load(d, x + i, live), hn::Set(d, mean)), hn::Set(d, rstd));
    Store(hn::MulAdd(normal, Load(d, weight + i, live), Load(d, bias + i, live)), d, y + i, live);
  });
  *mean_out = mean;
  *rstd_out = rstd;
}

class LayerNorm final : public Kernel {
 public:
  explicit LayerNorm(PrepareContext& context) : epsilon_(context.attributes.Float("epsilon")) {}

  void Run(const RunContext& context) noexcept override {
    const TensorView& x = context.inputs[0];
    const int64_t rows = x.shape.Product(0, x.shape.rank - 1), count = x.shape.Last();
    const float *weight = context.inputs[1].As<float>(), *bias = context.inputs[2].As<float>();
    context.team.ParallelFor(rows, RowGrain(count), [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t row = begin; row < end; ++row)
        NormalizeRow(x.As<float>() + row * count, weight, bias, epsilon_, count,
                     context.outputs[0].As<float>() + row * count, context.outputs[1].As<float>() + row,
                     context.outputs[2].As<float>() + row);
    });
  }

 private:
  double epsilon_;
};

// dx of one row; adds the row to `dweight` and `dbias`.
void NormalizeBackwardRow(const float* x, const float* weight, float mean, float rstd, const float* dy,
                          int64_t count, float* dx, float* dweight, float* dbias) {
  const FloatTag d;
  const FloatVector center = hn::Set(d, mean), scale = hn::Set(d, rstd);
  double sums[2];
  SumRow(count, sums, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    const FloatVector g = hn::Mul(Load(d, dy + i, live), Load(d, weight + i, live));
    const FloatVector normal = hn::Mul(hn::Sub(Load(d, x + i, live, mean), center), scale);
    partial[0] = hn::Add(partial[0], g);
    partial[1] = hn::MulAdd(g, normal, partial[1]);
    hwy::Prefetch(x + i + 2 * count);
    hwy::Prefetch(dy + i + 2 * count);
  });
  const FloatVector mean_g = hn::Set(d, static_cast<float>(sums[0] / static_cast<double>(count)));
  const FloatVector mean_gn = hn::Set(d, static_cast<float>(sums[1] / static_cast<double>(count)));
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatVector up = Load(d, dy + i, live);
    const FloatVector normal = hn::Mul(hn::Sub(Load(d, x + i, live), center), scale);
    const FloatVector g = hn::Sub(hn::Mul(up, Load(d, weight + i, live)), mean_g);
    Store(hn::Mul(scale, hn::NegMulAdd(normal, mean_gn, g)), d, dx + i, live);
    Store(hn::MulAdd(up, normal, Load(d, dweight + i, live)), d, dweight + i, live);
    Store(hn::Add(up, Load(d, dbias + i, live)), d, dbias + i, live);
  });
}

class LayerNormBackward final : public Kernel {
 public:
  explicit LayerNormBackward(PrepareContext& context) {
    const Shape& x = context.inputs[0].shape;
    context.scratch_bytes = SumRowsBytes(x.Product(0, x.rank - 1), 2 * x.Last());
  }

  void Run(const RunContext& context) noexcept override {
    const TensorView &x = context.inputs[0], &dy = context.inputs[4];
    const int64_t rows = x.shape.Product(0, x.shape.rank - 1), count = x.shape.Last();
    const float *weight = context.inputs[1].As<float>(), *mean = context.inputs[2].As<float>();
    const float* rstd = context.inputs[3].As<float>();
    const double* sums =
        SumOverRows(context.team, context.scratch, rows, 2 * count, [&](int64_t row, float* block) HWY_ATTR {
          NormalizeBackwardRow(x.As<float>() + row * count, weight, mean[row], rstd[row],
                               dy.As<float>() + row * count, count,
                               context.outputs[0].As<float>() + row * count, block, block + count);
        });
    std::copy_n(sums, count, context.outputs[1].As<float>());
    std::copy_n(sums + count, count, context.outputs[2].As<float>());
  }
};

}  // namespace

std::span<const KernelEntry> LayerNormEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"layerNorm", CheckLayerNorm, Stateful<LayerNorm>},
      {"layerNormBackward", CheckLayerNormBackward, Stateful<LayerNormBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(LayerNorm)
}  // namespace kairos
#endif
