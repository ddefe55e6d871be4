// Rows of a table by id, and the gradient of that.
//
// gatherBackward writes the whole dense gradient, each row by one thread and each sum in the order of
// positions, so its bits depend on nothing but the inputs. Positions are sorted by row, stably, in two
// counting passes:
//
//   slices of ids -> counts per (bucket, slice) -> positions grouped by bucket, a range of rows each
//   bucket        -> counts per row             -> positions grouped by row -> sums

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/embedding.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/offsets.h"
#include "cpu/rows-inl.h"
#include "cpu/sum_rows-inl.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

Status CheckGatherShapes(const CheckContext& context, const TensorSpec& table, const TensorSpec& ids,
                         const TensorSpec& rows, const char* argument) {
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "table", table, 1));
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "ids", ids, DType::kInt32));
  if (ids.shape.rank + table.shape.rank - 1 > kMaxRank)
    return Refuse(context, "ids", "a result of rank 8 or less", ids.shape.ToString());
  Shape expected = ids.shape;
  for (int axis = 1; axis < table.shape.rank; ++axis) expected.dims[expected.rank++] = table.shape[axis];
  return ExpectTensor(context, argument, rows, table.dtype, expected);
}

// -----------------------------------------------------------------------------------------------------------
// gather

Status CheckGather(const CheckContext& context) {
  if (context.inputs.size() != 2 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "table and ids, and one output", "other counts");
  return CheckGatherShapes(context, context.inputs[0], context.inputs[1], context.outputs[0], "output");
}

void Gather(const RunContext& context) noexcept {
  const TensorView &table = context.inputs[0], &ids_view = context.inputs[1];
  const int64_t rows = table.shape[0], count = ids_view.shape.Count();
  const int64_t bytes = table.shape.Product(1, table.shape.rank) * static_cast<int64_t>(SizeOf(table.dtype));
  const int32_t* ids = ids_view.As<const int32_t>();
  const std::byte* from = table.As<const std::byte>();
  std::byte* to = context.outputs[0].As<std::byte>();
  if (count == 0) return;
  if (rows == 0) {
    context.fault.Raise(0, ids[0], 0);
    if (bytes > 0) std::memset(to, 0, count * bytes);
    return;
  }
  const auto row_of = [&](int64_t at) { return std::clamp<int64_t>(ids[at], 0, rows - 1); };
  const int64_t ahead = std::clamp<int64_t>(4096 / (bytes + 1), kAhead, kBagAhead);
  context.team.ParallelFor(count, MoveGrain(bytes), [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at) {
      if (at + ahead < end) PrefetchRow(from + row_of(at + ahead) * bytes, bytes);
      const int64_t row = row_of(at);
      if (row != ids[at]) context.fault.Raise(at, ids[at], rows);
      if (bytes > 0) CopyRow(from + row * bytes, bytes, to + at * bytes);
    }
  });
}

// -----------------------------------------------------------------------------------------------------------
// gatherBackward

constexpr int64_t kMaxBuckets = 256;
constexpr int64_t kSliceGrain = 8192;  // ids that are worth a thread

Status CheckGatherBackward(const CheckContext& context) {
  if (context.inputs.size() != 3 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "table, ids and dy, and one output", "other counts");
  const TensorSpec &table = context.inputs[0], &ids = context.inputs[1];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "table", table, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(CheckGatherShapes(context, table, ids, context.inputs[2], "dy"));
  if (ids.shape.Count() > std::numeric_limits<int32_t>::max())
    return Refuse(context, "ids", "fewer than 2^31 ids", ids.shape.ToString());
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, table.shape);
}

class GatherBackwardKernel final : public Kernel {
 public:
  explicit GatherBackwardKernel(PrepareContext& prepare) : threads_(prepare.threads) {
    padding_ = prepare.attributes.Find("paddingIndex") ? prepare.attributes.Int("paddingIndex") : -1;
    const int64_t rows = prepare.inputs[0].shape[0], ids = prepare.inputs[1].shape.Count();
    // starts, grouped, sorted, rows of one bucket per thread
    const int64_t ints = kMaxBuckets * threads_ + 2 * ids + (BucketRows(rows) + 1) * threads_;
    prepare.scratch_bytes = static_cast<size_t>(ints) * sizeof(int32_t);
  }
  void Run(const RunContext& context) noexcept override;

