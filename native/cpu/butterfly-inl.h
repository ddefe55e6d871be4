// Butterflies of small radix on registers: one lane, one transform. Included once per CPU variant.
//
// A butterfly of radix r turns r values into their DFT in place. The component it starts from sets its kind:
//
//   Real      DC: r reals -> packed spectrum: re of q at q, im of q at r - q, Nyquist (r even) at r / 2
//   Shifted   Nyquist (r even): frequencies q + 1/2, all complex: re of q at q, im of q at r - 1 - q
//   Complex   any other frequency: r complex values; swapping re and im gives the inverse
//
// Inverses are unnormalised: forward, then inverse multiplies by r.
#if defined(KAIROS_BUTTERFLY_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef KAIROS_BUTTERFLY_INL_H
#undef KAIROS_BUTTERFLY_INL_H
#else
#define KAIROS_BUTTERFLY_INL_H
#endif

#include "hwy/highway.h"

#ifndef KAIROS_UNROLL
#if defined(__SANITIZE_ADDRESS__)  // instrumented and inlined, the butterflies take minutes to compile
#define KAIROS_UNROLL
#define KAIROS_BUTTERFLY HWY_NOINLINE
#else
#if defined(__clang__)
#define KAIROS_UNROLL _Pragma("unroll")
#else
#define KAIROS_UNROLL _Pragma("GCC unroll 16")
#endif
#define KAIROS_BUTTERFLY HWY_INLINE
#endif
#endif

HWY_BEFORE_NAMESPACE();
namespace kairos::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using V = hn::Vec<F32>;

HWY_INLINE V Splat(double value) { return hn::Set(F32(), static_cast<float>(value)); }

// cos and sin of 2 pi i / r at compile time, by their series on [0, pi].
template <int r>
struct Roots {
  double cos[r] = {};
  double sin[r] = {};
  constexpr Roots() {
    for (int i = 0; i < r; ++i) {
      const int folded = 2 * i > r ? r - i : i;
      const double angle = 2 * 3.14159265358979323846 * folded / r;
      double term = 1;
      for (int n = 0; n < 40; ++n) {
        (n % 2 == 0 ? cos[i] : sin[i]) += n % 4 < 2 ? term : -term;
        term *= angle / (n + 1);
      }
      if (2 * i > r) sin[i] = -sin[i];
    }
  }
};

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kCos16 = 0.92387953251128675613;  // cos(pi / 8)
constexpr double kSin16 = 0.38268343236508977173;

// (a, b) -> (a + b, a - b)
HWY_INLINE void SumDifference(V& a, V& b) {
  const V sum = hn::Add(a, b);
  b = hn::Sub(a, b);
  a = sum;
}

// (re, im) *= (wr, wi), or its conjugate
HWY_INLINE void MultiplyComplex(V& re, V& im, V wr, V wi) {
  const V real = hn::NegMulAdd(im, wi, hn::Mul(re, wr));
  im = hn::MulAdd(re, wi, hn::Mul(im, wr));
  re = real;
}
HWY_INLINE void MultiplyConjugate(V& re, V& im, V wr, V wi) {
  const V real = hn::MulAdd(im, wi, hn::Mul(re, wr));
  im = hn::NegMulAdd(re, wi, hn::Mul(im, wr));
  re = real;
}

// Odd radices: sums and differences of x[j] and x[r - j] meet cosines and sines.
template <int r>
struct Butterfly {
  static constexpr int h = (r - 1) / 2;
  static constexpr Roots<r> kRoots{};

  static KAIROS_BUTTERFLY void Real(V (&x)[r]) {
    V u[h], v[h];
    V dc = x[0];
    KAIROS_UNROLL for (int j = 1; j <= h; ++j) {
      u[j - 1] = hn::Add(x[j], x[r - j]);
      v[j - 1] = hn::Sub(x[r - j], x[j]);
      dc = hn::Add(dc, u[j - 1]);
    }
    KAIROS_UNROLL for (int q = 1; q <= h; ++q) {
      V re = hn::MulAdd(u[0], Splat(kRoots.cos[q]), x[0]);
      V im = hn::Mul(v[0], Splat(kRoots.sin[q]));
      KAIROS_UNROLL for (int j = 2; j <= h; ++j) {
        re = hn::MulAdd(u[j - 1], Splat(kRoots.cos[j * q % r]), re);
        im = hn::MulAdd(v[j - 1], Splat(kRoots.sin[j * q % r]), im);
      }
      x[q] = re;
      x[r - q] = im;
    }
    x[0] = dc;
  }

