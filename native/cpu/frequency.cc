// Fourier transforms along the last but one axis of x[..., L, d], and the filter y = irfft(rfft(x) * w).
//
// SIMD runs across d: a tile is the L rows of one vector of channels (d = 50 on 16 lanes: three full blocks
// and a tail of 2). Tails of several items share a tile, so that a narrow d fills its lanes too:
//
//     lanes of a tail tile:   item 0: tail channels | item 1: tail channels | ... | unused (zero)
//
// Between the transforms everything keeps the plan's row order: the packed filter and the sums for its
// gradient are tiles like the spectrum. Lanes never meet, so a channel's result does not depend on its lane.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/frequency.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "cpu/check.h"
#include "cpu/dft-inl.h"
#include "cpu/dft.h"
#include "cpu/families.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_FREQUENCY_CC_
#define KAIROS_CPU_FREQUENCY_CC_
namespace kairos {
namespace {

// signal[..., L, d] beside spectrum[..., L / 2 + 1, d, 2]
Status CheckTransform(const CheckContext& context, const char* signal_name, const TensorSpec& signal,
                      const char* spectrum_name, const TensorSpec& spectrum) {
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, signal_name, signal, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, signal_name, signal, 2));
  const int rank = signal.shape.rank;
  if (rank >= kMaxRank) {
    const std::string most = "of rank " + std::to_string(kMaxRank - 1) + " or less";
    return Refuse(context, signal_name, most, signal.shape.ToString());
  }
  const int64_t length = signal.shape[rank - 2];
  if (length < 1 || length > kMaxDftLength) {
    const std::string range = "of length 1 to " + std::to_string(kMaxDftLength) + " in the last but one dim";
    return Refuse(context, signal_name, range, signal.shape.ToString());
  }
  Shape expected = signal.shape;
  expected.dims[rank - 2] = length / 2 + 1;
  expected.dims[expected.rank++] = 2;
  return ExpectTensor(context, spectrum_name, spectrum, DType::kFloat32, expected);
}

Status CheckRfft(const CheckContext& context) {
  return CheckTransform(context, "x", context.inputs[0], "output", context.outputs[0]);
}

Status CheckIrfft(const CheckContext& context) {
  return CheckTransform(context, "output", context.outputs[0], "x", context.inputs[0]);
}

Status CheckOperands(const CheckContext& context) {
  const TensorSpec& x = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "x", x, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "x", x, 2));
  const TensorSpec item{x.dtype, {x.shape[x.shape.rank - 2], x.shape.Last()}};
  return CheckTransform(context, "x", item, "w", context.inputs[1]);
}

Status CheckFilter(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context));
  return ExpectTensor(context, "output", context.outputs[0], DType::kFloat32, context.inputs[0].shape);
}

Status CheckFilterBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context));
  const Shape &x = context.inputs[0].shape, &w = context.inputs[1].shape;
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[2], DType::kFloat32, x));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dx", context.outputs[0], DType::kFloat32, x));
  return ExpectTensor(context, "dw", context.outputs[1], DType::kFloat32, w);
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_FREQUENCY_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// -----------------------------------------------------------------------------------------------------------
// Tiles of a signal

struct Tiling {
  int64_t items, length, channels;
  int64_t lanes;
  int64_t full;        // blocks of `lanes` channels
  int64_t tail;        // channels beyond them
  int64_t tail_items;  // items that share a tail tile
  int64_t tail_tiles;

  explicit Tiling(const Shape& signal)
      : items(signal.Product(0, signal.rank - 2)),
        length(signal[signal.rank - 2]),
        channels(signal.Last()),
        lanes(static_cast<int64_t>(TileLanes())),
        full(channels / lanes),
        tail(channels % lanes),
        tail_items(tail > 0 ? lanes / tail : 1),
        tail_tiles(tail > 0 ? (items + tail_items - 1) / tail_items : 0) {}

