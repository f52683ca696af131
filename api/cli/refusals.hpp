// What is wrong with a command line or a setting, in one line: what was given, what was expected, where to look.
// CLI11's own messages take several lines and do not say what was expected.
#pragma once

#include <string>

namespace CLI {
class App;
class Error;
class Option;
}  // namespace CLI

namespace nacelle::cli {

// Of a value that `option` refused; `shown` is where the user gave it: a flag, a variable or a key of a file.
std::string value_refusal(const CLI::Error& error, const CLI::Option& option, const std::string& shown);

// Of a command line; `root` is what tried to parse it.
std::string command_line_refusal(const CLI::Error& error, const CLI::App& root);

// Whether a flag of the command line set the option, and not its variable.
bool set_by_flag(const CLI::App& command, const CLI::Option* option);

}  // namespace nacelle::cli
