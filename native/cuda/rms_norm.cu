// rmsNorm(x, weight) -> y, rstd over the last axis, and rmsNormBackward(x, weight, rstd, dy) -> dx, dweight: formulas
// as in cpu/rms_norm.cc.
#include "cuda/column_sums.h"
#include "cuda/families.h"
#include "cuda/rows.h"

namespace kairos::gpu {
namespace {

template <bool kBlock>
__global__ void RmsNormKernel(const TensorView* views, double epsilon) {
  using Group = RowGroup<kBlock>;
  const float* weight = views[1].As<const float>();
  const TensorView& y = views[2];
  const int64_t count = y.shape.Last(), rows = y.shape.Product(0, y.shape.rank - 1);
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float* from = views[0].As<const float>() + row * count;
    float* to = y.As<float>() + row * count;
    float squares = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) squares += from[i] * from[i];
    const double mean = Group::Sum(static_cast<double>(squares)) / static_cast<double>(count);
    const auto rstd = static_cast<float>(1 / sqrt(mean + epsilon));
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) to[i] = from[i] * rstd * weight[i];
    if (Group::Lane() == 0) views[3].As<float>()[row] = rstd;
  }
}

template <bool kBlock>
__global__ void RmsNormBackwardKernel(const TensorView* views) {
  using Group = RowGroup<kBlock>;
  const float* weight = views[1].As<const float>();
  const TensorView& dx = views[4];
  const int64_t count = dx.shape.Last(), rows = dx.shape.Product(0, dx.shape.rank - 1);
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float *x = views[0].As<const float>() + row * count, *dy = views[3].As<const float>() + row * count;
    float* to = dx.As<float>() + row * count;
    const float rstd = views[2].As<const float>()[row];
    float dot = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) dot += dy[i] * weight[i] * (x[i] * rstd);
    const auto mean = static_cast<float>(Group::Sum(static_cast<double>(dot)) / static_cast<double>(count));
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes)
      to[i] = rstd * (dy[i] * weight[i] - x[i] * rstd * mean);
  }
}

// dweight.
struct WeightTerm {
  const TensorView* views;
  const float *x, *rstd, *dy;
  int64_t rows, columns;

  __device__ void Load() {
    x = views[0].As<const float>();
    rstd = views[2].As<const float>();
    dy = views[3].As<const float>();
    columns = views[5].shape.Count();
    rows = views[2].shape.Count();
  }
  __device__ int64_t Rows() const { return rows; }
  __device__ int64_t Columns() const { return columns; }
  __device__ void At(int64_t row, int64_t column, float* values) const {
    const int64_t at = row * columns + column;
    values[0] = dy[at] * (x[at] * rstd[row]);
  }
  __device__ float* Result(int) const { return views[5].As<float>(); }
};

std::unique_ptr<DeviceKernel> PrepareRmsNorm(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  const double epsilon = context.attributes.Float("epsilon");
  return MakeKernel([=](const LaunchContext& launch) {
    LaunchRows(launch, shape.Product(0, shape.rank - 1), shape.Last(), RmsNormKernel<false>,
               RmsNormKernel<true>, launch.views, epsilon);
  });
}

std::unique_ptr<DeviceKernel> PrepareRmsNormBackward(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  const int64_t rows = shape.Product(0, shape.rank - 1), count = shape.Last();
  context.scratch_bytes = ColumnSums::Bytes(rows, count, 1);
  return MakeKernel([=](const LaunchContext& launch) {
    LaunchRows(launch, rows, count, RmsNormBackwardKernel<false>, RmsNormBackwardKernel<true>, launch.views);
    WeightTerm term{};
    term.views = launch.views;
    LaunchColumnSums<1>(launch, rows, count, term, launch.scratch);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> RmsNormKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"rmsNorm", PrepareRmsNorm},
                                                   {"rmsNormBackward", PrepareRmsNormBackward}};
  return kEntries;
}

}  // namespace kairos::gpu
