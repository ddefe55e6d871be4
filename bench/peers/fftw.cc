// The frequency filter y = irfft(rfft(x) w) along axis 1 of x[256, L, 64] by others' fast means: the peer of
// `frequencyFilter`. Serves lines from standard input; FOLDER is the argument.
//
//   open L          reads FOLDER/x and FOLDER/w, plans, and writes FOLDER/pair and FOLDER/dense, which must be y
//   pair N          answers the milliseconds of N runs with FFTW
//   dense N         the same with both transforms as matrices, multiplied by OpenBLAS
//
// FFTW's codelets for real input are scalar. Two real columns as one complex column meet its vector codelets, and are
// faster; the filter is then Y_k = P_k Z_k + M_k conj(Z_{L-k}) with P and M half the sum and half the difference of
// the two columns' filters. Item by item the spectrum stays in the cache, which beats one plan over the batch.
#include <cblas.h>
#include <fftw3.h>
#include <immintrin.h>
#include <omp.h>

#include <cmath>
#include <complex>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numbers>
#include <string>

#include "timing.h"

namespace {

using Complex = std::complex<float>;
using bench::Allocate;
using bench::Array;

constexpr int kBatch = 256, kWidth = 64, kPairs = kWidth / 2;
// Larger matrices lose to FFTW by far and take long.
constexpr int kLongestDense = 256;
constexpr double kPlanSeconds = 20;

#if defined(__AVX512F__)
using Vector = __m512;
Vector Load(const Complex* from) { return _mm512_loadu_ps(reinterpret_cast<const float*>(from)); }
void Store(Complex* to, Vector x) { _mm512_storeu_ps(reinterpret_cast<float*>(to), x); }
Vector Product(Vector x, Vector y) {
  return _mm512_fmaddsub_ps(x, _mm512_moveldup_ps(y),
                            _mm512_mul_ps(_mm512_permute_ps(x, 0xB1), _mm512_movehdup_ps(y)));
}
Vector Conjugate(Vector x) {
  const __m512i sign = _mm512_set1_epi64(INT64_MIN);
  return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), sign));
}
#else
using Vector = __m256;
Vector Load(const Complex* from) { return _mm256_loadu_ps(reinterpret_cast<const float*>(from)); }
void Store(Complex* to, Vector x) { _mm256_storeu_ps(reinterpret_cast<float*>(to), x); }
Vector Product(Vector x, Vector y) {
  return _mm256_fmaddsub_ps(x, _mm256_moveldup_ps(y),
                            _mm256_mul_ps(_mm256_permute_ps(x, 0xB1), _mm256_movehdup_ps(y)));
}
Vector Conjugate(Vector x) { return _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_set1_epi64x(INT64_MIN))); }
#endif
constexpr int kLanes = sizeof(Vector) / sizeof(Complex);

template <typename T>
Array<T> ReadFile(const std::string& path, size_t count) {
  Array<T> values = Allocate<T>(count);
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(values.get()), count * sizeof(T));
  return values;
}

class Filter {
 public:
  Filter(const std::string& folder, int length)
      : length_(length),
        half_(length / 2 + 1),
        x_(ReadFile<float>(folder + "/x", Size())),
        y_(Allocate<float>(Size())),
        filter_(ReadFile<Complex>(folder + "/w", size_t{1} * half_ * kWidth)),
        scratch_(Allocate<Complex>(ScratchSize() * omp_get_max_threads())) {
    PreparePair();
    if (length <= kLongestDense) PrepareDense();
    // Planning has written into it.
    x_ = ReadFile<float>(folder + "/x", Size());
  }
  ~Filter() {
    fftwf_destroy_plan(forward_);
    fftwf_destroy_plan(backward_);
  }
  Filter(const Filter&) = delete;

  const float* y() const { return y_.get(); }
  size_t Size() const { return size_t{kBatch} * ItemSize(); }

  void Pair() {
#pragma omp parallel for schedule(static)
    for (int b = 0; b < kBatch; ++b) {
      Complex* spectrum = Scratch();
      auto* raw = reinterpret_cast<fftwf_complex*>(spectrum);
      fftwf_execute_dft(forward_, reinterpret_cast<fftwf_complex*>(x_.get() + b * ItemSize()), raw);
      for (int k = 0; k <= length_ / 2; ++k) FilterPair(spectrum, k, k == 0 ? 0 : length_ - k);
      fftwf_execute_dft(backward_, raw, reinterpret_cast<fftwf_complex*>(y_.get() + b * ItemSize()));
    }
  }

  void Dense() {
#pragma omp parallel for schedule(static)
    for (int b = 0; b < kBatch; ++b) {
      auto* rows = reinterpret_cast<float*>(Scratch());
      Multiply(analysis_.get(), x_.get() + b * ItemSize(), rows);
      for (int k = 0; k < half_; ++k) {
        float *re = rows + k * kWidth, *im = rows + (k + half_ - 1) * kWidth;
        const Complex* w = filter_.get() + k * kWidth;
        if (Once(k)) {
          for (int i = 0; i < kWidth; ++i) re[i] *= w[i].real();
          continue;
        }
        for (int i = 0; i < kWidth; ++i) {
          const float real = re[i];
          re[i] = real * w[i].real() - im[i] * w[i].imag();
          im[i] = real * w[i].imag() + im[i] * w[i].real();
        }
      }
      Multiply(synthesis_.get(), rows, y_.get() + b * ItemSize());
    }
  }

