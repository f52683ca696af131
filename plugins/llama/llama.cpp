// Llama 1 to 3 and what differs from it in settings: Mistral (with its sliding window), Yi, TinyLlama, SmolLM and many
// others under Llama's own name; SmolLM3, whose every fourth layer turns nothing; Granite, with its four scales.
// GGUF stores Q and K permuted, so that its rope turns neighbouring columns; Hugging Face turns the two halves.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// Layers whose entry of no_rope_layers is 0, or every fourth, do without rope.
void smollm3(const Config& config, Decoder& model) {
  model.layer_ropes.assign(model.layer_count, model.rope);
  const auto kept = config.is_gguf() ? std::nullopt : config.optional_numbers("no_rope_layers", model.layer_count);
  const auto interval = config.is_gguf() ? std::nullopt : config.optional_size("no_rope_layer_interval");
  if (kept && kept->size() != model.layer_count)
    config.fail_key("no_rope_layers", "has " + std::to_string(kept->size()) + " entries for " +
                                          std::to_string(model.layer_count) + " layers");
  for (std::uint32_t layer = 0; layer < model.layer_count; ++layer)
    if (kept ? (*kept)[layer] == 0 : (layer + 1) % interval.value_or(4) == 0) model.layer_ropes[layer].rotary_width = 0;
  if (config.optional_bool("use_sliding_window").value_or(false))
    read_layer_types(config, model, config.size("sliding_window"));
}

void granite(const Config& config, Decoder& model) {
  const auto number = [&](const char* gguf, const char* huggingface) {
    const double value = config.number(config.is_gguf() ? gguf : huggingface);
    if (value <= 0) config.fail_key(config.is_gguf() ? gguf : huggingface, "is not above 0");
    return value;
  };
  model.embedding_scale = number("granite.embedding_scale", "embedding_multiplier");
  model.residual_scale = number("granite.residual_scale", "residual_multiplier");
  model.attention_scale = number("granite.attention.scale", "attention_multiplier");
  model.logit_scale = 1 / number("granite.logit_scale", "logits_scaling");
}

void mistral(const Config& config, Decoder& model) {
  if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
}

struct Variant {
  const char *gguf, *huggingface;  // "": not a name of its own there
  void (*adjust)(const Config&, Decoder&);
};
constexpr Variant kVariants[] = {{"llama", "LlamaForCausalLM", nullptr},
                                 {"", "MistralForCausalLM", mistral},
                                 {"smollm3", "SmolLM3ForCausalLM", smollm3},
                                 {"granite", "GraniteForCausalLM", granite}};

const Variant* variant_of(const Config& config) {
  for (const Variant& variant : kVariants)
    if (config.architecture() == (config.is_gguf() ? variant.gguf : variant.huggingface)) return &variant;
  return nullptr;
}

struct Llama : DecoderFamily<Llama> {
  static bool match(const Config& config) {
    const Variant* variant = variant_of(config);  // with experts, "llama" is Mixtral
    return variant && !(config.is_gguf() &&
                        config.optional_integer(std::string(variant->gguf) + ".expert_count").value_or(0) != 0);
  }
  static Decoder read(const Config& config) {
    const Variant& variant = *variant_of(config);
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, variant.gguf, NACELLE_ROPE_INTERLEAVED);
      model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
    } else {
      model = read_huggingface_decoder(config);
      if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
      if (config.optional_bool("mlp_bias").value_or(false)) model.feed_forward_bias = Bias::kAlways;
    }
    model.tensors.gguf_pairs = true;
    if (variant.adjust) variant.adjust(config, model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Llama, "llama", "0.2.0")
