// The product on tensor cores: operands are rounded to TF32 or bfloat16 on their way into shared memory, sums are
// float32.
//
// A block makes a square tile of c, 2 x 4 warps of 64 x 32 or 2 x 2 of 32 x 32. Strips of 16 words of depth lie line by
// line (rows of a, columns of b) at a pitch of 20 words: a warp's reads of a fragment, eight lines by four words, and
// its stores of four words each meet in no bank. Two strips take turns: the next one's numbers come into registers while
// this one is multiplied, and a strip needs one meeting.
//
// Floor: 2 m n k operations over the peak of the precision. Words are read one by one, without ldmatrix: 24 reads for 16
// steps of the cores, which should hold TF32's rate and about bfloat16's. Unmeasured.
#pragma once

#include "cuda/mma.h"
#include "cuda/product.h"

namespace kairos::gpu::product {

constexpr int kStripWords = 16, kStripPitch = kStripWords + 4, kStepWords = 8;

template <int kTile>
struct Warps {
  static constexpr int kDown = 2, kAcross = kTile == 128 ? 4 : 2, kThreads = kWarp * kDown * kAcross;
  static constexpr int kRows = kTile / kDown / 16, kColumns = kTile / kAcross / 8;  // fragments of a warp
};

// One operand, line by line.
struct Lines {
  const float* from;
  int64_t count, lead;
  bool depth_last;  // numbers of a line are neighbours
};

// A thread's numbers of a strip: four neighbours in depth at a time.
template <class Kind, int kTile>
struct Strip {
  static constexpr int kDepth = kStripWords * Kind::kNumbers, kQuads = kDepth / 4;
  static constexpr int kThreads = Warps<kTile>::kThreads, kEach = kTile * kQuads / kThreads;
  float numbers[kEach][4];

  // Neighbouring threads read neighbours, whichever way the matrix lies.
  static __device__ int LineOf(int unit, bool depth_last) {
    return depth_last ? unit / kQuads : unit % kTile;
  }
  static __device__ int QuadOf(int unit, bool depth_last) {
    return depth_last ? unit % kQuads : unit / kTile;
  }

  __device__ void Load(const Lines& lines, int64_t first, int64_t depth, int64_t end) {
    const bool aligned = lines.depth_last && lines.lead % 4 == 0;
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) {
      const int unit = static_cast<int>(threadIdx.x) + i * kThreads;
      const int64_t line = first + LineOf(unit, lines.depth_last);
      const int64_t at = depth + 4 * QuadOf(unit, lines.depth_last);
      if (aligned && line < lines.count && at + 4 <= end) {
        const float4 four = *reinterpret_cast<const float4*>(lines.from + line * lines.lead + at);
        numbers[i][0] = four.x, numbers[i][1] = four.y, numbers[i][2] = four.z, numbers[i][3] = four.w;
        continue;
      }
      KAIROS_UNROLL
      for (int j = 0; j < 4; ++j) {
        const bool inside = line < lines.count && at + j < end;
        numbers[i][j] = !inside            ? 0.0f
                        : lines.depth_last ? lines.from[line * lines.lead + at + j]
                                           : lines.from[(at + j) * lines.lead + line];
      }
    }
  }
  __device__ void Store(bool depth_last, uint32_t* strip) const {
    KAIROS_UNROLL
    for (int i = 0; i < kEach; ++i) {
      const int unit = static_cast<int>(threadIdx.x) + i * kThreads;
      uint32_t* to =
          strip + LineOf(unit, depth_last) * kStripPitch + QuadOf(unit, depth_last) * (4 / Kind::kNumbers);
      if constexpr (Kind::kNumbers == 1)
        *reinterpret_cast<Words4*>(to) = {Word(Kind(), numbers[i]), Word(Kind(), numbers[i] + 1),
                                          Word(Kind(), numbers[i] + 2), Word(Kind(), numbers[i] + 3)};
      else
        *reinterpret_cast<Words2*>(to) = {Word(Kind(), numbers[i]), Word(Kind(), numbers[i] + 2)};
    }
  }

 private:
  struct alignas(16) Words4 {
    uint32_t of[4];
  };
  struct alignas(8) Words2 {
    uint32_t of[2];
  };
};

