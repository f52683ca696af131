// The cache file is <cache folder>/vulkan/<device>-<driver>-<shaders>.bin: a hash, then the driver's data. Drivers
// should check what they are given by themselves; not all do.
#include "backends/vulkan/pipelines.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "backends/vulkan/shaders.hpp"

namespace nacelle::vulkan {
namespace {

namespace fs = std::filesystem;

// By the XDG rules, which ignore a path that is not absolute; empty where there is none.
fs::path cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && cache[0] == '/') return fs::path(cache) / "nacelle";
  if (const char* home = std::getenv("HOME"); home && home[0] == '/') return fs::path(home) / ".cache" / "nacelle";
  return {};
}

std::string file_name(const PhysicalDevice& physical) {
  char text[96];
  const VkPhysicalDeviceProperties& of = physical.properties;
  std::snprintf(text, sizeof text, "%04x-%04x-%08x-%016llx.bin", of.vendorID, of.deviceID, of.driverVersion,
                static_cast<unsigned long long>(shaders_hash()));
  return text;
}

// FNV-1a.
std::uint64_t hash_of(std::string_view data) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : data) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

// Empty where the file is not there, or not as it was written.
std::string read_cache(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t hash = 0;
  if (!file.read(reinterpret_cast<char*>(&hash), sizeof hash)) return {};
  std::string data{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return hash == hash_of(data) ? data : std::string();
}

}  // namespace

Pipelines::Pipelines(const sdk::Host& host, const DeviceFunctions& api, VkDevice device, const PhysicalDevice& physical)
    : host_(host), api_(api), device_(device), physical_(physical) {
  if (const fs::path folder = cache_folder(); !folder.empty()) file_ = folder / "vulkan" / file_name(physical);
  try {
    create_layout();
    load();
  } catch (...) {
    api_.vkDestroyPipelineLayout(device_, layout_, nullptr);
    throw;
  }
}

Pipelines::~Pipelines() {
  save();
  for (const auto& [key, pipeline] : pipelines_) api_.vkDestroyPipeline(device_, pipeline, nullptr);
  api_.vkDestroyPipelineCache(device_, cache_, nullptr);
  api_.vkDestroyPipelineLayout(device_, layout_, nullptr);
}

void Pipelines::create_layout() {
  const VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes};
  auto info = vk<VkPipelineLayoutCreateInfo>(VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO);
  info.pushConstantRangeCount = 1;
  info.pPushConstantRanges = &range;
  check(api_.vkCreatePipelineLayout(device_, &info, nullptr, &layout_), "creating a pipeline layout");
}

void Pipelines::load() {
  const std::string data = read_cache(file_);
  auto info = vk<VkPipelineCacheCreateInfo>(VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO);
  info.initialDataSize = data.size();
  info.pInitialData = data.data();
  if (!data.empty() && api_.vkCreatePipelineCache(device_, &info, nullptr, &cache_) == VK_SUCCESS) return;
  info.initialDataSize = 0;
  info.pInitialData = nullptr;
  check(api_.vkCreatePipelineCache(device_, &info, nullptr, &cache_), "creating a pipeline cache");
}

bool Pipelines::note_refusal(const std::string& shader) {
  const std::scoped_lock lock(mutex_);
  return refused_.insert(shader).second;
}

// Written beside and moved into place, so that no reader sees half of it.
void Pipelines::save() noexcept {
  try {
    const std::scoped_lock lock(mutex_);
    if (!changed_ || file_.empty()) return;
    changed_ = false;
    std::size_t size = 0;
    if (api_.vkGetPipelineCacheData(device_, cache_, &size, nullptr) != VK_SUCCESS || size == 0) return;
    std::string data(size, '\0');
    if (api_.vkGetPipelineCacheData(device_, cache_, &size, data.data()) != VK_SUCCESS) return;
    data.resize(size);
    fs::create_directories(file_.parent_path());
    const fs::path beside = file_.string() + "." + std::to_string(getpid());
    {
      std::ofstream file(beside, std::ios::binary);
      const std::uint64_t hash = hash_of(data);
      file.write(reinterpret_cast<const char*>(&hash), sizeof hash);
      file.write(data.data(), static_cast<std::streamsize>(data.size()));
      if (!file.flush()) throw std::runtime_error("it cannot be written");
    }
    fs::rename(beside, file_);
  } catch (const std::exception& error) {
    host_.log(NACELLE_LOG_WARNING, "the pipeline cache " + file_.string() + " was not kept: " + error.what());
  }
}

VkPipeline Pipelines::get(const std::string& shader, const std::vector<std::uint32_t>& constants, bool full_subgroups) {
  const std::scoped_lock lock(mutex_);
  const auto [entry, added] = pipelines_.try_emplace({shader, constants}, VK_NULL_HANDLE);
  if (!added) return entry->second;
  try {
    entry->second = create(shader, constants, full_subgroups);
  } catch (...) {
    pipelines_.erase(entry);
    throw;
  }
  changed_ = true;
  return entry->second;
}

VkPipeline Pipelines::create(const std::string& shader, const std::vector<std::uint32_t>& constants,
                             bool full_subgroups) {
  const std::span<const std::uint32_t> words = find_shader(shader);
  if (words.empty()) throw sdk::Failure(NACELLE_INTERNAL, "vulkan: there is no shader " + shader);
  auto module_info = vk<VkShaderModuleCreateInfo>(VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO);
  module_info.codeSize = words.size_bytes();
  module_info.pCode = words.data();
  VkShaderModule module = VK_NULL_HANDLE;
  check(api_.vkCreateShaderModule(device_, &module_info, nullptr, &module), ("loading the shader " + shader).c_str());

  std::vector<VkSpecializationMapEntry> entries;
  for (std::uint32_t i = 0; i < constants.size(); ++i) entries.push_back({i, 4 * i, 4});
  const VkSpecializationInfo specialisation{static_cast<std::uint32_t>(entries.size()), entries.data(),
                                            4 * constants.size(), constants.data()};
  auto size = vk<VkPipelineShaderStageRequiredSubgroupSizeCreateInfo>(
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO);
  size.requiredSubgroupSize = physical_.subgroup;
  auto info = vk<VkComputePipelineCreateInfo>(VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO);
  info.stage = vk<VkPipelineShaderStageCreateInfo>(VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO);
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialisation;
  if (full_subgroups) {
    info.stage.pNext = &size;
    info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
  }
  info.layout = layout_;
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult result = api_.vkCreateComputePipelines(device_, cache_, 1, &info, nullptr, &pipeline);
  api_.vkDestroyShaderModule(device_, module, nullptr);
  if (result != VK_SUCCESS)
    throw sdk::Failure(status_of(result), "vulkan: " + physical_.name + ": the driver cannot compile the shader " +
                                              shader + ": " + result_name(result));
  return pipeline;
}

}  // namespace nacelle::vulkan
