// Float functions on vectors, right for every input: NaN stays NaN, infinities give their limits, large
// arguments do not wrap. Highway's own are faster where they are right, and wrong outside their stated
// ranges.
//
// Call them qualified, `math::Tanh(d, x)`: Highway has functions of the same names that argument lookup would
// find.

// Highway's include guard: it flips once per CPU variant.
#if defined(KAIROS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_CPU_MATH_INL_H_
#undef KAIROS_CPU_MATH_INL_H_
#else
#define KAIROS_CPU_MATH_INL_H_
#endif

#include <cmath>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE::math {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Infinity(D d) {
  return hn::Set(d, std::numeric_limits<hn::TFromD<D>>::infinity());
}

template <class D>
HWY_INLINE hn::Vec<D> NotANumber(D d) {
  return hn::Set(d, std::numeric_limits<hn::TFromD<D>>::quiet_NaN());
}

// Min(x, limit) and Max(x, limit) that let NaN through on every target.
template <class D, class V>
HWY_INLINE V AtMost(D d, V x, hn::TFromD<D> limit) {
  const V bound = hn::Set(d, limit);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::Min(bound, x);  // the instruction answers its second operand where either is NaN
#else
  return hn::IfThenElse(hn::Gt(x, bound), bound, x);
#endif
}

template <class D, class V>
HWY_INLINE V AtLeast(D d, V x, hn::TFromD<D> limit) {
  const V bound = hn::Set(d, limit);
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::Max(bound, x);
#else
  return hn::IfThenElse(hn::Lt(x, bound), bound, x);
#endif
}

// c[0] + c[1] x + c[2] x^2 ...
template <class D, class V, size_t kCount>
HWY_INLINE V Polynomial(D d, V x, const float (&c)[kCount]) {
  V sum = hn::Set(d, c[kCount - 1]);
  for (size_t i = kCount - 1; i-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(d, c[i]));
  return sum;
}

// e^r of |r| <= log(2) / 2.
template <class D, class V>
HWY_INLINE V ExpOfRest(D d, V r) {
  constexpr float kRest[] = {0.49999994f, 0.1666652f, 0.0416684f, 0.008368851f, 0.001381432f};
  return hn::Add(hn::MulAdd(Polynomial(d, r, kRest), hn::Mul(r, r), r), hn::Set(d, 1.0f));
}

// Of floats of at most 80, such as differences from a maximum, in two thirds of the work: 2^n e^r with n whole, found
// by the rounding of a large sum, and |r| <= log(2) / 2. Below `least`, at least -87, it is 0: no result is so small
// that processors take a slow path for it.
template <class D, class V>
HWY_INLINE V ExpOfSmall(D d, V x, float least = -87.0f) {
  const hn::RebindToUnsigned<D> bits;
  const V large = hn::Set(d, 0x1.8p23f + 127);  // its last bits become n plus the exponent's bias
  const V sum = hn::MulAdd(x, hn::Set(d, 1.44269504f), large), n = hn::Sub(sum, large);
  const V r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x));
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, sum)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, least)), hn::Mul(ExpOfRest(d, r), power));
}

// Any float type. At 104 the float exponential has long overflowed, at 708 the double one nearly has.
template <class D, class V>
HWY_INLINE V Exp(D d, V x) {
  constexpr hn::TFromD<D> kLimit = sizeof(hn::TFromD<D>) == 4 ? 104 : 706;
#if HWY_TARGET == HWY_AVX3
  // One instruction multiplies by 2^n, into the denormal numbers and to infinity.
  if constexpr (sizeof(hn::TFromD<D>) == 4 && hn::MaxLanes(D()) == 16) {
    const V y = AtMost(d, AtLeast(d, x, -kLimit), kLimit);
    const V n = hn::Round(hn::Mul(y, hn::Set(d, 1.44269504f)));
    const V r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), y));
    return V{_mm512_scalef_ps(ExpOfRest(d, r).raw, n.raw)};
  }
#endif
  const V y = hn::Exp(d, AtMost(d, x, kLimit));
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

template <class D, class V>
HWY_INLINE V Log(D d, V x) {
  const V zero = hn::Zero(d), infinity = Infinity(d);
  V y = hn::Log(d, x);
  y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinity), y);
  y = hn::IfThenElse(hn::Eq(x, infinity), infinity, y);
  return hn::IfThenElse(hn::Ge(x, zero), y, NotANumber(d));
}

