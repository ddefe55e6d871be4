// The kernel families of the GPU, one file each in this folder, named as those of the CPU.
#pragma once

#include <span>

#include "runtime/device.h"

namespace kairos::gpu {

#define KAIROS_GPU_FAMILIES(F) \
  F(Attention)                 \
  F(BandGains)                 \
  F(BandMix)                   \
  F(CrossEntropy)              \
  F(Dropout)                   \
  F(Elementwise)               \
  F(Embedding)                 \
  F(Frequency)                 \
  F(Gram)                      \
  F(LayerNorm)                 \
  F(LinearCrossEntropy)        \
  F(Matmul)                    \
  F(Movement)                  \
  F(Packing)                   \
  F(Pareto)                    \
  F(Ranking)                   \
  F(Reduction)                 \
  F(RmsNorm)                   \
  F(Sampling)                  \
  F(Softmax)                   \
  F(Sparse)                    \
  F(TargetAttention)           \
  F(TopK)

#define KAIROS_DECLARE(Name) std::span<const DeviceKernelEntry> Name##Kernels();
KAIROS_GPU_FAMILIES(KAIROS_DECLARE)
#undef KAIROS_DECLARE

inline constexpr std::span<const DeviceKernelEntry> (*kFamilies[])() = {
#define KAIROS_LIST(Name) &Name##Kernels,
    KAIROS_GPU_FAMILIES(KAIROS_LIST)
#undef KAIROS_LIST
};

inline const DeviceKernelEntry* Find(std::string_view name) {
  for (const auto family : kFamilies)
    for (const DeviceKernelEntry& entry : family())
      if (name == entry.name) return &entry;
  return nullptr;
}

inline std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto family : kFamilies)
    for (const DeviceKernelEntry& entry : family()) names.emplace_back(entry.name);
  return names;
}

}  // namespace kairos::gpu
