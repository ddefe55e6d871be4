// Four floats that are loaded and stored at once, and the same words for one float: kernels over rows are written once
// and take fours where rows are whole fours.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

struct alignas(16) Float4 {
  float x, y, z, w;
};

__device__ inline void Add(float* sum, float value) { *sum += value; }
__device__ inline void Add(Float4* sum, const Float4& value) {
  sum->x += value.x;
  sum->y += value.y;
  sum->z += value.z;
  sum->w += value.w;
}
__device__ inline void AddScaled(float* sum, float value, float scale) { *sum += value * scale; }
__device__ inline void AddScaled(Float4* sum, const Float4& value, float scale) {
  sum->x += value.x * scale;
  sum->y += value.y * scale;
  sum->z += value.z * scale;
  sum->w += value.w * scale;
}
__device__ inline void Scale(float* value, float scale) { *value *= scale; }
__device__ inline void Scale(Float4* value, float scale) {
  value->x *= scale;
  value->y *= scale;
  value->z *= scale;
  value->w *= scale;
}

// To and from shared memory and registers.
__device__ inline void LoadFour(const float* from, float* to) {
  const Float4 four = *reinterpret_cast<const Float4*>(from);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}
__device__ inline void StoreFour(const float* from, float* to) {
  *reinterpret_cast<Float4*>(to) = {from[0], from[1], from[2], from[3]};
}

// Buffers begin at multiples of 64 bytes, so rows of whole fours are aligned.
__device__ inline bool InFours(int64_t width) { return width % 4 == 0; }

// The sum of row(pick(at)) over [begin, end), added in order. What to read is known for several rows before the first
// of them is awaited; `row` gives zeros for what is not there.
template <class Vector, class Pick, class Row>
__device__ Vector SumInOrder(int64_t begin, int64_t end, Pick pick, Row row) {
  constexpr int kAhead = 8;
  Vector sum{};
  int64_t at = begin;
  for (; at + kAhead <= end; at += kAhead) {
    int64_t picked[kAhead];
    Vector rows[kAhead];
    for (int k = 0; k < kAhead; ++k) picked[k] = pick(at + k);
    for (int k = 0; k < kAhead; ++k) rows[k] = row(picked[k]);
    for (int k = 0; k < kAhead; ++k) Add(&sum, rows[k]);
  }
  for (; at < end; ++at) Add(&sum, row(pick(at)));
  return sum;
}

}  // namespace kairos::gpu
