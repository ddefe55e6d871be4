// Fourier transforms along the last but one axis of x[..., L, d], and the filter y = irfft(rfft(x) * w), as
// cpu/frequency.cc has them: x is read once and y written once.
//
// Two neighbouring channels are one complex signal, x and y its parts as they lie in memory, so a block's tile is L rows
// of `lanes` such pairs and a transform of it is two real ones. With Z its spectrum, those of the channels are
//
//   X1[k] = (Z[k] + conj Z[L - k]) / 2        X2[k] = (Z[k] - conj Z[L - k]) / 2i
//
// The tile is in shared memory; where no tile of a length fits, in the block's own scratch, which stays in cache.
//
// A block walks over tiles in steps of the grid and asks for its next one before it writes the last one's result, so
// that memory works while the stages do.
//
// Floor: x and y over the copy bandwidth. At L = 50 to 256 a tile takes two stages each way, the first from x and the
// last to y, so shared memory sees it written and read three times, a tenth of its bandwidth a pass. Unmeasured.
#include "cuda/bits.h"
#include "cuda/bound_length.h"
#include "cuda/families.h"
#include "cuda/fourier.h"

namespace kairos::gpu {
namespace {

constexpr int kMostThreads = 256;
constexpr int64_t kResidentBlocks = 1056;  // what a large GPU holds at once, eight for each multiprocessor

// How a block's lanes lie on pairs of channels of items. `pairs` and `items` are live.
struct Tiling {
  int64_t items;
  int pairs, channels, lanes;

  __device__ Tiling(const Shape& x, int lanes)
      : items(x.Product(0, x.rank - 2)),
        pairs(static_cast<int>((x.Last() + 1) / 2)),
        channels(static_cast<int>(x.Last())),
        lanes(lanes) {}
  __device__ bool even() const { return channels % 2 == 0; }
};

// A pair of channels of an item.
struct Pair {
  int64_t item;
  int pair;
  bool live;
};

// All pairs one after the other.
__device__ inline Pair PairAt(const Tiling& tiling, int64_t tile) {
  const int64_t at = tile * tiling.lanes + threadIdx.x % tiling.lanes;
  const int64_t most = tiling.items * tiling.pairs - 1, kept = at > most ? most : at;
  const Division at_pair = Divide(kept, tiling.pairs);
  return {at_pair.quotient, static_cast<int>(at_pair.remainder), at <= most};
}

__device__ inline int64_t TileCount(const Tiling& tiling) {
  return (tiling.items * tiling.pairs + tiling.lanes - 1) / tiling.lanes;
}

// The pair's column of a signal whose items have `length` rows, where channels are even.
__device__ inline Column ColumnOf(const Tiling& tiling, const Pair& pair, int64_t length, float* signal) {
  return {reinterpret_cast<Complex*>(signal + pair.item * length * tiling.channels) + pair.pair,
          tiling.channels / 2};
}

// Element by element, as odd channels need it.
__device__ inline void LoadColumn(const Tiling& tiling, const Pair& pair, const Fourier& fourier, Lanes lanes,
                                  const float* signal, Column tile) {
  const float* from = signal + pair.item * fourier.length * tiling.channels + 2 * pair.pair;
  const bool both = 2 * pair.pair + 1 < tiling.channels;
  for (int row = lanes.row; row < fourier.length; row += lanes.rows)
    tile[row] = {from[int64_t{row} * tiling.channels],
                 both ? from[int64_t{row} * tiling.channels + 1] : 0.0f};
  BlockSync();
}

__device__ inline void StoreColumn(const Tiling& tiling, const Pair& pair, const Fourier& fourier,
                                   Lanes lanes, Column tile, float* signal) {
  float* to = signal + pair.item * fourier.length * tiling.channels + 2 * pair.pair;
  const bool both = 2 * pair.pair + 1 < tiling.channels;
  if (!pair.live) return;
  for (int row = lanes.row; row < fourier.length; row += lanes.rows) {
    to[int64_t{row} * tiling.channels] = tile[row].x;
    if (both) to[int64_t{row} * tiling.channels + 1] = tile[row].y;
  }
}

// A block's place and memory.
struct Work {
  const Fourier& fourier;
  Tiling tiling;
  Lanes lanes;
  std::byte* memory;

