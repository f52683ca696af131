// Qwen3 and Qwen3-MoE: Llama's graph with a norm of each head's queries and keys before rope, and experts in place of
// the feed-forward part (softmax over all experts, then the best; norm_topk_prob divides by their sum).
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Qwen3 : DecoderFamily<Qwen3> {
  static bool is_moe(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "qwen3moe" : "Qwen3MoeForCausalLM");
  }
  static bool match(const Config& config) {
    return is_moe(config) || config.architecture() == (config.is_gguf() ? "qwen3" : "Qwen3ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, std::string(config.architecture()), NACELLE_ROPE_HALF)
                                     : read_huggingface_decoder(config);
    if (!config.is_gguf()) read_upper_windows(config, model);
    if (!config.is_gguf() && is_moe(config)) read_huggingface_experts(config, model, "moe_intermediate_size");
    model.head_norm = HeadNorm::kEachHead;
    if (config.optional_bool("attention_bias").value_or(false)) model.qkv_bias = model.output_bias = Bias::kAlways;
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Qwen3, "qwen3", "0.2.0")
