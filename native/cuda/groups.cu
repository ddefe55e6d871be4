// The kernels of groups.h.
//
// Sort: digits of at most 8 bits; per pass 8 bytes of a pair are read twice (keys once more for the histogram) and
// written once, 20 bytes an id. Ranks within a tile of keys come from lanes that hold the same digit, warp after warp,
// so equal keys keep their order. Sums: each row of dy is read once, each result written once; the bytes of those over
// the bandwidth are the floor.
#include "cuda/groups.h"

#include <bit>

#include "cuda/bits.h"
#include "cuda/offsets.h"
#include "cuda/vectors.h"

namespace kairos::gpu {
namespace {

constexpr int kBlock = 256, kWarps = kBlock / kWarp;
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kEach = 8;  // keys of a thread
constexpr int64_t kTile = kBlock * kEach;
static_assert(kDigits == kBlock, "a thread looks after a digit");

// A long group is summed in pieces that lie between multiples of it, side by side.
constexpr int64_t kPiece = 256;
constexpr int64_t kBagLanes = 8;

__host__ __device__ constexpr int64_t TilesOf(int64_t count) { return (count + kTile - 1) / kTile; }

}  // namespace

// In device memory.
struct GroupScratch {
  const TensorView* views;
  FaultSink sink;
  uint32_t* keys[2];
  int32_t* values[2];  // positions, or the bags that these lie in
  int32_t* histogram;  // [digit][tile]
  int32_t* totals;     // [digit]
  int32_t* heads;      // [tile]: groups that begin before it
  int32_t* starts;     // [group + 1]: group g is values [starts[g], starts[g + 1])
  int32_t* unique;     // groups
  float* partial;      // [piece][column]
  float* scales;       // [bag]
  int64_t padding;
  int64_t tiles;  // at capacity: rows of the histogram
  size_t bytes;

  __device__ int64_t Count() const { return views[1].shape.Count(); }
  // What is left out has a key behind all others.
  __device__ uint32_t LastKey() const { return static_cast<uint32_t>(views[0].shape[0]); }
  __device__ uint32_t KeyOf(int64_t at) const {
    const int32_t id = views[1].As<const int32_t>()[at];
    return id >= 0 && id < views[0].shape[0] && id != padding ? static_cast<uint32_t>(id) : LastKey();
  }
};

namespace {

// The pass reads side `from`, the first one the ids themselves.
struct Pass {
  int from, shift;
  uint32_t mask;
  bool first, bags;
};

__global__ void FillBagsKernel(GroupScratch work, int operand, bool mean) {
  const int32_t* offsets = work.views[operand].As<const int32_t>();
  const int64_t bags = work.views[operand].shape[0] - 1, count = work.Count();
  if (bags == 0 && count > 0 && FlatBegin() == 0)
    work.sink.Raise(DeviceFault::kBound, DeviceFault::kOffset, 0, 0, count, count + 1, operand);
  for (int64_t i = FlatBegin(); i < bags * kBagLanes; i += FlatStep()) {
    const int64_t bag = i / kBagLanes, lane = i % kBagLanes;
    const Range range = RowRange(offsets, bag, bags, count, work.sink, operand);
    for (int64_t at = range.begin + lane; at < range.end; at += kBagLanes)
      work.values[0][at] = static_cast<int32_t>(bag);
    if (mean && lane == 0)
      work.scales[bag] = 1.0f / static_cast<float>(range.end > range.begin ? range.end - range.begin : 1);
  }
}

// ---- Sort ----

__device__ uint32_t DigitAt(const GroupScratch& work, const Pass& pass, int64_t at) {
  return (pass.first ? work.KeyOf(at) : work.keys[pass.from][at]) >> pass.shift & pass.mask;
}

__global__ void __launch_bounds__(kBlock) HistogramKernel(GroupScratch work, Pass pass) {
  __shared__ int32_t counts[kDigits];
  const int64_t count = work.Count(), tiles = TilesOf(count), rows = work.views[0].shape[0];
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    counts[threadIdx.x] = 0;
    BlockSync();
    for (int j = 0; j < kEach; ++j) {
      const int64_t at = tile * kTile + j * kBlock + threadIdx.x;
      if (at >= count) break;
      if (pass.first) {
        const int32_t id = work.views[1].As<const int32_t>()[at];
        if (id < 0 || id >= rows) work.sink.RaiseId(at, id, rows);
      }
      AtomicAdd(&counts[DigitAt(work, pass, at)], 1);
    }
    BlockSync();
    if (threadIdx.x <= pass.mask) work.histogram[threadIdx.x * work.tiles + tile] = counts[threadIdx.x];
    BlockSync();
  }
}

// A block for each digit: what its tiles hold becomes what stands before each.
__global__ void ScanTilesKernel(GroupScratch work) {
  const int64_t tiles = TilesOf(work.Count());
  int32_t* row = work.histogram + blockIdx.x * work.tiles;
  int32_t carry = 0;
  for (int64_t begin = 0; begin < tiles; begin += blockDim.x) {
    const int64_t tile = begin + threadIdx.x;
    int32_t total = 0;
    const int32_t before = BlockPrefix(tile < tiles ? row[tile] : 0, &total);
    if (tile < tiles) row[tile] = carry + before;
    carry += total;
  }
  if (threadIdx.x == 0) work.totals[blockIdx.x] = carry;
}

__global__ void __launch_bounds__(kBlock) ScatterKernel(GroupScratch work, Pass pass) {
  __shared__ int32_t counters[kWarps][kDigits];
  const int64_t count = work.Count(), tiles = TilesOf(count);
  const unsigned thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
  const uint32_t below = (1u << lane) - 1;
  int32_t ignored = 0;
  const int32_t digit_begin = BlockPrefix(thread <= pass.mask ? work.totals[thread] : 0, &ignored);
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    for (int w = 0; w < kWarps; ++w) counters[w][thread] = 0;
    BlockSync();
    const int64_t begin = tile * kTile + warp * (kTile / kWarps) + lane;
    uint32_t keys[kEach];
    int32_t ranks[kEach];
    for (int j = 0; j < kEach; ++j) {
      const int64_t at = begin + j * kWarp;
      const bool inside = at < count;
      keys[j] = !inside ? 0 : pass.first ? work.KeyOf(at) : work.keys[pass.from][at];
      const uint32_t digit = inside ? keys[j] >> pass.shift & pass.mask : kDigits;
      const uint32_t same = WarpMatch(digit);
      ranks[j] = CountBits(same & below) + (inside ? counters[warp][digit] : 0);
      WarpSync();
      if (inside && (same & below) == 0) counters[warp][digit] += CountBits(same);
      WarpSync();
    }
    BlockSync();
    if (thread <= pass.mask) {
      int32_t at = digit_begin + work.histogram[thread * work.tiles + tile];
      for (int w = 0; w < kWarps; ++w) {
        const int32_t held = counters[w][thread];
        counters[w][thread] = at;
        at += held;
      }
    }
    BlockSync();
    for (int j = 0; j < kEach; ++j) {
      const int64_t at = begin + j * kWarp;
      if (at >= count) break;
      const int32_t to = counters[warp][keys[j] >> pass.shift & pass.mask] + ranks[j];
      work.keys[pass.from ^ 1][to] = keys[j];
      work.values[pass.from ^ 1][to] =
          pass.first && !pass.bags ? static_cast<int32_t>(at) : work.values[pass.from][at];
    }
    BlockSync();
  }
}