  int64_t blocks() const { return full + (tail > 0 ? 1 : 0); }
  int64_t tiles() const { return items * full + tail_tiles; }
  int64_t tile_floats() const { return length * lanes; }
  // The channel that a lane of a block works on, or -1.
  int64_t Channel(int64_t block, int64_t lane) const {
    if (block < full) return block * lanes + lane;
    return lane < tail_items * tail ? full * lanes + lane % tail : -1;
  }
};

// One tile of the tiling: a full block of one item, or the tails of some items.
struct Tile {
  int64_t item;
  int64_t count;  // items
  int64_t block;  // == tiling.full: tail
};

HWY_INLINE Tile TailTile(const Tiling& tiling, int64_t index) {
  const int64_t item = index * tiling.tail_items;
  return {item, std::min(tiling.tail_items, tiling.items - item), tiling.full};
}

HWY_INLINE Tile TileAt(const Tiling& tiling, int64_t index) {
  const int64_t full_tiles = tiling.items * tiling.full;
  if (index >= full_tiles) return TailTile(tiling, index - full_tiles);
  return {index / tiling.full, 1, index % tiling.full};
}

// Calls body(pointer into `data`, pointer into `tile`, floats) for each run of a tail tile's values. `data`
// holds `rows` rows an item with `width` floats a channel; a tile's row holds width * lanes.
template <class Body>
HWY_INLINE void ForTail(const Tiling& tiling, const Tile& at, int64_t rows, int64_t width, float* data,
                        float* tile, const Body& body) {
  const int64_t run = tiling.tail * width;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < at.count; ++i)
      body(data + (((at.item + i) * rows + row) * tiling.channels + tiling.full * tiling.lanes) * width,
           tile + row * tiling.lanes * width + i * run, static_cast<size_t>(run));
}

// The rows of a tile as the signal holds them; those of a tail tile are copied to `tile` first.
HWY_INLINE Rows ReadTile(const Tiling& tiling, const Tile& at, float* signal, float* tile) {
  if (at.block < tiling.full)
    return {signal + at.item * tiling.length * tiling.channels + at.block * tiling.lanes,
            static_cast<size_t>(tiling.channels)};
  std::memset(tile, 0, static_cast<size_t>(tiling.tile_floats()) * sizeof(float));
  ForTail(tiling, at, tiling.length, 1, signal, tile,
          [](const float* from, float* to, size_t n) { std::memcpy(to, from, n * sizeof(float)); });
  return {tile, static_cast<size_t>(tiling.lanes)};
}

// Where a tile's result goes: the signal itself, or `tile`, which WriteTail then copies.
HWY_INLINE Rows TileTarget(const Tiling& tiling, const Tile& at, float* signal, float* tile) {
  if (at.block < tiling.full)
    return {signal + at.item * tiling.length * tiling.channels + at.block * tiling.lanes,
            static_cast<size_t>(tiling.channels)};
  return {tile, static_cast<size_t>(tiling.lanes)};
}

HWY_INLINE void WriteTail(const Tiling& tiling, const Tile& at, int64_t rows, int64_t width, float* data,
                          float* tile) {
  if (at.block < tiling.full) return;
  ForTail(tiling, at, rows, width, data, tile,
          [](float* to, const float* from, size_t n) { std::memcpy(to, from, n * sizeof(float)); });
}

// -----------------------------------------------------------------------------------------------------------
// Scratch and threads

constexpr int64_t kAlign = 32;           // floats: two cache lines, which processors fetch together
constexpr int64_t kChunkFloats = 16384;  // a smaller share of the work is not worth a thread

