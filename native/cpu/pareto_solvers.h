// From the Gram matrix of task gradients to the weights of their combination, in float64. Processors and GPUs run the
// same words, one thread each.
//
// Solvers see tasks in scaled form: G = m D C D with C of unit diagonal and D the norms over the greatest, sqrt(m),
// so that a gradient 1e10 times as long as another loses nothing. A zero gradient has a zero row in C and scale 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "runtime/anywhere.h"
#include "runtime/philox.h"

namespace kairos::pareto {

constexpr int64_t kMostTasks = 64;

// Doubles handed out one after another from a kernel's scratch.
struct Workspace {
  double* at;
  KAIROS_ANYWHERE double* Take(int64_t count) { return std::exchange(at, at + count); }
  // What every solver stays within.
  KAIROS_ANYWHERE static int64_t Doubles(int64_t tasks) {
    return 4 * (tasks + 1) * (tasks + 1) + 32 * (tasks + 1);
  }
};

struct Tasks {
  int64_t count;
  double* cosines;  // [count, count]
  double* scales;   // [count]
  double greatest;  // squared norm
  KAIROS_ANYWHERE double& Cosine(int64_t row, int64_t column) const { return cosines[row * count + column]; }
  KAIROS_ANYWHERE bool IsZero(int64_t task) const { return Cosine(task, task) == 0; }
};

// What float32 Gram matrices tell apart: pivots and eigenvalues below it are rounding.
constexpr double kResolution = 0x1p-22;

KAIROS_ANYWHERE inline double Dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Solves a x = b in place (x replaces b) by elimination with complete pivoting; unknowns that the rank leaves free
// are 0. `order` has room for `size` numbers.
KAIROS_ANYWHERE inline void SolveSystem(double* a, double* b, int64_t size, double* order) {
  for (int64_t i = 0; i < size; ++i) order[i] = static_cast<double>(i);
  int64_t rank = 0;
  for (; rank < size; ++rank) {
    int64_t row = rank, column = rank;
    for (int64_t r = rank; r < size; ++r)
      for (int64_t c = rank; c < size; ++c)
        if (std::abs(a[r * size + c]) > std::abs(a[row * size + column])) row = r, column = c;
    if (std::abs(a[row * size + column]) < kResolution) break;
    if (row != rank) {
      std::swap_ranges(a + row * size, a + (row + 1) * size, a + rank * size);
      std::swap(b[row], b[rank]);
    }
    if (column != rank) {
      for (int64_t r = 0; r < size; ++r) std::swap(a[r * size + column], a[r * size + rank]);
      std::swap(order[column], order[rank]);
    }
    const double* pivot = a + rank * size;
    for (int64_t r = rank + 1; r < size; ++r) {
      const double factor = a[r * size + rank] / pivot[rank];
      if (factor == 0) continue;
      for (int64_t c = rank; c < size; ++c) a[r * size + c] -= factor * pivot[c];
      b[r] -= factor * b[rank];
    }
  }
  for (int64_t r = size - 1; r >= 0; --r) {
    if (r >= rank) {
      b[r] = 0;
      continue;
    }
    for (int64_t c = r + 1; c < rank; ++c) b[r] -= a[r * size + c] * b[c];
    b[r] /= a[r * size + r];
  }
  // Back to the order of unknowns, one cycle after another.
  for (int64_t i = 0; i < size; ++i)
    while (static_cast<int64_t>(order[i]) != i) {
      const int64_t to = static_cast<int64_t>(order[i]);
      std::swap(b[i], b[to]);
      std::swap(order[i], order[to]);
    }
}

// min 1/2 y^T C y + linear^T y over y >= 0, and normal^T y = 1 where there is a normal: the primal active-set method
// (Nocedal and Wright, "Numerical optimization", 2006, algorithm 16.3), which for the simplex is that of Wolfe 1976.
class ActiveSet {
 public:
  KAIROS_ANYWHERE ActiveSet(const Tasks& tasks, const double* normal, Workspace& workspace)
      : tasks_(tasks), normal_(normal), count_(tasks.count) {
    system_ = workspace.Take((count_ + 1) * (count_ + 1));
    right_ = workspace.Take(count_ + 1);
    order_ = workspace.Take(count_ + 1);
  }

