// attention(q, k, v, [range], [bias], [random]) -> y, logSumExp:
//
//   q [B, L, H, d]   k [B, S, G, d]   v [B, S, G, e]   H / G neighbouring heads of q share one of k and v
//   range int32[B, 2]   visible keys [start, end)      bias [H, L, S] or [B, H, L, S]      random int32[2]
//   y [B, L, H, e]      logSumExp [B, H, L], minus infinity for a query that sees nothing
//
// attentionBackward(q, k, v, y, logSumExp, dy, [dlogSumExp], [range], [bias], [random]) -> dq, dk, dv, [dbias].
// A head of keys and values, with all its queries, is one thread's, in one order: no float is added by two.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cc"
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

// Operands that follow those every call has, by position; -1 where absent.
struct Optional {
  int dlog_sum_exp = -1, range = -1, bias = -1, random = -1;
  size_t operands;

  Optional(const Attributes& attributes, bool backward) {
    int next = backward ? 6 : 3;
    if (backward && attributes.Bool("dlogSumExp")) dlog_sum_exp = next++;
    if (attributes.Bool("range")) range = next++;
    if (attributes.Bool("bias")) bias = next++;
    if (attributes.Float("rate") > 0) random = next++;
    operands = static_cast<size_t>(next);
  }
};

struct Sizes {
  int64_t batch, queries, heads, width, keys, groups, value_width;
  Sizes(const Shape& q, const Shape& k, const Shape& v)
      : batch(q[0]), queries(q[1]), heads(q[2]), width(q[3]), keys(k[1]), groups(k[2]), value_width(v[3]) {}
  Shape Result() const { return {batch, queries, heads, value_width}; }
  Shape Rows() const { return {batch, heads, queries}; }
};

Status CheckOperands(const CheckContext& context, bool backward) {
  const Optional optional(context.attributes, backward);
  const bool dbias = backward && optional.bias >= 0;
  if (context.inputs.size() != optional.operands ||
      context.outputs.size() != (backward ? size_t{3} + dbias : size_t{2}))
    return Refuse(context, "operands", "as many as its attributes name",
                  std::to_string(context.inputs.size()));
  const TensorSpec &q = context.inputs[0], &k = context.inputs[1], &v = context.inputs[2];
  for (const TensorSpec* spec : {&q, &k, &v})
    if (spec->shape.rank != 4) return Refuse(context, "q, k and v", "of rank 4", spec->shape.ToString());
  const Sizes sizes(q.shape, k.shape, v.shape);
  KAIROS_RETURN_IF_ERROR(ExpectDType(context, "q", q, DType::kFloat32));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "k", k, DType::kFloat32, {sizes.batch, sizes.keys, sizes.groups, sizes.width}));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "v", v, DType::kFloat32,
                                      {sizes.batch, sizes.keys, sizes.groups, sizes.value_width}));
  if (sizes.width < 1 || sizes.width > attention::kWidestHead || sizes.value_width > attention::kWidestHead)
    return Refuse(context, "q, k and v", "1 to 65536 channels a head", q.shape.ToString());
  if (sizes.groups == 0 ? sizes.heads != 0 : sizes.heads == 0 || sizes.heads % sizes.groups != 0)
    return Refuse(context, "k", "of a number of heads that divides that of q", k.shape.ToString());
  if (optional.range >= 0)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "range", context.inputs[optional.range], DType::kInt32, {sizes.batch, 2}));
  if (optional.bias >= 0) {
    const TensorSpec& bias = context.inputs[optional.bias];
    Shape each{sizes.batch, sizes.heads, sizes.queries, sizes.keys};
    if (bias.shape.rank == 3) each = {sizes.heads, sizes.queries, sizes.keys};
    KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "bias", bias, DType::kFloat32, each));
    if (dbias)
      KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dbias", context.outputs[3], DType::kFloat32, each));
  }
  if (optional.random >= 0)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "random", context.inputs[optional.random], DType::kInt32, {2}));
  if (!std::isfinite(context.attributes.Float("scale")))
    return Refuse(context, "scale", "a finite number", std::to_string(context.attributes.Float("scale")));
  const double rate = context.attributes.Float("rate");
  if (!(rate >= 0 && rate < 1))
    return Refuse(context, "rate", "at least 0 and below 1", std::to_string(rate));
  const int64_t salt = context.attributes.Int("salt");
  if (salt < INT32_MIN || salt > int64_t{UINT32_MAX})
    return Refuse(context, "salt", "an integer of 32 bits", std::to_string(salt));
  return Ok();
}

