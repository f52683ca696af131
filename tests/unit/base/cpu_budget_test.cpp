// The CPU and memory budget, read from made-up /proc and /sys trees.
#include "core/base/cpu_budget.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using nacelle::CpuBudget;
using nacelle::read_cpu_budget;

namespace {

namespace fs = std::filesystem;

class Tree {
 public:
  Tree() : root_(fs::temp_directory_path() / ("nacelle-cgroup-" + std::to_string(::getpid()))) {
    fs::remove_all(root_);
  }
  ~Tree() { fs::remove_all(root_); }

  Tree& file(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << "\n";
    return *this;
  }
  // The two files of /proc/self: our cgroups, and where the hierarchies are mounted.
  Tree& cgroups(const std::string& own, const std::string& mounts) {
    return file("proc/self/cgroup", own).file("proc/self/mountinfo", mounts);
  }
  Tree& siblings(unsigned cpu, const std::string& list, const std::string& name = "core_cpus_list") {
    return file("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/" + name, list);
  }
  CpuBudget read(unsigned cpus) const {
    std::vector<unsigned> allowed;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) allowed.push_back(cpu);
    return read_cpu_budget(root_, allowed);
  }

 private:
  fs::path root_;
};

const std::string kUnified = "30 22 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
const std::string kV1 =
    "29 22 0:26 / / rw - ext4 /dev/vda rw\n"
    "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";

}  // namespace

TEST_CASE("without limits every core counts once") {
  Tree tree;
  CHECK(tree.read(6).threads == 6);  // nothing is known
  for (unsigned cpu = 0; cpu < 4; ++cpu) tree.siblings(cpu, cpu % 2 == 0 ? "0,2" : "1,3");
  tree.siblings(4, "4", "thread_siblings_list");
  const CpuBudget budget = tree.read(6);
  CHECK(budget.cpus == 6);
  CHECK(budget.cores == 4);  // 0+2, 1+3, 4, and 5 of which nothing is known
  CHECK(budget.threads == 4);
  CHECK(budget.quota == 0);
  CHECK(budget.memory_limit == 0);
  CHECK(Tree().read(0).threads == 1);
}

TEST_CASE("cgroup v2: the tightest of our own and all above it") {
  Tree tree;
  tree.cgroups("0::/pod.slice/box", kUnified)
      .file("sys/fs/cgroup/pod.slice/cpu.max", "350000 100000")
      .file("sys/fs/cgroup/pod.slice/memory.max", "1073741824")
      .file("sys/fs/cgroup/pod.slice/box/cpu.max", "max 100000")
      .file("sys/fs/cgroup/pod.slice/box/memory.max", "max");
  CpuBudget budget = tree.read(8);
  CHECK(budget.quota == 3.5);
  CHECK(budget.threads == 3);  // rounded down
  CHECK(budget.memory_limit == 1073741824);
  tree.file("sys/fs/cgroup/pod.slice/box/cpu.max", "20000 100000")
      .file("sys/fs/cgroup/pod.slice/box/memory.max", "536870912");
  budget = tree.read(8);
  CHECK(budget.threads == 1);  // at least one
  CHECK(budget.memory_limit == 536870912);
  tree.file("sys/fs/cgroup/pod.slice/box/cpu.max", "900000 100000");
  CHECK(tree.read(2).threads == 2);  // the cores are fewer than the quota
}

TEST_CASE("cgroup v2 in a container with a namespace of its own") {
  Tree tree;
  tree.cgroups("0::/", kUnified).file("sys/fs/cgroup/cpu.max", "200000 100000");
  CHECK(tree.read(8).threads == 2);
  // A process that was moved out of the namespace's root sees a path above it.
  tree.cgroups("0::/../other", kUnified);
  CHECK(tree.read(8).threads == 2);
}

TEST_CASE("cgroup v1: the quota, and numbers near 2^63 that mean none") {
  Tree tree;
  tree.cgroups("5:memory:/a/b\n4:cpu,cpuacct:/a/b\n1:name=systemd:/", kV1)
      .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
      .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
      .file("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000")
      .file("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000")
      .file("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1")
      .file("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000")
      .file("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712");
  CpuBudget budget = tree.read(8);
  CHECK(budget.quota == 2.5);
  CHECK(budget.threads == 2);
  CHECK(budget.memory_limit == 0);
  tree.file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2000000");
  CHECK(tree.read(8).memory_limit == 2000000);
}

TEST_CASE("a container without a cgroup namespace: the mount shows a part of the hierarchy") {
  Tree tree;
  tree.cgroups("4:cpu:/docker/1234/sub", "31 30 0:28 /docker/1234 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu")
      .file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000")
      .file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
      .file("sys/fs/cgroup/cpu/sub/cpu.cfs_quota_us", "200000")
      .file("sys/fs/cgroup/cpu/sub/cpu.cfs_period_us", "100000");
  CHECK(tree.read(8).threads == 2);
  // Our cgroup lies elsewhere: what the mount's top says is all we can know.
  tree.cgroups("4:cpu:/docker/12345", "31 30 0:28 /docker/1234 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu");
  CHECK(tree.read(8).threads == 3);
}

TEST_CASE("both versions side by side, and files that make no sense") {
  Tree tree;
  tree.cgroups("4:cpu,cpuacct:/\n0::/u", kV1 + "\n40 36 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw")
      .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "500000")
      .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
      .file("sys/fs/cgroup/unified/u/cpu.max", "400000 100000");
  CHECK(tree.read(8).threads == 4);
  for (const char* text : {"", "x", "100000", "100000 0", "-5 100000", "0 100000", "max max"}) {
    tree.file("sys/fs/cgroup/unified/u/cpu.max", text);
    CHECK(tree.read(8).threads == 5);
  }
  tree.cgroups("garbage\n::\n:", "also garbage - \n");
  CHECK(tree.read(8).threads == 8);
}

TEST_CASE("this machine has a budget") {
  const CpuBudget budget = read_cpu_budget();
  CHECK(budget.threads >= 1);
  CHECK(budget.threads <= budget.cores);
  CHECK(budget.cores <= budget.cpus);
}