 private:
  size_t ItemSize() const { return size_t{1} * length_ * kWidth; }
  size_t ScratchSize() const { return size_t{1} * length_ * kPairs; }
  Complex* Scratch() { return scratch_.get() + ScratchSize() * omp_get_thread_num(); }
  // Frequencies that stand once in a whole spectrum: their coefficients are real.
  bool Once(int k) const { return k == 0 || 2 * k == length_; }

  void PreparePair() {
    sum_ = Allocate<Complex>(ScratchSize());
    difference_ = Allocate<Complex>(ScratchSize());
    const float scale = 0.5f / static_cast<float>(length_);
    for (int k = 0; k < length_; ++k)
      for (int pair = 0; pair < kPairs; ++pair) {
        const Complex a = Coefficient(k, 2 * pair), b = Coefficient(k, 2 * pair + 1);
        sum_[k * kPairs + pair] = (a + b) * scale;
        difference_[k * kPairs + pair] = (a - b) * scale;
      }
    fftwf_set_timelimit(kPlanSeconds);
    const fftwf_iodim transform{length_, kPairs, kPairs}, columns{kPairs, 1, 1};
    auto* spectrum = reinterpret_cast<fftwf_complex*>(scratch_.get());
    forward_ = fftwf_plan_guru_dft(1, &transform, 1, &columns, reinterpret_cast<fftwf_complex*>(x_.get()),
                                   spectrum, FFTW_FORWARD, FFTW_PATIENT | FFTW_PRESERVE_INPUT);
    backward_ =
        fftwf_plan_guru_dft(1, &transform, 1, &columns, spectrum, reinterpret_cast<fftwf_complex*>(y_.get()),
                            FFTW_BACKWARD, FFTW_PATIENT | FFTW_DESTROY_INPUT);
  }

  Complex Coefficient(int k, int column) const {
    const Complex w =
        k < half_ ? filter_[k * kWidth + column] : std::conj(filter_[(length_ - k) * kWidth + column]);
    return Once(k) ? Complex(w.real(), 0) : w;
  }

  void FilterPair(Complex* spectrum, int k, int mirror) const {
    Complex *a = spectrum + k * kPairs, *b = spectrum + mirror * kPairs;
    const Complex *sum = sum_.get(), *difference = difference_.get();
    for (int i = 0; i < kPairs; i += kLanes) {
      const auto filtered = [&](Vector x, Vector y, int row) {
        const int at = row * kPairs + i;
        return Product(x, Load(sum + at)) + Product(Conjugate(y), Load(difference + at));
      };
      const Vector x = Load(a + i), y = Load(b + i);
      Store(a + i, filtered(x, y, k));
      Store(b + i, filtered(y, x, mirror));
    }
  }

  // Rows of the analysis: cosines of frequencies 0 to L/2, then negative sines of those that stand twice.
  void PrepareDense() {
    analysis_ = Allocate<float>(size_t{1} * length_ * length_);
    synthesis_ = Allocate<float>(size_t{1} * length_ * length_);
    for (int row = 0; row < length_; ++row)
      for (int t = 0; t < length_; ++t) {
        const int k = row < half_ ? row : row - half_ + 1;
        const double angle = 2 * std::numbers::pi * (size_t{1} * k * t % length_) / length_;
        const double value = row < half_ ? std::cos(angle) : -std::sin(angle);
        analysis_[row * length_ + t] = static_cast<float>(value);
        synthesis_[t * length_ + row] = static_cast<float>((Once(k) ? 1 : 2) * value / length_);
      }
  }

  void Multiply(const float* matrix, const float* from, float* to) const {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, length_, kWidth, length_, 1, matrix, length_, from,
                kWidth, 0, to, kWidth);
  }

  const int length_, half_;
  Array<float> x_, y_, analysis_, synthesis_;
  Array<Complex> filter_, scratch_, sum_, difference_;
  fftwf_plan forward_ = nullptr, backward_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string folder = argv[1];
  std::unique_ptr<Filter> filter;
  const auto write = [&](const char* name) {
    std::ofstream(folder + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(filter->y()), filter->Size() * sizeof(float));
  };
  std::string command;
  for (int number = 0; std::cin >> command >> number;) {
    if (command == "open") {
      filter = std::make_unique<Filter>(folder, number);
      filter->Pair();
      write("pair");
      if (number <= kLongestDense) {
        filter->Dense();
        write("dense");
      }
      std::printf("{\"milliseconds\":[]}\n");
    } else {
      const auto run = [&] { command == "pair" ? filter->Pair() : filter->Dense(); };
      const char* separator = "{\"milliseconds\":[";
      for (double time : bench::Times(run, number, 0)) {
        std::printf("%s%.6g", separator, time);
        separator = ",";
      }
      std::printf("]}\n");
    }
    std::fflush(stdout);
  }
  return 0;
}
