// C++ layer for architecture authors: the model's configuration with errors that name the key, weight expressions as
// values, a builder with one method an operation, and the macro that makes a class a plugin. Header-only.
//
// A family is a class with three static functions, in a folder with one source:
//   struct Family {
//     static bool match(const Config&);                                  // is this model mine?
//     static nacelle_model_description describe(const Config&);          // throws Failure that names the key at fault
//     static void build(const Config&, Builder&);
//   };
//   NACELLE_ARCHITECTURE_PLUGIN(Family, "family", "1.0")
#pragma once

#include <nacelle/architecture.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <nacelle/plugin.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace nacelle::sdk {

// ---- The configuration ---------------------------------------------------------------------------------------------

// The configuration of one model. Getters throw Failure with the key's name; the optional ones give nullopt where the
// key is missing, and still throw where its value is of another kind.
class Config {
 public:
  explicit Config(const nacelle_model_config* table) : table_(table) {}

  // What an object of config.json holds, as a configuration of its own: keys are those inside it.
  Config inside(const std::string& object) const {
    Config result(*this);
    result.prefix_ += object + ".";
    return result;
  }

  bool is_gguf() const { return table_->format == NACELLE_FORMAT_GGUF; }
  std::string_view architecture() const { return view(table_->architecture); }

  std::optional<std::int64_t> optional_integer(std::string_view key) const {
    return optional<std::int64_t>(key, table_->get_integer, "a whole number");
  }
  std::optional<double> optional_number(std::string_view key) const {
    auto value = optional<double>(key, table_->get_number, "a number");
    if (value && !std::isfinite(*value)) fail_key(key, "is not finite");
    return value;
  }
  std::optional<bool> optional_bool(std::string_view key) const {
    const auto value = optional<std::uint32_t>(key, table_->get_bool, "true or false");
    return value ? std::optional(*value != 0) : std::nullopt;
  }
  std::optional<std::string> optional_string(std::string_view key) const {
    const auto value = optional<nacelle_string>(key, table_->get_string, "a string");
    return value ? std::optional<std::string>(view(*value)) : std::nullopt;
  }
  // Whether a key that may be of another kind is this text.
  bool is_text(std::string_view key, std::string_view text) const {
    nacelle_string value{};
    const std::string full = whole_key(key);
    return table_->get_string(table_->context, view(full), &value) == NACELLE_OK && view(value) == text;
  }
  // Throws where the array has more than `most` items.
  std::optional<std::vector<double>> optional_numbers(std::string_view key, std::uint64_t most) const {
    std::vector<double> values(most);
    std::uint64_t count = 0;
    const std::string full = whole_key(key);
    const auto status = table_->get_numbers(table_->context, view(full), values.data(), most, &count);
    if (status == NACELLE_NOT_FOUND) return std::nullopt;
    if (status != NACELLE_OK || count > most)
      fail_key(key, "is not a list of at most " + std::to_string(most) + " numbers");
    values.resize(count);
    return values;
  }
  // Item `index` of an array of strings; nullopt where there is no such array or item.
  std::optional<std::string> optional_item(std::string_view key, std::uint64_t index) const {
    nacelle_string value{};
    const std::string full = whole_key(key);
    const auto status = table_->get_item_string(table_->context, view(full), index, &value);
    if (status == NACELLE_NOT_FOUND) return std::nullopt;
    if (status != NACELLE_OK) fail_key(key, "is not a list of strings");
    return std::string(view(value));
  }

  double number(std::string_view key) const { return required(key, optional_number(key)); }
  std::string string(std::string_view key) const { return required(key, optional_string(key)); }
  // A count or size: at least `least` and at most `most`, by default what a size can sensibly be.
  std::uint32_t size(std::string_view key, std::int64_t least = 1, std::int64_t most = kMaxSize) const {
    return in_range(key, required(key, optional_integer(key)), least, most);
  }
  std::optional<std::uint32_t> optional_size(std::string_view key, std::int64_t least = 1,
                                             std::int64_t most = kMaxSize) const {
    const auto value = optional_integer(key);
    return value ? std::optional(in_range(key, *value, least, most)) : std::nullopt;
  }

