#include "runtime/executable.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "runtime/device_executable.h"

namespace kairos {
namespace {

using Clock = std::chrono::steady_clock;

// As float32 a NaN, as int32 and as bool a value that no kernel makes.
constexpr int kPoison = 0xff;

Error Refuse(ErrorCode code, std::string argument, std::string expected, std::string got,
             std::string hint = "") {
  return {code, "run", std::move(argument), std::move(expected), std::move(got), std::move(hint)};
}

Error OutOfMemory(const char* op, const std::string& what, size_t bytes) {
  return {ErrorCode::kOutOfMemory,     op, what, std::to_string(bytes) + " bytes",
          "none: memory is exhausted", ""};
}

double NanosecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

std::string NameOfNonFinite(float value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "Infinity" : "-Infinity";
}

// "row 3, position 7" of an element, or "position 7" where rows have one element.
std::string PlaceOf(int64_t index, const Shape& shape) {
  const int64_t row = shape.rank == 0 ? 1 : shape.Product(1, shape.rank);
  if (row == 1) return "row " + std::to_string(index);
  return "row " + std::to_string(index / row) + ", position " + std::to_string(index % row);
}

// " for 'items.weight'" where the operand that tells has a name.
std::string ForOperand(const Program& program, const Step& step, const IdFault& fault) {
  const std::string& name = program.buffers[step.inputs[fault.operand]].name;
  return name.empty() ? "" : " for " + Quote(name);
}

Error NonFinite(const Step& step, const IdFault& fault) {
  std::string what = std::string(fault.what) + " " + std::to_string(fault.position);
  if (!fault.name.empty()) what += " (" + Quote(std::string(fault.name)) + ")";
  return {ErrorCode::kNonFinite,
          step.kernel->name,
          std::move(what),
          "finite",
          "a squared norm of " + NameOfNonFinite(fault.number),
          "The step changed nothing.",
          step.source};
}

size_t BytesOf(const Buffer& buffer, const Shape& shape) {
  return static_cast<size_t>(shape.Count()) * SizeOf(buffer.dtype);
}

}  // namespace

Status Executable::Bind(std::shared_ptr<const Program> program, std::vector<int64_t> capacities,
                        BindOptions options, Machine machine, std::shared_ptr<Executable>* executable) {
  std::shared_ptr<Executable> made;
  if (machine.device)
    made.reset(new DeviceExecutable(std::move(program), std::move(capacities), options, machine.device));
  else
    made.reset(new Executable(std::move(program), std::move(capacities), options));
  KAIROS_RETURN_IF_ERROR(made->EvaluateShapes(made->capacities_, &made->capacity_shapes_));
  KAIROS_RETURN_IF_ERROR(made->PrepareKernels(machine));
  KAIROS_RETURN_IF_ERROR(made->PlanMemory());
  *executable = std::move(made);
  return Ok();
}

// Sizes of all buffers, with two proofs: buffers of one storage have one byte count, and no live dim is
// beyond its capacity, which is what kernels prepared for.
Status Executable::EvaluateShapes(std::span<const int64_t> counts, std::vector<Shape>* shapes) const {
  std::vector<Shape> result(program_->buffers.size());
  for (size_t i = 0; i < result.size(); ++i) {
    const Buffer& buffer = program_->buffers[i];
    KAIROS_RETURN_IF_ERROR(program_->Evaluate(buffer, counts, &result[i]));
    for (int axis = 0; !capacity_shapes_.empty() && axis < result[i].rank; ++axis)
      if (result[i][axis] > capacity_shapes_[i][axis])
        return Refuse(ErrorCode::kShape, "buffer " + Quote(buffer.name),
                      "at most " + capacity_shapes_[i].ToString(), result[i].ToString(),
                      "A size that grows when a count shrinks cannot be bound.");
  }
  for (const Storage& storage : program_->storages)
    for (uint32_t index : storage.buffers) {
      const uint32_t first = storage.buffers.front();
      const size_t bytes = BytesOf(program_->buffers[index], result[index]);
      const size_t expected = BytesOf(program_->buffers[first], result[first]);
      if (bytes != expected)
        return Error{ErrorCode::kProgramFile,
                     "program",
                     "buffer " + Quote(program_->buffers[index].name),
                     std::to_string(expected) + " bytes, as " + Quote(program_->buffers[first].name) +
                         " in the same storage",
                     std::to_string(bytes),
                     ""};
    }
  *shapes = std::move(result);
  return Ok();
}

Status Executable::CheckStep(size_t index, std::span<const Shape> shapes) const {
  const Step& step = program_->steps[index];
  const auto specs = [&](const std::vector<uint32_t>& buffers) {
    std::vector<TensorSpec> list;
    for (uint32_t buffer : buffers) list.push_back({program_->buffers[buffer].dtype, shapes[buffer]});
    return list;
  };
  const std::vector<TensorSpec> inputs = specs(step.inputs), outputs = specs(step.outputs);
  const CheckContext context{step.kernel->name, inputs, outputs, step.attributes};
  Status status = steps_[index].check(context);
  if (status.ok()) status = AcceptStep(index, context);
  if (status.ok()) return status;
  Error error = status.error();
  error.source = step.source;
  return error;
}

// A constant, or state that the program only reads, or a view of one.
bool Executable::IsKept(uint32_t buffer) const {
  const Storage& storage = program_->storages[program_->buffers[buffer].storage];
  if (storage.owner == Storage::kNone) return false;
  const Role role = program_->buffers[storage.owner].role;
  return role == Role::kConstant || (role == Role::kState && storage.first_step == Storage::kNone);
}

Status Executable::AcceptStep(size_t index, const CheckContext& live) const {
  return steps_[index].kernel ? steps_[index].kernel->Accept(live) : Ok();
}

Status Executable::PrepareKernels(const Machine& machine) {
  size_t arguments = 0;
  for (const Step& step : program_->steps) arguments += step.inputs.size() + step.outputs.size();
  views_.reserve(arguments);  // spans below point into it
  steps_.resize(program_->steps.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = program_->steps[i];
    const KernelEntry* entry = FindKernel(step.kernel->name, machine.variant);
    if (!entry)
      return Error{
          ErrorCode::kUnsupported, step.kernel->name, "", "a kernel", "none in this build", "", step.source};
    steps_[i].check = entry->check;
    KAIROS_RETURN_IF_ERROR(CheckStep(i, capacity_shapes_));

    std::vector<TensorSpec> specs;
    for (const auto* list : {&step.inputs, &step.outputs})
      for (uint32_t buffer : *list) {
        specs.push_back({program_->buffers[buffer].dtype, capacity_shapes_[buffer]});
        views_.push_back({nullptr, specs.back().dtype, {}});
        view_buffers_.push_back(buffer);
      }
    const std::span<const TensorSpec> all(specs);
    std::vector<uint8_t> kept;
    for (uint32_t buffer : step.inputs) kept.push_back(IsKept(buffer));
    PrepareContext context{all.first(step.inputs.size()),
                           all.subspan(step.inputs.size()),
                           step.attributes,
                           machine.threads,
                           machine.matmul,
                           kept};
    steps_[i].kernel = entry->prepare(context);
    if (!steps_[i].kernel) return OutOfMemory("bind", std::string("kernel ") + step.kernel->name, 0);
    TensorView* first = views_.data() + views_.size() - specs.size();
    steps_[i].inputs = {first, step.inputs.size()};
    steps_[i].outputs = {first + step.inputs.size(), step.outputs.size()};
    scratch_bytes_ = std::max(scratch_bytes_, context.scratch_bytes);
    kept_bytes_ += context.kept_bytes;
  }
  LinkComputed();
  return Ok();
}

void Executable::LinkComputed() {
  for (const ComputedSymbol& computed : program_->computed)
    for (uint32_t i = 0; i < program_->commit_start; ++i)
      for (uint32_t output : program_->steps[i].outputs)
        if (output == computed.buffer) steps_[i].computes = &computed;
}

Status Executable::PlanMemory() {
  std::vector<Lifetime> lifetimes;
  std::vector<uint32_t> planned;
  state_.resize(program_->stores.size());
  slots_.resize(program_->stores.size());
  storage_data_.resize(program_->storages.size());
  storage_versions_.resize(program_->storages.size());
  for (uint32_t i = 0; i < program_->storages.size(); ++i) {
    const Storage& storage = program_->storages[i];
    if (storage.owner != Storage::kNone) {
      const Buffer& owner = program_->buffers[storage.owner];
      const size_t bytes = BytesOf(owner, capacity_shapes_[storage.owner]);
      if (owner.role == Role::kConstant) constant_bytes_ += bytes;
      if (owner.role == Role::kState)
        state_[owner.store].push_back({storage.owner, storage.first_step != Storage::kNone});
    } else if (storage.first_step != Storage::kNone && !storage.is_output) {
      // Outputs are written where the caller will find them, not here.
      const uint32_t buffer = storage.buffers.front();
      lifetimes.push_back({BytesOf(program_->buffers[buffer], capacity_shapes_[buffer]), storage.first_step,
                           storage.last_step});
      planned.push_back(i);
      if (__builtin_add_overflow(temporary_bytes_, AlignUp(lifetimes.back().bytes), &temporary_bytes_))
        return OutOfMemory("bind", "temporaries", SIZE_MAX);
    }
  }
  size_t total = 0;
  scratch_bytes_ = AlignUp(scratch_bytes_);
  if (!PlanArena(lifetimes, &arena_bytes_) || __builtin_add_overflow(arena_bytes_, scratch_bytes_, &total))
    return OutOfMemory("bind", "the arena", SIZE_MAX);
  arena_ = Block::Allocate(total);
  if (!arena_) return OutOfMemory("bind", "the arena", total);
  for (size_t i = 0; i < planned.size(); ++i)
    storage_data_[planned[i]] = arena_->data() + lifetimes[i].offset;
  for (const Buffer& buffer : program_->buffers)  // kernels never write constants: Decode proved it
    if (buffer.role == Role::kConstant) {
      storage_data_[buffer.storage] = const_cast<std::byte*>(buffer.constant.data());
      storage_versions_[buffer.storage] = 1;
    }
  return Ok();
}

Status Executable::SetCounts(const std::vector<int64_t>& counts) {
  if (counts == counts_ && !live_shapes_.empty()) {
    if (!given_shapes_.empty()) live_shapes_ = given_shapes_;
    UseShapes();
    return Ok();
  }
  counts_.clear();
  live_shapes_.clear();
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] < 0 || counts[i] > capacities_[i])
      return Refuse(ErrorCode::kShape, "counts." + program_->symbols[i],
                    "0 to its capacity " + std::to_string(capacities_[i]), std::to_string(counts[i]));
  std::vector<Shape> shapes;
  KAIROS_RETURN_IF_ERROR(EvaluateShapes(counts, &shapes));
  for (size_t i = 0; i < steps_.size(); ++i) KAIROS_RETURN_IF_ERROR(CheckStep(i, shapes));
  live_shapes_ = std::move(shapes);
  if (!program_->computed.empty()) given_shapes_ = live_shapes_;
  counts_ = counts;
  UseShapes();
  return Ok();
}

