// Kimi Linear (arXiv 2510.26692): three of four layers have Kimi Delta Attention, a gated delta rule whose state
// forgets each key column at a pace of its own; the others have multi-head latent attention without rope. Experts as in
// DeepSeek-V3, behind plain layers.
#include <nacelle/decoder_latent.hpp>

namespace {

using namespace nacelle::sdk;

struct Delta {
  std::uint32_t heads = 0, width = 0;  // of a head: of queries, keys and values alike
  std::uint32_t length = 0;            // of the convolutions' filters
  std::int64_t columns() const { return std::int64_t{heads} * width; }
};

struct Model {
  Decoder decoder;
  Latent latent;
  Delta delta;
};

class Reader {
 public:
  explicit Reader(const Config& config) : config_(config) {}

  Model read() {
    config_.is_gguf() ? read_gguf() : read_huggingface();
    keep_latents(model_.decoder, model_.latent);
    model_.decoder.uses_rope = false;
    name_experts();
    return std::move(model_);
  }

 private:
  void read_gguf() {
    const auto key = [](const char* name) { return std::string("kimi-linear.") + name; };
    Decoder& decoder = model_.decoder = read_gguf_decoder(config_, "kimi-linear", 0);
    Latent& latent = model_.latent;
    latent.query_rank = config_.optional_size(key("attention.q_lora_rank"), 0).value_or(0);
    latent.rank = config_.size(key("attention.kv_lora_rank"));
    const std::uint32_t head = config_.size(key("attention.key_length_mla"), 1, kMaxHeads);
    latent.value_width = config_.size(key("attention.value_length_mla"), 1, kMaxHeads);
    latent.turned = config_.size(key("rope.dimension_count"), 1, kMaxHeads);
    if (latent.turned >= head)
      config_.fail_key(key("rope.dimension_count"), "is " + std::to_string(latent.turned) +
                                                        ", which leaves nothing of a head of " + std::to_string(head));
    latent.plain = head - latent.turned;
    model_.delta = {decoder.head_count, config_.size(key("kda.head_dim"), 1, 4096),
                    config_.size(key("ssm.conv_kernel"), 2, 64)};

    Experts& experts = decoder.experts;
    if (!experts.count) return;
    set_dense_layers(config_.optional_size(key("leading_dense_block_count"), 0, decoder.layer_count).value_or(0));
    experts.shared_width = experts.width * config_.optional_size(key("expert_shared_count"), 0, 256).value_or(0);
    experts.renormalise = config_.optional_bool(key("expert_weights_norm")).value_or(true);
    experts.scale = config_.optional_number(key("expert_weights_scale")).value_or(1);
    if (config_.optional_number(key("expert_gating_func")).value_or(2) != 2)
      config_.fail_key(key("expert_gating_func"), "is not 2 (sigmoid), which is all that is supported");
    if (config_.optional_size(key("expert_group_count"), 0).value_or(0) > 1)
      config_.fail_key(key("expert_group_count"), "is above 1: groups of experts are not supported");
  }

  void read_huggingface() {
    HuggingFaceKeys keys;
    if (config_.optional_size("model_max_length")) keys.context = "model_max_length";
    Decoder& decoder = model_.decoder = read_huggingface_decoder(config_, keys);
    Latent& latent = model_.latent;
    latent.query_rank = config_.optional_size("q_lora_rank", 0).value_or(0);
    latent.rank = config_.size("kv_lora_rank");
    latent.plain = config_.size("qk_nope_head_dim", 1, kMaxHeads);
    latent.turned = config_.size("qk_rope_head_dim", 1, kMaxHeads);
    latent.value_width = config_.size("v_head_dim", 1, kMaxHeads);
    if (!config_.optional_bool("mla_use_nope").value_or(true))
      config_.fail_key("mla_use_nope", "is false: attention with rope is not supported");
    const Config delta = config_.inside("linear_attn_config");
    model_.delta = {delta.size("num_heads", 1, 4096), delta.size("head_dim", 1, 4096),
                    delta.optional_size("short_conv_kernel_size", 2, 64).value_or(4)};
    const auto attending = delta.optional_numbers("full_attn_layers", decoder.layer_count);  // the first is 1
    if (!attending) delta.fail_key("full_attn_layers", "is missing");
    for (std::uint32_t layer = 1; layer <= decoder.layer_count; ++layer)
      decoder.recurrent_layers.push_back(std::ranges::find(*attending, layer) == attending->end());
    decoder.experts.count = config_.optional_size("num_experts", 0, 4096).value_or(0);
    if (decoder.experts.count) read_huggingface_mixture();
  }

  void read_huggingface_mixture() {
    Experts& experts = model_.decoder.experts;
    experts.used = config_.size("num_experts_per_token", 1, experts.count);
    experts.width = config_.size("moe_intermediate_size");
    set_dense_layers(config_.optional_size("first_k_dense_replace", 0, model_.decoder.layer_count).value_or(0));
    experts.shared_width = experts.width * config_.optional_size("num_shared_experts", 0, 256).value_or(0);
    experts.renormalise = config_.optional_bool("moe_renormalize").value_or(true);
    experts.scale = config_.optional_number("routed_scaling_factor").value_or(1);
    if (config_.optional_size("moe_layer_freq").value_or(1) != 1)
      config_.fail_key("moe_layer_freq", "is above 1, which this plugin does not know");
    if (config_.optional_size("num_expert_group").value_or(1) != 1)
      config_.fail_key("num_expert_group", "is not 1: groups of experts are not supported");
    if (config_.optional_string("moe_router_activation_func").value_or("sigmoid") != "sigmoid")
      config_.fail_key("moe_router_activation_func", "is not 'sigmoid', which is all that is supported");
  }