template <class D, class V>
HWY_INLINE V Log1p(D d, V x) {
  const V minus_one = hn::Set(d, hn::TFromD<D>(-1)), infinity = Infinity(d);
  V y = hn::Log1p(d, x);
  y = hn::IfThenElse(hn::Eq(x, minus_one), hn::Neg(infinity), y);
  y = hn::IfThenElse(hn::Eq(x, infinity), infinity, y);
  return hn::IfThenElse(hn::Ge(x, minus_one), y, NotANumber(d));
}

template <class D, class V>
HWY_INLINE V Tanh(D d, V x) {
  return hn::Tanh(d, hn::CopySign(AtMost(d, hn::Abs(x), 20), x));
}

// 1 / x of normal x in the middle of the range, to a unit in the last place: division would wait for its one unit.
template <class D, class V>
HWY_INLINE V Reciprocal(D d, V x) {
#if HWY_TARGET == HWY_AVX3
  // A guess of 14 bits, made exact by one step after Newton.
  if constexpr (hn::MaxLanes(D()) == 16) {
    const V guess = V{_mm512_rcp14_ps(x.raw)};
    return hn::MulAdd(hn::NegMulAdd(x, guess, hn::Set(d, 1.0f)), guess, guess);
  }
#endif
  return hn::Div(hn::Set(d, 1.0f), x);
}

// From exp(-|x|), which neither overflows nor loses the small results.
template <class D, class V>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, hn::TFromD<D>(1));
  const V small = math::Exp(d, hn::Neg(hn::Abs(x)));
  return hn::Mul(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), small, one), Reciprocal(d, hn::Add(one, small)));
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|).
template <class D, class V>
HWY_INLINE V Softplus(D d, V x) {
  const V rest = hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Add(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x), rest);
}

// The upper tail of the normal distribution, P(X > a) for a >= 0, given e^(-a^2/2): the quotient is smooth,
// and t P(t) with t = 1 / (1 + 0.35 a) fits it to 4e-8 (relative) for a < 15, beyond which the exponential is
// tiny.
template <class D, class V>
HWY_INLINE V NormalTail(D d, V a, V exponential) {
  constexpr float kTail[] = {0.139618643f, 0.139914804f,  0.119417036f, 0.107262773f, -0.0274828896f,
                             0.165801802f, -0.261712669f, 0.146950922f, -0.029770439f};
  const V one = hn::Set(d, 1.0f);
  const V t = Reciprocal(d, hn::MulAdd(a, hn::Set(d, 0.35f), one));
  return hn::Mul(hn::Mul(exponential, t), Polynomial(d, t, kTail));
}

// Near zero x P(x^2), which is 0 at 0; elsewhere 1 - 2 P(X > sqrt(2) |x|).
template <class D, class V>
HWY_INLINE V Erf(D d, V x) {
  constexpr float kNear[] = {1.12837917f,    -0.376126267f,    0.112835947f,   -0.026854212f,
                             0.00518908742f, -0.000801686429f, 7.87587506e-05f};
  const V a = AtMost(d, hn::Abs(x), 10.0f), square = hn::Mul(a, a);
  const V tail = NormalTail(d, hn::Mul(a, hn::Set(d, 1.41421356f)), ExpOfSmall(d, hn::Neg(square), -83.0f));
  const V far = hn::NegMulAdd(hn::Set(d, 2.0f), tail, hn::Set(d, 1.0f));
  const V near = hn::Mul(a, Polynomial(d, square, kNear));
  return hn::CopySign(hn::IfThenElse(hn::Lt(a, hn::Set(d, 1.0f)), near, far), x);
}

// The normal distribution P(X < x), given e^(-x^2/2). Small probabilities keep their relative precision.
template <class D, class V>
HWY_INLINE V NormalCdf(D d, V x, V exponential) {
  const V tail = NormalTail(d, hn::Abs(x), exponential);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, 1.0f), tail));
}

// 0 beyond 12.9 deviations, where products with it would be denormal, and slow.
template <class D, class V>
HWY_INLINE V HalfSquareExponential(D d, V x) {
  return ExpOfSmall(d, hn::Mul(hn::Mul(x, hn::Set(d, -0.5f)), x), -83.0f);
}