void Executable::UseShapes() {
  for (size_t i = 0; i < views_.size(); ++i) views_[i].shape = live_shapes_[view_buffers_[i]];
}

// A step has computed the count of a symbol: later steps see it. Compute steps only, so a refusal changes nothing.
Status Executable::TakeComputed(size_t step) {
  const ComputedSymbol& computed = *steps_[step].computes;
  const int64_t limit = running_counts_[computed.symbol];
  const int32_t count =
      *reinterpret_cast<const int32_t*>(storage_data_[program_->buffers[computed.buffer].storage]);
  if (count < 0 || count > limit)
    return Refuse(ErrorCode::kInternal, "count of " + Quote(program_->symbols[computed.symbol]),
                  "0 to " + std::to_string(limit), std::to_string(count));
  running_counts_[computed.symbol] = count;
  std::vector<Shape> shapes;
  KAIROS_RETURN_IF_ERROR(EvaluateShapes(running_counts_, &shapes));
  for (size_t i = step + 1; i < steps_.size(); ++i) {
    const auto changed = [&](uint32_t buffer) { return !(shapes[buffer] == live_shapes_[buffer]); };
    const Step& later = program_->steps[i];
    if (std::any_of(later.inputs.begin(), later.inputs.end(), changed) ||
        std::any_of(later.outputs.begin(), later.outputs.end(), changed))
      KAIROS_RETURN_IF_ERROR(CheckStep(i, shapes));
  }
  live_shapes_ = std::move(shapes);
  UseShapes();
  return Ok();
}

