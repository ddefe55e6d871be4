// What the machine can do at most: `roofs copy|stream|read BYTES` or `roofs fma` prints milliseconds of each run, as
// JSON. OMP_NUM_THREADS threads share the work; -m flags choose the width of vectors.
#include <immintrin.h>
#include <omp.h>

#include <cstdio>
#include <cstring>
#include <string_view>

#include "timing.h"

namespace {

#if defined(__AVX512F__)
using Vector = __m512;
Vector Broadcast(float x) { return _mm512_set1_ps(x); }
Vector MultiplyAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
void Stream(float* to, Vector x) { _mm512_stream_ps(to, x); }
#elif defined(__AVX2__) && defined(__FMA__)
using Vector = __m256;
Vector Broadcast(float x) { return _mm256_set1_ps(x); }
Vector MultiplyAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
void Stream(float* to, Vector x) { _mm256_stream_ps(to, x); }
#else
using Vector = __m128;
Vector Broadcast(float x) { return _mm_set1_ps(x); }
Vector MultiplyAdd(Vector a, Vector b, Vector c) { return a * b + c; }
void Stream(float* to, Vector x) { _mm_stream_ps(to, x); }
#endif
constexpr size_t kLanes = sizeof(Vector) / sizeof(float);
// One round of the loops below: as many vectors as hide the latency of an addition.
constexpr size_t kUnroll = 8;
constexpr size_t kBlock = kUnroll * kLanes;

// Calls body(begin, end) on each thread's share, in whole blocks.
template <typename Body>
void Share(size_t count, Body body) {
#pragma omp parallel
  {
    const size_t thread = omp_get_thread_num(), threads = omp_get_num_threads(), blocks = count / kBlock;
    body(blocks * thread / threads * kBlock, blocks * (thread + 1) / threads * kBlock);
  }
}

float Sum(Vector x) {
  float lanes[kLanes], sum = 0;
  std::memcpy(lanes, &x, sizeof(x));
  for (float lane : lanes) sum += lane;
  return sum;
}

void Copy(const float* from, float* to, size_t count) {
  Share(count, [=](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += kLanes)
      *reinterpret_cast<Vector*>(to + i) = *reinterpret_cast<const Vector*>(from + i);
  });
}

void StreamingCopy(const float* from, float* to, size_t count) {
  Share(count, [=](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += kLanes) Stream(to + i, *reinterpret_cast<const Vector*>(from + i));
    _mm_sfence();
  });
}

float Read(const float* from, size_t count) {
  float total = 0;
  Share(count, [=, &total](size_t begin, size_t end) {
    Vector sums[kUnroll] = {};
    for (size_t i = begin; i < end; i += kBlock)
#pragma GCC unroll 8
      for (size_t j = 0; j < kUnroll; ++j) sums[j] += *reinterpret_cast<const Vector*>(from + i + j * kLanes);
    float sum = 0;
    for (Vector part : sums) sum += Sum(part);
#pragma omp atomic
    total += sum;
  });
  return total;
}

constexpr size_t kFmaRounds = size_t{1} << 20;
// Two units of latency 4 need 8 chains in flight; a few more hide the loop.
constexpr size_t kChains = 12;

float MultiplyAdds() {
  float total = 0;
#pragma omp parallel reduction(+ : total)
  {
    Vector sums[kChains];
    for (size_t i = 0; i < kChains; ++i) sums[i] = Broadcast(0.1f * i);
    const Vector scale = Broadcast(0.999f), shift = Broadcast(0.001f);
    for (size_t round = 0; round < kFmaRounds; ++round)
#pragma GCC unroll 12
      for (size_t i = 0; i < kChains; ++i) sums[i] = MultiplyAdd(sums[i], scale, shift);
    for (Vector sum : sums) total += Sum(sum);
  }
  return total;
}

void Print(const std::vector<double>& times, double work) {
  std::printf("{\"work\":%.17g,\"milliseconds\":[", work);
  for (size_t i = 0; i < times.size(); ++i) std::printf(i ? ",%.6g" : "%.6g", times[i]);
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view kind = argc > 1 ? argv[1] : "";
  constexpr size_t kRounds = 9;
  constexpr double kSeconds = 0.1;
  volatile float sink = 0;
  if (kind == "fma") {
    const double flops = 2.0 * kLanes * kChains * kFmaRounds * omp_get_max_threads();
    Print(bench::Times([&] { sink = MultiplyAdds(); }, kRounds, kSeconds), flops);
    return 0;
  }
  const size_t bytes = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const size_t count = (bytes / sizeof(float) + kBlock - 1) / kBlock * kBlock;
  if (count == 0) return 2;
  const auto from = bench::Allocate<float>(count);
  if (kind == "read") {
    Print(bench::Times([&] { sink = Read(from.get(), count); }, kRounds, kSeconds), double(bytes));
    return 0;
  }
  const auto to = bench::Allocate<float>(count);
  const auto copy = kind == "copy" ? Copy : kind == "stream" ? StreamingCopy : nullptr;
  if (!copy) return 2;
  Print(bench::Times([&] { copy(from.get(), to.get(), count); }, kRounds, kSeconds), 2.0 * bytes);
  return 0;
}
