// The CPU backend as a plugin: one device, the processor that runs the host.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nacelle/backend.hpp>
#include <stdexcept>

#include "backends/cpu/ceilings.hpp"
#include "backends/cpu/supports.hpp"
#include "backends/cpu/weights.hpp"

namespace nacelle::cpu {
namespace {

// MemTotal and MemAvailable, in bytes; falls back on what sysconf knows.
struct SystemMemory {
  std::uint64_t total, available;
};
SystemMemory system_memory() {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  SystemMemory memory{static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page,
                      static_cast<std::uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * page};
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (std::uint64_t kib; file >> key >> kib; std::getline(file, unit)) {
    if (key == "MemTotal:") memory.total = kib * 1024;
    if (key == "MemAvailable:") memory.available = kib * 1024;
  }
  return memory;
}

// What this process holds that is not a file's, in bytes: it counts against the container's limit.
std::uint64_t own_memory() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0, resident = 0, shared = 0;
  file >> size >> resident >> shared;
  return (resident - std::min(shared, resident)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

constexpr double kCeilingSeconds = 2;  // at most; a quiet machine takes half of one

class CpuDevice final : public sdk::Device {
 public:
  CpuDevice(const sdk::Host& host, IsaSet isa) : host_(host), isa_(isa) {}

  bool supports(const nacelle_graph& graph, const nacelle_op& op) const noexcept override {
    return sdk::takes_op(graph, op, op_bounds());
  }
  std::unique_ptr<sdk::Weights> prepare(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                                        const nacelle_weight_source& source,
                                        const nacelle_prepare_options& options) override {
    sdk::check_graph("cpu", graph, op_bounds());
    return std::make_unique<CpuWeights>(host_, isa_, graph, buckets, source, options);
  }

  nacelle_ceilings ceilings() override { return measure_ceilings(host_, isa_, kCeilingSeconds); }

 private:
  sdk::Host host_;
  IsaSet isa_;
};

class CpuBackend final : public sdk::Backend {
 public:
  explicit CpuBackend(const sdk::Host& host) : host_(host), name_(processor_name()) {}

  std::uint32_t device_count(std::string_view&) override { return 1; }

  nacelle_device_info device_info(std::uint32_t index) override {
    check(index);
    const std::uint32_t threads = host_.team_size();
    detail_ =
        std::string(to_string(isa().best())) + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
    SystemMemory memory = system_memory();
    const std::uint64_t limit = std::strtoull(host_.config("host.memory_limit").value_or("0").c_str(), nullptr, 10);
    if (limit != 0 && limit < memory.total)
      memory = {limit, std::min(memory.available, limit - std::min(limit, own_memory()))};
    auto info = sdk::make<nacelle_device_info>();
    info.kind = NACELLE_DEVICE_CPU;
    info.usable = 1;
    info.name = sdk::view(name_);
    info.detail = sdk::view(detail_);
    info.memory_total = memory.total;
    info.memory_free = memory.available;
    info.block_tokens = 32;
    return info;
  }

  std::unique_ptr<sdk::Device> open(std::uint32_t index) override {
    check(index);
    return std::make_unique<CpuDevice>(host_, isa());
  }

 private:
  // Read at each use, so that a wrong setting is reported where the device is asked for.
  IsaSet isa() const {
    try {
      return usable_isa(host_.config("backend.cpu.isa").value_or(""));
    } catch (const std::invalid_argument& error) {
      throw sdk::Failure(NACELLE_INVALID_ARGUMENT, error.what());
    }
  }
  static void check(std::uint32_t index) {
    if (index != 0) throw sdk::Failure(NACELLE_NOT_FOUND, "cpu has one device, with index 0");
  }

  sdk::Host host_;
  std::string name_, detail_;
};

}  // namespace
}  // namespace nacelle::cpu

NACELLE_BACKEND_PLUGIN(nacelle::cpu::CpuBackend, "cpu", "0.1")
