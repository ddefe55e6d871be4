// layerNorm(x, weight, bias) -> y, mean, rstd over the last axis, and layerNormBackward(x, weight, mean, rstd, dy) ->
// dx, dweight, dbias: formulas as in cpu/layer_norm.cc. A row is read twice for its moments, which its second reading
// finds in cache; dweight and dbias are column sums over chunks of rows.
#include "cuda/column_sums.h"
#include "cuda/families.h"
#include "cuda/rows.h"

namespace kairos::gpu {
namespace {

template <bool kBlock>
__global__ void LayerNormKernel(const TensorView* views, double epsilon) {
  using Group = RowGroup<kBlock>;
  const TensorView &x = views[0], &y = views[3];
  const float *weight = views[1].As<const float>(), *bias = views[2].As<const float>();
  const int64_t count = y.shape.Last(), rows = y.shape.Product(0, y.shape.rank - 1);
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float* from = x.As<const float>() + row * count;
    float* to = y.As<float>() + row * count;
    float sum = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) sum += from[i];
    const auto mean = static_cast<float>(Group::Sum(static_cast<double>(sum)) / static_cast<double>(count));
    float squares = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes)
      squares += (from[i] - mean) * (from[i] - mean);
    const double variance = Group::Sum(static_cast<double>(squares)) / static_cast<double>(count);
    const auto rstd = static_cast<float>(1 / sqrt(variance + epsilon));
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes)
      to[i] = (from[i] - mean) * rstd * weight[i] + bias[i];
    if (Group::Lane() == 0) {
      views[4].As<float>()[row] = mean;
      views[5].As<float>()[row] = rstd;
    }
  }
}

template <bool kBlock>
__global__ void LayerNormBackwardKernel(const TensorView* views) {
  using Group = RowGroup<kBlock>;
  const float* weight = views[1].As<const float>();
  const TensorView& dx = views[5];
  const int64_t count = dx.shape.Last(), rows = dx.shape.Product(0, dx.shape.rank - 1);
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float *x = views[0].As<const float>() + row * count, *dy = views[4].As<const float>() + row * count;
    float* to = dx.As<float>() + row * count;
    const float mean = views[2].As<const float>()[row], rstd = views[3].As<const float>()[row];
    float sum = 0, dot = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) {
      const float g = dy[i] * weight[i];
      sum += g;
      dot += g * ((x[i] - mean) * rstd);
    }
    const auto length = static_cast<double>(count);
    const auto mean_g = static_cast<float>(Group::Sum(static_cast<double>(sum)) / length);
    const auto mean_gn = static_cast<float>(Group::Sum(static_cast<double>(dot)) / length);
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes)
      to[i] = rstd * (dy[i] * weight[i] - mean_g - (x[i] - mean) * rstd * mean_gn);
  }
}

// dweight and dbias.
struct WeightTerm {
  const TensorView* views;
  const float *x, *mean, *rstd, *dy;
  int64_t rows, columns;

  __device__ void Load() {
    x = views[0].As<const float>();
    mean = views[2].As<const float>();
    rstd = views[3].As<const float>();
    dy = views[4].As<const float>();
    columns = views[6].shape.Count();
    rows = views[2].shape.Count();
  }
  __device__ int64_t Rows() const { return rows; }
  __device__ int64_t Columns() const { return columns; }
  __device__ void At(int64_t row, int64_t column, float* values) const {
    const int64_t at = row * columns + column;
    values[0] = dy[at] * ((x[at] - mean[row]) * rstd[row]);
    values[1] = dy[at];
  }
  __device__ float* Result(int k) const { return views[6 + k].As<float>(); }
};

std::unique_ptr<DeviceKernel> PrepareLayerNorm(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  const double epsilon = context.attributes.Float("epsilon");
  return MakeKernel([=](const LaunchContext& launch) {
    LaunchRows(launch, shape.Product(0, shape.rank - 1), shape.Last(), LayerNormKernel<false>,
               LayerNormKernel<true>, launch.views, epsilon);
  });
}

std::unique_ptr<DeviceKernel> PrepareLayerNormBackward(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  const int64_t rows = shape.Product(0, shape.rank - 1), count = shape.Last();
  context.scratch_bytes = ColumnSums::Bytes(rows, count, 2);
  return MakeKernel([=](const LaunchContext& launch) {
    LaunchRows(launch, rows, count, LayerNormBackwardKernel<false>, LayerNormBackwardKernel<true>,
               launch.views);
    WeightTerm term{};
    term.views = launch.views;
    LaunchColumnSums<2>(launch, rows, count, term, launch.scratch);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> LayerNormKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"layerNorm", PrepareLayerNorm},
                                                   {"layerNormBackward", PrepareLayerNormBackward}};
  return kEntries;
}

}  // namespace kairos::gpu
