// GgufFile: one file, or the parts of a split joined into one list of tensors.
#include "core/formats/gguf.hpp"

#include <cstdio>
#include <limits>
#include <unordered_set>

#include "core/formats/file_error.hpp"
#include "core/formats/gguf_part.hpp"

namespace nacelle {
namespace {

constexpr const char* kSplitIndex = "split.no";
constexpr const char* kSplitCount = "split.count";
constexpr const char* kSplitTensors = "split.tensors.count";

[[noreturn]] void fail_key(const std::filesystem::path& path, const char* key, const std::string& what) {
  throw Error(ErrorKind::kCorrupt, path.string() + ": key '" + key + "': " + what);
}

// The value of an integer key; `fallback` where it is absent.
std::int64_t integer(const std::filesystem::path& path, const GgufPart& part, const char* key, std::int64_t fallback) {
  const auto found = part.metadata.find(key);
  if (found == part.metadata.end()) return fallback;
  const auto* value = std::get_if<std::int64_t>(&found->second);
  if (!value) fail_key(path, key, "is not an integer");
  return *value;
}

void expect(const std::filesystem::path& path, const GgufPart& part, const char* key, std::int64_t expected) {
  const std::int64_t value = integer(path, part, key, -1);
  if (value == expected) return;
  fail_key(path, key, "is " + std::to_string(value) + ", expected " + std::to_string(expected));
}

std::string split_suffix(std::int64_t index, std::int64_t count) {
  char suffix[64];
  std::snprintf(suffix, sizeof(suffix), "-%05lld-of-%05lld.gguf", static_cast<long long>(index) + 1,
                static_cast<long long>(count));
  return suffix;
}

// "dir/NAME" of dir/NAME-00001-of-0000N.gguf.
std::string split_prefix(const std::filesystem::path& first, std::int64_t count) {
  const std::string text = first.string();
  const std::string suffix = split_suffix(0, count);
  if (text.ends_with(suffix)) return text.substr(0, text.size() - suffix.size());
  throw Error(ErrorKind::kInvalidArgument, text + ": is the first of " + std::to_string(count) +
                                               " parts, so its name must end in " + suffix +
                                               " for the others to be found");
}

}  // namespace

std::size_t GgufArray::size() const noexcept {
  return std::visit([](const auto& items) { return items.size(); }, values);
}

const GgufValue* GgufFile::find(std::string_view key) const noexcept {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path) {
  GgufPart first = read_gguf_part(path);
  const std::int64_t count = integer(path, first, kSplitCount, 1);
  const std::int64_t index = integer(path, first, kSplitIndex, 0);
  if (count < 0 || count > std::numeric_limits<std::uint16_t>::max()) {
    fail_key(path, kSplitCount, "is " + std::to_string(count) + ", expected 0 to 65535");
  }
  if (count > 1 && index != 0) {
    throw Error(ErrorKind::kInvalidArgument, path.string() + ": is part " + std::to_string(index + 1) + " of " +
                                                 std::to_string(count) + " of a split model: give the first part, ..." +
                                                 split_suffix(0, count));
  }
  version_ = first.version;
  metadata_ = std::move(first.metadata);
  stored_ = std::move(first.stored);
  tensors_ = std::move(first.tensors);
  files_.push_back(std::move(first.file));
  if (count > 1) add_parts(count);
}

void GgufFile::add_parts(std::int64_t count) {
  const std::string prefix = split_prefix(path_, count);
  std::unordered_set<std::string> names;
  for (const TensorInfo& tensor : tensors_) names.insert(tensor.name);
  for (std::int64_t i = 1; i < count; ++i) {
    const std::filesystem::path path = prefix + split_suffix(i, count);
    if (!std::filesystem::exists(path)) {
      throw Error(ErrorKind::kNotFound, path.string() + ": part " + std::to_string(i + 1) + " of " +
                                            std::to_string(count) + " of the split model is missing");
    }
    GgufPart part = read_gguf_part(path);
    expect(path, part, kSplitIndex, i);
    expect(path, part, kSplitCount, count);
    for (TensorInfo& tensor : part.tensors) {
      if (!names.insert(tensor.name).second) {
        throw Error(ErrorKind::kCorrupt,
                    path.string() + ": tensor " + in_quotes(tensor.name) + " is in an earlier part of the split too");
      }
      tensor.file = static_cast<std::uint32_t>(i);
      tensors_.push_back(std::move(tensor));
    }
    files_.push_back(std::move(part.file));
  }
  const auto total = static_cast<std::int64_t>(tensors_.size());
  const GgufValue* declared = find(kSplitTensors);
  const auto* number = declared ? std::get_if<std::int64_t>(declared) : nullptr;
  if (number && *number == total) return;
  fail_key(path_, kSplitTensors,
           (number ? "is " + std::to_string(*number) : std::string("is absent or not an integer")) +
               ", but the parts hold " + std::to_string(total) + " tensors");
}

}  // namespace nacelle
