// The rules behind op_rules.hpp, in the order of the operation ids.
#include "sdk/runtime/op_rules.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "sdk/runtime/checks.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::uint32_t kMaxCount = 1u << 16;  // heads, experts, a head's width: products stay far below 2^63

std::span<const std::int64_t> shape_of(const nacelle_value& value) { return {value.shape, value.rank}; }

std::string text(const nacelle_value& value) {
  return std::string(type_name(value.type)) + " " + shape_text(shape_of(value));
}

bool finite(std::initializer_list<float> numbers) {
  return std::ranges::all_of(numbers, [](float x) { return std::isfinite(x); });
}

nacelle_value intermediate(nacelle_type type, std::initializer_list<std::int64_t> shape) {
  auto value = make<nacelle_value>();
  value.kind = NACELLE_VALUE_INTERMEDIATE;
  value.weight = NACELLE_NO_VALUE;
  value.type = type;
  value.rank = static_cast<std::uint32_t>(shape.size());
  std::ranges::copy(shape, value.shape);
  return value;
}

// The inputs of one operation, by what they must be. Each accessor throws with the input's name and what it is instead.
class Inputs {
 public:
  explicit Inputs(const OpRequest& request) : request_(request) {}

  bool has(std::size_t index) const { return index < request_.inputs.size() && request_.inputs[index]; }
  const nacelle_value& at(std::size_t index) const { return *request_.inputs[index]; }

  // An f32 matrix [rows, W].
  const nacelle_value& activation(std::size_t index, const char* name) const {
    const nacelle_value& value = at(index);
    if (value.kind == NACELLE_VALUE_WEIGHT || value.type != NACELLE_TYPE_F32 || value.rank != 2 || value.shape[0] >= 0)
      refuse(std::string(name) + " is not an f32 activation [rows, width] but " + text(value));
    return value;
  }

  // An activation with the rows of `like` and this width.
  const nacelle_value& activation(std::size_t index, const char* name, const nacelle_value& like,
                                  std::int64_t width) const {
    const nacelle_value& value = activation(index, name);
    if (value.shape[0] != like.shape[0] || value.shape[1] != width)
      refuse(std::string(name) + " is " + text(value) + ", " + shape_text({{like.shape[0], width}}) + " was expected");
    return value;
  }

  // u32 [rows], of `like` where given.
  const nacelle_value& indices(std::size_t index, const char* name, const nacelle_value* like = nullptr) const {
    const nacelle_value& value = at(index);
    if (value.kind == NACELLE_VALUE_WEIGHT || value.type != NACELLE_TYPE_U32 || value.rank != 1 ||
        (like && value.shape[0] != like->shape[0]))
      refuse(std::string(name) + " is not u32 " + (like ? shape_text({{like->shape[0]}}) : "[rows]") + " but " +
             text(value));
    return value;
  }

  // A weight of this rank.
  const nacelle_value& weight(std::size_t index, const char* name, std::uint32_t rank) const {
    const nacelle_value& value = at(index);
    if (value.kind != NACELLE_VALUE_WEIGHT || value.rank != rank)
      refuse(std::string(name) + " is not a weight of rank " + std::to_string(rank) + " but " + text(value));
    return value;
  }

  // A weight of this very shape in F32, F16 or BF16; absent is fine.
  void optional_weight(std::size_t index, const char* name, std::initializer_list<std::int64_t> shape) const {
    if (!has(index)) return;
    const nacelle_value& value = at(index);
    const bool plain =
        value.type == NACELLE_TYPE_F32 || value.type == NACELLE_TYPE_F16 || value.type == NACELLE_TYPE_BF16;
    if (value.kind != NACELLE_VALUE_WEIGHT || !plain || !std::ranges::equal(shape_of(value), shape))
      refuse(std::string(name) + " is " + text(value) + ", a float weight " +
             shape_text({shape.begin(), shape.size()}) + " was expected");
  }

 private:
  const OpRequest& request_;
};

template <class T>
T attributes_of(const OpRequest& request) {
  T value = load(static_cast<const T*>(request.attributes));
  value.reserved = 0;
  value.extension = nullptr;  // borrowed from the other side; no extension is defined yet
  return value;
}

using Outputs = std::vector<nacelle_value>;

