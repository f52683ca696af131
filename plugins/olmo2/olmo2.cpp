// OLMo 2, OLMo 3 and OLMoE, Llama's sizes with one norm over all queries and one over all keys. OLMo 2 and 3 have the
// norms behind attention and feed-forward instead of before them; OLMo 3 has a window on three of four layers, which do
// without the rope scaling of the others, and in GGUF it is olmo2 with that window; OLMoE has experts (the best of a
// softmax over all).
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

void read_experts(const Config& config, Decoder& model) {
  if (config.is_gguf()) {
    model.experts.renormalise = false;
    return;
  }
  read_huggingface_experts(config, model, "intermediate_size");
  if (config.optional_number("clip_qkv")) config.fail_key("clip_qkv", "is not supported");
}

constexpr std::uint32_t kPeriod = 4;  // every fourth layer sees everything, where the file does not say

// Layers with a window turn as if the context had never been stretched.
void read_windows(const Config& config, Decoder& model) {
  if (config.is_gguf()) {
    const auto window = config.optional_size("olmo2.attention.sliding_window", 0);
    if (!window.value_or(0)) return;
    set_window_pattern(model, *window, kPeriod);
  } else {
    const std::uint32_t window = config.size("sliding_window");
    if (!read_layer_types(config, model, window)) set_window_pattern(model, window, kPeriod);
  }
  auto plain = rope_attributes(model.rope.style, model.rope.head_width, model.rope.base);
  plain.rotary_width = model.rope.rotary_width;
  model.layer_ropes.assign(model.layer_count, model.rope);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    if (model.windows[layer]) model.layer_ropes[layer] = plain;
}

struct Olmo2 : DecoderFamily<Olmo2> {
  static bool is_moe(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "olmoe" : "OlmoeForCausalLM");
  }
  static bool is_third(const Config& config) { return config.architecture() == "Olmo3ForCausalLM"; }
  static bool match(const Config& config) {
    return is_moe(config) || is_third(config) ||
           config.architecture() == (config.is_gguf() ? "olmo2" : "Olmo2ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, std::string(config.architecture()), NACELLE_ROPE_HALF)
                                     : read_huggingface_decoder(config);
    model.head_norm = HeadNorm::kWhole;
    if (config.is_gguf())
      model.qkv_bias = model.output_bias = Bias::kOptional;
    else if (config.optional_bool("attention_bias").value_or(false))
      model.qkv_bias = model.output_bias = Bias::kAlways;
    if (is_moe(config)) {
      read_experts(config, model);
      return model;
    }
    if (config.is_gguf() || is_third(config)) read_windows(config, model);
    model.tensors.attention_norm = model.tensors.feed_forward_norm = {};
    model.tensors.attention_post_norm = {"post_attention_norm", "post_attention_layernorm"};
    model.tensors.feed_forward_post_norm = {"post_ffw_norm", "post_feedforward_layernorm"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Olmo2, "olmo2", "0.2.0")
