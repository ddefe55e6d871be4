// linearCrossEntropy(x[R, D], weight[C, D], labels[R][, bias[C]]) -> loss, logSumExp, one per row, with z = x weight^T
// + bias and s = labelSmoothing:
//
//   logSumExp = log(sum(exp(z)))      loss = logSumExp - (1 - s) z[label] - s mean(z), or 0 where ignored
//
// linearCrossEntropyBackward(x, weight, labels, logSumExp, dloss, dlogSumExp[, bias]) -> dx, dweight[, dbias] through
//
//   dz = exp(z - logSumExp) (dloss + dlogSumExp) - dloss ((1 - s) [column is label] + s / C)
//
// with dloss 0 where ignored. No more than a tile of z or dz is ever in memory. Forward keeps the maximum and the sum
// of exponentials of a row over chunks of classes that depend on C alone, and adds chunks in order. Backward makes one
// tile of dz at a time and adds its two products where they belong, tiles in order. No bit depends on the number of
// threads.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear_cross_entropy.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/gemm-inl.h"
#include "cpu/math-inl.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_LINEAR_CROSS_ENTROPY_CC_
#define KAIROS_CPU_LINEAR_CROSS_ENTROPY_CC_
namespace kairos {
namespace {

Status CheckOperands(const CheckContext& context, size_t bias) {
  const TensorSpec &x = context.inputs[0], &weight = context.inputs[1];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "weight", weight, 1));
  const Shape table{weight.shape[0], x.shape.Last()};
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "weight", weight, DType::kFloat32, table));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "labels", context.inputs[2], DType::kInt32, WithoutLast(x.shape)));
  if (context.inputs.size() > bias)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "bias", context.inputs[bias], DType::kFloat32, {weight.shape[0]}));
  const double smoothing = context.attributes.Float("labelSmoothing");
  if (smoothing >= 0 && smoothing < 1) return Ok();
  return Refuse(context, "labelSmoothing", "at least 0 and below 1", std::to_string(smoothing));
}

Status CheckLinearCrossEntropy(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context, 3));
  const Shape rows = WithoutLast(context.inputs[0].shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "loss", context.outputs[0], DType::kFloat32, rows));
  return ExpectTensor(context, "logSumExp", context.outputs[1], DType::kFloat32, rows);
}

Status CheckLinearCrossEntropyBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context, 6));
  const Shape &x = context.inputs[0].shape, &weight = context.inputs[1].shape;
  const Shape rows = WithoutLast(x);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "logSumExp", context.inputs[3], DType::kFloat32, rows));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dloss", context.inputs[4], DType::kFloat32, rows));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dlogSumExp", context.inputs[5], DType::kFloat32, rows));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dx", context.outputs[0], DType::kFloat32, x));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dweight", context.outputs[1], DType::kFloat32, weight));
  if (context.outputs.size() != context.inputs.size() - 4)
    return Refuse(context, "dbias", "a result exactly when there is a bias",
                  std::to_string(context.outputs.size()) + " results");
  if (context.outputs.size() == 2) return Ok();
  return ExpectTensor(context, "dbias", context.outputs[2], DType::kFloat32, {weight[0]});
}

struct Sizes {
  int64_t rows, channels, classes;
};

Sizes SizesOf(const Shape& x, const Shape& weight) { return {x.Product(0, x.rank - 1), x.Last(), weight[0]}; }

constexpr int64_t kMostChunks = 32;
constexpr int64_t kLeastChunk = 4096;
constexpr int64_t kTileClasses = 256;
constexpr int64_t kMostTileRows = 192;

// Classes of a chunk: whole tiles, and few chunks however many classes there are.
int64_t ChunkOf(int64_t classes) {
  const int64_t share = (classes + kMostChunks - 1) / kMostChunks;
  return std::max(kLeastChunk, (share + kTileClasses - 1) / kTileClasses * kTileClasses);
}
int64_t ChunksOf(int64_t classes) { return (classes + ChunkOf(classes) - 1) / ChunkOf(classes); }

// What a chunk knows of a row.
struct Part {
  double sum;    // of exp(z - most)
  double total;  // of z
  float most;
};

// A tile of dz in the backward pass: a MiB per thread, which its two products read from L2. Both sizes are those of a
// block of the product's depth, so that sums are added in the same order however many threads share a tile.
constexpr int64_t kBlockRows = 512;
constexpr int64_t kBlockClasses = 512;
// Not a power of two, or rows of the tile would compete for the same sets of the cache.
constexpr int64_t kBlockStep = kBlockClasses + 16;
// Threads beyond these share the rows of so many.
constexpr int64_t kMostSharers = 8;

