// DeepSeek-V2, V3 and R1, and Kimi-K2, which has V3's graph: multi-head latent attention (arXiv 2405.04434,
// section 2.1) and experts of which some serve every token (arXiv 2401.06066), the first layers without (arXiv
// 2412.19437).
//
// Attention is computed in its absorbed form: the cache keeps a token's latent vector and one rotated key for all
// heads, k = [latent | rotated], and values are the latent vectors, so that key and value of a head are products that
// its query and its mix of latents take part in:
//   q_h . (W_uk_h c) = (W_uk_h^T q_h) . c,   sum_j p_j W_uv_h c_j = W_uv_h sum_j p_j c_j
#include <nacelle/decoder.hpp>

namespace {

using namespace nacelle::sdk;

// Sizes that a Decoder does not have.
struct Latent {
  std::uint32_t query_rank = 0;  // 0: queries are not taken through a latent vector
  std::uint32_t rank = 0;        // of keys and values
  std::uint32_t plain = 0;       // columns of a head's query that do not turn
  std::uint32_t turned = 0;      // and that do
  std::uint32_t value_width = 0;
};

struct Model {
  Decoder decoder;
  Latent latent;
};

// YaRN as DeepSeek has it: scores grow by the square of what it calls mscale (modeling_deepseek.py).
double growth(double factor, double mscale) { return factor > 1 ? 0.1 * mscale * std::log(factor) + 1 : 1; }

class Reader {
 public:
  explicit Reader(const Config& config) : config_(config) {}

  Model read() {
    config_.is_gguf() ? read_gguf() : read_huggingface();
    Latent& latent = model_.latent;
    Decoder& decoder = model_.decoder;
    const double grown = growth(factor_, mscale_all_);
    decoder.attention_scale = grown * grown / std::sqrt(static_cast<double>(latent.plain + latent.turned));
    decoder.kv_head_count = 1;
    decoder.head_width = latent.rank + latent.turned;
    decoder.value_width = latent.rank;
    decoder.values_in_keys = true;
    decoder.windows.assign(decoder.layer_count, 0);
    return std::move(model_);
  }

 private:
  void read_gguf() {
    const auto key = [](const char* name) { return std::string("deepseek2.") + name; };
    Decoder& decoder = model_.decoder = read_gguf_decoder(config_, "deepseek2", NACELLE_ROPE_INTERLEAVED);
    Latent& latent = model_.latent;
    latent.query_rank = config_.optional_size(key("attention.q_lora_rank"), 0).value_or(0);
    latent.rank = config_.size(key("attention.kv_lora_rank"));
    // Files for the absorbed form have the sizes of what is cached under the usual keys.
    const auto whole = config_.optional_size(key("attention.key_length_mla"));
    const std::uint32_t head = whole.value_or(decoder.head_width);
    latent.value_width = config_.optional_size(key("attention.value_length_mla")).value_or(decoder.value_width);
    latent.turned = config_.size(key("rope.dimension_count"));
    if (latent.turned >= head)
      config_.fail_key(key("rope.dimension_count"), "is " + std::to_string(latent.turned) +
                                                        ", which leaves nothing of a head of " + std::to_string(head));
    latent.plain = head - latent.turned;
    decoder.rope =
        read_gguf_rope(config_, "deepseek2", NACELLE_ROPE_INTERLEAVED, latent.turned, decoder.context_length);
    if (decoder.rope.scaling == NACELLE_ROPE_SCALE_YARN) {
      decoder.rope.attention_factor = 1;  // llama.cpp takes mscale and mscale_all_dim for equal
      factor_ = decoder.rope.factor;
      mscale_all_ = 10 * config_.optional_number(key("rope.scaling.yarn_log_multiplier")).value_or(0);
    }

    Experts& experts = decoder.experts;
    if (!experts.count) return;
    experts.dense_layers.assign(
        config_.optional_size(key("leading_dense_block_count"), 0, decoder.layer_count).value_or(0), true);
    experts.shared_width = experts.width * config_.optional_size(key("expert_shared_count"), 0, 256).value_or(0);
    experts.renormalise = config_.optional_bool(key("expert_weights_norm")).value_or(false);
    experts.scale = config_.optional_number(key("expert_weights_scale")).value_or(1);
    const std::uint32_t gating = config_.optional_size(key("expert_gating_func"), 0).value_or(0);
    if (gating > 2)
      config_.fail_key(key("expert_gating_func"),
                       "is " + std::to_string(gating) + ", expected 1 (softmax) or 2 (sigmoid)");
    experts.routing = gating == 2 ? NACELLE_ROUTE_SIGMOID : NACELLE_ROUTE_SOFTMAX_THEN_TOP;
    experts.selection_bias = Bias::kOptional;
    const std::uint32_t groups = config_.optional_size(key("expert_group_count"), 0, experts.count).value_or(0);
    if (groups > 1)
      set_groups(groups, config_.size(key("expert_group_used_count"), 1, groups), key("expert_group_count"));
  }

