// Any bytes as the files of a Hugging Face folder; the first byte chooses which: a safetensors file, an index, or
// config.json; with 't', a safetensors file whose header is well-formed JSON made of the bytes, so that the checks
// behind the parser are reached. An Error, or tensors and strings that lie inside the bytes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <sstream>

#include "core/base/error.hpp"
#include "core/formats/config_map.hpp"
#include "core/formats/safetensors.hpp"

namespace {

std::uint64_t read_tensors(std::span<const std::byte> file) {
  std::uint64_t sum = 0;
  for (const nacelle::TensorInfo& tensor : nacelle::read_safetensors_header("model.safetensors", file)) {
    for (const std::byte byte : file.subspan(tensor.offset, tensor.size)) sum += static_cast<std::uint64_t>(byte);
  }
  return sum;
}

// The first byte is the size of the data, then five a tensor: type, two extents, begin and end of its data.
std::vector<std::byte> make_file(std::span<const std::byte> bytes) {
  constexpr const char* kTypes[] = {"F32", "F16", "I8", "I64", "F8_E4M3"};
  const auto at = [&](std::size_t i) { return static_cast<unsigned>(bytes[i]); };
  std::ostringstream header;
  header << '{';
  for (std::size_t i = 1; i + 5 <= bytes.size(); i += 5) {
    header << (i == 1 ? "" : ",") << "\"t" << i % 64 << R"(":{"dtype":")" << kTypes[at(i) % std::size(kTypes)]
           << R"(","shape":[)" << at(i + 1) % 8 << ',' << at(i + 2) % 8 << R"(],"data_offsets":[)" << at(i + 3) % 64
           << ',' << at(i + 4) % 64 << "]}";
  }
  const std::string text = header.str() + '}';
  const std::uint64_t length = text.size();
  std::vector<std::byte> file(sizeof(length) + text.size() + (bytes.empty() ? 0 : at(0) % 64));
  std::memcpy(file.data(), &length, sizeof(length));
  std::memcpy(file.data() + sizeof(length), text.data(), text.size());
  return file;
}

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
  } else if (kind == 't') {
    sum += read_tensors(make_file(bytes));
  } else {
    sum += read_tensors(bytes);
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