// ---- Groups ----

__device__ bool Begins(const GroupScratch& work, const uint32_t* keys, int64_t at) {
  return keys[at] != work.LastKey() && (at == 0 || keys[at] != keys[at - 1]);
}

__global__ void __launch_bounds__(kBlock) CountHeadsKernel(GroupScratch work, int side) {
  const int64_t count = work.Count(), tiles = TilesOf(count);
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    int32_t heads = 0;
    for (int j = 0; j < kEach; ++j) {
      const int64_t at = tile * kTile + j * kBlock + threadIdx.x;
      if (at < count) heads += Begins(work, work.keys[side], at);
    }
    heads = BlockSum(heads);
    if (threadIdx.x == 0) work.heads[tile] = heads;
  }
}

// One block. `room`, if any, bounds the groups as the results' live sizes do.
__global__ void ScanHeadsKernel(GroupScratch work, const TensorView* room) {
  const int64_t tiles = TilesOf(work.Count());
  int32_t carry = 0;
  for (int64_t begin = 0; begin < tiles; begin += blockDim.x) {
    const int64_t tile = begin + threadIdx.x;
    int32_t total = 0;
    const int32_t before = BlockPrefix(tile < tiles ? work.heads[tile] : 0, &total);
    if (tile < tiles) work.heads[tile] = carry + before;
    carry += total;
  }
  if (threadIdx.x != 0) return;
  if (work.sink.Raised()) carry = 0;
  if (room && carry > room->shape[0]) carry = static_cast<int32_t>(room->shape[0]);
  *work.unique = carry;
  if (carry == 0) work.starts[0] = 0;
}