// Sizes of scratch parts, in floats; an overflow sticks and asks for more than anybody has.
class ScratchSize {
 public:
  ScratchSize& Add(std::initializer_list<int64_t> factors) {
    int64_t part = 1;
    for (int64_t factor : factors) overflow_ |= __builtin_mul_overflow(part, factor, &part);
    overflow_ |= __builtin_add_overflow(part, kAlign - 1, &part);
    overflow_ |= __builtin_add_overflow(floats_, part / kAlign * kAlign, &floats_);
    return *this;
  }
  size_t bytes() const {
    constexpr size_t kTooMuch = std::numeric_limits<size_t>::max() / 2;
    if (overflow_ || floats_ > std::numeric_limits<int64_t>::max() / 4) return kTooMuch;
    return static_cast<size_t>(floats_) * sizeof(float);
  }

 private:
  int64_t floats_ = 0;
  bool overflow_ = false;
};

// Hands out the same parts in the same order.
class ScratchParts {
 public:
  explicit ScratchParts(std::byte* base) : next_(reinterpret_cast<float*>(base)) {}
  float* Take(int64_t floats) {
    float* part = next_;
    next_ += (floats + kAlign - 1) / kAlign * kAlign;
    return part;
  }

 private:
  float* next_;
};

class FrequencyKernel : public Kernel {
 public:
  // The tables are for one length: a length that depends on a count can run at its capacity only.
  Status Accept(const CheckContext& live) const override {
    const Shape& signal = (signal_is_output_ ? live.outputs[0] : live.inputs[0]).shape;
    if (signal[signal.rank - 2] == plan_->length) return Ok();
    return Refuse(live, signal_is_output_ ? "output" : "x",
                  "of length " + std::to_string(plan_->length) + " as when it was bound", signal.ToString());
  }

 protected:
  FrequencyKernel(const PrepareContext& context, const Shape& signal, bool signal_is_output = false)
      : plan_(PlanDft(signal[signal.rank - 2])),
        threads_(std::max(context.threads, 1)),
        signal_is_output_(signal_is_output) {}

  // Rows of vectors that a chunk needs: `tiles` tiles, and what the plan asks for.
  int64_t ChunkRows(int64_t tiles) const { return tiles * plan_->length + plan_->scratch_rows; }

  // Calls body(begin, end, chunk, part of `scratch`) on a partition of the units that depends on their number
  // and size and on the team's size only. Returns the number of chunks.
  template <class Body>
  int64_t ForChunks(const RunContext& context, int64_t units, int64_t unit_floats, float* scratch,
                    int64_t tiles, const Body& body) const {
    const int64_t lanes = static_cast<int64_t>(TileLanes());
    const int64_t worth = std::max<int64_t>(1, units * unit_floats / kChunkFloats);
    const int64_t team = std::min(threads_, context.team.size());
    const int64_t chunks = std::min({team, units, worth});
    const int64_t stride = (ChunkRows(tiles) * lanes + kAlign - 1) / kAlign * kAlign;
    if (chunks == 0) return 0;
    context.team.ParallelFor(chunks, 1, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t chunk = begin; chunk < end; ++chunk)
        body(units * chunk / chunks, units * (chunk + 1) / chunks, chunk, scratch + chunk * stride);
    });
    return chunks;
  }

  ScratchSize AddChunks(ScratchSize size, int64_t tiles) const {
    return size.Add({ChunkRows(tiles) * static_cast<int64_t>(TileLanes()) + kAlign, threads_});
  }

  // w[L / 2 + 1, d, 2] -> tiles in the plan's row order, with the inverse's 1 / L inside.
  void PackFilter(const RunContext& context, const Tiling& tiling, const float* w, float* packed) const {
    const double scale = 1.0 / static_cast<double>(plan_->length);
    const int64_t grain = std::max<int64_t>(1, kChunkFloats / (2 * tiling.blocks() * tiling.lanes));
    context.team.ParallelFor(plan_->length / 2 + 1, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t f = begin; f < end; ++f) {
        const DftBin& bin = plan_->bins[static_cast<size_t>(f)];
        const double im_scale = bin.conjugate ? -scale : scale;
        for (int64_t block = 0; block < tiling.blocks(); ++block) {
          float* tile = packed + block * tiling.tile_floats();
          for (int64_t lane = 0; lane < tiling.lanes; ++lane) {
            const int64_t channel = tiling.Channel(block, lane);
            const float* entry = channel < 0 ? nullptr : w + (f * tiling.channels + channel) * 2;
            tile[bin.re * tiling.lanes + lane] = entry ? static_cast<float>(entry[0] * scale) : 0;
            if (bin.im >= 0)
              tile[bin.im * tiling.lanes + lane] = entry ? static_cast<float>(entry[1] * im_scale) : 0;
          }
        }
      }
    });
  }

  std::unique_ptr<DftPlan> plan_;
  int threads_;
  bool signal_is_output_;
};

