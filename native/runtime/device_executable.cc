#include "runtime/device_executable.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

namespace kairos {
namespace {

constexpr size_t kNone = std::numeric_limits<size_t>::max();
constexpr int kPoison = 0xff;
constexpr const char* kWhat[] = {"id", "offset", "bound", "row", "gradient of task", "range bound"};

size_t BytesOf(const Buffer& buffer, const Shape& shape) {
  return static_cast<size_t>(shape.Count()) * SizeOf(buffer.dtype);
}

// Where `bytes` more begin in a region that grows. False when it overflows.
bool Extend(size_t* total, size_t bytes, size_t* offset) {
  *offset = *total;
  const size_t aligned = AlignUp(std::max<size_t>(bytes, 1));
  return aligned != 0 && !__builtin_add_overflow(*total, aligned, total);
}

template <class T>
size_t Append(std::vector<std::byte>* to, std::span<const T> values) {
  const size_t offset = AlignUp(to->size());
  to->resize(offset + values.size_bytes());
  if (!values.empty()) std::memcpy(to->data() + offset, values.data(), values.size_bytes());
  return offset;
}

}  // namespace

DeviceExecutable::DeviceExecutable(std::shared_ptr<const Program> program, std::vector<int64_t> capacities,
                                   BindOptions options, std::shared_ptr<Device> device)
    : Executable(std::move(program), std::move(capacities), options), device_(std::move(device)) {}

DeviceExecutable::~DeviceExecutable() {
  if (stream_) device_->Synchronize(stream_);
  if (feeding_) device_->Synchronize(feeding_);
  if (graph_) device_->DestroyGraph(graph_);
  for (Slot& slot : slots_in_flight_)
    for (void* event : {slot.fed, slot.done})
      if (event) device_->DestroyEvent(event);
  for (void* mark : marks_) device_->DestroyEvent(mark);
  for (void* stream : {stream_, feeding_})
    if (stream) device_->DestroyStream(stream);
}

Error DeviceExecutable::OutOfMemory(const char* op, const std::string& what, size_t bytes) const {
  return {ErrorCode::kOutOfMemory,        op, what, std::to_string(bytes) + " bytes on the device",
          "none: " + device_->Describe(), ""};
}

// ---- Binding ----

Status DeviceExecutable::AcceptStep(size_t index, const CheckContext& live) const {
  return index < kernels_.size() ? kernels_[index]->Accept(live) : Ok();
}

Status DeviceExecutable::PrepareKernels(const Machine& machine) {
  steps_.resize(program_->steps.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = program_->steps[i];
    const KernelEntry* host = FindKernel(step.kernel->name, CpuVariant::kBaseline);
    const DeviceKernelEntry* entry = device_->FindKernel(step.kernel->name);
    if (!host || !entry)
      return Error{ErrorCode::kUnsupported,
                   step.kernel->name,
                   device_->kind(),
                   "a kernel for this device",
                   "none in this build",
                   "Run this program on the cpu.",
                   step.source};
    steps_[i].check = host->check;
    KAIROS_RETURN_IF_ERROR(CheckStep(i, capacity_shapes_));

    std::vector<TensorSpec> specs;
    first_views_.push_back(view_buffers_.size());
    for (const auto* list : {&step.inputs, &step.outputs})
      for (uint32_t buffer : *list) {
        specs.push_back({program_->buffers[buffer].dtype, capacity_shapes_[buffer]});
        view_buffers_.push_back(buffer);
      }
    const std::span<const TensorSpec> all(specs);
    DevicePrepareContext context{all.first(step.inputs.size()), all.subspan(step.inputs.size()),
                                 step.attributes, machine.precision};
    kernels_.push_back(entry->prepare(context));
    if (!kernels_.back()) return OutOfMemory("bind", std::string("kernel ") + step.kernel->name, 0);
    table_offsets_.push_back(Append(&tables_, std::span<const std::byte>(context.tables)));
    scratch_bytes_ = std::max(scratch_bytes_, context.scratch_bytes);
  }
  first_views_.push_back(view_buffers_.size());
  for (const ProgramOutput& output : program_->outputs) view_buffers_.push_back(output.buffer);
  LinkComputed();
  return Ok();
}

// Constants of the frame: how views follow from counts. Pointers in `frame_` are offsets until memory is there.
void DeviceExecutable::PlanFrame(std::vector<std::byte>* constants) {
  std::vector<int64_t> code;
  std::vector<int32_t> starts;
  for (const Dim& dim : program_->dims) {
    starts.push_back(static_cast<int32_t>(code.size()));
    code.push_back(static_cast<int64_t>(dim.terms.size()));
    for (const Dim::Term& term : dim.terms) {
      code.push_back(term.coefficient);
      code.push_back(static_cast<int64_t>(term.factors.size()));
      code.insert(code.end(), term.factors.begin(), term.factors.end());
    }
  }
  std::vector<ViewPlan> plans;
  for (uint32_t index : view_buffers_) {
    const Buffer& buffer = program_->buffers[index];
    ViewPlan plan{};
    plan.dtype = buffer.dtype;
    plan.rank = static_cast<int32_t>(buffer.dims.size());
    plan.storage = static_cast<int32_t>(buffer.storage);
    for (int axis = 0; axis < plan.rank; ++axis) {
      plan.dims[axis] = starts[buffer.dims[axis]];
      plan.capacity[axis] = capacity_shapes_[index][axis];
    }
    plans.push_back(plan);
  }
  std::vector<int32_t> computed;
  for (const ComputedSymbol& symbol : program_->computed) {
    computed.push_back(static_cast<int32_t>(symbol.symbol));
    computed.push_back(static_cast<int32_t>(program_->buffers[symbol.buffer].storage));
  }
  const auto place = [&]<class T>(const T** pointer, const std::vector<T>& values) {
    *pointer = reinterpret_cast<const T*>(Append(constants, std::span<const T>(values)));
  };
  place(&frame_.polynomials, code);
  place(&frame_.plans, plans);
  place(&frame_.computed, computed);
  frame_.view_count = static_cast<int>(plans.size());
  frame_.output_begin = static_cast<int>(first_views_.back());
  frame_.commit_begin = static_cast<int>(first_views_[program_->commit_start]);
  frame_.commit_end = frame_.output_begin;
}

Status DeviceExecutable::PlanMemory() {
  std::vector<Lifetime> lifetimes;
  std::vector<uint32_t> planned;
  state_.resize(program_->stores.size());
  slots_.resize(program_->stores.size());
  storage_data_.resize(program_->storages.size());
  addresses_.resize(program_->storages.size());
  std::vector<std::byte> constants;
  std::vector<std::pair<uint32_t, size_t>> constant_storages;
  for (uint32_t i = 0; i < program_->storages.size(); ++i) {
    const Storage& storage = program_->storages[i];
    if (storage.owner != Storage::kNone) {
      const Buffer& owner = program_->buffers[storage.owner];
      if (owner.role == Role::kState)
        state_[owner.store].push_back({storage.owner, storage.first_step != Storage::kNone});
      if (owner.role != Role::kConstant) continue;
      constant_bytes_ += owner.constant.size();
      constant_storages.emplace_back(i, Append(&constants, std::span<const std::byte>(owner.constant)));
    } else if (storage.first_step != Storage::kNone) {
      const uint32_t buffer = storage.buffers.front();
      const size_t bytes = BytesOf(program_->buffers[buffer], capacity_shapes_[buffer]);
      // Results wait in the arena until the run is over.
      const auto last = storage.is_output ? static_cast<uint32_t>(steps_.size()) : storage.last_step;
      lifetimes.push_back({bytes, storage.first_step, last});
      planned.push_back(i);
      if (__builtin_add_overflow(temporary_bytes_, AlignUp(bytes), &temporary_bytes_))
        return OutOfMemory("bind", "temporaries", SIZE_MAX);
    }
  }
  PlanFrame(&constants);
  const size_t tables = Append(&constants, std::span<const std::byte>(tables_));

  size_t total = 0, at_scratch = 0, at_constants = 0, at_views = 0, at_fault = 0, at_header = 0;
  scratch_bytes_ = AlignUp(scratch_bytes_);
  bool fits = PlanArena(lifetimes, &total);
  arena_bytes_ = total;
  fits = fits && Extend(&total, scratch_bytes_, &at_scratch);
  for (const ProgramOutput& output : program_->outputs) {
    const Buffer& buffer = program_->buffers[output.buffer];
    const uint32_t owner = program_->storages[buffer.storage].owner;
    kept_.push_back(kNone);
    if (owner == Storage::kNone || program_->buffers[owner].role != Role::kState) continue;
    fits = fits && Extend(&total, BytesOf(buffer, capacity_shapes_[output.buffer]), &kept_.back());
  }
  require_offset_ = 8 * (program_->symbols.size() + program_->storages.size());
  header_bytes_ = require_offset_ + program_->outputs.size();
  fits = fits && Extend(&total, constants.size(), &at_constants) &&
         Extend(&total, view_buffers_.size() * sizeof(TensorView), &at_views) &&
         Extend(&total, sizeof(DeviceFault), &at_fault) && Extend(&total, header_bytes_, &at_header);
  size_t ignored = 0;
  for (size_t i = 0; i < program_->inputs.size(); ++i) {
    const uint32_t input = program_->inputs[i];
    fits = fits && Extend(&feed_bytes_, BytesOf(program_->buffers[input], capacity_shapes_[input]), &ignored);
  }
  size_t feeds[kSlots] = {};
  for (size_t& offset : feeds) fits = fits && Extend(&total, feed_bytes_, &offset);
  if (!fits) return OutOfMemory("bind", "the arena", SIZE_MAX);

  memory_ = DeviceMemory::Allocate(device_, total);
  if (!memory_) return OutOfMemory("bind", "the arena", total);
  std::byte* const base = memory_->data();
  for (size_t i = 0; i < planned.size(); ++i) addresses_[planned[i]] = base + lifetimes[i].offset;
  for (const auto& [storage, offset] : constant_storages) addresses_[storage] = base + at_constants + offset;
  const auto locate = [&]<class T>(const T** pointer) {
    *pointer = reinterpret_cast<const T*>(base + at_constants + reinterpret_cast<size_t>(*pointer));
  };
  locate(&frame_.polynomials);
  locate(&frame_.plans);
  locate(&frame_.computed);
  for (size_t& offset : table_offsets_) offset += at_constants + tables;
  header_ = base + at_header;
  frame_.counts = reinterpret_cast<int64_t*>(header_);
  frame_.storages = reinterpret_cast<void* const*>(header_ + 8 * program_->symbols.size());
  frame_.require_finite = reinterpret_cast<const int8_t*>(header_ + require_offset_);
  frame_.views = reinterpret_cast<TensorView*>(base + at_views);
  frame_.fault = reinterpret_cast<DeviceFault*>(base + at_fault);
  for (size_t i = 0; i < kSlots; ++i) slots_in_flight_[i].feeds = base + feeds[i];
  scratch_offset_ = at_scratch;

  stream_ = device_->CreateStream();
  feeding_ = device_->CreateStream();
  device_->Copy(base + at_constants, constants.data(), constants.size(), stream_);
  device_->Synchronize(stream_);
  KAIROS_RETURN_IF_ERROR(AllocateSlots());
  if (!options_.profile) KAIROS_RETURN_IF_ERROR(Capture());
  return device_->TakeError("bind");
}

// The pinned block of a slot: header, feeds, results, counts, fault.
Status DeviceExecutable::AllocateSlots() {
  size_t total = 0, offset = 0;
  bool fits = Extend(&total, header_bytes_, &offset) && Extend(&total, feed_bytes_, &offset);
  for (const ProgramOutput& output : program_->outputs) {
    fits = fits && Extend(&total, BytesOf(program_->buffers[output.buffer], capacity_shapes_[output.buffer]),
                          &offset);
    result_offsets_.push_back(offset);
  }
  for (const size_t bytes : {8 * program_->symbols.size(), sizeof(DeviceFault)}) {
    fits = fits && Extend(&total, bytes, &offset);
    result_offsets_.push_back(offset);
  }
  if (!fits) return OutOfMemory("bind", "pinned feeds and results", SIZE_MAX);
  for (Slot& slot : slots_in_flight_) {
    slot.pinned = DeviceMemory::Allocate(device_, total, /*pinned=*/true);
    if (!slot.pinned)
      return Error{ErrorCode::kOutOfMemory,          "bind", "pinned feeds and results",
                   std::to_string(total) + " bytes", "none", ""};
    slot.fed = device_->CreateEvent();
    slot.done = device_->CreateEvent();
  }
  if (options_.profile)
    for (size_t i = 0; i < 2 * steps_.size(); ++i) marks_.push_back(device_->CreateEvent());
  return Ok();
}

Status DeviceExecutable::Capture() {
  device_->BeginCapture(stream_);
  LaunchProgram();
  graph_ = device_->EndCapture(stream_);
  Status status = device_->TakeError("capture");
  if (status.ok() && !graph_) status = Error{ErrorCode::kInternal, "capture", "graph", "a graph", "none", ""};
  return status;
}

void DeviceExecutable::LaunchSteps(size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    const Step& step = program_->steps[i];
    device_->Mark(step.kernel->name);
    if (options_.profile) device_->Record(marks_[2 * i], stream_);
    kernels_[i]->Launch({stream_, frame_.views + first_views_[i], static_cast<int>(step.inputs.size()),
                         static_cast<int>(step.outputs.size()), static_cast<int>(i), frame_.fault,
                         memory_->data() + scratch_offset_, memory_->data() + table_offsets_[i]});
    if (options_.profile) device_->Record(marks_[2 * i + 1], stream_);
    if (steps_[i].computes)
      device_->LaunchTakeCount(frame_, static_cast<int>(steps_[i].computes - program_->computed.data()),
                               static_cast<int>(i), stream_);
  }
}

