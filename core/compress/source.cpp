// Reading a model's tensors by rows, and the metadata of a GGUF file as it stands.
#include "core/compress/source.hpp"

#include <algorithm>
#include <nacelle/block_formats.hpp>

#include "core/compress/huggingface.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

std::uint64_t rows_of(const std::vector<std::uint64_t>& shape) {
  std::uint64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

std::uint64_t row_bytes(const TensorInfo& tensor) { return tensor.size / rows_of(tensor.shape); }

// The element (or row) of a head of `width` that comes to place `place` of it.
std::uint64_t half_place(std::uint64_t place, std::uint64_t width) { return place % 2 * (width / 2) + place / 2; }

// A bias, of which the elements change places.
void interleave(const SourceTensor& tensor, std::span<float> values) {
  const std::vector<float> before(values.begin(), values.end());
  const std::uint64_t width = values.size() / tensor.interleaved_heads;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = before[i - i % width + half_place(i % width, width)];
}

// Where row `row` of the written tensor is in the source: rotated heads have theirs in another order.
std::uint64_t source_row(const SourceTensor& tensor, std::uint64_t row) {
  if (tensor.interleaved_heads == 0 || tensor.shape.size() == 1) return row;
  const std::uint64_t width = tensor.rows() / tensor.interleaved_heads, in_head = row % width;
  return row - in_head + half_place(in_head, width);
}

struct Place {
  const TensorInfo* part;
  std::uint64_t row;
};

Place place_of(const SourceTensor& tensor, std::uint64_t row) {
  for (const TensorInfo* part : tensor.parts) {
    const std::uint64_t rows = rows_of(part->shape);
    if (row < rows) return {part, row};
    row -= rows;
  }
  return {tensor.parts.back(), 0};
}

std::uint32_t number(const ModelFiles& files, const std::string& key, std::uint32_t fallback) {
  const ConfigValue* value = files.config(key);
  if (!value) return fallback;
  if (const auto* one = std::get_if<std::int64_t>(value)) return static_cast<std::uint32_t>(*one);
  const auto* array = std::get_if<ConfigArray>(value);  // a value a layer
  const auto* all = array ? std::get_if<std::vector<std::int64_t>>(&array->values) : nullptr;
  return all && !all->empty() ? static_cast<std::uint32_t>(*std::ranges::max_element(*all)) : fallback;
}

// Which are set anew, or tell of parts that become one file.
bool is_replaced(std::string_view key) {
  return key == "general.file_type" || key == "general.quantization_version" || key.starts_with("split.") ||
         key.starts_with("quantize.imatrix.");
}

SourceModel open_gguf(const ModelFiles& files) {
  SourceModel model{.files = files, .tensors = {}, .metadata = {}, .traits = {}};
  for (const GgufStoredValue& value : files.gguf()->stored_metadata())
    if (!is_replaced(value.key)) model.metadata.set_stored(value.key, value.bytes);
  for (const TensorInfo& info : files.tensors())
    model.tensors.push_back({.name = info.name, .shape = info.shape, .type = info.type, .parts = {&info}});
  ModelTraits& traits = model.traits;
  traits.architecture = files.architecture();
  const std::string prefix = traits.architecture + ".";
  traits.layers = number(files, prefix + "block_count", 0);
  traits.experts = number(files, prefix + "expert_count", 0);
  const std::uint32_t heads = number(files, prefix + "attention.head_count", 1);
  traits.kv_heads = std::max(1u, number(files, prefix + "attention.head_count_kv", heads));
  traits.heads_per_kv_head = heads / traits.kv_heads;
  traits.tied = !files.tensor("output.weight");
  return model;
}

}  // namespace

std::uint64_t SourceTensor::rows() const noexcept { return rows_of(shape); }

std::uint64_t SourceTensor::bytes_before() const noexcept {
  if (made) return made->node().bytes();
  std::uint64_t bytes = 0;
  for (const TensorInfo* part : parts) bytes += part->size;
  return bytes;
}

bool SourceTensor::verbatim() const noexcept {
  const bool as_stored = made ? made->node().type == type : parts.size() == 1 && parts[0]->type == type;
  return as_stored && interleaved_heads == 0 && addend == 0 && row_factors.empty() && column_factors.empty();
}

SourceModel open_source(const ModelFiles& files) { return files.gguf() ? open_gguf(files) : open_huggingface(files); }

void read_row(const SourceModel& model, const SourceTensor& tensor, std::uint64_t row, std::span<float> out) {
  if (!tensor.computed.empty()) return std::ranges::copy(tensor.computed, out.begin()), void();
  const auto decode = [&](nacelle_type type, const std::byte* stored) {
    decode_row(type, reinterpret_cast<const std::uint8_t*>(stored), out.size(), out.data());
  };
  if (tensor.made) {
    decode(tensor.made->node().type, tensor.made->rows(row, 1));
  } else {
    const Place place = place_of(tensor, source_row(tensor, row));
    decode(place.part->type, model.files.data(*place.part).data() + place.row * row_bytes(*place.part));
  }
  if (tensor.shape.size() == 1 && tensor.interleaved_heads != 0) interleave(tensor, out);
  if (tensor.addend != 0)
    for (float& value : out) value += tensor.addend;
  if (!tensor.row_factors.empty())
    for (float& value : out) value *= tensor.row_factors[row];
  if (!tensor.column_factors.empty())
    for (std::size_t i = 0; i < out.size(); ++i) out[i] *= tensor.column_factors[i];
}

std::span<const std::byte> stored_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first,
                                       std::uint64_t count) {
  if (tensor.made) return {tensor.made->rows(first, count), count * tensor.made->node().row_bytes()};
  const std::uint64_t bytes = row_bytes(*tensor.parts[0]);
  return model.files.data(*tensor.parts[0]).subspan(first * bytes, count * bytes);
}

void release_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first, std::uint64_t count) {
  if (tensor.made) return tensor.made->release(first, count);
  // Rows of rotated heads are read out of order within a head, which costs a second look at a page or two.
  for (const TensorInfo* part : tensor.parts) {
    const std::uint64_t rows = rows_of(part->shape), bytes = row_bytes(*part);
    if (first < rows) {
      const std::uint64_t some = std::min(count, rows - first);
      model.files.release(*part, first * bytes, some * bytes);
      count -= some;
      first = 0;
      if (count == 0) return;
    } else {
      first -= rows;
    }
  }
}

}  // namespace nacelle::compress
