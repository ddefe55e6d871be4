// gram(J[K, P]) -> J J^T, and gramOfParts, where J's rows lie in pieces: operand part * K + row. Formulas as in
// cpu/gram.cc.
//
// Columns are cut into panels that depend on the parts' sizes alone. A block takes eight rows against eight over a panel:
// its threads add products of their columns in float32, the block adds its threads in float64, and panels are added in
// order. Up to eight rows are read once: the floor is J's bytes over the bandwidth. Of more rows each is read K / 8 + 1
// times over, mostly from the L2 cache.
#include <vector>

#include "cuda/families.h"
#include "cuda/vectors.h"

namespace kairos::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kGroup = 8;                           // rows
constexpr int kPairs = kGroup * kGroup;             // products of two groups
constexpr int64_t kPanel = int64_t{kThreads} * 64;  // columns: 64 additions of a thread in float32

struct Problem {
  const TensorView* views;
  const int64_t* firsts;  // part p has panels [firsts[p], firsts[p + 1]), at capacity
  int parts;              // 0: one matrix
  double* partial;        // [panel][pair of groups][row of the first][row of the second]

  __device__ int64_t Rows() const { return parts > 0 ? rows : views[0].shape[0]; }
  int rows;  // of parts
};

__host__ __device__ constexpr int64_t GroupPairs(int64_t rows) {
  const int64_t groups = (rows + kGroup - 1) / kGroup;
  return groups * (groups + 1) / 2;
}

// Pairs of groups row by row of the upper triangle: (0, 0), (0, 1), ..., (1, 1), ...
struct Pair {
  int64_t first, second;
};
__device__ Pair PairOf(int64_t pair, int64_t rows) {
  const int64_t groups = (rows + kGroup - 1) / kGroup;
  int64_t first = 0;
  while (pair >= groups - first) pair -= groups - first++;
  return {first, first + pair};
}

// Sums over columns of one operand's rows, of which some may be missing (null).
template <bool kDiagonal, class Vector>
__device__ void AddColumns(const float* const (&a)[kGroup], const float* const (&b)[kGroup], int64_t begin,
                           int64_t end, float (&sums)[kGroup][kGroup]) {
  constexpr int kLength = sizeof(Vector) / sizeof(float);
  for (int64_t at = begin + threadIdx.x; at < end; at += kThreads) {
    float left[kGroup][kLength], right[kGroup][kLength];
    KAIROS_UNROLL
    for (int r = 0; r < kGroup; ++r) {
      KAIROS_UNROLL
      for (int k = 0; k < kLength; ++k) left[r][k] = right[r][k] = 0;
      if constexpr (kLength == 4) {
        if (a[r]) LoadFour(a[r] + 4 * at, left[r]);
        if (!kDiagonal && b[r]) LoadFour(b[r] + 4 * at, right[r]);
      } else {
        if (a[r]) left[r][0] = a[r][at];
        if (!kDiagonal && b[r]) right[r][0] = b[r][at];
      }
    }
    KAIROS_UNROLL
    for (int r = 0; r < kGroup; ++r) KAIROS_UNROLL
    for (int c = kDiagonal ? r : 0; c < kGroup; ++c) KAIROS_UNROLL
    for (int k = 0; k < kLength; ++k) sums[r][c] += left[r][k] * (kDiagonal ? left[c][k] : right[c][k]);
  }
}

// blockIdx.x: panel; y: pair of groups.
template <bool kDiagonal>
__device__ void MultiplyPanel(const Problem& problem, const Pair& pair, int64_t panel, double* to) {
  __shared__ double shared[kThreads / kWarp][kPairs];
  const int64_t rows = problem.Rows();
  int part = 0;
  for (int step = 1 << 12; problem.parts > 0 && step > 0; step /= 2)
    if (part + step < problem.parts && problem.firsts[part + step] <= panel) part += step;
  const TensorView* views = problem.views + static_cast<int64_t>(part) * problem.rows;
  const int64_t width = problem.parts > 0 ? views[0].shape.Count() : views[0].shape[1];
  const int64_t begin = (panel - problem.firsts[part]) * kPanel;
  const int64_t end = begin + kPanel < width ? begin + kPanel : width;

  const float *a[kGroup], *b[kGroup];
  KAIROS_UNROLL
  for (int r = 0; r < kGroup; ++r) {
    const auto row_of = [&](int64_t row) -> const float* {
      if (row >= rows) return nullptr;
      return Global(problem.parts > 0 ? views[row].As<const float>()
                                      : views[0].As<const float>() + row * width);
    };
    a[r] = row_of(pair.first * kGroup + r);
    b[r] = kDiagonal ? nullptr : row_of(pair.second * kGroup + r);
  }
  float sums[kGroup][kGroup] = {};
  // Rows of parts begin at whole fours; those of a matrix do where it is whole fours wide.
  // Two groups leave no registers for fours.
  if (kDiagonal && (problem.parts > 0 || InFours(width))) {
    const int64_t fours = begin < end ? begin / 4 + (end - begin) / 4 : begin / 4;
    AddColumns<kDiagonal, Float4>(a, b, begin / 4, fours, sums);
    AddColumns<kDiagonal, float>(a, b, 4 * fours, end, sums);
  } else {
    AddColumns<kDiagonal, float>(a, b, begin, end, sums);
  }
  const unsigned warp = threadIdx.x / kWarp;
  KAIROS_UNROLL
  for (int r = 0; r < kGroup; ++r) KAIROS_UNROLL
  for (int c = kDiagonal ? r : 0; c < kGroup; ++c) {
    const double sum = WarpSum(static_cast<double>(sums[r][c]));
    if (threadIdx.x % kWarp == 0) shared[warp][r * kGroup + c] = sum;
  }
  BlockSync();
  for (int i = static_cast<int>(threadIdx.x); i < kPairs; i += kThreads) {
    double sum = 0;
    for (int w = 0; w < kThreads / kWarp; ++w) sum += shared[w][i];
    to[i] = sum;  // below the diagonal of a pair of equal groups, what nobody reads
  }
}

