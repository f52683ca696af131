#include "core/base/host_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>
#include <utility>

#include "core/base/cgroups.hpp"
#include "core/base/first_line.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

// The server's own needs beside what is in use: a part of the limit, within bounds.
constexpr std::uint64_t kLeastReserve = 32u << 20, kMostReserve = 512u << 20;
constexpr std::uint64_t kReserveShare = 20;
// Smaller allocations are counted, but not held against the limit one by one.
constexpr std::uint64_t kChecked = 1u << 20;

std::map<std::string, std::uint64_t> read_fields(const fs::path& path) {
  std::map<std::string, std::uint64_t> fields;
  std::ifstream file(path);
  std::string name, rest;
  for (std::uint64_t value; file >> name >> value; std::getline(file, rest)) fields[name] = value;
  return fields;
}

// Fields of memory.stat that no reclaim gives back, with what is below the cgroup.
constexpr const char* kHeldV1[] = {"total_rss", "total_shmem"};
constexpr const char* kHeldV2[] = {"anon", "shmem", "kernel_stack", "pagetables", "sock", "slab_unreclaimable"};

template <std::size_t N>
std::uint64_t sum(const std::map<std::string, std::uint64_t>& fields, const char* const (&names)[N]) {
  std::uint64_t bytes = 0;
  for (const char* name : names)
    if (const auto found = fields.find(name); found != fields.end()) bytes += found->second;
  return bytes;
}

MemoryBudget machine(const fs::path& root) {
  MemoryBudget budget;
  budget.source = "the machine's memory";
  const auto fields = read_fields(root / "proc/meminfo");  // in KiB
  const auto field = [&](const char* name) {
    const auto found = fields.find(name);
    return found == fields.end() ? 0 : found->second * 1024;
  };
  budget.limit = field("MemTotal:");
  budget.used = budget.limit - std::min(budget.limit, field("MemAvailable:"));
  return budget;
}

// As a user sees the folder: without the made-up root of a test.
std::string name_of(const fs::path& folder, const fs::path& root) {
  return "cgroup /" + folder.lexically_relative(root).string();
}

void tighten(MemoryBudget& budget, MemoryBudget other) {
  if (other.limit != 0 && (budget.limit == 0 || other.free() < budget.free())) budget = std::move(other);
}

}  // namespace

MemoryBudget read_memory_budget(const fs::path& root) {
  MemoryBudget budget = machine(root);
  walk_cgroups(root, "memory", [&](const fs::path& folder, bool unified) {
    const auto limit = read_limit(folder / (unified ? "memory.max" : "memory.limit_in_bytes"));
    if (!limit) return;
    const auto stat = read_fields(folder / "memory.stat");
    MemoryBudget own{*limit, unified ? sum(stat, kHeldV2) : sum(stat, kHeldV1), name_of(folder, root), true};
    if (!unified) own.used += read_limit(folder / "memory.kmem.usage_in_bytes").value_or(0);
    tighten(budget, std::move(own));
  });
  return budget;
}

HostMemory::HostMemory(std::uint64_t most, Read read)
    : most_(most), read_(std::move(read)), first_used_(read_().used) {}

MemoryBudget HostMemory::budget() const {
  MemoryBudget budget = read_();
  const std::uint64_t reserve = std::clamp(budget.limit / kReserveShare, kLeastReserve, kMostReserve);
  budget.used = std::max(budget.used, first_used_ + taken_) + reserve;
  if (most_) tighten(budget, {most_, taken_, "--max-memory", true});
  return budget;
}

bool HostMemory::take(std::uint64_t bytes) noexcept try {
  if (bytes >= kChecked) {
    const MemoryBudget now = budget();
    if (now.is_hard && now.free() < bytes) return false;
  }
  taken_ += bytes;
  return true;
} catch (...) {  // no memory to read the files with
  return false;
}

}  // namespace nacelle
