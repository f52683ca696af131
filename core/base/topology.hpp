// Which cores and which NUMA nodes a set of CPUs stands for, as sysfs tells it, and memory that is spread over nodes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace nacelle {

struct Topology {
  std::vector<unsigned> cores;  // the first given CPU of each physical core: SMT siblings count once
  std::vector<unsigned> nodes;  // NUMA nodes with memory that hold given CPUs; one or none: memory is all alike
};

// Reads sys/devices/system under `root` ("/", or a made-up tree). A CPU of which nothing is known counts as a core.
Topology read_topology(const std::filesystem::path& root, const std::vector<unsigned>& cpus);

// Asks the kernel to take the pages of [data, data + size) that nobody has touched yet from `nodes` in turns, so that
// all memory controllers share what all threads read. Only whole pages of the range. False where the kernel refuses:
// pages then come from the node that touches them first. Never run on a machine with several nodes.
bool interleave(void* data, std::uint64_t size, const std::vector<unsigned>& nodes) noexcept;

}  // namespace nacelle