// Fewer multiplications than this are over before another thread has woken up.
constexpr double kSerialProducts = 1 << 17;

// Bytes of scratch; more than there can be when the product does not fit.
size_t Bytes(int64_t count, size_t each) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(count), each, &bytes) || bytes > SIZE_MAX / 4)
    return SIZE_MAX / 4;
  return (bytes + 63) / 64 * 64;
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_LINEAR_CROSS_ENTROPY_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// Whether the row counts. A label that is neither in range nor ignored raises the fault and does not count.
bool Counts(int64_t label, int64_t ignored, int64_t classes, int64_t row, IdFault& fault) {
  if (label == ignored) return false;
  if (label >= 0 && label < classes) return true;
  fault.Raise(row, label, classes);
  return false;
}

struct Operands {
  Sizes sizes;
  const float *x, *weight, *bias;
};

// z over rows [row, row + tall) and classes [first, first + wide).
void Logits(const Operands& from, int64_t row, int64_t tall, int64_t first, int64_t wide, float* z,
            int64_t step, float* pack) {
  const int64_t channels = from.sizes.channels;
  const float* bias = from.bias ? from.bias + first : nullptr;
  if (channels == 0) {
    for (int64_t m = 0; m < tall; ++m)
      for (int64_t n = 0; n < wide; ++n) z[m * step + n] = bias ? bias[n] : 0;
    return;
  }
  gemm::Multiply({from.x + row * channels, channels, 1}, {from.weight + first * channels, 1, channels}, bias,
                 channels, z, step, {0, tall, 0, wide}, pack, [](float*, int64_t, int64_t) {});
}

void AddLogits(const float* z, int64_t count, bool totals, Part* part) {
  const float most = std::max(part->most, MaxRow(z, count));
  if (most == -std::numeric_limits<float>::infinity()) return;
  part->sum = part->sum * std::exp(static_cast<double>(part->most) - most) + SumExp(z, most, count, nullptr);
  part->most = most;
  if (!totals) return;
  double sum[1];
  SumRow(count, sum, [=](int64_t i, size_t live, FloatVector* partial) HWY_ATTR {
    partial[0] = hn::Add(partial[0], Load(FloatTag(), z + i, live));
  });
  part->total += sum[0];
}

class LinearCrossEntropy final : public Kernel {
 public:
  explicit LinearCrossEntropy(PrepareContext& context)
      : ignored_(context.attributes.Int("ignoreIndex")),
        smoothing_(context.attributes.Float("labelSmoothing")) {
    const Sizes most = SizesOf(context.inputs[0].shape, context.inputs[1].shape);
    // No smaller number of classes has more chunks.
    const int64_t chunks = std::min(kMostChunks, 1 + most.classes / kLeastChunk);
    parts_offset_ = Bytes(context.threads, sizeof(float) * kThreadFloats);
    chosen_offset_ = parts_offset_ + Bytes(most.rows, sizeof(Part) * static_cast<size_t>(chunks));
    context.scratch_bytes = chosen_offset_ + Bytes(most.rows, sizeof(float));
  }

