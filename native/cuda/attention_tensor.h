// The forward of attention on tensor cores, for heads of at most 64 channels: q, k, v and weights are rounded to TF32 or
// bfloat16, scores, sums and results are float32.
//
// A block of four warps owns 64 queries, a warp 16 of them, and walks over tiles of 64 keys; the scores of a warp are
// eight fragments of 16 x 8, and its weights are the next product's left operand as they lie in registers. For that a
// word of v's tile, which lies channel by channel, holds those keys that the same lane has as weights:
//
//   bfloat16   words t and t + 4 of 16 keys: keys 2 t, 2 t + 1 and 2 t + 8, 2 t + 9
//   TF32       words t and t + 4 of 8 keys: keys 2 t and 2 t + 1
#pragma once

#include "cuda/attention_tile.h"
#include "cuda/mma.h"

namespace kairos::gpu::attention {

constexpr int kTensorThreads = 128, kFragments = kTile / 8;

// Lines of q, k (along channels) and of v (along keys): pitches are 4 beyond a multiple of 8 words, so that eight lines
// by four words meet in no bank.
template <class Kind>
struct TensorTiles {
  static constexpr int kWords = kTile / Kind::kNumbers, kPitch = kWords + 4, kTileWords = kTile * kPitch;
  static constexpr size_t kBytes = 3 * static_cast<size_t>(kTileWords) * sizeof(uint32_t);
};

// Four neighbours of a row; zeros beyond the ends.
__device__ inline void LoadFour(const Rows& rows, int row, int end, int channel, float (&four)[4]) {
  const float* from = rows.from + row * rows.step + channel;
  if (row < end && rows.width % 4 == 0 && channel < rows.width) {
    const float4 value = *reinterpret_cast<const float4*>(from);
    four[0] = value.x, four[1] = value.y, four[2] = value.z, four[3] = value.w;
    return;
  }
  KAIROS_UNROLL
  for (int c = 0; c < 4; ++c) four[c] = row < end && channel + c < rows.width ? from[c] : 0.0f;
}

// Rows as lines along their channels.
template <class Kind>
__device__ inline void LoadLines(const Rows& rows, int first, int end, uint32_t* tile) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile / 4; i += kTensorThreads) {
    const int row = i / (kTile / 4), channel = i % (kTile / 4) * 4;
    float four[4];
    LoadFour(rows, first + row, end, channel, four);
    uint32_t* to = tile + row * TensorTiles<Kind>::kPitch + channel / Kind::kNumbers;
    KAIROS_UNROLL
    for (int word = 0; word < 4 / Kind::kNumbers; ++word)
      to[word] = Word(Kind(), four + word * Kind::kNumbers);
  }
}

// Channels as lines along keys, kNumbers keys a word.
template <class Kind>
__device__ inline void LoadTurned(const Rows& rows, int first, int end, uint32_t* tile) {
  constexpr int kNumbers = Kind::kNumbers;
  for (int i = static_cast<int>(threadIdx.x); i < kTile / kNumbers * kTile / 4; i += kTensorThreads) {
    const int key = i / (kTile / 4) * kNumbers, channel = i % (kTile / 4) * 4;
    float fours[kNumbers][4];
    KAIROS_UNROLL
    for (int n = 0; n < kNumbers; ++n) LoadFour(rows, first + key + n, end, channel, fours[n]);
    const int word = kNumbers == 2 ? key / 2 : key / 8 * 8 + key % 8 / 2 + key % 2 * 4;
    KAIROS_UNROLL
    for (int c = 0; c < 4; ++c) {
      float numbers[2] = {fours[0][c], fours[kNumbers - 1][c]};
      tile[(channel + c) * TensorTiles<Kind>::kPitch + word] = Word(Kind(), numbers);
    }
  }
}

// The left operand of a step from a warp's weights: fragment j of TF32, fragments 2 j and 2 j + 1 of bfloat16.
__device__ inline void WeightWords(Tf32, const float (&p)[kFragments][4], int j, uint32_t (&words)[4]) {
  words[0] = Word(Tf32(), &p[j][0]), words[1] = Word(Tf32(), &p[j][2]);
  words[2] = Word(Tf32(), &p[j][1]), words[3] = Word(Tf32(), &p[j][3]);
}
__device__ inline void WeightWords(Bfloat16, const float (&p)[kFragments][4], int j, uint32_t (&words)[4]) {
  words[0] = Word(Bfloat16(), &p[2 * j][0]), words[1] = Word(Bfloat16(), &p[2 * j][2]);
  words[2] = Word(Bfloat16(), &p[2 * j + 1][0]), words[3] = Word(Bfloat16(), &p[2 * j + 1][2]);
}