  // The stored shape of a tensor, outermost first; empty where there is none.
  std::vector<std::int64_t> tensor_shape(std::string_view name) const {
    nacelle_type type = NACELLE_TYPE_INVALID;
    std::uint32_t rank = 0;
    std::int64_t shape[NACELLE_MAX_RANK] = {};
    if (table_->get_tensor(table_->context, view(name), &type, &rank, shape) != NACELLE_OK) return {};
    return {shape, shape + std::min<std::uint32_t>(rank, NACELLE_MAX_RANK)};
  }
  bool has_tensor(std::string_view name) const { return !tensor_shape(name).empty(); }

  [[noreturn]] void fail_key(std::string_view key, const std::string& what) const {
    throw Failure(NACELLE_INVALID_ARGUMENT,
                  (is_gguf() ? "metadata key '" : "config.json: '") + whole_key(key) + "' " + what);
  }

 private:
  static constexpr std::int64_t kMaxSize = 1 << 26;

  std::string whole_key(std::string_view key) const { return prefix_ + std::string(key); }

  template <class T, class Getter>
  std::optional<T> optional(std::string_view key, Getter getter, const char* kind) const {
    T value{};
    const std::string full = whole_key(key);
    const nacelle_status status = getter(table_->context, view(full), &value);
    if (status == NACELLE_NOT_FOUND) return std::nullopt;
    if (status != NACELLE_OK) fail_key(key, std::string("is not ") + kind);
    return value;
  }
  template <class T>
  T required(std::string_view key, std::optional<T> value) const {
    if (!value) fail_key(key, "is missing");
    return *std::move(value);
  }
  std::uint32_t in_range(std::string_view key, std::int64_t value, std::int64_t least, std::int64_t most) const {
    if (value < least || value > most)
      fail_key(key,
               "is " + std::to_string(value) + ", expected " + std::to_string(least) + " to " + std::to_string(most));
    return static_cast<std::uint32_t>(value);
  }

  const nacelle_model_config* table_;
  std::string prefix_;
};

// ---- Weight expressions --------------------------------------------------------------------------------------------

// How a weight is made of the file's tensors. A cheap value; a plain string is the tensor of that name, in which
// "{layer}" stands for the layer at hand and, inside stack, "{expert}" for the expert.
class Expr {
 public:
  Expr(const char* tensor) : Expr(std::string(tensor)) {}
  Expr(std::string tensor) : Expr(NACELLE_EXPR_TENSOR) {
    node_->name = std::move(tensor);
    node_->plain.name = view(node_->name);
  }
  const nacelle_weight_expr* get() const { return &node_->plain; }

 private:
  struct Node {
    nacelle_weight_expr plain = make<nacelle_weight_expr>();
    std::string name;
    std::vector<Expr> inputs;
    std::vector<const nacelle_weight_expr*> pointers;
  };

  explicit Expr(std::uint32_t kind, std::vector<Expr> inputs = {}) : node_(std::make_shared<Node>()) {
    node_->inputs = std::move(inputs);
    for (const Expr& input : node_->inputs) node_->pointers.push_back(input.get());
    node_->plain.kind = kind;
    node_->plain.input_count = static_cast<std::uint32_t>(node_->pointers.size());
    node_->plain.inputs = node_->pointers.data();
  }
  nacelle_weight_expr& plain() { return node_->plain; }
  void set_shape(std::span<const std::int64_t> shape) {
    if (shape.size() > NACELLE_MAX_RANK) throw Failure(NACELLE_INTERNAL, "a weight expression has more than 4 axes");
    plain().rank = static_cast<std::uint32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), plain().shape);
  }

  friend Expr first_of(std::vector<Expr>);
  friend Expr concat(std::uint32_t, std::vector<Expr>);
  friend Expr stack(Expr, std::int64_t);
  friend Expr slice(Expr, std::uint32_t, std::int64_t, std::int64_t);
  friend Expr reshape(Expr, std::initializer_list<std::int64_t>);
  friend Expr permute(Expr, std::initializer_list<std::int64_t>);
  friend Expr add(Expr, double);
  friend Expr scale(Expr, double);
  friend Expr decode(Expr);
  friend Expr exp(Expr);
  friend Expr constant(double, std::initializer_list<std::int64_t>);
  friend Expr mxfp4(Expr, Expr);

  std::shared_ptr<Node> node_;
};

