// Sparse gradients: positions grouped by id, then one sum per id.
//
//   ids -> (id, position) pairs -> stable radix sort by id -> first positions of each id -> sums
//
// The order within an id is that of positions, whatever the number of threads, so the bits depend on the inputs
// alone. Work and memory follow the number of ids, never the table's rows.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sparse.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/offsets.h"
#include "cpu/sum_rows-inl.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

constexpr int kDigitBits = 11;
constexpr int64_t kRadix = 1 << kDigitBits;
constexpr int64_t kSliceGrain = 8192;  // ids that are worth a thread

// Scratch of a grouping, laid out in ints.
struct Workspace {
  uint32_t* keys[2];
  int32_t* positions[2];
  int32_t* histogram;  // [slice][digit]
  int32_t* starts;     // [unique + 1]
  int32_t* bag_of;     // [ids]
  float* scales;       // [bags]

  static size_t Bytes(int64_t ids, int64_t bags, int threads) {
    return static_cast<size_t>(6 * ids + kRadix * threads + bags + 1) * sizeof(int32_t);
  }
  Workspace(std::byte* scratch, int64_t ids, int threads) {
    auto* at = reinterpret_cast<int32_t*>(scratch);
    const auto take = [&](int64_t count) { return std::exchange(at, at + count); };
    for (int side = 0; side < 2; ++side) {
      keys[side] = reinterpret_cast<uint32_t*>(take(ids));
      positions[side] = take(ids);
    }
    bag_of = take(ids);
    starts = take(ids + 1);
    histogram = take(kRadix * threads);
    scales = reinterpret_cast<float*>(at);
  }
};

// Ids with their positions, by id.
struct Groups {
  int64_t unique = 0;
  const int32_t* starts = nullptr;  // group g holds picked[starts[g] .. starts[g + 1])
  const uint32_t* keys = nullptr;   // of each position, sorted
  int32_t* picked = nullptr;
};

template <class Body>
void ForSlices(ThreadTeam& team, int64_t slices, Body body) {
  team.ParallelFor(slices, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t slice = first; slice < last; ++slice) body(slice);
  });
}

