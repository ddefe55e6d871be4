// sum and max over adjacent axes: [outer, reduced, inner] -> [outer, inner].
//
// Eight rows are joined in registers, and their result is merged into an accumulator in two parts: a float
// and what its roundings lost. A sum over ten million elements is then as good as one over ten. How the work
// is cut depends on the sizes alone, so the bits do not depend on the number of threads.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/reduction.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

constexpr int64_t kJoined = 8;          // rows joined before a merge
constexpr int64_t kWidth = 512;         // columns at once: their accumulators stay in L1
constexpr int64_t kChunk = 16384;       // elements that are worth a chunk of their own
constexpr int64_t kPartials = 1 << 15;  // most results of chunks

// -----------------------------------------------------------------------------------------------------------
// What is reduced. `Wide` holds a finished partial result.

// One lane after the other, for what Highway has no fitting reduction: its integer sum is undefined on
// overflow.
template <class Reduction, class D, class V>
HWY_INLINE typename Reduction::Wide LanesJoined(D d, V v) {
  hn::TFromD<D> lanes[hn::MaxLanes(D())];
  hn::StoreU(v, d, lanes);
  typename Reduction::Wide joined = Reduction::Widen(lanes[0], 0);
  for (size_t i = 1; i < hn::Lanes(d); ++i) joined = Reduction::Join(joined, Reduction::Widen(lanes[i], 0));
  return joined;
}

struct SumFloat {
  using T = float;
  using Wide = double;
  static constexpr float kIdentity = 0;

  template <class V>
  static HWY_INLINE V Join(V a, V b) {
    return hn::Add(a, b);
  }
  // Knuth's two-sum: `low` collects the roundings.
  template <class V>
  static HWY_INLINE void Merge(V& high, V& low, V value) {
    const V sum = hn::Add(high, value), rounded = hn::Sub(sum, high);
    low = hn::Add(low, hn::Add(hn::Sub(high, hn::Sub(sum, rounded)), hn::Sub(value, rounded)));
    high = sum;
  }
  // After an infinity, `low` is NaN and means nothing.
  template <class V>
  static HWY_INLINE V Finish(V high, V low) {
    return hn::IfThenElse(hn::IsFinite(high), hn::Add(high, low), high);
  }
  static double Widen(float high, float low) { return std::isfinite(high) ? double{high} + low : high; }
  static double Join(double a, double b) { return a + b; }
  template <class D, class V>
  static HWY_INLINE float OfLanes(D d, V v) {
    return hn::GetLane(hn::SumOfLanes(d, v));
  }
};

// Wraps, as unsigned arithmetic does.
struct SumInt {
  using T = int32_t;
  using Wide = uint32_t;
  static constexpr int32_t kIdentity = 0;

  template <class V>
  static HWY_INLINE V Join(V a, V b) {
    return hn::Add(a, b);
  }
  template <class V>
  static HWY_INLINE void Merge(V& high, V&, V value) {
    high = hn::Add(high, value);
  }
  template <class V>
  static HWY_INLINE V Finish(V high, V) {
    return high;
  }
  static uint32_t Widen(int32_t high, int32_t) { return static_cast<uint32_t>(high); }
  static uint32_t Join(uint32_t a, uint32_t b) { return a + b; }
  template <class D, class V>
  static HWY_INLINE uint32_t OfLanes(D d, V v) {
    return LanesJoined<SumInt>(d, v);
  }
};

// NaN wins over everything.
struct MaxFloat {
  using T = float;
  using Wide = float;
  static constexpr float kIdentity = -std::numeric_limits<float>::infinity();

  template <class V>
  static HWY_INLINE V Join(V a, V b) {
    return hn::IfThenElse(hn::Eq(a, a), hn::IfThenElse(hn::Gt(a, b), a, b), a);
  }
  template <class V>
  static HWY_INLINE void Merge(V& high, V&, V value) {
    high = Join(high, value);
  }
  template <class V>
  static HWY_INLINE V Finish(V high, V) {
    return high;
  }
  static float Widen(float high, float) { return high; }
  static float Join(float a, float b) { return std::isnan(a) || a > b ? a : b; }
  template <class D, class V>
  static HWY_INLINE float OfLanes(D d, V v) {
    return LanesJoined<MaxFloat>(d, v);
  }
};

