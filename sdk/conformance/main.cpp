// nacelle-conformance: holds a backend plugin against the contract and against the reference backend. Exits with 0
// where all is well, 1 where a check failed, 2 where it could not begin.
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "sdk/conformance/checks.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/requirements.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::conformance {
namespace {

constexpr const char* kUsage = R"(usage: nacelle-conformance PLUGIN.so [OPTIONS]

Runs every operation on a backend plugin: results against the reference backend within the bounds of the operation and
type, a row's bits in batches and chunks of any size, and the rules of the backend ABI.

  --op NAME          only cases with this operation ("matmul", "decoder"); the ABI's rules are left out
  --check NAME       only "results", "rows" or "contract"
  --device N         the device's index in the plugin; 0 by default
  --reference PATH   the reference backend; by default ../lib/nacelle/plugins/libnacelle_backend_reference.so
  --config KEY=VALUE a setting that the plugin may ask its host for; may be repeated
  --list             the cases and whether a backend must run them; runs nothing
  --json             one document on standard output, and nothing else there
)";

struct Options {
  std::filesystem::path plugin, reference;
  std::string op, check;
  std::uint32_t device = 0;
  bool list = false, json = false, help = false;
};

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what + "; see --help"); }

std::filesystem::path default_reference() {
  std::error_code code;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", code);
  return program.parent_path().parent_path() / "lib/nacelle/plugins/libnacelle_backend_reference.so";
}

std::uint32_t parse_index(const std::string& text) {
  std::uint32_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc() || end != text.data() + text.size()) refuse("--device " + text + ": expected an index");
  return index;
}

void check_op_name(const std::string& name) {
  bool known = name == "decoder";
  for (std::uint32_t kind = 1; kind <= NACELLE_OP_LOGITS_SELECT; ++kind) known |= name == sdk::op_name(kind);
  if (!known) refuse("--op " + name + ": there is no such operation");
}

Options parse(int count, char** arguments) {
  Options options;
  options.reference = default_reference();
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const auto value = [&]() -> std::string {
      if (++i >= count) refuse(argument + ": a value is missing");
      return arguments[i];
    };
    if (argument == "--op") {
      check_op_name(options.op = value());
    } else if (argument == "--check") {
      options.check = value();
      if (options.check != "results" && options.check != "rows" && options.check != "contract")
        refuse("--check " + options.check + ": expected results, rows or contract");
    } else if (argument == "--device") {
      options.device = parse_index(value());
    } else if (argument == "--reference") {
      options.reference = value();
    } else if (argument == "--config") {
      const std::string setting = value();
      const std::size_t equals = setting.find('=');
      if (equals == std::string::npos) refuse("--config " + setting + ": expected KEY=VALUE");
      set_config(setting.substr(0, equals), setting.substr(equals + 1));
    } else if (argument == "--list") {
      options.list = true;
    } else if (argument == "--json") {
      options.json = true;
    } else if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument.starts_with("-")) {
      refuse("there is no option " + argument);
    } else if (options.plugin.empty()) {
      options.plugin = argument;
    } else {
      refuse("one plugin at a time: " + argument);
    }
  }
  if (options.plugin.empty() && !options.list && !options.help) refuse("which plugin?");
  return options;
}

void list_cases(const Options& options) {
  for (const Case& of : all_cases()) {
    if (!options.op.empty() && options.op != subject_name(of)) continue;
    std::printf("%-16s %-9s %s\n", subject_name(of).c_str(), is_required(of) ? "required" : "", of.name.c_str());
  }
}

int check(const Options& options) {
  Backend backend(options.plugin, options.device);
  std::unique_ptr<Backend> reference;
  if (!backend.is_reference()) reference = std::make_unique<Backend>(options.reference, 0);
  Report report(!options.json);
  const Run run{backend, reference.get(), report, options.op};
  const auto wants = [&](const char* name) { return options.check.empty() || options.check == name; };
  if (wants("results")) check_results(run);
  if (wants("rows")) check_rows(run);
  if (wants("contract") && options.op.empty()) check_contract(run);
  if (options.json)
    report.print_json(backend);
  else
    report.print_text(backend);
  return report.passed() ? 0 : 1;
}

int run_program(int count, char** arguments) {
  const Options options = parse(count, arguments);
  if (options.help) return std::fputs(kUsage, stdout), 0;
  if (options.list) return list_cases(options), 0;
  return check(options);
}

}  // namespace
}  // namespace nacelle::conformance

int main(int count, char** arguments) {
  try {
    return nacelle::conformance::run_program(count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nacelle-conformance: %s\n", error.what());
    return 2;
  }
}