// Groups the positions of `ids` by id; ids outside [0, rows) raise the fault, and they and `padding` are left out.
Groups GroupById(const RunContext& context, const Workspace& work, int operand, int64_t rows, int64_t padding,
                 int threads) {
  const TensorView& view = context.inputs[operand];
  const int64_t count = view.shape.Count();
  const int32_t* ids = view.As<const int32_t>();
  if (count == 0) {
    work.starts[0] = 0;
    return {0, work.starts, work.keys[0], work.positions[0]};
  }
  const int64_t slices = std::clamp<int64_t>(count / kSliceGrain, 1, std::min(context.team.size(), threads));
  const auto begin_of = [&](int64_t slice) {
    return count / slices * slice + std::min(slice, count % slices);
  };

  // What is left out gets a key behind all others.
  const uint32_t last_key = static_cast<uint32_t>(rows);
  ForSlices(context.team, slices, [&](int64_t slice) {
    for (int64_t at = begin_of(slice); at < begin_of(slice + 1); ++at) {
      const bool inside = ids[at] >= 0 && ids[at] < rows;
      if (!inside) context.fault.Raise(at, ids[at], rows);
      work.keys[0][at] = inside && ids[at] != padding ? static_cast<uint32_t>(ids[at]) : last_key;
      work.positions[0][at] = static_cast<int32_t>(at);
    }
  });

  const int bits = std::bit_width(last_key);
  const int passes = std::max(1, (bits + kDigitBits - 1) / kDigitBits);
  const int digit_bits = (bits + passes - 1) / passes;
  const uint32_t mask = (1u << digit_bits) - 1;
  int side = 0;
  for (int pass = 0; pass < passes; ++pass, side ^= 1) {
    const uint32_t* keys = work.keys[side];
    const int shift = pass * digit_bits;
    ForSlices(context.team, slices, [&](int64_t slice) {
      int32_t* counts = work.histogram + slice * kRadix;
      std::fill_n(counts, mask + 1, 0);
      for (int64_t at = begin_of(slice); at < begin_of(slice + 1); ++at) ++counts[keys[at] >> shift & mask];
    });
    int32_t total = 0;
    for (uint32_t digit = 0; digit <= mask; ++digit)
      for (int64_t slice = 0; slice < slices; ++slice)
        total += std::exchange(work.histogram[slice * kRadix + digit], total);
    ForSlices(context.team, slices, [&](int64_t slice) {
      int32_t* next = work.histogram + slice * kRadix;
      for (int64_t at = begin_of(slice); at < begin_of(slice + 1); ++at) {
        const int32_t to = next[keys[at] >> shift & mask]++;
        work.keys[side ^ 1][to] = keys[at];
        work.positions[side ^ 1][to] = work.positions[side][at];
      }
    });
  }

  const uint32_t* keys = work.keys[side];
  int32_t first_of_slice[1 + 256];
  const int64_t parts = std::min<int64_t>(slices, 256);
  const auto part_begin = [&](int64_t part) { return count / parts * part + std::min(part, count % parts); };
  const auto begins = [&](int64_t at) {
    return keys[at] != last_key && (at == 0 || keys[at] != keys[at - 1]);
  };
  ForSlices(context.team, parts, [&](int64_t part) {
    int32_t groups = 0;
    for (int64_t at = part_begin(part); at < part_begin(part + 1); ++at) groups += begins(at);
    first_of_slice[part + 1] = groups;
  });
  first_of_slice[0] = 0;
  for (int64_t part = 0; part < parts; ++part) first_of_slice[part + 1] += first_of_slice[part];
  ForSlices(context.team, parts, [&](int64_t part) {
    int32_t group = first_of_slice[part];
    for (int64_t at = part_begin(part); at < part_begin(part + 1); ++at)
      if (begins(at)) work.starts[group++] = static_cast<int32_t>(at);
  });
  const int64_t unique = first_of_slice[parts];
  work.starts[unique] = static_cast<int32_t>(std::lower_bound(keys, keys + count, last_key) - keys);
  return {unique, work.starts, keys, work.positions[side]};
}

// Replaces positions by the bags that they lie in, and fills the bags' scales. False when offsets are wrong.
bool PickBags(const RunContext& context, const Workspace& work, const Groups& groups, int operand,
              bool mean) {
  const TensorView& view = context.inputs[operand];
  const int32_t* offsets = view.As<const int32_t>();
  const int64_t bags = view.shape.Count() - 1;
  if (!OffsetsAscend(context, operand, context.inputs[1].shape.Count())) return false;
  context.team.ParallelFor(bags, 1024, [&](int64_t first, int64_t last, int) {
    for (int64_t bag = first; bag < last; ++bag) {
      std::fill(work.bag_of + offsets[bag], work.bag_of + offsets[bag + 1], static_cast<int32_t>(bag));
      if (mean) work.scales[bag] = 1.0f / static_cast<float>(std::max(1, offsets[bag + 1] - offsets[bag]));
    }
  });
  context.team.ParallelFor(groups.starts[groups.unique], kSliceGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t at = first; at < last; ++at) groups.picked[at] = work.bag_of[groups.picked[at]];
  });
  return true;
}

// sum(group, to) for every group, where to = row_of(group).
template <class RowOf>
void SumGroups(const RunContext& context, const Groups& groups, const float* dy, int64_t width,
               const float* scales, RowOf row_of) {
  const int64_t grain = std::max<int64_t>(1, 16384 / (width + 16));
  context.team.ParallelFor(groups.unique, grain, [&](int64_t first, int64_t last, int) {
    for (int64_t group = first; group < last; ++group) {
      const int32_t begin = groups.starts[group], end = groups.starts[group + 1];
      const int32_t ahead = std::min<int32_t>(begin + kAhead, groups.starts[groups.unique] - 1);
      PrefetchRow(dy + groups.picked[ahead] * width, width * 4);
      SumRowsAt(dy, width, groups.picked + begin, end - begin, scales, row_of(group));
    }
  });
}

