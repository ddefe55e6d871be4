// A program file, decoded and proved: whoever holds a Program may index it without looking.
//
// Dims are polynomials over symbols; nothing here knows a symbol's size. See lib/graph/encode.ts for the
// writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/kernel_table.inc"
#include "runtime/status.h"
#include "runtime/tensor.h"

namespace kairos {

// The size of one axis: sum of coefficient * product of symbols.
struct Dim {
  struct Term {
    int64_t coefficient;
    std::vector<uint32_t> factors;  // symbols, repeated for powers
  };
  std::vector<Term> terms;

  bool IsLiteral() const;
  bool Is(uint32_t symbol) const {
    return terms.size() == 1 && terms[0].coefficient == 1 &&
           terms[0].factors == std::vector<uint32_t>{symbol};
  }
  // Whether a symbol that `accepts` takes is among the factors.
  template <typename Accepts>
  bool Uses(Accepts accepts) const {
    for (const Term& term : terms)
      for (uint32_t symbol : term.factors)
        if (accepts(symbol)) return true;
    return false;
  }
};

enum class Role : uint8_t { kTemporary = 0, kInput = 1, kState = 2, kConstant = 3 };

struct Buffer {
  std::string name;
  Role role;
  DType dtype;
  uint8_t store;  // store slot of a state buffer
  std::vector<uint32_t> dims;
  uint32_t storage;
  std::vector<std::byte> constant;
};

struct Step {
  const KernelDeclaration* kernel;
  std::vector<uint32_t> inputs;
  std::vector<uint32_t> outputs;
  Attributes attributes;
  std::string source;
};

struct ProgramOutput {
  std::string name;
  uint32_t buffer;
};

// Ids of an int32 input must lie in [0, dim) or equal `also_allowed`.
struct IdCheck {
  uint32_t buffer;
  uint32_t dim;
  int64_t also_allowed;
  std::string table;
};

// A symbol that a run computes: `buffer`, an int32 of rank 0, holds its count once its step has run. Until then,
// and at binding, the symbol counts as `limit`, so a buffer that is sized by it has room for whatever comes.
struct ComputedSymbol {
  uint32_t symbol;
  uint32_t limit;  // a dim over symbols that are given
  uint32_t buffer;
};

// Memory that several buffers of one byte count may share: a reshaped alias, a result written in place. At
// most one of them is an input, state or constant: the owner.
struct Storage {
  static constexpr uint32_t kNone = ~0u;
  uint32_t owner = kNone;
  std::vector<uint32_t> buffers;
  uint32_t first_step = kNone;  // written first
  uint32_t last_step = 0;       // read or written last
  bool is_output = false;
};

struct Program {
  std::vector<std::string> symbols;
  std::vector<Dim> dims;
  std::vector<std::string> stores;
  std::vector<bool> store_written;  // by the commit steps
  std::vector<Buffer> buffers;
  std::vector<uint32_t> inputs;  // buffers with role input, in file order
  std::vector<Storage> storages;
  std::vector<Step> steps;
  uint32_t commit_start = 0;  // steps from here on may write state
  std::vector<ProgramOutput> outputs;
  std::vector<IdCheck> checks;
  std::vector<ComputedSymbol> computed;

  bool IsComputed(uint32_t symbol) const;
  // Sets the counts of computed symbols to their limits.
  Status FillComputed(std::span<int64_t> symbol_values) const;

  // Position in `inputs` by name, or -1.
  int FindInput(std::string_view name) const;

  // Size of a dim or a buffer for the given symbol values. Refuses negative sizes and overflow; a shape that
  // comes back has a byte count that fits int64.
  Status Evaluate(const Dim& dim, std::span<const int64_t> symbol_values, int64_t* size) const;
  Status Evaluate(const Buffer& buffer, std::span<const int64_t> symbol_values, Shape* shape) const;
};

// Reads and proves a whole file. The bytes are not kept.
Status Decode(std::span<const std::byte> bytes, Program* program);

}  // namespace kairos
