// softmaxCrossEntropy(logits, labels) -> loss, logSumExp, and softmaxCrossEntropyBackward(logits, labels, logSumExp,
// dloss) -> dlogits: formulas as in cpu/cross_entropy.cc. A warp or a block takes a row and reads it once, maximum and
// sum together. Floor: the logits' bytes over the bandwidth, twice of that backward.
#include "cuda/families.h"
#include "cuda/labels.h"
#include "cuda/rows.h"

namespace kairos::gpu {
namespace {

template <bool kBlock>
__global__ void CrossEntropyKernel(const TensorView* views, int64_t ignored, FaultSink sink) {
  using Group = RowGroup<kBlock>;
  const Shape& shape = views[0].shape;
  const int64_t classes = shape.Last(), rows = shape.Product(0, shape.rank - 1);
  const auto* labels = views[1].As<const int32_t>();
  float *loss = views[2].As<float>(), *log_sum_exp = views[3].As<float>();
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float* x = Global(views[0].As<const float>()) + row * classes;
    Exponentials part;
    for (int64_t i = Group::Lane(); i < classes; i += 4 * Group::kLanes) {
      float four[4];
      for (int k = 0; k < 4; ++k) {
        const int64_t at = i + k * Group::kLanes;
        four[k] = at < classes ? x[at] : -INFINITY;
      }
      part.Add(four);
    }
    const float most = Group::All(part.most, Maximum());
    const double sum = Group::Sum(part.ScaledTo(most));
    if (Group::Lane() != 0) continue;
    const double exact = most + log(sum);
    const int64_t label = labels[row];
    log_sum_exp[row] = static_cast<float>(exact);
    loss[row] = LabelCounts(label, ignored, classes, row, sink) ? static_cast<float>(exact - x[label]) : 0.0f;
  }
}

template <bool kBlock>
__global__ void CrossEntropyBackwardKernel(const TensorView* views, int64_t ignored, FaultSink sink) {
  using Group = RowGroup<kBlock>;
  const Shape& shape = views[0].shape;
  const int64_t classes = shape.Last(), rows = shape.Product(0, shape.rank - 1);
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const float* x = Global(views[0].As<const float>()) + row * classes;
    float* dx = Global(views[4].As<float>()) + row * classes;
    const int64_t label = views[1].As<const int32_t>()[row];
    const float log_sum_exp = views[2].As<const float>()[row], dloss = views[3].As<const float>()[row];
    const bool counts = LabelCounts(label, ignored, classes, row, sink);
    for (int64_t i = Group::Lane(); i < classes; i += Group::kLanes) {
      const float p = counts ? expf(x[i] - log_sum_exp) * dloss : 0.0f;
      dx[i] = counts && i == label ? p - dloss : p;
    }
  }
}

using RowsKernel = void (*)(const TensorView*, int64_t, FaultSink);

template <RowsKernel kWarpForm, RowsKernel kBlockForm>
std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  const Shape shape = context.inputs[0].shape;
  const int64_t ignored = context.attributes.Int("ignoreIndex");
  return MakeKernel([=, rows = shape.Product(0, shape.rank - 1)](const LaunchContext& launch) {
    LaunchRows(launch, rows, shape.Last(), kWarpForm, kBlockForm, launch.views, ignored, SinkOf(launch));
  });
}

}  // namespace

std::span<const DeviceKernelEntry> CrossEntropyKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {
      {"softmaxCrossEntropy", Prepare<CrossEntropyKernel<false>, CrossEntropyKernel<true>>},
      {"softmaxCrossEntropyBackward",
       Prepare<CrossEntropyBackwardKernel<false>, CrossEntropyBackwardKernel<true>>}};
  return kEntries;
}

}  // namespace kairos::gpu
