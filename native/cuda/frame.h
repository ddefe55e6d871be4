// Kernels around the steps of a program: see frame.cu.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

// The fault is cleared, and every view gets its address and live shape.
void LaunchStart(const FrameArguments& frame, void* stream);
// A step has computed the count of a symbol: later steps see it.
void LaunchTakeCount(const FrameArguments& frame, int computed, int step, void* stream);
// Raises for a float32 output that must be finite and is not.
void LaunchCheckFinite(const FrameArguments& frame, int output, void* stream);
// Copies what a view shows, at most `most` bytes, before the commit writes over it.
void LaunchKeep(const FrameArguments& frame, int view, void* to, int64_t most, void* stream);
// After a fault, empties the views of the steps that write state.
void LaunchGate(const FrameArguments& frame, void* stream);

}  // namespace kairos::gpu