  __device__ Column Tile(int index) const {
    const int64_t size = int64_t{fourier.rows} * tiling.lanes;
    return {reinterpret_cast<Complex*>(memory) + index * size + threadIdx.x % tiling.lanes, tiling.lanes};
  }
};

// The transforms of a pair: kForwards signals to spectra in tiles of their own, middle(), and the last tile back to a
// signal. One loop, so that the stages stand in the program once. Lanes without a pair transform their neighbour's
// once more.
template <bool kSmall, int kForwards, bool kBack, class Middle>
__device__ inline void RunTransforms(const Work& work, const TensorView* views, const Pair& pair,
                                     const Middle& middle) {
  constexpr int kOut = kForwards == 2 ? 3 : kForwards + 1;  // view of the result
  const auto& [fourier, tiling, lanes, memory] = work;
  const bool direct = tiling.even() && !fourier.chirped && fourier.stages > 0;
  const int runs = fourier.chirped ? 2 : 1;  // of the stages, in one transform
  KAIROS_ROLLED
  for (int i = 0; i < (kForwards + kBack) * runs; ++i) {
    const int transform = i / runs, run = i % runs;
    const bool inverse = transform == kForwards;
    const Column tile = work.Tile(inverse && kForwards > 0 ? kForwards - 1 : transform);
    if (inverse && run == 0) {
      middle();
      BlockSync();
    }
    Column from = tile, to = tile;
    if (direct) {
      if (!inverse)
        from = ColumnOf(tiling, pair, fourier.length, views[2 * transform].As<float>());
      else if (pair.live)
        to = ColumnOf(tiling, pair, fourier.length, views[kOut].As<float>());
    } else if (!inverse && run == 0) {
      LoadColumn(tiling, pair, fourier, lanes, views[2 * transform].As<const float>(), tile);
    }
    if (fourier.chirped) {
      if (run == 0)
        BeforeChirp(fourier, inverse, lanes, tile);
      else
        AmidChirp(fourier, lanes, tile);
    }
    RunStages<kSmall>(fourier, fourier.chirped ? run == 1 : inverse, lanes, from, tile, to);
    if (fourier.chirped && run == 1) AfterChirp(fourier, inverse, lanes, tile);
    if (!direct && inverse && run == runs - 1)
      StoreColumn(tiling, pair, fourier, lanes, tile, views[kOut].As<float>());
  }
  if (!kBack) middle();
  BlockSync();  // the next item's columns come into these tiles
}

// ---- Spectra of the two channels of a pair ----

struct Two {
  Complex first, second;
};

__device__ inline Two Scale(const Two& two, float by) {
  return {{two.first.x * by, two.first.y * by}, {two.second.x * by, two.second.y * by}};
}

// Twice what they are.
__device__ inline Two Part(Complex at, Complex mirrored) {
  return {{at.x + mirrored.x, at.y - mirrored.y}, {at.y + mirrored.y, mirrored.x - at.x}};
}

__device__ inline void Join(const Two& two, Complex* at, Complex* mirrored) {
  *mirrored = {two.first.x + two.second.y, two.second.x - two.first.y};
  *at = {two.first.x - two.second.y, two.first.y + two.second.x};
}

// A row of a spectrum [..., d, 2] at a pair.
__device__ inline Two LoadTwo(const Tiling& tiling, const float* row, int pair) {
  if (tiling.even()) {
    const float4 four = reinterpret_cast<const float4*>(row)[pair];
    return {{four.x, four.y}, {four.z, four.w}};
  }
  const Complex* from = reinterpret_cast<const Complex*>(row) + 2 * pair;
  return {from[0], 2 * pair + 1 < tiling.channels ? from[1] : Complex{0, 0}};
}

__device__ inline void StoreTwo(const Tiling& tiling, const Two& two, int pair, float* row) {
  if (tiling.even()) {
    reinterpret_cast<float4*>(row)[pair] = {two.first.x, two.first.y, two.second.x, two.second.y};
    return;
  }
  Complex* to = reinterpret_cast<Complex*>(row) + 2 * pair;
  to[0] = two.first;
  if (2 * pair + 1 < tiling.channels) to[1] = two.second;
}

// Of a real signal's spectrum at DC and at Nyquist only real parts count.
__device__ inline bool IsReal(const Fourier& fourier, int k) { return k == 0 || 2 * k == fourier.length; }

__device__ inline Two DropImaginary(const Two& two) { return {{two.first.x, 0}, {two.second.x, 0}}; }

// Calls visit(k, row of k, row of L - k) for this thread's frequencies of the half spectrum.
template <class Visit>
__device__ inline void ForFrequencies(const Fourier& fourier, Lanes lanes, const Visit& visit) {
  for (int k = lanes.row; k <= fourier.length / 2; k += lanes.rows)
    visit(k, fourier.place[k], fourier.place[k == 0 ? 0 : fourier.length - k]);
}

// What a lane needs of a block's memory: two tiles' columns and the sums of its half spectrum, or one column.
__host__ __device__ constexpr size_t LaneBytes(const Fourier& fourier, bool backward) {
  const size_t column = static_cast<size_t>(fourier.rows) * sizeof(Complex);
  return backward ? 2 * column + static_cast<size_t>(fourier.length / 2 + 1) * sizeof(float4) : column;
}

__device__ inline std::byte* BlockMemory(size_t bytes, std::byte* scratch) {
  return scratch ? scratch + blockIdx.x * bytes : SharedMemory();
}

// Asks for the columns of the tile after this one.
__device__ inline void PrefetchTile(const Work& work, const float* signal, int64_t tile) {
  const Tiling& tiling = work.tiling;
  if (!tiling.even() || tile >= TileCount(tiling)) return;
  const Pair pair = PairAt(tiling, tile);
  const Column from = ColumnOf(tiling, pair, work.fourier.length, const_cast<float*>(signal));
  for (int row = work.lanes.row; row < work.fourier.length; row += work.lanes.rows) Prefetch(&from[row]);
}

// ---- Kernels ----

template <bool kSmall>
__global__ void __launch_bounds__(kMostThreads, 2)
    RfftKernel(const TensorView* views, Fourier fourier, int width, std::byte* scratch) {
  const Work work{fourier, Tiling(views[0].shape, width), Lanes(width),
                  BlockMemory(LaneBytes(fourier, false) * width, scratch)};
  const Tiling& tiling = work.tiling;
  const Column tile = work.Tile(0);
  const int64_t bins = fourier.length / 2 + 1;
  for (int64_t i = blockIdx.x; i < TileCount(tiling); i += gridDim.x) {
    const Pair pair = PairAt(tiling, i);
    RunTransforms<kSmall, 1, false>(work, views, pair, [&] {
      float* to = views[1].As<float>() + pair.item * bins * tiling.channels * 2;
      ForFrequencies(fourier, work.lanes, [&](int k, int at, int mirrored) {
        const Two two = Scale(Part(tile[at], tile[mirrored]), 0.5f);
        if (pair.live) StoreTwo(tiling, two, pair.pair, to + int64_t{k} * tiling.channels * 2);
      });
    });
  }
}

template <bool kSmall>
__global__ void __launch_bounds__(kMostThreads, 2)
    IrfftKernel(const TensorView* views, Fourier fourier, int width, std::byte* scratch) {
  const Work work{fourier, Tiling(views[1].shape, width), Lanes(width),
                  BlockMemory(LaneBytes(fourier, false) * width, scratch)};
  const Tiling& tiling = work.tiling;
  const Column tile = work.Tile(0);
  const int64_t bins = fourier.length / 2 + 1;
  const float scale = 1.0f / static_cast<float>(fourier.length);
  for (int64_t i = blockIdx.x; i < TileCount(tiling); i += gridDim.x) {
    const Pair pair = PairAt(tiling, i);
    RunTransforms<kSmall, 0, true>(work, views, pair, [&] {
      const float* from = views[0].As<const float>() + pair.item * bins * tiling.channels * 2;
      ForFrequencies(fourier, work.lanes, [&](int k, int at, int mirrored) {
        Two two = Scale(LoadTwo(tiling, from + int64_t{k} * tiling.channels * 2, pair.pair), scale);
        if (IsReal(fourier, k)) two = DropImaginary(two);
        Join(two, &tile[at], &tile[mirrored]);
      });
    });
  }
}

template <bool kSmall>
__global__ void __launch_bounds__(kMostThreads, 2)
    FilterKernel(const TensorView* views, Fourier fourier, int width, std::byte* scratch) {
  const Work work{fourier, Tiling(views[0].shape, width), Lanes(width),
                  BlockMemory(LaneBytes(fourier, false) * width, scratch)};
  const Tiling& tiling = work.tiling;
  const Column tile = work.Tile(0);
  const float* filter = views[1].As<const float>();
  const float scale = 0.5f / static_cast<float>(fourier.length);
  for (int64_t i = blockIdx.x; i < TileCount(tiling); i += gridDim.x) {
    const Pair pair = PairAt(tiling, i);
    RunTransforms<kSmall, 1, true>(work, views, pair, [&] {
      ForFrequencies(fourier, work.lanes, [&](int k, int at, int mirrored) {
        const Two w = Scale(LoadTwo(tiling, filter + int64_t{k} * tiling.channels * 2, pair.pair), scale);
        Two two = Part(tile[at], tile[mirrored]);
        two = {two.first * w.first, two.second * w.second};
        if (IsReal(fourier, k)) two = DropImaginary(two);
        Join(two, &tile[at], &tile[mirrored]);
      });
      PrefetchTile(work, views[0].As<const float>(), i + gridDim.x);
    });
  }
}

// dx is dy filtered by conj(w); dw is c / L times the sum over items of conj(rfft(x)) rfft(dy), where c is 1 for DC and
// Nyquist and 2 for all others, which irfft counts twice.
//
// A block keeps to one group of pairs and walks over a slice of the items; its sums stand beside its two tiles, thread by
// thread, and go to `partial` at the end:
//
//   partial[slice][group][k][lane]    four floats: the sums of both channels
struct Slices {
  int slices, groups;  // at capacity
};

template <bool kSmall>
__global__ void __launch_bounds__(kMostThreads, 2)
    FilterBackwardKernel(const TensorView* views, Fourier fourier, int width, Slices slices, float4* partial,
                         std::byte* scratch) {
  const Work work{fourier, Tiling(views[0].shape, width), Lanes(width),
                  BlockMemory(LaneBytes(fourier, true) * width, scratch)};
  const Tiling& tiling = work.tiling;
  const Lanes lanes = work.lanes;
  const Column x_tile = work.Tile(0), dy_tile = work.Tile(1);
  float4* sums =
      reinterpret_cast<float4*>(work.memory + 2 * LaneBytes(fourier, false) * width) + threadIdx.x % width;
  const int group = static_cast<int>(blockIdx.x) % slices.groups;
  const int slice = static_cast<int>(blockIdx.x) / slices.groups;
  // Where there are fewer pairs than lanes, several items stand side by side.
  const int beside = tiling.pairs < width ? (tiling.pairs > 0 ? width / tiling.pairs : 0) : 1;
  const int at = group * width + static_cast<int>(threadIdx.x) % width;
  const float* filter = views[1].As<const float>();
  const float scale = 0.5f / static_cast<float>(fourier.length);
  for (int k = lanes.row; k <= fourier.length / 2; k += lanes.rows) sums[k * width] = {0, 0, 0, 0};
  if (beside == 0 || group * width >= tiling.pairs) return;  // the whole block: nothing of it is live
  for (int64_t first = int64_t{slice} * beside; first < tiling.items;
       first += int64_t{slices.slices} * beside) {
    Pair pair{first, at, at < tiling.pairs};
    if (tiling.pairs < width)
      pair = {first + at / tiling.pairs, at % tiling.pairs, at < beside * tiling.pairs};
    pair.live = pair.live && pair.item < tiling.items;
    if (!pair.live) pair = {first, group * width, false};
    RunTransforms<kSmall, 2, true>(work, views, pair, [&] {
      ForFrequencies(fourier, lanes, [&](int k, int row, int mirrored) {
        const Two w = Scale(LoadTwo(tiling, filter + int64_t{k} * tiling.channels * 2, pair.pair), scale);
        const Two x = Part(x_tile[row], x_tile[mirrored]);
        Two dy = Part(dy_tile[row], dy_tile[mirrored]);
        if (pair.live) {
          float4& sum = sums[k * width];
          sum.x += x.first.x * dy.first.x + x.first.y * dy.first.y;
          sum.y += x.first.x * dy.first.y - x.first.y * dy.first.x;
          sum.z += x.second.x * dy.second.x + x.second.y * dy.second.y;
          sum.w += x.second.x * dy.second.y - x.second.y * dy.second.x;
        }
        dy = {dy.first * Conjugate(w.first), dy.second * Conjugate(w.second)};
        if (IsReal(fourier, k)) dy = DropImaginary(dy);
        Join(dy, &dy_tile[row], &dy_tile[mirrored]);
      });
    });
  }
  for (int k = lanes.row; k <= fourier.length / 2; k += lanes.rows)
    partial[(int64_t{blockIdx.x} * (fourier.length / 2 + 1) + k) * width + threadIdx.x % width] =
        sums[k * width];
}

// A warp for each frequency and pair adds the slices and the items that stood side by side, in order.
__global__ void JoinFilterGradientKernel(const TensorView* views, Fourier fourier, int width, Slices slices,
                                         const float4* partial) {
  const Tiling tiling(views[0].shape, width);
  const int64_t bins = fourier.length / 2 + 1, lane = threadIdx.x % kWarp;
  const int beside = tiling.pairs < width && tiling.pairs > 0 ? width / tiling.pairs : 1;
  // Slices that have seen an item.
  const int64_t used = std::min<int64_t>(slices.slices, (tiling.items + beside - 1) / beside);
  for (int64_t i = FlatBegin() / kWarp; i < bins * tiling.pairs; i += FlatStep() / kWarp) {
    const int64_t k = i / tiling.pairs;
    const int pair = static_cast<int>(i % tiling.pairs), group = pair / width;
    double sums[4] = {};
    for (int64_t at = lane; at < used * beside; at += kWarp) {
      const int64_t slice = at / beside, column = pair % width + at % beside * tiling.pairs;
      const float4 sum = partial[((slice * slices.groups + group) * bins + k) * width + column];
      sums[0] += sum.x, sums[1] += sum.y, sums[2] += sum.z, sums[3] += sum.w;
    }
    for (double& sum : sums) sum = WarpSum(sum);
    // The spectra were twice what they are.
    const double scale = (IsReal(fourier, static_cast<int>(k)) ? 0.25 : 0.5) / fourier.length;
    Two two{{static_cast<float>(sums[0] * scale), static_cast<float>(sums[1] * scale)},
            {static_cast<float>(sums[2] * scale), static_cast<float>(sums[3] * scale)}};
    if (IsReal(fourier, static_cast<int>(k))) two = DropImaginary(two);
    if (lane == 0) StoreTwo(tiling, two, pair, views[4].As<float>() + k * tiling.channels * 2);
  }
}

// ---- Launchers ----

// A block's shape for one length: as many lanes as fit, threads for its longest stage.
struct Form {
  int width = 32, threads = kWarp;
  size_t bytes;                // of a block
  int64_t scratch_blocks = 0;  // 0: they are shared memory

