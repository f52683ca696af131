// Lays a GGUF v3 file out: metadata and tensor list become the header, each tensor gets its place behind it. Whoever
// writes puts header() at byte 0 and every tensor at its offset; what lies between is zero.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/tensor.hpp"

namespace nacelle {

class GgufWriter {
 public:
  // Each sets a key, in the place of an earlier one of that name.
  void set(std::string_view key, std::uint32_t value);
  void set(std::string_view key, std::uint64_t value);
  void set(std::string_view key, float value);
  void set(std::string_view key, bool value);
  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
  void set(std::string_view key, std::span<const std::string> values);
  void set(std::string_view key, std::span<const std::int32_t> values);
  void set(std::string_view key, std::span<const float> values);
  // Type and value as GgufStoredValue has them.
  void set_stored(std::string_view key, std::span<const std::byte> bytes);

  // `shape` outermost first, as in TensorInfo. Throws Error(kUnsupported) for a type or shape that GGUF does not have.
  void add_tensor(std::string name, nacelle_type type, std::vector<std::uint64_t> shape);

  // Places the tensors; nothing is added afterwards.
  std::vector<std::byte> header();
  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }  // offsets count from the file's start
  std::uint64_t file_size() const noexcept { return file_size_; }

 private:
  struct Entry {
    std::string key;
    std::vector<std::byte> bytes;
  };
  std::vector<std::byte>& entry(std::string_view key);
  std::uint64_t alignment() const;

  std::vector<Entry> entries_;
  std::vector<TensorInfo> tensors_;
  std::uint64_t file_size_ = 0;
};

}  // namespace nacelle