  void Run(const RunContext& context) noexcept override {
    const Operands from{SizesOf(context.inputs[0].shape, context.inputs[1].shape),
                        context.inputs[0].As<float>(), context.inputs[1].As<float>(),
                        context.inputs.size() > 3 ? context.inputs[3].As<float>() : nullptr};
    const auto [rows, channels, classes] = from.sizes;
    const int32_t* labels = context.inputs[2].As<int32_t>();
    float* scratch = reinterpret_cast<float*>(context.scratch);
    Part* parts = reinterpret_cast<Part*>(context.scratch + parts_offset_);
    float* chosen = reinterpret_cast<float*>(context.scratch + chosen_offset_);

    // A row's bits depend neither on the rows beside it nor on how many of them make a tile.
    const int64_t chunk = ChunkOf(classes), chunks = ChunksOf(classes);
    const int64_t share = rows * chunks / (4 * context.team.size()) / gemm::kTileRows * gemm::kTileRows;
    const int64_t tall = std::clamp<int64_t>(share, 4 * gemm::kTileRows, kMostTileRows);
    const int64_t blocks = (rows + tall - 1) / tall, units = blocks * chunks;
    const double products = static_cast<double>(tall) * static_cast<double>(std::min(chunk, classes)) *
                            static_cast<double>(channels + 8);
    const int64_t grain = static_cast<int64_t>(1 + kSerialProducts / (1 + products));
    context.team.ParallelFor(units, grain, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
      float *pack = scratch + thread * kThreadFloats, *z = pack + gemm::kPackFloats;
      // Chunk by chunk, so that its weights stay in cache over all blocks of rows.
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t at = unit / blocks, row = unit % blocks * tall, live = std::min(tall, rows - row);
        Part* part = parts + at * rows + row;
        std::fill_n(part, live, Part{0, 0, -std::numeric_limits<float>::infinity()});
        const int64_t last = std::min(classes, (at + 1) * chunk);
        for (int64_t first = at * chunk; first < last; first += kTileClasses) {
          const int64_t wide = std::min(kTileClasses, last - first);
          Logits(from, row, live, first, wide, z, kTileClasses, pack);
          for (int64_t m = 0; m < live; ++m) {
            AddLogits(z + m * kTileClasses, wide, smoothing_ > 0, part + m);
            const int64_t column = labels[row + m] - first;
            if (column >= 0 && column < wide) chosen[row + m] = z[m * kTileClasses + column];
          }
        }
      }
    });

    float *loss = context.outputs[0].As<float>(), *log_sum_exp = context.outputs[1].As<float>();
    for (int64_t row = 0; row < rows; ++row) {
      float most = -std::numeric_limits<float>::infinity();
      for (int64_t at = 0; at < chunks; ++at) most = std::max(most, parts[at * rows + row].most);
      double sum = 0, total = 0;
      for (int64_t at = 0; at < chunks; ++at) {
        const Part& part = parts[at * rows + row];
        if (part.sum != 0) sum += part.sum * std::exp(static_cast<double>(part.most) - most);
        total += part.total;
      }
      const double exact = most + std::log(sum);
      log_sum_exp[row] = static_cast<float>(exact);
      loss[row] = 0;
      if (!Counts(labels[row], ignored_, classes, row, context.fault)) continue;
      const double mean = smoothing_ > 0 ? total / static_cast<double>(classes) : 0;
      loss[row] = static_cast<float>(exact - (1 - smoothing_) * chosen[row] - smoothing_ * mean);
    }
  }

 private:
  static constexpr size_t kThreadFloats = gemm::kPackFloats + kMostTileRows * kTileClasses;
  int64_t ignored_;
  double smoothing_;
  size_t parts_offset_, chosen_offset_;
};

// dz of a row from its z, in place.
void LogitGradient(float* z, int64_t count, float log_sum_exp, float scale, float shift) {
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatTag d;
    const FloatVector p = math::Exp(d, hn::Sub(Load(d, z + i, live), hn::Set(d, log_sum_exp)));
    Store(hn::MulSub(p, hn::Set(d, scale), hn::Set(d, shift)), d, z + i, live);
  });
}

static_assert(kBlockRows == gemm::kDepth && kBlockClasses == gemm::kDepth);

class LinearCrossEntropyBackward final : public Kernel {
 public:
  explicit LinearCrossEntropyBackward(PrepareContext& context)
      : ignored_(context.attributes.Int("ignoreIndex")),
        smoothing_(context.attributes.Float("labelSmoothing")) {
    const Shape& dx = context.outputs[0].shape;
    pack_offset_ =
        Bytes(std::min(dx.Product(0, dx.rank - 1), TileRowsOf(context.threads)), sizeof(float) * kBlockStep);
    context.scratch_bytes = pack_offset_ + Bytes(context.threads, sizeof(float) * gemm::kPackFloats);
  }