inline Expr tensor(std::string name) { return Expr(std::move(name)); }
// The first whose tensors all exist.
inline Expr first_of(std::vector<Expr> inputs) { return Expr(NACELLE_EXPR_FIRST_OF, std::move(inputs)); }
inline Expr concat(std::uint32_t axis, std::vector<Expr> inputs) {
  Expr result(NACELLE_EXPR_CONCAT, std::move(inputs));
  result.plain().axis = axis;
  return result;
}
// `input` for each {expert} below `count`, along a new first axis.
inline Expr stack(Expr input, std::int64_t count) {
  Expr result(NACELLE_EXPR_STACK, {std::move(input)});
  result.plain().count = count;
  return result;
}
inline Expr slice(Expr input, std::uint32_t axis, std::int64_t begin, std::int64_t end) {
  Expr result(NACELLE_EXPR_SLICE, {std::move(input)});
  result.plain().axis = axis;
  result.plain().begin = begin;
  result.plain().end = end;
  return result;
}
inline Expr reshape(Expr input, std::initializer_list<std::int64_t> shape) {
  Expr result(NACELLE_EXPR_RESHAPE, {std::move(input)});
  result.set_shape(shape);
  return result;
}
// Axis i of the result is axis order[i] of the input.
inline Expr permute(Expr input, std::initializer_list<std::int64_t> order) {
  Expr result(NACELLE_EXPR_PERMUTE, {std::move(input)});
  result.set_shape(order);
  return result;
}
inline Expr transpose(Expr input) { return permute(std::move(input), {1, 0}); }
inline Expr add(Expr input, double constant) {
  Expr result(NACELLE_EXPR_ADD, {std::move(input)});
  result.plain().constant = constant;
  return result;
}
inline Expr scale(Expr input, double constant) {
  Expr result(NACELLE_EXPR_SCALE, {std::move(input)});
  result.plain().constant = constant;
  return result;
}

// Without blocks: F16 where there were any.
inline Expr decode(Expr input) { return Expr(NACELLE_EXPR_DECODE, {std::move(input)}); }

// e to each element: rates that checkpoints keep as logarithms.
inline Expr exp(Expr input) { return Expr(NACELLE_EXPR_EXP, {std::move(input)}); }

// F32 of this shape, every element alike.
inline Expr constant(double value, std::initializer_list<std::int64_t> shape) {
  Expr result(NACELLE_EXPR_CONSTANT);
  result.set_shape(shape);
  result.plain().constant = value;
  return result;
}
// A vector whose elements the configuration gives, not a tensor.
inline Expr constants(const std::vector<float>& values) {
  std::vector<Expr> parts;
  parts.reserve(values.size());
  for (const float value : values) parts.push_back(constant(value, {1}));
  return concat(0, std::move(parts));
}

// MXFP4 as checkpoints of OpenAI's have it, in two tensors.
inline Expr mxfp4(Expr blocks, Expr scales) { return Expr(NACELLE_EXPR_MXFP4, {std::move(blocks), std::move(scales)}); }

// Where a weight comes from in each file format: adapters may come in the one that the model's file is not. Both give
// the rows in the order that the graph at hand wants.
struct Source {
  Expr gguf, huggingface;
};

// ---- The builder ---------------------------------------------------------------------------------------------------

// A value of the graph; absent by default, as optional inputs are.
struct Value {
  std::uint32_t id = NACELLE_NO_VALUE;
  explicit operator bool() const { return id != NACELLE_NO_VALUE; }
};

// Attribute structs with what most models mean.
inline nacelle_norm_attributes norm_attributes(double epsilon, float weight_offset = 0, std::uint32_t group = 0) {
  auto a = make<nacelle_norm_attributes>();
  a.epsilon = static_cast<float>(epsilon);
  a.weight_offset = weight_offset;
  a.group = group;
  return a;
}
inline nacelle_rope_attributes rope_attributes(std::uint32_t style, std::uint32_t head_width, double base = 10000) {
  auto a = make<nacelle_rope_attributes>();
  a.style = style;
  a.head_width = a.rotary_width = head_width;
  a.base = static_cast<float>(base);
  a.factor = a.attention_factor = 1;
  return a;
}
// Causal, scaled by 1 / sqrt(head_width), in layer 0 of cache group 0.
inline nacelle_attention_attributes attention_attributes(std::uint32_t head_count, std::uint32_t kv_head_count,
                                                         std::uint32_t head_width) {
  auto a = make<nacelle_attention_attributes>();
  a.head_count = head_count;
  a.kv_head_count = kv_head_count;
  a.key_width = a.value_width = head_width;
  a.causal = 1;
  a.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_width)));
  return a;
}
inline nacelle_activation_attributes activation_attributes(std::uint32_t activation) {
  auto a = make<nacelle_activation_attributes>();
  a.activation = activation;
  a.alpha = 1;
  return a;
}