// blockIdx.x: (b, h, query tile).
template <class Kind>
__global__ void __launch_bounds__(kTensorThreads)
    TensorForwardKernel(const TensorView* views, Options options) {
  using Tiles = TensorTiles<Kind>;
  constexpr int kPitch = Tiles::kPitch, kSteps = Tiles::kWords / 8;
  const Sizes sizes(views);
  const int tiles = TilesOf(sizes.queries);
  if (blockIdx.x >= sizes.batch * sizes.heads * tiles) return;
  const int block = static_cast<int>(blockIdx.x), query = block % tiles * kTile, row = block / tiles;
  const int b = row / sizes.heads, h = row % sizes.heads, group = h / (sizes.heads / sizes.groups);
  const Head head(views, sizes, options, b, h);
  auto* q_tile = reinterpret_cast<uint32_t*>(SharedMemory());
  uint32_t *k_tile = q_tile + Tiles::kTileWords, *v_tile = k_tile + Tiles::kTileWords;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int own =
      static_cast<int>(threadIdx.x) / kWarp * 16 + g;  // and own + 8: this lane's rows of the tile
  const Rows keys(views[1], b, group), values(views[2], b, group);
  LoadLines<Kind>(Rows(views[0], b, h), query, sizes.queries, q_tile);

  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {}, result[kFragments][4] = {};
  const int end = head.EndFor(Lesser(query + kTile, sizes.queries));
  const int channel_steps = (sizes.width + 8 * Kind::kNumbers - 1) / (8 * Kind::kNumbers);
  for (int key = head.begin; key < end; key += kTile) {
    BlockSync();  // the last tiles have been read
    LoadLines<Kind>(keys, key, end, k_tile);
    LoadTurned<Kind>(values, key, end, v_tile);
    BlockSync();
    float p[kFragments][4] = {};
    KAIROS_ROLLED
    for (int step = 0; step < channel_steps; ++step) {
      const uint32_t* at = q_tile + own * kPitch + step * 8 + t;
      const uint32_t left[4] = {at[0], at[8 * kPitch], at[4], at[8 * kPitch + 4]};
      KAIROS_UNROLL
      for (int j = 0; j < kFragments; ++j) {
        const uint32_t* line = k_tile + (8 * j + g) * kPitch + step * 8 + t;
        const uint32_t right[2] = {line[0], line[4]};
        MultiplyAdd(Kind(), left, right, p[j]);
      }
    }
    const auto place = [&](int at) {
      return Place{query + own + at / 2 % 2 * 8, key + at / 4 * 8 + 2 * t + at % 2};
    };
    const uint32_t bits = head.Kept<kFragments * 4>(place);
    float greatest[2] = {-INFINITY, -INFINITY};
    KAIROS_UNROLL
    for (int j = 0; j < kFragments; ++j) {
      KAIROS_UNROLL
      for (int e = 0; e < 4; ++e) {
        const Place at = place(4 * j + e);
        p[j][e] = head.Sees(at.query, at.key) ? head.Score(p[j][e], at.query, at.key) : -INFINITY;
        greatest[e / 2] = Maximum()(greatest[e / 2], p[j][e]);
      }
    }
    float from[2];
    KAIROS_UNROLL
    for (int half = 0; half < 2; ++half) {
      greatest[half] = Maximum()(most[half], WarpCombine(greatest[half], Maximum(), 4));
      from[half] = greatest[half] == -INFINITY ? 0.0f : greatest[half];
      const float scale = exp2f(most[half] - from[half]);
      most[half] = greatest[half];
      sum[half] *= scale;
      KAIROS_UNROLL
      for (int j = 0; j < kFragments; ++j) result[j][2 * half] *= scale, result[j][2 * half + 1] *= scale;
    }
    KAIROS_UNROLL
    for (int j = 0; j < kFragments; ++j) {
      KAIROS_UNROLL
      for (int e = 0; e < 4; ++e) {
        p[j][e] = exp2f(p[j][e] - from[e / 2]);
        sum[e / 2] += p[j][e];
        p[j][e] *= bits >> (4 * j + e) & 1 ? head.keep : 0.0f;
      }
    }
    KAIROS_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      uint32_t left[4];
      WeightWords(Kind(), p, step, left);
      KAIROS_UNROLL
      for (int j = 0; j < kFragments; ++j) {
        if (8 * j >= sizes.value_width) continue;  // all threads alike
        const uint32_t* line = v_tile + (8 * j + g) * kPitch + step * 8 + t;
        const uint32_t right[2] = {line[0], line[4]};
        MultiplyAdd(Kind(), left, right, result[j]);
      }
    }
  }

  const int64_t step = int64_t{sizes.heads} * sizes.value_width;
  float* y = views[options.outputs].As<float>() + int64_t{b} * sizes.queries * step + h * sizes.value_width;
  KAIROS_UNROLL
  for (int half = 0; half < 2; ++half) {
    sum[half] = WarpCombine(sum[half], Sum(), 4);
    const int at = query + own + 8 * half;
    const float scale = sum[half] == 0 ? 0.0f : 1 / sum[half];
    if (at >= sizes.queries) continue;
    KAIROS_UNROLL
    for (int j = 0; j < kFragments; ++j) {
      KAIROS_UNROLL
      for (int e = 0; e < 2; ++e) {
        const int channel = 8 * j + 2 * t + e;
        if (channel < sizes.value_width) y[at * step + channel] = scale * result[j][2 * half + e];
      }
    }
    if (t == 0)
      views[options.outputs + 1].As<float>()[int64_t{row} * sizes.queries + at] =
          sum[half] == 0 ? -INFINITY : most[half] * kLn2 + logf(sum[half]);
  }
}

}  // namespace kairos::gpu::attention
