// targetAttention(q, k, v, offsets) -> y, logSumExp: queries of each user over that user's own history.
//
//   q [B, T, H, d]   k [N, H, d]   v [N, H, e]   offsets int32[B + 1]: user b has rows [offsets[b], offsets[b + 1])
//   y [B, T, H, e]   logSumExp [B, H, T], minus infinity for a user without history
//
// targetAttentionBackward(q, k, v, offsets, y, logSumExp, dy, [dlogSumExp]) -> dq, dk, dv.
// Threads get shares of about equally many rows; a user is one thread's, so bits do not depend on their number.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/target_attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>

#include "cpu/attention-inl.h"
#include "cpu/check.h"
#include "cpu/families.h"
#include "cpu/variants.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

using attention::Head;

struct Sizes {
  int64_t users, targets, heads, width, rows, value_width;
  Sizes(const Shape& q, const Shape& k, const Shape& v)
      : users(q[0]), targets(q[1]), heads(q[2]), width(q[3]), rows(k[0]), value_width(v[2]) {}
  Shape Result() const { return {users, targets, heads, value_width}; }
  Shape Scores() const { return {users, heads, targets}; }
};

Status CheckOperands(const CheckContext& context) {
  const TensorSpec &q = context.inputs[0], &k = context.inputs[1], &v = context.inputs[2];
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "q", q, DType::kFloat32));
  if (q.shape.rank != 4) return Refuse(context, "q", "of rank 4", q.shape.ToString());
  if (k.shape.rank != 3 || v.shape.rank != 3)
    return Refuse(context, "k and v", "of rank 3", k.shape.ToString() + " and " + v.shape.ToString());
  const Sizes sizes(q.shape, k.shape, v.shape);
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "k", k, DType::kFloat32, {sizes.rows, sizes.heads, sizes.width}));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "v", v, DType::kFloat32, {sizes.rows, sizes.heads, sizes.value_width}));
  if (sizes.width < 1 || sizes.width > attention::kWidestHead || sizes.value_width > attention::kWidestHead)
    return Refuse(context, "q, k and v", "1 to 65536 channels a head", q.shape.ToString());
  if (!std::isfinite(context.attributes.Float("scale")))
    return Refuse(context, "scale", "a finite number", std::to_string(context.attributes.Float("scale")));
  if (sizes.users == INT64_MAX) return Refuse(context, "q", "fewer users", q.shape.ToString());
  return ExpectTensor(context, "offsets", context.inputs[3], DType::kInt32, {sizes.users + 1});
}

Sizes SizesOf(std::span<const TensorSpec> inputs) {
  return {inputs[0].shape, inputs[1].shape, inputs[2].shape};
}

Status CheckForward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context));
  const Sizes sizes = SizesOf(context.inputs);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "y", context.outputs[0], DType::kFloat32, sizes.Result()));
  return ExpectTensor(context, "logSumExp", context.outputs[1], DType::kFloat32, sizes.Scores());
}

Status CheckBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context));
  const Sizes sizes = SizesOf(context.inputs);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "y", context.inputs[4], DType::kFloat32, sizes.Result()));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "logSumExp", context.inputs[5], DType::kFloat32, sizes.Scores()));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[6], DType::kFloat32, sizes.Result()));
  if (context.inputs.size() > 7)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "dlogSumExp", context.inputs[7], DType::kFloat32, sizes.Scores()));
  static constexpr const char* kNames[] = {"dq", "dk", "dv"};
  for (int i = 0; i < 3; ++i)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, kNames[i], context.outputs[i], DType::kFloat32, context.inputs[i].shape));
  return Ok();
}

class TargetAttentionKernel : public Kernel {
 public:
  explicit TargetAttentionKernel(PrepareContext& prepare)
      : scale_(static_cast<float>(prepare.attributes.Float("scale"))) {}

 protected:
  static Sizes SizesOf(const RunContext& context) {
    return {context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape};
  }
  static const int32_t* OffsetsOf(const RunContext& context) { return context.inputs[3].As<const int32_t>(); }

