// How much memory this process may use, and what it has promised to plugins: so that a model that cannot fit is refused
// before the kernel ends the process.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace nacelle {

// The tightest of what bounds this process: the cgroups from its own up to the mount, and the machine.
struct MemoryBudget {
  std::uint64_t limit = 0;  // bytes
  std::uint64_t used = 0;   // of it, by all who share it, without what the kernel can drop (page cache)
  std::string source;       // "cgroup /sys/fs/cgroup/memory/server", "the machine's memory"
  bool is_hard = false;     // past it the kernel ends processes, or an operator's word is broken
  std::uint64_t free() const noexcept { return limit > used ? limit - used : 0; }
};

// Reads cgroup v1 and v2 under `root`/proc and `root`/sys; missing or odd files count as "no limit". Any thread.
MemoryBudget read_memory_budget(const std::filesystem::path& root = "/");

// Counts what plugins allocate: they may touch it much later, and it must be there then. Any thread.
class HostMemory {
 public:
  using Read = std::function<MemoryBudget()>;
  // `most`: of what plugins allocate; 0: as the budget allows.
  explicit HostMemory(
      std::uint64_t most = 0, Read read = [] { return read_memory_budget(); });

  // Counts an allocation. False, and nothing is counted, where a hard limit would be passed.
  bool take(std::uint64_t bytes) noexcept;
  void give(std::uint64_t bytes) noexcept { taken_ -= bytes; }

  // What may be promised now, and what bounds it. `used` holds what is promised and not touched yet, and a share for
  // what the server itself needs as it runs: connections, tokenizers, page tables.
  MemoryBudget budget() const;

 private:
  const std::uint64_t most_;
  const Read read_;
  const std::uint64_t first_used_;  // when nothing was promised yet
  std::atomic<std::uint64_t> taken_ = 0;
};

}  // namespace nacelle
