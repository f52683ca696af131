// Falcon-H1 (arXiv 2507.22448): each block has attention and a Mamba-2 layer side by side, which read the same input,
// then a gated feed-forward part. Inputs and outputs of nearly all of it have multipliers. GGUF has these in its
// matrices; Hugging Face's files do not, and config.json tells them: there they are factors of scores, gates, filters
// and sums, so that no matrix is touched.
#include <nacelle/decoder_mamba.hpp>

namespace {

using namespace nacelle::sdk;

struct Model {
  Decoder decoder;
  Mamba2 mamba;
  double attention_factor = 1, feed_forward_factor = 1;  // of what they give
};

class Multipliers {
 public:
  explicit Multipliers(const Config& config) : config_(config) {}

  double one(const char* key) const { return checked(key, config_.optional_number(key).value_or(1)); }
  std::vector<double> list(const char* key, std::size_t count) const {
    auto numbers = config_.optional_numbers(key, count).value_or(std::vector<double>(count, 1));
    if (numbers.size() != count)
      config_.fail_key(key, "has " + std::to_string(numbers.size()) + " numbers, expected " + std::to_string(count));
    for (const double number : numbers) checked(key, number);
    return numbers;
  }

 private:
  double checked(const char* key, double number) const {
    if (!(number > 1e-6 && number < 1e6)) config_.fail_key(key, "is not between 1e-6 and 1e6");
    return number;
  }

  const Config& config_;
};

void read_gguf(const Config& config, Model& model) {
  Decoder& decoder = model.decoder = read_gguf_decoder(config, "falcon-h1", NACELLE_ROPE_HALF);
  decoder.qkv_bias = decoder.output_bias = decoder.feed_forward_bias = Bias::kOptional;
  model.mamba = read_gguf_mamba(config, "falcon-h1", decoder);
  if (!config.has_tensor("blk.0.ssm_norm.weight")) model.mamba.norm = MambaNorm::kNone;
}

void read_multipliers(const Config& config, Model& model) {
  Decoder& decoder = model.decoder;
  Mamba2& mamba = model.mamba;
  const Multipliers of(config);
  decoder.embedding_scale = of.one("embedding_multiplier");
  decoder.logit_scale = of.one("lm_head_multiplier");
  // Q and K are both of the multiplied input; rope turns what it is given, multiplied or not.
  const double input = of.one("attention_in_multiplier");
  decoder.attention_scale = input * input * of.one("key_multiplier") / std::sqrt(double{1} * decoder.head_width);
  model.attention_factor = input * of.one("attention_out_multiplier");
  const auto parts = of.list("mlp_multipliers", 2);  // silu(m gate) = m * gate * sigmoid(m gate)
  decoder.gate_alpha = static_cast<float>(parts[0]);
  model.feed_forward_factor = parts[0] * parts[1];
  const double ssm_input = of.one("ssm_in_multiplier");
  const auto rows = of.list("ssm_multipliers", 5);
  mamba.z_scale = ssm_input * rows[0];
  mamba.x_scale = ssm_input * rows[1];
  mamba.b_scale = ssm_input * rows[2];
  mamba.c_scale = ssm_input * rows[3];
  mamba.step_scale = ssm_input * rows[4];
  mamba.output_scale = of.one("ssm_out_multiplier");
}

void read_huggingface(const Config& config, Model& model) {
  Decoder& decoder = model.decoder = read_huggingface_decoder(config);
  HuggingFaceMambaKeys keys = kPrefixedMambaKeys;
  keys.projection_bias = "";  // refused below, with the other biases
  Mamba2& mamba = model.mamba = read_huggingface_mamba(config, keys, decoder);
  const std::uint32_t inner = config.optional_size("mamba_d_ssm").value_or(mamba.inner_width());
  if (inner != mamba.inner_width())
    config.fail_key("mamba_d_ssm", "is " + std::to_string(inner) + ", expected mamba_n_heads times mamba_d_head, " +
                                       std::to_string(mamba.inner_width()));
  for (const char* key : {"attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias"})
    if (config.optional_bool(key).value_or(false)) config.fail_key(key, "is true, which this plugin does not know");
  if (!config.optional_bool("mamba_rms_norm").value_or(false))
    mamba.norm = MambaNorm::kNone;
  else if (config.optional_bool("mamba_norm_before_gate").value_or(true))
    mamba.norm = MambaNorm::kBeforeGate;
  read_multipliers(config, model);
}

Model read_model(const Config& config) {
  Model model;
  config.is_gguf() ? read_gguf(config, model) : read_huggingface(config, model);
  model.mamba.layer_count = model.decoder.layer_count;
  model.mamba.tensors = kMambaModule;
  Tensors& tensors = model.decoder.tensors;
  tensors.output_norm.huggingface = "final_layernorm";
  tensors.gate.huggingface = "feed_forward.gate_proj";
  tensors.up.huggingface = "feed_forward.up_proj";
  tensors.down.huggingface = "feed_forward.down_proj";
  return model;
}

class FalconH1Graph : public MambaGraph {
 public:
  FalconH1Graph(Builder& builder, const Model& model) : MambaGraph(builder, model), own_(model) {
    b_.keep_to_own_format();
  }

 private:
  Value block(Value x) override {
    const Value before = norm(x, names_.attention_norm);
    x = b_.add(b_.add(x, mamba(before)), times(attention(before), own_.attention_factor));
    return b_.add(x, times(feed_forward(feed_forward_norm(x)), own_.feed_forward_factor));
  }

  // The converter to GGUF leaves ".weight" out.
  Value feed_forward_norm(Value x) {
    Source source = inside({"ffn_norm", "pre_ff_layernorm"}, ".weight");
    source.gguf = first_of({source.gguf, "blk.{layer}.ffn_norm"});
    return normed(x, block_weight(names_.feed_forward_norm, ".weight", {model_.width}, source), {}, 0);
  }

  const Model& own_;
};

struct FalconH1 : DecoderFamily<FalconH1, FalconH1Graph> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "falcon-h1" : "FalconH1ForCausalLM");
  }
  static Model read(const Config& config) { return read_model(config); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(FalconH1, "falcon_h1", "0.1.0")
