// What the command line, the environment and a configuration file say, as plain structs. CLI11 stays in options.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/cli/configuration.hpp"
#include "api/http/server.hpp"

namespace nacelle::cli {

struct HostFlags {
  bool json = false;
  unsigned threads = 0;          // 0: what the cgroup, the cpuset and the cores allow
  std::uint64_t max_memory = 0;  // 0: what the cgroup and the machine allow
  bool pin_threads = false;
  std::string log_level = "info";
  std::string log_format = "text";
  std::vector<std::filesystem::path> plugin_folders;  // beside the program's own
  std::vector<std::string> allowed_sha256;
  std::vector<std::string> plugin_settings;  // KEY=VALUE
  std::string isa_cap;                       // backend.cpu.isa
  std::vector<std::string> isolated;         // backends that run in a process of their own
  std::uint32_t isolate_timeout = 120;       // seconds of a step there
};

struct ModelFlags {
  std::string device, split;
  std::uint32_t context = 0;
  std::uint32_t cache_tokens = 0;
  std::uint32_t max_sequences = 32;
  std::uint32_t batch_tokens = 512;
  std::string cache_type;            // see cache_types() in setup.hpp
  std::string numerics = "stable";   // or fastest
  std::vector<std::string> kernels;  // OP.TYPE=VARIANT
  std::chrono::nanoseconds tune_budget{0};
  std::filesystem::path packed_cache;
  std::filesystem::path model_cache;  // of what is fetched; empty: as the environment says
  std::uint32_t max_loras = 0, max_lora_rank = 16;
  bool lora_embeddings = false;
  bool lora_experts = false;
};

struct ServeOptions {
  HostFlags host;
  ModelFlags model;
  std::vector<std::string> models;   // [NAME=]PATH; empty: the demo model
  std::vector<std::string> loras;    // NAME=PATH[,model=MODEL]
  std::vector<std::string> aliases;  // NAME[=MODEL]
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;
  std::string manage_address = "127.0.0.1", manage_port = "8081";
  bool manage_port_set = false;  // by the user: then it must be free
  std::uint32_t drain_seconds = 30;
  std::uint32_t max_queue = 256, max_queue_per_client = 0;
  bool no_prefix_cache = false, no_speculation = false;
  std::string draft_model;
  std::uint32_t draft_tokens = 4;
  std::string key_file;
  http::ServerOptions http;
};

struct ConfigOptions {
  ServeOptions serve;
  std::string format = "yaml";
  std::vector<Setting> settings;
};

// Takes what `serve` takes, so that in one environment, or with one file, it finds the server.
struct HealthOptions {
  ServeOptions serve;
  bool live = false, insecure = false;
  std::string url;          // of another machine's server
  std::string ask, expect;  // a question, and what its answer must have in it
};

struct PullOptions {
  bool json = false;
  std::vector<std::string> models;
  std::string sha256, log_level = "info", log_format = "text";
  std::filesystem::path model_cache;
  unsigned retries = 5;
};

struct QuantizeOptions {
  HostFlags host;
  bool list = false, requantize = false, awq = false;
  std::string in, out, type = "q4_k_m", imatrix;
  std::vector<std::string> tensors;  // PATTERN=TYPE
  std::filesystem::path model_cache;
};

struct ImatrixOptions {
  HostFlags host;
  ModelFlags model;
  std::string path, text, out;
  std::uint32_t windows = 0;
};

struct RunOptions {
  HostFlags host;
  ModelFlags model;
  std::string path;
  std::optional<std::string> prompt, system;
  bool raw = false, greedy = false, ignore_eos = false;
  std::uint32_t max_tokens = 0;
  std::vector<std::string> stop;
  float temperature = 0.7f, top_p = 1.0f, min_p = 0.0f, repetition_penalty = 1.0f;
  std::uint32_t top_k = 0;
  std::optional<std::uint64_t> seed;
};

struct BenchOptions {
  HostFlags host;
  ModelFlags model;
  std::string path;
  std::uint32_t prompt = 512, gen = 128, repeat = 3, depth = 0;
  std::vector<std::uint32_t> batch;
  float temperature = 0, top_p = 1;
  std::string compare;   // an earlier --json document
  double threshold = 0;  // of any ratio to it; less fails
};

struct KeyOptions {
  bool json = false;
  std::string name, roles = "infer";
};

struct PluginsOptions {
  HostFlags host;
};
struct PluginOptions {  // plugin new
  std::string kind, name;
};
struct DevicesOptions {
  HostFlags host;
};
struct KernelsOptions {
  HostFlags host;
  ModelFlags model;
  std::string path;
};
struct TuneOptions {
  HostFlags host;
  ModelFlags model;
  std::string path;
};
struct InspectOptions {
  HostFlags host;
  ModelFlags model;
  std::string path;
  bool fit = false;
};
struct EvalOptions {
  HostFlags host;
  ModelFlags model;
  std::vector<std::string> models, kv;
  std::string text, base, svg;
  std::uint32_t window = 512, windows = 0;  // tokens; 0: all
  bool special = false;
};

using Options = std::variant<ServeOptions, RunOptions, BenchOptions, PluginsOptions, DevicesOptions, KernelsOptions,
                             TuneOptions, InspectOptions, EvalOptions, KeyOptions, ConfigOptions, PullOptions,
                             HealthOptions, PluginOptions, QuantizeOptions, ImatrixOptions>;

// A flag counts before NACELLE_ and its name in upper case (NACELLE_MAX_QUEUE), that before the file of --config, that
// before the default. Prints help, the version or what is wrong, and then ends the process.
Options parse_options(int argc, char** argv);

// The process's exit code for each kind of failure.
int exit_code(ErrorKind kind) noexcept;

}  // namespace nacelle::cli
