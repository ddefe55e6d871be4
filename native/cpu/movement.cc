// Ops that move elements and compute nothing: copy, broadcast, transpose, concat, slice, pad, and size, which
// reads the shape alone. They work on bytes, so one form serves every dtype and every CPU variant.

#include <algorithm>
#include <cstring>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"

namespace kairos {
namespace {

// Bytes that are worth a second thread.
constexpr int64_t kGrain = 128 << 10;

Status CheckCounts(const CheckContext& context, size_t inputs) {
  if (context.inputs.size() == inputs && context.outputs.size() == 1) return Ok();
  return Refuse(context, "inputs", std::to_string(inputs) + " inputs and one output", "other counts");
}

Status CheckSameDType(const CheckContext& context) {
  for (const TensorSpec& input : context.inputs)
    KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", input, context.outputs[0].dtype));
  return Ok();
}

// One operand and one result of the same dtype and rank, and an axis of theirs.
Status CheckAlongAxis(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckCounts(context, 1));
  KAIROS_RETURN_IF_ERROR(CheckSameDType(context));
  const Shape &x = context.inputs[0].shape, &out = context.outputs[0].shape;
  if (x.rank != out.rank) return Refuse(context, "output", "of x's rank", out.ToString());
  const int64_t axis = context.attributes.Int("axis");
  if (axis < 0 || axis >= x.rank)
    return Refuse(context, "axis", "an axis of " + x.ToString(), std::to_string(axis));
  for (int at = 0; at < x.rank; ++at)
    if (at != axis && x[at] != out[at])
      return Refuse(context, "output", "equal to x but for one axis: " + x.ToString(), out.ToString());
  return Ok();
}

Status RefuseOffset(const CheckContext& context, const char* name, int64_t offset) {
  return Refuse(context, name,
                "an offset that keeps x " + context.inputs[0].shape.ToString() + " and the output " +
                    context.outputs[0].shape.ToString() + " in range",
                std::to_string(offset));
}

// -----------------------------------------------------------------------------------------------------------
// copy, concat, slice, pad: rows put together from pieces.

struct Piece {
  const std::byte* from;  // nullptr: zeros
  int64_t bytes;          // per row
  int64_t stride;         // bytes from one row to the next
};

void CopyRun(std::byte* to, const std::byte* from, int64_t bytes) {
  if (bytes == 4)
    std::memcpy(to, from, 4);  // a single element should not cost a call
  else
    std::memcpy(to, from, bytes);
}

void Assemble(ThreadTeam& team, std::byte* to, int64_t rows, std::span<const Piece> pieces) {
  int64_t row_bytes = 0;
  for (const Piece& piece : pieces) row_bytes += piece.bytes;
  if (rows == 0 || row_bytes == 0) return;
  team.ParallelFor(rows * row_bytes, kGrain, [&](int64_t begin, int64_t end, int) {
    int64_t row = begin / row_bytes, skip = begin % row_bytes;
    for (int64_t at = begin; at < end; ++row) {
      for (const Piece& piece : pieces) {
        const int64_t bytes = std::min(piece.bytes - skip, end - at);
        if (bytes <= 0) {
          skip = std::max<int64_t>(0, skip - piece.bytes);
          continue;
        }
        if (piece.from)
          CopyRun(to + at, piece.from + row * piece.stride + skip, bytes);
        else
          std::memset(to + at, 0, bytes);
        at += bytes, skip = 0;
      }
    }
  });
}

// Bytes of x from `axis` on.
int64_t BytesFrom(const TensorView& x, int axis) {
  return x.shape.Product(axis, x.shape.rank) * static_cast<int64_t>(SizeOf(x.dtype));
}

Status CheckCopy(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckCounts(context, 1));
  KAIROS_RETURN_IF_ERROR(CheckSameDType(context));
  const Shape &x = context.inputs[0].shape, &out = context.outputs[0].shape;
  if (x.Count() == out.Count()) return Ok();
  return Refuse(context, "output", "as many elements as " + x.ToString(), out.ToString());
}

void Copy(const RunContext& context) noexcept {
  const TensorView &x = context.inputs[0], &out = context.outputs[0];
  if (x.data == out.data) return;
  const int64_t bytes = BytesFrom(x, 0);
  const Piece piece{x.As<const std::byte>(), bytes, bytes};
  Assemble(context.team, out.As<std::byte>(), 1, {&piece, 1});
}

constexpr size_t kMaxPieces = 64;

