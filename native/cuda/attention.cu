// attention(q, k, v, [range], [bias], [random]) -> y, logSumExp and attentionBackward: operands and results as in
// cpu/attention.cc. Tiles, running maxima: Dao et al., "FlashAttention", 2022; no matrix of scores in memory.
//
// Forward: a block owns 64 queries of a head and walks over the keys that they see. Backward: a block owns 64 keys of a
// head of keys and walks over the queries of all heads that share it (dk, dv); another owns 64 queries and walks over
// keys (dq); where there are no more than 64 keys the first has all that dq needs. dbias is a third, which walks over
// the batch where it is shared. Scores are computed again from logSumExp: every result has one writer and one order.
//
// Where the executor's precision is less than float32, the forward of heads up to 64 wide runs on tensor cores
// (attention_tensor.h); gradients are float32's.
//
// Heads wider than 64 channels are read in chunks, and a block has one chunk of the results.
//
// Floor: 4 products of queries, keys and channels (forward; backward 10, 14 where dq is a kernel of its own) over the
// peak of float32, or q, k, v, y once over the bandwidth. Unmeasured.
#include <string_view>

#include "cuda/attention_tensor.h"
#include "cuda/attention_tile.h"
#include "cuda/families.h"

namespace kairos::gpu {
namespace {

using namespace attention;  // NOLINT: this file is what it is for

// ---- Forward ----

// blockIdx.x: (b, h, query tile); y: chunk of the value's channels.
template <int kWide, bool kMany>
__global__ void __launch_bounds__(kThreads, kMany ? 1 : 2)
    ForwardKernel(const TensorView* views, Options options) {
  const Sizes sizes(views);
  const int tiles = TilesOf(sizes.queries);
  const int chunk = static_cast<int>(blockIdx.y);
  if (blockIdx.x >= sizes.batch * sizes.heads * tiles || chunk >= ChunksOf(sizes.value_width)) return;
  const int block = static_cast<int>(blockIdx.x), query = block % tiles * kTile, row = block / tiles;
  const int b = row / sizes.heads, h = row % sizes.heads, group = h / (sizes.heads / sizes.groups);
  const Head head(views, sizes, options, b, h);
  const Rows values(views[2], b, group);

  auto* memory = reinterpret_cast<float*>(SharedMemory());
  constexpr int kFloats = kTile * kPitch<kWide>;
  const Meeting<kWide, kMany> scores{
      Rows(views[0], b, h), Rows(views[1], b, group), query, sizes.queries, memory, memory + kFloats};
  float *value_tile = memory + 2 * kFloats, *weights = memory + 3 * kFloats;
  scores.LoadOwn();

  float most[kEach], sum[kEach], result[kEach][kWide] = {};
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) most[i] = -INFINITY, sum[i] = 0;
  const int last = Lesser(query + kTile, sizes.queries);
  const int end = head.EndFor(last);
  for (int key = head.begin; key < end; key += kTile) {
    BlockSync();  // the last tile has been read
    scores.LoadStreamed(key, end);
    LoadTile<kWide>(values, key, end, chunk, value_tile);
    BlockSync();
    Scores p;
    scores.Multiply(key, end, 0, p);
    const uint32_t bits = head.Kept([&](int at) {
      return Place{query + RowOf(at / kEach), key + ColumnOf(at % kEach)};
    });
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) {
      float greatest = -INFINITY;
      KAIROS_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const int at_query = query + RowOf(i), at_key = key + ColumnOf(j);
        p[i][j] = head.Sees(at_query, at_key) ? head.Score(p[i][j], at_query, at_key) : -INFINITY;
        greatest = Maximum()(greatest, p[i][j]);
      }
      greatest = Maximum()(most[i], WarpCombine(greatest, Maximum(), kAcross));
      // Where nothing is visible yet, differences of infinities would be NaN.
      const float from = greatest == -INFINITY ? 0.0f : greatest;
      const float scale = exp2f(most[i] - from);
      most[i] = greatest;
      sum[i] *= scale;
      KAIROS_UNROLL
      for (int c = 0; c < kWide; ++c) result[i][c] *= scale;
      KAIROS_UNROLL
      for (int j = 0; j < kEach; ++j) {
        p[i][j] = exp2f(p[i][j] - from);
        sum[i] += p[i][j];
        p[i][j] *= head.Keep(bits, i, j);
      }
    }
    StoreWeights(p, weights);
    BlockSync();
    AddProduct<kWide>(weights, value_tile, Lesser(end - key, kTile), result);
  }

  const TensorView &y = views[options.outputs], &log_sum_exp = views[options.outputs + 1];
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) {
    sum[i] = WarpCombine(sum[i], Sum(), kAcross);
    const float scale = sum[i] == 0 ? 0.0f : 1 / sum[i];
    KAIROS_UNROLL
    for (int c = 0; c < kWide; ++c) result[i][c] *= scale;
    if (chunk == 0 && ColumnOf(0) == 0 && query + RowOf(i) < sizes.queries)
      log_sum_exp.As<float>()[int64_t{row} * sizes.queries + query + RowOf(i)] =
          sum[i] == 0 ? -INFINITY : most[i] * kLn2 + logf(sum[i]);
  }
  const int64_t step = int64_t{sizes.heads} * sizes.value_width;
  StoreRows<kWide>(result, 1, y.As<float>() + int64_t{b} * sizes.queries * step + h * sizes.value_width, step,
                   query, sizes.queries, sizes.value_width, chunk);
}