  static KAIROS_BUTTERFLY void InverseReal(V (&x)[r]) {
    V re[h], im[h];
    V first = x[0];
    KAIROS_UNROLL for (int q = 1; q <= h; ++q) {
      re[q - 1] = hn::Add(x[q], x[q]);
      im[q - 1] = hn::Add(x[r - q], x[r - q]);
      first = hn::Add(first, re[q - 1]);
    }
    KAIROS_UNROLL for (int j = 1; j <= h; ++j) {
      V even = hn::MulAdd(re[0], Splat(kRoots.cos[j]), x[0]);
      V odd = hn::Mul(im[0], Splat(kRoots.sin[j]));
      KAIROS_UNROLL for (int q = 2; q <= h; ++q) {
        even = hn::MulAdd(re[q - 1], Splat(kRoots.cos[j * q % r]), even);
        odd = hn::MulAdd(im[q - 1], Splat(kRoots.sin[j * q % r]), odd);
      }
      x[j] = hn::Sub(even, odd);
      x[r - j] = hn::Add(even, odd);
    }
    x[0] = first;
  }

  static KAIROS_BUTTERFLY void Complex(V (&re)[r], V (&im)[r]) {
    V ur[h], ui[h], vr[h], vi[h];
    V dc_re = re[0], dc_im = im[0];
    KAIROS_UNROLL for (int j = 1; j <= h; ++j) {
      ur[j - 1] = hn::Add(re[j], re[r - j]);
      ui[j - 1] = hn::Add(im[j], im[r - j]);
      vr[j - 1] = hn::Sub(re[j], re[r - j]);
      vi[j - 1] = hn::Sub(im[j], im[r - j]);
      dc_re = hn::Add(dc_re, ur[j - 1]);
      dc_im = hn::Add(dc_im, ui[j - 1]);
    }
    KAIROS_UNROLL for (int q = 1; q <= h; ++q) {
      V even_re = hn::MulAdd(ur[0], Splat(kRoots.cos[q]), re[0]);
      V even_im = hn::MulAdd(ui[0], Splat(kRoots.cos[q]), im[0]);
      V odd_re = hn::Mul(vi[0], Splat(kRoots.sin[q]));
      V odd_im = hn::Mul(vr[0], Splat(kRoots.sin[q]));
      KAIROS_UNROLL for (int j = 2; j <= h; ++j) {
        even_re = hn::MulAdd(ur[j - 1], Splat(kRoots.cos[j * q % r]), even_re);
        even_im = hn::MulAdd(ui[j - 1], Splat(kRoots.cos[j * q % r]), even_im);
        odd_re = hn::MulAdd(vi[j - 1], Splat(kRoots.sin[j * q % r]), odd_re);
        odd_im = hn::MulAdd(vr[j - 1], Splat(kRoots.sin[j * q % r]), odd_im);
      }
      re[q] = hn::Add(even_re, odd_re);
      im[q] = hn::Sub(even_im, odd_im);
      re[r - q] = hn::Sub(even_re, odd_re);
      im[r - q] = hn::Add(even_im, odd_im);
    }
    re[0] = dc_re;
    im[0] = dc_im;
  }

  // Odd radices never meet a Nyquist component: the plan puts them first.
  static KAIROS_BUTTERFLY void Shifted(V (&)[r]) {}
  static KAIROS_BUTTERFLY void InverseShifted(V (&)[r]) {}
};

template <>
struct Butterfly<1> {
  static KAIROS_BUTTERFLY void Real(V (&)[1]) {}
  static KAIROS_BUTTERFLY void InverseReal(V (&)[1]) {}
  static KAIROS_BUTTERFLY void Complex(V (&)[1], V (&)[1]) {}
  static KAIROS_BUTTERFLY void Shifted(V (&)[1]) {}
  static KAIROS_BUTTERFLY void InverseShifted(V (&)[1]) {}
};

