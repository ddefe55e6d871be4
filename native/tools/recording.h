// A recording: programs with what they are fed and what they must answer, so that a device can be checked and timed on
// a machine without Node. `npm run record:programs` writes one file per op; test/cuda/recording.ts is the writer.
//
// Little-endian, no padding. A string or block of bytes is its length (u32; of bytes u64) and its bytes; a list is its
// length (u32) and its items.
//
//   "KAIROSRC" version:u32  list of cases
//   case    name:string tolerance:f64 bytes:f64 flops:f64 timed:list of string  program:bytes (a program file)
//           capacities:list of i64, one for each symbol that is given  stores:list of store  runs:list of run
//   store   entries:list of (name:string dtype:u8 dims:list of i64 contents); no entries: no such store
//   run     counts:list of i64, as the capacities  feeds:list of contents, one for each input of the program
//           answers:list of answer, one for each output, or none: the run is only timed
//   answer  dims:list of i64 stride:u32 greatest:f64 data:bytes; of a large output only every stride-th element
//   contents  kind:u8, then
//             0 given: bytes    1 uniform float32: low:f64 high:f64    2 skewed int32: low:i64 high:i64 power:f64
//             3 ramp of int32: step:i64
//
// Runs of a case follow each other over the same stores. Answers are float64 references, float32 where they are floats.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/program.h"
#include "runtime/store.h"

namespace kairos {

// What an array holds: its bytes, or a rule that makes them, so that large ones need not be carried.
struct Contents {
  enum Kind : uint8_t { kGiven = 0, kUniform, kSkewed, kRamp };
  Kind kind = kGiven;
  std::string_view given;
  double low = 0, high = 0, power = 1;  // skewed: low + (high - low) * u^power; ramp: low * position

  // Refuses given bytes of another length. The same numbers every time.
  Status Fill(const std::string& name, DType dtype, std::span<std::byte> bytes) const;
};

struct RecordedEntry {
  StoreEntry entry;
  Contents contents;
};

struct RecordedAnswer {
  Shape shape;
  uint32_t stride = 1;
  double greatest = 0;  // magnitude of all elements, those left out too
  std::string_view data;
};

struct RecordedRun {
  std::vector<int64_t> counts;
  std::vector<Contents> feeds;
  std::vector<RecordedAnswer> answers;
};

struct RecordedCase {
  std::string name;
  double tolerance = 0;            // relative to the greatest magnitude of an answer
  double bytes = 0, flops = 0;     // the least that the timed kernels move and compute; 0: not said
  std::vector<std::string> timed;  // kernels that count; none: all
  std::shared_ptr<Program> program;
  std::vector<int64_t> capacities;  // per symbol of the program
  std::vector<std::vector<RecordedEntry>> stores;
  std::vector<RecordedRun> runs;
};

// Reads and proves a whole file. The cases look into its bytes.
Status ReadRecording(std::span<const std::byte> bytes, std::vector<RecordedCase>* cases);

}  // namespace kairos
