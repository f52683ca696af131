// cgroup v1 and v2, also side by side; see cgroups(7) and Documentation/admin-guide/cgroup-v2.rst.
#include "core/base/cpu_budget.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "core/base/first_line.hpp"
#include "core/base/topology.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> integer(std::string_view text) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr == text.data()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> read_integer(const fs::path& path) {
  const auto line = first_line(path);
  return line ? integer(*line) : std::nullopt;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// One mounted hierarchy that holds a controller, and the folder of our own cgroup in it.
struct Hierarchy {
  fs::path mount;  // as seen from `root`
  fs::path own;    // at or below `mount`
};

// Our cgroup's path in the hierarchy of `controller` (v1), or in the unified one ("").
std::optional<std::string> own_path(const fs::path& root, std::string_view controller) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "4:cpu,cpuacct:/docker/1234", "0::/user.slice"
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? controllers.empty() : contains(split(controllers, ','), controller))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

// Where `path` of /proc/self/cgroup lies below a mount that shows `mount_root` of the hierarchy. In a container without
// a cgroup namespace both carry the container's prefix; a path outside the mount means the mount's top is ours.
fs::path below_mount(const std::string& path, const std::string& mount_root) {
  std::string rest = path;
  if (mount_root != "/") {
    if (rest.compare(0, mount_root.size(), mount_root) != 0) return {};
    rest.erase(0, mount_root.size());
    if (!rest.empty() && rest[0] != '/') return {};
  }
  const fs::path relative = fs::path(rest).relative_path().lexically_normal();
  return relative.empty() || *relative.begin() == ".." ? fs::path() : relative;
}

// Finds the mount of `controller` (v1) or of cgroup2 ("") in /proc/self/mountinfo.
std::optional<Hierarchy> find_hierarchy(const fs::path& root, std::string_view controller) {
  const auto path = own_path(root, controller);
  if (!path) return std::nullopt;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    // id parent device ROOT MOUNT options [tags] - TYPE source SUPER_OPTIONS
    const auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto before = split(line.substr(0, dash), ' ');
    const auto after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    const bool match =
        controller.empty() ? after[0] == "cgroup2" : after[0] == "cgroup" && contains(split(after[2], ','), controller);
    if (!match) continue;
    const fs::path mount = root / fs::path(before[4]).relative_path();
    const fs::path below = below_mount(*path, before[3]);
    return Hierarchy{mount, below.empty() ? mount : mount / below};
  }
  return std::nullopt;
}

// Calls `visit(folder)` for our cgroup and each of its ancestors up to the mount: every one of them limits us.
template <class Visit>
void walk_up(const std::optional<Hierarchy>& hierarchy, Visit visit) {
  if (!hierarchy) return;
  for (fs::path folder = hierarchy->own;; folder = folder.parent_path()) {
    visit(folder);
    if (folder == hierarchy->mount || !folder.has_relative_path()) return;
  }
}

// 0 means no limit in both of these.
void tighten(double& limit, double value) {
  if (value > 0 && (limit == 0 || value < limit)) limit = value;
}
void tighten(std::uint64_t& limit, std::optional<std::int64_t> value) {
  // v1 says "none" with a number near 2^63.
  if (!value || *value < 0 || *value >= std::int64_t{1} << 62) return;
  const auto bytes = static_cast<std::uint64_t>(*value);
  if (limit == 0 || bytes < limit) limit = bytes;
}

void read_cgroups(const fs::path& root, CpuBudget& budget) {
  walk_up(find_hierarchy(root, ""), [&](const fs::path& folder) {
    if (const auto line = first_line(folder / "cpu.max")) {  // "max 100000" or "150000 100000"
      const auto space = line->find(' ');
      const auto quota = integer(*line);
      const auto period =
          space == std::string::npos ? std::nullopt : integer(std::string_view(*line).substr(space + 1));
      if (quota && period && *period > 0)
        tighten(budget.quota, static_cast<double>(*quota) / static_cast<double>(*period));
    }
    tighten(budget.memory_limit, read_integer(folder / "memory.max"));
  });
  walk_up(find_hierarchy(root, "cpu"), [&](const fs::path& folder) {
    const auto quota = read_integer(folder / "cpu.cfs_quota_us");  // -1: none
    const auto period = read_integer(folder / "cpu.cfs_period_us");
    if (quota && period && *quota > 0 && *period > 0)
      tighten(budget.quota, static_cast<double>(*quota) / static_cast<double>(*period));
  });
  walk_up(find_hierarchy(root, "memory"), [&](const fs::path& folder) {
    tighten(budget.memory_limit, read_integer(folder / "memory.limit_in_bytes"));
  });
}

std::vector<unsigned> affinity() {
  std::vector<unsigned> cpus;
  // The kernel refuses a mask smaller than its own with EINVAL: grow until it fits.
  for (std::size_t words = 16; words <= 1024; words *= 2) {
    std::vector<unsigned long> mask(words);
    const std::size_t bytes = words * sizeof(unsigned long);
    if (sched_getaffinity(0, bytes, reinterpret_cast<cpu_set_t*>(mask.data())) != 0) {
      if (errno == EINVAL) continue;
      break;
    }
    for (unsigned cpu = 0; cpu < 8 * bytes; ++cpu)
      if (CPU_ISSET_S(cpu, bytes, reinterpret_cast<cpu_set_t*>(mask.data()))) cpus.push_back(cpu);
    break;
  }
  return cpus;
}

}  // namespace

CpuBudget read_cpu_budget(const fs::path& root, const std::vector<unsigned>& allowed_cpus) {
  CpuBudget budget;
  budget.cpus = std::max<unsigned>(1, static_cast<unsigned>(allowed_cpus.size()));
  Topology topology = read_topology(root, allowed_cpus);
  budget.cores = std::max<unsigned>(1, static_cast<unsigned>(topology.cores.size()));
  budget.core_cpus = std::move(topology.cores);
  budget.nodes = std::move(topology.nodes);
  read_cgroups(root, budget);
  budget.threads = budget.cores;
  if (budget.quota > 0 && budget.quota < budget.cores)
    budget.threads = std::max(1u, static_cast<unsigned>(budget.quota));
  return budget;
}

CpuBudget read_cpu_budget() { return read_cpu_budget("/", affinity()); }

}  // namespace nacelle
