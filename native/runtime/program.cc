#include "runtime/program.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_set>

#include "runtime/program_reader.h"

namespace kairos {
namespace {

constexpr std::string_view kMagic = "KAIROSPG";
constexpr uint32_t kVersion = 2;
constexpr uint32_t kMaxSymbols = 1 << 10;
constexpr uint32_t kMaxItems = 1 << 16;  // of dims, buffers, steps, outputs, checks, computed symbols

const KernelDeclaration* FindDeclaration(std::string_view name) {
  for (const KernelDeclaration& kernel : kKernelTable)
    if (name == kernel.name) return &kernel;
  return nullptr;
}

// Reads the file front to back. A refused read leaves `reader` failed; every later read then answers zero, so
// a section may check once where it ends.
class Decoder {
 public:
  Decoder(std::span<const std::byte> bytes, Program* program) : reader_(bytes), program_(*program) {}

  Status Run() {
    for (auto section :
         {&Decoder::Header, &Decoder::Symbols, &Decoder::Dims, &Decoder::Storages, &Decoder::Buffers,
          &Decoder::Steps, &Decoder::Outputs, &Decoder::Checks, &Decoder::Computed}) {
      (this->*section)();
      if (!reader_.ok()) return reader_.error();
    }
    if (reader_.remaining() > 0)
      return reader_.Refuse("end of file", "no more bytes", Plural(reader_.remaining()));
    return Ok();
  }

 private:
  static std::string Plural(size_t bytes) {
    return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  }

  void Header() {
    if (reader_.Bytes("magic", kMagic.size()) != kMagic)
      return reader_.Fail("magic", "the bytes " + std::string(kMagic),
                          "something else: this is no program file");
    if (uint32_t version = reader_.U32("version"); version != kVersion)
      return reader_.Fail("version", std::to_string(kVersion), std::to_string(version));
    if (uint32_t flags = reader_.U32("flags"); flags != 0)
      return reader_.Fail("flags", "0", std::to_string(flags));
    if (uint64_t length = reader_.U64("length"); length != reader_.size())
      return reader_.Fail("length", Plural(reader_.size()) + " as the file has", std::to_string(length));
  }

  void Symbols() {
    const uint32_t count = reader_.Count("symbol count", 4, kMaxSymbols);
    std::unordered_set<std::string_view> names;
    program_.symbols.reserve(count);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      program_.symbols.push_back(reader_.String(Part("symbol", i)));
      RequireNew(names, program_.symbols.back(), Part("symbol", i));
    }
  }

  void Dims() {
    const uint32_t count = reader_.Count("dim count", 4, kMaxItems);
    program_.dims.resize(count);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      const std::string part = Part("dim", i);
      program_.dims[i].terms.resize(reader_.Count(part + " term count", 12, kMaxItems));
      for (Dim::Term& term : program_.dims[i].terms) {
        term.coefficient = reader_.I64(part + " coefficient");
        term.factors = reader_.Indices(part + " factor", kMaxRank * 4, program_.symbols.size(), "symbols");
        if (!reader_.ok()) return;
      }
    }
  }

  void Storages() {
    const uint32_t count = reader_.U32("storage count");
    if (count > kMaxItems)
      return reader_.Fail("storage count", "at most " + std::to_string(kMaxItems), std::to_string(count));
    program_.storages.resize(count);
    const uint32_t stores = reader_.Count("store count", 4, 256);
    std::unordered_set<std::string_view> names;
    program_.stores.reserve(stores);
    for (uint32_t i = 0; i < stores && reader_.ok(); ++i) {
      program_.stores.push_back(reader_.String(Part("store", i)));
      RequireNew(names, program_.stores.back(), Part("store", i));
    }
    program_.store_written.resize(stores);
  }

