// Creating the logical device, and handing it work.
#include "backends/vulkan/device.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backends/vulkan/supports.hpp"
#include "backends/vulkan/weights.hpp"

namespace nacelle::vulkan {
namespace {

constexpr std::uint64_t kStagingBytes = 4 << 20;

// A test runs a CPU-type device the way a card of its own is run: slices of K side by side, and memory that the host
// does not see.
bool plays_card() { return std::getenv("NACELLE_VULKAN_AS_CARD") != nullptr; }

// A test runs the int8 shaders on a device that has them in software.
bool wants_int8() { return std::getenv("NACELLE_VULKAN_INT8") != nullptr; }

// An emulated device runs a workgroup's subgroups one after the other, so that it wants as few as will do.
Profile choose_profile(const PhysicalDevice& physical) {
  if (physical.kind == NACELLE_DEVICE_EMULATED && !plays_card()) return {physical.subgroup, 32, 1, false, 1, true};
  return {std::max(128u, physical.subgroup), 256, 8, true, 16, physical.shares_host_memory() && !plays_card()};
}

}  // namespace

VulkanDevice::VulkanDevice(const sdk::Host& host, Instance& instance, const PhysicalDevice& physical)
    : host_(host), instance_(instance), physical_(physical), profile_(choose_profile(physical)) {
  try {
    create_device();
    create_objects();
    instance_.validation().check();
  } catch (...) {
    destroy();
    throw;
  }
}

VulkanDevice::~VulkanDevice() { destroy(); }

void VulkanDevice::destroy() noexcept {
  if (!device_) return;
  if (api_.vkDeviceWaitIdle) api_.vkDeviceWaitIdle(device_);
  for (Piece& piece : staging_) piece = Piece();
  pipelines_.reset();
  memory_.reset();
  if (timeline_) api_.vkDestroySemaphore(device_, timeline_, nullptr);
  if (pool_) api_.vkDestroyCommandPool(device_, pool_, nullptr);
  if (api_.vkDestroyDevice) api_.vkDestroyDevice(device_, nullptr);
}

void VulkanDevice::create_device() {
  const float priority = 1;
  auto queue = vk<VkDeviceQueueCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO);
  queue.queueFamilyIndex = physical_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  auto features13 = vk<VkPhysicalDeviceVulkan13Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES);
  features13.subgroupSizeControl = features13.computeFullSubgroups = features13.maintenance4 = VK_TRUE;
  features13.shaderIntegerDotProduct = physical_.has_int8_products;
  auto features12 = vk<VkPhysicalDeviceVulkan12Features>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
  features12.pNext = &features13;
  features12.bufferDeviceAddress = features12.timelineSemaphore = features12.subgroupBroadcastDynamicId = VK_TRUE;
  MatrixFeatures matrix;
  if (physical_.matrix.m) {
    matrix.cooperative_matrix = features12.shaderFloat16 = features12.vulkanMemoryModel = VK_TRUE;
    features13.pNext = &matrix;
  }
  auto features = vk<VkPhysicalDeviceFeatures2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
  features.pNext = &features12;
  features.features.shaderInt64 = VK_TRUE;
  auto info = vk<VkDeviceCreateInfo>(VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO);
  info.pNext = &features;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  if (physical_.matrix.m) {
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &kCooperativeMatrix;
  }
  check(instance_.api().vkCreateDevice(physical_.handle, &info, nullptr, &device_), "opening the device");
  load_functions();
}

