// What this machine's processor can do.
#pragma once

#include <string>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/status.h"

namespace kairos {

const char* NameOf(CpuVariant variant);

// "Intel(R) Xeon(R) Processor"; the architecture's name where the processor does not tell.
std::string CpuName();
// Cores that this process may use.
int CpuCores();
// Variants that were built and that this processor runs, best last, up to the cap of the environment variable
// KAIROS_CPU. Refuses an unknown cap.
Status CpuVariants(std::vector<CpuVariant>* variants);

}  // namespace kairos
