// What most decoder-only language models share: their sizes and rope as both file formats write them, and the pre-norm
// block of attention and gated feed-forward. A family takes what fits it and writes the rest itself. Header-only.
//
// Tensor names follow llama.cpp's GGUF files ("blk.3.attn_q.weight") and Hugging Face's Llama
// ("model.layers.3.self_attn. q_proj.weight"); the weights of the graph bear the GGUF names whatever the file.
#pragma once

#include <algorithm>
#include <nacelle/architecture.hpp>
#include <string>
#include <vector>

namespace nacelle::sdk {

enum class Bias { kNever, kOptional, kAlways };  // kOptional: where the file has it

struct Decoder {
  std::uint32_t layer_count = 0;
  std::uint32_t width = 0;
  std::uint32_t head_count = 0, kv_head_count = 0;
  std::uint32_t head_width = 0;   // of queries and keys
  std::uint32_t value_width = 0;  // of a head's values
  std::uint32_t feed_forward_width = 0;
  std::uint32_t vocabulary = 0;
  std::uint32_t context_length = 0;
  double epsilon = 0;
  double attention_scale = 0;  // 0: 1 / sqrt(head_width)
  std::uint32_t activation = NACELLE_ACT_SILU;
  nacelle_rope_attributes rope{};
  std::vector<std::uint32_t> windows;  // of each layer; 0: all
  Bias qkv_bias = Bias::kNever, output_bias = Bias::kNever, feed_forward_bias = Bias::kNever;
  bool tied = false;  // the head is the embedding
};

// ---- Rope ----------------------------------------------------------------------------------------------------------

// GGUF keys "<prefix>.rope.*". llama3 scaling is not among them: it comes as the tensor rope_freqs.weight.
inline nacelle_rope_attributes read_gguf_rope(const Config& config, const std::string& prefix, std::uint32_t style,
                                              std::uint32_t head_width, std::uint32_t context) {
  const auto key = [&](const char* name) { return prefix + ".rope." + name; };
  auto rope = rope_attributes(style, head_width, config.optional_number(key("freq_base")).value_or(10000));
  rope.rotary_width = config.optional_size(key("dimension_count")).value_or(head_width);
  const std::string type_key = key("scaling.type");
  const auto old_factor = config.optional_number(key("scale_linear"));
  const std::string type = config.optional_string(type_key).value_or(old_factor ? "linear" : "none");
  if (type == "none") return rope;
  rope.factor = static_cast<float>(config.optional_number(key("scaling.factor")).value_or(old_factor.value_or(1)));
  if (type == "linear") {
    rope.scaling = NACELLE_ROPE_SCALE_LINEAR;
  } else if (type == "yarn") {
    rope.scaling = NACELLE_ROPE_SCALE_YARN;
    rope.original_context = config.optional_size(key("scaling.original_context_length")).value_or(context);
    rope.beta_fast = static_cast<float>(config.optional_number(key("scaling.yarn_beta_fast")).value_or(32));
    rope.beta_slow = static_cast<float>(config.optional_number(key("scaling.yarn_beta_slow")).value_or(1));
    const double magnitude = rope.factor > 1 ? 0.1 * std::log(rope.factor) + 1 : 1;
    rope.attention_factor =
        static_cast<float>(magnitude * config.optional_number(key("scaling.attn_factor")).value_or(1));
  } else {
    config.fail_key(type_key, "is '" + type + "', which this plugin does not know (none, linear, yarn)");
  }
  return rope;
}

// config.json: rope_theta and rope_scaling, or rope_parameters, which replaces both from transformers 5 on.
inline nacelle_rope_attributes read_huggingface_rope(const Config& config, std::uint32_t head_width,
                                                     std::uint32_t context) {
  const bool merged = config.optional_string("rope_parameters.rope_type").has_value();
  const auto key = [&](const char* name) { return std::string(merged ? "rope_parameters." : "rope_scaling.") + name; };
  const auto factor_of = [&](const char* name) { return static_cast<float>(config.number(key(name))); };
  auto rope =
      rope_attributes(NACELLE_ROPE_HALF, head_width,
                      config.optional_number(merged ? "rope_parameters.rope_theta" : "rope_theta").value_or(10000));
  const double part = config.optional_number("partial_rotary_factor").value_or(1);
  if (part <= 0 || part > 1) config.fail_key("partial_rotary_factor", "is not above 0 and at most 1");
  rope.rotary_width = static_cast<std::uint32_t>(head_width * part);

  std::string type_key = key("rope_type");
  auto type = config.optional_string(type_key);
  if (!type) type = config.optional_string(type_key = key("type"));
  if (!type || *type == "default") return rope;
  if (*type == "linear") {
    rope.scaling = NACELLE_ROPE_SCALE_LINEAR;
  } else if (*type == "llama3") {
    rope.scaling = NACELLE_ROPE_SCALE_LLAMA3;
    rope.low_frequency_factor = factor_of("low_freq_factor");
    rope.high_frequency_factor = factor_of("high_freq_factor");
    rope.original_context = config.size(key("original_max_position_embeddings"));
  } else if (*type == "yarn") {
    rope.scaling = NACELLE_ROPE_SCALE_YARN;
    rope.original_context = config.optional_size(key("original_max_position_embeddings")).value_or(context);
    rope.beta_fast = static_cast<float>(config.optional_number(key("beta_fast")).value_or(32));
    rope.beta_slow = static_cast<float>(config.optional_number(key("beta_slow")).value_or(1));
    rope.attention_factor = static_cast<float>(config.optional_number(key("attention_factor")).value_or(0));
    for (const char* name : {"mscale", "mscale_all_dim"})
      if (config.optional_number(key(name))) config.fail_key(key(name), "is not known to this plugin");
    if (!config.optional_bool(key("truncate")).value_or(true)) config.fail_key(key("truncate"), "must be true");
  } else {
    config.fail_key(type_key, "is '" + *type + "', which this plugin does not know (default, linear, llama3, yarn)");
  }
  rope.factor = factor_of("factor");
  return rope;
}

// ---- Sizes ---------------------------------------------------------------------------------------------------------

// Heads, and columns of a head: their product stays below 2^31.
inline constexpr std::int64_t kMaxHeads = 32768;

// A window that no position can leave is none at all.
inline void set_window(Decoder& model, std::uint32_t first_layer, std::uint32_t window) {
  if (window >= model.context_length) return;
  for (std::uint32_t layer = first_layer; layer < model.layer_count; ++layer) model.windows[layer] = window;
}

// What follows from the rest; throws where the sizes do not fit each other.
inline void check_sizes(const Config& config, const Decoder& model, std::string_view heads_key,
                        std::string_view kv_heads_key) {
  if (model.head_width == 0) config.fail_key(heads_key, "is larger than the model's width");
  if (model.head_count % model.kv_head_count)
    config.fail_key(kv_heads_key, "is " + std::to_string(model.kv_head_count) + ", which does not divide " +
                                      std::to_string(model.head_count) + " heads");
}

// GGUF keys "<prefix>.*"; the vocabulary is the embedding's, the head is tied where there is no output.weight.
inline Decoder read_gguf_decoder(const Config& config, const std::string& prefix, std::uint32_t rope_style) {
  const auto key = [&](const char* name) { return prefix + "." + name; };
  Decoder model;
  model.layer_count = config.size(key("block_count"), 1, 4096);
  model.width = config.size(key("embedding_length"));
  model.context_length = config.size(key("context_length"));
  model.feed_forward_width = config.size(key("feed_forward_length"));
  model.head_count = config.size(key("attention.head_count"), 1, kMaxHeads);
  model.kv_head_count = config.optional_size(key("attention.head_count_kv"), 1, kMaxHeads).value_or(model.head_count);
  model.head_width =
      config.optional_size(key("attention.key_length"), 1, kMaxHeads).value_or(model.width / model.head_count);
  model.value_width = config.optional_size(key("attention.value_length"), 1, kMaxHeads).value_or(model.head_width);
  check_sizes(config, model, key("attention.head_count"), key("attention.head_count_kv"));
  model.epsilon = config.number(key("attention.layer_norm_rms_epsilon"));
  model.attention_scale = config.optional_number(key("attention.scale")).value_or(0);
  model.rope = read_gguf_rope(config, prefix, rope_style, model.head_width, model.context_length);
  const auto embedding = config.tensor_shape("token_embd.weight");
  if (embedding.size() != 2)
    throw Failure(NACELLE_INVALID_ARGUMENT, "tensor 'token_embd.weight' is missing or no matrix");
  model.vocabulary = static_cast<std::uint32_t>(std::min<std::int64_t>(embedding[0], 0x7fffffff));
  model.tied = !config.has_tensor("output.weight");
  model.windows.assign(model.layer_count, 0);
  if (const auto window = config.optional_size(key("attention.sliding_window"), 0))
    if (*window) set_window(model, 0, *window);
  return model;
}

inline std::uint32_t read_huggingface_activation(const Config& config) {
  constexpr std::pair<std::string_view, std::uint32_t> kNames[] = {
      {"silu", NACELLE_ACT_SILU},          {"swish", NACELLE_ACT_SILU}, {"gelu", NACELLE_ACT_GELU_ERF},
      {"gelu_new", NACELLE_ACT_GELU_TANH}, {"relu", NACELLE_ACT_RELU},  {"gelu_pytorch_tanh", NACELLE_ACT_GELU_TANH},
  };
  const std::string name = config.optional_string("hidden_act").value_or("silu");
  for (const auto& [text, activation] : kNames)
    if (name == text) return activation;
  config.fail_key("hidden_act", "is '" + name + "', which this plugin does not know");
}

// config.json as LlamaConfig and its kin write it. Windows and biases differ from family to family and stay unset.
inline Decoder read_huggingface_decoder(const Config& config) {
  Decoder model;
  model.layer_count = config.size("num_hidden_layers", 1, 4096);
  model.width = config.size("hidden_size");
  model.context_length = config.optional_size("max_position_embeddings").value_or(2048);
  model.feed_forward_width = config.size("intermediate_size");
  model.head_count = config.size("num_attention_heads", 1, kMaxHeads);
  model.kv_head_count = config.optional_size("num_key_value_heads", 1, kMaxHeads).value_or(model.head_count);
  model.head_width = config.optional_size("head_dim", 1, kMaxHeads).value_or(model.width / model.head_count);
  model.value_width = model.head_width;
  check_sizes(config, model, "num_attention_heads", "num_key_value_heads");
  model.epsilon = config.optional_number("rms_norm_eps").value_or(1e-6);
  model.activation = read_huggingface_activation(config);
  model.rope = read_huggingface_rope(config, model.head_width, model.context_length);
  model.vocabulary = config.size("vocab_size", 1, 0x7fffffff);
  model.tied = config.optional_bool("tie_word_embeddings").value_or(false);
  model.windows.assign(model.layer_count, 0);
  return model;
}

inline nacelle_model_description describe_decoder(const Decoder& model) {
  auto description = make<nacelle_model_description>();
  description.kind = NACELLE_MODEL_DECODER;
  description.context_length = model.context_length;
  description.layer_count = model.layer_count;
  description.width = model.width;
  description.head_count = model.head_count;
  description.kv_head_count = model.kv_head_count;
  description.head_width = model.head_width;
  description.feed_forward_width = model.feed_forward_width;
  description.vocabulary = model.vocabulary;
  for (const std::uint32_t window : model.windows)
    if (window && (!description.window || window < description.window)) description.window = window;
  return description;
}

// ---- The graph -----------------------------------------------------------------------------------------------------

// One graph under construction; the methods are the parts of a block, in the order in which they run.
class DecoderGraph {
 public:
  DecoderGraph(Builder& builder, const Decoder& model) : b_(builder), model_(model) {
    for (const std::uint32_t window : model.windows) ++group_of(window).layer_count;
    for (Group& group : groups_)
      group.index = b_.paged_cache(group.layer_count, model.kv_head_count * model.head_width,
                                   model.kv_head_count * model.value_width, group.window);
    positions_ = b_.positions();
    rope_factors_ = b_.optional_weight("rope_freqs.weight", {model.rope.rotary_width / 2},
                                       {"rope_freqs.weight", "rope_freqs.weight"});
  }