// ---- Backward ----

// own[b, h, query] = sum of y dy, less dlogSumExp: what a weight's slope is less by. A warp for each.
__global__ void OwnKernel(const TensorView* views, Options options, float* own) {
  const Sizes sizes(views);
  const int64_t count = sizes.batch * sizes.heads * sizes.queries, lane = threadIdx.x % kWarp;
  const float *y = views[3].As<const float>(), *dy = views[5].As<const float>();
  for (int64_t i = FlatBegin() / kWarp; i < count; i += FlatStep() / kWarp) {
    // As y lies, so that neighbours read neighbours.
    const int64_t h = i % sizes.heads, query = i / sizes.heads % sizes.queries;
    const int64_t row = (i / sizes.heads / sizes.queries * sizes.heads + h) * sizes.queries + query;
    float sum = 0;
    for (int64_t c = lane; c < sizes.value_width; c += kWarp)
      sum += y[i * sizes.value_width + c] * dy[i * sizes.value_width + c];
    sum = WarpSum(sum);
    if (options.dlog_sum_exp >= 0) sum -= views[options.dlog_sum_exp].As<const float>()[row];
    if (lane == 0) own[row] = sum;
  }
}

// A weight and the slope of its score, from products of q k and dy v.
struct Slope {
  float kept, slope;

  __device__ Slope(const Head& head, float score, float product, float log_sum_exp, float own, int query,
                   int key, float keep) {
    kept = slope = 0;
    // A bias may hide all that a query sees.
    if (!head.Sees(query, key) || log_sum_exp == -INFINITY) return;
    const float weight = exp2f(head.Score(score, query, key) - log_sum_exp * kLog2E);
    kept = weight * keep;
    slope = weight * (keep * product - own);
  }
};

