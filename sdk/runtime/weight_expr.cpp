// Resolution of weight expressions: one function a kind, all checks on shapes that come from the file.
#include "sdk/runtime/weight_expr.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <span>
#include <utility>

#include "sdk/runtime/checks.hpp"
#include "sdk/runtime/names.hpp"
#include "sdk/runtime/packed_weights.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::uint32_t kMaxDepth = 16;
constexpr std::uint32_t kMaxNodes = 1u << 14;  // of one weight: 1024 experts of a few tensors each
constexpr std::int64_t kMaxElements = std::int64_t{1} << 48;

// Every node passes here: extents in range, a known type, rows of whole blocks.
void check_shape(const WeightNode& node, const std::string& what) {
  const std::string text = what + " of shape " + shape_text(node.shape);
  const TypeInfo* info = type_info(node.type);
  if (!info) refuse(what + " has an element type that is not known");
  if (node.shape.empty() || node.shape.size() > NACELLE_MAX_RANK) refuse(text + " does not have 1 to 4 axes");
  std::int64_t elements = 1;
  for (std::int64_t extent : node.shape) {
    if (extent < 1 || extent > kMaxExtent) refuse(text + " has an extent out of range");
    if (elements > kMaxElements / extent) refuse(text + " has too many elements");
    elements *= extent;
  }
  if (node.shape.back() % info->block_elements)
    refuse(text + " has rows that are not whole blocks of " + std::to_string(info->block_elements) + " " + info->name +
           " elements");
}

// What must hold before a node, at `depth` below the root and after `nodes` others, is looked at.
void check_node(const nacelle_weight_expr* from, std::uint32_t depth, std::size_t nodes) {
  if (!from || from->struct_size < sizeof(nacelle_weight_expr)) refuse("a weight expression is missing or too small");
  if (depth > kMaxDepth) refuse("a weight expression is nested more than 16 deep");
  if (nodes >= kMaxNodes) refuse("a weight expression has more than 16384 nodes");
  if (from->input_count && !from->inputs) refuse("a weight expression lacks its inputs");
}

class Resolver {
 public:
  Resolver(std::int32_t layer, const TensorLookup& lookup, const StateLookup& states)
      : layer_(layer), lookup_(lookup), states_(states) {}

  WeightNode resolve(const nacelle_weight_expr* from, std::int64_t expert, std::uint32_t depth) {
    check_node(from, depth, nodes_++);
    const Context at{*from, expert, depth + 1};
    switch (from->kind) {
      case NACELLE_EXPR_TENSOR: return tensor(at);
      case NACELLE_EXPR_FIRST_OF: return first_of(at);
      case NACELLE_EXPR_CONCAT: return concat(at);
      case NACELLE_EXPR_STACK: return stack(at);
      case NACELLE_EXPR_SLICE: return slice(at);
      case NACELLE_EXPR_RESHAPE: return reshape(at);
      case NACELLE_EXPR_PERMUTE: return permute(at);
      case NACELLE_EXPR_ADD:
      case NACELLE_EXPR_SCALE:
      case NACELLE_EXPR_EXP: return arithmetic(at);
      case NACELLE_EXPR_CONSTANT: return constant(at);
      case NACELLE_EXPR_MXFP4: return mxfp4(at);
      case NACELLE_EXPR_DECODE: return decode(at);
      default: refuse("weight expression kind " + std::to_string(from->kind) + " is not known");
    }
  }

 private:
  struct Context {
    const nacelle_weight_expr& from;
    std::int64_t expert;
    std::uint32_t depth;
  };

  WeightNode tensor(const Context& at) {
    WeightNode node;
    node.tensor = expand(std::string(view(at.from.name)), at.expert);
    std::uint32_t rank = 0;
    std::array<std::int64_t, NACELLE_MAX_RANK> shape{};
    if (auto packed = resolve_packed(node.tensor, lookup_, states_)) return *std::move(packed);
    if (!lookup_(node.tensor, &node.type, &rank, shape.data()))
      throw Failure(NACELLE_NOT_FOUND, "tensor '" + node.tensor + "' is missing from the model file");
    if (rank > NACELLE_MAX_RANK) refuse("tensor '" + node.tensor + "' has more than 4 axes");
    node.shape.assign(shape.begin(), shape.begin() + rank);
    check_shape(node, "tensor '" + node.tensor + "'");
    return node;
  }

  WeightNode first_of(const Context& at) {
    std::string missing;
    for (const auto* input : std::span(at.from.inputs, at.from.input_count)) {
      try {
        return resolve(input, at.expert, at.depth);
      } catch (const Failure& failure) {
        if (failure.status() != NACELLE_NOT_FOUND) throw;
        missing += (missing.empty() ? "" : ", ") + std::string(failure.what());
      }
    }
    if (missing.empty()) refuse("a first_of expression has no inputs");
    throw Failure(NACELLE_NOT_FOUND, missing);
  }

