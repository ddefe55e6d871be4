// matmul(a, b[, bias]): c = activation(op(a) op(b) + bias), alone or batched, on our own tiles (gemm-inl.h)
// or oneDNN.
//
// The work is cut into units, one rectangle of one matrix each, dealt to the team in order. A product over a
// long k into a small c (a weight gradient) is also cut along k: slices after the first go to scratch and are
// added in order. Only the form with a transposed is cut so: it contracts over the batch, whereas the others
// must give a row the same bits whatever stands beside it.
//
// A weight that the program only reads is transposed once, and again when it has changed.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/gemm-inl.h"
#include "cpu/math-inl.h"
#include "cpu/matmul.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"
#include "runtime/arena.h"

#ifndef KAIROS_CPU_MATMUL_CC_
#define KAIROS_CPU_MATMUL_CC_
namespace kairos {
namespace {

enum class Activation { kNone, kRelu, kGelu, kSigmoid, kTanh };
constexpr std::string_view kActivations[] = {"none", "relu", "gelu", "sigmoid", "tanh"};

Status CheckMatmul(const CheckContext& context) {
  const auto activation = context.attributes.String("activation");
  if (std::find(std::begin(kActivations), std::end(kActivations), activation) == std::end(kActivations))
    return Error{ErrorCode::kArgument,
                 std::string(context.op),
                 "activation",
                 "none, relu, gelu, sigmoid or tanh",
                 std::string(activation),
                 ""};
  const TensorSpec &a = context.inputs[0], &b = context.inputs[1];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "a", a, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "b", b, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "a", a, 2));
  const int rank = a.shape.rank;
  const bool transpose_a = context.attributes.Bool("transposeA"),
             transpose_b = context.attributes.Bool("transposeB");
  if (b.shape.rank != 2 && b.shape.rank != rank)
    return Refuse(context, "b", "of rank 2 or " + std::to_string(rank), b.shape.ToString());
  const int64_t k = a.shape[transpose_a ? rank - 2 : rank - 1];

  Shape shape = a.shape;
  shape.dims[rank - 2] = a.shape[transpose_a ? rank - 1 : rank - 2];
  shape.dims[rank - 1] = b.shape[b.shape.rank - (transpose_b ? 2 : 1)];
  Shape expected = b.shape.rank == 2 ? Shape{0, 0} : a.shape;
  expected.dims[expected.rank - (transpose_b ? 1 : 2)] = k;
  expected.dims[expected.rank - (transpose_b ? 2 : 1)] = shape[rank - 1];
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "b", b, DType::kFloat32, expected));
  if (context.inputs.size() > 2)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "bias", context.inputs[2], DType::kFloat32, {shape[rank - 1]}));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, shape);
}

// Sizes of one product, live or at capacity.
struct Sizes {
  int64_t batch, m, n, k;
  bool collapsed;  // leading axes of a count as rows, since b is shared
};

Sizes SizesOf(const Shape& a, const Shape& b, bool transpose_a, bool transpose_b) {
  const int rank = a.rank;
  Sizes sizes{a.Product(0, rank - 2), a[rank - 2], b[b.rank - (transpose_b ? 2 : 1)], a[rank - 1],
              b.rank == 2 && !transpose_a};
  if (transpose_a) std::swap(sizes.m, sizes.k);
  if (sizes.collapsed) sizes.m *= std::exchange(sizes.batch, 1);
  return sizes;
}

// How many units a matrix is cut into.
struct Grid {
  int64_t rows = 1, columns = 1, slices = 1;
  int64_t Units() const { return rows * columns * slices; }
};

struct Range {
  int64_t begin, end;
};

