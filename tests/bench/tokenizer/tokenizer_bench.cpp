// Encoding speed of one tokenizer on one core: bench_tokenizer MODEL [TEXT-FILE]. MODEL is a GGUF file or a Hugging
// Face folder. Without a text it makes English-like prose. Prints MB/s cold and warm, and the seconds that a megabyte
// of one letter, of spaces, of emoji and of noise takes: none may be out of proportion.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "core/formats/gguf.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace {

using nacelle::Tokenizer;

constexpr std::size_t kMegabyte = 1'000'000;

std::unique_ptr<Tokenizer> load(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? nacelle::load_tokenizer(path)
                                             : nacelle::load_tokenizer(nacelle::GgufFile(path));
}

// Words of Zipf-like frequency from a fixed list and, one in ten, made up: about the mix of plain prose.
std::string prose() {
  static constexpr const char* kWords[] = {
      "the", "of",   "and",   "to",     "in",     "a",       "is",      "that",     "for",      "it",
      "as",  "was",  "with",  "be",     "by",     "on",      "not",     "he",       "this",     "are",
      "or",  "his",  "from",  "at",     "which",  "but",     "have",    "an",       "had",      "they",
      "you", "were", "their", "people", "system", "between", "because", "language", "question", "government"};
  std::mt19937 random(1);
  std::string text;
  while (text.size() < kMegabyte) {
    if (random() % 10 == 0) {
      for (auto n = 3 + random() % 8; n > 0; --n) text += static_cast<char>('a' + random() % 26);
    } else {
      const double u = static_cast<double>(random() % 1000) / 1000;
      text += kWords[static_cast<std::size_t>(u * u * std::size(kWords))];
    }
    text += random() % 12 == 0 ? ". The " : random() % 9 == 0 ? ", " : " ";
  }
  return text;
}

std::string repeated(const std::string& unit) {
  std::string text;
  while (text.size() < kMegabyte) text += unit;
  return text;
}

std::string noise() {
  std::mt19937 random(2);
  std::string text;
  while (text.size() < kMegabyte) text += static_cast<char>(33 + random() % 94);
  return text;
}

double seconds(const Tokenizer& tokenizer, const std::string& text, std::size_t& tokens) {
  const std::clock_t start = std::clock();
  tokens = tokenizer.encode(text).size();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

void run(const char* model, const char* text_file) {
  const std::clock_t start = std::clock();
  const auto tokenizer = load(model);
  const double loading = static_cast<double>(std::clock() - start) * 1000 / CLOCKS_PER_SEC;
  std::printf("load            %8.1f ms, %zu tokens\n", loading, tokenizer->vocab_size());
  std::string text = prose();
  if (text_file) {
    std::ifstream in(text_file, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::size_t tokens = 0;
  const double cold = seconds(*tokenizer, text, tokens);
  double warm = cold;
  for (int i = 0; i < 5; ++i) warm = std::min(warm, seconds(*tokenizer, text, tokens));
  const double megabytes = static_cast<double>(text.size()) / kMegabyte;
  std::printf("english         %8.1f MB/s cold, %.1f MB/s warm, %.2f bytes a token\n", megabytes / cold,
              megabytes / warm, static_cast<double>(text.size()) / static_cast<double>(tokens));
  const struct {
    const char* name;
    std::string text;
  } hard[] = {{"one letter", repeated("a")},
              {"spaces", repeated(" ")},
              {"spaces, then x", repeated(" ") + "x"},
              {"emoji", repeated("😀")},
              {"newlines", repeated(" \n")},
              {"digits", repeated("7")},
              {"chinese", repeated("语言模型")},
              {"marks", repeated("e\u0301\u0323")},
              {"noise", noise()}};
  for (const auto& [name, content] : hard)
    std::printf("%-15s %8.3f s a megabyte\n", name, seconds(*tokenizer, content, tokens));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_tokenizer MODEL [TEXT-FILE]\n");
    return 2;
  }
  try {
    run(argv[1], argc > 2 ? argv[2] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_tokenizer: %s\n", error.what());
    return 1;
  }
}
