// Settings from the environment and a YAML file, beside the flags. The table of flags is the table of all three: a key
// of the file is a flag's name without "--", a variable is NACELLE_ and that name in upper case.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace nacelle::cli {

// A setting as it counts, and where it comes from.
struct Setting {
  std::string name;
  std::vector<std::string> values;  // one, but for flags that may be repeated; none: left to the program
  std::string source;               // "default", "flag", the variable's name, or "FILE:LINE"
  std::string environment, help;
};

// "max-queue" -> "NACELLE_MAX_QUEUE"
std::string environment_name(const std::string& flag);

// Gives each flag of the command its variable. Before parsing.
void bind_environment(CLI::App& command);

// A line for each variable that is nearly a setting's. Others that begin alike are nobody's business: Kubernetes gives
// a pod beside a service called "nacelle" a NACELLE_SERVICE_HOST and more.
std::vector<std::string> misspelled_variables(const CLI::App& command);

// After parsing: applies the file to what neither flag nor variable has set. Throws Error(kInvalidArgument) with the
// file's name and line: an unknown key (and the nearest known one), a value that the flag would refuse.
void apply_file(CLI::App& command, const std::string& file);

// All settings of a parsed command. `file` is what apply_file() was given; empty: none.
std::vector<Setting> effective_settings(CLI::App& command, const std::string& file);

}  // namespace nacelle::cli
