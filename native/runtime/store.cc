#include "runtime/store.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace kairos {
namespace {

Status OutOfMemory(const char* op, const std::string& name, size_t bytes) {
  return Error{ErrorCode::kOutOfMemory, op, Quote(name), std::to_string(bytes) + " bytes", "none", ""};
}

}  // namespace

ptrdiff_t Layout::Find(std::string_view name) const {
  const auto found = index.find(std::string(name));
  return found == index.end() ? -1 : static_cast<ptrdiff_t>(found->second);
}

Status MakeLayout(std::vector<StoreEntry> entries, std::shared_ptr<const Layout>* layout) {
  auto made = std::make_shared<Layout>();
  for (size_t i = 0; i < entries.size(); ++i) {
    const StoreEntry& entry = entries[i];
    int64_t bytes = static_cast<int64_t>(SizeOf(entry.spec.dtype));
    for (int axis = 0; axis < entry.spec.shape.rank; ++axis)
      if (__builtin_mul_overflow(bytes, std::max<int64_t>(entry.spec.shape[axis], 1), &bytes))
        return Error{ErrorCode::kShape,           "createStore",
                     Quote(entry.name),           "a byte count that fits 64 bits",
                     entry.spec.shape.ToString(), ""};
    if (!made->index.emplace(entry.name, i).second)
      return Error{ErrorCode::kDuplicate, "createStore", Quote(entry.name),
                   "a name used once",    "two entries", ""};
  }
  made->entries = std::move(entries);
  *layout = std::move(made);
  return Ok();
}

Store::Store(std::shared_ptr<const Layout> layout, std::vector<std::shared_ptr<Block>> blocks)
    : layout_(std::move(layout)), blocks_(std::move(blocks)), owned_(blocks_.size(), true) {
  int64_t bytes = 0;
  for (const auto& block : blocks_) bytes += static_cast<int64_t>(block->size());
  owned_bytes_.store(bytes, std::memory_order_relaxed);
}

bool Store::Unshare(size_t entry) {
  if (blocks_[entry].use_count() == 1) {
    // The last other owner may have read until a moment ago: its reads come before our writes. (ThreadSanitizer
    // does not follow fences and takes this for a race.)
    std::atomic_thread_fence(std::memory_order_acquire);
    blocks_[entry]->Touch();
    return true;
  }
  std::shared_ptr<Block> copy = blocks_[entry]->Duplicate();
  if (!copy) return false;
  Replace(entry, std::move(copy));
  return true;
}

void Store::Replace(size_t entry, std::shared_ptr<Block> block) {
  if (!owned_[entry]) owned_bytes_.fetch_add(static_cast<int64_t>(block->size()), std::memory_order_relaxed);
  owned_[entry] = true;
  blocks_[entry] = std::move(block);
}

std::shared_ptr<Store> Store::Clone() {
  std::shared_lock lock(mutex_);
  auto clone = std::make_shared<Store>(layout_, blocks_);
  clone->owned_.assign(blocks_.size(), false);
  clone->owned_bytes_.store(0, std::memory_order_relaxed);
  return clone;
}

Status Store::Read(const std::vector<size_t>& entries, std::vector<std::shared_ptr<Block>>* copies) {
  std::shared_lock lock(mutex_);
  for (size_t entry : entries) {
    Block& block = *blocks_[entry];
    KAIROS_RETURN_IF_ERROR(block.ToHost());
    std::shared_ptr<Block> copy = Block::Allocate(block.size());
    if (!copy) return OutOfMemory("readStore", layout_->entries[entry].name, block.size());
    std::memcpy(copy->data(), block.data(), block.size());
    copies->push_back(std::move(copy));
  }
  return Ok();
}

void Store::Write(const std::vector<size_t>& entries, std::vector<std::shared_ptr<Block>> blocks) {
  std::unique_lock lock(mutex_);
  for (size_t i = 0; i < entries.size(); ++i) Replace(entries[i], std::move(blocks[i]));
}

