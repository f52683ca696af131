// MPT: positions by ALiBi alone, layer norms without biases, one matrix for Q, K and V, the head tied to the embedding.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

Decoder read_mpt_config(const Config& config) {
  Decoder model = read_huggingface_decoder(config, {.layers = "n_layers",
                                                    .width = "d_model",
                                                    .context = "max_seq_len",
                                                    .feed_forward = "",
                                                    .heads = "n_heads",
                                                    .kv_heads = "attn_config.kv_n_heads",
                                                    .epsilon = "layer_norm_epsilon",
                                                    .activation = "",
                                                    .tied = true});
  model.epsilon = config.optional_number("layer_norm_epsilon").value_or(1e-5);
  model.feed_forward_width = model.width * config.optional_size("expansion_ratio").value_or(4);
  if (!config.optional_bool("attn_config.alibi").value_or(true))
    config.fail_key("attn_config.alibi", "is false: only models that use ALiBi are supported");
  if (config.optional_bool("attn_config.qk_ln").value_or(false))
    config.fail_key("attn_config.qk_ln", "is not supported");
  if (config.optional_number("attn_config.clip_qkv").value_or(0) != 0)
    config.fail_key("attn_config.clip_qkv", "is not supported");
  model.alibi_bias = config.optional_number("attn_config.alibi_bias_max").value_or(8);
  model.attention_scale = config.optional_number("attn_config.softmax_scale").value_or(0);
  return model;
}

struct Mpt : DecoderFamily<Mpt> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "mpt" : "MptForCausalLM") ||
           (!config.is_gguf() && config.architecture() == "MPTForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, "mpt", 0, NormKind::kLayer);
      model.alibi_bias = config.number("mpt.attention.max_alibi_bias");
      if (config.optional_number("mpt.attention.clamp_kqv").value_or(0) != 0)
        config.fail_key("mpt.attention.clamp_kqv", "is not supported");
    } else {
      model = read_mpt_config(config);
    }
    model.uses_rope = model.gated = false;
    model.activation = NACELLE_ACT_GELU_ERF;
    model.norm = NormKind::kLayer;
    model.norm_bias = model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
    Tensors& names = model.tensors;
    names.prefix = "transformer.";
    names.blocks = "blocks";
    names.embedding.huggingface = "wte";
    names.output_norm.huggingface = "norm_f";
    names.attention_norm.huggingface = "norm_1";
    names.feed_forward_norm.huggingface = "norm_2";
    names.qkv = {"attn_qkv", "attn.Wqkv"};
    names.attention_output.huggingface = "attn.out_proj";
    names.up.huggingface = "ffn.up_proj";
    names.down.huggingface = "ffn.down_proj";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Mpt, "mpt", "0.1.0")
