// What kernels of this folder are written in: CUDA's own words where nvcc reads them, and the same words as plain C++
// where the emulation does (cuda/emulated/machine.h), so that tests run every kernel on machines without a GPU.
//
// A kernel finds its arguments' addresses and live shapes in device memory (`views`), because a captured graph is
// launched again and again while they change. Two kinds of launch:
//
//   LaunchFlat  threads that know nothing of each other; the kernel walks `for (i = FlatBegin(); ...; i += FlatStep())`
//   Launch      blocks whose threads meet: BlockSync, WarpSum, BlockSum, shared memory (LaunchShared: SharedMemory()).
//               All threads of a block reach every meeting; none returns before.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "runtime/device.h"

// Before loops over registers' arrays, which must not stay loops.
#ifdef __CUDACC__
#include <cuda_runtime.h>
#define KAIROS_PRAGMA(text) _Pragma(#text)
#define KAIROS_UNROLL _Pragma("unroll")
#define KAIROS_UNROLL_BY(times) KAIROS_PRAGMA(unroll times)
#define KAIROS_ROLLED _Pragma("unroll 1")  // bodies too large to stand more than once
#else
#include "cuda/emulated/machine.h"
#define KAIROS_UNROLL
#define KAIROS_UNROLL_BY(times)
#define KAIROS_ROLLED
#endif

namespace kairos::gpu {

constexpr int kWarp = 32;
constexpr int kFlatThreads = 256;
constexpr int64_t kMostFlatBlocks = 8192;
constexpr int64_t kMostBlocks = 0x7fffffff;

// ---- Inside kernels ----

#ifdef __CUDACC__

__device__ inline int64_t FlatBegin() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline int64_t FlatStep() { return int64_t{gridDim.x} * blockDim.x; }
__device__ inline void BlockSync() { __syncthreads(); }
__device__ inline void WarpSync() { __syncwarp(); }

// Memory that the block's threads share, as many bytes as the launch asked for.
__device__ inline std::byte* SharedMemory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<std::byte*>(memory);
}
// What a block may ask for.
inline size_t MostSharedBytes() {
  int device = 0, bytes = 48 << 10;
  if (cudaGetDevice(&device) == cudaSuccess)
    cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return static_cast<size_t>(bytes);
}

// Every lane gets the total of its `lanes` neighbours, a power of two, the same bits in each.
template <class T, class Combine>
__device__ T WarpCombine(T value, Combine combine, int lanes = kWarp) {
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// Asks for the line of an address to be brought near, without waiting for it.
__device__ inline void Prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// An address that was read from memory could be of any kind: loads through it are plain ones once it is said to be of
// device memory.
template <class T>
__device__ T* Global(T* address) {
  __builtin_assume(__isGlobal(address));
  return address;
}

// The sum over this lane and those before it.
template <class T>
__device__ T WarpPrefix(T value) {
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const T before = __shfl_up_sync(0xffffffffu, value, distance);
    if (static_cast<int>(threadIdx.x % kWarp) >= distance) value += before;
  }
  return value;
}

// The lanes that ask with the same key, a bit each.
__device__ inline uint32_t WarpMatch(uint32_t key) { return __match_any_sync(0xffffffffu, key); }
__device__ inline int CountBits(uint32_t bits) { return __popc(bits); }

// The first caller of several wins.
__device__ inline bool TakeFirst(int32_t* taken) { return atomicCAS(taken, 0, 1) == 0; }
__device__ inline int32_t AtomicAdd(int32_t* to, int32_t value) { return atomicAdd(to, value); }
__device__ inline void AtomicMax(int32_t* to, int32_t value) { atomicMax(to, value); }
// What stood there; it is replaced where that was `expected`.
__device__ inline int32_t CompareAndSwap(int32_t* at, int32_t expected, int32_t value) {
  return atomicCAS(at, expected, value);
}
__device__ inline void AtomicMin(int64_t* to, int64_t value) {
  atomicMin(reinterpret_cast<long long*>(to), static_cast<long long>(value));
}

#endif

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// NaN wins, as in the CPU's maximum.
struct Maximum {
  __device__ float operator()(float a, float b) const { return a != a ? a : b != b ? b : a > b ? a : b; }
};

template <class T>
__device__ inline T WarpSum(T value) {
  return WarpCombine(value, Sum());
}

// Every thread of the block gets the total, combined in one order. `blockDim.x` is a multiple of the warp.
template <class T, class Combine>
__device__ T BlockCombine(T value, Combine combine) {
  __shared__ T parts[kWarp];
  value = WarpCombine(value, combine);
  BlockSync();  // the last call's parts are read
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = value;
  BlockSync();
  T total = parts[0];
  for (unsigned i = 1; i < blockDim.x / kWarp; ++i) total = combine(total, parts[i]);
  return total;
}

template <class T>
__device__ inline T BlockSum(T value) {
  return BlockCombine(value, Sum());
}