  // From a feasible y, whose positive entries are the first working set, to the optimum.
  KAIROS_ANYWHERE void Solve(const double* linear, double* y) {
    for (int64_t i = 0; i < count_; ++i) state_[i] = y[i] > 0 ? kFree : kBound;
    for (int64_t step = 0; step < 32 + 16 * count_; ++step) {
      const double multiplier = Direction(linear, y);
      double length = 1;
      int64_t blocking = -1;
      for (int64_t k = 0; k < free_; ++k) {
        const double at = y[free_of_[k]];
        if (right_[k] < 0 && -at > length * right_[k]) length = -at / right_[k], blocking = free_of_[k];
      }
      for (int64_t k = 0; k < free_; ++k) y[free_of_[k]] += length * right_[k];
      // One that leaves without progress would come back at once, by rounding.
      if (blocking >= 0) {
        y[blocking] = 0;
        state_[blocking] = length == 0 ? kBarred : kBound;
        continue;
      }
      const int64_t entering = MostViolated(linear, y, multiplier);
      if (entering < 0) return;
      state_[entering] = kFree;
    }
  }

 private:
  enum State : uint8_t { kBound, kFree, kBarred };

  // The step to the optimum over the free entries, in right_; returns the multiplier of the equality.
  KAIROS_ANYWHERE double Direction(const double* linear, const double* y) {
    free_ = 0;
    double largest = 0;
    for (int64_t i = 0; i < count_; ++i) {
      if (state_[i] != kFree) continue;
      free_of_[free_++] = i;
      if (normal_) largest = std::max(largest, normal_[i]);
    }
    const int64_t size = free_ + (normal_ && free_ > 0);
    for (int64_t r = 0; r < free_; ++r) {
      const int64_t task = free_of_[r];
      for (int64_t c = 0; c < free_; ++c) system_[r * size + c] = tasks_.Cosine(task, free_of_[c]);
      if (size > free_) system_[r * size + free_] = system_[free_ * size + r] = normal_[task] / largest;
      right_[r] = -linear[task] - Dot(tasks_.cosines + task * count_, y, count_);
    }
    if (size == free_) return SolveSystem(system_, right_, size, order_), 0;
    system_[size * size - 1] = right_[free_] = 0;
    SolveSystem(system_, right_, size, order_);
    return -right_[free_] / largest;
  }

  KAIROS_ANYWHERE int64_t MostViolated(const double* linear, const double* y, double multiplier) const {
    int64_t most = -1;
    double worst = -1e-12;
    for (int64_t i = 0; i < count_; ++i) {
      if (state_[i] != kBound) continue;
      const double bound = normal_ ? multiplier * normal_[i] : 0;
      double slope = linear[i] - bound, size = std::abs(linear[i]) + std::abs(bound) + 1e-300;
      for (int64_t j = 0; j < count_; ++j) {
        const double term = tasks_.Cosine(i, j) * y[j];
        slope += term, size += std::abs(term);
      }
      if (slope / size < worst) worst = slope / size, most = i;
    }
    return most;
  }

  const Tasks& tasks_;
  const double* normal_;
  int64_t count_, free_ = 0;
  double *system_, *right_, *order_;
  State state_[kMostTasks];
  int64_t free_of_[kMostTasks];
};

// Eigenvalues of a symmetric matrix on its diagonal and eigenvectors in the rows of `vectors`: cyclic Jacobi (Golub and
// Van Loan, "Matrix computations", 2013, algorithm 8.5.3).
KAIROS_ANYWHERE inline void Eigen(double* a, double* vectors, int64_t count) {
  for (int64_t i = 0; i < count * count; ++i) vectors[i] = i % (count + 1) == 0;
  for (int sweep = 0; sweep < 60; ++sweep) {
    double outside = 0, inside = 0;
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < count; ++c) (r == c ? inside : outside) += a[r * count + c] * a[r * count + c];
    if (outside <= 1e-30 * inside) return;
    for (int64_t p = 0; p < count; ++p)
      for (int64_t q = p + 1; q < count; ++q) {
        const double across = a[p * count + q];
        if (across == 0) continue;
        const double ratio = (a[q * count + q] - a[p * count + p]) / (2 * across);
        const double t = (ratio >= 0 ? 1 : -1) / (std::abs(ratio) + std::sqrt(1 + ratio * ratio));
        const double cosine = 1 / std::sqrt(1 + t * t), sine = t * cosine;
        const auto rotate = [&](double& x, double& y) {
          const double before = x;
          x = cosine * x - sine * y;
          y = sine * before + cosine * y;
        };
        for (int64_t i = 0; i < count; ++i) rotate(a[i * count + p], a[i * count + q]);
        for (int64_t i = 0; i < count; ++i) rotate(a[p * count + i], a[q * count + i]);
        for (int64_t i = 0; i < count; ++i) rotate(vectors[p * count + i], vectors[q * count + i]);
      }
  }
}

