// Tiles of attention in float32: a block of 256 threads owns 64 rows (queries or keys) and walks over the others in
// columns of 64; a thread holds 4 x 4 of the scores between them. All operands of a tile are in shared memory.
//
//   rows ty 4 .. ty 4 + 3, columns tx + 16 j    ty = thread / 16, tx = thread % 16
//
// Products over channels read four channels at once; pitches are 4 beyond a multiple of 16 floats, so that neither
// reads nor writes of a quarter warp meet in a bank. Weights are kept by columns, weights[column][row], because the
// next product walks over columns and takes four rows at once.
#pragma once

#include "cuda/gpu.h"
#include "cuda/ranges.h"
#include "runtime/philox.h"

namespace kairos::gpu::attention {

constexpr int kTile = 64, kChunk = 64, kThreads = 256, kEach = 4, kAcross = kTile / kEach;
constexpr int kWeightPitch = kTile + 4;
constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

__device__ inline int RowOf(int i) { return static_cast<int>(threadIdx.x) / kAcross * kEach + i; }
__device__ inline int ColumnOf(int j) { return static_cast<int>(threadIdx.x) % kAcross + kAcross * j; }

__device__ inline int Lesser(int a, int b) { return a < b ? a : b; }

using Scores = float[kEach][kEach];

// ---- What a call is ----

// Places of operands that not every call has, and what its attributes say.
struct Options {
  int dlog_sum_exp = -1, range = -1, bias = -1, random = -1;
  int outputs = 0;        // the first output among the views
  int64_t bias_rows = 0;  // heads, or heads of the batch, at capacity
  float scale = 1;
  bool causal = false;
  uint32_t salt = 0, threshold = 0;
  float keep = 1;  // what dropout multiplies what it keeps by
};

// Only the batch may be long.
struct Sizes {
  int64_t batch;
  int queries, heads, width, keys, groups, value_width;

  __host__ __device__ Sizes(const Shape& q, const Shape& k, const Shape& v)
      : batch(q[0]),
        queries(static_cast<int>(q[1])),
        heads(static_cast<int>(q[2])),
        width(static_cast<int>(q[3])),
        keys(static_cast<int>(k[1])),
        groups(static_cast<int>(k[2])),
        value_width(static_cast<int>(v[3])) {}
  __device__ explicit Sizes(const TensorView* views)
      : Sizes(views[0].shape, views[1].shape, views[2].shape) {}
};

__host__ __device__ constexpr int TilesOf(int count) { return (count + kTile - 1) / kTile; }
// At least one, so that whoever has no channels still writes what depends on none.
__host__ __device__ constexpr int ChunksOf(int width) {
  return width <= kChunk ? 1 : (width + kChunk - 1) / kChunk;
}

// kWide: channels of a thread in products with weights, 2 where no operand has more than 32 channels, else 4. A tile
// has 16 kWide channels a row.
template <int kWide>
constexpr int kPitch = kAcross* kWide + 4;
template <int kWide>
constexpr size_t kTileBytes = static_cast<size_t>(kTile* kPitch<kWide>) * sizeof(float);
constexpr size_t kWeightBytes = static_cast<size_t>(kTile * kWeightPitch) * sizeof(float);

// ---- Operands ----

// Rows of one head: of q, k, v, dy.
struct Rows {
  const float* from;
  int64_t step;
  int width;

