// topK(x) -> values, indices and topKBackward(indices, dvalues) -> dx, ordered as in cpu/top_k.cc: elements become words
// that differ from each other and order as they rank.
//
// A block selects the k greatest words of a row, or of a part of it where rows are few: digit by digit from the top it
// counts the words that share the digits found so far, until those from a bound on are k; these it collects and sorts.
// The best of a row are among those of its parts, which a second launch selects from. Whatever the order of collecting,
// the result is the same. Floor: x once over the bandwidth; digits after the first read it again, from the caches where
// a row fits.
#include "cuda/bits.h"
#include "cuda/families.h"
#include "cuda/rows.h"

namespace kairos::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits, kDigitsOfThread = kDigits / kThreads;
constexpr int64_t kSharedWords = 2048;
constexpr int64_t kLeastPart = 8192, kEnoughBlocks = 264;

// Zeros are equal whatever their sign, NaN stands below minus infinity; the greater word ranks first.
__device__ uint64_t WordOf(float value, int64_t index) {
  uint32_t rank = 0;
  if (value == value) {
    const uint32_t bits = AsBits(value + 0.0f);
    rank = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  return uint64_t{rank} << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(index));
}
__device__ int64_t IndexOf(uint64_t word) { return 0xFFFFFFFFu - static_cast<uint32_t>(word); }

struct FloatRow {
  const float* x;
  int64_t begin, count;
  __device__ uint64_t At(int64_t i) const { return WordOf(x[begin + i], begin + i); }
};
struct WordRow {
  const uint64_t* words;
  int64_t count;
  __device__ uint64_t At(int64_t i) const { return words[i]; }
};

// body(word) of all words of a row, a block's threads side by side; four are read before the first is used.
template <class Row, class Body>
__device__ void ForWords(const Row& row, Body body) {
  constexpr int kEach = 4;
  for (int64_t begin = threadIdx.x; begin < row.count; begin += kEach * kThreads) {
    uint64_t words[kEach];
    KAIROS_UNROLL
    for (int e = 0; e < kEach; ++e)
      words[e] = begin + e * kThreads < row.count ? row.At(begin + e * kThreads) : 0;
    KAIROS_UNROLL
    for (int e = 0; e < kEach; ++e)
      if (begin + e * kThreads < row.count) body(words[e]);
  }
}

// The least of the k greatest words. All threads of a block; k is at most the row's count.
template <class Row>
__device__ uint64_t FindBound(const Row& row, int64_t k) {
  __shared__ int32_t counts[kDigits];
  __shared__ int32_t found[2];  // the digit, and how many stand above it
  uint64_t prefix = 0;
  int32_t wanted = static_cast<int32_t>(k);
  for (int shift = 64; shift > 0;) {
    const int bits = shift < kDigitBits ? shift : kDigitBits;
    const int above = shift;
    shift -= bits;
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) counts[i] = 0;
    BlockSync();
    ForWords(row, [&](uint64_t word) {
      // Digits are counted from the greatest.
      if (above == 64 || word >> above == prefix >> above)
        AtomicAdd(&counts[kDigits - 1 - static_cast<int>(word >> shift & ((1u << bits) - 1))], 1);
    });
    BlockSync();
    int32_t mine = 0, total = 0;
    for (int j = 0; j < kDigitsOfThread; ++j) mine += counts[threadIdx.x * kDigitsOfThread + j];
    int32_t before = BlockPrefix(mine, &total);
    for (int j = 0; j < kDigitsOfThread; ++j) {
      const int digit = static_cast<int>(threadIdx.x) * kDigitsOfThread + j;
      if (before < wanted && before + counts[digit] >= wanted) {
        found[0] = digit;
        found[1] = before;
      }
      before += counts[digit];
    }
    BlockSync();
    const int32_t digit = found[0];
    prefix |= static_cast<uint64_t>(kDigits - 1 - digit) << shift;
    wanted -= found[1];
    const bool all = counts[digit] == wanted;
    BlockSync();  // everybody has read them
    if (all) break;
  }
  return prefix;
}

// Falling; `count` words and room for zeros up to a power of two. All threads of a block.
__device__ void SortWords(uint64_t* words, int64_t count) {
  int64_t size = 1;
  while (size < count) size *= 2;
  for (int64_t i = count + threadIdx.x; i < size; i += kThreads) words[i] = 0;
  BlockSync();
  for (int64_t run = 2; run <= size; run *= 2)
    for (int64_t distance = run / 2; distance > 0; distance /= 2) {
      for (int64_t i = threadIdx.x; i < size / 2; i += kThreads) {
        const int64_t low = 2 * distance * (i / distance) + i % distance, high = low + distance;
        const bool falls = (low & run) == 0;
        const uint64_t a = words[low], b = words[high];
        if (falls ? a < b : a > b) {
          words[low] = b;
          words[high] = a;
        }
      }
      BlockSync();
    }
}

struct TopK {
  const TensorView* views;
  int64_t k, parts, room;  // room: words of a block in `sorted`; 0: they fit shared memory
  uint64_t* best;          // [row][part][k], where rows are cut
  uint64_t* sorted;        // [block][room]
};

// The k greatest of a row, collected; `words` has room for them.
template <class Row>
__device__ void Collect(const Row& row, int64_t k, uint64_t* words) {
  __shared__ int32_t taken;
  const uint64_t bound = FindBound(row, k);
  if (threadIdx.x == 0) taken = 0;
  BlockSync();
  ForWords(row, [&](uint64_t word) {
    if (word >= bound) words[AtomicAdd(&taken, 1)] = word;
  });
  BlockSync();
}

