// ModelFiles: finds out what a path is, and gives both formats one face.
#include "core/formats/model_files.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/error.hpp"
#include "core/formats/file_error.hpp"
#include "core/formats/foreign_file.hpp"

namespace nacelle {
namespace fs = std::filesystem;
namespace {

// Files beside config.json, and before which of their keys their name goes.
constexpr const char* kOtherConfigs[][2] = {{"generation_config.json", "generation_config"},
                                            {"hf_quant_config.json", "hf_quant_config"},  // ModelOpt's
                                            {"1_Pooling/config.json", "1_Pooling"}};      // sentence-transformers'

bool starts_with(const MappedFile& file, std::string_view magic) {
  return file.bytes().size() >= magic.size() && std::memcmp(file.bytes().data(), magic.data(), magic.size()) == 0;
}

// A length that the format allows, then a JSON object.
bool looks_like_safetensors(const MappedFile& file) {
  const auto bytes = file.bytes();
  return bytes.size() > 8 && bytes[8] == std::byte{'{'} && bytes[4] == std::byte{0} && bytes[5] == std::byte{0} &&
         bytes[6] == std::byte{0} && bytes[7] == std::byte{0};
}

std::unique_ptr<GgufFile> open_gguf(const fs::path& path) {
  {
    const MappedFile file(path);
    if (!starts_with(file, "GGUF")) {
      if (looks_like_safetensors(file)) {
        throw Error(ErrorKind::kUnsupported,
                    path.string() + ": is a safetensors file: give the folder that holds it and its config.json");
      }
      refuse_foreign_file(path, file.bytes());
    }
  }
  return std::make_unique<GgufFile>(path);
}

// Names in `folder` that end in one of `extensions`, sorted.
std::vector<std::string> names_with(const fs::path& folder, std::initializer_list<std::string_view> extensions) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (std::ranges::count(extensions, entry.path().extension().string()) != 0) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

// "a.gguf, b.gguf and 3 more"
std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) text += (i ? ", " : "") + printable(names[i]);
  return names.size() > kMost ? text + " and " + std::to_string(names.size() - kMost) + " more" : text;
}

// What a GGUF file says that it is: "adapter", "imatrix", "mmproj"; "model" where it says nothing, or cannot be read,
// which is told when it is opened.
std::string kind_of_gguf(const fs::path& path) {
  try {
    const GgufFile file(path);
    const ConfigValue* value = file.find("general.type");
    const auto* kind = value ? std::get_if<std::string_view>(value) : nullptr;
    return kind ? std::string(*kind) : "model";
  } catch (const Error&) {
    return "model";
  }
}

// The model among the GGUF files of a folder, or what there is instead.
[[noreturn]] void fail_gguf_folder(const fs::path& folder, const std::string& start,
                                   const std::vector<std::string>& names) {
  std::vector<std::string> models, others;
  for (const std::string& name : names) {
    const std::string kind = kind_of_gguf(folder / name);
    if (kind == "model") {
      models.push_back(name);
    } else {
      others.push_back(name + " (" + printable(kind) + ")");
    }
  }
  const std::string advice = models.empty() ? ", and none of its GGUF files is a model: " + listed(others)
                             : models.size() == 1
                                 ? ": give the GGUF file in it instead, " + (folder / models[0]).string()
                                 : ": give one of its GGUF files instead: " + listed(models);
  throw Error(ErrorKind::kInvalidArgument, start + advice);
}

// Throws what is most likely meant by a folder that lacks `missing`.
[[noreturn]] void fail_folder(const fs::path& folder, const std::string& missing) {
  const std::string start = folder.string() + ": the folder holds no " + missing;
  if (const auto gguf = names_with(folder, {".gguf"}); !gguf.empty()) fail_gguf_folder(folder, start, gguf);
  if (fs::exists(folder / "adapter_config.json")) {
    throw Error(ErrorKind::kInvalidArgument,
                start + ", but adapter_config.json: it is a LoRA adapter; give its model, and the adapter as --lora " +
                    "NAME=" + folder.string());
  }
  if (const auto torch = names_with(folder, {".bin", ".pt", ".pth", ".ckpt"}); !torch.empty()) {
    throw Error(ErrorKind::kUnsupported,
                start + ", but " + torch[0] + ": PyTorch checkpoints are not read, convert it to safetensors or GGUF");
  }
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(folder)) all.push_back(entry.path().filename().string());
  std::ranges::sort(all);
  throw Error(ErrorKind::kNotFound, start + ": expected a GGUF file, or a folder with config.json and *.safetensors; " +
                                        (all.empty() ? "it is empty" : "it holds " + listed(all)));
}