  __device__ Rows(const TensorView& view, int64_t b, int64_t head) {
    width = static_cast<int>(view.shape[3]);
    step = view.shape[2] * width;
    from = view.As<const float>() + b * view.shape[1] * step + head * width;
  }
};

// 64 rows from `row` on, a chunk of their channels; zeros beyond `end` and beyond the channels.
template <int kWide>
__device__ inline void LoadTile(const Rows& rows, int row, int end, int chunk, float* tile) {
  constexpr int kVectors = kAcross * kWide / 4;
  const int left = rows.width - chunk * kChunk, channels = left < kChunk ? left : kChunk;
  const int live = end - row < kTile ? end - row : kTile;
  const bool aligned = rows.width % 4 == 0;
  const float* from = rows.from + row * rows.step + chunk * kChunk;
  KAIROS_UNROLL
  for (int i = 0; i < kTile * kVectors / kThreads; ++i) {
    const int index = static_cast<int>(threadIdx.x) + i * kThreads;
    const int at = index / kVectors, channel = index % kVectors * 4;
    float4 value = {0, 0, 0, 0};
    if (at < live && channel < channels) {
      const float* source = from + at * rows.step + channel;
      if (aligned) {
        value = *reinterpret_cast<const float4*>(source);
      } else {
        value.x = source[0];
        if (channel + 1 < channels) value.y = source[1];
        if (channel + 2 < channels) value.z = source[2];
        if (channel + 3 < channels) value.w = source[3];
      }
    }
    *reinterpret_cast<float4*>(tile + at * kPitch<kWide> + channel) = value;
  }
}

// sums += own streamed^T over the channels of a chunk.
template <int kWide>
__device__ inline void AddScores(const float* own, const float* streamed, int channels, Scores& sums) {
  constexpr int kRow = kPitch<kWide>;
  const float *a = own + RowOf(0) * kRow, *b = streamed + ColumnOf(0) * kRow;
  KAIROS_ROLLED
  for (int channel = 0; channel < channels; channel += 4) {
    float4 left_four[kEach];
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) left_four[i] = *reinterpret_cast<const float4*>(a + i * kRow + channel);
    KAIROS_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const float4 right = *reinterpret_cast<const float4*>(b + j * kAcross * kRow + channel);
      KAIROS_UNROLL
      for (int i = 0; i < kEach; ++i) {
        sums[i][j] += left_four[i].x * right.x;
        sums[i][j] += left_four[i].y * right.y;
        sums[i][j] += left_four[i].z * right.z;
        sums[i][j] += left_four[i].w * right.w;
      }
    }
  }
}

// Two tiles that meet: rows that a block owns and columns that it walks over. kMany: their channels are several chunks.
template <int kWide, bool kMany>
struct Meeting {
  Rows own, streamed;
  int own_row, own_end;
  float *own_tile, *streamed_tile;

  // One chunk of each stays in its place, or comes there before every column tile.
  __device__ void LoadOwn() const {
    if (!kMany) LoadTile<kWide>(own, own_row, own_end, 0, own_tile);
  }
  __device__ void LoadStreamed(int row, int end) const {
    if (!kMany) LoadTile<kWide>(streamed, row, end, 0, streamed_tile);
  }
  // sums = own streamed^T. Of several chunks `last` stays in the tiles.
  __device__ void Multiply(int row, int end, int last, Scores& sums) const {
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) {
      KAIROS_UNROLL
      for (int j = 0; j < kEach; ++j) sums[i][j] = 0;
    }
    if constexpr (!kMany) {
      AddScores<kWide>(own_tile, streamed_tile, own.width, sums);
    } else {
      const int chunks = ChunksOf(own.width);
      for (int step = 1; step <= chunks; ++step) {
        const int chunk = (last + step) % chunks;
        BlockSync();
        LoadTile<kWide>(own, own_row, own_end, chunk, own_tile);
        LoadTile<kWide>(streamed, row, end, chunk, streamed_tile);
        BlockSync();
        AddScores<kWide>(own_tile, streamed_tile, Lesser(own.width - chunk * kChunk, kChunk), sums);
      }
    }
  }
};

// sums[row][channel] += weights[column][row] tile[column][channel]: kWide channels a thread, from tx kWide on.
template <int kWide>
__device__ inline void AddProduct(const float* weights, const float* tile, int columns,
                                  float (&sums)[kEach][kWide]) {
  const float* w = weights + RowOf(0);
  const float* x = tile + ColumnOf(0) * kWide;
  for (int column = 0; column < columns; ++column) {
    const float4 four = *reinterpret_cast<const float4*>(w + column * kWeightPitch);
    float values[kWide];
    if constexpr (kWide == 4) {
      const float4 value = *reinterpret_cast<const float4*>(x + column * kPitch<kWide>);
      values[0] = value.x, values[1] = value.y, values[2] = value.z, values[3] = value.w;
    } else {
      const float2 value = *reinterpret_cast<const float2*>(x + column * kPitch<kWide>);
      values[0] = value.x, values[1] = value.y;
    }
    KAIROS_UNROLL
    for (int c = 0; c < kWide; ++c) {
      sums[0][c] += four.x * values[c];
      sums[1][c] += four.y * values[c];
      sums[2][c] += four.z * values[c];
      sums[3][c] += four.w * values[c];
    }
  }
}

