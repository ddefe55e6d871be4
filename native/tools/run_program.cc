// Checks and times recorded programs on a device, without Node:
//
//   kairos_run_program [--device cpu|cuda|emulated] [--threads N] [--only TEXT] [--time [--rounds N] [--json]] FILE...
//
// 0: all answers are right; 1: some are wrong or failed; 2: the command line or a file is; 3: there is no such device.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "runtime/cpu_info.h"
#include "runtime/device.h"
#include "runtime/executable.h"
#include "tools/recording.h"

namespace kairos {
namespace {

constexpr int kUncountedRounds = 3;
constexpr size_t kCopyBytes = size_t{1} << 30;

struct Options {
  std::string device = "cpu";
  int threads = 1, rounds = 20;
  bool time = false, json = false;
  std::string only;
  std::vector<std::string> files;
};

std::string Text(const Error& error) {
  return error.op + ": " + error.argument + " should be " + error.expected + " but got " + error.got;
}

// ---- One case ----

// What runs of a case need on a machine.
struct Bound {
  std::shared_ptr<Executable> executable;
  std::vector<std::shared_ptr<Store>> stores;
};

Status MakeStores(const RecordedCase& recorded, std::vector<std::shared_ptr<Store>>* stores) {
  for (const std::vector<RecordedEntry>& entries : recorded.stores) {
    if (entries.empty()) {
      stores->push_back(nullptr);
      continue;
    }
    std::vector<StoreEntry> layout_entries;
    for (const RecordedEntry& entry : entries) layout_entries.push_back(entry.entry);
    std::shared_ptr<const Layout> layout;
    KAIROS_RETURN_IF_ERROR(MakeLayout(std::move(layout_entries), &layout));
    std::vector<std::shared_ptr<Block>> blocks;
    for (const RecordedEntry& entry : entries) {
      blocks.push_back(Block::Allocate(entry.entry.Bytes()));
      if (!blocks.back())
        return Error{ErrorCode::kOutOfMemory,
                     "run",
                     Quote(entry.entry.name),
                     std::to_string(entry.entry.Bytes()) + " bytes",
                     "none",
                     ""};
      KAIROS_RETURN_IF_ERROR(entry.contents.Fill(entry.entry.name, entry.entry.spec.dtype,
                                                 {blocks.back()->data(), blocks.back()->size()}));
    }
    stores->push_back(std::make_shared<Store>(std::move(layout), std::move(blocks)));
  }
  return Ok();
}

Status MakeRequest(const RecordedCase& recorded, const RecordedRun& run, const Bound& bound,
                   RunRequest* request) {
  const Program& program = *recorded.program;
  request->counts = run.counts;
  request->stores = bound.stores;
  request->require_finite.assign(program.outputs.size(), false);
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const Buffer& buffer = program.buffers[program.inputs[i]];
    Shape shape;
    KAIROS_RETURN_IF_ERROR(program.Evaluate(buffer, run.counts, &shape));
    const size_t live = static_cast<size_t>(shape.Count()) * SizeOf(buffer.dtype);
    // As long as the capacity: what lies behind the count is poisoned.
    const size_t whole = static_cast<size_t>(bound.executable->InputCapacity(i)) * SizeOf(buffer.dtype);
    Feed feed{Block::Allocate(std::max(live, whole)), shape.Count(), false};
    if (!feed.memory)
      return Error{ErrorCode::kOutOfMemory,          "run",  Quote(buffer.name),
                   std::to_string(whole) + " bytes", "none", ""};
    KAIROS_RETURN_IF_ERROR(run.feeds[i].Fill(buffer.name, buffer.dtype, {feed.memory->data(), live}));
    request->feeds.push_back(std::move(feed));
  }
  return Ok();
}

// ---- Answers ----

template <class T>
T At(const void* data, int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const T*>(data) + i, sizeof(T));
  return value;
}

double Number(DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DType::kFloat32: return At<float>(data, i);
    case DType::kInt32: return At<int32_t>(data, i);
    default: return At<uint8_t>(data, i);
  }
}