// -----------------------------------------------------------------------------------------------------------
// rfft, irfft

class Rfft final : public FrequencyKernel {
 public:
  static constexpr int64_t kTiles = 3;  // the spectrum, and a tail's in the caller's order

  explicit Rfft(PrepareContext& context) : FrequencyKernel(context, context.inputs[0].shape) {
    context.scratch_bytes = AddChunks({}, kTiles).bytes();
  }

  void Run(const RunContext& context) noexcept override {
    const Tiling tiling(context.inputs[0].shape);
    float* x = context.inputs[0].As<float>();
    float* out = context.outputs[0].As<float>();
    ForChunks(context, tiling.tiles(), tiling.tile_floats(), reinterpret_cast<float*>(context.scratch),
              kTiles, [&](int64_t begin, int64_t end, int64_t, float* scratch) HWY_ATTR {
                for (int64_t i = begin; i < end; ++i) Transform(tiling, TileAt(tiling, i), x, out, scratch);
              });
  }

 private:
  void Transform(const Tiling& tiling, const Tile& at, float* x, float* out, float* scratch) const {
    const F32 d;
    const Rows tile{scratch, TileLanes()};
    float* staged = scratch + tiling.tile_floats();  // a tail's spectrum: L / 2 + 1 rows of two vectors
    ForwardDft(*plan_, ReadTile(tiling, at, x, tile.data), tile, staged + 2 * tiling.tile_floats());
    const bool full = at.block < tiling.full;
    const int64_t bins = tiling.length / 2 + 1;
    float* to = full ? out + (at.item * bins * tiling.channels + at.block * tiling.lanes) * 2 : staged;
    const int64_t step = (full ? tiling.channels : tiling.lanes) * 2;
    for (const DftBin& bin : plan_->bins) {
      const V im = bin.im < 0 ? hn::Zero(d) : tile.Get(bin.im);
      hn::StoreInterleaved2(tile.Get(bin.re), bin.conjugate ? hn::Neg(im) : im, d, to);
      to += step;
    }
    WriteTail(tiling, at, bins, 2, out, staged);
  }
};

class Irfft final : public FrequencyKernel {
 public:
  static constexpr int64_t kTiles = 3;

  explicit Irfft(PrepareContext& context) : FrequencyKernel(context, context.outputs[0].shape, true) {
    context.scratch_bytes = AddChunks({}, kTiles).bytes();
  }

  void Run(const RunContext& context) noexcept override {
    const Tiling tiling(context.outputs[0].shape);
    float* x = context.inputs[0].As<float>();
    float* out = context.outputs[0].As<float>();
    ForChunks(context, tiling.tiles(), tiling.tile_floats(), reinterpret_cast<float*>(context.scratch),
              kTiles, [&](int64_t begin, int64_t end, int64_t, float* scratch) HWY_ATTR {
                for (int64_t i = begin; i < end; ++i) Transform(tiling, TileAt(tiling, i), x, out, scratch);
              });
  }

