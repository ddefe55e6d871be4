// createStaging, acquireStaging, releaseStaging.
#include <cstring>
#include <new>

#include "napi/calls.h"
#include "napi/staging_handle.h"

namespace kairos::border {
namespace {

constexpr int64_t kMostSlots = 64;
constexpr int64_t kMostElements = int64_t{1} << 40;

Napi::Value CreateStaging(const Napi::CallbackInfo& info) {
  const Place place{"createStaging", ""};
  const Napi::Array list = ReadArray(place.In("entries"), info[0]);
  const int64_t slots = ReadInteger(place.In("slots"), info[1], 1, kMostSlots);
  std::vector<StagingEntry> entries;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Place at = place.In("entries[" + std::to_string(i) + "]");
    const Napi::Object object = ReadObject(at, list.Get(i));
    StagingEntry entry;
    entry.name = ReadString(at.In("name"), object.Get("name"));
    entry.dtype = ReadDType(at.In("dtype"), object.Get("dtype"));
    entry.capacity = ReadInteger(at.In("capacity"), object.Get("capacity"), 0, kMostElements);
    for (const StagingEntry& other : entries)
      if (other.name == entry.name)
        Refuse(ErrorCode::kDuplicate, at.op, at.argument, "a name used once", Quote(entry.name) + " again");
    entries.push_back(std::move(entry));
  }
  std::shared_ptr<Staging> staging = Staging::Create(std::move(entries), static_cast<size_t>(slots));
  if (!staging) Refuse(ErrorCode::kOutOfMemory, place.op, "entries", "memory for all slots", "none");
  const auto bytes = static_cast<int64_t>(staging->Bytes());
  return MakeHandle(std::make_shared<StagingCell>(std::move(staging)), info.Env(), bytes);
}

Napi::Value AcquireStaging(const Napi::CallbackInfo& info) {
  const auto cell = ReadHandle<StagingCell>({"acquireStaging", "staging"}, info[0]);
  std::vector<Napi::Value> buffers;
  const int slot = cell->Acquire(info.Env(), &buffers);
  if (slot < 0) return info.Env().Null();
  Napi::Array array = Napi::Array::New(info.Env(), buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) array.Set(static_cast<uint32_t>(i), buffers[i]);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("slot", slot);
  result.Set("buffers", array);
  return result;
}

Napi::Value ReleaseStaging(const Napi::CallbackInfo& info) {
  const Place place{"releaseStaging", ""};
  const auto cell = ReadHandle<StagingCell>(place.In("staging"), info[0]);
  const auto slot =
      static_cast<size_t>(ReadInteger(place.In("slot"), info[1], 0, static_cast<int64_t>(cell->slots()) - 1));
  cell->TakeBack(place.In("slot"), slot);
  cell->Free(slot);
  return info.Env().Undefined();
}

}  // namespace

int StagingCell::Acquire(Napi::Env env, std::vector<Napi::Value>* buffers) {
  for (size_t i = 0; i < leases_.size(); ++i) {
    StagingSlot& slot = staging_->slots()[i];
    if (slot.state != StagingSlot::State::kFree) continue;
    Lease& lease = leases_[i];
    lease = {};
    for (const auto& block : slot.blocks) {
      Napi::Value buffer;
      if (block->size() > 0 && lease.external) buffer = ToExternalBuffer(env, block->size(), block);
      if (buffer.IsEmpty()) {
        if (block->size() > 0) lease.external = false;
        buffer = Napi::ArrayBuffer::New(env, block->size());
      }
      lease.buffers.push_back(Napi::Persistent(buffer.As<Napi::ArrayBuffer>()));
      buffers->push_back(buffer);
    }
    slot.state = StagingSlot::State::kLeased;
    return static_cast<int>(i);
  }
  return -1;
}

void StagingCell::TakeBack(const Place& place, size_t index) {
  StagingSlot& slot = staging_->slots()[index];
  if (slot.state != StagingSlot::State::kLeased)
    Refuse(ErrorCode::kDetached, place.op, place.argument, "a slot that is leased",
           "slot " + std::to_string(index) + ", which was given back");
  Lease& lease = leases_[index];
  int lost = -1;
  for (size_t i = 0; i < lease.buffers.size(); ++i) {
    Napi::ArrayBuffer buffer = lease.buffers[i].Value();
    const size_t bytes = slot.blocks[i]->size();
    if (buffer.IsDetached() || buffer.ByteLength() != bytes) {
      lost = static_cast<int>(i);
      continue;
    }
    if (!lease.external && bytes > 0) std::memcpy(slot.blocks[i]->data(), buffer.Data(), bytes);
    buffer.Detach();
  }
  lease.buffers.clear();
  slot.state = StagingSlot::State::kRunning;
  if (lost < 0) return;
  // Someone transferred a buffer and may still write to it: this memory is theirs now.
  slot.state = StagingSlot::State::kFree;
  if (!staging_->Renew(&slot)) throw std::bad_alloc();
  Refuse(ErrorCode::kDetached, place.op, place.argument + "." + entries()[lost].name,
         "a buffer that is still attached", "a detached one",
         "Fill the leased buffers in place and hand them to run; do not transfer them.");
}

void DefineStaging(Napi::Env env, Napi::Object exports) {
  exports.Set("createStaging", Napi::Function::New(env, Sync<CreateStaging>, "createStaging"));
  exports.Set("acquireStaging", Napi::Function::New(env, Sync<AcquireStaging>, "acquireStaging"));
  exports.Set("releaseStaging", Napi::Function::New(env, Sync<ReleaseStaging>, "releaseStaging"));
}

}  // namespace kairos::border
