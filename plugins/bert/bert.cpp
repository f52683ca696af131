// BERT, RoBERTa, XLM-RoBERTa and nomic-bert: encoders that read a whole text at once, norms behind each half of a
// block. They end in one vector a text, pooled, or, with a classifier of one label, in the score of two texts (a
// cross-encoder).
#include <nacelle/decoder_config.hpp>

namespace {

using namespace nacelle::sdk;

// A tensor's name in GGUF, and in Hugging Face's BERT and nomic-bert; without ".weight".
struct Part {
  const char *gguf, *bert, *nomic;
};
constexpr Part kWords = {"token_embd", "embeddings.word_embeddings", "embeddings.word_embeddings"};
constexpr Part kPositions = {"position_embd", "embeddings.position_embeddings", ""};
constexpr Part kTypes = {"token_types", "embeddings.token_type_embeddings", "embeddings.token_type_embeddings"};
constexpr Part kEmbeddingNorm = {"token_embd_norm", "embeddings.LayerNorm", "emb_ln"};
constexpr Part kFused = {"attn_qkv", "", "attn.Wqkv"};
constexpr Part kQuery = {"attn_q", "attention.self.query", ""};
constexpr Part kKey = {"attn_k", "attention.self.key", ""};
constexpr Part kValue = {"attn_v", "attention.self.value", ""};
constexpr Part kOutput = {"attn_output", "attention.output.dense", "attn.out_proj"};
constexpr Part kAttentionNorm = {"attn_output_norm", "attention.output.LayerNorm", "norm1"};
constexpr Part kGate = {"ffn_gate", "", "mlp.fc12"};
constexpr Part kUp = {"ffn_up", "intermediate.dense", "mlp.fc11"};
constexpr Part kDown = {"ffn_down", "output.dense", "mlp.fc2"};
constexpr Part kOutputNorm = {"layer_output_norm", "output.LayerNorm", "norm2"};

struct Encoder {
  std::uint32_t layers = 0, width = 0, heads = 0, hidden = 0, vocabulary = 0, context = 0;
  std::uint32_t types = 0;           // rows of the token type table; 0: there is none
  std::uint32_t first_position = 0;  // RoBERTa counts from its padding id + 1
  double epsilon = 0, rope_base = 0;
  std::uint32_t activation = NACELLE_ACT_GELU_ERF;
  std::uint32_t pooling = NACELLE_POOL_MEAN;
  bool is_nomic = false, is_ranker = false;
  std::string prefix;  // of Hugging Face's names
  // A ranker's head: tanh(hidden x), then out; `hidden` is empty where out comes alone.
  Names head_hidden, head_out;
};

struct Kind {
  const char* name;  // GGUF's architecture or Hugging Face's class
  bool is_nomic, is_roberta, is_ranker;
};
constexpr Kind kGgufKinds[] = {{"bert", false, false, false}, {"nomic-bert", true, false, false}};
constexpr Kind kHuggingFaceKinds[] = {{"BertModel", false, false, false},
                                      {"BertForMaskedLM", false, false, false},
                                      {"BertForSequenceClassification", false, false, true},
                                      {"RobertaModel", false, true, false},
                                      {"RobertaForSequenceClassification", false, true, true},
                                      {"XLMRobertaModel", false, true, false},
                                      {"XLMRobertaForSequenceClassification", false, true, true},
                                      {"NomicBertModel", true, false, false}};

const Kind* kind_of(const Config& config) {
  const std::span<const Kind> kinds = config.is_gguf() ? std::span<const Kind>(kGgufKinds) : kHuggingFaceKinds;
  for (const Kind& kind : kinds)
    if (config.architecture() == kind.name) return &kind;
  return nullptr;
}

Encoder read_gguf(const Config& config, const Kind& kind) {
  const auto key = [&](const char* name) { return std::string(kind.name) + "." + name; };
  Encoder model;
  model.is_nomic = kind.is_nomic;
  model.layers = config.size(key("block_count"), 1, 4096);
  model.width = config.size(key("embedding_length"));
  model.heads = config.size(key("attention.head_count"), 1, kMaxHeads);
  model.hidden = config.size(key("feed_forward_length"));
  model.context = config.size(key("context_length"));
  model.epsilon = config.number(key("attention.layer_norm_epsilon"));
  model.rope_base = config.optional_number(key("rope.freq_base")).value_or(1000);
  if (config.optional_bool(key("attention.causal")).value_or(false))
    config.fail_key(key("attention.causal"), "is true");
  const auto words = config.tensor_shape("token_embd.weight"), types = config.tensor_shape("token_types.weight");
  if (words.size() != 2) throw Failure(NACELLE_INVALID_ARGUMENT, "tensor 'token_embd.weight' is missing or no matrix");
  model.vocabulary = static_cast<std::uint32_t>(words[0]);
  model.types = types.size() == 2 ? static_cast<std::uint32_t>(types[0]) : 0;
  constexpr std::uint32_t kPoolings[] = {0, NACELLE_POOL_MEAN, NACELLE_POOL_FIRST, NACELLE_POOL_LAST,
                                         NACELLE_POOL_FIRST};  // by llama.cpp's numbers; the last is a ranker's
  const auto pooling = config.optional_size(key("pooling_type"), 0, 4).value_or(1);
  if (pooling == 0) config.fail_key(key("pooling_type"), "is 0 (none): the file does not say how rows become a vector");
  model.pooling = kPoolings[pooling];
  model.is_ranker = pooling == 4;
  model.head_hidden = config.has_tensor("cls.output.weight") ? Names{"cls", ""} : Names{};
  model.head_out = config.has_tensor("cls.output.weight") ? Names{"cls.output", ""} : Names{"cls", ""};
  return model;
}

void read_nomic_config(const Config& config, Encoder& model) {
  model.layers = config.size("n_layer", 1, 4096);
  model.width = config.size("n_embd");
  model.heads = config.size("n_head", 1, kMaxHeads);
  model.hidden = config.size("n_inner");
  // Beyond what it was trained with the model stretches its rope, which is not supported.
  model.context =
      std::min<std::uint32_t>(config.size("n_positions"), config.optional_size("max_trained_positions").value_or(2048));
  model.epsilon = config.optional_number("layer_norm_epsilon").value_or(1e-12);
  model.rope_base = config.optional_number("rotary_emb_base").value_or(1000);
  if (config.optional_number("rotary_emb_fraction").value_or(1) != 1)
    config.fail_key("rotary_emb_fraction", "is not 1");
  if (config.optional_string("activation_function").value_or("swiglu") != "swiglu")
    config.fail_key("activation_function", "is not 'swiglu'");
  for (const char* key : {"qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "prenorm", "rotary_emb_interleaved"})
    if (config.optional_bool(key).value_or(false)) config.fail_key(key, "is true, which is not supported");
}

void read_bert_config(const Config& config, const Kind& kind, Encoder& model) {
  model.layers = config.size("num_hidden_layers", 1, 4096);
  model.width = config.size("hidden_size");
  model.heads = config.size("num_attention_heads", 1, kMaxHeads);
  model.hidden = config.size("intermediate_size");
  model.epsilon = config.optional_number("layer_norm_eps").value_or(1e-12);
  model.activation = read_huggingface_activation(config);
  if (config.optional_string("position_embedding_type").value_or("absolute") != "absolute")
    config.fail_key("position_embedding_type", "is not 'absolute'");
  model.first_position = kind.is_roberta ? config.optional_size("pad_token_id", 0).value_or(1) + 1 : 0;
  const std::uint32_t places = config.size("max_position_embeddings");
  if (places <= model.first_position) config.fail_key("max_position_embeddings", "leaves no position");
  model.context = places - model.first_position;
}

Encoder read_huggingface(const Config& config, const Kind& kind) {
  Encoder model;
  model.is_nomic = kind.is_nomic;
  kind.is_nomic ? read_nomic_config(config, model) : read_bert_config(config, kind, model);
  model.vocabulary = config.size("vocab_size", 1, 0x7fffffff);
  model.types = config.optional_size("type_vocab_size", 0).value_or(2);
  for (const char* prefix : {"", "bert.", "roberta."})
    if (config.has_tensor(prefix + std::string(kWords.bert) + ".weight")) model.prefix = prefix;
  model.is_ranker = kind.is_ranker;
  if (kind.is_ranker) {
    model.pooling = NACELLE_POOL_FIRST;
    const auto labels = config.tensor_shape(kind.is_roberta ? "classifier.out_proj.weight" : "classifier.weight");
    if (labels.empty() || labels[0] != 1)
      throw Failure(NACELLE_UNIMPLEMENTED, "the classifier has " + std::to_string(labels.empty() ? 0 : labels[0]) +
                                               " labels, expected 1: the score of two texts");
    model.head_hidden = kind.is_roberta ? Names{"cls", "classifier.dense"} : Names{"cls", "bert.pooler.dense"};
    model.head_out = {"cls.output", kind.is_roberta ? "classifier.out_proj" : "classifier"};
  } else if (config.optional_bool("1_Pooling.pooling_mode_cls_token").value_or(false)) {
    model.pooling = NACELLE_POOL_FIRST;
  } else if (config.optional_bool("1_Pooling.pooling_mode_lasttoken").value_or(false)) {
    model.pooling = NACELLE_POOL_LAST;
  }
  return model;
}

Encoder read_model(const Config& config) {
  const Kind& kind = *kind_of(config);
  Encoder model = config.is_gguf() ? read_gguf(config, kind) : read_huggingface(config, kind);
  if (model.width % model.heads)
    throw Failure(NACELLE_INVALID_ARGUMENT, "a width of " + std::to_string(model.width) + " is not divided by " +
                                                std::to_string(model.heads) + " heads");
  return model;
}

class EncoderGraph {
 public:
  EncoderGraph(Builder& builder, const Encoder& model) : b_(builder), model_(model) {}

  void build() {
    b_.whole_sequences();
    Value x = norm(embedding(), kEmbeddingNorm, false);
    for (std::uint32_t layer = 0; layer < model_.layers; ++layer)
      x = b_.layer(layer, {x}, [&] {
        layer_ = layer;
        const Value h = norm(b_.add(x, attention(x)), kAttentionNorm, true);
        return norm(b_.add(h, feed_forward(h)), kOutputNorm, true);
      });
    x = b_.pool(x, model_.pooling);
    b_.mark_embedding(model_.is_ranker ? score(x) : x);
  }

 private:
  Value embedding() {
    const std::int64_t width = model_.width;
    Value x = b_.embedding(b_.tokens(), weight(kWords, {model_.vocabulary, width}));
    if (model_.types) x = b_.add(x, b_.embedding(b_.token_types(), types()));
    if (model_.is_nomic) return x;
    const std::int64_t first = model_.first_position;
    const Source all = outside(kPositions, ".weight");
    const Source places = {all.gguf,
                           first ? slice(all.huggingface, 0, first, first + model_.context) : all.huggingface};
    return b_.add(x, b_.embedding(b_.positions(), b_.weight("position_embd.weight", {model_.context, width}, places)));
  }

  // Of XLM-RoBERTa's one row, both types are that.
  Value types() {
    const Source table = outside(kTypes, ".weight");
    if (model_.types > 1) return b_.weight("token_types.weight", {model_.types, model_.width}, table);
    return b_.weight("token_types.weight", {2, model_.width},
                     {concat(0, {table.gguf, table.gguf}), concat(0, {table.huggingface, table.huggingface})});
  }

  // Both formats: q, k and v together or apart, with biases or without.
  Value attention(Value x) {
    const std::int64_t width = model_.width;
    Value parts[3];
    const Part own[] = {kQuery, kKey, kValue};
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto source = [&](const char* suffix) {
        const Source fused = inside(kFused, suffix), apart = inside(own[i], suffix);
        const auto rows = [&](const Expr& all) { return slice(all, 0, i * width, (i + 1) * width); };
        return Source{first_of({apart.gguf, rows(fused.gguf)}),
                      model_.is_nomic ? rows(fused.huggingface) : apart.huggingface};
      };
      const std::string name = "blk." + std::to_string(layer_) + "." + own[i].gguf;
      parts[i] = b_.matmul(x, b_.weight(name + ".weight", {width, width}, source(".weight")),
                           b_.optional_weight(name + ".bias", {width}, source(".bias")));
    }
    if (model_.is_nomic) {
      const auto rope = rope_attributes(NACELLE_ROPE_HALF, model_.width / model_.heads, model_.rope_base);
      for (Value* part : {&parts[0], &parts[1]}) *part = b_.rope(*part, b_.positions(), rope);
    }
    auto attributes = attention_attributes(model_.heads, model_.heads, model_.width / model_.heads);
    attributes.causal = 0;
    attributes.cache_group = NACELLE_NO_CACHE;
    return linear(b_.attention(parts[0], parts[1], parts[2], attributes), kOutput, width, width);
  }

  Value feed_forward(Value x) {
    const Value up = linear(x, kUp, model_.hidden, model_.width);
    const Value y = model_.is_nomic ? b_.gated(linear(x, kGate, model_.hidden, model_.width), up,
                                               activation_attributes(NACELLE_ACT_SILU))
                                    : b_.unary(up, model_.activation);
    return linear(y, kDown, model_.width, model_.hidden);
  }

  Value score(Value x) {
    const auto layer = [&](Value input, const Names& names, std::int64_t outputs) {
      const auto source = [&](const char* suffix) {
        return Source{std::string(names.gguf) + suffix, std::string(names.huggingface) + suffix};
      };
      const std::string name = names.gguf;
      return b_.matmul(input, b_.weight(name + ".weight", {outputs, model_.width}, source(".weight")),
                       b_.optional_weight(name + ".bias", {outputs}, source(".bias")));
    };
    if (model_.head_hidden) x = b_.unary(layer(x, model_.head_hidden, model_.width), NACELLE_ACT_TANH);
    return layer(x, model_.head_out, 1);
  }

  Value norm(Value x, const Part& part, bool in_block) {
    const auto source = [&](const char* suffix) { return in_block ? inside(part, suffix) : outside(part, suffix); };
    const std::string name = (in_block ? "blk." + std::to_string(layer_) + "." : std::string()) + part.gguf;
    return b_.layer_norm(x, b_.weight(name + ".weight", {model_.width}, source(".weight")),
                         b_.weight(name + ".bias", {model_.width}, source(".bias")), norm_attributes(model_.epsilon));
  }

  Value linear(Value x, const Part& part, std::int64_t outputs, std::int64_t inputs) {
    const std::string name = "blk." + std::to_string(layer_) + "." + part.gguf;
    return b_.matmul(x, b_.weight(name + ".weight", {outputs, inputs}, inside(part, ".weight")),
                     b_.optional_weight(name + ".bias", {outputs}, inside(part, ".bias")));
  }

  Value weight(const Part& part, std::initializer_list<std::int64_t> shape) {
    return b_.weight(std::string(part.gguf) + ".weight", shape, outside(part, ".weight"));
  }
  Source outside(const Part& part, const std::string& suffix) const {
    return {part.gguf + suffix, model_.prefix + (model_.is_nomic ? part.nomic : part.bert) + suffix};
  }
  Source inside(const Part& part, const std::string& suffix) const {
    return {"blk.{layer}." + (part.gguf + suffix),
            model_.prefix + (model_.is_nomic ? "encoder.layers.{layer}." : "encoder.layer.{layer}.") +
                (model_.is_nomic ? part.nomic : part.bert) + suffix};
  }

  Builder& b_;
  const Encoder& model_;
  std::uint32_t layer_ = 0;
};

struct Bert {
  static bool match(const Config& config) { return kind_of(config) != nullptr; }
  static nacelle_model_description describe(const Config& config) {
    const Encoder model = read_model(config);
    auto description = make<nacelle_model_description>();
    description.kind = model.is_ranker ? NACELLE_MODEL_RANKER : NACELLE_MODEL_ENCODER;
    description.context_length = model.context;
    description.layer_count = model.layers;
    description.width = model.width;
    description.head_count = description.kv_head_count = model.heads;
    description.head_width = model.width / model.heads;
    description.feed_forward_width = model.hidden;
    description.vocabulary = model.vocabulary;
    return description;
  }
  static void build(const Config& config, Builder& builder) {
    const Encoder model = read_model(config);
    EncoderGraph(builder, model).build();
  }
};

}  // namespace

NACELLE_ARCHITECTURE_PLUGIN(Bert, "bert", "0.1.0")