Status CheckConcat(const CheckContext& context) {
  if (context.inputs.empty() || context.inputs.size() > kMaxPieces || context.outputs.size() != 1)
    return Refuse(context, "inputs", "1 to 64 inputs and one output", std::to_string(context.inputs.size()));
  KAIROS_RETURN_IF_ERROR(CheckSameDType(context));
  const Shape& out = context.outputs[0].shape;
  const int64_t axis = context.attributes.Int("axis");
  if (axis < 0 || axis >= out.rank)
    return Refuse(context, "axis", "an axis of " + out.ToString(), std::to_string(axis));
  int64_t rest = out[axis];
  for (const TensorSpec& input : context.inputs) {
    Shape expected = out;
    if (input.shape.rank == out.rank) expected.dims[axis] = std::min(input.shape[axis], rest);
    if (!(input.shape == expected))
      return Refuse(context, "inputs", "pieces of " + out.ToString(), input.shape.ToString());
    rest -= input.shape[axis];
  }
  if (rest == 0) return Ok();
  return Refuse(context, "output", "the sum of its pieces", std::to_string(rest) + " more along the axis");
}

std::unique_ptr<Kernel> PrepareConcat(PrepareContext& prepare) {
  return MakeKernel([axis = static_cast<int>(prepare.attributes.Int("axis"))](const RunContext& context) {
    Piece pieces[kMaxPieces];
    size_t count = 0;
    for (const TensorView& input : context.inputs) {
      const int64_t bytes = BytesFrom(input, axis);
      if (bytes > 0) pieces[count++] = {input.As<const std::byte>(), bytes, bytes};
    }
    const TensorView& out = context.outputs[0];
    Assemble(context.team, out.As<std::byte>(), out.shape.Product(0, axis), {pieces, count});
  });
}

Status CheckSlice(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckAlongAxis(context));
  const int64_t axis = context.attributes.Int("axis"), start = context.attributes.Int("start");
  const int64_t size = context.inputs[0].shape[axis];
  if (start < 0 || start > size || context.outputs[0].shape[axis] > size - start)
    return RefuseOffset(context, "start", start);
  return Ok();
}

std::unique_ptr<Kernel> PrepareSlice(PrepareContext& prepare) {
  return MakeKernel([axis = static_cast<int>(prepare.attributes.Int("axis")),
                     start = prepare.attributes.Int("start")](const RunContext& context) {
    const TensorView &x = context.inputs[0], &out = context.outputs[0];
    const Piece piece{x.As<const std::byte>() + start * BytesFrom(x, axis + 1), BytesFrom(out, axis),
                      BytesFrom(x, axis)};
    Assemble(context.team, out.As<std::byte>(), out.shape.Product(0, axis), {&piece, 1});
  });
}

Status CheckPad(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckAlongAxis(context));
  const int64_t axis = context.attributes.Int("axis"), before = context.attributes.Int("before");
  const int64_t size = context.outputs[0].shape[axis];
  if (before < 0 || before > size || context.inputs[0].shape[axis] > size - before)
    return RefuseOffset(context, "before", before);
  return Ok();
}

std::unique_ptr<Kernel> PreparePad(PrepareContext& prepare) {
  return MakeKernel([axis = static_cast<int>(prepare.attributes.Int("axis")),
                     before = prepare.attributes.Int("before")](const RunContext& context) {
    const TensorView &x = context.inputs[0], &out = context.outputs[0];
    const int64_t bytes = BytesFrom(x, axis), zeros = before * BytesFrom(x, axis + 1);
    const Piece pieces[] = {{nullptr, zeros, 0},
                            {x.As<const std::byte>(), bytes, bytes},
                            {nullptr, BytesFrom(out, axis) - bytes - zeros, 0}};
    Assemble(context.team, out.As<std::byte>(), out.shape.Product(0, axis), pieces);
  });
}

// -----------------------------------------------------------------------------------------------------------
// broadcast and size: axes [axis, axis + count) of one shape.

Status CheckAxes(const CheckContext& context, const Shape& shape) {
  const int64_t axis = context.attributes.Int("axis"), count = context.attributes.Int("count");
  if (axis >= 0 && axis <= shape.rank && count >= 0 && count <= shape.rank - axis) return Ok();
  return Refuse(context, "axis", "axes of " + shape.ToString(),
                std::to_string(axis) + " with count " + std::to_string(count));
}

Status CheckBroadcast(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckCounts(context, 1));
  KAIROS_RETURN_IF_ERROR(CheckSameDType(context));
  const Shape& out = context.outputs[0].shape;
  KAIROS_RETURN_IF_ERROR(CheckAxes(context, out));
  const int64_t axis = context.attributes.Int("axis"), count = context.attributes.Int("count");
  Shape expected;
  for (int at = 0; at < out.rank; ++at)
    if (at < axis || at >= axis + count) expected.dims[expected.rank++] = out[at];
  if (context.inputs[0].shape == expected) return Ok();
  return Refuse(context, "x", expected.ToString(), context.inputs[0].shape.ToString());
}