Status CheckLookup(const CheckContext& context, bool with_offsets) {
  const TensorSpec &table = context.inputs[0], &ids = context.inputs[1];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "table", table, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "table", table, 1));
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "ids", ids, DType::kInt32));
  if (ids.shape.Count() >= std::numeric_limits<int32_t>::max() ||
      table.shape[0] > std::numeric_limits<int32_t>::max())
    return Refuse(context, "ids", "fewer than 2^31 ids and rows", ids.shape.ToString());
  if (!with_offsets) return Ok();
  const TensorSpec& offsets = context.inputs.back();
  if (ids.shape.rank != 1) return Refuse(context, "ids", "of rank 1", ids.shape.ToString());
  return ExpectOffsets(context, "offsets", offsets);
}

Shape RowsOf(Shape table, const Shape& lead) {
  Shape shape = lead;
  for (int axis = 1; axis < table.rank; ++axis) shape.dims[shape.rank++] = table[axis];
  return shape;
}

// -----------------------------------------------------------------------------------------------------------
// coalesce: table, ids, dy ...[, offsets] -> slots[U], rows[U, ...], count, further rows: one for each dy, which share
// the sort. Offsets are the int32 at the end.

int64_t GradientsOf(size_t outputs) { return static_cast<int64_t>(outputs) - 2; }
size_t RowsResult(int64_t gradient) { return static_cast<size_t>(gradient == 0 ? 1 : gradient + 2); }

Status CheckCoalesce(const CheckContext& context) {
  const int64_t gradients = GradientsOf(context.outputs.size());
  const bool bags = static_cast<int64_t>(context.inputs.size()) == 3 + gradients;
  if (gradients < 1 || static_cast<int64_t>(context.inputs.size()) != 2 + gradients + bags)
    return Refuse(context, "inputs", "table, ids, gradients and as many results of rows", "other counts");
  // Offsets stand behind dy.
  KAIROS_RETURN_IF_ERROR(CheckLookup(context, bags));
  const TensorSpec &table = context.inputs[0], &ids = context.inputs[1], &slots = context.outputs[0];
  if (ids.shape.rank + table.shape.rank - 1 > kMaxRank)
    return Refuse(context, "ids", "a gradient of rank 8 or less", ids.shape.ToString());
  const Shape lead = bags ? Shape{context.inputs.back().shape[0] - 1} : ids.shape;
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "slots", slots, DType::kInt32));
  if (slots.shape.rank != 1 || slots.shape[0] < std::min(ids.shape.Count(), table.shape[0]))
    return Refuse(context, "slots", "room for every id", slots.shape.ToString());
  for (int64_t k = 0; k < gradients; ++k) {
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "dy", context.inputs[2 + k], DType::kFloat32, RowsOf(table.shape, lead)));
    KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "rows", context.outputs[RowsResult(k)], DType::kFloat32,
                                        RowsOf(table.shape, Shape{slots.shape[0]})));
  }
  return ExpectTensor(context, "count", context.outputs[2], DType::kInt32, Shape{});
}

