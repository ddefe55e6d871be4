// A ring of native feed buffers. A loader fills a leased slot through ArrayBuffers over this memory; `run`
// detaches them and reads the slot in place. Everything here belongs to the JS thread, except that a run
// reads slot memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/arena.h"
#include "runtime/tensor.h"

namespace kairos {

struct StagingEntry {
  std::string name;
  DType dtype;
  int64_t capacity;  // elements
};

struct StagingSlot {
  enum class State { kFree, kLeased, kRunning };
  State state = State::kFree;
  std::vector<std::shared_ptr<Block>> blocks;  // one per entry
};

class Staging {
 public:
  // nullptr when memory is exhausted or a size overflows.
  static std::shared_ptr<Staging> Create(std::vector<StagingEntry> entries, size_t slots);

  const std::vector<StagingEntry>& entries() const { return entries_; }
  std::vector<StagingSlot>& slots() { return slots_; }
  // Gives a slot new memory, because someone outside may still reach the old one. False when memory is
  // exhausted.
  bool Renew(StagingSlot* slot) const;
  size_t Bytes() const;

 private:
  explicit Staging(std::vector<StagingEntry> entries) : entries_(std::move(entries)) {}
  std::vector<StagingEntry> entries_;
  std::vector<StagingSlot> slots_;
};

}  // namespace kairos
