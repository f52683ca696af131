// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1) for the families that have it.
//
// Attention is computed in its absorbed form: the cache keeps a token's latent vector and one rotated key for all
// heads, k = [latent | rotated], and values are the latent vectors, so that key and value of a head are products that
// its query and its mix of latents take part in:
//   q_h . (W_uk_h c) = (W_uk_h^T q_h) . c,   sum_j p_j W_uv_h c_j = W_uv_h sum_j p_j c_j
#pragma once

#include <cmath>
#include <nacelle/decoder.hpp>
#include <string>
#include <vector>

namespace nacelle::sdk {

// Sizes of multi-head latent attention that a Decoder does not have.
struct Latent {
  std::uint32_t query_rank = 0;  // 0: queries are not taken through a latent vector
  std::uint32_t rank = 0;        // of keys and values
  std::uint32_t plain = 0;       // columns of a head's query that do not turn
  std::uint32_t turned = 0;      // and that do, where the model has rope, and share a key
  std::uint32_t value_width = 0;
};

// What the cache keeps, and the scale of scores.
inline void keep_latents(Decoder& decoder, const Latent& latent) {
  decoder.attention_scale = 1 / std::sqrt(static_cast<double>(latent.plain + latent.turned));
  decoder.kv_head_count = 1;
  decoder.head_width = latent.rank + latent.turned;
  decoder.value_width = latent.rank;
  decoder.values_in_keys = true;
  decoder.windows.assign(decoder.layer_count, 0);
}

class LatentGraph : public DecoderGraph {
 public:
  LatentGraph(Builder& builder, const Decoder& model, const Latent& latent)
      : DecoderGraph(builder, model), of_(latent) {}
  template <class Model>  // with these two members
  LatentGraph(Builder& builder, const Model& model) : LatentGraph(builder, model.decoder, model.latent) {}

 protected:
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
    const Value key = b_.concat({latent, rotated(parts[1])});
    turned = rotated(turned);

    const Value each = head_numbers(x);
    const Value keys = block_weight({"attn_k_b"}, ".weight", {heads, rank, of_.plain}, key_source());
    const Value query = side_by_side(by_head(plain, keys, each), rank, turned, of_.turned);
    const Value mixed = b_.attention(query, key, {}, attention_of_layer());
    const Value values = block_weight({"attn_v_b"}, ".weight", {heads, of_.value_width, rank}, value_source());
    return linear(by_head(mixed, values, each), names_.attention_output, model_.width, heads * of_.value_width,
                  Bias::kNever);
  }

  Value rotated(Value x) { return model_.uses_rope ? b_.rope(x, positions_, model_.rope) : x; }

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

}  // namespace nacelle::sdk
