// Sums over rows, for each column: chunks of rows first, then the chunks in order, in float64, so that the bits depend
// on the sizes alone. What is summed is a function of (row, column).
#pragma once

#include "cuda/gpu.h"

namespace kairos::gpu {

constexpr int64_t kChunkRows = 64;

struct ColumnSums {
  static int64_t Chunks(int64_t rows) { return (rows + kChunkRows - 1) / kChunkRows; }
  static size_t Bytes(int64_t rows, int64_t columns, int terms) {
    return static_cast<size_t>(Chunks(rows) * columns * terms) * sizeof(double);
  }
};

// `Term` knows Rows(), Columns() and At(row, column, values): what a row adds to each of kTerms sums.
// partial: [chunk][term][column]
template <class Term, int kTerms>
__global__ void ColumnPartialsKernel(Term term, double* partial) {
  term.Load();
  const int64_t rows = term.Rows(), columns = term.Columns();
  const int64_t chunks = (rows + kChunkRows - 1) / kChunkRows;
  for (int64_t i = FlatBegin(); i < chunks * columns; i += FlatStep()) {
    const int64_t chunk = i / columns, column = i % columns;
    const int64_t begin = chunk * kChunkRows, end = begin + kChunkRows < rows ? begin + kChunkRows : rows;
    double sums[kTerms] = {};
    for (int64_t row = begin; row < end; ++row) {
      float values[kTerms];
      term.At(row, column, values);
      for (int k = 0; k < kTerms; ++k) sums[k] += values[k];
    }
    for (int k = 0; k < kTerms; ++k) partial[(chunk * kTerms + k) * columns + column] = sums[k];
  }
}

// A warp for each column of each term.
template <class Term, int kTerms>
__global__ void ColumnTotalsKernel(Term term, const double* partial) {
  term.Load();
  const int64_t columns = term.Columns(), chunks = (term.Rows() + kChunkRows - 1) / kChunkRows;
  const int64_t warp = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
  const int64_t lane = threadIdx.x % kWarp;
  if (warp >= columns * kTerms) return;  // the whole warp
  const int64_t k = warp / columns, column = warp % columns;
  double sum = 0;
  for (int64_t chunk = lane; chunk < chunks; chunk += kWarp)
    sum += partial[(chunk * kTerms + k) * columns + column];
  sum = WarpSum(sum);
  if (lane == 0) term.Result(static_cast<int>(k))[column] = static_cast<float>(sum);
}

// Sizes at capacity.
template <int kTerms, class Term>
void LaunchColumnSums(const LaunchContext& context, int64_t rows, int64_t columns, Term term,
                      std::byte* scratch) {
  auto* partial = reinterpret_cast<double*>(scratch);
  LaunchFlat(context, ColumnSums::Chunks(rows) * columns, ColumnPartialsKernel<Term, kTerms>, term, partial);
  Launch(context, (columns * kTerms + 3) / 4, 4 * kWarp, ColumnTotalsKernel<Term, kTerms>, term,
         static_cast<const double*>(partial));
}

}  // namespace kairos::gpu
