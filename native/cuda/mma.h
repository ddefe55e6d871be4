// One step of the tensor cores: a warp multiplies 16 rows by 8 columns over eight words of depth and adds to float32.
//
// A word is one number for TF32 and two neighbouring ones for bfloat16, low half first, so both have the same layout:
//
//   lane = 4 g + t
//   a[0..3]   word t of row g, t of g + 8, t + 4 of g, t + 4 of g + 8
//   b[0..1]   word t of column g, t + 4 of g
//   c[0..3]   row g columns 2 t and 2 t + 1, then row g + 8
#pragma once

#include "cuda/bits.h"
#include "cuda/gpu.h"

namespace kairos::gpu {

struct Tf32 {
  static constexpr int kNumbers = 1;  // of a word
};
struct Bfloat16 {
  static constexpr int kNumbers = 2;
};

#ifdef __CUDACC__

__device__ inline uint32_t Word(Tf32, const float* numbers) {
  uint32_t word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(numbers[0]));
  return word;
}
__device__ inline uint32_t Word(Bfloat16, const float* numbers) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(numbers[1]), "f"(numbers[0]));
  return word;
}

__device__ inline void MultiplyAdd(Tf32, const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void MultiplyAdd(Bfloat16, const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else

// Halves away from zero, as the hardware's conversion has them.
inline uint32_t Word(Tf32, const float* numbers) {
  const uint32_t bits = AsBits(numbers[0]);
  return numbers[0] != numbers[0] ? bits : (bits + 0x1000u) & ~0x1fffu;
}
// Halves to even.
inline uint32_t Word(Bfloat16, const float* numbers) {
  uint32_t word = 0;
  for (int half = 0; half < 2; ++half) {
    uint32_t bits = AsBits(numbers[half]);
    bits = numbers[half] != numbers[half] ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    word |= bits << 16 * half;
  }
  return word;
}

inline float DotOfWords(Tf32, uint32_t a, uint32_t b) { return AsFloat(a) * AsFloat(b); }
inline float DotOfWords(Bfloat16, uint32_t a, uint32_t b) {
  return AsFloat(a << 16) * AsFloat(b << 16) + AsFloat(a & 0xffff0000u) * AsFloat(b & 0xffff0000u);
}

// The lanes show each other their words.
template <class Kind>
void MultiplyAdd(Kind kind, const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
  auto* shown = reinterpret_cast<uint32_t*>(emulated::WarpSlots());
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  uint32_t rows[2][8], columns[2][8];
  for (int i = 0; i < 4; ++i) shown[4 * lane + i] = a[i];
  WarpSync();
  for (int word = 0; word < 8; ++word)
    for (int half = 0; half < 2; ++half)
      rows[half][word] = shown[4 * (4 * g + word % 4) + word / 4 * 2 + half];
  WarpSync();
  for (int i = 0; i < 2; ++i) shown[2 * lane + i] = b[i];
  WarpSync();
  for (int word = 0; word < 8; ++word)
    for (int side = 0; side < 2; ++side)
      columns[side][word] = shown[2 * (4 * (2 * t + side) + word % 4) + word / 4];
  WarpSync();
  for (int half = 0; half < 2; ++half)
    for (int side = 0; side < 2; ++side)
      for (int word = 0; word < 8; ++word)
        c[2 * half + side] += DotOfWords(kind, rows[half][word], columns[side][word]);
}

#endif

}  // namespace kairos::gpu