__global__ void __launch_bounds__(kBlock) WriteHeadsKernel(GroupScratch work, int side) {
  const int64_t count = work.Count(), tiles = TilesOf(count);
  const uint32_t* keys = work.keys[side];
  const uint32_t last = work.LastKey();
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    int32_t group = work.heads[tile];
    for (int j = 0; j < kEach; ++j) {
      const int64_t at = tile * kTile + j * kBlock + threadIdx.x;
      const bool begins = at < count && Begins(work, keys, at);
      int32_t total = 0;
      const int32_t mine = group + BlockPrefix(int32_t{begins}, &total);
      if (begins) work.starts[mine] = static_cast<int32_t>(at);
      // Behind the last group that counts.
      if (at < count && keys[at] != last && (at + 1 == count || keys[at + 1] == last))
        work.starts[mine + (begins ? 1 : 0)] = static_cast<int32_t>(at + 1);
      group += total;
    }
  }
}

// ---- Sums ----

// Of dy's rows, units of a thread's width.
template <class Vector>
__device__ Vector SumUnit(const GroupScratch& work, const int32_t* values, const Vector* dy, int64_t units,
                          int64_t unit, bool scaled, int64_t begin, int64_t end) {
  return SumInOrder<Vector>(
      begin, end, [&](int64_t at) { return values[at]; },
      [&](int64_t from) {
        Vector row = dy[from * units + unit];
        if (scaled) Scale(&row, work.scales[from]);
        return row;
      });
}

// The first of keys[begin, end) that is another; keys are sorted and the first one is `key`.
__device__ int64_t EndOf(const uint32_t* keys, uint32_t key, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (keys[middle] == key)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

// Groups that go on from the piece before: their part in this piece.
template <class Vector>
__device__ void SumPieces(const GroupScratch& work, int side, int dy, bool scaled, int64_t units) {
  const int64_t end = work.starts[*work.unique], pieces = (end + kPiece - 1) / kPiece;
  const uint32_t* keys = work.keys[side];
  for (int64_t i = FlatBegin(); i < pieces * units; i += FlatStep()) {
    const Division at = Divide(i, units);
    const int64_t begin = at.quotient * kPiece;
    if (begin == 0 || keys[begin] != keys[begin - 1]) continue;
    const int64_t stop = EndOf(keys, keys[begin], begin, begin + kPiece < end ? begin + kPiece : end);
    reinterpret_cast<Vector*>(work.partial)[i] =
        SumUnit(work, work.values[side], Global(work.views[dy].As<const Vector>()), units, at.remainder,
                scaled, begin, stop);
  }
}

__global__ void SumPiecesKernel(GroupScratch work, int side, int dy, bool scaled) {
  const Shape& table = work.views[0].shape;
  const int64_t width = table.Product(1, table.rank);
  if (InFours(width))
    SumPieces<Float4>(work, side, dy, scaled, width / 4);
  else
    SumPieces<float>(work, side, dy, scaled, width);
}

template <class Vector>
__device__ void SumGroups(const GroupScratch& work, int side, int dy, bool scaled, int64_t units,
                          const TensorView* out, bool into_table) {
  const int64_t groups = *work.unique;
  const auto* partial = reinterpret_cast<const Vector*>(work.partial);
  for (int64_t i = FlatBegin(); i < groups * units; i += FlatStep()) {
    const Division at = Divide(i, units);
    const int64_t begin = work.starts[at.quotient], end = work.starts[at.quotient + 1];
    const int64_t next = begin / kPiece + 1;
    Vector sum = SumUnit(work, work.values[side], Global(work.views[dy].As<const Vector>()), units,
                         at.remainder, scaled, begin, next * kPiece < end ? next * kPiece : end);
    if (next * kPiece < end) {
      const Vector rest = SumInOrder<Vector>(
          next, (end + kPiece - 1) / kPiece, [](int64_t piece) { return piece; },
          [&](int64_t piece) { return partial[piece * units + at.remainder]; });
      Add(&sum, rest);
    }
    const int64_t row = into_table ? work.keys[side][begin] : at.quotient;
    out->As<Vector>()[row * units + at.remainder] = sum;
  }
}

__global__ void SumGroupsKernel(GroupScratch work, int side, int dy, bool scaled, const TensorView* out,
                                bool into_table) {
  const Shape& table = work.views[0].shape;
  const int64_t width = table.Product(1, table.rank);
  if (InFours(width))
    SumGroups<Float4>(work, side, dy, scaled, width / 4, out, into_table);
  else
    SumGroups<float>(work, side, dy, scaled, width, out, into_table);
}

__global__ void WriteSlotsKernel(GroupScratch work, int side, const TensorView* slots,
                                 const TensorView* count) {
  const int32_t groups = *work.unique;
  for (int64_t i = FlatBegin(); i < groups; i += FlatStep())
    slots->As<int32_t>()[i] = static_cast<int32_t>(work.keys[side][work.starts[i]]);
  if (FlatBegin() == 0 && count->shape.Count() > 0) *count->As<int32_t>() = groups;
}

__global__ void ZeroKernel(const TensorView* out) {
  const int64_t count = out->shape.Count(), fours = count / 4;
  for (int64_t i = FlatBegin(); i < fours; i += FlatStep()) out->As<Float4>()[i] = Float4{};
  for (int64_t i = 4 * fours + FlatBegin(); i < count; i += FlatStep()) out->As<float>()[i] = 0;
}

// Blocks of a warp where there is little to scan.
int ScanThreads(int64_t tiles) { return tiles <= kWarp ? kWarp : kBlock; }

}  // namespace

