// OLMo 2 and OLMoE, Llama's sizes with one norm over all queries and one over all keys. OLMo 2 has the norms behind
// attention and feed-forward instead of before them; OLMoE has experts (the best of a softmax over all).
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

void read_experts(const Config& config, Decoder& model) {
  if (config.is_gguf()) {
    model.experts.renormalise = false;
    return;
  }
  read_huggingface_experts(config, model, "intermediate_size");
  if (config.optional_number("clip_qkv")) config.fail_key("clip_qkv", "is not supported");
}

struct Olmo2 : DecoderFamily<Olmo2> {
  static bool is_moe(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "olmoe" : "OlmoeForCausalLM");
  }
  static bool match(const Config& config) {
    return is_moe(config) || config.architecture() == (config.is_gguf() ? "olmo2" : "Olmo2ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, std::string(config.architecture()), NACELLE_ROPE_HALF)
                                     : read_huggingface_decoder(config);
    model.head_norm = HeadNorm::kWhole;
    if (!config.is_gguf() && config.optional_bool("attention_bias").value_or(false))
      model.qkv_bias = model.output_bias = Bias::kAlways;
    if (is_moe(config)) {
      read_experts(config, model);
      return model;
    }
    model.tensors.attention_norm = model.tensors.feed_forward_norm = {};
    model.tensors.attention_post_norm = {"post_attention_norm", "post_attention_layernorm"};
    model.tensors.feed_forward_post_norm = {"post_ffw_norm", "post_feedforward_layernorm"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Olmo2, "olmo2", "0.2.0")
