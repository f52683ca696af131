// Any bytes as a GGUF file: an Error, or a model whose every string and tensor lies inside the bytes.
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "core/base/error.hpp"
#include "core/formats/gguf_part.hpp"

namespace {

// Reading every byte that the model points to lets the sanitizer judge it.
std::uint64_t read_all(const nacelle::GgufPart& part, std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  for (const nacelle::TensorInfo& tensor : part.tensors) {
    for (const std::byte byte : bytes.subspan(tensor.offset, tensor.size)) sum += static_cast<std::uint64_t>(byte);
  }
  const auto add = [&](std::string_view text) { sum = std::accumulate(text.begin(), text.end(), sum); };
  for (const auto& [key, value] : part.metadata) {
    if (const auto* text = std::get_if<std::string_view>(&value)) add(*text);
    const auto* array = std::get_if<nacelle::GgufArray>(&value);
    if (!array) continue;
    if (const auto* texts = std::get_if<std::vector<std::string_view>>(&array->values)) {
      for (const std::string_view text : *texts) add(text);
    }
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    nacelle::GgufPart part;
    nacelle::parse_gguf("fuzz.gguf", bytes, part);
    volatile std::uint64_t sum = read_all(part, bytes);
    static_cast<void>(sum);
  } catch (const nacelle::Error&) {
  }
  return 0;
}
