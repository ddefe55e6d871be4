// The bytecode of the elementwise kernel: how instructions are read, and the proof that a program is sound.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "cpu/check.h"
#include "runtime/kernel.h"
#include "runtime/kernel_table.inc"

namespace kairos {

constexpr size_t kMaxElementwiseInputs = 32;
constexpr size_t kMaxElementwiseOutputs = 8;
constexpr size_t kMaxElementwiseInstructions = 1024;
constexpr int kMaxElementwiseRegisters = 64;
constexpr size_t kInstructionWidth = 6;

// One instruction, its fields as written: meaningful once `declaration` is not null.
struct ElementwiseInstruction {
  explicit ElementwiseInstruction(std::span<const int64_t> fields)
      : type(fields[1]), destination(fields[2]), operands(fields.subspan(3)) {
    for (const ElementwiseDeclaration& candidate : kElementwiseTable)
      if (static_cast<int64_t>(candidate.op) == fields[0]) declaration = &candidate;
  }
  bool HasType() const { return type >= 0 && type <= 2 && (declaration->types >> type & 1); }
  DType Type() const { return static_cast<DType>(type); }
  DType Result() const { return declaration->result < 0 ? Type() : static_cast<DType>(declaration->result); }
  // `select` asks its first operand.
  DType OperandType(int index) const {
    return declaration->op == ElementwiseOp::kSelect && index == 0 ? DType::kBool : Type();
  }