Status CheckForward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context, false));
  const Sizes sizes(context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "y", context.outputs[0], DType::kFloat32, sizes.Result()));
  return ExpectTensor(context, "logSumExp", context.outputs[1], DType::kFloat32, sizes.Rows());
}

Status CheckBackward(const CheckContext& context) {
  KAIROS_RETURN_IF_ERROR(CheckOperands(context, true));
  const Sizes sizes(context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape);
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "y", context.inputs[3], DType::kFloat32, sizes.Result()));
  KAIROS_RETURN_IF_ERROR(
      ExpectTensor(context, "logSumExp", context.inputs[4], DType::kFloat32, sizes.Rows()));
  KAIROS_RETURN_IF_ERROR(ExpectTensor(context, "dy", context.inputs[5], DType::kFloat32, sizes.Result()));
  if (const int at = Optional(context.attributes, true).dlog_sum_exp; at >= 0)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, "dlogSumExp", context.inputs[at], DType::kFloat32, sizes.Rows()));
  static constexpr const char* kNames[] = {"dq", "dk", "dv"};
  for (int i = 0; i < 3; ++i)
    KAIROS_RETURN_IF_ERROR(
        ExpectTensor(context, kNames[i], context.outputs[i], DType::kFloat32, context.inputs[i].shape));
  return Ok();
}

// What both directions know of a call.
class AttentionKernel : public Kernel {
 public:
  AttentionKernel(PrepareContext& prepare, bool backward)
      : optional_(prepare.attributes, backward),
        scale_(static_cast<float>(prepare.attributes.Float("scale"))),
        causal_(prepare.attributes.Bool("causal")),
        salt_(static_cast<uint32_t>(prepare.attributes.Int("salt"))) {
    const double rate = prepare.attributes.Float("rate");
    dropout_.threshold = static_cast<uint32_t>(std::floor(rate * 0x1p32));
    dropout_.factor = static_cast<float>(1 / (1 - rate));
  }

 protected:
  static Sizes SizesOf(const RunContext& context) {
    return {context.inputs[0].shape, context.inputs[1].shape, context.inputs[2].shape};
  }

  // Raises for the first row whose range is none. HeadAt keeps what it reads within the keys whatever it holds.
  void CheckRanges(const RunContext& context, const Sizes& sizes) const {
    if (optional_.range < 0) return;
    static constexpr const char* kBound = "range bound";
    const int32_t* range = context.inputs[optional_.range].As<const int32_t>();
    for (int64_t at = 0; at < 2 * sizes.batch; at += 2) {
      const int64_t start = range[at], end = range[at + 1];
      if (end < 0 || end > sizes.keys)
        return context.fault.RaiseBound(kBound, at + 1, end, 0, sizes.keys, optional_.range);
      if (start < 0 || start > end)
        return context.fault.RaiseBound(kBound, at, start, 0, end, optional_.range);
    }
  }

