// Chains of elementwise ops, run tile by tile: what lies between the operands and the results stays in L1.
//
// `check` proves the bytecode (see elementwiseTable in lib/graph/kernelTable.ts), `prepare` turns it into a
// list of loops over values, and a run walks the output in tiles:
//
//   operands   full float32 and int32 are read in place; bool and repeated ones are expanded into a slot
//   scalars    constants and rank-0 operands fill a slot once per run
//   results    are written where they belong, unless an operand in the same memory is still to be read
//
// elementwiseRows is the same over rows of tables: a tile's rows are copied into slots before its loops, and its
// results back into the tables after them.
//
// Loops work on whole vectors only: what is left at the end of a tensor is copied into a padded slot, so an
// element has the same bits wherever it lies.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/elementwise.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/bytecode.h"
#include "cpu/families.h"
#include "cpu/math-inl.h"
#include "cpu/table_rows-inl.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Op = ElementwiseOp;

// -----------------------------------------------------------------------------------------------------------
// One loop per (opcode, type). `count` is a multiple of the vector length; `to` may equal an operand.

using Loop = void (*)(const void* a, const void* b, const void* c, void* to, size_t count);

template <class T, auto kOp>
void Unary(const void* a, const void*, const void*, void* to, size_t count) {
  const hn::ScalableTag<T> d;
  for (size_t i = 0; i < count; i += hn::Lanes(d))
    hn::StoreU(kOp(d, hn::LoadU(d, static_cast<const T*>(a) + i)), d, static_cast<T*>(to) + i);
}

template <class T, auto kOp>
void Binary(const void* a, const void* b, const void*, void* to, size_t count) {
  const hn::ScalableTag<T> d;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, static_cast<const T*>(a) + i), y = hn::LoadU(d, static_cast<const T*>(b) + i);
    hn::StoreU(kOp(d, x, y), d, static_cast<T*>(to) + i);
  }
}

template <class T, auto kOp>
void Compare(const void* a, const void* b, const void*, void* to, size_t count) {
  const hn::ScalableTag<T> d;
  const hn::ScalableTag<int32_t> di;
  const auto one = hn::Set(di, 1);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, static_cast<const T*>(a) + i), y = hn::LoadU(d, static_cast<const T*>(b) + i);
    hn::StoreU(hn::IfThenElseZero(hn::RebindMask(di, kOp(x, y)), one), di, static_cast<int32_t*>(to) + i);
  }
}

// Moves bits, so one form serves every type.
void Select(const void* a, const void* b, const void* c, void* to, size_t count) {
  const hn::ScalableTag<int32_t> d;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto no = hn::Eq(hn::LoadU(d, static_cast<const int32_t*>(a) + i), hn::Zero(d));
    const auto yes = hn::LoadU(d, static_cast<const int32_t*>(b) + i);
    const auto other = hn::LoadU(d, static_cast<const int32_t*>(c) + i);
    hn::StoreU(hn::IfThenElse(no, other, yes), d, static_cast<int32_t*>(to) + i);
  }
}

void Power(const void* a, const void* b, const void*, void* to, size_t count) {
  const hn::Rebind<float, hn::ScalableTag<double>> d;  // half vectors: see math::Power
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, static_cast<const float*>(a) + i),
               y = hn::LoadU(d, static_cast<const float*>(b) + i);
    hn::StoreU(math::Power(d, x, y), d, static_cast<float*>(to) + i);
  }
}

void CastFloat32(const void* a, const void*, const void*, void* to, size_t count) {
  const hn::ScalableTag<float> d;
  const hn::ScalableTag<int32_t> di;
  for (size_t i = 0; i < count; i += hn::Lanes(d))
    hn::StoreU(hn::ConvertTo(d, hn::LoadU(di, static_cast<const int32_t*>(a) + i)), d,
               static_cast<float*>(to) + i);
}

