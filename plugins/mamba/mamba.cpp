// Mamba (Gu and Dao, arXiv 2312.00752) and Falcon Mamba (arXiv 2410.05355), which norms without weights what a layer's
// steps and its B and C come from. Blocks have a Mamba layer and nothing more.
#include <nacelle/decoder_mamba1.hpp>

namespace {

using namespace nacelle::sdk;

struct Model {
  Decoder decoder;
  Mamba1 mamba;
};

Model read_model(const Config& config) {
  Model model;
  Mamba1& mamba = model.mamba;
  if (config.is_gguf()) {
    model.decoder = read_gguf_recurrent(config, "mamba");
    mamba = read_gguf_mamba1(config, "mamba", model.decoder);
    mamba.norms = config.optional_bool("mamba.ssm.dt_b_c_rms").value_or(false);
    // Of Nacelle's own: llama.cpp takes the epsilon of the other norms.
    mamba.epsilon = config.optional_number("mamba.ssm.dt_b_c_rms_epsilon").value_or(mamba.epsilon);
  } else {
    model.decoder = read_huggingface_recurrent(config, true);
    mamba = read_huggingface_mamba1(config, {}, model.decoder);
    mamba.norms = config.architecture() == "FalconMambaForCausalLM";
    mamba.epsilon = config.optional_number("mixer_rms_eps").value_or(1e-6);
  }
  mamba.layer_count = model.decoder.layer_count;
  return model;
}

class MambaOnlyGraph : public Mamba1Graph {
 public:
  using Mamba1Graph::Mamba1Graph;

 private:
  Value block(Value x) override { return b_.add(x, recurrent(norm(x, names_.attention_norm))); }
};

struct Mamba : DecoderFamily<Mamba, MambaOnlyGraph> {
  static bool match(const Config& config) {
    const std::string_view name = config.architecture();
    return config.is_gguf() ? name == "mamba" : name == "MambaForCausalLM" || name == "FalconMambaForCausalLM";
  }
  static Model read(const Config& config) { return read_model(config); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Mamba, "mamba", "0.1.0")