OpAnswer embedding(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_embedding_attributes>(request);
  require(finite({a.scale}) && a.scale != 0, "scale is zero or not finite (1 leaves the rows as they are)");
  const nacelle_value& tokens = in.indices(0, "tokens");
  const nacelle_value& table = in.weight(1, "table", 2);
  return {{intermediate(NACELLE_TYPE_F32, {tokens.shape[0], table.shape[1]})}, Attributes(a)};
}

OpAnswer matmul(const OpRequest&, const Inputs& in) {
  const nacelle_value& x = in.activation(0, "x");
  const nacelle_value& w = in.weight(1, "the weight", 2);
  if (w.shape[1] != x.shape[1]) refuse("the weight " + text(w) + " does not take rows of x " + text(x));
  in.optional_weight(2, "bias", {w.shape[0]});
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], w.shape[0]})}, {}};
}

OpAnswer norm(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_norm_attributes>(request);
  const nacelle_value& x = in.activation(0, "x");
  require(finite({a.epsilon, a.weight_offset}) && a.epsilon >= 0, "epsilon or weight_offset is out of range");
  if (a.group && x.shape[1] % a.group)
    refuse("group " + std::to_string(a.group) + " does not divide the width of x " + text(x));
  const std::int64_t width = a.group ? std::int64_t{a.group} : x.shape[1];
  in.optional_weight(1, "weight", {width});
  in.optional_weight(2, "bias", {width});
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, Attributes(a)};
}

void check_rope_scaling(const nacelle_rope_attributes& a, const Inputs& in) {
  require(a.scaling <= NACELLE_ROPE_SCALE_LONGROPE, "scaling is out of range");
  require(finite({a.base, a.factor, a.attention_factor}) && a.base > 1 && a.factor > 0 && a.attention_factor >= 0,
          "base must be above 1, factor above 0 and attention_factor at least 0");
  if (a.scaling >= NACELLE_ROPE_SCALE_LLAMA3) require(a.original_context > 1, "original_context must be above 1");
  if (a.scaling == NACELLE_ROPE_SCALE_LLAMA3)
    require(finite({a.low_frequency_factor, a.high_frequency_factor}) && a.low_frequency_factor > 0 &&
                a.high_frequency_factor > a.low_frequency_factor,
            "llama3 scaling needs 0 < low_frequency_factor < high_frequency_factor");
  if (a.scaling == NACELLE_ROPE_SCALE_YARN)
    require(finite({a.beta_fast, a.beta_slow}) && a.beta_slow > 0 && a.beta_fast > a.beta_slow,
            "yarn scaling needs 0 < beta_slow < beta_fast");
  require(!in.has(3) || a.scaling == NACELLE_ROPE_SCALE_LONGROPE, "long factors belong to longrope scaling");
  if (a.scaling == NACELLE_ROPE_SCALE_LONGROPE) require(in.has(2) || in.has(3), "longrope scaling needs factors");
}

OpAnswer rope(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_rope_attributes>(request);
  const nacelle_value& x = in.activation(0, "x");
  in.indices(1, "positions", &x);
  require(a.style == NACELLE_ROPE_HALF || a.style == NACELLE_ROPE_INTERLEAVED, "style is out of range");
  if (a.head_width == 0 || x.shape[1] % a.head_width)
    refuse("head_width " + std::to_string(a.head_width) + " does not divide the width of x " + text(x));
  require(a.rotary_width && a.rotary_width % 2 == 0 && a.rotary_width <= a.head_width,
          "rotary_width must be even and between 2 and head_width");
  check_rope_scaling(a, in);
  in.optional_weight(2, "short factors", {a.rotary_width / 2});
  in.optional_weight(3, "long factors", {a.rotary_width / 2});
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, Attributes(a)};
}

// The cache group that attributes name, which has their layer.
template <class T>
const nacelle_cache_group& cache_group_of(const T& a, std::span<const nacelle_cache_group> groups) {
  if (a.cache_group >= groups.size()) refuse("cache group " + std::to_string(a.cache_group) + " does not exist");
  const nacelle_cache_group& group = groups[a.cache_group];
  if (a.cache_layer >= group.layer_count)
    refuse("cache_layer " + std::to_string(a.cache_layer) + " is not below the group's " +
           std::to_string(group.layer_count) + " layers");
  return group;
}

