// A GPU that is not there: host memory, work done at once or kept in a graph, kernels on cuda/emulated/machine.cc.
// KAIROS_EMULATED_MEMORY is its size in bytes, so that tests can exhaust it; KAIROS_EMULATED_TRACE is a file to which
// it writes what is asked of it, a line each, so that tests can read the order.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "cuda/families.h"
#include "cuda/frame.h"
#include "cuda/gpu.h"

namespace kairos::gpu::emulated {
namespace {

using Work = std::vector<std::function<void()>>;

struct Stream {
  Work* capture = nullptr;
};

size_t MemoryOfEnvironment() {
  const char* text = std::getenv("KAIROS_EMULATED_MEMORY");
  return text ? std::strtoull(text, nullptr, 10) : size_t{4} << 30;
}

double Now() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class EmulatedDevice final : public Device {
 public:
  EmulatedDevice() {
    if (const char* path = std::getenv("KAIROS_EMULATED_TRACE")) trace_ = std::fopen(path, "a");
  }
  ~EmulatedDevice() override {
    if (trace_) std::fclose(trace_);
  }

  const char* kind() const override { return "emulated"; }
  std::string Describe() const override {
    const std::lock_guard lock(mutex_);
    return "an emulated GPU, " + std::to_string(free_ >> 20) + " of " + std::to_string(total_ >> 20) +
           " MiB free";
  }
  const DeviceKernelEntry* FindKernel(std::string_view name) const override { return Find(name); }
  std::vector<std::string> KernelNames() const override { return Names(); }

  void* Allocate(size_t bytes) override {
    const std::lock_guard lock(mutex_);
    if (bytes > free_) return nullptr;
    void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!memory) return nullptr;
    sizes_[memory] = bytes;
    free_ -= bytes;
    return memory;
  }
  void Free(void* memory) override {
    const std::lock_guard lock(mutex_);
    free_ += sizes_[memory];
    sizes_.erase(memory);
    std::free(memory);
  }
  void* AllocatePinned(size_t bytes) override { return std::aligned_alloc(256, (bytes + 255) / 256 * 256); }
  void FreePinned(void* memory) override { std::free(memory); }

  void* CreateStream() override { return new Stream; }
  void DestroyStream(void* stream) override { delete static_cast<Stream*>(stream); }
  void Synchronize(void*) override { Trace("synchronize"); }
  void Copy(void* to, const void* from, size_t bytes, void* stream) override {
    if (bytes == 0) return;
    Trace("copy");
    Enqueue(stream, [=] { std::memmove(to, from, bytes); });
  }
  void Fill(void* to, uint8_t byte, size_t bytes, void* stream) override {
    Trace("fill");
    Enqueue(stream, [=] { std::memset(to, byte, bytes); });
  }

  void* CreateEvent() override { return new double(0); }
  void DestroyEvent(void* event) override { delete static_cast<double*>(event); }
  void Record(void* event, void* stream) override {
    Enqueue(stream, [=] { *static_cast<double*>(event) = Now(); });
  }
  void Wait(void*, void*) override {}
  void Await(void*) override { Trace("await"); }
  double Nanoseconds(void* begin, void* end) override {
    return *static_cast<double*>(end) - *static_cast<double*>(begin);
  }

  void BeginCapture(void* stream) override {
    Trace("begin capture");
    static_cast<Stream*>(stream)->capture = new Work;
  }
  void* EndCapture(void* stream) override {
    Trace("end capture");
    return std::exchange(static_cast<Stream*>(stream)->capture, nullptr);
  }
  void LaunchGraph(void* graph, void*) override {
    Trace("launch graph");
    for (const auto& work : *static_cast<Work*>(graph)) work();
  }
  void DestroyGraph(void* graph) override { delete static_cast<Work*>(graph); }

  void LaunchStart(const FrameArguments& frame, void* stream) override {
    Trace("start");
    gpu::LaunchStart(frame, stream);
  }
  void LaunchTakeCount(const FrameArguments& frame, int computed, int step, void* stream) override {
    Trace("take count");
    gpu::LaunchTakeCount(frame, computed, step, stream);
  }
  void LaunchCheckFinite(const FrameArguments& frame, int output, void* stream) override {
    Trace("check finite");
    gpu::LaunchCheckFinite(frame, output, stream);
  }
  void LaunchKeep(const FrameArguments& frame, int view, void* to, int64_t most, void* stream) override {
    Trace("keep");
    gpu::LaunchKeep(frame, view, to, most, stream);
  }
  void LaunchGate(const FrameArguments& frame, void* stream) override {
    Trace("gate");
    gpu::LaunchGate(frame, stream);
  }
  void Mark(const char* name) override { Trace(name); }
  Status TakeError(const char*) override { return Ok(); }

 private:
  void Trace(const char* what) {
    if (!trace_) return;
    std::fprintf(trace_, "%s\n", what);
    std::fflush(trace_);
  }

  mutable std::mutex mutex_;
  const size_t total_ = MemoryOfEnvironment();
  size_t free_ = total_;
  std::unordered_map<void*, size_t> sizes_;
  FILE* trace_ = nullptr;
};

}  // namespace

void Enqueue(void* stream, std::function<void()> work) {
  if (Work* capture = static_cast<Stream*>(stream)->capture)
    capture->push_back(std::move(work));
  else
    work();
}

}  // namespace kairos::gpu::emulated

extern "C" __attribute__((visibility("default"))) void kairos_open_emulated(
    std::shared_ptr<kairos::Device>* device) {
  *device = std::make_shared<kairos::gpu::emulated::EmulatedDevice>();
}
