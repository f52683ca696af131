// A folder of plugins for one test case, and a host over it.
#pragma once

#include <filesystem>
#include <string>

#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::test {

// Made empty with mode 0755 under the temporary folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class PluginFolder : public TemporaryFolder {
 public:
  // Copies the plugin `name` of tests/abi, mode 0755. Returns the copy's path.
  std::filesystem::path add(const std::string& name, std::string file = {}) const;
  // A host over this folder alone, with one thread and a cache folder inside.
  PluginHostOptions options() const;
  // The record of the only file.
  PluginRecord only() const;
};

bool contains(const std::string& text, const std::string& part);

}  // namespace nacelle::test
