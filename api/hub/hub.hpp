// From a model's source to files on this machine: out of the cache, or over the Hugging Face hub's protocol. The cache
// has the layout of Hugging Face's own (models--ORG--NAME/{blobs,snapshots,refs}), so that both find each other's
// files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "api/hub/source.hpp"

namespace nacelle::hub {

struct HubSettings {
  std::filesystem::path cache;  // empty: nothing can be kept, so nothing can be fetched
  std::string endpoint;         // "https://huggingface.co"
  std::string token;            // goes to the endpoint's host and to no other
  bool offline = false;
  unsigned retries = 5;  // in a row without a byte more

  // HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME; HF_ENDPOINT; HF_TOKEN; HF_HUB_OFFLINE.
  static HubSettings from_environment();
};

struct LocalFile {
  std::string name;
  std::filesystem::path path;
  std::uint64_t size = 0;
  std::string checksum;  // "sha256:..." or "git-sha1:..." as the hub has it; empty: the hub does not say
  bool fetched = false;  // by this call; else it lay there
};

struct LocalModel {
  std::filesystem::path path;  // for ModelFiles::open
  std::string name;            // to serve it under; empty: the path's own
  std::vector<LocalFile> files;
};

struct PullOptions {
  HubSettings hub;
  std::string sha256;    // that a URL's file must have; empty: not known
  bool refresh = false;  // asks the hub even where the cache has the model
  // Bytes of the file, as they come. Both 0 before a new file.
  std::function<void(const std::string& name, std::uint64_t done, std::uint64_t total)> progress;
};

// Any source. A path is taken as it is; a folder in OCI image layout becomes the model in it. Throws Error, in one
// line.
LocalModel pull(const Source& source, const PullOptions& options);

}  // namespace nacelle::hub