// One method an operation; graph.h says what each means and which inputs are optional. Methods throw where the host
// refuses what they add: it keeps the reason and reports that.
class Builder {
 public:
  Builder(const nacelle_graph_builder* table, std::uint32_t format) : table_(table), format_(format) {}

  // Adapters of the other file format fit no weight from here on: its matrices are not these, and by how much they
  // differ the file does not say.
  void keep_to_own_format() { knows_other_ = false; }

  Value tokens() { return input(NACELLE_INPUT_TOKENS); }
  Value positions() { return input(NACELLE_INPUT_POSITIONS); }
  Value output_rows() { return input(NACELLE_INPUT_OUTPUT_ROWS); }
  Value token_types() { return input(NACELLE_INPUT_TOKEN_TYPES); }

  Value weight(std::string_view name, std::initializer_list<std::int64_t> shape, const Source& source) {
    return add_weight(name, shape, source, false);
  }
  // Absent where the file has no such tensors.
  Value optional_weight(std::string_view name, std::initializer_list<std::int64_t> shape, const Source& source) {
    return add_weight(name, shape, source, true);
  }

  // A group of paged keys and values; its index. `window` 0: all tokens are kept.
  std::uint32_t paged_cache(std::uint32_t layer_count, std::uint32_t key_width, std::uint32_t value_width,
                            std::uint32_t window = 0) {
    auto group = make<nacelle_cache_group>();
    group.kind = NACELLE_CACHE_PAGED;
    group.layer_count = layer_count;
    group.key_width = key_width;
    group.value_width = value_width;
    group.window = window;
    std::uint32_t index = 0;
    check(table_->cache_group(table_->context, &group, &index));
    return index;
  }

  // A group of states of `values` f32 a layer; its index.
  std::uint32_t state_cache(std::uint32_t layer_count, std::uint32_t values) {
    auto group = make<nacelle_cache_group>();
    group.kind = NACELLE_CACHE_STATE;
    group.layer_count = layer_count;
    group.key_width = values;
    std::uint32_t index = 0;
    check(table_->cache_group(table_->context, &group, &index));
    return index;
  }

  // Records `body` as layer `index`; it may use only what it makes and what is carried in. Returns what `body` returns.
  template <class Body>
  auto layer(std::uint32_t index, std::initializer_list<Value> carried, Body&& body) {
    const std::vector<std::uint32_t> ids = ids_of(std::span(carried.begin(), carried.size()));
    check(table_->layer_begin(table_->context, index, ids.data(), static_cast<std::uint32_t>(ids.size())));
    auto result = body();
    check(table_->layer_end(table_->context));
    return result;
  }

  void mark_logits(Value value) { check(table_->mark_output(table_->context, value.id, NACELLE_OUTPUT_LOGITS)); }
  void mark_embedding(Value value) { check(table_->mark_output(table_->context, value.id, NACELLE_OUTPUT_EMBEDDING)); }
  void whole_sequences() { check(table_->set_flags(table_->context, NACELLE_GRAPH_WHOLE_SEQUENCE)); }