// Lower Cholesky factor in place, then x = a^-1 b in place of b; a is positive definite.
KAIROS_ANYWHERE inline void SolvePositive(double* a, double* b, int64_t count) {
  for (int64_t r = 0; r < count; ++r)
    for (int64_t c = 0; c <= r; ++c) {
      const double rest = a[r * count + c] - Dot(a + r * count, a + c * count, c);
      a[r * count + c] = r == c ? std::sqrt(std::max(rest, 1e-300)) : rest / a[c * count + c];
    }
  for (int64_t r = 0; r < count; ++r) b[r] = (b[r] - Dot(a + r * count, b, r)) / a[r * count + r];
  for (int64_t r = count - 1; r >= 0; --r) {
    for (int64_t k = r + 1; k < count; ++k) b[r] -= a[k * count + r] * b[k];
    b[r] /= a[r * count + r];
  }
}

// |sum of y_k u_k|^2
KAIROS_ANYWHERE inline double Energy(const Tasks& tasks, const double* y) {
  double sum = 0;
  for (int64_t i = 0; i < tasks.count; ++i)
    sum += y[i] * Dot(tasks.cosines + i * tasks.count, y, tasks.count);
  return std::max(sum, 0.0);
}

KAIROS_ANYWHERE inline Tasks Scale(const float* gram, int64_t count, Workspace& workspace) {
  Tasks tasks{count, workspace.Take(count * count), workspace.Take(count), 0};
  for (int64_t i = 0; i < count; ++i) tasks.greatest = std::max<double>(tasks.greatest, gram[i * count + i]);
  for (int64_t i = 0; i < count; ++i) {
    const double square = std::max<double>(gram[i * count + i], 0);
    tasks.scales[i] = square > 0 ? std::sqrt(square / tasks.greatest) : 1;
  }
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < count; ++j) {
      const bool none = !(gram[i * count + i] > 0) || !(gram[j * count + j] > 0);
      const double cosine =
          none ? 0 : gram[i * count + j] / tasks.greatest / tasks.scales[i] / tasks.scales[j];
      tasks.Cosine(i, j) = i == j ? !none : std::clamp(cosine, -1.0, 1.0);
    }
  return tasks;
}

// Each fills weights[count].

// Désidéri 2012: the shortest convex combination. With w = y / scale, min 1/2 y^T C y over sum y / scale = 1.
KAIROS_ANYWHERE inline void SolveMinNorm(const Tasks& tasks, Workspace workspace, double* weights,
                                         double* gap) {
  const int64_t count = tasks.count;
  *gap = 0;
  int64_t none = 0, shortest = 0;
  for (int64_t i = 0; i < count; ++i) {
    none += tasks.IsZero(i);
    if (tasks.scales[i] < tasks.scales[shortest]) shortest = i;
  }
  if (none > 0) {
    for (int64_t i = 0; i < count; ++i) weights[i] = tasks.IsZero(i) ? 1.0 / static_cast<double>(none) : 0;
    return;
  }
  double *y = workspace.Take(count), *normal = workspace.Take(count), *linear = workspace.Take(count);
  for (int64_t i = 0; i < count; ++i) y[i] = linear[i] = 0, normal[i] = 1 / tasks.scales[i];
  y[shortest] = tasks.scales[shortest];
  ActiveSet(tasks, normal, workspace).Solve(linear, y);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += weights[i] = y[i] / tasks.scales[i];
  for (int64_t i = 0; i < count; ++i) weights[i] /= sum, y[i] /= sum;
  double least = HUGE_VAL;
  for (int64_t i = 0; i < count; ++i)
    least = std::min(least, tasks.scales[i] * Dot(tasks.cosines + i * count, y, count));
  *gap = std::max(0.0, Energy(tasks, y) - least) * tasks.greatest;
}

// Yu et al. 2020, algorithm 1: task i's gradient, as weights of all, loses what conflicts with each other in turn.
KAIROS_ANYWHERE inline void SolvePcGrad(const float* gram, int64_t count, const uint32_t* random,
                                        uint32_t salt, Workspace workspace, double* weights) {
  double* mine = workspace.Take(count);
  std::fill_n(weights, count, 0.0);
  for (int64_t i = 0; i < count; ++i) {
    uint8_t order[kMostTasks];
    for (int64_t k = 0; k < count; ++k) order[k] = static_cast<uint8_t>(k);
    for (int64_t k = count - 1; k > 0; --k) {
      const uint32_t draw = static_cast<uint32_t>(i * kMostTasks + k);
      const uint32_t word = Philox({draw / 4, 0, random[1], 0}, {random[0], salt})[draw % 4];
      std::swap(order[k], order[static_cast<uint64_t>(word) * static_cast<uint64_t>(k + 1) >> 32]);
    }
    for (int64_t k = 0; k < count; ++k) mine[k] = k == i;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t j = order[k];
      if (j == i) continue;
      double product = 0;
      for (int64_t l = 0; l < count; ++l) product += mine[l] * gram[j * count + l];
      if (product < 0 && gram[j * count + j] > 0) mine[j] -= product / gram[j * count + j];
    }
    for (int64_t k = 0; k < count; ++k) weights[k] += mine[k];
  }
}

