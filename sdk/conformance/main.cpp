// nacelle-conformance: holds a plugin against the contract, a backend also against the reference backend. Exits with 0
// where all is well, 1 where a check failed, 2 where it could not begin.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sdk/conformance/architecture.hpp"
#include "sdk/conformance/checks.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/requirements.hpp"
#include "sdk/runtime/content_hash.hpp"
#include "sdk/runtime/manifest.hpp"
#include "sdk/runtime/names.hpp"
#include "sdk/runtime/verdict.hpp"

namespace nacelle::conformance {
namespace {

constexpr const char* kUsage = R"(usage: nacelle-conformance PLUGIN.so [OPTIONS]

Proves a plugin: what its query answers, the rules of its ABI, and
  a backend       results against the reference backend within the bounds of the operation and type, a row's bits in
                  batches and chunks of any size, plans side by side, functions called from many threads, and its speed
  an architecture its answers about test models, whole and damaged, and their graphs on the reference backend

A whole run leaves its verdict beside the plugin, as PLUGIN.so.verdict, where `nacelle plugins` finds it. Exit code: 0 when
all holds, 1 when something does not, 2 when nothing could be checked.

  --op NAME          only cases with this operation ("matmul", "decoder"); the ABI's rules are left out
  --check NAME       only this: plugin, results, rows, contract, speed (backends), model (architectures)
  --device N         the device's index in the plugin; 0 by default
  --models FILE      test models of an architecture; by default those that were built into it
  --reference PATH   the reference backend; by default ../lib/nacelle/plugins/libnacelle_backend_reference.so
  --numerics fastest results alone, of a backend that may use whatever is fastest; by default `stable`
  --config KEY=VALUE a setting that the plugin may ask its host for; may be repeated
  --heap-slack BYTES what the vendor's driver may keep each time a model is loaded and dropped; 0 by default
  --verdict FILE     where the verdict goes; `none`: nowhere
  --list             the cases of backends and whether one must run them; runs nothing
  --json             one document on standard output, and nothing else there
  --one-process      no child process: for debuggers. A crash then ends the program without a verdict
)";

constexpr std::string_view kChecks[] = {"plugin", "results", "rows", "contract", "speed", "model"};

struct Options {
  std::filesystem::path plugin, reference, models, verdict;
  std::string op, check;
  std::uint32_t device = 0, heap_slack = 0;
  bool list = false, json = false, help = false, one_process = false, configured = false;

  bool wants(std::string_view name) const { return check.empty() || check == name; }
  // Only a whole run says something about the plugin.
  bool whole() const { return op.empty() && check.empty() && !configured; }
};

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what + "; see --help"); }

std::filesystem::path default_reference() {
  std::error_code code;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", code);
  return program.parent_path().parent_path() / "lib/nacelle/plugins/libnacelle_backend_reference.so";
}

std::uint32_t parse_number(const std::string& option, const std::string& text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) refuse(option + " " + text + ": expected a number");
  return number;
}

