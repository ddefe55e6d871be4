// linearCrossEntropy and its gradient: formulas as in cpu/linear_cross_entropy.cc. Logits z = x weight^T + bias are
// made tile by tile in registers and never stored.
//
//   forward   a block takes kOwn rows and a chunk of classes, tile after tile, and keeps of each row the maximum, the
//             sum of exponentials and the total; chunks, which depend on the number of classes alone, are joined in
//             order, so a row's bits depend on nothing beside it
//   backward  one kernel for both products, dx = dz weight and dweight = dz^T x: a block owns kOwn rows of the result,
//             walks over the other operand in tiles, makes dz's tile anew and adds tile times walked rows. Each of the
//             two makes dz once for every kWide * kWidths channels
//
// Floor: 2 R C D products forward, 8 R C D backward (6 where dz could be kept), over the float32 rate.
#include "cuda/families.h"
#include "cuda/gpu.h"
#include "cuda/labels.h"
#include "cuda/vectors.h"

namespace kairos::gpu {
namespace {

constexpr int kThreads = 256, kAcross = 16;
constexpr int kOwn = 128, kWalk = 64,
              kWide = 64;  // tiles: rows owned, rows walked over, channels of a result
constexpr int kTall = kOwn / kAcross, kBroad = kWalk / kAcross;  // of them a thread's
constexpr int kDepth = 16;
constexpr int64_t kMostChunks = 64, kLeastChunk = 512;
constexpr int64_t kEnoughBlocks = 264;  // two for each multiprocessor of an H100

static_assert(kWalk == kWide && kTall == 8 && kBroad == 4);

// Strips of both operands along the channels, columns of them as rows.
struct alignas(16) Strips {
  float own[kDepth][kOwn + 4], walk[kDepth][kWalk + 4];
};

// kLines lines of a matrix [lines, channels] from `line` on, channels from `channel` on; zeros beyond the ends.
template <int kLines, int kStep>
__device__ void LoadStrip(const float* from, int64_t line, int64_t lines, int64_t channel, int64_t channels,
                          float (*to)[kStep]) {
  constexpr int kFours = kDepth / 4;
  const bool fours = InFours(channels);
  KAIROS_UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < kLines * kFours; i += kThreads) {
    const int at = i / kFours, down = i % kFours * 4;
    const float* place = from + (line + at) * channels + channel + down;
    const int64_t left = line + at < lines ? channels - channel - down : 0;
    float four[4] = {};
    if (fours && left > 0)
      LoadFour(place, four);
    else
      for (int k = 0; k < 4; ++k) four[k] = k < left ? place[k] : 0.0f;
    for (int k = 0; k < 4; ++k) to[down + k][at] = four[k];
  }
}

struct Thread {
  int up, left;  // its first row and column of a tile
  __device__ Thread()
      : up(static_cast<int>(threadIdx.x) / kAcross * kTall),
        left(static_cast<int>(threadIdx.x) % kAcross * kBroad) {}
};

// sums += the outer product of eight and of four neighbours.
__device__ inline void AddOuter(const float* up, const float* up_rest, const float* left,
                                float (&sums)[kTall][kBroad]) {
  float a[kTall], b[kBroad];
  LoadFour(up, a);
  LoadFour(up_rest, a + 4);
  LoadFour(left, b);
  KAIROS_UNROLL
  for (int i = 0; i < kTall; ++i)
    for (int j = 0; j < kBroad; ++j) sums[i][j] += a[i] * b[j];
}

// Products of kOwn lines of `own` and kWalk lines of `walk`, over all channels.
__device__ void Multiply(const float* own, int64_t own_line, int64_t own_lines, const float* walk,
                         int64_t walk_line, int64_t walk_lines, int64_t channels, Strips* strips,
                         float (&sums)[kTall][kBroad]) {
  const Thread mine;
  KAIROS_UNROLL
  for (int i = 0; i < kTall; ++i)
    for (int j = 0; j < kBroad; ++j) sums[i][j] = 0;
  for (int64_t channel = 0; channel < channels; channel += kDepth) {
    BlockSync();  // the last strips are read
    LoadStrip<kOwn>(own, own_line, own_lines, channel, channels, strips->own);
    LoadStrip<kWalk>(walk, walk_line, walk_lines, channel, channels, strips->walk);
    BlockSync();
    KAIROS_UNROLL_BY(2)
    for (int down = 0; down < kDepth; ++down) {
      const float* up = strips->own[down] + mine.up;
      AddOuter(up, up + 4, strips->walk[down] + mine.left, sums);
    }
  }
}

struct Sizes {
  int64_t rows, channels, classes;
};

__device__ Sizes SizesOf(const TensorView* views) {
  const Shape& x = views[0].shape;
  return {x.Product(0, x.rank - 1), x.Last(), views[1].shape[0]};
}

// ---- Forward ----

// Classes of a chunk: whole tiles, and few chunks however many classes there are.
__host__ __device__ constexpr int64_t ChunkOf(int64_t classes) {
  const int64_t share = (classes + kMostChunks - 1) / kMostChunks;
  const int64_t chunk = (share + kWalk - 1) / kWalk * kWalk;
  return chunk > kLeastChunk ? chunk : kLeastChunk;
}

// What a chunk knows of a row.
struct Part {
  double sum, total;  // of exp(z - most), and of z
  float most;
};

struct LanePart {
  float sum, total, most;
};

struct ForwardForm {
  int64_t ignored;
  double smoothing;
  bool bias;
};

// blockIdx.x: rows; y: chunk of classes. parts: [chunk][row]; chosen: the label's logit of each row.
template <bool kTotals>
__global__ void __launch_bounds__(kThreads, 2)
    ForwardKernel(const TensorView* views, ForwardForm form, Part* parts, float* chosen) {
  __shared__ Strips strips;
  __shared__ LanePart lanes[kOwn][kAcross + 1];
  const Sizes sizes = SizesOf(views);
  const float *x = Global(views[0].As<const float>()), *weight = Global(views[1].As<const float>());
  const auto* labels = views[2].As<const int32_t>();
  const float* bias = form.bias ? views[3].As<const float>() : nullptr;
  const Thread mine;
  const int64_t row = int64_t{blockIdx.x} * kOwn;
  const int64_t chunk = ChunkOf(sizes.classes), begin = blockIdx.y * chunk;
  const int64_t end = begin + chunk < sizes.classes ? begin + chunk : sizes.classes;
  if (row >= sizes.rows || (begin >= sizes.classes && blockIdx.y > 0)) return;  // the whole block
  Exponentials part[kTall];
  float totals[kTall] = {};
  for (int64_t first = begin; first < end; first += kWalk) {
    float z[kTall][kBroad];
    Multiply(x, row, sizes.rows, weight, first, sizes.classes, sizes.channels, &strips, z);
    KAIROS_UNROLL
    for (int i = 0; i < kTall; ++i) {
      const int64_t at = row + mine.up + i;
      const int64_t label = at < sizes.rows ? labels[at] : -1;
      for (int j = 0; j < kBroad; ++j) {
        const int64_t column = first + mine.left + j;
        const bool inside = column < end;
        z[i][j] = inside ? z[i][j] + (bias ? bias[column] : 0.0f) : -INFINITY;
        if (inside && column == label) chosen[at] = z[i][j];
        if (kTotals && inside) totals[i] += z[i][j];
      }
      part[i].Add(z[i]);
    }
  }
  KAIROS_UNROLL
  for (int i = 0; i < kTall; ++i)
    lanes[mine.up + i][threadIdx.x % kAcross] = {static_cast<float>(part[i].sum), totals[i], part[i].most};
  BlockSync();
  const int64_t at = row + threadIdx.x;
  if (threadIdx.x < kOwn && at < sizes.rows) {
    const LanePart* lane = lanes[threadIdx.x];
    Part all{0, 0, -INFINITY};
    for (int k = 0; k < kAcross; ++k) all.most = Maximum()(all.most, lane[k].most);
    for (int k = 0; k < kAcross; ++k) {
      all.sum += Exponentials{lane[k].most, lane[k].sum}.ScaledTo(all.most);
      all.total += lane[k].total;
    }
    parts[blockIdx.y * sizes.rows + at] = all;
  }
}

__global__ void JoinKernel(const TensorView* views, ForwardForm form, const Part* parts, const float* chosen,
                           FaultSink sink) {
  const Sizes sizes = SizesOf(views);
  const auto* labels = views[2].As<const int32_t>();
  const TensorView* out = views + (form.bias ? 4 : 3);
  const int64_t chunk = ChunkOf(sizes.classes), chunks = (sizes.classes + chunk - 1) / chunk;
  for (int64_t row = FlatBegin(); row < sizes.rows; row += FlatStep()) {
    float most = -INFINITY;
    for (int64_t at = 0; at < chunks; ++at) most = Maximum()(most, parts[at * sizes.rows + row].most);
    double sum = 0, total = 0;
    for (int64_t at = 0; at < chunks; ++at) {
      const Part& part = parts[at * sizes.rows + row];
      sum += Exponentials{part.most, part.sum}.ScaledTo(most);
      total += part.total;
    }
    const double exact = most + log(sum);
    float loss = 0;
    if (LabelCounts(labels[row], form.ignored, sizes.classes, row, sink)) {
      const double mean = form.smoothing > 0 ? total / static_cast<double>(sizes.classes) : 0;
      loss = static_cast<float>(exact - (1 - form.smoothing) * chosen[row] - form.smoothing * mean);
    }
    out[0].As<float>()[row] = loss;
    out[1].As<float>()[row] = static_cast<float>(exact);
  }
}

int64_t BlocksFor(int64_t count, int64_t each) { return (count + each - 1) / each; }

std::unique_ptr<DeviceKernel> PrepareForward(DevicePrepareContext& context) {
  const ForwardForm form{context.attributes.Int("ignoreIndex"), context.attributes.Float("labelSmoothing"),
                         context.inputs.size() > 3};
  const int64_t rows = context.outputs[0].shape.Count(), classes = context.inputs[1].shape[0];
  // No smaller number of classes has more chunks.
  const int64_t chunks = std::min(kMostChunks, 1 + classes / kLeastChunk);
  const size_t parts_bytes = static_cast<size_t>(rows * chunks) * sizeof(Part);
  context.scratch_bytes = parts_bytes + static_cast<size_t>(rows) * sizeof(float);
  return MakeKernel([=](const LaunchContext& launch) {
    if (rows == 0) return;
    auto* parts = reinterpret_cast<Part*>(launch.scratch);
    auto* chosen = reinterpret_cast<float*>(launch.scratch + parts_bytes);
    const dim3 grid(static_cast<unsigned>(BlocksFor(rows, kOwn)), static_cast<unsigned>(chunks));
    LaunchOn(launch.stream, grid, kThreads, form.smoothing > 0 ? ForwardKernel<true> : ForwardKernel<false>,
             launch.views, form, parts, chosen);
    LaunchFlat(launch, rows, JoinKernel, launch.views, form, parts, chosen, SinkOf(launch));
  });
}

// ---- Backward ----

struct BackwardForm {
  int64_t ignored;
  double smoothing;
  bool bias;
  int64_t slice;  // rows or classes that a block walks over; a multiple of the tile
};

// What a row of z needs to become one of dz.
struct alignas(16) RowFacts {
  float log_sum_exp, scale, up;
  int32_t label;  // -1: does not count
};

__device__ RowFacts FactsOf(const TensorView* views, const BackwardForm& form, const Sizes& sizes,
                            int64_t row, const FaultSink& sink) {
  if (row >= sizes.rows) return {0, 0, 0, -1};
  const int32_t label = views[2].As<const int32_t>()[row];
  const bool counts = LabelCounts(label, form.ignored, sizes.classes, row, sink);
  const float up = counts ? views[4].As<const float>()[row] : 0.0f;
  return {views[3].As<const float>()[row], up + views[5].As<const float>()[row], up, counts ? label : -1};
}

// dz's tile, walked rows first. A thread's four owned neighbours are moved by an exclusive or with its column, so that
// writing columns and reading rows both meet all banks of shared memory.
struct alignas(16) Tile {
  float at[kWalk][kOwn];
  static __device__ int Place(int walk, int own) { return own ^ (walk / kBroad % 8 * 4); }
};

// blockIdx.x: owned lines; y: channels; z: slice of what is walked over. kRows: rows are owned and classes walked over,
// the result is dx; else the other way around, and the result is dweight and dbias. With several slices the results go to
// `partial`: [slice][line][channel], then [slice][line] of dbias.
template <bool kRows, int kWidths>
__global__ void __launch_bounds__(kThreads, kWidths == 1 ? 2 : 1)
    BackwardKernel(const TensorView* views, BackwardForm form, float* partial, int64_t slices,
                   FaultSink sink) {
  __shared__ Strips strips;
  __shared__ Tile dz;
  __shared__ RowFacts facts[kOwn];
  // Rather here than in registers, which are few.
  __shared__ struct {
    const float *own, *walk, *bias;
    int64_t end;  // of what is walked over
    float share, hit;
  } fixed;
  const Sizes sizes = SizesOf(views);
  const TensorView* out = views + (form.bias ? 7 : 6);
  const int64_t own_lines = kRows ? sizes.rows : sizes.classes;
  const int64_t walk_lines = kRows ? sizes.classes : sizes.rows;
  const int64_t first_channel = kWidths == 1 ? 0 : int64_t{blockIdx.y} * kWide * kWidths;
  const bool sums_bias = !kRows && form.bias && first_channel == 0;
  const Thread mine;
  if (threadIdx.x == 0)
    fixed = {views[kRows ? 0 : 1].As<const float>(),
             views[kRows ? 1 : 0].As<const float>(),
             form.bias ? views[6].As<const float>() : nullptr,
             (blockIdx.z + 1) * form.slice < walk_lines ? (blockIdx.z + 1) * form.slice : walk_lines,
             static_cast<float>(form.smoothing / static_cast<double>(sizes.classes)),
             static_cast<float>(1 - form.smoothing)};
  BlockSync();

  const int64_t line = int64_t{blockIdx.x} * kOwn;
  if (line >= own_lines) return;  // the whole block
  float sums[kWidths][kTall][kBroad] = {};
  float bias_sum = 0;  // of the thread's own line
  if (kRows) {
    if (threadIdx.x < kOwn) facts[threadIdx.x] = FactsOf(views, form, sizes, line + threadIdx.x, sink);
  }
  for (int64_t walked = blockIdx.z * form.slice; walked < fixed.end; walked += kWalk) {
    if (!kRows) {
      BlockSync();
      if (threadIdx.x < kWalk) facts[threadIdx.x] = FactsOf(views, form, sizes, walked + threadIdx.x, sink);
    }
    const int64_t first_column = kRows ? walked : line;
    const int columns =
        static_cast<int>(sizes.classes - first_column < kOwn ? sizes.classes - first_column : kOwn);
    float z[kTall][kBroad];
    Multiply(Global(fixed.own), line, own_lines, Global(fixed.walk), walked, walk_lines, sizes.channels,
             &strips, z);
    BlockSync();  // facts are there, even without channels; the last dz is read
    KAIROS_UNROLL
    for (int k = 0; k < kTall * kBroad; ++k) {
      // All of a row one after the other, so that its facts are read once.
      const int i = kRows ? k / kBroad : k % kTall, j = kRows ? k % kBroad : k / kTall;
      const RowFacts& fact = facts[kRows ? mine.up + i : mine.left + j];
      const int at = kRows ? mine.left + j : mine.up + i;
      const bool inside = at < columns;
      const float logit = z[i][j] + (fixed.bias && inside ? fixed.bias[first_column + at] : 0.0f);
      float slope = expf(logit - fact.log_sum_exp) * fact.scale - fact.up * fixed.share;
      if (first_column + at == fact.label) slope -= fact.up * fixed.hit;
      z[i][j] = inside ? slope : 0.0f;
    }
    KAIROS_UNROLL
    for (int j = 0; j < kBroad; ++j) {
      float* row = dz.at[mine.left + j];
      KAIROS_UNROLL
      for (int i = 0; i < kTall; i += 4) {
        const float four[4] = {z[i][j], z[i + 1][j], z[i + 2][j], z[i + 3][j]};
        StoreFour(four, row + Tile::Place(mine.left + j, mine.up + i));
      }
    }
    KAIROS_UNROLL
    for (int width = 0; width < kWidths; ++width) {
      const int64_t channel = first_channel + width * kWide + mine.left;
      // Walked rows of kDepth at a time, in the strips' memory.
      for (int deep = 0; deep < kWalk; deep += kDepth) {
        BlockSync();
        for (int i = static_cast<int>(threadIdx.x); i < kDepth * kWide; i += kThreads) {
          const int64_t from = walked + deep + i / kWide;
          const int64_t at = first_channel + width * kWide + i % kWide;
          const bool inside = from < walk_lines && at < sizes.channels;
          strips.walk[i / kWide][i % kWide] = inside ? Global(fixed.walk)[from * sizes.channels + at] : 0.0f;
        }
        BlockSync();
        if (sums_bias && width == 0 && threadIdx.x < kOwn) {
          KAIROS_UNROLL_BY(1)
          for (int down = deep; down < deep + kDepth; ++down)
            bias_sum += dz.at[down][Tile::Place(down, static_cast<int>(threadIdx.x))];
        }
        if (channel >= sizes.channels) continue;
        KAIROS_UNROLL_BY(2)
        for (int down = 0; down < kDepth; ++down) {
          const float* row = dz.at[deep + down];
          AddOuter(row + Tile::Place(deep + down, mine.up), row + Tile::Place(deep + down, mine.up + 4),
                   strips.walk[down] + mine.left, sums[width]);
        }
      }
    }
  }
  float* to = slices > 1 ? partial + blockIdx.z * own_lines * sizes.channels : out[kRows ? 0 : 1].As<float>();
  KAIROS_UNROLL
  for (int width = 0; width < kWidths; ++width)
    for (int i = 0; i < kTall; ++i)
      for (int j = 0; j < kBroad; ++j) {
        const int64_t at = line + mine.up + i, channel = first_channel + width * kWide + mine.left + j;
        if (at < own_lines && channel < sizes.channels) to[at * sizes.channels + channel] = sums[width][i][j];
      }
  const int64_t at = line + threadIdx.x;
  if (!sums_bias || threadIdx.x >= kOwn || at >= own_lines) return;
  float* bias_to = slices > 1 ? partial + slices * own_lines * sizes.channels + blockIdx.z * own_lines
                              : out[2].As<float>();
  bias_to[at] = bias_sum;
}

// Slices in order.
__global__ void JoinSlicesKernel(const TensorView* views, const TensorView* out, const TensorView* bias,
                                 bool rows, int64_t slice, int64_t slices, const float* partial) {
  const Sizes sizes = SizesOf(views);
  const int64_t walked = rows ? sizes.classes : sizes.rows, live = (walked + slice - 1) / slice;
  const int64_t count = out->shape.Count(), lines = rows ? sizes.rows : sizes.classes;
  for (int64_t i = FlatBegin(); i < count + (bias ? lines : 0); i += FlatStep()) {
    const int64_t step = i < count ? count : lines;
    const float* from = i < count ? partial + i : partial + slices * count + (i - count);
    float sum = 0;
    for (int64_t k = 0; k < live; ++k) sum += from[k * step];
    (i < count ? out->As<float>()[i] : bias->As<float>()[i - count]) = sum;
  }
}

// One of the two products, bound to capacities.
struct Product {
  int64_t lines, channels, slice, slices, widths;