  // Everything, for families that add nothing of their own.
  void build() {
    Value x = embedding();
    for (std::uint32_t layer = 0; layer < model_.layer_count; ++layer)
      x = b_.layer(layer, {x}, [&] {
        layer_ = layer;
        const Value h = b_.add(x, attention(norm(x, "attn_norm", "input_layernorm")));
        return b_.add(h, feed_forward(norm(h, "ffn_norm", "post_attention_layernorm")));
      });
    logits(x);
  }

 private:
  struct Group {
    std::uint32_t window, index, layer_count, used;
  };
  struct Names {
    std::string gguf, huggingface;  // without ".weight"
  };

  Group& group_of(std::uint32_t window) {
    for (Group& group : groups_)
      if (group.window == window) return group;
    return groups_.emplace_back(Group{window, 0, 0, 0});
  }

  // A tied head may be stored under either name, or both.
  Value embedding() {
    const Expr table =
        model_.tied ? first_of({"model.embed_tokens.weight", "lm_head.weight"}) : Expr("model.embed_tokens.weight");
    table_ = b_.weight("token_embd.weight", {model_.vocabulary, model_.width}, {"token_embd.weight", table});
    return b_.embedding(b_.tokens(), table_);
  }

  Value norm(Value x, const char* gguf, const char* huggingface) {
    return b_.rms_norm(x, block_weight({gguf, huggingface}, ".weight", {model_.width}),
                       norm_attributes(model_.epsilon));
  }

