// Ops that move elements and compute nothing: copy, broadcast, transpose, concat, slice, pad, and size, which reads
// the shape alone. A thread writes neighbours of its warp's elements; elements are words or bytes.
#include "cuda/bits.h"
#include "cuda/families.h"
#include "cuda/gpu.h"

namespace kairos::gpu {
namespace {

template <class T>
__global__ void CopyKernel(const TensorView* x, const TensorView* out) {
  const T* from = x->As<const T>();
  T* to = out->As<T>();
  const int64_t count = from == to ? 0 : out->shape.Count();
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) to[i] = from[i];
}

// The result's axes [axis, end) are those that x lacks.
template <class T>
__global__ void BroadcastKernel(const TensorView* x, const TensorView* out, int axis, int end) {
  const int64_t count = out->shape.Count(), inner = out->shape.Product(end, out->shape.rank),
                block = out->shape.Product(axis, out->shape.rank);
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, block);
    out->As<T>()[i] = x->As<const T>()[at.quotient * inner + Divide(at.remainder, inner).remainder];
  }
}

struct Permutation {
  int axes[kMaxRank];
};

template <class T>
__global__ void TransposeKernel(const TensorView* x, const TensorView* out, Permutation permutation) {
  const Shape& shape = out->shape;
  int64_t strides[kMaxRank];
  for (int axis = 0; axis < shape.rank; ++axis)
    strides[axis] = x->shape.Product(permutation.axes[axis] + 1, shape.rank);
  const int64_t count = shape.Count();
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    int64_t rest = i, from = 0;
    for (int axis = shape.rank - 1; axis >= 0; --axis) {
      const Division at = Divide(rest, shape[axis]);
      from += at.remainder * strides[axis];
      rest = at.quotient;
    }
    out->As<T>()[i] = x->As<const T>()[from];
  }
}

constexpr int kTile = 32;

// The last two axes swapped, as most transposes are: a tile goes through shared memory, so that both sides are read
// and written in whole lines. blockIdx: matrix, tile of rows, tile of columns; of x, which is [matrices, rows, columns].
template <class T>
__global__ void SwapKernel(const TensorView* x, const TensorView* out) {
  __shared__ T tile[kTile][kTile + 1];
  const Shape& shape = x->shape;
  const int64_t rows = shape[shape.rank - 2], columns = shape[shape.rank - 1];
  const int64_t matrices = shape.Product(0, shape.rank - 2);
  const int64_t row = int64_t{blockIdx.y} * kTile, column = int64_t{blockIdx.z} * kTile;
  const int x_at = static_cast<int>(threadIdx.x % kTile), y_at = static_cast<int>(threadIdx.x / kTile);
  const int step = static_cast<int>(blockDim.x / kTile);
  for (int64_t matrix = blockIdx.x; matrix < matrices; matrix += gridDim.x) {
    const T* from = x->As<const T>() + matrix * rows * columns;
    T* to = out->As<T>() + matrix * rows * columns;
    for (int y = y_at; y < kTile; y += step)
      if (row + y < rows && column + x_at < columns)
        tile[y][x_at] = from[(row + y) * columns + column + x_at];
    BlockSync();
    for (int y = y_at; y < kTile; y += step)
      if (column + y < columns && row + x_at < rows) to[(column + y) * rows + row + x_at] = tile[x_at][y];
    BlockSync();
  }
}

template <class T>
__global__ void ConcatKernel(const TensorView* views, int inputs, int axis) {
  const TensorView& out = views[inputs];
  const int64_t count = out.shape.Count(), block = out.shape.Product(axis, out.shape.rank);
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, block);
    int64_t rest = at.remainder;
    for (int k = 0; k < inputs; ++k) {
      const Shape& shape = views[k].shape;
      const int64_t piece = shape.Product(axis, shape.rank);
      if (rest < piece) {
        out.As<T>()[i] = views[k].As<const T>()[at.quotient * piece + rest];
        break;
      }
      rest -= piece;
    }
  }
}

template <class T>
__global__ void SliceKernel(const TensorView* x, const TensorView* out, int axis, int64_t start) {
  const int64_t count = out->shape.Count(), block = out->shape.Product(axis, out->shape.rank),
                from = x->shape.Product(axis, x->shape.rank),
                skip = start * x->shape.Product(axis + 1, x->shape.rank);
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, block);
    out->As<T>()[i] = x->As<const T>()[at.quotient * from + skip + at.remainder];
  }
}

template <class T>
__global__ void PadKernel(const TensorView* x, const TensorView* out, int axis, int64_t before) {
  const int64_t count = out->shape.Count(), block = out->shape.Product(axis, out->shape.rank),
                piece = x->shape.Product(axis, x->shape.rank),
                skip = before * x->shape.Product(axis + 1, x->shape.rank);
  for (int64_t i = FlatBegin(); i < count; i += FlatStep()) {
    const Division at = Divide(i, block);
    const int64_t within = at.remainder - skip;
    const bool inside = within >= 0 && within < piece;
    out->As<T>()[i] = inside ? x->As<const T>()[at.quotient * piece + within] : T{0};
  }
}

__global__ void SizeKernel(const TensorView* x, const TensorView* out, int axis, int end) {
  if (FlatBegin() == 0 && out->shape.Count() > 0)
    *out->As<float>() = static_cast<float>(x->shape.Product(axis, end));
}

