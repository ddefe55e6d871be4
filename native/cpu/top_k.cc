// topK(x) -> values, indices: the k greatest elements of each row, falling; among equals the smaller index first, NaN
// last of all. topKBackward(indices, dvalues) -> dx: zero but for dx[index] = dvalues.
//
// A row is read once. Elements become words that order as they should rank; those above the best bound known so far
// are gathered, and whenever twice k are there, all but the k greatest are dropped and the bound rises.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/top_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_TOP_K_CC_
#define KAIROS_CPU_TOP_K_CC_
namespace kairos {
namespace {

Status CheckTopK(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 1));
  const int64_t k = context.attributes.Int("k"), count = x.shape.Last();
  if (k < 1 || k > count)
    return Refuse(context, "k", "in [1, " + std::to_string(count) + "], the size of the last axis",
                  std::to_string(k));
  if (count > std::numeric_limits<int32_t>::max())
    return Refuse(context, "x", "of at most 2^31 - 1 elements a row", x.shape.ToString());
  Shape shape = x.shape;
  shape.dims[shape.rank - 1] = k;
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "values", context.outputs[0], DType::kFloat32, shape));
  return ExpectTensor(context, "indices", context.outputs[1], DType::kInt32, shape);
}

Status CheckTopKBackward(const CheckContext& context) {
  const TensorSpec &indices = context.inputs[0], &dx = context.outputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "indices", indices, DType::kInt32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "indices", indices, 1));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dvalues", context.inputs[1], DType::kFloat32, indices.shape));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "dx", dx, 1));
  Shape shape = indices.shape;
  shape.dims[shape.rank - 1] = dx.shape.Last();
  return ExpectTensor(context, "dx", dx, DType::kFloat32, shape);
}

// Orders as the element ranks: zeros are equal whatever their sign, NaN stands below minus infinity.
inline int32_t KeyOf(float value) {
  if (std::isnan(value)) return std::numeric_limits<int32_t>::min();
  const int32_t bits = std::bit_cast<int32_t>(value + 0.0f);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

// The greater word ranks first.
inline uint64_t WordOf(float value, int64_t index) {
  const uint32_t rank = static_cast<uint32_t>(KeyOf(value)) ^ 0x80000000u;
  return uint64_t{rank} << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(index));
}

inline int64_t IndexOf(uint64_t word) { return 0xFFFFFFFFu - static_cast<uint32_t>(word); }

// Room for gathered words.
inline int64_t RoomFor(int64_t k, int64_t count) { return std::min(count, std::max<int64_t>(2 * k, 128)); }

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_TOP_K_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// Leaves the words of the k greatest of x[begin, end), or of all where there are fewer, in any order; answers how many.
int64_t SelectWords(const float* x, int64_t begin, int64_t end, int64_t k, uint64_t* words, int64_t room) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t found = 0;
  // With fewer than k numbers seen, everything passes.
  bool bounded = false;
  float bound = 0;
  const auto keep_best = [&] {
    if (found <= k) return;
    std::nth_element(words, words + (k - 1), words + found, std::greater<>());
    found = k;
  };
  const auto gather = [&](int64_t index) {
    words[found++] = WordOf(x[index], index);
    if (found < room) return;
    keep_best();
    bound = x[IndexOf(words[k - 1])];
    bounded = !std::isnan(bound);
  };
  int64_t i = begin;
  while (i < end && !bounded) gather(i++);
  // A later equal never ranks before an earlier one. What passes an old bound is dropped at the next one.
  int32_t passed[hn::MaxLanes(FloatTag())];
  for (; i + lanes <= end; i += lanes) {
    const auto above = hn::Gt(hn::LoadU(d, x + i), hn::Set(d, bound));
    if (HWY_LIKELY(hn::AllFalse(d, above))) continue;
    const auto places = hn::Iota(di, static_cast<int32_t>(i));
    const size_t passing = hn::CompressStore(places, hn::RebindMask(di, above), di, passed);
    for (size_t j = 0; j < passing; ++j) gather(passed[j]);
  }
  for (; i < end; ++i)
    if (x[i] > bound) gather(i);
  keep_best();
  return found;
}