void DeviceExecutable::LaunchProgram() {
  if (options_.poison) device_->Fill(memory_->data(), kPoison, scratch_offset_ + scratch_bytes_, stream_);
  device_->LaunchStart(frame_, stream_);
  LaunchSteps(0, program_->commit_start);
  for (size_t i = 0; i < program_->outputs.size(); ++i) {
    const Buffer& buffer = program_->buffers[program_->outputs[i].buffer];
    const int view = frame_.output_begin + static_cast<int>(i);
    if (buffer.dtype == DType::kFloat32) device_->LaunchCheckFinite(frame_, static_cast<int>(i), stream_);
    if (kept_[i] != kNone)
      device_->LaunchKeep(
          frame_, view, memory_->data() + kept_[i],
          static_cast<int64_t>(BytesOf(buffer, capacity_shapes_[program_->outputs[i].buffer])), stream_);
  }
  device_->LaunchGate(frame_, stream_);
  LaunchSteps(program_->commit_start, steps_.size());
}

// ---- Running ----

// The host's memory for results, before anything runs: a step that has changed state does not fail any more.
Status DeviceExecutable::OwnResults(Slot* slot) const {
  slot->results.clear();
  for (const ProgramOutput& output : program_->outputs) {
    const size_t bytes = BytesOf(program_->buffers[output.buffer], slot->shapes[output.buffer]);
    slot->results.push_back(Block::Allocate(bytes));
    if (!slot->results.back())
      return Error{ErrorCode::kOutOfMemory,     "run",
                   "outputs." + output.name,    std::to_string(bytes) + " bytes",
                   "none: memory is exhausted", ""};
  }
  return Ok();
}