// blockIdx.x: (b, group, key tile); y: chunk of the channels. kQueries: one tile has all keys, and dq is made here.
template <int kWide, bool kMany, bool kQueries>
__global__ void __launch_bounds__(kThreads, kMany ? 1 : 2)
    KeysBackwardKernel(const TensorView* views, Options options, const float* own) {
  const Sizes sizes(views);
  const int tiles = kQueries ? 1 : TilesOf(sizes.keys);
  const int chunk = static_cast<int>(blockIdx.y);
  const int chunks = std::max(ChunksOf(sizes.width), ChunksOf(sizes.value_width));
  if (blockIdx.x >= sizes.batch * sizes.groups * tiles || chunk >= chunks) return;
  const int block = static_cast<int>(blockIdx.x), key = block % tiles * kTile,
            b = block / tiles / sizes.groups;
  const int g = block / tiles % sizes.groups, share = sizes.heads / sizes.groups;
  const int key_end = Lesser(key + kTile, sizes.keys);

  auto* memory = reinterpret_cast<float*>(SharedMemory());
  constexpr int kFloats = kTile * kPitch<kWide>;
  Meeting<kWide, kMany> scores{Rows(views[1], b, g), Rows(views[0], b, g * share), key, sizes.keys, memory,
                               memory + kFloats};
  Meeting<kWide, kMany> products{Rows(views[2], b, g), Rows(views[5], b, g * share), key,
                                 sizes.keys,           memory + 2 * kFloats,         memory + 3 * kFloats};
  float* weights = memory + 4 * kFloats;  // then their slopes: room for both is more than some GPUs have
  scores.LoadOwn();
  products.LoadOwn();

  float dk[kEach][kWide] = {}, dv[kEach][kWide] = {};
  for (int h = g * share; h < (g + 1) * share; ++h) {
    const Head head(views, sizes, options, b, h);
    scores.streamed = Rows(views[0], b, h);
    products.streamed = Rows(views[5], b, h);
    const float* log_sum_exp = views[4].As<const float>() + (int64_t{b} * sizes.heads + h) * sizes.queries;
    const float* own_sum = own + (int64_t{b} * sizes.heads + h) * sizes.queries;
    // Queries from the first that sees the first key on, by whole tiles. Outside the range nobody sees any.
    int query = key - head.frontier + 1;
    query = query > 0 ? query / kTile * kTile : 0;
    if (!kQueries && (key_end <= head.begin || key >= head.end)) continue;
    if (kQueries) query = 0;  // all of dq is written
    for (; query < sizes.queries; query += kTile) {
      BlockSync();
      scores.LoadStreamed(query, sizes.queries);
      products.LoadStreamed(query, sizes.queries);
      BlockSync();
      Scores p, ds;
      scores.Multiply(query, sizes.queries, chunk, p);
      products.Multiply(query, sizes.queries, chunk, ds);
      const uint32_t bits = head.Kept([&](int at) {
        return Place{query + ColumnOf(at % kEach), key + RowOf(at / kEach)};
      });
      KAIROS_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const int at = query + ColumnOf(j);
        const bool live = at < sizes.queries;
        const float total = live ? log_sum_exp[at] : 0, less = live ? own_sum[at] : 0;
        KAIROS_UNROLL
        for (int i = 0; i < kEach; ++i) {
          const Slope slope(head, p[i][j], ds[i][j], total, less, at, key + RowOf(i), head.Keep(bits, i, j));
          p[i][j] = slope.kept;
          ds[i][j] = slope.slope;
        }
      }
      const int columns = Lesser(sizes.queries - query, kTile);
      StoreWeights(p, weights);
      BlockSync();
      AddProduct<kWide>(weights, products.streamed_tile, columns, dv);
      BlockSync();
      StoreWeights(ds, weights);
      BlockSync();
      AddProduct<kWide>(weights, scores.streamed_tile, columns, dk);
      if constexpr (kQueries) {
        float dq[kEach][kWide] = {};
        const float* k = scores.own_tile + ColumnOf(0) * kWide;
        for (int column = 0; column < key_end; ++column) {
          KAIROS_UNROLL
          for (int i = 0; i < kEach; ++i) {
            const float slope = weights[RowOf(i) * kWeightPitch + column];
            KAIROS_UNROLL
            for (int c = 0; c < kWide; ++c) dq[i][c] += slope * k[column * kPitch<kWide> + c];
          }
        }
        const int64_t step = int64_t{sizes.heads} * sizes.width;
        StoreRows<kWide>(
            dq, options.scale,
            views[options.outputs].As<float>() + int64_t{b} * sizes.queries * step + h * sizes.width, step,
            query, sizes.queries, sizes.width, chunk);
      }
    }
  }
  const int64_t k_step = int64_t{sizes.groups} * sizes.width;
  const int64_t v_step = int64_t{sizes.groups} * sizes.value_width;
  float* to_k = views[options.outputs + 1].As<float>() + int64_t{b} * sizes.keys * k_step + g * sizes.width;
  float* to_v =
      views[options.outputs + 2].As<float>() + int64_t{b} * sizes.keys * v_step + g * sizes.value_width;
  StoreRows<kWide>(dk, options.scale, to_k, k_step, key, sizes.keys, sizes.width, chunk);
  StoreRows<kWide>(dv, 1, to_v, v_step, key, sizes.keys, sizes.value_width, chunk);
}

