// ChatGLM 2 and 3, GLM-4-9B, GLM-4-0414 and GLM-4.5 to 4.6: rope on the first half of each head. The dense ones turn
// neighbouring columns, have norms behind attention and feed-forward too, and gate and up in one matrix. The others
// turn halves and have experts, chosen by sigmoid scores with a bias, one more for every token, and plain layers
// before. Layers that predict further tokens (nextn, MTP) lie behind the model's own and are left alone.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

constexpr double kSigmoidGate = 2;  // GGUF's expert_gating_func

void read_gguf_experts(const Config& config, Decoder& model) {
  const auto key = [](const char* name) { return std::string("glm4moe.") + name; };
  Experts& experts = model.experts;
  experts.scale = config.optional_number(key("expert_weights_scale")).value_or(1);
  experts.renormalise = config.optional_bool(key("expert_weights_norm")).value_or(true);
  experts.dense_layers.assign(config.optional_size(key("leading_dense_block_count"), 0, model.layer_count).value_or(0),
                              true);
  experts.shared_width = experts.width * config.optional_size(key("expert_shared_count"), 0, 64).value_or(1);
  if (config.optional_number(key("expert_gating_func")).value_or(kSigmoidGate) != kSigmoidGate)
    config.fail_key(key("expert_gating_func"), "is not 2 (sigmoid), which is all that is supported");
}

void read_huggingface_experts(const Config& config, Decoder& model) {
  Experts& experts = model.experts;
  experts.count = config.size("n_routed_experts", 1, 4096);
  experts.used = config.size("num_experts_per_tok", 1, experts.count);
  experts.width = config.size("moe_intermediate_size");
  experts.scale = config.optional_number("routed_scaling_factor").value_or(1);
  experts.renormalise = config.optional_bool("norm_topk_prob").value_or(true);
  experts.dense_layers.assign(config.optional_size("first_k_dense_replace", 0, model.layer_count).value_or(1), true);
  experts.shared_width = experts.width * config.optional_size("n_shared_experts", 0, 64).value_or(1);
  if (config.optional_size("n_group").value_or(1) != 1)
    config.fail_key("n_group", "is not 1: groups of experts are not supported");
}

void read_mixture(const Config& config, Decoder& model) {
  config.is_gguf() ? read_gguf_experts(config, model) : read_huggingface_experts(config, model);
  model.experts.routing = NACELLE_ROUTE_SIGMOID;
  model.experts.selection_bias = Bias::kAlways;
  model.tensors.feed_forward_norm = {"post_attention_norm", "post_attention_layernorm"};
  const bool normed = config.is_gguf() ? config.has_tensor("blk.0.attn_q_norm.weight")
                                       : config.optional_bool("use_qk_norm").value_or(false);
  if (normed) model.head_norm = HeadNorm::kEachHead;
}

// ---- ChatGLM's own code --------------------------------------------------------------------------------------------

bool has_own_keys(const Config& config) {
  return config.architecture() == "ChatGLMModel" || config.architecture() == "ChatGLMForConditionalGeneration";
}

Decoder read_own_keys(const Config& config) {
  const std::uint32_t vocabulary = config.size("padded_vocab_size", 1, 0x7fffffff);
  Decoder model = read_huggingface_decoder(config, {.layers = "num_layers",
                                                    .context = "seq_length",
                                                    .feed_forward = "ffn_hidden_size",
                                                    .kv_heads = "multi_query_group_num",
                                                    .epsilon = "layernorm_epsilon",
                                                    .activation = "",
                                                    .vocabulary = vocabulary});
  model.vocabulary = vocabulary;  // vocab_size may be that of the words alone
  if (!config.optional_bool("multi_query_attention").value_or(true)) model.kv_head_count = model.head_count;
  model.head_width = model.value_width = config.optional_size("kv_channels", 2, kMaxHeads).value_or(model.head_width);
  model.rope.style = NACELLE_ROPE_INTERLEAVED;
  model.rope.head_width = model.head_width;
  model.rope.rotary_width = model.head_width / 2;
  model.rope.base = static_cast<float>(10000 * config.optional_number("rope_ratio").value_or(1));
  if (config.optional_bool("add_qkv_bias").value_or(false)) model.qkv_bias = Bias::kAlways;
  if (config.optional_bool("add_bias_linear").value_or(false))
    model.output_bias = model.feed_forward_bias = Bias::kAlways;
  for (const char* key : {"rmsnorm", "original_rope"})
    if (!config.optional_bool(key).value_or(true)) config.fail_key(key, "is false, which is not supported");
  const char* post = "apply_residual_connection_post_layernorm";
  if (config.optional_bool(post).value_or(false)) config.fail_key(post, "is true, which is not supported");
  return model;
}