  void set_dense_layers(std::uint32_t count) { model_.decoder.experts.dense_layers.assign(count, true); }

  void name_experts() {
    Experts& experts = model_.decoder.experts;
    experts.routing = NACELLE_ROUTE_SIGMOID;
    experts.selection_bias = Bias::kAlways;
    experts.router = {"ffn_gate_inp", "block_sparse_moe.gate"};
    experts.selection = {"exp_probs_b", "block_sparse_moe.gate.e_score_correction_bias"};
    experts.huggingface = "block_sparse_moe.experts.{expert}.";
    experts.gate = {"ffn_gate_exps", "w1"};
    experts.up = {"ffn_up_exps", "w3"};
    experts.down = {"ffn_down_exps", "w2"};
    experts.shared_gate.huggingface = "block_sparse_moe.shared_experts.gate_proj";
    experts.shared_up.huggingface = "block_sparse_moe.shared_experts.up_proj";
    experts.shared_down.huggingface = "block_sparse_moe.shared_experts.down_proj";
  }

  const Config& config_;
  Model model_;
};

class Graph : public LatentGraph {
 public:
  Graph(Builder& builder, const Model& model) : LatentGraph(builder, model), delta_(model.delta) {
    windows_ = keep(recurrent_count(), (delta_.length - 1) * 3 * delta_.columns());
    states_ = keep(recurrent_count(), delta_.columns() * delta_.width);
  }

 private:
  Value recurrent(Value x) override {
    const std::int64_t columns = delta_.columns(), width = model_.width, head = delta_.width, heads = delta_.heads;
    const Value q = plain(x, names_.q, columns, width), k = plain(x, names_.k, columns, width);
    const Value v = plain(x, names_.v, columns, width);
    const Value mixed = convolution(b_.concat({q, k, v}), filters(), {}, windows_, delta_.length, NACELLE_ACT_SILU);
    const std::vector<Value> parts = b_.split(mixed, {columns, columns, columns});
    Builder::Scan scan;
    scan.q = unit_heads(parts[0]);
    scan.k = b_.scale(unit_heads(parts[1]), 1 / std::sqrt(static_cast<float>(head)));
    scan.v = parts[2];
    scan.step = narrowed(x, {"ssm_f_a", "self_attn.f_a_proj"}, {"ssm_f_b", "self_attn.f_b_proj"});
    scan.rate = block_weight({"ssm_a"}, "", {heads}, rate_source());
    scan.step_bias = block_weight({"ssm_dt"}, ".bias", {columns}, whole_name({"ssm_dt", "self_attn.dt_bias"}, ".bias"));
    scan.strength = b_.unary(plain(x, {"ssm_beta", "self_attn.b_proj"}, heads, width), NACELLE_ACT_SIGMOID);
    const Value y = b_.state_scan(scan, rule());
    const Value gate = narrowed(x, {"ssm_g_a", "self_attn.g_a_proj"}, {"ssm_g_b", "self_attn.g_b_proj"});
    const Value weight =
        block_weight({"ssm_norm"}, ".weight", {head}, inside({"ssm_norm", "self_attn.o_norm"}, ".weight"));
    const Value normed = b_.rms_norm(y, weight, norm_attributes(model_.epsilon, 0, delta_.width));
    return plain(b_.gated(gate, normed, activation_attributes(NACELLE_ACT_SIGMOID)), names_.attention_output, width,
                 columns);
  }

  Value plain(Value x, const Names& names, std::int64_t outputs, std::int64_t inputs) {
    return linear(x, names, outputs, inputs, Bias::kNever);
  }
  // Through as few columns as a head has.
  Value narrowed(Value x, const Names& first, const Names& second) {
    return plain(plain(x, first, delta_.width, model_.width), second, delta_.columns(), delta_.width);
  }

  // Each head of length sqrt(width): rule() and the scale of the keys know of that.
  Value unit_heads(Value x) { return b_.rms_norm(x, {}, norm_attributes(1e-6 / delta_.width, 0, delta_.width)); }

  nacelle_scan_attributes rule() {
    auto a = scan_attributes(states_, NACELLE_SCAN_DELTA, 1 / static_cast<float>(delta_.width));
    a.head_count = a.group_count = delta_.heads;
    a.key_width = a.value_width = delta_.width;
    return a;
  }

  // Those of queries, keys and values, which may be stored with axes of one element between the others.
  Value filters() {
    const std::int64_t columns = delta_.columns(), length = delta_.length;
    std::vector<Expr> gguf, huggingface;
    for (const char* part : {"q", "k", "v"}) {
      const std::string own = std::string("ssm_conv1d_") + part, theirs = std::string("self_attn.") + part + "_conv1d";
      const Source source = inside({own.c_str(), theirs.c_str()}, ".weight");
      gguf.push_back(reshape(source.gguf, {columns, length}));
      huggingface.push_back(reshape(source.huggingface, {columns, length}));
    }
    return block_weight({"ssm_conv1d"}, ".weight", {3 * columns, length}, {concat(0, gguf), concat(0, huggingface)});
  }

  Source rate_source() const {
    const Source source = whole_name({"ssm_a", "self_attn.A_log"}, "");
    return {reshape(source.gguf, {delta_.heads}), scale(exp(reshape(source.huggingface, {delta_.heads})), -1)};
  }

  const Delta& delta_;
  States windows_, states_;
};

struct KimiLinear : DecoderFamily<KimiLinear, Graph> {
  static bool match(const Config& config) {
    return config.architecture() == (config.is_gguf() ? "kimi-linear" : "KimiLinearForCausalLM");
  }
  static Model read(const Config& config) { return Reader(config).read(); }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(KimiLinear, "kimi_linear", "0.1.0")