// The slopes of a tile of queries and keys, queries being a thread's rows.
template <int kWide, bool kMany>
__device__ inline void SlopesOf(const Head& head, const Meeting<kWide, kMany>& scores,
                                const Meeting<kWide, kMany>& products, int key, int end, int chunk,
                                const float (&log_sum_exp)[kEach], const float (&own)[kEach],
                                Scores& slopes) {
  BlockSync();
  scores.LoadStreamed(key, end);
  products.LoadStreamed(key, end);
  BlockSync();
  Scores p;
  scores.Multiply(key, end, chunk, p);
  products.Multiply(key, end, chunk, slopes);
  const uint32_t bits = head.Kept([&](int at) {
    return Place{scores.own_row + RowOf(at / kEach), key + ColumnOf(at % kEach)};
  });
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) {
    KAIROS_UNROLL
    for (int j = 0; j < kEach; ++j)
      slopes[i][j] = Slope(head, p[i][j], slopes[i][j], log_sum_exp[i], own[i], scores.own_row + RowOf(i),
                           key + ColumnOf(j), head.Keep(bits, i, j))
                         .slope;
  }
}

// The sums of a thread's queries.
__device__ inline void LoadOwnSums(const TensorView* views, const Sizes& sizes, const float* own, int64_t row,
                                   int query, float (&log_sum_exp)[kEach], float (&own_sum)[kEach]) {
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) {
    const bool live = query + RowOf(i) < sizes.queries;
    const int64_t at = row * sizes.queries + query + RowOf(i);
    log_sum_exp[i] = live ? views[4].As<const float>()[at] : 0.0f;
    own_sum[i] = live ? own[at] : 0.0f;
  }
}

// blockIdx.x: (b, h, query tile); y: chunk of dq's channels.
template <int kWide, bool kMany>
__global__ void __launch_bounds__(kThreads, kMany ? 1 : 2)
    QueriesBackwardKernel(const TensorView* views, Options options, const float* own) {
  const Sizes sizes(views);
  const int tiles = TilesOf(sizes.queries);
  const int chunk = static_cast<int>(blockIdx.y);
  if (blockIdx.x >= sizes.batch * sizes.heads * tiles || chunk >= ChunksOf(sizes.width)) return;
  const int block = static_cast<int>(blockIdx.x), query = block % tiles * kTile, row = block / tiles;
  const int b = row / sizes.heads, h = row % sizes.heads, group = h / (sizes.heads / sizes.groups);
  const Head head(views, sizes, options, b, h);

  auto* memory = reinterpret_cast<float*>(SharedMemory());
  constexpr int kFloats = kTile * kPitch<kWide>;
  const Meeting<kWide, kMany> scores{
      Rows(views[0], b, h), Rows(views[1], b, group), query, sizes.queries, memory, memory + kFloats};
  const Meeting<kWide, kMany> products{Rows(views[5], b, h), Rows(views[2], b, group), query,
                                       sizes.queries,        memory + 2 * kFloats,     memory + 3 * kFloats};
  float* slopes = memory + 4 * kFloats;
  scores.LoadOwn();
  products.LoadOwn();
  float log_sum_exp[kEach], own_sum[kEach], dq[kEach][kWide] = {};
  LoadOwnSums(views, sizes, own, row, query, log_sum_exp, own_sum);
  const int last = Lesser(query + kTile, sizes.queries);
  const int end = head.EndFor(last);
  for (int key = head.begin; key < end; key += kTile) {
    Scores ds;
    SlopesOf(head, scores, products, key, end, chunk, log_sum_exp, own_sum, ds);
    StoreWeights(ds, slopes);
    BlockSync();
    AddProduct<kWide>(slopes, scores.streamed_tile, Lesser(end - key, kTile), dq);
  }
  const int64_t step = int64_t{sizes.heads} * sizes.width;
  StoreRows<kWide>(dq, options.scale,
                   views[options.outputs].As<float>() + int64_t{b} * sizes.queries * step + h * sizes.width,
                   step, query, sizes.queries, sizes.width, chunk);
}

