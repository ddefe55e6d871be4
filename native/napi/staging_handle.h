// A staging ring at the border: who holds which slot, and the ArrayBuffers over it.
#pragma once

#include <memory>
#include <vector>

#include "napi/border.h"
#include "runtime/staging.h"

namespace kairos::border {

class StagingCell {
 public:
  explicit StagingCell(std::shared_ptr<Staging> staging)
      : staging_(std::move(staging)), leases_(staging_->slots().size()) {}

  const std::vector<StagingEntry>& entries() const { return staging_->entries(); }
  size_t slots() const { return leases_.size(); }
  const StagingSlot& slot(size_t index) const { return staging_->slots()[index]; }

  // Leases a free slot and makes its buffers; -1 when none is free.
  int Acquire(Napi::Env env, std::vector<Napi::Value>* buffers);
  // Detaches a leased slot's buffers, so that native code alone reaches its memory. The slot is free again if
  // this refuses; otherwise the caller frees it.
  void TakeBack(const Place& place, size_t slot);
  void Free(size_t slot) { staging_->slots()[slot].state = StagingSlot::State::kFree; }

 private:
  struct Lease {
    std::vector<Napi::Reference<Napi::ArrayBuffer>> buffers;
    bool external = true;  // false: buffers are copies, where external memory is forbidden
  };
  const std::shared_ptr<Staging> staging_;
  std::vector<Lease> leases_;
};

template <>
struct HandleTraits<StagingCell> {
  static constexpr HandleKind kKind = HandleKind::kStaging;
  static constexpr const char* kName = "a staging ring";
};

}  // namespace kairos::border
