// How many compute threads and how much memory this process may use: the cgroup's quota, the cpuset, physical cores.
// Never the host's core count: in a container that is somebody else's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace nacelle {

struct CpuBudget {
  unsigned threads = 1;             // min(cores, quota), at least 1
  unsigned cpus = 1;                // logical CPUs that the affinity mask (and so the cpuset) allows
  unsigned cores = 1;               // the same with SMT siblings counted once
  double quota = 0;                 // CPUs, the tightest cgroup on the way up; 0: none
  std::uint64_t memory_limit = 0;   // bytes, the tightest cgroup on the way up; 0: none
  std::vector<unsigned> core_cpus;  // see Topology: for threads that are bound to cores
  std::vector<unsigned> nodes;      // and for memory that is spread over NUMA nodes
};

// Reads the budget of the calling thread. Missing or odd files count as "no limit"; never throws on their content.
CpuBudget read_cpu_budget();

// The same with /proc and /sys under `root` and the allowed CPUs given: for tests on made-up trees.
CpuBudget read_cpu_budget(const std::filesystem::path& root, const std::vector<unsigned>& allowed_cpus);

}  // namespace nacelle
