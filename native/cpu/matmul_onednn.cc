// The module kairos_onednn.so: oneDNN's matrix product behind one C function. Only this file sees oneDNN.
#include <dlfcn.h>
#include <dnnl.h>

#include <cstdint>

namespace {

using SetThreads = void (*)(int);

// oneDNN would start threads of its own; ours already share the work. Its OpenMP library may be any, or none.
SetThreads FindSetThreads() {
  static const SetThreads kFound = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (kFound != nullptr) return kFound;
  // Libraries of a module opened locally are not in the default scope.
  static const SetThreads kLocal = []() -> SetThreads {
    void* openmp = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return openmp ? reinterpret_cast<SetThreads>(dlsym(openmp, "omp_set_num_threads")) : nullptr;
  }();
  return kLocal;
}

}  // namespace

#define KAIROS_EXPORT extern "C" __attribute__((visibility("default")))

// Before the first product. `variant` is a kairos::CpuVariant.
KAIROS_EXPORT void kairos_onednn_limit(int variant) {
  const dnnl_cpu_isa_t limits[] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core};
  if (variant >= 0 && variant <= 2) dnnl_set_max_cpu_isa(limits[variant]);
}

KAIROS_EXPORT int kairos_onednn_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                                      const float* a, int64_t a_step, const float* b, int64_t b_step,
                                      float* c, int64_t c_step) {
  if (const SetThreads set_threads = FindSetThreads()) set_threads(1);
  return dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1, a, a_step, b, b_step, 0, c,
                    c_step);
}