Status DeviceExecutable::PlaceStores(const RunRequest& request, Slot* slot) {
  for (size_t index = 0; index < state_.size(); ++index)
    for (size_t i = 0; i < state_[index].size(); ++i) {
      const StateBuffer& state = state_[index][i];
      const Buffer& buffer = program_->buffers[state.buffer];
      const size_t entry = slots_[index].entries[i];
      Store& store = *request.stores[index];
      const auto refuse = [&] {
        return OutOfMemory("run", "stores." + program_->stores[index] + "." + buffer.name,
                           store.layout()->entries[entry].Bytes());
      };
      if (state.written && !store.Unshare(entry)) return refuse();
      std::shared_ptr<DeviceMemory> mirror;
      KAIROS_RETURN_IF_ERROR(store.block(entry).ToDevice(device_, &mirror));
      if (!mirror) return refuse();
      slot->storages[buffer.storage] = mirror->data();
      slot->mirrors.push_back(std::move(mirror));
    }
  // Only now, when nothing can fail any more before the run.
  for (size_t index = 0; index < state_.size(); ++index)
    for (size_t i = 0; i < state_[index].size(); ++i)
      if (state_[index][i].written) request.stores[index]->block(slots_[index].entries[i]).WrittenByDevice();
  return Ok();
}

