// Counts what a plugin allocates with `new`, so that nacelle_plan_statistics.allocs_per_step is measured, not claimed.
// Include it in exactly one source file of a plugin: it replaces operator new and delete inside that library alone
// (they stay hidden, the host and other plugins keep theirs). Both sides end in malloc and free, so memory may cross.
// The sanitizers bring their own operators; there nothing is counted and the count stays 0.
#pragma once

#include <nacelle/plugin.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace nacelle::sdk {

// Allocations of this library since it was loaded. Any thread.
inline std::atomic<std::uint64_t> allocation_count{0};

}  // namespace nacelle::sdk

#if !NACELLE_SANITIZED

namespace nacelle::sdk::detail {
inline void* counted_allocation(std::size_t size, std::size_t alignment) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (size == 0) size = 1;
  void* pointer = alignment <= alignof(std::max_align_t)
                      ? std::malloc(size)
                      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!pointer) throw std::bad_alloc();
  return pointer;
}
}  // namespace nacelle::sdk::detail

// NOLINTBEGIN(misc-definitions-in-headers): one file of a plugin includes it, and replacements cannot be inline.
void* operator new(std::size_t size) { return nacelle::sdk::detail::counted_allocation(size, 0); }
void* operator new[](std::size_t size) { return nacelle::sdk::detail::counted_allocation(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return nacelle::sdk::detail::counted_allocation(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return nacelle::sdk::detail::counted_allocation(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* pointer) noexcept { std::free(pointer); }
void operator delete[](void* pointer) noexcept { std::free(pointer); }
void operator delete(void* pointer, std::size_t) noexcept { std::free(pointer); }
void operator delete[](void* pointer, std::size_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, std::align_val_t) noexcept { std::free(pointer); }
void operator delete[](void* pointer, std::align_val_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, std::size_t, std::align_val_t) noexcept { std::free(pointer); }
void operator delete[](void* pointer, std::size_t, std::align_val_t) noexcept { std::free(pointer); }
// NOLINTEND(misc-definitions-in-headers)

#endif
