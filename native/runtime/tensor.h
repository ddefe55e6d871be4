// Dtypes, shapes and views: how a kernel sees memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace kairos {

enum class DType : uint8_t { kFloat32 = 0, kInt32 = 1, kBool = 2 };

constexpr size_t SizeOf(DType dtype) { return dtype == DType::kBool ? 1 : 4; }
const char* NameOf(DType dtype);  // "float32", "int32", "bool"

constexpr int kMaxRank = 8;

// A row-major shape. Memory is packed by these sizes: no strides, no padding. Constexpr, so that kernels of a GPU may
// call its members too.
struct Shape {
  int rank = 0;
  std::array<int64_t, kMaxRank> dims{};

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<int64_t> sizes) {
    for (int64_t size : sizes) dims[rank++] = size;
  }
  constexpr int64_t operator[](int axis) const { return dims[axis]; }
  // Product of dims [begin, end). The runtime has proved that the whole product fits int64.
  constexpr int64_t Product(int begin, int end) const {
    int64_t product = 1;
    for (int axis = begin; axis < end; ++axis) product *= dims[axis];
    return product;
  }
  constexpr int64_t Count() const { return Product(0, rank); }
  constexpr int64_t Last() const { return rank == 0 ? 1 : dims[rank - 1]; }
  constexpr bool operator==(const Shape& other) const {
    if (rank != other.rank) return false;
    for (int axis = 0; axis < rank; ++axis)
      if (dims[axis] != other.dims[axis]) return false;
    return true;
  }
  std::string ToString() const;  // "[256, 50, 64]"
};

struct TensorSpec {
  DType dtype = DType::kFloat32;
  Shape shape;
};

// Live memory of one run: exactly shape.Count() elements may be touched.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Shape shape;
  // Of an operand that is kept (see PrepareContext): equal numbers mean equal bytes. 0 for all others.
  uint64_t version = 0;

  template <typename T>
  constexpr T* As() const {
    return static_cast<T*>(data);
  }
};

}  // namespace kairos
