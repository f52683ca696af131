// What the tokenizer tests share: vector files, temporary files.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/gguf.hpp"
#include "core/tokenizer/tokenizer.hpp"
#include "tests/shared_data.hpp"
#include "tests/support/gguf_writer.hpp"

namespace nacelle::test {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A file or folder in the temporary directory that goes when the test ends.
class TemporaryPath {
 public:
  TemporaryPath() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("nacelle_tokenizer_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
  }
  ~TemporaryPath() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& operator*() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::unique_ptr<Tokenizer> load_gguf(const GgufWriter& writer) {
  const TemporaryPath path;
  writer.save(*path);
  return load_tokenizer(GgufFile(*path));
}

struct Vector {
  std::string text;
  std::vector<TokenId> ids;
};

// llama.cpp's vectors: texts in NAME.inp, ids in NAME.out, without BOS and EOS.
inline std::vector<Vector> read_vectors(const std::string& name) {
  const std::string separator = "\n__ggml_vocab_test__";  // and a newline, but for the last
  const auto folder = shared_dir() / "vocabs";
  const std::string input = read_text(folder / (name + ".gguf.inp"));
  std::istringstream output(read_text(folder / (name + ".gguf.out")));
  std::vector<Vector> vectors;
  for (std::size_t begin = 0, end; (end = input.find(separator, begin)) != std::string::npos;
       begin = end + separator.size() + 1) {
    Vector vector{input.substr(begin, end - begin), {}};
    std::string line;
    REQUIRE(std::getline(output, line));
    std::istringstream numbers(line);
    for (TokenId id; numbers >> id;) vector.ids.push_back(id);
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

// Each vector must be met exactly. `plain`: decoding the ids gives the text back.
inline void check_vectors(const Tokenizer& tokenizer, const std::string& name, bool lossless) {
  const auto vectors = read_vectors(name);
  CHECK(vectors.size() == 46);  // the 47th is the empty text behind the last separator
  CHECK(tokenizer.encode("", {.add_special = false}).empty());
  for (const auto& [text, ids] : vectors) {
    INFO(name << ": \"" << text << '"');
    CHECK(tokenizer.encode(text, {.add_special = false}) == ids);
    if (lossless) CHECK(tokenizer.decode(ids) == text);
  }
}

}  // namespace nacelle::test
