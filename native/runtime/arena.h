// Memory: aligned blocks with an owner, and the plan by which temporaries share one block.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/device.h"
#include "runtime/status.h"

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

  // Host memory, which is the newest copy unless a device has written another: then ToHost comes first.
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // Tells contents apart, in all blocks of the process, as far as whoever writes again says so. Never 0.
  uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void Touch() { version_.store(NextVersion(), std::memory_order_relaxed); }

  // ---- The same bytes on a device: what a store's buffer has once a program ran there ----

  // Brings the newest bytes to the device; nullptr when its memory is exhausted. Whoever works there keeps `mirror`:
  // another device may ask for the bytes meanwhile.
  Status ToDevice(const std::shared_ptr<Device>& device, std::shared_ptr<DeviceMemory>* mirror);
  // Brings the newest bytes to the host. Nothing may be under way that writes them.
  Status ToHost();
  // Whoever writes one copy says so: the other is stale from then on.
  void WrittenByDevice() { newest_ = Newest::kDevice; }
  void WrittenByHost() { newest_ = Newest::kHost; }
  // A block of its own with the same bytes, copied where they are newest. nullptr when memory is exhausted.
  std::shared_ptr<Block> Duplicate();

 private:
  enum class Newest { kHost, kBoth, kDevice };
  Block(std::byte* data, size_t size, bool mapped)
      : data_(data), size_(size), mapped_(mapped), version_(NextVersion()) {}
  static uint64_t NextVersion();
  Status BringToHost();  // the caller holds the mutex
  std::byte* const data_;
  const size_t size_;
  const bool mapped_;  // from the system, page by page
  std::atomic<uint64_t> version_;
  std::mutex mutex_;  // of the copies: runs that only read may share a block
  std::shared_ptr<DeviceMemory> mirror_;
  Newest newest_ = Newest::kHost;
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
