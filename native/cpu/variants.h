// One kernel source, compiled once per CPU variant through Highway's headers, chosen by our own table: nothing here
// depends on Highway's global choice, so two executors of one process may run different variants.
//
// A family file reads:
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "cpu/softmax.cc"     // the include path is native/
//   #include "hwy/foreach_target.h"                 // compiles this file again per variant
//   #include "hwy/highway.h"
//   #include "cpu/families.h"
//   #include "cpu/variants.h"
//   HWY_BEFORE_NAMESPACE();
//   namespace kairos::HWY_NAMESPACE {
//   namespace { ...kernels: lambdas handed to ParallelFor carry HWY_ATTR... }
//   std::span<const KernelEntry> SoftmaxEntries() { static constexpr KernelEntry kEntries[] = {...}; return kEntries; }
//   }
//   HWY_AFTER_NAMESPACE();
//   #if HWY_ONCE
//   namespace kairos { KAIROS_FAMILY(Softmax) }     // defines SoftmaxKernels(CpuVariant)
//   #endif
#pragma once

#include "hwy/highway.h"

#if HWY_TARGETS & HWY_AVX2
#define KAIROS_IF_AVX2(statement) statement
#else
#define KAIROS_IF_AVX2(statement)
#endif
#if HWY_TARGETS & HWY_AVX3
#define KAIROS_IF_AVX512(statement) statement
#else
#define KAIROS_IF_AVX512(statement)
#endif
#if HWY_STATIC_TARGET == HWY_SCALAR
#define KAIROS_BASELINE N_SCALAR
#elif HWY_STATIC_TARGET == HWY_EMU128
#define KAIROS_BASELINE N_EMU128
#elif HWY_STATIC_TARGET == HWY_NEON
#define KAIROS_BASELINE N_NEON
#else
#error "Kairos: compile native/ without -march flags; the CPU variant is chosen at run time"
#endif

// A variant that this build lacks answers with the baseline's entries.
#define KAIROS_FAMILY(Name)                                                               \
  std::span<const KernelEntry> Name##Kernels(CpuVariant variant) {                        \
    KAIROS_IF_AVX512(if (variant == CpuVariant::kAvx512) return N_AVX3::Name##Entries();) \
    KAIROS_IF_AVX2(if (variant != CpuVariant::kBaseline) return N_AVX2::Name##Entries();) \
    (void)variant;                                                                        \
    return KAIROS_BASELINE::Name##Entries();                                              \
  }
