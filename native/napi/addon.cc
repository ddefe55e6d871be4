// The addon's door. All state hangs on handles and hooks of one environment: nothing is static.
#include "napi/calls.h"

namespace kairos::border {
namespace {

Napi::Object Start(Napi::Env env, Napi::Object exports) {
  DefineDescribe(env, exports);
  DefinePrograms(env, exports);
  DefineRuns(env, exports);
  DefineStores(env, exports);
  DefineStaging(env, exports);
  return exports;
}

}  // namespace
}  // namespace kairos::border

static Napi::Object Start(Napi::Env env, Napi::Object exports) { return kairos::border::Start(env, exports); }
NODE_API_MODULE(kairos, Start)