  void Buffers() {
    const uint32_t count = reader_.Count("buffer count", 16, kMaxItems);
    std::set<std::tuple<Role, uint8_t, std::string>> names;  // of inputs, and of state within its slot
    program_.buffers.reserve(count);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      program_.buffers.push_back(ReadBuffer(Part("buffer", i)));
      if (!reader_.ok()) return;
      const Buffer& buffer = program_.buffers.back();
      const std::string part = Part("buffer", i) + " " + Quote(buffer.name);
      Storage& storage = program_.storages[buffer.storage];
      storage.buffers.push_back(i);
      if (buffer.role == Role::kTemporary) continue;
      if (storage.owner != Storage::kNone)
        return reader_.Fail(part + " storage", "a storage of its own: only temporaries share one",
                            "storage " + std::to_string(buffer.storage));
      storage.owner = i;
      if (buffer.role == Role::kInput) program_.inputs.push_back(i);
      if (buffer.role == Role::kConstant) continue;
      if (!names.insert({buffer.role, buffer.store, buffer.name}).second)
        return reader_.Fail(part, "a name used once", "the name of an earlier buffer");
    }
    written_.assign(program_.storages.size(), Storage::kNone);
    for (size_t i = 0; i < program_.storages.size(); ++i) written_[i] = program_.storages[i].owner;
  }

  Buffer ReadBuffer(const std::string& part) {
    Buffer buffer;
    buffer.name = reader_.String(part + " name");
    buffer.role = static_cast<Role>(reader_.Choice(part + " role", 4));
    buffer.dtype = static_cast<DType>(reader_.Choice(part + " dtype", 3));
    buffer.store = reader_.U8(part + " store slot");
    const uint32_t rank = reader_.Choice(part + " rank", kMaxRank + 1);
    for (uint32_t axis = 0; axis < rank; ++axis)
      buffer.dims.push_back(reader_.Index(part + " dim", program_.dims.size(), "dims"));
    buffer.storage = reader_.Index(part + " storage", program_.storages.size(), "storages");
    if (!reader_.ok()) return buffer;

    if (buffer.role == Role::kState ? buffer.store >= program_.stores.size() : buffer.store != 0)
      reader_.Fail(part + " store slot", "a slot of the program for state, 0 for others",
                   std::to_string(buffer.store));
    if (buffer.role != Role::kState && buffer.role != Role::kConstant) return buffer;

    for (uint32_t dim : buffer.dims)
      if (!program_.dims[dim].IsLiteral())
        reader_.Fail(part + " " + Quote(buffer.name) + " shape",
                     "literal dims, as for all state and constants", "a symbolic dim");
    Shape shape;
    if (reader_.ok()) reader_.Accept(part, program_.Evaluate(buffer, {}, &shape));
    if (reader_.ok() && buffer.role == Role::kConstant) ReadConstant(part, shape, &buffer);
    return buffer;
  }

  void ReadConstant(const std::string& part, const Shape& shape, Buffer* buffer) {
    const uint64_t length = reader_.U64(part + " constant length");
    const uint64_t expected = static_cast<uint64_t>(shape.Count()) * SizeOf(buffer->dtype);
    if (reader_.ok() && length != expected)
      return reader_.Fail(part + " constant length",
                          std::to_string(expected) + " for shape " + shape.ToString(),
                          std::to_string(length));
    const std::string_view bytes = reader_.Bytes(part + " constant", length);
    const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
    buffer->constant.assign(begin, begin + bytes.size());
  }

  void Steps() {
    const uint32_t count = reader_.Count("step count", 20, kMaxItems);
    program_.steps.reserve(count);
    std::vector<size_t> offsets;
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      offsets.push_back(reader_.offset());
      ReadStep(Part("step", i));
    }
    program_.commit_start = reader_.U32("commit start");
    if (reader_.ok() && program_.commit_start > count)
      return reader_.Fail("commit start", "at most " + std::to_string(count),
                          std::to_string(program_.commit_start));
    // Only now is it known which steps may write state.
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      reader_.Blame(offsets[i]);
      if (i == program_.commit_start) computed_ = written_;
      FollowStep(i);
    }
    if (program_.commit_start == count) computed_ = written_;
  }

  void ReadStep(const std::string& part) {
    const std::string op = reader_.String(part + " op");
    const KernelDeclaration* kernel = FindDeclaration(op);
    if (reader_.ok() && !kernel) return reader_.Fail(part + " op", "the name of a kernel", Quote(op));
    Step step;
    step.kernel = kernel;
    const std::string named = part + " " + Quote(op);
    step.inputs = reader_.Indices(named + " input", 64, program_.buffers.size(), "buffers");
    step.outputs = reader_.Indices(named + " output", 64, program_.buffers.size(), "buffers");
    if (!reader_.ok()) return;
    RequireArity(named + " inputs", step.inputs.size(), kernel->min_inputs, kernel->max_inputs);
    RequireArity(named + " outputs", step.outputs.size(), kernel->min_outputs, kernel->max_outputs);
    ReadAttributes(named, &step);
    step.source = reader_.String(named + " source");
    program_.steps.push_back(std::move(step));
  }

  void RequireArity(const std::string& part, size_t count, int least, int most) {
    if (!reader_.ok() || (count >= static_cast<size_t>(least) && count <= static_cast<size_t>(most))) return;
    const std::string range =
        least == most ? std::to_string(least) : std::to_string(least) + " to " + std::to_string(most);
    reader_.Fail(part, range, std::to_string(count));
  }

  void ReadAttributes(const std::string& part, Step* step) {
    const KernelDeclaration& kernel = *step->kernel;
    const uint32_t count = reader_.Count(part + " attribute count", 6, 64);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      const std::string name = reader_.String(part + " attribute name");
      const std::string named = part + " attribute " + Quote(name);
      Attributes::Value value = reader_.Attribute(named);
      if (!reader_.ok()) return;
      const auto* end = kernel.attributes + kernel.attribute_count;
      const auto* declared =
          std::find_if(kernel.attributes, end, [&](const auto& known) { return name == known.name; });
      if (declared == end) return reader_.Fail(named, "an attribute that the kernel has", "an unknown name");
      if (declared->type != value.index())
        return reader_.Fail(named, "type " + std::to_string(declared->type), std::to_string(value.index()));
      if (step->attributes.Find(name)) return reader_.Fail(named, "one value", "two");
      step->attributes.Set(name, std::move(value));
    }
    for (int i = 0; i < kernel.attribute_count && reader_.ok(); ++i)
      if (!kernel.attributes[i].optional && !step->attributes.Find(kernel.attributes[i].name))
        reader_.Fail(part, std::string("attribute ") + Quote(kernel.attributes[i].name), "none of that name");
  }

  // Reads need something written; writes must be allowed. Keeps lifetimes of storages.
  void FollowStep(uint32_t index) {
    const Step& step = program_.steps[index];
    const std::string part = Part("step", index) + " " + Quote(step.kernel->name);
    const bool commits = index >= program_.commit_start;
    if (commits && step.kernel->raises_id_fault)
      return reader_.Fail(part, "a step before the commit, since it may meet a bad id", "a commit step");
    for (uint32_t buffer : step.inputs) Read(part, buffer, index);
    for (size_t i = 0; i < step.outputs.size() && reader_.ok(); ++i) {
      const Buffer& output = program_.buffers[step.outputs[i]];
      for (size_t j = 0; j < i; ++j)
        if (program_.buffers[step.outputs[j]].storage == output.storage)
          return reader_.Fail(part + " outputs", "a storage for each", "two that share one");
      for (uint32_t input : step.inputs)
        if (program_.buffers[input].storage == output.storage &&
            (!step.kernel->in_place || SizeOf(program_.buffers[input].dtype) != SizeOf(output.dtype)))
          return reader_.Fail(part + " outputs", "another storage than the inputs'",
                              "storage " + std::to_string(output.storage));
      Write(part, step.outputs[i], index, commits);
    }
  }

  void Read(const std::string& part, uint32_t index, uint32_t step) {
    const Buffer& buffer = program_.buffers[index];
    if (!reader_.ok()) return;
    if (written_[buffer.storage] == Storage::kNone)
      return reader_.Fail(part + " input", "a buffer that an earlier step wrote",
                          Quote(buffer.name) + ", which none did");
    Storage& storage = program_.storages[buffer.storage];
    storage.last_step = std::max(storage.last_step, step);
  }

  void Write(const std::string& part, uint32_t index, uint32_t step, bool commits) {
    const Buffer& buffer = program_.buffers[index];
    Storage& storage = program_.storages[buffer.storage];
    if (storage.owner != Storage::kNone) {
      const Buffer& owner = program_.buffers[storage.owner];
      if (storage.owner != index || owner.role != Role::kState || !commits)
        return reader_.Fail(part + " output", "a temporary, or state in a commit step", Quote(buffer.name));
      program_.store_written[owner.store] = true;
    }
    if (storage.first_step == Storage::kNone) storage.first_step = step;
    storage.last_step = std::max(storage.last_step, step);
    written_[buffer.storage] = index;
    if (commits) committed_.insert(buffer.storage);
  }

  void Outputs() {
    const uint32_t count = reader_.Count("output count", 8, kMaxItems);
    std::unordered_set<std::string_view> names;
    program_.outputs.reserve(count);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      const std::string part = Part("output", i);
      ProgramOutput output;
      output.name = reader_.String(part + " name");
      output.buffer = reader_.Index(part + " buffer", program_.buffers.size(), "buffers");
      if (!reader_.ok()) return;
      const Buffer& buffer = program_.buffers[output.buffer];
      Storage& storage = program_.storages[buffer.storage];
      if (computed_[buffer.storage] == Storage::kNone)
        return reader_.Fail(part, "a buffer that is written before the commit", Quote(buffer.name));
      // A temporary output is handed out when the step has committed; state is copied out before.
      if (storage.owner == Storage::kNone && committed_.contains(buffer.storage))
        return reader_.Fail(part, "a buffer that no commit step writes", Quote(buffer.name));
      storage.is_output = true;
      program_.outputs.push_back(std::move(output));
      RequireNew(names, program_.outputs.back().name, part);
    }
  }

  void Checks() {
    const uint32_t count = reader_.Count("check count", 20, kMaxItems);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      const std::string part = Part("check", i);
      IdCheck check;
      check.buffer = reader_.Index(part + " buffer", program_.buffers.size(), "buffers");
      check.dim = reader_.Index(part + " dim", program_.dims.size(), "dims");
      check.also_allowed = reader_.I64(part + " also allowed");
      check.table = reader_.String(part + " table");
      if (!reader_.ok()) return;
      const Buffer& buffer = program_.buffers[check.buffer];
      if (buffer.role != Role::kInput || buffer.dtype != DType::kInt32)
        return reader_.Fail(part + " buffer", "an int32 input", Quote(buffer.name));
      program_.checks.push_back(std::move(check));
    }
  }

  void Computed() {
    const uint32_t count = reader_.Count("computed symbol count", 12, kMaxSymbols);
    for (uint32_t i = 0; i < count && reader_.ok(); ++i) {
      const std::string part = Part("computed symbol", i);
      ComputedSymbol computed;
      computed.symbol = reader_.Index(part + " symbol", program_.symbols.size(), "symbols");
      computed.limit = reader_.Index(part + " limit", program_.dims.size(), "dims");
      computed.buffer = reader_.Index(part + " buffer", program_.buffers.size(), "buffers");
      if (!reader_.ok()) return;
      const std::string named = part + " " + Quote(program_.symbols[computed.symbol]);
      if (program_.IsComputed(computed.symbol)) return reader_.Fail(named, "computed once", "a second one");
      RequireCount(named, computed);
      program_.computed.push_back(computed);
    }
    for (const Step& step : program_.steps) RequireComputed(step);
    const auto is_computed = [&](uint32_t symbol) { return program_.IsComputed(symbol); };
    for (const ComputedSymbol& computed : program_.computed)
      if (reader_.ok() && program_.dims[computed.limit].Uses(is_computed))
        reader_.Fail("limit of " + Quote(program_.symbols[computed.symbol]), "a size over given symbols",
                     "one over computed symbols");
    for (uint32_t input : program_.inputs)
      for (uint32_t dim : program_.buffers[input].dims)
        if (reader_.ok() && program_.dims[dim].Uses(is_computed))
          reader_.Fail("input " + Quote(program_.buffers[input].name), "a size over given symbols",
                       "one over computed symbols");
  }

  // Results of which a kernel writes a computed number of rows, those before the count and the optional ones, must be
  // sized by it, or the rest would be read unwritten.
  void RequireComputed(const Step& step) {
    if (!reader_.ok() || step.kernel->computes < 0) return;
    const size_t counts = static_cast<size_t>(step.kernel->computes);
    const auto known =
        std::find_if(program_.computed.begin(), program_.computed.end(),
                     [&](const ComputedSymbol& one) { return one.buffer == step.outputs[counts]; });
    bool sized = known != program_.computed.end();
    for (size_t i = 0; sized && i < step.outputs.size(); ++i) {
      if (i >= counts && i < static_cast<size_t>(step.kernel->min_outputs)) continue;
      const std::vector<uint32_t>& dims = program_.buffers[step.outputs[i]].dims;
      sized = !dims.empty() && program_.dims[dims[0]].Is(known->symbol);
    }
    if (!sized)
      reader_.Fail(std::string("results of ") + Quote(step.kernel->name),
                   "sized by the count that it computes", "another size");
  }

  // The count is read as soon as the step has run that writes it, so one compute step must, its memory is its own,
  // and nothing that is sized by the count comes before.
  void RequireCount(const std::string& part, const ComputedSymbol& computed) {
    const Buffer& buffer = program_.buffers[computed.buffer];
    uint32_t writer = program_.commit_start;
    bool once = true;
    for (uint32_t step = 0; step < program_.commit_start; ++step)
      for (uint32_t output : program_.steps[step].outputs) {
        if (output != computed.buffer) continue;
        once = writer == program_.commit_start;
        writer = step;
      }
    if (buffer.role != Role::kTemporary || buffer.dtype != DType::kInt32 || !buffer.dims.empty() || !once ||
        writer == program_.commit_start || program_.storages[buffer.storage].buffers.size() != 1)
      return reader_.Fail(part + " buffer", "an int32 of rank 0 that one compute step writes",
                          Quote(buffer.name));
    const auto sized = [&](uint32_t index) {
      const std::vector<uint32_t>& dims = program_.buffers[index].dims;
      return std::any_of(dims.begin(), dims.end(), [&](uint32_t dim) {
        return program_.dims[dim].Uses([&](uint32_t symbol) { return symbol == computed.symbol; });
      });
    };
    for (uint32_t index = 0; index <= writer && reader_.ok(); ++index) {
      const Step& step = program_.steps[index];
      if (std::any_of(step.inputs.begin(), step.inputs.end(), sized) ||
          (index < writer && std::any_of(step.outputs.begin(), step.outputs.end(), sized)))
        reader_.Fail(part, "computed before a step that it sizes", Part("step", index));
    }
  }

  void RequireNew(std::unordered_set<std::string_view>& names, std::string_view name,
                  const std::string& part) {
    if (reader_.ok() && !names.insert(name).second)
      reader_.Fail(part, "a name used once", Quote(std::string(name)) + " again");
  }

  static std::string Part(const char* what, uint32_t index) {
    return std::string(what) + " " + std::to_string(index);
  }

  ProgramReader reader_;
  Program& program_;
  std::vector<uint32_t> written_;   // the buffer that a storage holds, while steps are followed
  std::vector<uint32_t> computed_;  // the same where the commit starts
  std::unordered_set<uint32_t> committed_;
};

