// matmul(a, b[, bias]): c = activation(op(a) op(b) + bias), alone or batched, in float32 on the ordinary units or, where
// the executor's precision is less, on tensor cores (product_tensor.h).
//
// A block of 256 threads makes a square tile of c, each thread kEach x kEach of its elements in registers; strips of a
// and b of kDepth along k pass through shared memory. An element sums over k in order, so its bits depend on nothing
// beside it. A product over a long k into a small c (a weight gradient: a transposed) is also cut along k at fixed
// places; slices go to scratch and are added in order.
#include <string_view>

#include "cuda/families.h"
#include "cuda/product.h"
#include "cuda/product_tensor.h"

namespace kairos::gpu {
namespace {

using namespace product;  // NOLINT: this file is what it is for

constexpr int kDepth = 16, kSide = 16, kThreads = kSide * kSide;
constexpr int64_t kSlice = 1024, kSliceStep = 32;  // of k: a multiple of every strip's depth
constexpr int64_t kMostPartialFloats = int64_t{1} << 24;

// One strip of a matrix into shared memory: lines (rows of a, columns of b) from `line`, depths from `depth`; zeros
// beyond the ends. Neighbouring threads read neighbouring elements, whichever way the matrix lies.
template <int kTile>
__device__ void LoadStrip(const float* from, bool depth_last, int64_t line, int64_t lines, int64_t depth,
                          int64_t depth_end, int64_t lead, float (*to)[kTile + 1]) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kThreads) {
    const int at = depth_last ? i / kDepth : i % kTile, down = depth_last ? i % kDepth : i / kTile;
    const int64_t x = line + at, y = depth + down;
    const bool inside = x < lines && y < depth_end;
    to[down][at] = inside ? (depth_last ? from[x * lead + y] : from[y * lead + x]) : 0.0f;
  }
}

// blockIdx.x: tile of c; y: matrix of the batch; z: slice of k.
template <int kEach>
__global__ void __launch_bounds__(kThreads)
    ProductKernel(const TensorView* views, Form form, float* partial) {
  constexpr int kTile = kSide * kEach;
  __shared__ float a_strip[kDepth][kTile + 1], b_strip[kDepth][kTile + 1];
  const TensorView &a = views[0], &b = views[1], &c = views[form.bias ? 3 : 2];
  const Sizes sizes = SizesOf(a.shape, b.shape, form.transpose_a, form.transpose_b);
  const int64_t across = (sizes.n + kTile - 1) / kTile, tiles = (sizes.m + kTile - 1) / kTile * across;
  const int64_t k_begin = form.slice * blockIdx.z;
  const int64_t k_end = form.slice > 0 && k_begin + form.slice < sizes.k ? k_begin + form.slice : sizes.k;
  const int ty = static_cast<int>(threadIdx.x) / kSide, tx = static_cast<int>(threadIdx.x) % kSide;
  // A slice beyond the live k has nothing to add; whole blocks leave.
  if (blockIdx.z > 0 && k_begin >= sizes.k) return;
  for (int64_t matrix = blockIdx.y; matrix < sizes.batch; matrix += gridDim.y)
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      const float* from_a = a.As<const float>() + matrix * sizes.m * sizes.k;
      const float* from_b = b.As<const float>() + (b.shape.rank == 2 ? 0 : matrix * sizes.k * sizes.n);
      const int64_t row = tile / across * kTile, column = tile % across * kTile;
      float sums[kEach][kEach] = {};
      for (int64_t depth = k_begin; depth < k_end; depth += kDepth) {
        LoadStrip<kTile>(from_a, !form.transpose_a, row, sizes.m, depth, k_end,
                         form.transpose_a ? sizes.m : sizes.k, a_strip);
        LoadStrip<kTile>(from_b, form.transpose_b, column, sizes.n, depth, k_end,
                         form.transpose_b ? sizes.k : sizes.n, b_strip);
        BlockSync();
        for (int down = 0; down < kDepth; ++down) {
          float left[kEach], right[kEach];
          for (int i = 0; i < kEach; ++i) left[i] = a_strip[down][ty + kSide * i];
          for (int j = 0; j < kEach; ++j) right[j] = b_strip[down][tx + kSide * j];
          for (int i = 0; i < kEach; ++i)
            for (int j = 0; j < kEach; ++j) sums[i][j] += left[i] * right[j];
        }
        BlockSync();
      }
      float* to = form.slice > 0 ? partial + (blockIdx.z * sizes.batch + matrix) * sizes.m * sizes.n
                                 : c.As<float>() + matrix * sizes.m * sizes.n;
      const float* bias = form.bias ? views[2].As<const float>() : nullptr;
      for (int i = 0; i < kEach; ++i)
        for (int j = 0; j < kEach; ++j) {
          const int64_t m = row + ty + kSide * i, n = column + tx + kSide * j;
          if (m >= sizes.m || n >= sizes.n) continue;
          const float sum = sums[i][j] + (bias && form.slice == 0 ? bias[n] : 0.0f);
          to[m * sizes.n + n] = form.slice > 0 ? sum : Activate(form.activation, sum);
        }
    }
}