std::string title_of(const fs::path& path) {
  constexpr std::string_view kInMemory = "/memfd:", kEnd = " (deleted)";
  std::error_code none;
  const std::string target = fs::read_symlink(path, none).string();
  if (none || !target.starts_with(kInMemory)) return path.string();
  const std::string name = target.substr(kInMemory.size());
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) : name;
}

}  // namespace

std::unique_ptr<ModelFiles> ModelFiles::open(const fs::path& path) {
  try {
    return std::unique_ptr<ModelFiles>(new ModelFiles(path));
  } catch (const fs::filesystem_error& error) {  // a folder that may not be listed
    throw Error(ErrorKind::kNotFound, path.string() + ": cannot be read: " + error.code().message());
  }
}

ModelFiles::ModelFiles(const fs::path& path) : path_(path), title_(title_of(path)) {
  if (!fs::exists(path)) throw Error(ErrorKind::kNotFound, path.string() + ": no such file or folder");
  if (!fs::is_directory(path)) {
    gguf_ = open_gguf(path);
  } else {
    if (!fs::exists(path / "config.json")) fail_folder(path, "config.json");
    if (names_with(path, {".safetensors"}).empty() && !fs::exists(path / "model.safetensors.index.json")) {
      fail_folder(path, "*.safetensors");
    }
    safetensors_ = std::make_unique<Safetensors>(path);
    add_json_config(path / "config.json", MappedFile(path / "config.json").bytes(), "", config_);
    for (const auto& [name, prefix] : kOtherConfigs)
      if (fs::exists(path / name)) add_json_config(path / name, MappedFile(path / name).bytes(), prefix, config_);
  }
  for (const TensorInfo& info : tensors()) by_name_.emplace(info.name, &info);
}

std::string ModelFiles::stem() const {
  if (!gguf_) {
    const fs::path folder = fs::absolute(path_).lexically_normal();
    return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  }
  std::string name = path_.stem().string();
  constexpr std::size_t kSuffix = std::string_view("-00001-of-00002").size();
  if (gguf_->files().size() > 1 && name.size() > kSuffix) name.resize(name.size() - kSuffix);
  return name;
}

const ConfigValue* ModelFiles::config(std::string_view key) const noexcept {
  if (gguf_) return gguf_->find(key);
  const auto found = config_.values.find(key);
  return found == config_.values.end() ? nullptr : &found->second;
}

std::string ModelFiles::architecture() const {
  if (gguf_) {
    const ConfigValue* value = config("general.architecture");
    const auto* name = value ? std::get_if<std::string_view>(value) : nullptr;
    if (name) return std::string(*name);
    throw Error(ErrorKind::kCorrupt,
                path_.string() + ": key 'general.architecture': expected a string such as 'llama'");
  }
  const ConfigValue* value = config("architectures");
  const auto* list = value ? std::get_if<ConfigArray>(value) : nullptr;
  const auto* names = list ? std::get_if<std::vector<std::string_view>>(&list->values) : nullptr;
  if (names && !names->empty()) return std::string(names->front());
  throw Error(ErrorKind::kCorrupt,
              (path_ / "config.json").string() + ": architectures: expected a list such as [\"LlamaForCausalLM\"]");
}

const TensorInfo* ModelFiles::tensor(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

std::span<const TensorInfo> ModelFiles::tensors() const noexcept {
  return gguf_ ? gguf_->tensors() : safetensors_->tensors();
}

std::uint64_t ModelFiles::total_tensor_bytes() const noexcept {
  std::uint64_t total = 0;
  for (const TensorInfo& info : tensors()) total += info.size;
  return total;
}

const std::vector<MappedFile>& ModelFiles::files() const noexcept {
  return gguf_ ? gguf_->files() : safetensors_->files();
}

const MappedFile& ModelFiles::file(const TensorInfo& info) const noexcept { return files()[info.file]; }

std::span<const std::byte> ModelFiles::data(const TensorInfo& info) const noexcept {
  return file(info).bytes().subspan(info.offset, info.size);
}

void ModelFiles::release(const TensorInfo& info, std::uint64_t offset, std::uint64_t size) const noexcept {
  if (offset >= info.size) return;
  file(info).release(info.offset + offset, std::min(size, info.size - offset));
}

}  // namespace nacelle