void CastInt32(const void* a, const void*, const void*, void* to, size_t count) {
  const hn::ScalableTag<float> d;
  const hn::ScalableTag<int32_t> di;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto x = hn::LoadU(d, static_cast<const float*>(a) + i);
    const auto number = hn::IfThenElseZero(hn::Eq(x, x), x);  // NaN becomes 0; ConvertTo saturates
    hn::StoreU(hn::ConvertTo(di, number), di, static_cast<int32_t*>(to) + i);
  }
}

struct LoopEntry {
  Op op;
  DType type;
  Loop loop;
};

#define UNARY(T, expression) Unary<T, []([[maybe_unused]] auto d, auto x) HWY_ATTR { return expression; }>
#define BINARY(T, expression) \
  Binary<T, []([[maybe_unused]] auto d, auto x, auto y) HWY_ATTR { return expression; }>
#define COMPARE(T, expression) Compare<T, [](auto x, auto y) HWY_ATTR { return expression; }>

constexpr DType kFloat = DType::kFloat32, kInt = DType::kInt32, kBool = DType::kBool;

constexpr LoopEntry kLoops[] = {
    {Op::kNegate, kFloat, UNARY(float, hn::Neg(x))},
    {Op::kNegate, kInt, UNARY(int32_t, hn::Neg(x))},
    {Op::kAbs, kFloat, UNARY(float, hn::Abs(x))},
    {Op::kAbs, kInt, UNARY(int32_t, hn::Abs(x))},
    // Zeros and NaN are their own sign.
    {Op::kSign, kFloat,
     UNARY(float, hn::IfThenElse(hn::Ne(hn::IfThenElseZero(hn::Eq(x, x), x), hn::Zero(d)),
                                 hn::CopySign(hn::Set(d, 1.0f), x), x))},
    {Op::kFloor, kFloat, UNARY(float, hn::Floor(x))},
    {Op::kReciprocal, kFloat, UNARY(float, hn::Div(hn::Set(d, 1.0f), x))},
    {Op::kSqrt, kFloat, UNARY(float, hn::Sqrt(x))},
    {Op::kRsqrt, kFloat, UNARY(float, hn::Div(hn::Set(d, 1.0f), hn::Sqrt(x)))},
    {Op::kSquare, kFloat, UNARY(float, hn::Mul(x, x))},
    {Op::kAdd, kFloat, BINARY(float, hn::Add(x, y))},
    {Op::kAdd, kInt, BINARY(int32_t, hn::Add(x, y))},
    {Op::kSubtract, kFloat, BINARY(float, hn::Sub(x, y))},
    {Op::kSubtract, kInt, BINARY(int32_t, hn::Sub(x, y))},
    {Op::kMultiply, kFloat, BINARY(float, hn::Mul(x, y))},
    {Op::kMultiply, kInt, BINARY(int32_t, hn::Mul(x, y))},
    {Op::kDivide, kFloat, BINARY(float, hn::Div(x, y))},
    // NaN in either operand is NaN in the result: the comparison is false for y, the self-comparison catches
    // x.
    {Op::kMaximum, kFloat,
     BINARY(float, hn::IfThenElse(hn::Eq(x, x), hn::IfThenElse(hn::Gt(x, y), x, y), x))},
    {Op::kMaximum, kInt, BINARY(int32_t, hn::Max(x, y))},
    {Op::kMinimum, kFloat,
     BINARY(float, hn::IfThenElse(hn::Eq(x, x), hn::IfThenElse(hn::Lt(x, y), x, y), x))},
    {Op::kMinimum, kInt, BINARY(int32_t, hn::Min(x, y))},
    {Op::kPower, kFloat, Power},
    {Op::kExp, kFloat, UNARY(float, math::Exp(d, x))},
    {Op::kLog, kFloat, UNARY(float, math::Log(d, x))},
    {Op::kLog1p, kFloat, UNARY(float, math::Log1p(d, x))},
    {Op::kTanh, kFloat, UNARY(float, math::Tanh(d, x))},
    {Op::kSigmoid, kFloat, UNARY(float, math::Sigmoid(d, x))},
    {Op::kErf, kFloat, UNARY(float, math::Erf(d, x))},
    {Op::kSin, kFloat, UNARY(float, math::Sin(d, x))},
    {Op::kCos, kFloat, UNARY(float, math::Cos(d, x))},
    {Op::kRelu, kFloat, UNARY(float, math::AtLeast(d, x, 0.0f))},
    {Op::kGelu, kFloat, UNARY(float, math::Gelu(d, x))},
    {Op::kGeluGradient, kFloat, UNARY(float, math::GeluGradient(d, x))},
    {Op::kSoftplus, kFloat, UNARY(float, math::Softplus(d, x))},
    {Op::kEqual, kFloat, COMPARE(float, hn::Eq(x, y))},
    {Op::kEqual, kInt, COMPARE(int32_t, hn::Eq(x, y))},
    {Op::kEqual, kBool, COMPARE(int32_t, hn::Eq(x, y))},
    // Not Ne, which some targets answer with false for NaN.
    {Op::kNotEqual, kFloat, COMPARE(float, hn::Not(hn::Eq(x, y)))},
    {Op::kNotEqual, kInt, COMPARE(int32_t, hn::Not(hn::Eq(x, y)))},
    {Op::kNotEqual, kBool, COMPARE(int32_t, hn::Not(hn::Eq(x, y)))},
    {Op::kLess, kFloat, COMPARE(float, hn::Lt(x, y))},
    {Op::kLess, kInt, COMPARE(int32_t, hn::Lt(x, y))},
    {Op::kLessEqual, kFloat, COMPARE(float, hn::Le(x, y))},
    {Op::kLessEqual, kInt, COMPARE(int32_t, hn::Not(hn::Gt(x, y)))},
    {Op::kGreater, kFloat, COMPARE(float, hn::Gt(x, y))},
    {Op::kGreater, kInt, COMPARE(int32_t, hn::Gt(x, y))},
    {Op::kGreaterEqual, kFloat, COMPARE(float, hn::Ge(x, y))},
    {Op::kGreaterEqual, kInt, COMPARE(int32_t, hn::Not(hn::Lt(x, y)))},
    {Op::kLogicalAnd, kBool, BINARY(int32_t, hn::And(x, y))},
    {Op::kLogicalOr, kBool, BINARY(int32_t, hn::Or(x, y))},
    {Op::kLogicalNot, kBool, UNARY(int32_t, hn::Xor(x, hn::Set(d, 1)))},
    {Op::kSelect, kFloat, Select},
    {Op::kSelect, kInt, Select},
    {Op::kSelect, kBool, Select},
    {Op::kCastFloat32, kInt, CastFloat32},
    {Op::kCastFloat32, kBool, CastFloat32},
    {Op::kCastInt32, kFloat, CastInt32},
    {Op::kCastInt32, kBool, UNARY(int32_t, x)},
};

