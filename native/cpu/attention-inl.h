// Attention of one head, forward and backward, on one thread:
//
//   keys     in tiles of kKeyTile     packed once, seen by every query
//   queries  in tiles of six rows     scores = q k^T, weights, y += weights v, all within L1
//
// Weights are kept relative to a running maximum per query and y is rescaled when it grows, so no matrix of
// scores outlives its tile. A query's result depends neither on the tile it stands in nor on the thread.
//
// Backward makes the weights again from logSumExp, a block of queries by a tile of keys at a time:
//
//   weight = exp(score - logSumExp)      dscore = weight (keep (dy . v) - dy . y + dlogSumExp)
//   dv += (keep weight)^T dy             dk += scale dscore^T q            dq += scale dscore k

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_ATTENTION_INL_H_
#undef KAIROS_CPU_ATTENTION_INL_H_
#else
#define KAIROS_CPU_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/attention_products-inl.h"
#include "cpu/gemm-inl.h"
#include "cpu/philox-inl.h"
#include "cpu/rows-inl.h"
#include "runtime/kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE::attention {

// A head's rows are packed whole, so their width bounds the scratch.
inline constexpr int64_t kWidestHead = 65536;

inline constexpr int64_t kQueryBlock = 8 * kQueryTile;  // backward: queries whose weights are held at once
inline constexpr int64_t kChunk = 5 * kQueryBlock;      // forward: queries that share packed keys
static_assert(kKeyTile % gemm::kTileColumns == 0);

// As few queries meet keys one by one; packing keys for them would cost more than it gives.
inline constexpr int64_t kFewQueries = 2;

inline constexpr float kLeast = std::numeric_limits<float>::lowest();
inline constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Dropout of weights; element (i, j) of a head is `first` + i * keys + j of the stream.
struct Dropout {
  uint32_t threshold = 0;  // 0 when there is none
  float factor = 1;
  PhiloxKey key{};
  uint32_t step = 0;
  uint64_t first = 0;
};

// Memory and sizes of one head; steps lead from one query or key to the next.
struct Head {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  int64_t q_step = 0, k_step = 0, v_step = 0, y_step = 0;
  int64_t width = 0, value_width = 0;
  int64_t queries = 0, keys = 0;
  int64_t begin = 0, end = 0;  // keys that any query may see
  int64_t frontier = 0;        // query i sees keys below i + frontier
  float scale = 1;
  const float* bias = nullptr;  // [queries, keys]
  bool few = false;  // queries in all; a chunk must not be taken for few, or bits would depend on chunks
  Dropout dropout;

  // How many of `count` keys from `key` on query i sees.
  int64_t Visible(int64_t i, int64_t key, int64_t count) const {
    return std::clamp<int64_t>(i + frontier - key, 0, count);
  }
  Head From(int64_t query) const {
    Head head = *this;
    head.q += query * q_step;
    head.frontier += query;
    if (bias != nullptr) head.bias += query * keys;
    head.dropout.first += static_cast<uint64_t>(query) * static_cast<uint64_t>(keys);
    return head;
  }
};

// Pieces of a thread's share of the scratch, each on cache lines of its own; without memory they are counted.
class Pieces {
 public:
  explicit Pieces(float* memory = nullptr) : memory_(memory) {}
  float* Take(int64_t floats) {
    float* const piece = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += (floats + 15) / 16 * 16;
    return piece;
  }
  int64_t taken() const { return taken_; }

 private:
  float* memory_;
  int64_t taken_ = 0;
};

// Words of a tile's row, read as what its weights are multiplied by: 0, or 1 / (1 - rate). `words` has room for
// kDrawRoom.
inline constexpr int64_t kDrawRoom = kKeyTile + 4 + kDrawnAtOnce + 2 * hn::MaxLanes(FloatTag());

inline const float* DrawFactors(const Dropout& dropout, uint64_t index, int64_t count, float* words) {
  auto* drawn = reinterpret_cast<uint32_t*>(words);
  const int64_t lead = static_cast<int64_t>(index % 4);
  DrawWords(dropout.key, dropout.step, index / 4, lead + count, drawn);
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  // Signed comparison, which every target has, of words with their highest bit turned.
  const auto turn = hn::Set(di, INT32_MIN);
  const auto limit = hn::Xor(hn::Set(di, static_cast<int32_t>(dropout.threshold)), turn);
  const auto factor = hn::Set(d, dropout.factor);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  // A vector further, since whoever reads from `lead` on reads whole ones.
  for (int64_t i = 0; i < lead + count + lanes; i += lanes) {
    const auto word = hn::Xor(hn::LoadU(di, reinterpret_cast<const int32_t*>(drawn) + i), turn);
    hn::StoreU(hn::IfThenZeroElse(hn::RebindMask(d, hn::Lt(word, limit)), factor), d, words + i);
  }
  return words + lead;
}