std::unique_ptr<Kernel> PrepareCoalesce(PrepareContext& prepare) {
  const int threads = prepare.threads;
  const int64_t padding =
      prepare.attributes.Find("paddingIndex") ? prepare.attributes.Int("paddingIndex") : -1;
  const bool mean = prepare.attributes.String("mode") == "mean";
  const int64_t gradients = GradientsOf(prepare.outputs.size());
  const bool bags = static_cast<int64_t>(prepare.inputs.size()) == 3 + gradients;
  const int64_t ids = prepare.inputs[1].shape.Count();
  prepare.scratch_bytes = Workspace::Bytes(ids, bags ? prepare.inputs.back().shape[0] : 0, threads);
  return MakeKernel([=](const RunContext& context) {
    const Shape& table = context.inputs[0].shape;
    const int64_t width = table.Product(1, table.rank);
    const Workspace work(context.scratch, context.inputs[1].shape.Count(), threads);
    int32_t* count = context.outputs[2].As<int32_t>();
    *count = 0;
    const Groups groups = GroupById(context, work, 1, table[0], padding, threads);
    const int offsets = static_cast<int>(context.inputs.size()) - 1;
    if (bags && !PickBags(context, work, groups, offsets, mean)) return;
    *count = static_cast<int32_t>(groups.unique);
    int32_t* slots = context.outputs[0].As<int32_t>();
    for (int64_t group = 0; group < groups.unique; ++group)
      slots[group] = static_cast<int32_t>(groups.keys[groups.starts[group]]);
    for (int64_t k = 0; k < gradients; ++k) {
      float* rows = context.outputs[RowsResult(k)].As<float>();
      SumGroups(context, groups, context.inputs[2 + k].As<const float>(), width,
                bags && mean ? work.scales : nullptr, [&](int64_t group) { return rows + group * width; });
    }
  });
}

// -----------------------------------------------------------------------------------------------------------
// embeddingBagBackward: table, ids, offsets, dy -> the gradient of the whole table

Status CheckBagBackward(const CheckContext& context) {
  if (context.inputs.size() != 4 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "table, ids, offsets, dy and one output", "other counts");
  KAIROS_RETURN_IF_ERROR(CheckLookup(context, false));
  const TensorSpec &table = context.inputs[0], &offsets = context.inputs[2];
  if (context.inputs[1].shape.rank != 1)
    return Refuse(context, "ids", "of rank 1", context.inputs[1].shape.ToString());
  KAIROS_RETURN_IF_ERROR(ExpectOffsets(context, "offsets", offsets));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[3], DType::kFloat32,
                                      RowsOf(table.shape, Shape{offsets.shape[0] - 1})));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, table.shape);
}

std::unique_ptr<Kernel> PrepareBagBackward(PrepareContext& prepare) {
  const int threads = prepare.threads;
  const bool mean = prepare.attributes.String("mode") == "mean";
  prepare.scratch_bytes =
      Workspace::Bytes(prepare.inputs[1].shape.Count(), prepare.inputs[2].shape[0], threads);
  return MakeKernel([=](const RunContext& context) {
    const Shape& table = context.inputs[0].shape;
    const int64_t width = table.Product(1, table.rank);
    const Workspace work(context.scratch, context.inputs[1].shape.Count(), threads);
    float* out = context.outputs[0].As<float>();
    if (table.Count() > 0)
      context.team.ParallelFor(table.Count(), 1 << 16, [&](int64_t begin, int64_t end, int) {
        std::memset(out + begin, 0, (end - begin) * sizeof(float));
      });
    const Groups groups = GroupById(context, work, 1, table[0], -1, threads);
    if (!PickBags(context, work, groups, 2, mean)) return;
    SumGroups(context, groups, context.inputs[3].As<const float>(), width, mean ? work.scales : nullptr,
              [&](int64_t group) { return out + groups.keys[groups.starts[group]] * width; });
  });
}

// -----------------------------------------------------------------------------------------------------------
// updateRows: table, slots[U], rows[U, ...] -> the table with those rows; in place where the memory is the same

Status CheckUpdateRows(const CheckContext& context) {
  if (context.inputs.size() != 3 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "table, slots, rows and one output", "other counts");
  const TensorSpec &table = context.inputs[0], &slots = context.inputs[1];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "table", table, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "table", table, 1));
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "slots", slots, DType::kInt32));
  if (slots.shape.rank != 1) return Refuse(context, "slots", "of rank 1", slots.shape.ToString());
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "rows", context.inputs[2], DType::kFloat32, RowsOf(table.shape, slots.shape)));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, table.shape);
}

