// Functions that several kernels compute, as the CPU's math-inl.h defines them.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

__device__ inline float Sigmoid(float x) {
  const float small = expf(-fabsf(x));
  return (x < 0 ? small : 1.0f) / (1 + small);
}

// The normal distribution, from below: erfc keeps small tails exact.
__device__ inline float NormalCdf(float x) { return 0.5f * erfcf(-x * 0.707106781f); }

__device__ inline float Gelu(float x) { return x * NormalCdf(x < -40 ? -40.0f : x > 40 ? 40.0f : x); }

__device__ inline float GeluGradient(float x) {
  const float at = x < -40 ? -40.0f : x > 40 ? 40.0f : x;
  return at * expf(-0.5f * at * at) * 0.398942280f + NormalCdf(at);
}

}  // namespace kairos::gpu
