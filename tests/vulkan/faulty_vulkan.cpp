#include "tests/vulkan/faulty_vulkan.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace nacelle::test {
namespace {

Faults faults;
std::uint64_t allocated = 0;

// The real function behind a wrapper, as it was last asked for: a test has one device at a time.
#define REAL(name) PFN_##name real_##name = nullptr
REAL(vkGetPhysicalDeviceProperties2);
REAL(vkGetDeviceProcAddr);
REAL(vkQueueSubmit);
REAL(vkWaitSemaphores);
REAL(vkAllocateMemory);
REAL(vkCreateComputePipelines);
REAL(vkCreatePipelineCache);
#undef REAL

void VKAPI_CALL get_properties(VkPhysicalDevice device, VkPhysicalDeviceProperties2* properties) {
  real_vkGetPhysicalDeviceProperties2(device, properties);
  if (faults.api_version) properties->properties.apiVersion = faults.api_version;
}

VkDevice opened = VK_NULL_HANDLE;

// A lost device works on nothing any more: what was submitted before ends first.
VkResult lost() {
  const auto wait = reinterpret_cast<PFN_vkDeviceWaitIdle>(real_vkGetDeviceProcAddr(opened, "vkDeviceWaitIdle"));
  wait(opened);
  return VK_ERROR_DEVICE_LOST;
}

VkResult VKAPI_CALL submit(VkQueue queue, std::uint32_t count, const VkSubmitInfo* submits, VkFence fence) {
  if (faults.submits_left == 0) return lost();
  if (faults.submits_left != ~0u) --faults.submits_left;
  return real_vkQueueSubmit(queue, count, submits, fence);
}

VkResult VKAPI_CALL wait_semaphores(VkDevice device, const VkSemaphoreWaitInfo* info, std::uint64_t timeout) {
  return faults.submits_left == 0 ? lost() : real_vkWaitSemaphores(device, info, timeout);
}

VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo* info, const VkAllocationCallbacks* callbacks,
                             VkDeviceMemory* memory) {
  if (info->allocationSize > faults.memory - allocated) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  if (faults.memory != ~std::uint64_t{0}) allocated += info->allocationSize;
  return real_vkAllocateMemory(device, info, callbacks, memory);
}

VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, std::uint32_t count,
                                     const VkComputePipelineCreateInfo* infos, const VkAllocationCallbacks* callbacks,
                                     VkPipeline* pipelines) {
  if (faults.refuses && faults.refuses(*infos)) return ++faults.refused, VK_ERROR_UNKNOWN;
  return real_vkCreateComputePipelines(device, cache, count, infos, callbacks, pipelines);
}

VkResult VKAPI_CALL create_cache(VkDevice device, const VkPipelineCacheCreateInfo* info,
                                 const VkAllocationCallbacks* callbacks, VkPipelineCache* cache) {
  faults.cache_bytes = info->initialDataSize;
  return real_vkCreatePipelineCache(device, info, callbacks, cache);
}

PFN_vkVoidFunction VKAPI_CALL get_device_function(VkDevice device, const char* name);

struct Wrapped {
  const char* name;
  PFN_vkVoidFunction wrapper;
  void** real;
};
#define WRAP(name, wrapper) \
  { #name, reinterpret_cast < PFN_vkVoidFunction>(wrapper), reinterpret_cast < void**>(&real_##name) }
const Wrapped kWrapped[] = {WRAP(vkGetPhysicalDeviceProperties2, get_properties),
                            WRAP(vkGetDeviceProcAddr, get_device_function),
                            WRAP(vkQueueSubmit, submit),
                            WRAP(vkWaitSemaphores, wait_semaphores),
                            WRAP(vkAllocateMemory, allocate),
                            WRAP(vkCreateComputePipelines, create_pipelines),
                            WRAP(vkCreatePipelineCache, create_cache)};
#undef WRAP

PFN_vkVoidFunction wrap(const char* name, PFN_vkVoidFunction real) {
  if (faults.hidden && std::strcmp(faults.hidden, name) == 0) return nullptr;
  for (const Wrapped& of : kWrapped)
    if (real && std::strcmp(of.name, name) == 0) {
      *of.real = reinterpret_cast<void*>(real);
      return of.wrapper;
    }
  return real;
}

PFN_vkVoidFunction VKAPI_CALL get_device_function(VkDevice device, const char* name) {
  if (device) opened = device;
  return wrap(name, real_vkGetDeviceProcAddr(device, name));
}

PFN_vkGetInstanceProcAddr real_loader() {
  static const auto get = [] {
    void* library = dlopen(NACELLE_REAL_VULKAN, RTLD_NOW | RTLD_LOCAL);
    if (!library) std::fprintf(stderr, "%s\n", dlerror()), std::abort();
    return reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  }();
  return get;
}

}  // namespace
}  // namespace nacelle::test

extern "C" __attribute__((visibility("default"))) PFN_vkVoidFunction VKAPI_CALL
vkGetInstanceProcAddr(VkInstance instance, const char* name) {
  return nacelle::test::wrap(name, nacelle::test::real_loader()(instance, name));
}

extern "C" __attribute__((visibility("default"))) nacelle::test::Faults* nacelle_faulty_vulkan() {
  nacelle::test::allocated = 0;
  return &nacelle::test::faults;
}
