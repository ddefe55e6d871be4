// What programs and runs share at the border.
#pragma once

#include <memory>
#include <vector>

#include "napi/promise_job.h"
#include "runtime/executable.h"

namespace kairos::border {

// An executable belongs to the executor that bound it: kernels prepared for its team, and one run at a time.
struct BoundExecutable {
  std::shared_ptr<Executable> executable;
  std::shared_ptr<ExecutorCell> executor;
};

// One number per symbol of the program, in its order.
std::vector<int64_t> ReadCounts(const Place& place, Napi::Value value, const Program& program, int64_t most);

template <>
struct HandleTraits<Program> {
  static constexpr HandleKind kKind = HandleKind::kProgram;
  static constexpr const char* kName = "a program";
};

template <>
struct HandleTraits<BoundExecutable> {
  static constexpr HandleKind kKind = HandleKind::kExecutable;
  static constexpr const char* kName = "an executable";
};

}  // namespace kairos::border
