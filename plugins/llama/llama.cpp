// Llama 1 to 3 and what differs from it in settings: Mistral (with its sliding window), Yi, TinyLlama, SmolLM and many
// others under Llama's own name; SmolLM3, whose every fourth layer turns nothing; Seed-OSS and ERNIE 4.5, of which only
// names and rope differ. GGUF stores Q and K permuted, so that its rope turns neighbouring columns; Hugging Face turns
// the two halves.
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

void mistral(const Config& config, Decoder& model) {
  if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
}

void seed_oss(const Config& config, Decoder& model) {
  model.tensors.feed_forward_norm = {"post_attention_norm", "post_attention_layernorm"};
  if (config.is_gguf()) return;
  model.qkv_bias = config.optional_bool("attention_bias").value_or(true) ? Bias::kAlways : Bias::kNever;
  model.output_bias = config.optional_bool("attention_out_bias").value_or(false) ? Bias::kAlways : Bias::kNever;
}

void ernie(const Config& config, Decoder& model) {
  if (!config.is_gguf() && config.optional_bool("use_bias").value_or(false))
    model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kAlways;
}

void hunyuan(const Config& config, Decoder& model) {
  if (!config.is_gguf() && !config.optional_bool("use_qk_norm").value_or(true)) return;
  model.head_norm = HeadNorm::kEachHead;
  model.head_norm_behind_rope = true;
  model.tensors.q_norm.huggingface = "self_attn.query_layernorm";
  model.tensors.k_norm.huggingface = "self_attn.key_layernorm";
}

struct Variant {
  const char *gguf, *huggingface;  // "": not a name of its own there
  void (*adjust)(const Config&, Decoder&);
  std::uint32_t gguf_rope = NACELLE_ROPE_INTERLEAVED, huggingface_rope = NACELLE_ROPE_HALF;
};
constexpr Variant kVariants[] = {
    {"llama", "LlamaForCausalLM", nullptr},
    {"", "MistralForCausalLM", mistral},
    {"smollm3", "SmolLM3ForCausalLM", smollm3},
    {"seed_oss", "SeedOssForCausalLM", seed_oss, NACELLE_ROPE_HALF},
    {"hunyuan-dense", "HunYuanDenseV1ForCausalLM", hunyuan, NACELLE_ROPE_HALF},
    {"ernie4_5", "Ernie4_5ForCausalLM", ernie, NACELLE_ROPE_INTERLEAVED, NACELLE_ROPE_INTERLEAVED}};

const Variant* variant_of(const Config& config) {
  for (const Variant& variant : kVariants)
    if (config.architecture() == (config.is_gguf() ? variant.gguf : variant.huggingface)) return &variant;
  return nullptr;
}

struct Llama : DecoderFamily<Llama> {
  static bool match(const Config& config) {
    const bool is_mixtral = config.is_gguf() && config.optional_integer("llama.expert_count").value_or(0) != 0;
    return !is_mixtral && variant_of(config);
  }
  static Decoder read(const Config& config) {
    const Variant& variant = *variant_of(config);
    Decoder model;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, variant.gguf, variant.gguf_rope);
      model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kOptional;
    } else {
      model = read_huggingface_decoder(config);
      model.rope.style = variant.huggingface_rope;
      if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
      if (config.optional_bool("mlp_bias").value_or(false)) model.feed_forward_bias = Bias::kAlways;
    }
    model.tensors.gguf_pairs = variant.gguf_rope != variant.huggingface_rope;
    if (variant.adjust) variant.adjust(config, model);
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Llama, "llama", "0.3.0")
