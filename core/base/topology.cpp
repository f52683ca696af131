// See Documentation/ABI/stable/sysfs-devices-system-cpu and sysfs-devices-node in the kernel's source, and mbind(2).
#include "core/base/topology.hpp"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "core/base/first_line.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kMaxNode = 1024;  // MAX_NUMNODES of the largest kernels

std::optional<unsigned> number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

// Whether a list like "0-3,8,10-11" holds `wanted`. What cannot be read holds nothing.
bool list_holds(std::string_view list, unsigned wanted) {
  while (!list.empty()) {
    const std::string_view part = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), part.size() + 1));
    const auto dash = part.find('-');
    const auto first = number(part.substr(0, dash));
    const auto last = dash == part.npos ? first : number(part.substr(dash + 1));
    if (first && last && *first <= wanted && wanted <= *last) return true;
  }
  return false;
}

// CPUs with the same list of siblings are one core.
std::vector<unsigned> cores_of(const fs::path& system, const std::vector<unsigned>& cpus) {
  std::set<std::string> seen;
  std::vector<unsigned> cores;
  for (const unsigned cpu : cpus) {
    const std::string name = "cpu" + std::to_string(cpu);
    const fs::path topology = system / "cpu" / name / "topology";
    auto siblings = first_line(topology / "core_cpus_list");
    if (!siblings) siblings = first_line(topology / "thread_siblings_list");  // before Linux 5.3
    if (seen.insert(siblings.value_or(name)).second) cores.push_back(cpu);
  }
  return cores;
}

std::vector<unsigned> nodes_of(const fs::path& system, const std::vector<unsigned>& cpus) {
  std::vector<unsigned> nodes;
  const auto with_memory = first_line(system / "node/has_memory");
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(system / "node", code)) {
    const std::string name = entry.path().filename();
    const auto node = name.starts_with("node") ? number(std::string_view(name).substr(4)) : std::nullopt;
    if (!node || *node >= kMaxNode || (with_memory && !list_holds(*with_memory, *node))) continue;
    const auto list = first_line(entry.path() / "cpulist");
    if (list && std::any_of(cpus.begin(), cpus.end(), [&](unsigned cpu) { return list_holds(*list, cpu); }))
      nodes.push_back(*node);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace

Topology read_topology(const fs::path& root, const std::vector<unsigned>& cpus) {
  const fs::path system = root / "sys/devices/system";
  return {cores_of(system, cpus), nodes_of(system, cpus)};
}

bool interleave(void* data, std::uint64_t size, const std::vector<unsigned>& nodes) noexcept {
  constexpr unsigned kBits = sizeof(unsigned long) * CHAR_BIT;
  unsigned long mask[kMaxNode / kBits] = {};
  for (const unsigned node : nodes)
    if (node < kMaxNode) mask[node / kBits] |= 1ul << node % kBits;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t begin = (address + page - 1) / page * page, end = (address + size) / page * page;
  // The kernel reads one bit less than it is told.
  return begin < end && ::syscall(SYS_mbind, begin, end - begin, MPOL_INTERLEAVE, mask, kMaxNode + 1, 0) == 0;
}

}  // namespace nacelle