  Head HeadAt(const RunContext& context, const Sizes& sizes, int64_t b, int64_t h) const {
    const int64_t group = h / (sizes.heads / sizes.groups);
    Head head;
    head.width = sizes.width, head.value_width = sizes.value_width;
    head.queries = sizes.queries, head.keys = sizes.keys;
    head.q_step = sizes.heads * sizes.width, head.y_step = sizes.heads * sizes.value_width;
    head.k_step = sizes.groups * sizes.width, head.v_step = sizes.groups * sizes.value_width;
    head.q = context.inputs[0].As<const float>() + b * sizes.queries * head.q_step + h * sizes.width;
    head.k = context.inputs[1].As<const float>() + b * sizes.keys * head.k_step + group * sizes.width;
    head.v = context.inputs[2].As<const float>() + b * sizes.keys * head.v_step + group * sizes.value_width;
    head.end = sizes.keys;
    if (optional_.range >= 0) {
      const int32_t* range = context.inputs[optional_.range].As<const int32_t>() + 2 * b;
      head.end = std::clamp<int64_t>(range[1], 0, sizes.keys);
      head.begin = std::clamp<int64_t>(range[0], 0, head.end);
    }
    head.frontier = causal_ ? sizes.keys - sizes.queries + 1 : sizes.keys;
    head.few = sizes.queries <= attention::kFewQueries;
    head.scale = scale_;
    const int64_t row = b * sizes.heads + h;
    if (optional_.bias >= 0) {
      const TensorView& bias = context.inputs[optional_.bias];
      head.bias = bias.As<const float>() + (bias.shape.rank == 3 ? h : row) * sizes.queries * sizes.keys;
    }
    if (optional_.random >= 0) {
      const uint32_t* random = context.inputs[optional_.random].As<const uint32_t>();
      head.dropout = dropout_;
      head.dropout.key = {random[0], salt_};
      head.dropout.step = random[1];
      // Wraps only where no such matrix could be numbered.
      head.dropout.first = static_cast<uint64_t>(row) * static_cast<uint64_t>(sizes.queries) *
                           static_cast<uint64_t>(sizes.keys);
    }
    return head;
  }

  // Items that are worth a thread, when each multiplies that many pairs of queries and keys.
  static int64_t Grain(int64_t queries, const Sizes& sizes) {
    const double work = static_cast<double>(queries) * static_cast<double>(sizes.keys) *
                        static_cast<double>(sizes.width + sizes.value_width);
    return 1 + static_cast<int64_t>(65536 / (work + 1024));
  }

  Optional optional_;

 private:
  float scale_;
  bool causal_;
  uint32_t salt_;
  attention::Dropout dropout_;
};

class Forward final : public AttentionKernel {
 public:
  explicit Forward(PrepareContext& prepare)
      : AttentionKernel(prepare, false),
        scratch_(prepare, prepare.inputs[0].shape[3], prepare.inputs[2].shape[3]) {}

  void Run(const RunContext& context) noexcept override {
    const Sizes sizes = SizesOf(context);
    CheckRanges(context, sizes);
    // Short chunks where there are few heads to share out; results do not depend on it.
    const auto chunks_of = [&](int64_t chunk) { return (sizes.queries + chunk - 1) / chunk; };
    const int64_t heads = sizes.batch * sizes.heads;
    const bool few = heads * chunks_of(attention::kChunk) < 4 * context.team.size();
    const int64_t chunk = few ? attention::kQueryBlock : attention::kChunk, chunks = chunks_of(chunk);
    float *y = context.outputs[0].As<float>(), *log_sum_exp = context.outputs[1].As<float>();
    context.team.ParallelFor(heads * chunks, Grain(std::min(chunk, sizes.queries), sizes),
                             [&](int64_t begin, int64_t end, int thread) {
                               const auto space = scratch_.Of(context, thread);
                               for (int64_t item = begin; item < end; ++item) {
                                 const int64_t row = item / chunks, query = item % chunks * chunk;
                                 const int64_t b = row / sizes.heads, h = row % sizes.heads;
                                 Head head = HeadAt(context, sizes, b, h).From(query);
                                 head.queries = std::min(chunk, sizes.queries - query);
                                 attention::Forward(
                                     head, space,
                                     y + (b * sizes.queries + query) * head.y_step + h * sizes.value_width,
                                     log_sum_exp + row * sizes.queries + query);
                               }
                             });
  }

 private:
  attention::Scratch<attention::ForwardSpace> scratch_;
};

class Backward final : public AttentionKernel {
 public:
  explicit Backward(PrepareContext& prepare)
      : AttentionKernel(prepare, true),
        scratch_(prepare, prepare.inputs[0].shape[3], prepare.inputs[2].shape[3]) {}