// A part of the table belongs to one thread, so equal slots are written in order.
void UpdateRows(const RunContext& context) noexcept {
  const TensorView& table = context.inputs[0];
  const int64_t rows = table.shape[0], width = table.shape.Product(1, table.shape.rank);
  const int64_t count = context.inputs[1].shape[0], bytes = width * static_cast<int64_t>(sizeof(float));
  const int32_t* slots = context.inputs[1].As<const int32_t>();
  const float* from = context.inputs[2].As<const float>();
  float* to = context.outputs[0].As<float>();
  if (to != table.data && table.shape.Count() > 0)
    std::memcpy(to, table.data, table.shape.Count() * sizeof(float));
  if (rows == 0 || width == 0) return;
  const int64_t parts = std::clamp<int64_t>(count * (width + 8) / 16384, 1, context.team.size());
  context.team.ParallelFor(parts, 1, [&](int64_t first, int64_t last, int) {
    const int64_t begin = rows / parts * first + std::min(first, rows % parts);
    const int64_t end = rows / parts * last + std::min(last, rows % parts);
    for (int64_t i = 0; i < count; ++i)
      if (slots[i] >= begin && slots[i] < end) std::memcpy(to + slots[i] * width, from + i * width, bytes);
  });
}

// -----------------------------------------------------------------------------------------------------------
// tableSlots: ids of several features -> rows of one table that holds theirs one after another

Status CheckRowCounts(const CheckContext& context, std::span<const int64_t> rows) {
  int64_t total = 0;
  for (int64_t count : rows)
    if (count < 0 || __builtin_add_overflow(total, count, &total) ||
        total > std::numeric_limits<int32_t>::max())
      return Refuse(context, "rows", "0 or more, fewer than 2^31 together", std::to_string(count));
  return Ok();
}

Status CheckTableSlots(const CheckContext& context) {
  const auto rows = context.attributes.Ints("rows");
  if (context.outputs.size() != 1 || rows.size() != context.inputs.size())
    return Refuse(context, "rows", "one per feature", std::to_string(rows.size()));
  KAIROS_RETURN_IF_ERROR(CheckRowCounts(context, rows));
  Shape expected = context.inputs[0].shape;
  if (expected.rank == kMaxRank) return Refuse(context, "ids", "of rank 7 or less", expected.ToString());
  for (const TensorSpec& ids : context.inputs)
    KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "ids", ids, DType::kInt32, context.inputs[0].shape));
  expected.dims[expected.rank++] = static_cast<int64_t>(rows.size());
  return ExpectTensor(context, "output", context.outputs[0], DType::kInt32, expected);
}

std::unique_ptr<Kernel> PrepareTableSlots(PrepareContext& prepare) {
  const auto given = prepare.attributes.Ints("rows");
  return MakeKernel([rows = std::vector<int64_t>(given.begin(), given.end())](const RunContext& context) {
    const int64_t features = static_cast<int64_t>(rows.size()), count = context.inputs[0].shape.Count();
    int32_t* to = context.outputs[0].As<int32_t>();
    context.team.ParallelFor(count, 8192, [&](int64_t begin, int64_t end, int) {
      int64_t start = 0;
      for (int64_t feature = 0; feature < features; start += rows[feature++]) {
        const int32_t* ids = context.inputs[feature].As<const int32_t>();
        for (int64_t at = begin; at < end; ++at) {
          const bool inside = ids[at] >= 0 && ids[at] < rows[feature];
          if (!inside) context.fault.Raise(at, ids[at], rows[feature], static_cast<int>(feature));
          to[at * features + feature] = static_cast<int32_t>(start + (inside ? ids[at] : 0));
        }
      }
    });
  });
}