constexpr Loop kMove = UNARY(int32_t, x);

#undef UNARY
#undef BINARY
#undef COMPARE

Loop LoopOf(Op op, DType type) {
  for (const LoopEntry& entry : kLoops)
    if (entry.op == op && entry.type == type) return entry.loop;
  return nullptr;
}

// -----------------------------------------------------------------------------------------------------------
// Elements of 4 or 1 bytes into slots and out of them.

void Expand(const uint32_t* from, int64_t count, uint32_t* to) { std::memcpy(to, from, count * sizeof(*to)); }

void Expand(const uint8_t* from, int64_t count, uint32_t* to) {
  const hn::ScalableTag<int32_t> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto wide = hn::PromoteTo(d, hn::LoadU(d8, from + i));
    hn::StoreU(hn::IfThenZeroElse(hn::Eq(wide, hn::Zero(d)), hn::Set(d, 1)), d,
               reinterpret_cast<int32_t*>(to) + i);
  }
  for (; i < count; ++i) to[i] = from[i] != 0;
}

inline uint32_t Lane(uint32_t element) { return element; }
inline uint32_t Lane(uint8_t element) { return element != 0; }

void Narrow(const uint32_t* from, int64_t count, uint8_t* to) {
  const hn::ScalableTag<int32_t> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    hn::StoreU(hn::DemoteTo(d8, hn::LoadU(d, reinterpret_cast<const int32_t*>(from) + i)), d8, to + i);
  for (; i < count; ++i) to[i] = static_cast<uint8_t>(from[i]);
}