void VulkanDevice::load_functions() {
  const auto get = instance_.api().vkGetDeviceProcAddr;
#define NACELLE_VULKAN_LOAD(name)                                       \
  if (!(api_.name = reinterpret_cast<PFN_##name>(get(device_, #name)))) \
    throw sdk::Failure(NACELLE_UNAVAILABLE, "the Vulkan driver has no " #name);
  NACELLE_VULKAN_DEVICE_FUNCTIONS(NACELLE_VULKAN_LOAD)
#undef NACELLE_VULKAN_LOAD
}

void VulkanDevice::create_objects() {
  api_.vkGetDeviceQueue(device_, physical_.queue_family, 0, &queue_);
  auto pool = vk<VkCommandPoolCreateInfo>(VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO);
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = physical_.queue_family;
  check(api_.vkCreateCommandPool(device_, &pool, nullptr, &pool_), "creating a command pool");
  auto type = vk<VkSemaphoreTypeCreateInfo>(VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO);
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  auto semaphore = vk<VkSemaphoreCreateInfo>(VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO);
  semaphore.pNext = &type;
  check(api_.vkCreateSemaphore(device_, &semaphore, nullptr, &timeline_), "creating a timeline semaphore");
  memory_ = std::make_unique<Memory>(api_, device_, instance_, physical_, plays_card());
  pipelines_ = std::make_unique<Pipelines>(host_, api_, device_, physical_);
  try_int8();
}

// The kind of a weight is settled before its first plan, so that a driver that refuses the shaders must show it here.
void VulkanDevice::try_int8() {
  if (!physical_.has_int8_products)
    int8_reason_ = "the driver has no integer dot products";
  else if (!physical_.properties13.integerDotProduct4x8BitPackedSignedAccelerated && !wants_int8())
    int8_reason_ = "the device has integer dot products in software only";
  if (!int8_reason_.empty()) return;
  try {
    pipelines_->get("matmul_int8_q8_0", {32, 1, 1, 1, 0}, false);
  } catch (const sdk::Failure& failure) {
    int8_reason_ = failure.what();
    log(NACELLE_LOG_WARNING, int8_reason_ + "; using products in f32");
  }
}

bool VulkanDevice::supports(const nacelle_graph& graph, const nacelle_op& op) const noexcept {
  return sdk::takes_op(graph, op, op_bounds());
}

std::unique_ptr<sdk::Weights> VulkanDevice::prepare(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                                                    const nacelle_weight_source& source,
                                                    const nacelle_prepare_options& options) {
  sdk::check_graph("vulkan", graph, op_bounds());
  auto weights = std::make_unique<VulkanWeights>(host_, *this, graph, buckets, source, options);
  validation().check();
  return weights;
}

std::unique_ptr<sdk::Stream> VulkanDevice::create_stream() { return std::make_unique<VulkanStream>(*this); }
std::unique_ptr<sdk::Event> VulkanDevice::create_event() { return std::make_unique<VulkanEvent>(*this); }

void VulkanDevice::log(std::uint32_t level, const std::string& message) noexcept {
  try {
    host_.log(level, message);
  } catch (...) {  // out of memory
  }
}

void VulkanDevice::log_fault(const char* rule) noexcept {
  try {
    host_.log(NACELLE_LOG_ERROR, std::string("step block: ") + rule);
  } catch (...) {  // out of memory: the status says that there was a fault
  }
}

// ---- Commands

VkCommandBuffer VulkanDevice::allocate_commands() {
  const std::scoped_lock lock(pool_mutex_);
  auto info = vk<VkCommandBufferAllocateInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO);
  info.commandPool = pool_;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  check(api_.vkAllocateCommandBuffers(device_, &info, &commands), "allocating a command buffer");
  return commands;
}

void VulkanDevice::free_commands(VkCommandBuffer commands) noexcept {
  const std::scoped_lock lock(pool_mutex_);
  if (commands) api_.vkFreeCommandBuffers(device_, pool_, 1, &commands);
}

void VulkanDevice::begin(VkCommandBuffer commands, bool once) {
  auto info = vk<VkCommandBufferBeginInfo>(VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO);
  info.flags = once ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT : 0;
  check(api_.vkBeginCommandBuffer(commands, &info), "recording commands");
  barrier(commands);
}

void VulkanDevice::barrier(VkCommandBuffer commands) const {
  constexpr VkPipelineStageFlags kStages =
      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
  auto memory = vk<VkMemoryBarrier>(VK_STRUCTURE_TYPE_MEMORY_BARRIER);
  memory.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT;
  memory.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT;
  api_.vkCmdPipelineBarrier(commands, kStages, kStages | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT, 0, 1, &memory, 0, nullptr,
                            0, nullptr);
}

nacelle_status VulkanDevice::status_of_call(VkResult result) noexcept {
  if (result == VK_ERROR_DEVICE_LOST && !lost_.exchange(true)) {
    try {
      host_.log(NACELLE_LOG_ERROR, physical_.name + ": the device is lost");
    } catch (...) {  // out of memory: the status says it too
    }
  }
  if (lost_) return NACELLE_DEVICE_LOST;
  return status_of(result);
}

nacelle_status VulkanDevice::submit(VkCommandBuffer commands, std::uint64_t& value) noexcept {
  const std::scoped_lock lock(queue_mutex_);
  if (lost_) return NACELLE_DEVICE_LOST;
  const std::uint64_t next = submitted_ + 1;
  auto timeline = vk<VkTimelineSemaphoreSubmitInfo>(VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO);
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &next;
  auto info = vk<VkSubmitInfo>(VK_STRUCTURE_TYPE_SUBMIT_INFO);
  info.pNext = &timeline;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &timeline_;
  const nacelle_status status = status_of_call(api_.vkQueueSubmit(queue_, 1, &info, VK_NULL_HANDLE));
  if (status == NACELLE_OK) value = submitted_ = next;
  return status;
}

nacelle_status VulkanDevice::wait(std::uint64_t value) noexcept {
  auto info = vk<VkSemaphoreWaitInfo>(VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO);
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &value;
  const nacelle_status status = status_of_call(api_.vkWaitSemaphores(device_, &info, ~std::uint64_t{0}));
  if (status == NACELLE_OK && validation().failed()) return NACELLE_INTERNAL;
  return status;
}

nacelle_status VulkanDevice::query(std::uint64_t value, bool& done) noexcept {
  std::uint64_t now = 0;
  const nacelle_status status = status_of_call(api_.vkGetSemaphoreCounterValue(device_, timeline_, &now));
  done = now >= value;
  return status;
}

void VulkanDevice::run_now(const std::function<void(VkCommandBuffer)>& record) {
  struct Commands {
    VulkanDevice& device;
    VkCommandBuffer handle;
    ~Commands() { device.free_commands(handle); }
  } commands{*this, allocate_commands()};
  begin(commands.handle, true);
  record(commands.handle);
  barrier(commands.handle);
  check(api_.vkEndCommandBuffer(commands.handle), "recording commands");
  std::uint64_t value = 0;
  nacelle_status status = submit(commands.handle, value);
  if (status == NACELLE_OK) status = wait(value);
  validation().check();
  if (status != NACELLE_OK)
    throw sdk::Failure(status, "vulkan: " + physical_.name + (lost_ ? ": the device is lost" : ": a transfer failed"));
}

// ---- Transfers

void VulkanDevice::upload(const Piece& to, std::uint64_t offset, const void* data, std::uint64_t bytes) {
  if (to.mapped()) {
    std::memcpy(to.mapped() + offset, data, bytes);
    return;
  }
  const std::scoped_lock lock(transfer_mutex_);
  Piece& staging = staging_[0];
  if (!staging.size()) staging = memory_->allocate(MemoryKind::kUpload, kStagingBytes, "staging");
  for (std::uint64_t done = 0; done < bytes; done += kStagingBytes) {
    const std::uint64_t count = std::min(kStagingBytes, bytes - done);
    std::memcpy(staging.mapped(), static_cast<const std::byte*>(data) + done, count);
    const VkBufferCopy region{staging.offset(), to.offset() + offset + done, count};
    run_now(
        [&](VkCommandBuffer commands) { api_.vkCmdCopyBuffer(commands, staging.buffer(), to.buffer(), 1, &region); });
  }
}

void VulkanDevice::download(const Piece& from, std::uint64_t offset, void* data, std::uint64_t bytes) {
  if (from.mapped()) {
    std::memcpy(data, from.mapped() + offset, bytes);
    return;
  }
  const std::scoped_lock lock(transfer_mutex_);
  Piece& staging = staging_[1];
  if (!staging.size()) staging = memory_->allocate(MemoryKind::kDownload, kStagingBytes, "staging");
  for (std::uint64_t done = 0; done < bytes; done += kStagingBytes) {
    const std::uint64_t count = std::min(kStagingBytes, bytes - done);
    const VkBufferCopy region{from.offset() + offset + done, staging.offset(), count};
    run_now(
        [&](VkCommandBuffer commands) { api_.vkCmdCopyBuffer(commands, from.buffer(), staging.buffer(), 1, &region); });
    std::memcpy(static_cast<std::byte*>(data) + done, staging.mapped(), count);
  }
}

}  // namespace nacelle::vulkan
