// adapter_config.json as the PEFT library writes it for LoRA.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "core/formats/json.hpp"

namespace nacelle {

class PeftConfig {
 public:
  // Throws Error with one line that names the key: kCorrupt, and kUnsupported for what adds more to a model than
  // low-rank pairs, or asks for other weights below them.
  explicit PeftConfig(const std::filesystem::path& path);

  // Of a pair of `rank` that changes the module `name` ("model.layers.0.mlp.up_proj"), or a parameter that was a target
  // itself ("model.layers.0.mlp.experts.down_proj"): alpha / r, or alpha / sqrt(r)
  // (Kalajdzievski, arXiv 2312.03732). Throws Error(kCorrupt or kUnsupported).
  float scale(std::string_view name, std::uint32_t rank) const;
  // Whether target_parameters name the parameter.
  bool targets_parameter(std::string_view name) const;
  // Weights are stored [inputs, outputs], as GPT-2's are.
  bool transposed() const { return is_set("fan_in_fan_out"); }

 private:
  void check_method() const;
  void check_base() const;
  double alpha(std::string_view name) const;
  const JsonNode* find(std::string_view key) const;
  bool is_set(std::string_view key) const;
  [[noreturn]] void refuse(const std::string& what) const;

  std::filesystem::path path_;
  JsonNode root_;
};

}  // namespace nacelle
