// Phi-1, Phi-1.5 and Phi-2: attention and feed-forward side by side behind one layer norm, rope on a part of each head,
// biases everywhere, at the head too.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Phi2 : DecoderFamily<Phi2> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "phi2" : "PhiForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, "phi2", NACELLE_ROPE_HALF, NormKind::kLayer);
      model.activation = NACELLE_ACT_GELU_TANH;
    } else {
      model = read_huggingface_decoder(config, {.epsilon = "layer_norm_eps"});
      if (!config.optional_number("layer_norm_eps")) model.epsilon = 1e-5;
      if (!config.optional_string("hidden_act")) model.activation = NACELLE_ACT_GELU_TANH;
      if (!config.optional_number("partial_rotary_factor") &&
          !config.optional_number("rope_parameters.partial_rotary_factor"))
        model.rope.rotary_width = model.head_width / 2;
      if (config.optional_bool("qk_layernorm").value_or(false)) config.fail_key("qk_layernorm", "is not supported");
    }
    model.residual = Residual::kParallel;
    model.gated = false;
    model.norm = NormKind::kLayer;
    model.norm_bias = model.qkv_bias = model.output_bias = model.feed_forward_bias = model.head_bias = Bias::kAlways;
    Tensors& names = model.tensors;
    names.feed_forward_norm = {};
    names.output_norm.huggingface = "final_layernorm";
    names.attention_output.huggingface = "self_attn.dense";
    names.up.huggingface = "mlp.fc1";
    names.down.huggingface = "mlp.fc2";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Phi2, "phi2", "0.1.0")
