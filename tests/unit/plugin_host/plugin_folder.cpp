// See plugin_folder.hpp.
#include "tests/unit/plugin_host/plugin_folder.hpp"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

namespace nacelle::test {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::canonical(fs::temp_directory_path()) / "nacelle-test-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()));
  path_ = name;
  ::chmod(path_.c_str(), 0755);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path PluginFolder::add(const std::string& name, std::string file) const {
  if (file.empty()) file = "libnacelle_arch_" + name + ".so";
  const fs::path copy = path() / file;
  fs::copy_file(fs::path(NACELLE_ABI_PLUGINS) / (name + ".so"), copy);
  ::chmod(copy.c_str(), 0755);
  return copy;
}

PluginHostOptions PluginFolder::options() const {
  PluginHostOptions options;
  options.folders = {path()};
  options.threads = 1;
  options.cache_folder = path() / "cache";
  return options;
}

PluginRecord PluginFolder::only() const {
  const PluginHost host(options());
  REQUIRE(host.plugins().size() == 1);
  return host.plugins()[0];
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace nacelle::test