// A group of states, each of `values` f32 a layer.
template <class T>
void check_state(const T& a, std::uint64_t values, std::span<const nacelle_cache_group> groups) {
  const nacelle_cache_group& group = cache_group_of(a, groups);
  require(group.kind == NACELLE_CACHE_STATE, "its cache group does not hold states");
  if (group.key_width != values)
    refuse("key_width of the cache group is " + std::to_string(group.key_width) + ", a state has " +
           std::to_string(values) + " values");
}

void check_cache(const nacelle_attention_attributes& a, bool has_values, std::span<const nacelle_cache_group> groups) {
  require(has_values || a.value_width <= a.key_width, "v is absent, but value_width is above key_width");
  if (a.cache_group == NACELLE_NO_CACHE) return;
  const nacelle_cache_group& group = cache_group_of(a, groups);
  require(group.kind != NACELLE_CACHE_STATE, "its cache group holds states, not keys and values");
  const std::uint64_t heads = a.kv_head_count;
  require(group.key_width == heads * a.key_width, "key_width of the cache group is not kv_head_count * key_width");
  require(group.value_width == (has_values ? heads * a.value_width : 0),
          "value_width of the cache group is not kv_head_count * value_width (0 where v is absent)");
  require(group.window == 0 || (a.window != 0 && a.window <= group.window),
          "the window reaches behind what its cache group keeps");
}

// One bias for each distance -R .. R, a row a head.
void check_bias_table(const Inputs& in, std::int64_t heads) {
  if (!in.has(4)) return;
  const nacelle_value& table = in.weight(4, "bias table", 2);
  if (table.shape[0] != heads || table.shape[1] % 2 == 0)
    refuse("bias table " + text(table) + " is not [head_count, 2 * reach + 1]");
}

OpAnswer attention(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_attention_attributes>(request);
  const std::int64_t heads = a.head_count, kv_heads = a.kv_head_count;
  require(heads && kv_heads && heads % kv_heads == 0, "head_count is not a multiple of kv_head_count");
  require(a.key_width && a.value_width, "key_width and value_width must be above 0");
  require(heads <= kMaxCount && a.key_width <= kMaxCount && a.value_width <= kMaxCount,
          "head_count, key_width or value_width is above 65536");
  require(a.causal <= 1, "causal is neither 0 nor 1");
  require(finite({a.scale, a.soft_cap, a.alibi_bias}) && a.scale > 0 && a.soft_cap >= 0 && a.alibi_bias >= 0,
          "scale, soft_cap or alibi_bias is out of range");
  const nacelle_value& q = in.activation(0, "q");
  in.activation(0, "q", q, heads * a.key_width);
  in.activation(1, "k", q, kv_heads * a.key_width);
  if (in.has(2)) in.activation(2, "v", q, kv_heads * a.value_width);
  in.optional_weight(3, "sinks", {heads});
  check_bias_table(in, heads);
  check_cache(a, in.has(2), request.cache_groups);
  return {{intermediate(NACELLE_TYPE_F32, {q.shape[0], heads * a.value_width})}, Attributes(a)};
}

OpAnswer chunked_attention(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_attention_attributes>(request);
  require(a.causal == 1 && a.window != 0 && a.cache_group != NACELLE_NO_CACHE,
          "attention in chunks is causal, has a cache and a window above 0, the length of a chunk");
  return attention(request, in);
}

OpAnswer position_scale(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_position_scale_attributes>(request);
  require(finite({a.strength}) && a.length != 0 && a.offset <= 1,
          "strength must be finite, length above 0 and offset 0 or 1");
  const nacelle_value& x = in.activation(0, "x");
  in.indices(1, "positions", &x);
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, Attributes(a)};
}

OpAnswer xielu(const OpRequest&, const Inputs& in) {
  const nacelle_value& x = in.activation(0, "x");
  require(in.at(1).kind == NACELLE_VALUE_WEIGHT, "the parameters are not a weight");
  in.optional_weight(1, "parameters", {4});
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, {}};
}

nacelle_activation_attributes activation_attributes(const OpRequest& request) {
  const auto a = attributes_of<nacelle_activation_attributes>(request);
  require(a.activation >= NACELLE_ACT_SILU && a.activation <= NACELLE_ACT_SIGMOID, "activation is out of range");
  return a;
}

