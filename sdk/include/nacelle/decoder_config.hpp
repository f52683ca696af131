// Reads a Decoder from what both file formats write alike: GGUF's keys "<family>.*", and config.json as Llama's kin
// have it. Getters throw Failure with the key's name.
#pragma once

#include <algorithm>
#include <cmath>
#include <nacelle/architecture.hpp>
#include <nacelle/decoder_model.hpp>
#include <string>
#include <utility>
#include <vector>

namespace nacelle::sdk {

// ---- Rope ----------------------------------------------------------------------------------------------------------

// LongRoPE's magnitude where the file does not say: section 3.3 of arXiv 2402.13753, over the stretch of the context.
inline double longrope_magnitude(double context, double original) {
  return context > original ? std::sqrt(1 + std::log(context / original) / std::log(original)) : 1;
}

// GGUF keys "<prefix>.rope.*". llama3 and longrope scaling are not among them: they come as tensors of factors.
inline nacelle_rope_attributes read_gguf_rope(const Config& config, const std::string& prefix, std::uint32_t style,
                                              std::uint32_t head_width, std::uint32_t context) {
  const auto key = [&](const char* name) { return prefix + ".rope." + name; };
  auto rope = rope_attributes(style, head_width, config.optional_number(key("freq_base")).value_or(10000));
  rope.rotary_width = config.optional_size(key("dimension_count")).value_or(head_width);
  const std::string type_key = key("scaling.type");
  const auto old_factor = config.optional_number(key("scale_linear"));
  const bool has_lists = config.has_tensor("rope_factors_long.weight");
  const char* implied = has_lists ? "longrope" : old_factor ? "linear" : "none";
  const std::string type = config.optional_string(type_key).value_or(implied);
  if (type == "none") return rope;
  const auto original = config.optional_size(key("scaling.original_context_length"));
  const auto magnitude = config.optional_number(key("scaling.attn_factor"));
  rope.factor = static_cast<float>(config.optional_number(key("scaling.factor")).value_or(old_factor.value_or(1)));
  if (type == "linear") {
    rope.scaling = NACELLE_ROPE_SCALE_LINEAR;
  } else if (type == "yarn") {
    rope.scaling = NACELLE_ROPE_SCALE_YARN;
    rope.original_context = original.value_or(context);
    rope.beta_fast = static_cast<float>(config.optional_number(key("scaling.yarn_beta_fast")).value_or(32));
    rope.beta_slow = static_cast<float>(config.optional_number(key("scaling.yarn_beta_slow")).value_or(1));
    const double own = rope.factor > 1 ? 0.1 * std::log(rope.factor) + 1 : 1;
    rope.attention_factor = static_cast<float>(own * magnitude.value_or(1));
  } else if (type == "longrope" && has_lists) {
    rope.scaling = NACELLE_ROPE_SCALE_LONGROPE;
    rope.original_context = original.value_or(context);
    rope.attention_factor = static_cast<float>(magnitude.value_or(longrope_magnitude(context, rope.original_context)));
  } else {
    config.fail_key(type_key, "is '" + type + "', which this plugin does not know (none, linear, yarn" +
                                  (type == "longrope" ? "; longrope needs the tensor rope_factors_long.weight)" : ")"));
  }
  return rope;
}

// config.json: rope_theta and rope_scaling, or rope_parameters, which replaces both from transformers 5 on.
class HuggingFaceRope {
 public:
  HuggingFaceRope(const Config& config, Decoder& model) : config_(config), model_(model) {
    const bool merged = config.optional_string("rope_parameters.rope_type").has_value() ||
                        config.optional_string("rope_parameters.type").has_value();
    block_ = merged ? "rope_parameters." : "rope_scaling.";
    const auto number = [&](const char* name) {  // where either generation puts it
      const auto inside = merged ? config.optional_number(key(name)) : std::nullopt;
      return inside ? inside : config.optional_number(name);
    };
    auto& rope = model.rope =
        rope_attributes(NACELLE_ROPE_HALF, model.head_width, number("rope_theta").value_or(10000));
    const double part = number("partial_rotary_factor").value_or(1);
    if (part <= 0 || part > 1) config.fail_key("partial_rotary_factor", "is not above 0 and at most 1");
    rope.rotary_width = static_cast<std::uint32_t>(model.head_width * part);
  }