// -----------------------------------------------------------------------------------------------------------
// tableBags: ids and offsets of several features -> slots and offsets of one table; bag b * features + f is bag b of f

Status CheckTableBags(const CheckContext& context) {
  const auto rows = context.attributes.Ints("rows");
  const size_t features = rows.size();
  if (context.outputs.size() != 2 || context.inputs.size() != 2 * features || features == 0)
    return Refuse(context, "rows", "one per feature", std::to_string(features));
  KAIROS_RETURN_IF_ERROR(CheckRowCounts(context, rows));
  KAIROS_RETURN_IF_ERROR(ExpectBags(context, 0, features));
  const Shape& edges = context.inputs[features].shape;
  int64_t total = 0, bags = 0;
  for (const TensorSpec& ids : context.inputs.first(features))
    if (__builtin_add_overflow(total, ids.shape[0], &total) || total > std::numeric_limits<int32_t>::max())
      return Refuse(context, "ids", "fewer than 2^31 together", std::to_string(ids.shape[0]));
  if (__builtin_mul_overflow(edges[0] - 1, static_cast<int64_t>(features), &bags) ||
      bags >= std::numeric_limits<int32_t>::max())
    return Refuse(context, "offsets", "fewer than 2^31 bags together", edges.ToString());
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "slots", context.outputs[0], DType::kInt32, Shape{total}));
  return ExpectTensor(context, "offsets", context.outputs[1], DType::kInt32, Shape{bags + 1});
}

std::unique_ptr<Kernel> PrepareTableBags(PrepareContext& prepare) {
  const auto given = prepare.attributes.Ints("rows");
  return MakeKernel([rows = std::vector<int64_t>(given.begin(), given.end())](const RunContext& context) {
    const int features = static_cast<int>(rows.size());
    const int64_t bags = context.inputs[features].shape[0] - 1;
    int32_t* slots = context.outputs[0].As<int32_t>();
    int32_t* ends = context.outputs[1].As<int32_t>();
    const auto edges_of = [&](int feature) { return context.inputs[features + feature].As<const int32_t>(); };
    ends[0] = 0;
    for (int feature = 0; feature < features; ++feature)
      if (!OffsetsAscend(context, features + feature, context.inputs[feature].shape[0])) {
        std::memset(slots, 0, context.outputs[0].shape[0] * sizeof(int32_t));
        std::memset(ends, 0, (bags * features + 1) * sizeof(int32_t));
        return;
      }
    // Bag b starts behind every feature's bags before b.
    context.team.ParallelFor(bags, 1024, [&](int64_t first, int64_t last, int) {
      int32_t end = 0;
      for (int feature = 0; feature < features; ++feature) end += edges_of(feature)[first];
      for (int64_t bag = first; bag < last; ++bag) {
        int64_t start = 0;
        for (int feature = 0; feature < features; start += rows[feature++]) {
          const int32_t* ids = context.inputs[feature].As<const int32_t>();
          for (int64_t at = edges_of(feature)[bag]; at < edges_of(feature)[bag + 1]; ++at) {
            const bool inside = ids[at] >= 0 && ids[at] < rows[feature];
            if (!inside) context.fault.Raise(at, ids[at], rows[feature], feature);
            slots[end++] = static_cast<int32_t>(start + (inside ? ids[at] : 0));
          }
          ends[bag * features + feature + 1] = end;
        }
      }
    });
  });
}

}  // namespace

std::span<const KernelEntry> SparseEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"coalesce", CheckCoalesce, PrepareCoalesce},
      {"embeddingBagBackward", CheckBagBackward, PrepareBagBackward},
      {"updateRows", CheckUpdateRows, Stateless<UpdateRows>},
      {"tableBags", CheckTableBags, PrepareTableBags},
      {"tableSlots", CheckTableSlots, PrepareTableSlots},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Sparse)
}  // namespace kairos
#endif
