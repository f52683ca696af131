// Loading: read the graph, fit it to the device, pack.
#include "core/engine/model.hpp"

#include <fmt/core.h>

#include <chrono>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/model_graph.hpp"
#include "core/engine/product_inputs.hpp"
#include "core/engine/quantized_checkpoint.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle {
namespace {

// Says in one line how long each part of a load took.
class Stopwatch {
 public:
  void lap(const char* part) {
    const auto now = std::chrono::steady_clock::now();
    text_ += fmt::format("{}{} {:.3f} s", text_.empty() ? "" : ", ", part,
                         std::chrono::duration<double>(now - last_).count());
    last_ = now;
  }
  const std::string& text() const { return text_; }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::string text_;
};

}  // namespace

std::string to_string(const std::vector<Placement>& placement) {
  if (placement.size() == 1) return placement.front().device;
  std::string text;
  for (const Placement& part : placement)
    text += (text.empty() ? "" : ", ") + part.device + " (" + std::to_string(part.layers) + " layers)";
  return text;
}

Model::~Model() = default;

std::shared_ptr<Model> Model::load(PluginHost& host, LoadOptions options) {
  Stopwatch watch;
  auto model = std::shared_ptr<Model>(new Model);
  model->files_ = ModelFiles::open(options.path);
  const ModelFiles& files = *model->files_;
  if (options.name.empty()) options.name = files.stem();
  ModelGraph read = read_graph(host, files, options.max_adapters != 0,
                               options.max_adapters && options.adapter_embeddings, options.adapter_experts);
  warn_of_unread(options.name, read);
  model->architecture_ = std::move(read.architecture);
  model->description_ = read.description;
  sdk::GraphRecord& graph = read.graph;
  tell_of_decoded_weights(files, graph);
  if (options.expose_product_inputs) expose_product_inputs(graph);
  model->adapter_targets_ = adapter_targets(graph);
  watch.lap("files and graph");
  model->load_tokenizer(options);
  watch.lap("tokenizer");
  settle_options(options, files, model->description_);
  warn_of_long_context(options.name, options.context, model->description_);
  const auto placement = place_model(host, graph, files, options.device, options.split, device_options(options));
  auto segments = cut_model(host, placement, graph, files);
  if (options.context == 0)
    options.context =
        default_context(host, model->description_.context_length, segments, device_options(options), files);
  watch.lap("placement");
  model->device_ = std::make_unique<PlacedModel>(host, std::move(segments), files, device_options(options));
  for (const PlacedLayers& part : placement) model->placement_.push_back({part.device.name, part.layers});
  watch.lap("weights and plans");
  log::debug("loaded {}: {}", files.path().string(), watch.text());
  model->options_ = std::move(options);
  return model;
}

constrain::GrammarCache& Model::grammars() const {
  if (!tokenizer_)
    throw Error(ErrorKind::kUnsupported,
                "the model " + name() + " has no tokenizer, so that answers cannot be constrained");
  std::call_once(grammars_once_, [this] {
    grammars_ =
        std::make_unique<constrain::GrammarCache>(constrain::Vocabulary::make(*tokenizer_, device_->vocabulary()));
  });
  return *grammars_;
}

AdapterPtr Model::load_adapter(std::string name, const std::filesystem::path& path) const {
  if (options_.max_adapters == 0)
    throw Error(ErrorKind::kUnsupported,
                "the model " + this->name() + " was loaded without room for adapters; start with --max-loras",
                "lora_name");
  return fit_adapter(std::move(name), read_adapter(path), adapter_targets_, *files_, options_.max_adapter_rank);
}

void Model::load_tokenizer(const LoadOptions& options) {
  try {
    tokenizer_ = files_->gguf() ? nacelle::load_tokenizer(*files_->gguf()) : nacelle::load_tokenizer(files_->path());
  } catch (const Error& failure) {
    if (options.need_tokenizer) throw;
    log::warning("{}: loaded without a tokenizer: {}", files_->title(), failure.what());
    return;
  }
  stop_ids_ = tokenizer_->stop_ids();
  const std::string &chat = tokenizer_->chat_template(), &tools = tokenizer_->chat_template(true);
  if (!chat.empty()) chat_template_ = std::make_unique<ChatTemplate>(chat);
  if (tools != chat) tool_template_ = std::make_unique<ChatTemplate>(tools);
}

std::uint64_t Model::weight_bytes() const { return device_->weight_bytes(); }
std::uint64_t Model::cache_bytes() const { return device_->cache_bytes(); }
void Model::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const {
  device_->visit_kernels(visitor);
}

}  // namespace nacelle
