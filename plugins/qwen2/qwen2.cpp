// Qwen2 and Qwen2.5: Llama's graph with biases on Q, K and V, rope over the two halves of a head in both file formats,
// and a sliding window on the upper layers where the configuration asks for it.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Qwen2 : DecoderFamily<Qwen2> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "qwen2" : "Qwen2ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model =
        config.is_gguf() ? read_gguf_decoder(config, "qwen2", NACELLE_ROPE_HALF) : read_huggingface_decoder(config);
    if (!config.is_gguf()) read_upper_windows(config, model);
    model.qkv_bias = Bias::kAlways;
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Qwen2, "qwen2", "0.2.0")
