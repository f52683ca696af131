// inspect: what is in a model file, and what it will take in memory.
#include <fmt/format.h>

#include <map>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>

#include "api/cli/commands.hpp"
#include "api/cli/demo_model.hpp"
#include "api/cli/fit.hpp"
#include "api/cli/model_source.hpp"
#include "api/cli/output.hpp"
#include "api/cli/setup.hpp"
#include "core/engine/model_graph.hpp"
#include "core/plugin_host/model_config.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle::cli {
namespace {

struct TypeCount {
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
};

const char* type_name(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "unknown";
}

std::map<std::string, TypeCount> count_types(const ModelFiles& files) {
  std::map<std::string, TypeCount> counts;
  for (const TensorInfo& tensor : files.tensors()) {
    TypeCount& count = counts[type_name(tensor.type)];
    ++count.tensors;
    count.elements += tensor.elements();
    count.bytes += tensor.size;
  }
  return counts;
}

std::unique_ptr<Tokenizer> try_tokenizer(const ModelFiles& files, std::string& reason) {
  try {
    return files.gguf() ? load_tokenizer(*files.gguf()) : load_tokenizer(files.path());
  } catch (const Error& error) {
    reason = error.what();
    return nullptr;
  }
}

Json tokenizer_json(const ModelFiles& files) {
  std::string reason;
  const auto tokenizer = try_tokenizer(files, reason);
  if (!tokenizer) return {{"status", "unusable"}, {"reason", reason}};
  const ConfigValue* kind = files.gguf() ? files.config("tokenizer.ggml.model") : nullptr;
  const auto* name = kind ? std::get_if<std::string_view>(kind) : nullptr;
  const auto token = [](std::optional<TokenId> id) { return id ? Json(*id) : Json(nullptr); };
  return {{"status", "usable"},
          {"kind", name ? Json(*name) : Json("tokenizer.json")},
          {"vocabulary", tokenizer->vocab_size()},
          {"bos", token(tokenizer->bos())},
          {"eos", token(tokenizer->eos())},
          {"stop_ids", tokenizer->stop_ids()},
          {"chat_template", !tokenizer->chat_template().empty()}};
}

// What the model keeps, all layers together: keys and values of a token, and a sequence's state.
struct CacheValues {
  std::uint64_t per_token = 0, per_sequence = 0;
};

// By the graph's cache groups, or, where the graph cannot be made, as a model of whole keys and values has them.
CacheValues cache_values(PluginHost& host, const ModelFiles& files, const nacelle_model_description& d) {
  CacheValues values;
  try {
    for (const nacelle_cache_group& group : read_graph(host, files, false).graph.cache_groups)
      (group.kind == NACELLE_CACHE_STATE ? values.per_sequence : values.per_token) +=
          std::uint64_t{group.layer_count} * (group.key_width + group.value_width);
  } catch (const Error&) {
    values.per_token = 2ull * d.layer_count * d.kv_head_count * d.head_width;
  }
  return values;
}

// What the architecture's plugin says of the file; null where none knows it or it finds a fault.
Json describe(PluginHost& host, const ModelFiles& files, std::string& reason) {
  const ModelConfigAdapter config(files);
  reason = "no plugin knows the architecture '" + files.architecture() + "'";
  for (const PluginRecord& plugin : host.plugins()) {
    if (!plugin.architecture || plugin.architecture->match(config.table()) != NACELLE_OK) continue;
    auto d = sdk::make<nacelle_model_description>();
    nacelle_error* error = nullptr;
    try {
      check(host.services(), plugin.architecture->describe(config.table(), &d, &error), error, plugin.name);
    } catch (const Error& failure) {
      reason = failure.what();
      return nullptr;
    }
    reason.clear();
    const CacheValues values = cache_values(host, files, d);
    return {{"plugin", plugin.name},
            {"context_length", d.context_length},
            {"layers", d.layer_count},
            {"width", d.width},
            {"feed_forward_width", d.feed_forward_width},
            {"heads", d.head_count},
            {"kv_heads", d.kv_head_count},
            {"head_width", d.head_width},
            {"vocabulary", d.vocabulary},
            {"window", d.window},
            {"kv_values_per_token", values.per_token},
            {"state_values_per_sequence", values.per_sequence}};
  }
  return nullptr;
}

Json inspect(PluginHost& host, const ModelFiles& files, const std::string& name) {
  Json types = Json::object();
  std::uint64_t parameters = 0;
  bool all_f32 = true;
  for (const auto& [type, count] : count_types(files)) {
    types[type] = {{"tensors", count.tensors}, {"parameters", count.elements}, {"bytes", count.bytes}};
    parameters += count.elements;
    all_f32 = all_f32 && type == "F32";
  }
  std::string reason;
  const Json description = describe(host, files, reason);
  Json memory = {{"weights", files.total_tensor_bytes()}};
  if (!description.is_null()) {
    // In the type that load takes unless told otherwise.
    const std::uint64_t token = description["kv_values_per_token"].get<std::uint64_t>() * (all_f32 ? 4 : 2);
    memory["kv_per_token"] = token;
    if (const auto state = description["state_values_per_sequence"].get<std::uint64_t>())
      memory["state_per_sequence"] = state * sizeof(float);
    memory["kv_full_context"] = token * description["context_length"].get<std::uint64_t>();
  }
  return {{"name", name},
          {"format", files.format() == ModelFormat::kGguf ? "gguf" : "huggingface"},
          {"architecture", files.architecture()},
          {"parameters", parameters},
          {"tensors", files.tensors().size()},
          {"types", std::move(types)},
          {"model", description},
          {"reason", reason},
          {"tokenizer", tokenizer_json(files)},
          {"memory", std::move(memory)}};
}

std::string human(const std::string& name, const Json& value) {
  if (name == "bytes" || name == "weights" || name.starts_with("kv_per") || name.starts_with("kv_full") ||
      name == "state_per_sequence") {
    return human_bytes(value.get<std::uint64_t>());
  }
  return value.is_string() ? value.get<std::string>() : fields::to_text(value);
}

// "memory.weights  3.6 MiB": one line a leaf.
void add_rows(const std::string& prefix, const Json& json, std::vector<std::vector<std::string>>& rows) {
  for (const auto& [name, value] : json.items()) {
    if (value.is_object()) {
      add_rows(prefix + name + ".", value, rows);
    } else if (!value.is_null() && value != "") {
      rows.push_back({prefix + name, human(name, value)});
    }
  }
}

}  // namespace

int run_command(const InspectOptions& options) {
  const auto host = make_host(options.host);
  const DemoModelFile demo;
  const bool built_in = options.path.empty();
  hub::LocalModel local{demo.path(), kDemoModelName, {}};
  if (!built_in) local = pull_with_progress(options.path, pull_options(options.model.model_cache));
  const auto files = ModelFiles::open(local.path);
  const std::string name = local.name.empty() ? files->stem() : local.name;
  if (options.fit) {
    const Json fit = fit_model(*host, *files, options.model);
    if (options.host.json)
      print_json({{"name", name}, {"fit", fit}});
    else
      print_fit(fit);
    return fits_anywhere(fit) ? 0 : exit_code(ErrorKind::kResource);
  }
  const Json json = inspect(*host, *files, name);
  if (options.host.json) {
    print_json(json);
  } else {
    std::vector<std::vector<std::string>> rows;
    add_rows("", json, rows);
    print_table(rows);
  }
  return 0;
}

}  // namespace nacelle::cli
