// run and runBlocking: feeds in, outputs out.
#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "napi/border.h"
#include "napi/calls.h"
#include "napi/executable_handle.h"
#include "napi/promise_job.h"
#include "napi/staging_handle.h"
#include "napi/store_handle.h"

namespace kairos::border {
namespace {

constexpr int64_t kMostCount = int64_t{1} << 53;

// A staging slot that a run has taken: free again when the run ends, however it ends.
class TakenSlot {
 public:
  TakenSlot(std::shared_ptr<StagingCell> staging, size_t slot) : staging_(std::move(staging)), slot_(slot) {}
  ~TakenSlot() { staging_->Free(slot_); }
  TakenSlot(const TakenSlot&) = delete;
  const StagingCell& staging() const { return *staging_; }
  const StagingSlot& slot() const { return staging_->slot(slot_); }

 private:
  const std::shared_ptr<StagingCell> staging_;
  const size_t slot_;
};

// Everything of a run that came from JavaScript.
struct RunArguments {
  std::shared_ptr<BoundExecutable> bound;
  RunRequest request;
  std::unique_ptr<TakenSlot> taken;
};

Feed CopyNumber(const Place& place, Napi::Value value, const Buffer& buffer) {
  if (!buffer.dims.empty())
    Refuse(ErrorCode::kShape, place.op, place.argument,
           "an array, since its rank is " + std::to_string(buffer.dims.size()), Describe(value));
  Feed feed{Block::Allocate(SizeOf(buffer.dtype)), 1, false};
  if (!feed.memory) throw std::bad_alloc();
  if (buffer.dtype == DType::kFloat32) {
    const auto number = static_cast<float>(ReadNumber(place, value));
    std::memcpy(feed.memory->data(), &number, sizeof(number));
  } else if (buffer.dtype == DType::kInt32) {
    const auto number = static_cast<int32_t>(
        ReadInteger(place, value, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
    std::memcpy(feed.memory->data(), &number, sizeof(number));
  } else {
    feed.memory->data()[0] = static_cast<std::byte>(ReadInteger(place, value, 0, 1));
  }
  return feed;
}

// With `poison` the copy is as long as the capacity, so that whoever reads beyond the count reads NaN.
Feed CopyFeed(const Place& place, Napi::Value value, const Buffer& buffer, const Executable& executable,
              size_t input) {
  if (value.IsNumber()) return CopyNumber(place, value, buffer);
  const ArrayBytes array = ReadTypedArray(place, value, buffer.dtype);
  size_t bytes = array.bytes;
  if (executable.options().poison)
    bytes = std::max(bytes, static_cast<size_t>(executable.InputCapacity(input)) * SizeOf(buffer.dtype));
  Feed feed{Block::Allocate(bytes), static_cast<int64_t>(array.count), false};
  if (!feed.memory) throw std::bad_alloc();
  if (array.bytes > 0) std::memcpy(feed.memory->data(), array.data, array.bytes);
  return feed;
}

std::unique_ptr<TakenSlot> TakeSlot(const Place& place, Napi::Value value) {
  if (value.IsUndefined()) return nullptr;
  const Napi::Object leased = ReadObject(place, value);
  auto staging = ReadHandle<StagingCell>(place.In("staging"), leased.Get("staging"));
  const auto slot = static_cast<size_t>(
      ReadInteger(place.In("slot"), leased.Get("slot"), 0, static_cast<int64_t>(staging->slots()) - 1));
  staging->TakeBack(place, slot);
  return std::make_unique<TakenSlot>(std::move(staging), slot);
}

// Entries of the ring that the program has no input for are left alone: a ring may serve several programs.
void FeedFromSlot(const Place& place, const TakenSlot& taken, const Program& program,
                  std::vector<Feed>* feeds) {
  const std::vector<StagingEntry>& entries = taken.staging().entries();
  for (size_t i = 0; i < entries.size(); ++i) {
    const int input = program.FindInput(entries[i].name);
    if (input < 0) continue;
    const Buffer& buffer = program.buffers[program.inputs[input]];
    if (buffer.dtype != entries[i].dtype)
      Refuse(ErrorCode::kDtype, place.op, place.In(entries[i].name).argument, NameOf(buffer.dtype),
             NameOf(entries[i].dtype));
    (*feeds)[input] = {taken.slot().blocks[i], entries[i].capacity, true};
  }
}

std::vector<Feed> ReadFeeds(const Place& place, Napi::Value value, const Executable& executable,
                            const TakenSlot* taken) {
  const Program& program = executable.program();
  std::vector<Feed> feeds(program.inputs.size());
  if (taken) FeedFromSlot({place.op, "leased"}, *taken, program, &feeds);
  const Napi::Array list = ReadArray(place, value);
  if (list.Length() != feeds.size())
    Refuse(ErrorCode::kArgument, place.op, place.argument,
           std::to_string(feeds.size()) + " feeds, one per input", std::to_string(list.Length()));
  for (uint32_t i = 0; i < feeds.size(); ++i) {
    const Napi::Value fed = list.Get(i);
    const Buffer& buffer = program.buffers[program.inputs[i]];
    if (fed.IsUndefined()) {
      if (!feeds[i].memory)
        Refuse(ErrorCode::kMissing, place.op, place.In(buffer.name).argument, "a feed", "none");
      continue;
    }
    if (feeds[i].memory)
      Refuse(ErrorCode::kDuplicate, place.op, place.In(buffer.name).argument, "one source",
             "a feed and a leased buffer");
    feeds[i] = CopyFeed(place.In(buffer.name), fed, buffer, executable, i);
  }
  return feeds;
}

std::vector<std::shared_ptr<Store>> ReadStores(const Place& place, Napi::Value value,
                                               const Program& program) {
  const Napi::Array list = ReadArray(place, value);
  if (list.Length() != program.stores.size()) {
    std::string names;
    for (const std::string& name : program.stores) names += (names.empty() ? "" : ", ") + name;
    Refuse(ErrorCode::kArgument, place.op, place.argument,
           std::to_string(program.stores.size()) + " stores (" + names + ")", std::to_string(list.Length()));
  }
  std::vector<std::shared_ptr<Store>> stores;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value handle = list.Get(i);
    stores.push_back(handle.IsNull() ? nullptr : ReadHandle<Store>(place.In(program.stores[i]), handle));
  }
  return stores;
}

std::vector<bool> ReadRequireFinite(const Place& place, Napi::Value value, const Program& program) {
  std::vector<bool> finite(program.outputs.size());
  if (value.IsUndefined()) return finite;
  const Napi::Array list = ReadArray(place, value);
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const std::string name = ReadString(place, list.Get(i));
    const auto found = std::find_if(program.outputs.begin(), program.outputs.end(),
                                    [&](const auto& output) { return output.name == name; });
    if (found == program.outputs.end())
      Refuse(ErrorCode::kUnknownName, place.op, place.argument, "outputs of the program", Quote(name));
    finite[found - program.outputs.begin()] = true;
  }
  return finite;
}

RunArguments ReadRun(const Napi::CallbackInfo& info, const std::shared_ptr<ExecutorCell>& cell) {
  const Place place{"run", ""};
  cell->RefuseIfClosed("run");
  RunArguments arguments;
  arguments.bound = ReadHandle<BoundExecutable>(place.In("executable"), info[1]);
  if (arguments.bound->executor != cell)
    Refuse(ErrorCode::kArgument, place.op, "executable", "one that this executor bound",
           "another executor's");
  const Napi::Object object = ReadObject(place.In("request"), info[2]);
  const Executable& executable = *arguments.bound->executable;
  const Program& program = executable.program();
  // First, so that a run which is refused below gives the slot back too.
  arguments.taken = TakeSlot(place.In("leased"), object.Get("leased"));
  RunRequest& request = arguments.request;
  request.counts = ReadCounts(place.In("counts"), object.Get("counts"), program, kMostCount);
  request.stores = ReadStores(place.In("stores"), object.Get("stores"), program);
  request.require_finite = ReadRequireFinite(place.In("requireFinite"), object.Get("requireFinite"), program);
  request.feeds = ReadFeeds(place.In("feeds"), object.Get("feeds"), executable, arguments.taken.get());
  return arguments;
}

Napi::Value ResultToJs(Napi::Env env, const Program& program, const RunResult& result) {
  Napi::Object outputs = Napi::Object::New(env);
  for (size_t i = 0; i < result.outputs.size(); ++i) {
    const OutputTensor& output = result.outputs[i];
    Napi::Object tensor = Napi::Object::New(env);
    tensor.Set("data", ToTypedArray(env, output.spec.dtype, static_cast<size_t>(output.spec.shape.Count()),
                                    output.memory));
    tensor.Set("shape", ToJs(env, output.spec.shape));
    Define(outputs, program.outputs[i].name, tensor);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("outputs", outputs);
  object.Set("milliseconds", result.milliseconds);
  if (!result.profile.empty()) {
    Napi::Float64Array profile = Napi::Float64Array::New(env, result.profile.size());
    std::copy(result.profile.begin(), result.profile.end(), profile.Data());
    object.Set("profile", profile);
  }
  return object;
}

class RunJob final : public PromiseJob {
 public:
  RunJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, RunArguments arguments)
      : PromiseJob(std::move(cell), deferred), arguments_(std::move(arguments)) {}
  Status Compute(Executor& executor) override {
    return arguments_.bound->executable->Run(arguments_.request, executor.team(), executor.stopping(),
                                             &result_);
  }
  Napi::Value Result(Napi::Env env) override {
    return ResultToJs(env, arguments_.bound->executable->program(), result_);
  }

 private:
  const RunArguments arguments_;
  RunResult result_;
};

void Run(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const auto cell = ReadHandle<ExecutorCell>({"run", "executor"}, info[0]);
  cell->Submit(std::make_unique<RunJob>(cell, deferred, ReadRun(info, cell)));
}

Napi::Value RunBlocking(const Napi::CallbackInfo& info) {
  const auto cell = ReadHandle<ExecutorCell>({"run", "executor"}, info[0]);
  const RunArguments arguments = ReadRun(info, cell);
  Executor& executor = cell->executor();
  RunResult result;
  {
    std::lock_guard lock(executor.busy());
    ThrowIfError(
        arguments.bound->executable->Run(arguments.request, executor.team(), executor.stopping(), &result));
  }
  return ResultToJs(info.Env(), arguments.bound->executable->program(), result);
}

}  // namespace

void DefineRuns(Napi::Env env, Napi::Object exports) {
  exports.Set("run", Napi::Function::New(env, Async<Run>, "run"));
  exports.Set("runBlocking", Napi::Function::New(env, Sync<RunBlocking>, "runBlocking"));
}

}  // namespace kairos::border
