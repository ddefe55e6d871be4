#include "runtime/arena.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kairos {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

size_t AlignUp(size_t bytes) {
  return bytes > SIZE_MAX - kAlignment ? 0 : (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::shared_ptr<Block> Block::Allocate(size_t bytes) {
  // PTRDIFF_MAX is the most that any allocator gives; beyond it sizes would wrap.
  if (bytes > PTRDIFF_MAX - kHugePage) return nullptr;
  const bool large = bytes >= 2 * kHugePage;
  const size_t alignment = large ? kHugePage : kAlignment;
  const size_t size = std::max(bytes, size_t{1});
  auto* data =
      static_cast<std::byte*>(std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment));
  if (!data) return nullptr;
#if defined(__linux__)
  if (large) madvise(data, size, MADV_HUGEPAGE);
#endif
  Block* block = new (std::nothrow) Block(data, bytes, /*mapped=*/false);
  if (!block) std::free(data);
  return block ? std::shared_ptr<Block>(block) : nullptr;
}

std::shared_ptr<Block> Block::AllocateZeros(size_t bytes) {
#if defined(__linux__)
  if (bytes >= 2 * kHugePage && bytes <= PTRDIFF_MAX - kHugePage) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
    madvise(data, bytes, MADV_HUGEPAGE);
    Block* block = new (std::nothrow) Block(static_cast<std::byte*>(data), bytes, /*mapped=*/true);
    if (!block) munmap(data, bytes);
    return block ? std::shared_ptr<Block>(block) : nullptr;
  }
#endif
  std::shared_ptr<Block> block = Allocate(bytes);
  if (block) std::memset(block->data(), 0, bytes);
  return block;
}

// The one counter that all threads share: an address alone would come again once its block is freed.
uint64_t Block::NextVersion() {
  static std::atomic<uint64_t> count{0};
  return count.fetch_add(1, std::memory_order_relaxed) + 1;
}

Block::~Block() {
#if defined(__linux__)
  if (mapped_) {
    munmap(data_, size_);
    return;
  }
#endif
  std::free(data_);
}

namespace {

// At once: waits for the copy, and says what became of it.
Status CopyNow(Device& device, void* to, const void* from, size_t bytes, const char* doing) {
  void* stream = device.CreateStream();
  device.Copy(to, from, bytes, stream);
  device.Synchronize(stream);
  device.DestroyStream(stream);
  return device.TakeError(doing);
}

}  // namespace

Status Block::ToDevice(const std::shared_ptr<Device>& device, std::shared_ptr<DeviceMemory>* mirror) {
  const std::lock_guard lock(mutex_);
  mirror->reset();
  if (!mirror_ || mirror_->device() != device) {
    KAIROS_RETURN_IF_ERROR(BringToHost());
    mirror_ = DeviceMemory::Allocate(device, size_);
    newest_ = Newest::kHost;
    if (!mirror_) return Ok();
  }
  if (newest_ == Newest::kHost) {
    KAIROS_RETURN_IF_ERROR(CopyNow(*device, mirror_->data(), data_, size_, "copy to the device"));
    newest_ = Newest::kBoth;
  }
  *mirror = mirror_;
  return Ok();
}

Status Block::ToHost() {
  const std::lock_guard lock(mutex_);
  return BringToHost();
}

Status Block::BringToHost() {
  if (newest_ != Newest::kDevice) return Ok();
  KAIROS_RETURN_IF_ERROR(CopyNow(*mirror_->device(), data_, mirror_->data(), size_, "copy from the device"));
  newest_ = Newest::kBoth;
  return Ok();
}

std::shared_ptr<Block> Block::Duplicate() {
  std::shared_ptr<Block> copy = Allocate(size_);
  if (!copy) return nullptr;
  const std::lock_guard lock(mutex_);
  if (newest_ != Newest::kDevice) {
    std::memcpy(copy->data(), data_, size_);
    return copy;
  }
  copy->mirror_ = DeviceMemory::Allocate(mirror_->device(), size_);
  if (!copy->mirror_) return nullptr;
  copy->newest_ = Newest::kDevice;
  const Status copied =
      CopyNow(*mirror_->device(), copy->mirror_->data(), mirror_->data(), size_, "copy on the device");
  return copied.ok() ? copy : nullptr;
}

bool PlanArena(std::span<Lifetime> lifetimes, size_t* total_bytes) {
  std::vector<uint32_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  size_t total = 0;
  std::vector<uint32_t> placed;  // by offset
  for (uint32_t index : order) {
    Lifetime& mine = lifetimes[index];
    const size_t bytes = AlignUp(std::max(mine.bytes, size_t{1}));
    if (bytes == 0) return false;
    size_t offset = 0;
    for (uint32_t other : placed) {
      const Lifetime& theirs = lifetimes[other];
      if (theirs.last_step < mine.first_step || mine.last_step < theirs.first_step) continue;
      if (theirs.offset >= offset && theirs.offset - offset >= bytes) break;
      offset = std::max(offset, theirs.offset + AlignUp(std::max(theirs.bytes, size_t{1})));
    }
    if (offset > PTRDIFF_MAX - bytes) return false;
    mine.offset = offset;
    total = std::max(total, offset + bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset, [&](size_t value, uint32_t other) {
      return value < lifetimes[other].offset;
    });
    placed.insert(at, index);
  }
  *total_bytes = total;
  return true;
}

}  // namespace kairos