  Value attention(Value x) {
    const std::uint32_t heads = model_.head_count, kv_heads = model_.kv_head_count;
    Value q = linear(x, {"attn_q", "self_attn.q_proj"}, heads * model_.head_width, model_.width, model_.qkv_bias);
    Value k = linear(x, {"attn_k", "self_attn.k_proj"}, kv_heads * model_.head_width, model_.width, model_.qkv_bias);
    Value v = linear(x, {"attn_v", "self_attn.v_proj"}, kv_heads * model_.value_width, model_.width, model_.qkv_bias);
    q = b_.rope(q, positions_, model_.rope, rope_factors_);
    k = b_.rope(k, positions_, model_.rope, rope_factors_);

    Group& group = group_of(model_.windows[layer_]);
    auto attributes = attention_attributes(heads, kv_heads, model_.head_width);
    attributes.value_width = model_.value_width;
    attributes.window = group.window;
    attributes.cache_group = group.index;
    attributes.cache_layer = group.used++;
    if (model_.attention_scale > 0) attributes.scale = static_cast<float>(model_.attention_scale);
    const Value y = b_.attention(q, k, v, attributes);
    return linear(y, {"attn_output", "self_attn.o_proj"}, model_.width, heads * model_.value_width, model_.output_bias);
  }

  Value feed_forward(Value x) {
    const std::uint32_t width = model_.feed_forward_width;
    const Value gate = linear(x, {"ffn_gate", "mlp.gate_proj"}, width, model_.width, model_.feed_forward_bias);
    const Value up = linear(x, {"ffn_up", "mlp.up_proj"}, width, model_.width, model_.feed_forward_bias);
    const Value y = b_.gated(gate, up, activation_attributes(model_.activation));
    return linear(y, {"ffn_down", "mlp.down_proj"}, model_.width, width, model_.feed_forward_bias);
  }