template <>
struct Butterfly<2> {
  static KAIROS_BUTTERFLY void Real(V (&x)[2]) { SumDifference(x[0], x[1]); }
  static KAIROS_BUTTERFLY void InverseReal(V (&x)[2]) { SumDifference(x[0], x[1]); }
  static KAIROS_BUTTERFLY void Complex(V (&re)[2], V (&im)[2]) {
    SumDifference(re[0], re[1]);
    SumDifference(im[0], im[1]);
  }
  static KAIROS_BUTTERFLY void Shifted(V (&x)[2]) { x[1] = hn::Neg(x[1]); }
  static KAIROS_BUTTERFLY void InverseShifted(V (&x)[2]) {
    x[0] = hn::Add(x[0], x[0]);
    x[1] = hn::Neg(hn::Add(x[1], x[1]));
  }
};

template <>
struct Butterfly<4> {
  static KAIROS_BUTTERFLY void Real(V (&x)[4]) { Real(x[0], x[1], x[2], x[3]); }
  static KAIROS_BUTTERFLY void Real(V& x0, V& x1, V& x2, V& x3) {
    SumDifference(x0, x2);
    const V sum = hn::Add(x1, x3), im = hn::Sub(x3, x1);
    x1 = x2;
    x3 = im;
    x2 = hn::Sub(x0, sum);
    x0 = hn::Add(x0, sum);
  }
  static KAIROS_BUTTERFLY void InverseReal(V (&x)[4]) { InverseReal(x[0], x[1], x[2], x[3]); }
  static KAIROS_BUTTERFLY void InverseReal(V& x0, V& x1, V& x2, V& x3) {
    SumDifference(x0, x2);
    const V re = hn::Add(x1, x1), im = hn::Add(x3, x3), difference = x2;
    x2 = hn::Sub(x0, re);
    x0 = hn::Add(x0, re);
    x1 = hn::Sub(difference, im);
    x3 = hn::Add(difference, im);
  }
  static KAIROS_BUTTERFLY void Complex(V (&re)[4], V (&im)[4]) {
    Complex(re[0], im[0], re[1], im[1], re[2], im[2], re[3], im[3]);
  }
  static KAIROS_BUTTERFLY void Complex(V& re0, V& im0, V& re1, V& im1, V& re2, V& im2, V& re3, V& im3) {
    SumDifference(re0, re2);
    SumDifference(im0, im2);
    SumDifference(re1, re3);
    SumDifference(im1, im3);
    const V even_re = re2, even_im = im2, odd_re = re3, odd_im = im3;
    re2 = hn::Sub(re0, re1);
    im2 = hn::Sub(im0, im1);
    re0 = hn::Add(re0, re1);
    im0 = hn::Add(im0, im1);
    re1 = hn::Add(even_re, odd_im);
    im1 = hn::Sub(even_im, odd_re);
    re3 = hn::Sub(even_re, odd_im);
    im3 = hn::Add(even_im, odd_re);
  }
  static KAIROS_BUTTERFLY void Shifted(V (&x)[4]) { Shifted(x[0], x[1], x[2], x[3]); }
  static KAIROS_BUTTERFLY void Shifted(V& x0, V& x1, V& x2, V& x3) {
    const V half = Splat(kSqrtHalf);
    const V t = hn::Mul(hn::Sub(x1, x3), half), u = hn::Mul(hn::Add(x1, x3), half), third = x2;
    x1 = hn::Sub(x0, t);
    x0 = hn::Add(x0, t);
    x2 = hn::Sub(third, u);
    x3 = hn::Neg(hn::Add(third, u));
  }
  static KAIROS_BUTTERFLY void InverseShifted(V (&x)[4]) { InverseShifted(x[0], x[1], x[2], x[3]); }
  static KAIROS_BUTTERFLY void InverseShifted(V& x0, V& x1, V& x2, V& x3) {
    const V root = Splat(2 * kSqrtHalf);
    const V re = hn::Add(x0, x1), t = hn::Sub(x0, x1), im = hn::Sub(x2, x3), u = hn::Add(x2, x3);
    x0 = hn::Add(re, re);
    x2 = hn::Add(im, im);
    x1 = hn::Mul(hn::Sub(t, u), root);
    x3 = hn::Neg(hn::Mul(hn::Add(t, u), root));
  }
};

