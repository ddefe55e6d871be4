// sum and max over adjacent axes: [outer, reduced, inner] -> [outer, inner]. The reduced axis is cut into chunks of a
// fixed length; each is reduced alone (a warp where its elements are neighbours, else a thread for each column), and a
// warp joins the chunks of a result. Sums are float64 on the way. How the work is cut depends on the reduced length
// alone, so a result has the same bits whatever stands beside it.
#include "cuda/families.h"
#include "cuda/gpu.h"

namespace kairos::gpu {
namespace {

struct SumFloat {
  using T = float;
  using Wide = double;
  static constexpr double kIdentity = 0;
  __device__ double operator()(double a, double b) const { return a + b; }
};
struct SumInt {
  using T = int32_t;
  using Wide = uint32_t;  // wraps
  static constexpr uint32_t kIdentity = 0;
  __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a + b; }
};
struct MaxFloat : Maximum {
  using T = float;
  using Wide = float;
  static constexpr float kIdentity = -std::numeric_limits<float>::infinity();
};

constexpr int64_t kRowChunk = 1024, kColumnChunk = 64;
constexpr int kBlock = 128;

struct Cut {
  int64_t outer, reduced, inner, chunk, chunks;
};

__host__ __device__ constexpr Cut CutOf(const Shape& x, int axis, int end) {
  Cut cut{x.Product(0, axis), x.Product(axis, end), x.Product(end, x.rank), 0, 0};
  cut.chunk = cut.inner == 1 ? kRowChunk : kColumnChunk;
  cut.chunks = (cut.reduced + cut.chunk - 1) / cut.chunk;
  return cut;
}

// partial: [chunk][outer, inner]
template <class Reduction>
__global__ void RowChunksKernel(const TensorView* x, int axis, int end, typename Reduction::Wide* partial) {
  using Wide = typename Reduction::Wide;
  const Cut cut = CutOf(x->shape, axis, end);
  const auto* from = x->As<const typename Reduction::T>();
  const int64_t lane = threadIdx.x % kWarp, warps = FlatStep() / kWarp, total = cut.outer * cut.chunks;
  if (cut.inner != 1) return;
  for (int64_t i = FlatBegin() / kWarp; i < total; i += warps) {
    const int64_t row = i / cut.chunks, chunk = i % cut.chunks;
    const int64_t begin = chunk * cut.chunk;
    const int64_t stop = begin + cut.chunk < cut.reduced ? begin + cut.chunk : cut.reduced;
    Wide sum = Reduction::kIdentity;
    for (int64_t at = begin + lane; at < stop; at += kWarp)
      sum = Reduction()(sum, static_cast<Wide>(from[row * cut.reduced + at]));
    sum = WarpCombine(sum, Reduction());
    if (lane == 0) partial[chunk * cut.outer + row] = sum;
  }
}

template <class Reduction>
__global__ void ColumnChunksKernel(const TensorView* x, int axis, int end,
                                   typename Reduction::Wide* partial) {
  using Wide = typename Reduction::Wide;
  const Cut cut = CutOf(x->shape, axis, end);
  const auto* from = x->As<const typename Reduction::T>();
  const int64_t results = cut.outer * cut.inner;
  if (cut.inner == 1) return;
  for (int64_t i = FlatBegin(); i < results * cut.chunks; i += FlatStep()) {
    const int64_t chunk = i / results, result = i % results;
    const int64_t row = result / cut.inner, column = result % cut.inner;
    const int64_t begin = chunk * cut.chunk;
    const int64_t stop = begin + cut.chunk < cut.reduced ? begin + cut.chunk : cut.reduced;
    Wide sum = Reduction::kIdentity;
    for (int64_t at = begin; at < stop; ++at)
      sum = Reduction()(sum, static_cast<Wide>(from[(row * cut.reduced + at) * cut.inner + column]));
    partial[i] = sum;
  }
}

// A thread for each result where chunks are few, else a warp.
template <class Reduction, bool kWarps>
__global__ void JoinKernel(const TensorView* x, const TensorView* out, int axis, int end,
                           const typename Reduction::Wide* partial) {
  using Wide = typename Reduction::Wide;
  const Cut cut = CutOf(x->shape, axis, end);
  const int64_t results = out->shape.Count(), lane = kWarps ? threadIdx.x % kWarp : 0;
  const int64_t lanes = kWarps ? kWarp : 1;
  for (int64_t i = FlatBegin() / lanes; i < results; i += FlatStep() / lanes) {
    Wide sum = Reduction::kIdentity;
    for (int64_t chunk = lane; chunk < cut.chunks; chunk += lanes)
      sum = Reduction()(sum, partial[chunk * results + i]);
    if (kWarps) sum = WarpCombine(sum, Reduction());
    if (lane == 0) out->As<typename Reduction::T>()[i] = static_cast<typename Reduction::T>(sum);
  }
}

template <class Reduction>
std::unique_ptr<DeviceKernel> PrepareAs(DevicePrepareContext& context) {
  using Wide = typename Reduction::Wide;
  const int axis = static_cast<int>(context.attributes.Int("axis"));
  const int end = axis + static_cast<int>(context.attributes.Int("count"));
  const Shape shape = context.inputs[0].shape;
  const int64_t results = context.outputs[0].shape.Count();
  const int64_t inner = shape.Product(end, shape.rank), chunk = inner > 1 ? kColumnChunk : kRowChunk;
  const int64_t chunks = (shape.Product(axis, end) + chunk - 1) / chunk;
  context.scratch_bytes = static_cast<size_t>(chunks * results) * sizeof(Wide);
  return MakeKernel([=](const LaunchContext& launch) {
    auto* partial = reinterpret_cast<Wide*>(launch.scratch);
    // Live sizes may make the inner axes one element: either form runs where it applies.
    const int64_t row_chunks = (shape.Product(axis, end) + kRowChunk - 1) / kRowChunk;
    const auto blocks = [](int64_t threads) {
      return std::min((threads + kBlock - 1) / kBlock, kMostFlatBlocks);
    };
    Launch(launch, blocks(shape.Product(0, axis) * row_chunks * kWarp), kBlock, RowChunksKernel<Reduction>,
           launch.views, axis, end, partial);
    if (inner > 1)
      LaunchFlat(launch, results * chunks, ColumnChunksKernel<Reduction>, launch.views, axis, end, partial);
    if (chunks > kWarp)
      Launch(launch, blocks(results * kWarp), kBlock, JoinKernel<Reduction, true>, launch.views,
             launch.views + 1, axis, end, static_cast<const Wide*>(partial));
    else
      LaunchFlat(launch, results, JoinKernel<Reduction, false>, launch.views, launch.views + 1, axis, end,
                 static_cast<const Wide*>(partial));
  });
}

std::unique_ptr<DeviceKernel> PrepareSum(DevicePrepareContext& context) {
  if (context.inputs[0].dtype == DType::kInt32) return PrepareAs<SumInt>(context);
  return PrepareAs<SumFloat>(context);
}

}  // namespace

std::span<const DeviceKernelEntry> ReductionKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"sum", PrepareSum}, {"max", PrepareAs<MaxFloat>}};
  return kEntries;
}

}  // namespace kairos::gpu
