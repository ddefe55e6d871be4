// A kernel whose tables are for one length of x[..., L, d]: a length that depends on a count can run at its capacity
// only.
#pragma once

#include <string>
#include <utility>

#include "cuda/gpu.h"

namespace kairos::gpu {

template <class Function>
class BoundLengthKernel final : public DeviceKernel {
 public:
  BoundLengthKernel(int64_t length, bool of_output, Function launch)
      : length_(length), of_output_(of_output), launch_(std::move(launch)) {}
  Status Accept(const CheckContext& live) const override {
    const Shape& signal = (of_output_ ? live.outputs[0] : live.inputs[0]).shape;
    if (signal[signal.rank - 2] == length_) return Ok();
    return Error{
        ErrorCode::kShape,           std::string(live.op),
        of_output_ ? "output" : "x", "of length " + std::to_string(length_) + " as when it was bound",
        signal.ToString(),           ""};
  }
  void Launch(const LaunchContext& context) const noexcept override { launch_(context); }

 private:
  const int64_t length_;
  const bool of_output_;
  const Function launch_;
};

// `of_output`: the signal is the first output, not the first input.
template <class Function>
std::unique_ptr<DeviceKernel> MakeBoundLengthKernel(int64_t length, bool of_output, Function launch) {
  return std::make_unique<BoundLengthKernel<Function>>(length, of_output, std::move(launch));
}

}  // namespace kairos::gpu
