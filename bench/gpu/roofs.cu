// What a GPU can do at most, as JSON: bytes per second of a copy (read and written both counted), of one read, and of
// random rows of 256 bytes; operations per second of bfloat16 tensor cores through wmma, which on Hopper is less than
// its newer instructions reach. `kairos_gpu_roofs [MiB]`, 2048 unless told.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <mma.h>

namespace {

constexpr int kThreads = 256, kRounds = 10, kProducts = 4096, kChains = 4;
constexpr int kRowFloats4 = 16;  // a row of 256 bytes

__global__ void Read(const float4* from, int64_t count, float* out) {
  float sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const float4 x = from[i];
    sum += x.x + x.y + x.z + x.w;
  }
  if (sum == 12345.678f) *out = sum;  // never: keeps the reads
}

// Sixteen threads read a row. Rows follow a multiplicative hash of their position.
__global__ void Gather(const float4* from, uint32_t rows, uint32_t reads, float* out) {
  float sum = 0;
  const uint32_t lane = threadIdx.x % kRowFloats4;
  for (uint32_t i = (blockIdx.x * blockDim.x + threadIdx.x) / kRowFloats4; i < reads;
       i += gridDim.x * blockDim.x / kRowFloats4) {
    const auto row = static_cast<uint32_t>(static_cast<uint64_t>(i * 2654435761u) * rows >> 32);
    const float4 x = from[uint64_t{row} * kRowFloats4 + lane];
    sum += x.x + x.y + x.z + x.w;
  }
  if (sum == 12345.678f) *out = sum;
}

__global__ void Products(float* out) {
  using namespace nvcuda;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> a;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> b;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> c[kChains];
  wmma::fill_fragment(a, __float2bfloat16(0.0f));
  wmma::fill_fragment(b, __float2bfloat16(1.0f));
  for (auto& chain : c) wmma::fill_fragment(chain, 0.0f);
  for (int i = 0; i < kProducts; ++i)
    for (auto& chain : c) wmma::mma_sync(chain, a, b, chain);
  for (auto& chain : c)
    if (chain.x[0] == 12345.678f) *out = chain.x[0];
}

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "kairos_gpu_roofs: %s\n", cudaGetErrorString(error));
  std::exit(3);
}

// The least milliseconds of several rounds.
template <class Work>
double Best(Work work) {
  cudaEvent_t begin, end;
  Check(cudaEventCreate(&begin));
  Check(cudaEventCreate(&end));
  float best = 1e30f;
  for (int round = 0; round < kRounds; ++round) {
    Check(cudaEventRecord(begin));
    work();
    Check(cudaEventRecord(end));
    Check(cudaEventSynchronize(end));
    Check(cudaGetLastError());
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, begin, end));
    best = milliseconds < best ? milliseconds : best;
  }
  return best;
}

}  // namespace

int main(int count, char** words) {
  const size_t bytes = (count > 1 ? std::strtoull(words[1], nullptr, 10) : 2048) << 20;
  cudaDeviceProp properties{};
  Check(cudaGetDeviceProperties(&properties, 0));
  float4 *from = nullptr, *to = nullptr;
  Check(cudaMalloc(&from, bytes));
  Check(cudaMalloc(&to, bytes));
  Check(cudaMemset(from, 0, bytes));
  auto* const out = reinterpret_cast<float*>(to);
  const int blocks = properties.multiProcessorCount * 16;
  const auto rows = static_cast<uint32_t>(bytes / 256);
  const double copy = Best([&] { cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice); });
  const double read = Best([&] { Read<<<blocks, kThreads>>>(from, static_cast<int64_t>(bytes / 16), out); });
  const double gather = Best([&] { Gather<<<blocks, kThreads>>>(from, rows, rows, out); });
  const double products = Best([&] { Products<<<blocks, kThreads>>>(out); });
  const double flops = 2.0 * 16 * 16 * 16 * kChains * kProducts * blocks * (kThreads / 32.0);
  std::printf("{\"gpu\":\"%s\",\"copy\":%.6g,\"read\":%.6g,\"gather\":%.6g,\"matrix\":%.6g}\n",
              properties.name, 2e3 * static_cast<double>(bytes) / copy,
              1e3 * static_cast<double>(bytes) / read, 256e3 * rows / gather, 1e3 * flops / products);
}