Status Store::ReadRange(size_t entry, size_t begin, size_t size, std::shared_ptr<Block>* copy) {
  std::shared_lock lock(mutex_);
  KAIROS_RETURN_IF_ERROR(blocks_[entry]->ToHost());
  *copy = Block::Allocate(size);
  if (!*copy) return OutOfMemory("readStoreRange", layout_->entries[entry].name, size);
  if (size > 0) std::memcpy((*copy)->data(), blocks_[entry]->data() + begin, size);
  return Ok();
}

Status Store::WriteRange(size_t entry, size_t begin, const Block& bytes) {
  std::unique_lock lock(mutex_);
  if (!Unshare(entry))
    return OutOfMemory("writeStoreRange", layout_->entries[entry].name, blocks_[entry]->size());
  KAIROS_RETURN_IF_ERROR(blocks_[entry]->ToHost());
  blocks_[entry]->WrittenByHost();
  if (bytes.size() > 0) std::memcpy(blocks_[entry]->data() + begin, bytes.data(), bytes.size());
  return Ok();
}

void StoreLocks::Lock() {
  std::sort(wanted_.begin(), wanted_.end(), [](const Wanted& a, const Wanted& b) {
    return std::less<Store*>()(a.store, b.store) || (a.store == b.store && a.writes > b.writes);
  });
  const auto same = [](const Wanted& a, const Wanted& b) { return a.store == b.store; };
  wanted_.erase(std::unique(wanted_.begin(), wanted_.end(), same), wanted_.end());
  for (const Wanted& wanted : wanted_) {
    if (wanted.writes)
      wanted.store->mutex().lock();
    else
      wanted.store->mutex().lock_shared();
    ++locked_;
  }
}

StoreLocks::~StoreLocks() {
  while (locked_ > 0) {
    const Wanted& wanted = wanted_[--locked_];
    if (wanted.writes)
      wanted.store->mutex().unlock();
    else
      wanted.store->mutex().unlock_shared();
  }
}

Status AverageStores(Store& target, const std::vector<std::shared_ptr<Store>>& sources,
                     const std::vector<double>& weights, ThreadTeam& team) {
  const Layout& layout = *target.layout();
  StoreLocks locks;
  locks.Add(&target, true);
  for (const auto& source : sources) locks.Add(source.get(), false);
  locks.Lock();

  for (const auto& source : sources)
    for (size_t entry = 0; entry < layout.entries.size(); ++entry)
      KAIROS_RETURN_IF_ERROR(source->block(entry).ToHost());

  // All memory first: running out of it leaves the target as it was.
  std::vector<std::shared_ptr<Block>> results;
  for (const StoreEntry& entry : layout.entries) {
    results.push_back(Block::Allocate(entry.Bytes()));
    if (!results.back()) return OutOfMemory("averageStores", entry.name, entry.Bytes());
  }

  team.Enter();
  for (size_t entry = 0; entry < layout.entries.size(); ++entry) {
    const TensorSpec& spec = layout.entries[entry].spec;
    if (spec.dtype != DType::kFloat32) {
      std::memcpy(results[entry]->data(), sources[0]->data(entry), results[entry]->size());
      continue;
    }
    auto* out = reinterpret_cast<float*>(results[entry]->data());
    constexpr int64_t kTile = 1024;  // float64 sums that stay in the first cache
    team.ParallelFor(spec.shape.Count(), 1 << 15, [&](int64_t begin, int64_t end, int) {
      double sums[kTile];
      for (int64_t tile = begin; tile < end; tile += kTile) {
        const int64_t length = std::min(kTile, end - tile);
        std::fill_n(sums, length, 0.0);
        for (size_t s = 0; s < sources.size(); ++s) {
          const float* in = reinterpret_cast<const float*>(sources[s]->data(entry)) + tile;
          for (int64_t i = 0; i < length; ++i) sums[i] += weights[s] * in[i];
        }
        for (int64_t i = 0; i < length; ++i) out[tile + i] = static_cast<float>(sums[i]);
      }
    });
  }
  team.Leave();
  for (size_t entry = 0; entry < layout.entries.size(); ++entry)
    target.Replace(entry, std::move(results[entry]));
  return Ok();
}

}  // namespace kairos
