// The tables behind names.hpp.
#include "sdk/runtime/names.hpp"

#include <iterator>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

namespace nacelle::sdk {
namespace {

struct Name {
  std::uint32_t id;
  const char* text;
};

constexpr Name kOps[] = {
    {NACELLE_OP_EMBEDDING, "embedding"},
    {NACELLE_OP_MATMUL, "matmul"},
    {NACELLE_OP_RMS_NORM, "rms_norm"},
    {NACELLE_OP_LAYER_NORM, "layer_norm"},
    {NACELLE_OP_ROPE, "rope"},
    {NACELLE_OP_ATTENTION, "attention"},
    {NACELLE_OP_UNARY, "unary"},
    {NACELLE_OP_GATED, "gated"},
    {NACELLE_OP_SOFTMAX, "softmax"},
    {NACELLE_OP_ADD, "add"},
    {NACELLE_OP_MUL, "mul"},
    {NACELLE_OP_SCALE, "scale"},
    {NACELLE_OP_SPLIT, "split"},
    {NACELLE_OP_CONCAT, "concat"},
    {NACELLE_OP_GATHER, "gather"},
    {NACELLE_OP_POOL, "pool"},
    {NACELLE_OP_NORMALISE, "normalise"},
    {NACELLE_OP_MOE_ROUTE, "moe_route"},
    {NACELLE_OP_MOE_MATMUL, "moe_matmul"},
    {NACELLE_OP_MOE_COMBINE, "moe_combine"},
    {NACELLE_OP_ADAPTER_MATMUL, "adapter_matmul"},
    {NACELLE_OP_LOGITS_SELECT, "logits_select"},
    {NACELLE_OP_MOE_ADAPTER_MATMUL, "moe_adapter_matmul"},
    {NACELLE_OP_CHUNKED_ATTENTION, "chunked_attention"},
    {NACELLE_OP_POSITION_SCALE, "position_scale"},
    {NACELLE_OP_XIELU, "xielu"},
    {NACELLE_OP_STATE_SCAN, "state_scan"},
    {NACELLE_OP_CONVOLUTION, "convolution"},
    {NACELLE_OP_ALL_REDUCE, "all_reduce"},
    {NACELLE_OP_ALL_GATHER, "all_gather"},
};

constexpr Name kStatuses[] = {
    {NACELLE_OK, "OK"},
    {NACELLE_INVALID_ARGUMENT, "INVALID_ARGUMENT"},
    {NACELLE_UNIMPLEMENTED, "UNIMPLEMENTED"},
    {NACELLE_NOT_FOUND, "NOT_FOUND"},
    {NACELLE_OUT_OF_MEMORY, "OUT_OF_MEMORY"},
    {NACELLE_UNAVAILABLE, "UNAVAILABLE"},
    {NACELLE_DEVICE_LOST, "DEVICE_LOST"},
    {NACELLE_FAILED_PRECONDITION, "FAILED_PRECONDITION"},
    {NACELLE_CANCELLED, "CANCELLED"},
    {NACELLE_INTERNAL, "INTERNAL"},
};

constexpr Name kActivations[] = {
    {NACELLE_ACT_SILU, "silu"},           {NACELLE_ACT_GELU_ERF, "gelu_erf"},
    {NACELLE_ACT_GELU_TANH, "gelu_tanh"}, {NACELLE_ACT_GELU_QUICK, "gelu_quick"},
    {NACELLE_ACT_RELU, "relu"},           {NACELLE_ACT_TANH, "tanh"},
    {NACELLE_ACT_SIGMOID, "sigmoid"},
};

constexpr Name kRopeScalings[] = {
    {NACELLE_ROPE_SCALE_LINEAR, "linear scaling"},
    {NACELLE_ROPE_SCALE_LLAMA3, "llama3 scaling"},
    {NACELLE_ROPE_SCALE_YARN, "yarn scaling"},
    {NACELLE_ROPE_SCALE_LONGROPE, "longrope scaling"},
};

template <std::size_t N>
constexpr const char* find(const Name (&table)[N], std::uint32_t id, const char* otherwise) noexcept {
  for (const Name& name : table)
    if (name.id == id) return name.text;
  return otherwise;
}

// Collects "a, b, c".
class List {
 public:
  void add(bool condition, const std::string& text) {
    if (condition) text_ += (text_.empty() ? "" : ", ") + text;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

template <class T>
T attributes_of(const nacelle_op& op) {
  return load(static_cast<const T*>(op.attributes));
}

bool has_input(const nacelle_op& op, std::uint32_t index) {
  return index < op.input_count && op.inputs[index] != NACELLE_NO_VALUE;
}

std::string attention_features(const nacelle_op& op) {
  const auto a = attributes_of<nacelle_attention_attributes>(op);
  List list;
  list.add(a.cache_group == NACELLE_NO_CACHE, "without a cache");
  list.add(!a.causal, "not causal");
  list.add(a.soft_cap != 0, "soft-cap");
  list.add(a.window != 0 && op.kind == NACELLE_OP_ATTENTION, "window");
  list.add(a.alibi_bias != 0, "ALiBi");
  list.add(has_input(op, 3), "sinks");
  list.add(has_input(op, 4), "relative bias");
  return list.text();
}

// What of the operation a backend may lack; empty for a plain one.
std::string features(const nacelle_graph& graph, const nacelle_op& op) {
  List list;
  switch (op.kind) {
    case NACELLE_OP_EMBEDDING:
    case NACELLE_OP_MATMUL:
    case NACELLE_OP_MOE_MATMUL:
      list.add(has_input(op, 1), std::string(type_name(graph.values[op.inputs[1]]->type)) + " weight");
      list.add(op.kind != NACELLE_OP_EMBEDDING && has_input(op, op.kind == NACELLE_OP_MATMUL ? 2 : 3), "bias");
      return list.text();
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: return attention_features(op);
    case NACELLE_OP_ROPE: {
      const auto a = attributes_of<nacelle_rope_attributes>(op);
      list.add(a.scaling != NACELLE_ROPE_SCALE_NONE, find(kRopeScalings, a.scaling, "unknown scaling"));
      list.add(has_input(op, 2), "factors");
      return list.text();
    }
    case NACELLE_OP_UNARY:
    case NACELLE_OP_GATED: {
      const auto a = attributes_of<nacelle_activation_attributes>(op);
      list.add(true, activation_name(a.activation));
      list.add(a.clamp != 0, "clamp");
      return list.text();
    }
    default: return {};
  }
}

}  // namespace

const char* op_name(std::uint32_t kind) noexcept { return find(kOps, kind, "unknown"); }
const char* status_name(nacelle_status status) noexcept { return find(kStatuses, status, "unknown status"); }
const char* activation_name(std::uint32_t activation) noexcept { return find(kActivations, activation, "unknown"); }

const char* type_name(nacelle_type type) noexcept {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "unknown";
}

std::string shape_text(std::span<const std::int64_t> shape) {
  List list;
  for (std::int64_t extent : shape)
    list.add(true, extent == NACELLE_DIM_ROWS          ? "rows"
                   : extent == NACELLE_DIM_OUTPUT_ROWS ? "output rows"
                   : extent == NACELLE_DIM_SEQUENCES   ? "sequences"
                                                       : std::to_string(extent));
  return "[" + list.text() + "]";
}

std::string describe_op(const nacelle_graph& graph, std::uint32_t op) {
  const nacelle_op& record = *graph.ops[op];
  const std::string list = features(graph, record);
  std::string text = std::string("operation ") + op_name(record.kind) + (list.empty() ? "" : " (" + list + ")");
  if (record.layer < 0) return text + " before the first layer";
  if (static_cast<std::uint32_t>(record.layer) >= graph.layer_count) return text + " after the last layer";
  return text + " of layer " + std::to_string(record.layer);
}

}  // namespace nacelle::sdk
