// softmaxCrossEntropy(logits, labels) -> loss, logSumExp, one per row:
//
//   logSumExp = log(sum(exp(logits)))      loss = logSumExp - logits[label], or 0 where label is ignoreIndex
//
// softmaxCrossEntropyBackward(logits, labels, logSumExp, dloss) -> dlogits:
//
//   dlogits = (exp(logits - logSumExp) - [column is label]) dloss, or 0 where label is ignoreIndex
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/cross_entropy.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>

#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/math-inl.h"
#include "cpu/rows-inl.h"
#include "cpu/variants.h"

#ifndef KAIROS_CPU_CROSS_ENTROPY_CC_
#define KAIROS_CPU_CROSS_ENTROPY_CC_
namespace kairos {
namespace {

Status CheckLogitsAndLabels(const CheckContext& context) {
  const TensorSpec& logits = context.inputs[0];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "logits", logits, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(ExpectRank(context, "logits", logits, 1));
  return ExpectTensor(context, "labels", context.inputs[1], DType::kInt32, WithoutLast(logits.shape));
}

Status CheckCrossEntropy(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckLogitsAndLabels(context));
  const Shape rows = WithoutLast(context.inputs[0].shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "loss", context.outputs[0], DType::kFloat32, rows));
  return ExpectTensor(context, "logSumExp", context.outputs[1], DType::kFloat32, rows);
}

Status CheckCrossEntropyBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckLogitsAndLabels(context));
  const Shape rows = WithoutLast(context.inputs[0].shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "logSumExp", context.inputs[2], DType::kFloat32, rows));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dloss", context.inputs[3], DType::kFloat32, rows));
  return ExpectTensor(context, "dlogits", context.outputs[0], DType::kFloat32, context.inputs[0].shape);
}

}  // namespace
}  // namespace kairos
#endif  // KAIROS_CPU_CROSS_ENTROPY_CC_

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

// Whether the row counts. A label that is neither in range nor ignored raises the fault and does not count.
bool Counts(int64_t label, int64_t ignored, int64_t classes, int64_t row, IdFault& fault) {
  if (label == ignored) return false;
  if (label >= 0 && label < classes) return true;
  fault.Raise(row, label, classes);
  return false;
}

void BackwardRow(const float* logits, float log_sum_exp, float dloss, int64_t classes, float* dlogits) {
  ForVectors(classes, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatTag d;
    const FloatVector p = math::Exp(d, hn::Sub(Load(d, logits + i, live), hn::Set(d, log_sum_exp)));
    Store(hn::Mul(p, hn::Set(d, dloss)), d, dlogits + i, live);
  });
}

class CrossEntropy final : public Kernel {
 public:
  explicit CrossEntropy(PrepareContext& context) : ignored_(context.attributes.Int("ignoreIndex")) {}

  void Run(const RunContext& context) noexcept override {
    const TensorView& logits = context.inputs[0];
    const int64_t rows = logits.shape.Product(0, logits.shape.rank - 1), classes = logits.shape.Last();
    const int32_t* labels = context.inputs[1].As<int32_t>();
    float *loss = context.outputs[0].As<float>(), *log_sum_exp = context.outputs[1].As<float>();
    context.team.ParallelFor(rows, RowGrain(classes), [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t row = begin; row < end; ++row) {
        const float* x = logits.As<float>() + row * classes;
        const float most = MaxRow(x, classes);
        const double exact = most + std::log(SumExp(x, most, classes, nullptr));
        const bool counts = Counts(labels[row], ignored_, classes, row, context.fault);
        log_sum_exp[row] = static_cast<float>(exact);
        loss[row] = counts ? static_cast<float>(exact - x[labels[row]]) : 0;
      }
    });
  }

 private:
  int64_t ignored_;
};

class CrossEntropyBackward final : public Kernel {
 public:
  explicit CrossEntropyBackward(PrepareContext& context) : ignored_(context.attributes.Int("ignoreIndex")) {}

  void Run(const RunContext& context) noexcept override {
    const TensorView& logits = context.inputs[0];
    const int64_t rows = logits.shape.Product(0, logits.shape.rank - 1), classes = logits.shape.Last();
    const int32_t* labels = context.inputs[1].As<int32_t>();
    const float *log_sum_exp = context.inputs[2].As<float>(), *dloss = context.inputs[3].As<float>();
    context.team.ParallelFor(rows, RowGrain(classes), [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t row = begin; row < end; ++row) {
        float* dx = context.outputs[0].As<float>() + row * classes;
        if (!Counts(labels[row], ignored_, classes, row, context.fault)) {
          std::fill_n(dx, classes, 0.0f);
          continue;
        }
        BackwardRow(logits.As<float>() + row * classes, log_sum_exp[row], dloss[row], classes, dx);
        dx[labels[row]] -= dloss[row];
      }
    });
  }

 private:
  int64_t ignored_;
};

}  // namespace

std::span<const KernelEntry> CrossEntropyEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"softmaxCrossEntropy", CheckCrossEntropy, Stateful<CrossEntropy>},
      {"softmaxCrossEntropyBackward", CheckCrossEntropyBackward, Stateful<CrossEntropyBackward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(CrossEntropy)
}  // namespace kairos
#endif