  // Whether 0 <= offsets[0] <= offsets[1] ... <= rows; raises for the first that is not. Nothing reads a row of k
  // or v before this has said yes.
  static bool OffsetsHold(const RunContext& context, const Sizes& sizes) {
    const int32_t* offsets = OffsetsOf(context);
    for (int64_t at = 0; at <= sizes.users; ++at) {
      const int64_t limit = at < sizes.users ? std::min<int64_t>(offsets[at + 1], sizes.rows) : sizes.rows;
      if (offsets[at] >= 0 && offsets[at] <= limit) continue;
      context.fault.RaiseBound("offset", at, offsets[at], 0, std::max<int64_t>(limit, 0), 3);
      return false;
    }
    return true;
  }

  // Calls visit(user, thread) for every user. A user weighs its rows and one more.
  template <class Visit>
  static void ForUsers(const RunContext& context, const Sizes& sizes, Visit visit) {
    const int32_t* offsets = OffsetsOf(context);
    const int64_t work = (sizes.targets + 1) * sizes.heads * (sizes.width + sizes.value_width);
    const auto weight_before = [&](int64_t user) { return offsets[user] - offsets[0] + user; };
    const auto first_user = [&](int64_t weight) {  // the first that starts at `weight` or later
      int64_t low = 0, high = sizes.users;
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (weight_before(middle) < weight)
          low = middle + 1;
        else
          high = middle;
      }
      return low;
    };
    context.team.ParallelFor(weight_before(sizes.users), 1 + 65536 / (work + 1),
                             [&](int64_t begin, int64_t end, int thread) {
                               const int64_t last = first_user(end);
                               for (int64_t user = first_user(begin); user < last; ++user)
                                 visit(user, thread);
                             });
  }

  Head HeadAt(const RunContext& context, const Sizes& sizes, int64_t user, int64_t h) const {
    const int32_t* offsets = OffsetsOf(context);
    Head head;
    head.width = sizes.width, head.value_width = sizes.value_width;
    head.q_step = head.k_step = sizes.heads * sizes.width;
    head.v_step = head.y_step = sizes.heads * sizes.value_width;
    head.queries = sizes.targets;
    head.keys = head.end = head.frontier = offsets[user + 1] - offsets[user];
    head.q = context.inputs[0].As<const float>() + user * sizes.targets * head.q_step + h * sizes.width;
    head.k = context.inputs[1].As<const float>() + offsets[user] * head.k_step + h * sizes.width;
    head.v = context.inputs[2].As<const float>() + offsets[user] * head.v_step + h * sizes.value_width;
    head.few = sizes.targets <= attention::kFewQueries;
    head.scale = scale_;
    return head;
  }

 private:
  float scale_;
};

void Zero(const TensorView& view) { std::fill_n(view.As<float>(), view.shape.Count(), 0.0f); }

class Forward final : public TargetAttentionKernel {
 public:
  explicit Forward(PrepareContext& prepare)
      : TargetAttentionKernel(prepare),
        scratch_(prepare, prepare.inputs[0].shape[3], prepare.inputs[2].shape[2]) {}

  void Run(const RunContext& context) noexcept override {
    const Sizes sizes = SizesOf(context);
    if (!OffsetsHold(context, sizes)) {
      Zero(context.outputs[0]);
      Zero(context.outputs[1]);
      return;
    }
    ForUsers(context, sizes, [&](int64_t user, int thread) {
      const auto space = scratch_.Of(context, thread);
      for (int64_t query = 0; query < sizes.targets; query += attention::kChunk) {
        const int64_t queries = std::min(attention::kChunk, sizes.targets - query);
        const int64_t group = attention::kChunk / queries;
        for (int64_t h = 0; h < sizes.heads; h += group)
          RunHeads(context, sizes, user, query, queries, h, std::min(h + group, sizes.heads), space);
      }
    });
  }

 private:
  // Heads [first, last), kChunk queries of them at most. Keys and values are read once, with all that lies side by
  // side: a head alone would read a piece of each row, and wait for each.
  void RunHeads(const RunContext& context, const Sizes& sizes, int64_t user, int64_t query, int64_t queries,
                int64_t first, int64_t last, const attention::ForwardSpace& space) const {
    const auto for_heads = [&](const auto& visit) {
      for (int64_t h = first; h < last; ++h) {
        Head head = HeadAt(context, sizes, user, h).From(query);
        head.queries = queries;
        visit(h, head, space.From((h - first) * queries),
              context.outputs[0].As<float>() + (user * sizes.targets + query) * head.y_step +
                  h * sizes.value_width);
      }
    };
    using Space = attention::ForwardSpace;
    for_heads(
        [](int64_t, const Head& head, const Space& own, float*) { attention::StartForward(head, own); });
    const int64_t end = HeadAt(context, sizes, user, first).end;
    for (int64_t key = 0; key < end; key += attention::kKeyTile)
      for_heads([key](int64_t, const Head& head, const Space& own, float* y) {
        attention::ForwardKeys(head, key, own, y);
      });
    for_heads([&](int64_t h, const Head& head, const Space& own, float* y) {
      attention::FinishForward(
          head, own, y, context.outputs[1].As<float>() + (user * sizes.heads + h) * sizes.targets + query);
    });
  }