// x P(X < x), the exact form. Clamped below so that minus infinity gives its limit, zero.
template <class D, class V>
HWY_INLINE V Gelu(D d, V x) {
  const V from = AtLeast(d, x, -40.0f), to = AtMost(d, from, 40.0f);
  return hn::Mul(from, NormalCdf(d, to, HalfSquareExponential(d, to)));
}

template <class D, class V>
HWY_INLINE V GeluGradient(D d, V x) {
  const V at = AtMost(d, AtLeast(d, x, -40.0f), 40.0f);
  const V exponential = HalfSquareExponential(d, at);
  const V density = hn::Mul(exponential, hn::Set(d, 0.398942280f));
  return hn::MulAdd(at, density, NormalCdf(d, at, exponential));
}

// Highway reduces arguments up to about 39000. The rare larger ones go one by one, chosen lane by lane, so
// that an element's result does not depend on its neighbours.
template <class D, class V, class Vector, class Scalar>
HWY_INLINE V Periodic(D d, V x, Vector vector, Scalar scalar) {
  const auto small = hn::Lt(hn::Abs(x), hn::Set(d, 30000.0f));
  V y = vector(hn::IfThenElseZero(small, x));
  if (HWY_LIKELY(hn::AllTrue(d, small))) return y;
  float from[hn::MaxLanes(D())], to[hn::MaxLanes(D())];
  hn::StoreU(x, d, from);
  hn::StoreU(y, d, to);
  for (size_t i = 0; i < hn::Lanes(d); ++i)
    if (!(std::fabs(from[i]) < 30000.0f)) to[i] = scalar(from[i]);
  return hn::LoadU(d, to);
}

template <class D, class V>
HWY_INLINE V Sin(D d, V x) {
  return Periodic(
      d, x, [d](V v) HWY_ATTR { return hn::Sin(d, v); }, [](float v) { return std::sin(v); });
}

template <class D, class V>
HWY_INLINE V Cos(D d, V x) {
  return Periodic(
      d, x, [d](V v) HWY_ATTR { return hn::Cos(d, v); }, [](float v) { return std::cos(v); });
}

// x^y by C's rules, through double, so that whole results come out whole. D must be a half vector of float:
// `hn::Rebind<float, hn::ScalableTag<double>>`.
template <class D, class V>
HWY_INLINE V Power(D d, V x, V y) {
  const hn::Rebind<double, D> dd;
  const auto log = math::Log(dd, hn::PromoteTo(dd, hn::Abs(x)));
  const auto exponent = AtLeast(dd, AtMost(dd, hn::Mul(log, hn::PromoteTo(dd, y)), 90.0), -200.0);
  const auto wide = math::Exp(dd, exponent);
  // Some targets saturate when they narrow, so overflow is seen on a scaled copy.
  const V scaled = hn::DemoteTo(d, hn::Mul(wide, hn::Set(dd, 0x1p-10)));
  const auto overflows = hn::Gt(scaled, hn::Set(d, std::numeric_limits<float>::max() * 0x1p-10f));
  V power = hn::IfThenElse(overflows, Infinity(d), hn::DemoteTo(d, wide));

  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), half = hn::Mul(y, hn::Set(d, 0.5f));
  const auto whole = hn::Eq(hn::Floor(y), y);
  const auto odd = hn::AndNot(hn::Eq(hn::Floor(half), half), whole);
  power = hn::IfThenElse(odd, hn::CopySign(power, x), power);
  const auto root_of_negative = hn::AndNot(whole, hn::And(hn::Lt(x, zero), hn::Gt(x, hn::Neg(Infinity(d)))));
  power = hn::IfThenElse(root_of_negative, NotANumber(d), power);
  // log(1) * infinity has no value of its own; and 1^NaN = NaN^0 = 1.
  const auto unit = hn::Or(hn::Eq(x, one), hn::And(hn::Eq(x, hn::Neg(one)), hn::Eq(hn::Abs(y), Infinity(d))));
  return hn::IfThenElse(hn::Or(unit, hn::Eq(y, zero)), one, power);
}

}  // namespace kairos::HWY_NAMESPACE::math
HWY_AFTER_NAMESPACE();

#endif  // include guard