void name_chatglm(const Config& config, Decoder& model) {
  Tensors& names = model.tensors;
  const bool own = config.is_gguf() ? config.has_tensor("blk.0.attn_qkv.weight") : has_own_keys(config);
  names.gate_up = {"ffn_up", own ? "mlp.dense_h_to_4h" : "mlp.gate_up_proj"};
  if (!own) return;
  names.prefix = "transformer.";
  names.blocks = "encoder.layers";
  names.embedding.huggingface = "embedding.word_embeddings";
  names.output_norm.huggingface = "encoder.final_layernorm";
  names.head.huggingface = "transformer.output_layer";
  names.qkv = {"attn_qkv", "self_attention.query_key_value"};
  names.attention_output.huggingface = "self_attention.dense";
  names.down.huggingface = "mlp.dense_4h_to_h";
}

struct Glm4 : DecoderFamily<Glm4> {
  static bool is_moe(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "glm4moe" : "Glm4MoeForCausalLM");
  }
  // GLM-4-9B and GLM-Edge: transformers' class, and the code that came with ChatGLM 2 to GLM-4.
  static bool is_chatglm(const Config& config) {
    const std::string_view name = config.architecture();
    return config.is_gguf() ? name == "chatglm" : name == "GlmForCausalLM" || has_own_keys(config);
  }
  static bool match(const Config& config) {
    return is_moe(config) || is_chatglm(config) ||
           config.architecture() == (config.is_gguf() ? "glm4" : "Glm4ForCausalLM");
  }

  static Decoder read_gguf(const Config& config) {
    const std::string prefix(config.architecture());
    Decoder model = read_gguf_decoder(config, prefix, is_moe(config) ? NACELLE_ROPE_HALF : NACELLE_ROPE_INTERLEAVED);
    model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
    model.layer_count -= config.optional_size(prefix + ".nextn_predict_layers", 0, model.layer_count - 1).value_or(0);
    model.windows.resize(model.layer_count);
    if (config.optional_numbers(prefix + ".rope.dimension_sections", 4))
      config.fail_key(prefix + ".rope.dimension_sections", "is of models that see images, which are not supported");
    return model;
  }

  static Decoder read_huggingface(const Config& config) {
    if (has_own_keys(config)) return read_own_keys(config);
    Decoder model = read_huggingface_decoder(config);
    if (!is_moe(config)) model.rope.style = NACELLE_ROPE_INTERLEAVED;
    if (!config.optional_number("partial_rotary_factor") &&
        !config.optional_number("rope_parameters.partial_rotary_factor"))
      model.rope.rotary_width = model.head_width / 2;
    if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = Bias::kAlways;
    return model;
  }

  static Decoder read(const Config& config) {
    Decoder model = config.is_gguf() ? read_gguf(config) : read_huggingface(config);
    if (is_moe(config)) {
      read_mixture(config, model);
      return model;
    }
    if (is_chatglm(config)) {
      name_chatglm(config, model);
      return model;
    }
    model.tensors.attention_post_norm = {"post_attention_norm", "post_self_attn_layernorm"};
    model.tensors.feed_forward_post_norm = {"post_ffw_norm", "post_mlp_layernorm"};
    model.tensors.gate_up = {"ffn_up", "mlp.gate_up_proj"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Glm4, "glm4", "0.1.0")
