// Cores and NUMA nodes, read from made-up sysfs trees, and the kernel's answer to interleaved memory.
#include "core/base/topology.hpp"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <numeric>
#include <string>

using nacelle::interleave;
using nacelle::read_topology;

namespace {

namespace fs = std::filesystem;
using Numbers = std::vector<unsigned>;

class SysTree {
 public:
  SysTree() : root_(fs::temp_directory_path() / ("nacelle-topology-" + std::to_string(::getpid()))) {
    fs::remove_all(root_);
  }
  ~SysTree() { fs::remove_all(root_); }

  SysTree& file(const std::string& path, const std::string& text) {
    const fs::path full = root_ / "sys/devices/system" / path;
    fs::create_directories(full.parent_path());
    std::ofstream(full) << text << "\n";
    return *this;
  }
  nacelle::Topology read(const Numbers& cpus) const { return read_topology(root_, cpus); }

 private:
  fs::path root_;
};

Numbers range(unsigned count) {
  Numbers numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0u);
  return numbers;
}

}  // namespace

TEST_CASE("two sockets with SMT: cores and nodes of the allowed CPUs") {
  SysTree tree;
  for (unsigned cpu = 0; cpu < 16; ++cpu)
    tree.file("cpu/cpu" + std::to_string(cpu) + "/topology/core_cpus_list",
              std::to_string(cpu % 8) + "," + std::to_string(cpu % 8 + 8));
  tree.file("node/node0/cpulist", "0-3,8-11").file("node/node1/cpulist", "4-7,12-15").file("node/has_memory", "0-1");
  tree.file("node/possible", "0-1").file("node/node10/cpulist", "");
  auto topology = tree.read(range(16));
  CHECK(topology.cores == range(8));
  CHECK(topology.nodes == Numbers{0, 1});
  topology = tree.read({5, 12, 13, 15});
  CHECK(topology.cores == Numbers{5, 12, 15});
  CHECK(topology.nodes == Numbers{1});
  tree.file("node/has_memory", "0");  // a node of CPUs alone
  CHECK(tree.read(range(16)).nodes == Numbers{0});
}

TEST_CASE("a tree that tells nothing, or nonsense") {
  SysTree tree;
  CHECK(tree.read({0, 3}).cores == Numbers{0, 3});
  CHECK(tree.read({0, 3}).nodes.empty());
  for (const char* list : {"", "-", "1-", "x", "7-3", "99999999999", "0x1", ",,"}) {
    tree.file("node/node0/cpulist", list).file("node/nodeX/cpulist", "0-9").file("node/node5000/cpulist", "0-9");
    CHECK(tree.read({1, 3}).nodes.empty());
  }
}

TEST_CASE("memory of one node after the other") {
  constexpr std::size_t kPage = 4096, kSize = 64 * kPage;
  void* data = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(data != MAP_FAILED);
  CHECK_FALSE(interleave(data, kSize, {}));
  CHECK_FALSE(interleave(static_cast<char*>(data) + 1, kPage, {0}));  // no whole page
  if (interleave(data, kSize, {0})) {                                 // else a kernel without NUMA, or a strict sandbox
    int policy = -1;
    CHECK(::syscall(SYS_get_mempolicy, &policy, nullptr, 0, data, MPOL_F_ADDR) == 0);
    CHECK(policy == MPOL_INTERLEAVE);
    static_cast<char*>(data)[kSize - 1] = 1;
  } else {
    WARN("mbind is not to be had here");
  }
  ::munmap(data, kSize);
}
