// Names of operations, statuses, roles and types for messages: one table each. Any thread.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <span>
#include <string>

namespace nacelle::sdk {

// "matmul"; "unknown" for an id that is not defined.
const char* op_name(std::uint32_t kind) noexcept;
// "OK", "INVALID_ARGUMENT", ...; "unknown status" otherwise.
const char* status_name(nacelle_status status) noexcept;
// "silu", "gelu_erf", ...; "unknown" otherwise.
const char* activation_name(std::uint32_t activation) noexcept;
// "Q8_0"; "unknown" for a type that is not in nacelle/types.hpp.
const char* type_name(nacelle_type type) noexcept;

// "[rows, 256]": symbolic extents by name.
std::string shape_text(std::span<const std::int64_t> shape);

// "operation attention (soft-cap, window) of layer 3": what a backend that refuses it would have to learn.
std::string describe_op(const nacelle_graph& graph, std::uint32_t op);

}  // namespace nacelle::sdk