  // `neutral`: a type that changes nothing, see HuggingFaceKeys.
  void read(std::string_view neutral = "") {
    std::string type_key = key("rope_type");
    auto type = config_.optional_string(type_key);
    if (!type) type = config_.optional_string(type_key = key("type"));
    if (!type || *type == "default" || *type == neutral) return;
    struct Kind {
      const char* name;
      void (HuggingFaceRope::*read)();
    };
    constexpr Kind kKinds[] = {{"linear", &HuggingFaceRope::linear},
                               {"llama3", &HuggingFaceRope::llama3},
                               {"yarn", &HuggingFaceRope::yarn},
                               {"longrope", &HuggingFaceRope::longrope}};
    for (const Kind& kind : kKinds)
      if (*type == kind.name) return (this->*kind.read)();
    if (*type == "dynamic" && config_.optional_number(key("alpha"))) return stretch_base();
    config_.fail_key(type_key,
                     "is '" + *type + "', which this plugin does not know (default, linear, llama3, yarn, longrope)");
  }

 private:
  std::string key(const char* name) const { return block_ + name; }
  float number(const char* name) const { return static_cast<float>(config_.number(key(name))); }
  float number(const char* name, double otherwise) const {
    return static_cast<float>(config_.optional_number(key(name)).value_or(otherwise));
  }

  // Hunyuan's "dynamic" is an NTK scaling that does not change with the length.
  void stretch_base() {
    const double width = model_.rope.rotary_width;
    model_.rope.base *= static_cast<float>(std::pow(number("alpha"), width / (width - 2)));
  }

  void linear() {
    model_.rope.scaling = NACELLE_ROPE_SCALE_LINEAR;
    model_.rope.factor = number("factor");
  }

  void llama3() {
    auto& rope = model_.rope;
    rope.scaling = NACELLE_ROPE_SCALE_LLAMA3;
    rope.factor = number("factor");
    rope.low_frequency_factor = number("low_freq_factor");
    rope.high_frequency_factor = number("high_freq_factor");
    rope.original_context = config_.size(key("original_max_position_embeddings"));
    if (rope.low_frequency_factor == rope.high_frequency_factor) llama3_by_list();
  }

  // Without a stretch between the frequencies that are kept and those that are divided (Llama 4), in which the scaling
  // would blend: as a list of what each is divided by.
  void llama3_by_list() {
    auto& rope = model_.rope;
    const double longest = rope.original_context / static_cast<double>(rope.low_frequency_factor);
    for (std::uint32_t pair = 0; pair < rope.rotary_width / 2; ++pair) {
      const double wave = 2 * M_PI * std::pow(static_cast<double>(rope.base), 2.0 * pair / rope.rotary_width);
      model_.short_factors.push_back(wave > longest ? rope.factor : 1.0f);
    }
    rope.scaling = NACELLE_ROPE_SCALE_NONE;
    rope.factor = 1;
  }

  void yarn() {
    auto& rope = model_.rope;
    rope.scaling = NACELLE_ROPE_SCALE_YARN;
    rope.factor = number("factor");
    rope.original_context =
        config_.optional_size(key("original_max_position_embeddings")).value_or(model_.context_length);
    rope.beta_fast = number("beta_fast", 32);
    rope.beta_slow = number("beta_slow", 1);
    rope.attention_factor = number("attention_factor", 0);
    const auto mscale = config_.optional_number(key("mscale")), all = config_.optional_number(key("mscale_all_dim"));
    if (mscale && all && *mscale != 0 && *all != 0 && rope.attention_factor == 0 && rope.factor > 1) {
      const double grown = 0.1 * std::log(rope.factor);
      rope.attention_factor = static_cast<float>((*mscale * grown + 1) / (*all * grown + 1));
    }
    if (!config_.optional_bool(key("truncate")).value_or(true)) yarn_by_list();
  }

