// Phi-3 and Phi-4-mini: Llama's graph with Q, K and V in one matrix, gate and up in another, rope on a part of each
// head, and LongRoPE's two lists of factors for contexts beyond the one it was trained with.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Phi3 : DecoderFamily<Phi3> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "phi3" : "Phi3ForCausalLM");
  }
  static Decoder read(const Config& config) {
    Decoder model =
        config.is_gguf() ? read_gguf_decoder(config, "phi3", NACELLE_ROPE_HALF) : read_huggingface_decoder(config);
    if (!config.is_gguf())
      if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
    model.tensors.qkv = {"attn_qkv", "self_attn.qkv_proj"};
    model.tensors.gate_up = {"ffn_up", "mlp.gate_up_proj"};
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Phi3, "phi3", "0.1.0")
