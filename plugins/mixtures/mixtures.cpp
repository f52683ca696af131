// Mixtures of experts over Llama's attention with norms of queries and keys, scored by sigmoids and chosen with a bias
// as DeepSeek-V3's (arXiv 2412.19437, section 2.1.2): dots.llm1 (arXiv 2506.05767), Ling 2 and Ring 2 (BailingMoeV2,
// arXiv 2510.22115), which choose among the best groups of experts, and MiniMax-M2, which norms all heads at once and
// has no shared expert. Layers that predict further tokens lie behind the model's own and are left alone.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// config.json's names. Empty: the family has no such key.
struct Keys {
  const char *count, *width, *scoring, *has_bias;
  const char *shared_count = "", *shared_width = "";  // without the latter a shared expert is as wide as the others
  const char *dense_layers = "", *groups = "", *groups_used = "";
};

struct Variant {
  const char *gguf, *huggingface;
  Keys keys;
  void (*name)(const Config&, Decoder&);
};

void dots(const Config&, Decoder& model) { model.head_norm = HeadNorm::kEachHead; }

void bailing(const Config& config, Decoder& model) {
  model.head_norm = HeadNorm::kEachHead;
  const auto flag = [&](const char* key, bool otherwise) {
    return !config.is_gguf() && config.optional_bool(key).value_or(otherwise);
  };
  if (flag("use_qkv_bias", false)) model.qkv_bias = Bias::kAlways;
  if (flag("use_bias", false)) config.fail_key("use_bias", "is true, which is not supported");
  if (!config.is_gguf() && !flag("use_qk_norm", true))
    config.fail_key("use_qk_norm", "is false, which is not supported");
  Tensors& names = model.tensors;
  names.embedding.huggingface = "word_embeddings";
  names.qkv = {"attn_qkv", "attention.query_key_value"};
  names.attention_output.huggingface = "attention.dense";
  names.q_norm.huggingface = "attention.query_layernorm";
  names.k_norm.huggingface = "attention.key_layernorm";
  model.experts.selection.huggingface = "mlp.gate.expert_bias";
}

void minimax(const Config& config, Decoder& model) {
  model.head_norm = HeadNorm::kWhole;
  Experts& experts = model.experts;
  experts.renormalise = true;
  experts.router.huggingface = "block_sparse_moe.gate";
  experts.selection.huggingface = "block_sparse_moe.e_score_correction_bias";
  experts.huggingface = "block_sparse_moe.experts.{expert}.";
  experts.gate.huggingface = "w1";
  experts.up.huggingface = "w3";
  experts.down.huggingface = "w2";
  if (config.is_gguf()) return;
  if (const auto width = config.optional_size("rotary_dim", 2, model.head_width)) model.rope.rotary_width = *width;
  if (!config.optional_bool("use_qk_norm").value_or(true))
    config.fail_key("use_qk_norm", "is false, which is not supported");
  const auto kinds = config.optional_numbers("attn_type_list", model.layer_count);
  for (const double kind : kinds.value_or(std::vector<double>()))
    if (kind != 1)
      config.fail_key("attn_type_list", "has a layer of another kind than 1: linear attention is not supported");
}

constexpr Variant kVariants[] = {{"dots1",
                                  "Dots1ForCausalLM",
                                  {.count = "n_routed_experts",
                                   .width = "moe_intermediate_size",
                                   .scoring = "",
                                   .has_bias = "",
                                   .shared_count = "n_shared_experts",
                                   .dense_layers = "first_k_dense_replace",
                                   .groups = "n_group",
                                   .groups_used = "topk_group"},
                                  dots},
                                 {"bailingmoe2",
                                  "BailingMoeV2ForCausalLM",
                                  {.count = "num_experts",
                                   .width = "moe_intermediate_size",
                                   .scoring = "score_function",
                                   .has_bias = "moe_router_enable_expert_bias",
                                   .shared_count = "num_shared_experts",
                                   .shared_width = "moe_shared_expert_intermediate_size",
                                   .dense_layers = "first_k_dense_replace",
                                   .groups = "n_group",
                                   .groups_used = "topk_group"},
                                  bailing},
                                 {"minimax-m2",
                                  "MiniMaxM2ForCausalLM",
                                  {.count = "num_local_experts",
                                   .width = "intermediate_size",
                                   .scoring = "scoring_func",
                                   .has_bias = "use_routing_bias"},
                                  minimax}};

