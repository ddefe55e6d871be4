// targetAttention(q, k, v, offsets) -> y, logSumExp and targetAttentionBackward, as cpu/target_attention.cc has them:
// queries of each user over that user's own rows.
//
// A block has a head of a user and up to kTargets of its queries. `kLanes` neighbours read a row of k and of v, four
// channels each, and keep running maxima and sums of their own; 128 / kLanes such groups walk over the rows in steps,
// kRows at once so that loads are under way while scores are made. At the end the groups are joined in order.
// Backward: a row of k and v is one group's, who writes its dk and dv; dq is joined over the groups.
//
// Heads of more than 128 channels: a block has a chunk of 128 of the results and walks over all of them for scores.
//
// Floor: k and v once (backward: twice, with dk and dv written) over the bandwidth. Unmeasured.
#include "cuda/families.h"
#include "cuda/gpu.h"
#include "cuda/ranges.h"

namespace kairos::gpu {
namespace {

constexpr int kThreads = 128, kRows = 4, kFour = 4, kWidest = kWarp * kFour;
constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

struct Sizes {
  int64_t users, rows;
  int targets, heads, width, value_width;

  __host__ __device__ Sizes(const Shape& q, const Shape& k, const Shape& v)
      : users(q[0]),
        rows(k[0]),
        targets(static_cast<int>(q[1])),
        heads(static_cast<int>(q[2])),
        width(static_cast<int>(q[3])),
        value_width(static_cast<int>(v[2])) {}
  __device__ explicit Sizes(const TensorView* views)
      : Sizes(views[0].shape, views[1].shape, views[2].shape) {}
  __host__ __device__ int Chunks() const {
    const int widest = width > value_width ? width : value_width;
    return widest <= kWidest ? 1 : (widest + kWidest - 1) / kWidest;
  }
};

// Raises for the first offset that is none. One block.
__global__ void CheckOffsetsKernel(const TensorView* views, FaultSink sink) {
  const Sizes sizes(views);
  const int32_t* offsets = views[3].As<const int32_t>();
  const auto limit_of = [&](int64_t at) {
    const int64_t next = at < sizes.users ? offsets[at + 1] : sizes.rows;
    return next < sizes.rows ? next : sizes.rows;
  };
  int64_t first = sizes.users + 1;
  for (int64_t at = threadIdx.x; at <= sizes.users && first > sizes.users; at += blockDim.x)
    if (offsets[at] < 0 || offsets[at] > limit_of(at)) first = at;
  first = BlockCombine(first, Least());
  if (threadIdx.x > 0 || first > sizes.users) return;
  const int64_t limit = limit_of(first);
  sink.Raise(DeviceFault::kBound, DeviceFault::kOffset, first, offsets[first], 0, (limit < 0 ? 0 : limit) + 1,
             3);
}

// ---- Four channels of a row ----

using Four = float[kFour];

__device__ inline void Load(const float* row, int channel, int width, bool aligned, Four& four) {
  if (aligned && channel < width) {
    const float4 value = *reinterpret_cast<const float4*>(row + channel);
    four[0] = value.x, four[1] = value.y, four[2] = value.z, four[3] = value.w;
    return;
  }
  KAIROS_UNROLL
  for (int c = 0; c < kFour; ++c) four[c] = channel + c < width ? row[channel + c] : 0.0f;
}

// `more`: adds to what is there.
__device__ inline void Store(const Four& four, float* row, int channel, int width, bool aligned, bool more) {
  if (aligned && channel < width && !more) {
    *reinterpret_cast<float4*>(row + channel) = {four[0], four[1], four[2], four[3]};
    return;
  }
  KAIROS_UNROLL
  for (int c = 0; c < kFour; ++c)
    if (channel + c < width) row[channel + c] = more ? row[channel + c] + four[c] : four[c];
}

__device__ inline float Dot(const Four& a, const Four& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
}

__device__ inline void Clear(Four& four) {
  KAIROS_UNROLL
  for (float& value : four) value = 0;
}

__device__ inline void AddTimes(float by, const Four& other, Four& four) {
  KAIROS_UNROLL
  for (int c = 0; c < kFour; ++c) four[c] += by * other[c];
}

// ---- A block's part ----

template <int kLanes>
struct Part {
  Sizes sizes;
  int64_t user, begin, end;  // rows
  int head, lane, group;
  int channel;  // the lane's first, in the block's chunk
  bool aligned;

  static constexpr int kGroups = kThreads / kLanes;