// An operand seen from the output [outer, inserted, inner]: it lacks the middle.
struct Repetition {
  int64_t inserted = 1;
  int64_t inner = 1;
};

// Output elements [begin, begin + count) of a repeated operand.
template <class T>
void Repeat(const T* operand, Repetition repetition, int64_t begin, int64_t count, uint32_t* to) {
  const auto [inserted, inner] = repetition;
  int64_t row = begin / inner / inserted;
  if (inner == 1) {
    for (int64_t at = begin - row * inserted; count > 0; ++row, at = 0) {
      const int64_t run = std::min(inserted - at, count);
      std::fill_n(to, run, Lane(operand[row]));
      to += run, count -= run;
    }
    return;
  }
  int64_t at = begin % inner, repeat = begin / inner % inserted;
  while (count > 0) {
    const int64_t run = std::min(inner - at, count);
    const T* from = operand + row * inner + at;
    if (run < 8) {
      for (int64_t i = 0; i < run; ++i) to[i] = Lane(from[i]);
    } else {
      Expand(from, run, to);
    }
    to += run, count -= run, at = 0;
    if (++repeat == inserted) repeat = 0, ++row;
  }
}

// -----------------------------------------------------------------------------------------------------------
// The compiled chain.

// A value is an operand, a constant or the result of one instruction. Registers may be written again; values
// are not.
struct Value {
  enum Kind { kInPlace, kExpanded, kFilled, kComputed } kind = kComputed;
  int input = -1;     // the operand, where it is one
  uint32_t bits = 0;  // the constant, where it is one
  int slot = -1;
  int defined = -1;    // step that computes it
  int last_read = -1;  // step that reads it last
};

struct Step {
  Loop loop;
  int a, b, c, to;  // values
};

class ElementwiseKernel final : public Kernel {
 public:
  explicit ElementwiseKernel(PrepareContext& context);
  void Run(const RunContext& context) noexcept override;

 private:
  // What one run knows: sizes, and which results may be written as soon as they are computed.
  struct Binding {
    std::span<const TensorView> inputs, outputs;
    Shape shape;
    const int32_t* slots;  // of rows, or null
    int64_t row;           // elements
    Repetition repetitions[kMaxElementwiseInputs];
    bool direct[kMaxElementwiseOutputs];
  };

  void Compile(const PrepareContext& context);
  bool IsTable(size_t input) const {
    return std::find(tables_.begin(), tables_.end(), static_cast<int64_t>(input)) != tables_.end();
  }
  int Constant(uint32_t bits);
  int Compute(Loop loop, int a, int b, int c);
  void AssignSlots();
  Binding Bind(const RunContext& context) const;
  void Fill(const Binding& binding, uint32_t* scratch, uint32_t** at, int64_t count) const;
  void FetchAhead(const Binding& binding, int64_t next, int64_t step) const;
  void RunTile(const Binding& binding, uint32_t* scratch, uint32_t** at, int64_t begin, int64_t count) const;

  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::vector<int> results_;  // values
  std::vector<int64_t> operands_;
  std::vector<int64_t> tables_;  // operands that are tables, one per result, or none
  int64_t slots_ = 0;
  int64_t tile_ = 0;   // elements
  int64_t grain_ = 1;  // tiles
  size_t stride_ = 0;  // lanes of scratch per thread
};

constexpr size_t kMaxValues = kMaxElementwiseInputs + kMaxElementwiseInstructions + kMaxElementwiseOutputs;
constexpr int64_t kPad = 64;  // lanes: the longest vector

