// config.json, flattened.
#include "core/formats/config_map.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/formats/file_error.hpp"
#include "core/formats/json.hpp"

namespace nacelle {
namespace {

// Real ones stay under a megabyte, label tables included.
constexpr JsonLimits kLimits{.bytes = 16 << 20, .nodes = 1 << 18, .infinity = true};

// A long name above many values would be repeated in each of their paths.
constexpr std::size_t kMaxPathBytes = 1024;

using Kind = JsonNode::Kind;

// transformers 5 writes numbers that JSON does not know as {"__float__": "Infinity"}.
void read_tagged_numbers(JsonNode& node) {
  for (JsonNode& item : node.items) read_tagged_numbers(item);
  if (node.kind != Kind::kObject || node.items.size() != 1 || node.items[0].key != "__float__") return;
  const std::string& text = node.items[0].text;
  if (text != "Infinity" && text != "-Infinity") return;
  node.kind = Kind::kFloat;
  node.number = text[0] == '-' ? -INFINITY : INFINITY;
}

class Flattener {
 public:
  Flattener(const std::filesystem::path& file, ConfigMap& config) : file_(file), config_(config) {}

  void add(const std::string& path, const JsonNode& node) {
    if (path.size() > kMaxPathBytes) {
      fail_at(file_, "member " + in_quotes(path), node.offset,
              "has a path of more than " + std::to_string(kMaxPathBytes) + " bytes");
    }
    switch (node.kind) {
      case Kind::kNull: config_.values.erase(path); return;
      case Kind::kObject:
        for (const JsonNode& member : node.items) add(path.empty() ? member.key : path + "." + member.key, member);
        return;
      case Kind::kArray: config_.values.insert_or_assign(path, array(node)); return;
      case Kind::kBool: config_.values.insert_or_assign(path, node.boolean); return;
      case Kind::kInteger: config_.values.insert_or_assign(path, node.integer); return;
      case Kind::kFloat: config_.values.insert_or_assign(path, node.number); return;
      case Kind::kString: config_.values.insert_or_assign(path, text(node)); return;
    }
  }

 private:
  std::string_view text(const JsonNode& node) { return config_.texts.emplace_back(node.text); }

  static bool all(const JsonNode& node, std::initializer_list<Kind> kinds) {
    return std::ranges::all_of(node.items,
                               [&](const JsonNode& item) { return std::ranges::count(kinds, item.kind) != 0; });
  }

  template <typename Convert>
  static ConfigArray collect(const JsonNode& node, Convert convert) {
    std::vector<decltype(convert(node))> values;
    values.reserve(node.items.size());
    for (const JsonNode& item : node.items) values.push_back(convert(item));
    return {.values = std::move(values)};
  }

  ConfigArray array(const JsonNode& node) {
    if (all(node, {Kind::kInteger})) return collect(node, [](const JsonNode& item) { return item.integer; });
    if (all(node, {Kind::kInteger, Kind::kFloat})) {
      return collect(node, [](const JsonNode& item) {
        return item.kind == Kind::kFloat ? item.number : static_cast<double>(item.integer);
      });
    }
    if (all(node, {Kind::kBool})) return collect(node, [](const JsonNode& item) { return item.boolean; });
    if (all(node, {Kind::kString})) return collect(node, [this](const JsonNode& item) { return text(item); });
    return {.values = {}, .nested = true};
  }

  const std::filesystem::path& file_;
  ConfigMap& config_;
};

}  // namespace

void add_json_config(const std::filesystem::path& path, std::span<const std::byte> file, const std::string& prefix,
                     ConfigMap& config) {
  JsonNode root = parse_json(path, {reinterpret_cast<const char*>(file.data()), file.size()}, 0, kLimits);
  if (root.kind != Kind::kObject) fail_at(path, "JSON", 0, "expected an object");
  read_tagged_numbers(root);
  Flattener(path, config).add(prefix, root);
}

}  // namespace nacelle
