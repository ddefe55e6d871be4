// CUDA's words for a compiler that knows none: kernels run on the processor, one block after another, the threads of
// a block as coroutines that take turns at every meeting. Slow and exact: it finds wrong indices, wrong sizes and
// meetings that not all threads reach, but no races.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace kairos::gpu::emulated {

// Now, or when the graph that is being captured is launched.
void Enqueue(void* stream, std::function<void()> work);
void RunGrid(dim3 grid, int threads, size_t shared, const std::function<void()>& thread);
void RunFlat(const std::function<void()>& thread);

void BlockBarrier();
void WarpBarrier();
// Room for what a lane shows its warp: `bytes` of each of 32.
std::byte* WarpSlots();
std::byte* BlockMemory();

extern thread_local dim3 thread_index, block_index, block_size, grid_size;

}  // namespace kairos::gpu::emulated

#define threadIdx ::kairos::gpu::emulated::thread_index
#define blockIdx ::kairos::gpu::emulated::block_index
#define blockDim ::kairos::gpu::emulated::block_size
#define gridDim ::kairos::gpu::emulated::grid_size

namespace kairos::gpu {

inline int64_t FlatBegin() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
inline int64_t FlatStep() { return int64_t{gridDim.x} * blockDim.x; }
inline void BlockSync() { emulated::BlockBarrier(); }
inline void WarpSync() { emulated::WarpBarrier(); }
inline std::byte* SharedMemory() { return emulated::BlockMemory(); }
inline size_t MostSharedBytes() { return size_t{227} << 10; }

template <class T, class Combine>
T WarpCombine(T value, Combine combine, int lanes = 32) {
  T* shown = reinterpret_cast<T*>(emulated::WarpSlots());
  shown[threadIdx.x % 32] = value;
  emulated::WarpBarrier();
  T all[32];
  const int first = static_cast<int>(threadIdx.x % 32) / lanes * lanes;
  for (int lane = 0; lane < lanes; ++lane) all[lane] = shown[first + lane];
  emulated::WarpBarrier();
  for (int distance = lanes / 2; distance > 0; distance /= 2)
    for (int lane = 0; lane < distance; ++lane) all[lane] = combine(all[lane], all[lane + distance]);
  return all[0];
}

inline void Prefetch(const void*) {}

template <class T>
T* Global(T* address) {
  return address;
}

template <class T>
T WarpPrefix(T value) {
  T* shown = reinterpret_cast<T*>(emulated::WarpSlots());
  shown[threadIdx.x % 32] = value;
  emulated::WarpBarrier();
  T sum = 0;
  for (unsigned lane = 0; lane <= threadIdx.x % 32; ++lane) sum += shown[lane];
  emulated::WarpBarrier();
  return sum;
}

inline uint32_t WarpMatch(uint32_t key) {
  auto* shown = reinterpret_cast<uint32_t*>(emulated::WarpSlots());
  shown[threadIdx.x % 32] = key;
  emulated::WarpBarrier();
  uint32_t match = 0;
  for (int lane = 0; lane < 32; ++lane) match |= uint32_t{shown[lane] == key} << lane;
  emulated::WarpBarrier();
  return match;
}
inline int CountBits(uint32_t bits) { return __builtin_popcount(bits); }

inline bool TakeFirst(int32_t* taken) { return *taken == 0 && (*taken = 1) == 1; }
inline int32_t AtomicAdd(int32_t* to, int32_t value) {
  const int32_t before = *to;
  *to += value;
  return before;
}
inline void AtomicMax(int32_t* to, int32_t value) {
  if (value > *to) *to = value;
}
inline int32_t CompareAndSwap(int32_t* at, int32_t expected, int32_t value) {
  const int32_t before = *at;
  if (before == expected) *at = value;
  return before;
}
inline void AtomicMin(int64_t* to, int64_t value) {
  if (value < *to) *to = value;
}

}  // namespace kairos::gpu
