#include "tools/recording.h"

#include <cmath>
#include <cstring>

#include "runtime/program_reader.h"

namespace kairos {
namespace {

constexpr uint32_t kVersion = 1;
constexpr uint32_t kMostItems = 1 << 20;

double Number(ProgramReader& reader, const std::string& part) {
  double number = 0;
  if (const std::string_view bytes = reader.Bytes(part, sizeof(number)); !bytes.empty())
    std::memcpy(&number, bytes.data(), sizeof(number));
  return number;
}

std::vector<int64_t> Integers(ProgramReader& reader, const std::string& part) {
  std::vector<int64_t> integers(reader.Count(part + " count", sizeof(int64_t), kMostItems));
  for (int64_t& integer : integers) integer = reader.I64(part);
  return integers;
}

Shape Dims(ProgramReader& reader, const std::string& part) {
  Shape shape;
  const std::vector<int64_t> dims = Integers(reader, part);
  if (dims.size() > kMaxRank) {
    reader.Fail(part, "at most " + std::to_string(kMaxRank) + " dims", std::to_string(dims.size()));
    return shape;
  }
  for (int64_t dim : dims) {
    if (dim < 0) reader.Fail(part, "sizes from 0 on", std::to_string(dim));
    shape.dims[shape.rank++] = dim;
  }
  return shape;
}

Contents ReadContents(ProgramReader& reader, const std::string& part) {
  Contents contents;
  contents.kind = static_cast<Contents::Kind>(reader.Choice(part + " kind", 4));
  switch (contents.kind) {
    case Contents::kGiven: contents.given = reader.Bytes(part, reader.U64(part + " length")); break;
    case Contents::kUniform:
      contents.low = Number(reader, part);
      contents.high = Number(reader, part);
      break;
    case Contents::kSkewed:
      contents.low = static_cast<double>(reader.I64(part));
      contents.high = static_cast<double>(reader.I64(part));
      contents.power = Number(reader, part);
      break;
    case Contents::kRamp: contents.low = static_cast<double>(reader.I64(part)); break;
  }
  return contents;
}

// One number for each symbol that is given, and the limits of those that a run computes.
std::vector<int64_t> ReadCounts(ProgramReader& reader, const std::string& part, const Program& program) {
  const std::vector<int64_t> given = Integers(reader, part);
  std::vector<int64_t> counts(program.symbols.size());
  size_t at = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (program.IsComputed(static_cast<uint32_t>(i))) continue;
    if (at == given.size()) break;
    counts[i] = given[at++];
  }
  size_t wanted = 0;
  for (size_t i = 0; i < counts.size(); ++i) wanted += !program.IsComputed(static_cast<uint32_t>(i));
  if (given.size() != wanted)
    reader.Fail(part, std::to_string(wanted) + " numbers", std::to_string(given.size()));
  else if (reader.ok())
    reader.Accept(part, program.FillComputed(counts));
  return counts;
}

RecordedEntry ReadEntry(ProgramReader& reader, const std::string& part) {
  RecordedEntry entry;
  entry.entry.name = reader.String(part + " name");
  entry.entry.spec.dtype = static_cast<DType>(reader.Choice(part + " dtype", 3));
  entry.entry.spec.shape = Dims(reader, part + " dims");
  entry.contents = ReadContents(reader, part + " contents");
  return entry;
}

RecordedRun ReadRun(ProgramReader& reader, const std::string& part, const Program& program) {
  RecordedRun run;
  run.counts = ReadCounts(reader, part + " counts", program);
  run.feeds.resize(reader.Count(part + " feeds", 1, kMostItems));
  for (Contents& feed : run.feeds) feed = ReadContents(reader, part + " feed");
  if (reader.ok() && run.feeds.size() != program.inputs.size())
    reader.Fail(part + " feeds", std::to_string(program.inputs.size()), std::to_string(run.feeds.size()));
  run.answers.resize(reader.Count(part + " answers", 24, kMostItems));
  for (RecordedAnswer& answer : run.answers) {
    answer.shape = Dims(reader, part + " answer");
    answer.stride = reader.U32(part + " stride");
    if (answer.stride == 0) reader.Fail(part + " stride", "1 or more", "0");
    answer.greatest = Number(reader, part + " greatest");
    answer.data = reader.Bytes(part + " answer", reader.U64(part + " answer length"));
  }
  if (reader.ok() && !run.answers.empty() && run.answers.size() != program.outputs.size())
    reader.Fail(part + " answers", std::to_string(program.outputs.size()),
                std::to_string(run.answers.size()));
  return run;
}

RecordedCase ReadCase(ProgramReader& reader) {
  RecordedCase recorded;
  recorded.name = reader.String("case name");
  const std::string part = Quote(recorded.name);
  recorded.tolerance = Number(reader, part + " tolerance");
  recorded.bytes = Number(reader, part + " bytes");
  recorded.flops = Number(reader, part + " flops");
  recorded.timed.resize(reader.Count(part + " timed", sizeof(uint32_t), kMostItems));
  for (std::string& kernel : recorded.timed) kernel = reader.String(part + " timed");
  const std::string_view file = reader.Bytes(part + " program", reader.U64(part + " program length"));
  recorded.program = std::make_shared<Program>();
  if (!reader.ok()) return recorded;
  reader.Accept(part + " program", Decode(std::as_bytes(std::span(file)), recorded.program.get()));
  if (!reader.ok()) return recorded;
  recorded.capacities = ReadCounts(reader, part + " capacities", *recorded.program);
  recorded.stores.resize(reader.Count(part + " stores", sizeof(uint32_t), kMostItems));
  if (reader.ok() && recorded.stores.size() != recorded.program->stores.size())
    reader.Fail(part + " stores", std::to_string(recorded.program->stores.size()),
                std::to_string(recorded.stores.size()));
  for (auto& store : recorded.stores) {
    store.resize(reader.Count(part + " entries", 10, kMostItems));
    for (RecordedEntry& entry : store) entry = ReadEntry(reader, part + " entry");
  }
  recorded.runs.resize(reader.Count(part + " runs", 12, kMostItems));
  for (RecordedRun& run : recorded.runs) run = ReadRun(reader, part, *recorded.program);
  return recorded;
}

// Numbers from [0, 1): SplitMix64 (Steele, Lea and Flood 2014).
class Uniform {
 public:
  double operator()() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_ = 1;
};

template <class T, class Element>
void FillWith(std::span<std::byte> bytes, Element element) {
  for (size_t i = 0; i < bytes.size() / sizeof(T); ++i) {
    const T value = element(i);
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
}

}  // namespace

Status Contents::Fill(const std::string& name, DType dtype, std::span<std::byte> bytes) const {
  const auto refuse = [&](std::string expected, std::string got) {
    return Error{ErrorCode::kData, "recording", Quote(name), std::move(expected), std::move(got), ""};
  };
  if (kind == kGiven) {
    if (given.size() != bytes.size())
      return refuse(std::to_string(bytes.size()) + " bytes", std::to_string(given.size()));
    if (!given.empty()) std::memcpy(bytes.data(), given.data(), given.size());
    return Ok();
  }
  const DType wanted = kind == kUniform ? DType::kFloat32 : DType::kInt32;
  if (dtype != wanted) return refuse(std::string("contents of ") + NameOf(dtype), NameOf(wanted));
  Uniform uniform;
  switch (kind) {
    case kUniform:
      FillWith<float>(bytes, [&](size_t) { return static_cast<float>(low + (high - low) * uniform()); });
      break;
    case kSkewed:
      FillWith<int32_t>(bytes, [&](size_t) {
        const double u = uniform();
        return static_cast<int32_t>(low + (high - low) * (power == 1 ? u : std::pow(u, power)));
      });
      break;
    case kRamp:
      FillWith<int32_t>(bytes, [&](size_t i) { return static_cast<int32_t>(low * static_cast<double>(i)); });
      break;
    default: break;
  }
  return Ok();
}

Status ReadRecording(std::span<const std::byte> bytes, std::vector<RecordedCase>* cases) {
  ProgramReader reader(bytes);
  if (reader.Bytes("magic", 8) != "KAIROSRC") reader.Fail("magic", "KAIROSRC", "something else");
  if (const uint32_t version = reader.U32("version"); version != kVersion)
    reader.Fail("version", std::to_string(kVersion), std::to_string(version));
  const uint32_t count = reader.Count("cases", 40, kMostItems);
  for (uint32_t i = 0; i < count && reader.ok(); ++i) cases->push_back(ReadCase(reader));
  if (reader.ok() && reader.remaining() > 0)
    reader.Fail("the end", "no more bytes", std::to_string(reader.remaining()));
  return reader.ok() ? Ok() : Status(reader.error());
}

}  // namespace kairos