OpAnswer unary(const OpRequest& request, const Inputs& in) {
  const auto a = activation_attributes(request);
  const nacelle_value& x = in.activation(0, "x");
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, Attributes(a)};
}

OpAnswer gated(const OpRequest& request, const Inputs& in) {
  const auto a = activation_attributes(request);
  require(finite({a.clamp, a.alpha, a.up_offset}) && a.clamp >= 0 && a.alpha > 0,
          "clamp must be at least 0, alpha above 0 (1 for most) and up_offset finite");
  require(a.alpha == 1 || a.activation == NACELLE_ACT_SILU, "alpha other than 1 belongs to silu");
  const nacelle_value& gate = in.activation(0, "gate");
  in.activation(1, "up", gate, gate.shape[1]);
  return {{intermediate(NACELLE_TYPE_F32, {gate.shape[0], gate.shape[1]})}, Attributes(a)};
}

OpAnswer rowwise(const OpRequest&, const Inputs& in) {  // SOFTMAX, NORMALISE
  const nacelle_value& x = in.activation(0, "x");
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, {}};
}

OpAnswer elementwise(const OpRequest&, const Inputs& in) {  // ADD, MUL
  const nacelle_value& a = in.activation(0, "a");
  const nacelle_value& b = in.at(1);
  if (b.kind == NACELLE_VALUE_WEIGHT)
    in.optional_weight(1, "b", {a.shape[1]});
  else
    in.activation(1, "b", a, a.shape[1]);
  return {{intermediate(NACELLE_TYPE_F32, {a.shape[0], a.shape[1]})}, {}};
}

OpAnswer scale(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_scale_attributes>(request);
  require(finite({a.scale, a.shift, a.soft_cap}) && a.soft_cap >= 0, "scale, shift or soft_cap is out of range");
  const nacelle_value& x = in.activation(0, "x");
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, Attributes(a)};
}

OpAnswer split(const OpRequest& request, const Inputs& in) {
  const nacelle_value& x = in.activation(0, "x");
  Outputs outputs;
  std::int64_t left = x.shape[1];
  for (std::int64_t width : request.split_widths) {
    if (width < 1 || width > left) refuse("the widths do not add up to those of x " + text(x));
    left -= width;
    outputs.push_back(intermediate(NACELLE_TYPE_F32, {x.shape[0], width}));
  }
  if (left) refuse("the widths leave " + std::to_string(left) + " columns of x " + text(x));
  return {std::move(outputs), {}};
}

OpAnswer concat(const OpRequest& request, const Inputs& in) {
  const nacelle_value& first = in.activation(0, "input 0");
  std::int64_t width = 0;
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    const std::string name = "input " + std::to_string(i);
    const nacelle_value& value = in.activation(i, name.c_str());
    in.activation(i, name.c_str(), first, value.shape[1]);
    width += value.shape[1];
  }
  return {{intermediate(NACELLE_TYPE_F32, {first.shape[0], width})}, {}};
}

OpAnswer gather(const OpRequest&, const Inputs& in) {
  const nacelle_value& x = in.activation(0, "x");
  const nacelle_value& indices = in.indices(1, "indices");
  return {{intermediate(NACELLE_TYPE_F32, {indices.shape[0], x.shape[1]})}, {}};
}

OpAnswer pool(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_pool_attributes>(request);
  require(a.pooling >= NACELLE_POOL_MEAN && a.pooling <= NACELLE_POOL_LAST, "pooling is out of range");
  const nacelle_value& x = in.activation(0, "x");
  require(x.shape[0] == NACELLE_DIM_ROWS, "x does not hold a row a token");
  return {{intermediate(NACELLE_TYPE_F32, {NACELLE_DIM_SEQUENCES, x.shape[1]})}, Attributes(a)};
}

nacelle_moe_attributes moe_attributes(const OpRequest& request) {
  const auto a = attributes_of<nacelle_moe_attributes>(request);
  require(a.used_count && a.used_count <= a.expert_count, "used_count is not between 1 and expert_count");
  require(a.expert_count <= kMaxCount, "expert_count is above 65536");
  return a;
}

