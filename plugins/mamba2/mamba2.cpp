// Mamba-2 (Dao and Gu, arXiv 2405.21060): Codestral Mamba and others. Blocks have a Mamba-2 layer and nothing more: no
// attention, no feed-forward part, no positions. The norm in front of out_proj takes each group of columns by itself,
// as the paper's code and llama.cpp do; transformers takes all columns together, which is the same for one group.
#include <nacelle/decoder_mamba.hpp>

namespace {

using namespace nacelle::sdk;

struct Model {
  Decoder decoder;
  Mamba2 mamba;
};

void read_gguf(const Config& config, Model& model) {
  model.decoder = read_gguf_recurrent(config, "mamba2");
  model.mamba = read_gguf_mamba(config, "mamba2", model.decoder);
}

void read_huggingface(const Config& config, Model& model) {
  Decoder& decoder = model.decoder;
  decoder = read_huggingface_recurrent(config, false);
  model.mamba = read_huggingface_mamba(config, {}, decoder);
  const double inner = config.optional_number("expand").value_or(2) * decoder.width;
  if (static_cast<std::int64_t>(inner) != model.mamba.inner_width())
    config.fail_key("num_heads", "times head_dim is " + std::to_string(model.mamba.inner_width()) +
                                     ", expected expand times hidden_size, " +
                                     std::to_string(static_cast<std::int64_t>(inner)));
  if (!config.optional_bool("rms_norm").value_or(true))
    config.fail_key("rms_norm", "is false: layers without the norm in front of out_proj are not supported");
}

Model read_model(const Config& config) {
  Model model;
  config.is_gguf() ? read_gguf(config, model) : read_huggingface(config, model);
  model.mamba.layer_count = model.decoder.layer_count;
  return model;
}

class Mamba2Graph : public MambaGraph {
 public:
  using MambaGraph::MambaGraph;

 private:
  Value block(Value x) override { return b_.add(x, recurrent(norm(x, names_.attention_norm))); }
};

struct Mamba2Family : DecoderFamily<Mamba2Family, Mamba2Graph> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "mamba2" : "Mamba2ForCausalLM");
  }
  static Model read(const Config& config) { return read_model(config); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Mamba2Family, "mamba2", "0.1.0")