  WeightNode concat(const Context& at) {
    WeightNode node;
    node.kind = NACELLE_EXPR_CONCAT;
    node.axis = at.from.axis;
    for (const auto* input : std::span(at.from.inputs, at.from.input_count)) {
      WeightNode part = resolve(input, at.expert, at.depth);
      if (node.inputs.empty()) {
        if (node.axis >= part.shape.size())
          refuse("concat along axis " + std::to_string(node.axis) + " of " + text(part));
        node.type = part.type;
        node.shape = part.shape;
      } else {
        require_alike(node.inputs[0], part, static_cast<std::int64_t>(node.axis), "concat");
        node.shape[node.axis] += part.shape[node.axis];
      }
      node.inputs.push_back(std::move(part));
    }
    if (node.inputs.empty()) refuse("a concat expression has no inputs");
    check_shape(node, "a concat");
    return node;
  }

  WeightNode stack(const Context& at) {
    if (at.from.input_count != 1) refuse("a stack expression needs exactly one input");
    if (at.from.count < 1 || at.from.count > kMaxNodes)
      refuse("a stack of " + std::to_string(at.from.count) + " experts is out of range");
    WeightNode node;
    node.kind = NACELLE_EXPR_CONCAT;
    for (std::int64_t expert = 0; expert < at.from.count; ++expert) {
      node.inputs.push_back(resolve(at.from.inputs[0], expert, at.depth));
      require_alike(node.inputs[0], node.inputs.back(), -1, "stack");
    }
    node.type = node.inputs[0].type;
    node.shape = node.inputs[0].shape;
    node.shape.insert(node.shape.begin(), at.from.count);
    check_shape(node, "a stack");
    return node;
  }

  WeightNode slice(const Context& at) {
    WeightNode node = unary(at);
    const WeightNode& input = node.inputs[0];
    node.axis = at.from.axis;
    node.begin = at.from.begin;
    const std::string range = "slice [" + std::to_string(at.from.begin) + ", " + std::to_string(at.from.end) +
                              ") along axis " + std::to_string(node.axis) + " of " + text(input);
    if (node.axis >= input.shape.size() || node.begin < 0 || at.from.end <= node.begin ||
        at.from.end > input.shape[node.axis])
      refuse(range + " is out of range");
    if (node.axis + 1 == input.shape.size() && node.begin % type_info(node.type)->block_elements)
      refuse(range + " begins inside a block");
    node.shape[node.axis] = at.from.end - node.begin;
    check_shape(node, range);
    return node;
  }

  WeightNode reshape(const Context& at) {
    WeightNode node = unary(at);
    if (at.from.rank < 1 || at.from.rank > NACELLE_MAX_RANK)
      refuse("a reshape has rank " + std::to_string(at.from.rank));
    node.shape.assign(at.from.shape, at.from.shape + at.from.rank);
    check_shape(node, "a reshape of " + text(node.inputs[0]));
    if (node.bytes() != node.inputs[0].bytes())
      refuse("reshape of " + text(node.inputs[0]) + " to " + shape_text(node.shape) + " changes the element count");
    return node;
  }

  WeightNode permute(const Context& at) {
    WeightNode node = unary(at);
    const WeightNode& input = node.inputs[0];
    const std::size_t rank = input.shape.size();
    const std::string what = "permute of " + text(input);
    if (at.from.rank != rank) refuse(what + " names " + std::to_string(at.from.rank) + " axes");
    std::uint32_t seen = 0;
    for (std::size_t i = 0; i < rank; ++i) {
      const std::int64_t axis = at.from.shape[i];
      if (axis < 0 || axis >= static_cast<std::int64_t>(rank) || (seen & (1u << axis)))
        refuse(what + " does not name each axis once");
      seen |= 1u << axis;
      node.order.push_back(static_cast<std::uint32_t>(axis));
      node.shape[i] = input.shape[static_cast<std::size_t>(axis)];
    }
    if (node.order.back() != rank - 1 && type_info(node.type)->block_elements != 1)
      refuse(what + " moves the last axis, which " + type_name(node.type) + " blocks do not allow");
    return node;
  }

  WeightNode arithmetic(const Context& at) {
    WeightNode node = unary(at);
    node.constant = at.from.constant;
    if (node.type != NACELLE_TYPE_F32 && node.type != NACELLE_TYPE_F16 && node.type != NACELLE_TYPE_BF16)
      refuse("add, scale and exp work on F32, F16 and BF16, whose elements stand alone, not on " +
             text(node.inputs[0]));
    if (!std::isfinite(node.constant)) refuse("the constant of an add or scale expression is not finite");
    node.type = NACELLE_TYPE_F32;
    return node;
  }