// Part `index` of [0, count) cut into `parts` at multiples of `step`.
Range PartOf(int64_t count, int64_t step, int64_t parts, int64_t index) {
  const int64_t steps = (count + step - 1) / step;
  return {std::min(count, steps * index / parts * step), std::min(count, steps * (index + 1) / parts * step)};
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_MATMUL_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// Fewer multiplications than this are over before another thread has woken up.
constexpr int64_t kSerialProducts = int64_t{1} << 17;
constexpr int64_t kLeastSlice = 1024;
constexpr int64_t kMostPartialFloats = int64_t{1} << 24;

template <class Function>
HWY_INLINE void MapBlock(float* c, int64_t c_step, int64_t rows, int64_t columns, Function function) {
  for (int64_t m = 0; m < rows; ++m, c += c_step)
    ForVectors(columns, [=](int64_t i, size_t live) HWY_ATTR {
      const FloatTag d;
      Store(function(d, Load(d, c + i, live)), d, c + i, live);
    });
}

void Activate(Activation activation, float* c, int64_t c_step, int64_t rows, int64_t columns) {
  const auto map = [=](auto function) HWY_ATTR { MapBlock(c, c_step, rows, columns, function); };
  switch (activation) {
    case Activation::kNone: return;
    case Activation::kRelu: return map([](auto d, auto x) HWY_ATTR { return math::AtLeast(d, x, 0.0f); });
    case Activation::kGelu: return map([](auto d, auto x) HWY_ATTR { return math::Gelu(d, x); });
    case Activation::kSigmoid: return map([](auto d, auto x) HWY_ATTR { return math::Sigmoid(d, x); });
    case Activation::kTanh: return map([](auto d, auto x) HWY_ATTR { return math::Tanh(d, x); });
  }
}

void AddRows(const float* from, int64_t from_step, float* c, int64_t c_step, int64_t rows, int64_t columns) {
  for (int64_t m = 0; m < rows; ++m, from += from_step, c += c_step)
    ForVectors(columns, [=](int64_t i, size_t live) HWY_ATTR {
      const FloatTag d;
      Store(hn::Add(Load(d, c + i, live), Load(d, from + i, live)), d, c + i, live);
    });
}

// An empty sum: the bias alone, or zero.
void Fill(const float* bias, float* c, int64_t c_step, int64_t rows, int64_t columns) {
  for (int64_t m = 0; m < rows; ++m, c += c_step)
    for (int64_t n = 0; n < columns; ++n) c[n] = bias ? bias[n] : 0;
}

// Rough cycles of the slowest unit: products in whole tiles, moving of a and b, and the addition of slices.
double CostOf(const Sizes& sizes, const Grid& grid) {
  const auto part = [](int64_t count, int64_t step, int64_t parts) {
    const int64_t steps = (count + step - 1) / step;
    return static_cast<double>((steps + parts - 1) / parts * step);
  };
  const double rows = part(sizes.m, gemm::kTileRows, grid.rows);
  const double columns = part(sizes.n, gemm::kLanes, grid.columns);
  const double depth = part(sizes.k, 1, grid.slices);
  const double addition = grid.slices == 1 ? 0 : 3000 + 0.2 * static_cast<double>(sizes.m * sizes.n);
  return depth * (rows * columns / (2 * gemm::kLanes) + 0.15 * (rows + columns)) + addition;
}

Grid ChooseGrid(const Sizes& sizes, int threads, int64_t most_slices) {
  if (threads == 1 || sizes.batch >= 8 * threads) return {};
  if (static_cast<double>(sizes.batch * sizes.m) * static_cast<double>(sizes.n) *
          static_cast<double>(sizes.k) <
      kSerialProducts)
    return {};
  Grid best;
  double least = 0;
  for (int64_t slices = 1; slices <= most_slices; ++slices) {
    if (threads % slices != 0 || (slices > 1 && sizes.k / slices < kLeastSlice)) continue;
    for (int64_t rows = 1; rows <= threads / slices; ++rows) {
      if (threads / slices % rows != 0) continue;
      const Grid grid{rows, threads / slices / rows, slices};
      const double cost = CostOf(sizes, grid);
      if (least != 0 && cost >= least) continue;
      least = cost;
      best = grid;
    }
  }
  return best;
}

class Matmul final : public Kernel {
 public:
  explicit Matmul(PrepareContext& context)
      : transpose_a_(context.attributes.Bool("transposeA")),
        transpose_b_(context.attributes.Bool("transposeB")),
        activation_(static_cast<Activation>(std::find(std::begin(kActivations), std::end(kActivations),
                                                      context.attributes.String("activation")) -
                                            std::begin(kActivations))),
        // Ours measures as fast or faster, so `auto` is ours.
        onednn_(context.matmul == MatmulChoice::kOneDnn ? OneDnnSgemm() : nullptr) {
    const Sizes most = SizesOf(context.inputs[0].shape, context.inputs[1].shape, transpose_a_, transpose_b_);
    KeepPanels(context, most);
    const size_t pack = sizeof(float) * gemm::kPackFloats * static_cast<size_t>(context.threads);
    partial_offset_ = pack;
    context.scratch_bytes = pack;
    const bool splits = transpose_a_ && most.batch == 1 && most.k >= 2 * kLeastSlice;
    if (!splits || most.m == 0 || most.n > kMostPartialFloats / most.m) return;
    const int64_t room = kMostPartialFloats / std::max<int64_t>(1, most.m * most.n);
    most_slices_ = std::min<int64_t>({context.threads, room + 1, most.k / kLeastSlice});
    context.scratch_bytes += sizeof(float) * static_cast<size_t>((most_slices_ - 1) * most.m * most.n);
  }

  void Run(const RunContext& context) noexcept override {
    const TensorView &a = context.inputs[0], &b = context.inputs[1], &c = context.outputs[0];
    const Sizes sizes = SizesOf(a.shape, b.shape, transpose_a_, transpose_b_);
    if (sizes.batch == 0 || sizes.m == 0 || sizes.n == 0) return;
    const float* bias = context.inputs.size() > 2 ? context.inputs[2].As<float>() : nullptr;
    const Grid grid = ChooseGrid(sizes, context.team.size(), most_slices_);
    if (panels_ && panels_version_ != b.version) PackPanels(context, sizes);
    float* pack = reinterpret_cast<float*>(context.scratch);
    float* partial = reinterpret_cast<float*>(context.scratch + partial_offset_);
    const int64_t matrix = sizes.m * sizes.n;

    const auto unit = [&](int64_t index, int thread) HWY_ATTR {
      const int64_t item = index / grid.Units(), slice = index % grid.slices;
      const int64_t cell = index % grid.Units() / grid.slices;
      const Range rows = PartOf(sizes.m, gemm::kTileRows, grid.rows, cell / grid.columns);
      const int64_t step = panels_ ? gemm::kTileColumns : gemm::kLanes;
      const Range columns = PartOf(sizes.n, step, grid.columns, cell % grid.columns);
      const Range depth = PartOf(sizes.k, 1, grid.slices, slice);
      if (rows.begin == rows.end || columns.begin == columns.end) return;
      float* to = slice == 0 ? c.As<float>() + item * matrix : partial + (slice - 1) * matrix;
      const float* from_a = a.As<float>() + item * sizes.m * sizes.k;
      const float* from_b = b.As<float>() + (b.shape.rank == 2 ? 0 : item * sizes.k * sizes.n);
      Multiply(sizes, from_a, from_b, slice == 0 ? bias : nullptr, to, rows, columns, depth,
               grid.slices == 1 ? activation_ : Activation::kNone, pack + thread * gemm::kPackFloats,
               panels_ ? PanelsOf(sizes, b.shape.rank == 2 ? 0 : item) : nullptr);
    };
    const int64_t units = sizes.batch * grid.Units();
    // One matrix left whole is too small to share; many are shared once they are worth it together.
    const double products = static_cast<double>(matrix) * static_cast<double>(std::max<int64_t>(1, sizes.k));
    const int64_t grain =
        grid.Units() > 1
            ? 1
            : static_cast<int64_t>(std::max(1.0, static_cast<double>(kSerialProducts) / 2 / products));
    context.team.ParallelFor(units, grain, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
      for (int64_t index = begin; index < end; ++index) unit(index, thread);
    });
    if (grid.slices == 1) return;
    context.team.ParallelFor(sizes.m, 1 + 4096 / sizes.n, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      float* to = c.As<float>() + begin * sizes.n;
      for (int64_t slice = 1; slice < grid.slices; ++slice)
        AddRows(partial + (slice - 1) * matrix + begin * sizes.n, sizes.n, to, sizes.n, end - begin, sizes.n);
      Activate(activation_, to, sizes.n, end - begin, sizes.n);
    });
  }

 private:
  // Products of a batch that repays no transposition of its own; of more rows it costs next to nothing.
  static constexpr int64_t kMostKeptRows = 512;

  static int64_t PanelFloats(const Sizes& sizes) {
    return (sizes.n + gemm::kTileColumns - 1) / gemm::kTileColumns * gemm::kTileColumns * sizes.k;
  }

  float* PanelsOf(const Sizes& sizes, int64_t matrix) const {
    return reinterpret_cast<float*>(panels_->data()) + matrix * PanelFloats(sizes);
  }

  void KeepPanels(PrepareContext& context, const Sizes& most) {
    const bool pays = transpose_b_ && !transpose_a_ && most.m <= kMostKeptRows && most.n > 1;
    const TensorSpec& b = context.inputs[1];
    if (!pays || !context.kept[1] || onednn_ != nullptr || b.shape.Count() == 0) return;
    int64_t bytes = 0;
    if (__builtin_mul_overflow(b.shape.Product(0, b.shape.rank - 2), PanelFloats(most), &bytes) ||
        __builtin_mul_overflow(bytes, static_cast<int64_t>(sizeof(float)), &bytes))
      return;
    // Without the memory products transpose as they go.
    panels_ = Block::Allocate(static_cast<size_t>(bytes));
    if (panels_) context.kept_bytes = panels_->size();
  }

  void PackPanels(const RunContext& context, const Sizes& sizes) {
    const TensorView& b = context.inputs[1];
    const int64_t per_matrix = PanelFloats(sizes) / (gemm::kTileColumns * sizes.k);
    const int64_t panels = b.shape.Product(0, b.shape.rank - 2) * per_matrix;
    context.team.ParallelFor(panels, 1, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t matrix = panel / per_matrix, first = panel % per_matrix * gemm::kTileColumns;
        const float* from = b.As<float>() + (matrix * sizes.n + first) * sizes.k;
        gemm::PackB({from, 1, sizes.k}, sizes.k, std::min<int64_t>(gemm::kTileColumns, sizes.n - first),
                    PanelsOf(sizes, matrix) + first * sizes.k);
      }
    });
    panels_version_ = b.version;
  }

  void Multiply(const Sizes& sizes, const float* a, const float* b, const float* bias, float* c, Range rows,
                Range columns, Range depth, Activation activation, float* pack, const float* panels) const {
    const int64_t height = rows.end - rows.begin, width = columns.end - columns.begin,
                  deep = depth.end - depth.begin;
    float* block = c + rows.begin * sizes.n + columns.begin;
    if (deep == 0) {
      Fill(bias ? bias + columns.begin : nullptr, block, sizes.n, height, width);
      return Activate(activation, block, sizes.n, height, width);
    }
    const gemm::Operand left = transpose_a_ ? gemm::Operand{a, 1, sizes.m} : gemm::Operand{a, sizes.k, 1};
    gemm::Operand right = transpose_b_ ? gemm::Operand{b, 1, sizes.k} : gemm::Operand{b, sizes.n, 1};
    if (onednn_ != nullptr &&
        onednn_(transpose_a_, transpose_b_, height, width, deep, left.At(rows.begin, depth.begin),
                transpose_a_ ? sizes.m : sizes.k, right.At(depth.begin, columns.begin),
                transpose_b_ ? sizes.k : sizes.n, block, sizes.n) == 0) {
      if (bias) AddRows(bias + columns.begin, 0, block, sizes.n, height, width);
      return Activate(activation, block, sizes.n, height, width);
    }
    if (sizes.n == 1) right.column_step = 1;  // a vector is its own transpose
    gemm::Multiply(
        {left.At(0, depth.begin), left.row_step, left.column_step},
        {right.At(depth.begin, 0), right.row_step, right.column_step}, bias, deep, c, sizes.n,
        {rows.begin, rows.end, columns.begin, columns.end}, pack,
        [=](float* done, int64_t tall, int64_t wide)
            HWY_ATTR { Activate(activation, done, sizes.n, tall, wide); },
        /*adds=*/false, panels);
  }

  bool transpose_a_, transpose_b_;
  Activation activation_;
  SgemmFunction onednn_;
  size_t partial_offset_ = 0;
  int64_t most_slices_ = 1;
  std::shared_ptr<Block> panels_;  // of b, where it is kept
  uint64_t panels_version_ = 0;    // of what they were made from
};