// Zero from the end of the vector that holds element count - 1 on.
HWY_INLINE void ZeroAfter(int64_t count, int64_t until, float* x) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = (count + lanes - 1) / lanes * lanes; i < until; i += lanes)
    hn::StoreU(hn::Zero(d), d, x + i);
}

// Each thread's share of the scratch, laid out by a Space.
template <class Space>
class Scratch {
 public:
  Scratch(PrepareContext& prepare, int64_t width, int64_t value_width)
      : width_(width), value_width_(value_width) {
    Pieces pieces;
    Space(pieces, width_, value_width_);
    share_ = pieces.taken();
    prepare.scratch_bytes = static_cast<size_t>(share_) * prepare.threads * sizeof(float);
  }
  Space Of(const RunContext& context, int thread) const {
    Pieces pieces(reinterpret_cast<float*>(context.scratch) + share_ * thread);
    return Space(pieces, width_, value_width_);
  }

 private:
  int64_t width_, value_width_, share_;
};

// -----------------------------------------------------------------------------------------------------------
// Forward

struct ForwardSpace {
  float *keys, *values, *scores, *words, *most, *sum;
  static constexpr int64_t kScoreStep = kKeyTile + 16;

  ForwardSpace(Pieces& pieces, int64_t width, int64_t value_width)
      : keys(pieces.Take(PanelFloats(width, kKeyTile))),
        values(pieces.Take(PanelFloats(kKeyTile, value_width))),
        scores(pieces.Take(kQueryTile * kScoreStep)),
        words(pieces.Take(kDrawRoom)),
        most(pieces.Take(kChunk)),
        sum(pieces.Take(kChunk)) {}

  // For queries that stand behind `query` others of the kChunk.
  ForwardSpace From(int64_t query) const {
    ForwardSpace space = *this;
    space.most += query, space.sum += query;
    return space;
  }
};

// Turns a row of products into weights relative to the greatest score so far, zero from `count` to `until`;
// gives what earlier sums are to be multiplied by. Dead lanes of the last vector become zero too.
inline float Weigh(const float* bias, float scale, int64_t count, int64_t until, float* s, float& most,
                   float& sum) {
  const FloatTag d;
  const FloatVector factor = hn::Set(d, scale), dead = hn::Set(d, kNothing);
  FloatVector greatest = hn::Set(d, most);
  ForVectors(count, [&](int64_t i, size_t live) HWY_ATTR {
    FloatVector x = hn::Mul(hn::LoadU(d, s + i), factor);
    if (bias != nullptr) x = hn::Add(x, Load(d, bias + i, live));
    if (live < hn::Lanes(d)) x = hn::IfThenElse(hn::FirstN(d, live), x, dead);
    hn::StoreU(x, d, s + i);
    greatest = hn::Max(greatest, x);
  });
  // From the least finite value, so that differences are numbers even where every score is minus infinity.
  const float before = most;
  most = std::max(before, hn::GetLane(hn::MaxOfLanes(d, greatest)));
  const FloatVector shift = hn::Set(d, most);
  FloatVector total = hn::Zero(d);
  ForVectors(count, [&](int64_t i, size_t) HWY_ATTR {
    const FloatVector weight = math::ExpOfSmall(d, hn::Sub(hn::LoadU(d, s + i), shift));
    hn::StoreU(weight, d, s + i);
    total = hn::Add(total, weight);
  });
  ZeroAfter(count, until, s);
  // Before the first score there is nothing to rescale.
  const float grown = most == before || before == kLeast ? 1.0f : std::exp(before - most);
  sum = sum * grown + hn::GetLane(hn::SumOfLanes(d, total));
  return grown;
}

HWY_INLINE void ScaleRow(float by, int64_t count, float* x) {
  ForVectors(count, [=](int64_t i, size_t live) HWY_ATTR {
    const FloatTag d;
    Store(hn::Mul(Load(d, x + i, live), hn::Set(d, by)), d, x + i, live);
  });
}

inline void ZeroRows(int64_t rows, int64_t width, int64_t step, float* x) {
  for (int64_t row = 0; row < rows; ++row, x += step)
    ForVectors(width, [=](int64_t i, size_t live) HWY_ATTR {
      const FloatTag d;
      Store(hn::Zero(d), d, x + i, live);
    });
}

