// The quant_state of bitsandbytes.
#include "core/formats/bitsandbytes.hpp"

#include <span>
#include <string>

#include "core/formats/file_error.hpp"
#include "core/formats/json.hpp"

namespace nacelle {
namespace {

constexpr JsonLimits kStateLimits{.bytes = 1 << 16, .nodes = 256, .depth = 4};

class StateReader {
 public:
  // Bytes are counted from the tensor's first: which of the model's files it is in is for the caller to tell.
  StateReader(std::string_view name, std::span<const std::byte> json)
      : tensor_("tensor " + in_quotes(name)),
        root_(parse_json(tensor_, {reinterpret_cast<const char*>(json.data()), json.size()}, 0, kStateLimits)) {}

  sdk::FourBitState read() const {
    sdk::FourBitState state;
    const JsonNode* shape = root_.find("shape");
    if (!shape || shape->kind != JsonNode::Kind::kArray) fail("shape", shape, "a list of two extents");
    for (const JsonNode& extent : shape->items) {
      if (extent.kind != JsonNode::Kind::kInteger) fail("shape", shape, "a list of two extents");
      state.shape.push_back(extent.integer);
    }
    state.block = integer("blocksize");
    if (!root_.find("nested_blocksize")) return state;
    state.nested_block = integer("nested_blocksize");
    const JsonNode* offset = root_.find("nested_offset");
    if (!offset || (offset->kind != JsonNode::Kind::kFloat && offset->kind != JsonNode::Kind::kInteger))
      fail("nested_offset", offset, "a number");
    state.nested_offset =
        offset->kind == JsonNode::Kind::kFloat ? offset->number : static_cast<double>(offset->integer);
    return state;
  }

 private:
  std::int64_t integer(const char* key) const {
    const JsonNode* node = root_.find(key);
    if (!node || node->kind != JsonNode::Kind::kInteger) fail(key, node, "an integer");
    return node->integer;
  }

  [[noreturn]] void fail(const std::string& key, const JsonNode* at, const std::string& expected) const {
    fail_at(tensor_, "'" + key + "'", at ? at->offset : 0,
            (at ? "is something else, expected " : "is missing, expected ") + expected);
  }

  const std::string tensor_;
  const JsonNode root_;
};

}  // namespace

std::optional<sdk::FourBitState> four_bit_state(const ModelFiles& files, std::string_view name) {
  const TensorInfo* tensor = files.tensor(name);
  if (!tensor) return std::nullopt;
  return StateReader(name, files.data(*tensor)).read();
}

}  // namespace nacelle