  Form(const Fourier& fourier, bool backward) {
    const size_t lane = LaneBytes(fourier, backward), most = MostSharedBytes();
    // Short signals: more of them side by side, or blocks would be small.
    while (width < 128 && lane * width < (size_t{4} << 10)) width *= 2;
    while (width > 2 && lane * width > most) width /= 2;
    if (lane * width > most) width = 32, scratch_blocks = 264;
    bytes = lane * width;
    const int butterflies = fourier.stages > 0 ? std::max(fourier.rows / fourier.radices[0], 1) : 1;
    threads = std::clamp(butterflies * width, kWarp, kMostThreads) / kWarp * kWarp;
    threads = std::max(threads / width * width, std::max(width, kWarp));
  }
  size_t shared() const { return scratch_blocks > 0 ? 0 : bytes; }
  std::byte* Scratch(std::byte* scratch) const { return scratch_blocks > 0 ? scratch : nullptr; }
};

using TransformKernel = void (*)(const TensorView*, Fourier, int, std::byte*);

template <TransformKernel kSmallKernel, TransformKernel kKernel, bool kOfOutput>
std::unique_ptr<DeviceKernel> PrepareTransform(DevicePrepareContext& context) {
  const Shape& signal = (kOfOutput ? context.outputs[0] : context.inputs[0]).shape;
  const int64_t length = signal[signal.rank - 2];
  FourierPlan plan(length);
  const Form form(plan.fourier, false);
  const int64_t pairs = signal.Product(0, signal.rank - 2) * ((signal.Last() + 1) / 2);
  const int64_t tiles = (pairs + form.width - 1) / form.width;
  const int64_t blocks = std::min(tiles, form.scratch_blocks > 0 ? form.scratch_blocks : kResidentBlocks);
  plan.AddTo(context);
  context.scratch_bytes = form.scratch_blocks > 0 ? static_cast<size_t>(blocks) * form.bytes : 0;
  return MakeBoundLengthKernel(
      length, kOfOutput, [plan = std::move(plan), form, blocks](const LaunchContext& launch) {
        LaunchShared(launch, blocks, form.threads, form.shared(), plan.fourier.small ? kSmallKernel : kKernel,
                     launch.views, plan.At(launch.tables), form.width, form.Scratch(launch.scratch));
      });
}

std::unique_ptr<DeviceKernel> PrepareFilterBackward(DevicePrepareContext& context) {
  const Shape& signal = context.inputs[0].shape;
  const int64_t length = signal[signal.rank - 2], items = signal.Product(0, signal.rank - 2);
  const int64_t pairs = (signal.Last() + 1) / 2, bins = length / 2 + 1;
  FourierPlan plan(length);
  const Form form(plan.fourier, true);
  Slices slices{};
  slices.groups = static_cast<int>((pairs + form.width - 1) / form.width);
  const int64_t most = form.scratch_blocks > 0 ? form.scratch_blocks : kResidentBlocks;
  slices.slices = static_cast<int>(
      std::clamp<int64_t>(most / std::max(slices.groups, 1), 1, std::max<int64_t>(items, 1)));
  const int64_t blocks = int64_t{slices.slices} * slices.groups;
  const size_t partial_bytes = static_cast<size_t>(blocks * bins * form.width) * sizeof(float4);
  plan.AddTo(context);
  const size_t tiles_bytes = form.scratch_blocks > 0 ? static_cast<size_t>(blocks) * form.bytes : 0;
  context.scratch_bytes = partial_bytes + tiles_bytes;
  return MakeBoundLengthKernel(length, false, [=, plan = std::move(plan)](const LaunchContext& launch) {
    auto* partial = reinterpret_cast<float4*>(launch.scratch);
    const Fourier fourier = plan.At(launch.tables);
    LaunchShared(launch, blocks, form.threads, form.shared(),
                 fourier.small ? FilterBackwardKernel<true> : FilterBackwardKernel<false>, launch.views,
                 fourier, form.width, slices, partial, form.Scratch(launch.scratch + partial_bytes));
    Launch(launch, std::min<int64_t>((bins * pairs + 3) / 4, 4096), 4 * kWarp, JoinFilterGradientKernel,
           launch.views, fourier, form.width, slices, static_cast<const float4*>(partial));
  });
}

}  // namespace

std::span<const DeviceKernelEntry> FrequencyKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {
      {"rfft", PrepareTransform<RfftKernel<true>, RfftKernel<false>, false>},
      {"irfft", PrepareTransform<IrfftKernel<true>, IrfftKernel<false>, true>},
      {"frequencyFilter", PrepareTransform<FilterKernel<true>, FilterKernel<false>, false>},
      {"frequencyFilterBackward", PrepareFilterBackward},
  };
  return kEntries;
}

}  // namespace kairos::gpu