template <class Reduction>
struct Reducer {
  using T = typename Reduction::T;
  using Wide = typename Reduction::Wide;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;

  static HWY_INLINE V LoadLive(const T* from, int64_t live) {
    const D d;
    if (HWY_LIKELY(live >= static_cast<int64_t>(hn::Lanes(d)))) return hn::LoadU(d, from);
    if constexpr (kMasksAreSafe) {
      const auto mask = hn::FirstN(d, static_cast<size_t>(live));
      return hn::IfThenElse(mask, hn::MaskedLoad(mask, d, from), hn::Set(d, Reduction::kIdentity));
    }
    T lanes[hn::MaxLanes(D())];
    for (size_t i = 0; i < hn::Lanes(d); ++i)
      lanes[i] = static_cast<int64_t>(i) < live ? from[i] : Reduction::kIdentity;
    return hn::LoadU(d, lanes);
  }

  static HWY_INLINE V JoinRows(const T* from, int64_t stride, int64_t rows, int64_t live) {
    const auto row = [&](int64_t i) HWY_ATTR { return LoadLive(from + i * stride, live); };
    const auto pair = [&](int64_t i) HWY_ATTR { return Reduction::Join(row(i), row(i + 1)); };
    if (HWY_LIKELY(rows == kJoined))
      return Reduction::Join(Reduction::Join(pair(0), pair(2)), Reduction::Join(pair(4), pair(6)));
    V joined = row(0);
    for (int64_t i = 1; i < rows; ++i) joined = Reduction::Join(joined, row(i));
    return joined;
  }

  // One row of `count` > 0 contiguous elements.
  static Wide ReduceRow(const T* from, int64_t count) {
    const D d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), group = kJoined * lanes;
    if (count <= group) {
      const int64_t rows = count / lanes, rest = count % lanes;
      V joined = rows > 0 ? JoinRows(from, lanes, rows, lanes) : LoadLive(from, rest);
      if (rows > 0 && rest > 0) joined = Reduction::Join(joined, LoadLive(from + rows * lanes, rest));
      return static_cast<Wide>(Reduction::OfLanes(d, joined));
    }
    V high = hn::Set(d, Reduction::kIdentity), low = hn::Zero(d);
    int64_t i = 0;
    for (; i + group <= count; i += group)
      Reduction::Merge(high, low, JoinRows(from + i, lanes, kJoined, lanes));
    for (; i < count; i += lanes) Reduction::Merge(high, low, LoadLive(from + i, count - i));
    T highs[hn::MaxLanes(D())], lows[hn::MaxLanes(D())];
    hn::StoreU(high, d, highs);
    hn::StoreU(low, d, lows);
    Wide joined = Reduction::Widen(highs[0], lows[0]);
    for (int64_t lane = 1; lane < lanes; ++lane)
      joined = Reduction::Join(joined, Reduction::Widen(highs[lane], lows[lane]));
    return joined;
  }

  // `columns` <= kWidth columns of `rows` > 0 rows into results, or into partial results when these are asked
  // for.
  static void ReduceColumns(const T* from, int64_t stride, int64_t rows, int64_t columns, T* to,
                            Wide* partials) {
    const D d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    HWY_ALIGN T highs[kWidth + hn::MaxLanes(D())], lows[kWidth + hn::MaxLanes(D())];
    for (int64_t i = 0; i < columns; i += lanes) {
      hn::StoreU(hn::Set(d, Reduction::kIdentity), d, highs + i);
      hn::StoreU(hn::Zero(d), d, lows + i);
    }
    for (int64_t row = 0; row < rows; row += kJoined) {
      const int64_t joined = std::min(kJoined, rows - row);
      for (int64_t i = 0; i < columns; i += lanes) {
        V high = hn::LoadU(d, highs + i), low = hn::LoadU(d, lows + i);
        Reduction::Merge(high, low, JoinRows(from + row * stride + i, stride, joined, columns - i));
        hn::StoreU(high, d, highs + i);
        hn::StoreU(low, d, lows + i);
      }
    }
    if (partials) {
      for (int64_t i = 0; i < columns; ++i) partials[i] = Reduction::Widen(highs[i], lows[i]);
      return;
    }
    for (int64_t i = 0; i < columns; i += lanes)
      hn::StoreU(Reduction::Finish(hn::LoadU(d, highs + i), hn::LoadU(d, lows + i)), d, highs + i);
    std::copy_n(highs, columns, to);
  }

  static void Run(const RunContext& context, int axis, int end) {
    const Shape& shape = context.inputs[0].shape;
    const int64_t outer = shape.Product(0, axis), reduced = shape.Product(axis, end);
    const int64_t inner = shape.Product(end, shape.rank), results = outer * inner;
    const T* x = context.inputs[0].As<const T>();
    T* out = context.outputs[0].As<T>();
    if (results == 0) return;
    if (reduced == 0) return static_cast<void>(std::fill_n(out, results, Reduction::kIdentity));

    // Few results are reduced in chunks of rows, which leave partial results.
    const int64_t strips = (inner + kWidth - 1) / kWidth, width = std::min(inner, kWidth);
    int64_t chunks = 1;
    if (outer * strips < 32 && results <= kPartials)
      chunks = std::clamp<int64_t>(reduced / std::max<int64_t>(1, kChunk / width), 1,
                                   std::min<int64_t>(kPartials / results, 512));
    const int64_t length = (reduced + chunks - 1) / chunks;
    chunks = (reduced + length - 1) / length;
    Wide* partials = chunks == 1 ? nullptr : reinterpret_cast<Wide*>(context.scratch);

    const int64_t grain = std::max<int64_t>(1, 2 * kChunk / (std::min(length, kChunk) * width));
    context.team.ParallelFor(outer * chunks * strips, grain, [&](int64_t first, int64_t last, int) {
      for (int64_t task = first; task < last; ++task) {
        const int64_t column = task % strips * kWidth, chunk = task / strips % chunks,
                      row = task / strips / chunks;
        const int64_t rows = std::min(length, reduced - chunk * length);
        const T* from = x + (row * reduced + chunk * length) * inner + column;
        const int64_t to = row * inner + column;
        Wide* partial = partials ? partials + chunk * results + to : nullptr;
        if (inner > 1) {
          ReduceColumns(from, inner, rows, std::min(kWidth, inner - column), out + to, partial);
        } else if (partial) {
          *partial = ReduceRow(from, rows);
        } else {
          out[to] = static_cast<T>(ReduceRow(from, rows));
        }
      }
    });
    if (!partials) return;
    for (int64_t i = 0; i < results; ++i) {
      Wide joined = partials[i];
      for (int64_t chunk = 1; chunk < chunks; ++chunk)
        joined = Reduction::Join(joined, partials[chunk * results + i]);
      out[i] = static_cast<T>(joined);
    }
  }
};

