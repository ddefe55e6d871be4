// The frame of a step, on the device: what is live and where it lies, computed counts, the outputs' finiteness, and
// the gate before the commit, which lets no step write state once a fault was raised.
#include "cuda/frame.h"

namespace kairos::gpu {
namespace {

constexpr int kFrameThreads = 1024;

__device__ int64_t Evaluate(const int64_t* polynomial, const int64_t* counts) {
  int64_t sum = 0;
  const int64_t terms = *polynomial++;
  for (int64_t term = 0; term < terms; ++term) {
    int64_t product = *polynomial++;
    const int64_t factors = *polynomial++;
    for (int64_t i = 0; i < factors; ++i) product *= counts[*polynomial++];
    sum += product;
  }
  return sum;
}

// Sizes stay within the capacities whatever a program computes: memory was planned for those.
__device__ void WriteView(const FrameArguments& frame, int index) {
  const ViewPlan& plan = frame.plans[index];
  TensorView view;
  view.data = frame.storages[plan.storage];
  view.dtype = plan.dtype;
  view.shape.rank = plan.rank;
  for (int axis = 0; axis < plan.rank; ++axis) {
    const int64_t size = Evaluate(frame.polynomials + plan.dims[axis], frame.counts);
    view.shape.dims[axis] = size < 0 ? 0 : size < plan.capacity[axis] ? size : plan.capacity[axis];
  }
  frame.views[index] = view;
}

__global__ void StartKernel(FrameArguments frame) {
  for (int64_t i = FlatBegin(); i < frame.view_count; i += FlatStep()) {
    if (i == 0) *frame.fault = DeviceFault();
    WriteView(frame, static_cast<int>(i));
  }
}

// One block: the count is read by all before the views are written anew.
__global__ void TakeCountKernel(FrameArguments frame, int computed, int step) {
  const int32_t symbol = frame.computed[2 * computed], storage = frame.computed[2 * computed + 1];
  if (threadIdx.x == 0) {
    const int64_t limit = frame.counts[symbol];
    const int32_t count = *static_cast<const int32_t*>(frame.storages[storage]);
    const bool fits = count >= 0 && count <= limit;
    if (!fits)
      FaultSink{frame.fault, step}.Raise(DeviceFault::kCount, DeviceFault::kIdOf, symbol, count, 0, limit, 0);
    frame.counts[symbol] = fits ? count : 0;
  }
  BlockSync();
  for (int i = static_cast<int>(threadIdx.x); i < frame.view_count; i += static_cast<int>(blockDim.x))
    WriteView(frame, i);
}

struct Least {
  __device__ int64_t operator()(int64_t a, int64_t b) const { return a < b ? a : b; }
};

// One block: the first number that is not finite is told, the same one every time.
__global__ void CheckFiniteKernel(FrameArguments frame, int output) {
  if (!frame.require_finite[output]) return;
  const TensorView& view = frame.views[frame.output_begin + output];
  const float* values = view.As<const float>();
  const int64_t count = view.shape.Count();
  int64_t first = count;
  for (int64_t i = threadIdx.x; i < count && first == count; i += blockDim.x)
    if (!(values[i] - values[i] == 0)) first = i;
  first = BlockCombine(first, Least());
  if (threadIdx.x == 0 && first < count)
    FaultSink{frame.fault, output}.Raise(DeviceFault::kOutput, DeviceFault::kIdOf, first, 0, 0, 0, 0,
                                         values[first]);
}

__global__ void KeepKernel(FrameArguments frame, int index, std::byte* to) {
  const TensorView& view = frame.views[index];
  const int64_t bytes = view.shape.Count() * static_cast<int64_t>(SizeOf(view.dtype));
  for (int64_t i = FlatBegin(); i < bytes; i += FlatStep()) to[i] = view.As<const std::byte>()[i];
}

// With every size at zero the commit's kernels have nothing to write.
__global__ void GateKernel(FrameArguments frame) {
  if (frame.fault->kind == DeviceFault::kNone) return;
  for (int64_t i = frame.commit_begin + FlatBegin(); i < frame.commit_end; i += FlatStep()) {
    TensorView& view = frame.views[i];
    if (view.shape.rank == 0) view.shape.rank = 1;
    for (int axis = 0; axis < kMaxRank; ++axis) view.shape.dims[axis] = 0;
  }
}

}  // namespace

void LaunchStart(const FrameArguments& frame, void* stream) {
  LaunchFlatOn(stream, FlatBlocks(std::max(frame.view_count, 1)), kFlatThreads, StartKernel, frame);
}

void LaunchTakeCount(const FrameArguments& frame, int computed, int step, void* stream) {
  LaunchOn(stream, dim3(1), kFrameThreads, TakeCountKernel, frame, computed, step);
}

void LaunchCheckFinite(const FrameArguments& frame, int output, void* stream) {
  LaunchOn(stream, dim3(1), kFrameThreads, CheckFiniteKernel, frame, output);
}

void LaunchKeep(const FrameArguments& frame, int view, void* to, int64_t most, void* stream) {
  LaunchFlatOn(stream, FlatBlocks(most), kFlatThreads, KeepKernel, frame, view, static_cast<std::byte*>(to));
}

void LaunchGate(const FrameArguments& frame, void* stream) {
  LaunchFlatOn(stream, FlatBlocks(frame.commit_end - frame.commit_begin), kFlatThreads, GateKernel, frame);
}

}  // namespace kairos::gpu