 private:
  void Transform(const Tiling& tiling, const Tile& at, float* x, float* out, float* scratch) const {
    const F32 d;
    const Rows tile{scratch, TileLanes()};
    float* staged = scratch + tiling.tile_floats();
    const bool full = at.block < tiling.full;
    const int64_t bins = tiling.length / 2 + 1;
    if (!full) {
      std::memset(staged, 0, static_cast<size_t>(bins * tiling.lanes * 2) * sizeof(float));
      ForTail(tiling, at, bins, 2, x, staged,
              [](const float* from, float* to, size_t n) { std::memcpy(to, from, n * sizeof(float)); });
    }
    const float* from = full ? x + (at.item * bins * tiling.channels + at.block * tiling.lanes) * 2 : staged;
    const int64_t step = (full ? tiling.channels : tiling.lanes) * 2;
    const V scale = Splat(1.0 / static_cast<double>(tiling.length));
    for (const DftBin& bin : plan_->bins) {
      V re, im;
      hn::LoadInterleaved2(d, from, re, im);
      tile.Put(bin.re, hn::Mul(re, scale));
      if (bin.im >= 0) tile.Put(bin.im, hn::Mul(bin.conjugate ? hn::Neg(im) : im, scale));
      from += step;
    }
    InverseDft(*plan_, tile, TileTarget(tiling, at, out, tile.data), staged + 2 * tiling.tile_floats());
    WriteTail(tiling, at, tiling.length, 1, out, tile.data);
  }
};

// -----------------------------------------------------------------------------------------------------------
// frequencyFilter

struct Product {  // by a packed filter
  const float* w;

  HWY_INLINE V Real(size_t row, V x) const { return hn::Mul(x, hn::Load(F32(), w + row * TileLanes())); }
  HWY_INLINE void Complex(size_t re_row, size_t im_row, V& re, V& im) const {
    const V wr = hn::Load(F32(), w + re_row * TileLanes()), wi = hn::Load(F32(), w + im_row * TileLanes());
    MultiplyComplex(re, im, wr, wi);
  }
};

class FrequencyFilter final : public FrequencyKernel {
 public:
  explicit FrequencyFilter(PrepareContext& context) : FrequencyKernel(context, context.inputs[0].shape) {
    const Tiling tiling(context.inputs[0].shape);
    ScratchSize size;
    size.Add({tiling.blocks(), tiling.length, tiling.lanes});
    context.scratch_bytes = AddChunks(size, 1).bytes();
  }

  void Run(const RunContext& context) noexcept override {
    const Tiling tiling(context.inputs[0].shape);
    if (tiling.tiles() == 0) return;
    float* x = context.inputs[0].As<float>();
    float* y = context.outputs[0].As<float>();
    ScratchParts parts(context.scratch);
    float* packed = parts.Take(tiling.blocks() * tiling.tile_floats());
    PackFilter(context, tiling, context.inputs[1].As<float>(), packed);
    ForChunks(context, tiling.tiles(), tiling.tile_floats(), parts.Take(0), 1,
              [&](int64_t begin, int64_t end, int64_t, float* scratch) HWY_ATTR {
                for (int64_t i = begin; i < end; ++i) {
                  const Tile at = TileAt(tiling, i);
                  const Rows tile{scratch, TileLanes()};
                  Product filter{packed + at.block * tiling.tile_floats()};
                  FilterDft(*plan_, ReadTile(tiling, at, x, tile.data), tile,
                            TileTarget(tiling, at, y, tile.data), scratch + tiling.tile_floats(), filter);
                  WriteTail(tiling, at, tiling.length, 1, y, tile.data);
                }
              });
  }
};

// -----------------------------------------------------------------------------------------------------------
// frequencyFilterBackward: dx is dy filtered by conj(w); dw is c / L times the sum over items of
// conj(rfft(x)) rfft(dy), where c is 1 for DC and Nyquist and 2 for all others, which irfft counts twice.

struct GradientProduct {
  const float* w;  // packed
  const float* x;  // spectrum of x
  float* sum;      // of conj(x) * dy

