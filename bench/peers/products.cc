// oneDNN's packed product and the peak rate of multiply-adds, on the threads of OMP_NUM_THREADS. Answers lines
//
//   packed M K N COUNT     peak COUNT
//
// with the milliseconds of COUNT runs as a JSON array; a run of `peak` is 2^22 flops a thread.
#include <dnnl.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

using Memory = dnnl::memory;

template <class Run>
void Answer(int count, Run run) {
  for (int i = 0; i < 3; ++i) run();
  for (int i = 0; i < count; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    std::printf("%c%.6f", i == 0 ? '[' : ',', time.count());
  }
  std::printf("]\n");
  std::fflush(stdout);
}

void Packed(int64_t m, int64_t k, int64_t n, int count) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  using Tag = Memory::format_tag;
  const auto describe = [](int64_t rows, int64_t columns, Tag tag) {
    return Memory::desc({rows, columns}, Memory::data_type::f32, tag);
  };
  std::vector<float> a(m * k, 0.5f), b(k * n, 0.25f), c(m * n);
  const dnnl::matmul::primitive_desc product(
      dnnl::matmul::desc(describe(m, k, Tag::ab), describe(k, n, Tag::any), describe(m, n, Tag::ab)), engine);
  Memory from_a(describe(m, k, Tag::ab), engine, a.data()), from_b(describe(k, n, Tag::ab), engine, b.data());
  Memory packed(product.weights_desc(), engine), to(describe(m, n, Tag::ab), engine, c.data());
  dnnl::reorder(from_b, packed).execute(stream, from_b, packed);
  const std::unordered_map<int, Memory> arguments{
      {DNNL_ARG_SRC, from_a}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, to}};
  const dnnl::matmul multiply(product);
  Answer(count, [&] {
    multiply.execute(stream, arguments);
    stream.wait();
  });
}

// As many independent sums as hide the latency of an addition.
void Peak(int count) {
  typedef float Vector __attribute__((vector_size(4 * LANES)));
  constexpr int kSums = 12, kSteps = (1 << 22) / (2 * LANES * kSums);
  Answer(count, [] {
#pragma omp parallel
    {
      Vector sums[kSums], x = Vector{} + 0.999f, y = Vector{} + 0.001f;
      for (int i = 0; i < kSums; ++i) sums[i] = Vector{} + 0.1f * i;
      for (int step = 0; step < kSteps; ++step)
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * x + y;
      for (int i = 0; i < kSums; ++i) asm volatile("" : : "x"(sums[i]));
    }
  });
}

}  // namespace

int main() {
  std::string what;
  while (std::cin >> what) {
    int64_t m = 0, k = 0, n = 0;
    int count = 0;
    if (what == "packed") std::cin >> m >> k >> n;
    std::cin >> count;
    what == "packed" ? Packed(m, k, n, count) : Peak(count);
  }
}
