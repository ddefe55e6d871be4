// Weights that combine task gradients, from their Gram matrix [K, K]: the processor's solvers (cpu/pareto_solvers.h) on
// one thread, with their workspace in shared memory where it fits. What bounds it is that thread's latency; a step has
// one such launch.
#include <string>
#include <vector>

#include "cpu/pareto_solvers.h"
#include "cuda/families.h"
#include "cuda/gpu.h"

namespace kairos::gpu {
namespace {

using pareto::Tasks;
using pareto::Workspace;

// Up to 32 tasks or so.
constexpr int64_t kSharedDoubles = 5632;

// solver(views, gram, count, workspace, weights) in float64; weights in float32.
template <class Solver>
__global__ void SolveKernel(const TensorView* views, int inputs, Solver solver, double* scratch,
                            FaultSink sink) {
  __shared__ double shared[kSharedDoubles];
  if (threadIdx.x != 0) return;
  const int64_t count = views[0].shape[0];
  const auto* gram = views[0].As<const float>();
  // Squares tell whose gradient it is; a product with another is finite where both squares are.
  for (int64_t task = 0; task < count; ++task) {
    const float square = gram[task * count + task];
    if (square - square == 0) continue;
    return sink.Raise(DeviceFault::kGradient, DeviceFault::kGradientOfTask, task, 0, 0, 0, 0, square);
  }
  Workspace workspace{count + Workspace::Doubles(count) <= kSharedDoubles ? shared : scratch};
  double* solved = workspace.Take(count);
  solver(views, gram, count, workspace, solved);
  for (int64_t i = 0; i < count; ++i) views[inputs].As<float>()[i] = static_cast<float>(solved[i]);
}

struct MinNorm {
  __device__ void operator()(const TensorView* views, const float* gram, int64_t count, Workspace workspace,
                             double* weights) const {
    double gap = 0;
    const Tasks tasks = Scale(gram, count, workspace);
    if (count > 0) SolveMinNorm(tasks, workspace, weights, &gap);
    if (views[2].shape.Count() > 0) *views[2].As<float>() = static_cast<float>(gap);
  }
};

struct PcGrad {
  uint32_t salt;
  __device__ void operator()(const TensorView* views, const float* gram, int64_t count, Workspace workspace,
                             double* weights) const {
    SolvePcGrad(gram, count, views[1].As<const uint32_t>(), salt, workspace, weights);
  }
};

struct CaGrad {
  double radius;
  __device__ void operator()(const TensorView*, const float* gram, int64_t count, Workspace workspace,
                             double* weights) const {
    const Tasks tasks = Scale(gram, count, workspace);
    SolveCaGrad(tasks, radius, workspace, weights);
  }
};

template <void (*kSolve)(const Tasks&, Workspace, double*)>
struct Scaled {
  __device__ void operator()(const TensorView*, const float* gram, int64_t count, Workspace workspace,
                             double* weights) const {
    const Tasks tasks = Scale(gram, count, workspace);
    kSolve(tasks, workspace, weights);
  }
};

struct AlignedMtl {
  __device__ void operator()(const TensorView*, const float* gram, int64_t count, Workspace workspace,
                             double* weights) const {
    SolveAlignedMtl(gram, count, workspace, weights);
  }
};

template <class Solver>
class ParetoKernel final : public DeviceKernel {
 public:
  ParetoKernel(DevicePrepareContext& context, Solver solver) : solver_(solver) {
    const int64_t most = context.inputs[0].shape[0];
    context.scratch_bytes = sizeof(double) * static_cast<size_t>(most + Workspace::Doubles(most));
    const std::string_view text = context.attributes.String("tasks");
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      tasks_.emplace_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  }

  void Launch(const LaunchContext& launch) const noexcept override {
    gpu::Launch(launch, 1, kWarp, SolveKernel<Solver>, launch.views, launch.inputs, solver_,
                reinterpret_cast<double*>(launch.scratch), SinkOf(launch));
  }
  std::string NameOfFault(int64_t position) const override {
    const auto task = static_cast<size_t>(position);
    return task < tasks_.size() ? tasks_[task] : "";
  }

 private:
  const Solver solver_;
  std::vector<std::string> tasks_;  // names, where they are known
};

template <class Solver>
std::unique_ptr<DeviceKernel> Prepare(DevicePrepareContext& context) {
  return std::make_unique<ParetoKernel<Solver>>(context, Solver());
}

std::unique_ptr<DeviceKernel> PreparePcGrad(DevicePrepareContext& context) {
  return std::make_unique<ParetoKernel<PcGrad>>(
      context, PcGrad{static_cast<uint32_t>(context.attributes.Int("salt"))});
}

std::unique_ptr<DeviceKernel> PrepareCaGrad(DevicePrepareContext& context) {
  return std::make_unique<ParetoKernel<CaGrad>>(context, CaGrad{context.attributes.Float("radius")});
}

}  // namespace

std::span<const DeviceKernelEntry> ParetoKernels() {
  static constexpr DeviceKernelEntry kEntries[] = {{"minNormWeights", Prepare<MinNorm>},
                                                   {"pcGradWeights", PreparePcGrad},
                                                   {"caGradWeights", PrepareCaGrad},
                                                   {"imtlGWeights", Prepare<Scaled<pareto::SolveImtlG>>},
                                                   {"nashMtlWeights", Prepare<Scaled<pareto::SolveNashMtl>>},
                                                   {"upGradWeights", Prepare<Scaled<pareto::SolveUpGrad>>},
                                                   {"alignedMtlWeights", Prepare<AlignedMtl>}};
  return kEntries;
}

}  // namespace kairos::gpu
