// Labels of classes, as the losses read them.
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

// Whether the row counts. A label that is neither in range nor ignored raises the fault and does not count.
__device__ inline bool LabelCounts(int64_t label, int64_t ignored, int64_t classes, int64_t row,
                                   const FaultSink& sink) {
  if (label == ignored) return false;
  if (label >= 0 && label < classes) return true;
  sink.RaiseId(row, label, classes);
  return false;
}

// The maximum and the sum of exponentials of what came so far.
struct Exponentials {
  float most = -INFINITY;
  double sum = 0;

  // Four at a time, so that the sum is scaled anew once for them; minus infinity adds nothing.
  __device__ void Add(const float (&x)[4]) {
    float greatest = most;
    for (const float value : x) greatest = Maximum()(greatest, value);
    if (greatest == -INFINITY) return;
    float terms = 0;
    for (const float value : x) terms += expf(value - greatest);
    sum = (most == greatest ? sum : sum * expf(most - greatest)) + terms;
    most = greatest;
  }
  // What the sum counts for where the maximum of all is `greatest`.
  __device__ double ScaledTo(float greatest) const {
    return most == -INFINITY ? 0 : sum * exp(static_cast<double>(most) - greatest);
  }
};

}  // namespace kairos::gpu
