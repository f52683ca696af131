// Test models of an architecture: configuration, tensors and expected logits, from the JSON that nacelle_add_plugin has
// put into the plugin (MODELS) or that --models names. docs/sdk/architecture.md describes the format.
#pragma once

#include <nacelle/architecture.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nacelle::conformance {

using ConfigValue =
    std::variant<std::int64_t, double, bool, std::string, std::vector<double>, std::vector<std::string>>;

struct TestTensor {
  nacelle_type type = NACELLE_TYPE_F32;
  std::vector<std::int64_t> shape;
  float scale = 0, offset = 0;
};

struct TestModel {
  std::string name;
  std::uint32_t format = 0;                                // NACELLE_FORMAT_*
  std::map<std::string, ConfigValue, std::less<>> config;  // by key, nested ones with dots
  std::map<std::string, TestTensor, std::less<>> tensors;  // by full name
  std::vector<std::uint32_t> tokens;
  std::vector<float> expected;  // logits of each token's row, or the embedding; empty: none are stored

  // config.json's architectures[0], or general.architecture.
  std::string architecture() const;
  // A tensor's bytes, which follow from its name alone.
  std::vector<std::byte> bytes(const std::string& tensor) const;
};

// Throws std::runtime_error that says where the text is wrong.
std::vector<TestModel> parse_models(std::string_view text);

// What an architecture plugin sees of a test model. `model` must outlive it; any thread.
class TestConfig {
 public:
  explicit TestConfig(const TestModel& model);
  TestConfig(const TestConfig&) = delete;
  TestConfig& operator=(const TestConfig&) = delete;

  const nacelle_model_config* table() const { return &table_; }
  // The keys that the plugin has asked for, with or without success.
  std::set<std::string> asked() const;

 private:
  struct Thunks;
  const ConfigValue* find(nacelle_string key) const;

  const TestModel& model_;
  std::string architecture_;
  mutable std::mutex mutex_;
  mutable std::set<std::string> asked_;
  nacelle_model_config table_;
};

}  // namespace nacelle::conformance