// blockIdx.x: row; y: part.
__global__ void __launch_bounds__(kThreads, 4) SelectPartsKernel(TopK top) {
  const Shape& shape = top.views[0].shape;
  const int64_t rows = shape.Product(0, shape.rank - 1), count = shape.Last(), part = blockIdx.y;
  for (int64_t at = blockIdx.x; at < rows; at += gridDim.x) {
    const int64_t begin = count * part / top.parts, end = count * (part + 1) / top.parts;
    uint64_t* to = top.best + (at * top.parts + part) * top.k;
    const FloatRow row{Global(top.views[0].As<const float>()) + at * count, begin, end - begin};
    // A live part may have fewer; words of zero stand behind all others.
    const int64_t most = end - begin < top.k ? end - begin : top.k;
    for (int64_t i = most + threadIdx.x; i < top.k; i += kThreads) to[i] = 0;
    if (most > 0) Collect(row, most, to);
  }
}

__global__ void __launch_bounds__(kThreads, 4) SelectKernel(TopK top) {
  __shared__ uint64_t shared[kSharedWords];
  const Shape& shape = top.views[0].shape;
  const int64_t rows = shape.Product(0, shape.rank - 1), count = shape.Last();
  uint64_t* words = top.room > 0 ? top.sorted + blockIdx.x * top.room : shared;
  for (int64_t at = blockIdx.x; at < rows; at += gridDim.x) {
    const float* x = Global(top.views[0].As<const float>()) + at * count;
    if (top.parts > 1)
      Collect(WordRow{top.best + at * top.parts * top.k, top.parts * top.k}, top.k, words);
    else
      Collect(FloatRow{x, 0, count}, top.k, words);
    SortWords(words, top.k);
    for (int64_t i = threadIdx.x; i < top.k; i += kThreads) {
      const int64_t index = IndexOf(words[i]);
      top.views[1].As<float>()[at * top.k + i] = x[index];
      top.views[2].As<int32_t>()[at * top.k + i] = static_cast<int32_t>(index);
    }
    BlockSync();  // the words are read
  }
}

std::unique_ptr<DeviceKernel> PrepareTopK(DevicePrepareContext& context) {
  const Shape& shape = context.inputs[0].shape;
  const int64_t k = context.attributes.Int("k"), count = shape.Last();
  const int64_t rows = shape.Product(0, shape.rank - 1);
  const int64_t cuts =
      std::min(count / std::max(kLeastPart, 4 * k), kEnoughBlocks / std::max<int64_t>(rows, 1));
  const int64_t parts = std::max<int64_t>(cuts, 1);
  int64_t size = 1;
  while (size < k) size *= 2;
  const int64_t room = size > kSharedWords ? size : 0;
  // Few blocks where each needs memory of its own.
  const int64_t blocks = room > 0 ? std::min(rows, kEnoughBlocks) : rows;
  const int64_t best = parts > 1 ? rows * parts * k : 0;
  context.scratch_bytes = static_cast<size_t>(best + blocks * room) * sizeof(uint64_t);
  return MakeKernel([=](const LaunchContext& launch) {
    if (rows == 0) return;
    auto* words = reinterpret_cast<uint64_t*>(launch.scratch);
    const TopK top{launch.views, k, parts, room, words, words + best};
    if (parts > 1)
      LaunchOn(launch.stream, dim3(static_cast<unsigned>(rows), static_cast<unsigned>(parts)), kThreads,
               SelectPartsKernel, top);
    Launch(launch, blocks, kThreads, SelectKernel, top);
  });
}

// The first of equal indices adds up all of them, in order.
template <bool kBlock>
__global__ void TopKBackwardKernel(const TensorView* views, FaultSink sink) {
  using Group = RowGroup<kBlock>;
  const TensorView &indices = views[0], &dx = views[2];
  const int64_t k = indices.shape.Last(), count = dx.shape.Last();
  const int64_t rows = indices.shape.Product(0, indices.shape.rank - 1);
  for (int64_t row = Group::First(); row < rows; row += Group::Step()) {
    const auto* list = indices.As<const int32_t>() + row * k;
    const float* dvalues = views[1].As<const float>() + row * k;
    float* to = dx.As<float>() + row * count;
    for (int64_t i = Group::Lane(); i < count; i += Group::kLanes) to[i] = 0;
    if (kBlock)
      BlockSync();
    else
      WarpSync();
    for (int64_t i = Group::Lane(); i < k; i += Group::kLanes) {
      const int64_t index = list[i];
      if (index < 0 || index >= count) {
        sink.RaiseId(row * k + i, index, count);
        continue;
      }
      bool first = true;
      for (int64_t j = 0; first && j < i; ++j) first = list[j] != index;
      if (!first) continue;
      float sum = 0;
      for (int64_t j = i; j < k; ++j)
        if (list[j] == index) sum += dvalues[j];
      to[index] = sum;
    }
  }
}

std::unique_ptr<DeviceKernel> PrepareTopKBackward(DevicePrepareContext& context) {
  const Shape shape = context.outputs[0].shape;
  return MakeKernel(
      [rows = shape.Product(0, shape.rank - 1), count = shape.Last()](const LaunchContext& launch) {
        LaunchRows(launch, rows, count, TopKBackwardKernel<false>, TopKBackwardKernel<true>, launch.views,
                   SinkOf(launch));
      });
}

}  // namespace

std::span<const DeviceKernelEntry> TopKKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"topK", PrepareTopK},
                                                   {"topKBackward", PrepareTopKBackward}};
  return kEntries;
}

}  // namespace kairos::gpu