std::unique_ptr<Kernel> PrepareMatmul(PrepareContext& context) { return std::make_unique<Matmul>(context); }

}  // namespace

std::span<const KernelEntry> MatmulEntries() {
  static constexpr KernelEntry kEntries[] = {{"matmul", CheckMatmul, PrepareMatmul}};
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <dlfcn.h>

namespace kairos {
namespace {

struct OneDnn {
  SgemmFunction sgemm = nullptr;
  std::string reason;
};

OneDnn OpenOneDnn() {
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&OneDnnSgemm), &self) == 0 || self.dli_fname == nullptr)
    return {nullptr, "the addon's own folder is unknown"};
  std::string path = self.dli_fname;
  path = path.substr(0, path.rfind('/') + 1) + "kairos_onednn.so";
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr)
    return {nullptr, "built without oneDNN, or its libraries are missing: " + std::string(dlerror())};
  const auto sgemm = reinterpret_cast<SgemmFunction>(dlsym(module, "kairos_onednn_sgemm"));
  const auto limit = reinterpret_cast<void (*)(int)>(dlsym(module, "kairos_onednn_limit"));
  if (sgemm == nullptr || limit == nullptr) return {nullptr, path + " belongs to another version"};
  // One choice for the process, taken from the same variable that caps ours.
  const char* cap = std::getenv("KAIROS_CPU");
  const std::string_view variant = cap ? cap : "";
  if (variant == "baseline") limit(0);
  if (variant == "avx2") limit(1);
  return {sgemm, ""};
}

const OneDnn& Library() {
  static const OneDnn kLibrary = OpenOneDnn();
  return kLibrary;
}

}  // namespace

SgemmFunction OneDnnSgemm() { return Library().sgemm; }

bool OneDnnAvailable(std::string* reason) {
  *reason = Library().reason;
  return Library().sgemm != nullptr;
}

KAIROS_FAMILY(Matmul)

}  // namespace kairos
#endif