  Product(int64_t lines, int64_t walked, int64_t channels) : lines(lines), channels(channels) {
    widths = channels > kWide ? 2 : 1;
    const int64_t tiles = std::max<int64_t>(BlocksFor(lines, kOwn) * BlocksFor(channels, kWide * widths), 1);
    const int64_t most = std::clamp<int64_t>(kEnoughBlocks / tiles, 1, std::max<int64_t>(walked / 256, 1));
    slice = std::max<int64_t>(BlocksFor(BlocksFor(walked, most), kWalk) * kWalk, kWalk);
    slices = std::max<int64_t>(BlocksFor(walked, slice), 1);
  }
  size_t Bytes() const {
    return slices > 1 ? static_cast<size_t>(slices * lines * (channels + 1)) * sizeof(float) : 0;
  }

  template <bool kRows>
  void Start(const LaunchContext& launch, BackwardForm form) const {
    if (lines == 0) return;
    auto* partial = reinterpret_cast<float*>(launch.scratch);
    const dim3 grid(static_cast<unsigned>(BlocksFor(lines, kOwn)),
                    static_cast<unsigned>(std::max<int64_t>(BlocksFor(channels, kWide * widths), 1)),
                    static_cast<unsigned>(slices));
    form.slice = slice;
    LaunchOn(launch.stream, grid, kThreads, widths > 1 ? BackwardKernel<kRows, 2> : BackwardKernel<kRows, 1>,
             launch.views, form, partial, slices, SinkOf(launch));
    if (slices == 1) return;
    const TensorView* out = launch.views + launch.inputs;
    LaunchFlat(launch, lines * (channels + 1), JoinSlicesKernel, launch.views, out + (kRows ? 0 : 1),
               !kRows && form.bias ? out + 2 : nullptr, kRows, slice, slices, partial);
  }
};

std::unique_ptr<DeviceKernel> PrepareBackward(DevicePrepareContext& context) {
  const BackwardForm form{context.attributes.Int("ignoreIndex"), context.attributes.Float("labelSmoothing"),
                          context.inputs.size() > 6, 0};
  const Shape& x = context.inputs[0].shape;
  const int64_t rows = x.Product(0, x.rank - 1), classes = context.inputs[1].shape[0];
  const Product dx(rows, classes, x.Last()), dweight(classes, rows, x.Last());
  context.scratch_bytes = std::max(dx.Bytes(), dweight.Bytes());
  return MakeKernel([=](const LaunchContext& launch) {
    dx.Start<true>(launch, form);
    dweight.Start<false>(launch, form);
  });
}

}  // namespace

std::span<const DeviceKernelEntry> LinearCrossEntropyKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"linearCrossEntropy", PrepareForward},
                                                   {"linearCrossEntropyBackward", PrepareBackward}};
  return kEntries;
}

}  // namespace kairos::gpu
