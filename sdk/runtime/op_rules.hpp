// What each operation takes and gives: input counts, types, shapes, ranges of attributes. One table row and one
// function a kind; the graph builder asks it about every operation.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <span>
#include <vector>

#include "graph.hpp"

namespace nacelle::sdk {

// An operation as the other side wrote it, with its inputs looked up.
struct OpRequest {
  std::uint32_t kind;
  std::span<const nacelle_value* const> inputs;  // nullptr where absent
  std::uint32_t output_count;
  const void* attributes;
  std::span<const std::int64_t> split_widths;  // SPLIT only: one an output
  std::span<const nacelle_cache_group> cache_groups;
  std::uint32_t value_count;  // for ids inside attributes
};

struct OpAnswer {
  std::vector<nacelle_value> outputs;  // intermediates with type and shape
  Attributes attributes;               // own copy, of this SDK's size
};

// Throws Failure(NACELLE_INVALID_ARGUMENT) with what is wrong, without naming the operation. LOGITS_SELECT and the
// reserved kinds are refused here.
OpAnswer check_op(const OpRequest& request);

// The most inputs that operations of this kind have; 0 where that has no limit (CONCAT) or the kind is not known.
std::uint32_t most_inputs(std::uint32_t kind) noexcept;

}  // namespace nacelle::sdk
