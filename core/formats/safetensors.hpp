// safetensors, one file or shards with an index, read by mmap. Nothing in the files is trusted.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

#include "core/base/mapped_file.hpp"
#include "core/formats/json.hpp"
#include "core/formats/tensor.hpp"

namespace nacelle {

// The tensors of a folder's model.safetensors or, where that is absent, of the shards that model.safetensors.index.json
// names, or of the folder's only *.safetensors. Owns the mappings. Immutable after construction: any thread may read.
class Safetensors {
 public:
  // Throws Error: kNotFound (no such file in `folder`, a shard missing), kCorrupt with file, field and byte,
  // kUnsupported for a type that is not read.
  explicit Safetensors(const std::filesystem::path& folder);

  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  const std::vector<MappedFile>& files() const noexcept { return files_; }

 private:
  void add_file(const std::filesystem::path& path);
  void add_shards(const std::filesystem::path& folder, const std::filesystem::path& index);

  std::vector<TensorInfo> tensors_;
  std::vector<MappedFile> files_;
};

// The header of one file, whose bytes are `file`: every tensor with its place, `TensorInfo::file` 0.
std::vector<TensorInfo> read_safetensors_header(const std::filesystem::path& path, std::span<const std::byte> file);

// The member "weight_map" of an index file, checked: an object of strings that are plain *.safetensors file names.
JsonNode read_safetensors_index(const std::filesystem::path& path, std::span<const std::byte> file);

}  // namespace nacelle
