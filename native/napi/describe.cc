// describe(): what this build and this machine offer.
#include "napi/border.h"
#include "napi/calls.h"

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

#include "cpu/matmul.h"
#include "runtime/cpu_info.h"
#include "runtime/version.inc"

namespace kairos::border {
namespace {

Napi::Object Availability(Napi::Env env, bool available, const std::string& reason) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("available", available);
  object.Set("reason", reason);
  return object;
}

std::string WhyNoCuda() {
#if defined(__linux__)
  if (void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL)) {
    dlclose(driver);
    return "a driver was found, but this build has no CUDA kernels";
  }
  return "libcuda.so.1 is not on this machine";
#else
  return "this build has no CUDA kernels";
#endif
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
  description.Set("cuda", Availability(env, false, WhyNoCuda()));
  description.Set("oneDnn", Availability(env, one_dnn, reason));
  description.Set("kernels", kernels);
  return description;
}

}  // namespace

void DefineDescribe(Napi::Env env, Napi::Object exports) {
  exports.Set("describe", Napi::Function::New(env, Sync<DescribeAddon>, "describe"));
}

}  // namespace kairos::border