// Experts or weights [rows, k] of MOE_ROUTE.
void check_routed(const nacelle_value& value, nacelle_type type, const nacelle_value& like, std::uint32_t used,
                  const char* name) {
  if (value.kind != NACELLE_VALUE_INTERMEDIATE || value.type != type || value.rank != 2 ||
      value.shape[0] != like.shape[0] || value.shape[1] != used)
    refuse(std::string(name) + " is " + text(value) + ", " + type_name(type) + " " +
           shape_text({{like.shape[0], std::int64_t{used}}}) + " was expected");
}

OpAnswer moe_route(const OpRequest& request, const Inputs& in) {
  const auto a = moe_attributes(request);
  const nacelle_value& scores = in.activation(0, "scores");
  in.activation(0, "scores", scores, a.expert_count);
  in.optional_weight(1, "selection bias", {a.expert_count});
  require(a.routing >= NACELLE_ROUTE_SOFTMAX_THEN_TOP && a.routing <= NACELLE_ROUTE_SIGMOID, "routing is out of range");
  require(a.renormalise <= 1, "renormalise is neither 0 nor 1");
  require(finite({a.scale}) && a.scale > 0, "scale must be above 0 (1 leaves the weights as they are)");
  if (a.group_count) {
    require(a.expert_count % a.group_count == 0, "group_count does not divide expert_count");
    require(a.group_used && a.group_used <= a.group_count, "group_used is not between 1 and group_count");
    require(std::uint64_t{a.expert_count / a.group_count} * a.group_used >= a.used_count,
            "the groups that are kept have fewer than used_count experts");
  }
  const std::int64_t used = a.used_count;
  return {{intermediate(NACELLE_TYPE_U32, {scores.shape[0], used}),
           intermediate(NACELLE_TYPE_F32, {scores.shape[0], used})},
          Attributes(a)};
}

OpAnswer moe_matmul(const OpRequest& request, const Inputs& in) {
  const auto a = moe_attributes(request);
  require(a.x_per_expert <= 1, "x_per_expert is neither 0 nor 1");
  const nacelle_value& x = in.activation(0, "x");
  const nacelle_value& w = in.weight(1, "the weight", 3);
  const std::int64_t used = a.used_count;
  if (w.shape[0] != a.expert_count || x.shape[1] != w.shape[2] * (a.x_per_expert ? used : 1))
    refuse("the weight " + text(w) + " does not fit x " + text(x) + " and expert_count " +
           std::to_string(a.expert_count));
  check_routed(in.at(2), NACELLE_TYPE_U32, x, a.used_count, "experts");
  in.optional_weight(3, "bias", {w.shape[0], w.shape[1]});
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], used * w.shape[1]})}, Attributes(a)};
}

OpAnswer moe_combine(const OpRequest& request, const Inputs& in) {
  const auto a = moe_attributes(request);
  const nacelle_value& y = in.activation(0, "y");
  if (y.shape[1] % a.used_count) refuse("used_count does not divide the width of y " + text(y));
  check_routed(in.at(1), NACELLE_TYPE_F32, y, a.used_count, "weights");
  return {{intermediate(NACELLE_TYPE_F32, {y.shape[0], y.shape[1] / a.used_count})}, Attributes(a)};
}

OpAnswer adapter_matmul(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_adapter_attributes>(request);
  const nacelle_value& y = in.activation(0, "y");
  const nacelle_value& x = in.activation(1, "x");
  in.activation(1, "x", y, x.shape[1]);
  in.indices(2, "slots", &y);
  require(a.target < request.value_count, "target is not a value");
  return {{intermediate(NACELLE_TYPE_F32, {y.shape[0], y.shape[1]})}, Attributes(a)};
}

OpAnswer moe_adapter_matmul(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_adapter_attributes>(request);
  const nacelle_value& y = in.activation(0, "y");
  const nacelle_value& x = in.activation(1, "x");
  in.activation(1, "x", y, x.shape[1]);
  in.indices(2, "slots", &y);
  const nacelle_value& experts = in.at(3);
  const auto used = static_cast<std::uint32_t>(experts.rank == 2 ? std::max<std::int64_t>(experts.shape[1], 0) : 0);
  check_routed(experts, NACELLE_TYPE_U32, y, used, "experts");
  if (!used || y.shape[1] % used) refuse("the experts " + text(experts) + " do not divide the width of y " + text(y));
  require(a.target < request.value_count, "target is not a value");
  return {{intermediate(NACELLE_TYPE_F32, {y.shape[0], y.shape[1]})}, Attributes(a)};
}

