// Mamba-2 (Dao and Gu, arXiv 2405.21060): Codestral Mamba and others. Blocks have a Mamba-2 layer and nothing more: no
// attention, no feed-forward part, no positions. The norm in front of out_proj takes each group of columns by itself,
// as the paper's code and llama.cpp do; transformers takes all columns together, which is the same for one group.
#include <nacelle/decoder_mamba.hpp>

namespace {

using namespace nacelle::sdk;

// Files do not tell a length; the converter to GGUF writes this one.
constexpr std::uint32_t kContext = 1 << 20;

struct Model {
  Decoder decoder;
  Mamba2 mamba;
};

void read_gguf(const Config& config, Model& model) {
  Decoder& decoder = model.decoder;
  decoder.layer_count = config.size("mamba2.block_count", 1, 4096);
  decoder.width = config.size("mamba2.embedding_length");
  decoder.context_length = config.size("mamba2.context_length");
  decoder.epsilon = config.number("mamba2.attention.layer_norm_rms_epsilon");
  const auto embedding = config.tensor_shape("token_embd.weight");
  if (embedding.size() != 2)
    throw Failure(NACELLE_INVALID_ARGUMENT, "tensor 'token_embd.weight' is missing or no matrix");
  decoder.vocabulary = static_cast<std::uint32_t>(std::min<std::int64_t>(embedding[0], 0x7fffffff));
  decoder.tied = !config.has_tensor("output.weight");
  model.mamba = read_gguf_mamba(config, "mamba2", decoder);
}

void read_huggingface(const Config& config, Model& model) {
  Decoder& decoder = model.decoder;
  decoder.layer_count = config.size("num_hidden_layers", 1, 4096);
  decoder.width = config.size("hidden_size");
  decoder.context_length = config.optional_size("max_position_embeddings").value_or(kContext);
  decoder.epsilon = config.optional_number("layer_norm_epsilon").value_or(1e-5);
  decoder.vocabulary = config.size("vocab_size", 1, 0x7fffffff);
  decoder.tied = config.optional_bool("tie_word_embeddings").value_or(false);
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
  Decoder& decoder = model.decoder;
  decoder.uses_rope = false;
  decoder.recurrent_layers.assign(decoder.layer_count, true);
  model.mamba.layer_count = decoder.layer_count;
  Tensors& tensors = decoder.tensors;
  tensors.prefix = "backbone.";
  tensors.embedding.huggingface = "embeddings";
  tensors.output_norm.huggingface = "norm_f";
  tensors.attention_norm.huggingface = "norm";
  return model;
}

class Mamba2Graph : public MambaGraph {
 public:
  using MambaGraph::MambaGraph;

 private:
  Value block(Value x) override { return b_.add(x, recurrent(norm(x, names_.attention_norm))); }
};

struct Mamba2Family {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "mamba2" : "Mamba2ForCausalLM");
  }
  static nacelle_model_description describe(const Config& config) {
    return describe_decoder(read_model(config).decoder);
  }
  static void build(const Config& config, Builder& builder) {
    const Model model = read_model(config);
    Mamba2Graph(builder, model.decoder, model.mamba).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Mamba2Family, "mamba2", "0.1.0")
