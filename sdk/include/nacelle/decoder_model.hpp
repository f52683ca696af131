// What a decoder-only language model is, as data: sizes, norms, rope, experts, and the names of its tensors. A family
// fills a Decoder (decoder_config.hpp reads what both file formats write alike) and DecoderGraph records its graph.
// Every default is Llama's, so a family says only where it differs.
#pragma once

#include <cstdint>
#include <functional>
#include <nacelle/architecture.hpp>
#include <string>
#include <vector>

namespace nacelle::sdk {

enum class Bias { kNever, kOptional, kAlways };  // kOptional: where the file has it
enum class NormKind { kRms, kLayer };            // kLayer: less the mean, with an optional bias
// Of queries and keys before rope; kOwn: of each head, with weights of its own; kWhole: over all heads at once;
// kUnweighted: of each head behind rope, in layers that turn, without a weight.
enum class HeadNorm { kNone, kEachHead, kOwn, kWhole, kUnweighted };
enum class Residual { kSequential, kParallel };         // kParallel: attention and feed-forward read the same input
enum class Layout { kRows, kTransposed, kGroupHeads };  // of Hugging Face's matrices, see Tensors

// A tensor's name in each file format, without ".weight" or ".bias". Empty: the model has no such part.
struct Names {
  const char* gguf = "";
  const char* huggingface = "";
  explicit operator bool() const { return *gguf != 0 || *huggingface != 0; }
};

// Names outside the blocks follow `prefix` in Hugging Face's files, those inside follow "<prefix><blocks>.{layer}."; in
// GGUF they follow "" and "blk.{layer}.".
struct Tensors {
  std::string prefix = "model.";
  std::string other_prefix;  // where some files have that instead; empty: none do
  const char* blocks = "layers";
  Names embedding = {"token_embd", "embed_tokens"};
  Names positions = {};  // learned position embeddings
  Names output_norm = {"output_norm", "norm"};
  Names head = {"output", "lm_head"};  // the one without a prefix
  const char* other_head = "";         // as other_prefix

  // Norms before and after the two halves of a block. Without a feed_forward_norm a parallel block has one for both.
  Names attention_norm = {"attn_norm", "input_layernorm"};
  Names attention_post_norm = {};
  Names feed_forward_norm = {"ffn_norm", "post_attention_layernorm"};
  Names feed_forward_post_norm = {};

  Names q = {"attn_q", "self_attn.q_proj"}, k = {"attn_k", "self_attn.k_proj"}, v = {"attn_v", "self_attn.v_proj"};
  Names attention_output = {"attn_output", "self_attn.o_proj"};
  Names q_norm = {"attn_q_norm", "self_attn.q_norm"}, k_norm = {"attn_k_norm", "self_attn.k_norm"};
  Names sinks = {};
  Names gate = {"ffn_gate", "mlp.gate_proj"}, up = {"ffn_up", "mlp.up_proj"}, down = {"ffn_down", "mlp.down_proj"};

  // Where set, one tensor holds the rows of Q, then K, then V (or of gate, then up); GGUF files may have either, or,
  // where it is not set for them, three (or two).
  // `layout` says how Hugging Face has it. kTransposed: [inputs, outputs], for every matrix of the blocks (GPT-2).
  // kGroupHeads: for each KV head its query heads, then its key, then its value (GPT-NeoX, Falcon).
  Names qkv = {}, gate_up = {};
  Layout layout = Layout::kRows;
  // GGUF has the rows of each head of Q and K in pairs that its rope turns (NACELLE_ROPE_INTERLEAVED), where Hugging
  // Face has two halves.
  bool gguf_pairs = false;
};

// A mixture of experts in place of the feed-forward part. GGUF has one tensor [experts, outputs, inputs] for all, or,
// in files before April 2024, one an expert, as Hugging Face has.
struct Experts {
  std::uint32_t count = 0;  // 0: there are none
  std::uint32_t used = 0, width = 0;
  std::uint32_t routing = NACELLE_ROUTE_SOFTMAX_THEN_TOP;
  bool renormalise = true;
  double scale = 1;                               // of the chosen experts' weights, last
  std::uint32_t group_count = 0, group_used = 0;  // see nacelle_moe_attributes
  std::vector<bool> dense_layers;                 // those with a plain feed-forward part instead; beyond its end: none
  Bias router_bias = Bias::kNever, bias = Bias::kNever;
  Bias selection_bias = Bias::kNever;  // added to the scores where experts are chosen, and nowhere else
  Names router = {"ffn_gate_inp", "mlp.gate"};
  Names selection = {"exp_probs_b", "mlp.gate.e_score_correction_bias"};  // that bias, whole in Hugging Face's files
  const char* huggingface = "mlp.experts.{expert}.";                      // before the three below
  Names gate = {"ffn_gate_exps", "gate_proj"}, up = {"ffn_up_exps", "up_proj"}, down = {"ffn_down_exps", "down_proj"};
  // Where Hugging Face's file has them otherwise: the weights [count, outputs, inputs] or biases [count, outputs] of
  // one of the three.
  std::function<Expr(const Names&, bool is_bias)> huggingface_source;
  bool weighs_input = false;            // the one that is used (used is 1) reads its row times the weight
  const char* module = "mlp.experts.";  // before gate_up_proj and down_proj, where transformers 5 has all in one

