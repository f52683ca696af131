// Jamba (arXiv 2403.19887): Mamba layers, with norms of what steps, B and C come from, and every so often attention
// without rope; behind each a feed-forward part, in every other layer of experts.
#include <nacelle/decoder_mamba1.hpp>

namespace {

using namespace nacelle::sdk;

struct Model {
  Decoder decoder;
  Mamba1 mamba;
};

// Layers of a period that lie at its offset.
std::vector<bool> periodic(const Config& config, const std::string& name, std::uint32_t layers, std::uint32_t period,
                           std::uint32_t offset) {
  const std::string period_key = name + "_layer_period", offset_key = name + "_layer_offset";
  period = config.optional_size(period_key, 1, 4096).value_or(period);
  offset = config.optional_size(offset_key, 0, 4096).value_or(offset);
  if (offset >= period)
    config.fail_key(offset_key, "is " + std::to_string(offset) + ", which is not below " + period_key);
  std::vector<bool> found;
  for (std::uint32_t layer = 0; layer < layers; ++layer) found.push_back(layer % period == offset);
  return found;
}

void read_gguf(const Config& config, Model& model) {
  Decoder& decoder = model.decoder = read_gguf_decoder(config, "jamba", 0);
  for (std::uint32_t layer = 0; layer < decoder.layer_count; ++layer)
    decoder.experts.dense_layers.push_back(!config.has_tensor("blk." + std::to_string(layer) + ".ffn_gate_inp.weight"));
  model.mamba = read_gguf_mamba1(config, "jamba", decoder);
}

void read_huggingface(const Config& config, Model& model) {
  Decoder& decoder = model.decoder = read_huggingface_decoder(config);
  if (config.optional_size("sliding_window", 0).value_or(0))
    config.fail_key("sliding_window", "is set, which is not supported");
  decoder.recurrent_layers = periodic(config, "attn", decoder.layer_count, 8, 4);
  decoder.recurrent_layers.flip();
  Experts& experts = decoder.experts;
  experts.count = config.optional_size("num_experts", 1, 4096).value_or(16);
  experts.used = config.optional_size("num_experts_per_tok", 1, experts.count).value_or(2);
  experts.width = decoder.feed_forward_width;
  experts.dense_layers = periodic(config, "expert", decoder.layer_count, 2, 1);
  experts.dense_layers.flip();
  model.mamba = read_huggingface_mamba1(config, kPrefixedMamba1Keys, decoder);
}

Model read_model(const Config& config) {
  Model model;
  config.is_gguf() ? read_gguf(config, model) : read_huggingface(config, model);
  Decoder& decoder = model.decoder;
  decoder.uses_rope = false;
  if (decoder.experts.count == 1) decoder.experts.count = 0;  // is a plain feed-forward part
  decoder.experts.renormalise = false;
  Tensors& tensors = decoder.tensors;
  tensors.output_norm.huggingface = "final_layernorm";
  tensors.feed_forward_norm.huggingface = "pre_ff_layernorm";
  tensors.gate.huggingface = "feed_forward.gate_proj";
  tensors.up.huggingface = "feed_forward.up_proj";
  tensors.down.huggingface = "feed_forward.down_proj";
  decoder.experts.router.huggingface = "feed_forward.router";
  decoder.experts.huggingface = "feed_forward.experts.{expert}.";
  decoder.experts.module = "feed_forward.experts.";
  Mamba1& mamba = model.mamba;
  mamba.norms = true;
  mamba.tensors = kMamba1Module;
  mamba.layer_count = static_cast<std::uint32_t>(std::ranges::count(decoder.recurrent_layers, true));
  return model;
}

struct Jamba : DecoderFamily<Jamba, Mamba1Graph> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "jamba" : "JambaForCausalLM");
  }
  static Model read(const Config& config) { return read_model(config); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Jamba, "jamba", "0.1.0")