OpAnswer state_scan(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_scan_attributes>(request);
  const std::int64_t heads = a.head_count, groups = a.group_count, keys = a.key_width, values = a.value_width;
  require(a.rule == NACELLE_SCAN_ADD || a.rule == NACELLE_SCAN_DELTA, "rule is out of range");
  require(heads && groups && heads % groups == 0, "head_count is not a multiple of group_count");
  require(keys && values, "key_width and value_width must be above 0");
  require(heads <= kMaxCount && keys <= kMaxCount && values <= kMaxCount,
          "head_count, key_width or value_width is above 65536");
  require(finite({a.scale}) && a.scale > 0, "scale must be above 0 (1 leaves the output as it is)");
  const nacelle_value& q = in.activation(0, "q");
  in.activation(0, "q", q, groups * keys);
  in.activation(1, "k", q, groups * keys);
  in.activation(2, "v", q, heads * values);
  const std::int64_t steps = in.activation(3, "step").shape[1];
  in.activation(3, "step", q, steps == heads * keys ? steps : heads);
  const bool each_row = in.has(4) && in.at(4).rank == 1 && heads * keys != heads && in.at(4).shape[0] == heads * keys;
  in.optional_weight(4, "rate", {each_row ? heads * keys : heads});
  require(!each_row || (a.rule == NACELLE_SCAN_ADD && values == 1 && steps == heads && !in.has(6)),
          "a rate for each row of the state is for ADD with a value a head, a step a head and no strength");
  in.optional_weight(5, "step bias", {steps});
  if (in.has(6)) in.activation(6, "strength", q, heads);
  require(in.has(6) || steps == heads, "a step for each row of the state says no strength");
  in.optional_weight(7, "skip", {heads});
  check_state(a, std::uint64_t{a.head_count} * a.key_width * a.value_width, request.cache_groups);
  return {{intermediate(NACELLE_TYPE_F32, {q.shape[0], heads * values})}, Attributes(a)};
}

OpAnswer convolution(const OpRequest& request, const Inputs& in) {
  const auto a = attributes_of<nacelle_convolution_attributes>(request);
  require(a.length >= 2 && a.length <= kMaxCount, "length is not between 2 and 65536");
  require(a.activation <= NACELLE_ACT_SIGMOID, "activation is out of range");
  const nacelle_value& x = in.activation(0, "x");
  require(in.at(1).kind == NACELLE_VALUE_WEIGHT, "the filters are not a weight");
  in.optional_weight(1, "the filters", {x.shape[1], a.length});
  in.optional_weight(2, "bias", {x.shape[1]});
  check_state(a, std::uint64_t{a.length - 1} * static_cast<std::uint64_t>(x.shape[1]), request.cache_groups);
  return {{intermediate(NACELLE_TYPE_F32, {x.shape[0], x.shape[1]})}, Attributes(a)};
}

constexpr std::uint32_t kAny = 256;  // inputs of CONCAT, outputs of SPLIT

struct Rule {
  std::uint32_t kind;
  std::uint32_t required, most;  // inputs
  std::uint32_t outputs;         // or kAny
  std::uint32_t attribute_size;  // 0: none
  OpAnswer (*check)(const OpRequest&, const Inputs&);
};

