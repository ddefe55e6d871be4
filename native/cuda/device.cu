// CUDA as a Device. The runtime is linked statically, so this loads where there is no driver; asking for the device
// then fails with the driver's own words.
#include "cuda/cuda_device.h"

#include <mutex>

#include "cuda/families.h"
#include "cuda/frame.h"

namespace kairos::gpu {
namespace {

cudaStream_t Stream(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t Event(void* event) { return static_cast<cudaEvent_t>(event); }

class CudaDevice final : public Device {
 public:
  const char* kind() const override { return "cuda"; }
  std::string Describe() const override {
    cudaDeviceProp properties{};
    size_t free = 0, total = 0;
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess ||
        cudaMemGetInfo(&free, &total) != cudaSuccess)
      return "a GPU that does not answer";
    return std::string(properties.name) + ", " + std::to_string(free >> 20) + " of " +
           std::to_string(total >> 20) + " MiB free";
  }
  const DeviceKernelEntry* FindKernel(std::string_view name) const override { return Find(name); }
  std::vector<std::string> KernelNames() const override { return Names(); }

  void* Allocate(size_t bytes) override {
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) == cudaSuccess) return memory;
    cudaGetLastError();  // being out of memory is told by the null pointer alone
    return nullptr;
  }
  void Free(void* memory) override { cudaFree(memory); }
  void* AllocatePinned(size_t bytes) override {
    void* memory = nullptr;
    if (cudaMallocHost(&memory, bytes) == cudaSuccess) return memory;
    cudaGetLastError();
    return nullptr;
  }
  void FreePinned(void* memory) override { cudaFreeHost(memory); }

  void* CreateStream() override {
    cudaStream_t stream = nullptr;
    Keep(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
  }
  void DestroyStream(void* stream) override { cudaStreamDestroy(Stream(stream)); }
  void Synchronize(void* stream) override { Keep(cudaStreamSynchronize(Stream(stream))); }
  void Copy(void* to, const void* from, size_t bytes, void* stream) override {
    if (bytes > 0) Keep(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, Stream(stream)));
  }
  void Fill(void* to, uint8_t byte, size_t bytes, void* stream) override {
    if (bytes > 0) Keep(cudaMemsetAsync(to, byte, bytes, Stream(stream)));
  }

  void* CreateEvent() override {
    cudaEvent_t event = nullptr;
    Keep(cudaEventCreate(&event));
    return event;
  }
  void DestroyEvent(void* event) override { cudaEventDestroy(Event(event)); }
  void Record(void* event, void* stream) override { Keep(cudaEventRecord(Event(event), Stream(stream))); }
  void Wait(void* stream, void* event) override {
    Keep(cudaStreamWaitEvent(Stream(stream), Event(event), 0));
  }
  void Await(void* event) override { Keep(cudaEventSynchronize(Event(event))); }
  double Nanoseconds(void* begin, void* end) override {
    float milliseconds = 0;
    Keep(cudaEventElapsedTime(&milliseconds, Event(begin), Event(end)));
    return milliseconds * 1e6;
  }

  // Only this thread's own calls are forbidden meanwhile: other executors go on allocating.
  void BeginCapture(void* stream) override {
    Keep(cudaStreamBeginCapture(Stream(stream), cudaStreamCaptureModeThreadLocal));
  }
  void* EndCapture(void* stream) override {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    Keep(cudaGetLastError());  // of a launch that was captured
    Keep(cudaStreamEndCapture(Stream(stream), &graph));
    if (graph == nullptr) return nullptr;
    Keep(cudaGraphInstantiate(&executable, graph, 0));
    cudaGraphDestroy(graph);
    return executable;
  }
  void LaunchGraph(void* graph, void* stream) override {
    Keep(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), Stream(stream)));
  }
  void DestroyGraph(void* graph) override { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

  void LaunchStart(const FrameArguments& frame, void* stream) override { gpu::LaunchStart(frame, stream); }
  void LaunchTakeCount(const FrameArguments& frame, int computed, int step, void* stream) override {
    gpu::LaunchTakeCount(frame, computed, step, stream);
  }
  void LaunchCheckFinite(const FrameArguments& frame, int output, void* stream) override {
    gpu::LaunchCheckFinite(frame, output, stream);
  }
  void LaunchKeep(const FrameArguments& frame, int view, void* to, int64_t most, void* stream) override {
    gpu::LaunchKeep(frame, view, to, most, stream);
  }
  void LaunchGate(const FrameArguments& frame, void* stream) override { gpu::LaunchGate(frame, stream); }

  Status TakeError(const char* doing) override {
    Keep(cudaGetLastError());
    const std::lock_guard lock(mutex_);
    const cudaError_t error = std::exchange(error_, cudaSuccess);
    if (error == cudaSuccess) return Ok();
    return Error{error == cudaErrorMemoryAllocation ? ErrorCode::kOutOfMemory : ErrorCode::kInternal,
                 doing,
                 "cuda",
                 "success",
                 std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error),
                 ""};
  }

 private:
  void Keep(cudaError_t error) {
    if (error == cudaSuccess) return;
    const std::lock_guard lock(mutex_);
    if (error_ == cudaSuccess) error_ = error;
  }

  std::mutex mutex_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace

CudaSummary Summarise() {
  CudaSummary summary;
  cudaRuntimeGetVersion(&summary.runtime);
  cudaDriverGetVersion(&summary.driver);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    summary.reason = summary.driver == 0       ? "no NVIDIA driver on this machine"
                     : error == cudaSuccess ? "a driver that finds no GPU"
                                            : cudaGetErrorString(error);
    cudaGetLastError();
    return summary;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    summary.gpus.push_back({properties.name, properties.totalGlobalMem, properties.major, properties.minor,
                            properties.multiProcessorCount});
  }
  return summary;
}

Status OpenCuda(std::shared_ptr<Device>* device) {
  const CudaSummary summary = Summarise();
  if (summary.gpus.empty())
    return Error{ErrorCode::kUnsupported, "device", "cuda", "a GPU and its driver", summary.reason, ""};
  if (summary.gpus[0].major < 8)
    return Error{ErrorCode::kUnsupported,
                 "device",
                 "cuda",
                 "a GPU of compute capability 8.0 or later",
                 summary.gpus[0].name + " with " + std::to_string(summary.gpus[0].major) + "." +
                     std::to_string(summary.gpus[0].minor),
                 ""};
  *device = std::make_shared<CudaDevice>();
  return Ok();
}

}  // namespace kairos::gpu
