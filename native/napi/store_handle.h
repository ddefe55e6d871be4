// A store at the border.
#pragma once

#include "napi/border.h"
#include "runtime/store.h"

namespace kairos::border {

template <>
struct HandleTraits<Store> {
  static constexpr HandleKind kKind = HandleKind::kStore;
  static constexpr const char* kName = "a store";
};

}  // namespace kairos::border