// The sum over the threads before this one, and over all. `blockDim.x` is a multiple of the warp.
template <class T>
__device__ T BlockPrefix(T value, T* total) {
  __shared__ T sums[kWarp];
  const T prefix = WarpPrefix(value);
  const unsigned warp = threadIdx.x / kWarp;
  BlockSync();  // the last call's sums are read
  if (threadIdx.x % kWarp == kWarp - 1) sums[warp] = prefix;
  BlockSync();
  T before = 0, all = 0;
  for (unsigned i = 0; i < blockDim.x / kWarp; ++i) {
    if (i < warp) before += sums[i];
    all += sums[i];
  }
  *total = all;
  return before + prefix - value;
}

// ---- Faults ----

// Where a kernel says that an id or offset is outside: the first one is kept, and the step changes no state.
struct FaultSink {
  DeviceFault* fault;
  int step;

  __device__ void Raise(DeviceFault::Kind kind, DeviceFault::What what, int64_t position, int64_t value,
                        int64_t least, int64_t limit, int operand, float number = 0) const {
    if (!TakeFirst(&fault->taken)) return;
    fault->what = what;
    fault->step = step;
    fault->operand = operand;
    fault->position = position;
    fault->value = value;
    fault->least = least;
    fault->limit = limit;
    fault->number = number;
    fault->kind = kind;
  }
  // Whether this step or one before it has failed: its results are not looked at.
  __device__ bool Raised() const { return fault->taken != 0; }
  __device__ void RaiseId(int64_t position, int64_t id, int64_t limit, int operand = 0) const {
    Raise(DeviceFault::kId, DeviceFault::kIdOf, position, id, 0, limit, operand);
  }
};

inline int64_t FlatBlocks(int64_t count) { return (count + kFlatThreads - 1) / kFlatThreads; }

inline FaultSink SinkOf(const LaunchContext& context) { return {context.fault, context.step}; }

// ---- Launches ----

#ifdef __CUDACC__

template <class... Parameters, class... Arguments>
void LaunchSharedOn(void* stream, dim3 grid, int threads, size_t shared, void (*kernel)(Parameters...),
                    Arguments... arguments) {
  constexpr size_t kFree = 48 << 10;  // what needs no leave
  if (shared > kFree)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  kernel<<<grid, threads, shared, static_cast<cudaStream_t>(stream)>>>(static_cast<Parameters>(arguments)...);
}
template <class... Parameters, class... Arguments>
void LaunchFlatOn(void* stream, int64_t blocks, int threads, void (*kernel)(Parameters...),
                  Arguments... arguments) {
  blocks = std::min(blocks, kMostFlatBlocks);
  if (blocks > 0)
    LaunchSharedOn(stream, dim3(static_cast<unsigned>(blocks)), threads, 0, kernel, arguments...);
}

#else

template <class... Parameters, class... Arguments>
void LaunchSharedOn(void* stream, dim3 grid, int threads, size_t shared, void (*kernel)(Parameters...),
                    Arguments... arguments) {
  emulated::Enqueue(stream, [=] {
    emulated::RunGrid(grid, threads, shared, [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
}
template <class... Parameters, class... Arguments>
void LaunchFlatOn(void* stream, int64_t blocks, int, void (*kernel)(Parameters...), Arguments... arguments) {
  if (blocks > 0)
    emulated::Enqueue(stream,
                      [=] { emulated::RunFlat([&] { kernel(static_cast<Parameters>(arguments)...); }); });
}

#endif

template <class... Parameters, class... Arguments>
void LaunchOn(void* stream, dim3 grid, int threads, void (*kernel)(Parameters...), Arguments... arguments) {
  LaunchSharedOn(stream, grid, threads, 0, kernel, arguments...);
}

// Blocks for `count` pieces of work, none for none. Kernels walk on in steps of the grid where there are more.
template <class... Parameters, class... Arguments>
void LaunchShared(const LaunchContext& context, int64_t blocks, int threads, size_t shared,
                  void (*kernel)(Parameters...), Arguments... arguments) {
  if (blocks > 0)
    LaunchSharedOn(context.stream, dim3(static_cast<unsigned>(std::min(blocks, kMostBlocks))), threads,
                   shared, kernel, arguments...);
}
template <class... Parameters, class... Arguments>
void Launch(const LaunchContext& context, int64_t blocks, int threads, void (*kernel)(Parameters...),
            Arguments... arguments) {
  LaunchShared(context, blocks, threads, 0, kernel, arguments...);
}
template <class... Parameters, class... Arguments>
void LaunchFlat(const LaunchContext& context, int64_t count, void (*kernel)(Parameters...),
                Arguments... arguments) {
  LaunchFlatOn(context.stream, FlatBlocks(count), kFlatThreads, kernel, arguments...);
}

// ---- A kernel that is one function and what it captured at `prepare` ----

template <class Function>
std::unique_ptr<DeviceKernel> MakeKernel(Function function) {
  class ClosureKernel final : public DeviceKernel {
   public:
    explicit ClosureKernel(Function function) : function_(std::move(function)) {}
    void Launch(const LaunchContext& context) const noexcept override { function_(context); }

   private:
    const Function function_;
  };
  return std::make_unique<ClosureKernel>(std::move(function));
}

}  // namespace kairos::gpu