// Fills `to` with a pattern from its byte `phase` on: one period, then copies of what is written, which
// double.
void Tile(std::byte* to, int64_t bytes, const std::byte* pattern, int64_t period, int64_t phase) {
  constexpr int64_t kEnough = 4096;  // further doubling would leave L1
  const int64_t first = std::min(period - phase, bytes), second = std::min(period, bytes) - first;
  CopyRun(to, pattern + phase, first);
  if (second > 0) std::memcpy(to + first, pattern, second);
  int64_t written = first + second, unit = written;
  while (written < bytes) {
    const int64_t more = std::min(unit, bytes - written);
    std::memcpy(to + written, to, more);
    written += more;
    if (unit < kEnough) unit = written;
  }
}

std::unique_ptr<Kernel> PrepareBroadcast(PrepareContext& prepare) {
  const int axis = static_cast<int>(prepare.attributes.Int("axis"));
  const int end = axis + static_cast<int>(prepare.attributes.Int("count"));
  return MakeKernel([axis, end](const RunContext& context) {
    const TensorView &x = context.inputs[0], &out = context.outputs[0];
    const int64_t period = BytesFrom(out, end), block = BytesFrom(out, axis), total = BytesFrom(out, 0);
    if (total == 0) return;
    if (period == block) return Copy(context);
    context.team.ParallelFor(total, kGrain, [&](int64_t begin, int64_t stop, int) {
      for (int64_t at = begin; at < stop;) {
        const int64_t row = at / block, skip = at % block, bytes = std::min(block - skip, stop - at);
        Tile(out.As<std::byte>() + at, bytes, x.As<const std::byte>() + row * period, period, skip % period);
        at += bytes;
      }
    });
  });
}

Status CheckSize(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckCounts(context, 1));
  KAIROS_RETURN_IF_ERROR(CheckAxes(context, context.inputs[0].shape));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, {});
}

std::unique_ptr<Kernel> PrepareSize(PrepareContext& prepare) {
  const int axis = static_cast<int>(prepare.attributes.Int("axis"));
  const int end = axis + static_cast<int>(prepare.attributes.Int("count"));
  return MakeKernel([axis, end](const RunContext& context) {
    *context.outputs[0].As<float>() = static_cast<float>(context.inputs[0].shape.Product(axis, end));
  });
}

// -----------------------------------------------------------------------------------------------------------
// transpose

Status CheckTranspose(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckCounts(context, 1));
  KAIROS_RETURN_IF_ERROR(CheckSameDType(context));
  const Shape &x = context.inputs[0].shape, &out = context.outputs[0].shape;
  const auto permutation = context.attributes.Ints("permutation");
  const auto refuse = [&] {
    return Refuse(context, "permutation", "every axis of " + x.ToString() + " once", "another list");
  };
  if (static_cast<int>(permutation.size()) != x.rank) return refuse();
  unsigned seen = 0;
  Shape expected = x;
  for (int at = 0; at < x.rank; ++at) {
    const int64_t from = permutation[at];
    if (from < 0 || from >= x.rank || (seen >> from & 1)) return refuse();
    seen |= 1u << from;
    expected.dims[at] = x[static_cast<int>(from)];
  }
  if (out == expected) return Ok();
  return Refuse(context, "output", expected.ToString(), out.ToString());
}

// The result's axes, outermost first: sizes, and how far apart neighbours lie in the operand.
struct Walk {
  int rank = 0;
  int64_t sizes[kMaxRank];
  int64_t strides[kMaxRank];

  // Offset in the operand of the element whose row-major index over all axes but those in `skip` is `index`.
  int64_t Offset(int64_t index, unsigned skip) const {
    int64_t offset = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
      if (skip >> axis & 1) continue;
      offset += index % sizes[axis] * strides[axis];
      index /= sizes[axis];
    }
    return offset;
  }
};

// Axes of size one disappear, axes that stay neighbours become one.
Walk WalkOf(const Shape& x, std::span<const int64_t> permutation) {
  Walk walk;
  for (int64_t from : permutation) {
    const int axis = static_cast<int>(from);
    const int64_t size = x[axis], stride = x.Product(axis + 1, x.rank);
    if (size == 1) continue;
    const int last = walk.rank - 1;
    if (last >= 0 && walk.strides[last] == size * stride) {
      walk.sizes[last] *= size;
      walk.strides[last] = stride;
    } else {
      walk.sizes[walk.rank] = size;
      walk.strides[walk.rank++] = stride;
    }
  }
  return walk;
}

