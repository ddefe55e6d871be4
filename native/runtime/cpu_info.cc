#include "runtime/cpu_info.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "cpu/variants.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace kairos {
namespace {

bool Runs(CpuVariant variant) {
  if (variant == CpuVariant::kBaseline) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // Everything that Highway's AVX2 and AVX3 targets let the compiler use, and the system's leave to keep wide
  // registers.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("aes") &&
                    __builtin_cpu_supports("pclmul");
  if (variant == CpuVariant::kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd");
#else
  return false;
#endif
}

bool Built(CpuVariant variant) {
  KAIROS_IF_AVX2(if (variant == CpuVariant::kAvx2) return true;)
  KAIROS_IF_AVX512(if (variant == CpuVariant::kAvx512) return true;)
  return variant == CpuVariant::kBaseline;
}

}  // namespace

const char* NameOf(CpuVariant variant) {
  switch (variant) {
    case CpuVariant::kBaseline: return "baseline";
    case CpuVariant::kAvx2: return "avx2";
    case CpuVariant::kAvx512: return "avx512";
  }
  return "unknown";
}

std::string CpuName() {
#if defined(__x86_64__)
  unsigned brand[12] = {};
  if (__get_cpuid_max(0x80000000, nullptr) >= 0x80000004) {
    for (unsigned i = 0; i < 3; ++i)
      __get_cpuid(0x80000002 + i, &brand[4 * i], &brand[4 * i + 1], &brand[4 * i + 2], &brand[4 * i + 3]);
    char text[sizeof(brand) + 1] = {};
    std::memcpy(text, brand, sizeof(brand));
    std::string name(text);
    name.erase(0, name.find_first_not_of(' '));
    name.erase(name.find_last_not_of(' ') + 1);
    if (!name.empty()) return name;
  }
  return "x64";
#elif defined(__aarch64__)
  return "arm64";
#else
  return "unknown";
#endif
}

int CpuCores() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

Status CpuVariants(std::vector<CpuVariant>* variants) {
  constexpr CpuVariant kAll[] = {CpuVariant::kBaseline, CpuVariant::kAvx2, CpuVariant::kAvx512};
  const char* cap = std::getenv("KAIROS_CPU");
  CpuVariant most = CpuVariant::kAvx512;
  if (cap && *cap) {
    const auto* named = std::find_if(std::begin(kAll), std::end(kAll),
                                     [&](CpuVariant v) { return std::strcmp(NameOf(v), cap) == 0; });
    if (named == std::end(kAll))
      return Error{ErrorCode::kArgument,       "environment", "KAIROS_CPU",
                   "baseline, avx2 or avx512", Quote(cap),    ""};
    most = *named;
  }
  for (CpuVariant variant : kAll)
    if (variant <= most && Built(variant) && Runs(variant)) variants->push_back(variant);
  return Ok();
}

}  // namespace kairos