ElementwiseKernel::ElementwiseKernel(PrepareContext& context) {
  Compile(context);
  AssignSlots();
  // All slots in about half of L1; without any, tiles are long so that the loops amortise their calls.
  tile_ = std::clamp<int64_t>(24576 / 4 / std::max<int64_t>(slots_, 1) / kPad * kPad, 256, 4096);
  // A thread's share should cost some tens of microseconds.
  grain_ = std::max<int64_t>(1, 131072 / tile_ / (2 + static_cast<int64_t>(steps_.size())));
  stride_ = slots_ * tile_ + context.inputs.size() * kPad;
  context.scratch_bytes = stride_ * sizeof(uint32_t) * context.threads;
}

// check has proved everything that is relied on here.
void ElementwiseKernel::Compile(const PrepareContext& context) {
  const auto operands = context.attributes.Ints("operands");
  operands_.assign(operands.begin(), operands.end());
  const auto tables = context.attributes.Ints("tables");
  tables_.assign(tables.begin(), tables.end());
  int registers[kMaxElementwiseRegisters] = {};
  for (size_t i = 0; i < operands_.size() / 2; ++i) {
    const TensorSpec& input = context.inputs[i];
    const bool repeats = operands_[2 * i + 1] > 0;
    Value value{.kind = Value::kInPlace, .input = static_cast<int>(i)};
    if (repeats && input.shape.rank == 0)
      value.kind = Value::kFilled;
    else if (repeats || input.dtype == DType::kBool || IsTable(i))
      value.kind = Value::kExpanded;
    registers[i] = static_cast<int>(values_.size());
    values_.push_back(value);
  }
  const auto code = context.attributes.Ints("code");
  for (size_t i = 0; i < code.size() / kInstructionWidth; ++i) {
    const ElementwiseInstruction instruction = InstructionAt(code, i);
    int& to = registers[instruction.destination];
    const int arity = instruction.declaration->operands;
    if (arity == 0) {
      to = Constant(static_cast<uint32_t>(instruction.operands[0]));
      continue;
    }
    // Operands that an instruction lacks stand for its first.
    const auto operand = [&](int k) { return registers[instruction.operands[k < arity ? k : 0]]; };
    to = Compute(LoopOf(instruction.declaration->op, instruction.Type()), operand(0), operand(1), operand(2));
  }
  for (int64_t result : context.attributes.Ints("results")) {
    // An operand that is given back may lie under another result, so it is moved like any computed value.
    const int value = registers[result];
    results_.push_back(values_[value].kind == Value::kInPlace ? Compute(kMove, value, value, value) : value);
  }
}

int ElementwiseKernel::Constant(uint32_t bits) {
  for (size_t i = 0; i < values_.size(); ++i)
    if (values_[i].kind == Value::kFilled && values_[i].input < 0 && values_[i].bits == bits)
      return static_cast<int>(i);
  values_.push_back({.kind = Value::kFilled, .bits = bits});
  return static_cast<int>(values_.size()) - 1;
}

int ElementwiseKernel::Compute(Loop loop, int a, int b, int c) {
  const int step = static_cast<int>(steps_.size()), to = static_cast<int>(values_.size());
  for (int operand : {a, b, c}) values_[operand].last_read = step;
  steps_.push_back({loop, a, b, c, to});
  values_.push_back({.kind = Value::kComputed, .defined = step});
  return to;
}

// Filled slots keep their contents between tiles; the others serve values that do not live at the same time.
void ElementwiseKernel::AssignSlots() {
  std::vector<int> free;
  const auto take = [&] {
    if (free.empty()) return static_cast<int>(slots_++);
    const int slot = free.back();
    free.pop_back();
    return slot;
  };
  const int end = static_cast<int>(steps_.size());
  for (int result : results_) values_[result].last_read = end;
  for (Value& value : values_)
    if (value.last_read >= 0 && (value.kind == Value::kFilled || value.kind == Value::kExpanded))
      value.slot = take();
  for (int i = 0; i < end; ++i) {
    const Step& step = steps_[i];
    // A loop may write over its operand, so the slot of one that ends here can take its result.
    for (int operand : {step.a, step.b, step.c}) {
      const Value& value = values_[operand];
      if (value.slot < 0 || value.kind == Value::kFilled || value.last_read != i) continue;
      if (std::find(free.begin(), free.end(), value.slot) == free.end()) free.push_back(value.slot);
    }
    Value& to = values_[step.to];
    to.slot = take();
    if (to.last_read < 0) free.push_back(to.slot);
  }
}