// Writes out the k greatest of `found` words.
void WriteBest(const float* x, int64_t k, uint64_t* words, int64_t found, float* values, int32_t* indices) {
  std::partial_sort(words, words + k, words + found, std::greater<>());
  for (int64_t rank = 0; rank < k; ++rank) {
    const int64_t index = IndexOf(words[rank]);
    values[rank] = x[index];
    indices[rank] = static_cast<int32_t>(index);
  }
}

// Elements that are worth a thread of their own.
constexpr int64_t kLeastPart = 16384;

std::unique_ptr<Kernel> PrepareTopK(PrepareContext& prepare) {
  const int64_t k = prepare.attributes.Int("k");
  const int64_t most = RoomFor(k, prepare.inputs[0].shape.Last());
  prepare.scratch_bytes = sizeof(uint64_t) * static_cast<size_t>(most) * static_cast<size_t>(prepare.threads);
  return MakeKernel([k, most](const RunContext& context) {
    const TensorView& x = context.inputs[0];
    const int64_t rows = x.shape.Product(0, x.shape.rank - 1), count = x.shape.Last(),
                  room = RoomFor(k, count);
    float* values = context.outputs[0].As<float>();
    int32_t* indices = context.outputs[1].As<int32_t>();
    uint64_t* scratch = reinterpret_cast<uint64_t*>(context.scratch);
    // Rows fewer than threads are cut: the best of a row are among those of its parts.
    const int64_t parts = std::min<int64_t>(context.team.size(), count / std::max(kLeastPart, k));
    if (rows < context.team.size() && parts > 1) {
      for (int64_t row = 0; row < rows; ++row) {
        const float* from = x.As<float>() + row * count;
        context.team.ParallelFor(parts, 1, [&](int64_t begin, int64_t end, int) HWY_ATTR {
          for (int64_t part = begin; part < end; ++part)
            SelectWords(from, count * part / parts, count * (part + 1) / parts, k, scratch + most * part,
                        room);
        });
        for (int64_t part = 1; part < parts; ++part)
          std::copy_n(scratch + most * part, k, scratch + k * part);
        WriteBest(from, k, scratch, k * parts, values + row * k, indices + row * k);
      }
      return;
    }
    context.team.ParallelFor(rows, RowGrain(count), [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
      uint64_t* words = scratch + most * thread;
      for (int64_t row = begin; row < end; ++row) {
        const float* from = x.As<float>() + row * count;
        const int64_t found = SelectWords(from, 0, count, k, words, room);
        WriteBest(from, k, words, found, values + row * k, indices + row * k);
      }
    });
  });
}

void RunTopKBackward(const RunContext& context) noexcept {
  const TensorView &indices = context.inputs[0], &dx = context.outputs[0];
  const int64_t k = indices.shape.Last(), count = dx.shape.Last();
  const int64_t rows = indices.shape.Product(0, indices.shape.rank - 1);
  context.team.ParallelFor(rows, RowGrain(count), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) {
      float* to = dx.As<float>() + row * count;
      std::fill_n(to, count, 0.0f);
      for (int64_t i = row * k; i < (row + 1) * k; ++i) {
        const int64_t index = indices.As<int32_t>()[i];
        if (index < 0 || index >= count)
          context.fault.Raise(i, index, count);
        else
          to[index] += context.inputs[1].As<float>()[i];
      }
    }
  });
}

}  // namespace

std::span<const KernelEntry> TopKEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"topK", CheckTopK, PrepareTopK},
      {"topKBackward", CheckTopKBackward, Stateless<RunTopKBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(TopK)
}  // namespace kairos
#endif
