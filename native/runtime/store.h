// Named buffers that outlive a run: parameters, optimiser state, other state.
//
//   Store A --- layout (names, dtypes, shapes) --- Store B, a clone of A
//      \--- blocks, shared with B until either is written ---/
#pragma once

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/arena.h"
#include "runtime/status.h"
#include "runtime/tensor.h"
#include "runtime/thread_team.h"

namespace kairos {

struct StoreEntry {
  std::string name;
  TensorSpec spec;

  size_t Bytes() const { return static_cast<size_t>(spec.shape.Count()) * SizeOf(spec.dtype); }
};

// What a store holds, without the values. Shared by clones, so a binding may remember where names are.
struct Layout {
  std::vector<StoreEntry> entries;
  std::unordered_map<std::string, size_t> index;

  // Position of a name, or -1.
  ptrdiff_t Find(std::string_view name) const;
};

// Checks names and sizes: every entry's byte count fits.
Status MakeLayout(std::vector<StoreEntry> entries, std::shared_ptr<const Layout>* layout);

class Store {
 public:
  Store(std::shared_ptr<const Layout> layout, std::vector<std::shared_ptr<Block>> blocks);

  const std::shared_ptr<const Layout>& layout() const { return layout_; }
  std::shared_mutex& mutex() { return mutex_; }
  // Bytes that are not shared with the store that this one was cloned from.
  int64_t owned_bytes() const { return owned_bytes_.load(std::memory_order_relaxed); }

  // These ask the caller to hold the mutex: shared for reading, exclusive for writing.
  std::byte* data(size_t entry) const { return blocks_[entry]->data(); }
  // Another number whenever the bytes may have changed.
  uint64_t version(size_t entry) const { return blocks_[entry]->version(); }
  Block& block(size_t entry) { return *blocks_[entry]; }
  // Makes a buffer this store's own before it is written. False when memory is exhausted; nothing has changed
  // then.
  bool Unshare(size_t entry);
  void Replace(size_t entry, std::shared_ptr<Block> block);

  // These lock by themselves.
  std::shared_ptr<Store> Clone();
  Status Read(const std::vector<size_t>& entries, std::vector<std::shared_ptr<Block>>* copies);
  void Write(const std::vector<size_t>& entries, std::vector<std::shared_ptr<Block>> blocks);
  // Bytes [begin, begin + size) of one entry.
  Status ReadRange(size_t entry, size_t begin, size_t size, std::shared_ptr<Block>* copy);
  Status WriteRange(size_t entry, size_t begin, const Block& bytes);

 private:
  const std::shared_ptr<const Layout> layout_;
  std::shared_mutex mutex_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::vector<bool> owned_;  // counted in owned_bytes_
  std::atomic<int64_t> owned_bytes_{0};
};

// Holds the locks of several stores, taken in address order so that no two runs wait for each other. A store
// that is named twice is locked once, exclusively if any mention writes.
class StoreLocks {
 public:
  void Add(Store* store, bool writes) { wanted_.push_back({store, writes}); }
  void Lock();
  ~StoreLocks();

 private:
  struct Wanted {
    Store* store;
    bool writes;
  };
  std::vector<Wanted> wanted_;
  size_t locked_ = 0;
};

// target = sum of weights[i] * sources[i] over float32 entries, summed in float64; others are the first
// source's. Target may be among the sources. Locks by itself.
Status AverageStores(Store& target, const std::vector<std::shared_ptr<Store>>& sources,
                     const std::vector<double>& weights, ThreadTeam& team);

}  // namespace kairos
