// Mixtures of experts: what a backend may rely on in their attributes, shared by every `supports`.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>

namespace nacelle {

// Of every MOE operation: each row uses some of the experts, and no more than there are.
inline bool experts_are_valid(const nacelle_moe_attributes& moe) noexcept {
  return moe.used_count && moe.used_count <= moe.expert_count;
}

// Of MOE_ROUTE: the rule is known, and the groups that are kept hold experts enough.
inline bool routing_is_valid(const nacelle_moe_attributes& moe) noexcept {
  if (!experts_are_valid(moe)) return false;
  if (moe.routing < NACELLE_ROUTE_SOFTMAX_THEN_TOP || moe.routing > NACELLE_ROUTE_SIGMOID) return false;
  if (!moe.group_count) return true;
  return moe.expert_count % moe.group_count == 0 && moe.group_used && moe.group_used <= moe.group_count &&
         std::uint64_t{moe.expert_count / moe.group_count} * moe.group_used >= moe.used_count;
}

}  // namespace nacelle
