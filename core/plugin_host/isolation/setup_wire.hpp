// The first message to a plugin's process: the plugin's file, and the services that it is to have there.
#pragma once

#include <filesystem>

#include "core/base/log.hpp"
#include "core/plugin_host/host_services.hpp"
#include "core/plugin_host/isolation/wire.hpp"

namespace nacelle::isolation {

struct LoadMessage {
  std::filesystem::path plugin;
  HostSetup setup;
  log::Level log_level = log::Level::kInfo;
  log::Format log_format = log::Format::kText;
};

inline void put_load(Writer& out, const LoadMessage& message) {
  const HostSetup& setup = message.setup;
  out.put_text(message.plugin.string());
  out.put(setup.threads);
  out.put(setup.max_memory);
  out.put_array(setup.cpus.data(), setup.cpus.size());
  out.put_array(setup.nodes.data(), setup.nodes.size());
  out.put(setup.config.size());
  for (const auto& [key, value] : setup.config) {
    out.put_text(key);
    out.put_text(value);
  }
  out.put_text(setup.cache_folder.string());
  out.put(message.log_level);
  out.put(message.log_format);
}

inline LoadMessage get_load(Reader& in) {
  LoadMessage message;
  HostSetup& setup = message.setup;
  message.plugin = std::string(in.get_text());
  setup.threads = in.get<unsigned>();
  setup.max_memory = in.get<std::uint64_t>();
  const auto cpus = in.get_array<unsigned>(), nodes = in.get_array<unsigned>();
  setup.cpus.assign(cpus.begin(), cpus.end());
  setup.nodes.assign(nodes.begin(), nodes.end());
  for (auto left = in.get<std::size_t>(); left > 0; --left) {
    const std::string key(in.get_text());
    setup.config.emplace(key, in.get_text());
  }
  setup.cache_folder = std::string(in.get_text());
  message.log_level = in.get<log::Level>();
  message.log_format = in.get<log::Format>();
  return message;
}

}  // namespace nacelle::isolation
