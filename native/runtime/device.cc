#include "runtime/device.h"

#include <algorithm>

namespace kairos {

std::shared_ptr<DeviceMemory> DeviceMemory::Allocate(std::shared_ptr<Device> device, size_t bytes,
                                                     bool pinned) {
  bytes = std::max<size_t>(bytes, 1);
  void* data = pinned ? device->AllocatePinned(bytes) : device->Allocate(bytes);
  if (!data) return nullptr;
  return std::shared_ptr<DeviceMemory>(
      new DeviceMemory(std::move(device), static_cast<std::byte*>(data), bytes, pinned));
}

DeviceMemory::~DeviceMemory() {
  if (pinned_)
    device_->FreePinned(data_);
  else
    device_->Free(data_);
}

}  // namespace kairos
