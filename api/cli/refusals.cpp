#include "api/cli/refusals.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/base/nearest.hpp"

namespace nacelle::cli {
namespace {

std::string expected(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type.starts_with("UINT")) return "a whole number, 0 or more";
  if (type.starts_with("INT")) return "a whole number";
  if (type.starts_with("FLOAT")) return "a number";
  return type.empty() ? "true or false" : "another value";
}

std::string join(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " ") + text;
  return all;
}

// "Value 9 not in range 1 to 5", CLI11's words: they do not say what would do.
std::string range_refusal(const std::string& what) {
  constexpr std::string_view kRange = " not in range ";
  const auto at = what.find(kRange);
  if (!what.starts_with("Value ") || at == std::string::npos) return what;
  return "expected " + what.substr(at + kRange.size()) + ", not '" + what.substr(6, at - 6) + "'";
}

// A number that is one, but does not fit.
bool is_digits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// The command that was reached: `key new` of `nacelle key new`.
const CLI::App& reached(const CLI::App& root) {
  const CLI::App* app = &root;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return *app;
}

std::string full_name(const CLI::App& app) {
  return app.get_parent() ? full_name(*app.get_parent()) + " " + app.get_name() : app.get_name();
}

// The option that a message of CLI11's begins with, or speaks of.
const CLI::Option* option_of(const std::string& message, const CLI::App& command) {
  const auto at = message.find("--");
  if (at == std::string::npos) return nullptr;
  const std::string name = message.substr(at, message.find_first_of(":= ", at) - at);
  for (const CLI::Option* option : command.get_options())
    if (option->check_name(name)) return option;
  return nullptr;
}

// Words that the command does not know; the first of them is told.
std::string unknown_words(const std::vector<std::string>& words, const CLI::App& command) {
  const std::string word = words.front().substr(0, words.front().find('='));
  const bool wants_command = command.get_require_subcommand_min() > 0;
  std::vector<std::string> names;
  std::string kind = "argument";
  if (word.starts_with("-")) {
    kind = "flag";
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  } else if (wants_command) {
    kind = "command";
    for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(one->get_name());
  }
  const std::string near = nearest(word, names);
  std::string advice = near.empty() ? "" : "; did you mean " + near + "?";
  const auto has = [&](const char* name) { return command.get_option_no_throw(name) != nullptr; };
  if (kind == "argument" && has("--url")) {
    advice = "; a server is given as --url " + word;
  } else if (kind == "argument" && has("--model")) {
    advice = "; a model is given as --model " + word;
  } else if (word == "--model") {
    for (const char* name : {"MODEL", "FILE", "IN"})
      if (has(name)) advice = "; a model is given without a flag: " + full_name(command) + " " + name;
  }
  return "there is no " + kind + " '" + word + "'" + advice;
}

}  // namespace

bool set_by_flag(const CLI::App& command, const CLI::Option* option) {
  const auto& order = command.parse_order();
  return std::find(order.begin(), order.end(), option) != order.end();
}

std::string value_refusal(const CLI::Error& error, const CLI::Option& option, const std::string& shown) {
  if (error.get_name() == "ConversionError") {
    const std::string value = join(option.results());
    return shown + (is_digits(value) ? ": " + value + " is too large"
                                     : ": expected " + expected(option) + ", not '" + value + "'");
  }
  std::string what = error.what();
  const std::string prefix = option.get_name() + ": ";
  if (what.starts_with(prefix)) what.erase(0, prefix.size());
  if (error.get_name() == "RequiredError") return shown + " is required";
  if (error.get_name() == "ArgumentMismatch")
    what = what.starts_with("At Most") ? "may be given only once" : "a value is missing";
  return shown + ": " + range_refusal(what);
}

std::string command_line_refusal(const CLI::Error& error, const CLI::App& root) {
  const CLI::App& command = reached(root);
  const std::string help = full_name(command) + " --help";
  const std::vector<std::string> words = root.remaining(true);
  if (!words.empty()) return unknown_words(words, command) + " (`" + help + "` lists them)";
  const std::string message = error.what();
  if (error.get_name() == "ExcludesError") {
    const auto at = message.find(" excludes ");
    return message.substr(0, at) + " and " + message.substr(at + 10) + " exclude each other";
  }
  if (error.get_name() == "RequiredError" && command.get_require_subcommand_min() > 0)
    return "a command is missing behind '" + full_name(command) + "' (`" + help + "` lists them)";
  const CLI::Option* option = error.get_name() == "RequiresError" ? nullptr : option_of(message, command);
  if (!option) return message + " (see `" + help + "`)";
  const bool by_variable = !option->get_envname().empty() && std::getenv(option->get_envname().c_str());
  return value_refusal(error, *option,
                       by_variable && !set_by_flag(command, option) ? option->get_envname() : option->get_name()) +
         " (see `" + help + "`)";
}

}  // namespace nacelle::cli
