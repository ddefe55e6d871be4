// Weights that combine task gradients, from their Gram matrix [K, K]. One thread: K is small.
//
// A gradient that is not finite raises a fault that names its task, so the step changes nothing.
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/check.h"
#include "cpu/closure.h"
#include "cpu/families.h"
#include "cpu/pareto_solvers.h"

namespace kairos {
namespace {

using pareto::Tasks;
using pareto::Workspace;

Status CheckGramMatrix(const CheckContext& context, size_t inputs, size_t outputs) {
  if (context.inputs.size() != inputs || context.outputs.size() != outputs)
    return Refuse(context, "inputs", "a Gram matrix and weights", "other counts");
  const TensorSpec& gram = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "gram", gram, DType::kFloat32));
  if (gram.shape.rank != 2 || gram.shape[0] != gram.shape[1] || gram.shape[0] > pareto::kMostTasks)
    return Refuse(context, "gram", "a square matrix of at most 64 rows", gram.shape.ToString());
  return ExpectTensor(context, "weights", context.outputs[0], DType::kFloat32, {gram.shape[0]});
}

Status Check(const CheckContext& context) { return CheckGramMatrix(context, 1, 1); }

Status CheckMinNorm(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckGramMatrix(context, 1, 2));
  return ExpectTensor(context, "gap", context.outputs[1], DType::kFloat32, Shape{});
}

Status CheckPcGrad(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckGramMatrix(context, 2, 1));
  const int64_t salt = context.attributes.Int("salt");
  if (salt < INT32_MIN || salt > int64_t{UINT32_MAX})
    return Refuse(context, "salt", "an integer of 32 bits", std::to_string(salt));
  return ExpectTensor(context, "random", context.inputs[1], DType::kInt32, {2});
}

Status CheckCaGrad(const CheckContext& context) {
  const double radius = context.attributes.Float("radius");
  if (!(radius >= 0 && radius < 1))
    return Refuse(context, "radius", "at least 0 and below 1", std::to_string(radius));
  return Check(context);
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// `solve(context, gram, count, workspace, weights)` in float64, and its weights in float32.
template <class Solve>
std::unique_ptr<Kernel> Prepared(PrepareContext& prepare, Solve solve) {
  const int64_t most = prepare.inputs[0].shape[0];
  prepare.scratch_bytes = sizeof(double) * static_cast<size_t>(most + Workspace::Doubles(most));
  return MakeKernel([solve, names = Lines(prepare.attributes.String("tasks"))](const RunContext& context) {
    const int64_t count = context.inputs[0].shape[0];
    const float* gram = context.inputs[0].As<const float>();
    // Squares tell whose gradient it is; a product with another is finite where both squares are.
    for (int64_t task = 0; task < count; ++task) {
      const float square = gram[task * count + task];
      if (std::isfinite(square)) continue;
      const bool named = task < static_cast<int64_t>(names.size());
      const std::string_view name = named ? std::string_view(names[task]) : std::string_view();
      return context.fault.RaiseNonFinite("gradient of task", task, name, square);
    }
    Workspace workspace{reinterpret_cast<double*>(context.scratch)};
    double* solved = workspace.Take(count);
    solve(context, gram, count, workspace, solved);
    float* weights = context.outputs[0].As<float>();
    for (int64_t i = 0; i < count; ++i) weights[i] = static_cast<float>(solved[i]);
  });
}

std::unique_ptr<Kernel> PrepareMinNorm(PrepareContext& prepare) {
  return Prepared(prepare, [](const RunContext& context, const float* gram, int64_t count,
                              Workspace workspace, double* weights) {
    double gap = 0;
    const Tasks tasks = Scale(gram, count, workspace);
    if (count > 0) SolveMinNorm(tasks, workspace, weights, &gap);
    *context.outputs[1].As<float>() = static_cast<float>(gap);
  });
}

std::unique_ptr<Kernel> PreparePcGrad(PrepareContext& prepare) {
  const uint32_t salt = static_cast<uint32_t>(prepare.attributes.Int("salt"));
  return Prepared(prepare, [salt](const RunContext& context, const float* gram, int64_t count,
                                  Workspace workspace, double* weights) {
    SolvePcGrad(gram, count, context.inputs[1].As<const uint32_t>(), salt, workspace, weights);
  });
}

std::unique_ptr<Kernel> PrepareCaGrad(PrepareContext& prepare) {
  const double radius = prepare.attributes.Float("radius");
  return Prepared(prepare, [radius](const RunContext&, const float* gram, int64_t count, Workspace workspace,
                                    double* weights) {
    const Tasks tasks = Scale(gram, count, workspace);
    SolveCaGrad(tasks, radius, workspace, weights);
  });
}

template <void (*kSolve)(const Tasks&, Workspace, double*)>
std::unique_ptr<Kernel> PrepareScaled(PrepareContext& prepare) {
  return Prepared(
      prepare, [](const RunContext&, const float* gram, int64_t count, Workspace workspace, double* weights) {
        const Tasks tasks = Scale(gram, count, workspace);
        kSolve(tasks, workspace, weights);
      });
}

std::unique_ptr<Kernel> PrepareAlignedMtl(PrepareContext& prepare) {
  return Prepared(prepare, [](const RunContext&, const float* gram, int64_t count, Workspace workspace,
                              double* weights) { SolveAlignedMtl(gram, count, workspace, weights); });
}

}  // namespace

// Scalar float64 throughout: one form serves every variant.
std::span<const KernelEntry> ParetoKernels(CpuVariant) {
  static constexpr KernelEntry kEntries[] = {
      {"minNormWeights", CheckMinNorm, PrepareMinNorm},
      {"pcGradWeights", CheckPcGrad, PreparePcGrad},
      {"caGradWeights", CheckCaGrad, PrepareCaGrad},
      {"imtlGWeights", Check, PrepareScaled<pareto::SolveImtlG>},
      {"nashMtlWeights", Check, PrepareScaled<pareto::SolveNashMtl>},
      {"upGradWeights", Check, PrepareScaled<pareto::SolveUpGrad>},
      {"alignedMtlWeights", Check, PrepareAlignedMtl},
  };
  return kEntries;
}

}  // namespace kairos