// The last axis stays: whole runs move.
void MoveRuns(const Walk& walk, ThreadTeam& team, const std::byte* from, std::byte* to, int64_t element) {
  const int last = walk.rank - 1;
  int64_t rows = 1;
  for (int axis = 0; axis < last; ++axis) rows *= walk.sizes[axis];
  const int64_t run = walk.sizes[last] * element;
  team.ParallelFor(rows, std::max<int64_t>(1, kGrain / run), [&](int64_t begin, int64_t end, int) {
    const int near = last - 1;  // the axis that the rows step along
    for (int64_t row = begin; row < end;) {
      const int64_t stop = std::min(end, (row / walk.sizes[near] + 1) * walk.sizes[near]);
      const std::byte* source = from + walk.Offset(row, 1u << last) * element;
      for (; row < stop; ++row, source += walk.strides[near] * element) CopyRun(to + row * run, source, run);
    }
  });
}

// The last axis comes from elsewhere: blocks of the plane spanned by it and by the operand's last axis, read
// row by row into L1 and written row by row, so that both sides use whole cache lines. Runs of the operand
// are longer, which spares address translation where its rows lie pages apart.
template <class T>
void MoveBlocks(const Walk& walk, ThreadTeam& team, const T* from, T* to) {
  constexpr int64_t kHeight = 64, kWidth = 16;
  const int last = walk.rank - 1;
  int near = 0;  // the result's axis that is the operand's last
  while (walk.strides[near] != 1) ++near;
  const int64_t rows = walk.sizes[near], columns = walk.sizes[last], column_stride = walk.strides[last];
  int64_t planes = 1, strides[kMaxRank], stride = 1;
  for (int axis = last; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= walk.sizes[axis];
    if (axis != near && axis != last) planes *= walk.sizes[axis];
  }
  Walk result = walk;
  std::copy_n(strides, walk.rank, result.strides);

  const unsigned plane_axes = 1u << near | 1u << last;
  const int64_t strips = (rows + kHeight - 1) / kHeight;
  const int64_t grain = std::max<int64_t>(1, 16384 / (std::min(rows, kHeight) * columns));
  team.ParallelFor(planes * strips, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t row = strip % strips * kHeight, height = std::min(kHeight, rows - row);
      const T* source = from + walk.Offset(strip / strips, plane_axes) + row;
      T* target = to + result.Offset(strip / strips, plane_axes) + row * strides[near];
      for (int64_t column = 0; column < columns; column += kWidth) {
        const int64_t width = std::min(kWidth, columns - column);
        T block[kWidth][kHeight];
        for (int64_t j = 0; j < width; ++j)
          std::copy_n(source + (column + j) * column_stride, height, block[j]);
        for (int64_t i = 0; i < height; ++i)
          for (int64_t j = 0; j < width; ++j) target[i * strides[near] + column + j] = block[j][i];
      }
    }
  });
}

std::unique_ptr<Kernel> PrepareTranspose(PrepareContext& prepare) {
  const auto list = prepare.attributes.Ints("permutation");
  return MakeKernel(
      [permutation = std::vector<int64_t>(list.begin(), list.end())](const RunContext& context) {
        const TensorView &x = context.inputs[0], &out = context.outputs[0];
        if (x.shape.Count() == 0) return;
        const Walk walk = WalkOf(x.shape, permutation);
        if (walk.rank <= 1) return Copy(context);
        if (walk.strides[walk.rank - 1] == 1) {
          MoveRuns(walk, context.team, x.As<const std::byte>(), out.As<std::byte>(), SizeOf(x.dtype));
        } else if (x.dtype == DType::kBool) {
          MoveBlocks(walk, context.team, x.As<const uint8_t>(), out.As<uint8_t>());
        } else {
          MoveBlocks(walk, context.team, x.As<const uint32_t>(), out.As<uint32_t>());
        }
      });
}

}  // namespace

std::span<const KernelEntry> MovementKernels(CpuVariant) {
  static constexpr KernelEntry kEntries[] = {
      {"copy", CheckCopy, Stateless<Copy>},
      {"broadcast", CheckBroadcast, PrepareBroadcast},
      {"transpose", CheckTranspose, PrepareTranspose},
      {"concat", CheckConcat, PrepareConcat},
      {"slice", CheckSlice, PrepareSlice},
      {"pad", CheckPad, PreparePad},
      {"size", CheckSize, PrepareSize},
  };
  return kEntries;
}

}  // namespace kairos
