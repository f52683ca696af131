// A model without a file: a configuration written as JSON, and tensors that have a shape but no bytes.
#pragma once

#include <nacelle/architecture.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nacelle/plugin.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace nacelle::test {

class FakeModel {
 public:
  // `config` is flat for GGUF ("llama.block_count"), nested for Hugging Face.
  FakeModel(std::uint32_t format, std::string architecture, nlohmann::json config)
      : architecture_(std::move(architecture)), config_(std::move(config)), table_(sdk::make<nacelle_model_config>()) {
    table_.context = this;
    table_.format = format;
    table_.architecture = sdk::view(architecture_);
    table_.get_integer = [](void* c, nacelle_string key, std::int64_t* value) {
      return get(c, key, value, [](const nlohmann::json& j) { return j.is_number_integer(); });
    };
    table_.get_number = [](void* c, nacelle_string key, double* value) {
      return get(c, key, value, [](const nlohmann::json& j) { return j.is_number(); });
    };
    table_.get_bool = [](void* c, nacelle_string key, std::uint32_t* value) {
      return get(c, key, value, [](const nlohmann::json& j) { return j.is_boolean(); });
    };
    table_.get_string = [](void* c, nacelle_string key, nacelle_string* value) -> nacelle_status {
      const nlohmann::json* found = self(c).find(key);
      if (!found) return NACELLE_NOT_FOUND;
      if (!found->is_string()) return NACELLE_INVALID_ARGUMENT;
      *value = sdk::view(found->get_ref<const std::string&>());
      return NACELLE_OK;
    };
    table_.get_numbers = [](void* c, nacelle_string key, double* values, std::uint64_t capacity,
                            std::uint64_t* count) -> nacelle_status {
      const nlohmann::json* found = self(c).find(key);
      if (!found) return NACELLE_NOT_FOUND;
      const nlohmann::json list = found->is_array() ? *found : nlohmann::json::array({*found});
      if (!std::ranges::all_of(list, [](const nlohmann::json& item) { return item.is_number(); }))
        return NACELLE_INVALID_ARGUMENT;
      *count = list.size();
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(capacity, list.size()); ++i) values[i] = list[i];
      return NACELLE_OK;
    };
    table_.get_item_string = [](void* c, nacelle_string key, std::uint64_t index,
                                nacelle_string* value) -> nacelle_status {
      const nlohmann::json* found = self(c).find(key);
      if (!found || index >= found->size()) return NACELLE_NOT_FOUND;
      *value = sdk::view((*found)[index].get_ref<const std::string&>());
      return NACELLE_OK;
    };
    table_.get_tensor = [](void* c, nacelle_string name, nacelle_type* type, std::uint32_t* rank,
                           std::int64_t* shape) -> nacelle_status {
      const auto found = self(c).tensors.find(std::string(sdk::view(name)));
      if (found == self(c).tensors.end()) return NACELLE_NOT_FOUND;
      *type = NACELLE_TYPE_F32;
      *rank = static_cast<std::uint32_t>(found->second.size());
      std::ranges::copy(found->second, shape);
      return NACELLE_OK;
    };
  }
  FakeModel(const FakeModel&) = delete;
  FakeModel& operator=(const FakeModel&) = delete;

  const nacelle_model_config& table() const { return table_; }

  std::map<std::string, std::vector<std::int64_t>> tensors;

 private:
  static FakeModel& self(void* context) { return *static_cast<FakeModel*>(context); }

  // A whole key first, as GGUF has them; else a path.
  const nlohmann::json* find(nacelle_string key) const {
    const std::string name(sdk::view(key));
    const nlohmann::json* at = &config_;
    if (at->contains(name)) return at->at(name).is_null() ? nullptr : &at->at(name);
    for (std::size_t begin = 0; begin <= name.size();) {
      const std::size_t end = std::min(name.find('.', begin), name.size());
      const std::string part = name.substr(begin, end - begin);
      if (!at->is_object() || !at->contains(part)) return nullptr;
      at = &at->at(part);
      begin = end + 1;
    }
    return at->is_null() ? nullptr : at;
  }

  template <class T, class Is>
  static nacelle_status get(void* context, nacelle_string key, T* value, Is is) {
    const nlohmann::json* found = self(context).find(key);
    if (!found) return NACELLE_NOT_FOUND;
    if (!is(*found)) return NACELLE_INVALID_ARGUMENT;
    *value = found->get<T>();
    return NACELLE_OK;
  }

  std::string architecture_;
  nlohmann::json config_;
  nacelle_model_config table_;
};

}  // namespace nacelle::test
