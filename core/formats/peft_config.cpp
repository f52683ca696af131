#include "core/formats/peft_config.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/base/mapped_file.hpp"
#include "core/formats/file_error.hpp"
#include "core/formats/regex.hpp"

namespace nacelle {
namespace {

using Kind = JsonNode::Kind;

constexpr JsonLimits kLimits{.bytes = 1 << 20, .nodes = 1 << 14};
constexpr std::size_t kMaxPattern = 512;  // characters

std::optional<double> number_of(const JsonNode* node) {
  if (node && node->kind == Kind::kInteger) return static_cast<double>(node->integer);
  if (node && node->kind == Kind::kFloat) return node->number;
  return std::nullopt;
}

// "'lm_head', 'embed_tokens'" of a list, "'lm_head'" of a string, "[0, 4]"; "" of what is empty.
std::string names_of(const JsonNode& node) {
  if (node.kind == Kind::kString) return in_quotes(node.text);
  if (node.kind == Kind::kInteger) return std::to_string(node.integer);
  std::string names;
  for (const JsonNode& item : node.items) {
    const std::string name = item.key.empty() ? names_of(item) : in_quotes(item.key);
    names += (names.empty() ? "" : ", ") + (item.key.empty() && item.kind == Kind::kArray ? "[" + name + "]" : name);
  }
  return names;
}

}  // namespace

PeftConfig::PeftConfig(const std::filesystem::path& path) : path_(path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  root_ = parse_json(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 0, kLimits);
  check_method();
  check_base();
}

void PeftConfig::refuse(const std::string& what) const {
  throw Error(ErrorKind::kUnsupported, path_.string() + ": " + what);
}

// Null is as good as absent.
const JsonNode* PeftConfig::find(std::string_view key) const {
  const JsonNode* node = root_.find(key);
  return node && node->kind != Kind::kNull ? node : nullptr;
}

bool PeftConfig::is_set(std::string_view key) const {
  const JsonNode* node = find(key);
  return node && node->kind == Kind::kBool && node->boolean;
}

void PeftConfig::check_method() const {
  const JsonNode* type = find("peft_type");
  if (!type || type->text != "LORA") refuse("peft_type is " + in_quotes(type ? type->text : "") + ", expected 'LORA'");
  for (const char* key : {"use_dora", "lora_bias", "use_qalora"})
    if (is_set(key)) refuse(std::string(key) + " is true, which is not supported: expected plain LoRA");
  const JsonNode* bias = find("bias");
  if (bias && bias->text != "none")
    refuse("bias is " + in_quotes(bias->text) + ", expected 'none': only low-rank pairs can be added to a model");
  for (const char* key :
       {"modules_to_save", "layer_replication", "trainable_token_indices", "alora_invocation_tokens"}) {
    const JsonNode* node = find(key);
    const std::string names = node ? names_of(*node) : "";
    if (names.empty()) continue;
    refuse(std::string(key) + " has " + names +
           ": only low-rank pairs on whole matrices can be added to a model; train without " + key +
           ", or merge the adapter into the model");
  }
}

// Some ways to begin leave other weights below the pairs than the base model's.
void PeftConfig::check_base() const {
  const JsonNode* start = find("init_lora_weights");
  if (!start || start->kind != Kind::kString) return;
  for (const std::string_view name : {"pissa", "olora", "corda", "loftq", "lora_ga"})
    if (start->text.starts_with(name))
      refuse("init_lora_weights is " + in_quotes(start->text) +
             ", which changes the model's own weights too: save it with path_initial_model_for_weight_conversion");
}

bool PeftConfig::targets_parameter(std::string_view name) const {
  const JsonNode* targets = find("target_parameters");
  return targets && std::ranges::any_of(targets->items, [&](const JsonNode& target) {
           return name == target.text || name.ends_with("." + std::string(target.text));
         });
}

float PeftConfig::scale(std::string_view name, std::uint32_t rank) const {
  const double r = rank;
  return static_cast<float>(alpha(name) / (is_set("use_rslora") ? std::sqrt(r) : r));
}

// alpha_pattern's keys are Python's regular expressions of a name's end; the first that fits counts. They are a
// stranger's: what backtracks without end gives up.
double PeftConfig::alpha(std::string_view name) const {
  if (const JsonNode* patterns = find("alpha_pattern"))
    for (const JsonNode& entry : patterns->items) {
      const auto value = number_of(&entry);
      const std::string what = "alpha_pattern has " + in_quotes(entry.key);
      if (!value) throw Error(ErrorKind::kCorrupt, path_.string() + ": " + what + ": expected a number");
      if (entry.key.size() > kMaxPattern) refuse(what + ", expected 512 characters at most");
      try {
        RegexScratch scratch;
        RegexMatch match;
        if (Regex("\\A(?:.*\\.)?(?:" + entry.key + ")\\z").search(name, 0, scratch, match)) return *value;
      } catch (const Error& error) {
        refuse(what + ", expected names of modules or regular expressions: " + error.what());
      }
    }
  if (const auto value = number_of(find("lora_alpha"))) return *value;
  throw Error(ErrorKind::kCorrupt, path_.string() + ": lora_alpha: expected a number");
}

}  // namespace nacelle