template <bool kDiagonal>
__global__ void __launch_bounds__(kThreads, kDiagonal ? 2 : 1) PanelsKernel(Problem problem) {
  const int64_t rows = problem.Rows();
  if (blockIdx.y >= GroupPairs(rows)) return;  // the whole block
  const Pair pair = PairOf(blockIdx.y, rows);
  double* to = problem.partial + (int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * kPairs;
  if ((pair.first == pair.second) != kDiagonal) return;  // the other form's
  MultiplyPanel<kDiagonal>(problem, pair, blockIdx.x, to);
}

// A warp for each product.
__global__ void JoinKernel(Problem problem, const TensorView* out, int64_t panels, int64_t most_pairs) {
  const int64_t rows = problem.Rows(), lane = threadIdx.x % kWarp;
  for (int64_t i = FlatBegin() / kWarp; i < GroupPairs(rows) * kPairs; i += FlatStep() / kWarp) {
    const Pair pair = PairOf(i / kPairs, rows);
    const int64_t row = pair.first * kGroup + i % kPairs / kGroup, column = pair.second * kGroup + i % kGroup;
    const bool wanted = row <= column && column < rows;
    double sum = 0;
    for (int64_t panel = lane; wanted && panel < panels; panel += kWarp)
      sum += problem.partial[panel * most_pairs * kPairs + i];
    sum = WarpSum(sum);
    if (!wanted || lane != 0) continue;
    float* gram = out->As<float>();
    gram[row * rows + column] = gram[column * rows + row] = static_cast<float>(sum);
  }
}

std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context, bool in_parts) {
  const int64_t rows = context.outputs[0].shape[0];
  const int parts = in_parts ? static_cast<int>(static_cast<int64_t>(context.inputs.size()) / rows) : 0;
  std::vector<int64_t> firsts{0};
  const auto add = [&](int64_t width) { firsts.push_back(firsts.back() + (width + kPanel - 1) / kPanel); };
  for (int part = 0; part < parts; ++part) add(context.inputs[part * rows].shape.Count());
  if (!in_parts) add(context.inputs[0].shape[1]);
  context.AddTable(std::span<const int64_t>(firsts));
  const int64_t panels = firsts.back(), pairs = GroupPairs(rows);
  context.scratch_bytes = static_cast<size_t>(panels * pairs * kPairs) * sizeof(double);
  return MakeKernel([=](const LaunchContext& launch) {
    if (rows == 0) return;
    const Problem problem{launch.views, reinterpret_cast<const int64_t*>(launch.tables), parts,
                          reinterpret_cast<double*>(launch.scratch), static_cast<int>(rows)};
    const dim3 grid(static_cast<unsigned>(panels), static_cast<unsigned>(pairs));
    if (panels > 0) LaunchOn(launch.stream, grid, kThreads, PanelsKernel<true>, problem);
    if (panels > 0 && pairs > 1) LaunchOn(launch.stream, grid, kThreads, PanelsKernel<false>, problem);
    Launch(launch, (pairs * kPairs + 3) / 4, 4 * kWarp, JoinKernel, problem, launch.views + launch.inputs,
           panels, pairs);
  });
}

std::unique_ptr<DeviceKernel> PrepareGram(DevicePrepareContext& context) { return Prepare(context, false); }
std::unique_ptr<DeviceKernel> PrepareGramOfParts(DevicePrepareContext& context) {
  return Prepare(context, true);
}

}  // namespace

std::span<const DeviceKernelEntry> GramKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"gram", PrepareGram},
                                                   {"gramOfParts", PrepareGramOfParts}};
  return kEntries;
}

}  // namespace kairos::gpu