const Variant* variant_of(const Config& config) {
  for (const Variant& variant : kVariants)
    if (config.architecture() == (config.is_gguf() ? variant.gguf : variant.huggingface)) return &variant;
  return nullptr;
}

void set_groups(const Config& config, Experts& experts, std::uint32_t count, std::uint32_t used,
                const std::string& key) {
  if (count <= 1) return;
  if (experts.count % count || experts.count / count * used < experts.used)
    config.fail_key(key, "is " + std::to_string(count) + ", which does not fit " + std::to_string(experts.count) +
                             " experts of which " + std::to_string(experts.used) + " are used");
  experts.group_count = count;
  experts.group_used = used;
}

void read_gguf_mixture(const Config& config, const std::string& prefix, Decoder& model) {
  constexpr double kSigmoid = 2;
  const auto key = [&](const char* name) { return prefix + "." + name; };
  const auto count = [&](const char* name) { return config.optional_size(key(name), 0).value_or(0); };
  Experts& experts = model.experts;
  experts.scale = config.optional_number(key("expert_weights_scale")).value_or(1);
  experts.renormalise = config.optional_bool(key("expert_weights_norm")).value_or(false);
  experts.dense_layers.assign(std::min(count("leading_dense_block_count"), model.layer_count), true);
  if (config.optional_number(key("expert_gating_func")).value_or(kSigmoid) != kSigmoid)
    config.fail_key(key("expert_gating_func"), "is not 2 (sigmoid), which is all that is supported");
  const std::uint32_t each = count("expert_shared_feed_forward_length");
  experts.shared_width = (each ? each : experts.width) * std::min(count("expert_shared_count"), 64u);
  set_groups(config, experts, count("expert_group_count"), count("expert_group_used_count"), key("expert_group_count"));
  experts.selection_bias = Bias::kOptional;
}

void read_huggingface_mixture(const Config& config, const Keys& keys, Decoder& model) {
  const auto optional = [&](const char* key, std::uint32_t otherwise) {
    return *key ? config.optional_size(key, 0).value_or(otherwise) : otherwise;
  };
  Experts& experts = model.experts;
  experts.count = config.size(keys.count, 1, 4096);
  experts.used = config.size("num_experts_per_tok", 1, experts.count);
  experts.width = config.size(keys.width);
  experts.scale = config.optional_number("routed_scaling_factor").value_or(1);
  experts.renormalise = config.optional_bool("norm_topk_prob").value_or(true);
  experts.dense_layers.assign(std::min(optional(keys.dense_layers, 0), model.layer_count), true);
  experts.shared_width = optional(keys.shared_width, experts.width) * std::min(optional(keys.shared_count, 0), 64u);
  set_groups(config, experts, optional(keys.groups, 1), optional(keys.groups_used, 1), keys.groups);
  if (*keys.scoring && config.optional_string(keys.scoring).value_or("sigmoid") != "sigmoid")
    config.fail_key(keys.scoring, "is not 'sigmoid', which is all that is supported");
  const bool has_bias = !*keys.has_bias || config.optional_bool(keys.has_bias).value_or(true);
  experts.selection_bias = has_bias ? Bias::kAlways : Bias::kNever;
  if (config.optional_size("moe_layer_freq").value_or(1) != 1)
    config.fail_key("moe_layer_freq", "is above 1, which is not supported");
  if (config.optional_bool("attention_bias").value_or(false))
    config.fail_key("attention_bias", "is true, which is not supported");
}

struct Mixtures : DecoderFamily<Mixtures> {
  static bool match(const Config& config) { return variant_of(config); }
  static Decoder read(const Config& config) {
    const Variant& variant = *variant_of(config);
    const std::string prefix = variant.gguf;
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, prefix, NACELLE_ROPE_HALF);
      model.layer_count -= config.optional_size(prefix + ".nextn_predict_layers", 0, model.layer_count - 1).value_or(0);
      model.windows.resize(model.layer_count);
      read_gguf_mixture(config, prefix, model);
      model.qkv_bias = Bias::kOptional;
    } else {
      model = read_huggingface_decoder(config);
      read_huggingface_mixture(config, variant.keys, model);
    }
    model.experts.routing = NACELLE_ROUTE_SIGMOID;
    variant.name(config, model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Mixtures, "mixtures", "0.1.0")