  HWY_INLINE V Real(size_t row, V g) const {
    const size_t at = row * TileLanes();
    const V xr = hn::Load(F32(), x + at);
    hn::Store(hn::MulAdd(xr, g, hn::Load(F32(), sum + at)), F32(), sum + at);
    return hn::Mul(g, hn::Load(F32(), w + at));
  }
  HWY_INLINE void Complex(size_t re_row, size_t im_row, V& re, V& im) const {
    const F32 d;
    const size_t at_re = re_row * TileLanes(), at_im = im_row * TileLanes();
    const V xr = hn::Load(d, x + at_re), xi = hn::Load(d, x + at_im);
    hn::Store(hn::MulAdd(xr, re, hn::MulAdd(xi, im, hn::Load(d, sum + at_re))), d, sum + at_re);
    hn::Store(hn::MulAdd(xr, im, hn::NegMulAdd(xi, re, hn::Load(d, sum + at_im))), d, sum + at_im);
    MultiplyConjugate(re, im, hn::Load(d, w + at_re), hn::Load(d, w + at_im));
  }
};

// A unit of work is a group of neighbouring blocks of one item, which share cache lines; the tail is the last
// group. Units are ordered by group, then item. A chunk's share of a group sums a few units in float and
// those sums in double, in slot group + chunk: no two shares have the same slot, as along the units one of
// the two always grows. The slots of a group are then added in order, so equal teams give equal bits.
class FrequencyFilterBackward final : public FrequencyKernel {
 public:
  static constexpr int64_t kGroup = 4;   // blocks
  static constexpr int64_t kUnits = 64;  // summed in float

  explicit FrequencyFilterBackward(PrepareContext& context)
      : FrequencyKernel(context, context.inputs[0].shape) {
    const Tiling tiling(context.inputs[0].shape);
    // One group more than the capacity has: a smaller live d may have a tail where the capacity has none.
    const int64_t slots = tiling.blocks() / kGroup + 2 + threads_;
    ScratchSize size;
    size.Add({tiling.blocks(), tiling.length, tiling.lanes});
    size.Add({slots, 2});
    size.Add({slots, 2 * kGroup, tiling.length, tiling.lanes});
    context.scratch_bytes = AddChunks(size, 2 + kGroup).bytes();
  }

  void Run(const RunContext& context) noexcept override {
    const Tiling tiling(context.inputs[0].shape);
    if (tiling.channels == 0) return;
    const int64_t slot_floats = kGroup * tiling.tile_floats();
    const int64_t full_groups = (tiling.full + kGroup - 1) / kGroup;
    const int64_t slots = full_groups + 1 + threads_;
    ScratchParts parts(context.scratch);
    float* packed = parts.Take(tiling.blocks() * tiling.tile_floats());
    auto* owner = reinterpret_cast<int64_t*>(parts.Take(slots * 2));
    auto* sums = reinterpret_cast<double*>(parts.Take(slots * 2 * slot_floats));
    std::fill(owner, owner + slots, -1);
    PackFilter(context, tiling, context.inputs[1].As<float>(), packed);

    const auto segment_body = [&](int64_t begin, int64_t end, int64_t chunk, float* scratch) HWY_ATTR {
      while (begin < end) {
        const int64_t group = std::min(begin / std::max<int64_t>(tiling.items, 1), full_groups);
        const int64_t start = group * tiling.items;
        const int64_t stop = group < full_groups ? std::min(end, start + tiling.items) : end;
        owner[group + chunk] = group;
        Segment(context, tiling, group, begin - start, stop - start, packed, scratch,
                sums + (group + chunk) * slot_floats);
        begin = stop;
      }
    };
    const int64_t units = full_groups * tiling.items + tiling.tail_tiles;
    const int64_t unit_floats = std::min(tiling.blocks(), kGroup) * tiling.tile_floats();
    const int64_t chunks = ForChunks(context, units, unit_floats, parts.Take(0), 2 + kGroup, segment_body);
    Reduce(context, tiling, owner, sums, chunks);
  }