// blockIdx.x: tile of c; y: matrix of the batch; z: slice of k.
template <class Kind, int kTile>
__global__ void __launch_bounds__(Warps<kTile>::kThreads)
    TensorProductKernel(const TensorView* views, Form form, float* partial) {
  using Warps = Warps<kTile>;
  constexpr int kRows = Warps::kRows, kColumns = Warps::kColumns;
  __shared__ __align__(16) uint32_t a_strips[2][kTile * kStripPitch], b_strips[2][kTile * kStripPitch];
  const TensorView &a = views[0], &b = views[1], &c = views[form.bias ? 3 : 2];
  const Sizes sizes = SizesOf(a.shape, b.shape, form.transpose_a, form.transpose_b);
  const int64_t across = (sizes.n + kTile - 1) / kTile, tiles = (sizes.m + kTile - 1) / kTile * across;
  const int64_t k_begin = form.slice * blockIdx.z;
  const int64_t k_end = form.slice > 0 && k_begin + form.slice < sizes.k ? k_begin + form.slice : sizes.k;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4, t = lane % 4;
  const int warp_row = warp / Warps::kAcross * kRows * 16, warp_column = warp % Warps::kAcross * kColumns * 8;
  // A slice beyond the live k has nothing to add; whole blocks leave.
  if (blockIdx.z > 0 && k_begin >= sizes.k) return;
  for (int64_t matrix = blockIdx.y; matrix < sizes.batch; matrix += gridDim.y)
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      const Lines of_a{a.As<const float>() + matrix * sizes.m * sizes.k, sizes.m,
                       form.transpose_a ? sizes.m : sizes.k, !form.transpose_a};
      const Lines of_b{b.As<const float>() + (b.shape.rank == 2 ? 0 : matrix * sizes.k * sizes.n), sizes.n,
                       form.transpose_b ? sizes.k : sizes.n, form.transpose_b};
      const int64_t row = tile / across * kTile, column = tile % across * kTile;
      float sums[kRows][kColumns][4] = {};
      using StripOf = Strip<Kind, kTile>;
      StripOf a_numbers, b_numbers;
      a_numbers.Load(of_a, row, k_begin, k_end);
      b_numbers.Load(of_b, column, k_begin, k_end);
      int turn = 0;
      for (int64_t depth = k_begin; depth < k_end; depth += StripOf::kDepth, turn ^= 1) {
        a_numbers.Store(of_a.depth_last, a_strips[turn]);
        b_numbers.Store(of_b.depth_last, b_strips[turn]);
        BlockSync();
        a_numbers.Load(of_a, row, depth + StripOf::kDepth, k_end);
        b_numbers.Load(of_b, column, depth + StripOf::kDepth, k_end);
        const uint32_t* a_line = a_strips[turn] + (warp_row + g) * kStripPitch + t;
        const uint32_t* b_line = b_strips[turn] + (warp_column + g) * kStripPitch + t;
        KAIROS_UNROLL
        for (int word = 0; word < kStripWords; word += kStepWords) {
          uint32_t left[kRows][4], right[kColumns][2];
          KAIROS_UNROLL
          for (int i = 0; i < kRows; ++i) {
            const uint32_t* at = a_line + 16 * i * kStripPitch + word;
            left[i][0] = at[0], left[i][1] = at[8 * kStripPitch];
            left[i][2] = at[4], left[i][3] = at[8 * kStripPitch + 4];
          }
          KAIROS_UNROLL
          for (int j = 0; j < kColumns; ++j) {
            const uint32_t* at = b_line + 8 * j * kStripPitch + word;
            right[j][0] = at[0], right[j][1] = at[4];
          }
          KAIROS_UNROLL
          for (int i = 0; i < kRows; ++i) {
            KAIROS_UNROLL
            for (int j = 0; j < kColumns; ++j) MultiplyAdd(Kind(), left[i], right[j], sums[i][j]);
          }
        }
      }
      BlockSync();  // the next tile's strips come where these were read
      float* to = form.slice > 0 ? partial + (blockIdx.z * sizes.batch + matrix) * sizes.m * sizes.n
                                 : c.As<float>() + matrix * sizes.m * sizes.n;
      const float* bias = form.bias && form.slice == 0 ? views[2].As<const float>() : nullptr;
      KAIROS_UNROLL
      for (int i = 0; i < kRows; ++i) {
        KAIROS_UNROLL
        for (int j = 0; j < kColumns; ++j) {
          KAIROS_UNROLL
          for (int e = 0; e < 4; ++e) {
            const int64_t m = row + warp_row + 16 * i + g + e / 2 * 8;
            const int64_t n = column + warp_column + 8 * j + 2 * t + e % 2;
            if (m >= sizes.m || n >= sizes.n) continue;
            const float sum = sums[i][j][e] + (bias ? bias[n] : 0.0f);
            to[m * sizes.n + n] = form.slice > 0 ? sum : Activate(form.activation, sum);
          }
        }
      }
    }
}

}  // namespace kairos::gpu::product
