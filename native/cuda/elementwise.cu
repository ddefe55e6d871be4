// Chains of elementwise ops: the CPU's bytecode (see elementwiseTable in lib/graph/kernelTable.ts), read by every
// thread for a few elements at once. Registers lie in shared memory, a column for each thread, so nothing of a chain
// but its operands and results touches device memory. A thread reads all operands before it writes a result, so
// results may stand in the operands' memory.
//
// elementwiseRows is the same over rows of tables: those operands are read at the slots that the last operand holds,
// and the results replace these rows. Rows outside the table are left alone.
#include <vector>

#include "cuda/bits.h"
#include "cuda/families.h"
#include "cuda/gpu.h"
#include "cuda/math.h"
#include "runtime/kernel_table.inc"

namespace kairos::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kWidth = 6;  // ints of an instruction

// Of the tables in device memory: ints.
struct Chain {
  const int32_t* code;      // instructions
  const int32_t* operands;  // per operand: the axis from which it lacks axes, and how many
  const int32_t* results;   // registers
  const int32_t* tables;    // per result: the operand that is its table; null without
  int instructions, inputs, outputs;
};

__device__ uint32_t Compute(ElementwiseOp op, DType type, uint32_t a, uint32_t b, uint32_t c) {
  using Op = ElementwiseOp;
  const bool whole = type != DType::kFloat32;  // int32 and bool
  const float x = AsFloat(a), y = AsFloat(b);
  const auto i = static_cast<int32_t>(a), j = static_cast<int32_t>(b);
  switch (op) {
    case Op::kConstant: return a;
    case Op::kNegate: return whole ? 0u - a : AsBits(-x);
    case Op::kAbs: return whole ? (i < 0 ? 0u - a : a) : AsBits(fabsf(x));
    case Op::kSign: return AsBits(x != x || x == 0 ? x : copysignf(1.0f, x));
    case Op::kFloor: return AsBits(floorf(x));
    case Op::kReciprocal: return AsBits(1 / x);
    case Op::kSqrt: return AsBits(sqrtf(x));
    case Op::kRsqrt: return AsBits(1 / sqrtf(x));
    case Op::kSquare: return AsBits(x * x);
    case Op::kAdd: return whole ? a + b : AsBits(x + y);
    case Op::kSubtract: return whole ? a - b : AsBits(x - y);
    case Op::kMultiply: return whole ? a * b : AsBits(x * y);
    case Op::kDivide: return AsBits(x / y);
    case Op::kMaximum: return whole ? (i > j ? a : b) : AsBits(x != x ? x : x > y ? x : y);
    case Op::kMinimum: return whole ? (i < j ? a : b) : AsBits(x != x ? x : x < y ? x : y);
    case Op::kPower: return AsBits(powf(x, y));
    case Op::kExp: return AsBits(expf(x));
    case Op::kLog: return AsBits(logf(x));
    case Op::kLog1p: return AsBits(log1pf(x));
    case Op::kTanh: return AsBits(tanhf(x));
    case Op::kSigmoid: return AsBits(Sigmoid(x));
    case Op::kErf: return AsBits(erff(x));
    case Op::kSin: return AsBits(sinf(x));
    case Op::kCos: return AsBits(cosf(x));
    case Op::kRelu: return AsBits(x < 0 ? 0.0f : x);
    case Op::kGelu: return AsBits(Gelu(x));
    case Op::kGeluGradient: return AsBits(GeluGradient(x));
    case Op::kSoftplus: return AsBits((x < 0 ? 0.0f : x) + log1pf(expf(-fabsf(x))));
    case Op::kEqual: return whole ? a == b : x == y;
    case Op::kNotEqual: return whole ? a != b : x != y;
    case Op::kLess: return whole ? i < j : x < y;
    case Op::kLessEqual: return whole ? i <= j : x <= y;
    case Op::kGreater: return whole ? i > j : x > y;
    case Op::kGreaterEqual: return whole ? i >= j : x >= y;
    case Op::kLogicalAnd: return a & b;
    case Op::kLogicalOr: return a | b;
    case Op::kLogicalNot: return a ^ 1u;
    case Op::kSelect: return a != 0 ? b : c;
    case Op::kCastFloat32: return AsBits(static_cast<float>(i));
    case Op::kCastInt32: return type == DType::kFloat32 ? static_cast<uint32_t>(SaturateToInt(x)) : a;
  }
  return 0;
}

