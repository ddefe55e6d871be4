#include "runtime/cublas_lt.h"

#include <cstddef>
#include <cstdlib>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace kairos {

BlasSummary FindCublasLt() {
  BlasSummary summary;
#if defined(__linux__)
  std::vector<std::string> candidates;
  if (const char* path = std::getenv("KAIROS_CUBLASLT")) candidates.emplace_back(path);
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    if (const char* root = std::getenv("CUDA_PATH"))
      candidates.push_back(std::string(root) + "/lib64/" + name);
    candidates.emplace_back(name);
  }
  for (const std::string& candidate : candidates) {
    void* library = dlopen(candidate.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!library) continue;
    // size_t cublasLtGetVersion(): 130002 is 13.0.2
    const auto version = reinterpret_cast<size_t (*)()>(dlsym(library, "cublasLtGetVersion"));
    if (version) {
      const size_t number = version();
      summary.found = true;
      summary.version = std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
                        std::to_string(number % 100);
    } else {
      summary.reason = candidate + " is another library";
    }
    dlclose(library);
    if (summary.found) return summary;
  }
  if (summary.reason.empty())
    summary.reason = "libcublasLt.so is not on this machine; our own product serves alone";
#else
  summary.reason = "cuBLASLt is looked for on Linux";
#endif
  return summary;
}

}  // namespace kairos