__device__ inline void StoreWeights(const Scores& values, float* weights) {
  KAIROS_UNROLL
  for (int j = 0; j < kEach; ++j)
    *reinterpret_cast<float4*>(weights + ColumnOf(j) * kWeightPitch + RowOf(0)) = {
        values[0][j], values[1][j], values[2][j], values[3][j]};
}

// rows[row][chunk channels] = by sums.
template <int kWide>
__device__ inline void StoreRows(const float (&sums)[kEach][kWide], float by, float* to, int64_t step,
                                 int row, int end, int width, int chunk) {
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) {
    KAIROS_UNROLL
    for (int c = 0; c < kWide; ++c) {
      const int64_t channel = int64_t{chunk} * kChunk + ColumnOf(0) * kWide + c;
      if (row + RowOf(i) < end && channel < width) to[(row + RowOf(i)) * step + channel] = by * sums[i][c];
    }
  }
}

// ---- Scores of one head ----

// What lies between products of channels and weights.
struct Head {
  int queries, keys;
  int begin, end;  // visible keys
  int frontier;    // query i sees keys below i + frontier
  const float* bias;
  float scale;
  uint64_t first;  // of this head's weights, in the stream of dropout
  PhiloxKey key;
  uint32_t step, threshold;
  float keep;

  __device__ Head(const TensorView* views, const Sizes& sizes, const Options& options, int64_t b, int64_t h)
      : queries(sizes.queries), keys(sizes.keys), begin(0), end(keys), bias(nullptr) {
    const int64_t row = b * sizes.heads + h;
    if (options.range >= 0) {
      const Range range(views[options.range].As<const int32_t>() + 2 * b, sizes.keys);
      begin = static_cast<int>(range.begin), end = static_cast<int>(range.end);
    }
    frontier = options.causal ? keys - queries + 1 : keys;
    if (options.bias >= 0) {
      const TensorView& view = views[options.bias];
      bias = view.As<const float>() + (view.shape.rank == 3 ? h : row) * queries * keys;
    }
    scale = options.scale * kLog2E;
    threshold = options.threshold;
    keep = options.keep;
    first = static_cast<uint64_t>(row) * static_cast<uint64_t>(queries) * static_cast<uint64_t>(keys);
    if (options.random >= 0) {
      const uint32_t* random = views[options.random].As<const uint32_t>();
      key = {random[0], options.salt};
      step = random[1];
    }
  }

  // Keys that any query before `queries_end` sees.
  __device__ int EndFor(int queries_end) const {
    const int last = queries_end - 1 + frontier;
    return last < end ? last : end;
  }
  __device__ bool Sees(int query, int at) const {
    return query < queries && at >= begin && at < end && at < query + frontier;
  }
  // The score in powers of two.
  __device__ float Score(float product, int query, int at) const {
    const float score = product * scale;
    return bias ? score + bias[int64_t{query} * keys + at] * kLog2E : score;
  }
  // Which of a thread's weights dropout keeps, a bit each. Rolled: Philox stands there once.
  template <int kCount = kEach* kEach, class PlaceOf>
  __device__ uint32_t Kept(const PlaceOf& place) const {
    if (threshold == 0) return ~0u;
    uint32_t bits = 0;
    KAIROS_ROLLED
    for (int at = 0; at < kCount; ++at) {
      const auto [query, column] = place(at);
      const uint64_t index = first + static_cast<uint64_t>(int64_t{query} * keys + column);
      const PhiloxBlock words =
          Philox({static_cast<uint32_t>(index >> 2), static_cast<uint32_t>(index >> 34), step, 0}, key);
      const uint32_t lane = index & 3;
      const uint32_t word = lane == 0 ? words[0] : lane == 1 ? words[1] : lane == 2 ? words[2] : words[3];
      bits |= uint32_t{word >= threshold} << at;
    }
    return bits;
  }
  __device__ float Keep(uint32_t bits, int i, int j) const {
    return bits >> (i * kEach + j) & 1 ? keep : 0.0f;
  }
};

struct Place {
  int query, key;
};

}  // namespace kairos::gpu::attention