Status Executable::AcceptFeeds(const RunRequest& request) {
  for (size_t i = 0; i < program_->inputs.size(); ++i) {
    const uint32_t index = program_->inputs[i];
    const Buffer& buffer = program_->buffers[index];
    const Feed& feed = request.feeds[i];
    const Shape& shape = live_shapes_[index];
    const int64_t count = shape.Count();
    if (feed.may_be_longer ? feed.count < count : feed.count != count)
      return Refuse(ErrorCode::kShape, "feeds." + buffer.name,
                    (feed.may_be_longer ? "room for " : "") + std::to_string(count) + " elements for shape " +
                        shape.ToString(),
                    std::to_string(feed.count));
    std::byte* const data = feed.memory->data();
    storage_data_[buffer.storage] = data;
    if (buffer.dtype == DType::kBool)  // kernels rely on 0 and 1
      for (int64_t j = 0; j < count; ++j) data[j] = std::byte{data[j] != std::byte{0}};
    if (options_.poison) {
      const size_t live = BytesOf(buffer, shape);
      std::memset(data + live, kPoison, feed.memory->size() - live);
    }
  }
  return Ok();
}

Status Executable::CheckIds(const RunRequest& request) const {
  for (const IdCheck& check : program_->checks) {
    const Buffer& buffer = program_->buffers[check.buffer];
    int64_t limit = 0;
    KAIROS_RETURN_IF_ERROR(program_->Evaluate(program_->dims[check.dim], request.counts, &limit));
    const auto* ids = reinterpret_cast<const int32_t*>(storage_data_[buffer.storage]);
    const Shape& shape = live_shapes_[check.buffer];
    const int64_t count = shape.Count();
    const auto allowed = [&](int32_t id) {
      return (id >= 0 && id < limit) || (check.also_allowed != -1 && id == check.also_allowed);
    };
    // A first pass without a branch, since nearly always all ids are good.
    const uint32_t most = static_cast<uint32_t>(std::min<int64_t>(limit, int64_t{1} << 31));
    uint32_t outside = 0;
    for (int64_t i = 0; i < count; ++i) outside |= static_cast<uint32_t>(ids[i]) >= most;
    if (!outside) continue;
    const int32_t* bad = std::find_if_not(ids, ids + count, allowed);
    if (bad == ids + count) continue;
    std::string expected = "an id of table " + Quote(check.table) + " in [0, " + std::to_string(limit) + ")";
    if (check.also_allowed != -1) expected += " or " + std::to_string(check.also_allowed);
    return Refuse(ErrorCode::kIdRange, "feeds." + buffer.name, expected,
                  std::to_string(*bad) + " at " + PlaceOf(bad - ids, shape));
  }
  return Ok();
}