// Keys [key, key + count) of a head and their values, as right factors.
struct KeyTile {
  int64_t key, count;
  Columns keys;
  Panels values;
};

// A tile of queries against a tile of keys, `first` of those tiles.
inline void ForwardTile(const Head& head, const KeyTile& tile, int64_t query, int64_t rows, bool first,
                        const ForwardSpace& space, float* y) {
  // The last row sees most.
  const int64_t seen = head.Visible(query + rows - 1, tile.key, tile.count);
  if (seen == 0) {
    if (first) ZeroRows(rows, head.value_width, head.y_step, y + query * head.y_step);
    return;
  }
  float* const s = space.scores;
  constexpr int64_t kStep = ForwardSpace::kScoreStep;
  Product(head.q + query * head.q_step, head.q_step, tile.keys, rows, seen, s, kStep);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t i = query + row, own = head.Visible(i, tile.key, tile.count);
    const float* bias = head.bias == nullptr ? nullptr : head.bias + i * head.keys + tile.key;
    float* const weights = s + row * kStep;
    const float grown = Weigh(bias, head.scale, own, seen, weights, space.most[i], space.sum[i]);
    if (!first && grown != 1) ScaleRow(grown, head.value_width, y + i * head.y_step);
    if (head.dropout.threshold == 0) continue;
    const uint64_t index = head.dropout.first + static_cast<uint64_t>(i) * static_cast<uint64_t>(head.keys) +
                           static_cast<uint64_t>(tile.key);
    const float* const factors = DrawFactors(head.dropout, index, own, space.words);
    ForVectors(own, [=](int64_t j, size_t) HWY_ATTR {
      const FloatTag d;
      hn::StoreU(hn::Mul(hn::LoadU(d, weights + j), hn::LoadU(d, factors + j)), d, weights + j);
    });
  }
  float* const to = y + query * head.y_step;
  if (head.few) {
    for (int64_t row = 0; row < rows; ++row)
      WeightedSum(s + row * kStep, tile.values.data, tile.values.row_step, seen, head.value_width,
                  to + row * head.y_step, !first);
    return;
  }
  Product({s, kStep, 1}, tile.values, seen, rows, head.value_width, to, head.y_step, !first);
}

inline void StartForward(const Head& head, const ForwardSpace& space) {
  std::fill_n(space.most, head.queries, kLeast);
  std::fill_n(space.sum, head.queries, 0.0f);
}

// All queries against the tile of keys that begins with `key`.
inline void ForwardKeys(const Head& head, int64_t key, const ForwardSpace& space, float* y) {
  const int64_t count = std::min(kKeyTile, head.end - key);
  const float *k = head.k + key * head.k_step, *v = head.v + key * head.v_step;
  const KeyTile tile{key, count, Transposed(k, head.k_step, head.width, count, head.few, space.keys),
                     head.few ? Panels{v, head.v_step, 0}
                              : Rows(v, head.v_step, count, head.value_width, head.queries, space.values)};
  for (int64_t query = 0; query < head.queries; query += kQueryTile)
    ForwardTile(head, tile, query, std::min(kQueryTile, head.queries - query), key == head.begin, space, y);
}

inline void FinishForward(const Head& head, const ForwardSpace& space, float* y, float* log_sum_exp) {
  for (int64_t i = 0; i < head.queries; ++i) {
    float* const row = y + i * head.y_step;
    if (space.sum[i] == 0)
      ZeroRows(1, head.value_width, 0, row);
    else
      ScaleRow(1 / space.sum[i], head.value_width, row);
  }
  // Of a sum of 0 the logarithm is minus infinity, to which the least finite value adds nothing.
  ForVectors(head.queries, [&](int64_t i, size_t live) HWY_ATTR {
    const FloatTag d;
    const FloatVector sum = math::Log(d, Load(d, space.sum + i, live, 1));
    Store(hn::Add(Load(d, space.most + i, live), sum), d, log_sum_exp + i, live);
  });
}

// At most kChunk queries; y has the head's y_step, log_sum_exp one element a query.
inline void Forward(Head head, const ForwardSpace& space, float* y, float* log_sum_exp) {
  head.end = std::min(head.end, head.queries - 1 + head.frontier);
  StartForward(head, space);
  for (int64_t key = head.begin; key < head.end; key += kKeyTile) ForwardKeys(head, key, space, y);
  FinishForward(head, space, y, log_sum_exp);
}

// -----------------------------------------------------------------------------------------------------------
// Backward