constexpr Rule kRules[] = {
    {NACELLE_OP_EMBEDDING, 2, 2, 1, sizeof(nacelle_embedding_attributes), embedding},
    {NACELLE_OP_MATMUL, 2, 3, 1, 0, matmul},
    {NACELLE_OP_RMS_NORM, 1, 2, 1, sizeof(nacelle_norm_attributes), norm},
    {NACELLE_OP_LAYER_NORM, 1, 3, 1, sizeof(nacelle_norm_attributes), norm},
    {NACELLE_OP_ROPE, 2, 4, 1, sizeof(nacelle_rope_attributes), rope},
    {NACELLE_OP_ATTENTION, 2, 5, 1, sizeof(nacelle_attention_attributes), attention},
    {NACELLE_OP_UNARY, 1, 1, 1, sizeof(nacelle_activation_attributes), unary},
    {NACELLE_OP_GATED, 2, 2, 1, sizeof(nacelle_activation_attributes), gated},
    {NACELLE_OP_SOFTMAX, 1, 1, 1, 0, rowwise},
    {NACELLE_OP_ADD, 2, 2, 1, 0, elementwise},
    {NACELLE_OP_MUL, 2, 2, 1, 0, elementwise},
    {NACELLE_OP_SCALE, 1, 1, 1, sizeof(nacelle_scale_attributes), scale},
    {NACELLE_OP_SPLIT, 1, 1, kAny, 0, split},
    {NACELLE_OP_CONCAT, 1, kAny, 1, 0, concat},
    {NACELLE_OP_GATHER, 2, 2, 1, 0, gather},
    {NACELLE_OP_POOL, 1, 1, 1, sizeof(nacelle_pool_attributes), pool},
    {NACELLE_OP_NORMALISE, 1, 1, 1, 0, rowwise},
    {NACELLE_OP_MOE_ROUTE, 1, 2, 2, sizeof(nacelle_moe_attributes), moe_route},
    {NACELLE_OP_MOE_MATMUL, 3, 4, 1, sizeof(nacelle_moe_attributes), moe_matmul},
    {NACELLE_OP_MOE_COMBINE, 2, 2, 1, sizeof(nacelle_moe_attributes), moe_combine},
    {NACELLE_OP_ADAPTER_MATMUL, 3, 3, 1, sizeof(nacelle_adapter_attributes), adapter_matmul},
    {NACELLE_OP_MOE_ADAPTER_MATMUL, 4, 4, 1, sizeof(nacelle_adapter_attributes), moe_adapter_matmul},
    {NACELLE_OP_CHUNKED_ATTENTION, 2, 5, 1, sizeof(nacelle_attention_attributes), chunked_attention},
    {NACELLE_OP_POSITION_SCALE, 2, 2, 1, sizeof(nacelle_position_scale_attributes), position_scale},
    {NACELLE_OP_XIELU, 2, 2, 1, 0, xielu},
    {NACELLE_OP_STATE_SCAN, 5, 8, 1, sizeof(nacelle_scan_attributes), state_scan},
    {NACELLE_OP_CONVOLUTION, 2, 3, 1, sizeof(nacelle_convolution_attributes), convolution},
};

// Counts, presence and the size of the attributes: what every kind has in common.
void check_form(const Rule& rule, const OpRequest& request) {
  const std::size_t count = request.inputs.size();
  if (count < rule.required || count > rule.most)
    refuse(std::to_string(count) + " inputs were given, " + std::to_string(rule.required) + " to " +
           std::to_string(rule.most) + " were expected");
  for (std::uint32_t i = 0; i < count; ++i)
    if (!request.inputs[i] && (i < rule.required || rule.most == kAny))
      refuse("input " + std::to_string(i) + " is absent");
  const bool outputs_fit = rule.outputs == kAny ? request.output_count && request.output_count <= kAny
                                                : request.output_count == rule.outputs;
  if (!outputs_fit) refuse(std::to_string(request.output_count) + " outputs were asked for");
  if (rule.attribute_size == 0) return;
  std::uint32_t size = 0;
  if (request.attributes) std::memcpy(&size, request.attributes, sizeof size);
  if (size < rule.attribute_size)
    refuse("its attributes have " + std::to_string(size) + " bytes, " + std::to_string(rule.attribute_size) +
           " were expected");
}

}  // namespace

OpAnswer check_op(const OpRequest& request) {
  for (const Rule& rule : kRules) {
    if (rule.kind != request.kind) continue;
    check_form(rule, request);
    return rule.check(request, Inputs(request));
  }
  if (request.kind == NACELLE_OP_LOGITS_SELECT) refuse("it is added by the host");
  refuse("kind " + std::to_string(request.kind) + " is reserved or not known");
}

std::uint32_t most_inputs(std::uint32_t kind) noexcept {
  for (const Rule& rule : kRules)
    if (rule.kind == kind && rule.most != kAny) return rule.most;
  return 0;
}

}  // namespace nacelle::sdk