Status CheckReduction(const CheckContext& context) {
  if (context.inputs.size() != 1 || context.outputs.size() != 1)
    return Refuse(context, "inputs", "one input and one output", "other counts");
  const TensorSpec& x = context.inputs[0];
  const int64_t axis = context.attributes.Int("axis"), count = context.attributes.Int("count");
  if (axis < 0 || axis > x.shape.rank || count < 0 || count > x.shape.rank - axis)
    return Refuse(context, "axis", "axes of " + x.shape.ToString(),
                  std::to_string(axis) + " with count " + std::to_string(count));
  if (x.dtype != DType::kInt32 || context.op != "sum")
    KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  Shape expected;
  for (int at = 0; at < x.shape.rank; ++at)
    if (at < axis || at >= axis + count) expected.dims[expected.rank++] = x.shape[at];
  return ExpectTensor(context, "output", context.outputs[0], x.dtype, expected);
}

template <class Reduction>
std::unique_ptr<Kernel> PrepareAs(PrepareContext& prepare) {
  prepare.scratch_bytes = kPartials * sizeof(typename Reduction::Wide);
  const int axis = static_cast<int>(prepare.attributes.Int("axis"));
  const int end = axis + static_cast<int>(prepare.attributes.Int("count"));
  return MakeKernel([axis, end](const RunContext& context) { Reducer<Reduction>::Run(context, axis, end); });
}

std::unique_ptr<Kernel> PrepareSum(PrepareContext& prepare) {
  return prepare.inputs[0].dtype == DType::kInt32 ? PrepareAs<SumInt>(prepare) : PrepareAs<SumFloat>(prepare);
}

}  // namespace

std::span<const KernelEntry> ReductionEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"sum", CheckReduction, PrepareSum},
      {"max", CheckReduction, PrepareAs<MaxFloat>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Reduction)
}  // namespace kairos
#endif
