#include "core/base/cpu_budget.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>

#include "core/base/cgroups.hpp"
#include "core/base/first_line.hpp"
#include "core/base/topology.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

// 0 means no limit in both of these.
void tighten(double& limit, double value) {
  if (value > 0 && (limit == 0 || value < limit)) limit = value;
}
void tighten(std::uint64_t& limit, std::optional<std::uint64_t> value) {
  if (value && (limit == 0 || *value < limit)) limit = *value;
}

void read_cgroups(const fs::path& root, CpuBudget& budget) {
  walk_cgroups(root, "cpu", [&](const fs::path& folder, bool unified) {
    if (!unified) {
      const auto quota = read_integer(folder / "cpu.cfs_quota_us");  // -1: none
      const auto period = read_integer(folder / "cpu.cfs_period_us");
      if (quota && period && *quota > 0 && *period > 0)
        tighten(budget.quota, static_cast<double>(*quota) / static_cast<double>(*period));
    } else if (const auto line = first_line(folder / "cpu.max")) {  // "max 100000" or "150000 100000"
      const auto space = line->find(' ');
      const auto quota = parse_integer(*line);
      const auto period =
          space == std::string::npos ? std::nullopt : parse_integer(std::string_view(*line).substr(space + 1));
      if (quota && period && *period > 0)
        tighten(budget.quota, static_cast<double>(*quota) / static_cast<double>(*period));
    }
  });
  walk_cgroups(root, "memory", [&](const fs::path& folder, bool unified) {
    tighten(budget.memory_limit, read_limit(folder / (unified ? "memory.max" : "memory.limit_in_bytes")));
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