  std::uint32_t shared_width = 0;  // of the expert that every row uses beside the chosen ones; 0: there is none
  Names shared_gate = {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"};
  Names shared_up = {"ffn_up_shexp", "mlp.shared_experts.up_proj"};
  Names shared_down = {"ffn_down_shexp", "mlp.shared_experts.down_proj"};
  Names shared_gate_up = {};  // where set, one tensor holds the rows of gate, then up
  Names shared_router = {};   // one row, whose sigmoid multiplies what the shared expert gives; a vector in GGUF
};

// Queries are multiplied by 1 + strength ln(1 + floor((position + offset) / length)).
struct QueryGrowth {
  double strength = 0;  // 0: they are not
  std::uint32_t length = 0, offset = 0;
  bool without_rope = false;  // in layers that do not turn, and in no others
};

struct Decoder {
  std::uint32_t layer_count = 0;
  std::uint32_t width = 0;
  std::uint32_t head_count = 0, kv_head_count = 0;
  std::uint32_t head_width = 0;   // of queries and keys
  std::uint32_t value_width = 0;  // of a head's values
  bool values_in_keys = false;    // the cache keeps no values: they are the first columns of the keys
  std::uint32_t feed_forward_width = 0;
  std::uint32_t vocabulary = 0;
  std::uint32_t context_length = 0;

  NormKind norm = NormKind::kRms;
  double epsilon = 0;
  float norm_offset = 0;  // added to the weights of norms: 1 for Gemma in Hugging Face's files
  Bias norm_bias = Bias::kNever;
  HeadNorm head_norm = HeadNorm::kNone;
  bool head_norm_behind_rope = false;
  Residual residual = Residual::kSequential;

  double attention_scale = 0;     // 0: 1 / sqrt(head_width)
  double attention_soft_cap = 0;  // 0: none
  double alibi_bias = 0;          // the largest; 0: none
  QueryGrowth query_growth;
  bool uses_rope = true;
  nacelle_rope_attributes rope{};
  // Of each layer, where they differ; rotary_width 0: the layer turns nothing.
  std::vector<nacelle_rope_attributes> layer_ropes;
  std::vector<float> short_factors, long_factors;  // of rope, where config.json has them and not a tensor
  std::vector<std::uint32_t> windows;              // of each layer; 0: all
  bool chunked = false;                            // a window is the length of chunks, within which a layer attends
  // Layers that keep a state of fixed size and not keys and values: DecoderGraph::recurrent records them, the others
  // have attention. Beyond its end: none.
  std::vector<bool> recurrent_layers;
  Bias qkv_bias = Bias::kNever, output_bias = Bias::kNever;

  bool gated = true;  // feed-forward: down(act(gate x) * up x), else down(act(up x))
  std::uint32_t activation = NACELLE_ACT_SILU;
  bool squared = false;                                 // not gated: what act gives, times itself
  float gate_clamp = 0, gate_alpha = 1, up_offset = 0;  // see nacelle_activation_attributes
  Bias feed_forward_bias = Bias::kNever;
  Experts experts;

  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  double logit_soft_cap = 0;  // 0: none
  bool tied = false;          // the head is the embedding
  Bias head_bias = Bias::kNever;

  Tensors tensors;
};

}  // namespace nacelle::sdk
