// What a build with CUDA adds: the GPUs of this machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/device.h"

namespace kairos::gpu {

struct Gpu {
  std::string name;
  size_t bytes;
  int major, minor;  // compute capability
  int multiprocessors;
};

struct CudaSummary {
  int driver = 0, runtime = 0;  // 13000 is 13.0; 0: no driver
  std::vector<Gpu> gpus;
  std::string reason;  // why there are none
};

CudaSummary Summarise();
Status OpenCuda(std::shared_ptr<Device>* device);

}  // namespace kairos::gpu
