// A model's packed weights, kept for the next start: what they are filed under, and what is said when they are not
// used.
#pragma once

#include <nacelle/backend.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/engine/settling_map.hpp"
#include "core/formats/model_files.hpp"
#include "core/plugin_host/plugin_host.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle {

// Behind packed_find and packed_keep of one model, or of one segment of it, on one device. Never throws for what is on
// the disk: a file that is missing, stale, damaged or not to be written costs the packing and one line in the log.
class PackedCache {
 public:
  // `backend`: its name. An empty folder: nothing is found or kept.
  PackedCache(std::filesystem::path folder, PluginHost& host, std::string backend, const sdk::Graph& graph,
              const ModelFiles& files);

  bool enabled() const noexcept { return !folder_.empty(); }
  // The blocks stay valid while this object lives.
  bool find(const nacelle_packed_form& form, std::span<nacelle_packed_block> blocks);
  bool keep(const nacelle_packed_form& form, std::span<const nacelle_packed_block> blocks) const;

 private:
  std::filesystem::path file_of(const nacelle_packed_form& form) const;
  std::string key_of(const nacelle_packed_form& form) const;

  std::filesystem::path folder_;
  PluginHost* host_;
  std::string place_;     // one file each: the model's path, the backend, the segment
  std::string validity_;  // what makes such a file stale: lines "name=value"
  std::vector<std::unique_ptr<SettlingMap>> found_;
};

}  // namespace nacelle