struct BackwardSpace {
  float *keys, *key_rows, *values, *queries, *dy, *weights, *dscores, *words;
  static constexpr int64_t kScoreStep = kKeyTile + 16;

  BackwardSpace(Pieces& pieces, int64_t width, int64_t value_width)
      : keys(pieces.Take(PanelFloats(width, kKeyTile))),
        key_rows(pieces.Take(PanelFloats(kKeyTile, width))),
        values(pieces.Take(PanelFloats(value_width, kKeyTile))),
        queries(pieces.Take(PanelFloats(kQueryBlock, width))),
        dy(pieces.Take(PanelFloats(kQueryBlock, value_width))),
        weights(pieces.Take(kQueryBlock * kScoreStep)),
        dscores(pieces.Take(kQueryBlock * kScoreStep)),
        words(pieces.Take(kDrawRoom)) {}
};

// What comes into and goes out of the backward of a head; steps are those of the head.
struct Gradients {
  const float *y = nullptr, *log_sum_exp = nullptr, *dy = nullptr;
  const float* dlog_sum_exp = nullptr;  // or null
  float *dq = nullptr, *dk = nullptr, *dv = nullptr;
  bool first_head = true;  // of those that share keys: it writes dk and dv, the others add
  float* dbias = nullptr;  // [queries, keys], added into, or null
};

// From products q . k in `weights` and dy . v in `dscores` to weights as dropped and scaled dscores.
inline void WeighBack(const float* bias, float* dbias, const float* factors, float scale, float log_sum_exp,
                      float own, int64_t count, int64_t until, float* weights, float* dscores) {
  const FloatTag d;
  const FloatVector by = hn::Set(d, scale), shift = hn::Set(d, log_sum_exp), less = hn::Set(d, own);
  ForVectors(count, [&](int64_t i, size_t live) HWY_ATTR {
    FloatVector x = hn::Mul(hn::LoadU(d, weights + i), by);
    if (bias != nullptr) x = hn::Add(x, Load(d, bias + i, live));
    FloatVector weight = math::ExpOfSmall(d, hn::Sub(x, shift));
    FloatVector dweight = hn::LoadU(d, dscores + i);
    FloatVector kept = weight;
    if (factors != nullptr) {
      const FloatVector factor = hn::LoadU(d, factors + i);
      kept = hn::Mul(kept, factor);
      dweight = hn::Mul(dweight, factor);
    }
    FloatVector dscore = hn::Mul(weight, hn::Sub(dweight, less));
    if (dbias != nullptr) Store(hn::Add(Load(d, dbias + i, live), dscore), d, dbias + i, live);
    dscore = hn::Mul(dscore, by);
    if (live < hn::Lanes(d)) {
      kept = hn::IfThenElseZero(hn::FirstN(d, live), kept);
      dscore = hn::IfThenElseZero(hn::FirstN(d, live), dscore);
    }
    hn::StoreU(kept, d, weights + i);
    hn::StoreU(dscore, d, dscores + i);
  });
  ZeroAfter(count, until, weights);
  ZeroAfter(count, until, dscores);
}

// Weights and dscores of a row, every element of [0, count) written.
inline void BackwardRow(const Head& head, const Gradients& g, const BackwardSpace& space, int64_t query,
                        int64_t key, int64_t count, float* weights, float* dscores) {
  const int64_t seen = head.Visible(query, key, count);
  const float log_sum_exp = g.log_sum_exp[query];
  if (seen == 0 || log_sum_exp == kNothing) {
    ZeroAfter(0, count, weights);
    ZeroAfter(0, count, dscores);
    return;
  }
  const float own = Dot(g.dy + query * head.y_step, g.y + query * head.y_step, head.value_width) -
                    (g.dlog_sum_exp == nullptr ? 0 : g.dlog_sum_exp[query]);
  const float* factors = nullptr;
  if (head.dropout.threshold != 0) {
    const uint64_t index = head.dropout.first +
                           static_cast<uint64_t>(query) * static_cast<uint64_t>(head.keys) +
                           static_cast<uint64_t>(key);
    factors = DrawFactors(head.dropout, index, seen, space.words);
  }
  const float* bias = head.bias == nullptr ? nullptr : head.bias + query * head.keys + key;
  float* dbias = g.dbias == nullptr ? nullptr : g.dbias + query * head.keys + key;
  WeighBack(bias, dbias, factors, head.scale, log_sum_exp, own, seen, count, weights, dscores);
}

// Keys [key, key + count) of a head and their values, as the right factors of backward.
struct BackwardKeyTile {
  int64_t key, count;
  Columns keys, values;
  Panels key_rows;
};

