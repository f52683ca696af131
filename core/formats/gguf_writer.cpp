// GgufWriter. Values are copied as they lie in memory: the machine is little-endian, as gguf_part.cpp asserts.
#include "core/formats/gguf_writer.hpp"

#include <cstring>

#include "core/base/error.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle {
namespace {

// GGUF's ids of value types.
constexpr std::uint32_t kUint32Id = 4, kInt32Id = 5, kFloat32Id = 6, kBoolId = 7, kStringId = 8, kArrayId = 9,
                        kUint64Id = 10;
constexpr std::uint64_t kAlignment = 32;
constexpr std::size_t kMostRank = 4;

template <typename T>
void put(std::vector<std::byte>& to, const T& value) {
  const std::size_t at = to.size();
  to.resize(at + sizeof value);
  std::memcpy(to.data() + at, &value, sizeof value);
}

void put_bytes(std::vector<std::byte>& to, const void* bytes, std::size_t size) {
  const auto* from = static_cast<const std::byte*>(bytes);
  to.insert(to.end(), from, from + size);
}

void put_text(std::vector<std::byte>& to, std::string_view text) {
  put(to, std::uint64_t{text.size()});
  put_bytes(to, text.data(), text.size());
}

void put_array(std::vector<std::byte>& to, std::uint32_t type, std::size_t count) {
  put(to, kArrayId);
  put(to, type);
  put(to, std::uint64_t{count});
}

std::uint64_t aligned(std::uint64_t offset, std::uint64_t to) { return (offset + to - 1) / to * to; }

}  // namespace

std::vector<std::byte>& GgufWriter::entry(std::string_view key) {
  for (Entry& old : entries_)
    if (old.key == key) return old.bytes.clear(), old.bytes;
  entries_.push_back({std::string(key), {}});
  return entries_.back().bytes;
}

void GgufWriter::set(std::string_view key, std::uint32_t value) {
  auto& to = entry(key);
  put(to, kUint32Id), put(to, value);
}

void GgufWriter::set(std::string_view key, std::uint64_t value) {
  auto& to = entry(key);
  put(to, kUint64Id), put(to, value);
}

void GgufWriter::set(std::string_view key, float value) {
  auto& to = entry(key);
  put(to, kFloat32Id), put(to, value);
}

void GgufWriter::set(std::string_view key, bool value) {
  auto& to = entry(key);
  put(to, kBoolId), put(to, std::uint8_t{value});
}

void GgufWriter::set(std::string_view key, std::string_view value) {
  auto& to = entry(key);
  put(to, kStringId), put_text(to, value);
}

void GgufWriter::set(std::string_view key, std::span<const std::string> values) {
  auto& to = entry(key);
  put_array(to, kStringId, values.size());
  for (const std::string& value : values) put_text(to, value);
}

void GgufWriter::set(std::string_view key, std::span<const std::int32_t> values) {
  auto& to = entry(key);
  put_array(to, kInt32Id, values.size());
  put_bytes(to, values.data(), values.size_bytes());
}

void GgufWriter::set(std::string_view key, std::span<const float> values) {
  auto& to = entry(key);
  put_array(to, kFloat32Id, values.size());
  put_bytes(to, values.data(), values.size_bytes());
}

void GgufWriter::set_stored(std::string_view key, std::span<const std::byte> bytes) {
  entry(key).assign(bytes.begin(), bytes.end());
}

void GgufWriter::add_tensor(std::string name, nacelle_type type, std::vector<std::uint64_t> shape) {
  const auto size = tensor_bytes(type, shape);
  if (!size || shape.empty() || shape.size() > kMostRank || !ggml_id(type)) {
    const TypeInfo* info = type_info(type);
    throw Error(ErrorKind::kUnsupported, "tensor " + in_quotes(name) + ": GGUF cannot hold " +
                                             (info ? info->name : "its type") + " of rank " +
                                             std::to_string(shape.size()) + " with such rows");
  }
  tensors_.push_back({.name = std::move(name), .type = type, .shape = std::move(shape), .size = *size});
}

// A copied file may bring its own.
std::uint64_t GgufWriter::alignment() const {
  for (const Entry& item : entries_) {
    if (item.key != "general.alignment" || item.bytes.size() != 8) continue;
    std::uint32_t value;
    std::memcpy(&value, item.bytes.data() + 4, sizeof value);
    if (value != 0) return value;
  }
  return kAlignment;
}

std::vector<std::byte> GgufWriter::header() {
  std::vector<std::byte> out;
  put_bytes(out, "GGUF", 4);
  put(out, std::uint32_t{3});
  put(out, std::uint64_t{tensors_.size()});
  put(out, std::uint64_t{entries_.size()});
  for (const Entry& item : entries_) {
    put_text(out, item.key);
    put_bytes(out, item.bytes.data(), item.bytes.size());
  }
  const std::uint64_t step = alignment();
  std::uint64_t offset = 0;
  for (TensorInfo& tensor : tensors_) {
    put_text(out, tensor.name);
    put(out, static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i-- > 0;) put(out, tensor.shape[i]);
    put(out, *ggml_id(tensor.type));
    put(out, offset);
    tensor.offset = offset;
    offset += aligned(tensor.size, step);
  }
  const std::uint64_t start = aligned(out.size(), step);
  for (TensorInfo& tensor : tensors_) tensor.offset += start;
  file_size_ = start + offset;
  return out;
}

}  // namespace nacelle