// Live feeds one behind the other; with `poison` at their capacities, NaN between them.
size_t DeviceExecutable::PackFeeds(const RunRequest& request, Slot* slot) {
  std::byte* const pinned = slot->pinned->data() + AlignUp(header_bytes_);
  if (options_.poison) std::memset(pinned, kPoison, feed_bytes_);
  size_t total = 0, offset = 0;
  for (size_t i = 0; i < program_->inputs.size(); ++i) {
    const uint32_t input = program_->inputs[i];
    const Buffer& buffer = program_->buffers[input];
    const size_t bytes = BytesOf(buffer, live_shapes_[input]);
    Extend(&total, options_.poison ? BytesOf(buffer, capacity_shapes_[input]) : bytes, &offset);
    if (bytes > 0) std::memcpy(pinned + offset, request.feeds[i].memory->data(), bytes);
    slot->storages[buffer.storage] = slot->feeds + offset;
  }
  return total;
}

Status DeviceExecutable::Begin(const RunRequest& request, size_t* index) {
  KAIROS_RETURN_IF_ERROR(SetCounts(request.counts));
  KAIROS_RETURN_IF_ERROR(AcceptFeeds(request));
  KAIROS_RETURN_IF_ERROR(CheckIds(request));
  KAIROS_RETURN_IF_ERROR(ResolveStores(request));

  Slot& slot = slots_in_flight_[next_];
  if (slot.busy)
    return Error{ErrorCode::kInternal, "run", "slot", "one that is free", "a run that was not finished", ""};
  slot.storages = addresses_;
  slot.counts = counts_;
  slot.shapes = live_shapes_;
  KAIROS_RETURN_IF_ERROR(OwnResults(&slot));
  slot.mirrors.clear();
  KAIROS_RETURN_IF_ERROR(PlaceStores(request, &slot));
  const size_t fed = PackFeeds(request, &slot);

  std::byte* const header = slot.pinned->data();
  std::memcpy(header, counts_.data(), 8 * counts_.size());
  std::memcpy(header + 8 * counts_.size(), slot.storages.data(), 8 * slot.storages.size());
  for (size_t i = 0; i < request.require_finite.size(); ++i)
    header[require_offset_ + i] = std::byte{request.require_finite[i]};

  device_->Copy(slot.feeds, header + AlignUp(header_bytes_), fed, feeding_);
  device_->Record(slot.fed, feeding_);
  device_->Wait(stream_, slot.fed);
  device_->Copy(header_, header, header_bytes_, stream_);
  if (graph_)
    device_->LaunchGraph(graph_, stream_);
  else
    LaunchProgram();
  ReturnResults(&slot);
  device_->Record(slot.done, stream_);
  const Status status = device_->TakeError("run");
  if (!status.ok()) {
    device_->Synchronize(stream_);  // whatever was asked for has ended before its memory is used again
    return status;
  }
  slot.busy = true;
  *index = next_;
  next_ = (next_ + 1) % kSlots;
  return Ok();
}