bool Overlap(const TensorView& a, const TensorView& b) {
  const auto* x = a.As<const std::byte>();
  const auto* y = b.As<const std::byte>();
  return x < y + b.shape.Count() * SizeOf(b.dtype) && y < x + a.shape.Count() * SizeOf(a.dtype);
}

ElementwiseKernel::Binding ElementwiseKernel::Bind(const RunContext& context) const {
  Binding binding{context.inputs.first(operands_.size() / 2),
                  context.outputs,
                  context.outputs[0].shape,
                  nullptr,
                  1,
                  {},
                  {}};
  Shape& shape = binding.shape;
  if (!tables_.empty()) {
    binding.slots = context.inputs.back().As<const int32_t>();
    shape.dims[0] = context.inputs.back().shape[0];
    binding.row = shape.Product(1, shape.rank);
  }
  for (size_t i = 0; i < binding.inputs.size(); ++i) {
    const int axis = static_cast<int>(operands_[2 * i]), end = axis + static_cast<int>(operands_[2 * i + 1]);
    binding.repetitions[i] = {shape.Product(axis, end), shape.Product(end, shape.rank)};
  }
  for (size_t i = 0; i < results_.size(); ++i) {
    const Value& result = values_[results_[i]];
    bool direct =
        result.kind == Value::kComputed && context.outputs[i].dtype != DType::kBool && tables_.empty();
    for (size_t k = 0; k < i; ++k) direct = direct && !(results_[k] == results_[i] && binding.direct[k]);
    for (size_t k = 0; k < binding.inputs.size(); ++k)
      direct = direct &&
               !(values_[k].last_read > result.defined && Overlap(context.inputs[k], context.outputs[i]));
    binding.direct[i] = direct;
  }
  return binding;
}

// Points every value at its slot and fills those that hold one number.
void ElementwiseKernel::Fill(const Binding& binding, uint32_t* scratch, uint32_t** at, int64_t count) const {
  for (size_t i = 0; i < values_.size(); ++i) {
    const Value& value = values_[i];
    at[i] = scratch + value.slot * tile_ * (value.slot >= 0);
    if (value.kind != Value::kFilled || value.slot < 0) continue;
    uint32_t bits = value.bits;
    if (value.input >= 0) {
      const TensorView& input = binding.inputs[value.input];
      bits = input.dtype == DType::kBool ? Lane(*input.As<uint8_t>()) : *input.As<uint32_t>();
    }
    std::fill_n(at[i], std::min(tile_, (count + kPad - 1) / kPad * kPad), bits);
  }
}

// Before each step, its share of the next tile: of many steps the first reads memory and the last writes it, which
// would leave it idle during those between.
HWY_INLINE void ElementwiseKernel::FetchAhead(const Binding& binding, int64_t next, int64_t step) const {
  constexpr int64_t kLine = 16;  // elements
  const int64_t steps = static_cast<int64_t>(steps_.size()), lines = tile_ / kLine;
  if (steps < 3) return;
  const int64_t first = lines * step / steps * kLine, last = lines * (step + 1) / steps * kLine;
  for (size_t i = 0; i < binding.inputs.size(); ++i)
    if (values_[i].kind == Value::kInPlace)
      for (int64_t at = next + first; at < next + last; at += kLine)
        __builtin_prefetch(binding.inputs[i].As<uint32_t>() + at);
  for (size_t i = 0; i < results_.size(); ++i)
    if (binding.direct[i])
      for (int64_t at = next + first; at < next + last; at += kLine)
        __builtin_prefetch(binding.outputs[i].As<uint32_t>() + at, 1);
}

