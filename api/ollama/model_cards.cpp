#include "api/ollama/model_cards.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "api/chat/dialects.hpp"
#include "api/ollama/shape.hpp"
#include "api/openai/prompt.hpp"
#include "core/plugin_host/sha256.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::ollama {
namespace {

using fields::Json;
using openai::ServedModel;
using openai::ServedModelPtr;

constexpr std::string_view kTag = ":latest";
// Models leave when an operator says so. A date that fits clients' nanoseconds since 1970.
constexpr const char* kNever = "2262-01-01T00:00:00Z";

// With a tag, as Ollama lists them: some clients look for it.
std::string tagged(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  const std::size_t colon = name.find(':', slash == std::string::npos ? 0 : slash);
  return colon == std::string::npos ? name + std::string(kTag) : name;
}

std::uint64_t parameter_count(const Model& model) {
  std::uint64_t count = 0;
  for (const TensorInfo& tensor : model.files().tensors()) count += tensor.elements();
  return count;
}

// "1.5B", "494.03M".
std::string short_count(std::uint64_t count) {
  const auto number = static_cast<double>(count);
  if (number >= 1e9) return fmt::format("{:.1f}B", number / 1e9);
  if (number >= 1e6) return fmt::format("{:.2f}M", number / 1e6);
  return fmt::format("{:.2f}K", number / 1e3);
}

// The type that most bytes of the weights have: "Q4_K".
std::string main_type(const Model& model) {
  std::map<nacelle_type, std::uint64_t> bytes;
  for (const TensorInfo& tensor : model.files().tensors()) bytes[tensor.type] += tensor.size;
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? "unknown" : sdk::type_name(most->first);
}

bool is_gguf(const Model& model) { return model.files().format() == ModelFormat::kGguf; }

// The family, as the keys of `model_info` begin.
std::string family(const Model& model) {
  return is_gguf(model) ? model.files().architecture() : model.architecture_plugin();
}

Json details(const ServedModel& served) {
  const Model& model = *served.model;
  return {{"parent_model", served.adapter ? tagged(served.group) : ""},
          {"format", is_gguf(model) ? "gguf" : "safetensors"},
          {"family", family(model)},
          {"families", Json::array({family(model)})},
          {"parameter_size", short_count(parameter_count(model))},
          {"quantization_level", main_type(model)},
          {"context_length", model.context()},
          {"embedding_length", model.description().width}};
}

Json capabilities(const Model& model) {
  if (model.description().kind == NACELLE_MODEL_RANKER) return Json::array();
  if (model.is_encoder()) return Json::array({"embedding"});
  Json list = Json::array({"completion"});
  if (chat::find_dialect(model.tokenizer().chat_template(true))) list.push_back("tools");
  if (openai::knows_infill(model)) list.push_back("insert");
  if (openai::reasons(model)) list.push_back("thinking");
  return list;
}

// Of the files; of an adapter, as it lies in memory.
std::uint64_t size_of(const ServedModel& served) {
  if (!served.adapter) return served.model->files().total_tensor_bytes();
  std::uint64_t floats = 0;
  for (const AdapterPart& part : served.adapter->parts) floats += part.a.size() + part.b.size();
  for (const auto& part : {served.adapter->head, served.adapter->embedding})
    if (part) floats += part->a.size() + part->b.size();
  return floats * sizeof(float);
}

// The layers' share that is not on the host's own processor.
std::uint64_t on_devices(const Model& model, std::uint64_t bytes) {
  std::uint64_t all = 0, elsewhere = 0;
  for (const Placement& part : model.placement()) {
    const bool host = part.device.starts_with("cpu") || part.device.starts_with("reference");
    all += part.layers;
    elsewhere += host ? 0 : part.layers;
  }
  return all == 0 ? 0
                  : static_cast<std::uint64_t>(static_cast<double>(bytes) * static_cast<double>(elsewhere) /
                                               static_cast<double>(all));
}

// Stands for the model where clients compare: of the file's contents it says nothing.
std::string digest(const ServedModel& served) { return sha256(served.name() + '\n' + served.fingerprint); }

std::string loaded_at(const ServedModel& served) {
  return rfc3339(std::chrono::system_clock::from_time_t(static_cast<std::time_t>(served.created)));
}

Json card(const ServedModel& served) {
  return {{"name", tagged(served.name())},
          {"model", tagged(served.name())},
          {"size", size_of(served)},
          {"digest", digest(served)},
          {"details", details(served)}};
}

const std::string_view* text_of(const Model& model, std::string_view key) {
  const ConfigValue* value = model.files().config(key);
  return value ? std::get_if<std::string_view>(value) : nullptr;
}

// Under the names of GGUF's metadata, whatever the format. The context is the one that is served.
Json model_info(const ServedModel& served, bool verbose) {
  const Model& model = *served.model;
  const nacelle_model_description& d = model.description();
  const std::string prefix = family(model) + ".";
  Json info = {{"general.architecture", family(model)},
               {"general.basename", served.name()},
               {"general.parameter_count", parameter_count(model)},
               {prefix + "context_length", model.context()},
               {prefix + "embedding_length", d.width},
               {prefix + "block_count", d.layer_count},
               {prefix + "feed_forward_length", d.feed_forward_width},
               {prefix + "attention.head_count", d.head_count},
               {prefix + "attention.head_count_kv", d.kv_head_count},
               {prefix + "vocab_size", d.vocabulary}};
  const Tokenizer& tokenizer = model.tokenizer();
  if (tokenizer.bos()) info["tokenizer.ggml.bos_token_id"] = *tokenizer.bos();
  if (tokenizer.eos()) info["tokenizer.ggml.eos_token_id"] = *tokenizer.eos();
  if (!verbose) return info;
  Json& tokens = info["tokenizer.ggml.tokens"] = Json::array();
  for (std::size_t id = 0; id < tokenizer.vocab_size(); ++id)
    tokens.push_back(tokenizer.token_text(static_cast<TokenId>(id)));
  return info;
}

Json tensors(const Model& model) {
  Json list = Json::array();
  for (const TensorInfo& tensor : model.files().tensors())
    list.push_back({{"name", tensor.name}, {"type", sdk::type_name(tensor.type)}, {"shape", tensor.shape}});
  return list;
}

}  // namespace

