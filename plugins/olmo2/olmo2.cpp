// OLMo 2: Llama's sizes with the norms behind attention and feed-forward instead of before them, and one norm over all
// queries, one over all keys.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Olmo2 : DecoderFamily<Olmo2> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "olmo2" : "Olmo2ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model =
        config.is_gguf() ? read_gguf_decoder(config, "olmo2", NACELLE_ROPE_HALF) : read_huggingface_decoder(config);
    model.head_norm = HeadNorm::kWhole;
    model.tensors.attention_norm = model.tensors.feed_forward_norm = {};
    model.tensors.attention_post_norm = {"post_attention_norm", "post_attention_layernorm"};
    model.tensors.feed_forward_post_norm = {"post_ffw_norm", "post_feedforward_layernorm"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Olmo2, "olmo2", "0.1.0")
