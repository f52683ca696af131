// First bytes of what is often mistaken for a model.
#include "core/formats/foreign_file.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/base/error.hpp"

namespace nacelle {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::string_view bytes;
  const char* advice;
};

constexpr const char* kOldGgml = "is a GGML file from before GGUF: convert it to GGUF";
constexpr const char* kCheckpoint = "is a PyTorch checkpoint: convert it to safetensors or GGUF";
constexpr const char* kWebPage = "is a web page, not a model: download the file itself";

constexpr Signature kSignatures[] = {
    {"version https://git-lfs"sv, "is a Git LFS pointer, not the file itself: run `git lfs pull`"},
    {"PK\x03\x04"sv, "is a zip archive, as PyTorch checkpoints are: convert it to safetensors or GGUF"},
    {"\x80\x02"sv, kCheckpoint},
    {"\x80\x04"sv, kCheckpoint},
    {"lmgg"sv, kOldGgml},
    {"fmgg"sv, kOldGgml},
    {"tjgg"sv, kOldGgml},
    {"<!DOCTYPE"sv, kWebPage},
    {"<html"sv, kWebPage},
};

bool is_text(std::string_view start) {
  return std::ranges::all_of(start,
                             [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\r' || c == '\t'; });
}

}  // namespace

void refuse_foreign_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 512));
  for (const Signature& signature : kSignatures) {
    if (start.starts_with(signature.bytes))
      throw Error(ErrorKind::kUnsupported, path.string() + ": " + signature.advice);
  }
  if (is_text(start)) {
    throw Error(ErrorKind::kUnsupported, path.string() + ": is a text file, expected a GGUF file or a model folder");
  }
}

}  // namespace nacelle
