// A kernel that is one function and what it captured at `prepare`.
#pragma once

#include <memory>
#include <utility>

#include "runtime/kernel.h"

namespace kairos {

template <class Function>
std::unique_ptr<Kernel> MakeKernel(Function function) {
  class ClosureKernel final : public Kernel {
   public:
    explicit ClosureKernel(Function function) : function_(std::move(function)) {}
    void Run(const RunContext& context) noexcept override { function_(context); }

   private:
    Function function_;
  };
  return std::make_unique<ClosureKernel>(std::move(function));
}

}  // namespace kairos
