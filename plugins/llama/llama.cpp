// Llama 1 to 3 and what shares their graph: Mistral (with its sliding window), TinyLlama, SmolLM and many others.
// GGUF `llama` stores Q and K permuted, so that its rope turns neighbouring columns; Hugging Face turns the two halves.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

Decoder read_gguf(const Config& config) {
  if (const auto experts = config.optional_integer("llama.expert_count"); experts.value_or(0) != 0)
    config.fail_key("llama.expert_count", "is " + std::to_string(*experts) + ": mixtures of experts are not supported");
  Decoder model = read_gguf_decoder(config, "llama", NACELLE_ROPE_INTERLEAVED);
  model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
  return model;
}

Decoder read_huggingface(const Config& config) {
  Decoder model = read_huggingface_decoder(config);
  if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
  if (config.optional_bool("mlp_bias").value_or(false)) model.feed_forward_bias = Bias::kAlways;
  if (config.architecture() == "MistralForCausalLM")
    if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
  return model;
}

struct Llama {
  static bool match(const Config& config) {
    if (config.is_gguf()) return config.architecture() == "llama";
    return config.architecture() == "LlamaForCausalLM" || config.architecture() == "MistralForCausalLM";
  }
  static Decoder read(const Config& config) { return config.is_gguf() ? read_gguf(config) : read_huggingface(config); }
  static nacelle_model_description describe(const Config& config) { return describe_decoder(read(config)); }
  static void build(const Config& config, Builder& builder) {
    const Decoder model = read(config);
    DecoderGraph(builder, model).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Llama, "llama", "0.1.0")