 private:
  void Segment(const RunContext& context, const Tiling& tiling, int64_t group, int64_t begin, int64_t end,
               const float* packed, float* scratch, double* slot) const {
    const int64_t tile_floats = tiling.tile_floats();
    const int64_t first = std::min(group * kGroup, tiling.full);
    const bool is_tail = group * kGroup >= tiling.full;
    const int64_t blocks = is_tail ? 1 : std::min(kGroup, tiling.full - first);
    float* x = context.inputs[0].As<float>();
    float* dy = context.inputs[2].As<float>();
    float* dx = context.outputs[0].As<float>();
    const Rows x_tile{scratch, TileLanes()}, dy_tile{scratch + tile_floats, TileLanes()};
    float* sum = scratch + 2 * tile_floats;
    float* rest = sum + kGroup * tile_floats;
    const int64_t count = blocks * tile_floats;
    std::fill(slot, slot + count, 0.0);
    std::fill(sum, sum + count, 0.0f);
    for (int64_t unit = begin; unit < end; ++unit) {
      for (int64_t i = 0; i < blocks; ++i) {
        const Tile at = is_tail ? TailTile(tiling, unit) : Tile{unit, 1, first + i};
        ForwardDft(*plan_, ReadTile(tiling, at, x, x_tile.data), x_tile, rest);
        GradientProduct product{packed + at.block * tile_floats, x_tile.data, sum + i * tile_floats};
        FilterDft(*plan_, ReadTile(tiling, at, dy, dy_tile.data), dy_tile,
                  TileTarget(tiling, at, dx, dy_tile.data), rest, product);
        WriteTail(tiling, at, tiling.length, 1, dx, dy_tile.data);
      }
      if ((unit - begin) % kUnits != kUnits - 1 && unit + 1 < end) continue;
      for (int64_t i = 0; i < count; ++i) {
        slot[i] += sum[i];
        sum[i] = 0;
      }
    }
  }

  void Reduce(const RunContext& context, const Tiling& tiling, const int64_t* owner, const double* sums,
              int64_t chunks) const {
    float* dw = context.outputs[1].As<float>();
    const int64_t full_groups = (tiling.full + kGroup - 1) / kGroup;
    const int64_t grain = std::max<int64_t>(1, kChunkFloats / (2 * tiling.channels));
    context.team.ParallelFor(tiling.length / 2 + 1, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t f = begin; f < end; ++f) {
        const DftBin& bin = plan_->bins[static_cast<size_t>(f)];
        const double scale = (bin.im < 0 ? 1.0 : 2.0) / static_cast<double>(tiling.length);
        for (int64_t channel = 0; channel < tiling.channels; ++channel) {
          const int64_t block = channel / tiling.lanes;
          const bool is_tail = block == tiling.full;
          const int64_t group = is_tail ? full_groups : block / kGroup;
          const int64_t tile = is_tail ? 0 : block % kGroup;
          double re = 0, im = 0;
          for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            if (owner[group + chunk] != group) continue;
            const double* slot = sums + (((group + chunk) * kGroup + tile) * tiling.length) * tiling.lanes;
            for (int64_t i = 0; i < (is_tail ? tiling.tail_items : 1); ++i) {
              const int64_t lane = channel % tiling.lanes + i * tiling.tail;
              re += slot[bin.re * tiling.lanes + lane];
              if (bin.im >= 0) im += slot[bin.im * tiling.lanes + lane];
            }
          }
          dw[(f * tiling.channels + channel) * 2] = static_cast<float>(re * scale);
          dw[(f * tiling.channels + channel) * 2 + 1] =
              static_cast<float>(im * (bin.conjugate ? -scale : scale));
        }
      }
    });
  }
};

}  // namespace

std::span<const KernelEntry> FrequencyEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"rfft", CheckRfft, Stateful<Rfft>},
      {"irfft", CheckIrfft, Stateful<Irfft>},
      {"frequencyFilter", CheckFilter, Stateful<FrequencyFilter>},
      {"frequencyFilterBackward", CheckFilterBackward, Stateful<FrequencyFilterBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Frequency)
}  // namespace kairos
#endif
