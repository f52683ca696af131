// A Hugging Face folder as GGUF: order of rows, sums, names, metadata and tokenizer; and what has no place there.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "core/base/atomic_file.hpp"
#include "core/compress/source.hpp"
#include "core/formats/gguf.hpp"
#include "core/tokenizer/tokenizer.hpp"
#include "tests/unit/formats/files.hpp"

namespace nacelle::compress {
namespace {

using test::error_of;
using test::TempFolder;

struct Matrix {
  std::string name;
  std::uint64_t rows, columns;  // 0 rows: a vector
};

// Element i of each tensor is i.
void write_safetensors(const TempFolder& folder, const std::vector<Matrix>& tensors) {
  std::string header = "{", data;
  for (const Matrix& tensor : tensors) {
    const std::uint64_t count = std::max<std::uint64_t>(tensor.rows, 1) * tensor.columns;
    const std::size_t begin = data.size();
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(i);
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header += (header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"F32\",\"shape\":[" +
              (tensor.rows ? std::to_string(tensor.rows) + "," : "") + std::to_string(tensor.columns) +
              "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  header += "}";
  std::uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), 8);
  folder.write("model.safetensors", file + header + data);
}

std::string config(const std::string& family, const std::string& more = "") {
  return R"({"architectures":[")" + family + R"("],"num_hidden_layers":1,"hidden_size":8,"intermediate_size":4,)" +
         R"("num_attention_heads":2,"num_key_value_heads":1,"head_dim":4,"vocab_size":6,"rms_norm_eps":1e-5,)" +
         R"("rope_theta":10000.0,"max_position_embeddings":32)" + more + "}";
}

// Bytes a, b, their pair and a special token; the embedding has two rows more than that.
constexpr const char* kTokenizer = R"({"added_tokens":[{"id":3,"content":"<end>","special":true}],"normalizer":null,)"
                                   R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
                                   R"("post_processor":null,"decoder":{"type":"ByteLevel"},)"
                                   R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"<end>":3},"merges":["a b"]}})";

const std::vector<Matrix> kTensors = {{"model.embed_tokens.weight", 6, 8},
                                      {"model.norm.weight", 0, 8},
                                      {"model.layers.0.self_attn.q_proj.weight", 8, 8},
                                      {"model.layers.0.self_attn.k_proj.weight", 4, 8},
                                      {"model.layers.0.post_attention_layernorm.weight", 0, 8}};

struct Opened {
  std::unique_ptr<ModelFiles> files;
  std::optional<SourceModel> model;

  const SourceTensor& tensor(const std::string& name) const {
    const auto found = std::ranges::find(model->tensors, name, &SourceTensor::name);
    REQUIRE(found != model->tensors.end());
    return *found;
  }
  std::vector<float> row(const std::string& name, std::uint64_t row) const {
    const SourceTensor& one = tensor(name);
    std::vector<float> values(one.columns());
    read_row(*model, one, row, values);
    return values;
  }
};

Opened open(const TempFolder& folder, const std::string& config_text, const std::vector<Matrix>& tensors = kTensors,
            const char* tokenizer = kTokenizer) {
  folder.write("config.json", config_text);
  folder.write("tokenizer.json", tokenizer);
  folder.write(
      "tokenizer_config.json",
      R"({"eos_token":"<end>","chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]})");
  write_safetensors(folder, tensors);
  Opened opened{ModelFiles::open(folder.path()), std::nullopt};
  opened.model.emplace(open_source(*opened.files));
  return opened;
}

}  // namespace

TEST_CASE("Llama's Q and K change their rows' places, Qwen's do not", "[compress]") {
  const TempFolder folder;
  const Opened llama = open(folder, config("LlamaForCausalLM"));
  // Heads of 4 rows: 0 2 1 3 of each.
  CHECK(llama.row("blk.0.attn_q.weight", 1)[0] == 2 * 8);
  CHECK(llama.row("blk.0.attn_q.weight", 6)[0] == 5 * 8);
  CHECK(llama.row("blk.0.attn_k.weight", 2)[0] == 1 * 8);
  CHECK(llama.row("token_embd.weight", 2)[1] == 17);
  CHECK(llama.tensor("blk.0.ffn_norm.weight").type == NACELLE_TYPE_F32);
  const Opened qwen = open(folder, config("Qwen2ForCausalLM"));
  CHECK(qwen.row("blk.0.attn_q.weight", 1)[0] == 8);
  CHECK(qwen.model->traits.heads_per_kv_head == 2);
}