 private:
  // A power of two, so that a shift finds an id's bucket.
  static int Shift(int64_t rows) {
    int shift = 0;
    while ((rows - 1) >> shift >= kMaxBuckets) ++shift;
    return shift;
  }
  static int64_t BucketRows(int64_t rows) { return int64_t{1} << Shift(std::max<int64_t>(rows, 1)); }

  int64_t padding_;
  int threads_;
};

void GatherBackwardKernel::Run(const RunContext& context) noexcept {
  const TensorView& out = context.outputs[0];
  const int64_t rows = out.shape[0], width = out.shape.Product(1, out.shape.rank);
  const int64_t count = context.inputs[1].shape.Count();
  const int32_t* ids = context.inputs[1].As<const int32_t>();
  const float* dy = context.inputs[2].As<const float>();
  float* to = out.As<float>();
  if (rows == 0) {
    if (count > 0) context.fault.Raise(0, ids[0], 0);
    return;
  }
  ThreadTeam& team = context.team;
  const int shift = Shift(rows);
  const int64_t bucket_rows = int64_t{1} << shift, buckets = (rows + bucket_rows - 1) / bucket_rows;
  const int64_t slices = std::clamp<int64_t>(count / kSliceGrain, 1, std::min(team.size(), threads_));
  int32_t* starts = reinterpret_cast<int32_t*>(context.scratch);  // [bucket][slice]
  int32_t* grouped = starts + kMaxBuckets * threads_;
  int32_t* sorted = grouped + count;
  int32_t* row_starts = sorted + count;

  const auto slice_begin = [&](int64_t slice) {
    return count / slices * slice + std::min(slice, count % slices);
  };
  const auto for_slices = [&](auto body) {
    team.ParallelFor(slices, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t slice = first; slice < last; ++slice) body(slice);
    });
  };
  const auto counts = [&](int64_t id) { return id >= 0 && id < rows && id != padding_; };

  for_slices([&](int64_t slice) {
    for (int64_t bucket = 0; bucket < buckets; ++bucket) starts[bucket * slices + slice] = 0;
    for (int64_t at = slice_begin(slice); at < slice_begin(slice + 1); ++at) {
      if (ids[at] < 0 || ids[at] >= rows) context.fault.Raise(at, ids[at], rows);
      if (counts(ids[at])) ++starts[(ids[at] >> shift) * slices + slice];
    }
  });
  int32_t total = 0;
  for (int64_t i = 0; i < buckets * slices; ++i) total += std::exchange(starts[i], total);
  for_slices([&](int64_t slice) {
    for (int64_t at = slice_begin(slice); at < slice_begin(slice + 1); ++at)
      if (counts(ids[at])) grouped[starts[(ids[at] >> shift) * slices + slice]++] = static_cast<int32_t>(at);
  });
  // Every start has moved to its end, so bucket b now lies between the ends of the last slices of b - 1 and
  // b.
  const auto bucket_begin = [&](int64_t bucket) -> int64_t {
    return bucket == 0 ? 0 : starts[bucket * slices - 1];
  };

  const auto reduce_bucket = [&](int64_t bucket, int32_t* row_start) {
    const int64_t first_row = bucket << shift, live = std::min(bucket_rows, rows - first_row);
    const int64_t begin = bucket_begin(bucket), end = bucket_begin(bucket + 1);
    if (width > 0) std::memset(to + first_row * width, 0, live * width * sizeof(float));
    if (begin == end) return;
    std::fill_n(row_start, live + 1, 0);
    for (int64_t i = begin; i < end; ++i) ++row_start[ids[grouped[i]] - first_row + 1];
    for (int64_t row = 0; row < live; ++row) row_start[row + 1] += row_start[row];
    for (int64_t i = begin; i < end; ++i)
      sorted[begin + row_start[ids[grouped[i]] - first_row]++] = grouped[i];
    for (int64_t i = begin; i < end;) {
      if (i + kAhead < end) PrefetchRow(dy + sorted[i + kAhead] * width, width * 4);
      const int64_t row = ids[sorted[i]], stop = begin + row_start[row - first_row];
      SumRowsAt(dy, width, sorted + i, stop - i, nullptr, to + row * width);
      i = stop;
    }
  };

  // Contiguous shares of buckets, of about equal work: a row costs its write, a position its read.
  const auto work_before = [&](int64_t bucket) {
    return std::min(bucket << shift, rows) + 2 * bucket_begin(bucket);
  };
  const int64_t work = work_before(buckets);
  const int64_t shares = std::clamp<int64_t>(work * (width + 4) / 32768, 1, std::min(team.size(), threads_));
  team.ParallelFor(shares, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t bucket = 0; bucket < buckets; ++bucket) {
      const int64_t share = std::min(work_before(bucket) * shares / std::max<int64_t>(work, 1), shares - 1);
      if (share >= first && share < last) reduce_bucket(bucket, row_starts + (bucket_rows + 1) * thread);
    }
  });
}