// blockIdx.x: (h or b and h, query tile, key tile). A shared bias is summed over the batch, in order.
template <int kWide, bool kMany>
__global__ void __launch_bounds__(kThreads, kMany ? 1 : 2)
    BiasBackwardKernel(const TensorView* views, Options options, const float* own) {
  const Sizes sizes(views);
  const TensorView& dbias = views[options.outputs + 3];
  const bool shared = dbias.shape.rank == 3;
  const int key_tiles = TilesOf(sizes.keys), query_tiles = TilesOf(sizes.queries);
  if (key_tiles == 0 || query_tiles == 0) return;
  const int block = static_cast<int>(blockIdx.x), at = block / key_tiles / query_tiles;
  if (at >= sizes.heads * (shared ? 1 : sizes.batch)) return;
  const int key = block % key_tiles * kTile, query = block / key_tiles % query_tiles * kTile;
  const int h = at % sizes.heads, group = h / (sizes.heads / sizes.groups);
  const int64_t first = shared ? 0 : at / sizes.heads, end = shared ? sizes.batch : first + 1;

  auto* memory = reinterpret_cast<float*>(SharedMemory());
  constexpr int kFloats = kTile * kPitch<kWide>;
  Scores sums = {};
  for (int64_t b = first; b < end; ++b) {
    const Head head(views, sizes, options, b, h);
    const Meeting<kWide, kMany> scores{
        Rows(views[0], b, h), Rows(views[1], b, group), query, sizes.queries, memory, memory + kFloats};
    const Meeting<kWide, kMany> products{Rows(views[5], b, h), Rows(views[2], b, group), query, sizes.queries,
                                         memory + 2 * kFloats, memory + 3 * kFloats};
    float log_sum_exp[kEach], own_sum[kEach];
    LoadOwnSums(views, sizes, own, b * sizes.heads + h, query, log_sum_exp, own_sum);
    BlockSync();  // the last item's tiles have been read
    scores.LoadOwn();
    products.LoadOwn();
    Scores ds;
    SlopesOf(head, scores, products, key, sizes.keys, 0, log_sum_exp, own_sum, ds);
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) {
      KAIROS_UNROLL
      for (int j = 0; j < kEach; ++j) sums[i][j] += ds[i][j];
    }
  }
  float* to = dbias.As<float>() + int64_t{at} * sizes.queries * sizes.keys;
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) {
    KAIROS_UNROLL
    for (int j = 0; j < kEach; ++j)
      if (query + RowOf(i) < sizes.queries && key + ColumnOf(j) < sizes.keys)
        to[int64_t{query + RowOf(i)} * sizes.keys + key + ColumnOf(j)] = sums[i][j];
  }
}

// ---- Launchers ----

Options OptionsOf(const DevicePrepareContext& context, bool backward) {
  const Attributes& attributes = context.attributes;
  Options options;
  int next = backward ? 6 : 3;
  if (backward && attributes.Bool("dlogSumExp")) options.dlog_sum_exp = next++;
  if (attributes.Bool("range")) options.range = next++;
  if (attributes.Bool("bias")) options.bias = next++;
  if (options.bias >= 0) {
    const Shape& bias = context.inputs[static_cast<size_t>(options.bias)].shape;
    options.bias_rows = bias.Product(0, bias.rank - 2);
  }
  const double rate = attributes.Float("rate");
  if (rate > 0) options.random = next++;
  options.outputs = next;
  options.scale = static_cast<float>(attributes.Float("scale"));
  options.causal = attributes.Bool("causal");
  options.salt = static_cast<uint32_t>(attributes.Int("salt"));
  options.threshold = static_cast<uint32_t>(rate * 0x1p32);
  options.keep = static_cast<float>(1 / (1 - rate));
  return options;
}

Sizes SizesOf(const DevicePrepareContext& context) {
  return {context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape};
}

// A grid of tiles and chunks, none where a product is 0.
template <class... Parameters, class... Arguments>
void LaunchTiles(const LaunchContext& launch, int64_t blocks, int chunks, size_t shared,
                 void (*kernel)(Parameters...), Arguments... arguments) {
  if (blocks > 0)
    LaunchSharedOn(launch.stream, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(chunks)),
                   kThreads, shared, kernel, arguments...);
}