  void Run(const RunContext& context) noexcept override {
    const Sizes sizes = SizesOf(context);
    CheckRanges(context, sizes);
    // A bias that all rows of the batch share is summed over them by one thread a group of heads.
    const bool shared = optional_.bias >= 0 && context.inputs[optional_.bias].shape.rank == 3;
    const int64_t rows = shared ? sizes.batch : 1;  // of the batch, in an item
    const int64_t items = sizes.groups * (shared ? 1 : sizes.batch);
    const int64_t group = sizes.groups == 0 ? 0 : sizes.heads / sizes.groups;
    if (shared && sizes.batch == 0)
      std::fill_n(context.outputs[3].As<float>(), context.outputs[3].shape.Count(), 0.0f);
    context.team.ParallelFor(
        items, Grain(rows * group * sizes.queries, sizes), [&](int64_t begin, int64_t end, int thread) {
          const auto space = scratch_.Of(context, thread);
          for (int64_t item = begin; item < end; ++item)
            for (int64_t b = 0; b < rows; ++b)
              RunGroup(context, sizes, shared ? b : item / sizes.groups, item % sizes.groups, b == 0, space);
        });
  }

 private:
  // The heads of q that share head g of keys and values; `first` starts their dbias.
  void RunGroup(const RunContext& context, const Sizes& sizes, int64_t b, int64_t g, bool first,
                const attention::BackwardSpace& space) const {
    const int64_t group = sizes.heads / sizes.groups;
    const Head shared = HeadAt(context, sizes, b, g * group);
    float* const dk = context.outputs[1].As<float>() + (shared.k - context.inputs[1].As<const float>());
    float* const dv = context.outputs[2].As<float>() + (shared.v - context.inputs[2].As<const float>());
    const auto gradients_of = [&](const Head& head, int64_t h) {
      attention::Gradients gradients = GradientsOf(context, sizes, head, b, h);
      gradients.dk = dk, gradients.dv = dv;
      gradients.first_head = h == g * group;
      return gradients;
    };
    for (int64_t h = g * group; h < (g + 1) * group; ++h) {
      const Head head = HeadAt(context, sizes, b, h);
      const attention::Gradients gradients = gradients_of(head, h);
      attention::ZeroUnseen(head, gradients);
      if (first && gradients.dbias != nullptr) std::fill_n(gradients.dbias, sizes.queries * sizes.keys, 0.0f);
    }
    if (sizes.queries == 0) return;
    for (int64_t key = shared.begin; key < shared.end; key += attention::kKeyTile) {
      const int64_t count = std::min(attention::kKeyTile, shared.end - key);
      const auto tile = attention::PackTile(shared, key, count, space);
      for (int64_t h = g * group; h < (g + 1) * group; ++h) {
        const Head head = HeadAt(context, sizes, b, h);
        attention::BackwardTile(head, gradients_of(head, h), tile, space);
      }
    }
  }

  attention::Gradients GradientsOf(const RunContext& context, const Sizes& sizes, const Head& head, int64_t b,
                                   int64_t h) const {
    const int64_t at = b * sizes.queries * head.y_step + h * sizes.value_width;
    const int64_t row = (b * sizes.heads + h) * sizes.queries;
    attention::Gradients gradients;
    gradients.y = context.inputs[3].As<const float>() + at;
    gradients.log_sum_exp = context.inputs[4].As<const float>() + row;
    gradients.dy = context.inputs[5].As<const float>() + at;
    if (optional_.dlog_sum_exp >= 0)
      gradients.dlog_sum_exp = context.inputs[optional_.dlog_sum_exp].As<const float>() + row;
    gradients.dq = context.outputs[0].As<float>() + (head.q - context.inputs[0].As<const float>());
    if (head.bias != nullptr)
      gradients.dbias =
          context.outputs[3].As<float>() + (head.bias - context.inputs[optional_.bias].As<const float>());
    return gradients;
  }

  attention::Scratch<attention::BackwardSpace> scratch_;
};

}  // namespace

std::span<const KernelEntry> AttentionEntries() {
  static constexpr KernelEntry kEntries[] = {
      {"attention", CheckForward, Stateful<Forward>},
      {"attentionBackward", CheckBackward, Stateful<Backward>},
  };
  return kEntries;
}

}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kairos {
KAIROS_FAMILY(Attention)
}  // namespace kairos
#endif