// ---- Launches ----

Grouping::Grouping(Form form, const Shape& table, int64_t ids, int64_t bags)
    : form_(form),
      ids_(ids),
      bags_(std::max<int64_t>(bags, 0)),
      width_(table.Product(1, table.rank)),
      tiles_(TilesOf(ids)),
      most_groups_(std::min(ids, table[0])) {
  const int bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(table[0])));
  passes_ = std::max(1, (bits + kDigitBits - 1) / kDigitBits);
  digit_bits_ = std::max(1, (bits + passes_ - 1) / passes_);
  bytes_ = ScratchOf(LaunchContext{}).bytes;
}

GroupScratch Grouping::ScratchOf(const LaunchContext& launch) const {
  GroupScratch work{};
  work.views = launch.views;
  work.sink = SinkOf(launch);
  work.padding = form_.padding;
  work.tiles = tiles_;
  auto at = reinterpret_cast<size_t>(launch.scratch);
  const auto take = [&]<class T>(T** place, int64_t count) {
    *place = reinterpret_cast<T*>(at);
    at += (static_cast<size_t>(count) * sizeof(T) + 15) / 16 * 16;
  };
  for (int side = 0; side < 2; ++side) {
    take(&work.keys[side], ids_);
    take(&work.values[side], ids_);
  }
  take(&work.histogram, kDigits * tiles_);
  take(&work.totals, kDigits);
  take(&work.heads, tiles_);
  take(&work.starts, ids_ + 1);
  take(&work.unique, 1);
  take(&work.partial, (ids_ + kPiece - 1) / kPiece * width_);
  take(&work.scales, bags_);
  work.bytes = at - reinterpret_cast<size_t>(launch.scratch);
  return work;
}

void Grouping::Group(const LaunchContext& launch, const TensorView* room) const {
  const GroupScratch work = ScratchOf(launch);
  const bool bags = form_.offsets >= 0;
  if (bags)
    LaunchFlat(launch, std::max<int64_t>(bags_ * kBagLanes, 1), FillBagsKernel, work, form_.offsets,
               form_.mean);
  int side = 0;
  for (int i = 0; i < passes_; ++i, side ^= 1) {
    const Pass pass{side, i * digit_bits_, (1u << digit_bits_) - 1, i == 0, bags};
    Launch(launch, tiles_, kBlock, HistogramKernel, work, pass);
    Launch(launch, int64_t{1} << digit_bits_, ScanThreads(tiles_), ScanTilesKernel, work);
    Launch(launch, tiles_, kBlock, ScatterKernel, work, pass);
  }
  Launch(launch, tiles_, kBlock, CountHeadsKernel, work, side);
  Launch(launch, 1, ScanThreads(tiles_), ScanHeadsKernel, work, room);
  Launch(launch, tiles_, kBlock, WriteHeadsKernel, work, side);
}

void Grouping::Sum(const LaunchContext& launch, int dy, const TensorView* out, bool into_table) const {
  const GroupScratch work = ScratchOf(launch);
  const int side = passes_ % 2;
  const int64_t units = width_ % 4 == 0 ? width_ / 4 : width_;
  const int64_t pieces = (ids_ + kPiece - 1) / kPiece;
  const bool scaled = form_.mean && form_.offsets >= 0;
  if (pieces > 1) LaunchFlat(launch, pieces * units, SumPiecesKernel, work, side, dy, scaled);
  LaunchFlat(launch, most_groups_ * units, SumGroupsKernel, work, side, dy, scaled, out, into_table);
}

void Grouping::SumIntoTable(const LaunchContext& launch, int dy, const TensorView* out) const {
  Sum(launch, dy, out, true);
}
void Grouping::SumIntoRows(const LaunchContext& launch, int dy, const TensorView* out) const {
  Sum(launch, dy, out, false);
}

void Grouping::WriteSlots(const LaunchContext& launch, const TensorView* slots,
                          const TensorView* count) const {
  LaunchFlat(launch, std::max<int64_t>(most_groups_, 1), WriteSlotsKernel, ScratchOf(launch), passes_ % 2,
             slots, count);
}

void LaunchZero(const LaunchContext& launch, const TensorView* out, int64_t capacity) {
  LaunchFlat(launch, (capacity + 3) / 4, ZeroKernel, out);
}

}  // namespace kairos::gpu
