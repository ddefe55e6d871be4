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

struct Sizes {
  int64_t batch, queries, heads, width, keys, groups, value_width;
  __host__ __device__ Sizes(const Shape& q, const Shape& k, const Shape& v)
      : batch(q[0]), queries(q[1]), heads(q[2]), width(q[3]), keys(k[1]), groups(k[2]), value_width(v[3]) {}
  __device__ explicit Sizes(const TensorView* views)
      : Sizes(views[0].shape, views[1].shape, views[2].shape) {}
};

__host__ __device__ constexpr int64_t TilesOf(int64_t count) { return (count + kTile - 1) / kTile; }
// At least one, so that whoever has no channels still writes what depends on none.
__host__ __device__ constexpr int ChunksOf(int64_t width) {
  return width <= kChunk ? 1 : static_cast<int>((width + kChunk - 1) / kChunk);
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
  int64_t step, width;

  __device__ Rows(const TensorView& view, int64_t b, int64_t head) {
    width = view.shape[3];
    step = view.shape[2] * width;
    from = view.As<const float>() + b * view.shape[1] * step + head * width;
  }
};

// 64 rows from `row` on, a chunk of their channels; zeros beyond `end` and beyond the channels.
template <int kWide>
__device__ inline void LoadTile(const Rows& rows, int64_t row, int64_t end, int chunk, float* tile) {
  const int64_t left = rows.width - int64_t{chunk} * kChunk;
  constexpr int kVectors = kAcross * kWide / 4;
  const int channels = left < kChunk ? static_cast<int>(left) : kChunk;
  const int live = end - row < kTile ? static_cast<int>(end - row) : kTile;
  const bool aligned = rows.width % 4 == 0;
  const float* from = rows.from + row * rows.step + int64_t{chunk} * kChunk;
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
__device__ inline void AddScores(const float* own, const float* streamed, int64_t width, int chunk,
                                 Scores& sums) {
  const int64_t left = width - int64_t{chunk} * kChunk;
  const int channels = left < kChunk ? static_cast<int>(left) : kChunk;
  constexpr int kRow = kPitch<kWide>;
  const float *a = own + RowOf(0) * kRow, *b = streamed + ColumnOf(0) * kRow;
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

// Two tiles that meet: rows that a block owns and columns that it walks over.
template <int kWide>
struct Meeting {
  Rows own, streamed;
  int64_t own_row, own_end;
  float *own_tile, *streamed_tile;

  __device__ int chunks() const { return ChunksOf(own.width); }
  __device__ void LoadOwn(int chunk) const { LoadTile<kWide>(own, own_row, own_end, chunk, own_tile); }
  __device__ void LoadStreamed(int64_t row, int64_t end, int chunk) const {
    LoadTile<kWide>(streamed, row, end, chunk, streamed_tile);
  }
  // sums = own streamed^T. One chunk is in its place already; of several `last` stays in theirs.
  __device__ void Multiply(int64_t row, int64_t end, int last, Scores& sums) const {
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) KAIROS_UNROLL
    for (int j = 0; j < kEach; ++j) sums[i][j] = 0;
    if (chunks() == 1) return AddScores<kWide>(own_tile, streamed_tile, own.width, 0, sums);
    for (int step = 1; step <= chunks(); ++step) {
      const int chunk = (last + step) % chunks();
      BlockSync();
      LoadOwn(chunk);
      LoadStreamed(row, end, chunk);
      BlockSync();
      AddScores<kWide>(own_tile, streamed_tile, own.width, chunk, sums);
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
                                 int64_t row, int64_t end, int64_t width, int chunk) {
  KAIROS_UNROLL
  for (int i = 0; i < kEach; ++i) KAIROS_UNROLL
  for (int c = 0; c < kWide; ++c) {
    const int64_t channel = int64_t{chunk} * kChunk + ColumnOf(0) * kWide + c;
    if (row + RowOf(i) < end && channel < width) to[(row + RowOf(i)) * step + channel] = by * sums[i][c];
  }
}

// ---- Scores of one head ----

// What lies between products of channels and weights.
struct Head {
  int64_t queries, keys;
  int64_t begin, end;  // visible keys
  int64_t frontier;    // query i sees keys below i + frontier
  const float* bias;
  float scale;
  uint64_t first;  // of this head's weights, in the stream of dropout
  PhiloxKey key;
  uint32_t step, threshold;
  float keep;

  __device__ Head(const TensorView* views, const Sizes& sizes, const Options& options, int64_t b, int64_t h)
      : queries(sizes.queries), keys(sizes.keys), begin(0), end(sizes.keys), bias(nullptr) {
    const int64_t row = b * sizes.heads + h;
    if (options.range >= 0) {
      const Range range(views[options.range].As<const int32_t>() + 2 * b, sizes.keys);
      begin = range.begin, end = range.end;
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

  // Keys that any query of [first, end) sees.
  __device__ int64_t EndFor(int64_t queries_end) const {
    const int64_t last = queries_end - 1 + frontier;
    return last < end ? last : end;
  }
  __device__ bool Sees(int64_t query, int64_t at) const {
    return query < queries && at >= begin && at < end && at < query + frontier;
  }
  // The score in powers of two.
  __device__ float Score(float product, int64_t query, int64_t at) const {
    const float score = product * scale;
    return bias ? score + bias[query * keys + at] * kLog2E : score;
  }
  __device__ float Keep(int64_t query, int64_t at) const {
    if (threshold == 0) return keep;
    const uint64_t index = first + static_cast<uint64_t>(query * keys + at);
    const PhiloxBlock words =
        Philox({static_cast<uint32_t>(index >> 2), static_cast<uint32_t>(index >> 34), step, 0}, key);
    const uint32_t lane = index & 3;
    const uint32_t word = lane == 0 ? words[0] : lane == 1 ? words[1] : lane == 2 ? words[2] : words[3];
    return word < threshold ? 0 : keep;
  }
};

}  // namespace kairos::gpu::attention
