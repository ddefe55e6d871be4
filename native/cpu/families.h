// The kernel families of the CPU, one file each in this folder.
#pragma once

#include <span>

#include "runtime/kernel.h"

namespace kairos {

#define KAIROS_FAMILIES(F) \
  F(Attention)             \
  F(BandGains)             \
  F(BandMix)               \
  F(CrossEntropy)          \
  F(Dropout)               \
  F(Elementwise)           \
  F(Embedding)             \
  F(Frequency)             \
  F(Gram)                  \
  F(LayerNorm)             \
  F(LinearCrossEntropy)    \
  F(Matmul)                \
  F(Movement)              \
  F(Packing)               \
  F(Pareto)                \
  F(Ranking)               \
  F(Reduction)             \
  F(RmsNorm)               \
  F(Sampling)              \
  F(Softmax)               \
  F(Sparse)                \
  F(TargetAttention)       \
  F(TopK)

#define KAIROS_DECLARE(Name) std::span<const KernelEntry> Name##Kernels(CpuVariant variant);
KAIROS_FAMILIES(KAIROS_DECLARE)
#undef KAIROS_DECLARE

}  // namespace kairos
