// `nacelle quantize` from folders that are unusual or unfit: tied heads, rows that change places, and what is refused.
#include <catch2/catch.hpp>
#include <optional>

#include "core/compress/convert.hpp"
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

constexpr const char* kTokenizer = R"({"added_tokens":[],"normalizer":null,)"
                                   R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
                                   R"("post_processor":null,"decoder":{"type":"ByteLevel"},)"
                                   R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";

const std::string kLayer = "model.layers.0.";

// `feed_forward`: behind "model.layers.0.".
std::vector<Matrix> tensors_with(const std::vector<Matrix>& feed_forward, bool embedding = true, bool head = true) {
  std::vector<Matrix> all = {{"model.norm.weight", 0, 8},
                             {kLayer + "input_layernorm.weight", 0, 8},
                             {kLayer + "self_attn.q_proj.weight", 8, 8},
                             {kLayer + "self_attn.k_proj.weight", 4, 8},
                             {kLayer + "self_attn.v_proj.weight", 4, 8},
                             {kLayer + "self_attn.o_proj.weight", 8, 8},
                             {kLayer + "post_attention_layernorm.weight", 0, 8}};
  if (embedding) all.push_back({"model.embed_tokens.weight", 6, 8});
  if (head) all.push_back({"lm_head.weight", 6, 8});
  for (const Matrix& own : feed_forward) all.push_back({kLayer + own.name, own.rows, own.columns});
  return all;
}
const std::vector<Matrix> kFeedForward = {
    {"mlp.gate_proj.weight", 4, 8}, {"mlp.up_proj.weight", 4, 8}, {"mlp.down_proj.weight", 8, 4}};

PluginHost& plugins() {
  static PluginHost host([] {
    PluginHostOptions options;
    options.folders = {NACELLE_TEST_PLUGINS};
    options.threads = 2;
    return options;
  }());
  return host;
}

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

Opened open(const TempFolder& folder, const std::string& config_text, const std::vector<Matrix>& tensors) {
  folder.write("config.json", config_text);
  folder.write("tokenizer.json", kTokenizer);
  write_safetensors(folder, tensors);
  Opened opened{ModelFiles::open(folder.path()), std::nullopt};
  opened.model.emplace(open_source(plugins(), *opened.files));
  return opened;
}

}  // namespace

TEST_CASE("Llama's Q and K change their rows' places") {
  const TempFolder folder;
  const Opened llama = open(folder, config("LlamaForCausalLM"), tensors_with(kFeedForward));
  // Heads of 4 rows: 0 2 1 3 of each.
  CHECK(llama.row("blk.0.attn_q.weight", 1)[0] == 2 * 8);
  CHECK(llama.row("blk.0.attn_q.weight", 6)[0] == 5 * 8);
  CHECK(llama.row("blk.0.attn_k.weight", 2)[0] == 1 * 8);
  CHECK(llama.row("token_embd.weight", 2)[1] == 17);
  CHECK(llama.tensor("blk.0.ffn_norm.weight").type == NACELLE_TYPE_F32);
  CHECK(llama.model->traits.heads_per_kv_head == 2);
  CHECK_FALSE(llama.model->traits.tied);
}

TEST_CASE("llama3's rope becomes a tensor") {
  const TempFolder folder;
  const Opened llama =
      open(folder,
           config("LlamaForCausalLM", R"(,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
                                      R"("high_freq_factor":4.0,"original_max_position_embeddings":16})"),
           tensors_with(kFeedForward));
  const std::vector<float> factors = llama.row("rope_freqs.weight", 0);
  REQUIRE(factors.size() == 2);
  CHECK(factors[1] == 8);  // a wave far longer than the context is stretched whole
}

TEST_CASE("a tied pair is written once, under whichever name it has") {
  const TempFolder folder;
  const std::string tied = config("LlamaForCausalLM", R"(,"tie_word_embeddings":true)");
  CHECK(open(folder, tied, tensors_with(kFeedForward)).model->traits.tied);
  const Opened head_alone = open(folder, tied, tensors_with(kFeedForward, false));
  CHECK(head_alone.row("token_embd.weight", 2)[1] == 17);
  CHECK(head_alone.model->traits.tied);
}

TEST_CASE("a folder that is unfit is refused with what is wrong") {
  const TempFolder folder;
  const auto refused = [&](const std::string& text, const std::vector<Matrix>& tensors, const char* line) {
    const std::string error = error_of([&] { open(folder, text, tensors); });
    INFO(error);
    CHECK(error.find(line) != std::string::npos);
  };
  refused(config("OddForCausalLM"), tensors_with(kFeedForward), "'OddForCausalLM'");
  refused(config("LlamaForCausalLM"), tensors_with({kFeedForward[0], kFeedForward[1]}), "mlp.down_proj.weight");
  refused(config("LlamaForCausalLM", R"(,"quantization_config":{"quant_method":"odd"})"), tensors_with(kFeedForward),
          "odd");
  refused(config("LlamaForCausalLM", R"(,"rope_scaling":{"rope_type":"odd"})"), tensors_with(kFeedForward), "odd");

  std::vector<Matrix> experts = {{"block_sparse_moe.gate.weight", 2, 8}};
  for (const std::string expert : {"1", "0"})
    for (const auto& [part, rows, columns] : {Matrix{"w1", 4, 8}, {"w2", 8, 4}, {"w3", 4, 8}})
      experts.push_back({"block_sparse_moe.experts." + expert + "." + part + ".weight", rows, columns});
  const std::string mixtral = config("MixtralForCausalLM", R"(,"num_local_experts":2,"num_experts_per_tok":1)");
  const Opened model = open(folder, mixtral, tensors_with(experts));
  CHECK(model.tensor("blk.0.ffn_up_exps.weight").shape == std::vector<std::uint64_t>{2, 4, 8});
  experts.pop_back();
  refused(mixtral, tensors_with(experts), "block_sparse_moe.experts.0.w3.weight");
}

}  // namespace nacelle::compress