  void logits(Value x) {
    x = b_.gather(x, b_.output_rows());
    const Value weight = b_.weight("output_norm.weight", {model_.width}, {"output_norm.weight", "model.norm.weight"});
    x = b_.rms_norm(x, weight, norm_attributes(model_.epsilon));
    const Value head = model_.tied ? table_
                                   : b_.weight("output.weight", {model_.vocabulary, model_.width},
                                               {"output.weight", "lm_head.weight"});
    b_.mark_logits(b_.matmul(x, head));
  }

  Value linear(Value x, const Names& names, std::int64_t outputs, std::int64_t inputs, Bias bias) {
    const Value w = block_weight(names, ".weight", {outputs, inputs});
    Value b;
    if (bias != Bias::kNever) b = block_weight(names, ".bias", {outputs}, bias == Bias::kOptional);
    return b_.matmul(x, w, b);
  }

  Value block_weight(const Names& names, const char* suffix, std::initializer_list<std::int64_t> shape,
                     bool optional = false) {
    const std::string name = "blk." + std::to_string(layer_) + "." + names.gguf + suffix;
    const Source source{"blk.{layer}." + names.gguf + suffix, "model.layers.{layer}." + names.huggingface + suffix};
    return optional ? b_.optional_weight(name, shape, source) : b_.weight(name, shape, source);
  }

  Builder& b_;
  const Decoder& model_;
  std::vector<Group> groups_;
  Value positions_, rope_factors_, table_;
  std::uint32_t layer_ = 0;
};

}  // namespace nacelle::sdk
