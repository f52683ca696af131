// The CPU and memory budget, read from made-up /proc and /sys trees.
#include "core/base/cpu_budget.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "core/base/host_memory.hpp"

using nacelle::CpuBudget;
using nacelle::HostMemory;
using nacelle::MemoryBudget;
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

  MemoryBudget memory() const { return nacelle::read_memory_budget(root_); }

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

TEST_CASE("memory: the cgroup with the least left, whoever uses it") {
  Tree tree;
  tree.cgroups("0::/pod/box", kUnified)
      .file("proc/meminfo", "MemTotal:       8000 kB\nMemFree: 100 kB\nMemAvailable:   6000 kB")
      .file("sys/fs/cgroup/pod/box/memory.max", "max");
  MemoryBudget budget = tree.memory();
  CHECK(budget.source == "the machine's memory");
  CHECK(budget.limit == 8000 * 1024);
  CHECK(budget.free() == 6000 * 1024);
  CHECK_FALSE(budget.is_hard);

  // The pod's limit is the larger one, but a neighbour uses most of it. File pages can be dropped.
  tree.file("sys/fs/cgroup/pod/memory.max", "4000000")
      .file("sys/fs/cgroup/pod/memory.stat", "anon 3500000\nfile 400000\nshmem 100000\nsock 50000")
      .file("sys/fs/cgroup/pod/box/memory.max", "1000000")
      .file("sys/fs/cgroup/pod/box/memory.stat", "anon 200000\nfile 700000");
  budget = tree.memory();
  CHECK(budget.source == "cgroup /sys/fs/cgroup/pod");
  CHECK(budget.limit == 4000000);
  CHECK(budget.free() == 350000);
  CHECK(budget.is_hard);
  tree.file("sys/fs/cgroup/pod/box/memory.max", "300000");
  CHECK(tree.memory().source == "cgroup /sys/fs/cgroup/pod/box");
  CHECK(tree.memory().free() == 100000);
}

TEST_CASE("memory: cgroup v1 counts what is below too") {
  Tree tree;
  tree.cgroups("5:memory:/a\n4:cpu,cpuacct:/a", kV1)
      .file("proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 6000 kB")
      .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
      .file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2000000")
      .file("sys/fs/cgroup/memory/a/memory.kmem.usage_in_bytes", "1000")
      .file("sys/fs/cgroup/memory/a/memory.stat", "rss 10\ncache 500\ntotal_rss 500000\ntotal_shmem 9000");
  const MemoryBudget budget = tree.memory();
  CHECK(budget.source == "cgroup /sys/fs/cgroup/memory/a");
  CHECK(budget.free() == 2000000 - 510000);
}

TEST_CASE("memory that is promised counts before it is touched") {
  MemoryBudget now{1u << 30, 100u << 20, "cgroup /x", true};
  HostMemory memory(0, [&] { return now; });
  const std::uint64_t free = memory.budget().free();
  CHECK(free < (1u << 30) - (100u << 20));  // a share is the server's own
  CHECK(memory.take(600u << 20));
  CHECK(memory.budget().free() == free - (600u << 20));
  CHECK_FALSE(memory.take(400u << 20));
  now.used += 700u << 20;  // it was touched, and the server grew beside it
  CHECK(memory.budget().free() == free - (700u << 20));
  now.used -= 700u << 20;
  memory.give(600u << 20);
  CHECK(memory.budget().free() == free);
  now.is_hard = false;  // a machine may swap: planning refuses, the allocator does not
  CHECK(memory.take(2u << 30));
  HostMemory capped(300u << 20, [&] { return MemoryBudget{1u << 30, 100u << 20, "cgroup /x", true}; });
  CHECK(capped.budget().source == "--max-memory");
  CHECK(capped.take(200u << 20));
  CHECK_FALSE(capped.take(200u << 20));
  CHECK(capped.budget().free() == 100u << 20);
}

TEST_CASE("this machine has a budget") {
  const CpuBudget budget = read_cpu_budget();
  CHECK(budget.threads >= 1);
  CHECK(budget.threads <= budget.cores);
  CHECK(budget.cores <= budget.cpus);
}