  void read_huggingface() {
    Decoder& decoder = model_.decoder = read_huggingface_decoder(config_);
    Latent& latent = model_.latent;
    latent.query_rank = config_.optional_size("q_lora_rank", 0).value_or(0);
    latent.rank = config_.size("kv_lora_rank");
    latent.plain = config_.size("qk_nope_head_dim");
    latent.turned = config_.size("qk_rope_head_dim");
    latent.value_width = config_.size("v_head_dim");
    decoder.head_width = latent.turned;
    HuggingFaceRope(config_, decoder).read();
    if (config_.optional_bool("rope_interleave").value_or(true)) decoder.rope.style = NACELLE_ROPE_INTERLEAVED;
    if (decoder.rope.scaling == NACELLE_ROPE_SCALE_YARN) {
      factor_ = decoder.rope.factor;
      for (const char* block : {"rope_scaling.", "rope_parameters."})
        if (const auto found = config_.optional_number(std::string(block) + "mscale_all_dim")) mscale_all_ = *found;
    }
    if (config_.optional_bool("attention_bias").value_or(false))
      config_.fail_key("attention_bias", "is true, which this plugin does not know");
    decoder.experts.count = config_.optional_size("n_routed_experts", 0, 4096).value_or(0);
    if (decoder.experts.count) read_huggingface_experts();
  }

  void read_huggingface_experts() {
    Experts& experts = model_.decoder.experts;
    const bool is_v3 = config_.architecture() == "DeepseekV3ForCausalLM";
    experts.used = config_.size("num_experts_per_tok", 1, experts.count);
    experts.width = config_.size("moe_intermediate_size");
    experts.dense_layers.assign(
        config_.optional_size("first_k_dense_replace", 0, model_.decoder.layer_count).value_or(0), true);
    if (config_.optional_size("moe_layer_freq").value_or(1) != 1)
      config_.fail_key("moe_layer_freq", "is above 1, which this plugin does not know");
    experts.shared_width = experts.width * config_.optional_size("n_shared_experts", 0, 256).value_or(0);
    experts.renormalise = config_.optional_bool("norm_topk_prob").value_or(is_v3);
    experts.scale = config_.optional_number("routed_scaling_factor").value_or(1);
    // V2's code scales weights or divides them by their sum; V3's does both.
    if (!is_v3 && experts.renormalise && experts.used > 1) experts.scale = 1;
    expect("scoring_func", is_v3 ? "sigmoid" : "softmax");
    experts.routing = is_v3 ? NACELLE_ROUTE_SIGMOID : NACELLE_ROUTE_SOFTMAX_THEN_TOP;
    experts.selection_bias = is_v3 ? Bias::kAlways : Bias::kNever;
    const std::string method = config_.optional_string("topk_method").value_or(is_v3 ? "noaux_tc" : "greedy");
    if (method == "greedy" && !is_v3) return;
    expect("topk_method", is_v3 ? "noaux_tc" : "group_limited_greedy");
    const std::uint32_t groups = config_.optional_size("n_group", 1, experts.count).value_or(1);
    if (groups > 1) set_groups(groups, config_.size("topk_group", 1, groups), "n_group");
  }

  void expect(const char* key, const char* value) const {
    const auto found = config_.optional_string(key);
    if (found && *found != value)
      config_.fail_key(key, "is '" + *found + "', expected '" + value + "' for " + std::string(config_.architecture()));
  }

  void set_groups(std::uint32_t count, std::uint32_t used, const std::string& key) {
    Experts& experts = model_.decoder.experts;
    if (experts.count % count || experts.count / count * used < experts.used)
      config_.fail_key(key, "is " + std::to_string(count) + ", which does not fit " + std::to_string(experts.count) +
                                " experts of which " + std::to_string(experts.used) + " are used");
    experts.group_count = count;
    experts.group_used = used;
  }

  const Config& config_;
  Model model_;
  double factor_ = 1, mscale_all_ = 0;
};

class Graph : public DecoderGraph {
 public:
  Graph(Builder& builder, const Model& model) : DecoderGraph(builder, model.decoder), of_(model.latent) {}