// Finds state buffers by name, once per layout, and points storages at them.
Status Executable::ResolveStores(const RunRequest& request) {
  for (size_t slot = 0; slot < state_.size(); ++slot) {
    if (state_[slot].empty()) continue;
    const std::string& slot_name = program_->stores[slot];
    if (!request.stores[slot]) return Refuse(ErrorCode::kMissing, "stores." + slot_name, "a store", "none");
    for (size_t other = 0; other < slot; ++other)
      if (request.stores[other] == request.stores[slot] &&
          (program_->store_written[other] || program_->store_written[slot]))
        return Refuse(ErrorCode::kArgument, "stores." + slot_name,
                      "a store of its own, since the program writes it",
                      "the store of " + Quote(program_->stores[other]));
    const std::shared_ptr<const Layout>& layout = request.stores[slot]->layout();
    if (slots_[slot].layout == layout) continue;
    slots_[slot] = {};
    std::vector<size_t> entries;
    for (const StateBuffer& state : state_[slot]) {
      const Buffer& buffer = program_->buffers[state.buffer];
      const std::string argument = "stores." + slot_name + "." + buffer.name;
      const ptrdiff_t entry = layout->Find(buffer.name);
      if (entry < 0) return Refuse(ErrorCode::kMissing, argument, "an entry of that name", "none");
      const TensorSpec& spec = layout->entries[entry].spec;
      if (spec.dtype != buffer.dtype)
        return Refuse(ErrorCode::kDtype, argument, NameOf(buffer.dtype), NameOf(spec.dtype));
      if (!(spec.shape == capacity_shapes_[state.buffer]))
        return Refuse(ErrorCode::kShape, argument, capacity_shapes_[state.buffer].ToString(),
                      spec.shape.ToString());
      entries.push_back(static_cast<size_t>(entry));
    }
    slots_[slot] = {layout, std::move(entries)};
  }
  return Ok();
}

