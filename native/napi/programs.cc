// Executors, programs and bindings.
#include <algorithm>

#include "napi/border.h"
#include "napi/calls.h"
#include "napi/executable_handle.h"
#include "napi/promise_job.h"
#include "runtime/cpu_info.h"

namespace kairos::border {
namespace {

constexpr int64_t kMostThreads = 1024;
constexpr int64_t kMostCount = int64_t{1} << 53;

// ---- Executors ----

Napi::Value CreateExecutor(const Napi::CallbackInfo& info) {
  const Place place{"createExecutor", ""};
  const Napi::Object options = ReadObject(place.In("options"), info[0]);
  Machine machine;
  machine.threads =
      static_cast<int>(ReadInteger(place.In("threads"), options.Get("threads"), 1, kMostThreads));

  std::vector<CpuVariant> variants;
  ThrowIfError(CpuVariants(&variants));
  const std::string variant = ReadString(place.In("variant"), options.Get("variant"));
  std::string known;
  bool found = false;
  for (CpuVariant candidate : variants) {
    known += std::string(known.empty() ? "" : ", ") + NameOf(candidate);
    if (variant != NameOf(candidate)) continue;
    machine.variant = candidate;
    found = true;
  }
  if (!found)
    Refuse(ErrorCode::kUnsupported, place.op, "variant", "one of " + known + " on this machine",
           Quote(variant));

  const std::string matmul = ReadString(place.In("matmul"), options.Get("matmul"));
  if (matmul == "own")
    machine.matmul = MatmulChoice::kOwn;
  else if (matmul == "onednn")
    machine.matmul = MatmulChoice::kOneDnn;
  else if (matmul != "auto")
    Refuse(ErrorCode::kArgument, place.op, "matmul", "own, onednn or auto", Quote(matmul));

  const Napi::Value device = options.Get("device");
  const std::string kind = device.IsUndefined() ? "cpu" : ReadString(place.In("device"), device);
  if (kind != "cpu") ThrowIfError(OpenDevice(kind, &machine.device));

  const Napi::Value given = options.Get("precision");
  const std::string precision = given.IsUndefined() ? "float32" : ReadString(place.In("precision"), given);
  if (precision == "tf32")
    machine.precision = Precision::kTf32;
  else if (precision == "bfloat16")
    machine.precision = Precision::kBfloat16;
  else if (precision != "float32")
    Refuse(ErrorCode::kArgument, place.op, "precision", "float32, tf32 or bfloat16", Quote(precision));
  if (machine.precision != Precision::kFloat32 && !machine.device)
    Refuse(ErrorCode::kUnsupported, place.op, "precision", "float32 on the cpu", Quote(precision));
  return MakeHandle(ExecutorCell::Create(info.Env(), machine), info.Env());
}

// Of the device that the executor runs on.
Napi::Value ExecutorKernels(const Napi::CallbackInfo& info) {
  const auto cell = ReadHandle<ExecutorCell>({"executorKernels", "executor"}, info[0]);
  cell->RefuseIfClosed("executorKernels");
  const std::shared_ptr<Device>& device = cell->executor().machine().device;
  Napi::Array names = Napi::Array::New(info.Env());
  for (const std::string& name : device ? device->KernelNames() : KernelNames())
    names.Set(names.Length(), name);
  return names;
}

class CloseJob final : public PromiseJob {
 public:
  using PromiseJob::PromiseJob;
  Status Compute(Executor&) override { return Ok(); }
  Napi::Value Result(Napi::Env env) override {
    cell()->End();
    return env.Undefined();
  }
};

void CloseExecutor(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const auto cell = ReadHandle<ExecutorCell>({"closeExecutor", "executor"}, info[0]);
  cell->RefuseIfClosed("closeExecutor");
  cell->Submit(std::make_unique<CloseJob>(cell, deferred));
  cell->StopAccepting();
}

// ---- Programs ----

class LoadJob final : public PromiseJob {
 public:
  LoadJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred, std::vector<std::byte> bytes)
      : PromiseJob(std::move(cell), deferred), bytes_(std::move(bytes)) {}
  Status Compute(Executor&) override { return Decode(bytes_, program_.get()); }
  Napi::Value Result(Napi::Env env) override {
    int64_t bytes = 0;
    for (const Buffer& buffer : program_->buffers) bytes += static_cast<int64_t>(buffer.constant.size());
    return MakeHandle(std::move(program_), env, bytes);
  }