__global__ void JoinSlicesKernel(const TensorView* views, Form form, const float* partial) {
  const TensorView& c = views[form.bias ? 3 : 2];
  const Sizes sizes = SizesOf(views[0].shape, views[1].shape, form.transpose_a, form.transpose_b);
  const float* bias = form.bias ? views[2].As<const float>() : nullptr;
  const int64_t count = c.shape.Count(), slices = (sizes.k + form.slice - 1) / form.slice;
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    float sum = bias ? bias[i % sizes.n] : 0.0f;
    for (int64_t slice = 0; slice < slices; ++slice) sum += partial[slice * count + i];
    c.As<float>()[i] = Activate(form.activation, sum);
  }
}

std::unique_ptr<DeviceKernel> PrepareMatmul(DevicePrepareContext& context) {
  constexpr std::string_view kActivations[] = {"none", "relu", "gelu", "sigmoid", "tanh"};
  Form form{context.attributes.Bool("transposeA"), context.attributes.Bool("transposeB"),
            context.inputs.size() > 2, Activation::kNone, 0};
  for (size_t i = 0; i < std::size(kActivations); ++i)
    if (context.attributes.String("activation") == kActivations[i])
      form.activation = static_cast<Activation>(i);
  const Sizes sizes =
      SizesOf(context.inputs[0].shape, context.inputs[1].shape, form.transpose_a, form.transpose_b);
  const int64_t count = context.outputs[0].shape.Count();
  int64_t slices = 1;
  if (form.transpose_a && sizes.k > kSlice && count > 0 && count <= kMostPartialFloats) {
    const int64_t most = std::max<int64_t>(1, std::min<int64_t>(kMostPartialFloats / count, 1024));
    // Longer slices where there would be too many, still a multiple of the depth.
    form.slice = std::max(kSlice, (sizes.k + most - 1) / most);
    form.slice = (form.slice + kSliceStep - 1) / kSliceStep * kSliceStep;
    slices = (sizes.k + form.slice - 1) / form.slice;
    context.scratch_bytes = static_cast<size_t>(slices * count) * sizeof(float);
  }
  // Large tiles once they fill the machine, small ones before.
  const auto tiles_of = [&](int64_t side) {
    return (sizes.m + side - 1) / side * ((sizes.n + side - 1) / side);
  };
  const bool large = tiles_of(128) * std::min<int64_t>(sizes.batch, 64) * slices >= 128;
  const int64_t tiles = std::min(tiles_of(large ? 128 : 64), kMostBlocks);
  const int64_t batch = std::min<int64_t>(sizes.batch, 65535);
  const auto kernel = [&]() -> void (*)(const TensorView*, Form, float*) {
    switch (context.precision) {
      case Precision::kFloat32: return large ? ProductKernel<8> : ProductKernel<4>;
      case Precision::kTf32: return large ? TensorProductKernel<Tf32, 128> : TensorProductKernel<Tf32, 64>;
      case Precision::kBfloat16:
        return large ? TensorProductKernel<Bfloat16, 128> : TensorProductKernel<Bfloat16, 64>;
    }
    return nullptr;
  }();
  const int threads = context.precision == Precision::kFloat32 ? kThreads
                      : large                                  ? Warps<128>::kThreads
                                                               : Warps<64>::kThreads;
  return MakeKernel([=](const LaunchContext& launch) {
    if (count == 0) return;
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(batch),
                    static_cast<unsigned>(slices));
    auto* partial = reinterpret_cast<float*>(launch.scratch);
    LaunchOn(launch.stream, grid, threads, kernel, launch.views, form, partial);
    if (form.slice > 0)
      LaunchFlat(launch, count, JoinSlicesKernel, launch.views, form, static_cast<const float*>(partial));
  });
}

}  // namespace

std::span<const DeviceKernelEntry> MatmulKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"matmul", PrepareMatmul}};
  return kEntries;
}

}  // namespace kairos::gpu
