// Qwen2 and Qwen2.5: Llama's graph with biases on Q, K and V, rope over the two halves of a head in both file formats,
// and a sliding window on the upper layers where the configuration asks for it.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// transformers 4.51 and later list the kind of each layer; before, layers from max_window_layers on had the window.
void read_windows(const Config& config, Decoder& model) {
  if (!config.optional_bool("use_sliding_window").value_or(false)) return;
  const std::uint32_t window = config.optional_size("sliding_window").value_or(4096);
  if (!config.optional_item("layer_types", 0))
    return set_window(model, config.optional_size("max_window_layers", 0).value_or(28), window);
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer) {
    const std::string kind = config.optional_item("layer_types", layer).value_or("");
    if (kind == "sliding_attention" && window < model.context_length)
      model.windows[layer] = window;
    else if (kind != "sliding_attention" && kind != "full_attention")
      config.fail_key("layer_types", "has '" + kind + "' for layer " + std::to_string(layer));
  }
}

struct Qwen2 {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "qwen2" : "Qwen2ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model =
        config.is_gguf() ? read_gguf_decoder(config, "qwen2", NACELLE_ROPE_HALF) : read_huggingface_decoder(config);
    if (!config.is_gguf()) read_windows(config, model);
    model.qkv_bias = Bias::kAlways;
    return model;
  }
  static nacelle_model_description describe(const Config& config) { return describe_decoder(read(config)); }
  static void build(const Config& config, Builder& builder) {
    const Decoder model = read(config);
    DecoderGraph(builder, model).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Qwen2, "qwen2", "0.1.0")
