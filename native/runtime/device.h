// An accelerator as the runtime sees it: memory, streams, events, graphs and kernels by name. CUDA implements it
// (native/cuda/device.cu), and so does an emulation on the processor that tests use (native/cuda/emulated).
//
// Work that is asked for on a stream happens later, in the order of asking. Calls answer nothing; whatever fails is
// kept until TakeError asks for it, so that a sequence of calls is checked once, at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/status.h"
#include "runtime/tensor.h"

namespace kairos {

// What went wrong in a step, as a device writes it: the first fault wins.
struct DeviceFault {
  enum Kind : int32_t { kNone = 0, kId, kBound, kGradient, kOutput, kCount };
  enum What : int32_t { kIdOf, kOffset, kBoundOf, kRow, kGradientOfTask, kRangeBound };

  int32_t kind = kNone;
  int32_t what = kIdOf;
  int32_t step = 0;     // of the program; of kOutput, the output
  int32_t operand = 0;  // the input whose name tells which table or feature it is
  int64_t position = 0, value = 0, least = 0, limit = 0;
  float number = 0;  // the one that is not finite
  int32_t taken = 0;
};

// Where a kernel of the device finds its arguments. All of it is in device memory: `views` are the step's inputs,
// then its outputs, with their live shapes, written there before the step by the step's own stream.
struct LaunchContext {
  void* stream;
  const TensorView* views;
  int inputs, outputs;
  int step;
  DeviceFault* fault;
  std::byte* scratch;
  const std::byte* tables;  // what `prepare` put there
};

// A kernel bound to capacities. Launch may run while a graph is being captured: it only enqueues, with grids that
// cover the capacities, and whatever depends on live sizes is read from the views by the device.
class DeviceKernel {
 public:
  virtual ~DeviceKernel() = default;
  // Refuses live sizes that differ from what prepare built tables for.
  virtual Status Accept(const CheckContext& live) const {
    (void)live;
    return Ok();
  }
  virtual void Launch(const LaunchContext& context) const noexcept = 0;
  // The name that belongs to a fault at `position`, or "".
  virtual std::string NameOfFault(int64_t position) const {
    (void)position;
    return "";
  }
};

// What products of matrices are computed in. Memory, sums, parameters and losses are float32 in each.
enum class Precision : uint8_t {
  kFloat32 = 0,
  kTf32 = 1,      // operands rounded to 10 bits of fraction
  kBfloat16 = 2,  // to 7
};

struct DevicePrepareContext {
  std::span<const TensorSpec> inputs, outputs;  // capacities
  const Attributes& attributes;
  Precision precision = Precision::kFloat32;
  size_t scratch_bytes = 0;         // prepare sets what Launch needs; not kept between steps
  std::vector<std::byte> tables{};  // constants that Launch will find in device memory, 256-byte aligned

  template <class T>
  void AddTable(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    tables.insert(tables.end(), bytes.begin(), bytes.end());
  }
};

using DevicePrepareFunction = std::unique_ptr<DeviceKernel> (*)(DevicePrepareContext&);

// The shape rule is the CPU kernel's: a program means the same everywhere.
struct DeviceKernelEntry {
  const char* name;
  DevicePrepareFunction prepare;
};

// The step's frame, on the device: see native/cuda/frame.cu.
struct FrameArguments;

class Device {
 public:
  virtual ~Device() = default;

  virtual const char* kind() const = 0;      // "cuda"
  virtual std::string Describe() const = 0;  // "NVIDIA H100 80GB HBM3, 81559 MiB, 80000 MiB free"
  virtual const DeviceKernelEntry* FindKernel(std::string_view name) const = 0;
  virtual std::vector<std::string> KernelNames() const = 0;

  // nullptr when memory is exhausted, which is no error that TakeError tells: the device stays usable.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* memory) = 0;
  virtual void* AllocatePinned(size_t bytes) = 0;
  virtual void FreePinned(void* memory) = 0;

  virtual void* CreateStream() = 0;
  virtual void DestroyStream(void* stream) = 0;
  virtual void Synchronize(void* stream) = 0;
  virtual void Copy(void* to, const void* from, size_t bytes, void* stream) = 0;
  virtual void Fill(void* to, uint8_t byte, size_t bytes, void* stream) = 0;

  virtual void* CreateEvent() = 0;
  virtual void DestroyEvent(void* event) = 0;
  virtual void Record(void* event, void* stream) = 0;
  virtual void Wait(void* stream, void* event) = 0;
  virtual void Await(void* event) = 0;
  virtual double Nanoseconds(void* begin, void* end) = 0;

  // Between these two, work on the stream is kept, not done. nullptr when the capture failed.
  virtual void BeginCapture(void* stream) = 0;
  virtual void* EndCapture(void* stream) = 0;
  virtual void LaunchGraph(void* graph, void* stream) = 0;
  virtual void DestroyGraph(void* graph) = 0;

  // The frame of a step: kernels of the runtime's own.
  virtual void LaunchStart(const FrameArguments& frame, void* stream) = 0;
  virtual void LaunchTakeCount(const FrameArguments& frame, int computed, int step, void* stream) = 0;
  virtual void LaunchCheckFinite(const FrameArguments& frame, int output, void* stream) = 0;
  virtual void LaunchKeep(const FrameArguments& frame, int view, void* to, int64_t most, void* stream) = 0;
  virtual void LaunchGate(const FrameArguments& frame, void* stream) = 0;

  // Names what is asked for next, for whoever traces.
  virtual void Mark(const char* name) { (void)name; }

  // The first failure since the last call. `doing` names what was under way.
  virtual Status TakeError(const char* doing) = 0;
};

// Opens a device of this kind ("cuda", "emulated"): kUnsupported with the reason where there is none.
Status OpenDevice(std::string_view kind, std::shared_ptr<Device>* device);

// ---- Owners ----

class DeviceMemory {
 public:
  // nullptr when the device's memory is exhausted.
  static std::shared_ptr<DeviceMemory> Allocate(std::shared_ptr<Device> device, size_t bytes,
                                                bool pinned = false);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  const std::shared_ptr<Device>& device() const { return device_; }
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  DeviceMemory(std::shared_ptr<Device> device, std::byte* data, size_t size, bool pinned)
      : device_(std::move(device)), data_(data), size_(size), pinned_(pinned) {}
  const std::shared_ptr<Device> device_;
  std::byte* const data_;
  const size_t size_;
  const bool pinned_;
};

// ---- The frame: how a step learns what is live ----

// One argument of a step, or one output of the program: how its view is made from counts and addresses.
struct ViewPlan {
  DType dtype;
  int32_t rank;
  int32_t storage;
  int32_t dims[kMaxRank];      // places in `polynomials`
  int64_t capacity[kMaxRank];  // no view is ever larger
};

// All pointers are to device memory. `polynomials` holds each dim as: how many terms; of each, the coefficient, how
// many factors, the factors (symbols).
struct FrameArguments {
  int64_t* counts;               // per symbol: fed, then completed by computing steps
  void* const* storages;         // per storage: fed
  const int8_t* require_finite;  // per output: fed
  const ViewPlan* plans;
  const int64_t* polynomials;
  TensorView* views;             // per plan
  int view_count;                // of all
  int commit_begin, commit_end;  // views of the steps that write state
  int output_begin;              // views of outputs, to the end
  const int32_t* computed;       // per computed symbol: symbol, storage of its count
  DeviceFault* fault;
};

}  // namespace kairos