// -----------------------------------------------------------------------------------------------------------
// embeddingBag: table, ids[N], offsets[bags + 1] -> [bags, channels]

Status CheckEmbeddingBag(const CheckContext& context) {
  if (context.inputs.size() != 3 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "table, ids and offsets, and one output", "other counts");
  const TensorSpec &table = context.inputs[0], &ids = context.inputs[1], &offsets = context.inputs[2];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "table", table, DType::kFloat32));
  if (table.shape.rank != 2) return Refuse(context, "table", "of rank 2", table.shape.ToString());
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "ids", ids, DType::kInt32));
  if (ids.shape.rank != 1) return Refuse(context, "ids", "of rank 1", ids.shape.ToString());
  KAIROS_RETURN_IF_ERROR(ExpectOffsets(context, "offsets", offsets));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32,
                      Shape{offsets.shape[0] - 1, table.shape[1]});
}

// Bags of one feature, pooled into rows of `to` that lie `step` floats apart.
struct Bags {
  const float* table;  // the feature's first row
  int64_t rows;        // of the feature
  const int32_t* ids;
  int64_t count;
  const int32_t* offsets;
  int operand;  // where the ids stand
};

bool IdsInside(const RunContext& context, const Bags& bags) {
  context.team.ParallelFor(bags.count, 32768, [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at)
      if (bags.ids[at] < 0 || bags.ids[at] >= bags.rows)
        return context.fault.Raise(at, bags.ids[at], bags.rows, bags.operand);
  });
  return !context.fault.raised.load();
}

void PoolBag(const Bags& bags, int64_t bag, int64_t width, bool mean, float* row) {
  const int64_t begin = bags.offsets[bag], end = bags.offsets[bag + 1];
  SumRowsAt(bags.table, width, bags.ids + begin, end - begin, nullptr, row, bags.count - end);
  if (!mean || end - begin < 2) return;
  const FloatTag d;
  const FloatVector scale = hn::Set(d, 1.0f / static_cast<float>(end - begin));
  ForVectors(width, [&](int64_t i, size_t live) {
    Store(hn::Mul(Load(d, row + i, live), scale), d, row + i, live);
  });
}

