// A file's name says where its bytes belong (model path, backend, layout, segment), so that an upgrade replaces it; its
// key says what they were made from. A model file is recognised by its size, the times of its last change and a sample
// of its contents: reading all of it would take longer than packing.
#include "core/engine/packed_cache.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nacelle/build_id.hpp>
#include <nacelle/plugin.hpp>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/engine/packed_file.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kSchema = 1;
constexpr std::size_t kSampleHead = 64u << 10, kSample = 4096, kSamples = 64;

// One line a field, whatever a device calls itself.
void add_field(std::string& text, std::string_view name, std::string value) {
  std::replace(value.begin(), value.end(), '\n', ' ');
  text += fmt::format("{}={}\n", name, value);
}

// The file's first bytes, which hold its metadata, and pages spread over the rest.
std::string sample(std::span<const std::byte> bytes) {
  std::string text;
  const auto take = [&](std::size_t offset, std::size_t size) {
    const auto part = bytes.subspan(offset, std::min(size, bytes.size() - offset));
    text.append(reinterpret_cast<const char*>(part.data()), part.size());
  };
  take(0, kSampleHead);
  for (std::size_t i = 1; i <= kSamples && bytes.size() > kSampleHead; ++i)
    take(bytes.size() / kSamples * i - std::min(kSample, bytes.size() / kSamples), kSample);
  return sha256(text);
}

void describe(const sdk::WeightNode& node, std::string& text) {
  text += fmt::format("({} {} {} {} {} {} {}", node.kind, node.type, node.tensor, node.axis, node.begin,
                      node.nested_block, node.constant);
  for (const std::int64_t extent : node.shape) text += fmt::format(" n{}", extent);
  for (const std::uint32_t axis : node.order) text += fmt::format(" o{}", axis);
  for (const sdk::WeightNode& input : node.inputs) describe(input, text);
  text += ')';
}

// Every weight with all that is made of the file's tensors on the way to it.
std::string digest_of(const sdk::Graph& graph) {
  std::string text;
  for (const sdk::WeightRecord& weight : graph.record().weights) {
    text += weight.name;
    describe(weight.source->value, text);
    for (const auto& [role, node] : weight.source->companions) {
      text += fmt::format("companion {}", role);
      describe(node, text);
    }
  }
  return sha256(text);
}

}  // namespace

PackedCache::PackedCache(fs::path folder, PluginHost& host, std::string backend, const sdk::Graph& graph,
                         const ModelFiles& files)
    : folder_(std::move(folder)), host_(&host) {
  const std::string build = sdk::build_id();
  if (build.empty()) folder_.clear();  // no way to tell what an earlier build made
  if (folder_.empty()) return;
  std::error_code code;
  const fs::path path = fs::canonical(files.path(), code);
  const std::string weights = digest_of(graph);
  add_field(place_, "model", (code ? fs::absolute(files.path()) : path).string());
  add_field(place_, "backend", std::move(backend));
  add_field(place_, "weights", weights);
  validity_ = place_;
  add_field(validity_, "schema", std::to_string(kSchema));
  add_field(validity_, "build of nacelle", build);
  for (const MappedFile& file : files.files()) {
    const FileState& state = file.state();
    add_field(validity_, "model file",
              fmt::format("{} bytes, modified {}, changed {}, sample {}", file.bytes().size(), state.modified_ns,
                          state.changed_ns, sample(file.bytes())));
  }
}

fs::path PackedCache::file_of(const nacelle_packed_form& form) const {
  std::string place = place_;
  add_field(place, "layout", std::string(sdk::view(form.layout)));
  return folder_ / ("packed-" + sha256(place));
}

std::string PackedCache::key_of(const nacelle_packed_form& form) const {
  std::string key = validity_;
  add_field(key, "layout", std::string(sdk::view(form.layout)));
  add_field(key, "build of the backend", std::string(sdk::view(form.build)));
  return key;
}

bool PackedCache::find(const nacelle_packed_form& form, std::span<nacelle_packed_block> blocks) try {
  if (!enabled() || form.build.size == 0) return false;
  auto file = open_packed_file(file_of(form), key_of(form), blocks, host_->team());
  if (!file) return false;
  found_.push_back(std::move(file));
  found_.back()->settle(host_->memory_nodes());
  log::debug("packed cache: {} is used", file_of(form).string());
  return true;
} catch (const Error& error) {
  const bool stale = error.kind() == ErrorKind::kUnsupported;
  log::write(stale ? log::Level::kInfo : log::Level::kWarning,
             fmt::format("packed cache: {}; the weights are packed anew", error.what()));
  return false;
}

bool PackedCache::keep(const nacelle_packed_form& form, std::span<const nacelle_packed_block> blocks) const try {
  if (!enabled() || form.build.size == 0) return false;
  write_packed_file(file_of(form), key_of(form), blocks);
  return true;
} catch (const Error& error) {
  log::warning("packed cache: {}; the next start packs again", error.what());
  return false;
}

}  // namespace nacelle
