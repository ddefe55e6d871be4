#include "runtime/kernel.h"

#include "cpu/families.h"

namespace kairos {
namespace {

using FamilyFunction = std::span<const KernelEntry> (*)(CpuVariant);

#define KAIROS_LIST(Name) &Name##Kernels,
constexpr FamilyFunction kFamilies[] = {KAIROS_FAMILIES(KAIROS_LIST)};
#undef KAIROS_LIST

}  // namespace

const KernelEntry* FindKernel(std::string_view name, CpuVariant variant) {
  for (FamilyFunction family : kFamilies)
    for (const KernelEntry& entry : family(variant))
      if (name == entry.name) return &entry;
  return nullptr;
}

std::vector<std::string> KernelNames() {
  std::vector<std::string> names;
  for (FamilyFunction family : kFamilies)
    for (const KernelEntry& entry : family(CpuVariant::kBaseline)) names.emplace_back(entry.name);
  return names;
}

Status Refuse(const CheckContext& context, std::string argument, std::string expected, std::string got) {
  return Error{ErrorCode::kShape,   std::string(context.op), std::move(argument),
               std::move(expected), std::move(got),          ""};
}

}  // namespace kairos
