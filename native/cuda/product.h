// What both products of matrices know: the form of a call, its sizes, its epilogue.
#pragma once

#include "cuda/gpu.h"
#include "cuda/math.h"

namespace kairos::gpu::product {

enum class Activation { kNone, kRelu, kGelu, kSigmoid, kTanh };

struct Form {
  bool transpose_a, transpose_b, bias;
  Activation activation;
  int64_t slice;  // of k; 0: whole
};

struct Sizes {
  int64_t batch, m, n, k;
};

// Leading axes of a count as rows where b is shared and a is not transposed.
__host__ __device__ constexpr Sizes SizesOf(const Shape& a, const Shape& b, bool transpose_a,
                                            bool transpose_b) {
  Sizes sizes{a.Product(0, a.rank - 2), a[a.rank - 2], b[b.rank - (transpose_b ? 2 : 1)], a[a.rank - 1]};
  if (transpose_a) {
    const int64_t m = sizes.m;
    sizes.m = sizes.k;
    sizes.k = m;
  } else if (b.rank == 2) {
    sizes.m *= sizes.batch;
    sizes.batch = 1;
  }
  return sizes;
}

__device__ inline float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kRelu: return x < 0 ? 0.0f : x;
    case Activation::kGelu: return Gelu(x);
    case Activation::kSigmoid: return Sigmoid(x);
    case Activation::kTanh: return tanhf(x);
  }
  return x;
}

}  // namespace kairos::gpu::product