// kRegisters columns of kEach elements for each thread of a block.
template <int kRegisters, int kEach>
__global__ void ChainKernel(const TensorView* views, Chain chain) {
  __shared__ uint32_t registers[kRegisters][kEach][kThreads];
  const TensorView* outputs = views + chain.inputs + (chain.tables ? 1 : 0);
  Shape shape = outputs[0].shape;
  const int32_t* slots = nullptr;
  int64_t row = 1;
  if (chain.tables) {
    const TensorView& view = views[chain.inputs];
    slots = view.As<const int32_t>();
    shape.dims[0] = view.shape.Count();
    row = shape.Product(1, shape.rank);
  }
  const int64_t count = shape.Count();
  const unsigned thread = threadIdx.x;
  const int64_t step = FlatStep();
  for (int64_t begin = FlatBegin(); begin < count; begin += step * kEach) {
    for (int k = 0; k < chain.inputs; ++k) {
      const TensorView& input = views[k];
      bool table = false;
      for (int t = 0; chain.tables && t < chain.outputs; ++t) table = table || chain.tables[t] == k;
      const int axis = chain.operands[2 * k], end = axis + chain.operands[2 * k + 1];
      const int64_t inner = shape.Product(end, shape.rank), block = shape.Product(axis, shape.rank);
      for (int e = 0; e < kEach; ++e) {
        const int64_t at = begin + e * step;
        if (at >= count) break;
        int64_t from = at;
        bool inside = true;
        if (table) {
          const int64_t slot = slots[at / row];
          inside = slot >= 0 && slot < input.shape[0];
          from = slot * row + at % row;
        } else if (end > axis) {
          const Division split = Divide(at, block);
          from = split.quotient * inner + Divide(split.remainder, inner).remainder;
        }
        registers[k][e][thread] = !inside                       ? 0
                                  : input.dtype == DType::kBool ? input.As<const uint8_t>()[from] != 0
                                                                : input.As<const uint32_t>()[from];
      }
    }
    for (int i = 0; i < chain.instructions; ++i) {
      const int32_t* code = chain.code + i * kWidth;
      const auto op = static_cast<ElementwiseOp>(code[0]);
      const auto type = static_cast<DType>(code[1]);
      const bool constant = op == ElementwiseOp::kConstant;
      for (int e = 0; e < kEach; ++e) {
        const uint32_t a = constant ? static_cast<uint32_t>(code[3]) : registers[code[3]][e][thread];
        registers[code[2]][e][thread] =
            Compute(op, type, a, registers[code[4]][e][thread], registers[code[5]][e][thread]);
      }
    }
    for (int k = 0; k < chain.outputs; ++k) {
      const TensorView& output = outputs[k];
      for (int e = 0; e < kEach; ++e) {
        const int64_t at = begin + e * step;
        if (at >= count) break;
        const uint32_t value = registers[chain.results[k]][e][thread];
        int64_t to = at;
        if (chain.tables) {
          const int64_t slot = slots[at / row];
          if (slot < 0 || slot >= output.shape[0]) continue;
          to = slot * row + at % row;
        }
        if (output.dtype == DType::kBool)
          output.As<uint8_t>()[to] = static_cast<uint8_t>(value);
        else
          output.As<uint32_t>()[to] = value;
      }
    }
  }
}

// Where a table is not updated in place, its other rows come along.
__global__ void CopyTableKernel(const TensorView* table, const TensorView* output) {
  if (table->data == output->data) return;
  const int64_t count = output->shape.Count();
  for (int64_t i = FlatBegin(); i < count; i += FlatStep())
    output->As<uint32_t>()[i] = table->As<const uint32_t>()[i];
}

