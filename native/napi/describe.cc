// describe(): what this build and this machine offer.
#include "napi/border.h"
#include "napi/calls.h"

#include "cpu/matmul.h"
#include "runtime/cpu_info.h"
#include "runtime/cublas_lt.h"
#include "runtime/version.inc"

#ifdef KAIROS_WITH_CUDA
#include "cuda/cuda_device.h"
#endif

namespace kairos::border {
namespace {

Napi::Object Availability(Napi::Env env, bool available, const std::string& reason) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("available", available);
  object.Set("reason", reason);
  return object;
}

#ifdef KAIROS_WITH_CUDA
std::string Version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}
#endif

Napi::Object DescribeCuda(Napi::Env env) {
  Napi::Array gpus = Napi::Array::New(env);
#ifdef KAIROS_WITH_CUDA
  const gpu::CudaSummary summary = gpu::Summarise();
  Napi::Object object = Availability(env, !summary.gpus.empty(), summary.reason);
  object.Set("runtime", Version(summary.runtime));
  if (summary.driver > 0) object.Set("driver", Version(summary.driver));
  for (const gpu::Gpu& each : summary.gpus) {
    Napi::Object described = Napi::Object::New(env);
    described.Set("name", each.name);
    described.Set("bytes", static_cast<double>(each.bytes));
    described.Set("capability", std::to_string(each.major) + "." + std::to_string(each.minor));
    described.Set("multiprocessors", each.multiprocessors);
    gpus.Set(gpus.Length(), described);
  }
#else
  Napi::Object object = Availability(env, false, "this build has no CUDA kernels: nvcc was not found");
#endif
  object.Set("gpus", gpus);
  const BlasSummary blas = FindCublasLt();
  object.Set("cublasLt", Availability(env, blas.found, blas.found ? blas.version : blas.reason));
  return object;
}

Napi::Value DescribeAddon(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<CpuVariant> variants;
  ThrowIfError(CpuVariants(&variants));

  Napi::Array names = Napi::Array::New(env);
  for (CpuVariant variant : variants) names.Set(names.Length(), NameOf(variant));
  Napi::Object cpu = Napi::Object::New(env);
  cpu.Set("name", CpuName());
  cpu.Set("cores", CpuCores());
  cpu.Set("variants", names);

  Napi::Array kernels = Napi::Array::New(env);
  for (const std::string& name : KernelNames()) kernels.Set(kernels.Length(), name);

  std::string reason;
  const bool one_dnn = OneDnnAvailable(&reason);
  Napi::Object description = Napi::Object::New(env);
  description.Set("version", kVersion);
  description.Set("cpu", cpu);
  description.Set("cuda", DescribeCuda(env));
  description.Set("oneDnn", Availability(env, one_dnn, reason));
  description.Set("kernels", kernels);
  return description;
}

}  // namespace

void DefineDescribe(Napi::Env env, Napi::Object exports) {
  exports.Set("describe", Napi::Function::New(env, Sync<DescribeAddon>, "describe"));
}

}  // namespace kairos::border