// Liu et al. 2021, algorithm 1: min over the simplex of g_w . g_0 + s |g_w|, s = radius |g_0|. Since s |g_w| is the least
// of s/2 (|g_w|^2 / t + t) over t, each t is a quadratic program, and the t sought is |g_w| of its own.
KAIROS_ANYWHERE inline void SolveCaGrad(const Tasks& tasks, double radius, Workspace workspace,
                                        double* weights) {
  const int64_t count = tasks.count;
  const double share = 1 / static_cast<double>(count);
  std::fill_n(weights, count, share);
  double *y = workspace.Take(count), *normal = workspace.Take(count), *toward = workspace.Take(count),
         *linear = workspace.Take(count);
  for (int64_t i = 0; i < count; ++i) y[i] = tasks.IsZero(i) ? 0 : share * tasks.scales[i];
  const double s = radius * std::sqrt(Energy(tasks, y));
  if (!(s > 0)) return;
  for (int64_t i = 0; i < count; ++i) {
    normal[i] = 1 / tasks.scales[i];
    toward[i] = Dot(tasks.cosines + i * count, y, count);
  }
  for (int64_t i = 0; i < count; ++i) y[i] = share * tasks.scales[i];
  ActiveSet solver(tasks, normal, workspace);
  // |g_w| - t where w solves the program of t.
  const auto excess = [&](double t) {
    for (int64_t i = 0; i < count; ++i) linear[i] = t / s * toward[i];
    solver.Solve(linear, y);
    return std::sqrt(Energy(tasks, y)) - t;
  };
  // |g_w| at which the direction |g_0| s / |g_w| would be rounding alone.
  constexpr double kShortest = 1e-4;
  double low = kShortest, high = 1, t = low, at_low = excess(low);
  if (at_low > 0) {
    double at_high = excess(high);
    // Illinois: regula falsi that halves the end which stays.
    for (int step = 0, side = 0; step < 100 && at_high < 0 && high - low > 1e-15; ++step) {
      t = (low * at_high - high * at_low) / (at_high - at_low);
      const double at = excess(t);
      if (std::abs(at) < 1e-14) break;
      if (at > 0) {
        low = t, at_low = at;
        if (std::exchange(side, 1) == 1) at_high /= 2;
      } else {
        high = t, at_high = at;
        if (std::exchange(side, -1) == -1) at_low /= 2;
      }
    }
    if (at_high >= 0) t = high;
  }
  for (int64_t i = 0; i < count; ++i) weights[i] += s / std::max(t, kShortest) * y[i] / tasks.scales[i];
}

// Liu et al. 2021, equation 6: equal projections onto all directions u_k. With beta = scale alpha: C beta = t 1; where the
// directions have a combination of sum 1 that vanishes, that is it (t = 0), otherwise C^-1 1.
KAIROS_ANYWHERE inline void SolveImtlG(const Tasks& tasks, Workspace workspace, double* weights) {
  const int64_t count = tasks.count;
  double *a = workspace.Take(count * count), *vectors = workspace.Take(count * count),
         *vanishing = workspace.Take(count);
  std::copy_n(tasks.cosines, count * count, a);
  Eigen(a, vectors, count);
  std::fill_n(weights, count, 0.0);
  std::fill_n(vanishing, count, 0.0);
  double left = 0;
  for (int64_t r = 0; r < count; ++r) {
    const double* vector = vectors + r * count;
    const double value = a[r * count + r];
    double along = 0;
    for (int64_t i = 0; i < count; ++i) along += tasks.IsZero(i) ? 0 : vector[i];
    const bool null = value < kResolution * static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i)
      (null ? vanishing : weights)[i] += along * vector[i] / (null ? 1 : value);
    if (null) left += along * along;
  }
  if (left > 1e-6 * static_cast<double>(count)) std::copy_n(vanishing, count, weights);
  double sum = 0, size = 0;
  for (int64_t i = 0; i < count; ++i) {
    weights[i] = tasks.IsZero(i) ? 0 : weights[i] / tasks.scales[i];
    sum += weights[i], size += std::abs(weights[i]);
  }
  if (std::abs(sum) < 1e-12 * size) sum = size;
  for (int64_t i = 0; i < count && sum != 0; ++i) weights[i] /= sum;
}