  // YaRN whose borders are not rounded to whole pairs (gpt-oss): as a list of what each frequency is divided by.
  void yarn_by_list() {
    auto& rope = model_.rope;
    const auto border = [&](double turns) {
      return rope.rotary_width * std::log(rope.original_context / (turns * 2 * M_PI)) / (2 * std::log(rope.base));
    };
    const double low = std::max(border(rope.beta_fast), 0.0);
    const double high = std::min(border(rope.beta_slow), rope.rotary_width - 1.0);
    for (std::uint32_t pair = 0; pair < rope.rotary_width / 2; ++pair) {
      const double stretch = std::clamp((pair - low) / std::max(high - low, 0.001), 0.0, 1.0);
      model_.short_factors.push_back(static_cast<float>(1 / (stretch / rope.factor + 1 - stretch)));
    }
    if (rope.attention_factor == 0)
      rope.attention_factor = static_cast<float>(rope.factor > 1 ? 0.1 * std::log(rope.factor) + 1 : 1);
    rope.scaling = NACELLE_ROPE_SCALE_NONE;
    rope.factor = 1;
  }

  void longrope() {
    auto& rope = model_.rope;
    rope.scaling = NACELLE_ROPE_SCALE_LONGROPE;
    auto original = config_.optional_size("original_max_position_embeddings");
    if (!original) original = config_.optional_size(key("original_max_position_embeddings"));
    rope.original_context = original.value_or(model_.context_length);
    rope.attention_factor =
        number("attention_factor", longrope_magnitude(model_.context_length, rope.original_context));
    model_.short_factors = list("short_factor");
    model_.long_factors = list("long_factor");
  }

  std::vector<float> list(const char* name) const {
    const std::size_t pairs = model_.rope.rotary_width / 2;
    const auto numbers = config_.optional_numbers(key(name), pairs);
    if (!numbers || numbers->size() != pairs)
      config_.fail_key(key(name), (numbers ? "has " + std::to_string(numbers->size()) : std::string("has no")) +
                                      " numbers, expected " + std::to_string(pairs));
    return {numbers->begin(), numbers->end()};
  }

  const Config& config_;
  Decoder& model_;
  std::string block_;
};

// ---- Sizes ---------------------------------------------------------------------------------------------------------

// Heads, and columns of a head: their product stays below 2^31.
inline constexpr std::int64_t kMaxHeads = 32768;

// A window that no position can leave is none at all.
inline void set_window(Decoder& model, std::uint32_t first_layer, std::uint32_t window) {
  if (window >= model.context_length) return;
  for (std::uint32_t layer = first_layer; layer < model.layer_count; ++layer) model.windows[layer] = window;
}

// `window` on every layer but each `period`-th (0 based: period - 1, 2 * period - 1, ...), which sees everything.
inline void set_window_pattern(Decoder& model, std::uint32_t window, std::uint32_t period) {
  set_window(model, 0, window);
  for (std::uint32_t layer = period - 1; period && layer < model.layer_count; layer += period) model.windows[layer] = 0;
}

// config.json's layer_types, which transformers 4.51 and later write: "sliding_attention" or "full_attention". False
// where there are none.
inline bool read_layer_types(const Config& config, Decoder& model, std::uint32_t window) {
  if (!config.optional_item("layer_types", 0)) return false;
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const std::string kind = config.optional_item("layer_types", layer).value_or("");
    if (kind == "sliding_attention" && window < model.context_length)
      model.windows[layer] = window;
    else if (kind != "sliding_attention" && kind != "full_attention")
      config.fail_key("layer_types", "has '" + kind + "' for layer " + std::to_string(layer));
  }
  return true;
}

// Qwen's windows: where use_sliding_window says so, on the layers that layer_types names, else from max_window_layers
// on.
inline void read_upper_windows(const Config& config, Decoder& model) {
  if (!config.optional_bool("use_sliding_window").value_or(false)) return;
  const std::uint32_t window = config.optional_size("sliding_window").value_or(4096);
  if (!read_layer_types(config, model, window))
    set_window(model, config.optional_size("max_window_layers", 0).value_or(28), window);
}

// What follows from the rest; throws where the sizes do not fit each other.
inline void check_sizes(const Config& config, const Decoder& model, std::string_view heads_key,
                        std::string_view kv_heads_key) {
  if (model.head_width == 0) config.fail_key(heads_key, "is larger than the model's width");
  if (model.head_count % model.kv_head_count)
    config.fail_key(kv_heads_key, "is " + std::to_string(model.kv_head_count) + ", which does not divide " +
                                      std::to_string(model.head_count) + " heads");
}

