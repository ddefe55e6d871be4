// A program bound to capacities on a device: the same proofs on the host, then one graph on one stream.
//
// Device memory is one block: temporaries and scratch, constants and kernels' tables, the frame (see device.h), and
// room for two runs' feeds. A run fills a pinned slot with counts, addresses and feeds, and asks for
//
//   feeds in (a stream of their own) -> header in -> graph -> results, counts and fault out
//
// without waiting; with two slots the next run's feeds travel while this one computes. The graph is
//
//   start (views from counts) -> compute steps -> finiteness -> outputs that the commit would overwrite
//   -> gate -> commit steps
//
// and is captured once: sizes and the addresses of stores are data, not part of it. No step waits for the host; a
// fault raised by any of them empties the commit's views, so a failed run changes nothing.
#pragma once

#include <memory>
#include <vector>

#include "runtime/device.h"
#include "runtime/executable.h"

namespace kairos {

class DeviceExecutable final : public Executable {
 public:
  DeviceExecutable(std::shared_ptr<const Program> program, std::vector<int64_t> capacities,
                   BindOptions options, std::shared_ptr<Device> device);
  ~DeviceExecutable() override;

  // Begin and Finish, one after the other.
  Status Run(const RunRequest& request, ThreadTeam& team, const std::atomic<bool>& stop,
             RunResult* result) override;

  // Asks for a run; two may be under way. The caller holds the locks of the stores until it is finished.
  Status Begin(const RunRequest& request, size_t* slot);
  // Waits for a run and takes its results.
  Status Finish(size_t slot, RunResult* result);

 protected:
  Status AcceptStep(size_t index, const CheckContext& live) const override;
  Status PrepareKernels(const Machine& machine) override;
  Status PlanMemory() override;

 private:
  // Memory of one run in flight. Offsets into the pinned block are the same in each.
  struct Slot {
    std::shared_ptr<DeviceMemory> pinned;
    std::byte* feeds = nullptr;  // on the device
    void* fed = nullptr;         // events
    void* done = nullptr;
    bool busy = false;
    std::vector<int64_t> counts;
    std::vector<Shape> shapes;  // live, with computed symbols at their limits
    std::vector<std::byte*> storages;
    std::vector<std::shared_ptr<Block>> results;
    std::vector<std::shared_ptr<DeviceMemory>> mirrors;  // of the stores, until the run is over
  };
  static constexpr size_t kSlots = 2;

  Error OutOfMemory(const char* op, const std::string& what, size_t bytes) const;
  void PlanFrame(std::vector<std::byte>* constants);
  Status AllocateSlots();
  Status Capture();
  void LaunchSteps(size_t begin, size_t end);
  void LaunchProgram();
  Status OwnResults(Slot* slot) const;
  Status PlaceStores(const RunRequest& request, Slot* slot);
  size_t PackFeeds(const RunRequest& request, Slot* slot);
  void ReturnResults(Slot* slot);
  Status TakeResults(Slot* slot, RunResult* result);
  Status FaultOf(const Slot& slot, const DeviceFault& fault) const;

  const std::shared_ptr<Device> device_;
  std::vector<std::unique_ptr<DeviceKernel>> kernels_;
  std::vector<size_t> table_offsets_, first_views_;  // per step
  std::vector<std::byte> tables_;

  std::shared_ptr<DeviceMemory> memory_;
  std::vector<std::byte*> addresses_;   // per storage; nullptr: known at a run
  std::vector<size_t> kept_;            // per output: where state is kept before the commit, or SIZE_MAX
  std::vector<size_t> result_offsets_;  // per output, in the pinned block
  size_t scratch_offset_ = 0, feed_bytes_ = 0, header_bytes_ = 0, require_offset_ = 0;
  std::byte* header_ = nullptr;
  FrameArguments frame_{};

  void* stream_ = nullptr;
  void* feeding_ = nullptr;  // the stream of the feeds
  void* graph_ = nullptr;
  std::vector<void*> marks_;  // events before and after each step, when profiling
  Slot slots_in_flight_[kSlots];
  size_t next_ = 0;
};

}  // namespace kairos
