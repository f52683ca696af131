// Qwen2, Qwen2.5 and Qwen2-MoE: Llama's graph with biases on Q, K and V, rope over the two halves of a head in both
// file formats, and a sliding window on the upper layers where the configuration asks for it. Qwen2-MoE (Qwen1.5-MoE,
// too) has experts, and one beside them that every token uses as far as a gate of its own says. Of Qwen2-VL and
// Qwen2.5-VL, which see images, the part about text, for which the three positions of their rope are one; of MiMo all
// but the layers that predict further tokens.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

void read_experts(const Config& config, Decoder& model) {
  Experts& experts = model.experts;
  if (config.is_gguf()) {
    experts.renormalise = false;
    // Files of before June 2024 have one width for all.
    const auto width = config.optional_size("qwen2moe.expert_feed_forward_length");
    experts.width = width.value_or(std::max(model.feed_forward_width / std::max(experts.used, 1u), 1u));
    experts.shared_width =
        config.optional_size("qwen2moe.expert_shared_feed_forward_length").value_or(model.feed_forward_width);
  } else {
    read_huggingface_experts(config, model, "moe_intermediate_size");
    experts.shared_width = config.size("shared_expert_intermediate_size");
  }
  name_gated_expert(experts);
}

struct Qwen2 : DecoderFamily<Qwen2> {
  static bool is_moe(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "qwen2moe" : "Qwen2MoeForCausalLM");
  }
  static bool sees(const Config& config) {
    const std::string_view name = config.architecture();
    return config.is_gguf() ? name == "qwen2vl"
                            : name == "Qwen2VLForConditionalGeneration" || name == "Qwen2_5_VLForConditionalGeneration";
  }
  static bool match(const Config& config) {
    const std::string_view name = config.architecture();
    return is_moe(config) || sees(config) ||
           (config.is_gguf() ? name == "qwen2" : name == "Qwen2ForCausalLM" || name == "MiMoForCausalLM");
  }
  static Decoder read(const Config& whole) {
    const Config config = text_part(whole);
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, std::string(config.architecture()), NACELLE_ROPE_HALF)
                                     : read_huggingface_decoder(config, {.neutral_rope = sees(config) ? "mrope" : ""});
    if (!config.is_gguf()) read_upper_windows(config, model);
    if (is_moe(config)) read_experts(config, model);
    if (sees(whole)) name_text_part(whole, model);
    if (sees(whole) && config.is_gguf()) model.tensors.other_prefix = "model.language_model.";  // of adapters
    model.qkv_bias = config.optional_bool("qkv_bias").value_or(true) ? Bias::kAlways : Bias::kNever;
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Qwen2, "qwen2", "0.3.0")
