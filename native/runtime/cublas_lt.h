// cuBLASLt, which a machine with CUDA may have and the addon does not need: found at run time.
#pragma once

#include <string>

namespace kairos {

struct BlasSummary {
  bool found = false;
  std::string version;  // "13.0.2"
  std::string reason;   // why it was not found
};

// Looks where KAIROS_CUBLASLT says, under CUDA_PATH, then where the system's loader does.
BlasSummary FindCublasLt();

}  // namespace kairos