// Allocates results and makes written state this store's own, before anything runs.
Status Executable::OwnMemory(const RunRequest& request, RunResult* result) {
  for (size_t slot = 0; slot < state_.size(); ++slot)
    for (size_t i = 0; i < state_[slot].size(); ++i) {
      const StateBuffer& state = state_[slot][i];
      const Buffer& buffer = program_->buffers[state.buffer];
      Store& store = *request.stores[slot];
      const size_t entry = slots_[slot].entries[i];
      if (state.written && !store.Unshare(entry))
        return OutOfMemory("run", "stores." + program_->stores[slot] + "." + buffer.name,
                           store.layout()->entries[entry].Bytes());
      KAIROS_RETURN_IF_ERROR(store.block(entry).ToHost());
      if (state.written) store.block(entry).WrittenByHost();
      storage_data_[buffer.storage] = store.data(entry);
      if (!state.written) storage_versions_[buffer.storage] = store.version(entry);
    }
  result->outputs.reserve(program_->outputs.size());
  std::vector<bool> placed(program_->storages.size());
  for (const ProgramOutput& output : program_->outputs) {
    const Buffer& buffer = program_->buffers[output.buffer];
    const size_t bytes =
        BytesOf(buffer, options_.poison ? capacity_shapes_[output.buffer] : live_shapes_[output.buffer]);
    std::shared_ptr<Block> memory = Block::Allocate(bytes);
    if (!memory) return OutOfMemory("run", "outputs." + output.name, bytes);
    if (options_.poison) std::memset(memory->data(), kPoison, bytes);
    if (program_->storages[buffer.storage].owner == Storage::kNone && !placed[buffer.storage]) {
      storage_data_[buffer.storage] = memory->data();
      placed[buffer.storage] = true;
    }
    result->outputs.push_back({{buffer.dtype, live_shapes_[output.buffer]}, std::move(memory)});
  }
  if (options_.profile) result->profile.resize(steps_.size());
  if (options_.poison) std::memset(arena_->data(), kPoison, arena_->size());
  for (size_t i = 0; i < views_.size(); ++i) {
    const uint32_t storage = program_->buffers[view_buffers_[i]].storage;
    views_[i].data = storage_data_[storage];
    views_[i].version = storage_versions_[storage];
  }
  return Ok();
}

