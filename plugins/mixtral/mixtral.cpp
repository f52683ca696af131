// Mixtral: Llama's graph with experts (the best of a softmax, divided by their sum) in place of the feed-forward part.
// In GGUF it is "llama" with an expert_count, stored one tensor an expert before April 2024, stacked since.
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

struct Mixtral : DecoderFamily<Mixtral> {
  static bool match(const Config& config) {
    if (!config.is_gguf()) return config.architecture() == "MixtralForCausalLM";
    return config.architecture() == "llama" && config.optional_integer("llama.expert_count").value_or(0) != 0;
  }
  static Decoder read(const Config& config) {
    Decoder model = config.is_gguf() ? read_gguf_decoder(config, "llama", NACELLE_ROPE_INTERLEAVED)
                                     : read_huggingface_decoder(config);
    model.tensors.gguf_pairs = true;
    Experts& experts = model.experts;
    if (!config.is_gguf()) {
      if (const auto window = config.optional_size("sliding_window")) set_window(model, 0, *window);
      experts.count = config.size("num_local_experts", 1, 4096);
      experts.used = config.size("num_experts_per_tok", 1, experts.count);
      experts.width = model.feed_forward_width;
    }
    experts.router.huggingface = "block_sparse_moe.gate";
    experts.huggingface = "block_sparse_moe.experts.{expert}.";
    experts.gate.huggingface = "w1";
    experts.down.huggingface = "w2";
    experts.up.huggingface = "w3";
    return model;
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Mixtral, "mixtral", "0.1.0")
