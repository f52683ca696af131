// The table of commands and flags.
#include "api/cli/options.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "api/cli/configuration.hpp"
#include "api/cli/refusals.hpp"
#include "api/version.hpp"

namespace nacelle::cli {
namespace {

using CLI::App;

// What is added from here on stands below this line of --help.
void heading(App& app, const char* title) { app.option_defaults()->group(title); }
constexpr const char* kFirst = "Options";  // CLI11's own, above all others

// At least 1, without a word of it in --help.
CLI::Validator at_least_one() {
  return {[](std::string& text) { return text == "0" ? std::string("expected 1 or more, not 0") : std::string(); }, ""};
}

constexpr const char* kCacheTypeHelp =
    "of keys and values: f32, f16, bf16, q8_0 or q4_0; or k=TYPE,v=TYPE (default: f32 for an F32 model, else f16)";

// What a shell makes of a variable that is not set; without a word of it in --help.
CLI::Validator named_model() {
  return {
      [](std::string& text) {
        return text.empty()
                   ? std::string("expected a path or hf:ORG/NAME, not ''; left out, the built-in demo model is taken")
                   : std::string();
      },
      ""};
}

constexpr const char* kModelHelp =
    "a GGUF file, a split's first part, a Hugging Face folder, or hf:ORG/NAME[@REVISION][:FILE]";

void add_json(App& app, bool& json) {
  app.add_flag("--json", json, "one JSON document on standard output, and nothing else there");
}

void add_log_flags(App& app, std::string& level, std::string& format) {
  heading(app, "Log");
  app.add_option("--log-level", level, "trace, debug, info, warning, error or off")->capture_default_str();
  app.add_option("--log-format", format, "text or json")->capture_default_str();
}

void add_model_cache(App& app, std::filesystem::path& cache) {
  app.add_option("--model-cache", cache,
                 "a folder: where fetched models lie (default: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub)");
}

// "6G", "6GiB", "512m" or bytes: a unit is 1024 of the one before.
std::uint64_t parse_size(const std::string& text) {
  constexpr double kMost = 1e18;
  constexpr std::string_view kUnits = "kmgt";
  char* end = nullptr;
  double size = std::isdigit(static_cast<unsigned char>(text[0])) ? std::strtod(text.c_str(), &end) : -1;
  std::string unit = end ? end : "";
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto power = unit.empty() ? std::string_view::npos : kUnits.find(unit[0]);
  if (power != std::string_view::npos) size = std::ldexp(size, static_cast<int>(10 * (power + 1))), unit.erase(0, 1);
  if (!(size >= 0 && size <= kMost) || (unit != "" && unit != "b" && unit != "ib"))
    throw CLI::ValidationError("--max-memory", "'" + text + "' is no size; expected bytes, or as 6G, 512M");
  return static_cast<std::uint64_t>(size);
}

void add_plugin_folders(App& app, HostFlags& flags) {
  heading(app, "Plugins");
  app.add_option("--plugin-dir", flags.plugin_folders, "a further folder of plugins; may be repeated");
  app.add_option("--plugin-sha256", flags.allowed_sha256, "load only plugins with one of these digests")
      ->check([](const std::string& text) -> std::string {
        const bool is_digest = text.size() == 64 && text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
        return is_digest ? "" : "expected 64 hexadecimal digits, as sha256sum prints them, not '" + text + "'";
      });
}

void add_host_flags(App& app, HostFlags& flags, bool json) {
  heading(app, kFirst);
  if (json) add_json(app, flags.json);
  heading(app, "Threads and memory");
  app.add_option("--threads", flags.threads, "compute threads (default: the CPU budget of this process)");
  app.add_option_function<std::string>(
         "--max-memory", [&flags](const std::string& text) { flags.max_memory = parse_size(text); },
         "bytes of host memory that models may take together, as 6G: a model that is loaded while the server runs "
         "takes the place of those that nobody asked for the longest time (default: what is there)")
      ->default_str("0");
  app.add_flag("--pin-threads", flags.pin_threads,
               "bind each thread to a core of its own; only where no other process computes");
  add_plugin_folders(app, flags);
  app.add_option("--plugin-config", flags.plugin_settings, "KEY=VALUE, a setting that plugins can read");
  app.add_option("--isa-cap", flags.isa_cap, "CPU kernels of this level or below: portable, avx2, avx512vnni, ...");
  app.add_option(
      "--isolate", flags.isolated,
      "a backend whose plugin runs in a process of its own, and is started again when that dies; may be repeated");
  app.add_option("--isolate-timeout", flags.isolate_timeout,
                 "seconds after which a step of an isolated plugin counts as hung; loading may take ten times that")
      ->capture_default_str()
      ->check(CLI::Range(1u, 86400u));
  add_log_flags(app, flags.log_level, flags.log_format);
}

// "5s", "250ms" or seconds as a bare number.
std::chrono::nanoseconds parse_duration(const char* flag, const std::string& text) {
  constexpr double kMost = 3600;
  char* end = nullptr;
  double seconds = std::strtod(text.c_str(), &end);
  const std::string_view unit = end;
  if (unit == "ms") seconds /= 1000;
  if (end == text.c_str() || (unit != "" && unit != "s" && unit != "ms") || !(seconds >= 0 && seconds <= kMost))
    throw CLI::ValidationError(flag, "'" + text + "' is no duration; expected 5s, 250ms or seconds, up to an hour");
  return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
}

void add_duration(App& app, const char* name, std::chrono::nanoseconds& value, const char* help) {
  app.add_option_function<std::string>(
      name, [name, &value](const std::string& text) { value = parse_duration(name, text); }, help);
}

void add_placement(App& app, ModelFlags& flags) {
  heading(app, "Device and sizes");
  auto* device = app.add_option("--device", flags.device, "BACKEND or BACKEND:INDEX (default: the fastest usable one)");
  app.add_option("--split", flags.split, "layers by device, in order: cpu:0=4,vulkan:0=8")->excludes(device);
}

// What decides how much memory a model takes.
void add_sizes(App& app, ModelFlags& flags) {
  heading(app, "Device and sizes");
  app.add_option("--context", flags.context, "tokens of the longest sequence (default: the model's, as memory allows)");
  app.add_option("--cache-tokens", flags.cache_tokens, "KV tokens of all sequences together (default: from memory)");
  app.add_option("--cache-type", flags.cache_type, kCacheTypeHelp);
  app.add_option("--max-sequences", flags.max_sequences, "sequences that run at once")
      ->check(at_least_one())
      ->capture_default_str();
  app.add_option("--batch-tokens", flags.batch_tokens, "token budget of a step")
      ->check(at_least_one())
      ->capture_default_str();
}

void add_kernels(App& app, ModelFlags& flags) {
  heading(app, "Kernels and caches");
  app.add_option("--numerics", flags.numerics,
                 "stable: a row has the same bits in every batch; fastest: a GPU may use its vendor's library, which "
                 "does not promise that")
      ->capture_default_str();
  app.add_option("--kernel", flags.kernels, "OP.TYPE=VARIANT, as in matmul.q8_0=NAME: run this one; may be repeated");
}

// `budget` names the flag of the tuning budget.
void add_model_flags(App& app, ModelFlags& flags, const char* budget = "--tune-budget") {
  add_placement(app, flags);
  add_sizes(app, flags);
  add_kernels(app, flags);
  app.add_option("--packed-cache", flags.packed_cache,
                 "a folder: keep packed weights there, about the model's size, for faster starts (default: none)");
  add_model_cache(app, flags.model_cache);
  add_duration(app, budget, flags.tune_budget,
               "time for measuring kernels while loading, as 5s (default: 3s for `tune`, else none)");
}

void add_path(App& app, std::string& path) { app.add_option("--model", path, kModelHelp)->check(named_model()); }

// `off`: 0 is one too.
void add_seconds(App& app, const char* name, std::chrono::milliseconds& value, const char* help, bool off = false) {
  app.add_option_function<double>(
         name,
         [name, &value, off](double seconds) {
           if (!(seconds >= 0.001 && seconds <= 86400) && !(off && seconds == 0))
             throw CLI::ValidationError(name, fmt::format("expected {} and at most 86400 seconds, not {}",
                                                          off ? "0, or at least 0.001" : "more than 0", seconds));
           value = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
         },
         help)
      ->default_str(fmt::format("{}", static_cast<double>(value.count()) / 1000));
}

// A browser's `Origin` has scheme, host and port alone, so anything longer would never be met.
CLI::Validator origin() {
  return {[](std::string& text) {
            const auto host = text.starts_with("https://") ? 8 : text.starts_with("http://") ? 7 : 0;
            const bool good = text.empty() || text == "*" ||
                              (host > 0 && text.size() > static_cast<std::size_t>(host) &&
                               text.find_first_of("/ ,*", static_cast<std::size_t>(host)) == std::string::npos);
            return good ? std::string() : "expected *, or as https://app.example without a path, not '" + text + "'";
          },
          ""};
}

void add_served_models(App& app, ServeOptions& o) {
  heading(app, "Models");
  app.add_option(
         "--model", o.models,
         "[NAME=]PATH[,device=DEVICE] or [NAME=]hf:ORG/NAME[@REVISION][:FILE], may be repeated; several of one name "
         "share its requests (default: the built-in demo model)")
      ->check(named_model());
  app.add_option("--lora", o.loras, "NAME=PATH[,model=MODEL]: an adapter that requests may name; may be repeated");
  app.add_option(
      "--alias", o.aliases,
      "NAME[=MODEL]: another name that requests may ask for, as gpt-4o or gpt-*; MODEL: the first by default; "
      "may be repeated");
  app.add_option("--max-loras", o.model.max_loras,
                 "adapters that run at once (default: 4 with --lora, else none can be loaded)");
  app.add_option("--max-lora-rank", o.model.max_lora_rank, "the largest of an adapter; each slot takes memory for it")
      ->check(CLI::Range(1, 512))
      ->capture_default_str();
  app.add_flag("--lora-embeddings", o.model.lora_embeddings,
               "adapters may change the embedding of tokens too: each step then takes its changes from the host");
  app.add_flag("--lora-experts", o.model.lora_experts,
               "adapters may change a mixture's experts too: each slot then takes memory for every expert's pairs");
}

void add_listeners(App& app, ServeOptions& o) {
  heading(app, "Listening");
  app.add_option("--host", o.address, "address to listen on")->capture_default_str();
  app.add_option("--port", o.port, "port to listen on; 0 picks a free one and prints it")
      ->check(CLI::Range(0, 65535).description(""))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--manage-port", [&o](const std::string& port) { o.manage_port = port, o.manage_port_set = true; },
         "models, devices, plugins, metrics for operators; 0 or off: none; the default gives way where it is taken")
      ->default_str(o.manage_port);
  app.add_option("--manage-host", o.manage_address,
                 "the management port's address; another than the loopback needs --api-keys")
      ->capture_default_str();
  app.add_option("--api-keys", o.key_file, "file of hashed keys, see `nacelle key new`; read again when it changes");
  app.add_option("--tls-cert", o.http.tls_certificate, "certificate chain in PEM; read again when it changes");
  app.add_option("--tls-key", o.http.tls_key, "the certificate's private key in PEM");
  app.add_option("--drain-seconds", o.drain_seconds, "seconds that answers under way may take after SIGTERM")
      ->capture_default_str();
}

void add_requests(App& app, ServeOptions& o) {
  heading(app, "Requests");
  app.add_option("--max-queue", o.max_queue, "requests that wait for their turn; one more gets 429")
      ->capture_default_str();
  app.add_option("--max-queue-per-client", o.max_queue_per_client, "requests under way of one API key; 0: no limit");
  app.add_flag("--no-prefix-cache", o.no_prefix_cache, "compute each prompt anew, also where its beginning is known");
  auto* off = app.add_flag("--no-speculation", o.no_speculation, "never guess tokens ahead");
  auto* draft = app.add_option("--draft-model", o.draft_model,
                               "a smaller model with the same tokens, to guess ahead for every --model")
                    ->excludes(off);
  app.add_option("--draft-tokens", o.draft_tokens, "the most that the draft model guesses at once")
      ->check(CLI::Range(1, 16))
      ->needs(draft)
      ->capture_default_str();
}

void add_connections(App& app, http::ServerOptions& o) {
  heading(app, "Connections");
  app.add_option("--max-body-bytes", o.max_body_bytes, "of a request; 413 beyond")->capture_default_str();
  app.add_option("--max-header-bytes", o.max_header_bytes, "of a request; 431 beyond")->capture_default_str();
  app.add_option("--max-connections", o.max_connections, "open at once; one more gets 503")
      ->check(at_least_one())
      ->capture_default_str();
  app.add_option("--max-unsent-bytes", o.max_unsent_bytes, "of a stream whose reader lags")->capture_default_str();
  add_seconds(app, "--header-timeout", o.header_timeout,
              "seconds from a request's first byte to the end of its header");
  add_seconds(app, "--body-timeout", o.body_timeout, "seconds for the whole body");
  add_seconds(app, "--idle-timeout", o.idle_timeout, "seconds between two requests of a connection");
  add_seconds(app, "--write-timeout", o.write_timeout, "seconds in which a client takes nothing");
  add_seconds(app, "--sse-keep-alive", o.keep_alive,
              "seconds without a byte after which a stream says that it is alive; 0: never", true);
  add_seconds(app, "--stream-gather", o.stream_gather,
              "seconds that a token may wait to go out with the next ones of its stream, where more than 16 streams "
              "get theirs in steps as short as this; 0: none waits",
              true);
  app.add_option("--cors-origin", o.cors_origin, "site whose pages may call the API, or * (default: none)")
      ->check(origin());
}

void set_up(App& app, ServeOptions& o) {
  add_served_models(app, o);
  add_listeners(app, o);
  add_requests(app, o);
  add_connections(app, o.http);
  add_model_flags(app, o.model);
  add_host_flags(app, o.host, false);
}

void set_up(App& app, RunOptions& o) {
  o.host.log_level = "warning";  // what loads how is not what the user of a terminal asked for
  add_path(app, o.path);
  app.add_option("--prompt", o.prompt, "the question; without it a chat in the terminal");
  app.add_option("--system", o.system, "the system message");
  app.add_flag("--raw", o.raw, "no chat template: the prompt, or BOS alone, goes on as text");
  app.add_flag("--greedy", o.greedy, "always the most likely token");
  app.add_option("-n,--max-tokens", o.max_tokens, "most tokens of an answer (default: as the context allows)");
  app.add_flag("--ignore-eos", o.ignore_eos, "go on past the model's own end");
  app.add_option("--stop", o.stop, "text that ends the answer; may be repeated");
  app.add_option("--temperature", o.temperature, "0: as --greedy")->capture_default_str();
  app.add_option("--top-k", o.top_k, "0: off; these as in docs/sampling.md")->capture_default_str();
  app.add_option("--top-p", o.top_p, "1: off")->capture_default_str();
  app.add_option("--min-p", o.min_p, "0: off")->capture_default_str();
  app.add_option("--repetition-penalty", o.repetition_penalty, "1: off")->capture_default_str();
  app.add_option("--seed", o.seed, "the same seed gives the same answer (default: random)");
  add_model_flags(app, o.model);
  add_host_flags(app, o.host, true);
}

void set_up(App& app, BenchOptions& o) {
  add_path(app, o.path);
  app.add_option("--prompt", o.prompt, "tokens of the prompt")->capture_default_str();
  app.add_option("--gen", o.gen, "tokens to generate")->capture_default_str();
  app.add_option(
         "--repeat", o.repeat,
         "runs of each figure, of which the median counts; OF LIMIT is a share of what the machine could do just "
         "before or after each")
      ->capture_default_str();
  app.add_option("--depth", o.depth, "tokens in the context before generation is timed")->capture_default_str();
  app.add_option("--batch", o.batch, "N,N: also generate with N sequences at once")->delimiter(',');
  app.add_option("--temperature", o.temperature, "0: greedy")->capture_default_str();
  app.add_option("--top-p", o.top_p, "1: off")->capture_default_str();
  app.add_option("--compare", o.compare, "an earlier document of --json: print the ratio of each figure to it");
  app.add_option("--threshold", o.threshold, "with --compare: exit 1 where a ratio is less, as 0.95")
      ->capture_default_str();
  add_model_flags(app, o.model);
  add_host_flags(app, o.host, true);
}

void set_up(App& app, PluginsOptions& o) { add_host_flags(app, o.host, true); }
void set_up(App& app, DevicesOptions& o) { add_host_flags(app, o.host, true); }

void set_up(App& app, KernelsOptions& o) {
  add_path(app, o.path);
  add_model_flags(app, o.model);
  add_host_flags(app, o.host, true);
}

void set_up(App& app, TuneOptions& o) {
  add_path(app, o.path);
  o.model.tune_budget = std::chrono::seconds(3);  // a 1B model, loading included, then takes under 5 s
  add_model_flags(app, o.model, "--budget");
  add_host_flags(app, o.host, true);
}

void set_up(App& app, InspectOptions& o) {
  app.add_option("FILE", o.path,
                 "a GGUF file, a split's first part, a Hugging Face folder, or what --model of `run` takes");
  add_model_cache(app, o.model.model_cache);
  app.add_flag("--fit", o.fit, "whether it fits each device as the following say, what it takes, and else what would");
  add_placement(app, o.model);
  add_sizes(app, o.model);
  add_host_flags(app, o.host, true);
}

void set_up(App& app, EvalOptions& o) {
  app.add_option("MODEL", o.models, "as for `run --model`; several make a table")->required();
  app.add_option("--text", o.text, "a file to read")->required();
  app.add_option("--base", o.base, "the model before it was quantised: what KL divergence and agreement are against");
  app.add_option("--context", o.window, "tokens of a window, whose second half is scored")->capture_default_str();
  app.add_option("--windows", o.windows, "how many of the text's to read (default: all)");
  app.add_flag("--special", o.special, "read <|im_end|> and the like in the text as the tokens that they spell");
  app.add_option("--kv", o.kv,
                 std::string("evaluate each MODEL with this KV cache; may be repeated; ") + kCacheTypeHelp);
  app.add_option("--svg", o.svg, "a file: draw size against loss there");
  add_placement(app, o.model);
  add_kernels(app, o.model);
  add_model_cache(app, o.model.model_cache);
  add_host_flags(app, o.host, true);
}

void set_up(App& app, KeyOptions& o) {
  App* create =
      app.add_subcommand("new", "make a key: give its text to the client, its line to the file of --api-keys");
  create->add_option("NAME", o.name, "who it is for, as the log shows it")->required();
  create->add_option("--role", o.roles, "infer, manage (which includes infer)")->capture_default_str();
  add_json(*create, o.json);
  app.require_subcommand(1);
}

void set_up(App& app, PullOptions& o) {
  app.add_option("MODEL", o.models, "hf:ORG/NAME[@REVISION][:FILE], https://..., or a folder in OCI image layout")
      ->required();
  app.add_option("--sha256", o.sha256, "that the file of a URL must have");
  app.add_option("--retries", o.retries, "in a row without a byte more")->capture_default_str();
  add_json(app, o.json);
  add_model_cache(app, o.model_cache);
  add_log_flags(app, o.log_level, o.log_format);
}

void set_up(App& app, QuantizeOptions& o) {
  app.add_option("IN", o.in, kModelHelp)->required();
  app.add_option("OUT", o.out, "the GGUF file to write");
  app.add_option("--type", o.type,
                 "q8_0, q6_k, q5_k_m, q4_k_m, q4_0, iq4_xs, q3_k_m, q2_k, ...; see docs/compression.md")
      ->capture_default_str();
  app.add_option("--tensor", o.tensors,
                 "PATTERN=TYPE: another type for the tensors of that name, or with * and ?; may be repeated");
  app.add_option("--imatrix", o.imatrix, "what `nacelle imatrix` wrote: which channels count");
  app.add_flag("--awq", o.awq, "also scale channels by what they carry, where that is exact; needs --imatrix");
  app.add_flag("--requantize", o.requantize, "allow weights that are quantized already, though they lose more");
  app.add_flag("--list", o.list, "print each tensor and the type that it would get, and write nothing");
  add_plugin_folders(app, o.host);
  app.add_option("--threads", o.host.threads, "(default: the CPU budget of this process)");
  add_json(app, o.host.json);
  add_model_cache(app, o.model_cache);
  add_log_flags(app, o.host.log_level, o.host.log_format);
}

void set_up(App& app, ImatrixOptions& o) {
  app.add_option("MODEL", o.path, "the model that will be quantized, in full precision: as IN of `nacelle quantize`")
      ->required();
  app.add_option("TEXT", o.text, "a file of text such as the model will read; 100 kB and more")->required();
  app.add_option("-o,--out", o.out, "the file to write, for `nacelle quantize --imatrix`")->required();
  app.add_option("--windows", o.windows, "of --context tokens (512): the most that are read (default: all)");
  add_model_flags(app, o.model);
  add_host_flags(app, o.host, true);
}

void set_up(App& app, HealthOptions& o) {
  app.add_flag("--live", o.live, "whether the process answers, instead of whether a model can serve");
  app.add_option("--url", o.url, "of another server, as https://llm.example.com (default: the one of these settings)");
  app.add_flag("--insecure", o.insecure, "do not look at its certificate");
  auto* ask = app.add_option("--ask", o.ask, "a question that its model must answer; NACELLE_API_KEY may hold a key");
  app.add_option("--expect", o.expect, "what the answer must have in it")->needs(ask);
  set_up(app, o.serve);
  for (CLI::Option* option : app.get_options())
    if (option->get_group() != kFirst && option->get_group() != "Listening") option->group("");  // not in --help
  app.footer("\nIt takes every setting of `nacelle serve`, so that the server's own file or environment leads to it.");
}

void set_up(App& app, PluginOptions& o) {
  App* create = app.add_subcommand("new", "write a project for a plugin of your own into a new folder NAME");
  create->add_option("KIND", o.kind, "backend or architecture")->required();
  create->add_option("NAME", o.name, "a-z, 0-9, '_' and '-', beginning with a letter")->required();
  app.require_subcommand(1);
}

void set_up(App& app, ConfigOptions& o) {
  set_up(app, o.serve);
  heading(app, kFirst);
  app.add_option("--format", o.format, "yaml, json or markdown (the table of docs/settings.md)")->capture_default_str();
}

struct Command {
  std::unique_ptr<Options> options;
  App* app = nullptr;
  std::string config;
};

template <class T>
std::unique_ptr<Command> add_command(App& root, const char* name, const char* help) {
  auto command = std::make_unique<Command>();
  command->options = std::make_unique<Options>(T());
  command->app = root.add_subcommand(name, help);
  set_up(*command->app, std::get<T>(*command->options));
  heading(*command->app, kFirst);
  command->app->add_option("--config", command->config, "a YAML file of settings, with the flags' names as keys");
  bind_environment(*command->app);
  return command;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  App root("Nacelle: an inference server for large language models", "nacelle");
  root.set_version_flag("--version", std::string("nacelle ") + version());
  root.require_subcommand(1);
  const std::unique_ptr<Command> commands[] = {
      add_command<ServeOptions>(root, "serve", "answer OpenAI's API over HTTP"),
      add_command<RunOptions>(root, "run", "answer one prompt, or chat in the terminal"),
      add_command<BenchOptions>(root, "bench", "measure prompt and generation speed"),
      add_command<PluginsOptions>(root, "plugins", "list plugins: loaded, unavailable or refused, and why"),
      add_command<PluginOptions>(root, "plugin", "begin a plugin of your own"),
      add_command<DevicesOptions>(root, "devices", "list devices and their memory"),
      add_command<KernelsOptions>(root, "kernels", "show the kernels that a model runs on, and the losers"),
      add_command<TuneOptions>(root, "tune",
                               "measure the kernels of a model on this machine, and remember the fastest"),
      add_command<InspectOptions>(root, "inspect", "show what is in a model file and what it takes in memory"),
      add_command<EvalOptions>(root, "eval", "perplexity of models on a text, and what quantisation cost them"),
      add_command<ConfigOptions>(root, "config", "print the settings of `serve` as they count, and their sources"),
      add_command<KeyOptions>(root, "key", "make API keys"),
      add_command<PullOptions>(root, "pull", "fetch a model from a hub or a URL, and print where it lies"),
      add_command<QuantizeOptions>(root, "quantize", "write a model as GGUF with smaller weights"),
      add_command<ImatrixOptions>(root, "imatrix", "measure which channels of a model count, for quantize"),
      add_command<HealthOptions>(root, "health", "ask a server whether it can serve, or a question"),
  };
  try {
    root.parse(argc, argv);
    for (const auto& command : commands) {
      if (!command->app->parsed()) continue;
      if (!command->config.empty()) apply_file(*command->app, command->config);
      const bool serves = std::holds_alternative<ServeOptions>(*command->options) ||
                          std::holds_alternative<ConfigOptions>(*command->options);
      for (const std::string& line : serves ? misspelled_variables(*command->app) : std::vector<std::string>())
        std::fprintf(stderr, "nacelle: warning: the variable %s\n", line.c_str());
      if (auto* config = std::get_if<ConfigOptions>(command->options.get()))
        config->settings = effective_settings(*command->app, command->config);
      return std::move(*command->options);
    }
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) std::exit(root.exit(error));  // --help and --version
    std::fprintf(stderr, "nacelle: %s\n", command_line_refusal(error, root).c_str());
  }
  std::exit(exit_code(ErrorKind::kInvalidArgument));
}

int exit_code(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInvalidArgument: return 2;
    case ErrorKind::kNotFound: return 3;
    case ErrorKind::kUnsupported: return 4;
    case ErrorKind::kCorrupt: return 5;
    case ErrorKind::kResource: return 6;
    case ErrorKind::kUnavailable: return 7;
    case ErrorKind::kTimeout: return 8;
    case ErrorKind::kInternal: break;
  }
  return 1;
}

}  // namespace nacelle::cli
