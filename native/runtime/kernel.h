// What a kernel is. An op of the program file has one KernelEntry per CPU variant (and, later, one per device):
//
//   check    the shape rule on concrete sizes. Runs when a program is bound (sizes are capacities) and again
//            whenever live counts change, before any memory is touched. It must prove every later access in range.
//   prepare  once per binding: chooses the form, builds tables, asks for scratch. Sizes are capacities; a later run
//            may come with any smaller live size.
//   Run      many times: no allocation, no exceptions, no locks. Sizes are live. Reads and writes nothing beyond them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "status.h"
#include "tensor.h"
#include "thread_team.h"

namespace kairos {

enum class CpuVariant : uint8_t { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// Which matrix product an executor asked for; kAuto takes whichever measures faster.
enum class MatmulChoice : uint8_t { kAuto = 0, kOwn = 1, kOneDnn = 2 };

// Attribute values of a step, checked against the kernel table when the program is loaded: a getter may rely on
// presence and type, except for attributes that the table marks optional.
class Attributes {
 public:
  using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

  void Set(std::string name, Value value) { entries_.emplace_back(std::move(name), std::move(value)); }
  const Value* Find(std::string_view name) const {
    for (const auto& [key, value] : entries_)
      if (key == name) return &value;
    return nullptr;
  }
  bool Bool(std::string_view name, bool otherwise = false) const { return Get<bool>(name, otherwise); }
  int64_t Int(std::string_view name, int64_t otherwise = 0) const { return Get<int64_t>(name, otherwise); }
  double Float(std::string_view name, double otherwise = 0) const { return Get<double>(name, otherwise); }
  std::string_view String(std::string_view name) const {
    const Value* value = Find(name);
    const auto* text = value ? std::get_if<std::string>(value) : nullptr;
    return text ? std::string_view(*text) : std::string_view();
  }
  std::span<const int64_t> Ints(std::string_view name) const {
    const Value* value = Find(name);
    const auto* list = value ? std::get_if<std::vector<int64_t>>(value) : nullptr;
    return list ? std::span<const int64_t>(*list) : std::span<const int64_t>();
  }
  size_t size() const { return entries_.size(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  template <typename T>
  T Get(std::string_view name, T otherwise) const {
    const Value* value = Find(name);
    const T* typed = value ? std::get_if<T>(value) : nullptr;
    return typed ? *typed : otherwise;
  }
  std::vector<std::pair<std::string, Value>> entries_;
};

struct CheckContext {
  std::string_view op;
  std::span<const TensorSpec> inputs;
  std::span<const TensorSpec> outputs;
  const Attributes& attributes;
};

struct PrepareContext {
  std::span<const TensorSpec> inputs;   // capacities
  std::span<const TensorSpec> outputs;  // capacities
  const Attributes& attributes;
  int threads;  // size of the team that will run the kernel
  MatmulChoice matmul = MatmulChoice::kAuto;
  // Per input whether it is a constant or state that the program only reads: what is made of it may be kept, as long as
  // its version stays the same.
  std::span<const uint8_t> kept = {};
  size_t kept_bytes = 0;     // prepare says what it keeps
  size_t scratch_bytes = 0;  // prepare sets what Run needs, 64-byte aligned; not kept between runs
};

// An id outside its table, an offset outside its values, or a number that is not finite, found while running. The first
// one wins; the step then changes no state.
struct IdFault {
  std::atomic<bool> raised{false};
  int64_t position = 0;  // element index in the ids tensor
  int64_t value = 0;
  int64_t least = 0, limit = 0;  // allowed are [least, limit)
  const char* what = "id";
  int operand = 0;  // the input whose name tells which table or feature it is
  bool non_finite = false;
  float number = 0;       // the one that is not finite
  std::string_view name;  // of what it belongs to, kept by the kernel

  void Raise(int64_t at, int64_t id, int64_t allowed, int named = 0) {
    if (raised.exchange(true)) return;
    position = at;
    value = id;
    limit = allowed;
    operand = named;
  }
  // `noun` outlives the run: a literal.
  void RaiseBound(const char* noun, int64_t at, int64_t bound, int64_t smallest, int64_t greatest,
                  int named) {
    if (raised.exchange(true)) return;
    what = noun;
    position = at;
    value = bound;
    least = smallest;
    limit = greatest + 1;
    operand = named;
  }
  void RaiseNonFinite(const char* noun, int64_t at, std::string_view named, float given) {
    if (raised.exchange(true)) return;
    non_finite = true;
    what = noun;
    position = at;
    name = named;
    number = given;
  }
};

struct RunContext {
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  std::byte* scratch;
  ThreadTeam& team;
  IdFault& fault;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  // Refuses live sizes that differ from what prepare built tables for. Called after `check` whenever counts change.
  virtual Status Accept(const CheckContext& live) const {
    (void)live;
    return Ok();
  }
  virtual void Run(const RunContext& context) noexcept = 0;
};

using CheckFunction = Status (*)(const CheckContext&);
using PrepareFunction = std::unique_ptr<Kernel> (*)(PrepareContext&);

struct KernelEntry {
  const char* name;
  CheckFunction check;
  PrepareFunction prepare;
};

// A kernel without tables of its own: `template <RunFunction> Stateless` is its prepare.
template <void (*Function)(const RunContext&) noexcept>
std::unique_ptr<Kernel> Stateless(PrepareContext&) {
  class FunctionKernel final : public Kernel {
    void Run(const RunContext& context) noexcept override { Function(context); }
  };
  return std::make_unique<FunctionKernel>();
}

// A kernel with tables of its own, which its constructor builds.
template <class Type>
std::unique_ptr<Kernel> Stateful(PrepareContext& context) {
  return std::make_unique<Type>(context);
}

// nullptr when no kernel has that name. Reads constant tables only; each family exports one list per variant.
const KernelEntry* FindKernel(std::string_view name, CpuVariant variant);
std::vector<std::string> KernelNames();

// One line of a shape rule: `if (!holds) return Refuse(...)` reads the same in every kernel.
Status Refuse(const CheckContext& context, std::string argument, std::string expected, std::string got);

}  // namespace kairos
