// Any bytes as the files of a Hugging Face folder; the first byte chooses which: a safetensors file, its index, or
// config.json. An Error, or tensors and strings that lie inside the bytes.
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "core/base/error.hpp"
#include "core/formats/config_map.hpp"
#include "core/formats/safetensors.hpp"

namespace {

std::uint64_t read_file(char kind, std::span<const std::byte> bytes) {
  std::uint64_t sum = 0;
  if (kind == 'c') {
    nacelle::ConfigMap config;
    nacelle::add_json_config("config.json", bytes, "", config);
    for (const auto& [key, value] : config.values) {
      const auto* text = std::get_if<std::string_view>(&value);
      if (text) sum = std::accumulate(text->begin(), text->end(), sum);
    }
  } else if (kind == 'i') {
    sum += nacelle::read_safetensors_index("index.json", bytes).items.size();
  } else {
    for (const nacelle::TensorInfo& tensor : nacelle::read_safetensors_header("model.safetensors", bytes)) {
      for (const std::byte byte : bytes.subspan(tensor.offset, tensor.size)) sum += static_cast<std::uint64_t>(byte);
    }
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    volatile std::uint64_t sum =
        read_file(static_cast<char>(data[0]), {reinterpret_cast<const std::byte*>(data) + 1, size - 1});
    static_cast<void>(sum);
  } catch (const nacelle::Error&) {
  }
  return 0;
}