// Navon et al. 2022, claim 3.1: G alpha = 1 / alpha, where 1/2 b^T C b - sum log b is least, b = scale alpha. Newton's
// method with the steps of a self-concordant function (Nesterov 2004, section 4.1.5).
KAIROS_ANYWHERE inline void SolveNashMtl(const Tasks& tasks, Workspace workspace, double* weights) {
  const int64_t count = tasks.count;
  double *hessian = workspace.Take(count * count), *step = workspace.Take(count),
         *slope = workspace.Take(count);
  // Directions that cancel have no finite solution: b stops where float32 gradients would be rounding.
  constexpr double kGreatest = 1e3;
  double* b = weights;
  for (int64_t i = 0; i < count; ++i) b[i] = !tasks.IsZero(i);
  for (int iteration = 0; iteration < 200; ++iteration) {
    double largest = 0;
    for (int64_t i = 0; i < count; ++i) {
      const bool none = tasks.IsZero(i);
      std::copy_n(tasks.cosines + i * count, count, hessian + i * count);
      hessian[i * count + i] += none ? 1 : 1 / (b[i] * b[i]);
      step[i] = none ? 0 : 1 / b[i] - Dot(tasks.cosines + i * count, b, count);
      largest = std::max(largest, b[i]);
    }
    if (largest > kGreatest) break;
    std::copy_n(step, count, slope);
    SolvePositive(hessian, step, count);
    const double decrement = std::sqrt(std::max(0.0, Dot(slope, step, count)));
    const double length = decrement > 0.25 ? 1 / (1 + decrement) : 1;
    for (int64_t i = 0; i < count; ++i) b[i] += length * step[i];
    if (decrement < 1e-12) break;
  }
  const double norm = std::sqrt(tasks.greatest);
  for (int64_t i = 0; i < count; ++i) weights[i] = tasks.IsZero(i) ? 0 : b[i] / tasks.scales[i] / norm;
}

// Quinton and Rey 2024, equation 7: the mean of the projections of each gradient onto the cone that conflicts with none.
// Task i's is g_i + sum of z_k g_k with the least z >= 0: in directions, min 1/2 z^T C z + C_i z.
KAIROS_ANYWHERE inline void SolveUpGrad(const Tasks& tasks, Workspace workspace, double* weights) {
  const int64_t count = tasks.count;
  double* z = workspace.Take(count);
  std::fill_n(weights, count, 0.0);
  ActiveSet solver(tasks, nullptr, workspace);
  for (int64_t i = 0; i < count; ++i) {
    std::fill_n(z, count, 0.0);
    solver.Solve(tasks.cosines + i * count, z);
    z[i] += 1;
    for (int64_t k = 0; k < count; ++k)
      weights[k] += z[k] * (tasks.scales[i] / tasks.scales[k]) / static_cast<double>(count);
  }
}

// Senushkin et al. 2023, algorithm 1: the Gram matrix' principal components scaled to the least of them.
KAIROS_ANYWHERE inline void SolveAlignedMtl(const float* gram, int64_t count, Workspace workspace,
                                            double* weights) {
  double *a = workspace.Take(count * count), *vectors = workspace.Take(count * count), most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max<double>(most, gram[i * count + i]);
  std::fill_n(weights, count, 0.0);
  if (most == 0) return;
  for (int64_t i = 0; i < count * count; ++i) a[i] = gram[i] / most;
  Eigen(a, vectors, count);
  double greatest = 0, least = HUGE_VAL;
  for (int64_t i = 0; i < count; ++i) greatest = std::max(greatest, a[i * count + i]);
  const double limit = greatest * static_cast<double>(count) * 0x1p-23;
  for (int64_t i = 0; i < count; ++i)
    if (a[i * count + i] > limit) least = std::min(least, a[i * count + i]);
  for (int64_t r = 0; r < count; ++r) {
    if (!(a[r * count + r] > limit)) continue;
    const double* vector = vectors + r * count;
    double along = 0;
    for (int64_t i = 0; i < count; ++i) along += vector[i];
    const double factor = std::sqrt(least / a[r * count + r]) * along;
    for (int64_t i = 0; i < count; ++i) weights[i] += factor * vector[i];
  }
}

}  // namespace kairos::pareto