 private:
  const std::vector<std::byte> bytes_;
  std::shared_ptr<Program> program_ = std::make_shared<Program>();
};

void LoadProgram(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  auto cell = ReadHandle<ExecutorCell>({"loadProgram", "executor"}, info[0]);
  cell->RefuseIfClosed("loadProgram");
  const ArrayBytes array = ReadTypedArray({"loadProgram", "bytes"}, info[1], DType::kBool);
  std::vector<std::byte> bytes(array.data, array.data + array.bytes);
  cell->Submit(std::make_unique<LoadJob>(cell, deferred, std::move(bytes)));
}

Napi::Object DescribeTensor(Napi::Env env, const std::string& name, const Buffer& buffer) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", name);
  object.Set("dtype", NameOf(buffer.dtype));
  object.Set("rank", Napi::Number::New(env, static_cast<double>(buffer.dims.size())));
  return object;
}

Napi::Value DescribeProgram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto program = ReadHandle<Program>({"describeProgram", "program"}, info[0]);
  Napi::Array symbols = Napi::Array::New(env), inputs = Napi::Array::New(env),
              outputs = Napi::Array::New(env);
  Napi::Array stores = Napi::Array::New(env), steps = Napi::Array::New(env);
  for (uint32_t i = 0; i < program->symbols.size(); ++i)
    if (!program->IsComputed(i)) symbols.Set(symbols.Length(), program->symbols[i]);
  for (const std::string& store : program->stores) stores.Set(stores.Length(), store);
  for (uint32_t input : program->inputs)
    inputs.Set(inputs.Length(), DescribeTensor(env, program->buffers[input].name, program->buffers[input]));
  for (const ProgramOutput& output : program->outputs)
    outputs.Set(outputs.Length(), DescribeTensor(env, output.name, program->buffers[output.buffer]));
  for (const Step& step : program->steps) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("op", step.kernel->name);
    object.Set("source", step.source);
    steps.Set(steps.Length(), object);
  }
  Napi::Object description = Napi::Object::New(env);
  description.Set("symbols", symbols);
  description.Set("inputs", inputs);
  description.Set("outputs", outputs);
  description.Set("stores", stores);
  description.Set("steps", steps);
  return description;
}

// ---- Bindings ----

class BindJob final : public PromiseJob {
 public:
  BindJob(std::shared_ptr<ExecutorCell> cell, Napi::Promise::Deferred deferred,
          std::shared_ptr<const Program> program, std::vector<int64_t> capacities, BindOptions options)
      : PromiseJob(std::move(cell), deferred),
        program_(std::move(program)),
        capacities_(std::move(capacities)),
        options_(options) {}
  Status Compute(Executor& executor) override {
    return Executable::Bind(program_, capacities_, options_, executor.machine(), &executable_);
  }
  Napi::Value Result(Napi::Env env) override {
    const size_t bytes =
        executable_->arena_bytes() + executable_->scratch_bytes() + executable_->kept_bytes();
    return MakeHandle(std::make_shared<BoundExecutable>(BoundExecutable{executable_, cell()}), env,
                      static_cast<int64_t>(bytes));
  }

 private:
  const std::shared_ptr<const Program> program_;
  const std::vector<int64_t> capacities_;
  const BindOptions options_;
  std::shared_ptr<Executable> executable_;
};

