// From the Gram matrix of task gradients to the weights of their combination, in float64.
//
// Solvers see tasks in scaled form: G = m D C D with C of unit diagonal and D the norms over the greatest, sqrt(m),
// so that a gradient 1e10 times as long as another loses nothing. A zero gradient has a zero row in C and scale 1.
#pragma once

#include <cstdint>
#include <utility>

namespace kairos::pareto {

constexpr int64_t kMostTasks = 64;

// Doubles handed out one after another from a kernel's scratch.
struct Workspace {
  double* at;
  double* Take(int64_t count) { return std::exchange(at, at + count); }
  // What every solver stays within.
  static int64_t Doubles(int64_t tasks) { return 4 * (tasks + 1) * (tasks + 1) + 32 * (tasks + 1); }
};

struct Tasks {
  int64_t count;
  double* cosines;  // [count, count]
  double* scales;   // [count]
  double greatest;  // squared norm
  double& Cosine(int64_t row, int64_t column) const { return cosines[row * count + column]; }
  bool IsZero(int64_t task) const { return Cosine(task, task) == 0; }
};

Tasks Scale(const float* gram, int64_t count, Workspace& workspace);

// Each fills weights[count].
void SolveMinNorm(const Tasks& tasks, Workspace workspace, double* weights, double* gap);
void SolvePcGrad(const float* gram, int64_t count, const uint32_t* random, uint32_t salt, Workspace workspace,
                 double* weights);
void SolveCaGrad(const Tasks& tasks, double radius, Workspace workspace, double* weights);
void SolveImtlG(const Tasks& tasks, Workspace workspace, double* weights);
void SolveNashMtl(const Tasks& tasks, Workspace workspace, double* weights);
void SolveUpGrad(const Tasks& tasks, Workspace workspace, double* weights);
void SolveAlignedMtl(const float* gram, int64_t count, Workspace workspace, double* weights);

}  // namespace kairos::pareto
