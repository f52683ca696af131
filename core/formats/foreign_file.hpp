// Files that people give in place of a model, told apart by their first bytes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace nacelle {

// Throws Error(kUnsupported) that says what `path` is and what to do, where its first bytes look like a Git LFS
// pointer, a PyTorch checkpoint, a GGML file from before GGUF, a web page or other text. Otherwise returns.
void refuse_foreign_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace nacelle