template <int kWide, bool kMany>
void LaunchForward(const LaunchContext& launch, const Sizes& sizes, const Options& options) {
  LaunchTiles(launch, sizes.batch * sizes.heads * TilesOf(sizes.queries), ChunksOf(sizes.value_width),
              3 * kTileBytes<kWide> + kWeightBytes, ForwardKernel<kWide, kMany>, launch.views, options);
}

template <class Kind>
void LaunchTensorForward(const LaunchContext& launch, const Sizes& sizes, const Options& options) {
  const int64_t blocks = sizes.batch * sizes.heads * TilesOf(sizes.queries);
  if (blocks > 0)
    LaunchSharedOn(launch.stream, dim3(static_cast<unsigned>(blocks)), kTensorThreads,
                   TensorTiles<Kind>::kBytes, TensorForwardKernel<Kind>, launch.views, options);
}

template <int kWide, bool kMany>
void LaunchBackward(const LaunchContext& launch, const Sizes& sizes, const Options& options) {
  const auto* own = reinterpret_cast<const float*>(launch.scratch);
  const int64_t rows = sizes.batch * sizes.heads * sizes.queries;
  Launch(launch, std::min<int64_t>((rows + 7) / 8, kMostFlatBlocks), 8 * kWarp, OwnKernel, launch.views,
         options, reinterpret_cast<float*>(launch.scratch));
  constexpr size_t kShared = 4 * kTileBytes<kWide>;
  const int chunks = std::max(ChunksOf(sizes.width), ChunksOf(sizes.value_width));
  const int64_t key_blocks = sizes.batch * sizes.groups * TilesOf(sizes.keys);
  const auto by_keys = [&](auto kernel) {
    LaunchTiles(launch, key_blocks, chunks, kShared + kWeightBytes, kernel, launch.views, options, own);
  };
  bool queries = sizes.queries > 0;  // are still to do
  if constexpr (!kMany) {
    queries = sizes.keys == 0 || sizes.keys > kTile;
    queries ? by_keys(KeysBackwardKernel<kWide, false, false>)
            : by_keys(KeysBackwardKernel<kWide, false, true>);
  } else {
    by_keys(KeysBackwardKernel<kWide, true, false>);
  }
  if (queries)
    LaunchTiles(launch, sizes.batch * sizes.heads * TilesOf(sizes.queries), ChunksOf(sizes.width),
                kShared + kWeightBytes, QueriesBackwardKernel<kWide, kMany>, launch.views, options, own);
  if (options.bias >= 0)
    LaunchTiles(launch, options.bias_rows * TilesOf(sizes.queries) * TilesOf(sizes.keys), 1, kShared,
                BiasBackwardKernel<kWide, kMany>, launch.views, options, own);
}

template <bool kBackward>
std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  const Options options = OptionsOf(context, kBackward);
  const Sizes sizes = SizesOf(context);
  if (kBackward)
    context.scratch_bytes = static_cast<size_t>(sizes.batch * sizes.heads * sizes.queries) * sizeof(float);
  const int widest = std::max(sizes.width, sizes.value_width);
  const auto of = [&](auto launcher) {
    return MakeKernel([=](const LaunchContext& launch) {
      if (options.range >= 0) CheckRanges(launch, options.range, 1);
      launcher(launch, sizes, options);
    });
  };
  if constexpr (kBackward)
    return of(widest <= 2 * kAcross ? LaunchBackward<2, false>
              : widest <= kChunk    ? LaunchBackward<4, false>
                                    : LaunchBackward<4, true>);
  else if (context.precision != Precision::kFloat32 && widest <= kChunk)
    return of(context.precision == Precision::kTf32 ? LaunchTensorForward<Tf32>
                                                    : LaunchTensorForward<Bfloat16>);
  else
    return of(widest <= 2 * kAcross ? LaunchForward<2, false>
              : widest <= kChunk    ? LaunchForward<4, false>
                                    : LaunchForward<4, true>);
}

}  // namespace

std::span<const DeviceKernelEntry> AttentionKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"attention", Prepare<false>},
                                                   {"attentionBackward", Prepare<true>}};
  return kEntries;
}

}  // namespace kairos::gpu
