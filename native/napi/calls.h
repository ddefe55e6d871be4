// The addon's functions, by subject. lib/runtime/addon.ts documents each.
#pragma once

#include <napi.h>

namespace kairos::border {

void DefineDescribe(Napi::Env env, Napi::Object exports);
void DefinePrograms(Napi::Env env, Napi::Object exports);
void DefineRuns(Napi::Env env, Napi::Object exports);
void DefineStores(Napi::Env env, Napi::Object exports);
void DefineStaging(Napi::Env env, Napi::Object exports);

}  // namespace kairos::border