void DeviceExecutable::ReturnResults(Slot* slot) {
  std::byte* const pinned = slot->pinned->data();
  const size_t outputs = program_->outputs.size();
  for (size_t i = 0; i < outputs; ++i) {
    const uint32_t index = program_->outputs[i].buffer;
    const Buffer& buffer = program_->buffers[index];
    const std::byte* from = kept_[i] == kNone ? slot->storages[buffer.storage] : memory_->data() + kept_[i];
    const Shape& shape = options_.poison ? capacity_shapes_[index] : slot->shapes[index];
    if (from) device_->Copy(pinned + result_offsets_[i], from, BytesOf(buffer, shape), stream_);
  }
  device_->Copy(pinned + result_offsets_[outputs], frame_.counts, 8 * slot->counts.size(), stream_);
  device_->Copy(pinned + result_offsets_[outputs + 1], frame_.fault, sizeof(DeviceFault), stream_);
}

Status DeviceExecutable::FaultOf(const Slot& slot, const DeviceFault& fault) const {
  if (fault.kind == DeviceFault::kOutput)
    return NonFiniteOutput(static_cast<size_t>(fault.step), fault.position,
                           slot.shapes[program_->outputs[fault.step].buffer], fault.number);
  if (fault.kind == DeviceFault::kCount)
    return Error{ErrorCode::kInternal,
                 "run",
                 "count of " + Quote(program_->symbols[fault.position]),
                 "0 to " + std::to_string(fault.limit),
                 std::to_string(fault.value),
                 ""};
  IdFault told;
  const std::string name = kernels_[fault.step]->NameOfFault(fault.position);
  told.position = fault.position;
  told.value = fault.value;
  told.least = fault.least;
  told.limit = fault.limit;
  told.what = kWhat[fault.what];
  told.operand = fault.operand;
  told.non_finite = fault.kind == DeviceFault::kGradient;
  told.number = fault.number;
  told.name = name;
  return ErrorOfFault(program_->steps[fault.step], told);
}