// Either whole vectors, in place, or the few elements at the end, padded.
void ElementwiseKernel::RunTile(const Binding& binding, uint32_t* scratch, uint32_t** at, int64_t begin,
                                int64_t count) const {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  const int64_t padded = (count + lanes - 1) / lanes * lanes;
  const bool whole = count == padded;

  for (size_t i = 0; i < binding.inputs.size(); ++i) {
    const Value& value = values_[i];
    if (value.kind == Value::kFilled || value.last_read < 0) continue;
    const TensorView& input = binding.inputs[i];
    if (value.kind == Value::kInPlace) {
      at[i] = input.As<uint32_t>() + begin;
      if (whole) continue;
      at[i] = std::copy_n(at[i], count, scratch + slots_ * tile_ + i * kPad) - count;
    } else {
      at[i] = scratch + value.slot * tile_;
      const Repetition repetition = binding.repetitions[i];
      const bool repeats = operands_[2 * i + 1] > 0;
      if (IsTable(i)) {
        GatherRows(input, binding.slots, binding.shape[0], binding.row, begin, count, at[i]);
      } else if (input.dtype == DType::kBool) {
        if (repeats)
          Repeat(input.As<const uint8_t>(), repetition, begin, count, at[i]);
        else
          Expand(input.As<const uint8_t>() + begin, count, at[i]);
      } else if (const int64_t column = begin % repetition.inner;
                 whole && column + count <= repetition.inner) {
        at[i] =
            input.As<uint32_t>() + begin / repetition.inner / repetition.inserted * repetition.inner + column;
        continue;
      } else {
        Repeat(input.As<const uint32_t>(), repetition, begin, count, at[i]);
      }
    }
    std::fill(at[i] + count, at[i] + padded, 0);
  }
  for (size_t i = 0; i < results_.size(); ++i) {
    if (!binding.direct[i]) continue;
    const int value = results_[i];
    at[value] = whole ? binding.outputs[i].As<uint32_t>() + begin : scratch + values_[value].slot * tile_;
  }

  for (size_t i = 0; i < steps_.size(); ++i) {
    FetchAhead(binding, begin + tile_, static_cast<int64_t>(i));
    const Step& step = steps_[i];
    step.loop(at[step.a], at[step.b], at[step.c], at[step.to], padded);
  }

  for (size_t i = 0; i < results_.size(); ++i) {
    const TensorView& output = binding.outputs[i];
    if (!tables_.empty())
      ScatterRows(at[results_[i]], binding.slots, binding.row, begin, count, output);
    else if (output.dtype == DType::kBool)
      Narrow(at[results_[i]], count, output.As<uint8_t>() + begin);
    else if (!whole || !binding.direct[i])
      std::copy_n(at[results_[i]], count, output.As<uint32_t>() + begin);
  }
}

void ElementwiseKernel::Run(const RunContext& context) noexcept {
  const Binding binding = Bind(context);
  const int64_t count = binding.shape.Count();
  for (size_t i = 0; i < tables_.size(); ++i) {
    const TensorView &table = context.inputs[tables_[i]], &output = context.outputs[i];
    if (output.data != table.data && table.shape.Count() > 0)
      std::memcpy(output.data, table.data, table.shape.Count() * sizeof(float));
  }
  if (count == 0) return;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>()));
  context.team.ParallelFor((count + tile_ - 1) / tile_, grain_, [&](int64_t first, int64_t last, int thread) {
    uint32_t* scratch = reinterpret_cast<uint32_t*>(context.scratch) + stride_ * thread;
    uint32_t* at[kMaxValues];
    Fill(binding, scratch, at, count);
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t begin = tile * tile_, live = std::min(tile_, count - begin), rest = live % lanes;
      if (live > rest) RunTile(binding, scratch, at, begin, live - rest);
      if (rest > 0) RunTile(binding, scratch, at, begin + live - rest, rest);
    }
  });
}

std::unique_ptr<Kernel> Prepare(PrepareContext& context) {
  return std::make_unique<ElementwiseKernel>(context);
}

}  // namespace

std::span<const KernelEntry> ElementwiseEntries() {
  static constexpr KernelEntry kEntries[] = {{"elementwise", CheckElementwise, Prepare},
                                             {"elementwiseRows", CheckElementwiseRows, Prepare}};
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Elementwise)
}  // namespace kairos
#endif