void Bind(const Napi::CallbackInfo& info, Napi::Promise::Deferred deferred) {
  const Place place{"bind", ""};
  auto cell = ReadHandle<ExecutorCell>(place.In("executor"), info[0]);
  cell->RefuseIfClosed("bind");
  auto program = ReadHandle<Program>(place.In("program"), info[1]);
  std::vector<int64_t> capacities = ReadCounts(place.In("capacities"), info[2], *program, kMostCount);
  const Napi::Object object = ReadObject(place.In("options"), info[3]);
  BindOptions options;
  options.poison = ReadOptionalBool(place.In("options.poison"), object.Get("poison"));
  options.profile = ReadOptionalBool(place.In("options.profile"), object.Get("profile"));
  cell->Submit(std::make_unique<BindJob>(cell, deferred, std::move(program), std::move(capacities), options));
}

Napi::Value DescribeExecutable(const Napi::CallbackInfo& info) {
  const auto bound = ReadHandle<BoundExecutable>({"describeExecutable", "executable"}, info[0]);
  const auto number = [&](size_t bytes) { return Napi::Number::New(info.Env(), static_cast<double>(bytes)); };
  Napi::Object description = Napi::Object::New(info.Env());
  description.Set("arenaBytes", number(bound->executable->arena_bytes()));
  description.Set("temporaryBytes", number(bound->executable->temporary_bytes()));
  description.Set("scratchBytes", number(bound->executable->scratch_bytes()));
  description.Set("constantBytes", number(bound->executable->constant_bytes()));
  description.Set("keptBytes", number(bound->executable->kept_bytes()));
  return description;
}

// ---- Any handle ----

Napi::Value Dispose(const Napi::CallbackInfo& info) {
  Handle* handle = UnwrapHandle(info[0]);
  if (!handle) Refuse(ErrorCode::kArgument, "dispose", "handle", "a handle", Describe(info[0]));
  if (handle->kind() == HandleKind::kExecutor)
    Refuse(ErrorCode::kArgument, "dispose", "handle", "a program, executable, store or staging ring",
           "an executor", "Close it.");
  handle->Drop();  // jobs in flight keep what they use
  return info.Env().Undefined();
}

}  // namespace

std::vector<int64_t> ReadCounts(const Place& place, Napi::Value value, const Program& program, int64_t most) {
  const Napi::Object object = ReadObject(place, value);
  std::vector<int64_t> counts(program.symbols.size(), -1);
  for (const std::string& name : OwnKeys(place, object)) {
    const auto found = std::find(program.symbols.begin(), program.symbols.end(), name);
    if (found == program.symbols.end() || program.IsComputed(found - program.symbols.begin()))
      Refuse(ErrorCode::kUnknownName, place.op, place.argument, "symbols of the program", Quote(name));
    counts[found - program.symbols.begin()] = ReadInteger(place.In(name), object.Get(name), 0, most);
  }
  for (size_t i = 0; i < counts.size(); ++i)
    if (counts[i] < 0 && !program.IsComputed(i))
      Refuse(ErrorCode::kMissing, place.op, place.In(program.symbols[i]).argument, "a count", "none");
  ThrowIfError(program.FillComputed(counts));
  return counts;
}

void DefinePrograms(Napi::Env env, Napi::Object exports) {
  exports.Set("createExecutor", Napi::Function::New(env, Sync<CreateExecutor>, "createExecutor"));
  exports.Set("executorKernels", Napi::Function::New(env, Sync<ExecutorKernels>, "executorKernels"));
  exports.Set("closeExecutor", Napi::Function::New(env, Async<CloseExecutor>, "closeExecutor"));
  exports.Set("loadProgram", Napi::Function::New(env, Async<LoadProgram>, "loadProgram"));
  exports.Set("describeProgram", Napi::Function::New(env, Sync<DescribeProgram>, "describeProgram"));
  exports.Set("bind", Napi::Function::New(env, Async<Bind>, "bind"));
  exports.Set("describeExecutable", Napi::Function::New(env, Sync<DescribeExecutable>, "describeExecutable"));
  exports.Set("dispose", Napi::Function::New(env, Sync<Dispose>, "dispose"));
}

}  // namespace kairos::border
