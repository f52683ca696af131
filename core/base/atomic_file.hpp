// A file that appears whole or not at all: written under another name, then renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace nacelle {

// One writer. Several processes may write one path at once: the last to commit stays, and whoever has an earlier file
// open keeps it. Without a commit nothing is left behind. Nothing waits for the disk: after a crash of the machine the
// content may be missing, so readers check it.
class AtomicFile {
 public:
  // Makes the folder where it is missing. Throws Error(kResource) that names the path and the reason, as write, reserve
  // and commit do.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Asks for room on the disk before it is written to, so that a full one is told at once. Where the file system cannot
  // say, nothing happens.
  void reserve(std::uint64_t bytes);
  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  void commit();
  // Where the content lies until then.
  const std::filesystem::path& temporary() const noexcept { return temporary_; }

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

}  // namespace nacelle
