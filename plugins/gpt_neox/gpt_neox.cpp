// GPT-NeoX (Pythia): attention and feed-forward read the same input side by side, each through a layer norm of its own;
// rope on a part of each head; Hugging Face keeps Q, K and V of a head together.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct GptNeox : DecoderFamily<GptNeox> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "gptneox" : "GPTNeoXForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model;
    bool parallel = true;
    if (config.is_gguf()) {
      model = read_gguf_decoder(config, "gptneox", NACELLE_ROPE_HALF, NormKind::kLayer);
      model.activation = NACELLE_ACT_GELU_ERF;
      parallel = config.optional_bool("gptneox.use_parallel_residual").value_or(true);
    } else {
      model = read_huggingface_decoder(config, {.epsilon = "layer_norm_eps"});
      parallel = config.optional_bool("use_parallel_residual").value_or(true);
      const double part = config.optional_number("rotary_pct").value_or(0.25);
      if (part <= 0 || part > 1) config.fail_key("rotary_pct", "is not above 0 and at most 1");
      model.rope.rotary_width = static_cast<std::uint32_t>(model.head_width * part);
      model.rope.base = static_cast<float>(
          config.optional_number("rotary_emb_base").value_or(config.optional_number("rope_theta").value_or(10000)));
    }
    model.residual = parallel ? Residual::kParallel : Residual::kSequential;
    model.gated = false;
    model.norm = NormKind::kLayer;
    model.norm_bias = model.feed_forward_bias = Bias::kAlways;
    const bool bias = config.is_gguf() || config.optional_bool("attention_bias").value_or(true);
    model.qkv_bias = model.output_bias = bias ? Bias::kAlways : Bias::kNever;
    Tensors& names = model.tensors;
    names.prefix = "gpt_neox.";
    names.layout = Layout::kGroupHeads;
    names.embedding.huggingface = "embed_in";
    names.output_norm.huggingface = "final_layer_norm";
    names.head.huggingface = "embed_out";
    names.qkv = {"attn_qkv", "attention.query_key_value"};
    names.attention_output.huggingface = "attention.dense";
    names.up.huggingface = "mlp.dense_h_to_4h";
    names.down.huggingface = "mlp.dense_4h_to_h";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(GptNeox, "gpt_neox", "0.1.0")
