#include "api/cli/setup.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "api/cli/demo_model.hpp"
#include "api/cli/model_source.hpp"
#include "api/cli/progress.hpp"
#include "core/base/log.hpp"

namespace nacelle::cli {
namespace {

struct CacheType {
  const char* name;
  nacelle_type type;
};
constexpr CacheType kCacheTypes[] = {
    {"f32", NACELLE_TYPE_F32},   {"f16", NACELLE_TYPE_F16},   {"bf16", NACELLE_TYPE_BF16},
    {"q8_0", NACELLE_TYPE_Q8_0}, {"q4_0", NACELLE_TYPE_Q4_0},
};

std::uint32_t numerics(const std::string& name) {
  if (name == "stable") return NACELLE_NUMERICS_STABLE;
  if (name == "fastest") return NACELLE_NUMERICS_FASTEST;
  throw Error(ErrorKind::kInvalidArgument, "--numerics must be stable or fastest, not '" + name + "'", "numerics");
}

// A wrong --isa-cap is refused whatever the command is about: left to the backend, it would only take the device away.
void check_isa_cap(const PluginHost& host, const std::string& cap) {
  constexpr std::string_view kSetting = "backend.cpu.isa: ";
  try {
    host.find_device("cpu");
  } catch (const Error& error) {
    const std::string_view reason = error.what();
    const auto at = reason.find(kSetting);
    if (at == std::string_view::npos) return;
    throw Error(ErrorKind::kInvalidArgument,
                "--isa-cap " + cap + ": " + std::string(reason.substr(at + kSetting.size())), "isa-cap");
  }
}

std::string join(const std::vector<std::string>& pins) {
  std::string text;
  for (const std::string& pin : pins) text += (text.empty() ? "" : ";") + pin;
  return text;
}

// nothing for what is no such type
std::optional<nacelle_type> find_cache_type(std::string_view name) {
  for (const CacheType& type : kCacheTypes)
    if (type.name == name) return type.type;
  return std::nullopt;
}

std::shared_ptr<Model> load_demo(PluginHost& host, LoadOptions options) {
  const DemoModelFile demo;
  options.path = demo.path();
  return Model::load(host, std::move(options));
}

}  // namespace

CacheTypes parse_cache_types(const std::string& text, const char* flag) {
  CacheTypes types;
  const auto refuse = [&] {
    throw Error(
        ErrorKind::kInvalidArgument,
        std::string("--") + flag + " must be f32, f16, bf16, q8_0, q4_0 or k=TYPE,v=TYPE of these, not '" + text + "'",
        flag);
  };
  if (text.empty()) return types;
  if (const auto both = find_cache_type(text)) return {*both, *both};
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const auto type = find_cache_type(part.substr(std::min<std::size_t>(2, part.size())));
    nacelle_type* of = part.starts_with("k=") ? &types.key : part.starts_with("v=") ? &types.value : nullptr;
    if (!of || !type || *of != NACELLE_TYPE_INVALID) refuse();
    *of = *type;
  }
  return types;
}

std::string to_string(const CacheTypes& types) {
  const auto name = [](nacelle_type wanted) {
    const auto* found = std::find_if(std::begin(kCacheTypes), std::end(kCacheTypes),
                                     [&](const CacheType& type) { return type.type == wanted; });
    return std::string(found == std::end(kCacheTypes) ? "" : found->name);
  };
  if (types.key == types.value) return name(types.key);
  return "k=" + name(types.key) + ",v=" + name(types.value);
}

std::unique_ptr<PluginHost> make_host(const HostFlags& flags) {
  log::configure(log::parse_level(flags.log_level), log::parse_format(flags.log_format));
  PluginHostOptions options;
  options.folders = default_plugin_folders();
  options.folders.insert(options.folders.end(), flags.plugin_folders.begin(), flags.plugin_folders.end());
  options.threads = flags.threads;
  options.max_memory = flags.max_memory;
  options.pin_threads = flags.pin_threads;
  options.allowed_sha256 = flags.allowed_sha256;
  for (const std::string& setting : flags.plugin_settings) {
    const auto equals = setting.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw Error(ErrorKind::kInvalidArgument, "--plugin-config must be KEY=VALUE, not '" + setting + "'",
                  "plugin-config");
    }
    options.config[setting.substr(0, equals)] = setting.substr(equals + 1);
  }
  options.isolated = flags.isolated;
  options.isolation_limit = std::chrono::seconds(flags.isolate_timeout);
  if (!flags.isa_cap.empty()) options.config["backend.cpu.isa"] = flags.isa_cap;
  auto host = std::make_unique<PluginHost>(std::move(options));
  if (!flags.isa_cap.empty()) check_isa_cap(*host, flags.isa_cap);
  return host;
}

std::shared_ptr<Model> load_model(PluginHost& host, const ModelFlags& flags, const std::string& path,
                                  LoadOptions base) {
  LoadOptions options = std::move(base);
  options.device = flags.device;
  options.split = flags.split;
  if (flags.context != 0) options.context = flags.context;
  if (flags.cache_tokens != 0) options.cache_tokens = flags.cache_tokens;
  options.max_sequences = flags.max_sequences;
  options.max_batch_tokens = flags.batch_tokens;
  const CacheTypes types = parse_cache_types(flags.cache_type);
  options.key_type = types.key;
  options.value_type = types.value;
  options.numerics = numerics(flags.numerics);
  options.pins = join(flags.kernels);
  options.tune_budget = flags.tune_budget;
  options.packed_cache = flags.packed_cache;
  options.max_adapters = flags.max_loras;
  options.max_adapter_rank = flags.max_lora_rank;
  options.adapter_embeddings = flags.lora_embeddings;
  options.adapter_experts = flags.lora_experts;
  if (!path.empty()) {
    const hub::LocalModel local = pull_with_progress(path, pull_options(flags.model_cache));
    options.path = local.path;
    if (options.name.empty()) options.name = local.name;
  }
  Progress progress("loading " + (path.empty() ? std::string(kDemoModelName) : path));
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  Progress tune_progress("measuring kernels");
  options.tune_progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.wipe();
    tune_progress.update(done, total);
  };
  if (!path.empty()) return Model::load(host, std::move(options));
  if (options.name.empty()) options.name = kDemoModelName;
  return load_demo(host, std::move(options));
}

}  // namespace nacelle::cli