 private:
  Value attention(Value x) override {
    const std::int64_t heads = model_.head_count, rank = of_.rank;
    std::int64_t columns = model_.width;
    Value input = x;
    Names from = {"attn_q", "self_attn.q_proj"};
    if (of_.query_rank) {
      input = linear(x, {"attn_q_a", "self_attn.q_a_proj"}, of_.query_rank, model_.width, Bias::kNever);
      input = norm(input, {"attn_q_a_norm", "self_attn.q_a_layernorm"}, of_.query_rank, 0);
      from = {"attn_q_b", "self_attn.q_b_proj"};
      columns = of_.query_rank;
    }
    const Value plain = b_.matmul(input, query_weight(from, "_nope", 0, of_.plain, columns));
    Value turned = b_.matmul(input, query_weight(from, "_rope", of_.plain, of_.plain + of_.turned, columns));

    const Value both =
        linear(x, {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"}, rank + of_.turned, model_.width, Bias::kNever);
    const std::vector<Value> parts = b_.split(both, {rank, of_.turned});
    const Value latent = norm(parts[0], {"attn_kv_a_norm", "self_attn.kv_a_layernorm"}, rank, 0);
    const Value key = b_.concat({latent, b_.rope(parts[1], positions_, model_.rope)});
    turned = b_.rope(turned, positions_, model_.rope);

    const Value each = head_numbers(x);
    const Value keys = block_weight({"attn_k_b"}, ".weight", {heads, rank, of_.plain}, key_source());
    const Value query = side_by_side(by_head(plain, keys, each), rank, turned, of_.turned);
    const Value mixed = b_.attention(query, key, {}, attention_of_layer());
    const Value values = block_weight({"attn_v_b"}, ".weight", {heads, of_.value_width, rank}, value_source());
    return linear(by_head(mixed, values, each), names_.attention_output, model_.width, heads * of_.value_width,
                  Bias::kNever);
  }

  // Rows [begin, end) of each head.
  Value query_weight(const Names& from, const std::string& part, std::int64_t begin, std::int64_t end,
                     std::int64_t columns) {
    const std::int64_t heads = model_.head_count, all = of_.plain + of_.turned, rows = heads * (end - begin);
    const auto cut = [&](Expr whole) {
      return reshape(slice(reshape(std::move(whole), {heads, all, columns}), 1, begin, end), {rows, columns});
    };
    const Source source = matrix(from);
    const std::string name = from.gguf + part;
    return block_weight({name.c_str()}, ".weight", {rows, columns}, {cut(source.gguf), cut(source.huggingface)});
  }

  // What becomes of a latent vector: keys, then values, of each head.
  Expr of_latent(Expr whole, std::int64_t begin, std::int64_t end) const {
    const std::int64_t heads = model_.head_count, all = of_.plain + of_.value_width, rank = of_.rank;
    return slice(reshape(std::move(whole), {heads, all, rank}), 1, begin, end);
  }
  Source key_source() const {
    const Source whole = matrix({"attn_kv_b", "self_attn.kv_b_proj"});
    const auto turn = [&](const Expr& from) { return permute(decode(of_latent(from, 0, of_.plain)), {0, 2, 1}); };
    return {first_of({"blk.{layer}.attn_k_b.weight", turn(whole.gguf)}), turn(whole.huggingface)};
  }
  Source value_source() const {
    const Source whole = matrix({"attn_kv_b", "self_attn.kv_b_proj"});
    const auto cut = [&](const Expr& from) { return of_latent(from, of_.plain, of_.plain + of_.value_width); };
    return {first_of({"blk.{layer}.attn_v_b.weight", cut(whole.gguf)}), cut(whole.huggingface)};
  }

  // 0 .. heads - 1 for each row: of equal scores the smaller index is chosen first.
  Value head_numbers(Value x) {
    const std::int64_t heads = model_.head_count;
    Value some = x;
    if (model_.width > heads) some = b_.split(x, {heads, model_.width - heads})[0];
    auto moe = heads_as_experts();
    return b_.moe_route(b_.scale(some, 0), {}, moe).experts;
  }

  // Each head's columns times a matrix of its own.
  Value by_head(Value x, Value weights, Value numbers) {
    auto moe = heads_as_experts();
    moe.x_per_expert = 1;
    return b_.moe_matmul(x, weights, numbers, {}, moe);
  }

  nacelle_moe_attributes heads_as_experts() const {
    auto moe = make<nacelle_moe_attributes>();
    moe.expert_count = moe.used_count = model_.head_count;
    moe.routing = NACELLE_ROUTE_SOFTMAX_THEN_TOP;
    moe.scale = 1;
    return moe;
  }

  // [a of head 0, b of head 0, a of head 1, ...]
  Value side_by_side(Value a, std::int64_t a_width, Value b, std::int64_t b_width) {
    const std::vector<Value> as = b_.split(a, std::vector<std::int64_t>(model_.head_count, a_width));
    const std::vector<Value> bs = b_.split(b, std::vector<std::int64_t>(model_.head_count, b_width));
    std::vector<Value> all;
    for (std::uint32_t head = 0; head < model_.head_count; ++head) {
      all.push_back(as[head]);
      all.push_back(bs[head]);
    }
    return b_.concat(all);
  }

  const Latent& of_;
};

struct DeepSeek {
  static bool match(const Config& config) {
    const auto name = config.architecture();
    if (config.is_gguf()) return name == "deepseek2";
    return name == "DeepseekV2ForCausalLM" || name == "DeepseekV3ForCausalLM";
  }
  static nacelle_model_description describe(const Config& config) {
    return describe_decoder(Reader(config).read().decoder);
  }
  static void build(const Config& config, Builder& builder) {
    const Model model = Reader(config).read();
    Graph(builder, model).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(DeepSeek, "deepseek", "0.1.0")
