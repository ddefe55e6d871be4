#include "runtime/staging.h"

namespace kairos {

std::shared_ptr<Staging> Staging::Create(std::vector<StagingEntry> entries, size_t slots) {
  std::shared_ptr<Staging> staging(new Staging(std::move(entries)));
  staging->slots_.resize(slots);
  for (StagingSlot& slot : staging->slots_)
    if (!staging->Renew(&slot)) return nullptr;
  return staging;
}

bool Staging::Renew(StagingSlot* slot) const {
  std::vector<std::shared_ptr<Block>> blocks;
  for (const StagingEntry& entry : entries_) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<size_t>(entry.capacity), SizeOf(entry.dtype), &bytes))
      return false;
    blocks.push_back(Block::AllocateZeros(bytes));
    if (!blocks.back()) return false;
  }
  slot->blocks = std::move(blocks);
  return true;
}

size_t Staging::Bytes() const {
  size_t bytes = 0;
  for (const StagingEntry& entry : entries_)
    bytes += static_cast<size_t>(entry.capacity) * SizeOf(entry.dtype);
  return bytes * slots_.size();
}

}  // namespace kairos
