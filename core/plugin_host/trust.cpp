// Ownership, mode and completeness of plugin files.
#include "core/plugin_host/trust.hpp"

#include <elf.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;

std::string distrust_node(const fs::path& path, bool folder) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fmt::format("{}: {}", path.string(), std::strerror(errno));
  if (!folder && !S_ISREG(status.st_mode)) return path.string() + ": not a regular file";
  if (status.st_uid != 0 && status.st_uid != ::geteuid())
    return fmt::format("{}: belongs to user {}, who is neither root nor the user running this; run: chown root '{}'",
                       path.string(), status.st_uid, path.string());
  if (status.st_mode & kOthersWrite)
    return fmt::format("{}: other users can write to this {} (mode {:04o}); run: chmod go-w '{}'", path.string(),
                       folder ? "folder" : "file", status.st_mode & 07777, path.string());
  return {};
}

}  // namespace

std::string distrust(const fs::path& file) {
  std::error_code code;
  const fs::path target = fs::canonical(file, code);
  if (code) return file.string() + ": " + code.message();
  std::string reason = distrust_node(file.parent_path(), true);
  if (reason.empty() && target.parent_path() != file.parent_path()) reason = distrust_node(target.parent_path(), true);
  if (reason.empty()) reason = distrust_node(target, false);
  return reason;
}

std::string truncated_segments(const fs::path& file) try {
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header) return file.string() + ": shorter than an ELF header";
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::uint64_t table = std::uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > bytes.size() ||
      table > bytes.size() - header.e_phoff)
    return file.string() + ": its program headers do not lie inside the file";
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC) continue;
    if (segment.p_offset > bytes.size() || segment.p_filesz > bytes.size() - segment.p_offset)
      return fmt::format("{}: the file is truncated: segment {} ends at byte {}, the file at {}", file.string(), i,
                         segment.p_offset + segment.p_filesz, bytes.size());
  }
  return {};
} catch (const Error& error) {
  return error.what();
}

}  // namespace nacelle