  const ElementwiseDeclaration* declaration = nullptr;
  int64_t type, destination;
  std::span<const int64_t> operands;
};

inline ElementwiseInstruction InstructionAt(std::span<const int64_t> code, size_t index) {
  return ElementwiseInstruction(code.subspan(index * kInstructionWidth, kInstructionWidth));
}

// Operands against the common output shape: each lacks the axes [axis, axis + count).
inline Status CheckElementwiseShapes(const CheckContext& context) {
  const Shape& shape = context.outputs[0].shape;
  for (const TensorSpec& output : context.outputs)
    if (!(output.shape == shape))
      return Refuse(context, "outputs", shape.ToString(), output.shape.ToString());
  const std::span<const int64_t> operands = context.attributes.Ints("operands");
  if (operands.size() != 2 * context.inputs.size())
    return Refuse(context, "operands", "two ints per operand", std::to_string(operands.size()) + " ints");
  for (size_t i = 0; i < context.inputs.size(); ++i) {
    const int64_t axis = operands[2 * i], count = operands[2 * i + 1];
    if (axis < 0 || axis > shape.rank || count < 0 || count > shape.rank - axis)
      return Refuse(context, "operands", "axes within rank " + std::to_string(shape.rank),
                    "axis " + std::to_string(axis) + ", count " + std::to_string(count));
    Shape expected;
    for (int at = 0; at < shape.rank; ++at)
      if (at < axis || at >= axis + count) expected.dims[expected.rank++] = shape[at];
    if (!(context.inputs[i].shape == expected))
      return Refuse(context, "operand " + std::to_string(i), expected.ToString(),
                    context.inputs[i].shape.ToString());
  }
  return Ok();
}

// Every register is written before it is read, and with the type that its reader expects.
inline Status CheckElementwise(const CheckContext& context) {
  if (context.outputs.empty() || context.outputs.size() > kMaxElementwiseOutputs ||
      context.inputs.size() > kMaxElementwiseInputs)
    return Refuse(context, "operands", "at most 32 operands and 1 to 8 results", "other counts");
  KAIROS_RETURN_IF_ERROR(CheckElementwiseShapes(context));

  constexpr int kUndefined = -1;
  int registers[kMaxElementwiseRegisters];
  for (int& type : registers) type = kUndefined;
  for (size_t i = 0; i < context.inputs.size(); ++i) registers[i] = static_cast<int>(context.inputs[i].dtype);
  const auto holds = [&registers](int64_t index, DType type) {
    return index >= 0 && index < kMaxElementwiseRegisters && registers[index] == static_cast<int>(type);
  };

  const std::span<const int64_t> code = context.attributes.Ints("code");
  if (code.size() % kInstructionWidth != 0 || code.size() / kInstructionWidth > kMaxElementwiseInstructions)
    return Refuse(context, "code", "at most 1024 instructions of six ints",
                  std::to_string(code.size()) + " ints");
  for (size_t i = 0; i < code.size() / kInstructionWidth; ++i) {
    const ElementwiseInstruction instruction = InstructionAt(code, i);
    const std::string name = "code[" + std::to_string(i) + "]";
    if (!instruction.declaration)
      return Refuse(context, name, "an opcode of the elementwise table",
                    std::to_string(code[i * kInstructionWidth]));
    if (!instruction.HasType())
      return Refuse(context, name, "a type that its opcode takes", std::to_string(instruction.type));
    if (instruction.destination < 0 || instruction.destination >= kMaxElementwiseRegisters)
      return Refuse(context, name, "a register below 64", std::to_string(instruction.destination));
    for (int k = 0; k < instruction.declaration->operands; ++k) {
      if (!holds(instruction.operands[k], instruction.OperandType(k)))
        return Refuse(context, name,
                      std::string("a register that holds ") + NameOf(instruction.OperandType(k)),
                      "register " + std::to_string(instruction.operands[k]));
    }
    if (instruction.declaration->op == ElementwiseOp::kConstant) {
      const int64_t bits = instruction.operands[0];
      const bool fits = instruction.Type() == DType::kBool ? bits == 0 || bits == 1
                                                           : bits >= INT32_MIN && bits <= int64_t{UINT32_MAX};
      if (!fits) return Refuse(context, name, "a constant of 32 bits, 0 or 1 for bool", std::to_string(bits));
    }
    registers[instruction.destination] = static_cast<int>(instruction.Result());
  }

  const std::span<const int64_t> results = context.attributes.Ints("results");
  if (results.size() != context.outputs.size())
    return Refuse(context, "results", std::to_string(context.outputs.size()) + " registers",
                  std::to_string(results.size()));
  for (size_t i = 0; i < results.size(); ++i) {
    if (!holds(results[i], context.outputs[i].dtype))
      return Refuse(context, "results",
                    std::string("a register that holds ") + NameOf(context.outputs[i].dtype),
                    "register " + std::to_string(results[i]));
  }
  return Ok();
}

// elementwiseRows: tables stand for their rows at the slots that the last operand holds.
inline Status CheckElementwiseRows(const CheckContext& context) {
  const std::span<const int64_t> tables = context.attributes.Ints("tables");
  const TensorSpec& slots = context.inputs.back();
  const size_t count = context.inputs.size() - 1;
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "slots", slots, DType::kInt32));
  if (slots.shape.rank != 1) return Refuse(context, "slots", "of rank 1", slots.shape.ToString());
  if (tables.size() != context.outputs.size())
    return Refuse(context, "tables", "one operand per result", std::to_string(tables.size()));
  std::vector<TensorSpec> inputs(context.inputs.begin(), context.inputs.end() - 1), outputs;
  for (size_t i = 0; i < tables.size(); ++i) {
    const int64_t at = tables[i];
    if (at < 0 || at >= static_cast<int64_t>(count) ||
        std::find(tables.begin(), tables.begin() + i, at) != tables.begin() + i)
      return Refuse(context, "tables", "operands, each once", std::to_string(at));
    const TensorSpec& table = context.inputs[at];
    KAIROS_RETURN_IF_ERROR(ExpectRank(context, "table", table, 1));
    KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "output", context.outputs[i], DType::kFloat32, table.shape));
    KAIROS_RETURN_IF_ERROR(ExpectDType(context, "table", table, DType::kFloat32));
    const int64_t row = table.shape.Product(1, table.shape.rank);
    if (row > 0 && slots.shape[0] > std::numeric_limits<int64_t>::max() / 4 / row)
      return Refuse(context, "slots", "so few that their rows can be counted", slots.shape.ToString());
    inputs[at].shape.dims[0] = slots.shape[0];
    outputs.push_back(inputs[at]);
  }
  return CheckElementwise({context.op, inputs, outputs, context.attributes});
}

}  // namespace kairos
