// Reading a model's tensors by rows, and the metadata of a GGUF file as it stands.
#include "core/compress/source.hpp"

#include <algorithm>
#include <nacelle/block_formats.hpp>

#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

std::uint64_t rows_of(const std::vector<std::uint64_t>& shape) {
  std::uint64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

std::uint64_t row_bytes(const TensorInfo& tensor) { return tensor.size / rows_of(tensor.shape); }

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

}  // namespace

SourceModel open_gguf(const ModelFiles& files) {
  SourceModel model{.files = files, .tensors = {}, .metadata = {}, .traits = {}};
  for (const GgufStoredValue& value : files.gguf()->stored_metadata())
    if (!is_replaced(value.key)) model.metadata.set_stored(value.key, value.bytes);
  for (const TensorInfo& info : files.tensors())
    model.tensors.push_back({.name = info.name, .shape = info.shape, .type = info.type, .stored = &info});
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

std::uint64_t SourceTensor::rows() const noexcept { return rows_of(shape); }

std::uint64_t SourceTensor::bytes_before() const noexcept {
  return made ? made->node().bytes() : stored ? stored->size : 0;
}

bool SourceTensor::verbatim() const noexcept {
  const bool as_stored = made ? made->node().type == type : stored && stored->type == type;
  return as_stored && row_factors.empty() && column_factors.empty();
}

void read_row(const SourceModel& model, const SourceTensor& tensor, std::uint64_t row, std::span<float> out) {
  if (!tensor.computed.empty()) return std::ranges::copy(tensor.computed, out.begin()), void();
  const auto decode = [&](nacelle_type type, const std::byte* stored) {
    decode_row(type, reinterpret_cast<const std::uint8_t*>(stored), out.size(), out.data());
  };
  if (tensor.made)
    decode(tensor.made->node().type, tensor.made->rows(row, 1));
  else
    decode(tensor.stored->type, model.files.data(*tensor.stored).data() + row * row_bytes(*tensor.stored));
  if (!tensor.row_factors.empty())
    for (float& value : out) value *= tensor.row_factors[row];
  if (!tensor.column_factors.empty())
    for (std::size_t i = 0; i < out.size(); ++i) out[i] *= tensor.column_factors[i];
}

std::span<const std::byte> stored_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first,
                                       std::uint64_t count) {
  if (tensor.made) return {tensor.made->rows(first, count), count * tensor.made->node().row_bytes()};
  const std::uint64_t bytes = row_bytes(*tensor.stored);
  return model.files.data(*tensor.stored).subspan(first * bytes, count * bytes);
}

void release_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first, std::uint64_t count) {
  if (tensor.made) return tensor.made->release(first, count);
  if (!tensor.stored) return;
  const std::uint64_t bytes = row_bytes(*tensor.stored);
  model.files.release(*tensor.stored, first * bytes, count * bytes);
}

}  // namespace nacelle::compress
