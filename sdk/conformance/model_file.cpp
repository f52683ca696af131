#include "sdk/conformance/model_file.hpp"

#include <algorithm>
#include <cmath>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "sdk/conformance/random_data.hpp"

namespace nacelle::conformance {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse_models(const std::string& what) { throw std::runtime_error("test models: " + what); }

// Nested objects become dotted keys; null is as good as missing.
void flatten(const std::string& key, const Json& value, TestModel& model) {
  if (value.is_object()) {
    for (const auto& [name, inner] : value.items()) flatten(key.empty() ? name : key + "." + name, inner, model);
  } else if (value.is_boolean()) {
    model.config[key] = value.get<bool>();
  } else if (value.is_number_integer()) {
    model.config[key] = value.get<std::int64_t>();
  } else if (value.is_number()) {
    model.config[key] = value.get<double>();
  } else if (value.is_string()) {
    model.config[key] = value.get<std::string>();
  } else if (value.is_array() && !value.empty() && value[0].is_string()) {
    model.config[key] = value.get<std::vector<std::string>>();
  } else if (value.is_array()) {
    model.config[key] = value.get<std::vector<double>>();
  }
}

std::string replaced(std::string text, std::string_view pattern, std::uint32_t number) {
  for (std::size_t at; (at = text.find(pattern)) != std::string::npos;)
    text.replace(at, pattern.size(), std::to_string(number));
  return text;
}

TestTensor read_tensor(const std::string& name, const Json& json) {
  TestTensor tensor;
  tensor.shape = (json.is_object() ? json.at("shape") : json).get<std::vector<std::int64_t>>();
  if (tensor.shape.empty() || tensor.shape.size() > NACELLE_MAX_RANK ||
      std::ranges::any_of(tensor.shape, [](std::int64_t extent) { return extent < 1 || extent > 1 << 20; }))
    refuse_models("tensor " + name + " needs a shape of 1 to 4 extents");
  const bool vector = tensor.shape.size() == 1;
  tensor.scale = vector ? 0.25f : static_cast<float>(std::sqrt(3.0 / static_cast<double>(tensor.shape.back())));
  tensor.offset = vector && name.ends_with(".weight") ? 1 : 0;
  if (!json.is_object()) return tensor;
  tensor.scale = json.value("scale", tensor.scale);
  tensor.offset = json.value("offset", tensor.offset);
  const std::string type = json.value("type", "F32");
  const auto* info = std::ranges::find_if(kTypes, [&](const TypeInfo& of) { return type == of.name; });
  if (info == std::end(kTypes)) refuse_models("tensor " + name + ": there is no type " + type);
  tensor.type = info->type;
  return tensor;
}

void read_tensors(const Json& json, TestModel& model) {
  const std::uint32_t layers = json.value("layers", 0u), experts = json.value("experts", 0u);
  for (const auto& [pattern, of] : json.at("tensors").items()) {
    const bool layered = pattern.find("{layer}") != std::string::npos;
    const bool expert = pattern.find("{expert}") != std::string::npos;
    for (std::uint32_t l = 0; l < (layered ? layers : 1); ++l)
      for (std::uint32_t e = 0; e < (expert ? experts : 1); ++e) {
        const std::string name = replaced(replaced(pattern, "{layer}", l), "{expert}", e);
        model.tensors[name] = read_tensor(name, of);
      }
  }
}

TestModel read_model(const Json& json) {
  TestModel model;
  model.name = json.at("name");
  const std::string format = json.at("format");
  if (format != "gguf" && format != "huggingface")
    refuse_models("model '" + model.name + "': format is '" + format + "', expected gguf or huggingface");
  model.format = format == "gguf" ? NACELLE_FORMAT_GGUF : NACELLE_FORMAT_HUGGINGFACE;
  flatten("", json.at("config"), model);
  read_tensors(json, model);
  model.tokens = json.value("tokens", std::vector<std::uint32_t>{});
  for (const char* name : {"logits", "embedding"})
    for (const Json& row : json.value(name, Json::array())) {
      const auto values = row.is_array() ? row.get<std::vector<float>>() : std::vector{row.get<float>()};
      model.expected.insert(model.expected.end(), values.begin(), values.end());
    }
  if (model.architecture().empty())
    refuse_models("model '" + model.name + "': config has no " +
                  (format == "gguf" ? "general.architecture" : "architectures: [NAME]"));
  return model;
}

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return value;
}

}  // namespace

std::string TestModel::architecture() const {
  const auto found = config.find(format == NACELLE_FORMAT_GGUF ? "general.architecture" : "architectures");
  if (found == config.end()) return {};
  if (const auto* text = std::get_if<std::string>(&found->second)) return *text;
  const auto* list = std::get_if<std::vector<std::string>>(&found->second);
  return list && !list->empty() ? list->front() : std::string();
}

