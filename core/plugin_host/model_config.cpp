// Thunks over ModelFiles::config; a value of another kind than asked for is INVALID_ARGUMENT, never converted by guess.
#include "core/plugin_host/model_config.hpp"

#include <algorithm>
#include <nacelle/plugin.hpp>
#include <variant>
#include <vector>

namespace nacelle {
namespace {

const ModelFiles& files_of(void* context) { return *static_cast<const ModelFiles*>(context); }

// Stores `value` when the configured one is a From; `Also` is a second kind that converts.
template <class From, class Also, class To>
nacelle_status get(void* context, nacelle_string key, To* value) noexcept {
  const ConfigValue* found = files_of(context).config(sdk::view(key));
  if (!found) return NACELLE_NOT_FOUND;
  if (const auto* exact = std::get_if<From>(found)) return *value = static_cast<To>(*exact), NACELLE_OK;
  if (const auto* also = std::get_if<Also>(found)) return *value = static_cast<To>(*also), NACELLE_OK;
  return NACELLE_INVALID_ARGUMENT;
}

nacelle_status get_string(void* context, nacelle_string key, nacelle_string* value) noexcept {
  const ConfigValue* found = files_of(context).config(sdk::view(key));
  if (!found) return NACELLE_NOT_FOUND;
  const auto* text = std::get_if<std::string_view>(found);
  if (!text) return NACELLE_INVALID_ARGUMENT;
  *value = sdk::view(*text);
  return NACELLE_OK;
}

template <class T>
void copy_numbers(const std::vector<T>& from, double* values, std::uint64_t capacity, std::uint64_t* count) {
  *count = from.size();
  const std::size_t copied = std::min<std::uint64_t>(capacity, from.size());
  for (std::size_t i = 0; i < copied; ++i) values[i] = static_cast<double>(from[i]);
}

nacelle_status get_numbers(void* context, nacelle_string key, double* values, std::uint64_t capacity,
                           std::uint64_t* count) noexcept {
  const ConfigValue* found = files_of(context).config(sdk::view(key));
  if (!found) return NACELLE_NOT_FOUND;
  const auto* array = std::get_if<ConfigArray>(found);
  if (!array) {
    double scalar = 0;
    const nacelle_status status = get<double, std::int64_t>(context, key, &scalar);
    if (status != NACELLE_OK) return status;
    *count = 1;
    if (capacity) *values = scalar;
    return NACELLE_OK;
  }
  if (array->nested) return NACELLE_INVALID_ARGUMENT;
  if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&array->values))
    return copy_numbers(*integers, values, capacity, count), NACELLE_OK;
  if (const auto* numbers = std::get_if<std::vector<double>>(&array->values))
    return copy_numbers(*numbers, values, capacity, count), NACELLE_OK;
  return NACELLE_INVALID_ARGUMENT;
}

nacelle_status get_item_string(void* context, nacelle_string key, std::uint64_t index, nacelle_string* value) noexcept {
  const ConfigValue* found = files_of(context).config(sdk::view(key));
  if (!found) return NACELLE_NOT_FOUND;
  const auto* array = std::get_if<ConfigArray>(found);
  const auto* texts = array ? std::get_if<std::vector<std::string_view>>(&array->values) : nullptr;
  if (!texts) return NACELLE_INVALID_ARGUMENT;
  if (index >= texts->size()) return NACELLE_NOT_FOUND;
  *value = sdk::view((*texts)[index]);
  return NACELLE_OK;
}

nacelle_status get_tensor(void* context, nacelle_string name, nacelle_type* type, std::uint32_t* rank,
                          std::int64_t* shape) noexcept {
  const TensorInfo* tensor = files_of(context).tensor(sdk::view(name));
  if (!tensor) return NACELLE_NOT_FOUND;
  if (tensor->shape.size() > NACELLE_MAX_RANK) return NACELLE_INVALID_ARGUMENT;
  *type = tensor->type;
  *rank = static_cast<std::uint32_t>(tensor->shape.size());
  std::ranges::transform(tensor->shape, shape, [](std::uint64_t extent) { return static_cast<std::int64_t>(extent); });
  return NACELLE_OK;
}

}  // namespace

ModelConfigAdapter::ModelConfigAdapter(const ModelFiles& files)
    : architecture_(files.architecture()), table_(sdk::make<nacelle_model_config>()) {
  table_.context = const_cast<ModelFiles*>(&files);  // the table's contexts are plain void*; nothing writes through it
  table_.format = files.format() == ModelFormat::kGguf ? NACELLE_FORMAT_GGUF : NACELLE_FORMAT_HUGGINGFACE;
  table_.architecture = sdk::view(architecture_);
  table_.get_integer = get<std::int64_t, std::int64_t, std::int64_t>;
  table_.get_number = get<double, std::int64_t, double>;
  table_.get_bool = get<bool, bool, std::uint32_t>;
  table_.get_string = get_string;
  table_.get_numbers = get_numbers;
  table_.get_item_string = get_item_string;
  table_.get_tensor = get_tensor;
}

}  // namespace nacelle