  attention::Scratch<attention::ForwardSpace> scratch_;
};

class Backward final : public TargetAttentionKernel {
 public:
  explicit Backward(PrepareContext& prepare)
      : TargetAttentionKernel(prepare),
        scratch_(prepare, prepare.inputs[0].shape[3], prepare.inputs[2].shape[2]) {}

  void Run(const RunContext& context) noexcept override {
    const Sizes sizes = SizesOf(context);
    if (!OffsetsHold(context, sizes)) {
      for (const TensorView& output : context.outputs) Zero(output);
      return;
    }
    const int32_t* offsets = OffsetsOf(context);
    // Rows that are nobody's.
    ZeroRows(context, sizes, 0, offsets[0]);
    ZeroRows(context, sizes, offsets[sizes.users], sizes.rows);
    ForUsers(context, sizes, [&](int64_t user, int thread) {
      const auto space = scratch_.Of(context, thread);
      // Heads of a tile before the next tile: their rows lie side by side.
      for (int64_t h = 0; h < sizes.heads; ++h) {
        const Head head = HeadAt(context, sizes, user, h);
        attention::ZeroUnseen(head, GradientsOf(context, sizes, head, user, h));
      }
      const int64_t end = sizes.targets == 0 ? 0 : offsets[user + 1] - offsets[user];
      for (int64_t key = 0; key < end; key += attention::kKeyTile)
        for (int64_t h = 0; h < sizes.heads; ++h) {
          const Head head = HeadAt(context, sizes, user, h);
          const auto tile = attention::PackTile(head, key, std::min(attention::kKeyTile, end - key), space);
          attention::BackwardTile(head, GradientsOf(context, sizes, head, user, h), tile, space);
        }
    });
  }

 private:
  static void ZeroRows(const RunContext& context, const Sizes& sizes, int64_t begin, int64_t end) {
    const int64_t width = sizes.heads * sizes.width, value_width = sizes.heads * sizes.value_width;
    std::fill_n(context.outputs[1].As<float>() + begin * width, (end - begin) * width, 0.0f);
    std::fill_n(context.outputs[2].As<float>() + begin * value_width, (end - begin) * value_width, 0.0f);
  }

  static attention::Gradients GradientsOf(const RunContext& context, const Sizes& sizes, const Head& head,
                                          int64_t user, int64_t h) {
    const int64_t at = user * sizes.targets * head.y_step + h * sizes.value_width;
    const int64_t row = (user * sizes.heads + h) * sizes.targets;
    attention::Gradients gradients;
    gradients.y = context.inputs[4].As<const float>() + at;
    gradients.log_sum_exp = context.inputs[5].As<const float>() + row;
    gradients.dy = context.inputs[6].As<const float>() + at;
    if (context.inputs.size() > 7) gradients.dlog_sum_exp = context.inputs[7].As<const float>() + row;
    gradients.dq = context.outputs[0].As<float>() + (head.q - context.inputs[0].As<const float>());
    gradients.dk = context.outputs[1].As<float>() + (head.k - context.inputs[1].As<const float>());
    gradients.dv = context.outputs[2].As<float>() + (head.v - context.inputs[2].As<const float>());
    return gradients;
  }

  attention::Scratch<attention::BackwardSpace> scratch_;
};

template <class Type>
std::unique_ptr<Kernel> Prepare(PrepareContext& prepare) {
  return std::make_unique<Type>(prepare);
}

}  // namespace

std::span<const KernelEntry> TargetAttentionEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"targetAttention", CheckForward, Prepare<Forward>},
      {"targetAttentionBackward", CheckBackward, Prepare<Backward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(TargetAttention)
}  // namespace kairos
#endif