inline BackwardKeyTile PackTile(const Head& head, int64_t key, int64_t count, const BackwardSpace& space) {
  const float *k = head.k + key * head.k_step, *v = head.v + key * head.v_step;
  return {key, count, Transposed(k, head.k_step, head.width, count, head.few, space.keys),
          Transposed(v, head.v_step, head.value_width, count, head.few, space.values),
          Rows(k, head.k_step, count, head.width, head.queries, space.key_rows)};
}

// A block of queries against a tile of keys.
inline void BackwardBlock(const Head& head, const Gradients& g, const BackwardKeyTile& tile, int64_t query,
                          int64_t rows, const BackwardSpace& space) {
  constexpr int64_t kStep = BackwardSpace::kScoreStep;
  const int64_t key = tile.key, count = tile.count;
  const bool first = key == head.begin;
  float* const dq = g.dq + query * head.q_step;
  if (head.Visible(query + rows - 1, key, count) == 0) {
    if (first) ZeroRows(rows, head.width, head.q_step, dq);
    return;
  }
  // Keys that an earlier block or head has written.
  const int64_t written = !g.first_head ? count : query == 0 ? 0 : head.Visible(query - 1, key, count);
  const float *q = head.q + query * head.q_step, *dy = g.dy + query * head.y_step;
  for (int64_t row = 0; row < rows; row += kQueryTile) {
    const int64_t live = std::min(kQueryTile, rows - row);
    const int64_t seen = head.Visible(query + row + live - 1, key, count);
    float *weights = space.weights + row * kStep, *dscores = space.dscores + row * kStep;
    if (seen > 0) {
      Product(q + row * head.q_step, head.q_step, tile.keys, live, seen, weights, kStep);
      Product(dy + row * head.y_step, head.y_step, tile.values, live, seen, dscores, kStep);
    }
    for (int64_t i = row; i < row + live; ++i)
      BackwardRow(head, g, space, query + i, key, count, space.weights + i * kStep,
                  space.dscores + i * kStep);
    if (seen > 0)
      Product({dscores, kStep, 1}, tile.key_rows, seen, live, head.width, dq + row * head.q_step, head.q_step,
              !first);
    else if (first)
      ZeroRows(live, head.width, head.q_step, dq + row * head.q_step);
  }
  const Panels queries = Rows(q, head.q_step, rows, head.width, count, space.queries);
  const Panels dys = Rows(dy, head.y_step, rows, head.value_width, count, space.dy);
  for (int64_t j = 0; j < count; j += kQueryTile) {
    const int64_t live = std::min(kQueryTile, count - j);
    // Queries before this one see none of these keys.
    const int64_t from = std::clamp<int64_t>(key + j + 1 - head.frontier - query, 0, rows);
    if (from == rows) break;
    const int64_t at = from * kStep + j;
    Product({space.weights + at, 1, kStep}, dys.From(from), rows - from, live, head.value_width,
            g.dv + (key + j) * head.v_step, head.v_step, j < written);
    Product({space.dscores + at, 1, kStep}, queries.From(from), rows - from, live, head.width,
            g.dk + (key + j) * head.k_step, head.k_step, j < written);
  }
}

// All queries of a head against a tile of its keys. What no query reaches is zeroed by ZeroUnseen.
inline void BackwardTile(const Head& head, const Gradients& g, const BackwardKeyTile& tile,
                         const BackwardSpace& space) {
  for (int64_t query = 0; query < head.queries; query += kQueryBlock)
    BackwardBlock(head, g, tile, query, std::min(kQueryBlock, head.queries - query), space);
}

// dk and dv of keys outside the range, which no tile holds, and dq where the range is empty. Within it the last
// query sees every key, so some block writes each.
inline void ZeroUnseen(const Head& head, const Gradients& g) {
  const int64_t end = head.queries == 0 ? head.begin : head.end;
  if (head.begin == end) ZeroRows(head.queries, head.width, head.q_step, g.dq);
  if (!g.first_head) return;
  ZeroRows(head.begin, head.width, head.k_step, g.dk);
  ZeroRows(head.begin, head.value_width, head.v_step, g.dv);
  ZeroRows(head.keys - end, head.width, head.k_step, g.dk + end * head.k_step);
  ZeroRows(head.keys - end, head.value_width, head.v_step, g.dv + end * head.v_step);
}

}  // namespace kairos::HWY_NAMESPACE::attention
HWY_AFTER_NAMESPACE();

#endif  // include guard