void check_op_name(const std::string& name) {
  bool known = name == "decoder";
  // Ids have gaps, whose name is that of no operation.
  for (std::uint32_t kind = 1; kind <= NACELLE_OP_CONVOLUTION; ++kind)
    known |= name == sdk::op_name(kind) && name != sdk::op_name(0);
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
      if (std::ranges::find(kChecks, options.check) == std::end(kChecks))
        refuse("--check " + options.check + ": expected plugin, results, rows, contract, speed or model");
    } else if (argument == "--device") {
      options.device = parse_number(argument, value());
    } else if (argument == "--heap-slack") {
      options.heap_slack = parse_number(argument, value());
    } else if (argument == "--models") {
      options.models = value();
    } else if (argument == "--verdict") {
      options.verdict = value();
    } else if (argument == "--one-process") {
      options.one_process = true;
    } else if (argument == "--reference") {
      options.reference = value();
    } else if (argument == "--numerics") {
      if (const std::string name = value(); name == "fastest") {
        set_numerics(NACELLE_NUMERICS_FASTEST);
        options.check = "results";
      } else if (name != "stable") {
        refuse("--numerics " + name + ": expected stable or fastest");
      }
    } else if (argument == "--config") {
      const std::string setting = value();
      const std::size_t equals = setting.find('=');
      if (equals == std::string::npos) refuse("--config " + setting + ": expected KEY=VALUE");
      set_config(setting.substr(0, equals), setting.substr(equals + 1));
      options.configured = true;
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

void check_backend(const Plugin& plugin, const Options& options, Report& report, Subject& subject) {
  Backend backend(plugin, options.device);
  backend.heap_slack = options.heap_slack;
  subject = backend.subject();
  std::unique_ptr<Backend> reference;
  if (!backend.is_reference()) reference = std::make_unique<Backend>(options.reference, 0);
  const Run run{backend, reference.get(), report, options.op};
  if (options.wants("results")) check_results(run);
  if (options.wants("rows")) check_rows(run);
  if (options.wants("contract") && options.op.empty()) check_contract(run);
  if (options.wants("speed") && options.op.empty() && !options.json) print_speed(backend);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw std::runtime_error("--models " + path.string() + ": cannot be read");
  return text;
}

void check_models(const Plugin& plugin, const Options& options, Report& report) {
  const std::string text =
      options.models.empty() ? sdk::read_section(plugin.path, ".nacelle.models") : read_text(options.models);
  Backend reference(options.reference, 0);
  check_architecture(plugin, text.empty() ? std::vector<TestModel>{} : parse_models(text), reference, report);
}

int check(const Options& options, Progress& progress) {
  Report report(!options.json, &progress);
  // The sanitizers start a thread of their own with the first one.
  std::thread([] {}).join();
  const unsigned threads = thread_count();
  const Plugin plugin = load_plugin(options.plugin, 0);
  const bool is_backend = plugin.manifest.kind == NACELLE_PLUGIN_BACKEND;
  Subject subject{is_backend ? "backend" : "architecture", plugin.manifest.name, plugin.manifest.version, ""};
  const bool rules = options.wants("plugin") && options.op.empty();
  if (rules) check_query(plugin, report);
  if (is_backend)
    check_backend(plugin, options, report, subject);
  else if (options.wants("model"))
    check_models(plugin, options, report);
  if (rules) check_shutdown(plugin, threads, report);
  if (options.json)
    report.print_json(subject);
  else
    report.print_text(subject);
  return report.passed() ? 0 : 1;
}

int guarded_check(const Options& options, Progress& progress) {
  try {
    return check(options, progress);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nacelle-conformance: %s\n", error.what());
    return 2;
  }
}

// Runs the checks in a child, so that a plugin which crashes is a finding and not the end.
int check_apart(const Options& options, Progress& progress) {
  const pid_t child = fork();
  if (child < 0) return guarded_check(options, progress);
  if (child == 0) std::exit(guarded_check(options, progress));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  ++progress.failed;
  std::snprintf(progress.failure, sizeof progress.failure, "%.150s: the plugin ended the process by signal %d (%s)",
                progress.at, WTERMSIG(status), strsignal(WTERMSIG(status)));
  std::fprintf(stderr, "nacelle-conformance: %s\n", progress.failure);
  return 1;
}

void keep_verdict(const Options& options, const Progress& progress, int result) {
  if (!options.whole() || result == 2 || options.verdict == "none") return;
  sdk::Verdict verdict{sdk::content_hash(options.plugin),
                       result == 0,
                       progress.passed,
                       progress.failed,
                       progress.skipped,
                       progress.failure};
  if (result != 0 && verdict.failure.empty()) verdict.failure = "the program ended with code " + std::to_string(result);
  const auto file = options.verdict.empty() ? sdk::verdict_path(options.plugin) : options.verdict;
  if (!sdk::write_verdict(file, verdict))
    std::fprintf(stderr, "nacelle-conformance: the verdict cannot be kept in %s; --verdict names another file\n",
                 file.c_str());
}

int run_program(int count, char** arguments) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // what was found is told even if the plugin then crashes
  const Options options = parse(count, arguments);
  if (options.help) return std::fputs(kUsage, stdout), 0;
  if (options.list) return list_cases(options), 0;
  sdk::read_manifest(options.plugin);  // another file is refused before anything else
  void* memory = mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("out of memory");
  Progress& progress = *new (memory) Progress;
  const int result = options.one_process ? guarded_check(options, progress) : check_apart(options, progress);
  keep_verdict(options, progress, result);
  return result;
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
