// For tests of what is kept on disk between two starts: a folder, what is in it, what the process says about it.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::test {

namespace fs = std::filesystem;

// A cache folder of its own.
struct Cache {
  fs::path folder;
  Cache() {
    std::string name = (fs::temp_directory_path() / "nacelle-tuning-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    folder = name;
  }
  ~Cache() { fs::remove_all(folder); }
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }
};

inline std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What the process logs (standard error) while this lives.
class Log {
 public:
  // Lines that hold `word` are kept.
  explicit Log(std::string word) : word_(std::move(word)), file_(std::tmpfile()), before_(dup(STDERR_FILENO)) {
    dup2(fileno(file_), STDERR_FILENO);
  }
  ~Log() { end(); }
  std::vector<std::string> end() {
    std::vector<std::string> lines;
    if (!file_) return lines;
    std::fflush(stderr);
    dup2(before_, STDERR_FILENO);
    close(before_);
    std::rewind(file_);
    char line[1024];
    while (std::fgets(line, sizeof line, file_))
      if (std::strstr(line, word_.c_str())) lines.emplace_back(line);
    std::fclose(std::exchange(file_, nullptr));
    return lines;
  }

  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

 private:
  std::string word_;
  std::FILE* file_;
  int before_;
};

// A host over this build's plugins with `folder` for its tuning cache. `isa` caps the CPU backend's level.
inline std::unique_ptr<PluginHost> host_over(const fs::path& folder, const std::string& isa) {
  PluginHostOptions options;
  options.folders = {NACELLE_TEST_PLUGINS};
  options.threads = 2;
  options.cache_folder = folder;
  if (!isa.empty()) options.config["backend.cpu.isa"] = isa;
  return std::make_unique<PluginHost>(options);
}

}  // namespace nacelle::test