// Feature after feature, so that one table's rows are in the caches at a time.
void PoolFeatures(const RunContext& context, std::span<const Bags> features, bool mean) {
  const int64_t width = context.inputs[0].shape[1], count = static_cast<int64_t>(features.size());
  const TensorView& out = context.outputs[0];
  const int64_t bags = out.shape[0];
  float* to = out.As<float>();
  int64_t ids = 0;
  for (const Bags& feature : features) {
    const int offsets = feature.operand + static_cast<int>(count);
    if (!OffsetsAscend(context, offsets, feature.count) || !IdsInside(context, feature)) {
      if (bags * count * width > 0) std::memset(to, 0, bags * count * width * sizeof(float));
      return;
    }
    ids += feature.count;
  }
  const int64_t ids_of_bag = ids / std::max<int64_t>(bags * count, 1) + 1;
  const int64_t grain = std::max<int64_t>(1, 16384 / (ids_of_bag * (width + 8)));
  context.team.ParallelFor(bags * count, grain, [&](int64_t first, int64_t last, int) {
    for (int64_t at = first; at < last; ++at) {
      const int64_t feature = at / bags, bag = at % bags;
      PoolBag(features[feature], bag, width, mean, to + (bag * count + feature) * width);
    }
  });
}

Bags BagsOf(const RunContext& context, int64_t first_row, int64_t rows, int operand, int features) {
  const TensorView &table = context.inputs[0], &ids = context.inputs[operand];
  return {
      table.As<const float>() + first_row * table.shape[1],   rows,   ids.As<const int32_t>(), ids.shape[0],
      context.inputs[operand + features].As<const int32_t>(), operand};
}

std::unique_ptr<Kernel> PrepareEmbeddingBag(PrepareContext& prepare) {
  return MakeKernel([mean = prepare.attributes.String("mode") == "mean"](const RunContext& context) {
    const Bags bags = BagsOf(context, 0, context.inputs[0].shape[0], 1, 1);
    PoolFeatures(context, {&bags, 1}, mean);
  });
}

// -----------------------------------------------------------------------------------------------------------
// embeddingBags: table, ids of each feature, offsets of each -> [bags, features * channels]; the table holds the
// features' tables one after another

constexpr size_t kMostFeatures = 31;  // as many as the kernel table allows operands for

Status CheckEmbeddingBags(const CheckContext& context) {
  const auto rows = context.attributes.Ints("rows");
  const size_t features = rows.size();
  if (features == 0 || features > kMostFeatures || context.inputs.size() != 1 + 2 * features ||
      context.outputs.size() != 1)
    return Refuse(context, "rows", "one per feature, 1 to 31 of them", std::to_string(features));
  const TensorSpec& table = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "table", table, DType::kFloat32));
  if (table.shape.rank != 2) return Refuse(context, "table", "of rank 2", table.shape.ToString());
  int64_t left = table.shape[0], channels = 0;
  for (int64_t count : rows)
    if (count < 0 || (left -= std::min(count, left + 1)) < 0)
      return Refuse(context, "rows", "0 or more, no more than the table's together", std::to_string(count));
  KAIROS_RETURN_IF_ERROR(ExpectBags(context, 1, features));
  const Shape& edges = context.inputs[1 + features].shape;
  if (__builtin_mul_overflow(table.shape[1], static_cast<int64_t>(features), &channels))
    return Refuse(context, "rows", "a result that can be addressed", std::to_string(features));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, Shape{edges[0] - 1, channels});
}

std::unique_ptr<Kernel> PrepareEmbeddingBags(PrepareContext& prepare) {
  const auto given = prepare.attributes.Ints("rows");
  return MakeKernel([mean = prepare.attributes.String("mode") == "mean",
                     rows = std::vector<int64_t>(given.begin(), given.end())](const RunContext& context) {
    std::array<Bags, kMostFeatures> features;
    int64_t start = 0;
    for (size_t feature = 0; feature < rows.size(); start += rows[feature++])
      features[feature] =
          BagsOf(context, start, rows[feature], 1 + static_cast<int>(feature), static_cast<int>(rows.size()));
    PoolFeatures(context, {features.data(), rows.size()}, mean);
  });
}

}  // namespace

std::span<const KernelEntry> EmbeddingEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"gather", CheckGather, Stateless<Gather>},
      {"gatherBackward", CheckGatherBackward, Stateful<GatherBackwardKernel>},
      {"embeddingBag", CheckEmbeddingBag, PrepareEmbeddingBag},
      {"embeddingBags", CheckEmbeddingBags, PrepareEmbeddingBags},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Embedding)
}  // namespace kairos
#endif
