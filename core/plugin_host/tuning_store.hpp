// The tuning cache on disk: opaque bytes under an opaque key, one file each. What plugins measured once on this
// machine.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

// $XDG_CACHE_HOME/nacelle, else ~/.cache/nacelle, else empty: nothing is kept.
std::filesystem::path default_cache_folder();

// Any thread, and several processes on one folder: files appear by rename and are never changed.
class TuningStore {
 public:
  // The folder is made on the first put. Empty: every get misses, every put fails.
  explicit TuningStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Nothing where there is no file. Throws Error(kCorrupt) for one that cannot be read, is damaged or another key's.
  std::optional<std::vector<std::byte>> get(std::string_view key) const;
  // Throws Error(kResource) when it cannot be written, kInvalidArgument above 64 KiB of key or 64 MiB of data.
  void put(std::string_view key, std::span<const std::byte> data) const;

 private:
  std::filesystem::path file_of(std::string_view key) const;
  std::filesystem::path folder_;
};

}  // namespace nacelle
