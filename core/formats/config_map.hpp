// A model's configuration as loaders ask for it: one flat map, from GGUF metadata or from config.json.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "core/formats/gguf.hpp"

namespace nacelle {

// One scalar or an array of scalars. What holds objects, arrays, nulls or mixed kinds is an array with `nested` set and
// no values.
using ConfigValue = GgufValue;
using ConfigArray = GgufArray;

// Owns the strings that its values point to: movable, not copyable.
struct ConfigMap {
  std::map<std::string, ConfigValue, std::less<>> values;
  std::deque<std::string> texts;  // never moves what it holds

  ConfigMap() = default;
  ConfigMap(ConfigMap&&) = default;
  ConfigMap& operator=(ConfigMap&&) = default;
};

// Adds the members of a JSON object file under `prefix`: {"a": {"b": 1}} gives "a.b". Nulls are left out; of members of
// one name the last counts, as in Python. Throws Error(kCorrupt) with file and byte; bounded in bytes, values and
// depth.
void add_json_config(const std::filesystem::path& path, std::span<const std::byte> file, const std::string& prefix,
                     ConfigMap& config);

}  // namespace nacelle