Status RefuseSize(std::string what, std::string expected, std::string got) {
  return Error{ErrorCode::kShape, "program", std::move(what), std::move(expected), std::move(got), ""};
}

}  // namespace

bool Dim::IsLiteral() const {
  return std::all_of(terms.begin(), terms.end(), [](const Term& term) { return term.factors.empty(); });
}

bool Program::IsComputed(uint32_t symbol) const {
  return std::any_of(computed.begin(), computed.end(),
                     [&](const ComputedSymbol& known) { return known.symbol == symbol; });
}

Status Program::FillComputed(std::span<int64_t> symbol_values) const {
  for (const ComputedSymbol& known : computed)
    KAIROS_RETURN_IF_ERROR(Evaluate(dims[known.limit], symbol_values, &symbol_values[known.symbol]));
  return Ok();
}

int Program::FindInput(std::string_view name) const {
  for (size_t i = 0; i < inputs.size(); ++i)
    if (buffers[inputs[i]].name == name) return static_cast<int>(i);
  return -1;
}

Status Program::Evaluate(const Dim& dim, std::span<const int64_t> symbol_values, int64_t* size) const {
  int64_t sum = 0;
  for (const Dim::Term& term : dim.terms) {
    int64_t product = term.coefficient;
    bool overflows = false;
    for (uint32_t symbol : term.factors)
      overflows |= __builtin_mul_overflow(product, symbol_values[symbol], &product);
    overflows |= __builtin_add_overflow(sum, product, &sum);
    if (overflows) return RefuseSize("size", "a number that fits 64 bits", "more");
  }
  if (sum < 0) return RefuseSize("size", "0 or more", std::to_string(sum));
  *size = sum;
  return Ok();
}

Status Program::Evaluate(const Buffer& buffer, std::span<const int64_t> symbol_values, Shape* shape) const {
  Shape result;
  // Zero axes aside: a product of some of the axes must fit as well.
  int64_t bytes = static_cast<int64_t>(SizeOf(buffer.dtype));
  for (uint32_t dim : buffer.dims) {
    int64_t size = 0;
    Status status = Evaluate(dims[dim], symbol_values, &size);
    if (status.ok() && __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes))
      status = RefuseSize("size", "a byte count that fits 64 bits", "more");
    if (!status.ok()) {
      Error error = status.error();
      error.argument = std::string("buffer ") + Quote(buffer.name);
      return error;
    }
    result.dims[result.rank++] = size;
  }
  *shape = result;
  return Ok();
}

Status Decode(std::span<const std::byte> bytes, Program* program) {
  *program = Program();
  return Decoder(bytes, program).Run();
}

}  // namespace kairos
