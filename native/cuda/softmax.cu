// softmax(x) over the last axis, and softmaxBackward(y, dy) = y (dy - sum(y dy)). Each may work in place: a thread
// writes only what it alone has read.
#include "cuda/families.h"
#include "cuda/rows.h"

namespace kairos::gpu {
namespace {

// A row of minus infinities gives NaN, as on the CPU: there is no distribution to return.
template <bool kBlock>
__global__ void SoftmaxKernel(const TensorView* x, const TensorView* y) {
  using Group = RowGroup<kBlock>;
  const int64_t count = y->shape.Last(), rows = y->shape.Product(0, y->shape.rank - 1);
  if (count == 0) return;
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float* from = x->As<const float>() + row * count;
    float* to = y->As<float>() + row * count;
    float most = -INFINITY;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) most = Maximum()(most, from[i]);
    most = Group::All(most, Maximum());
    float sum = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) {
      const float term = expf(from[i] - most);
      to[i] = term;
      sum += term;
    }
    const auto scale = static_cast<float>(1 / Group::Sum(static_cast<double>(sum)));
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) to[i] *= scale;
  }
}

template <bool kBlock>
__global__ void SoftmaxBackwardKernel(const TensorView* views) {
  using Group = RowGroup<kBlock>;
  const TensorView &y = views[0], &dy = views[1], &dx = views[2];
  const int64_t count = dx.shape.Last(), rows = dx.shape.Product(0, dx.shape.rank - 1);
  if (count == 0) return;
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float *from = y.As<const float>() + row * count, *up = dy.As<const float>() + row * count;
    float* to = dx.As<float>() + row * count;
    float sum = 0;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) sum += from[i] * up[i];
    const auto dot = static_cast<float>(Group::Sum(static_cast<double>(sum)));
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) to[i] = from[i] * (up[i] - dot);
  }
}

std::unique_ptr<DeviceKernel> PrepareSoftmax(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  return MakeKernel(
      [rows = shape.Product(0, shape.rank - 1), count = shape.Last()](const LaunchContext& launch) {
        LaunchRows(launch, rows, count, SoftmaxKernel<false>, SoftmaxKernel<true>, launch.views,
                   launch.views + 1);
      });
}

std::unique_ptr<DeviceKernel> PrepareSoftmaxBackward(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  return MakeKernel([rows = shape.Product(0, shape.rank - 1),
                     count = shape.Last()](const LaunchContext& launch) {
    LaunchRows(launch, rows, count, SoftmaxBackwardKernel<false>, SoftmaxBackwardKernel<true>, launch.views);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> SoftmaxKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"softmax", PrepareSoftmax},
                                                   {"softmaxBackward", PrepareSoftmaxBackward}};
  return kEntries;
}

}  // namespace kairos::gpu