ServedModelPtr find_model(const openai::ServedModels& models, const std::string& name) {
  const auto find = [&](const std::string& wanted) -> ServedModelPtr {
    try {
      return models.find(wanted);
    } catch (const http::RequestError& error) {
      if (error.api_error().status != 404) throw;
      return nullptr;
    }
  };
  ServedModelPtr found = find(name);
  if (!found && name.ends_with(kTag)) found = find(name.substr(0, name.size() - kTag.size()));
  if (found) return found;
  throw http::RequestError(
      {404,
       "model '" + name.substr(0, 200) + "' not found: it is not served here; GET /api/tags lists the models that are",
       "model", "model_not_found"});
}

Json list_models(const openai::ServedModels& models) {
  Json list = Json::array();
  for (const ServedModelPtr& served : models.names()) {
    Json json = card(*served);
    json["modified_at"] = loaded_at(*served);
    json["capabilities"] = capabilities(*served->model);
    list.push_back(std::move(json));
  }
  return {{"models", std::move(list)}};
}

Json list_running(const openai::ServedModels& models) {
  Json list = Json::array();
  for (const ServedModelPtr& served : models.names()) {
    const Model& model = *served->model;
    Json json = card(*served);
    if (!served->adapter) json["size"] = model.weight_bytes() + model.cache_bytes();
    json["expires_at"] = kNever;
    json["size_vram"] = on_devices(model, json["size"].get<std::uint64_t>());
    json["context_length"] = model.context();
    list.push_back(std::move(json));
  }
  return {{"models", std::move(list)}};
}

Json show_model(const ServedModel& served, bool verbose) {
  const Model& model = *served.model;
  const std::string context = fmt::format("{:<30} {}", "num_ctx", model.context());
  Json json = Json::object();
  if (const auto* license = text_of(model, "general.license")) json["license"] = *license;
  json["modelfile"] = "# Served by Nacelle, which reads no Modelfile.\nFROM " + tagged(served.name()) +
                      "\nPARAMETER num_ctx " + std::to_string(model.context()) + "\n";
  json["parameters"] = context;
  json["template"] = model.tokenizer().chat_template();
  json["details"] = details(served);
  json["model_info"] = model_info(served, verbose);
  if (verbose) json["tensors"] = tensors(model);
  json["capabilities"] = capabilities(model);
  json["modified_at"] = loaded_at(served);
  return json;
}

}  // namespace nacelle::ollama
