// config: the settings of `serve` as they count, and where each comes from.
#include <cstdio>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"

namespace nacelle::cli {
namespace {

// A scalar as YAML reads it back: quoted where it could be read as something else.
std::string yaml_scalar(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_of(":#{}[]&*!|>'\"%@`,\\ \n\t") == std::string::npos &&
                     text != "null" && text != "~" && text[0] != '-' && text[0] != '?';
  return plain ? text : Json(text).dump();
}

std::string yaml_value(const Setting& setting) {
  if (setting.values.size() == 1) return yaml_scalar(setting.values[0]);
  std::string list;
  for (const std::string& value : setting.values) list += (list.empty() ? "" : ", ") + yaml_scalar(value);
  return "[" + list + "]";
}

// A file for --config. What is left to the program stands there as a comment.
void print_yaml(const std::vector<Setting>& settings) {
  constexpr int kColumn = 40;
  for (const Setting& setting : settings) {
    const std::string line =
        setting.values.empty() ? "# " + setting.name + ":" : setting.name + ": " + yaml_value(setting);
    std::printf("%-*s  # %s\n", kColumn, line.c_str(), setting.source.c_str());
  }
}

void print_markdown(const std::vector<Setting>& settings) {
  std::printf("| flag and key | variable | default | what it is |\n| --- | --- | --- | --- |\n");
  for (const Setting& setting : settings) {
    std::string help;
    for (const char c : setting.help) help += c == '|' ? std::string("\\|") : std::string(1, c);
    const std::string value = setting.values.empty() ? "" : "`" + setting.values[0] + "`";
    std::printf("| `%s` | `%s` | %s | %s |\n", setting.name.c_str(), setting.environment.c_str(), value.c_str(),
                help.c_str());
  }
}

Json to_json(const std::vector<Setting>& settings) {
  Json list = Json::array();
  for (const Setting& setting : settings)
    list.push_back({{"name", setting.name},
                    {"values", setting.values},
                    {"source", setting.source},
                    {"environment", setting.environment},
                    {"help", setting.help}});
  return list;
}

}  // namespace

int run_command(const ConfigOptions& options) {
  if (options.format == "json") {
    print_json(to_json(options.settings));
  } else if (options.format == "markdown") {
    print_markdown(options.settings);
  } else if (options.format == "yaml") {
    print_yaml(options.settings);
  } else {
    throw Error(ErrorKind::kInvalidArgument, "--format must be yaml, json or markdown, not '" + options.format + "'",
                "format");
  }
  return 0;
}

}  // namespace nacelle::cli