  Value embedding(Value tokens, Value table, float scale = 1) {
    auto a = make<nacelle_embedding_attributes>();
    a.scale = scale;
    return op(NACELLE_OP_EMBEDDING, {tokens, table}, &a);
  }
  Value matmul(Value x, Value w, Value bias = {}) { return op(NACELLE_OP_MATMUL, {x, w, bias}); }
  Value rms_norm(Value x, Value weight, const nacelle_norm_attributes& a) {
    return op(NACELLE_OP_RMS_NORM, {x, weight}, &a);
  }
  Value layer_norm(Value x, Value weight, Value bias, const nacelle_norm_attributes& a) {
    return op(NACELLE_OP_LAYER_NORM, {x, weight, bias}, &a);
  }
  Value rope(Value x, Value positions, const nacelle_rope_attributes& a, Value short_factors = {},
             Value long_factors = {}) {
    return op(NACELLE_OP_ROPE, {x, positions, short_factors, long_factors}, &a);
  }
  Value attention(Value q, Value k, Value v, const nacelle_attention_attributes& a, Value sinks = {}, Value bias = {}) {
    return op(NACELLE_OP_ATTENTION, {q, k, v, sinks, bias}, &a);
  }
  // Within chunks of a.window positions.
  Value chunked_attention(Value q, Value k, Value v, const nacelle_attention_attributes& a, Value sinks = {}) {
    return op(NACELLE_OP_CHUNKED_ATTENTION, {q, k, v, sinks}, &a);
  }
  // x times 1 + strength ln(1 + floor((position + offset) / length)).
  Value position_scale(Value x, Value positions, float strength, std::uint32_t length, std::uint32_t offset) {
    auto a = make<nacelle_position_scale_attributes>();
    a.strength = strength;
    a.length = length;
    a.offset = offset;
    return op(NACELLE_OP_POSITION_SCALE, {x, positions}, &a);
  }
  Value xielu(Value x, Value parameters) { return op(NACELLE_OP_XIELU, {x, parameters}); }
  Value unary(Value x, std::uint32_t activation) {
    const auto a = activation_attributes(activation);
    return op(NACELLE_OP_UNARY, {x}, &a);
  }
  Value gated(Value gate, Value up, const nacelle_activation_attributes& a) {
    return op(NACELLE_OP_GATED, {gate, up}, &a);
  }
  Value softmax(Value x) { return op(NACELLE_OP_SOFTMAX, {x}); }
  Value add(Value a, Value b) { return op(NACELLE_OP_ADD, {a, b}); }
  Value mul(Value a, Value b) { return op(NACELLE_OP_MUL, {a, b}); }
  Value scale(Value x, float scale, float shift = 0, float soft_cap = 0) {
    auto a = make<nacelle_scale_attributes>();
    a.scale = scale;
    a.shift = shift;
    a.soft_cap = soft_cap;
    return op(NACELLE_OP_SCALE, {x}, &a);
  }
  std::vector<Value> split(Value x, std::span<const std::int64_t> widths) {
    return ops(NACELLE_OP_SPLIT, std::span(&x, 1), nullptr, widths.size(), widths.data());
  }
  std::vector<Value> split(Value x, std::initializer_list<std::int64_t> widths) {
    return split(x, std::span(widths.begin(), widths.size()));
  }
  Value concat(std::span<const Value> values) { return ops(NACELLE_OP_CONCAT, values, nullptr, 1, nullptr)[0]; }
  Value concat(std::initializer_list<Value> values) { return concat(std::span(values.begin(), values.size())); }
  Value gather(Value x, Value indices) { return op(NACELLE_OP_GATHER, {x, indices}); }
  Value pool(Value x, std::uint32_t pooling) {
    auto a = make<nacelle_pool_attributes>();
    a.pooling = pooling;
    return op(NACELLE_OP_POOL, {x}, &a);
  }
  // What a recurrence reads of each row, and its vectors; see STATE_SCAN.
  struct Scan {
    Value q, k, v, step, rate, step_bias, strength, skip;
  };
  Value state_scan(const Scan& of, const nacelle_scan_attributes& a) {
    return op(NACELLE_OP_STATE_SCAN, {of.q, of.k, of.v, of.step, of.rate, of.step_bias, of.strength, of.skip}, &a);
  }
  Value convolution(Value x, Value filters, Value bias, const nacelle_convolution_attributes& a) {
    return op(NACELLE_OP_CONVOLUTION, {x, filters, bias}, &a);
  }
  Value normalise(Value x) { return op(NACELLE_OP_NORMALISE, {x}); }

  struct Route {
    Value experts, weights;
  };
  Route moe_route(Value scores, Value selection_bias, const nacelle_moe_attributes& a) {
    const Value inputs[] = {scores, selection_bias};
    const auto outputs = ops(NACELLE_OP_MOE_ROUTE, inputs, &a, 2, nullptr);
    return {outputs[0], outputs[1]};
  }
  Value moe_matmul(Value x, Value w, Value experts, Value bias, const nacelle_moe_attributes& a) {
    return op(NACELLE_OP_MOE_MATMUL, {x, w, experts, bias}, &a);
  }
  Value moe_combine(Value y, Value weights, const nacelle_moe_attributes& a) {
    return op(NACELLE_OP_MOE_COMBINE, {y, weights}, &a);
  }