// Radix 8: a radix 4 butterfly on the even and one on the odd values, joined by roots of unity.
template <>
struct Butterfly<8> {
  static KAIROS_BUTTERFLY void Real(V (&x)[8]) {
    V e0 = x[0], e1 = x[2], e2 = x[4], e3 = x[6], o0 = x[1], o1 = x[3], o2 = x[5], o3 = x[7];
    Butterfly<4>::Real(e0, e1, e2, e3);
    Butterfly<4>::Real(o0, o1, o2, o3);
    const V half = Splat(kSqrtHalf);
    const V re = hn::Mul(hn::Add(o1, o3), half), im = hn::Mul(hn::Sub(o3, o1), half);
    x[0] = hn::Add(e0, o0);
    x[4] = hn::Sub(e0, o0);
    x[1] = hn::Add(e1, re);
    x[3] = hn::Sub(e1, re);
    x[7] = hn::Add(im, e3);
    x[5] = hn::Sub(im, e3);
    x[2] = e2;
    x[6] = hn::Neg(o2);
  }
  static KAIROS_BUTTERFLY void InverseReal(V (&x)[8]) {
    const V half = Splat(kSqrtHalf);
    V e0 = hn::Add(x[0], x[4]), o0 = hn::Sub(x[0], x[4]);
    V e1 = hn::Add(x[1], x[3]), e3 = hn::Sub(x[7], x[5]);
    const V re = hn::Sub(x[1], x[3]), im = hn::Add(x[7], x[5]);
    V o1 = hn::Mul(hn::Sub(re, im), half), o3 = hn::Mul(hn::Add(re, im), half);
    V e2 = hn::Add(x[2], x[2]), o2 = hn::Neg(hn::Add(x[6], x[6]));
    Butterfly<4>::InverseReal(e0, e1, e2, e3);
    Butterfly<4>::InverseReal(o0, o1, o2, o3);
    x[0] = e0, x[2] = e1, x[4] = e2, x[6] = e3;
    x[1] = o0, x[3] = o1, x[5] = o2, x[7] = o3;
  }
  static KAIROS_BUTTERFLY void Complex(V (&re)[8], V (&im)[8]) {
    Butterfly<4>::Complex(re[0], im[0], re[2], im[2], re[4], im[4], re[6], im[6]);
    Butterfly<4>::Complex(re[1], im[1], re[3], im[3], re[5], im[5], re[7], im[7]);
    const V half = Splat(kSqrtHalf);
    // The odd values times w^q: w = (1 - i) / sqrt 2, w^2 = -i, w^3 = (-1 - i) / sqrt 2.
    const V o0_re = re[1], o0_im = im[1], o2_re = im[5], o2_im = re[5];
    const V o1_re = hn::Mul(hn::Add(re[3], im[3]), half), o1_im = hn::Mul(hn::Sub(im[3], re[3]), half);
    const V o3_re = hn::Mul(hn::Sub(im[7], re[7]), half), o3_im = hn::Mul(hn::Add(re[7], im[7]), half);
    const V e0_re = re[0], e0_im = im[0], e1_re = re[2], e1_im = im[2];
    const V e2_re = re[4], e2_im = im[4], e3_re = re[6], e3_im = im[6];
    re[0] = hn::Add(e0_re, o0_re), im[0] = hn::Add(e0_im, o0_im);
    re[4] = hn::Sub(e0_re, o0_re), im[4] = hn::Sub(e0_im, o0_im);
    re[1] = hn::Add(e1_re, o1_re), im[1] = hn::Add(e1_im, o1_im);
    re[5] = hn::Sub(e1_re, o1_re), im[5] = hn::Sub(e1_im, o1_im);
    re[2] = hn::Add(e2_re, o2_re), im[2] = hn::Sub(e2_im, o2_im);
    re[6] = hn::Sub(e2_re, o2_re), im[6] = hn::Add(e2_im, o2_im);
    re[3] = hn::Add(e3_re, o3_re), im[3] = hn::Sub(e3_im, o3_im);
    re[7] = hn::Sub(e3_re, o3_re), im[7] = hn::Add(e3_im, o3_im);
  }
  static KAIROS_BUTTERFLY void Shifted(V (&x)[8]) {
    V e0 = x[0], e1 = x[2], e2 = x[4], e3 = x[6], o0 = x[1], o1 = x[3], o2 = x[5], o3 = x[7];
    Butterfly<4>::Shifted(e0, e1, e2, e3);
    Butterfly<4>::Shifted(o0, o1, o2, o3);
    const V c = Splat(kCos16), s = Splat(kSin16);
    MultiplyConjugate(o0, o3, c, s);
    MultiplyConjugate(o1, o2, s, c);
    x[0] = hn::Add(e0, o0), x[7] = hn::Add(e3, o3);
    x[3] = hn::Sub(e0, o0), x[4] = hn::Sub(o3, e3);
    x[1] = hn::Add(e1, o1), x[6] = hn::Add(e2, o2);
    x[2] = hn::Sub(e1, o1), x[5] = hn::Sub(o2, e2);
  }
  static KAIROS_BUTTERFLY void InverseShifted(V (&x)[8]) {
    V e0 = hn::Add(x[0], x[3]), e3 = hn::Sub(x[7], x[4]), o0 = hn::Sub(x[0], x[3]), o3 = hn::Add(x[7], x[4]);
    V e1 = hn::Add(x[1], x[2]), e2 = hn::Sub(x[6], x[5]), o1 = hn::Sub(x[1], x[2]), o2 = hn::Add(x[6], x[5]);
    const V c = Splat(kCos16), s = Splat(kSin16);
    MultiplyComplex(o0, o3, c, s);
    MultiplyComplex(o1, o2, s, c);
    Butterfly<4>::InverseShifted(e0, e1, e2, e3);
    Butterfly<4>::InverseShifted(o0, o1, o2, o3);
    x[0] = e0, x[2] = e1, x[4] = e2, x[6] = e3;
    x[1] = o0, x[3] = o1, x[5] = o2, x[7] = o3;
  }
};