  WeightNode constant(const Context& at) {
    WeightNode node;
    node.kind = NACELLE_EXPR_CONSTANT;
    node.type = NACELLE_TYPE_F32;
    node.constant = at.from.constant;
    if (at.from.input_count) refuse("a constant expression has inputs");
    if (!std::isfinite(node.constant)) refuse("the value of a constant expression is not finite");
    if (at.from.rank < 1 || at.from.rank > NACELLE_MAX_RANK)
      refuse("a constant has rank " + std::to_string(at.from.rank));
    node.shape.assign(at.from.shape, at.from.shape + at.from.rank);
    check_shape(node, "a constant");
    return node;
  }

  WeightNode mxfp4(const Context& at) {
    if (at.from.input_count != 2) refuse("an mxfp4 expression needs blocks and scales");
    WeightNode node;
    node.kind = NACELLE_EXPR_MXFP4;
    node.type = NACELLE_TYPE_MXFP4;
    for (std::uint32_t i : {0u, 1u}) node.inputs.push_back(resolve(at.from.inputs[i], at.expert, at.depth));
    const WeightNode &blocks = node.inputs[0], &scales = node.inputs[1];
    node.shape = scales.shape;
    node.shape.push_back(16);
    if (blocks.type != NACELLE_TYPE_U8 || scales.type != NACELLE_TYPE_U8 || blocks.shape != node.shape)
      refuse("mxfp4 of blocks " + text(blocks) + " and scales " + text(scales) + " does not fit");
    node.shape.pop_back();
    node.shape.back() *= 32;
    check_shape(node, "an mxfp4 weight");
    return node;
  }

  // RESHAPE to the same shape is what passes as it is.
  WeightNode decode(const Context& at) {
    WeightNode node = unary(at);
    if (type_info(node.type)->block_elements == 1)
      node.kind = NACELLE_EXPR_RESHAPE;
    else
      node.type = NACELLE_TYPE_F16;
    return node;
  }

  WeightNode unary(const Context& at) {
    if (at.from.input_count != 1) refuse("a weight expression of one input has " + std::to_string(at.from.input_count));
    WeightNode node;
    node.kind = at.from.kind;
    node.inputs.push_back(resolve(at.from.inputs[0], at.expert, at.depth));
    node.type = node.inputs[0].type;
    node.shape = node.inputs[0].shape;
    return node;
  }

  // Equal types and equal extents but along `axis`.
  void require_alike(const WeightNode& first, const WeightNode& other, std::int64_t axis, const char* what) const {
    bool alike = first.type == other.type && first.shape.size() == other.shape.size();
    for (std::size_t i = 0; alike && i < first.shape.size(); ++i)
      alike = static_cast<std::int64_t>(i) == axis || first.shape[i] == other.shape[i];
    if (!alike) refuse(std::string(what) + " of " + text(first) + " and " + text(other) + " does not fit");
  }

  std::string expand(std::string name, std::int64_t expert) const {
    const auto replace = [&](std::string_view mark, std::int64_t value, const char* where) {
      for (std::size_t at; (at = name.find(mark)) != std::string::npos;) {
        if (value < 0) refuse("tensor name '" + name + "' is used outside " + where);
        name.replace(at, mark.size(), std::to_string(value));
      }
    };
    replace("{layer}", layer_, "a layer");
    replace("{expert}", expert, "a stack");
    return name;
  }

  // "tensor 'x' (F16 [64, 32])", or without the name for what is not a tensor.
  static std::string text(const WeightNode& node) {
    const std::string shape = std::string(type_name(node.type)) + " " + shape_text(node.shape);
    return node.tensor.empty() ? shape : "tensor '" + node.tensor + "' (" + shape + ")";
  }

  std::int32_t layer_;
  const TensorLookup& lookup_;
  const StateLookup& states_;
  std::uint32_t nodes_ = 0;
};

}  // namespace

std::uint64_t WeightNode::row_count() const noexcept {
  std::uint64_t count = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) count *= static_cast<std::uint64_t>(shape[i]);
  return count;
}

std::uint64_t WeightNode::row_bytes() const noexcept {
  return nacelle::row_bytes(type, static_cast<std::uint64_t>(shape.back()));
}

const nacelle_weight_expr* KeptExpr::copy(const nacelle_weight_expr* from, std::uint32_t depth) {
  check_node(from, depth, nodes_.size());
  Node& node = nodes_.emplace_back(Node{load(from), std::string(view(from->name)), {}});
  for (const auto* input : std::span(from->inputs, from->input_count)) node.inputs.push_back(copy(input, depth + 1));
  node.plain.extension = nullptr;
  node.plain.name = view(node.name);
  node.plain.inputs = node.inputs.data();
  return &node.plain;
}

WeightNode resolve_weight(const nacelle_weight_expr* source, std::int32_t layer, const TensorLookup& lookup,
                          const StateLookup& states) {
  return Resolver(layer, lookup, states).resolve(source, -1, 0);
}

}  // namespace nacelle::sdk