Status DeviceExecutable::TakeResults(Slot* slot, RunResult* result) {
  const std::byte* pinned = slot->pinned->data();
  const size_t outputs = program_->outputs.size();
  DeviceFault fault;
  std::memcpy(&fault, pinned + result_offsets_[outputs + 1], sizeof(fault));
  if (fault.kind != DeviceFault::kNone) return FaultOf(*slot, fault);
  if (!program_->computed.empty()) {
    std::memcpy(slot->counts.data(), pinned + result_offsets_[outputs], 8 * slot->counts.size());
    KAIROS_RETURN_IF_ERROR(EvaluateShapes(slot->counts, &slot->shapes));
  }
  for (size_t i = 0; i < outputs; ++i) {
    const ProgramOutput& output = program_->outputs[i];
    const Buffer& buffer = program_->buffers[output.buffer];
    const Shape& shape = slot->shapes[output.buffer];
    const size_t bytes = BytesOf(buffer, shape);
    std::memcpy(slot->results[i]->data(), pinned + result_offsets_[i], bytes);
    result->outputs.push_back({{buffer.dtype, shape}, std::move(slot->results[i])});
  }
  if (options_.profile)
    for (size_t i = 0; i < steps_.size(); ++i)
      result->profile.push_back(device_->Nanoseconds(marks_[2 * i], marks_[2 * i + 1]));
  return Ok();
}

Status DeviceExecutable::Finish(size_t index, RunResult* result) {
  Slot& slot = slots_in_flight_[index];
  device_->Await(slot.done);
  slot.busy = false;
  slot.mirrors.clear();
  KAIROS_RETURN_IF_ERROR(device_->TakeError("run"));
  return TakeResults(&slot, result);
}

Status DeviceExecutable::Run(const RunRequest& request, ThreadTeam&, const std::atomic<bool>& stop,
                             RunResult* result) {
  const auto start = std::chrono::steady_clock::now();
  StoreLocks locks;
  for (size_t i = 0; i < request.stores.size(); ++i)
    if (request.stores[i]) locks.Add(request.stores[i].get(), program_->store_written[i]);
  locks.Lock();
  if (stop.load(std::memory_order_relaxed))
    return Error{ErrorCode::kClosed, "run", "executor", "to stay open", "a stop", ""};
  size_t slot = 0;
  KAIROS_RETURN_IF_ERROR(Begin(request, &slot));
  const Status status = Finish(slot, result);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  result->milliseconds = elapsed.count();
  return status;
}

}  // namespace kairos