// Radix 16: a radix 8 butterfly on the even and one on the odd values. Only ever the first stage, where all is real.
template <>
struct Butterfly<16> {
  static KAIROS_BUTTERFLY void Real(V (&x)[16]) {
    V e[8], o[8];
    KAIROS_UNROLL for (int j = 0; j < 8; ++j) e[j] = x[2 * j], o[j] = x[2 * j + 1];
    Butterfly<8>::Real(e);
    Butterfly<8>::Real(o);
    const V half = Splat(kSqrtHalf), c = Splat(kCos16), s = Splat(kSin16);
    MultiplyConjugate(o[1], o[7], c, s);
    MultiplyConjugate(o[2], o[6], half, half);
    MultiplyConjugate(o[3], o[5], s, c);
    x[0] = hn::Add(e[0], o[0]), x[8] = hn::Sub(e[0], o[0]);
    x[4] = e[4], x[12] = hn::Neg(o[4]);
    KAIROS_UNROLL for (int k = 1; k < 4; ++k) {
      x[k] = hn::Add(e[k], o[k]), x[16 - k] = hn::Add(e[8 - k], o[8 - k]);
      x[8 - k] = hn::Sub(e[k], o[k]), x[8 + k] = hn::Sub(o[8 - k], e[8 - k]);
    }
  }
  static KAIROS_BUTTERFLY void InverseReal(V (&x)[16]) {
    V e[8], o[8];
    e[0] = hn::Add(x[0], x[8]), o[0] = hn::Sub(x[0], x[8]);
    e[4] = hn::Add(x[4], x[4]), o[4] = hn::Neg(hn::Add(x[12], x[12]));
    KAIROS_UNROLL for (int k = 1; k < 4; ++k) {
      e[k] = hn::Add(x[k], x[8 - k]), e[8 - k] = hn::Sub(x[16 - k], x[8 + k]);
      o[k] = hn::Sub(x[k], x[8 - k]), o[8 - k] = hn::Add(x[16 - k], x[8 + k]);
    }
    const V half = Splat(kSqrtHalf), c = Splat(kCos16), s = Splat(kSin16);
    MultiplyComplex(o[1], o[7], c, s);
    MultiplyComplex(o[2], o[6], half, half);
    MultiplyComplex(o[3], o[5], s, c);
    Butterfly<8>::InverseReal(e);
    Butterfly<8>::InverseReal(o);
    KAIROS_UNROLL for (int j = 0; j < 8; ++j) x[2 * j] = e[j], x[2 * j + 1] = o[j];
  }
  static KAIROS_BUTTERFLY void Complex(V (&)[16], V (&)[16]) {}
  static KAIROS_BUTTERFLY void Shifted(V (&)[16]) {}
  static KAIROS_BUTTERFLY void InverseShifted(V (&)[16]) {}
};

}  // namespace
}  // namespace kairos::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // KAIROS_BUTTERFLY_INL_H
