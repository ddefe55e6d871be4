// A program bound to capacities: shapes proved, kernels prepared, memory planned. Runs one step at a time.
//
// A run, in order; until the last line nothing outside the run's own memory has changed:
//   locks of stores -> live shapes (only when counts changed) -> feeds fit -> fed ids in range
//   -> memory owned -> compute steps -> no id fault -> outputs finite where asked -> commit steps
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/arena.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/program.h"
#include "runtime/store.h"

namespace kairos {

struct BindOptions {
  bool poison = false;   // fill arena, outputs and tails with NaN before each run
  bool profile = false;  // measure each step
};

// How an executor runs kernels.
struct Machine {
  CpuVariant variant = CpuVariant::kBaseline;
  MatmulChoice matmul = MatmulChoice::kAuto;
  int threads = 1;
  std::shared_ptr<Device> device = nullptr;   // runs the kernels instead of the threads, where there is one
  Precision precision = Precision::kFloat32;  // of a device's products
};

// The memory of one input, owned by the run. A staging slot may be longer than what is live.
struct Feed {
  std::shared_ptr<Block> memory;
  int64_t count = 0;  // elements
  bool may_be_longer = false;
};

struct RunRequest {
  std::vector<int64_t> counts;                 // per symbol
  std::vector<Feed> feeds;                     // per input of the program
  std::vector<std::shared_ptr<Store>> stores;  // per store slot; nullptr where the program has no such state
  std::vector<bool> require_finite;            // per output
};

struct OutputTensor {
  TensorSpec spec;
  std::shared_ptr<Block> memory;
};

struct RunResult {
  std::vector<OutputTensor> outputs;
  double milliseconds = 0;
  std::vector<double> profile;  // nanoseconds per step
};

class Executable {
 public:
  // For the machine's device (see device_executable.h) or its threads.
  static Status Bind(std::shared_ptr<const Program> program, std::vector<int64_t> capacities,
                     BindOptions options, Machine machine, std::shared_ptr<Executable>* executable);
  virtual ~Executable() = default;

  const Program& program() const { return *program_; }
  const BindOptions& options() const { return options_; }
  // Elements of an input at capacity.
  int64_t InputCapacity(size_t input) const { return capacity_shapes_[program_->inputs[input]].Count(); }
  size_t arena_bytes() const { return arena_bytes_; }
  size_t temporary_bytes() const { return temporary_bytes_; }
  size_t scratch_bytes() const { return scratch_bytes_; }
  size_t constant_bytes() const { return constant_bytes_; }
  size_t kept_bytes() const { return kept_bytes_; }

  // One run at a time. `stop` ends it between steps, before the commit.
  virtual Status Run(const RunRequest& request, ThreadTeam& team, const std::atomic<bool>& stop,
                     RunResult* result);

 protected:
  struct BoundStep {
    std::unique_ptr<Kernel> kernel;
    CheckFunction check;
    std::span<TensorView> inputs, outputs;  // into views_
    const ComputedSymbol* computes = nullptr;
  };
  // Where a store slot's entries are, for the layout that was seen last.
  struct Slot {
    std::shared_ptr<const Layout> layout;
    std::vector<size_t> entries;  // per state buffer of the slot, in the order of state_
  };
  struct StateBuffer {
    uint32_t buffer;
    bool written;
  };

  Executable(std::shared_ptr<const Program> program, std::vector<int64_t> capacities, BindOptions options)
      : program_(std::move(program)), options_(options), capacities_(std::move(capacities)) {}

  Status EvaluateShapes(std::span<const int64_t> counts, std::vector<Shape>* shapes) const;
  Status CheckStep(size_t index, std::span<const Shape> shapes) const;
  virtual Status AcceptStep(size_t index, const CheckContext& live) const;
  virtual Status PrepareKernels(const Machine& machine);
  virtual Status PlanMemory();
  void LinkComputed();
  bool IsKept(uint32_t buffer) const;

  Status SetCounts(const std::vector<int64_t>& counts);
  void UseShapes();
  Status TakeComputed(size_t step);
  Status AcceptFeeds(const RunRequest& request);
  Status CheckIds(const RunRequest& request) const;
  Status ResolveStores(const RunRequest& request);
  Status OwnMemory(const RunRequest& request, RunResult* result);
  Status RunSteps(size_t begin, size_t end, ThreadTeam& team, const std::atomic<bool>* stop,
                  RunResult* result);
  void CopyOutputs(RunResult* result) const;
  Status CheckFinite(const RunRequest& request, const RunResult& result) const;
  Error NonFiniteOutput(size_t output, int64_t at, const Shape& shape, float value) const;
  Error ErrorOfFault(const Step& step, const IdFault& fault) const;

  const std::shared_ptr<const Program> program_;
  const BindOptions options_;
  const std::vector<int64_t> capacities_;
  std::vector<Shape> capacity_shapes_;  // per buffer
  std::vector<BoundStep> steps_;
  std::vector<uint32_t> view_buffers_;           // the buffer behind each of views_
  std::vector<TensorView> views_;                // arguments of all steps, one after another
  std::vector<std::vector<StateBuffer>> state_;  // per store slot

  std::shared_ptr<Block> arena_;  // temporaries, then scratch
  size_t arena_bytes_ = 0, temporary_bytes_ = 0, scratch_bytes_ = 0, constant_bytes_ = 0, kept_bytes_ = 0;

  // Of the latest run.
  std::vector<int64_t> counts_;  // empty when live_shapes_ are not to be trusted
  std::vector<Shape> live_shapes_;
  std::vector<int64_t> running_counts_;  // of this run: computed symbols have their counts as they come
  std::vector<Shape> given_shapes_;      // live shapes before any symbol is computed; empty when none ever is
  std::vector<std::byte*> storage_data_;
  std::vector<uint64_t> storage_versions_;  // of what is kept
  std::vector<Slot> slots_;
};

}  // namespace kairos
