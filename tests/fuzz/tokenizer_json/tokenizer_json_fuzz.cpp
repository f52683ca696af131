// Input: a tokenizer.json, a zero byte, then the text to encode. A file is refused with nacelle::Error or it works:
// ids are in range, and what streams out is what decode() gives, always valid UTF-8.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/base/error.hpp"
#include "core/tokenizer/load_hf.hpp"
#include "core/tokenizer/unicode.hpp"

namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

void encode_and_decode(const nacelle::Tokenizer& tokenizer, std::string_view text, bool parse_special) {
  const auto ids = tokenizer.encode(text, {.add_special = parse_special, .parse_special = parse_special});
  nacelle::StreamDecoder stream(tokenizer, parse_special);
  std::string streamed;
  for (const auto id : ids) {
    check(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size());
    const std::string part = stream.push(id);
    check(nacelle::unicode::is_valid(part));
    streamed += part;
  }
  streamed += stream.flush();
  check(nacelle::unicode::is_valid(streamed));
  check(streamed == tokenizer.decode(ids, parse_special));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  nacelle::HfTokenizerFiles files{.folder = "fuzz"};
  files.tokenizer = input.substr(0, zero);
  const std::string_view text =
      zero == input.npos ? std::string_view("Hello, w\xC3\xB6rld <s> 12 \xFF") : input.substr(zero + 1);
  // The second file rarely matters and is the same to every input; it makes BOS and EOS exist.
  files.tokenizer_config = R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})";
  try {
    const auto tokenizer = nacelle::load_tokenizer(files);
    encode_and_decode(*tokenizer, text, true);
    encode_and_decode(*tokenizer, text, false);
  } catch (const nacelle::Error& error) {
    check(error.kind() != nacelle::ErrorKind::kInternal);
  }
  return 0;
}
