// An open device: its queue, memory and pipelines, and how work is handed to it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <nacelle/backend.hpp>

#include "backends/vulkan/api.hpp"
#include "backends/vulkan/instance.hpp"
#include "backends/vulkan/memory.hpp"
#include "backends/vulkan/pipelines.hpp"

namespace nacelle::vulkan {

// What shapes the kernels, by the kind of device. A model on a device runs with one of these from first to last.
struct Profile {
  std::uint32_t row_threads;   // that share a row in norms and selection
  std::uint32_t wide_threads;  // of a workgroup in elementwise work
  std::uint32_t most_slices;   // of K in a matmul
  bool slices_side_by_side;    // where there are few rows
  std::uint32_t most_splits;   // of a sequence's keys in attention
  bool shares_memory;          // the step block is read where the host writes it
};

class VulkanDevice final : public sdk::Device {
 public:
  // Throws sdk::Failure. `instance` outlives the device.
  VulkanDevice(const sdk::Host& host, Instance& instance, const PhysicalDevice& physical);
  ~VulkanDevice() override;

  bool supports(const nacelle_graph& graph, const nacelle_op& op) const noexcept override;
  std::unique_ptr<sdk::Weights> prepare(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
                                        const nacelle_weight_source& source,
                                        const nacelle_prepare_options& options) override;
  std::unique_ptr<sdk::Stream> create_stream() override;
  std::unique_ptr<sdk::Event> create_event() override;

  const DeviceFunctions& api() const { return api_; }
  const PhysicalDevice& physical() const { return physical_; }
  const Profile& profile() const { return profile_; }
  Memory& memory() { return *memory_; }
  Pipelines& pipelines() { return *pipelines_; }
  Validation& validation() { return instance_.validation(); }
  // Why int8 products are not used here; empty: they are.
  const std::string& int8_reason() const { return int8_reason_; }
  void log(std::uint32_t level, const std::string& message) noexcept;
  // A step block that breaks a rule.
  void log_fault(const char* rule) noexcept;

  VkCommandBuffer allocate_commands();
  void free_commands(VkCommandBuffer commands) noexcept;
  // Begins a command buffer that is submitted many times, or once.
  void begin(VkCommandBuffer commands, bool once);
  // Everything before is done and seen by what comes after: on the device, and by the host.
  void barrier(VkCommandBuffer commands) const;

  // Queues recorded commands; `value` is set to what the timeline reaches when they are done. Any thread. A lost device
  // is lost for good.
  nacelle_status submit(VkCommandBuffer commands, std::uint64_t& value) noexcept;
  nacelle_status wait(std::uint64_t value) noexcept;
  nacelle_status query(std::uint64_t value, bool& done) noexcept;
  // Records, submits and waits. Throws sdk::Failure.
  void run_now(const std::function<void(VkCommandBuffer)>& record);

  // Between host memory and a piece of any kind. Throw sdk::Failure.
  void upload(const Piece& to, std::uint64_t offset, const void* data, std::uint64_t bytes);
  void download(const Piece& from, std::uint64_t offset, void* data, std::uint64_t bytes);

 private:
  void create_device();
  void load_functions();
  void create_objects();
  void try_int8();
  void destroy() noexcept;
  nacelle_status status_of_call(VkResult result) noexcept;

  sdk::Host host_;
  Instance& instance_;
  const PhysicalDevice& physical_;
  Profile profile_;
  DeviceFunctions api_;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Pipelines> pipelines_;
  std::mutex pool_mutex_, queue_mutex_, transfer_mutex_;
  std::uint64_t submitted_ = 0;
  std::atomic<bool> lost_ = false;
  std::string int8_reason_;
  Piece staging_[2];  // up, down
};

// A stream is a place in the device's timeline: the queue is in order, and every command buffer begins with a barrier.
class VulkanStream final : public sdk::Stream {
 public:
  explicit VulkanStream(VulkanDevice& device) : device_(device) {}
  nacelle_status synchronize() noexcept override { return device_.wait(last); }
  std::uint64_t last = 0;

 private:
  VulkanDevice& device_;
};

class VulkanEvent final : public sdk::Event {
 public:
  explicit VulkanEvent(VulkanDevice& device) : device_(device) {}
  nacelle_status record(sdk::Stream& stream) noexcept override {
    value_ = static_cast<VulkanStream&>(stream).last;
    return NACELLE_OK;
  }
  // Whatever the stream runs next is queued behind what was recorded.
  nacelle_status wait(sdk::Stream&) noexcept override { return NACELLE_OK; }
  nacelle_status query(bool& done) noexcept override { return device_.query(value_, done); }
  nacelle_status synchronize() noexcept override { return device_.wait(value_); }

 private:
  VulkanDevice& device_;
  std::uint64_t value_ = 0;
};

}  // namespace nacelle::vulkan
