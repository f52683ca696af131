// Qwen3 and Qwen3-MoE: Llama's graph with a norm of each head's queries and keys before rope, and experts in place of
// the feed-forward part (softmax over all experts, then the best; norm_topk_prob divides by their sum). Of Qwen3-VL and
// its mixture, which see images, the part about text, for which the three positions of their rope are one.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

constexpr const char* kTextPart = "model.language_model.";

// Hugging Face has them in two tensors, [experts, inputs, outputs], gate in front of up.
void name_stacked_experts(Decoder& model) {
  const std::int64_t count = model.experts.count, inner = model.experts.width, width = model.width;
  const std::string block = std::string(kTextPart) + "layers.{layer}.mlp.experts.";
  model.experts.huggingface_source = [=](const Names& part, bool) -> Expr {
    const std::string_view name = part.huggingface;
    if (name == "down_proj") return permute(block + "down_proj", {0, 2, 1});
    const std::int64_t which = name == "up_proj";
    const Expr halves = reshape(permute(block + "gate_up_proj", {0, 2, 1}), {count, 2, inner, width});
    return reshape(slice(halves, 1, which, which + 1), {count, inner, width});
  };
}

struct Qwen3 : DecoderFamily<Qwen3> {
  static bool is(const Config& config, const char* gguf, const char* huggingface) {
    return config.architecture() == (config.is_gguf() ? gguf : huggingface);
  }
  static bool sees_with_experts(const Config& config) {
    return is(config, "qwen3vlmoe", "Qwen3VLMoeForConditionalGeneration");
  }
  static bool sees(const Config& config) {
    return sees_with_experts(config) || is(config, "qwen3vl", "Qwen3VLForConditionalGeneration");
  }
  static bool is_moe(const Config& config) {
    return sees_with_experts(config) || is(config, "qwen3moe", "Qwen3MoeForCausalLM");
  }
  static bool match(const Config& config) {
    return is_moe(config) || sees(config) || is(config, "qwen3", "Qwen3ForCausalLM");
  }
  static Decoder read(const Config& whole) {
    const Config config = text_part(whole);
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, std::string(config.architecture()), NACELLE_ROPE_HALF)
                                     : read_huggingface_decoder(config, {.neutral_rope = sees(config) ? "mrope" : ""});
    if (!config.is_gguf()) read_upper_windows(config, model);
    if (sees(whole)) model.tensors.prefix = kTextPart;
    if (!config.is_gguf() && is_moe(config)) read_huggingface_experts(config, model, "moe_intermediate_size");
    if (sees_with_experts(whole)) name_stacked_experts(model);
    model.head_norm = HeadNorm::kEachHead;
    if (config.is_gguf())
      model.qkv_bias = model.output_bias = Bias::kOptional;
    else if (config.optional_bool("attention_bias").value_or(false))
      model.qkv_bias = model.output_bias = Bias::kAlways;
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Qwen3, "qwen3", "0.2.0")
