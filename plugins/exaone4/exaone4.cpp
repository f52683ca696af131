// EXAONE 4: norms behind attention and feed-forward instead of before them, and of each head's queries and keys. The
// large one has a window on three of four layers and rope on those alone; the small one has neither window nor such
// layers.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

constexpr std::uint32_t kPeriod = 4;  // every fourth layer sees everything, where the file does not say

void set_layers(const Config& config, Decoder& model, std::uint32_t window) {
  const bool listed = !config.is_gguf() && config.optional_item("layer_types", 0);
  model.layer_ropes.assign(model.layer_count, model.rope);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const bool sliding =
        listed ? config.optional_item("layer_types", layer) == "sliding_attention" : (layer + 1) % kPeriod != 0;
    if (!sliding) model.layer_ropes[layer].rotary_width = 0;
    model.windows[layer] = sliding && window < model.context_length ? window : 0;
  }
}

struct Exaone4 : DecoderFamily<Exaone4> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "exaone4" : "Exaone4ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model =
        config.is_gguf() ? read_gguf_decoder(config, "exaone4", NACELLE_ROPE_HALF) : read_huggingface_decoder(config);
    const auto window =
        config.optional_size(config.is_gguf() ? "exaone4.attention.sliding_window" : "sliding_window", 0);
    if (window.value_or(0)) set_layers(config, model, *window);
    model.head_norm = HeadNorm::kEachHead;
    model.tensors.attention_norm = model.tensors.feed_forward_norm = {};
    model.tensors.attention_post_norm = {"post_attention_norm", "post_attention_layernorm"};
    model.tensors.feed_forward_post_norm = {"post_ffw_norm", "post_feedforward_layernorm"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Exaone4, "exaone4", "0.1.0")
