// StarCoder2: layer norms and biases everywhere, few KV heads, a feed-forward part without gate, and a sliding window
// where config.json says so (GGUF does not tell it).
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct StarCoder2 : DecoderFamily<StarCoder2> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "starcoder2" : "Starcoder2ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, "starcoder2", NACELLE_ROPE_HALF, NormKind::kLayer);
      model.activation = NACELLE_ACT_GELU_TANH;
    } else {
      model = read_huggingface_decoder(config, {.epsilon = "norm_epsilon", .tied = true});
      if (!config.optional_number("norm_epsilon")) model.epsilon = 1e-5;
      if (!config.optional_string("hidden_act")) model.activation = NACELLE_ACT_GELU_TANH;
      if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
    }
    const bool bias = config.is_gguf() || config.optional_bool("use_bias").value_or(true);
    const Bias which = config.is_gguf() ? Bias::kOptional : bias ? Bias::kAlways : Bias::kNever;
    model.qkv_bias = model.output_bias = model.feed_forward_bias = which;
    model.gated = false;
    model.norm = NormKind::kLayer;
    model.norm_bias = Bias::kAlways;
    model.tensors.up.huggingface = "mlp.c_fc";
    model.tensors.down.huggingface = "mlp.c_proj";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(StarCoder2, "starcoder2", "0.1.0")
