// GGUF v2 and v3, read by mmap. Every count, offset, name and size is checked before it is used.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/mapped_file.hpp"
#include "core/formats/tensor.hpp"

namespace nacelle {

// An array of the metadata. Integers of every width and sign become int64_t (a uint64 above INT64_MAX is refused), both
// float widths become double, strings point into the mapping. Nested arrays are checked, then left out (`nested` is
// true).
struct GgufArray {
  std::variant<std::vector<std::int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string_view>> values;
  bool nested = false;
  std::size_t size() const noexcept;
};

using GgufValue = std::variant<std::int64_t, double, bool, std::string_view, GgufArray>;

// A key with its type and value as the file has them, for who writes them on: reading loses the width of numbers.
struct GgufStoredValue {
  std::string_view key;
  std::span<const std::byte> bytes;
};

// Owns the mapping(s). Immutable after construction: any thread may read. Views stay valid while the object lives.
class GgufFile {
 public:
  // Opens `path`; where it is the first part of a split (NAME-00001-of-0000N.gguf) opens all parts as one.
  // Throws Error(kCorrupt) with the file, the field and the byte offset of what is wrong.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept { return path_; }
  std::uint32_t version() const noexcept { return version_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const noexcept { return metadata_; }
  // nullptr when the key is absent.
  const GgufValue* find(std::string_view key) const noexcept;
  // In the file's order; of a split, the first part's.
  const std::vector<GgufStoredValue>& stored_metadata() const noexcept { return stored_; }

  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  const std::vector<MappedFile>& files() const noexcept { return files_; }

 private:
  void add_parts(std::int64_t count);

  std::filesystem::path path_;
  std::uint32_t version_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufStoredValue> stored_;
  std::vector<TensorInfo> tensors_;
  std::vector<MappedFile> files_;
};

}  // namespace nacelle