// One number for all layers, or one for each: 0 where the layer keeps a state and not keys and values.
inline void read_gguf_kv_heads(const Config& config, const std::string& key, Decoder& model) {
  const auto each = config.optional_numbers(key, 4096);
  if (!each || each->size() == 1 || std::ranges::find(*each, 0.0) == each->end()) {
    model.kv_head_count = config.optional_size(key, 1, kMaxHeads).value_or(model.head_count);
    return;
  }
  if (each->size() != model.layer_count)
    config.fail_key(key, "has " + std::to_string(each->size()) + " numbers, expected one, or one for each of " +
                             std::to_string(model.layer_count) + " layers");
  const double heads = *std::ranges::max_element(*each);
  for (const double count : *each) {
    if (count != 0 && count != heads) config.fail_key(key, "has layers with different numbers of heads");
    model.recurrent_layers.push_back(count == 0);
  }
  if (!(heads >= 1 && heads <= kMaxHeads) || heads != std::floor(heads))
    config.fail_key(key, "has no layer with 1 to " + std::to_string(kMaxHeads) + " heads");
  model.kv_head_count = static_cast<std::uint32_t>(heads);
}

// One width for all layers, or one for each: 0 where the layer has no feed-forward part.
inline std::uint32_t read_gguf_feed_forward(const Config& config, const std::string& key, std::uint32_t layer_count,
                                            bool may_lack) {
  const auto each = config.optional_numbers(key, layer_count);
  if (!each || each->size() <= 1) return may_lack ? config.optional_size(key, 0).value_or(0) : config.size(key);
  const double width = *std::ranges::max_element(*each);
  for (const double own : *each)
    if (own != 0 && own != width) config.fail_key(key, "has layers of different widths");
  if (!(width >= 1 && width <= 1 << 26) || width != std::floor(width))
    config.fail_key(key, "has no layer with a width of 1 to 67108864");
  return static_cast<std::uint32_t>(width);
}

// The embedding's rows are the vocabulary, the head is tied where there is no output.weight.
inline void read_gguf_vocabulary(const Config& config, Decoder& model) {
  const auto embedding = config.tensor_shape("token_embd.weight");
  if (embedding.size() != 2)
    throw Failure(NACELLE_INVALID_ARGUMENT, "tensor 'token_embd.weight' is missing or no matrix");
  model.vocabulary = static_cast<std::uint32_t>(std::min<std::int64_t>(embedding[0], 0x7fffffff));
  model.tied = !config.has_tensor("output.weight");
}

