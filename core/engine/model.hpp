// A model that is loaded on its devices: files, tokenizer, chat template, packed weights, KV cache and plans.
#pragma once

#include <nacelle/architecture.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/chat/chat_template.hpp"
#include "core/constrain/constraint.hpp"
#include "core/engine/adapter.hpp"
#include "core/formats/model_files.hpp"
#include "core/plugin_host/plugin_host.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

// Guessed tokens that a step can verify, of all sequences together.
inline constexpr std::uint32_t kMaxGuesses = 16;

struct LoadOptions {
  std::filesystem::path path = {};
  std::string name = {};                 // served id; empty: the file's stem
  std::string device = {};               // "cpu", "cuda:1"; empty: the fastest device, see placement.hpp
  std::string split = {};                // "cpu:0=4,cuda:1=8": layers by device, in order; not with `device`
  std::uint32_t context = 0;             // tokens of the longest sequence; 0: the model's own, cut to what memory holds
  std::uint32_t max_sequences = 32;      // sequences that run at once
  std::uint32_t max_batch_tokens = 512;  // token budget of a step
  std::uint32_t cache_tokens = 0;        // KV tokens over all sequences; 0: chosen from memory and context
  nacelle_type key_type = NACELLE_TYPE_INVALID;  // INVALID: f32 for an F32 model, else f16
  nacelle_type value_type = NACELLE_TYPE_INVALID;
  std::uint32_t max_adapters = 0;  // low-rank adapters that run at once; 0: none can be loaded
  std::uint32_t max_adapter_rank = 16;
  bool adapter_embeddings = false;          // adapters may change the tokens' embedding: each step takes its changes
  bool adapter_experts = false;             // adapters may change a mixture's experts: each slot has room for them
  bool need_tokenizer = true;               // false: a file without one loads too (bench)
  std::uint32_t numerics = 0;               // NACELLE_NUMERICS_*
  std::string pins = {};                    // "matmul.q8_0=VARIANT;...": kernels that must run
  std::chrono::nanoseconds tune_budget{0};  // spent on measuring kernels before the model serves
  bool expose_product_inputs = false;       // see product_inputs.hpp
  bool tune_again = false;                  // also those that the tuning cache has a verdict for
  std::function<void(std::uint64_t, std::uint64_t)> tune_progress = {};  // cases measured, cases in all
  std::filesystem::path packed_cache = {};  // folder of packed weights, see packed_cache.hpp; empty: none
  // Called while weights are packed: bytes so far, bytes in all. May be empty.
  std::function<void(std::uint64_t, std::uint64_t)> progress = {};
};

// What `nacelle run --json` reports: consecutive layers on one device.
struct Placement {
  std::string device;
  std::uint32_t layers = 0;
};

// "cpu", or "cpu (4 layers), cuda:1 (8 layers)".
std::string to_string(const std::vector<Placement>& placement);

class PlacedModel;  // core/engine/placed_model.hpp: the model's segments on their devices

// Immutable after load, but for the device state that only the engine touches.
class Model {
 public:
  // Throws Error with one line: what in which file, why this device cannot run it, what would be needed.
  static std::shared_ptr<Model> load(PluginHost& host, LoadOptions options);
  ~Model();

  const std::string& name() const noexcept { return options_.name; }
  const LoadOptions& options() const noexcept { return options_; }
  const ModelFiles& files() const noexcept { return *files_; }
  const nacelle_model_description& description() const noexcept { return description_; }
  // It reads whole texts and gives a vector, or a score, for each; no logits.
  bool is_encoder() const noexcept { return description_.kind != NACELLE_MODEL_DECODER; }
  const std::string& architecture_plugin() const noexcept { return architecture_; }
  bool has_tokenizer() const noexcept { return tokenizer_ != nullptr; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // Ids that end an answer; empty without a tokenizer.
  const std::vector<TokenId>& stop_ids() const noexcept { return stop_ids_; }
  // With `tools` the one for requests with tools, where the model has one of its own. Null: it has no template.
  const ChatTemplate* chat_template(bool tools = false) const noexcept {
    return (tools && tool_template_ ? tool_template_ : chat_template_).get();
  }
  // [any thread] Compiled constraints. The first call prepares the vocabulary, some 0.1 s. Throws Error(kUnsupported)
  // where the model has no tokenizer.
  constrain::GrammarCache& grammars() const;
  std::uint32_t context() const noexcept { return options_.context; }  // tokens, as loaded
  const std::vector<Placement>& placement() const noexcept { return placement_; }
  // [any thread] Reads a low-rank adapter for requests to name. Throws Error as read_adapter and fit_adapter do, and
  // kUnsupported where max_adapters is 0.
  AdapterPtr load_adapter(std::string name, const std::filesystem::path& path) const;
  std::uint64_t weight_bytes() const;  // packed, on the devices
  std::uint64_t cache_bytes() const;
  PlacedModel& device() noexcept { return *device_; }
  const PlacedModel& device() const noexcept { return *device_; }
  // Every kernel case of the model; see nacelle_backend_api.kernels.
  void visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visitor) const;

 private:
  Model() = default;
  void load_tokenizer(const LoadOptions& options);
  LoadOptions options_;
  std::unique_ptr<ModelFiles> files_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<TokenId> stop_ids_;
  std::unique_ptr<ChatTemplate> chat_template_, tool_template_;
  mutable std::once_flag grammars_once_;
  mutable std::unique_ptr<constrain::GrammarCache> grammars_;
  nacelle_model_description description_{};
  std::string architecture_;
  std::vector<Placement> placement_;
  std::vector<AdapterTarget> adapter_targets_;
  std::unique_ptr<PlacedModel> device_;
};

}  // namespace nacelle