std::vector<std::byte> TestModel::bytes(const std::string& tensor) const {
  const TestTensor& of = tensors.at(tensor);
  std::uint64_t count = 1;
  for (const std::int64_t extent : of.shape) count *= static_cast<std::uint64_t>(extent);
  return random_weight(of.type, count, fnv1a(tensor), of.scale, of.offset);
}

std::vector<TestModel> parse_models(std::string_view text) {
  try {
    std::vector<TestModel> models;
    const Json document = Json::parse(text);
    for (const Json& one : document.at("models")) models.push_back(read_model(one));
    return models;
  } catch (const nlohmann::json::exception& error) {
    refuse_models(error.what());
  }
}

// ---- The table ------------------------------------------------------------------------------------------------------

struct TestConfig::Thunks {
  static const TestConfig& of(void* context) { return *static_cast<const TestConfig*>(context); }

  // Stores the value when it is a From or an Also.
  template <class From, class Also, class To>
  static nacelle_status get(void* context, nacelle_string key, To* value) noexcept {
    const ConfigValue* found = of(context).find(key);
    if (!found) return NACELLE_NOT_FOUND;
    if (const auto* exact = std::get_if<From>(found)) return *value = static_cast<To>(*exact), NACELLE_OK;
    if (const auto* also = std::get_if<Also>(found)) return *value = static_cast<To>(*also), NACELLE_OK;
    return NACELLE_INVALID_ARGUMENT;
  }

  static nacelle_status get_string(void* context, nacelle_string key, nacelle_string* value) noexcept {
    const ConfigValue* found = of(context).find(key);
    if (!found) return NACELLE_NOT_FOUND;
    const auto* text = std::get_if<std::string>(found);
    if (!text) return NACELLE_INVALID_ARGUMENT;
    *value = sdk::view(*text);
    return NACELLE_OK;
  }

  static nacelle_status get_numbers(void* context, nacelle_string key, double* values, std::uint64_t capacity,
                                    std::uint64_t* count) noexcept {
    const ConfigValue* found = of(context).find(key);
    if (!found) return NACELLE_NOT_FOUND;
    std::vector<double> list;
    double scalar = 0;
    if (const auto* numbers = std::get_if<std::vector<double>>(found))
      list = *numbers;
    else if (const nacelle_status status = get<double, std::int64_t>(context, key, &scalar); status != NACELLE_OK)
      return status;
    else
      list = {scalar};
    *count = list.size();
    std::copy_n(list.begin(), std::min<std::uint64_t>(capacity, list.size()), values);
    return NACELLE_OK;
  }

  static nacelle_status get_item_string(void* context, nacelle_string key, std::uint64_t index,
                                        nacelle_string* value) noexcept {
    const ConfigValue* found = of(context).find(key);
    if (!found) return NACELLE_NOT_FOUND;
    const auto* texts = std::get_if<std::vector<std::string>>(found);
    if (!texts) return NACELLE_INVALID_ARGUMENT;
    if (index >= texts->size()) return NACELLE_NOT_FOUND;
    *value = sdk::view((*texts)[index]);
    return NACELLE_OK;
  }

  static nacelle_status get_tensor(void* context, nacelle_string name, nacelle_type* type, std::uint32_t* rank,
                                   std::int64_t* shape) noexcept {
    const auto& tensors = of(context).model_.tensors;
    const auto found = tensors.find(sdk::view(name));
    if (found == tensors.end()) return NACELLE_NOT_FOUND;
    *type = found->second.type;
    *rank = static_cast<std::uint32_t>(found->second.shape.size());
    std::ranges::copy(found->second.shape, shape);
    return NACELLE_OK;
  }
};

TestConfig::TestConfig(const TestModel& model)
    : model_(model), architecture_(model.architecture()), table_(sdk::make<nacelle_model_config>()) {
  table_.context = this;
  table_.format = model.format;
  table_.architecture = sdk::view(architecture_);
  table_.get_integer = Thunks::get<std::int64_t, std::int64_t, std::int64_t>;
  table_.get_number = Thunks::get<double, std::int64_t, double>;
  table_.get_bool = Thunks::get<bool, bool, std::uint32_t>;
  table_.get_string = Thunks::get_string;
  table_.get_numbers = Thunks::get_numbers;
  table_.get_item_string = Thunks::get_item_string;
  table_.get_tensor = Thunks::get_tensor;
}

const ConfigValue* TestConfig::find(nacelle_string key) const {
  const std::scoped_lock lock(mutex_);
  asked_.emplace(sdk::view(key));
  const auto found = model_.config.find(sdk::view(key));
  return found == model_.config.end() ? nullptr : &found->second;
}

std::set<std::string> TestConfig::asked() const {
  const std::scoped_lock lock(mutex_);
  return asked_;
}

}  // namespace nacelle::conformance
