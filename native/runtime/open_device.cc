// Devices by name. CUDA is part of the addon where nvcc built it; the emulation is a module of its own beside the
// addon, which only a checkout has.
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

#include "runtime/device.h"

#ifdef KAIROS_WITH_CUDA
#include "cuda/cuda_device.h"
#endif

namespace kairos {
namespace {

Error Refuse(std::string_view kind, std::string expected, std::string got) {
  return {ErrorCode::kUnsupported, "device", std::string(kind), std::move(expected), std::move(got), ""};
}

#if defined(__linux__)
Status OpenEmulation(std::shared_ptr<Device>* device) {
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&OpenDevice), &self) == 0 || self.dli_fname == nullptr)
    return Refuse("emulated", "the addon's own folder", "none");
  std::string path = self.dli_fname;
  path = path.substr(0, path.rfind('/') + 1) + "kairos_emulated.so";
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) return Refuse("emulated", "the module that a checkout builds", dlerror());
  const auto open =
      reinterpret_cast<void (*)(std::shared_ptr<Device>*)>(dlsym(module, "kairos_open_emulated"));
  if (open == nullptr) return Refuse("emulated", "a module of this version", path);
  open(device);
  return Ok();
}
#endif

}  // namespace

Status OpenDevice(std::string_view kind, std::shared_ptr<Device>* device) {
#if defined(__linux__)
  if (kind == "emulated") return OpenEmulation(device);
#endif
  if (kind != "cuda") return Refuse(kind, "cuda", "'" + std::string(kind) + "'");
#ifdef KAIROS_WITH_CUDA
  return gpu::OpenCuda(device);
#else
  (void)device;
  return Refuse(kind, "an addon built with CUDA", "one that was built without nvcc");
#endif
}

}  // namespace kairos