// Operands that an instruction does not have stand for its first, so that the kernel need not ask.
std::vector<int32_t> PackCode(std::span<const int64_t> code, int* registers) {
  std::vector<int32_t> packed;
  for (size_t i = 0; i + kWidth <= code.size(); i += kWidth) {
    int operands = 0;
    for (const ElementwiseDeclaration& declaration : kElementwiseTable)
      if (static_cast<int64_t>(declaration.op) == code[i]) operands = declaration.operands;
    *registers = std::max(*registers, static_cast<int>(code[i + 2]) + 1);
    for (int k = 0; k < kWidth; ++k) {
      int64_t field = code[i + k];
      if (k == 3 && operands == 0)
        field = static_cast<int64_t>(static_cast<int32_t>(static_cast<uint32_t>(field)));
      if (k > 3 && k - 3 >= operands) field = operands == 0 ? code[i + 2] : code[i + 3];
      packed.push_back(static_cast<int32_t>(field));
    }
  }
  return packed;
}

std::vector<int32_t> Narrow(std::span<const int64_t> values) {
  std::vector<int32_t> narrow;
  for (const int64_t value : values) narrow.push_back(static_cast<int32_t>(value));
  return narrow;
}

template <bool kRows>
std::unique_ptr<DeviceKernel> PrepareChain(DevicePrepareContext& context) {
  const int inputs = static_cast<int>(context.inputs.size()) - (kRows ? 1 : 0);
  const int outputs = static_cast<int>(context.outputs.size());
  int registers = std::max(inputs, 1);
  const std::vector<int32_t> code = PackCode(context.attributes.Ints("code"), &registers);
  const std::vector<int32_t> operands = Narrow(context.attributes.Ints("operands"));
  const std::vector<int32_t> results = Narrow(context.attributes.Ints("results"));
  const std::vector<int32_t> tables = Narrow(context.attributes.Ints("tables"));
  for (const auto* list : {&code, &operands, &results, &tables})
    context.AddTable(std::span<const int32_t>(*list));
  Shape shape = context.outputs[0].shape;
  if (kRows) shape.dims[0] = context.inputs.back().shape[0];
  const int64_t count = shape.Count();
  std::vector<int64_t> table_counts;
  for (const TensorSpec& output : context.outputs) table_counts.push_back(kRows ? output.shape.Count() : 0);

  return MakeKernel(
      [=, sizes = std::array{code.size(), operands.size(), results.size()}](const LaunchContext& launch) {
        const auto* ints = reinterpret_cast<const int32_t*>(launch.tables);
        Chain chain{
            ints,   ints + sizes[0], ints + sizes[0] + sizes[1], nullptr, static_cast<int>(sizes[0] / kWidth),
            inputs, outputs};
        if (kRows) chain.tables = chain.results + sizes[2];
        for (int i = 0; kRows && i < outputs; ++i)
          LaunchFlat(launch, table_counts[i], CopyTableKernel, launch.views + tables[i],
                     launch.views + launch.inputs + i);
        const auto start = [&](auto kernel, int64_t each) {
          const int64_t blocks = (count + kThreads * each - 1) / (kThreads * each);
          LaunchFlatOn(launch.stream, blocks, kThreads, kernel, launch.views, chain);
        };
        if (registers <= 8)
          start(ChainKernel<8, 4>, 4);
        else if (registers <= 16)
          start(ChainKernel<16, 4>, 4);
        else if (registers <= 32)
          start(ChainKernel<32, 2>, 2);
        else
          start(ChainKernel<64, 1>, 1);
      });
}

}  // namespace

std::span<const DeviceKernelEntry> ElementwiseKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"elementwise", PrepareChain<false>},
                                                   {"elementwiseRows", PrepareChain<true>}};
  return kEntries;
}

}  // namespace kairos::gpu
