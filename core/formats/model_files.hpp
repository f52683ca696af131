// One view of a model on disk for loaders, whatever its format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/formats/config_map.hpp"
#include "core/formats/gguf.hpp"
#include "core/formats/safetensors.hpp"

namespace nacelle {

enum class ModelFormat { kGguf, kHuggingFace };

// Owns the mappings; tensor data is not touched until it is read. Immutable after open: any thread may read. Views,
// strings and pointers stay valid while the object lives.
class ModelFiles {
 public:
  // `path`: a GGUF file, a GGUF split's first part, or a folder in Hugging Face layout (config.json, *.safetensors and
  // the tokenizer's files, which are not looked at here). Throws Error with one line that says what the path is
  // instead.
  static std::unique_ptr<ModelFiles> open(const std::filesystem::path& path);

  ModelFormat format() const noexcept { return gguf_ ? ModelFormat::kGguf : ModelFormat::kHuggingFace; }
  const std::filesystem::path& path() const noexcept { return path_; }
  // The path as a line for a person names it: that of a file in memory (memfd) says nothing, its name does.
  const std::string& title() const noexcept { return title_; }

  // The name to serve it under: the folder's, or the file's without extension and without a split's "-00001-of-0000N".
  std::string stem() const;

  // GGUF: a metadata key ("llama.block_count"). Hugging Face: a dotted path into config.json ("rope_scaling.factor"),
  // or into generation_config.json under "generation_config.", hf_quant_config.json under "hf_quant_config." and
  // 1_Pooling/config.json under "1_Pooling.". nullptr when it is absent or null.
  const ConfigValue* config(std::string_view key) const noexcept;

  // GGUF: general.architecture ("llama"). Hugging Face: architectures[0] ("LlamaForCausalLM"). Throws Error(kCorrupt)
  // where the file does not say.
  std::string architecture() const;

  const TensorInfo* tensor(std::string_view name) const noexcept;  // nullptr when there is none of that name
  std::span<const TensorInfo> tensors() const noexcept;            // in the files' order
  std::uint64_t total_tensor_bytes() const noexcept;

  // That hold the tensors.
  const std::vector<MappedFile>& files() const noexcept;
  // `tensor` must be one of tensors().
  std::span<const std::byte> data(const TensorInfo& tensor) const noexcept;

  // Tells the kernel that bytes [offset, offset + size) of the tensor have been packed elsewhere; reading them again is
  // valid and slow.
  void release(const TensorInfo& tensor, std::uint64_t offset, std::uint64_t size) const noexcept;

  const GgufFile* gguf() const noexcept { return gguf_.get(); }  // nullptr for Hugging Face

 private:
  explicit ModelFiles(const std::filesystem::path& path);
  const MappedFile& file(const TensorInfo& tensor) const noexcept;

  std::filesystem::path path_;
  std::string title_;
  std::unique_ptr<GgufFile> gguf_;  // exactly one of the two
  std::unique_ptr<Safetensors> safetensors_;
  ConfigMap config_;  // of Hugging Face layout; GGUF keeps its own
  std::unordered_map<std::string_view, const TensorInfo*> by_name_;
};

}  // namespace nacelle