// What is wrong with a result, or "". Infinities must agree in place and sign; NaN with NaN.
std::string Compare(const OutputTensor& got, const RecordedAnswer& wanted, double tolerance) {
  const DType dtype = got.spec.dtype;
  const int64_t count = got.spec.shape.Count();
  const int64_t stride = wanted.stride;
  const int64_t kept = (count + stride - 1) / stride;
  if (!(got.spec.shape == wanted.shape) || wanted.data.size() != static_cast<size_t>(kept) * SizeOf(dtype))
    return "shape " + got.spec.shape.ToString() + " instead of " + wanted.shape.ToString();
  double difference = 0;
  int64_t worst = -1;
  for (int64_t i = 0; i < kept; ++i) {
    const double a = Number(dtype, got.memory->data(), i * stride), b = Number(dtype, wanted.data.data(), i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double apart = std::isfinite(a) && std::isfinite(b) ? std::fabs(a - b) : HUGE_VAL;
    if (apart <= difference) continue;
    difference = apart;
    worst = i;
  }
  const double allowed = dtype == DType::kFloat32 ? tolerance * std::max(wanted.greatest, 1e-6) : 0;
  if (worst < 0 || difference <= allowed) return "";
  char text[160];
  std::snprintf(text, sizeof(text), "element %lld is %.9g instead of %.9g, %.3g apart where %.3g is allowed",
                static_cast<long long>(worst * stride), Number(dtype, got.memory->data(), worst * stride),
                Number(dtype, wanted.data.data(), worst), difference, allowed);
  return text;
}

// ---- Checking and timing ----

struct Tally {
  int passed = 0, failed = 0;
  std::set<std::string> lacking;  // kernels that the device has not
  int without = 0;                // cases that need one of them
};

class Runner {
 public:
  Runner(const Options& options, Machine machine)
      : options_(options), machine_(std::move(machine)), team_(machine_.threads) {}

  const Tally& tally() const { return tally_; }
  void Handle(const RecordedCase& recorded) {
    for (const Step& step : recorded.program->steps)
      if (machine_.device && !machine_.device->FindKernel(step.kernel->name)) {
        tally_.lacking.insert(step.kernel->name);
        ++tally_.without;
        return;
      }
    std::string wrong;
    Status status = Check(recorded, &wrong);
    if (status.ok() && wrong.empty() && options_.time) status = Time(recorded);
    if (!status.ok()) wrong = Text(status.error());
    if (wrong.empty()) {
      ++tally_.passed;
    } else {
      ++tally_.failed;
      std::printf("FAILED %s: %s\n", recorded.name.c_str(), wrong.c_str());
    }
  }

  // Bytes per second that a large array is copied with on the device, reading and writing counted.
  double CopyBandwidth() {
    if (!machine_.device) return 0;
    Device& device = *machine_.device;
    const auto from = DeviceMemory::Allocate(machine_.device, kCopyBytes);
    const auto to = DeviceMemory::Allocate(machine_.device, kCopyBytes);
    if (!from || !to) return 0;
    void* const stream = device.CreateStream();
    void* const begin = device.CreateEvent();
    void* const end = device.CreateEvent();
    double best = 0;
    for (int round = 0; round < 10; ++round) {
      device.Record(begin, stream);
      device.Copy(to->data(), from->data(), kCopyBytes, stream);
      device.Record(end, stream);
      device.Synchronize(stream);
      const double nanoseconds = device.Nanoseconds(begin, end);
      if (nanoseconds > 0) best = std::max(best, 2e9 * kCopyBytes / nanoseconds);
    }
    device.DestroyEvent(begin);
    device.DestroyEvent(end);
    device.DestroyStream(stream);
    return device.TakeError("copy").ok() ? best : 0;
  }
  void set_copy_bandwidth(double bandwidth) { copy_bandwidth_ = bandwidth; }

 private:
  Status Bind(const RecordedCase& recorded, BindOptions options, Bound* bound) {
    KAIROS_RETURN_IF_ERROR(MakeStores(recorded, &bound->stores));
    return Executable::Bind(recorded.program, recorded.capacities, options, machine_, &bound->executable);
  }

  Status Check(const RecordedCase& recorded, std::string* wrong) {
    if (std::none_of(recorded.runs.begin(), recorded.runs.end(),
                     [](const RecordedRun& run) { return !run.answers.empty(); }))
      return Ok();
    Bound bound;
    KAIROS_RETURN_IF_ERROR(Bind(recorded, {.poison = true, .profile = false}, &bound));
    for (size_t i = 0; i < recorded.runs.size(); ++i) {
      RunRequest request;
      RunResult result;
      KAIROS_RETURN_IF_ERROR(MakeRequest(recorded, recorded.runs[i], bound, &request));
      KAIROS_RETURN_IF_ERROR(bound.executable->Run(request, team_, stop_, &result));
      const std::vector<RecordedAnswer>& answers = recorded.runs[i].answers;
      for (size_t j = 0; j < answers.size(); ++j) {
        const std::string what = Compare(result.outputs[j], answers[j], recorded.tolerance);
        if (what.empty()) continue;
        *wrong = "run " + std::to_string(i) + ", " + recorded.program->outputs[j].name + ": " + what;
        return Ok();
      }
    }
    return Ok();
  }

  // A run as a whole, then each kernel by itself: measuring kernels takes the graph apart.
  Status Time(const RecordedCase& recorded) {
    std::vector<double> whole, counted;
    std::map<std::string, std::vector<double>> kernels;
    for (const bool profile : {false, true}) {
      Bound bound;
      KAIROS_RETURN_IF_ERROR(Bind(recorded, {.poison = false, .profile = profile}, &bound));
      for (int round = -kUncountedRounds; round < options_.rounds; ++round) {
        const auto turn = static_cast<size_t>(round + kUncountedRounds) % recorded.runs.size();
        RunRequest request;
        RunResult result;
        KAIROS_RETURN_IF_ERROR(MakeRequest(recorded, recorded.runs[turn], bound, &request));
        KAIROS_RETURN_IF_ERROR(bound.executable->Run(request, team_, stop_, &result));
        if (round < 0) continue;
        if (!profile) {
          whole.push_back(result.milliseconds);
          continue;
        }
        std::map<std::string, double> own;
        double sum = 0;
        for (size_t i = 0; i < result.profile.size(); ++i) {
          const std::string kernel = recorded.program->steps[i].kernel->name;
          own[kernel] += result.profile[i] / 1e6;
          const auto& timed = recorded.timed;
          if (timed.empty() || std::find(timed.begin(), timed.end(), kernel) != timed.end())
            sum += result.profile[i] / 1e6;
        }
        counted.push_back(sum);
        for (const auto& [kernel, milliseconds] : own) kernels[kernel].push_back(milliseconds);
      }
    }
    Print(recorded, Median(whole), Median(counted), kernels);
    return Ok();
  }

  static double Median(std::vector<double> times) {
    if (times.empty()) return 0;
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  }

  void Print(const RecordedCase& recorded, double whole, double counted,
             const std::map<std::string, std::vector<double>>& kernels) const {
    if (options_.json) {
      std::string name;
      for (const char c : recorded.name)
        name += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      std::printf(
          "{\"name\":\"%s\",\"run\":%.6g,\"timed\":%.6g,\"bytes\":%.17g,\"flops\":%.17g,\"kernels\":{",
          name.c_str(), whole, counted, recorded.bytes, recorded.flops);
      const char* comma = "";
      for (const auto& [kernel, times] : kernels) {
        std::printf("%s\"%s\":%.6g", comma, kernel.c_str(), Median(times));
        comma = ",";
      }
      std::printf("}}\n");
      return;
    }
    std::printf("%-60s run %9.4f ms, kernels %9.4f ms", recorded.name.c_str(), whole, counted);
    if (recorded.bytes > 0 && counted > 0) {
      const double bandwidth = recorded.bytes / counted * 1e3;
      std::printf(", %.0f GB/s", bandwidth / 1e9);
      if (copy_bandwidth_ > 0) std::printf(" (%.0f %% of copy)", 100 * bandwidth / copy_bandwidth_);
    }
    if (recorded.flops > 0 && counted > 0) std::printf(", %.1f TFLOP/s", recorded.flops / counted / 1e9);
    for (const auto& [kernel, times] : kernels) std::printf("; %s %.4f", kernel.c_str(), Median(times));
    std::printf("\n");
  }

  const Options& options_;
  const Machine machine_;
  ThreadTeam team_;
  const std::atomic<bool> stop_{false};
  double copy_bandwidth_ = 0;
  Tally tally_;
};

// ---- The command ----

int Usage(const std::string& problem) {
  std::fprintf(stderr,
               "kairos_run_program: %s\nusage: kairos_run_program [--device cpu|cuda|emulated] [--threads N] "
               "[--only TEXT] [--time [--rounds N] [--json]] FILE...\n",
               problem.c_str());
  return 2;
}

// "" or the problem.
std::string Parse(int count, char** words, Options* options) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const bool takes = word == "--device" || word == "--threads" || word == "--rounds" || word == "--only";
    if (takes && i + 1 == count) return word + " needs a value";
    const std::string value = takes ? words[++i] : "";
    if (word == "--device") {
      options->device = value;
    } else if (word == "--only") {
      options->only = value;
    } else if (word == "--threads" || word == "--rounds") {
      const int number = std::atoi(value.c_str());
      if (number < 1 || number > 100000) return word + " should be a number from 1 to 100000";
      (word == "--threads" ? options->threads : options->rounds) = number;
    } else if (word == "--time") {
      options->time = true;
    } else if (word == "--json") {
      options->json = true;
    } else if (word.rfind("--", 0) == 0) {
      return "unknown flag " + word;
    } else {
      options->files.push_back(word);
    }
  }
  return options->files.empty() ? "no file is named" : "";
}