Status Executable::RunSteps(size_t begin, size_t end, ThreadTeam& team, const std::atomic<bool>* stop,
                            RunResult* result) {
  IdFault fault;
  std::byte* const scratch = arena_->data() + arena_bytes_;
  for (size_t i = begin; i < end; ++i) {
    if (stop && stop->load(std::memory_order_relaxed))
      return Refuse(ErrorCode::kClosed, "executor", "to stay open", "a stop");
    const Clock::time_point start = options_.profile ? Clock::now() : Clock::time_point();
    steps_[i].kernel->Run({steps_[i].inputs, steps_[i].outputs, scratch, team, fault});
    if (options_.profile) result->profile[i] = NanosecondsSince(start);
    if (!fault.raised.load()) {
      if (steps_[i].computes) KAIROS_RETURN_IF_ERROR(TakeComputed(i));
      continue;
    }
    return ErrorOfFault(program_->steps[i], fault);
  }
  return Ok();
}

Error Executable::ErrorOfFault(const Step& step, const IdFault& fault) const {
  if (fault.non_finite) return NonFinite(step, fault);
  return {ErrorCode::kIdRange,
          step.kernel->name,
          std::string(fault.what) + " " + std::to_string(fault.position) + " of its " + fault.what + "s",
          "in [" + std::to_string(fault.least) + ", " + std::to_string(fault.limit) + ")" +
              ForOperand(*program_, step, fault),
          std::to_string(fault.value),
          "",
          step.source};
}

// Fills the results that no step wrote in place: inputs, constants, state before the commit, second names of
// one storage.
void Executable::CopyOutputs(RunResult* result) const {
  for (size_t i = 0; i < result->outputs.size(); ++i) {
    const Buffer& buffer = program_->buffers[program_->outputs[i].buffer];
    const OutputTensor& output = result->outputs[i];
    if (storage_data_[buffer.storage] != output.memory->data())
      std::memcpy(output.memory->data(), storage_data_[buffer.storage], BytesOf(buffer, output.spec.shape));
  }
}

Status Executable::CheckFinite(const RunRequest& request, const RunResult& result) const {
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    const OutputTensor& output = result.outputs[i];
    if (!request.require_finite[i] || output.spec.dtype != DType::kFloat32) continue;
    const auto* values = reinterpret_cast<const float*>(output.memory->data());
    for (int64_t at = 0, count = output.spec.shape.Count(); at < count; ++at)
      if (!std::isfinite(values[at])) return NonFiniteOutput(i, at, output.spec.shape, values[at]);
  }
  return Ok();
}

Error Executable::NonFiniteOutput(size_t output, int64_t at, const Shape& shape, float value) const {
  const std::string place = shape.rank == 0 ? "" : " at " + PlaceOf(at, shape);
  return Refuse(ErrorCode::kNonFinite, "outputs." + program_->outputs[output].name, "finite",
                NameOfNonFinite(value) + place, "The step changed nothing.");
}

Status Executable::Run(const RunRequest& request, ThreadTeam& team, const std::atomic<bool>& stop,
                       RunResult* result) {
  const Clock::time_point start = Clock::now();
  StoreLocks locks;
  for (size_t i = 0; i < request.stores.size(); ++i)
    if (request.stores[i]) locks.Add(request.stores[i].get(), program_->store_written[i]);
  locks.Lock();
  KAIROS_RETURN_IF_ERROR(SetCounts(request.counts));
  KAIROS_RETURN_IF_ERROR(AcceptFeeds(request));
  KAIROS_RETURN_IF_ERROR(CheckIds(request));
  KAIROS_RETURN_IF_ERROR(ResolveStores(request));
  KAIROS_RETURN_IF_ERROR(OwnMemory(request, result));

  team.Enter();
  running_counts_ = counts_;
  Status status = RunSteps(0, program_->commit_start, team, &stop, result);
  for (size_t i = 0; i < result->outputs.size(); ++i)
    result->outputs[i].spec.shape = live_shapes_[program_->outputs[i].buffer];
  if (status.ok()) CopyOutputs(result);
  if (status.ok()) status = CheckFinite(request, *result);
  // From here nothing can fail.
  if (status.ok()) status = RunSteps(program_->commit_start, steps_.size(), team, nullptr, result);
  team.Leave();
  result->milliseconds = NanosecondsSince(start) / 1e6;
  return status;
}

}  // namespace kairos
