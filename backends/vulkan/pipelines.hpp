// Compute pipelines, each made once, with the driver's cache of them kept on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backends/vulkan/api.hpp"
#include "backends/vulkan/instance.hpp"

namespace nacelle::vulkan {

// Push constants of every shader: addresses, then words. 128 bytes is what every device has.
constexpr std::uint32_t kPushBytes = 128;

class Pipelines {
 public:
  // Reads the cache file of this device, driver and set of shaders, where there is one; a damaged one counts as none.
  Pipelines(const sdk::Host& host, const DeviceFunctions& api, VkDevice device, const PhysicalDevice& physical);
  ~Pipelines();
  Pipelines(const Pipelines&) = delete;
  Pipelines& operator=(const Pipelines&) = delete;

  VkPipelineLayout layout() const { return layout_; }
  // `constants[i]` is the specialisation constant with id i; 0 is the workgroup's width. With `full_subgroups` the
  // shader counts on subgroups of the device's size, all lanes in use. Any thread. Throws sdk::Failure that names the
  // shader.
  VkPipeline get(const std::string& shader, const std::vector<std::uint32_t>& constants, bool full_subgroups);
  // Whether this is the first refusal of the shader, which a driver may refuse in many shapes: one line in the log will
  // do.
  bool note_refusal(const std::string& shader);
  // Writes the cache file where pipelines have been added; what goes wrong is logged.
  void save() noexcept;

 private:
  VkPipeline create(const std::string& shader, const std::vector<std::uint32_t>& constants, bool full_subgroups);
  void create_layout();
  void load();

  sdk::Host host_;
  const DeviceFunctions& api_;
  VkDevice device_;
  const PhysicalDevice& physical_;
  std::filesystem::path file_;  // empty: nothing is kept
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::mutex mutex_;
  std::map<std::pair<std::string, std::vector<std::uint32_t>>, VkPipeline> pipelines_;
  std::set<std::string> refused_;
  bool changed_ = false;
};

}  // namespace nacelle::vulkan
