// GPT-2: learned positions, layer norms, one matrix for Q, K and V, a feed-forward part without a gate. Hugging Face
// keeps every matrix transposed, and some files lack the "transformer." before the names. GPTBigCode (StarCoder,
// Granite's code models) is the same with one head of keys and values, and matrices as all others have them.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Gpt2 : DecoderFamily<Gpt2> {
  static bool is_big_code(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "starcoder" : "GPTBigCodeForCausalLM");
  }
  static bool match(const Config& config) {
    return is_big_code(config) || config.architecture() == (config.is_gguf() ? "gpt2" : "GPT2LMHeadModel");
  }
  static Decoder read(const Config& config) {
    const HuggingFaceKeys keys{
        "n_layer", "n_embd", "n_positions", "", "n_head", "", "layer_norm_epsilon", "activation_function", true};
    const bool big_code = is_big_code(config);
    Decoder model = config.is_gguf()
                        ? read_gguf_decoder(config, std::string(config.architecture()), 0, NormKind::kLayer)
                        : read_huggingface_decoder(config, keys);
    if (!config.is_gguf()) model.feed_forward_width = config.optional_size("n_inner").value_or(4 * model.width);
    for (const char* key : {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"})
      if (!config.is_gguf() && config.optional_bool(key).value_or(false)) config.fail_key(key, "is not supported");
    if (big_code && !config.is_gguf()) {
      if (!config.optional_bool("multi_query").value_or(true))
        config.fail_key("multi_query", "is false, which is not supported");
      model.kv_head_count = 1;
    }
    if (config.is_gguf()) model.activation = NACELLE_ACT_GELU_TANH;
    model.uses_rope = model.gated = false;
    model.norm = NormKind::kLayer;
    model.norm_bias = model.qkv_bias = model.output_bias = model.feed_forward_bias = Bias::kAlways;
    Tensors& names = model.tensors;
    names.prefix = config.has_tensor("wte.weight") ? "" : "transformer.";
    names.blocks = "h";
    if (!big_code) names.layout = Layout::kTransposed;
    names.embedding.huggingface = "wte";
    names.positions = {"position_embd", "wpe"};
    names.output_norm.huggingface = "ln_f";
    names.attention_norm.huggingface = "ln_1";
    names.feed_forward_norm.huggingface = "ln_2";
    names.qkv = {"attn_qkv", "attn.c_attn"};
    names.attention_output.huggingface = "attn.c_proj";
    names.up.huggingface = "mlp.c_fc";
    names.down.huggingface = "mlp.c_proj";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Gpt2, "gpt2", "0.1.0")
