// Memory: aligned blocks with an owner, and the plan by which temporaries share one block.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace kairos {

constexpr size_t kAlignment = 64;

// Rounds up to the alignment of blocks; answers 0 when that overflows.
size_t AlignUp(size_t bytes);

// Aligned memory. Large blocks ask for huge pages; nothing is touched before it is used.
class Block {
 public:
  // Both answer nullptr when memory is exhausted. A block of zero bytes has an address nonetheless. Large zeros
  // cost nothing before they are written: the state of a table whose rows are never used takes no memory.
  static std::shared_ptr<Block> Allocate(size_t bytes);
  static std::shared_ptr<Block> AllocateZeros(size_t bytes);

  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // Tells contents apart, in all blocks of the process, as far as whoever writes again says so. Never 0.
  uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void Touch() { version_.store(NextVersion(), std::memory_order_relaxed); }

 private:
  Block(std::byte* data, size_t size, bool mapped)
      : data_(data), size_(size), mapped_(mapped), version_(NextVersion()) {}
  static uint64_t NextVersion();
  std::byte* const data_;
  const size_t size_;
  const bool mapped_;  // from the system, page by page
  std::atomic<uint64_t> version_;
};

// One temporary: its bytes and the steps during which they must be its own.
struct Lifetime {
  size_t bytes;
  uint32_t first_step;
  uint32_t last_step;
  size_t offset = 0;  // filled in by the plan
};

// Places every lifetime so that those which overlap in time do not in memory: the largest first, each at the
// lowest offset that is free. Answers false when the total overflows.
bool PlanArena(std::span<Lifetime> lifetimes, size_t* total_bytes);

}  // namespace kairos
