// StableLM 2 and StableLM 3B: layer norms with biases, rope on a quarter of each head, a gated feed-forward part, and
// biases of Q, K and V where the configuration has them; in StableLM 2 12B heads have norms of their own.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

Decoder read_stablelm_config(const Config& config) {
  Decoder model = read_huggingface_decoder(config, {.epsilon = "layer_norm_eps"});
  if (!config.optional_number("layer_norm_eps")) model.epsilon = 1e-5;
  if (!config.optional_number("partial_rotary_factor") &&
      !config.optional_number("rope_parameters.partial_rotary_factor"))
    model.rope.rotary_width = model.head_width / 4;
  if (config.optional_bool("use_qkv_bias").value_or(false)) model.qkv_bias = Bias::kAlways;
  if (config.optional_bool("qk_layernorm").value_or(false)) model.head_norm = HeadNorm::kOwn;
  if (config.optional_bool("use_parallel_residual").value_or(false)) {
    model.residual = Residual::kParallel;
    model.tensors.feed_forward_norm = {};
  }
  return model;
}

Decoder read_stablelm_gguf(const Config& config) {
  Decoder model = read_gguf_decoder(config, "stablelm", NACELLE_ROPE_HALF, NormKind::kLayer);
  model.qkv_bias = Bias::kOptional;
  if (config.has_tensor("blk.0.attn_q_norm.weight")) model.head_norm = HeadNorm::kOwn;
  if (!config.has_tensor("blk.0.ffn_norm.weight")) {
    model.residual = Residual::kParallel;
    model.tensors.feed_forward_norm = {};
  }
  return model;
}

struct StableLm : DecoderFamily<StableLm> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "stablelm" : "StableLmForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model = config.is_gguf() ? read_stablelm_gguf(config) : read_stablelm_config(config);
    model.norm = NormKind::kLayer;
    model.norm_bias = Bias::kAlways;
    model.tensors.q_norm.huggingface = "self_attn.q_layernorm.norms.{expert}";
    model.tensors.k_norm.huggingface = "self_attn.k_layernorm.norms.{expert}";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(StableLm, "stablelm", "0.1.0")