TEST_CASE("Gemma's norms get their 1, and llama3's rope becomes a tensor", "[compress]") {
  const TempFolder folder;
  const Opened gemma = open(folder, config("Gemma2ForCausalLM", R"(,"query_pre_attn_scalar":4)"));
  CHECK(gemma.row("blk.0.post_attention_norm.weight", 0)[3] == 4);
  CHECK(gemma.row("token_embd.weight", 0)[3] == 3);
  const Opened llama = open(
      folder, config("LlamaForCausalLM", R"(,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
                                         R"("high_freq_factor":4.0,"original_max_position_embeddings":16})"));
  const std::vector<float> factors = llama.row("rope_freqs.weight", 0);
  REQUIRE(factors.size() == 2);
  CHECK(factors[1] == 8);  // a wave far longer than the context is stretched whole
}

TEST_CASE("experts are joined in their order", "[compress]") {
  const TempFolder folder;
  std::vector<Matrix> tensors = kTensors;
  for (const char* expert : {"1", "0"})
    for (const char* part : {"w1", "w2", "w3"})
      tensors.push_back(
          {std::string("model.layers.0.block_sparse_moe.experts.") + expert + "." + part + ".weight", 4, 8});
  const std::string text = config("MixtralForCausalLM", R"(,"num_local_experts":2,"num_experts_per_tok":1)");
  const Opened model = open(folder, text, tensors);
  const SourceTensor& up = model.tensor("blk.0.ffn_up_exps.weight");
  CHECK(up.shape == std::vector<std::uint64_t>{2, 4, 8});
  CHECK(up.parts[1]->name == "model.layers.0.block_sparse_moe.experts.1.w3.weight");
  tensors.pop_back();
  CHECK(error_of([&] { open(folder, text, tensors); }).find("are not all there") != std::string::npos);
}

TEST_CASE("a tied pair is written once, under whichever name it has", "[compress]") {
  const TempFolder folder;
  const std::string tied = config("LlamaForCausalLM", R"(,"tie_word_embeddings":true)");
  std::vector<Matrix> tensors = kTensors;
  tensors.push_back({"lm_head.weight", 6, 8});
  CHECK(open(folder, tied, tensors).model->traits.tied);
  tensors.erase(tensors.begin());
  const Opened head_alone = open(folder, tied, tensors);
  CHECK(head_alone.row("token_embd.weight", 2)[1] == 17);
  CHECK(head_alone.model->traits.tied);
}

TEST_CASE("the tokenizer goes over", "[compress]") {
  const TempFolder folder;
  Opened model = open(folder, config("LlamaForCausalLM"));
  GgufWriter& layout = model.model->metadata;
  {
    AtomicFile file(folder.path() / "t.gguf");
    file.write(0, layout.header());
    file.commit();
  }
  const GgufFile file(folder.path() / "t.gguf");
  const auto tokenizer = load_tokenizer(file);
  CHECK(tokenizer->vocab_size() == 6);
  CHECK(tokenizer->encode("aba<end>", {.parse_special = true}) == std::vector<TokenId>{2, 0, 3});
  CHECK(tokenizer->eos() == TokenId{3});
  CHECK(tokenizer->token_text(5) == "[PAD5]");
  CHECK(std::get<std::string_view>(*file.find("tokenizer.ggml.pre")) == "gpt-2");
  CHECK(tokenizer->chat_template() == "D");
  CHECK(tokenizer->chat_template(true) == "T");
  CHECK(std::get<std::int64_t>(*file.find("llama.attention.head_count_kv")) == 1);
}

TEST_CASE("what has no place in GGUF is named", "[compress]") {
  const TempFolder folder;
  const auto refused = [&](const std::string& text, const std::vector<Matrix>& tensors = kTensors,
                           const char* tokenizer = kTokenizer) {
    return error_of([&] { open(folder, text, tensors, tokenizer); });
  };
  CHECK(refused(config("FalconForCausalLM")).find("the family 'FalconForCausalLM' is not written") !=
        std::string::npos);
  std::vector<Matrix> more = kTensors;
  more.push_back({"model.layers.0.odd.weight", 2, 8});
  CHECK(refused(config("LlamaForCausalLM"), more).find("'model.layers.0.odd.weight'") != std::string::npos);
  CHECK(refused(config("LlamaForCausalLM", R"(,"quantization_config":{"quant_method":"gptq"})")).find("'gptq'") !=
        std::string::npos);
  CHECK(refused(config("LlamaForCausalLM", R"(,"rope_scaling":{"rope_type":"odd"})")).find("'odd'") !=
        std::string::npos);
  CHECK(
      refused(
          config("LlamaForCausalLM"), kTensors,
          R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Sequence","pretokenizers":[)"
          R"({"type":"Split","pattern":{"Regex":"x+"},"behavior":"Isolated","invert":false},)"
          R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}})")
          .find("GGUF has no name for") != std::string::npos);
}

}  // namespace nacelle::compress
