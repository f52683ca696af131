// The table of functions that the host gives to plugins (nacelle_host), and what stands behind it.
#pragma once

#include <nacelle/plugin.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/host_memory.hpp"
#include "core/base/thread_team.hpp"
#include "core/plugin_host/tuning_store.hpp"

namespace nacelle {

struct HostSetup {
  unsigned threads = 1;
  std::uint64_t max_memory = 0;               // as PluginHostOptions.max_memory
  std::vector<unsigned> cpus;                 // that the threads are bound to; empty: they are free
  std::vector<unsigned> nodes;                // NUMA nodes that large allocations are spread over
  std::map<std::string, std::string> config;  // settings for plugins
  std::filesystem::path cache_folder;
};

class HostServices {
 public:
  // Plugins may keep the table for ever, so the object is never freed: it is small, and a process makes one. stop()
  // ends its threads.
  static HostServices& create(HostSetup setup);

  const nacelle_host* table() const noexcept { return &table_; }
  ThreadTeam& team() noexcept { return team_; }
  const HostMemory& memory() const noexcept { return memory_; }
  const std::vector<unsigned>& memory_nodes() const noexcept { return nodes_; }
  // Keeps a loaded library for as long as the process lives.
  void keep(std::shared_ptr<void> library) { kept_.push_back(std::move(library)); }
  void stop() noexcept { team_.stop(); }

 private:
  explicit HostServices(HostSetup setup);
  struct Table;  // the functions; host_services.cpp
  friend struct Table;

  struct Span {
    const char* name;
    std::chrono::steady_clock::time_point begin;
  };

  nacelle_host table_{};
  HostMemory memory_;
  ThreadTeam team_;
  const std::vector<unsigned> nodes_;
  const std::map<std::string, std::string> config_;
  const TuningStore tuning_;
  std::atomic<bool> told_of_get_ = false, told_of_put_ = false;  // a broken cache is worth one line, not one a key
  std::vector<std::shared_ptr<void>> kept_;
  std::mutex span_mutex_;
  std::map<std::uint64_t, Span> spans_;  // open trace spans; only at log level trace
  std::uint64_t next_span_ = 1;
};

}  // namespace nacelle
