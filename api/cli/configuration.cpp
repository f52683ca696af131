#include "api/cli/configuration.hpp"

#include <fmt/core.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "api/cli/refusals.hpp"
#include "core/base/error.hpp"
#include "core/base/nearest.hpp"

namespace nacelle::cli {
namespace {

// A flag that is a setting: it has a long name, and is none of those that steer the program.
bool is_setting(const CLI::Option& option) {
  const auto& names = option.get_lnames();
  return !names.empty() && names[0] != "help" && names[0] != "config" && names[0] != "format";
}

std::vector<std::string> setting_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    if (is_setting(*option)) names.push_back(option->get_lnames()[0]);
  return names;
}

std::string place(const std::string& file, const YAML::Node& node) {
  return file + ":" + std::to_string(node.Mark().line + 1);
}

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kInvalidArgument, where + ": " + what, "config");
}

YAML::Node load_file(const std::string& file) {
  std::error_code code;
  if (std::filesystem::is_directory(file, code))
    throw Error(ErrorKind::kInvalidArgument, "--config " + file + ": is a folder, expected a YAML file", "config");
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAllFromFile(file);
    const YAML::Node root = documents.empty() ? YAML::Node() : documents.front();
    if (documents.size() > 1) refuse(place(file, documents[1]), "a second document; all settings belong into one");
    if (!root.IsMap() && !root.IsNull())
      refuse(place(file, root), "expected lines 'NAME: VALUE' with the flags' names");
    return root;
  } catch (const YAML::BadFile&) {
    const bool is_there = std::filesystem::exists(file, code);
    throw Error(ErrorKind::kNotFound, "--config " + file + (is_there ? ": cannot be read" : ": no such file"),
                "config");
  } catch (const YAML::ParserException& error) {
    refuse(file + ":" + std::to_string(error.mark.line + 1), "not YAML: " + error.msg);
  }
}

// A scalar, a list, or a map whose members become NAME=VALUE, as --plugin-config has them.
std::vector<std::string> values_of(const YAML::Node& node, const std::string& where) {
  const auto scalar = [&](const YAML::Node& value) {
    if (!value.IsScalar()) refuse(where, "expected a value, a list of values, or NAME: VALUE below it");
    return value.Scalar();
  };
  std::vector<std::string> values;
  if (node.IsSequence()) {
    for (const YAML::Node& item : node) values.push_back(scalar(item));
  } else if (node.IsMap()) {
    for (const auto& item : node) values.push_back(item.first.Scalar() + "=" + scalar(item.second));
  } else {
    values.push_back(scalar(node));
  }
  return values;
}

// Settings that exclude each other: one of a flag or variable is stronger than the file's.
bool overruled(const CLI::Option& option, const std::vector<CLI::Option*>& from_file, const std::string& where) {
  for (const CLI::Option* other : option.get_excludes()) {
    if (other->count() == 0) continue;
    if (std::find(from_file.begin(), from_file.end(), other) != from_file.end())
      refuse(where, option.get_lnames()[0] + " and " + other->get_lnames()[0] + " exclude each other");
    return true;
  }
  return false;
}

}  // namespace

std::string environment_name(const std::string& flag) {
  std::string name = "NACELLE_";
  for (const char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

void bind_environment(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    const auto& names = option->get_lnames();
    if (names.empty() || names[0] == "help") continue;
    const std::string variable = environment_name(names[0]);
    // Kubernetes gives a pod beside the services "nacelle" and "nacelle-manage" a NACELLE_PORT and a
    // NACELLE_MANAGE_PORT of its own: "tcp://10.0.0.1:80".
    const char* value = std::getenv(variable.c_str());
    if (!value || std::string_view(value).find("://") == std::string_view::npos || !names[0].ends_with("port"))
      option->envname(variable);
  }
}

std::vector<std::string> misspelled_variables(const CLI::App& command) {
  constexpr std::string_view kPrefix = "NACELLE_";
  constexpr std::size_t kSlips = 2;
  std::vector<std::string> known, found;
  for (const CLI::Option* option : command.get_options())
    if (!option->get_lnames().empty()) known.push_back(environment_name(option->get_lnames()[0]));
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view name = std::string_view(*entry).substr(0, std::string_view(*entry).find('='));
    if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 2 * kSlips) continue;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = nearest(name, known);
    if (!near.empty() && edit_distance(name, near) <= kSlips)
      found.push_back(std::string(name) + " is no setting; did you mean " + near + "?");
  }
  return found;
}

void apply_file(CLI::App& command, const std::string& file) {
  std::vector<CLI::Option*> seen, applied;
  for (const auto& item : load_file(file)) {
    const std::string name = item.first.Scalar();
    const std::string where = place(file, item.first);
    CLI::Option* option = command.get_option_no_throw("--" + name);
    if (!option || !is_setting(*option)) {
      refuse(where, "there is no setting '" + name + "' of '" + command.get_name() + "'" +
                        did_you_mean(name, setting_names(command)));
    }
    if (std::find(seen.begin(), seen.end(), option) != seen.end()) refuse(where, name + " is there twice");
    seen.push_back(option);
    if (option->count() > 0 || item.second.IsNull() || overruled(*option, applied, where)) continue;
    try {
      option->add_result(values_of(item.second, where));
      option->run_callback();
    } catch (const CLI::Error& error) {
      const bool many = item.second.size() > 1 && error.get_name() == "ArgumentMismatch";
      refuse(where, many ? fmt::format("{}: expected one value, not {}", name, item.second.size())
                         : value_refusal(error, *option, name));
    }
    applied.push_back(option);
  }
}

std::vector<Setting> effective_settings(CLI::App& command, const std::string& file) {
  const YAML::Node root = file.empty() ? YAML::Node() : load_file(file);
  std::vector<Setting> settings;
  for (CLI::Option* option : command.get_options()) {
    if (!is_setting(*option)) continue;
    Setting setting{option->get_lnames()[0], {}, "default", option->get_envname(), option->get_description()};
    if (option->count() > 0) {
      setting.values = option->results();
      if (set_by_flag(command, option)) {
        setting.source = "flag";
      } else if (!setting.environment.empty() && std::getenv(setting.environment.c_str())) {
        setting.source = setting.environment;
      } else {
        for (const auto& item : root)
          if (item.first.Scalar() == setting.name) setting.source = place(file, item.first);
      }
    } else {
      if (option->get_default_str().empty()) option->capture_default_str();
      const std::string text = option->get_default_str();
      if (!text.empty() && text != "[]" && text != "\"\"") setting.values = {text};
    }
    settings.push_back(std::move(setting));
  }
  return settings;
}

}  // namespace nacelle::cli