// ---- Launchers ----

// Calls `launch` with a zero of the element's type.
template <class Function>
void ByElement(DType dtype, Function launch) {
  if (dtype == DType::kBool)
    launch(uint8_t{0});
  else
    launch(uint32_t{0});
}

// One launch over the result's elements: `start(launch, count, element)`.
template <class Function>
std::unique_ptr<DeviceKernel> PerElement(const DevicePrepareContext& context, Function start) {
  const int64_t count = context.outputs[0].shape.Count();
  return MakeKernel([count, start, dtype = context.outputs[0].dtype](const LaunchContext& launch) {
    ByElement(dtype, [&](auto element) { start(launch, count, element); });
  });
}

std::unique_ptr<DeviceKernel> PrepareCopy(DevicePrepareContext& context) {
  return PerElement(context, [](const LaunchContext& launch, int64_t count, auto element) {
    LaunchFlat(launch, count, CopyKernel<decltype(element)>, launch.views, launch.views + 1);
  });
}

std::unique_ptr<DeviceKernel> PrepareBroadcast(DevicePrepareContext& context) {
  const int axis = static_cast<int>(context.attributes.Int("axis"));
  const int end = axis + static_cast<int>(context.attributes.Int("count"));
  return PerElement(context, [axis, end](const LaunchContext& launch, int64_t count, auto element) {
    LaunchFlat(launch, count, BroadcastKernel<decltype(element)>, launch.views, launch.views + 1, axis, end);
  });
}

std::unique_ptr<DeviceKernel> PrepareTranspose(DevicePrepareContext& context) {
  const auto list = context.attributes.Ints("permutation");
  const int rank = static_cast<int>(list.size());
  Permutation permutation{};
  bool swaps = rank >= 2;
  for (int axis = 0; axis < rank; ++axis) {
    permutation.axes[axis] = static_cast<int>(list[axis]);
    swaps = swaps && list[axis] == (axis < rank - 2 ? axis : axis == rank - 2 ? rank - 1 : rank - 2);
  }
  const Shape& shape = context.inputs[0].shape;
  const int64_t rows = rank < 2 ? 0 : (shape[rank - 2] + kTile - 1) / kTile,
                columns = rank < 2 ? 0 : (shape[rank - 1] + kTile - 1) / kTile;
  constexpr int64_t kMostY = 65535;
  if (!swaps || rows > kMostY || columns > kMostY)
    return PerElement(context, [permutation](const LaunchContext& launch, int64_t count, auto element) {
      LaunchFlat(launch, count, TransposeKernel<decltype(element)>, launch.views, launch.views + 1,
                 permutation);
    });
  const int64_t matrices = std::min(shape.Product(0, rank - 2), kMostBlocks);
  return PerElement(context, [=](const LaunchContext& launch, int64_t count, auto element) {
    const dim3 grid(static_cast<unsigned>(matrices), static_cast<unsigned>(rows),
                    static_cast<unsigned>(columns));
    if (count > 0)
      LaunchOn(launch.stream, grid, 256, SwapKernel<decltype(element)>, launch.views, launch.views + 1);
  });
}

std::unique_ptr<DeviceKernel> PrepareConcat(DevicePrepareContext& context) {
  const int axis = static_cast<int>(context.attributes.Int("axis"));
  return PerElement(context, [axis](const LaunchContext& launch, int64_t count, auto element) {
    LaunchFlat(launch, count, ConcatKernel<decltype(element)>, launch.views, launch.inputs, axis);
  });
}

std::unique_ptr<DeviceKernel> PrepareSlice(DevicePrepareContext& context) {
  const int axis = static_cast<int>(context.attributes.Int("axis"));
  const int64_t start = context.attributes.Int("start");
  return PerElement(context, [axis, start](const LaunchContext& launch, int64_t count, auto element) {
    LaunchFlat(launch, count, SliceKernel<decltype(element)>, launch.views, launch.views + 1, axis, start);
  });
}

std::unique_ptr<DeviceKernel> PreparePad(DevicePrepareContext& context) {
  const int axis = static_cast<int>(context.attributes.Int("axis"));
  const int64_t before = context.attributes.Int("before");
  return PerElement(context, [axis, before](const LaunchContext& launch, int64_t count, auto element) {
    LaunchFlat(launch, count, PadKernel<decltype(element)>, launch.views, launch.views + 1, axis, before);
  });
}

std::unique_ptr<DeviceKernel> PrepareSize(DevicePrepareContext& context) {
  const int axis = static_cast<int>(context.attributes.Int("axis"));
  const int end = axis + static_cast<int>(context.attributes.Int("count"));
  return MakeKernel([axis, end](const LaunchContext& launch) {
    LaunchFlat(launch, 1, SizeKernel, launch.views, launch.views + 1, axis, end);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> MovementKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {
      {"copy", PrepareCopy},     {"broadcast", PrepareBroadcast}, {"transpose", PrepareTranspose},
      {"concat", PrepareConcat}, {"slice", PrepareSlice},         {"pad", PreparePad},
      {"size", PrepareSize},
  };
  return kEntries;
}

}  // namespace kairos::gpu