// A folder stands for its recordings.
std::vector<std::string> Files(const std::vector<std::string>& named) {
  std::vector<std::string> files;
  std::error_code ignored;
  for (const std::string& name : named) {
    if (!std::filesystem::is_directory(name, ignored)) {
      files.push_back(name);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(name, ignored))
      if (entry.path().extension() == ".recording") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

int Main(int count, char** words) {
  Options options;
  if (const std::string problem = Parse(count, words, &options); !problem.empty()) return Usage(problem);
  Machine machine;
  machine.threads = options.threads;
  std::vector<CpuVariant> variants;
  Status status = CpuVariants(&variants);
  if (status.ok() && options.device != "cpu") status = OpenDevice(options.device, &machine.device);
  if (!status.ok()) {
    std::fprintf(stderr, "kairos_run_program: %s\n", Text(status.error()).c_str());
    return 3;
  }
  machine.variant = variants.back();
  Runner runner(options, machine);
  if (options.time) {
    const double copy = runner.CopyBandwidth();
    runner.set_copy_bandwidth(copy);
    const std::string device = machine.device ? machine.device->Describe() : CpuName();
    if (options.json)
      std::printf("{\"device\":\"%s\",\"copy\":%.6g}\n", device.c_str(), copy);
    else
      std::printf("%s; device memory is copied at %.0f GB/s\n", device.c_str(), copy / 1e9);
  }
  for (const std::string& path : Files(options.files)) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::vector<RecordedCase> cases;
    status = file ? ReadRecording(std::as_bytes(std::span(bytes)), &cases)
                  : Status(Error{ErrorCode::kData, "recording", path, "a file that can be read", "none", ""});
    if (!status.ok()) {
      std::fprintf(stderr, "kairos_run_program: %s: %s\n", path.c_str(), Text(status.error()).c_str());
      return 2;
    }
    for (const RecordedCase& recorded : cases)
      if (recorded.name.find(options.only) != std::string::npos) runner.Handle(recorded);
  }
  const Tally& tally = runner.tally();
  std::string lacking;
  for (const std::string& kernel : tally.lacking) lacking += (lacking.empty() ? "" : ", ") + kernel;
  std::FILE* const end = options.json ? stderr : stdout;
  if (tally.without > 0)
    std::fprintf(end, "No kernel on %s for %s\n", options.device.c_str(), lacking.c_str());
  std::fprintf(end, "%s: %d passed, %d failed, %d without a kernel\n", options.device.c_str(), tally.passed,
               tally.failed, tally.without);
  return tally.failed > 0 ? 1 : 0;
}

}  // namespace
}  // namespace kairos

int main(int count, char** words) { return kairos::Main(count, words); }