 private:
  static void check(nacelle_status status) {
    if (status != NACELLE_OK) throw Failure(status, "the host's graph builder refused the model");
  }
  static std::vector<std::uint32_t> ids_of(std::span<const Value> values) {
    std::vector<std::uint32_t> ids;
    for (const Value value : values) ids.push_back(value.id);
    return ids;
  }

  Value input(std::uint32_t role) {
    Value value;
    check(table_->input(table_->context, role, &value.id));
    return value;
  }

  Value add_weight(std::string_view name, std::initializer_list<std::int64_t> shape, const Source& source,
                   bool optional) {
    auto description = make<nacelle_weight_description>();
    description.name = view(name);
    description.source = (format_ == NACELLE_FORMAT_GGUF ? source.gguf : source.huggingface).get();
    if (knows_other_)
      description.other_source = (format_ == NACELLE_FORMAT_GGUF ? source.huggingface : source.gguf).get();
    description.rank = static_cast<std::uint32_t>(shape.size());
    description.optional = optional;
    std::copy_n(shape.begin(), std::min<std::size_t>(shape.size(), NACELLE_MAX_RANK), description.shape);
    Value value;
    check(table_->weight(table_->context, &description, &value.id));
    return value;
  }

  std::vector<Value> ops(std::uint32_t kind, std::span<const Value> inputs, const void* attributes,
                         std::size_t output_count, const std::int64_t* split_widths) {
    const std::vector<std::uint32_t> ids = ids_of(inputs);
    std::vector<std::uint32_t> outputs(output_count, NACELLE_NO_VALUE);
    auto record = make<nacelle_op>();
    record.kind = kind;
    record.input_count = static_cast<std::uint32_t>(ids.size());
    record.inputs = ids.data();
    record.output_count = static_cast<std::uint32_t>(output_count);
    record.attributes = attributes;
    check(table_->op(table_->context, &record, split_widths, outputs.data()));
    std::vector<Value> values;
    values.reserve(outputs.size());
    for (const std::uint32_t id : outputs) values.push_back({id});
    return values;
  }
  Value op(std::uint32_t kind, std::initializer_list<Value> inputs, const void* attributes = nullptr) {
    return ops(kind, std::span(inputs.begin(), inputs.size()), attributes, 1, nullptr)[0];
  }

  const nacelle_graph_builder* table_;
  std::uint32_t format_;
  bool knows_other_ = true;
};

// ---- Thunks --------------------------------------------------------------------------------------------------------

namespace detail {

// The plugin's one global, set by the query.
inline const nacelle_host*& architecture_host() {
  static const nacelle_host* host = nullptr;
  return host;
}

template <class Family>
nacelle_architecture_api make_architecture_api() {
  auto api = make<nacelle_architecture_api>();
  api.match = [](const nacelle_model_config* config) -> nacelle_status {
    bool mine = false;
    const auto status = guard(architecture_host(), nullptr, [&] { mine = Family::match(Config(config)); });
    if (status == NACELLE_OK && !mine) return NACELLE_NOT_FOUND;
    return status;
  };
  api.describe = [](const nacelle_model_config* config, nacelle_model_description* description, nacelle_error** error) {
    return guard(architecture_host(), error, [&] { store(description, Family::describe(Config(config))); });
  };
  api.build = [](const nacelle_model_config* config, const nacelle_graph_builder* builder, nacelle_error** error) {
    return guard(architecture_host(), error, [&] {
      Builder wrapped(builder, config->format);
      Family::build(Config(config), wrapped);
    });
  };
  return api;
}

}  // namespace detail
}  // namespace nacelle::sdk

// Once, at file scope. See the top of this file for what `Family` is.
#define NACELLE_ARCHITECTURE_PLUGIN(Family, name, version)                                                \
  NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_ARCHITECTURE, ARCHITECTURE, name, version);                      \
  NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host* host, nacelle_plugin_info* info, \
                                                     nacelle_error** error) {                             \
    namespace detail = nacelle::sdk::detail;                                                              \
    return nacelle::sdk::guard(host, error, [&] {                                                         \
      static const nacelle_architecture_api api = detail::make_architecture_api<Family>();                \
      detail::architecture_host() = host;                                                                 \
      detail::answer_query(info, NACELLE_PLUGIN_ARCHITECTURE, NACELLE_ARCHITECTURE_ABI_MAJOR,             \
                           NACELLE_ARCHITECTURE_ABI_MINOR, name, version, &api, nullptr);                 \
    });                                                                                                   \
  }