  __device__ Part(const TensorView* views, int64_t block)
      : sizes(views),
        user(block / sizes.heads),
        head(static_cast<int>(block % sizes.heads)),
        lane(static_cast<int>(threadIdx.x) % kLanes),
        group(static_cast<int>(threadIdx.x) / kLanes),
        channel(static_cast<int>(blockIdx.y) * kWidest + lane * kFour),
        aligned(sizes.width % kFour == 0 && sizes.value_width % kFour == 0) {
    const Range range(views[3].As<const int32_t>() + user, sizes.rows);
    begin = range.begin, end = range.end;
  }
  // Of q and y: a target's row; of k and v: a row of the history.
  __device__ int64_t Target(int target) const { return (user * sizes.targets + target) * sizes.heads + head; }
  __device__ int64_t Row(int64_t row) const { return row * sizes.heads + head; }
  __device__ int64_t Score(int target) const { return (user * sizes.heads + head) * sizes.targets + target; }
  __device__ void LoadKey(const float* rows, int64_t row, Four& four) const {
    Load(rows + row * sizes.width, channel, sizes.width, aligned, four);
  }
  __device__ void LoadValue(const float* rows, int64_t row, Four& four) const {
    Load(rows + row * sizes.value_width, channel, sizes.value_width, aligned, four);
  }
  // The whole product of two rows; every lane of the group gets it.
  __device__ float Product(const float* a, const float* b, int width) const {
    float sum = 0;
    for (int at = lane * kFour; at < width; at += kLanes * kFour) {
      Four left, right;
      Load(a, at, width, aligned, left);
      Load(b, at, width, aligned, right);
      sum += Dot(left, right);
    }
    return WarpCombine(sum, Sum(), kLanes);
  }
};

// kMany: several chunks of channels.
template <int kLanes, int kTargets, bool kMany>
__global__ void __launch_bounds__(kThreads) ForwardKernel(const TensorView* views, float scale) {
  using Part = Part<kLanes>;
  const int64_t tiles = (views[0].shape[1] + kTargets - 1) / kTargets;
  if (blockIdx.x >= views[0].shape[0] * views[0].shape[2] * tiles) return;
  const Part part(views, blockIdx.x / tiles);
  const int first = static_cast<int>(blockIdx.x % tiles) * kTargets;
  const float *q = views[0].As<const float>(), *k = views[1].As<const float>(),
              *v = views[2].As<const float>();
  scale *= kLog2E;

  Four query[kTargets], result[kTargets];
  float most[kTargets], sum[kTargets];
  KAIROS_UNROLL
  for (int t = 0; t < kTargets; ++t) {
    Clear(query[t]);
    Clear(result[t]);
    if (first + t < part.sizes.targets) part.LoadKey(q, part.Target(first + t), query[t]);
    most[t] = -INFINITY, sum[t] = 0;
  }
  // Lanes of one warp stay together, whatever their groups still have to do.
  for (int64_t row = part.begin; row < part.end; row += kRows * Part::kGroups) {
    Four value[kRows];
    float score[kTargets][kRows];
    KAIROS_UNROLL
    for (int u = 0; u < kRows; ++u) {
      const int64_t at = row + u * Part::kGroups + part.group;
      const bool live = at < part.end;
      Four key;
      Clear(key);
      Clear(value[u]);
      if (live && !kMany) part.LoadKey(k, part.Row(at), key);
      if (live) part.LoadValue(v, part.Row(at), value[u]);
      KAIROS_UNROLL
      for (int t = 0; t < kTargets; ++t) {
        if constexpr (kMany) {
          const int64_t target = part.Target(first + t < part.sizes.targets ? first + t : first);
          score[t][u] =
              part.Product(q + target * part.sizes.width,
                           k + part.Row(live ? at : part.begin) * part.sizes.width, part.sizes.width);
        } else {
          score[t][u] = WarpCombine(Dot(query[t], key), Sum(), kLanes);
        }
        score[t][u] = live ? score[t][u] * scale : -INFINITY;
      }
    }
    KAIROS_UNROLL
    for (int t = 0; t < kTargets; ++t) {
      float greatest = most[t];
      KAIROS_UNROLL
      for (int u = 0; u < kRows; ++u) greatest = Maximum()(greatest, score[t][u]);
      const float from = greatest == -INFINITY ? 0.0f : greatest, by = exp2f(most[t] - from);
      most[t] = greatest;
      sum[t] *= by;
      KAIROS_UNROLL
      for (float& entry : result[t]) entry *= by;
      KAIROS_UNROLL
      for (int u = 0; u < kRows; ++u) {
        const float weight = exp2f(score[t][u] - from);
        sum[t] += weight;
        AddTimes(weight, value[u], result[t]);
      }
    }
  }

  // Groups are joined in their order.
  __shared__ float mosts[kTargets][Part::kGroups], sums[kTargets][Part::kGroups];
  __shared__ float4 results[kTargets][kThreads];
  KAIROS_UNROLL
  for (int t = 0; t < kTargets; ++t) {
    mosts[t][part.group] = most[t], sums[t][part.group] = sum[t];
    results[t][threadIdx.x] = {result[t][0], result[t][1], result[t][2], result[t][3]};
  }
  BlockSync();
  for (int i = static_cast<int>(threadIdx.x); i < kTargets * kLanes; i += kThreads) {
    const int t = i / kLanes, lane = i % kLanes;
    if (first + t >= part.sizes.targets) continue;
    float greatest = -INFINITY, total = 0;
    for (int g = 0; g < Part::kGroups; ++g) greatest = Maximum()(greatest, mosts[t][g]);
    Four joined;
    Clear(joined);
    for (int g = 0; g < Part::kGroups; ++g) {
      const float by = greatest == -INFINITY ? 0.0f : exp2f(mosts[t][g] - greatest);
      const float4 four = results[t][g * kLanes + lane];
      total += by * sums[t][g];
      AddTimes(by, {four.x, four.y, four.z, four.w}, joined);
    }
    KAIROS_UNROLL
    for (float& entry : joined) entry = total == 0 ? 0.0f : entry / total;
    const int channel = static_cast<int>(blockIdx.y) * kWidest + lane * kFour;
    Store(joined, views[4].As<float>() + part.Target(first + t) * part.sizes.value_width, channel,
          part.sizes.value_width, part.aligned, false);
    if (lane == 0 && blockIdx.y == 0)
      views[5].As<float>()[part.Score(first + t)] = total == 0 ? -INFINITY : greatest * kLn2 + logf(total);
  }
}

// views: q, k, v, offsets, y, logSumExp, dy, [dlogSumExp], then dq, dk, dv.
template <int kLanes, int kTargets, bool kMany>
__global__ void __launch_bounds__(kThreads) BackwardKernel(const TensorView* views, float scale, bool dsums) {
  using Part = Part<kLanes>;
  if (blockIdx.x >= views[0].shape[0] * views[0].shape[2]) return;
  const Part part(views, blockIdx.x);
  const Sizes& sizes = part.sizes;
  const TensorView* outputs = views + 7 + dsums;
  const float *q = views[0].As<const float>(), *k = views[1].As<const float>(),
              *v = views[2].As<const float>();
  const float* dy = views[6].As<const float>();
  __shared__ float4 results[kTargets][kThreads];

  // Without targets dk and dv are zero all the same.
  for (int first = 0; first == 0 || first < sizes.targets; first += kTargets) {
    Four query[kTargets], slope[kTargets], dq[kTargets];
    float total[kTargets], own[kTargets];
    KAIROS_UNROLL
    for (int t = 0; t < kTargets; ++t) {
      Clear(query[t]);
      Clear(slope[t]);
      Clear(dq[t]);
      own[t] = 0;
      total[t] = INFINITY;  // weighs nothing
      if (first + t >= sizes.targets) continue;
      const int64_t target = part.Target(first + t);
      part.LoadKey(q, target, query[t]);
      part.LoadValue(dy, target, slope[t]);
      own[t] = part.Product(dy + target * sizes.value_width,
                            views[4].As<const float>() + target * sizes.value_width, sizes.value_width);
      if (dsums) own[t] -= views[7].As<const float>()[part.Score(first + t)];
      total[t] = views[5].As<const float>()[part.Score(first + t)] * kLog2E;
    }
    for (int64_t row = part.begin; row < part.end; row += Part::kGroups) {
      const int64_t at = row + part.group;
      const bool live = at < part.end;
      const int64_t kept = part.Row(live ? at : part.begin);
      Four key, value, dk, dv;
      part.LoadKey(k, kept, key);
      part.LoadValue(v, kept, value);
      Clear(dk);
      Clear(dv);
      KAIROS_UNROLL
      for (int t = 0; t < kTargets; ++t) {
        float score, product;
        if constexpr (kMany) {
          const int64_t target = part.Target(first + t < sizes.targets ? first + t : 0);
          const bool any = sizes.targets > 0;
          score = any ? part.Product(q + target * sizes.width, k + kept * sizes.width, sizes.width) : 0;
          product = any ? part.Product(dy + target * sizes.value_width, v + kept * sizes.value_width,
                                       sizes.value_width)
                        : 0;
        } else {
          score = WarpCombine(Dot(query[t], key), Sum(), kLanes);
          product = WarpCombine(Dot(slope[t], value), Sum(), kLanes);
        }
        const float weight = live ? exp2f(score * scale * kLog2E - total[t]) : 0.0f;
        const float dscore = weight * (product - own[t]) * scale;
        AddTimes(dscore, query[t], dk);
        AddTimes(weight, slope[t], dv);
        AddTimes(dscore, key, dq[t]);
      }
      if (!live) continue;
      Store(dk, outputs[1].As<float>() + kept * sizes.width, part.channel, sizes.width, part.aligned,
            first > 0);
      Store(dv, outputs[2].As<float>() + kept * sizes.value_width, part.channel, sizes.value_width,
            part.aligned, first > 0);
    }
    BlockSync();  // the last targets' results are read
    KAIROS_UNROLL
    for (int t = 0; t < kTargets; ++t) results[t][threadIdx.x] = {dq[t][0], dq[t][1], dq[t][2], dq[t][3]};
    BlockSync();
    for (int i = static_cast<int>(threadIdx.x); i < kTargets * kLanes; i += kThreads) {
      const int t = i / kLanes, lane = i % kLanes;
      if (first + t >= sizes.targets) continue;
      Four joined;
      Clear(joined);
      for (int g = 0; g < Part::kGroups; ++g) {
        const float4 four = results[t][g * kLanes + lane];
        AddTimes(1, {four.x, four.y, four.z, four.w}, joined);
      }
      Store(joined, outputs[0].As<float>() + part.Target(first + t) * sizes.width,
            static_cast<int>(blockIdx.y) * kWidest + lane * kFour, sizes.width, part.aligned, false);
    }
  }
}

// Rows before the first user's and after the last one's are nobody's.
__global__ void ClearOutsideKernel(const TensorView* views, int output) {
  const Sizes sizes(views);
  const int32_t* offsets = views[3].As<const int32_t>();
  const Range all(offsets, sizes.rows);
  const int64_t begin = all.begin, last = offsets[sizes.users];
  const int64_t end = last < begin ? begin : last > sizes.rows ? sizes.rows : last;
  const int64_t width = views[output].shape.Product(1, 3), outside = begin + sizes.rows - end;
  for (int64_t i = FlatBegin(); i < outside * width; i += FlatStep())
    views[output].As<float>()[i < begin * width ? i : i + (end - begin) * width] = 0;
}

// ---- Launchers ----

// Calls with the lanes of a row, whether targets are several, and whether channels are several chunks.
template <class Launcher>
void WithForm(const Sizes& sizes, const Launcher& launcher) {
  const int widest = std::max(sizes.width, sizes.value_width);
  const auto with_lanes = [&]<int kTargets>() {
    if (widest <= 32)
      launcher.template operator()<8, kTargets, false>();
    else if (widest <= 64)
      launcher.template operator()<16, kTargets, false>();
    else if (widest <= kWidest)
      launcher.template operator()<32, kTargets, false>();
    else
      launcher.template operator()<32, kTargets, true>();
  };
  sizes.targets == 1 ? with_lanes.template operator()<1>() : with_lanes.template operator()<4>();
}

template <class... Parameters, class... Arguments>
void LaunchParts(const LaunchContext& launch, int64_t blocks, int chunks, void (*kernel)(Parameters...),
                 Arguments... arguments) {
  if (blocks > 0)
    LaunchOn(launch.stream, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(chunks)), kThreads,
             kernel, arguments...);
}

std::unique_ptr<DeviceKernel> PrepareForward(DevicePrepareContext& context) {
  const Sizes sizes(context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape);
  const auto scale = static_cast<float>(context.attributes.Float("scale"));
  return MakeKernel([=](const LaunchContext& launch) {
    Launch(launch, 1, 1024, CheckOffsetsKernel, launch.views, SinkOf(launch));
    WithForm(sizes, [&]<int kLanes, int kTargets, bool kMany>() {
      LaunchParts(launch, sizes.users * sizes.heads * ((sizes.targets + kTargets - 1) / kTargets),
                  sizes.Chunks(), ForwardKernel<kLanes, kTargets, kMany>, launch.views, scale);
    });
  });
}

std::unique_ptr<DeviceKernel> PrepareBackward(DevicePrepareContext& context) {
  const Sizes sizes(context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape);
  const auto scale = static_cast<float>(context.attributes.Float("scale"));
  const bool dsums = context.inputs.size() > 7;
  return MakeKernel([=](const LaunchContext& launch) {
    Launch(launch, 1, 1024, CheckOffsetsKernel, launch.views, SinkOf(launch));
    const int64_t heads = sizes.rows * sizes.heads;
    LaunchFlat(launch, heads * sizes.width, ClearOutsideKernel, launch.views, 8 + dsums);
    LaunchFlat(launch, heads * sizes.value_width, ClearOutsideKernel, launch.views, 9 + dsums);
    WithForm(sizes, [&]<int kLanes, int kTargets, bool kMany>() {
      LaunchParts(launch, sizes.users * sizes.heads, sizes.Chunks(), BackwardKernel<kLanes, kTargets, kMany>,
                  launch.views, scale, dsums);
    });
  });
}

}  // namespace

std::span<const DeviceKernelEntry> TargetAttentionKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"targetAttention", PrepareForward},
                                                   {"targetAttentionBackward", PrepareBackward}};
  return kEntries;
}

}  // namespace kairos::gpu