// GGUF keys "<prefix>.*"; the vocabulary is the embedding's, the head is tied where there is no output.weight.
// `rope_style` 0: the family has no rope.
inline Decoder read_gguf_decoder(const Config& config, const std::string& prefix, std::uint32_t rope_style,
                                 NormKind norm = NormKind::kRms) {
  const auto key = [&](const char* name) { return prefix + "." + name; };
  Decoder model;
  model.layer_count = config.size(key("block_count"), 1, 4096);
  model.width = config.size(key("embedding_length"));
  model.context_length = config.size(key("context_length"));
  model.experts.count = config.optional_size(key("expert_count"), 0, 4096).value_or(0);
  if (model.experts.count) model.experts.used = config.size(key("expert_used_count"), 1, model.experts.count);
  const auto expert_width = config.optional_size(key("expert_feed_forward_length"));
  const bool may_lack = model.experts.count && expert_width;  // where all layers have experts
  model.feed_forward_width = read_gguf_feed_forward(config, key("feed_forward_length"), model.layer_count, may_lack);
  model.experts.width = expert_width.value_or(model.feed_forward_width);
  model.head_count = config.size(key("attention.head_count"), 1, kMaxHeads);
  read_gguf_kv_heads(config, key("attention.head_count_kv"), model);
  model.head_width =
      config.optional_size(key("attention.key_length"), 1, kMaxHeads).value_or(model.width / model.head_count);
  model.value_width = config.optional_size(key("attention.value_length"), 1, kMaxHeads).value_or(model.head_width);
  check_sizes(config, model, key("attention.head_count"), key("attention.head_count_kv"));
  model.norm = norm;
  model.epsilon =
      config.number(key(norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"));
  model.attention_scale = config.optional_number(key("attention.scale")).value_or(0);
  model.uses_rope = rope_style != 0;
  if (model.uses_rope) model.rope = read_gguf_rope(config, prefix, rope_style, model.head_width, model.context_length);
  read_gguf_vocabulary(config, model);
  model.windows.assign(model.layer_count, 0);
  if (const auto window = config.optional_size(key("attention.sliding_window"), 0))
    if (*window) set_window(model, 0, *window);
  return model;
}

inline std::uint32_t read_huggingface_activation(const Config& config, const char* key = "hidden_act") {
  constexpr std::pair<std::string_view, std::uint32_t> kNames[] = {
      {"silu", NACELLE_ACT_SILU},          {"swish", NACELLE_ACT_SILU}, {"gelu", NACELLE_ACT_GELU_ERF},
      {"gelu_new", NACELLE_ACT_GELU_TANH}, {"relu", NACELLE_ACT_RELU},  {"gelu_pytorch_tanh", NACELLE_ACT_GELU_TANH},
      {"gelu_fast", NACELLE_ACT_GELU_TANH}};
  const std::string name = config.optional_string(key).value_or("silu");
  for (const auto& [text, activation] : kNames)
    if (name == text) return activation;
  config.fail_key(key, "is '" + name + "', which this plugin does not know");
}

// What config.json calls each size; older families have names of their own. Empty: the family has no such key.
struct HuggingFaceKeys {
  const char* layers = "num_hidden_layers";
  const char* width = "hidden_size";
  const char* context = "max_position_embeddings";
  const char* feed_forward = "intermediate_size";
  const char* heads = "num_attention_heads";
  const char* kv_heads = "num_key_value_heads";
  const char* epsilon = "rms_norm_eps";
  const char* activation = "hidden_act";
  bool tied = false;  // where tie_word_embeddings is absent
  // A scaling of rope that changes nothing here: "dynamic" begins behind the context, "mrope" has one position for
  // text.
  const char* neutral_rope = "";
  // Where the configuration leaves them out, as some do; 0: it must not.
  std::uint32_t head_count = 0, kv_head_count = 0, head_width = 0, vocabulary = 0, context_length = 2048;
};

// config.json as LlamaConfig and its kin write it. Windows and biases differ from family to family and stay unset;
// feed_forward_width is 0 where the key may be absent and is.
inline Decoder read_huggingface_decoder(const Config& config, const HuggingFaceKeys& keys = {}) {
  Decoder model;
  model.layer_count = config.size(keys.layers, 1, 4096);
  model.width = config.size(keys.width);
  model.context_length = config.optional_size(keys.context).value_or(keys.context_length);
  if (*keys.feed_forward) model.feed_forward_width = config.size(keys.feed_forward);
  const auto or_usual = [](std::uint32_t usual, std::uint32_t otherwise) { return usual ? usual : otherwise; };
  model.head_count = keys.head_count ? config.optional_size(keys.heads, 1, kMaxHeads).value_or(keys.head_count)
                                     : config.size(keys.heads, 1, kMaxHeads);
  model.kv_head_count =
      config.optional_size(keys.kv_heads, 1, kMaxHeads).value_or(or_usual(keys.kv_head_count, model.head_count));
  model.head_width = config.optional_size("head_dim", 1, kMaxHeads)
                         .value_or(or_usual(keys.head_width, model.width / model.head_count));
  model.value_width = model.head_width;
  check_sizes(config, model, keys.heads, keys.kv_heads);
  model.epsilon = config.optional_number(keys.epsilon).value_or(1e-6);
  if (*keys.activation) model.activation = read_huggingface_activation(config, keys.activation);
  HuggingFaceRope(config, model).read(keys.neutral_rope);
  model.vocabulary = keys.vocabulary ? config.optional_size("vocab_size", 1, 0x7fffffff).value_or(keys.vocabulary)
                                     : config.size("vocab_size", 1, 0x7fffffff);
  model.tied = config.optional_bool("tie_word_embeddings").value_or(keys.tied);
  model.windows.assign(model.layer_count, 0);
  return model;
}

// ---- Models of nothing but recurrent layers: no attention, no feed-forward part, no positions ----------------------

namespace detail {

inline void set_recurrent(Decoder& model) {
  model.uses_rope = false;
  model.recurrent_layers.assign(model.layer_count, true);
  model.tensors.prefix = "backbone.";
  model.tensors.embedding.huggingface = "embeddings";
  model.tensors.output_norm.huggingface = "norm_f";
  model.tensors.attention_norm.huggingface = "norm";
}

}  // namespace detail

inline Decoder read_gguf_recurrent(const Config& config, const std::string& prefix) {
  Decoder model;
  model.layer_count = config.size(prefix + ".block_count", 1, 4096);
  model.width = config.size(prefix + ".embedding_length");
  model.context_length = config.size(prefix + ".context_length");
  model.epsilon = config.number(prefix + ".attention.layer_norm_rms_epsilon");
  read_gguf_vocabulary(config, model);
  detail::set_recurrent(model);
  return model;
}

// config.json of Mamba's kin. It does not tell a length: that is the one that the converter to GGUF writes.
inline Decoder read_huggingface_recurrent(const Config& config, bool tied) {
  Decoder model;
  model.layer_count = config.size("num_hidden_layers", 1, 4096);
  model.width = config.size("hidden_size");
  model.context_length = config.optional_size("max_position_embeddings").value_or(1 << 20);
  model.epsilon = config.optional_number("layer_norm_epsilon").value_or(1e-5);
  model.vocabulary = config.size("vocab_size", 1, 0x7fffffff);
  model.tied = config.optional_bool("tie_word_embeddings").value_or(tied);
  detail::set_recurrent(model);
  return model;
}

// ---- Models that see images, of which the part about text is loaded ------------------------------------------------

// Its configuration, which is the model's own where it sees nothing.
inline Config text_part(const Config& config) {
  return config.optional_integer("text_config.hidden_size") ? config.inside("text_config") : config;
}

// Where its tensors are; adapters of a GGUF file may have been made of either.
inline void name_text_part(const Config& config, Decoder& model) {
  constexpr const char *kFirst = "language_model.", *kSecond = "model.language_model.";
  Tensors& names = model.tensors;
  if (config.is_gguf()) {
    names.other_prefix = std::string(kFirst) + "model.";
    names.other_head = "language_model.lm_head";
  } else if (config.has_tensor(std::string(kFirst) + "model.embed_tokens.weight")) {
    names.prefix = std::string(kFirst) + "model.";
    names.head.huggingface = "language_model.lm_head";
  } else if (config.has_tensor(std::string(kSecond) + "embed_tokens.weight")) {
    names.prefix = kSecond;
  }
}

// config.json's experts as Qwen's families and OLMoE write them: layers that mlp_only_layers names, and those that
// decoder_sparse_step leaves out, have none.
inline void read_huggingface_experts(const Config& config, Decoder& model, const char* width_key) {
  Experts& experts = model.experts;
  experts.count = config.size("num_experts", 1, 4096);
  experts.used = config.size("num_experts_per_tok", 1, experts.count);
  experts.width = config.size(width_key);
  experts.renormalise = config.optional_bool("norm_topk_prob").value_or(false);
  const std::uint32_t step = config.optional_size("decoder_sparse_step").value_or(1);
  const auto plain = config.optional_numbers("mlp_only_layers", model.layer_count).value_or(std::vector<double>());
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    experts.dense_layers.push_back((layer + 1) % step != 0 || std::ranges::find(plain, layer) != plain.end());
}

// The expert of Qwen's mixtures that every row uses, as far as a gate of its own says.
inline void name_gated_expert(Experts& experts) {
  experts.shared_gate.huggingface = "mlp.shared_expert.gate_proj";
  experts.shared_up.huggingface = "mlp.shared_expert.up_proj";
  experts.shared_down.huggingface = "mlp.shared_expert.down_proj";
  experts.shared_router = {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"};
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
  description.feed_forward_width = model.experts.count ? model.experts.width : model.feed_forward_width;
  description.vocabulary = model.vocabulary;
  for (const std::uint32_t window : model.windows)
    if (window && (!description.window || window < description.window)) description.window = window;
  return description;
}

}  // namespace nacelle::sdk