  void Run(const RunContext& context) noexcept override {
    const Operands from{SizesOf(context.inputs[0].shape, context.inputs[1].shape),
                        context.inputs[0].As<float>(), context.inputs[1].As<float>(),
                        context.inputs.size() > 6 ? context.inputs[6].As<float>() : nullptr};
    const auto [rows, channels, classes] = from.sizes;
    float *dx = context.outputs[0].As<float>(), *dweight = context.outputs[1].As<float>();
    float* dbias = from.bias ? context.outputs[2].As<float>() : nullptr;
    if (rows == 0 || classes == 0) {
      std::fill_n(dx, rows * channels, 0.0f);
      std::fill_n(dweight, classes * channels, 0.0f);
      if (dbias) std::fill_n(dbias, classes, 0.0f);
      return;
    }
    float* dz = reinterpret_cast<float*>(context.scratch);
    const auto pack_of = [&](int thread) {
      return reinterpret_cast<float*>(context.scratch + pack_offset_) + thread * gemm::kPackFloats;
    };
    const int64_t most_tall = TileRowsOf(context.team.size());
    for (int64_t first = 0; first < classes; first += kBlockClasses) {
      const int64_t wide = std::min(kBlockClasses, classes - first);
      for (int64_t row = 0; row < rows; row += most_tall) {
        const int64_t tall = std::min(most_tall, rows - row);
        const double products = static_cast<double>(tall * wide) * static_cast<double>(channels + 8);
        const int64_t shares = products < kSerialProducts ? 1 : context.team.size();
        const auto share_of = [=](int64_t count, int64_t index) {
          const int64_t steps = (count + gemm::kTileRows - 1) / gemm::kTileRows;
          return std::min(count, steps * index / shares * gemm::kTileRows);
        };
        context.team.ParallelFor(shares, 1, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
          const int64_t low = share_of(tall, begin), high = share_of(tall, end);
          FillGradient(context, from, row + low, high - low, first, wide, dz + low * kBlockStep,
                       pack_of(thread));
        });
        // Its rows of dx, of which a thread has dz at hand, and its rows of dweight.
        context.team.ParallelFor(shares, 1, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
          const int64_t low = share_of(tall, begin), high = share_of(tall, end);
          AddProduct({dz + low * kBlockStep, kBlockStep, 1}, high - low, from.weight + first * channels, wide,
                     channels, first > 0, dx + (row + low) * channels, pack_of(thread));
          const int64_t left = share_of(wide, begin), right = share_of(wide, end);
          AddProduct({dz + left, 1, kBlockStep}, right - left, from.x + row * channels, tall, channels,
                     row > 0, dweight + (first + left) * channels, pack_of(thread));
          if (dbias) AddColumns(dz + left, tall, right - left, row > 0, dbias + first + left);
        });
      }
    }
  }

 private:
  // dz of rows [row, row + tall) and classes [first, first + wide).
  void FillGradient(const RunContext& context, const Operands& from, int64_t row, int64_t tall, int64_t first,
                    int64_t wide, float* dz, float* pack) const {
    if (tall == 0) return;
    const int32_t* labels = context.inputs[2].As<int32_t>();
    const float *log_sum_exp = context.inputs[3].As<float>(), *dloss = context.inputs[4].As<float>(),
                *dlog_sum_exp = context.inputs[5].As<float>();
    const int64_t classes = from.sizes.classes;
    Logits(from, row, tall, first, wide, dz, kBlockStep, pack);
    for (int64_t m = 0; m < tall; ++m) {
      const int64_t at = row + m, label = labels[at];
      const bool counts = Counts(label, ignored_, classes, at, context.fault);
      const double up = counts ? dloss[at] : 0;
      float* z = dz + m * kBlockStep;
      LogitGradient(z, wide, log_sum_exp[at], static_cast<float>(up + dlog_sum_exp[at]),
                    static_cast<float>(up * smoothing_ / static_cast<double>(classes)));
      if (counts && label >= first && label < first + wide)
        z[label - first] -= static_cast<float>(up * (1 - smoothing_));
    }
  }

  static int64_t TileRowsOf(int64_t threads) { return kBlockRows * std::min(threads, kMostSharers); }

  // c[count, channels] = a b, or c + a b, over a depth.
  static void AddProduct(const gemm::Operand& a, int64_t count, const float* b, int64_t depth,
                         int64_t channels, bool adds, float* c, float* pack) {
    if (count == 0 || channels == 0) return;
    gemm::Multiply(
        a, {b, channels, 1}, nullptr, depth, c, channels, {0, count, 0, channels}, pack,
        [](float*, int64_t, int64_t) {}, adds);
  }

  static void AddColumns(const float* dz, int64_t tall, int64_t wide, bool adds, float* dbias) {
    if (!adds) std::fill_n(dbias, wide, 0.0f);
    for (int64_t m = 0; m < tall; ++m)
      ForVectors(wide, [=](int64_t i, size_t live) HWY_ATTR {
        const FloatTag d;
        Store(hn::Add(Load(d, dbias + i, live), Load(d, dz + m * kBlockStep + i, live)), d, dbias + i, live);
      });
  }

  int64_t ignored_;
  double smoothing_;
  size_t pack_offset_;
};

}  // namespace

std::span<const KernelEntry> LinearCrossEntropyEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"linearCrossEntropy", CheckLinearCrossEntropy, Stateful<LinearCrossEntropy>},
      {"linearCrossEntropyBackward", CheckLinearCrossEntropyBackward, Stateful<LinearCrossEntropyBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(LinearCrossEntropy)
}  // namespace kairos
#endif
